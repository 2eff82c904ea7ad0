"""One lock for each key: threads that change the same thing take turns.

>>> from pocketenv_fp.runtime.turns import Turns
>>> turns = Turns()
>>> with turns.of("a", "setting a") as late:
...     print(late)
None
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Hashable
from contextlib import contextmanager

from pocketenv_fp.errors import DeadlineExceeded
from pocketenv_fp.forking import after_fork
from pocketenv_fp.runtime.deadline import over, remaining
from pocketenv_fp.runtime.rehearsal import is_rehearsed

__all__ = ["Turns"]


class _Turn:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.wanted = 0


class Turns:
    """Locks by key. A key has a lock only while a thread uses or waits for it."""

    def __init__(self) -> None:
        self._forget()
        after_fork(self._forget)  # a thread that is not in the child may hold one

    def _forget(self) -> None:
        self._guard = threading.Lock()
        self._turns: dict[Hashable, _Turn] = {}

    @contextmanager
    def of(self, key: Hashable, operation: str) -> Generator[DeadlineExceeded | None]:
        """Hold the lock of ``key`` in the block. Yields None, or an error if the deadline was reached first."""
        if is_rehearsed():
            yield None
            return
        with self._guard:
            turn = self._turns.setdefault(key, _Turn())
            turn.wanted += 1
        try:
            if not turn.lock.acquire(timeout=min(max(remaining(), 0.0), threading.TIMEOUT_MAX)):
                yield over(operation)
                return
            try:
                yield None
            finally:
                turn.lock.release()
        finally:
            with self._guard:
                turn.wanted -= 1
                if not turn.wanted and self._turns.get(key) is turn:
                    self._turns.pop(key, None)
