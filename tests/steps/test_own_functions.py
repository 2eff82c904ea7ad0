"""Functions of the caller's own in a pipeline: map, bind, alt and lash, their laws, and how they print and pickle."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from returns.io import IOResult
from returns.result import Failure, Result, Success, safe

from pocketenv_fp import (
    CommandFailed,
    PocketenvError,
    Step,
    create,
    exec,
    explain,
    fan_out,
    gather,
    identity,
    local,
    or_else,
    recover,
    retrying,
    start,
    stdout,
    tap,
    trace,
    within,
)
from tests.steps.test_laws import Count, at_most, counts, plus, steps, targets


def answer(error: PocketenvError) -> Result[str, PocketenvError]:
    """A Result in the place of an error."""
    return Success(repr(error))


COUNTERS: list[Callable[[Count], Count]] = [
    lambda count: count,
    lambda count: Count(count.value + 1),
    lambda count: Count(count.value * count.value),
]
ARROWS: list[Callable[[Count], Result[Count, Any]]] = [
    Success,
    lambda count: Success(Count(-count.value)),
    lambda count: Failure("is odd") if count.value % 2 else Success(count),
    plus(3),
    at_most(5),
]
functions = st.sampled_from(COUNTERS)
arrows = st.sampled_from(ARROWS)
handlers: st.SearchStrategy[Callable[[Any], Result[Count, Any]]] = st.sampled_from(
    [lambda error: Failure(repr(error)), lambda _: Success(Count(7))]
)


def outcome(result: Result[Any, Any]) -> object:
    """The value or the error, without the place where it happened."""
    return result.unwrap() if isinstance(result, Success) else ("failure", result.failure())


def passed_by(target: object) -> Any:
    """A target that no step looks at."""
    return target if repr(target).startswith("<Failure") else None


# Laws


@given(steps, functions, functions, targets)
def test_map_functor_laws(step: Step[Count, Count], f: Any, g: Any, target: Any) -> None:
    """Mapping the identity changes nothing, and two functions are one after the other."""
    assert outcome(step.map(lambda value: value)(target)) == outcome(step(target))
    assert outcome(step.map(f).map(g)(target)) == outcome(step.map(lambda value: g(f(value)))(target))


@given(steps, arrows, arrows, targets)
def test_bind_monad_laws(step: Step[Count, Count], f: Any, g: Any, target: Any) -> None:
    """Success is the unit of bind, and bind is associative."""
    assert outcome(step.bind(Success)(target)) == outcome(step(target))
    assert outcome(step.bind(f).bind(g)(target)) == outcome(step.bind(lambda value: f(value).bind(g))(target))


@given(arrows, counts)
def test_bind_of_identity(f: Any, count: Count) -> None:
    """The step that does nothing, bound to a function, is that function."""
    assert outcome(identity.bind(f)(count)) == outcome(f(count))


@given(steps, targets)
def test_alt_functor_laws(step: Step[Count, Count], target: Any) -> None:
    """Alt calls its function for errors and for nothing else."""
    assert outcome(step.alt(lambda error: error)(target)) == outcome(step(target))
    twice = step.alt(lambda error: [error]).alt(lambda _: 1)
    assert outcome(twice(target)) == outcome(step.alt(lambda _: 1)(target))


@given(steps, functions, targets)
def test_map_and_alt_commute(step: Step[Count, Count], f: Any, target: Any) -> None:
    """One changes the value and the other the error, so their order does not matter."""

    def name(error: object) -> str:
        return f"error of {type(error).__name__}"

    assert outcome(step.map(f).alt(name)(target)) == outcome(step.alt(name).map(f)(target))
    assert outcome(step.map(lambda value: value).alt(lambda error: error)(target)) == outcome(step(target))
    assert outcome(step.map(f).alt(name)(target)) == outcome(passed_by(target) or step(target).map(f).alt(name))


@given(steps, handlers, targets)
def test_lash_own_failure(step: Step[Count, Count], handler: Any, target: Any) -> None:
    """Lash answers the step's own failure, and no failure from before it."""
    assert outcome(step.lash(handler)(target)) == outcome(passed_by(target) or step(target).lash(handler))


@given(steps, steps, functions, targets)
def test_map_last_step(a: Step[Count, Count], b: Step[Count, Count], f: Any, target: Any) -> None:
    """It is the same value whether the whole pipeline or its last step is mapped."""
    assert (a | b).map(f) == a | b.map(f)
    assert (a | b.map(f))(target) == (a | b).map(f)(target)


# Data


def length(text: str) -> int:
    """A function of this module."""
    return len(text)


def odd(number: int) -> Result[int, str]:
    """A function with an error of its own."""
    return Success(number) if number % 2 else Failure(f"{number} is even")


PARSED = create | start | exec("printf abc") | stdout.map(length).bind(odd)


def test_map_repr() -> None:
    """A named function prints with its module, and a lambda with its place."""
    assert repr(identity.map(json.loads)) == "identity.map(json.loads)"
    assert repr(start.map(repr) | tap(identity)) == "start().map(repr) | tap(identity)"
    assert repr((start | exec("a")).lash(answer)) == f"(start() | exec('a')).lash({__name__}.answer)"
    assert repr(exec("a").alt(str)) == "exec('a').alt(str)"
    assert repr(stdout.map(lambda text: text)).startswith(f"stdout().map(<lambda at {__file__}:")
    assert repr(stdout.map(length)).endswith(f"{__name__}.length)")


