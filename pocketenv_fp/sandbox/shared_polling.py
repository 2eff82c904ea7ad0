"""Poll once for many: threads that wait for one owner's sandboxes share a list request.

The list is used if at least `CROWD` threads wait with the same user and settings. A single waiter looks up its own
sandbox. There is no polling thread: the first waiter that is due requests the list, and the others wait for it. If the
request fails, each waiter looks up its own sandbox. A waiter also does so if its sandbox is missing in the list, since
only that lookup shows that the sandbox is gone. The list lacks topics, repository and owner. So a waiter ends with one
lookup of its own sandbox, unless the next step of its pipeline reads the id and the status only.

Cost: at most one page every `SPACING` seconds, which is 30 of the 500 requests in 30 seconds, for any number of
waiters. Separate lookups, every half second at first, would use up all 500 with 8 waiters. More pages are requested
only while there are fewer pages than half of the sandboxes. Each further page adds to the pause.

>>> from pocketenv_fp import create, fan_out, start, wait_until_running
>>> boxes = fan_out(create(provider="daytona") | start | wait_until_running, ["one", "two", "three", "four", "five"])
>>> [box.unwrap().name for box in boxes]
['one', 'two', 'three', 'four', 'five']
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Self

from returns.result import Failure

from pocketenv_fp.config import Settings, settings
from pocketenv_fp.forking import after_fork
from pocketenv_fp.http.tokens import token_did
from pocketenv_fp.http.xrpc import has_door, send
from pocketenv_fp.models import Sandbox, Status
from pocketenv_fp.pocketenv.actors import sandboxes_of

__all__ = ["SHORTEST_READ", "Waiter"]

_Where = tuple[Settings, str]

CROWD = 4
SPACING = 1.0
PAGE = 100
# Waited-for sandboxes are mostly new, and the list begins with the newest. Others may be far down the list.
GROWTH = 4
SHORTEST_READ = 1.0
# A slower list is useless. After a failed one, wait a moment.
LONGEST_READ = 5.0
BROKEN = 5.0
# Lists shift while their pages are read: a sandbox may be missing once by chance.
CHANCES = 2
# The operating system limits the duration of a sleep.
LONGEST_SLEEP = 3600.0


class _Crowd:
    """The threads that wait for sandboxes of one owner. Hold ``changed`` to call its methods."""

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
        """Return the seconds until a waiter that is ``due`` may request the list. 0 means now."""
        return LONGEST_SLEEP if self._is_asking else min(max(due - now, self._next - now, 0.0), LONGEST_SLEEP)

    def begin(self) -> frozenset[str]:
        """Take the role of the requester. Returns the ids of the waited-for sandboxes."""
        self._is_asking = True
        self.begun += 1
        return frozenset(self.waiting)

    def publish(self, seen: Mapping[str, Status], pages: int) -> None:
        """Publish the statuses of a list. Each page adds to the pause before the next request."""
        self.seen, self.ended = seen, self.begun
        self._next = time.monotonic() + SPACING * pages

    def rest(self) -> None:
        """Stop using the list for a while, so that each waiter looks up its own sandbox."""
        self._broken_until = time.monotonic() + BROKEN

    def give_back(self) -> None:
        """Let another waiter request the list."""
        self._is_asking = False
        self.changed.notify_all()


class _Crowds:
    """All crowds of this process with at least one waiter, by settings and the owner's DID."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        # Also runs in a forked child: the waiting threads exist only in the parent, and one may hold the lock.
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
after_fork(_here.forget)


class Waiter:
    """A context manager: one thread that waits for ``sandbox``.

    ``interval`` is the seconds between lookups. With an interval shorter than the list's, the waiter polls alone.
    """

    def __init__(self, sandbox: Sandbox, interval: float | None) -> None:
        self._id = sandbox.id
        self._is_alone = has_door() or (interval is not None and interval < SPACING)
        self._crowd: _Crowd | None = None
        self._known = 0
        self._missed = 0
        # A sandbox that is probably running is looked up at once, without the list.
        self._is_first = sandbox.status is Status.RUNNING
        self._sandbox = sandbox

    def __enter__(self) -> Self:
        self.saw(self._sandbox)
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def saw(self, sandbox: Sandbox) -> None:
        """Record the result of a lookup. Only a later list is news. The owner decides which crowd to join."""
        if self._missed >= CHANCES:
            self._leave()
        self._join(sandbox)
        if self._crowd is not None:
            with self._crowd.changed:
                self._known = self._crowd.begun

    def wait(self, due: float, deadline: float) -> Status | None:
        """Return the status from a list, or None when it is time to look up the sandbox itself.

        That is at ``due`` with few waiters, and at ``deadline`` at the latest. Both are times of the monotonic clock.
        """
        is_first, self._is_first = self._is_first, False
        while self._crowd is not None and not is_first:
            with self._crowd.changed:
                now = time.monotonic()
                if now >= deadline or not self._crowd.is_worth_it(now):
                    break
                if self._crowd.ended > self._known:
                    return self._answer(self._crowd)
                if (pause := self._crowd.pause(due, now)) > 0:
                    self._crowd.changed.wait(min(pause, deadline - now))
                    continue
                about = self._crowd.begin()
            self._ask(self._crowd, about, deadline)
        _sleep_until(min(due, deadline))
        return None

    def _answer(self, crowd: _Crowd) -> Status | None:
        self._known = crowd.ended
        status = crowd.seen.get(self._id)
        self._missed = 0 if status else self._missed + 1
        return status

    def _ask(self, crowd: _Crowd, about: frozenset[str], deadline: float) -> None:
        try:
            answer = self._list(crowd.where[1], about, deadline)
            with crowd.changed:
                if answer is not None:
                    crowd.publish(*answer)
                elif time.monotonic() < deadline:
                    crowd.rest()
                # Else it had too little time. The next waiter may have more.
        finally:
            with crowd.changed:
                crowd.give_back()

    def _list(self, did: str, about: frozenset[str], deadline: float) -> tuple[Mapping[str, Status], int] | None:
        """Return the statuses and the number of pages, or None if a page fails."""
        seen: dict[str, Status] = {}
        offset = pages = 0
        while True:
            read_timeout = min(LONGEST_READ, max(deadline - time.monotonic(), SHORTEST_READ))
            call = sandboxes_of(did, limit=PAGE * GROWTH**pages, offset=offset, read_timeout=read_timeout)
            answer = send(call)
            if isinstance(answer, Failure):
                return None
            page = answer.unwrap()
            seen |= {box.id: box.status for box in page}
            offset, pages = offset + len(page), pages + 1
            is_whole = not page.items or offset >= page.total
            if is_whole or about <= seen.keys() or pages >= len(about) // 2:
                return seen, pages

    def _join(self, sandbox: Sandbox) -> None:
        if self._is_alone or self._crowd is not None:
            return
        login = settings()
        if isinstance(login, Failure):
            return
        # A record without an owner is mostly of a sandbox that this user has just created.
        did = sandbox.owner.did if sandbox.owner else token_did(login.unwrap().token or "")
        if did is not None:
            self._crowd = _here.enter((login.unwrap(), did), self._id)

    def _leave(self) -> None:
        if self._crowd is not None:
            _here.leave(self._crowd, self._id)
            self._crowd, self._is_alone = None, True


def _sleep_until(due: float) -> None:
    while (left := due - time.monotonic()) > 0:
        time.sleep(min(left, LONGEST_SLEEP))
