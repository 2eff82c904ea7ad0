"""The forms of tests/steps/test_every_form.py, with the types that both checkers find. Checked, and never run."""

from __future__ import annotations

from typing import Any, assert_type

from returns.converters import maybe_to_result, result_to_maybe
from returns.future import FutureResult, FutureSuccess
from returns.io import IOResult
from returns.maybe import Maybe, Some
from returns.pipeline import is_successful
from returns.result import Failure, Result, Success, safe

from pocketenv_fp import (
    CommandFailed,
    ExecResult,
    NotLoggedIn,
    PocketenvError,
    Sandbox,
    Step,
    aio,
    check,
    collect,
    create,
    delete,
    exec,
    fan_out,
    gather,
    get_sandbox,
    identity,
    json_output,
    keep,
    lines,
    managed,
    or_else,
    partition,
    pocketenv,
    raise_for,
    recover,
    sandbox,
    start,
    stdout,
    tap,
    when,
)

Ran = Result[ExecResult, PocketenvError]
Printed = Result[str, PocketenvError]
Boxed = Result[Sandbox, PocketenvError]
ECHO = exec("echo 42")
TEXT = ECHO | stdout


def running(box: Sandbox) -> bool:
    return box.name != ""


def other(error: PocketenvError) -> Result[int, PocketenvError]:
    return Success(1) if isinstance(error, CommandFailed) else Failure(error)


def provider(box: Sandbox) -> Step[Sandbox, ExecResult]:
    return exec("echo", [box.provider or ""])


def calls(b: Sandbox, box: Boxed, name: str, failed: Result[Sandbox, str]) -> None:
    assert_type(b | ECHO | stdout, Printed)  # form: box | step
    assert_type(box | ECHO | stdout, Printed)  # form: result | step
    assert_type(Success(b) | ECHO, Ran)  # form: Success | step
    assert_type(Failure(NotLoggedIn()) | ECHO, Ran)  # form: Failure | step
    assert_type(failed | ECHO, Result[ExecResult, PocketenvError | str])  # form: own Failure | step
    assert_type(ECHO(b), Ran)  # form: step(box)
    assert_type(ECHO(box), Ran)  # form: step(result)
    assert_type(exec(b, "echo 42"), Ran)  # form: exec(box, command)
    assert_type(sandbox.exec(sandbox.start(box), "echo", ["42"]), Ran)  # form: nested calls
    assert_type((start | ECHO | stdout)(b), Printed)  # form: a pipeline value
    assert_type((identity | TEXT)(b), Printed)  # form: identity
    assert_type(name | create, Boxed)  # form: name | create
    assert_type(create(name=name), Boxed)  # form: create(name=)
    assert_type(pocketenv.get_sandbox(b.id) | TEXT, Printed)  # form: pocketenv by id
    assert_type(name | get_sandbox | TEXT, Printed)  # form: get_sandbox | step
    assert_type(box | tap(ECHO) | delete, Boxed)  # form: delete at the end


def results(box: Boxed, b: Sandbox) -> str:
    assert_type(box.bind(ECHO).bind(stdout), Printed)  # form: result.bind(step)
    assert_type((box | TEXT).map(int), Result[int, PocketenvError])  # form: result.map(f)
    assert_type((box | TEXT).alt(str), Result[str, str])  # form: result.alt(f)
    assert_type((box | TEXT.map(int)).lash(other), Result[int, PocketenvError])  # form: result.lash(f)
    assert_type((box | TEXT).value_or(None), str | None)  # form: result.value_or
    assert_type((box | TEXT).swap(), Result[PocketenvError, str])  # form: result.swap
    done: Printed = Result.do(a.stdout + c.stdout for a in box | ECHO for c in box | ECHO)  # form: Result.do
    assert_type(done, Printed)
    found: Boxed = Result.from_value(b)  # form: Result.from_value
    assert_type(found | ECHO, Ran)
    assert_type(is_successful(box), bool)  # form: is_successful
    assert_type(result_to_maybe(box | TEXT), Maybe[str])  # form: result_to_maybe
    assert_type(maybe_to_result(Some(b), NotLoggedIn()) | ECHO, Ran)  # form: maybe_to_result
    assert_type(raise_for(box | TEXT), str)  # form: raise_for
    match box | ECHO:  # form: match
        case Success(ExecResult(stdout=text)):
            return assert_type(text, str)
        case Failure(CommandFailed(exit_code=code)):
            return str(assert_type(code, int))
        case _:
            return ""


def methods() -> None:
    assert_type(TEXT.map(int), Step[Sandbox, int])  # form: step.map(f)
    assert_type(ECHO.bind(stdout), Step[Sandbox, str])  # form: step.bind(step)
    assert_type(start.bind(provider), Step[Sandbox, ExecResult])  # form: step.bind of a step
    assert_type(TEXT.alt(str), Step[Sandbox, str])  # form: step.alt(f)
    assert_type(TEXT.lash(other), Step[Sandbox, str | int])  # form: step.lash(f)
    # The value is typed, the error is not: see `UNTYPED`.
    assert_type(TEXT.bind(safe(int)), Step[Sandbox, int])


def combinators(box: Boxed) -> None:
    assert_type(box | tap(ECHO), Boxed)  # form: tap
    assert_type(box | gather(TEXT, ECHO | lines), Result[tuple[str, list[str]], PocketenvError])  # form: gather
    assert_type(box | keep(TEXT), Result[tuple[Sandbox, str], PocketenvError])  # form: keep
    assert_type(box | recover(TEXT, None), Result[str | None, PocketenvError])  # form: recover
    assert_type(box | or_else(ECHO, ECHO) | stdout, Printed)  # form: or_else
    assert_type(box | when(running, start), Boxed)  # form: when
    assert_type(box | ECHO | check, Ran)  # form: check
    assert_type(box | ECHO | json_output, Result[Any, PocketenvError])  # form: json_output
    assert_type(managed(start | TEXT)("brief"), Printed)  # form: managed


def many(b: Sandbox, box: IOResult[Sandbox, PocketenvError], maybe: Maybe[Sandbox]) -> None:
    assert_type(list(map(TEXT, [b, b])), list[Printed])  # form: map
    assert_type(collect(fan_out(TEXT, [b, b])), Result[list[str], PocketenvError])  # form: fan_out
    assert_type(partition(fan_out(TEXT, [b])), tuple[list[str], list[PocketenvError]])  # form: partition
    assert_type(box.bind_result(TEXT), IOResult[str, PocketenvError])  # form: IOResult.bind_result
    future: FutureResult[Sandbox, PocketenvError] = FutureSuccess(b)
    assert_type(future.bind(aio(TEXT).future), FutureResult[str, PocketenvError])  # form: FutureResult.bind
    assert_type(maybe.value_or(None) | TEXT, Printed)  # form: Maybe.value_or


async def awaiting(b: Sandbox) -> None:
    assert_type(await aio(TEXT)(b), Printed)  # form: aio
