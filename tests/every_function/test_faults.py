"""Every fault of the embedded platform, met by every kind of operation at each of its requests.

Each test checks the result, the number of requests and how often the platform did the work, once for a fault that
passes and once for one that stays. Their table is printed at the end of the run.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from returns.result import Failure, Result, Success

from pocketenv_fp import (
    ApiError,
    ArchiveError,
    Config,
    PocketenvError,
    RateLimited,
    Sandbox,
    ServerError,
    TransportError,
    create,
    delete,
    download,
    exec,
    get_sandbox,
    local,
    pocketenv,
    start,
    upload,
)
from pocketenv_fp.local.faults import Cut, Drop, Fault, Garbage, Html, Refuse, Slow, Truncated
from pocketenv_fp.sandbox.copying import delivery, departure
from tests import servers
from tests.figures import Figures
from tests.http.test_faults import BROKEN, shape
from tests.local.wire import eventually

pytestmark = pytest.mark.usefixtures("no_pauses")

RETRIES = 1
READ_TIMEOUT = 5.0
# For the pauses between requests, a machine that is busy, and the work itself.
GRACE = 60.0
FAULTS: dict[Fault, tuple[type[PocketenvError], object]] = {
    **BROKEN,
    Refuse(400): (ApiError, None),
    Refuse(429, retry_after=0): (RateLimited, 0.0),
    Html(503): (ServerError, 503),
}
numbers = itertools.count()


class World(NamedTuple):
    """A platform, a running sandbox on it that has two variables and a directory, and a directory of this machine."""

    place: local.Platform
    box: Sandbox
    here: Path
    config: Config

    @property
    def boxes(self) -> set[str]:
        """The ids of all sandboxes that there are."""
        did = pocketenv.me(config=self.config).unwrap().did
        return {each.unwrap().id for each in pocketenv.iter_sandboxes_by_actor(did, config=self.config)}


Act = Callable[[World], Result[Any, PocketenvError]]


class Kind(NamedTuple):
    """An operation, one of its requests, and whether that is one that may be repeated."""

    act: Act
    method: str
    repeated: bool = False
    is_archive: bool = False


def look(world: World) -> Result[Any, PocketenvError]:
    return get_sandbox(world.box.id, config=world.config)


def describe(world: World) -> Result[None, PocketenvError]:
    return pocketenv.put_preferences(world.box.id, description="d", config=world.config)


def run(world: World) -> Result[Any, PocketenvError]:
    return exec(world.box, "echo ran", config=world.config)


def send_up(world: World) -> Result[Sandbox, PocketenvError]:
    return upload(world.box, world.here, "up", config=world.config)


def new(world: World) -> Result[Sandbox, PocketenvError]:
    name = f"new-{next(numbers)}"
    return create(name, env={"STAGE": "test"}, config=world.config).map(lambda box: _named(box, name))


def _named(box: Sandbox, name: str) -> Sandbox:
    assert box.name == name
    return box


def all_variables(world: World) -> Result[list[str], PocketenvError]:
    found = list(pocketenv.iter_variables(world.box.id, limit=1, config=world.config))
    # After a Failure there is no more, and never one Success too many.
    assert all(isinstance(each, Success) for each in found[:-1])
    if isinstance(found[-1], Failure):
        return Failure(found[-1].failure())
    return Success(sorted(each.unwrap().name for each in found))


def bring(world: World) -> Result[Path, PocketenvError]:
    target = world.here.parent / f"out-{next(numbers)}"
    got = download(world.box, "there", target, config=world.config)
    assert target.exists() == isinstance(got, Success)
    return got.map(_whole)


def _whole(path: Path) -> Path:
    assert (path / "file").read_bytes() == b"content" * 1000
    return path


KINDS: dict[str, Kind] = {
    "query": Kind(look, "sandbox.getSandbox", repeated=True),
    "iterator": Kind(all_variables, "variable.getVariables", repeated=True),
    "procedure": Kind(describe, "sandbox.putPreferences"),
    "exec": Kind(run, "sandbox.exec"),
    "create": Kind(new, "sandbox.createSandbox"),
    "create: named": Kind(new, "sandbox.putPreferences"),
    "create: env": Kind(new, "variable.addVariable"),
    "create: seen": Kind(new, "sandbox.getSandbox", repeated=True),
    "upload": Kind(send_up, "POST /cp", repeated=True),
    "upload: unpacked": Kind(send_up, "sandbox.pullDirectory"),
    "download": Kind(bring, "GET /cp", repeated=True, is_archive=True),
    "download: packed": Kind(bring, "sandbox.pushDirectory"),
}
CREATIONS = [name for name in KINDS if name.startswith("create")]
PASSING = {429, 502, 503, 504}


def is_repeated(kind: Kind, fault: Fault) -> bool:
    """Whether the next request may fare better and does no harm."""
    match fault:
        case Refuse(status=429, retry_after=0):
            return True
        case Refuse(status=429):
            return False
        case Refuse(status=status) | Html(status=status):
            return kind.repeated and status in PASSING
        case _:
            return kind.repeated and isinstance(fault, Drop | Cut)


def expected(kind: Kind, fault: Fault) -> tuple[type[PocketenvError], object]:
    """A download of other bytes is an ArchiveError: there is no response that could be decoded."""
    is_none = isinstance(fault, Truncated | Garbage) or fault == Html()
    return (ArchiveError, None) if kind.is_archive and is_none else FAULTS[fault]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    here = tmp_path_factory.mktemp("copied") / "in"
    here.mkdir()
    (here / "file").write_bytes(b"content" * 1000)
    servers.forget()
    with pytest.MonkeyPatch.context() as patch, local.platform() as place:
        # A small archive travels in a line, and does not come to storage.
        patch.setattr(delivery, "SMALL", 0)
        patch.setattr(departure, "SMALL", -1)
        config = Config(
            api_url=place.url,
            storage_url=place.storage_url,
            token=place.token,
            retries=RETRIES,
            read_timeout=READ_TIMEOUT,
        )
        box = create("box", env={"A": "1", "B": "2"}, config=config) | start(config=config)
        yield World(place, (box | upload(here, "there", config=config)).unwrap(), here, config)
    servers.forget()


@pytest.fixture(autouse=True)
def _fresh(world: World) -> Iterator[None]:
    yield
    world.place.faults.clear()


def forget(fault: Fault) -> None:
    """Let the next request not wait for the window of this one."""
    if isinstance(fault, Refuse) and fault.status == 429:
        servers.forget()


# Until the window of a 429 is over, no thread sends a request, and a create does not delete its sandbox.
HOUR = Refuse(429, retry_after=3600)
# A response without content may be empty: it looks the same as the platform's own.
EMPTY = Garbage(body=b"")
WORDLESS = {"procedure", "create: env", "upload: unpacked"}
EACH = pytest.mark.parametrize(
    ("name", "fault"),
    [
        pytest.param(name, fault, id=f"{name} {fault!r}")
        for name in KINDS
        for fault in FAULTS
        if not (fault == HOUR and name.startswith("create: ")) and not (fault == EMPTY and name in WORDLESS)
    ],
)


@pytest.mark.slow
@EACH
def test_fault_once(world: World, name: str, fault: Fault) -> None:
    """A fault at one request is retried where a retry is safe."""
    kind = KINDS[name]
    before, began = seen(world, name), time.monotonic()
    with world.place.faults.on(kind.method, fault, times=1) as planned:
        result = kind.act(world)
    forget(fault)
    assert time.monotonic() - began < (RETRIES + 1) * READ_TIMEOUT + GRACE
    assert planned.played == 1
    if is_repeated(kind, fault):
        assert isinstance(result, Success), result
    else:
        assert shape(result.failure()) == expected(kind, fault)
        assert planned.worked == fault.works
    assert_sandboxes(world, before, name, fault, result)
    # Nothing of it is left to trouble the next one.
    assert isinstance(kind.act(world), Success)


@EACH
def test_fault_on_every_request(world: World, figures: Figures, name: str, fault: Fault) -> None:
    """A fault at every request ends in its Failure, and an unsafe request is sent once."""
    kind = KINDS[name]
    before, began = seen(world, name), time.monotonic()
    with world.place.faults.on(kind.method, fault) as planned:
        result = kind.act(world)
    forget(fault)
    assert time.monotonic() - began < (RETRIES + 1) * READ_TIMEOUT + GRACE
    assert shape(result.failure()) == expected(kind, fault)
    assert planned.played == (RETRIES + 1 if is_repeated(kind, fault) else 1)
    assert planned.worked == planned.played * fault.works
    if not kind.repeated:
        assert planned.worked <= 1
    assert_sandboxes(world, before, name, fault, result)
    note(figures, name, fault, f"{kind_of(result.failure())} {planned.played}/{planned.worked}")


def seen(world: World, name: str) -> set[str]:
    """The sandboxes that there are, where that may change."""
    return world.boxes if name in CREATIONS else set()


def assert_sandboxes(world: World, before: set[str], name: str, fault: Fault, result: Result[Any, Any]) -> None:
    """The sandbox of the create, none, or the one whose response was lost."""
    untold = name == "create" and fault.works and isinstance(result, Failure)
    made = seen(world, name) - before
    assert len(made) == (name in CREATIONS and (untold or isinstance(result, Success)))
    for each in made:
        delete(Sandbox(id=each, name=each), config=world.config).unwrap()


SLOW = [(name, before_work) for name in KINDS for before_work in (False, True)]
# What a command or the packing of a directory takes is not known: these are waited for.
PATIENT = {"sandbox.exec", "sandbox.pullDirectory", "sandbox.pushDirectory"}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "before_work"), SLOW)
def test_fault_slow_answer(world: World, figures: Figures, name: str, *, before_work: bool) -> None:
    """A slow response is read until the timeout, and no work is requested twice."""
    # The lines of a copy have the same time-out, and take longer.
    is_copy = name.startswith(("upload", "download"))
    kind, fault = KINDS[name], Slow(4.0 if is_copy else 0.7, before_work=before_work)
    hasty = world._replace(config=msgspec.structs.replace(world.config, read_timeout=3.0 if is_copy else 0.2))
    before, began = seen(world, name), time.monotonic()
    with world.place.faults.on(kind.method, fault, times=1) as planned:
        assert isinstance(kind.act(world), Success)
        assert planned.played == 1
    with world.place.faults.on(kind.method, fault, times=1) as planned:
        result = kind.act(hasty)
        assert planned.played == 1
        if name == "create":
            # It is made all the same: that is what maybe_sent warns of.
            assert eventually(lambda: planned.worked == 1)
        assert planned.worked <= 1 or kind.repeated
    assert time.monotonic() - began < 2 * fault.seconds + GRACE
    if kind.method in PATIENT or kind.method.endswith("/cp"):
        # An archive that did not come in time is sent or packed again.
        assert isinstance(result, Success)
        outcome = "waited" if kind.method in PATIENT else "repeated"
    else:
        assert shape(result.failure()) == (TransportError, "timeout")
        outcome = f"{kind_of(result.failure())} 1"
    note(figures, name, fault, outcome)
    made = seen(world, name) - before
    assert len(made) == (1 if name in CREATIONS else 0) + (name == "create")
    for each in made:
        delete(Sandbox(id=each, name=each), config=world.config).unwrap()


def kind_of(error: PocketenvError) -> str:
    """An error in a word or two."""
    match shape(error):
        case (kind, None):
            return kind.__name__.removesuffix("Error")
        case (kind, reason) if kind is TransportError:
            return str(reason)
        case (kind, reason):
            return f"{kind.__name__.removesuffix('Error')[:6]} {reason}"


def note(figures: Figures, name: str, fault: Fault, cell: str) -> None:
    """Put an outcome into the table: a line for each fault."""
    figures.cell("faults: what stays wrong, in requests/works", f"{fault!r}"[:39], name, cell[:15])
