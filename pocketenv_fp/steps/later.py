"""One list for all records that the steps of a `gather` set.

An add returns no id, so `set_variable` and the like look up their record in a list afterwards. Several of them, one
after the other in a `gather` or `keep`, need that list once:

>>> from pocketenv_fp import explain, gather, set_variable
>>> setting = gather(set_variable("A", "1"), set_variable("B", "2"), set_variable("C", "3"))
>>> [request.path.split("?")[0].rpartition(".")[2] for request in explain(setting).requests]
['addVariable', 'addVariable', 'addVariable', 'getVariables']

Only neighbours share a list. Every other step may change the records, so the list is requested before it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple, cast

from returns.result import Failure, Result, Success

from pocketenv_fp.config import in_use, using
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.steps.needs import Need
from pocketenv_fp.steps.step import Applied, Step

__all__ = ["Later", "gathered"]

Outcome = Result[Any, PocketenvError]


class Later:
    """A record that is looked up after other steps. `Need.LATER` lets an operation return it as its value.

    ``source`` is equal for all records that one list has. ``each`` iterates over that list. ``look`` looks up this
    record only, and is called if the list does not have it.
    """

    def __init__(
        self,
        source: Hashable,
        key: str,
        name: str,
        each: Callable[[], Iterator[Outcome]],
        look: Callable[[], Outcome],
    ) -> None:
        self.source = source
        self.key = key
        self.name = name
        self._each = each
        self._look = look
        self._configs = in_use()

    def listed(self, names: set[str]) -> Result[dict[str, Any], PocketenvError]:
        """Return the records with these names by name. It requests pages until it has them all."""
        records: dict[str, Any] = {}
        with self._login():
            for each in self._each():
                if isinstance(each, Failure):
                    return each
                record = each.unwrap()
                if (name := cast("str", getattr(record, self.key))) in names:
                    records.setdefault(name, record)
                if len(records) == len(names):
                    break
        return Success(records)

    def looked(self) -> Outcome:
        """Look up this record only."""
        with self._login():
            return self._look()

    @contextmanager
    def _login(self) -> Generator[None]:
        # The login of the step may be another one than that of the `gather`.
        with ExitStack() as blocks:
            for config in reversed(self._configs):
                blocks.enter_context(using(config))
            yield


class _Open(NamedTuple):
    """A step whose record is not looked up yet."""

    step: Applied
    position: int
    later: Later
    began: float


def gathered(target: object, steps: Sequence[Step[Any, Any]], need: Need) -> Result[tuple[Any, ...], PocketenvError]:
    """Run the steps on ``target`` until one fails. Returns the tuple of their values."""
    values: list[object] = []
    waiting: list[_Open] = []
    for position, each in enumerate(steps):
        alone = each.alone
        can_wait = need is not Need.NOTHING and alone is not None and alone.operation.looks_up_record
        if waiting and not (can_wait and alone is not None and _is_other(alone, waiting)):
            if isinstance(looked := _look_up(target, waiting, values), Failure):
                return looked
            waiting = []
        began = time.perf_counter()
        result = each.run_for(Need.LATER if can_wait else need, Success(target))
        if isinstance(result, Failure):
            return result
        values.append(value := result.unwrap())
        if isinstance(value, Later) and alone is not None:
            waiting.append(_Open(alone, position, value, began))
    return _look_up(target, waiting, values).map(lambda _: tuple(values))


def _is_other(step: Applied, waiting: Sequence[_Open]) -> bool:
    """Return whether none of the waiting steps sets the same record."""
    return all((each.step.operation, each.step.first) != (step.operation, step.first) for each in waiting)


def _look_up(target: object, waiting: Sequence[_Open], values: list[object]) -> Result[None, PocketenvError]:
    """Put the records of the waiting steps into ``values``. The first Failure is the result."""
    lists: dict[Hashable, Result[dict[str, Any], PocketenvError]] = {}
    for each in waiting:
        later = each.later
        if later.source not in lists:
            names = {other.later.name for other in waiting if other.later.source == later.source}
            lists[later.source] = later.listed(names)
        record = lists[later.source].map(partial(_named, later.name))
        if record == Success(None):
            # Another process may be replacing it.
            record = later.looked()
        if isinstance(record, Failure):
            return Failure(each.step.placed(record.failure(), target, each.began))
        values[each.position] = record.unwrap()
    return Success(None)


def _named(name: str, records: dict[str, Any]) -> Any:
    return records.get(name)
