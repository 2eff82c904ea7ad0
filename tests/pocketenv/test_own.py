"""Your own sandboxes, by status and topic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from returns.result import Failure, Success

from pocketenv_fp import (
    Config,
    NotLoggedIn,
    Page,
    PocketenvError,
    ServerError,
    Status,
    create,
    delete,
    iter_my_sandboxes,
    local,
    my_sandboxes,
    stop,
    using,
)
from pocketenv_fp.local.faults import Refuse
from tests import servers
from tests.servers import Server, client, reply

LIST = "actor.getActorSandboxes"
LOOK = "sandbox.getSandbox"
NAMES = ["five", "four", "three", "two", "one"]


@pytest.fixture(scope="module")
def place() -> Iterator[local.Platform]:
    """A platform with five sandboxes of the caller and one of another user."""
    with local.platform() as running:
        with using(Config(api_url=running.url, token=running.token)):
            for number, name in enumerate(reversed(NAMES)):
                made = create(name, topics=["odd", "all"] if number % 2 == 0 else ["all"])
                (made | stop if number < 2 else made).unwrap()
        with using(Config(api_url=running.url, token=running.new_user("somebody.test"))):
            create("foreign", topics=["all"]).unwrap()
        yield running


@pytest.fixture(autouse=True)
def _here(place: local.Platform) -> Iterator[None]:
    place.calls.clear()
    with using(Config(api_url=place.url, token=place.token, retries=0)):
        yield


def methods(place: local.Platform) -> list[str]:
    """The methods that were called."""
    return [name.removeprefix("io.pocketenv.") for name, _ in place.calls]


@pytest.mark.parametrize(
    ("status", "topic", "names"),
    [
        (None, None, NAMES),
        (Status.RUNNING, None, NAMES[:3]),
        (Status.STOPPED, None, NAMES[3:]),
        (Status.INITIALIZING, None, []),
        (None, "odd", ["five", "three", "one"]),
        (Status.RUNNING, "odd", ["five", "three"]),
        (Status.STOPPED, "odd", ["one"]),
        (None, "no-such-topic", []),
    ],
)
def test_my_sandboxes_filters(status: Status | None, topic: str | None, names: list[str]) -> None:
    """Page and iterator have the same sandboxes, and the page has their number."""
    page = my_sandboxes(status=status, topic=topic).unwrap()
    assert ([box.name for box in page], page.total) == (names, len(names))
    assert [box.unwrap().name for box in iter_my_sandboxes(limit=2, status=status, topic=topic)] == names


def test_my_sandboxes_pages() -> None:
    """Limit and offset count the matches."""
    for filters in ({}, {"status": Status.RUNNING}, {"topic": "odd"}):
        page = my_sandboxes(limit=1, offset=1, **cast("Any", filters)).unwrap()
        whole = my_sandboxes(**cast("Any", filters)).unwrap()
        assert (list(page), page.total) == ([whole[1]], whole.total)


def test_my_sandboxes_one_request(place: local.Platform) -> None:
    """The token names its user, so no profile is requested."""
    my_sandboxes().unwrap()
    my_sandboxes(status=Status.RUNNING).unwrap()
    my_sandboxes(status=Status.STOPPED).unwrap()
    assert methods(place) == [LIST] * 3
    place.calls.clear()
    my_sandboxes(status=Status.STOPPED, topic="odd").unwrap()
    assert methods(place) == [LIST, LOOK, LOOK]


def test_iter_my_sandboxes_lazy(place: local.Platform) -> None:
    """A page is requested when it is needed."""
    boxes = iter_my_sandboxes(limit=2, topic="all")
    assert methods(place) == []
    assert next(boxes).unwrap().name == "five"
    assert methods(place) == [LIST, LOOK]


def test_my_sandboxes_opaque_token() -> None:
    """A token that names no user is sent for the profile first."""
    profile = reply(b'{"id": "1", "did": "did:plc:a", "handle": "a.test"}')
    with Server(servers.in_turn(profile, reply(b'{"sandboxes": [], "total": 0}'))) as server:
        assert my_sandboxes(config=client(server.url), token="opaque") == Success(Page((), 0))
        paths = [request.path.rpartition(".")[2] for request in server.seen]
        assert paths == ["getProfile", "getActorSandboxes?did=did%3Aplc%3Aa&limit=30&offset=0"]


def test_my_sandboxes_no_login(place: local.Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a token no sandboxes are listed."""
    monkeypatch.setenv("POCKETENV_API_URL", place.url)
    from contextvars import Context

    def both() -> list[object]:
        return [my_sandboxes(), next(iter_my_sandboxes(topic="odd"))]

    assert Context().run(both) == [Failure(NotLoggedIn())] * 2
    assert methods(place) == []


@pytest.mark.parametrize("method", [LIST, LOOK])
def test_my_sandboxes_request_fails(place: local.Platform, method: str) -> None:
    """No part of a list passes for the whole."""
    with place.faults.on(method, Refuse(502)):
        assert isinstance(my_sandboxes(topic="odd").failure(), ServerError)
        *_, last = iter_my_sandboxes(topic="odd")
        assert isinstance(last.failure(), PocketenvError)


def test_my_sandboxes_deleted() -> None:
    """A sandbox that is listed and gone at its look is no match."""
    brief = [create(name, topics=["brief"]) for name in ("first", "second")]
    boxes = iter_my_sandboxes(topic="brief")
    assert next(boxes).unwrap().name == "second"
    (brief[0] | delete).unwrap()
    assert list(boxes) == []
    (brief[1] | delete).unwrap()


@pytest.mark.parametrize("function", [my_sandboxes, iter_my_sandboxes])
def test_my_sandboxes_status_string(function: Any) -> None:
    """A misspelt string would be read as UNKNOWN."""
    with pytest.raises(TypeError, match="status: expected Status or None, got str"):
        function(status="RUNNING")
