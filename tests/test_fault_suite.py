"""Every fault of the embedded platform, met by every kind of operation at each of its requests.

What comes back, how often the platform was asked and how often it did the work, once for a fault that passes and once
for one that stays. The table of it is printed at the end of the run.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

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
    download,
    exec,
    get_sandbox,
    local,
    pocketenv,
    start,
    upload,
)
from pocketenv_fp.local.faults import Cut, Drop, Fault, Garbage, Html, Refuse, Slow, Truncated
from tests import servers
from tests.local.wire import eventually
from tests.test_faults_client import BROKEN, shape

RETRIES = 1
READ_TIMEOUT = 5.0
# For the pauses between requests, a machine that is busy, and the work itself.
GRACE = 10.0
FAULTS: dict[Fault, tuple[type[PocketenvError], object]] = {
    **BROKEN,
    Refuse(400): (ApiError, None),
    Refuse(429, retry_after=0): (RateLimited, 0.0),
    Html(503): (ServerError, 503),
}
NAMES = {"exec": "sandbox.exec", "read": "GET /cp", "packed": "sandbox.pushDirectory"}
numbers = itertools.count()


class World(NamedTuple):
    """A platform, a running sandbox on it that has two variables and a directory, and a directory of this machine."""

    place: local.Platform
    box: Sandbox
    here: Path
    config: Config

    @property
    def boxes(self) -> set[str]:
        """The names of all sandboxes that there are."""
        return {box.unwrap().name for box in pocketenv.iter_sandboxes_by_actor("me", config=self.config)}


Act = Callable[[World], Result[Any, PocketenvError]]


class Kind(NamedTuple):
    """An operation, one of its requests, and whether that is one that may be repeated."""

    act: Act
    method: str
    repeated: bool = False
    is_archive: bool = False


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
    return got.map(lambda path: _whole(path))


def _whole(path: Path) -> Path:
    assert (path / "file").read_bytes() == b"content" * 1000
    return path


KINDS: dict[str, Kind] = {
    "query": Kind(lambda w: get_sandbox(w.box.id, config=w.config), "sandbox.getSandbox", repeated=True),
    "iterator": Kind(all_variables, "variable.getVariables", repeated=True),
    "procedure": Kind(
        lambda w: pocketenv.put_preferences(w.box.id, description="d", config=w.config), "sandbox.putPreferences"
    ),
    "exec": Kind(lambda w: exec(w.box, "echo ran", config=w.config), "sandbox.exec"),
    "create": Kind(new, "sandbox.createSandbox"),
    "create: named": Kind(new, "sandbox.putPreferences"),
    "create: env": Kind(new, "variable.addVariable"),
    "create: seen": Kind(new, "sandbox.getSandbox", repeated=True),
    "upload": Kind(lambda w: upload(w.box, w.here, "up", config=w.config), "POST /cp", repeated=True),
    "upload: unpacked": Kind(lambda w: upload(w.box, w.here, "up", config=w.config), "sandbox.pullDirectory"),
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
    """An archive that is none is no answer of the platform that could be decoded."""
    is_none = isinstance(fault, Truncated | Garbage) or fault == Html()
    return (ArchiveError, None) if kind.is_archive and is_none else FAULTS[fault]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    here = tmp_path_factory.mktemp("copied") / "in"
    here.mkdir()
    (here / "file").write_bytes(b"content" * 1000)
    with local.platform() as place:
        config = Config(
            api_url=place.url,
            storage_url=place.storage_url,
            token=place.token,
            retries=RETRIES,
            read_timeout=READ_TIMEOUT,
        )
        box = create("box", env={"A": "1", "B": "2"}, config=config) | start(config=config)
        yield World(place, (box | upload(here, "there", config=config)).unwrap(), here, config)


@pytest.fixture(autouse=True)
def _fresh(world: World) -> Iterator[None]:
    servers.forget()
    yield
    world.place.faults.clear()
    servers.forget()
    for box in pocketenv.iter_sandboxes_by_actor("local.test", config=world.config):
        _ = box
