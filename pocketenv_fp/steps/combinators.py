r"""Combinators: functions that take steps and return a step.

>>> from pocketenv_fp import check, create, ephemeral, exec, gather, lines, start, stdout, tap
>>> versions = gather(exec("echo 1.2") | check | stdout, exec("printf 'a\nb\n'") | check | lines)
>>> ephemeral(start | tap(exec("mkdir -p app")) | versions)("ci")
<Success: ('1.2\n', ['a', 'b'])>
>>> versions == eval(repr(versions))
True

An inner step runs on the same target as the whole step. By default its Failure is the Failure of the whole step. After
an earlier Failure, the whole step is skipped, also `recover` and `or_else`: they handle only failures of their own
step.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from itertools import count
from typing import Any, TypeVar, cast, overload

from returns.result import Result, Success

from pocketenv_fp.errors import PocketenvError, RateLimited, ServerError, TransportError
from pocketenv_fp.http.rate_limit import LONGEST_WAIT
from pocketenv_fp.runtime.deadline import limited, nap
from pocketenv_fp.runtime.rehearsal import Unknown, duration, fallback, is_rehearsed, note, only
from pocketenv_fp.steps.combinator import combinator
from pocketenv_fp.steps.later import Meeting, can_meet, gathered
from pocketenv_fp.steps.needs import Need, needed
from pocketenv_fp.steps.step import Step
from pocketenv_fp.validation import Limit, Seconds, Wait

__all__ = ["gather", "keep", "or_else", "recover", "retrying", "tap", "when", "within"]

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")

Errors = type[PocketenvError] | tuple[type[PocketenvError], ...]


def _nothing(_: Need) -> Need:
    return Need.NOTHING


def _part(need: Need) -> Need:
    return need if need is Need.NOTHING else Need.RECORD


def _same(need: Need) -> Need:
    return need


@combinator(inner_needs=_nothing, returns_target=True)
def tap(target: A, step: Step[A, Any]) -> Result[A, PocketenvError]:
    r"""Run ``step`` for its side effect. Returns a step from the target to the same target.

    Failures: those of ``step``.

    Args:
        step: The step or pipeline.

    >>> from pocketenv_fp import create, exec, set_variable, start, tap
    >>> create("my-box") | tap(set_variable("STAGE", "test")) | start | exec("echo $STAGE")
    <Success: ExecResult(stdout='test\n', stderr='', exit_code=0)>
    >>> tap(exec("make"))
    tap(exec('make'))
    """
    return step.run_for(Need.NOTHING, Success(target)).map(lambda _: target)


@overload
def gather(first: Step[A, B], /, *, parallel: bool = False) -> Step[A, tuple[B]]: ...
@overload
def gather(first: Step[A, B], second: Step[A, C], /, *, parallel: bool = False) -> Step[A, tuple[B, C]]: ...
@overload
def gather(
    first: Step[A, B], second: Step[A, C], third: Step[A, D], /, *, parallel: bool = False
) -> Step[A, tuple[B, C, D]]: ...
@overload
def gather(
    first: Step[A, B], second: Step[A, C], third: Step[A, D], fourth: Step[A, E], /, *, parallel: bool = False
) -> Step[A, tuple[B, C, D, E]]: ...
@overload
def gather(
    first: Step[A, B],
    second: Step[A, C],
    third: Step[A, D],
    fourth: Step[A, E],
    fifth: Step[A, F],
    /,
    *,
    parallel: bool = False,
) -> Step[A, tuple[B, C, D, E, F]]: ...
@overload
def gather(first: Step[A, B], /, *more: Step[A, B], parallel: bool = False) -> Step[A, tuple[B, ...]]: ...
@combinator(inner_needs=_part)
def gather(
    target: Any, first: Step[Any, Any], /, *more: Step[Any, Any], parallel: bool = False
) -> Result[Any, PocketenvError]:
    r"""Run steps on the same target, one after the other. Returns a step to the tuple of their values.

    The first Failure is the result, and the following steps are skipped. With ``parallel=True`` the steps run at the
    same time, in threads. Then all of them run, and the result is the first Failure in their order. On Cloudflare, the
    commands of one sandbox still run one after the other. Steps that set records share one list of them.

    Args:
        first: The first step.
        *more: Further steps.
        parallel: True to run the steps at the same time. Default: False.

    >>> from pocketenv_fp import create, exec, gather, get_sandbox, list_ports, start, stdout
    >>> create("my-box") | start | gather(exec("echo a") | stdout, list_ports)
    <Success: ('a\n', [])>
    >>> "my-box" | gather(get_sandbox | exec("echo a") | stdout, get_sandbox | list_ports, parallel=True)
    <Success: ('a\n', [])>
    """
    steps, need = (first, *more), _part(needed())
    if not parallel:
        return gathered(target, steps, need)
    note(lambda: "the steps run at the same time")
    if is_rehearsed():
        return gathered(target, steps, need, at_once=True)
    # Few programs run steps side by side.
    from pocketenv_fp.steps.fan_out import collect, side_by_side

    targets = [Success(target)] * len(steps)
    if not can_meet(steps):
        return collect(side_by_side([partial(each.run_for, need) for each in steps], targets)).map(tuple)
    meeting = Meeting(target, steps, need)
    results = side_by_side(meeting.lanes, targets)
    return collect(map(meeting.value, count(), results)).map(tuple)


@overload
def keep(first: Step[A, B], /) -> Step[A, tuple[A, B]]: ...
@overload
def keep(first: Step[A, B], second: Step[A, C], /) -> Step[A, tuple[A, B, C]]: ...
@overload
def keep(first: Step[A, B], second: Step[A, C], third: Step[A, D], /) -> Step[A, tuple[A, B, C, D]]: ...
@overload
def keep(
    first: Step[A, B], second: Step[A, C], third: Step[A, D], fourth: Step[A, E], /
) -> Step[A, tuple[A, B, C, D, E]]: ...
@overload
def keep(
    first: Step[A, B], second: Step[A, C], third: Step[A, D], fourth: Step[A, E], fifth: Step[A, F], /
) -> Step[A, tuple[A, B, C, D, E, F]]: ...
@combinator(inner_needs=_part, returns_target=True)
def keep(target: Any, first: Step[Any, Any], /, *more: Step[Any, Any]) -> Result[Any, PocketenvError]:
    r"""Run steps as `gather` does. Returns a step to the tuple of the target and their values.

    Args:
        first: The first step.
        *more: Further steps.

    >>> from pocketenv_fp import create, exec, keep, start, stdout
    >>> box, printed = (create("my-box") | start | keep(exec("echo a") | stdout)).unwrap()
    >>> box.name, printed
    ('my-box', 'a\n')
    """
    return gathered(target, (first, *more), _part(needed())).map(lambda values: (target, *values))


def _names(on: Errors) -> str:
    return " or ".join(kind.__name__ for kind in (on if isinstance(on, tuple) else (on,)))


def _are_errors(*_: object, on: object = PocketenvError, **__: object) -> None:
    kinds = cast("tuple[object, ...]", on) if isinstance(on, tuple) else (on,)
    if not all(isinstance(kind, type) and issubclass(kind, PocketenvError) for kind in kinds):
        raise TypeError("on: error classes are needed, for instance (TransportError, ServerError)")


@overload
def recover(
    step: Step[A, B], instead: Callable[[PocketenvError], C], *, on: Errors = PocketenvError
) -> Step[A, B | C]: ...
@overload
def recover(step: Step[A, B], instead: C, *, on: Errors = PocketenvError) -> Step[A, B | C]: ...
@combinator(check=_are_errors, inner_needs=_same)
def recover(
    target: Any, step: Step[Any, Any], instead: Any, *, on: Errors = PocketenvError
) -> Result[Any, PocketenvError]:
    r"""Replace a Failure of ``step`` with a value. Returns a step to the value of ``step``, or to that value.

    Errors that are not in ``on`` stay Failures. A pipeline with a function can be pickled if the function can.

    Args:
        step: The step or pipeline.
        instead: The value, or a function of the error that returns it.
        on: Error class to handle, or a tuple of classes. Default: every PocketenvError.

    >>> from pocketenv_fp import PathNotFound, check, create, exec, lines, recover, start
    >>> create("my-box") | start | recover(exec("ls /missing") | check | lines, [])
    <Success: []>
    >>> recover(exec("ls", check=True), None, on=(PathNotFound,))
    recover(exec('ls', check=True), None, on=(PathNotFound,))
    """
    note(lambda: f"where the step fails with {_names(on)}, the value is returned in its place")
    result = step.run_for(needed(), Success(target))
    if isinstance(result, Success) or not isinstance(result.failure(), on):
        return result
    if is_rehearsed() and callable(instead):
        return Success(Unknown())
    return Success(instead(result.failure()) if callable(instead) else instead)


@combinator(check=_are_errors, inner_needs=_same)
def or_else(
    target: A, step: Step[A, B], other: Step[A, C], *, on: Errors = PocketenvError
) -> Result[B | C, PocketenvError]:
    r"""Run ``other`` on the same target if ``step`` fails. Returns a step to the value of one of them.

    Failures: those of ``other``, and those of ``step`` that are not in ``on``.

    Args:
        step: The step or pipeline.
        other: Step that runs if ``step`` fails.
        on: Error class to handle, or a tuple of classes. Default: every PocketenvError.

    >>> from pocketenv_fp import check, create, exec, or_else, start, stdout
    >>> box = create("my-box") | start
    >>> (box | or_else(exec("cat a") | check, exec("echo none")) | stdout).unwrap()
    'none\n'
    """
    result = step.run_for(needed(), Success(target))
    if isinstance(result, Success) or not isinstance(result.failure(), on):
        fallback(lambda: other.run_for(needed(), Success(target)))
        return cast("Result[B | C, PocketenvError]", result)
    return cast("Result[B | C, PocketenvError]", other.run_for(needed(), Success(target)))


@combinator()
def when(target: A, predicate: Callable[[A], bool], step: Step[A, B]) -> Result[A | B, PocketenvError]:
    r"""Run ``step`` if ``predicate`` returns True for the target. Returns a step to its value, or to the target.

    ``predicate`` is not called for None, a missing sandbox: there ``step`` returns Failure(SandboxNotFound). A pipeline
    with a predicate can be pickled if the predicate can, so not with a lambda.

    Args:
        predicate: Function from the target to bool.
        step: The step or pipeline.

    >>> from pocketenv_fp import Sandbox, Status, create, start, when
    >>> def stopped(box: Sandbox) -> bool:
    ...     return box.status is not Status.RUNNING
    >>> (create("my-box") | when(stopped, start)).map(lambda box: box.status)
    <Success: Status.RUNNING>
    >>> when(stopped, start)
    when(stopped, start())
    """
    answer = cast("object", target is None or predicate(target))
    if isinstance(answer, (Result, Coroutine)):
        # Both are true, whatever is in them.
        name = type(cast("object", answer)).__name__
        if isinstance(answer, Coroutine):
            answer.close()
        raise TypeError(f"when: predicate: returned a {name}, not a bool")
    if answer:
        with only(lambda: f"if {getattr(predicate, '__qualname__', predicate)} returns True"):
            return cast("Result[A | B, PocketenvError]", step.run_for(needed(), Success(target)))
    return Success(target)


def _may_be_repeated(step: Step[Any, Any], *_: object, unsafe: bool = False, **named: Any) -> None:
    _are_errors(**named)
    if not (step.safe or unsafe):
        raise TypeError(f"{step} may not be safe to repeat: its work may be done twice. Pass unsafe=True to allow it")


@combinator(check=_may_be_repeated, inner_needs=_same)
def retrying(
    target: A,
    step: Step[A, B],
    attempts: Limit = 3,
    *,
    on: Errors = (TransportError, ServerError),
    delay: Wait = 1.0,
    unsafe: bool = False,  # noqa: ARG001  # checked when the step is created
) -> Result[B, PocketenvError]:
    r"""Retry ``step`` if it fails. Returns a step to its value.

    Any error that is not in ``on`` is the Failure at once. After RateLimited, the delay is at least ``retry_after``
    seconds. If that is more than 60, it is the Failure at once. The client itself retries queries, as set in `Config`:
    use this function for longer outages.

    **Only for steps that are safe to repeat**: queries, `start`, `stop`, and combinations of them. A second command or
    create may do harm, and after a TransportError it is unknown whether the first one was executed. Other steps raise
    TypeError at once, unless ``unsafe=True`` is set.

    Failures: the last one of ``step``; InvalidInput for less than one attempt or a negative delay.

    Args:
        step: The step or pipeline.
        attempts: Number of attempts in total, at least 1. Default: 3.
        on: Error class after which to retry, or a tuple of classes. Default: TransportError and ServerError.
        delay: Seconds between attempts, at least 0. Default: 1.0.
        unsafe: True to allow a step that may not be safe to repeat. Default: False.

    >>> from pocketenv_fp import create, exec, retrying, start
    >>> (create("my-box") | retrying(start, 5, delay=0.5)).map(lambda box: box.name)
    <Success: my-box>
    >>> retrying(exec("make publish"))
    Traceback (most recent call last):
        ...
    TypeError: retrying: exec('make publish') may not be safe to repeat: ... Pass unsafe=True to allow it
    """
    note(lambda: f"is tried up to {attempts} times, while it fails with {_names(on)}")
    result = step.run_for(needed(), Success(target))
    for _ in range(0 if is_rehearsed() else attempts - 1):
        if isinstance(result, Success) or not isinstance(error := result.failure(), on):
            break
        pause = (error.retry_after or 0) if isinstance(error, RateLimited) else 0
        if pause > LONGEST_WAIT:
            break
        nap(max(delay, pause))
        result = step.run_for(needed(), Success(target))
    return result


@combinator(inner_needs=_same)
def within(target: A, seconds: Seconds, step: Step[A, B]) -> Result[B, PocketenvError]:
    r"""Limit the time of ``step``, including all requests and pauses. Returns a step to its value.

    When the time is over, no further request is sent. Waiting ends too: for a response, for the request limit, for a
    running sandbox, for the next retry. In nested limits, the earliest end counts. Finished work is not undone. A
    Success that comes late is a Success.

    Some work is not limited, because it would leave sandboxes or files: the response to a create, the release in
    `managed` and `ephemeral`, and for at most 30 seconds the cleanup after a copy. A command keeps running in the
    sandbox after the limit: use ``exec(timeout=…)`` to kill it.

    Failures: those of ``step``; DeadlineExceeded, with ``maybe_sent`` if the running request may have arrived;
    InvalidInput if ``seconds`` is not positive.

    Args:
        seconds: The time limit in seconds, greater than 0.
        step: The step or pipeline.

    >>> from pocketenv_fp import create, exec, or_else, start, stdout, within
    >>> box = create("my-box") | start
    >>> box | within(0.2, exec("sleep 1"))
    <Failure: sandbox.exec: not done within 0.2 s. The platform may have executed it, ...>
    >>> (box | or_else(within(0.2, exec("sleep 1")), exec("echo late")) | stdout).unwrap()
    'late\n'
    >>> within(60, start | exec("make test", check=True))
    within(60, start() | exec('make test', check=True))
    """
    note(lambda: f"within {duration(seconds)}")
    with limited(seconds):
        return step.run_for(needed(), Success(target))
