"""Request and decode the records of a sandbox: secrets, variables, files, volumes and services."""

from __future__ import annotations

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

__all__ = ["Listing", "StoredRecords", "Unit", "add_or_update", "list_of", "one_of", "page_of", "present", "text"]

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


class Listing(Generic[T]):
    """One list for the records of many names. A name that it lacks, or that is taken again, needs a new list."""

    def __init__(self, each: Callable[[], Iterator[Result[T, PocketenvError]]], key: str = "name") -> None:
        self._each = each
        self._key = key
        self._records: dict[str, T] = {}

    def take(self, name: str) -> Result[T | None, PocketenvError]:
        """Return the record with this name, or None."""
        if name not in self._records:
            listed = collected(self._each())
            if isinstance(listed, Failure):
                return listed
            # The first record of a name counts.
            self._records = {getattr(record, self._key): record for record in reversed(listed.unwrap())}
        return Success(self._records.pop(name, None))


def add_or_update(
    add: Callable[[], Unit], there: Callable[[], Result[T | None, PocketenvError]], update: Callable[[T], Unit]
) -> Unit:
    """Add a record, or update the one that is ``there``.

    A name that is taken is a 500 without a cause, so the list is read only after that 500. The usual case is one
    request, and no other program can take the name in between. If another program deletes the record in between, this
    starts again, at most ``TURNS`` times.
    """
    changed: Unit = Success(None)
    for _ in range(TURNS):
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
