"""The laws of steps for the public operations themselves, with arguments that their own annotations generate.

The annotations decide what is tried: an operation that is added is under these laws at once.
"""

from __future__ import annotations

import copy
import pickle
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cache, reduce
from itertools import pairwise
from os import PathLike
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from returns.result import Failure, Result, Success

import pocketenv_fp
from pocketenv_fp import (
    ApiError,
    Config,
    FromEnv,
    Job,
    NotLoggedIn,
    PocketenvError,
    Sandbox,
    Step,
    TransportError,
    create,
    from_env,
    identity,
    local,
    sandbox,
    start,
    stop,
    unexpose,
    wait_until_running,
)
from pocketenv_fp.archive.links import LinkRule
from pocketenv_fp.models import Piece
from pocketenv_fp.runtime.progress import Progress
from tests.examples import examples
from tests.names import public_names

# An iterator is no step: what it gives is not one Result but many. `sh` makes steps of `exec`.
OTHERS = {"sh", *(name for name in public_names(sandbox) if name.startswith("iter_"))}
NAMES = sorted({*public_names(sandbox), "create", "get_sandbox"} - OTHERS)
EACH = pytest.mark.parametrize("name", NAMES)
FEW = settings(max_examples=examples(20), deadline=None)

# What is written like a private key is taken for one wherever it stands, and it is among the texts that hypothesis finds
# in the library's own source.
texts = st.text(st.characters(codec=None), max_size=20).filter(lambda text: "PRIVATE KEY" not in text)
numbers = st.floats(allow_nan=False, allow_infinity=False)
variables = st.from_regex(r"MADE_[A-Z]{1,9}", fullmatch=True).map(from_env)
configs = st.builds(
    Config,
    api_url=st.none() | st.just("https://pocketenv.example"),
    read_timeout=st.none() | st.floats(min_value=0.1, max_value=1e9),
    retries=st.none() | st.integers(0, 9),
)
boxes = st.builds(Sandbox, id=st.uuids().map(str), name=texts)
OF_NAMES = Mapping[str, str | FromEnv]
names_of_variables = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True)
KINDS: dict[object, st.SearchStrategy[Any]] = {
    str: texts,
    bytes: st.binary(),
    OF_NAMES: st.dictionaries(names_of_variables, texts | variables, max_size=3),
    bool: st.booleans(),
    int: st.integers(),
    float: numbers | st.integers(),
    NoneType: st.none(),
    FromEnv: variables,
    Config: configs,
    PathLike[str]: texts,
    LinkRule: st.sampled_from(["keep", "skip", "refuse"]),
    # A function prints as its name and no more.
    Progress: st.booleans(),
    Callable[[Piece], object]: st.just(print),
    Sandbox: boxes,
    Result[Sandbox | None, PocketenvError]: boxes.map(Success) | st.just(Failure(NotLoggedIn())),
    Sequence[str]: st.lists(texts) | st.lists(texts).map(tuple),
    Sequence[int]: st.lists(st.integers()) | st.lists(st.integers()).map(tuple),
}


COIN: st.SearchStrategy[Any] = st.booleans()


