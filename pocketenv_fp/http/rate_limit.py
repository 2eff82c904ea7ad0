"""Stay below the platform's request limit: 500 requests in 30 seconds per address, reported in ``X-RateLimit-*``.

Refused requests count too, so a client that keeps sending stays blocked. All threads share one `Limiter` per host. It
uses the remaining quota of the last response, minus the requests in flight. Then it delays all requests until the
window ends. After a reset the quota is unknown, because windows may slide and clocks may differ. So it sends one probe,
and holds the others until the response.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from pocketenv_fp.http.headers import Headers
from pocketenv_fp.runtime.deadline import TimeIsOver, longest_wait, nap, remaining

__all__ = ["LONGEST_WAIT", "Limiter"]

# A longer pause, in seconds, is not waited for: the caller gets RateLimited.
LONGEST_WAIT = 60.0
LOOK_AGAIN = 1.0
# The others wait at most this long for the probe: the response of a command may take hours.
GOING_AHEAD = 1.0
WAIT_FOR_ANSWER = 0.02
EPOCH = 1_000_000_000
DIGITS = 16


class _Turn:
    """The block of `Limiter.turn`: every request enters it, and a generator would take longer."""

    __slots__ = ("_limiter",)

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter

    def __enter__(self) -> float:
        return self._limiter.enter()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._limiter.leave(is_answered=kind is None)


class Limiter:
    """The state of one host's request limit. Times are in seconds of the monotonic clock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limit: int | None = None
        self._left = 0
        self._in_flight = 0
        self._reset: int | None = None
        self._resets_at = 0.0
        self._paused_until = 0.0
        self._next_ahead = 0.0

    def turn(self) -> _Turn:
        """Wait until a request may be sent, and count it as in flight inside the block. Yields the seconds waited."""
        return _Turn(self)

    def enter(self) -> float:
        """Wait until a request may be sent, and count it as in flight. Returns the seconds waited."""
        held = 0.0
        while (delay := self._claim()) > 0:
            began = time.monotonic()
            if remaining() <= 0 or delay > longest_wait():
                raise TimeIsOver
            nap(min(delay, LOOK_AGAIN))
            held += time.monotonic() - began
        return held

    def leave(self, *, is_answered: bool) -> None:
        """Count a request as answered, or as failed."""
        if not is_answered:
            # The probe failed: another request may be the probe at once.
            self._next_ahead = 0.0
        with self._lock:
            self._in_flight -= 1

    def _claim(self) -> float:
        """Count one more request as in flight and return 0, or return the seconds to wait first."""
        with self._lock:
            now = time.monotonic()
            if now < self._paused_until:
                return self._paused_until - now
            if self._limit is not None:
                if now >= self._resets_at:
                    # The window is over. The first request is the probe: its response contains the new quota.
                    if now < self._next_ahead:
                        return min(self._next_ahead - now, WAIT_FOR_ANSWER)
                    self._next_ahead, self._reset = now + GOING_AHEAD, None
                elif self._left <= self._in_flight:
                    return self._resets_at - now
            self._in_flight += 1
            return 0.0

    def feed(self, headers: Mapping[str, str] | Headers, *, is_good: bool = True) -> None:
        """Update the state from a response's headers. ``is_good`` is False for an error, maybe from a proxy.

        During a window, missing or invalid headers are ignored. After it they mean that the platform does not count:
        the old limit is dropped.
        """
        limit = _number(headers.get("X-RateLimit-Limit", ""))
        left = None if limit is None else _number(headers.get("X-RateLimit-Remaining", ""))
        reset = None if left is None else _number(headers.get("X-RateLimit-Reset", ""))
        with self._lock:
            if limit is None or left is None or reset is None:
                self._feed_nothing(is_good=is_good)
                return
            self._limit = limit
            if reset == self._reset:
                # Responses may overtake each other: the lowest number is the latest.
                self._left = min(self._left, left)
            elif self._reset is None or not EPOCH <= reset < self._reset:  # else a late response of an older window
                # Some servers send the time of the reset, others the seconds until it.
                seconds = reset - time.time() if reset >= EPOCH else reset
                # If this clock is ahead of the platform's, every window seems to be over. Use the remaining quota
                # anyway.
                soonest = LOOK_AGAIN if left else 0.0
                self._left, self._reset = left, reset
                self._resets_at = time.monotonic() + min(max(seconds, soonest), LONGEST_WAIT)
                self._next_ahead = 0.0

    def _feed_nothing(self, *, is_good: bool) -> None:
        if self._limit is None or time.monotonic() < self._resets_at:
            return
        self._next_ahead = 0.0
        if is_good:
            self._limit = self._reset = None

    def pause(self, seconds: float) -> None:
        """Delay all requests for ``seconds``, also of this thread: the platform refused a request."""
        with self._lock:
            self._paused_until = max(self._paused_until, time.monotonic() + seconds)
        while (left := self._paused_until - time.monotonic()) > 0:
            if remaining() <= 0:
                return
            nap(left)


def _number(text: str) -> int | None:
    # A number with hundreds of digits is not a time, and overflows float.
    return int(text) if text.isdecimal() and len(text) < DIGITS else None
