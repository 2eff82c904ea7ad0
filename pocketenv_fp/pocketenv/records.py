"""Request and decode the records of a sandbox: secrets, variables, files, volumes and services."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Generic, TypeVar, cast

import msgspec
from returns.result import Failure, Result, Success

from pocketenv_fp.config import FromEnv
from pocketenv_fp.errors import ApiError, PocketenvError, RecordNotFound, hides_its_cause
from pocketenv_fp.http.paging import Fetch, Identified, collected, walk
from pocketenv_fp.http.xrpc import decode, nothing, procedure, query, send
from pocketenv_fp.models import Page

__all__ = [
    "Listing",
    "StoredRecords",
    "Unit",
    "add_or_update",
    "list_of",
    "one_of",
    "page_of",
    "present",
    "text",
]

T = TypeVar("T")
R = TypeVar("R", bound=Identified)
Count = Annotated[int, msgspec.Meta(ge=0)]
Unit = Result[None, PocketenvError]

TURNS = 8


def page_of(key: str, kind: type[T]) -> Callable[[bytes], Page[T]]:
    """Return a decoder for a page of records under ``key``."""

    def page(body: bytes) -> Page[T]:
        answer = decode(body, _listed(key, cast("Hashable", kind), has_total=True))
        return Page(tuple(getattr(answer, key)), answer.total)

    return page


def list_of(key: str, kind: type[T]) -> Callable[[bytes], list[T]]:
    """Return a decoder for a list of records under ``key``, which the platform returns without pages."""

    def records(body: bytes) -> list[T]:
        return cast("list[T]", getattr(decode(body, _listed(key, cast("Hashable", kind), has_total=False)), key))

    return records


@cache
def _listed(key: str, kind: Hashable, *, has_total: bool) -> type[Any]:
    records: Any = list[kind]  # type: ignore[valid-type]  # made at run time, for msgspec
    return msgspec.defstruct(key, [(key, records), *([("total", Count)] if has_total else [])])


def one_of(key: str, kind: type[T]) -> Callable[[bytes], T | None]:
    """Return a decoder for one record under ``key``. It returns None if there is no record."""

    def one(body: bytes) -> T | None:
        answer = decode(body, dict[str, msgspec.Raw])
        raw = bytes(answer.get(key, b"null"))
        if raw != b"null":
            return decode(raw, kind)
        # A missing record is `{}` or a null. Another object is a response to another method.
        if answer.keys() - {key}:
            raise msgspec.ValidationError(f"Object missing required field `{key}`")
        return None

    return one


class Listing(Generic[R]):
    """One list for the records of many names. Threads may share it. Pages are requested when needed.

    A change of a record makes its entry old, so take the record out before. A name that the list lacks needs a new list.
    """

    def __init__(self, each: Callable[[], Iterator[Result[R, PocketenvError]]], key: str = "name") -> None:
        self._each = each
        self._key = key
        # Another thread may need the same list: it waits for this one's.
        self._lock = threading.RLock()
        self._records: list[R] = []
        self._rest: Iterator[Result[R, PocketenvError]] | None = None
        self._changed: set[str] = set()
        self.stamp: object = None
        """What the user of the list compares, to know whether it is old."""

    def renew(self) -> None:
        """Drop the list. The next look requests a new one."""
        with self._lock:
            self._records, self._rest, self._changed = [], None, set()

    def find(self, *names: str | None, id: str | None = None) -> Result[R | None, PocketenvError]:
        """Return the record with the id, or else the first one with one of the names, or None."""
        with self._lock:
            is_old = self._rest is not None
            record = self.seen(*names, id=id)
            if not is_old or record != Success(None):
                return record
            self.renew()
            return self.seen(*names, id=id)

    def take(self, *names: str | None, id: str | None = None) -> Result[R | None, PocketenvError]:
        """Return the record as `find` does, and take it out: it is about to change."""
        with self._lock:
            record = self.find(*names, id=id)
            return record.map(self._out) if isinstance(record, Success) else record

    def known(self, name: str) -> R | None:
        """Take out the record with this name, if the list has it. A list that was not begun is not requested."""
        with self._lock:
            return None if self._rest is None else self._out(self.seen(name).value_or(None))

    def seen(self, *names: str | None, id: str | None = None) -> Result[R | None, PocketenvError]:
        """Return the record as `find` does, of this list only."""
        named: R | None = None
        with self._lock:
            for item in self._all():
                if isinstance(item, Failure):
                    self.renew()
                    return item
                record = item.unwrap()
                if record.id == id:
                    return Success(record)
                if named is None and self._name(record) in names:
                    named = record
                if named is not None and id is None:
                    break
        return Success(named)

    def whole(self, name: str) -> Result[tuple[R, ...], PocketenvError]:
        """Return all records. It is a new list if a record of this name has changed since."""
        with self._lock:
            if name in self._changed:
                self.renew()
            items = tuple(self._all())
            listed = collected(items)
            if isinstance(listed, Failure):
                self.renew()
            return listed

    def change(self, name: str, record: R | None = None) -> None:
        """Note a change of this name: of a new record, or of one that is in the list."""
        with self._lock:
            self._changed.add(name)
            self._out(record)

    def _all(self) -> Iterator[Result[R, PocketenvError]]:
        yield from map(Success, tuple(self._records))
        self._rest = self._each() if self._rest is None else self._rest
        for item in self._rest:
            if isinstance(item, Success):
                self._records.append(item.unwrap())
            yield item

    def _out(self, record: R | None) -> R | None:
        if record is not None:
            self._records = [each for each in self._records if each.id != record.id]
        return record

    def _name(self, record: R) -> str:
        return cast("str", getattr(record, self._key))


def add_or_update(
    add: Callable[[], Unit],
    there: Callable[[], Result[T | None, PocketenvError]],
    update: Callable[[T], Unit],
    known: T | None = None,
) -> Unit:
    """Add a record, or update the one that is ``there``. ``known`` is one that a list has shown before.

    A name that is taken is a 500 without a cause, so the list is read only after that 500. The usual case is one
    request, and no other program can take the name in between. If another program deletes the record in between, this
    starts again, at most ``TURNS`` times.
    """
    changed: Unit = Success(None)
    record = known
    for _ in range(TURNS):
        if record is None:
            added = add()
            if isinstance(added, Success) or not hides_its_cause(added.failure()):
                return added
            record = there().value_or(None)
            if record is None:
                return added
        changed = update(record)
        error = changed.swap().value_or(None)
        if not isinstance(error, ApiError) or error.status != 404:
            return changed
        record = None
    return changed


def text(value: str | FromEnv, field: str) -> Result[str, PocketenvError]:
    """Return ``value``, which may be empty. A `from_env` is read from the environment."""
    return value.read(field) if isinstance(value, FromEnv) else Success(value)


def present(fields: Mapping[str, object]) -> dict[str, object]:
    """Return the fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


