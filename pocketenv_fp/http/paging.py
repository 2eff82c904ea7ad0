"""Lists that the platform gives in pages, read to their end.

>>> from returns.result import Success
>>> from pocketenv_fp.models import Page, Secret
>>> stored = tuple(Secret(str(number), f"S{number}") for number in range(5))
>>> def fetch(limit, offset):
...     return Success(Page(stored[offset : offset + limit], total=5))
>>> [secret.unwrap().name for secret in walk("secret.getSecrets", fetch, limit=2)]
['S0', 'S1', 'S2', 'S3', 'S4']
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import copy_context
from functools import partial, wraps
from typing import ParamSpec, Protocol, TypeVar

from returns.result import Failure, Result, Success

from pocketenv_fp.errors import DecodeError, InvalidInput, PocketenvError
from pocketenv_fp.models import Page
from pocketenv_fp.validation import Arguments

__all__ = ["Fetch", "Identified", "iterates", "walk"]

A = TypeVar("A")
B = TypeVar("B")
P = ParamSpec("P")


class Identified(Protocol):
    """A record that has an id."""

    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=Identified)


class Fetch(Protocol[T]):
    """What asks for one page: a function that lists, with all but these two given."""

    def __call__(self, *, limit: int, offset: int) -> Result[Page[T], PocketenvError]: ...


def walk(nsid: str, fetch: Fetch[T], *, limit: int) -> Iterator[Result[T, PocketenvError]]:
    """Give every record of a list as a Success, page after page, each asked for when it is needed.

    A page that fails is given as the Failure it is, and is the last item. Lists have no stable order, and change while
    they are read: a record is given once, and where the pages do not add up to one list, the whole of it is asked for
    once more in one piece. If that is not the whole even then, the last item is a Failure(DecodeError): the end of
    this iterator without a Failure is the end of the list. One change is not seen: as many records added as deleted
    between two pages.
    """
    # Each page is asked for as whoever called was then, and not as whoever happens to read on.
    context = copy_context()

    def fetch_as_now(*, limit: int, offset: int) -> Result[Page[T], PocketenvError]:
        return context.run(partial(fetch, limit=limit, offset=offset))

    return _walk(nsid, fetch_as_now, limit)


def _walk(nsid: str, fetch: Fetch[T], limit: int) -> Iterator[Result[T, PocketenvError]]:
    seen: set[str] = set()
    totals: set[int] = set()
    offset = 0
    while True:
        page = fetch(limit=limit, offset=offset)
        if not isinstance(page, Success):
            yield Failure(page.failure())
            return
        found = page.unwrap()
        totals.add(found.total)
        before = len(seen)
        yield from map(Success, _new(found, seen))
        offset += len(found)
        # A page that brings nothing new may go on for ever.
        if offset >= found.total or len(seen) == before:
            break
    if totals != {len(seen)}:
        # Some more than there were: the list may be growing.
        asked = max(totals) + limit
        page = fetch(limit=asked, offset=0)
        if not isinstance(page, Success):
            yield Failure(page.failure())
            return
        found = page.unwrap()
        yield from map(Success, _new(found, seen))
        readable = len({record.id for record in found})
        if readable < found.total:
            reason = f"the list has {found.total} records and only {readable} of them were given"
            yield Failure(DecodeError(nsid, reason))
        elif readable > found.total and len(found) >= asked:
            # As many as were asked for: nothing tells that they are all.
            yield Failure(DecodeError(nsid, f"the list has {readable} records, but its total is {found.total}"))


def _new(page: Page[T], seen: set[str]) -> Iterator[T]:
    for record in page:
        if record.id not in seen:
            seen.add(record.id)
            yield record


def iterates(
    function: Callable[P, Iterator[Result[B, PocketenvError]]],
) -> Callable[P, Iterator[Result[B, PocketenvError]]]:
    """Check the arguments of a function that gives an iterator at once: a wrong value is its one Failure."""
    arguments = Arguments(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Iterator[Result[B, PocketenvError]]:
        given = arguments.read(args, kwargs)
        return iter((Failure(given),)) if isinstance(given, InvalidInput) else function(*given[0], **given[1])

    return call
