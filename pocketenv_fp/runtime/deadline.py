"""The moment by which the work of this thread or task is to be done: what `within` sets, and whoever waits looks at.

Blocks nest: the earliest moment counts. The threads of a `fan_out` have it from where that was called, and so do tasks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

from pocketenv_fp.errors import DeadlineExceeded
from pocketenv_fp.runtime.rehearsal import is_rehearsed

__all__ = [
    "TimeIsOver",
    "exceeded",
    "limited",
    "nap",
    "over",
    "patient",
    "remaining",
    "remaining_to_answer",
    "unlimited",
]

# The system counts the seconds of a sleep in a number that has an end, and a platform may ask for any.
LONGEST_SLEEP = 3600.0

# The moment, and the seconds that were given.
_deadline: ContextVar[tuple[float, float] | None] = ContextVar("pocketenv_fp.runtime.deadline", default=None)
_is_patient: ContextVar[bool] = ContextVar("pocketenv_fp.patient", default=False)


class TimeIsOver(Exception):
    """Nothing was sent, for there was no time left. No trouble of the wire has this name, and none is made of it."""


@contextmanager
def limited(seconds: float) -> Generator[None]:
    """Give the work in a block so many seconds, or fewer where there are fewer left."""
    if is_rehearsed():
        yield
        return
    before, until = _deadline.get(), time.monotonic() + seconds
    mark = _deadline.set((until, seconds) if before is None or until < before[0] else before)
    try:
        yield
    finally:
        _deadline.reset(mark)


@contextmanager
def unlimited() -> Generator[None]:
    """Give the work in a block the time that it needs: it is what must not be left half done."""
    mark = _deadline.set(None)
    try:
        yield
    finally:
        _deadline.reset(mark)


@contextmanager
def patient() -> Generator[None]:
    """Wait for the answer to what is sent in a block, however late it is. What is not sent by then never is."""
    mark = _is_patient.set(True)
    try:
        yield
    finally:
        _is_patient.reset(mark)


def remaining() -> float:
    """Give the seconds that are left, below 0 where the time is over, infinite where there is no end."""
    deadline = _deadline.get()
    return math.inf if deadline is None else deadline[0] - time.monotonic()


def remaining_to_answer() -> float:
    """Give the seconds that are left to wait for the answer to what was sent: without end in a `patient` block."""
    deadline = _deadline.get()
    return math.inf if deadline is None or _is_patient.get() else deadline[0] - time.monotonic()


def exceeded(operation: str, *, maybe_sent: bool = False) -> DeadlineExceeded | None:
    """Give the error of what was doing ``operation``, None while there is time."""
    deadline = _deadline.get()
    if deadline is None or time.monotonic() < deadline[0]:
        return None
    return DeadlineExceeded(deadline[1], operation, maybe_sent)


def over(operation: str) -> DeadlineExceeded:
    """Give the error of what could not begin ``operation`` any more: after TimeIsOver, whatever the clock says."""
    deadline = _deadline.get()
    return DeadlineExceeded(0.0 if deadline is None else deadline[1], operation)


def nap(seconds: float) -> None:
    """Sleep for so many seconds, or until the time is over. A rehearsal does not sleep."""
    if is_rehearsed():
        return
    until = time.monotonic() + min(seconds, remaining())
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, LONGEST_SLEEP))
