"""Follow a job: the pauses between requests, and the end."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from returns.result import Failure, Result, Success

from pocketenv_fp.errors import CommandTimeout, DeadlineExceeded, JobTimeout, PocketenvError
from pocketenv_fp.models import ExecResult, Piece
from pocketenv_fp.runtime.deadline import ANSWER_SECONDS, exceeded, limited, nap, remaining
from pocketenv_fp.sandbox.commands.job_output import Output
from pocketenv_fp.sandbox.commands.job_requests import AT_THE_END, Asking, Look, Place

__all__ = ["ended", "follow_to_the_end", "seen_so_far", "until_ended"]

DENSE_SECONDS = 1.0
"""The mean seconds between the requests of one follower whose job prints all the time."""
FOLLOWERS_A_SECOND = 10.0
"""The limit of requests a second of all followers in this process: the platform allows 500 in 30 s."""
AT_ONCE = 4.0
"""The number of requests that may follow each other faster than that, so that occasional output comes at once."""
LONGEST_PAUSE = 4.0
QUIET_PART = 0.1
"""A pause is this part of the time for which the job printed nothing."""

OnPiece = Callable[[Piece], object]


class _Followers:
    """The number of followers in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0

    @contextmanager
    def one_more(self) -> Generator[None]:
        with self._lock:
            self._number += 1
        try:
            yield
        finally:
            with self._lock:
                self._number -= 1

    @property
    def seconds(self) -> float:
        """The minimal seconds between two requests of one follower."""
        return max(DENSE_SECONDS, self._number / FOLLOWERS_A_SECOND)


_followers = _Followers()


class _Pace:
    """The pauses between requests: none while more output is there, longer ones while the job prints nothing."""

    def __init__(self) -> None:
        self._requests = AT_ONCE
        self._counted = self._printed = time.monotonic()

    def pause(self, look: Look, output: Output) -> float:
        """Return the seconds to wait before the next request."""
        now = time.monotonic()
        gained = (now - self._counted) / _followers.seconds
        self._counted, self._requests = now, min(AT_ONCE, self._requests + gained) - 1.0
        if not output.is_whole(look) and (look.stdout or look.stderr):
            self._requests = max(self._requests, 0.0)
            return 0.0
        wait = max(0.0, -self._requests) * _followers.seconds
        if look.stdout or look.stderr:
            self._printed = now
            return wait
        return max(wait, min((now - self._printed) * QUIET_PART, LONGEST_PAUSE))


def follow_to_the_end(
    asking: Asking, output: Output, on_piece: OnPiece | None, timeout: float | None, first: Look | None = None
) -> Result[Look, PocketenvError]:
    """Read a job's output until it has ended. Returns the last look. ``first`` is a look that was taken already.

    Failures: JobTimeout after ``timeout`` seconds; JobNotFound; those of `within` and of requests.
    """
    until = time.monotonic() + (math.inf if timeout is None else timeout)
    pace = _Pace()
    with _followers.one_more():
        looked = _look(asking, output.place, until, timeout) if first is None else Success(first)
        while True:
            if isinstance(looked, Failure):
                return looked
            look = looked.unwrap()
            output.read(look, on_piece)
            if look.state == "ended" and output.is_whole(look):
                return Success(look)
            if look.state == "lost":
                return Failure(asking.lost())
            if over := exceeded("job"):
                return Failure(over)
            if time.monotonic() >= until:
                return Failure(JobTimeout(timeout or 0.0, asking.job.id))
            nap(max(0.0, min(pace.pause(look, output), until - time.monotonic())))
            looked = _look(asking, output.place, until, timeout)


def _look(asking: Asking, place: Place, until: float, timeout: float | None) -> Result[Look, PocketenvError]:
    left = max(0.0, min(until - time.monotonic(), remaining()))
    with limited(left + ANSWER_SECONDS):
        looked = asking.look(place, left)
    if not isinstance(looked, Failure):
        return looked
    error = looked.failure()
    is_own_limit = isinstance(error, DeadlineExceeded) and exceeded("job") is None and time.monotonic() >= until
    return Failure(JobTimeout(timeout or 0.0, asking.job.id) if is_own_limit else asking.error_of(error))


def until_ended(asking: Asking, timeout: float | None) -> Result[tuple[Look, Output], PocketenvError]:
    """Wait for the end of a job, and then read all that it printed. Failures: those of `follow_to_the_end`."""
    last = follow_to_the_end(asking, Output(AT_THE_END, keeps=False), None, timeout)
    return last if isinstance(last, Failure) else seen_so_far(asking, last.unwrap())


def seen_so_far(asking: Asking, look: Look | None = None) -> Result[tuple[Look, Output], PocketenvError]:
    """Read all output of a job until now. ``look`` has its beginning."""
    output = Output(Place())
    while True:
        if look is None:
            looked = asking.look(output.place, 0.0)
            if isinstance(looked, Failure):
                return Failure(asking.error_of(looked.failure()))
            look = looked.unwrap()
        output.read(look)
        if output.is_whole(look) or not (look.stdout or look.stderr):
            return Success((look, output))
        look = None


def ended(look: Look, output: Output) -> Result[ExecResult, PocketenvError]:
    """Return the result of a job that has ended. Failures: CommandTimeout if the job reached its own timeout."""
    if look.late is not None:
        return Failure(CommandTimeout(look.late, output.stdout, output.stderr))
    return Success(ExecResult(output.stdout, output.stderr, look.exit_code))
