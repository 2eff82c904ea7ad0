"""File descriptors that are closed even after an interrupt."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol, cast

__all__ = ["Descriptor", "entries_of", "hold", "read_all"]

_PIECE = 64 * 1024


class Descriptor(Protocol):
    """An open file or directory. It is closed with its last reference, or before."""

    def fileno(self) -> int:
        """Return its number."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


# Python handles signals between two bytecodes. A number from `os.open` is lost if a signal handler raises before
# the number has a name. So is one in a `finally` that has not reached `os.close`. These types own any descriptor and close
# it in C. `io.FileIO` would do for files, but refuses directories.
_OWNER: Any = getattr(select, "epoll", None) or getattr(select, "kqueue")  # noqa: B009  # each is on some systems only
_own: Callable[[int], Descriptor] = _OWNER.fromfd
_scan = cast("Callable[[str | int], Iterable[os.DirEntry[str]]]", os.scandir)


def hold(path: str | bytes, flags: int, folder: Descriptor | None = None) -> Descriptor:
    """Open a file or a directory, below ``folder`` if one is given. Raises OSError."""
    opening = partial(os.open, dir_fd=None if folder is None else folder.fileno())
    # `map` calls both in C: no bytecode, so no signal, comes between.
    return next(map(_own, map(opening, (path,), (flags,))))


def entries_of(directory: str | Descriptor) -> list[os.DirEntry[str]]:
    """Return the entries of a directory, in no order. Raises OSError."""
    place = directory if isinstance(directory, str) else directory.fileno()
    # The iterator is read to its end in C, so no signal leaves it open.
    return next(map(list, map(_scan, (place,))))


def read_all(file: Descriptor) -> bytes:
    """Read it to its end. Raises OSError."""
    pieces: list[bytes] = []
    while piece := os.read(file.fileno(), _PIECE):
        pieces.append(piece)
    return b"".join(pieces)
