"""The deadline for the work of this thread or task: `within` sets it, and every waiting function checks it.

Deadlines can be nested: the earliest one counts. Threads of a `fan_out` and asyncio tasks inherit it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

from pocketenv_fp.errors import DeadlineExceeded
from pocketenv_fp.runtime.rehearsal import is_rehearsed
from pocketenv_fp.runtime.scope import scope

__all__ = [
    "ANSWER_SECONDS",
    "TimeIsOver",
    "brief",
    "exceeded",
    "limited",
    "longest_wait",
    "nap",
    "over",
    "patient",
    "remaining",
    "remaining_to_answer",
    "stoppable",
    "unlimited",
]

ANSWER_SECONDS = 5.0
"""The seconds that a request may take after the caller's timeout, so that the last look can end."""

# The operating system limits the duration of a sleep, and a platform may ask for any pause.
LONGEST_SLEEP = 3600.0

# The deadline, and its length in seconds.
_deadline: ContextVar[tuple[float, float] | None] = ContextVar("pocketenv_fp.runtime.deadline", default=None)
_stop: ContextVar[threading.Event | None] = ContextVar("pocketenv_fp.stop", default=None)
_is_patient: ContextVar[bool] = ContextVar("pocketenv_fp.patient", default=False)
_is_brief: ContextVar[bool] = ContextVar("pocketenv_fp.brief", default=False)


class TimeIsOver(Exception):
    """The deadline was over before the request was sent. It is separate from the exceptions of the transport."""


@contextmanager
def limited(seconds: float) -> Generator[None]:
    """Set a deadline for the block, in ``seconds``. An earlier deadline stays."""
    if is_rehearsed():
        yield
        return
    before, until = _deadline.get(), time.monotonic() + seconds
    with scope(_deadline, (until, seconds) if before is None or until < before[0] else before):
        yield


@contextmanager
def unlimited() -> Generator[None]:
    """Remove the deadline in the block. For work that must be finished, such as a cleanup."""
    with scope(_deadline, None), scope(_stop, None):
        yield


def stoppable(stop: threading.Event) -> AbstractContextManager[None]:
    """End the time of the block when another thread sets ``stop``."""
    return scope(_stop, stop)


def patient() -> AbstractContextManager[None]:
    """Wait for a response in the block longer than the deadline. A request that is not sent by then is not sent."""
    return scope(_is_patient, value=True)


def brief() -> AbstractContextManager[None]:
    """Do not begin a pause in the block that the deadline would end. For a cleanup: the caller waits for it."""
    return scope(_is_brief, value=True)


def longest_wait() -> float:
    """Return the seconds that a pause may have: infinite outside of a `brief` block."""
    return remaining() if _is_brief.get() else math.inf


def remaining() -> float:
    """Return the remaining seconds: negative after the deadline, infinite without one."""
    if _is_stopped():
        return -1.0
    deadline = _deadline.get()
    return math.inf if deadline is None else deadline[0] - time.monotonic()


def remaining_to_answer() -> float:
    """Return the remaining seconds to wait for a response: infinite in a `patient` block."""
    deadline = _deadline.get()
    return math.inf if deadline is None or _is_patient.get() else deadline[0] - time.monotonic()


def exceeded(operation: str, *, maybe_sent: bool = False) -> DeadlineExceeded | None:
    """Return the error for ``operation`` after the deadline, or None before it."""
    if (stop := _stop.get()) is not None and stop.is_set():
        return DeadlineExceeded(0.0, operation, maybe_sent)
    deadline = _deadline.get()
    if deadline is None or time.monotonic() < deadline[0]:
        return None
    return DeadlineExceeded(deadline[1], operation, maybe_sent)


def over(operation: str) -> DeadlineExceeded:
    """Return the error for an ``operation`` that could not begin, after TimeIsOver. It does not check the clock."""
    deadline = _deadline.get()
    return DeadlineExceeded(0.0 if deadline is None else deadline[1], operation)


def nap(seconds: float) -> None:
    """Sleep for ``seconds``, or until the time is over. A rehearsal does not sleep."""
    if is_rehearsed():
        return
    until = time.monotonic() + min(seconds, remaining())
    stop = _stop.get()
    while (left := until - time.monotonic()) > 0 and not _is_stopped():
        (time.sleep if stop is None else stop.wait)(min(left, LONGEST_SLEEP))


def _is_stopped() -> bool:
    stop = _stop.get()
    return stop is not None and stop.is_set()
