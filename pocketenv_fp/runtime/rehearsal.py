"""The hook for code that `explain` runs: real steps and combinators, on a fake platform.

In a rehearsal nothing is sent, no file or environment variable is read, and nothing waits. Most code needs no hook,
because its requests get fake answers. A combinator uses the hook to add a note, or to mark requests as conditional:

>>> from returns.result import Success
>>> from pocketenv_fp import explain, start, stop
>>> from pocketenv_fp.runtime import rehearsal
>>> from pocketenv_fp.steps.combinator import combinator
>>> @combinator()
... def afterwards(target, step, last):
...     rehearsal.note(lambda: "runs another step at the end")
...     result = Success(target) | step
...     with rehearsal.only(lambda: "after a success or a failure"):
...         _ = Success(target) | last
...     return result
>>> print(explain(afterwards(start, stop)))
afterwards(start(), stop())
    # runs another step at the end
    start()
        POST /xrpc/io.pocketenv.sandbox.startSandbox?id=‹SANDBOX_ID›
            {}
        GET /xrpc/io.pocketenv.sandbox.getSandbox?id=‹SANDBOX_ID›
    stop()
        # after a success or a failure
        POST /xrpc/io.pocketenv.sandbox.stopSandbox?id=‹SANDBOX_ID›
        GET /xrpc/io.pocketenv.sandbox.getSandbox?id=‹SANDBOX_ID›
4 requests, each with Authorization: Bearer $POCKETENV_TOKEN; nothing was sent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Any, Protocol

from pocketenv_fp.runtime.scope import scope

__all__ = [
    "IN_PIECES",
    "Rehearsal",
    "Unknown",
    "copying",
    "duration",
    "fallback",
    "is_rehearsed",
    "note",
    "only",
    "polling",
    "rehearsed_by",
    "rehearsing",
    "stand_in",
    "variable",
]

IN_PIECES = "on this provider, one request more before the last for each"
"""The beginning of the note of a copy through commands. `explain` reads no file, so it lists no such request."""


class Unknown:
    """A value that only a real run has, such as the result of a caller's function. It is true."""


class Rehearsal(Protocol):
    """An object that runs steps on a fake platform and records them."""

    def run(self, steps: Sequence[Any], needs: Sequence[Any], target: Any) -> Any:
        """Run ``steps``, each an Applied, on ``target``, a Result. ``needs`` is what is read of each result."""
        ...

    def note(self, text: str) -> None:
        """Add a note to the current step."""
        ...

    def marking(
        self, *, condition: str | None = None, local: str | None = None, seconds: float | None = None
    ) -> AbstractContextManager[None]:
        """Mark each request of the block."""
        ...

    def fallback(self, run: Callable[[], object]) -> None:
        """Record a branch that a real run takes after a failure only. Its effects are undone."""
        ...


_current: ContextVar[Rehearsal | None] = ContextVar("pocketenv_fp.rehearsal", default=None)


def rehearsed_by(rehearsal: Rehearsal) -> AbstractContextManager[None]:
    """Let ``rehearsal`` run each step of the block."""
    return scope(_current, rehearsal)


def rehearsing() -> Rehearsal | None:
    """Return the current rehearsal, or None in a real run."""
    return _current.get()


def is_rehearsed() -> bool:
    """Return whether this is a rehearsal: then do not wait, and do not use files of this machine."""
    return _current.get() is not None


def note(text: Callable[[], str]) -> None:
    """Add a note to the current step. ``text`` is not called in a real run."""
    if (rehearsal := _current.get()) is not None:
        rehearsal.note(text())


def only(condition: Callable[[], str]) -> AbstractContextManager[None]:
    """Mark the steps and requests of a block with the condition on which a real run sends them."""
    rehearsal = _current.get()
    return nullcontext() if rehearsal is None else rehearsal.marking(condition=condition())


def polling(seconds: float) -> AbstractContextManager[None]:
    """Mark the requests of a block: they are repeated until the sandbox runs, for up to ``seconds``."""
    rehearsal = _current.get()
    return nullcontext() if rehearsal is None else rehearsal.marking(seconds=seconds)


def copying(local: str) -> AbstractContextManager[None]:
    """Mark the requests of a block that carry the files of ``local``, a directory of this machine."""
    rehearsal = _current.get()
    return nullcontext() if rehearsal is None else rehearsal.marking(local=local)


def fallback(run: Callable[[], object]) -> None:
    """Call ``run`` in a rehearsal only, to show the steps that a real run takes after a failure."""
    if (rehearsal := _current.get()) is not None:
        rehearsal.fallback(run)


def duration(seconds: float) -> str:
    """Return a time limit as words of a note.

    >>> from pocketenv_fp.runtime.rehearsal import duration
    >>> duration(7.0), duration(float("inf"))
    ('7 s', 'any time')
    """
    return "any time" if seconds == math.inf else f"{seconds:g} s"


def stand_in(name: str) -> str:
    """Return the string that stands for an unknown value: ``‹NAME›``."""
    return f"‹{name}›"


def variable(text: str) -> str:
    """Return ``text`` as the name of a shell variable.

    >>> from pocketenv_fp.runtime.rehearsal import variable
    >>> variable("MY-KEY"), variable("2nd")
    ('MY_KEY', '_2nd')
    """
    name = re.sub(r"\W", "_", text, flags=re.ASCII)
    return f"_{name}" if name[:1].isdigit() or not name else name
