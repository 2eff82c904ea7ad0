"""How much of a Sandbox the next step of a pipeline reads, so that a lookup it does not need is not made.

`start` ends with a lookup, because it returns the Sandbox afterwards. In ``start | exec("ls")`` no code of the caller sees
that Sandbox, and exec reads its id only. So the pipeline leaves the lookup out:

>>> from pocketenv_fp import exec, explain, start
>>> [request.path.split("?")[0].rpartition(".")[2] for request in explain(start | exec("ls")).requests]
['startSandbox', 'exec']
>>> [request.path.split("?")[0].rpartition(".")[2] for request in explain(start).requests]
['startSandbox', 'getSandbox']

The last step of a pipeline, `when`, ``.map`` and every other function of yours get a complete Sandbox. A combinator
such as `tap` needs what its inner steps need. `tap` itself reads no result, so its last lookup is left out too.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pocketenv_fp.steps.step import Applied

__all__ = ["Need", "current", "needed", "needs_of", "read_before"]


class Need(IntEnum):
    """What a step reads of the Sandbox, or of the record, that it gets."""

    NOTHING = -2
    """The result is dropped."""
    LATER = -1
    """The record is looked up by the caller, together with others: see `pocketenv_fp.steps.later`."""
    ID = 0
    """Its id, name and provider, which never change."""
    STATUS = 1
    """Also its status: a command runs only in a sandbox that is RUNNING."""
    RECORD = 2
    """Everything."""


current: ContextVar[Need] = ContextVar("pocketenv_fp.need", default=Need.RECORD)
"""The need of the running operation's result. Only the code that runs steps sets it."""


def needed() -> Need:
    """Return what the step after the running operation reads of its result."""
    return current.get()


def needs_of(steps: Sequence[Applied], last: Need = Need.RECORD) -> tuple[Need, ...]:
    """Return for each step what is read of its result. ``last`` is what is read of the last one."""
    needs: list[Need] = []
    for applied in reversed(steps):
        needs.append(last)
        last = applied.operation.reads_before(applied, last)
    return tuple(reversed(needs))


def read_before(steps: Sequence[Applied], last: Need) -> Need:
    """Return what the first of ``steps`` reads of its target. ``last`` is what is read of the last one."""
    for applied in reversed(steps):
        last = applied.operation.reads_before(applied, last)
    return last
