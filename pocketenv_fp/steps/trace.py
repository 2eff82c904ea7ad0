"""Trace a pipeline: each step with its time, its requests and its outcome.

>>> from pocketenv_fp import create, exec, start, trace
>>> ci = create | start | exec("make test", check=True)
>>> result, seen = trace(ci)("my-box")
>>> result
<Failure: the command ended with exit code 2. ...>
>>> print(seen)
began s  took s  requests  outcome        step
  0.000   0...         2  ok             create()
  0...   0...         1  ok             start()
  0...   0...         1  CommandFailed  exec('make test', check=True)
3 steps, 1 failed, 4 requests, ... s

A notebook shows a picture. `tracing` traces a block of a program, including each `fan_out` in it.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar, cast

from returns.result import Result

from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.observing import Begun, Done, Ended, observing
from pocketenv_fp.observing.timeline import CallRecord, StepRecord, end_of, timeline
from pocketenv_fp.redaction import counted
from pocketenv_fp.runtime.scope import scope
from pocketenv_fp.steps.operation import demand_step
from pocketenv_fp.steps.step import Step

__all__ = ["CallRecord", "StepRecord", "Trace", "Traced", "Tracer", "on_lane", "recording", "trace", "tracing"]

A = TypeVar("A")
B = TypeVar("B")

ROWS = 200
HEADINGS = ("began s", "took s", "requests", "outcome", "step")


class _Open:
    """A step that is running."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.calls: list[CallRecord] = []


_inside: ContextVar[dict[int, _Open] | None] = ContextVar("pocketenv_fp.step", default=None)
_lane: ContextVar[str] = ContextVar("pocketenv_fp.lane", default="")
_recording: ContextVar[tuple[Trace, ...]] = ContextVar("pocketenv_fp.steps.trace", default=())


class Trace:
    """A record of the steps and requests in a traced program. ``print`` shows a table, a notebook shows a picture.

    ``steps`` are the finished steps, in the order of their start. ``loose`` are calls outside of steps, for instance of
    `list_sandboxes`. It can be read while the program runs.
    """

    def __init__(self) -> None:
        self._clock = time.perf_counter()
        self._began = time.time()
        self._steps: list[StepRecord] = []
        self._loose: list[CallRecord] = []

    @property
    def steps(self) -> tuple[StepRecord, ...]:
        return tuple(sorted(self._steps, key=lambda record: (record.began, record.depth)))

    @property
    def loose(self) -> tuple[CallRecord, ...]:
        return tuple(sorted(self._loose, key=lambda record: record.began))

    @property
    def calls(self) -> tuple[CallRecord, ...]:
        """All calls, of the steps and the loose ones, in the order of their start."""
        of_steps = (call for step in self._steps for call in step.calls)
        return tuple(sorted((*of_steps, *self._loose), key=lambda record: record.began))

    @property
    def requests(self) -> int:
        """The number of requests. Each retry counts."""
        return sum(call.requests for call in self.calls)

    @property
    def seconds(self) -> float:
        """The seconds until the last recorded step or call ended."""
        return end_of(self._steps, self._loose)

    def watch(self, begun: Begun) -> Ended | None:
        """Record an event: a watcher for `pocketenv_fp.observing`."""
        if begun.kind == "status":
            return None
        # Use one clock for both ends: an inner step must not seem to end after the outer one.
        began = self._now()
        inside = _inside.get() or {}
        around = inside.get(id(self))
        if begun.kind == "call":
            calls = self._loose if around is None else around.calls

            def answered(done: Done) -> None:
                calls.append(CallRecord(begun.name, began, self._now() - began, done.outcome, done.requests, done.held))

            return answered
        opened = _Open(0 if around is None else around.depth + 1)
        mark = _inside.set({**inside, id(self): opened})
        lane = _lane.get()

        def ended(done: Done) -> None:
            seconds = self._now() - began
            _inside.reset(mark)
            calls = tuple(opened.calls)
            self._steps.append(
                StepRecord(begun.name, began, seconds, done.outcome, done.error, opened.depth, lane, calls)
            )

        return ended

    def _now(self) -> float:
        return time.perf_counter() - self._clock

    def add(self, other: Trace) -> None:
        """Add the records of another trace, maybe of another process. Times are relative to this trace's start."""
        # Clocks of machines differ: no time may be before this trace's start.
        later = max(other._began - self._began, 0.0)
        moved = (step._replace(calls=_moved(step.calls, later)) for step in other._steps)
        self._steps += [step._replace(began=step.began + later) for step in moved]
        self._loose += _moved(other._loose, later)

    def __getstate__(self) -> dict[str, Any]:
        return {"_clock": 0.0, "_began": self._began, "_steps": self._steps, "_loose": self._loose}

    def __str__(self) -> str:
        steps = _by_lane(self.steps)
        is_fleet = len({step.lane for step in steps}) > 1
        rows = [HEADINGS, *(_row(step, several=is_fleet) for step in steps[:ROWS])]
        began, took, requests, outcome, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
        line = f"{{:>{began}}}  {{:>{took}}}  {{:>{requests}}}  {{:<{outcome}}}  {{}}"
        lines = [line.format(*row) for row in rows]
        hidden = [f"… {len(steps) - ROWS:,} more steps"] if len(steps) > ROWS else []
        return "\n".join((*lines, *hidden, self.summary()))

    def summary(self) -> str:
        """Return one line with the number of steps and requests, and the duration."""
        calls = self.calls
        requests, held = sum(call.requests for call in calls), sum(call.held for call in calls)
        # If a step fails because of an inner step, that counts as one failure.
        failed = sum(step.failed and step.depth == 0 for step in self._steps)
        parts = [
            counted(len(self._steps), "step"),
            *([f"{failed:,} failed"] if failed else []),
            counted(requests, "request"),
            *([f"delayed {held:.3f} s in total by the request limit"] if held >= 0.001 else []),  # a millisecond
            f"{self.seconds:.3f} s",
        ]
        return ", ".join(parts)

    def __repr__(self) -> str:
        return f"<trace of {self.summary()}>"

    def picture(self) -> str:
        """Return the picture for a notebook, as HTML without scripts or external resources."""
        return timeline(self.steps, self.loose, self.summary())

    def _repr_html_(self) -> str:
        return self.picture()


