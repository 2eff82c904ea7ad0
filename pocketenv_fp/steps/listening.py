"""Listeners: functions that get the output of every command that runs in a block, in this thread or task."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar

from pocketenv_fp.models import Piece
from pocketenv_fp.redaction import shorten
from pocketenv_fp.runtime.scope import scope

__all__ = ["Listener", "listener", "listening", "prefixed", "print_with", "printing"]

LABEL_CHARACTERS = 40

Listener = Callable[[Piece], object]

_listener: ContextVar[Listener | None] = ContextVar("pocketenv_fp.steps.listening", default=None)


def listening(on_piece: Listener) -> AbstractContextManager[None]:
    """Have the commands in the block run as jobs, and pass their output to ``on_piece``."""
    return scope(_listener, on_piece)


def listener() -> Listener | None:
    """Return the listener of this thread or task, or None."""
    return _listener.get()


_printers: list[Callable[[], Listener]] = []


def print_with(printer: Callable[[], Listener]) -> Callable[[], None]:
    """Have ``on_output=True`` use a new ``printer()`` for each command, such as a notebook's. Returns how to stop it."""
    _printers.append(printer)
    return lambda: _printers.remove(printer)


def printing() -> Listener | None:
    """Return a new printer of what was registered last, or None."""
    return _printers[-1]() if _printers else None


_lock = threading.Lock()


class Prefixed:
    """Prints whole lines, each after a prefix. `close` prints the last line, if it has no end."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._rest = {"stdout": "", "stderr": ""}

    def __call__(self, piece: Piece) -> None:
        *lines, self._rest[piece.stream] = f"{self._rest[piece.stream]}{piece.text}".split("\n")
        self._print(piece.stream, lines)

    def close(self) -> None:
        """Print what has no end of line yet."""
        for stream, rest in self._rest.items():
            self._print(stream, [rest] if rest else [])

    def _print(self, stream: str, lines: list[str]) -> None:
        if lines:
            out = sys.stdout if stream == "stdout" else sys.stderr
            # Many threads print: one write keeps their lines apart.
            with _lock:
                out.write("".join(f"{self._prefix}{line}\n" for line in lines))
                out.flush()


def prefixed(target: object) -> Prefixed:
    """Return a listener that prints the lines of a target after its name."""
    name = getattr(target, "name", None)
    label = name if isinstance(name, str) else target if isinstance(target, str) else repr(target)
    return Prefixed(f"{shorten(label, LABEL_CHARACTERS)} | ")