def test_map_pickle_and_equality() -> None:
    """A pipeline with named functions is a value like any other."""
    twin = pickle.loads(pickle.dumps(stdout.map(json.loads).lash(answer)))
    assert twin == stdout.map(json.loads).lash(answer)
    assert hash(twin) == hash(stdout.map(json.loads).lash(answer))
    assert twin != stdout.map(json.dumps).lash(answer)


def test_map_lambda_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pickling says at once what to do."""
    import sys

    monkeypatch.delitem(sys.modules, "cloudpickle", raising=False)
    with pytest.raises(pickle.PicklingError, match="define a named function at the top level of a module"):
        pickle.dumps(stdout.map(lambda text: text))


@pytest.mark.usefixtures("environment")
def test_map_in_fan_out() -> None:
    """Functions run for each target, and an error of one's own is the Failure of its target."""
    assert fan_out(PARSED, ["one", "two"]) == [Success(3), Success(3)]
    even = create | start | exec("printf ab") | stdout.map(length).bind(odd)
    assert [error for _, error in fan_out(even, ["three"]).failed] == ["2 is even"]


def test_map_in_a_process_pool(environment: dict[str, str]) -> None:
    """A pipeline with a function of a module crosses to other processes."""
    assert environment
    parsed = create | start | exec("echo '[1, 2]'") | stdout.map(json.loads)
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        assert fan_out(parsed, ["a", "b"], executor=pool) == [Success([1, 2])] * 2


@pytest.mark.usefixtures("environment")
def test_functions_exception() -> None:
    """An exception of a function is a mistake in the program, and comes out."""
    with pytest.raises(ZeroDivisionError):
        (create | start.map(lambda _: 1 // 0))("box")
    with pytest.raises(ZeroDivisionError):
        fan_out(create | start.map(lambda _: 1 // 0), ["other"])


@pytest.mark.usefixtures("environment")
def test_functions_in_combinators() -> None:
    """Every combinator takes steps that call functions."""
    box = create("box") | start
    count = exec("printf abc") | stdout.map(length)
    fails = exec("exit 3", check=True).map(repr)
    assert box | gather(count, count.map(str)) == Success((3, "3"))
    assert (box | tap(count) | count) == Success(3)
    assert box | recover(fails, "none") == Success("none")
    assert box | or_else(fails, count) == Success(3)
    assert box | within(60, count) == Success(3)
    assert isinstance((box | fails).failure(), CommandFailed)


def test_functions_unsafe() -> None:
    """A function that returns a Result is not repeated without a word."""
    assert start.map(repr).safe
    assert not start.bind(Success).safe
    with pytest.raises(TypeError, match="unsafe=True"):
        retrying(start.bind(Success))


@pytest.mark.usefixtures("environment")
def test_explain_calls_no_function(platform: local.Platform) -> None:
    """A function is shown, not called, and the steps after it are explained."""
    called: list[object] = []
    ci = create.map(wrong(called.append)) | start | exec("ls").map(called.append).lash(Success)
    before = len(platform.calls)
    text = str(explain(ci))
    assert (called, len(platform.calls)) == ([], before)
    assert "is a function of yours, and is not called here" in text
    assert "startSandbox" in text


@pytest.mark.usefixtures("environment")
def test_trace_times_functions() -> None:
    """A function is a step of the trace, and its failure has its name."""
    result, seen = trace(PARSED)("box")
    assert result == Success(3)
    assert {record.outcome for record in seen.steps} == {"ok"}
    assert [record.step for record in seen.steps][-2:] == [f"map({__name__}.length)", f"bind({__name__}.odd)"]


# What is refused, with the form to write


def wrong(value: object) -> Any:
    return value


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "a function after a step": (lambda: stdout | wrong(str.strip), r"write \.map\(str\.strip\)"),
    "a lambda after a step": (lambda: start | wrong(COUNTERS[0]), r"is a function, not a step: write \.map"),
    "an operation without arguments": (lambda: wrong(exec).map(str), r"write `\| exec\(…\)`"),
    "no function": (lambda: start.map(wrong(3)), "map: expected a function, got int"),
    "bind of a plain value": (lambda: identity.bind(wrong(str))(1), r"write \.map\(str\)"),
    "bind of an IOResult": (lambda: identity.bind(wrong(IOResult.from_value))(1), "unwrap it"),
    "lash to a plain value": (lambda: at_most(0).lash(wrong(str))(Count(1)), r"return Success\(…\) or Failure\(…\)"),
}


@pytest.mark.parametrize(("form", "advice"), REFUSED.values(), ids=REFUSED)
def test_methods_refuse(form: Callable[[], object], advice: str) -> None:
    """A mistake is a TypeError at once, with the form to write."""
    with pytest.raises(TypeError, match=advice):
        form()


def test_steps_other_errors() -> None:
    """Errors of other types than PocketenvError pass every step by."""
    assert Failure("boom") | plus(1) == Failure("boom")
    assert (identity.bind(safe(int)).map(Count) | plus(1))("x").alt(type) == Failure(ValueError)
    assert plus(1).bind(lambda _: Failure("boom"))(Count(1)) == Failure("boom")
    assert identity.bind(lambda _: plus(2))(Count(1)) == Success(Count(3))


def error_name(error: PocketenvError) -> str:
    """The name of an error's class."""
    return type(error).__name__


def test_alt_error_place() -> None:
    """The function of alt gets the error as it is, with the place where it happened."""
    assert at_most(1).alt(error_name)(Count(2)) == Failure("InvalidInput")
    assert (plus(1) | at_most(1)).alt(lambda error: error.where[0].step)(Count(2)) == Failure("at_most(1)")
