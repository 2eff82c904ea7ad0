"""The pauses between attempts."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["FACTOR", "LONGEST", "pauses"]

FACTOR = 0.2
LONGEST = 5.0


def pauses(retries: int) -> Iterator[float]:
    """Yield the seconds to wait before each of ``retries`` repetitions, as urllib3 does for requests.

    The first comes at once. Then it is 0.4 and up to 0.2 more, doubled each time, at most 5.

    >>> from pocketenv_fp.runtime.backoff import pauses
    >>> [round(pause) for pause in pauses(8)][-3:]
    [5, 5, 5]
    """
    import random

    for attempt in range(retries):
        jitter = random.uniform(0, FACTOR)  # noqa: S311  # no secret hangs on it
        yield min(FACTOR * 2**attempt + jitter, LONGEST) if attempt else 0.0
