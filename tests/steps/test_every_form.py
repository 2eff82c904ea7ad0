"""The forms that users of `returns`, toolz and Clojure type first: each works, or raises with the form to write.

tests/typing/forms.py has the typed ones. `UNTYPED` has the reason for each other one.
"""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# The forms are not typed here, but in tests/typing/forms.py.
from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from functools import partial, reduce
from typing import Any

import pytest
import toolz
from returns.converters import flatten, maybe_to_result, result_to_maybe
from returns.curry import partial as typed_partial
from returns.future import FutureSuccess
from returns.io import IO, IOResult, IOSuccess
from returns.iterables import Fold
from returns.maybe import Nothing, Some
from returns.pipeline import flow as returns_flow
from returns.pipeline import is_successful, pipe
from returns.pointfree import alt, bimap, bind, bind_result, lash, map_
from returns.result import Failure, Result, Success, safe
from returns.unsafe import unsafe_perform_io as perform_io

from pocketenv_fp import (
    CommandFailed,
    NotLoggedIn,
    PocketenvError,
    Sandbox,
    SandboxNotFound,
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
    local,
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
    to_map,
    when,
)
from tests.places import TESTS

# toolz has no types, and some forms are mistakes to a type checker.
tz: Any = toolz
step: Any = start
flow: Any = returns_flow
unsafe_perform_io: Any = perform_io
do: Any = Result.do
untyped_exec: Any = exec

ECHO = exec("echo 42")
FAILS = exec("exit 3", check=True)


def number(text: str) -> int:
    """A function of one's own."""
    return int(text)


def running(box: Sandbox) -> bool:
    """A predicate."""
    return box.name != ""


def matched(result: Result[Any, PocketenvError]) -> str:
    """The branch of a match statement."""
    match result:
        case Success(text):
            return str(text)
        case Failure(CommandFailed(exit_code=code)):
            return f"exit {code}"
        case Failure(error):
            return str(error)
        case _:
            return "neither"


def awaited(made: Any) -> object:
    """The value of an awaitable."""

    async def main() -> object:
        return await made()

    return asyncio.run(main())


# Of the Result of a sandbox, and of the sandbox. Their types are in tests/typing/forms.py.
Form = Callable[[Any, Any], object]

