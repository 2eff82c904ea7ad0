r"""Programs made of steps: functions that take steps and give a step, which is data like any other.

>>> from pocketenv_fp import check, create, ephemeral, exec, gather, lines, start, stdout, tap
>>> versions = gather(exec("echo 1.2") | check | stdout, exec("printf 'a\nb\n'") | check | lines)
>>> ephemeral(start | tap(exec("mkdir -p app")) | versions)("ci")
<Success: ('1.2\n', ['a', 'b'])>
>>> versions == eval(repr(versions))
True

An inner step is run on the target of the whole, and its Failure is the Failure of the whole where nothing else is
said. A Failure from before passes all of them by, `recover` and `or_else` too: these look at the step in them only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast, overload

from returns.result import Result, Success

from pocketenv_fp.errors import PocketenvError, RateLimited, ServerError, TransportError
from pocketenv_fp.http.rate_limit import LONGEST_WAIT
from pocketenv_fp.runtime.deadline import limited, nap
from pocketenv_fp.steps.combinator import combinator
from pocketenv_fp.steps.operation import Step
from pocketenv_fp.validation import Limit, Seconds, Wait

__all__ = [
    "gather",
    "keep",
    "or_else",
    "recover",
    "retrying",
    "tap",
    "when",
    "within",
]

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")

Errors = type[PocketenvError] | tuple[type[PocketenvError], ...]


@combinator()
def tap(target: A, step: Step[A, Any]) -> Result[A, PocketenvError]:
    r"""Run ``step`` for what it does. Gives a step from the target to the target, as it came.

    Failures: those of ``step``.

    >>> from pocketenv_fp import create, exec, set_variable, start, tap
    >>> create("my-box") | tap(set_variable("STAGE", "test")) | start | exec("echo $STAGE")
    <Success: ExecResult(stdout='test\n', stderr='', exit_code=0)>
    >>> tap(exec("make"))
    tap(exec('make'))
    """
    return (Success(target) | step).map(lambda _: target)


@overload
def gather(first: Step[A, B], /) -> Step[A, tuple[B]]: ...
@overload
def gather(first: Step[A, B], second: Step[A, C], /) -> Step[A, tuple[B, C]]: ...
@overload
def gather(first: Step[A, B], second: Step[A, C], third: Step[A, D], /) -> Step[A, tuple[B, C, D]]: ...
@overload
def gather(
    first: Step[A, B], second: Step[A, C], third: Step[A, D], fourth: Step[A, E], /
) -> Step[A, tuple[B, C, D, E]]: ...
@overload
def gather(
    first: Step[A, B], second: Step[A, C], third: Step[A, D], fourth: Step[A, E], fifth: Step[A, F], /
) -> Step[A, tuple[B, C, D, E, F]]: ...
@overload
def gather(first: Step[A, B], /, *more: Step[A, B]) -> Step[A, tuple[B, ...]]: ...
@combinator()
def gather(target: Any, first: Step[Any, Any], /, *more: Step[Any, Any]) -> Result[Any, PocketenvError]:
    r"""Run steps one after the other, each on the same target. Gives a step to the tuple of what they give.

    The first Failure is the Failure of the whole, and the steps behind it are not run.

    >>> from pocketenv_fp import create, exec, gather, list_ports, start, stdout
    >>> create("my-box") | start | gather(exec("echo a") | stdout, list_ports)
    <Success: ('a\n', [])>
    """
    # Not called: an operation takes a target of another type for an argument.
    given: list[object] = []
    for each in (first, *more):
        result = Success(target) | each
        if not isinstance(result, Success):
            return result
        given.append(result.unwrap())
    return Success(tuple(given))


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
@combinator()
def keep(target: Any, first: Step[Any, Any], /, *more: Step[Any, Any]) -> Result[Any, PocketenvError]:
    r"""Run steps as `gather` does. Gives a step to a tuple of the target, as it came, and of what they give.

    >>> from pocketenv_fp import create, exec, keep, start, stdout
    >>> box, printed = (create("my-box") | start | keep(exec("echo a") | stdout)).unwrap()
    >>> box.name, printed
    ('my-box', 'a\n')
    """
    return (Success(target) | gather(first, *more)).map(lambda given: (target, *given))


def _are_errors(*_: object, on: object = PocketenvError, **__: object) -> None:
    kinds = cast("tuple[object, ...]", on) if isinstance(on, tuple) else (on,)
    if not all(isinstance(kind, type) and issubclass(kind, PocketenvError) for kind in kinds):
        raise TypeError("on: expected error classes, for instance (TransportError, ServerError)")


@overload
def recover(
    step: Step[A, B], instead: Callable[[PocketenvError], C], *, on: Errors = PocketenvError
) -> Step[A, B | C]: ...
@overload
def recover(step: Step[A, B], instead: C, *, on: Errors = PocketenvError) -> Step[A, B | C]: ...
@combinator(check=_are_errors)
def recover(
    target: Any, step: Step[Any, Any], instead: Any, *, on: Errors = PocketenvError
) -> Result[Any, PocketenvError]:
    r"""Have a value where ``step`` fails. Gives a step to what ``step`` gives, or to that value.

    ``instead`` is the value, or a function of the error that gives it. ``on`` is the class of errors that it is for, or
    a tuple of them; others stay Failures. A pipeline with a function pickles where the function does.

    >>> from pocketenv_fp import PathNotFound, check, create, exec, lines, recover, start
    >>> create("my-box") | start | recover(exec("ls /missing") | check | lines, [])
    <Success: []>
    >>> recover(exec("ls", check=True), None, on=(PathNotFound,))
    recover(exec('ls', check=True), None, on=(PathNotFound,))
    """
    result = Success(target) | step
    if isinstance(result, Success) or not isinstance(result.failure(), on):
        return result
    return Success(instead(result.failure()) if callable(instead) else instead)


@combinator(check=_are_errors)
def or_else(
    target: A, step: Step[A, B], other: Step[A, C], *, on: Errors = PocketenvError
) -> Result[B | C, PocketenvError]:
    r"""Run ``other`` on the same target where ``step`` fails. Gives a step to what the one or the other gives.

    ``on`` is the class of errors that it is for, or a tuple of them. Failures: those of ``other``, and those of
    ``step`` that are not in ``on``.

    >>> from pocketenv_fp import check, create, exec, or_else, start, stdout
    >>> box = create("my-box") | start
    >>> (box | or_else(exec("cat a") | check, exec("echo none")) | stdout).unwrap()
    'none\n'
    """
    result = Success(target) | step
    if isinstance(result, Success) or not isinstance(result.failure(), on):
        return cast("Result[B | C, PocketenvError]", result)
    return cast("Result[B | C, PocketenvError]", Success(target) | other)


@combinator()
def when(target: A, predicate: Callable[[A], bool], step: Step[A, B]) -> Result[A | B, PocketenvError]:
    r"""Run ``step`` where ``predicate`` says so of the target. Gives a step to what it gives, or to the target.

    ``predicate`` is a function of the target; a pipeline with it pickles where it does, which a lambda does not. It is
    not asked about None, a sandbox that is missing: that is for ``step``, to which it is a Failure(SandboxNotFound).

    >>> from pocketenv_fp import Sandbox, Status, create, start, when
    >>> def stopped(box: Sandbox) -> bool:
    ...     return box.status is not Status.RUNNING
    >>> (create("my-box") | when(stopped, start)).map(lambda box: box.status)
    <Success: Status.RUNNING>
    >>> when(stopped, start)
    when(stopped, start())
    """
    if target is None or predicate(target):
        return cast("Result[A | B, PocketenvError]", Success(target) | step)
    return Success(target)


def _may_be_repeated(step: Step[Any, Any], *_: object, unsafe: bool = False, **named: Any) -> None:
    _are_errors(**named)
    if not (step.safe or unsafe):
        raise TypeError(f"{step} may not be safe to repeat: its work may be done twice. Pass unsafe=True to allow it")


@combinator(check=_may_be_repeated)
def retrying(
    target: A,
    step: Step[A, B],
    attempts: Limit = 3,
    *,
    on: Errors = (TransportError, ServerError),
    delay: Wait = 1.0,
    unsafe: bool = False,  # noqa: ARG001  # has been looked at when the step was made
) -> Result[B, PocketenvError]:
    r"""Run ``step`` again where it fails, ``attempts`` times at the most. Gives a step to what it gives at last.

    ``on`` is the class of errors after which to try again, or a tuple of them; any other is the Failure at once.
    ``delay`` is how many seconds to wait before a new attempt; after RateLimited it is at least what the platform said,
    and where that is more than 60, it is the Failure at once.
    The client repeats queries itself, as often as `Config` says: this is for what goes on longer.

    **Only what is safe to repeat**: queries, `start` and `stop`, and what is made of them. To run a command twice, or
    to create twice, may do harm, and a TransportError does not tell whether it has been done. Such a step, and each of
    which this is not known, raises TypeError here and now, unless it is said to be meant with ``unsafe=True``.

    Failures: the last one of ``step``; InvalidInput for less than one attempt or a delay below 0.

    >>> from pocketenv_fp import create, exec, retrying, start
    >>> (create("my-box") | retrying(start, 5, delay=0.5)).map(lambda box: box.name)
    <Success: my-box>
    >>> retrying(exec("make publish"))
    Traceback (most recent call last):
        ...
    TypeError: retrying: exec('make publish') is not known to be safe to repeat: ... Pass unsafe=True to allow it
    """
    result = Success(target) | step
    for _ in range(attempts - 1):
        if isinstance(result, Success) or not isinstance(error := result.failure(), on):
            break
        asked = (error.retry_after or 0) if isinstance(error, RateLimited) else 0
        if asked > LONGEST_WAIT:
            break
        nap(max(delay, asked))
        result = Success(target) | step
    return result


@combinator()
def within(target: A, seconds: Seconds, step: Step[A, B]) -> Result[B, PocketenvError]:
    r"""Give ``step`` so many seconds, with all that it does and waits for. Gives a step to what it gives.

    When they are over nothing further is sent, and what is waited for is given up: an answer, the request limit, a
    sandbox that is to run, the pause before a new attempt. Blocks of time lie in each other, and the earliest end
    counts. What was done by then stays done; a Success that comes late is a Success.

    Some things get the time that they need, since to give up there would leave something behind: the answer to a
    request that creates a sandbox, the release of what `managed` and `ephemeral` created, and, for 30 seconds at the
    most, the removal of what a copy keeps in a sandbox for a while. A command whose answer is no longer waited for goes
    on in its sandbox: ``exec(timeout=…)`` ends it.

    Failures: those of ``step``; DeadlineExceeded, whose ``maybe_sent`` tells whether the request under way may have
    arrived; InvalidInput for 0 seconds or fewer.

    >>> from pocketenv_fp import create, exec, or_else, start, stdout, within
    >>> box = create("my-box") | start
    >>> box | within(0.2, exec("sleep 5"))
    <Failure: sandbox.exec: not done within 0.2 s. The platform may have acted on it, ...>
    >>> (box | or_else(within(0.2, exec("sleep 5")), exec("echo late")) | stdout).unwrap()
    'late\n'
    >>> within(60, start | exec("make test", check=True))
    within(60, start() | exec('make test', check=True))
    """
    with limited(seconds):
        return Success(target) | step
