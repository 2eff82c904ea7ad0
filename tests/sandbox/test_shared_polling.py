"""Threads that wait for sandboxes of one owner share a list, and each gets the right status."""

# pyright: reportPrivateUsage=false
# Only the private state shows whether a thread still counts as waiting.

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from returns.result import Failure, Result, Success

from pocketenv_fp import (
    Config,
    PocketenvError,
    Sandbox,
    SandboxNotFound,
    Status,
    WaitTimeout,
    create,
    delete,
    fan_out,
    get_sandbox,
    local,
    partition,
    refresh,
    start,
    using,
    wait_until_running,
)
from pocketenv_fp.config import settings
from pocketenv_fp.local.faults import Drop, Fault, Garbage, Html, Refuse, Slow, Truncated
from pocketenv_fp.sandbox import shared_polling
from tests.local.wire import eventually

LIST = "actor.getActorSandboxes"
LOOK = "sandbox.getSandbox"
# No sandbox runs before the test boots it.
NEVER = 3600
SPACING = 0.1
MANY = 20

Waited = Result[Sandbox, PocketenvError]


@pytest.fixture(scope="module")
def booting() -> Iterator[local.Platform]:
    """A platform whose sandboxes do not run before `boot`."""
    with local.platform(boot_delay=NEVER) as platform:
        yield platform


@pytest.fixture
def place(booting: local.Platform, monkeypatch: pytest.MonkeyPatch) -> Iterator[local.Platform]:
    """The same, empty and well, for every login there. Its lists may be requested more often than usual."""
    monkeypatch.setattr(shared_polling, "SPACING", SPACING)
    booting.remove_sandboxes()
    booting.faults.clear()
    with using(Config(api_url=booting.url, token=booting.token, retries=1)):
        yield booting
    booting.faults.clear()


def made(count: int, prefix: str = "box") -> list[Sandbox]:
    boxes, errors = partition(
        fan_out(create(provider="daytona"), [f"{prefix}-{number}" for number in range(count)], max_workers=8)
    )
    assert errors == []
    return boxes


def asked(place: local.Platform) -> Counter[str]:
    return Counter(method.removeprefix("io.pocketenv.") for method, _ in list(place.calls))


def boot(place: local.Platform) -> None:
    """Let all sandboxes run."""

    async def run() -> None:
        place._world.store.write("UPDATE sandboxes SET ready_at = 0")

    asyncio.run_coroutine_threadsafe(run(), place._loop).result()


@contextmanager
def booting_after(place: local.Platform, **requests: int) -> Generator[None]:
    """Let all sandboxes run after further requests: the number of `looks`, `lists` and `creates`."""
    methods = {"looks": LOOK, "lists": LIST, "creates": "sandbox.createSandbox"}
    before = asked(place)

    def wait() -> None:
        def are_enough() -> bool:
            since = asked(place) - before
            return all(since[methods[name]] >= number for name, number in requests.items())

        assert eventually(are_enough)
        boot(place)

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_wait_many_threads(place: local.Platform) -> None:
    """Many threads that wait share a list request."""
    boxes = made(MANY)
    place.calls.clear()
    began = time.monotonic()
    with booting_after(place, lists=3):
        running = fan_out(wait_until_running, boxes)
    seconds, sent = time.monotonic() - began, asked(place)
    assert [box.unwrap().id for box in running] == [box.id for box in boxes]
    assert {box.unwrap().status for box in running} == {Status.RUNNING}
    assert 3 <= sent[LIST] <= seconds / SPACING + 2
    # Each thread looks once at its own in the end, and the first ones also before there were others.
    assert sent.total() - sent[LIST] < MANY * 2


def test_wait_whole_record(place: local.Platform) -> None:
    """Each thread gets the whole record."""
    make = create(provider="daytona", topics=["a", "b"], description="whole")
    with booting_after(place, creates=6, lists=1):
        running = fan_out(make | start | wait_until_running, [f"whole-{number}" for number in range(6)])
    assert running == [box | refresh for box in running]
    assert {box.unwrap().topics for box in running} == {("a", "b")}
    assert all(box.unwrap().owner for box in running)


@pytest.mark.parametrize("count", [1, shared_polling.CROWD - 1])
def test_wait_few_threads(place: local.Platform, count: int) -> None:
    """A few threads send their own requests."""
    boxes = made(count)
    place.calls.clear()
    with booting_after(place, looks=3 * count):
        assert partition(fan_out(wait_until_running, boxes))[1] == []
    assert asked(place).keys() == {LOOK}


def test_wait_shorter_interval(place: local.Platform) -> None:
    """A waiter with a shorter interval sends its own requests."""
    boxes = made(6)
    place.calls.clear()
    with booting_after(place, looks=18):
        assert partition(fan_out(wait_until_running(interval=0.9 * SPACING), boxes))[1] == []
    assert asked(place).keys() == {LOOK}
    others = made(6, "other")
    with booting_after(place, lists=1):
        assert partition(fan_out(wait_until_running(interval=SPACING), others))[1] == []