WORKS: dict[str, tuple[Form, object]] = {
    # The operator, calls and pipelines
    "box | step": (lambda _, b: b | ECHO | stdout, Success("42\n")),
    "result | step": (lambda box, _: box | ECHO | stdout, Success("42\n")),
    "Success | step": (lambda _, b: Success(b) | ECHO | stdout, Success("42\n")),
    "Failure | step": (lambda *_: Failure(NotLoggedIn()) | ECHO, Failure(NotLoggedIn())),
    "own Failure | step": (lambda *_: Failure("boom") | ECHO, Failure("boom")),
    "None | step": (lambda *_: type((None | ECHO).failure()), SandboxNotFound),
    "step(box)": (lambda _, b: stdout(ECHO(b)), Success("42\n")),
    "step(result)": (lambda box, _: stdout(ECHO(box)), Success("42\n")),
    "exec(box, command)": (lambda _, b: stdout(exec(b, "echo 42")), Success("42\n")),
    "nested calls": (lambda box, _: sandbox.exec(sandbox.start(box), "echo", ["42"]) | stdout, Success("42\n")),
    "a pipeline value": (lambda _, b: (start | ECHO | stdout)(b), Success("42\n")),
    "identity": (lambda _, b: (identity | ECHO | stdout)(b), Success("42\n")),
    "name | create": (lambda *_: ("new" | create).map(lambda box: box.name), Success("new")),
    "create(name=)": (lambda *_: create(name="new").map(lambda box: box.name), Success("new")),
    # Pipelines of returns and toolz
    "flow": (lambda box, _: flow(box, start, ECHO, stdout), Success("42\n")),
    "flow of bind": (lambda box, _: flow(box, bind(start), bind(ECHO), bind(stdout)), Success("42\n")),
    "flow of map_": (lambda box, _: flow(box, ECHO, stdout, map_(number)), Success(42)),
    "flow of alt": (lambda box, _: flow(box, FAILS, alt(type)), Failure(CommandFailed)),
    "flow of lash": (lambda box, _: flow(box, FAILS, lash(lambda _: Success(1))), Success(1)),
    "flow of bimap": (lambda box, _: flow(box, ECHO, stdout, bimap(number, type)), Success(42)),
    "pipe": (lambda box, _: pipe(start, ECHO, stdout)(box), Success("42\n")),
    "pipe of bind": (lambda box, _: pipe(bind(start), bind(ECHO), bind(stdout))(box), Success("42\n")),
    "toolz.pipe": (lambda box, _: tz.pipe(box, start, ECHO, stdout), Success("42\n")),
    "thread_first": (lambda box, _: tz.thread_first(box, start, (exec, "echo 42"), stdout), Success("42\n")),
    "thread_last": (lambda box, _: tz.thread_last(box, start, ECHO, stdout), Success("42\n")),
    "compose": (lambda box, _: tz.compose(stdout, ECHO, start)(box), Success("42\n")),
    "compose_left": (lambda box, _: tz.compose_left(start, ECHO, stdout)(box), Success("42\n")),
    "juxt": (lambda box, _: tz.juxt(ECHO | stdout, ECHO | lines)(box), (Success("42\n"), Success(["42"]))),
    "reduce of |": (lambda box, _: reduce(lambda a, b: a | b, [start, ECHO, stdout], box), Success("42\n")),
    "partial": (lambda box, _: partial(untyped_exec, box)("echo 42") | stdout, Success("42\n")),
    "returns partial": (lambda box, _: typed_partial(untyped_exec, box)("echo 42") | stdout, Success("42\n")),
    "curry": (lambda box, _: tz.curry(exec)(box)("echo 42") | stdout, Success("42\n")),
    # Methods of a Result
    "result.bind(step)": (lambda box, _: box.bind(ECHO).bind(stdout), Success("42\n")),
    "result.map(f)": (lambda box, _: (box | ECHO | stdout).map(number), Success(42)),
    "result.alt(f)": (lambda box, _: (box | FAILS).alt(type), Failure(CommandFailed)),
    "result.lash(f)": (lambda box, _: (box | FAILS).lash(lambda _: Success(1)), Success(1)),
    "result.value_or": (lambda box, _: (box | FAILS).value_or(None), None),
    "result.swap": (lambda box, _: type((box | FAILS).swap().unwrap()), CommandFailed),
    "Result.do": (lambda box, _: do(a.stdout + b.stdout for a in box | ECHO for b in box | ECHO), Success("42\n42\n")),
    "Result.from_value": (lambda _, b: Result.from_value(b) | ECHO | stdout, Success("42\n")),
    "is_successful": (lambda box, _: is_successful(box), True),
    "flatten": (lambda box, _: untyped(flatten(box.map(ECHO))) | stdout, Success("42\n")),
    "result_to_maybe": (lambda box, _: result_to_maybe(box | ECHO | stdout), Some("42\n")),
    "maybe_to_result": (lambda _, b: maybe_to_result(Some(b), NotLoggedIn()) | ECHO | stdout, Success("42\n")),
    "Fold.collect": (lambda box, _: Fold.collect([box | ECHO | stdout] * 2, Success(())), Success(("42\n", "42\n"))),
    "match": (lambda box, _: (matched(box | ECHO | stdout), matched(box | FAILS)), ("42\n", "exit 3")),
    "raise_for": (lambda box, _: raise_for(box | ECHO | stdout), "42\n"),
    "get_in of to_map": (lambda box, _: tz.get_in(["ok", "stdout"], to_map(box | ECHO)), "42\n"),
    # Methods of a step
    "step.map(f)": (lambda box, _: box | ECHO | stdout.map(number), Success(42)),
    "step.bind(f)": (lambda box, _: box | ECHO | stdout.bind(safe(number)), Success(42)),
    "step.bind(step)": (lambda box, _: box | ECHO.bind(stdout), Success("42\n")),
    "step.bind of a step": (lambda box, _: box | start.bind(lambda b: exec("echo", [b.provider or ""])) | lines, Success(["cloudflare"])),
    "step.alt(f)": (lambda box, _: box | FAILS.alt(type), Failure(CommandFailed)),
    "step.lash(f)": (lambda box, _: box | FAILS.lash(lambda _: Success(1)), Success(1)),
    "step.bind(safe(f))": (lambda box, _: type((box | stdout_of("x").bind(safe(number))).failure()), ValueError),
    # Combinators
    "tap": (lambda box, b: (box | tap(ECHO)).map(lambda same: same.id == b.id).unwrap(), True),
    "gather": (lambda box, _: box | gather(ECHO | stdout, ECHO | lines), Success(("42\n", ["42"]))),
    "keep": (lambda box, _: (box | keep(ECHO | lines)).map(lambda pair: pair[1]), Success(["42"])),
    "recover": (lambda box, _: box | recover(FAILS, None), Success(None)),
    "or_else": (lambda box, _: box | or_else(FAILS, ECHO) | stdout, Success("42\n")),
    "when": (lambda box, _: (box | when(running, start)).map(running).unwrap(), True),
    "check": (lambda box, _: type((box | exec("exit 3") | check).failure()), CommandFailed),
    "json_output": (lambda box, _: box | ECHO | json_output, Success(42)),
    "managed": (lambda *_: managed(start | ECHO | stdout)("brief"), Success("42\n")),
    # Many targets, and other containers
    "map": (lambda _, b: list(map(ECHO | stdout, [b, b])), [Success("42\n")] * 2),
    "fan_out": (lambda _, b: collect(fan_out(ECHO | stdout, [b, b])), Success(["42\n", "42\n"])),
    "Fold of fan_out": (lambda _, b: Fold.collect(fan_out(ECHO | stdout, [b]), Success(())), Success(("42\n",))),
    "partition": (lambda _, b: partition(fan_out(ECHO | stdout, [b])), (["42\n"], [])),
    "IOResult.bind_result": (lambda box, _: unsafe_perform_io(IOResult.from_result(box).bind_result(ECHO | stdout)), Success("42\n")),
    "flow of bind_result": (lambda _, b: unsafe_perform_io(flow(IOSuccess(b), bind_result(ECHO | stdout))), Success("42\n")),
    "aio": (lambda _, b: awaited(lambda: aio(ECHO | stdout)(b)), Success("42\n")),
    "FutureResult.bind": (lambda _, b: unsafe_perform_io(awaited(lambda: FutureSuccess(b).bind(aio(ECHO | stdout).future))), Success("42\n")),
    "Maybe.value_or": (lambda _, b: Some(b).value_or(None) | ECHO | stdout, Success("42\n")),
    "pocketenv by id": (lambda _, b: pocketenv.get_sandbox(b.id) | ECHO | stdout, Success("42\n")),
    "get_sandbox | step": (lambda _, b: b.name | get_sandbox | ECHO | stdout, Success("42\n")),
    "delete at the end": (lambda box, _: (box | tap(ECHO) | delete).map(lambda gone: gone.name), Success("box")),
}  # fmt: skip

