"""Find, set and delete the named records of a sandbox.

An add returns no id, and the platform's methods take only ids. So a record is looked up in the sandbox's own list. That
also keeps a wrong id from changing another sandbox's record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager
from copy import copy
from functools import partial
from itertools import count
from typing import Generic, NamedTuple, TypeVar, cast

from returns.result import Failure, Result, Success

from pocketenv_fp.config import settings
from pocketenv_fp.errors import (
    DeadlineExceeded,
    PocketenvError,
    RecordNotFound,
    SandboxNotFound,
    ServerError,
    TransportError,
    hides_its_cause,
)
from pocketenv_fp.http.paging import Identified
from pocketenv_fp.models import Sandbox
from pocketenv_fp.pocketenv.records import Listing, Unit, add_or_update
from pocketenv_fp.pocketenv.sandboxes import look
from pocketenv_fp.redaction import shorten
from pocketenv_fp.runtime.deadline import nap
from pocketenv_fp.runtime.turns import Turns
from pocketenv_fp.steps.later import Later, is_in_turn, neighbours
from pocketenv_fp.steps.needs import Need, needed

__all__ = ["RecordKind", "Records"]

T = TypeVar("T", bound=Identified)

LONGEST_SHOWN = 100
TURNS = 8
# How often to look for a missing record that another process may be replacing.
CHANCES = 3
PAUSE = 0.1
# The pause doubles at most this many times.
LONGEST = 5
# How often to look for a record that was added and is missing: another process is about to add its own.
LOOKS = 6

_turns = Turns()


class RecordKind(NamedTuple, Generic[T]):
    """A kind of record: its noun, the field with its name, and functions of `pocketenv_fp.pocketenv` that take ids.

    ``each`` takes the id of a sandbox and iterates over its records. ``delete`` takes the id of a record.
    ``is_same_after_update``: an update changes no field that the platform returns.
    """

    noun: str
    key: str
    each: Callable[[str], Iterator[Result[T, PocketenvError]]]
    delete: Callable[[str], Unit]
    is_same_after_update: bool = False

    def of(self, sandbox: Sandbox) -> Records[T]:
        """Return the records of this kind in ``sandbox``."""
        return Records(self, sandbox)


class Records(Generic[T]):
    """The records of one kind in one sandbox."""

    def __init__(self, kind: RecordKind[T], sandbox: Sandbox) -> None:
        self._kind = kind
        self._sandbox = sandbox
        self.listing: Listing[T] = neighbours(self._source, lambda: Listing(self._each, kind.key))

    def find(self, name_or_id: str, stored: str | None = None) -> Result[T, PocketenvError]:
        """Return the record with this id, or else with this name. Failures: RecordNotFound.

        ``stored`` is the normalized name under which this library stores it, if it differs.
        """
        return self._there(name_or_id, self.listing.find(name_or_id, stored, id=name_or_id))

    def take(self, name_or_id: str, stored: str | None = None) -> Result[T, PocketenvError]:
        """Return the record as `find` does, before a change of it. Its neighbours look it up again."""
        return self._there(name_or_id, self.listing.take(name_or_id, stored, id=name_or_id))

    def found_again(self, id: str) -> Result[T, PocketenvError]:
        """Request a new list, and return its record with this id. Failures: RecordNotFound."""
        self.listing.renew()
        return self._there(id, self.listing.seen(id=id))

    def set(self, name: str, add: Callable[[], Unit], update: Callable[[T], Unit]) -> Result[T, PocketenvError]:
        """Add a record, or update the one with this name. Returns the stored record."""
        with self._turn(name) as late:
            if late:
                return Failure(late)
            updated: list[T] = []
            known = self.listing.known(name) if is_in_turn() else None
            change = partial(_updated, update, updated)
            done = add_or_update(add, partial(self.listing.take, name), change, known)
            if isinstance(done, Failure):
                return Failure(self._cause(done.failure()))
            if updated and self._kind.is_same_after_update:
                return Success(updated[-1])
            return self.looked_up(partial(self._named, name), partial(self.listing.seen, name), name)

    def replace(self, name: str, add: Callable[[], Unit]) -> Result[T, PocketenvError]:
        """Delete the record with this name, and add a new one. Returns the stored record.

        Threads of this process take turns. If another process sets the same name at the same time, this starts again
        after a short random pause, at most ``TURNS`` times. If the old record is gone and the add fails, the Failure
        says so.
        """
        with self._turn(name) as late:
            return Failure(late) if late else self._replaced(name, add)

    def _replaced(self, name: str, add: Callable[[], Unit]) -> Result[T, PocketenvError]:
        import random

        is_gone = False
        for turn in count(1):
            begun = time.monotonic()
            added = add()
            if isinstance(added, Success):
                return self.looked_up(partial(self._settled, name), partial(self.listing.seen, name), name)
            refused = added.failure()
            is_conflict = hides_its_cause(refused)
            if turn > TURNS or not (is_conflict or (is_gone and _is_passing(refused))):
                return Failure(self._without_old(refused) if is_gone else refused)
            there = self._there(name, self.listing.take(name))
            if isinstance(there, Success):
                if not is_conflict:
                    return there  # the add arrived, although its response did not
                removed = there.bind(self.delete_one)
                if isinstance(removed, Failure):
                    error = removed.failure()
                    is_unsure = is_gone or getattr(error, "maybe_sent", False)
                    return Failure(self._without_old(error) if is_unsure else error)
                is_gone = True
            elif not isinstance(there.failure(), RecordNotFound) or (turn >= CHANCES and not is_gone):
                return Failure(self._without_old(refused) if is_gone else self._cause(refused))
            if turn > 1:
                # The pause is as long as a turn takes here, and grows each time: one process succeeds while others wait.
                took = time.monotonic() - begun
                nap(random.uniform(0, max(PAUSE, took) * 2 ** min(turn, LONGEST)))  # noqa: S311  # no secret hangs on it
        raise AssertionError("the turns have no end")

    def looked_up(
        self,
        look: Callable[[], Result[T, PocketenvError]],
        seen: Callable[[], Result[T | None, PocketenvError]],
        name: str,
    ) -> Result[T, PocketenvError]:
        """Return the stored record, or less if the caller of the operation reads less.

        ``look`` requests it. ``seen`` reads it from the list that is renewed after all changes of the neighbours.
        """
        need = needed()
        if need is Need.NOTHING:
            return cast("Result[T, PocketenvError]", Success(None))
        if need is not Need.LATER:
            return look()
        later = Later(self._source(), self.listing.renew, seen, partial(self._in_turn, name, look))
        return cast("Result[T, PocketenvError]", Success(later))

    def _source(self) -> Hashable:
        return self._kind.noun, self._sandbox.id, settings().value_or(None)

    def _in_turn(self, name: str, look: Callable[[], Result[T, PocketenvError]]) -> Result[T, PocketenvError]:
        with self._turn(name) as late:
            return Failure(late) if late else look()

    def _settled(self, name: str) -> Result[T, PocketenvError]:
        # Another process may have just deleted it, to add its own.
        record = self._named(name)
        for turn in range(1, LOOKS):
            if isinstance(record, Success) or not isinstance(record.failure(), RecordNotFound):
                break
            nap(PAUSE * turn)
            record = self._named(name)
        return record

    def _cause(self, error: PocketenvError) -> PocketenvError:
        # A sandbox that is gone is one cause of a 500 for secrets and variables.
        looked = look(self._sandbox) if hides_its_cause(error) else None
        is_gone = isinstance(looked, Failure) and isinstance(looked.failure(), SandboxNotFound)
        return looked.failure() if looked is not None and is_gone else error

    def _turn(self, name: str) -> AbstractContextManager[DeadlineExceeded | None]:
        noun = self._kind.noun
        return _turns.of((self._sandbox.id, noun, name), f"{noun}.add{noun.capitalize()}")

    def _without_old(self, error: PocketenvError) -> PocketenvError:
        """Return the error with a hint that the old record is gone."""
        noun = self._kind.noun
        hint = f"the old {noun} is gone, and the sandbox may have none: set it again"
        marked = copy(error)
        for field in ("message", "reason"):
            if isinstance(text := getattr(marked, field, None), str):
                setattr(marked, field, f"{text}; {hint}" if text else hint)
        marked.add_note(f"{hint[0].upper()}{hint[1:]}.")
        return marked

    def delete(self, name_or_id: str, stored: str | None = None) -> Result[Sandbox, PocketenvError]:
        """Delete the record with this id or name. Returns the sandbox."""
        return self.take(name_or_id, stored).bind(self.delete_one).map(lambda _: self._sandbox)

    def delete_one(self, record: T) -> Unit:
        """Delete this record."""
        return self._kind.delete(record.id)

    def _each(self) -> Iterator[Result[T, PocketenvError]]:
        return self._kind.each(self._sandbox.id)

    def _named(self, name: str) -> Result[T, PocketenvError]:
        return self._there(name, Listing(self._each, self._kind.key).seen(name))

    def _there(self, name: str, record: Result[T | None, PocketenvError]) -> Result[T, PocketenvError]:
        return Failure(self._missing(name)) if record == Success(None) else cast("Result[T, PocketenvError]", record)

    def _missing(self, wanted: str) -> RecordNotFound:
        noun = self._kind.noun
        # A caller may pass a whole document in place of a name: keep it out of logs.
        wanted = shorten(wanted, LONGEST_SHOWN)
        return RecordNotFound(
            message=f"the sandbox {self._sandbox.name} has no {noun} {wanted!r}",
            operation=f"{noun}.get{noun.capitalize()}s",
        )


def _updated(update: Callable[[T], Unit], updated: list[T], record: T) -> Unit:
    """Update the record, and append it to ``updated`` if that succeeded."""
    done = update(record)
    if isinstance(done, Success):
        updated.append(record)
    return done


def _is_passing(error: PocketenvError) -> bool:
    return type(error) is ServerError or isinstance(error, TransportError)
