"""The laws that steps obey, tried on many generated ones. Those of the public operations are in test_laws."""

from __future__ import annotations

import pickle
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from returns.result import Failure, Result, Success

import pocketenv_fp
from pocketenv_fp import (
    ExecResult,
    InvalidInput,
    NotLoggedIn,
    PocketenvError,
    Sandbox,
    Step,
    WaitTimeout,
    create,
    exec,
    expose,
    identity,
    local,
    sandbox,
    start,
    wait_until_running,
)
from pocketenv_fp.steps.operation import operation, step
from pocketenv_fp.validation import Limit
from tests.examples import examples

BOX = Sandbox(id="b6586b77", name="swift-badger-aed6")


class Count(msgspec.Struct, frozen=True):
    """What the operations below work on: thousands of examples in a second, through the same algebra."""

    value: int


@operation(Count)
def plus(count: Count, other: int) -> Result[Count, PocketenvError]:
    return Success(Count(count.value + other))


@step(Count)
def double(count: Count, *, times: Limit = 1) -> Result[Count, PocketenvError]:
    return Success(Count(count.value * 2**times))


@operation(Count)
def at_most(count: Count, limit: int) -> Result[Count, PocketenvError]:
    return Success(count) if count.value <= limit else Failure(InvalidInput("count", f"is above {limit}"))


numbers = st.integers(-1000, 1000)
single: st.SearchStrategy[Step[Count, Count]] = st.one_of(
    numbers.map(plus),
    st.just(double),
    # 0 breaks the limit: a step that always fails.
    st.integers(0, 3).map(lambda times: double(times=times)),
    numbers.map(at_most),
    st.just(identity),
)
steps = st.lists(single, min_size=1, max_size=4).map(
    lambda several: several[0] if len(several) == 1 else several[0] | several[1] | identity if len(several) == 2
    else (several[0] | several[1]) | (several[2] | several[-1])
)  # fmt: skip
errors: st.SearchStrategy[PocketenvError] = st.one_of(
    st.just(NotLoggedIn()),
    st.builds(InvalidInput, st.text(), st.text()),
    st.builds(WaitTimeout, st.floats(0, 100), st.text()),
)
counts = numbers.map(Count)
targets = st.one_of(counts, counts.map(Success), errors.map(Failure))


@given(steps, steps, steps, targets)
def test_pipe_associative(a: Step[Count, Count], b: Step[Count, Count], c: Step[Count, Count], target: Any) -> None:
    """Composition is associative."""
    assert ((a | b) | c) == (a | (b | c))
    assert hash((a | b) | c) == hash(a | (b | c))
    assert ((a | b) | c)(target) == (a | (b | c))(target)


@given(steps, targets)
def test_identity_neutral(a: Step[Count, Count], target: Any) -> None:
    """The identity step changes neither a step nor a target."""
    assert (identity | a) == a == (a | identity)
    assert identity(target) == (target if isinstance(target, Result) else Success(target))


@given(steps, steps, targets)
def test_pipe_same_as_bind(a: Step[Count, Count], b: Step[Count, Count], target: Any) -> None:
    """A composed step has the result of its steps run one after the other."""
    assert (a | b)(target) == b(a(target)) == (target | a | b) == a(target).bind(b)


@given(steps, errors)
def test_step_earlier_failure(a: Step[Count, Count], error: PocketenvError) -> None:
    """A Failure skips every step and is returned as it is."""
    failed: Result[Count, PocketenvError] = Failure(error)
    assert a(failed) is failed
    assert (failed | a) is failed


@given(steps)
def test_step_pickle_and_repr(a: Step[Count, Count]) -> None:
    """Unpickling, and evaluating the repr, return an equal step."""
    assert pickle.loads(pickle.dumps(a)) == a
    names = {"plus": plus, "double": double, "at_most": at_most, "identity": identity}
    assert eval(repr(a), names) == a


@given(numbers, numbers, targets)
def test_step_data_first(other: int, limit: int, target: Any) -> None:
    """The data-first call, the curried call and the operator have the same result."""
    assert plus(target, other) == plus(other)(target) == (target | plus(other))
    assert at_most(target, limit) == at_most(limit)(target) == (target | at_most(limit))
    assert double(target, times=2) == double(times=2)(target) == (target | double(times=2))


texts = st.text(max_size=20)
real = st.lists(
    st.one_of(
        st.just(start),
        st.just(wait_until_running(timeout=5)),
        st.integers(1025, 65535).map(lambda port: expose(port) if port % 7 == 0 else sandbox.unexpose(port)),
    ),
    max_size=3,
)


# The platform lasts longer than an example: that is the point of it.
@pytest.mark.slow
@settings(max_examples=examples(15), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(real, st.lists(texts.filter(lambda text: "\0" not in text), max_size=3))
def test_pipeline_on_platform(
    environment: dict[str, str], platform: local.Platform, before: list[Any], args: list[str]
) -> None:
    """The laws hold on the embedded platform too."""
    assert environment
    platform.remove_sandboxes()
    pipeline: Step[Any, ExecResult] = exec("printf '%s\\n'", args)
    for earlier in (one for one in reversed(before) if "expose(" not in repr(one) or "unexpose(" in repr(one)):
        pipeline = earlier | pipeline
    whole = create | pipeline
    box = create("law-1").unwrap()
    assert pipeline(box) == (Success(box) | pipeline) == pickle.loads(pickle.dumps(pipeline))(box)
    assert eval(repr(whole), dict(vars(pocketenv_fp)))("law-2") == whole("law-3")
    assert whole("law-4").unwrap().stdout == "".join(f"{arg}\n" for arg in args or [""])


def test_step_limit_broken() -> None:
    """A number outside its limits is a Failure when the step runs."""
    never = double(times=0)
    assert never(Count(3)) == Failure(InvalidInput("times", "Expected `int` >= 1"))
    assert (BOX | expose(80)) == Failure(InvalidInput("port", "Expected `int` >= 1025"))
