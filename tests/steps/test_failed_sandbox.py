"""The sandbox of a Failure, and calls that ran where a step was expected."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
from returns.result import Failure, Result, Success

from pocketenv_fp import (
    ExecResult,
    NameTaken,
    PocketenvError,
    Sandbox,
    aio,
    check,
    create,
    delete,
    exec,
    explain,
    fan_out,
    gather,
    get_sandbox,
    managed,
    or_else,
    recover,
    rename,
    sandbox_of,
    start,
    submit,
    tap,
    trace,
    wait_for_job,
    within,
)

pytestmark = pytest.mark.usefixtures("environment")

FAILS = exec("exit 3", check=True)


def anything(value: object) -> Any:
    """A value that a type checker would refuse."""
    return value


PROGRAMS: dict[str, Callable[[], Result[Any, PocketenvError]]] = {
    "a step": lambda: create("box") | FAILS,
    "a call": lambda: exec(create("box"), "exit 3", check=True),
    "a pipeline": lambda: (create | start | FAILS)("box"),
    "the sandbox before": lambda: (create | start | exec("exit 3") | check)("box"),
    "a method": lambda: create("box") | exec("exit 3").bind(check),
    "gather": lambda: create("box") | gather(start, FAILS),
    "tap": lambda: create("box") | tap(within(60, FAILS)),
    "or_else": lambda: create("box") | or_else(FAILS, FAILS),
    "a job": lambda: create("box") | start | submit("sleep 60") | wait_for_job(timeout=0.1),
    "fan_out": lambda: fan_out(create | FAILS, ["box"])[0],
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_error_sandbox_of_step(program: Callable[[], Result[Any, PocketenvError]]) -> None:
    """The error has the Sandbox on which the step failed, and so its id and name."""
    error = program().failure()
    assert isinstance(error.sandbox, Sandbox)
    assert error.sandbox.name == "box"
    assert get_sandbox("box").map(lambda box: box and box.id) == Success(error.sandbox.id)


def test_error_sandbox_innermost() -> None:
    """The step that failed names it, not a step around it."""
    other = create("other").unwrap()
    inner = create("box") | start.bind(lambda _: other | FAILS)
    assert inner.failure().sandbox == other


def test_error_sandbox_none() -> None:
    """A create that fails, and an error of one's own, have none."""
    create("box").unwrap()
    taken = create("box").failure()
    assert isinstance(taken, NameTaken)
    assert taken.sandbox is None
    assert (get_sandbox("no-such-box") | start).failure().sandbox is None


def test_error_sandbox_pickle_and_equality() -> None:
    """It goes to other processes. Errors are equal without it."""
    error = (create("box") | FAILS).failure()
    twin = pickle.loads(pickle.dumps(error))
    assert twin.sandbox == error.sandbox
    assert twin == error == (create("other") | FAILS).failure()
    assert "sandbox" not in repr(error)


def test_sandbox_of_cleans_up() -> None:
    """The sandbox is deleted whether its pipeline failed or not."""
    for name, step in (("fails", start | rename("no name")), ("runs", start)):
        box = create(name) | step
        assert (sandbox_of(box) | delete).map(lambda gone: gone.name) == Success(name)
        assert get_sandbox(name) == Success(None)


def test_sandbox_of_without_sandbox() -> None:
    """Nothing is deleted where no step on a sandbox failed."""
    create("box").unwrap()
    failed = create("box")
    assert sandbox_of(failed) is failed
    assert sandbox_of(failed) | delete == failed
    own: Result[Sandbox, Any] = Failure("boom")
    assert sandbox_of(own) is own


@pytest.mark.parametrize("value", [Success(ExecResult("", "", 0)), Success(None), 3, start], ids=repr)
def test_sandbox_of_refuses(value: object) -> None:
    """Another value is a mistake."""
    with pytest.raises(TypeError, match="sandbox_of: "):
        sandbox_of(anything(value))


RAN: dict[str, Callable[[], object]] = {
    "or_else": lambda: or_else(start, anything(create("prod"))),
    "recover": lambda: recover(anything(create("prod")), None),
    "managed": lambda: managed(anything(create("prod") | start)),
    "managed of a failure": lambda: managed(anything(create("prod") | FAILS)),
    "a step after |": lambda: start | anything(create("prod")),
    "bind": lambda: start.bind(anything(create("prod"))),
    "fan_out": lambda: fan_out(anything(create("prod")), ["a"]),
    "aio": lambda: aio(anything(create("prod"))),
    "trace": lambda: trace(anything(create("prod"))),
    "explain": lambda: explain(anything(create("prod"))),
}


@pytest.mark.parametrize("form", RAN.values(), ids=RAN)
def test_step_argument_result(form: Callable[[], object]) -> None:
    """The create has run before the TypeError, which says so."""
    with pytest.raises(TypeError, match=r"run already, and the sandbox prod may exist\. For a step, call it without"):
        form()
    assert get_sandbox("prod").map(lambda box: box and box.name) == Success("prod")


def test_step_argument_failure() -> None:
    """A create that failed left no sandbox."""
    create("prod").unwrap()
    with pytest.raises(TypeError, match=r"got a Failure \(NameTaken\): the call has run already\. For a step"):
        or_else(start, anything(create("prod")))
