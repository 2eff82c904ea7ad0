"""One question for many waiters: who waits for sandboxes of one owner is told from one list of them.

The list is asked for where at least `CROWD` wait at the same time, as the same user with the same settings; a lone
waiter looks for itself. There is no thread for it: the first waiter that is due asks for all, the others wait for its
answer. It stands in nobody's way: where the list fails or does not come, each looks for itself, and so does whose
sandbox is not in the list, since only that look can tell that it is gone. A list leaves out the topics, the repository
and the owner, so that each waiter ends with one look at its own sandbox, and saves the one that it would begin with.

What it costs: a page of the list at most every `SPACING` seconds, so 30 of the 500 requests in 30 seconds, however many
wait. Looks of their own, every half a second at first, would take all 500 for 8 waiters. More than one page is asked
for only while the pages are fewer than half of the sandboxes that are waited for, and is paid with as much more time.

>>> from pocketenv_fp import create, fan_out, start, wait_until_running
>>> boxes = fan_out(create(provider="daytona") | start | wait_until_running, ["one", "two", "three", "four", "five"])
>>> [box.unwrap().name for box in boxes]
['one', 'two', 'three', 'four', 'five']
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Self

from returns.result import Success

from pocketenv_fp.config import Settings, settings
from pocketenv_fp.http.xrpc import has_door, send
from pocketenv_fp.models import Sandbox, Status
from pocketenv_fp.pocketenv.actors import sandboxes_of

__all__ = ["SHORTEST_READ", "Waiter"]

_Where = tuple[Settings, str]

CROWD = 4
SPACING = 1.0
PAGE = 100
# What is waited for is mostly new, and the list begins with the newest. Who is not on its first page may be far behind.
GROWTH = 4
SHORTEST_READ = 1.0
# A list that takes longer is of no use, and neither is one that failed a moment ago.
LONGEST_READ = 5.0
BROKEN = 5.0
# Lists shift while they are read in pages: to be missing once may be chance.
CHANCES = 2
# The system counts the seconds of a sleep in a number that has an end.
LONGEST_SLEEP = 3600.0


class _Crowd:
    """Those who wait for sandboxes of one owner. Its methods are called with ``changed`` held."""

    def __init__(self, where: _Where) -> None:
        self.where = where
        self.changed = threading.Condition()
        self.waiting: Counter[str] = Counter()
        self.begun = 0
        self.ended = 0
        self.seen: Mapping[str, Status] = {}
        self._is_asking = False
        self._next = 0.0
        self._broken_until = 0.0

    def is_worth_it(self, now: float) -> bool:
        return self.waiting.total() >= CROWD and now >= self._broken_until

    def pause(self, due: float, now: float) -> float:
        """Give the seconds until one who is ``due`` may ask, 0 if that is now."""
        return LONGEST_SLEEP if self._is_asking else min(max(due - now, self._next - now, 0.0), LONGEST_SLEEP)

    def begin(self) -> frozenset[str]:
        """Take the asking. Gives the sandboxes that it is about."""
        self._is_asking = True
        self.begun += 1
        return frozenset(self.waiting)

    def tell(self, seen: Mapping[str, Status], pages: int) -> None:
        """Tell all what was seen, on how many pages: each is paid with a pause before the next question."""
        self.seen, self.ended = seen, self.begun
        self._next = time.monotonic() + SPACING * pages

    def rest(self) -> None:
        """Have all look for themselves for a while."""
        self._broken_until = time.monotonic() + BROKEN

    def give_back(self) -> None:
        """Let another one ask."""
        self._is_asking = False
        self.changed.notify_all()


class _Crowds:
    """All crowds of this process that somebody is in, by the settings and the owner's DID."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        # Run in a forked child too: the threads that wait are the parent's, and one of them may hold the guard.
        self._guard = threading.Lock()
        self._crowds: dict[_Where, _Crowd] = {}

    def enter(self, where: _Where, id: str) -> _Crowd:
        with self._guard:
            crowd = self._crowds.setdefault(where, _Crowd(where))
            with crowd.changed:
                crowd.waiting[id] += 1
            return crowd

    def leave(self, crowd: _Crowd, id: str) -> None:
        with self._guard, crowd.changed:
            crowd.waiting -= Counter((id,))
            if not crowd.waiting and self._crowds.get(crowd.where) is crowd:
                del self._crowds[crowd.where]


