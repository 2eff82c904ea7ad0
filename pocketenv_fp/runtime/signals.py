"""Ctrl-C and requests to stop (SIGTERM, SIGHUP), for code that has something to put back first.

A signal may come between any two instructions. So inside `guarded` it is held, and it may raise only where a block is
`opened`. From that moment on signals are held again, until everything is put back. A block that is `sealed` stays closed
whatever is opened in it: it is what puts things back. A second signal always raises at once.
"""

from __future__ import annotations

import functools
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["closed", "guarded", "is_hurried", "opened", "sealed"]

_STOPS = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None]


class _Signals:
    """What came while nothing may raise. It is the main thread's: no other thread gets a signal."""

    def __init__(self) -> None:
        self.guards = 0
        self.seals = 0
        self.is_open = True
        self.is_asked = False
        self.is_hurried = False
        self.came: list[int] = []

    def take(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # a handler's signature
        # A second signal raises at once, even where the first one has raised already.
        self.is_hurried = self.is_asked
        self.is_asked = True
        self.came.append(number)
        if self.is_open or self.is_hurried:
            self.is_open = False
            self.tell()

    def tell(self) -> None:
        if not self.came:
            return
        number = self.came[0]
        self.came.clear()
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)


_signals = _Signals()


def _is_here() -> bool:
    return threading.current_thread() is threading.main_thread()


def _is_usual(number: int) -> bool:
    """Return whether the program has left the handling of this signal to Python or to asyncio."""
    handler = signal.getsignal(number)
    if number != signal.SIGINT:
        return handler is signal.SIG_DFL
    # asyncio.run cancels its task at the first Ctrl-C, which a synchronous call does not see. The second one raises
    # wherever it comes.
    is_asyncio = isinstance(handler, functools.partial) and (
        getattr(handler.func, "__module__", ""),
        getattr(handler.func, "__qualname__", ""),
    ) == ("asyncio.runners", "Runner._on_sigint")
    return handler is signal.default_int_handler or is_asyncio


@contextmanager
def guarded() -> Generator[None, None, None]:
    """Hold SIGINT, SIGTERM and SIGHUP inside, but where a block is `opened`, and raise at the end what has been held.

    A handler that the program has set itself stays in its place. In other threads this does nothing.
    """
    if not _is_here() or _signals.guards:
        with closed():
            yield
        return
    before: dict[int, Any] = {}
    try:
        _signals.guards, _signals.seals, _signals.is_open = 1, 0, False
        _signals.is_asked = _signals.is_hurried = False
        for number in (*_STOPS, signal.SIGINT):
            if _is_usual(number):
                before[number] = signal.getsignal(number)
                signal.signal(number, _signals.take)
        yield
    finally:
        for number, usual in before.items():
            if signal.getsignal(number) == _signals.take:  # or the program has put another in its place meanwhile
                signal.signal(number, usual)
        _signals.guards, _signals.is_open = 0, True
        _signals.tell()


@contextmanager
def opened() -> Generator[None, None, None]:
    """Let a signal raise in this block of a `guarded` one, one that has been held at once. Not in a `sealed` block."""
    yield from _set(is_open=not _signals.seals)


@contextmanager
def closed() -> Generator[None, None, None]:
    """Hold signals in this block of an `opened` one, and raise behind it. Does nothing where nothing is guarded."""
    yield from _set(is_open=False)


@contextmanager
def sealed() -> Generator[None, None, None]:
    """Hold signals in this block, whatever is `opened` inside, but for a second signal. It puts things back."""
    if not (_is_here() and _signals.guards):
        yield
        return
    with closed():
        _signals.seals += 1
        try:
            yield
        finally:
            _signals.seals -= 1


def is_hurried() -> bool:
    """Return whether the signal that came last was not the first: the caller does not want to wait any longer."""
    return _is_here() and bool(_signals.guards) and _signals.is_hurried


def _set(*, is_open: bool) -> Generator[None, None, None]:
    if not (_is_here() and _signals.guards):
        yield
        return
    before = _signals.is_open
    try:
        _signals.is_open = is_open
        if is_open:
            _signals.tell()
        yield
    finally:
        _signals.is_open = before
        if before:
            _signals.tell()
