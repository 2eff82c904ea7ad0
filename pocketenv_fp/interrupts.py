"""Ctrl-C and the request to stop (SIGTERM), for code that has something to put back first.

A signal may come between any two instructions. So inside `guarded` it is held, and only where a block is `opened` may
it raise; from that moment on it is held again, until what has to be put back is.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["closed", "guarded", "opened"]


class _Signals:
    """What came while nothing may raise. It is the main thread's: no other ever gets a signal."""

    def __init__(self) -> None:
        self.guards = 0
        self.is_open = True
        self.came: list[int] = []

    def take(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # a handler's signature
        # Who asks twice does not want to wait for a platform that does not answer.
        asked_before = bool(self.came)
        self.came.append(number)
        if self.is_open or asked_before:
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


@contextmanager
def guarded() -> Generator[None, None, None]:
    """Hold SIGINT and SIGTERM inside, save where a block is `opened`, and raise at the end what has been held.

    A handler that the program has set itself stays in its place. In other threads this does nothing.
    """
    if not _is_here() or _signals.guards:
        with closed():
            yield
        return
    before: dict[signal.Signals, Any] = {}
    try:
        _signals.guards, _signals.is_open = 1, False
        for number, usual in ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
            if signal.getsignal(number) is usual:
                before[number] = usual
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
    """Let a signal raise in this block of a `guarded` one, one that has been held at once."""
    yield from _set(is_open=True)


@contextmanager
def closed() -> Generator[None, None, None]:
    """Hold signals in this block of an `opened` one, and raise behind it. Does nothing where nothing is guarded."""
    yield from _set(is_open=False)


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
