"""One waiter among others: when it looks up its own sandbox, and when it uses the list of all."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from msgspec.structs import replace
from returns.result import Result, Success

from pocketenv_fp import Page, PocketenvError, Profile, Sandbox, Status, using
from pocketenv_fp.config import settings
from pocketenv_fp.sandbox import shared_polling
from pocketenv_fp.sandbox.shared_polling import CHANCES, CROWD, SPACING, Waiter
from tests.servers import BOX, client

STARTING = Status.INITIALIZING


def box(number: int, status: Status = STARTING) -> Sandbox:
    """A sandbox of one owner."""
    return replace(BOX, id=f"s{number}", status=status, owner=Profile(id="1", did="did:plc:x", handle="x.test"))


class Lists:
    """The lists of the platform: the ids in each, and whether their sandboxes run."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.status = STARTING
        self.sent = 0

    def send(self, _call: object) -> Result[Page[Sandbox], PocketenvError]:
        self.sent += 1
        boxes = tuple(box(number, self.status) for number in self.numbers)
        return Success(Page(items=boxes, total=len(boxes)))


@pytest.fixture
def lists(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lists]:
    made = Lists()
    monkeypatch.setattr(shared_polling, "send", made.send)
    monkeypatch.setattr(shared_polling, "SPACING", 0.0)
    with using(client("http://127.0.0.1:9")):
        yield made


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The times until which a waiter sleeps. They take no time."""
    until: list[float] = []
    monkeypatch.setattr(shared_polling, "_sleep_until", until.append)
    return until


def soon() -> tuple[float, float]:
    """A due time that is over, and a deadline that is far."""
    return time.monotonic(), time.monotonic() + 600


def test_wait_without_crowd(lists: Lists, slept: list[float]) -> None:
    """A few waiters look up their own sandboxes: each at its due time, and at its deadline at the latest."""
    with ExitStack() as blocks:
        for number in range(CROWD - 1):
            waiter = blocks.enter_context(Waiter(box(number), None))
            assert [waiter.wait(7.0, 9.0), waiter.wait(9.0, 7.0)] == [None, None]
    assert slept == [7.0] * 2 * (CROWD - 1)
    assert lists.sent == 0


def test_wait_in_crowd(lists: Lists, slept: list[float]) -> None:
    """One of many requests the list, and the others read it."""
    lists.numbers = list(range(CROWD))
    with ExitStack() as blocks:
        waiters = [blocks.enter_context(Waiter(box(number), None)) for number in range(CROWD)]
        assert [waiter.wait(*soon()) for waiter in waiters] == [STARTING] * CROWD
        assert (lists.sent, slept) == (1, [])
        lists.status = Status.RUNNING
        assert [waiter.wait(*soon()) for waiter in waiters] == [Status.RUNNING] * CROWD
        assert (lists.sent, slept) == (2, [])
    assert shared_polling._here._crowds == {}


def test_wait_probably_running(lists: Lists, slept: list[float]) -> None:
    """A sandbox that is probably running is looked up once without the list."""
    lists.numbers = list(range(CROWD))
    with ExitStack() as blocks:
        for number in range(1, CROWD):
            blocks.enter_context(Waiter(box(number), None))
        waiter = blocks.enter_context(Waiter(box(0, Status.RUNNING), None))
        due, deadline = soon()
        assert waiter.wait(due, deadline) is None
        assert (lists.sent, slept) == (0, [due])
        assert waiter.wait(*soon()) is STARTING
        assert lists.sent == 1


def test_wait_missing_in_lists(lists: Lists) -> None:
    """A sandbox that lists lack is looked up, and after some of them it no longer waits with the others."""
    lists.numbers = list(range(1, CROWD))
    with ExitStack() as blocks:
        for number in range(1, CROWD):
            blocks.enter_context(Waiter(box(number), None))
        waiter = blocks.enter_context(Waiter(box(0), None))
        for _ in range(CHANCES - 1):
            assert waiter.wait(*soon()) is None
            waiter.saw(box(0))
        lists.numbers.append(0)
        assert waiter.wait(*soon()) is STARTING
        lists.numbers.remove(0)
        for _ in range(CHANCES):
            assert waiter._crowd is not None
            assert waiter.wait(*soon()) is None
            waiter.saw(box(0))
        assert waiter._crowd is None
        waiter.saw(box(0))
        assert waiter._crowd is None


def test_wait_alone(lists: Lists, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short interval, and the door of an explanation, need lookups of their own."""
    monkeypatch.setattr(shared_polling, "SPACING", SPACING)
    for interval, joins in ((SPACING / 2, False), (SPACING, True), (None, True)):
        with Waiter(box(0), interval) as waiter:
            assert (waiter._crowd is not None) is joins
    monkeypatch.setattr(shared_polling, "has_door", lambda: True)
    with Waiter(box(0), None) as waiter:
        assert waiter._crowd is None
    assert lists.sent == 0


@pytest.mark.usefixtures("lists")
def test_leave_crowds() -> None:
    """A crowd is forgotten with its last waiter, and an older one takes no other along."""
    here = shared_polling._Crowds()
    where = settings().map(lambda known: (known, "did:plc:x")).unwrap()
    old = here.enter(where, "a")
    assert here.enter(where, "b") is old
    here.leave(old, "a")
    assert here._crowds == {where: old}
    here.forget()
    new = here.enter(where, "c")
    here.leave(old, "b")
    assert here._crowds == {where: new}
    here.leave(new, "c")
    assert here._crowds == {}
