"""What a sandbox keeps under names: finding a record, setting one, deleting one.

Adding tells no id, and the platform's methods take nothing else. So a record is looked up in the sandbox's own list,
which also keeps a mistaken id from touching what belongs to another sandbox.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Generic, NamedTuple, Protocol, TypeVar, cast

from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config
from pocketenv_fp.errors import ApiError, PocketenvError, RecordNotFound
from pocketenv_fp.models import Sandbox
from pocketenv_fp.paging import Identified

__all__ = ["Delete", "Each", "Kind", "Records"]

T = TypeVar("T", bound=Identified)
T_co = TypeVar("T_co", covariant=True)
Done = Result[None, PocketenvError]

LONGEST_SHOWN = 100
TURNS = 5


class Each(Protocol[T_co]):
    """A function of `pocketenv_fp.pocketenv` that gives an iterator of a sandbox's records."""

    def __call__(
        self, sandbox_id: str, *, token: str | None = None, config: Config | None = None
    ) -> Iterator[Result[T_co, PocketenvError]]: ...


class Delete(Protocol):
    """A function of `pocketenv_fp.pocketenv` that deletes one record."""

    def __call__(self, id: str, *, token: str | None = None, config: Config | None = None) -> Done: ...


class Kind(NamedTuple, Generic[T]):
    """A kind of record: what it is called, the field with its name, and the functions that take ids."""

    noun: str
    key: str
    each: Each[T]
    delete: Delete

    def of(self, sandbox: Sandbox, token: str | None, config: Config | None) -> Records[T]:
        """Give the records of this kind that a sandbox has, as this caller sees them."""
        return Records(self, sandbox, token, config)


class Records(Generic[T]):
    """The records of one kind in one sandbox."""

    def __init__(self, kind: Kind[T], sandbox: Sandbox, token: str | None, config: Config | None) -> None:
        self._kind = kind
        self._sandbox = sandbox
        self._token = token
        self._config = config

    def find(self, name_or_id: str) -> Result[T, PocketenvError]:
        """Give the record with this id, or else the one with this name. Failures: RecordNotFound."""
        named: T | None = None
        for found in self._each():
            if not isinstance(found, Success):
                return found
            record = found.unwrap()
            if record.id == name_or_id:
                return found
            if named is None and self._name(record) == name_or_id:
                named = record
        return Failure(self._missing(name_or_id)) if named is None else Success(named)

    def set(
        self, name: str, add: Callable[[], Done], update: Callable[[T], Done] | None = None
    ) -> Result[T, PocketenvError]:
        """Add a record, or update the one that has the name, and give what the platform has then.

        Without ``update`` the old one is deleted, and added anew. A name that is taken is a 500 like any other, so that
        only the list tells. It is looked up when that happens and not before: the usual case is two requests, and
        nothing can take the name between them. Where somebody else sets or deletes the same name meanwhile, it begins
        again, ``TURNS`` times at the most.
        """
        for turn in count(1):
            added = add()
            if isinstance(added, Success):
                return self._named(name)
            refused = added.failure()
            there = self._named(name) if _has_status(refused, 500) and turn <= TURNS else Failure(refused)
            if not isinstance(there, Success):
                return Failure(refused)
            changed = there.bind(update or self.delete_one)
            if isinstance(changed, Success):
                if update is not None:
                    return self._named(name)
            elif turn >= TURNS or not _has_status(changed.failure(), 404):
                return Failure(changed.failure())
        raise AssertionError("the turns have no end")

    def delete(self, name_or_id: str) -> Result[Sandbox, PocketenvError]:
        """Delete the record with this id or name, and give the sandbox."""
        return self.find(name_or_id).bind(self.delete_one).map(lambda _: self._sandbox)

    def delete_one(self, record: T) -> Done:
        """Delete a record that has been found."""
        return self._kind.delete(record.id, token=self._token, config=self._config)

    def _each(self) -> Iterator[Result[T, PocketenvError]]:
        return self._kind.each(self._sandbox.id, token=self._token, config=self._config)

    def _name(self, record: T) -> str:
        return cast("str", getattr(record, self._kind.key))

    def _named(self, name: str) -> Result[T, PocketenvError]:
        for found in self._each():
            if not isinstance(found, Success) or self._name(found.unwrap()) == name:
                return found
        return Failure(self._missing(name))

    def _missing(self, wanted: str) -> RecordNotFound:
        noun = self._kind.noun
        # Whoever gives a whole text in the place of a name should not see it in every log.
        wanted = wanted if len(wanted) <= LONGEST_SHOWN else f"{wanted[:LONGEST_SHOWN]}…"
        return RecordNotFound(
            message=f"the sandbox {self._sandbox.name} has no {noun} {wanted!r}",
            operation=f"{noun}.get{noun.capitalize()}s",
        )


def _has_status(error: PocketenvError, status: int) -> bool:
    return isinstance(error, ApiError) and error.status == status
