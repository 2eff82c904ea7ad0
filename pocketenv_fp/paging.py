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
from typing import Protocol, TypeVar

from returns.result import Failure, Result, Success

from pocketenv_fp.errors import DecodeError, PocketenvError
from pocketenv_fp.models import Page

__all__ = ["Identified", "walk"]


class Identified(Protocol):
    """A record that has an id."""

    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=Identified)


def walk(
    nsid: str, fetch: Callable[[int, int], Result[Page[T], PocketenvError]], *, limit: int
) -> Iterator[Result[T, PocketenvError]]:
    """Give every record of a list as a Success, page after page, each asked for when it is needed.

    ``fetch`` gets the limit and the offset. A page that fails is given as the Failure it is, and is the last item.
    Lists have no stable order, and change while they are read: a record is given once, and where some were missed
    the rest of the list is asked for once more in one piece. If there are fewer even then, the last item is a
    Failure(DecodeError): the end of this iterator without a Failure is the end of the list.
    """
    seen: set[str] = set()
    offset = total = 0
    while True:
        page = fetch(limit, offset)
        if not isinstance(page, Success):
            yield Failure(page.failure())
            return
        found = page.unwrap()
        total = found.total
        yield from map(Success, _new(found, seen))
        offset += len(found)
        if not len(found) or offset >= total:
            break
    if len(seen) < total:
        page = fetch(total, 0)
        if not isinstance(page, Success):
            yield Failure(page.failure())
            return
        yield from map(Success, _new(page.unwrap(), seen))
        if len(seen) < page.unwrap().total:
            yield Failure(DecodeError(nsid, f"the list has {total} records and only {len(seen)} of them can be read"))


def _new(page: Page[T], seen: set[str]) -> Iterator[T]:
    for record in page:
        if record.id not in seen:
            seen.add(record.id)
            yield record