class StoredRecords(Generic[R]):
    """The methods for one kind of record, such as ``secret.getSecrets`` and ``secret.addSecret`` for a secret."""

    def __init__(self, noun: str, kind: type[R]) -> None:
        self._noun = noun
        self._one = one_of(noun, kind)
        self._page = page_of(f"{noun}s", kind)

    def page(self, sandbox_id: str, limit: int, offset: int) -> Result[Page[R], PocketenvError]:
        """Request one page of a sandbox's records."""
        params = {"sandboxId": sandbox_id, "limit": limit, "offset": offset}
        return send(query(self._method("get", "s"), self._page, params))

    def each(self, fetch: Fetch[R], limit: int) -> Iterator[Result[R, PocketenvError]]:
        """Iterate over all records. ``fetch`` requests one page of them, and turns an OSError into a Failure."""
        return walk(self._method("get", "s"), fetch, limit=limit)

    def get(self, id: str) -> Result[R, PocketenvError]:
        """Request the record with this id. Failures: RecordNotFound."""
        answer = send(query(self._method("get"), self._one, {"id": id}))
        if isinstance(answer, Failure):
            return answer
        record = answer.unwrap()
        if record is None:
            missing = f"there is no {self._noun} with the id {id!r}"
            return Failure(RecordNotFound(message=missing, operation=self._method("get")))
        return Success(record)

    def add(self, sandbox_id: str, fields: Mapping[str, object]) -> Unit:
        """Add a record with these fields. Fields without a value are not sent."""
        body = {self._noun: present({"sandboxId": sandbox_id, **fields})}
        return send(procedure(self._method("add"), nothing, body=body))

    def update(self, id: str, fields: Mapping[str, object]) -> Unit:
        """Change the record with this id. Fields without a value stay as they are."""
        body = {"id": id, self._noun: present(fields)}
        return send(procedure(self._method("update"), nothing, body=body))

    def delete(self, id: str) -> Unit:
        """Delete the record with this id."""
        return send(procedure(self._method("delete"), nothing, {"id": id}))

    def _method(self, verb: str, plural: str = "") -> str:
        return f"{self._noun}.{verb}{self._noun.capitalize()}{plural}"