def _by_lane(steps: tuple[StepRecord, ...]) -> list[StepRecord]:
    # Grouped by target, in the order of the first start.
    first: dict[str, float] = {}
    for step in steps:
        first.setdefault(step.lane, step.began)
    return sorted(steps, key=lambda step: (first[step.lane], step.lane))


def _row(step: StepRecord, *, several: bool) -> tuple[str, ...]:
    shown = f"{'  ' * step.depth}{step.step}"
    where = f"{step.lane or 'here'}: " if several else ""
    return f"{step.began:.3f}", f"{step.seconds:.3f}", str(step.requests), step.outcome, where + shown


def _moved(calls: tuple[CallRecord, ...] | list[CallRecord], later: float) -> tuple[CallRecord, ...]:
    return tuple(call._replace(began=call.began + later) for call in calls)


class Traced(NamedTuple, Generic[B]):
    """The pair of the unchanged Result and the Trace."""

    result: Result[B, PocketenvError]
    trace: Trace

    def _repr_html_(self) -> str:
        return self.trace.picture()


@dataclass(frozen=True, repr=False)
class Tracer(Generic[A, B]):
    """A traced step: the result of `trace`."""

    _step: Step[A, B]

    def __call__(self, target: A | None | Result[A | None, PocketenvError], /) -> Traced[B]:
        with tracing() as seen:
            result = self._step(target)
        return Traced(result, seen)

    def __ror__(self, target: A | None | Result[A | None, PocketenvError], /) -> Traced[B]:
        return self(target)

    def __repr__(self) -> str:
        return f"trace({self._step!r})"


def trace(step: Step[A, B]) -> Tracer[A, B]:
    """Trace a step or a pipeline. Returns a function of the target. It returns a pair: the same Result, and the Trace.

    Args:
        step: The step or pipeline.

    >>> from pocketenv_fp import create, start, tap, trace
    >>> result, seen = "my-box" | trace(create | tap(start))
    >>> result.map(lambda box: box.name)
    <Success: my-box>
    >>> [(record.step, record.depth, record.outcome) for record in seen.steps]
    [('create()', 0, 'ok'), ('tap(start())', 0, 'ok'), ('start()', 1, 'ok')]
    >>> [call.name for call in seen.steps[2].calls]
    ['sandbox.startSandbox']
    """
    demand_step(step, "trace")
    return Tracer(step)


@contextmanager
def tracing() -> Generator[Trace]:
    """Trace a block: its thread or task, and the threads and processes of each `fan_out` in it. Yields a Trace.

    >>> from pocketenv_fp import ephemeral, exec, fan_out, start, tracing
    >>> with tracing() as seen:
    ...     results = fan_out(ephemeral(start | exec("true")), ["a", "b"])
    >>> sorted({record.lane for record in seen.steps})
    ['a', 'b']
    >>> seen
    <trace of 10 steps, 10 requests, ... s>
    """
    seen = Trace()
    with scope(_recording, (*_recording.get(), seen)), observing(seen.watch):
        yield seen


def recording() -> tuple[Trace, ...]:
    """Return the traces of the surrounding `tracing` blocks."""
    return _recording.get()


def on_lane(target: object) -> AbstractContextManager[None]:
    """Record the steps of a block as work on ``target``, one of many."""
    value: object = cast("Result[object, object]", target).value_or(None) if isinstance(target, Result) else target
    name: object = getattr(value, "name", value)
    return scope(_lane, name if isinstance(name, str) else "")
