"""Trace what a pipeline did: each step with its time, its requests and its outcome.

>>> from pocketenv_fp import create, exec, start, trace
>>> ci = create | start | exec("make test", check=True)
>>> result, seen = trace(ci)("my-box")
>>> result
<Failure: the command ended with exit code 2. ...>
>>> print(seen)
began s  took s  requests  outcome        step
  0.000   0...         3  ok             create()
  0...   0...         2  ok             start()
  0...   0...         1  CommandFailed  exec('make test', check=True)
3 steps, 1 failed, 6 requests, ... s

In a notebook it is a picture. `tracing` traces a block of a program instead, a `fan_out` in it too.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Generic, NamedTuple, TypeVar, cast

from returns.result import Result

from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.observing import Begun, Done, Ended, observing
from pocketenv_fp.observing.timeline import CallRecord, StepRecord, end_of, timeline
from pocketenv_fp.steps.operation import Step, demand_step

__all__ = ["CallRecord", "StepRecord", "Trace", "Traced", "Tracer", "on_lane", "recording", "trace", "tracing"]

A = TypeVar("A")
B = TypeVar("B")

ROWS = 200
HEADINGS = ("began s", "took s", "requests", "outcome", "step")
ALIGNED = (">", ">", ">", "<")


class _Open:
    """A step that runs."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.calls: list[CallRecord] = []


_inside: ContextVar[dict[int, _Open] | None] = ContextVar("pocketenv_fp.step", default=None)
_lane: ContextVar[str] = ContextVar("pocketenv_fp.lane", default="")
_recording: ContextVar[tuple[Trace, ...]] = ContextVar("pocketenv_fp.steps.trace", default=())


