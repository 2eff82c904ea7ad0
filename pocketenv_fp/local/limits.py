"""The limit on requests per address."""

import math
from collections import deque

WINDOW_SECONDS = 30
PLATFORM_LIMIT = 500


class RateWindow:
    """The last requests of each address, refused ones included: a client that keeps asking stays refused.

    Without a limit the window is the platform's and never fills.
    """

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self._seen: dict[str, deque[float]] = {}

    def admit(self, address: str, now: float) -> tuple[bool, int, int]:
        """Return whether a request at `now` (seconds since 1970) may pass, how many are left, and when one more will be."""
        if self.limit is None:
            return True, PLATFORM_LIMIT - 1, math.ceil(now) + WINDOW_SECONDS
        # The newest `limit` requests are all that a decision needs, however many were refused.
        times = self._seen.setdefault(address, deque(maxlen=max(self.limit, 1)))
        while times and times[0] <= now - WINDOW_SECONDS:
            times.popleft()
        admitted = len(times) < self.limit
        times.append(now)
        return admitted, max(self.limit - len(times), 0), math.ceil(times[0] + WINDOW_SECONDS)