_here = _Crowds()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_here.forget)


class Waiter:
    """One who waits for ``sandbox``, for as long as the ``with`` block lasts.

    ``interval`` is the seconds between looks that it was given: who wants to look more often than the list is asked for
    looks for itself.
    """

    def __init__(self, sandbox: Sandbox, interval: float | None) -> None:
        self._id = sandbox.id
        self._is_alone = has_door() or (interval is not None and interval < SPACING)
        self._crowd: _Crowd | None = None
        self._told = 0
        self._missed = 0
        # What runs already, as far as it is known, is not kept waiting for an answer to all.
        self._is_first = sandbox.status is Status.RUNNING
        self._given = sandbox

    def __enter__(self) -> Self:
        self.saw(self._given)
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def saw(self, sandbox: Sandbox) -> None:
        """Learn from a look of its own: only a later answer tells more, and whose sandbox it is says whom to join."""
        if self._missed >= CHANCES:
            self._leave()
        self._join(sandbox)
        if self._crowd is not None:
            with self._crowd.changed:
                self._told = self._crowd.begun

    def wait(self, due: float, deadline: float) -> Status | None:
        """Give the status as soon as a list tells it, or None when it is time to look at the sandbox itself.

        That is at ``due`` where few wait, and at ``deadline`` at the latest: both are of the monotonic clock.
        """
        is_first, self._is_first = self._is_first, False
        while self._crowd is not None and not is_first:
            with self._crowd.changed:
                now = time.monotonic()
                if now >= deadline or not self._crowd.is_worth_it(now):
                    break
                if self._crowd.ended > self._told:
                    return self._answer(self._crowd)
                if (pause := self._crowd.pause(due, now)) > 0:
                    self._crowd.changed.wait(min(pause, deadline - now))
                    continue
                about = self._crowd.begin()
            self._ask(self._crowd, about, deadline)
        _sleep_until(min(due, deadline))
        return None

    def _answer(self, crowd: _Crowd) -> Status | None:
        self._told = crowd.ended
        status = crowd.seen.get(self._id)
        self._missed = 0 if status else self._missed + 1
        return status

    def _ask(self, crowd: _Crowd, about: frozenset[str], deadline: float) -> None:
        try:
            answer = self._list(crowd.where[1], about, deadline)
            with crowd.changed:
                if answer is not None:
                    crowd.tell(*answer)
                elif time.monotonic() < deadline:
                    crowd.rest()
                # Else it had too little time, and the next one may have more.
        finally:
            with crowd.changed:
                crowd.give_back()

    def _list(self, did: str, about: frozenset[str], deadline: float) -> tuple[Mapping[str, Status], int] | None:
        """Give what is seen on how many pages, None where a page fails."""
        seen: dict[str, Status] = {}
        offset = pages = 0
        while True:
            read_timeout = min(LONGEST_READ, max(deadline - time.monotonic(), SHORTEST_READ))
            asked = sandboxes_of(did, limit=PAGE * GROWTH**pages, offset=offset, read_timeout=read_timeout)
            answer = send(asked)
            if not isinstance(answer, Success):
                return None
            page = answer.unwrap()
            seen |= {box.id: box.status for box in page}
            offset, pages = offset + len(page), pages + 1
            is_whole = not page.items or offset >= page.total
            if is_whole or about <= seen.keys() or pages >= len(about) // 2:
                return seen, pages

    def _join(self, sandbox: Sandbox) -> None:
        if self._is_alone or self._crowd is not None or sandbox.owner is None:
            return
        found = settings()
        if isinstance(found, Success):
            self._crowd = _here.enter((found.unwrap(), sandbox.owner.did), self._id)

    def _leave(self) -> None:
        if self._crowd is not None:
            _here.leave(self._crowd, self._id)
            self._crowd, self._is_alone = None, True


def _sleep_until(due: float) -> None:
    while (left := due - time.monotonic()) > 0:
        time.sleep(min(left, LONGEST_SLEEP))