# Each raises, and the message has the form to write.
RAISES: dict[str, tuple[Form, str]] = {
    "step.stdout": (lambda _, __: untyped(exec("ls")).stdout, "a step has no 'stdout': write step | stdout"),
    "step.exit_code": (lambda _, __: untyped(start).exit_code, "write step.map(lambda ran: ran.exit_code)"),
    "step | function": (lambda *_: untyped(stdout) | json.loads, "write .map(json.loads), or .bind(json.loads)"),
    "step | lambda": (lambda *_: step | (lambda box: box), "write .map("),
    "box | exec": (lambda _, b: b | untyped_exec, "write `| exec(…)`"),
    "box.bind(exec)": (lambda box, _: box.bind(untyped_exec), "write `| exec(…)`"),
    "exec.map": (lambda *_: untyped_exec.map(str), "write `| exec(…)`"),
    "step | result": (lambda box, _: step | box, "call it without its target: create, not create(name)"),
    "step.bind of a value": (lambda box, _: box | step.bind(repr), "write .map(repr)"),
    "step.bind of an IOResult": (lambda box, _: box | step.bind(IOResult.from_value), "unwrap it, for instance with"),
    "step.lash of a value": (lambda box, _: box | untyped(FAILS).lash(repr), "return Success(…) or Failure(…)"),
    "id for a sandbox": (lambda *_: untyped(delete)("box"), "write get_sandbox(…) | delete"),
    "IOResult | step": (lambda box, _: untyped(IOResult.from_result(box)) | start, "write target.bind_result(step)"),
    "IO | step": (lambda _, b: untyped(IO(b)) | start, "write target.map(step)"),
    "exec(IOResult)": (lambda _, b: untyped_exec(IOSuccess(b), "ls"), "write target.bind_result(step)"),
    "FutureResult | step": (lambda _, b: closed(FutureSuccess(b)) | start, "write target.bind(aio(step).future)"),
    "Some | step": (lambda _, b: untyped(Some(b)) | start, "write target.value_or(None) | step"),
    "Nothing | step": (lambda *_: untyped(Nothing) | start, "write target.value_or(None) | step"),
    "step >> step": (lambda *_: step >> ECHO, "write step | other"),
    "result >> step": (lambda box, _: untyped(box) >> ECHO, "write target | step"),
    "step.then": (lambda *_: step.then(ECHO), "write step | other, or step.bind(function)"),
    "step.and_then": (lambda *_: step.and_then(ECHO), "write step | other"),
    "step.value_or": (lambda *_: step.value_or(None), "write recover(step, value)"),
    "step.unwrap": (lambda *_: step.unwrap(), "write step(target).unwrap()"),
    "step.failure": (lambda *_: step.failure(), "write step(target).failure()"),
    "step.rescue": (lambda *_: step.rescue(str), "write step.lash(function)"),
    "step.fix": (lambda *_: step.fix(str), "write recover(step, function)"),
    "step.bimap": (lambda *_: step.bimap(str, str), "write step.map(function).alt(other)"),
    "step.bind_result": (lambda *_: step.bind_result(str), "write step.bind(function)"),
    "step.apply": (lambda *_: step.apply(ECHO), "write gather(step, other).map(function)"),
    "step.swap": (lambda *_: step.swap(), "write step(target).swap()"),
    "step.tap": (lambda *_: step.tap(ECHO), "write step | tap(other)"),
    "fan_out of a string": (lambda *_: fan_out(create, "abc"), "write […]"),
    "fan_out of an operation": (lambda _, b: fan_out(untyped_exec, [b]), "write `| exec(…)`"),
    "managed of a call": (lambda *_: managed(untyped(create("q") | start)), "the sandbox q may exist"),
    "or_else of a call": (lambda *_: or_else(start, untyped(create("q"))), "the sandbox q may exist"),
}