def test_wait_already_running(place: local.Platform) -> None:
    """A sandbox that runs already does not wait for the others."""
    boxes = made(6)
    quick = create("quick", provider="cloudflare").unwrap()
    with ThreadPoolExecutor(len(boxes)) as pool:
        others = [pool.submit(wait_in, place, box) for box in boxes]
        until_asked(place)
        assert (quick | wait_until_running).unwrap().id == quick.id
        assert (boxes[0] | refresh).unwrap().status is Status.INITIALIZING
        boot(place)
        assert all(isinstance(other.result(), Success) for other in others)


def test_wait_deleted_sandbox(place: local.Platform) -> None:
    """A deleted sandbox ends its own wait only."""
    boxes = made(8)
    with ThreadPoolExecutor(len(boxes)) as pool:
        waits = [pool.submit(wait_in, place, box) for box in boxes]
        until_asked(place)
        delete(boxes[3]).unwrap()
        assert isinstance(waits[3].result().failure(), SandboxNotFound)
        boot(place)
        errors = {number: wait.result().failure() for number, wait in enumerate(waits) if not good(wait.result())}
    assert list(errors) == [3]


def test_wait_two_owners(place: local.Platform) -> None:
    """Sandboxes of two owners are not mixed up."""
    mine = made(5, "mine")
    other = Config(token=place.new_user("other.test"))
    with using(other):
        foreign = made(5, "foreign")
    place.calls.clear()
    with booting_after(place, lists=6):
        running = fan_out(wait_until_running, [*mine, *foreign])
    assert [box.unwrap().id for box in running] == [box.id for box in (*mine, *foreign)]
    # A thread waits as one user, and another user's sandboxes are in another list.
    # A few look by themselves, before and after there are enough of them for a list.
    assert asked(place)[LOOK] < 5 * len(running)


def test_wait_not_listed(place: local.Platform) -> None:
    """A sandbox that the list does not have gets its own request."""
    mine = made(5, "mine")
    with using(Config(token=place.new_user("third.test"))):
        foreign = create("foreign", provider="daytona").unwrap()
    # A record may be wrong about its owner: it is what an answer said once.
    owner = mine[0].owner
    assert owner is not None
    mistaken = Sandbox(id=foreign.id, name=foreign.name, owner=owner)
    with booting_after(place, lists=2):
        running = fan_out(wait_until_running, [*mine, mistaken])
    assert running[-1].unwrap().id == foreign.id
    assert partition(running)[1] == []


# A refusal, no answer and a late one. The others are the same to it.
BROKEN: list[Fault] = [Refuse(500), Drop(), Slow(30)]
ALIKE: list[Fault] = [Refuse(503), Garbage(), Html(502), Drop(reset=True), Truncated()]


