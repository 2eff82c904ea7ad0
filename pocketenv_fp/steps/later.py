"""One list for all records that the steps of a `gather` set, find and delete.

An add returns no id, so `set_variable` and the like look up their record in a list afterwards. Several of them, one
after the other in a `gather` or `keep`, need that list once:

>>> from pocketenv_fp import explain, gather, set_variable
>>> setting = gather(set_variable("A", "1"), set_variable("B", "2"), set_variable("C", "3"))
>>> [request.path.split("?")[0].rpartition(".")[2] for request in explain(setting).requests]
['addVariable', 'addVariable', 'addVariable', 'getVariables']

A step that must find its record first reads it from the list of its neighbour. Only neighbours share a list. Every
other step may change the records, so the list is requested before it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar, cast

from returns.result import Failure, Result, Success

from pocketenv_fp.config import in_use, using
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.runtime.scope import scope
from pocketenv_fp.steps.needs import Need
from pocketenv_fp.steps.step import Applied, Step

__all__ = ["Lane", "Later", "Meeting", "can_meet", "gathered", "is_in_turn", "neighbours"]

A = TypeVar("A")
Outcome = Result[Any, PocketenvError]


class Later:
    """A record that is looked up after other steps. `Need.LATER` lets an operation return it as its value.

    ``source`` is equal for all records that one list has. ``renew`` drops an older list. ``seen`` reads the record from
    the list, or returns None. Then ``look`` looks up this record only.
    """

    def __init__(
        self,
        source: Hashable,
        renew: Callable[[], None],
        seen: Callable[[], Outcome],
        look: Callable[[], Outcome],
    ) -> None:
        self.source = source
        self.renew = renew
        self._seen = seen
        self._look = look
        self._configs = in_use()

    def record(self) -> Outcome:
        """Return the record from the list. Another process may be replacing it: then look up this record only."""
        # The login of the step may be another one than that of the `gather`.
        with ExitStack() as blocks:
            for config in reversed(self._configs):
                blocks.enter_context(using(config))
            seen = self._seen()
            return self._look() if seen == Success(None) else seen


class _Lists(NamedTuple):
    """The lists that neighbours share. ``at_once``: the neighbours run at the same time."""

    lists: dict[Hashable, Any]
    at_once: bool


_lists: ContextVar[_Lists | None] = ContextVar("pocketenv_fp.lists", default=None)


def neighbours(source: Callable[[], Hashable], make: Callable[[], A]) -> A:
    """Return the list of ``source`` that the neighbours of this step share, or a new one."""
    shared = _lists.get()
    return make() if shared is None else cast("A", shared.lists.setdefault(source(), make()))


def is_in_turn() -> bool:
    """Return whether the neighbours of this step run one after the other, so that it may rely on their list."""
    shared = _lists.get()
    return shared is not None and not shared.at_once


class _Open(NamedTuple):
    """A step whose record is not looked up yet."""

    step: Applied
    position: int
    later: Later
    began: float


def gathered(
    target: object, steps: Sequence[Step[Any, Any]], need: Need, *, at_once: bool = False
) -> Result[tuple[Any, ...], PocketenvError]:
    """Run the steps on ``target`` until one fails. Returns the tuple of their values.

    With ``at_once`` they send what they would send at the same time. `explain` needs that.
    """
    may_share = not at_once or can_meet(steps)
    values: list[object] = []
    waiting: list[_Open] = []
    shared = _Lists({}, at_once)
    for position, each in enumerate(steps):
        alone = each.alone
        is_neighbour = may_share and alone is not None and bool(alone.operation.record)
        can_wait = is_neighbour and need is not Need.NOTHING and alone is not None and alone.operation.looks_up_record
        if waiting and not (can_wait and alone is not None and _is_other(alone, [one.step for one in waiting])):
            if isinstance(looked := _look_up(target, waiting, values), Failure):
                return looked
            waiting = []
        if not is_neighbour:
            shared = _Lists({}, at_once)
        began = time.perf_counter()
        with scope(_lists, shared if is_neighbour else None):
            result = each.run_for(Need.LATER if can_wait else need, Success(target))
        if isinstance(result, Failure):
            return result
        values.append(value := result.unwrap())
        if isinstance(value, Later) and alone is not None:
            waiting.append(_Open(alone, position, value, began))
    return _look_up(target, waiting, values).map(lambda _: tuple(values))


def _is_other(step: Applied, waiting: Sequence[Applied]) -> bool:
    """Return whether none of the waiting steps may change the same record. An id and a name may be one record."""
    record = step.operation.record
    return all(
        each.operation.record != record or (each.operation is step.operation and each.first != step.first)
        for each in waiting
    )


def _look_up(target: object, waiting: Sequence[_Open], values: list[object]) -> Result[None, PocketenvError]:
    """Put the records of the waiting steps into ``values``. The first Failure is the result."""
    for each, record in zip(waiting, _records(target, waiting), strict=True):
        if isinstance(record, Failure):
            return record
        values[each.position] = record.unwrap()
    return Success(None)


def _records(target: object, waiting: Sequence[_Open]) -> Iterator[Outcome]:
    """Yield the record of each waiting step, from one list for each source."""
    renewed: set[Hashable] = set()
    for each in waiting:
        if each.later.source not in renewed:
            renewed.add(each.later.source)
            each.later.renew()
        record = each.later.record()
        yield Failure(each.step.placed(record.failure(), target, each.began)) if isinstance(record, Failure) else record


def can_meet(steps: Sequence[Step[Any, Any]]) -> bool:
    """Return whether steps that run at the same time may share a list: each sets a record of its own, and no more."""
    seen: list[Applied] = []
    for each in steps:
        alone = each.alone
        if alone is None or not alone.operation.looks_up_record or not _is_other(alone, seen):
            return False
        seen.append(alone)
    return True


class Meeting:
    """Steps that run at the same time. The one that ends last looks up the records of all."""

    def __init__(self, target: object, steps: Sequence[Step[Any, Any]], need: Need) -> None:
        self.need = need if need is Need.NOTHING else Need.LATER
        self.lanes = [Lane(self, position, step) for position, step in enumerate(steps)]
        self._target = target
        self._lists = _Lists({}, at_once=True)
        self._lock = threading.Lock()
        self._running = len(steps)
        self._waiting: list[_Open] = []
        self._records: dict[int, Outcome] = {}

    def run(self, lane: Lane) -> Outcome:
        """Run one of the steps. Its value may be a Later."""
        began = time.perf_counter()
        try:
            with scope(_lists, self._lists):
                result = lane.step.run_for(self.need, Success(self._target))
            if isinstance(result, Success) and isinstance(later := result.unwrap(), Later) and lane.step.alone:
                with self._lock:
                    self._waiting.append(_Open(lane.step.alone, lane.position, later, began))
            return result
        finally:
            with self._lock:
                self._running -= 1
                is_last = not self._running
            if is_last:
                waiting = sorted(self._waiting, key=lambda each: each.position)
                for each, record in zip(waiting, _records(self._target, waiting), strict=True):
                    self._records[each.position] = record

    def value(self, position: int, result: Outcome) -> Outcome:
        """Return the result of a step, with its record in place of a Later."""
        return self._records.get(position, result)


class Lane:
    """A step of a Meeting, as a function of its target."""

    def __init__(self, meeting: Meeting, position: int, step: Step[Any, Any]) -> None:
        self.position = position
        self.step = step
        self._meeting = meeting

    def __call__(self, _: object) -> Outcome:
        """Run the step."""
        return self._meeting.run(self)
