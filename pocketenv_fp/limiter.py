"""Stay below the platform's request limit: 500 in 30 seconds and address, of which it tells in ``X-RateLimit-*``.

Refused requests count at the platform too, so a client that hammers never gets out. One `Limiter` per host is shared
by all threads: it spends what the last answer said is left, then holds everyone back until the window is over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

__all__ = ["Limiter"]

LONGEST_WAIT = 60.0
EPOCH = 1_000_000_000


class Limiter:
    """What is known of one host's request limit. Times are in seconds of the monotonic clock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limit: int | None = None
        self._remaining = 0
        self._reset = ""
        self._resets_at = 0.0
        self._paused_until = 0.0

    def acquire(self) -> float:
        """Wait until a request may be sent, and count it. Gives the seconds waited."""
        waited = 0.0
        while (delay := self._claim()) > 0:
            time.sleep(delay)
            waited += delay
        return waited

    def _claim(self) -> float:
        with self._lock:
            now = time.monotonic()
            if now < self._paused_until:
                return self._paused_until - now
            if self._limit is None:
                return 0.0
            if now >= self._resets_at:
                # The window is over: a new one starts with the next request, and its headers will correct this.
                self._remaining = self._limit
                self._resets_at = now + LONGEST_WAIT
                self._reset = ""
            if self._remaining <= 0:
                return self._resets_at - now
            self._remaining -= 1
            return 0.0

    def feed(self, headers: Mapping[str, str]) -> None:
        """Learn from an answer's headers. Headers that are missing or not numbers teach nothing."""
        limit = headers.get("X-RateLimit-Limit", "")
        left = headers.get("X-RateLimit-Remaining", "")
        reset = headers.get("X-RateLimit-Reset", "")
        if not (limit.isdecimal() and left.isdecimal() and reset.isdecimal()):
            return
        with self._lock:
            self._limit = int(limit)
            if reset == self._reset:
                self._remaining = min(self._remaining, int(left))
            else:
                # Some servers give the moment of the reset, others the seconds until then.
                seconds = int(reset) - time.time() if int(reset) >= EPOCH else int(reset)
                self._reset = reset
                self._remaining = int(left)
                self._resets_at = time.monotonic() + min(max(seconds, 0.0), LONGEST_WAIT)

    def pause(self, seconds: float) -> None:
        """Hold everyone back for ``seconds``: the platform refused a request."""
        with self._lock:
            self._paused_until = max(self._paused_until, time.monotonic() + seconds)