# Python and `returns` refuse these before the library sees them.
REFUSED_ELSEWHERE: dict[str, Form] = {
    "result | function": lambda box, _: untyped(box) | str,  # write result.map(str)
    "box.exec": lambda _, b: untyped(b).exec("ls"),  # write box | exec("ls")
    "result.exec": lambda box, _: untyped(box).exec("ls"),  # write box | exec("ls")
    "result['ok']": lambda box, _: untyped(box)["ok"],  # write match, or to_map(result)["ok"]
    "result.bind with arguments": lambda box, _: untyped(box).bind(exec, "ls"),  # write result.bind(exec("ls"))
}

# The forms that a checker does not follow, by the reason.
PLUGIN = "mypy follows it with the plugin of returns, and pyright does not: see flow.py"
TOOLZ = "toolz has no types"
UNTYPED: dict[str, str] = {
    **dict.fromkeys(["flow", "flow of bind", "flow of map_", "flow of alt", "flow of lash", "flow of bimap"], PLUGIN),
    **dict.fromkeys(["pipe", "pipe of bind", "flow of bind_result", "returns partial"], PLUGIN),
    **dict.fromkeys(["toolz.pipe", "thread_first", "thread_last", "compose", "compose_left", "juxt", "curry"], TOOLZ),
    "get_in of to_map": TOOLZ,
    "reduce of |": "the steps of one list have one type",
    "None | step": "None has no type of its own: the annotation of a variable is needed",
    "partial": "both checkers solve partial of an overloaded object by its first overload",
    "Fold.collect": "Fold returns a container of Any without the plugin of mypy: write collect(results)",
    "Fold of fan_out": "Fold returns a container of Any without the plugin of mypy: write collect(results)",
    "step.bind(safe(f))": "the error type of a step stays PocketenvError: a third parameter would stand in every signature",
    "step.bind(f)": "the error type of a step stays PocketenvError: a third parameter would stand in every signature",
    "flatten": "the plugin of mypy types it, and pyright sees a container of Any",
}


