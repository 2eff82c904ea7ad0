"""Iterate over lists that the platform returns in pages.

>>> from returns.result import Success
>>> from pocketenv_fp.models import Page, Secret
>>> stored = tuple(Secret(str(number), f"S{number}") for number in range(5))
>>> def fetch(limit, offset):
...     return Success(Page(stored[offset : offset + limit], total=5))
>>> [secret.unwrap().name for secret in walk("secret.getSecrets", fetch, limit=2)]
['S0', 'S1', 'S2', 'S3', 'S4']
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextvars import copy_context
from functools import partial
from typing import Protocol, TypeVar

from returns.result import Failure, Result, Success

from pocketenv_fp.errors import DecodeError, PocketenvError
from pocketenv_fp.models import Page

__all__ = ["Fetch", "Identified", "collected", "walk"]


class Identified(Protocol):
    """A record with an id."""

    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=Identified)
V = TypeVar("V")


class Fetch(Protocol[T]):
    """A function that requests one page of a list."""

    def __call__(self, *, limit: int, offset: int) -> Result[Page[T], PocketenvError]: ...


def walk(nsid: str, fetch: Fetch[T], *, limit: int) -> Iterator[Result[T, PocketenvError]]:
    """Yield every record of a list as a Success. Pages are requested when needed.

    If a page fails, its Failure is the last item. Lists have no stable order, and change while they are read. Each
    record is yielded once. If the pages do not add up, the complete list is requested once more in one page. If that is
    not complete either, the last item is a Failure(DecodeError). So without a Failure the list is complete. One case is
    not noticed: equally many records are added and deleted between two pages.
    """
    # Each page uses the settings of the original call, not those of the code that iterates.
    context = copy_context()

    def fetch_as_now(*, limit: int, offset: int) -> Result[Page[T], PocketenvError]:
        return context.run(partial(fetch, limit=limit, offset=offset))

    return _walk(nsid, fetch_as_now, limit)


def collected(items: Iterable[Result[V, PocketenvError]]) -> Result[tuple[V, ...], PocketenvError]:
    """Return all items of an iterator of Results, or its Failure."""
    values: list[V] = []
    for item in items:
        if isinstance(item, Failure):
            return item
        values.append(item.unwrap())
    return Success(tuple(values))


def _walk(nsid: str, fetch: Fetch[T], limit: int) -> Iterator[Result[T, PocketenvError]]:
    seen: set[str] = set()
    totals: set[int] = set()
    offset = 0
    while True:
        page = fetch(limit=limit, offset=offset)
        if isinstance(page, Failure):
            yield page
            return
        records = page.unwrap()
        totals.add(records.total)
        before = len(seen)
        yield from map(Success, _new(records, seen))
        offset += len(records)
        # Without this check, pages without new records could go on endlessly.
        if offset >= records.total or len(seen) == before:
            break
    if totals != {len(seen)}:
        # More than the total, because the list may be growing.
        asked = max(totals) + limit
        page = fetch(limit=asked, offset=0)
        if isinstance(page, Failure):
            yield page
            return
        records = page.unwrap()
        yield from map(Success, _new(records, seen))
        readable = len({record.id for record in records})
        if readable < records.total:
            reason = f"the list has {records.total} records, but only {readable} of them were returned"
            yield Failure(DecodeError(nsid, reason))
        elif readable > records.total and len(records) >= asked:
            # The page is full, so there may be more records.
            yield Failure(DecodeError(nsid, f"the list has {readable} records, but its total is {records.total}"))


def _new(page: Page[T], seen: set[str]) -> Iterator[T]:
    for record in page:
        if record.id not in seen:
            seen.add(record.id)
            yield record
