"""File descriptors that are closed even after an interrupt."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

__all__ = ["Descriptor", "hold", "read_all"]

_PIECE = 64 * 1024


class Descriptor(Protocol):
    """An open file or directory. It is closed at the latest when the last reference is gone."""

    def fileno(self) -> int:
        """Return its number."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


# Python handles signals between two bytecodes. The number from `os.open` is lost if a signal raises before it has a
# name, and so is one in a `finally` before `os.close`. These types own any descriptor and close it in C. `io.FileIO`
# works for files, but refuses directories.
_OWNER: Any = getattr(select, "epoll", None) or getattr(select, "kqueue")  # noqa: B009  # each is on some systems only
_owned: Callable[[int], Descriptor] = _OWNER.fromfd


def hold(path: str | bytes, flags: int, folder: Descriptor | None = None) -> Descriptor:
    """Open a file or a directory, relative to ``folder`` if it is set. Raises OSError."""
    opening = partial(os.open, dir_fd=None if folder is None else folder.fileno())
    # `map` calls both functions in C: no bytecode, so no signal, comes between.
    return next(map(_owned, map(opening, (path,), (flags,))))


def read_all(file: Descriptor) -> bytes:
    """Read the complete file. Raises OSError."""
    pieces: list[bytes] = []
    while piece := os.read(file.fileno(), _PIECE):
        pieces.append(piece)
    return b"".join(pieces)
