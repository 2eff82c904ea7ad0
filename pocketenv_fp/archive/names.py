"""Names of entries. They are bytes, kept as strings that mean the same bytes in any locale.

Python decodes a name on the disk by the locale, so one name has other strings under another locale. In this package names
of entries are always UTF-8, with a surrogate for each byte that is not. Arguments of a user and strings from `os` are
decoded by the locale: `from_disk` and `on_disk` convert between the two.
"""

from __future__ import annotations

import os
import sys

from pocketenv_fp.errors import ArchiveError
from pocketenv_fp.redaction import shorten

__all__ = ["broken", "decoded", "encoded", "from_disk", "on_disk", "parts", "shown"]

LONGEST_SHOWN = 300


def decoded(name: bytes) -> str:
    """Return the string for a name's bytes."""
    return name.decode("utf-8", "surrogateescape")


def encoded(name: str) -> bytes:
    """Return the bytes of a name. Raises UnicodeEncodeError for half of a surrogate pair."""
    return name.encode("utf-8", "surrogateescape")


def from_disk(name: str) -> str:
    """Return the name for a string from `os` or from a user of this machine."""
    return decoded(os.fsencode(name))


def on_disk(name: str) -> str:
    """Return the string for `os`, or for a user of this machine, of a name."""
    return os.fsdecode(encoded(name))


def shown(name: str) -> str:
    """Return the name for a message: any output can print it, and it holds no terminal sequence."""
    readable = encoded(name).decode("utf-8", "backslashreplace")
    # A terminal cannot print characters that its locale does not have.
    encoding = sys.getfilesystemencoding()
    printable = readable.encode(encoding, "backslashreplace").decode(encoding)
    if not printable.isprintable():
        printable = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in printable)
    return shorten(printable, LONGEST_SHOWN + 1)


def broken(error: OSError | OverflowError, name: str) -> ArchiveError:
    """Return an error of the disk as an ArchiveError: its own message would show paths of this machine."""
    number = error.errno if isinstance(error, OSError) else None
    return ArchiveError(os.strerror(number) if number else "a number that the system does not take", shown(name))


def parts(name: str) -> list[str]:
    """Return the components of an entry's name. Raises ArchiveError for one that could lead outside."""
    if name.startswith("/"):
        raise ArchiveError("an absolute name", shown(name))
    if "\0" in name:
        raise ArchiveError("a name with a NUL in it", shown(name))
    names = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in names:
        raise ArchiveError("a name that leads upwards", shown(name))
    if not names and not name.startswith("."):
        raise ArchiveError("an entry without a name")
    return names