def stdout_of(text: str) -> Step[Sandbox, str]:
    """A command that prints a text."""
    return exec("echo", [text]) | stdout


def untyped(value: object) -> Any:
    """A value that a type checker would refuse there."""
    return value


def closed(future: Any) -> Any:
    """A FutureResult whose coroutine is not left unawaited."""
    future._inner_value._coro.close()
    return future


@pytest.fixture(scope="module")
def place() -> Iterator[local.Platform]:
    """A platform whose sandbox stays: a new one for each form would take longer than the forms."""
    with local.platform() as running:
        yield running


@pytest.fixture
def box(place: local.Platform, monkeypatch: pytest.MonkeyPatch) -> Iterator[Result[Sandbox, PocketenvError]]:
    """The running sandbox, which a form may delete. All others are gone after the form."""
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    found = get_sandbox("box").value_or(None)
    yield Success(found) if found else create("box") | start
    for each in pocketenv.iter_sandboxes_by_actor(pocketenv.me().unwrap().did):
        if each.unwrap().name != "box":
            delete(each).unwrap()


@pytest.mark.parametrize("name", WORKS)
def test_form_works(name: str, box: Result[Sandbox, PocketenvError]) -> None:
    """The form has the value that its reader expects."""
    form, expected = WORKS[name]
    assert form(box, box.unwrap()) == expected


@pytest.mark.parametrize("name", RAISES)
def test_form_raises(name: str, box: Result[Sandbox, PocketenvError]) -> None:
    """The message says what to write."""
    form, advice = RAISES[name]
    with pytest.raises((TypeError, AttributeError), match=re.escape(advice)):
        form(box, box.unwrap())


@pytest.mark.parametrize("name", REFUSED_ELSEWHERE)
def test_form_refused_elsewhere(name: str, box: Result[Sandbox, PocketenvError]) -> None:
    """No form does something else without an error."""
    with pytest.raises((TypeError, AttributeError)):
        REFUSED_ELSEWHERE[name](box, box.unwrap())


def test_form_typed_or_reason() -> None:
    """A form that works is in the typing tests under its name, or is listed with the reason."""
    cases = (TESTS / "typing" / "forms.py").read_text(encoding="utf-8")
    typed = set(re.findall(r"# form: (.+)", cases))
    assert typed - WORKS.keys() == set()
    assert typed & UNTYPED.keys() == set()
    assert WORKS.keys() - typed - UNTYPED.keys() == set()
    assert len(WORKS) + len(RAISES) + len(REFUSED_ELSEWHERE) >= 73
