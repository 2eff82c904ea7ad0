"""Names of entries: what a message may show of them, and what they are made of."""

from __future__ import annotations

import os

from pocketenv_fp.errors import ArchiveError

__all__ = ["broken", "parts", "shown"]

LONGEST_SHOWN = 300


def shown(name: str) -> str:
    """The name as a message may hold it: any text can be printed, and no terminal takes it for an order."""
    readable = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    clean = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in readable)
    return clean if len(clean) <= LONGEST_SHOWN else f"{clean[:LONGEST_SHOWN]}…"


def broken(error: OSError | OverflowError, name: str) -> ArchiveError:
    """What the disk said, as an ArchiveError: its own text would show paths of this machine."""
    number = error.errno if isinstance(error, OSError) else None
    return ArchiveError(os.strerror(number) if number else "a number that the system does not take", shown(name))


def parts(name: str) -> list[str]:
    """The components of an entry's name. Raises ArchiveError for one that could lead anywhere else."""
    if name.startswith("/"):
        raise ArchiveError("an absolute name", shown(name))
    if "\0" in name:
        raise ArchiveError("a name with a NUL in it", shown(name))
    found = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in found:
        raise ArchiveError("a name that leads upwards", shown(name))
    if not found and not name.startswith("."):
        raise ArchiveError("an entry without a name")
    return found
