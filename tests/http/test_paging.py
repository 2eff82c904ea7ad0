"""Lists read to their end, page after page, although they have no order and change between the pages."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from returns.result import Failure, Result, Success

from pocketenv_fp import (
    ApiError,
    Config,
    DecodeError,
    InvalidInput,
    NotLoggedIn,
    PocketenvError,
    SandboxNotFound,
    Secret,
    TransportError,
    create,
    get_sandbox,
    local,
    pocketenv,
    sandbox,
    using,
)
from pocketenv_fp.http.paging import walk
from pocketenv_fp.local.faults import Drop, Html, Refuse
from pocketenv_fp.models import Page
from tests import servers
from tests.servers import Request, Server, client, reply

ITERATORS: list[Callable[..., Iterator[Result[Any, PocketenvError]]]] = [
    pocketenv.iter_secrets,
    pocketenv.iter_variables,
    pocketenv.iter_files,
    pocketenv.iter_volumes,
    sandbox.iter_secrets,
    sandbox.iter_variables,
    sandbox.iter_files,
    sandbox.iter_volumes,
]
EACH = pytest.mark.parametrize("iterate", ITERATORS, ids=lambda each: f"{each.__module__}.{each.__name__}")


COIN: st.SearchStrategy[Any] = st.booleans()


def record(number: int) -> Secret:
    return Secret(str(number), f"S{number}")


class Shelf:
    """A list as the platform has them: no order that lasts, and another program that adds and deletes between the pages."""

    def __init__(self, count: int, changes: Callable[[list[Secret]], object] = lambda _: None, seed: int = 0) -> None:
        self.records = [record(number) for number in range(count)]
        self.asked: list[tuple[int, int]] = []
        self._changes = changes
        self._random = random.Random(seed)

    def fetch(self, limit: int, offset: int) -> Result[Page[Secret], PocketenvError]:
        if self.asked:
            self._changes(self.records)
        self.asked.append((limit, offset))
        return Success(Page(tuple(self.records[offset : offset + limit]), len(self.records)))

    def shuffled(self, limit: int, offset: int) -> Result[Page[Secret], PocketenvError]:
        self._random.shuffle(self.records)
        return self.fetch(limit, offset)

    def walk(self, limit: int = 20, *, shuffled: bool = False) -> Iterator[Result[Secret, PocketenvError]]:
        return walk("secret.getSecrets", self.shuffled if shuffled else self.fetch, limit=limit)


def ids(results: Iterator[Result[Secret, PocketenvError]]) -> list[str]:
    return [result.unwrap().id for result in results]


@given(count=st.integers(0, 60), limit=st.integers(1, 25))
@settings(deadline=None)
def test_walk_unchanged_list(count: int, limit: int) -> None:
    """A list that does not change is read once and in order."""
    shelf = Shelf(count)
    assert ids(shelf.walk(limit)) == [str(number) for number in range(count)]
    assert shelf.asked == [(limit, offset) for offset in range(0, max(count, 1), limit)]


@given(count=st.integers(0, 60), limit=st.integers(1, 25), seed=st.integers(0, 999))
@settings(deadline=None)
def test_walk_shuffled_pages(count: int, limit: int, seed: int) -> None:
    """Each record is yielded once, although each page has another order."""
    assert sorted(ids(Shelf(count, seed=seed).walk(limit, shuffled=True)), key=int) == [str(n) for n in range(count)]


@given(data=st.data(), count=st.integers(1, 60), limit=st.integers(1, 25), shuffled=st.booleans())
@settings(deadline=None)
def test_walk_deletions(data: st.DataObject, count: int, limit: int, *, shuffled: bool) -> None:
    """A record that stays in the list is yielded once, although others are deleted."""

    def delete(records: list[Secret]) -> None:
        if records and data.draw(COIN):
            del records[data.draw(st.integers(0, len(records) - 1))]

    shelf = Shelf(count, delete)
    yielded = ids(shelf.walk(limit, shuffled=shuffled))
    assert {kept.id for kept in shelf.records} <= set(yielded)
    assert len(yielded) == len(set(yielded))


@given(data=st.data(), count=st.integers(0, 60), limit=st.integers(1, 25))
@settings(deadline=None)
def test_walk_additions(data: st.DataObject, count: int, limit: int) -> None:
    """A record that stays in the list is yielded once, although others are added."""

    def add(records: list[Secret]) -> None:
        if data.draw(COIN):
            records.insert(data.draw(st.integers(0, len(records))), record(1000 + len(records)))

    yielded = ids(Shelf(count, add).walk(limit))
    assert {str(number) for number in range(count)} <= set(yielded)
    assert len(yielded) == len(set(yielded))


def test_walk_one_deletion() -> None:
    """A deletion between two pages hides no record."""
    shelf = Shelf(45, lambda records: records.pop(0) if len(records) == 45 else None)
    assert ids(shelf.walk(20)) == [*(str(n) for n in range(20)), *(str(n) for n in range(21, 45)), "20"]
    assert shelf.asked == [(20, 0), (20, 20), (20, 40), (65, 0)]


def test_walk_failed_page() -> None:
    """The Failure of a page is the last item."""
    shelf, refused = Shelf(30), ApiError(400, "InvalidRequest", "no", "secret.getSecrets")

    def fetch(limit: int, offset: int) -> Result[Page[Secret], PocketenvError]:
        return Failure(refused) if offset == 20 else shelf.fetch(limit, offset)

    items = list(walk("secret.getSecrets", fetch, limit=10))
    assert [item.unwrap().id for item in items[:-1]] == [str(number) for number in range(20)]
    assert items[-1] == Failure(refused)


def test_walk_failed_second_reading() -> None:
    """The Failure of a second reading is the last item."""
    shelf, refused = Shelf(25, lambda records: records.pop()), ApiError(400)

    def fetch(limit: int, offset: int) -> Result[Page[Secret], PocketenvError]:
        return Failure(refused) if limit > 10 else shelf.fetch(limit, offset)

    assert list(walk("secret.getSecrets", fetch, limit=10))[-1] == Failure(refused)


@pytest.mark.parametrize("most", [0, 1, 20])
def test_walk_withheld_records(most: int) -> None:
    """A list with fewer records than its total ends with a DecodeError."""
    shelf = Shelf(45)

    def fetch(limit: int, offset: int) -> Result[Page[Secret], PocketenvError]:  # noqa: ARG001
        return shelf.fetch(min(limit, most), 0)

    items = list(walk("secret.getSecrets", fetch, limit=20))
    assert ids(iter(items[:-1])) == [str(number) for number in range(most)]
    assert items[-1] == Failure(
        DecodeError("secret.getSecrets", f"the list has 45 records, but only {most} of them were returned")
    )
    assert len(shelf.asked) <= 3


@pytest.mark.parametrize("total", [0, 1, 19])
def test_walk_total_too_small(total: int) -> None:
    """A list with more records than its total ends with a DecodeError."""
    shelf = Shelf(45)

    def fetch(limit: int, offset: int) -> Result[Page[Secret], PocketenvError]:
        return shelf.fetch(limit, offset).map(lambda page: Page(page.items, total))

    items = list(walk("secret.getSecrets", fetch, limit=20))
    assert ids(iter(items[:-1])) == [str(number) for number in range(20 + total)]
    assert items[-1] == Failure(
        DecodeError("secret.getSecrets", f"the list has {20 + total} records, but its total is {total}")
    )


def test_walk_outdated_total() -> None:
    """A total that was counted before the last record was added is no Failure."""
    shelf = Shelf(11)

    def fetch(limit: int, offset: int) -> Result[Page[Secret], PocketenvError]:
        return shelf.fetch(limit, offset).map(lambda page: Page(page.items, 10))

    assert ids(walk("secret.getSecrets", fetch, limit=20)) == [str(number) for number in range(11)]


def test_walk_lazy_pages() -> None:
    """A page is requested only when its first record is needed."""
    shelf = Shelf(45)
    reading = shelf.walk(20)
    assert shelf.asked == []
    for _ in range(20):
        next(reading)
    assert shelf.asked == [(20, 0)]
    next(reading)
    assert shelf.asked == [(20, 0), (20, 20)]


# The public iterators


@EACH
def test_iter_wrong_type(iterate: Callable[..., Any]) -> None:
    """An argument of a wrong type raises at once."""
    target = servers.BOX if iterate.__module__.startswith("pocketenv_fp.sandbox") else "3f2a"
    with pytest.raises(TypeError, match="limit"):
        iterate(target, limit="20")
    with pytest.raises(TypeError, match=iterate.__name__):
        iterate(7)
    with pytest.raises(TypeError):
        iterate()
    with pytest.raises(TypeError):
        iterate(target, 20)
    with pytest.raises(TypeError):
        iterate(target, offset=20)


@EACH
@pytest.mark.usefixtures("environment")
def test_iter_wrong_value(iterate: Callable[..., Any], platform: local.Platform) -> None:
    """A wrong value is the only item, and no request is sent."""
    target = servers.BOX if iterate.__module__.startswith("pocketenv_fp.sandbox") else "3f2a"
    before = len(platform.calls)
    (item,) = iterate(target, limit=0)
    assert isinstance(item.failure(), InvalidInput)
    assert item.failure().field == "limit"
    assert len(platform.calls) == before


@pytest.mark.parametrize("iterate", ITERATORS[4:])
@pytest.mark.usefixtures("environment")
def test_iter_failed_or_missing_target(iterate: Callable[..., Any], platform: local.Platform) -> None:
    """A failed or missing sandbox is the only item, and no request is sent."""
    failed: Result[Any, PocketenvError] = Failure(NotLoggedIn())
    (item,) = iterate(failed)
    assert item is failed
    for nothing in (None, Success(None), get_sandbox("no-such-box")):
        platform.calls.clear()
        (item,) = iterate(nothing)
        assert isinstance(item.failure(), SandboxNotFound)
        assert not platform.calls


@EACH
def test_iter_no_token(iterate: Callable[..., Any]) -> None:
    """Without a token NotLoggedIn is the only item, and no request is sent."""
    target = servers.BOX if iterate.__module__.startswith("pocketenv_fp.sandbox") else "3f2a"
    with Server(servers.ordinary) as server:
        assert list(iterate(target, config=Config(api_url=server.url))) == [Failure(NotLoggedIn())]
        assert not server.seen


@pytest.mark.parametrize(
    ("fault", "kind"), [(Drop(), TransportError), (Refuse(400), ApiError), (Html(), DecodeError)], ids=repr
)
@pytest.mark.usefixtures("environment")
def test_iter_failed_page(fault: Drop | Refuse | Html, kind: type[PocketenvError], platform: local.Platform) -> None:
    """A fault of the platform is the last item."""
    box = create("pages").unwrap()
    for number in range(5):
        pocketenv.add_variable(box.id, f"V{number}", "1").unwrap()
    reading = sandbox.iter_variables(box, limit=2, config=Config(retries=0))
    first = [next(reading), next(reading)]
    with platform.faults.on("variable.getVariables", fault) as planned:
        rest = list(reading)
    assert all(isinstance(item, Success) for item in first)
    assert [type(item.failure()) for item in rest] == [kind]
    assert planned.played == 1


@pytest.mark.usefixtures("environment")
def test_iter_retries_page(platform: local.Platform) -> None:
    """A page is requested again after a broken connection."""
    box = create("pages-again").unwrap()
    for number in range(3):
        pocketenv.add_variable(box.id, f"V{number}", "1").unwrap()
    with platform.faults.on("variable.getVariables", Drop(), times=1) as planned:
        names = sorted(item.unwrap().name for item in sandbox.iter_variables(box, limit=2))
    assert names == ["V0", "V1", "V2"]
    assert planned.played == 1


def answer(request: Request) -> servers.Reply:
    offset = int(request.path.partition("offset=")[2])
    return reply(b'{"secrets": [{"id": "%d", "name": "S"}], "total": 3}' % offset)


def test_iter_keeps_platform() -> None:
    """All pages come from the platform that was in use at the start."""
    with Server(answer) as mine, Server(servers.ordinary) as other:
        with using(client(mine.url)):
            reading = pocketenv.iter_secrets("3f2a", limit=1)
            next(reading)
        with using(client(other.url)):
            assert len(list(reading)) == 2
        assert (len(mine.seen), len(other.seen)) == (3, 0)