class Given(NamedTuple):
    """An operation's name and its arguments besides the target."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def operation(self) -> Any:
        return getattr(pocketenv_fp, self.name)

    @property
    def named(self) -> dict[str, Any]:
        return dict(zip(self.operation.arguments.names, self.args, strict=False)) | self.kwargs

    @property
    def step(self) -> Step[Any, Any]:
        made: Step[Any, Any] = self.operation(*self.args, **self.kwargs)
        return made


def of_kind(hint: object, *, secret: bool) -> st.SearchStrategy[Any]:
    union = isinstance(hint, UnionType) or typing.get_origin(hint) is typing.Union
    kinds = typing.get_args(hint) if union else (hint,)
    if secret:
        from_the_environment = {**KINDS, OF_NAMES: st.dictionaries(names_of_variables, variables, max_size=3)}
        return st.one_of([from_the_environment[kind] for kind in kinds if kind not in {str, bytes}])
    return st.one_of([KINDS[kind] if kind in KINDS else st.sampled_from(typing.get_args(kind)) for kind in kinds])


def held(given: Given) -> list[Any]:
    """The values of the arguments, and those that they hold under names."""
    found: list[Any] = []
    for value in (*given.args, *given.kwargs.values()):
        found += value.values() if isinstance(value, dict) else [value]
    return found


def in_its_place(operation: Any, place: str, secret: str) -> object:
    """A secret as the operation takes it: bare, or under a name."""
    mapping = "Mapping" in str(typing.get_type_hints(operation.function)[place])
    return {"NAME": secret} if mapping else secret


@cache
def hints_of(name: str) -> dict[str, Any]:
    return typing.get_type_hints(getattr(pocketenv_fp, name).function)


# Defined once: hypothesis reads and parses the source of each composite.
@st.composite
def arguments(draw: st.DrawFn, name: str, without: frozenset[str] = frozenset()) -> Given:
    """What the annotations of an operation allow, with every secret taken from the environment."""
    operation, hints = getattr(pocketenv_fp, name), hints_of(name)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for parameter in operation.arguments.signature.parameters.values():
        needed = parameter.default is parameter.empty
        if parameter.name in {"token", *without} or not (needed or draw(COIN)):
            continue
        value = draw(of_kind(hints[parameter.name], secret=parameter.name in operation.secret))
        # Positions without a gap, and anything by name: both are how people call.
        gap = operation.arguments.names.index(parameter.name) > len(args)
        if parameter.kind is parameter.KEYWORD_ONLY or gap or draw(COIN):
            kwargs[parameter.name] = value
        else:
            args.append(value)
    return Given(name, tuple(args), kwargs)


public_steps = st.sampled_from(NAMES).flatmap(arguments).map(lambda given: given.step) | st.just(identity)
pipelines = st.lists(public_steps, min_size=1, max_size=5)
errors: st.SearchStrategy[PocketenvError] = st.one_of(
    st.builds(NotLoggedIn),
    st.builds(ApiError, st.integers(400, 599), texts, texts, texts),
    st.builds(TransportError, st.sampled_from(["connect", "tls"]), texts, texts, maybe_sent=st.booleans()),
)
names_in_scope = {"Failure": Failure, **{name: getattr(pocketenv_fp, name) for name in public_names(pocketenv_fp)}}


def then(earlier: Step[Any, Any], later: Step[Any, Any]) -> Step[Any, Any]:
    return earlier | later


# Steps as values


@EACH
@given(st.data())
@FEW
def test_step_repr(name: str, data: st.DataObject) -> None:
    """The repr of a step is source code for an equal step."""
    step = data.draw(arguments(name)).step
    twin = eval(repr(step), dict(names_in_scope))
    assert twin == step
    assert hash(twin) == hash(step)
    assert repr(twin) == repr(step)


@EACH
@given(st.data())
@FEW
def test_step_copy_and_pickle(name: str, data: st.DataObject) -> None:
    """A copy or pickle of a step is equal to it."""
    step = data.draw(arguments(name)).step
    for twin in (pickle.loads(pickle.dumps(step)), copy.copy(step), copy.deepcopy(step)):
        assert twin == step
        assert hash(twin) == hash(step)
        assert repr(twin) == repr(step)


@EACH
@given(st.data())
@FEW
def test_step_equality_by_arguments(name: str, data: st.DataObject) -> None:
    """Steps with equal arguments are equal, by position or by name."""
    one, other = data.draw(arguments(name)), data.draw(arguments(name))
    assert one.operation(**one.named) == one.step
    assert (one.step == other.step) == (one.named == other.named)
    if one.step == other.step:
        assert hash(one.step) == hash(other.step)
    else:
        assert repr(one.step) != repr(other.step)


@EACH
@given(data=st.data(), secret=st.from_regex(r"sk-[a-z0-9]{12}", fullmatch=True))
@FEW
def test_step_masks_secret(name: str, data: st.DataObject, secret: str) -> None:
    """A string for a secret is masked in the repr, and the step cannot be pickled."""
    given = data.draw(arguments(name))
    for place in given.operation.secret:
        args, kwargs = list(given.args), dict(given.kwargs)
        position = given.operation.arguments.names.index(place)
        if position < len(args):
            args[position] = in_its_place(given.operation, place, secret)
        else:
            kwargs[place] = in_its_place(given.operation, place, secret)
        step: Step[Any, Any] = given.operation(*args, **kwargs)
        assert secret not in repr(step)
        assert "'***'" in repr(step)
        with pytest.raises(pickle.PicklingError, match=rf"{place} is a secret"):
            pickle.dumps(step)


# Composition


@given(pipelines)
@settings(max_examples=examples(100), deadline=None)
def test_pipeline_associative(steps: list[Step[Any, Any]]) -> None:
    """A pipeline is equal for every grouping of its steps."""
    from_the_left = reduce(then, steps)
    from_the_right = reduce(lambda later, earlier: earlier | later, reversed(steps))
    assert from_the_left == from_the_right
    assert hash(from_the_left) == hash(from_the_right)
    assert repr(from_the_left) == repr(from_the_right)
    for cut in range(1, len(steps)):
        assert reduce(then, steps[:cut]) | reduce(then, steps[cut:]) == from_the_left


@given(pipelines)
@settings(max_examples=examples(100), deadline=None)
def test_pipeline_drops_identity(steps: list[Step[Any, Any]]) -> None:
    """`identity` changes no pipeline and is not in its repr."""
    whole = reduce(then, steps)
    between = reduce(then, [part for step in steps for part in (identity, step)])
    assert between | identity == whole
    assert repr(whole) == " | ".join(repr(step) for step in steps if step != identity) or whole == identity


@given(pipelines)
@settings(max_examples=examples(100), deadline=None)
def test_pipeline_source_and_pickle(steps: list[Step[Any, Any]]) -> None:
    """The repr, pickle and copy of a pipeline are equal to it."""
    whole = reduce(then, steps)
    assert eval(repr(whole), dict(names_in_scope)) == whole
    assert pickle.loads(pickle.dumps(whole)) == copy.deepcopy(whole) == whole


@given(st.lists(st.sampled_from(NAMES).flatmap(arguments).map(lambda given: given.step), min_size=2, max_size=5))
@settings(max_examples=examples(100), deadline=None)
def test_pipeline_order_and_length(steps: list[Step[Any, Any]]) -> None:
    """Pipelines with another order or length are not equal."""
    whole = reduce(then, steps)
    assert whole != reduce(then, steps[1:])
    assert whole | steps[0] != whole
    if any(earlier != later for earlier, later in pairwise(steps)):
        shifted = [*steps[1:], steps[0]]
        assert (reduce(then, shifted) == whole) == (shifted == steps)


# Targets


@EACH
@given(st.data(), errors)
@FEW
def test_step_passes_failure(name: str, data: st.DataObject, error: PocketenvError) -> None:
    """A step returns a Failure unchanged, for any arguments."""
    given = data.draw(arguments(name))
    failed: Result[Any, PocketenvError] = Failure(error)
    before = (str(error), dict(vars(error)))
    assert given.step(failed) is failed
    assert (failed | given.step) is failed
    assert given.operation(failed, *given.args, **given.kwargs) is failed
    assert (str(error), dict(vars(error))) == before
    assert (error.__cause__, error.__context__, error.__traceback__) == (None, None, None)


# On the platform


def seen(result: Result[Any, PocketenvError]) -> object:
    """What of a result is the same each time: a new sandbox has an id of its own."""
    return result.map(lambda value: type(value) if isinstance(value, Sandbox) else value)


ON_THE_PLATFORM = settings(
    max_examples=examples(8), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
GONE = Sandbox(id="00000000-0000-0000-0000-000000000000", name="gone")
OF_A_JOB = {"cancel", "follow", "forget", "job_output", "send_input", "wait_for_job"}


def target_of(name: str) -> st.SearchStrategy[Any]:
    """A value of the type that the operation takes."""
    if name in {"create", "get_sandbox"}:
        return st.text("abc", min_size=1)
    return st.just(Job(GONE, "gone") if name in OF_A_JOB else GONE)


# These would leave the loopback, or wait.
ELSEWHERE = frozenset({"config", "repo", "timeout", "interval"})


@EACH
@given(data=st.data())
@ON_THE_PLATFORM
def test_step_ways_to_call(
    name: str,
    data: st.DataObject,
    environment: dict[str, str],
    platform: local.Platform,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The data-first call, the curried call and the operator do the same."""
    assert environment
    given = data.draw(arguments(name, ELSEWHERE))
    # What is in a directory of this machine is not what this is about.
    assume("\0" in (where := given.named.get("local", "\0")) or not Path(where).is_dir())
    for value in held(given):
        if isinstance(value, FromEnv):
            monkeypatch.setenv(value.name, "tskey-auth-kMade")
    target = data.draw(target_of(name))
    ways: list[Callable[[], Result[Any, PocketenvError]]] = [
        lambda: given.operation(target, *given.args, **given.kwargs),
        lambda: given.operation(Success(target), *given.args, **given.kwargs),
        lambda: given.step(target),
        lambda: target | given.step,
        lambda: Success(target) | given.step,
        lambda: Success(target).bind(given.step),
        lambda: pickle.loads(pickle.dumps(given.step))(target),
    ]
    results: list[object] = []
    requests: list[list[tuple[str, int]]] = []
    for way in ways:
        platform.remove_sandboxes()
        platform.calls.clear()
        results.append(seen(way()))
        requests.append(list(platform.calls))
    assert all(result == results[0] for result in results)
    assert all(made == requests[0] for made in requests)


LIVELY: list[Step[Sandbox, Sandbox]] = [start, stop, wait_until_running(timeout=0), unexpose(8080), identity]


def status(result: Result[Sandbox, PocketenvError]) -> object:
    return result.map(lambda box: box.status)


@given(steps=st.lists(st.sampled_from(LIVELY), max_size=4), cut=st.integers(0, 4))
@settings(max_examples=examples(15), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pipeline_same_state(
    steps: list[Step[Sandbox, Sandbox]], cut: int, environment: dict[str, str], platform: local.Platform
) -> None:
    """The sandbox has the same state after every grouping of a pipeline."""
    assert environment
    platform.remove_sandboxes()
    whole = reduce(then, steps, identity)
    first, rest = reduce(then, steps[:cut], identity), reduce(then, steps[cut:], identity)
    by_hand = create("law-1")
    for step in steps:
        by_hand = by_hand.bind(step)
    assert status((create | whole)("law-2")) == status(by_hand)
    assert status(((create | first) | rest)("law-3")) == status(by_hand)
    assert status(rest(first(create("law-4")))) == status(by_hand)