class Trace:
    """What ran while it was traced. ``print`` shows a table of it, a notebook a picture.

    ``steps`` are the records of the steps that are over, in the order of their beginnings; ``loose`` the calls that
    belong to no step, as those of `list_sandboxes` do. It may be read while it goes on.
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
        """All calls, those of the steps and the loose ones, in the order of their beginnings."""
        of_steps = (call for step in self._steps for call in step.calls)
        return tuple(sorted((*of_steps, *self._loose), key=lambda record: record.began))

    @property
    def requests(self) -> int:
        """How many requests were sent, those that were repeated counted each time."""
        return sum(call.requests for call in self.calls)

    @property
    def seconds(self) -> float:
        """The time from the beginning to the end of what ended last."""
        return end_of(self._steps, self._loose)

    def watch(self, begun: Begun) -> Ended | None:
        """Record what begins: a watcher for `pocketenv_fp.observing`."""
        if begun.kind == "status":
            return None
        # One clock for both ends: what is inside a step must not seem to end after it.
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
        """Take over what another trace saw, in another process too: times are told from the beginning of this one."""
        # Clocks of machines differ: nothing has begun before this did.
        later = max(other._began - self._began, 0.0)
        moved = (step._replace(calls=_moved(step.calls, later)) for step in other._steps)
        self._steps += [step._replace(began=step.began + later) for step in moved]
        self._loose += _moved(other._loose, later)

    def __getstate__(self) -> dict[str, Any]:
        return {"_clock": 0.0, "_began": self._began, "_steps": self._steps, "_loose": self._loose}

    def __str__(self) -> str:
        steps = _by_lane(self.steps)
        rows = [_row(step, several=self._is_fleet) for step in steps[:ROWS]]
        widths = [max(len(row[column]) for row in (HEADINGS, *rows)) for column in range(len(HEADINGS) - 1)]
        lines = ["  ".join((*map(_padded, row, widths, ALIGNED), row[-1])) for row in (HEADINGS, *rows)]
        hidden = [f"… {len(steps) - ROWS:,} more steps"] if len(steps) > ROWS else []
        return "\n".join((*lines, *hidden, self.summary()))

    @property
    def _is_fleet(self) -> bool:
        return len({step.lane for step in self._steps}) > 1

    def summary(self) -> str:
        """How many steps and requests there were, and in what time, in one line."""
        calls = self.calls
        requests, held = sum(call.requests for call in calls), sum(call.held for call in calls)
        # A step fails because one inside it did: that is one failure.
        failed = sum(step.failed and step.depth == 0 for step in self._steps)
        parts = [
            _counted(len(self._steps), "step"),
            *([f"{failed:,} failed"] if failed else []),
            _counted(requests, "request"),
            *([f"held back for {held:.3f} s in all by the request limit"] if held >= 0.001 else []),  # a millisecond
            f"{self.seconds:.3f} s",
        ]
        return ", ".join(parts)

    def __repr__(self) -> str:
        return f"<trace of {self.summary()}>"

    def picture(self) -> str:
        """Give the picture that a notebook shows, as HTML with nothing in it that runs or is loaded."""
        return timeline(self.steps, self.loose, self.summary())

    def _repr_html_(self) -> str:
        return self.picture()


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _by_lane(steps: tuple[StepRecord, ...]) -> list[StepRecord]:
    # Target by target, in the order in which the work on them began.
    first: dict[str, float] = {}
    for step in steps:
        first.setdefault(step.lane, step.began)
    return sorted(steps, key=lambda step: (first[step.lane], step.lane))


def _row(step: StepRecord, *, several: bool) -> tuple[str, ...]:
    shown = f"{'  ' * step.depth}{step.step}"
    where = f"{step.lane or 'here'}: " if several else ""
    return f"{step.began:.3f}", f"{step.seconds:.3f}", str(step.requests), step.outcome, where + shown


def _padded(text: str, width: int, aligned: str) -> str:
    return f"{text:{aligned}{width}}"


def _moved(calls: tuple[CallRecord, ...] | list[CallRecord], later: float) -> tuple[CallRecord, ...]:
    return tuple(call._replace(began=call.began + later) for call in calls)


class Traced(NamedTuple, Generic[B]):
    """The Result of what was traced, as it would have been, and the trace."""

    result: Result[B, PocketenvError]
    trace: Trace

    def _repr_html_(self) -> str:
        return self.trace.picture()


class Tracer(Generic[A, B]):
    """What `trace` gives: a step, traced."""

    def __init__(self, step: Step[A, B]) -> None:
        self._step = step

    def __call__(self, target: A | None | Result[A | None, PocketenvError], /) -> Traced[B]:
        with tracing() as seen:
            result = self._step(target)
        return Traced(result, seen)

    def __ror__(self, target: A | None | Result[A | None, PocketenvError], /) -> Traced[B]:
        return self(target)

    def __eq__(self, other: object) -> bool:
        return self._step == other._step if isinstance(other, Tracer) else NotImplemented

    def __hash__(self) -> int:
        return hash((Tracer, self._step))

    def __repr__(self) -> str:
        return f"trace({self._step!r})"


def trace(step: Step[A, B]) -> Tracer[A, B]:
    """Trace a step or a pipeline. Gives a function of the target, which gives a pair: the same Result, and the Trace.

    >>> from pocketenv_fp import create, start, tap, trace
    >>> result, seen = "my-box" | trace(create | tap(start))
    >>> result.map(lambda box: box.name)
    <Success: my-box>
    >>> [(record.step, record.depth, record.outcome) for record in seen.steps]
    [('create()', 0, 'ok'), ('tap(start())', 0, 'ok'), ('start()', 1, 'ok')]
    >>> [call.name for call in seen.steps[2].calls]
    ['sandbox.startSandbox', 'sandbox.getSandbox']
    """
    demand_step(step, "trace")
    return Tracer(step)


@contextmanager
def tracing() -> Generator[Trace]:
    """Trace what runs in a block: in this thread or task, and in the threads and processes of a `fan_out`. Gives a Trace.

    >>> from pocketenv_fp import ephemeral, exec, fan_out, start, tracing
    >>> with tracing() as seen:
    ...     results = fan_out(ephemeral(start | exec("true")), ["a", "b"])
    >>> sorted({record.lane for record in seen.steps})
    ['a', 'b']
    >>> seen
    <trace of 10 steps, 14 requests, ... s>
    """
    seen = Trace()
    mark = _recording.set((*_recording.get(), seen))
    try:
        with observing(seen.watch):
            yield seen
    finally:
        _recording.reset(mark)


def recording() -> tuple[Trace, ...]:
    """Give the traces of the `tracing` blocks around here."""
    return _recording.get()


@contextmanager
def on_lane(target: object) -> Generator[None]:
    """Record what runs in a block as the work on ``target``, one of many."""
    value: object = cast("Result[object, object]", target).value_or(None) if isinstance(target, Result) else target
    name: object = getattr(value, "name", value)
    mark = _lane.set(name if isinstance(name, str) else "")
    try:
        yield
    finally:
        _lane.reset(mark)