@pytest.mark.parametrize("fault", [*BROKEN, *(pytest.param(each, marks=pytest.mark.slow) for each in ALIKE)], ids=repr)
def test_wait_list_fails(place: local.Platform, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that fails does no harm to the threads."""
    monkeypatch.setattr(shared_polling, "LONGEST_READ", 0.2)
    monkeypatch.setattr(shared_polling, "BROKEN", 60)
    boxes = made(8)
    with place.faults.on(LIST, fault) as planned, booting_after(place, looks=16):
        running = fan_out(wait_until_running, boxes)
    assert [box.unwrap().id for box in running] == [box.id for box in boxes]
    # It is sent again once, and not again and again.
    assert 1 <= planned.played <= 2


def test_wait_list_after_failure(place: local.Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failure the list is requested again."""
    monkeypatch.setattr(shared_polling, "BROKEN", 0.2)
    boxes = made(8)
    with place.faults.on(LIST, Garbage(), times=1) as planned, booting_after(place, lists=3):
        assert partition(fan_out(wait_until_running, boxes))[1] == []
    assert planned.left == 0


def test_wait_deleted_before(place: local.Platform) -> None:
    """A sandbox that was deleted before is not found."""
    boxes = made(6)
    delete(boxes[0]).unwrap()
    with booting_after(place, lists=1):
        results = fan_out(wait_until_running, boxes)
    assert isinstance(results[0].failure(), SandboxNotFound)
    assert partition(results[1:])[1] == []


def test_wait_own_timeouts(place: local.Platform) -> None:
    """Each wait ends at its own timeout."""
    boxes = made(8)
    timeouts = [0, 0.1, 0.2, 0.3, 60, 60, 60, 60]
    with ThreadPoolExecutor(len(boxes)) as pool:
        waits = [pool.submit(wait_in, place, *pair) for pair in zip(boxes, timeouts, strict=True)]
        results = [wait.result() for wait in waits[:4]]
        boot(place)
        results += [wait.result() for wait in waits[4:]]
    assert results[:4] == [Failure(WaitTimeout(seconds, "INITIALIZING")) for seconds in timeouts[:4]]
    assert all(good(result) for result in results[4:])


def test_wait_hands_over(place: local.Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that has no time left hands the request over."""
    monkeypatch.setattr(shared_polling, "SHORTEST_READ", 0.2)
    boxes = made(8)
    with place.faults.on(LIST, Slow(5), times=1) as planned, ThreadPoolExecutor(len(boxes)) as pool:
        short = [pool.submit(wait_in, place, box, 0.3) for box in boxes[:4]]
        assert eventually(lambda: planned.played == 1)
        # The one that failed is no reason to ask no more: that comes after a failure of the platform.
        with booting_after(place, lists=2):
            long = [pool.submit(wait_in, place, box) for box in boxes[4:]]
        assert [wait.result() for wait in short] == [Failure(WaitTimeout(0.3, "INITIALIZING"))] * 4
        assert all(good(wait.result()) for wait in long)


def test_wait_next_pages(place: local.Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Further pages are requested as long as that saves requests."""
    monkeypatch.setattr(shared_polling, "PAGE", 2)
    boxes = made(9)
    place.calls.clear()
    began = time.monotonic()
    with booting_after(place, lists=3):
        assert partition(fan_out(wait_until_running, boxes))[1] == []
    seconds, sent = time.monotonic() - began, asked(place)
    # Pages of 2 and 8 are two requests each time, and twice the time until the next ones.
    assert 4 <= sent[LIST] <= 2 * (seconds / (2 * SPACING) + 2)
    assert sent[LIST] % 2 == 0
    assert sent.total() - sent[LIST] < 3 * len(boxes)


def test_wait_last_pages(place: local.Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox on a late page of the list gets its own request."""
    monkeypatch.setattr(shared_polling, "PAGE", 1)
    monkeypatch.setattr(shared_polling, "GROWTH", 1)
    old = made(4, "old")
    made(6, "new")
    with booting_after(place, lists=2):
        running = fan_out(wait_until_running, old)
    assert [box.unwrap().id for box in running] == [box.id for box in old]


def test_wait_other_settings(place: local.Platform) -> None:
    """Threads with different settings share no list request."""
    boxes = made(6)
    with ThreadPoolExecutor(len(boxes)) as pool:
        configs = [Config(api_url=place.url, token=place.token, retries=number % 2) for number in range(len(boxes))]
        place.calls.clear()
        with booting_after(place, looks=18):
            waits = [
                pool.submit(wait_until_running, box, config=config) for box, config in zip(boxes, configs, strict=True)
            ]
        assert all(good(wait.result()) for wait in waits)
    assert LIST not in asked(place)


def test_wait_without_token(place: local.Platform) -> None:
    """Threads without a token share a list request too."""
    boxes = made(6)
    nobody = Config(api_url=place.url)
    with booting_after(place, lists=1), ThreadPoolExecutor(len(boxes)) as pool:
        waits = [pool.submit(wait_until_running, box, config=nobody) for box in boxes]
        assert [wait.result().unwrap().id for wait in waits] == [box.id for box in boxes]


def test_wait_no_owner(place: local.Platform) -> None:
    """A sandbox without an owner gets its own request."""
    boxes = [get_sandbox(place.new_ownerless_sandbox()).unwrap() for _ in range(5)]
    place.calls.clear()
    assert partition(fan_out(wait_until_running, boxes))[1] == []
    assert asked(place) == {LOOK: 5}


def test_wait_leaves_no_state(place: local.Platform) -> None:
    """After the waits no state is left."""
    boxes = made(6)
    with booting_after(place, lists=1):
        fan_out(wait_until_running, boxes)
    fan_out(wait_until_running(timeout=0), boxes)
    delete(boxes[0]).unwrap()
    assert isinstance(wait_until_running(boxes[0]).failure(), SandboxNotFound)
    assert shared_polling._here._crowds == {}
    assert place.token not in repr(shared_polling._Crowd((settings().unwrap(), "did:plc:x")).where)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # newer Pythons: that is the point here
def test_wait_forked_child(place: local.Platform) -> None:
    """A forked child does not inherit its parent's waits."""
    boxes = made(6)
    with ThreadPoolExecutor(len(boxes)) as pool:
        waits = [pool.submit(wait_in, place, box) for box in boxes]
        until_asked(place)
        pid = os.fork()
        if not pid:
            os._exit(0 if shared_polling._here._crowds == {} and not shared_polling._here._guard.locked() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        boot(place)
        assert all(good(wait.result()) for wait in waits)


def test_wait_rate_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads wait for the platform's limit of requests."""
    from pocketenv_fp.local import limits

    monkeypatch.setattr(limits, "WINDOW_SECONDS", 2)
    with (
        local.platform(boot_delay=1, rate_limit=60) as platform,
        using(Config(api_url=platform.url, token=platform.token, retries=0)),
    ):
        running = fan_out(create(provider="daytona") | start | wait_until_running, [f"box-{n}" for n in range(14)])
        assert partition(running)[1] == []
        assert [call for call in platform.calls if call[1] != 200] == []


def wait_in(place: local.Platform, box: Sandbox, timeout: float = 60) -> Waited:
    return wait_until_running(box, timeout=timeout, config=Config(api_url=place.url, token=place.token, retries=1))


def good(result: Waited) -> bool:
    return isinstance(result, Success)


def until_asked(place: local.Platform) -> None:
    """Wait until a list was requested: the others wait then."""
    before = asked(place)[LIST]
    assert eventually(lambda: asked(place)[LIST] > before)
