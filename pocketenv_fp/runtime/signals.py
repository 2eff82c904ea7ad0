"""Handle Ctrl-C, SIGTERM and SIGHUP for code that must clean up first.

A signal may arrive between any two instructions. Inside `guarded` it is delayed, and raises only in an `opened` block.
After it has raised, further signals are delayed until the cleanup is done. In a `sealed` block, for the cleanup, an
`opened` block has no effect. A second signal always raises at once.
"""

from __future__ import annotations

import functools
import signal
import threading
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Any

__all__ = ["closed", "guarded", "is_hurried", "opened", "sealed"]

_STOPS = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None]


class _Signals:
    """The delayed signals. Only the main thread uses it: Python delivers signals there."""

    def __init__(self) -> None:
        self.guards = 0
        self.seals = 0
        self.is_open = True
        self.is_asked = False
        self.is_hurried = False
        self.pending: list[int] = []

    def take(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # a handler's signature
        # A second signal raises at once, even if the first one has already raised.
        self.is_hurried = self.is_asked
        self.is_asked = True
        self.pending.append(number)
        if self.is_open or self.is_hurried:
            self.is_open = False
            self.deliver()

    def deliver(self) -> None:
        if not self.pending:
            return
        number = self.pending[0]
        self.pending.clear()
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)


_signals = _Signals()


def _is_here() -> bool:
    return threading.current_thread() is threading.main_thread()


def _is_usual(number: int) -> bool:
    """Return whether the signal's handler is the default of Python or asyncio."""
    handler = signal.getsignal(number)
    if number != signal.SIGINT:
        return handler is signal.SIG_DFL
    # At the first Ctrl-C, asyncio.run cancels its task, which a synchronous call does not notice. The second one raises
    # at once.
    is_asyncio = isinstance(handler, functools.partial) and (
        getattr(handler.func, "__module__", ""),
        getattr(handler.func, "__qualname__", ""),
    ) == ("asyncio.runners", "Runner._on_sigint")
    return handler is signal.default_int_handler or is_asyncio


@contextmanager
def guarded() -> Generator[None, None, None]:
    """Delay SIGINT, SIGTERM and SIGHUP inside the block, except in `opened` blocks. At the end, raise a delayed signal.

    A handler that the program has set is not replaced. In other threads this does nothing.
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
            if signal.getsignal(number) == _signals.take:  # unless the program has replaced it
                signal.signal(number, usual)
        _signals.guards, _signals.is_open = 0, True
        _signals.deliver()


def opened() -> AbstractContextManager[None]:
    """Let signals raise in this block inside a `guarded` one. A delayed signal raises at once. Not in a `sealed` block."""
    return _set(is_open=not _signals.seals)


def closed() -> AbstractContextManager[None]:
    """Delay signals in this block inside an `opened` one, and raise them after it. Without `guarded` it does nothing."""
    return _set(is_open=False)


@contextmanager
def sealed() -> Generator[None, None, None]:
    """Delay signals in this block, also in `opened` blocks inside, except a second signal. For the cleanup."""
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
    """Return whether a second signal has arrived, so that the caller does not want to wait longer."""
    return _is_here() and bool(_signals.guards) and _signals.is_hurried


@contextmanager
def _set(*, is_open: bool) -> Generator[None, None, None]:
    if not (_is_here() and _signals.guards):
        yield
        return
    before = _signals.is_open
    try:
        _signals.is_open = is_open
        if is_open:
            _signals.deliver()
        yield
    finally:
        _signals.is_open = before
        if before:
            _signals.deliver()
