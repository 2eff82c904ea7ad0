"""Names of entries. They are bytes, and are held as strings that stand for these bytes in any locale.

Python decodes a name on the disk by the locale, so one name has other strings under another locale. In this package
names of entries are always UTF-8, with a surrogate for each byte that is not. What a user hands in, and what `os`
returns as a string, is decoded by the locale: `from_disk` and `on_disk` lead from one to the other.
"""

from __future__ import annotations

import os
import sys

from pocketenv_fp.errors import ArchiveError

__all__ = ["broken", "decoded", "encoded", "from_disk", "on_disk", "parts", "shown"]

LONGEST_SHOWN = 300


def decoded(name: bytes) -> str:
    """Return the string that stands for a name's bytes."""
    return name.decode("utf-8", "surrogateescape")


def encoded(name: str) -> bytes:
    """Return the bytes of a name. Raises UnicodeEncodeError for half of a surrogate pair."""
    return name.encode("utf-8", "surrogateescape")


def from_disk(name: str) -> str:
    """Return the name that `os`, or a user of this machine, has as this string."""
    return decoded(os.fsencode(name))


def on_disk(name: str) -> str:
    """Return the string that `os`, or a user of this machine, has for a name."""
    return os.fsdecode(encoded(name))


def shown(name: str) -> str:
    """Return the name for a message: any output can print it, and no terminal takes it for an order."""
    readable = encoded(name).decode("utf-8", "backslashreplace")
    # What the locale does not have, its terminal cannot print.
    encoding = sys.getfilesystemencoding()
    printable = readable.encode(encoding, "backslashreplace").decode(encoding)
    clean = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in printable)
    return clean if len(clean) <= LONGEST_SHOWN else f"{clean[:LONGEST_SHOWN]}…"


def broken(error: OSError | OverflowError, name: str) -> ArchiveError:
    """Return what the disk said as an ArchiveError: its own text would show paths of this machine."""
    number = error.errno if isinstance(error, OSError) else None
    return ArchiveError(
        os.strerror(number) if number else "a number that the operating system does not accept", shown(name)
    )


def parts(name: str) -> list[str]:
    """Return the components of an entry's name. Raises ArchiveError for one that could lead anywhere else."""
    if name.startswith("/"):
        raise ArchiveError("an absolute name", shown(name))
    if "\0" in name:
        raise ArchiveError("a name with a NUL character", shown(name))
    found = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in found:
        raise ArchiveError("a name with a .. part", shown(name))
    if not found and not name.startswith("."):
        raise ArchiveError("an entry without a name")
    return found
