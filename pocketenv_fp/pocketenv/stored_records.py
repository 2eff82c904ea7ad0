"""Send the platform's methods for secrets, variables, volumes and files, which differ in the record only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from returns.result import Failure, Result, Success

from pocketenv_fp.errors import PocketenvError, RecordNotFound
from pocketenv_fp.http.paging import Fetch, Identified, walk
from pocketenv_fp.http.xrpc import nothing, procedure, query, send
from pocketenv_fp.models import Page
from pocketenv_fp.pocketenv.records import Unit, one_of, page_of

__all__ = ["StoredRecords"]

T = TypeVar("T", bound=Identified)


class StoredRecords(Generic[T]):
    """The methods for one kind of record, such as ``secret.getSecrets`` and ``secret.addSecret`` for a secret."""

    def __init__(self, noun: str, kind: type[T]) -> None:
        self._noun = noun
        self._one = one_of(noun, kind)
        self._page = page_of(f"{noun}s", kind)

    def page(self, sandbox_id: str, limit: int, offset: int) -> Result[Page[T], PocketenvError]:
        """Request one page of a sandbox's records."""
        params = {"sandboxId": sandbox_id, "limit": limit, "offset": offset}
        return send(query(self._method("get", "s"), self._page, params))

    def each(self, fetch: Fetch[T], limit: int) -> Iterator[Result[T, PocketenvError]]:
        """Iterate over all records. ``fetch`` requests one page of them."""
        return walk(self._method("get", "s"), fetch, limit=limit)

    def get(self, id: str) -> Result[T, PocketenvError]:
        """Request the record with this id. Failures: RecordNotFound."""
        asked = send(query(self._method("get"), self._one, {"id": id}))
        if isinstance(asked, Failure):
            return asked
        record = asked.unwrap()
        if record is None:
            missing = f"there is no {self._noun} with the id {id!r}"
            return Failure(RecordNotFound(message=missing, operation=self._method("get")))
        return Success(record)

    def add(self, sandbox_id: str, fields: Mapping[str, object]) -> Unit:
        """Add a record with these fields. Fields without a value are not sent."""
        body = {self._noun: _with_values({"sandboxId": sandbox_id, **fields})}
        return send(procedure(self._method("add"), nothing, body=body))

    def update(self, id: str, fields: Mapping[str, object]) -> Unit:
        """Change the record with this id. Fields without a value stay as they are."""
        body = {"id": id, self._noun: _with_values(fields)}
        return send(procedure(self._method("update"), nothing, body=body))

    def delete(self, id: str) -> Unit:
        """Delete the record with this id."""
        return send(procedure(self._method("delete"), nothing, {"id": id}))

    def _method(self, verb: str, plural: str = "") -> str:
        return f"{self._noun}.{verb}{self._noun.capitalize()}{plural}"


def _with_values(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}
