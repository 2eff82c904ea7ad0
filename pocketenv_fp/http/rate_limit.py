"""Stay below the platform's request limit: 500 in 30 seconds and address, of which it tells in ``X-RateLimit-*``.

Refused requests count at the platform too, so a client that hammers never gets out. One `Limiter` per host is shared
by all threads: it spends what the answers say is left, less what is on its way, then holds everyone back until the
window is over. How much the next one leaves nobody knows then: a window that slides gives back only what is old enough,
and two clocks may differ. So one request goes ahead, and the others follow when it is answered.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from pocketenv_fp.runtime.deadline import TimeIsOver, nap, remaining

__all__ = ["LONGEST_WAIT", "Limiter"]

# What a platform asks to be waited for beyond this is told to the caller, in seconds.
LONGEST_WAIT = 60.0
LOOK_AGAIN = 1.0
# How long the others wait for the one that went ahead: a command may take hours to answer.
GOING_AHEAD = 1.0
WAIT_FOR_ANSWER = 0.02
EPOCH = 1_000_000_000
DIGITS = 16


class Limiter:
    """What is known of one host's request limit. Times are in seconds of the monotonic clock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limit: int | None = None
        self._left = 0
        self._in_flight = 0
        self._reset: int | None = None
        self._resets_at = 0.0
        self._paused_until = 0.0
        self._next_ahead = 0.0

    @contextmanager
    def turn(self) -> Generator[float]:
        """Wait until a request may be sent, and count it as on its way inside the block. Gives the seconds waited."""
        held = 0.0
        while (delay := self._claim()) > 0:
            began = time.monotonic()
            if remaining() <= 0:
                raise TimeIsOver
            nap(min(delay, LOOK_AGAIN))
            held += time.monotonic() - began
        try:
            yield held
        except BaseException:
            # No answer came, and none will: another request goes ahead at once.
            self._next_ahead = 0.0
            raise
        finally:
            with self._lock:
                self._in_flight -= 1

    def _claim(self) -> float:
        """Count one more request as on its way and give 0, or give the seconds until that may be possible."""
        with self._lock:
            now = time.monotonic()
            if now < self._paused_until:
                return self._paused_until - now
            if self._limit is not None:
                if now >= self._resets_at:
                    # The window is over. Whoever comes goes ahead: the answer tells how many may follow.
                    if now < self._next_ahead:
                        return min(self._next_ahead - now, WAIT_FOR_ANSWER)
                    self._next_ahead, self._reset = now + GOING_AHEAD, None
                elif self._left <= self._in_flight:
                    return self._resets_at - now
            self._in_flight += 1
            return 0.0

    def feed(self, headers: Mapping[str, str], *, is_good: bool = True) -> None:
        """Learn from an answer's headers. ``is_good`` is False for a refusal, which a proxy may have written.

        Headers that are missing or no numbers change nothing before the window is over. Afterwards a platform that
        counts would have said so in its answer: the old limit is forgotten.
        """
        limit, left, reset = (
            _number(headers.get(f"X-RateLimit-{name}", "")) for name in ("Limit", "Remaining", "Reset")
        )
        with self._lock:
            if limit is None or left is None or reset is None:
                self._feed_nothing(is_good=is_good)
                return
            self._limit = limit
            if reset == self._reset:
                # Answers overtake each other: the lowest number is the latest.
                self._left = min(self._left, left)
            elif self._reset is None or not EPOCH <= reset < self._reset:  # an older window's answer comes late
                # Some servers give the moment of the reset, others the seconds until then.
                seconds = reset - time.time() if reset >= EPOCH else reset
                # A clock that is ahead of the platform's makes every window look over. What is left is spent all the
                # same.
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
        """Hold everyone back for ``seconds``, the caller included: the platform refused a request."""
        with self._lock:
            self._paused_until = max(self._paused_until, time.monotonic() + seconds)
        while (left := self._paused_until - time.monotonic()) > 0:
            if remaining() <= 0:
                return
            nap(left)


def _number(text: str) -> int | None:
    # A number of hundreds of digits is no time, and more than floats and `int` take.
    return int(text) if text.isdecimal() and len(text) < DIGITS else None
