"""The functions that make steps of steps: what they do, on generated steps and on the embedded platform."""

from __future__ import annotations

import inspect
import json
import pickle
import re
import time
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from returns.result import Failure, Result, Success

import pocketenv_fp
from pocketenv_fp import (
    ApiError,
    CommandFailed,
    DecodeError,
    ExecResult,
    InvalidInput,
    NotLoggedIn,
    PocketenvError,
    Port,
    RateLimited,
    Sandbox,
    SandboxNotFound,
    ServerError,
    Status,
    Step,
    TransportError,
    check,
    create,
    ephemeral,
    exec,
    from_env,
    gather,
    get_sandbox,
    identity,
    json_output,
    keep,
    lines,
    list_ports,
    local,
    managed,
    or_else,
    recover,
    retrying,
    sandbox,
    set_secret,
    start,
    stdout,
    stop,
    tap,
    wait_until_running,
    when,
    within,
)
from pocketenv_fp.local.faults import Drop, Refuse
from pocketenv_fp.steps import combinators, output
from pocketenv_fp.steps.operation import Operation, operation, step
from tests.examples import examples
from tests.names import public_names

COMBINATORS = ["gather", "keep", "or_else", "recover", "retrying", "tap", "when", "within"]
ENDS = ["check", "json_output", "lines", "stdout"]
SECRET = "sk-live-4f9a8b7c6d5e"


class Count(msgspec.Struct, frozen=True):
    """What the operations below work on: thousands of examples in a second, through the same algebra."""

    value: int


done: list[str] = []


@operation(Count, safe=True)
def plus(count: Count, other: int) -> Result[Count, PocketenvError]:
    done.append(f"plus {other}")
    return Success(Count(count.value + other))


@operation(Count, safe=True)
def at_most(count: Count, limit: int) -> Result[Count, PocketenvError]:
    done.append(f"at_most {limit}")
    return Success(count) if count.value <= limit else Failure(InvalidInput("count", f"is above {limit}"))


@step(Count)
def publish(count: Count) -> Result[Count, PocketenvError]:
    done.append("publish")
    return Success(count)


@operation(Count, safe=True)
def in_time(count: Count, turn: int) -> Result[Count, PocketenvError]:
    """Work at the turn with this number, counted from the first one since ``done`` was emptied."""
    done.append("in_time")
    turned = len(done) >= turn
    return Success(count) if turned else Failure(TransportError("dropped", "gone"))


def is_even(count: Count) -> bool:
    return count.value % 2 == 0


def started(box: Sandbox) -> bool:
    return box.status is Status.RUNNING


def said(error: PocketenvError) -> str:
    return error.summary()


def negative(count: Count) -> bool:
    return count.value < 0


numbers = st.integers(-1000, 1000)
simple: st.SearchStrategy[Step[Count, Count]] = st.one_of(
    numbers.map(plus), numbers.map(at_most), st.just(identity), st.just(publish)
)
ALLOWED = st.sampled_from([True])
predicates = st.sampled_from([is_even, negative])


def made_of(inner: st.SearchStrategy[Step[Count, Any]]) -> st.SearchStrategy[Step[Count, Any]]:
    return st.one_of(
        inner.map(tap),
        st.builds(gather, inner),
        st.builds(gather, inner, inner, inner, inner, inner, inner),
        st.builds(keep, inner, inner),
        st.builds(or_else, inner, inner, on=st.sampled_from([PocketenvError, ApiError, (InvalidInput, ApiError)])),
        st.builds(recover, inner, numbers | st.none() | st.lists(numbers) | st.just(said)),
        st.builds(when, predicates, inner),
        st.builds(within, st.integers(60, 600), inner),
        st.builds(retrying, inner, st.integers(1, 3), unsafe=ALLOWED, delay=st.just(0)),
        st.tuples(simple, inner).map(lambda both: both[0] | both[1]),
    )


steps: st.SearchStrategy[Step[Count, Any]] = st.recursive(simple, made_of, max_leaves=6)
counts = numbers.map(Count)
errors: st.SearchStrategy[PocketenvError] = st.just(NotLoggedIn()) | st.builds(InvalidInput, st.text(), st.text())


def ran(made: Step[Any, Any], target: Any) -> tuple[Result[Any, PocketenvError], list[str]]:
    """What a step gives, and what it did."""
    done.clear()
    result = made(target)
    return result, list(done)


NAMES: dict[str, Any] = {
    **{name: getattr(pocketenv_fp, name) for name in public_names(pocketenv_fp)},
    **{each.__name__: each for each in (plus, at_most, publish, in_time, is_even, negative, said)},
}


@given(steps, counts)
def test_combinator_repr_and_pickle(made: Step[Count, Any], count: Count) -> None:
    """A combined step has a repr that is its source, pickles, and runs the same again."""
    for again in (eval(repr(made), NAMES), pickle.loads(pickle.dumps(made))):
        assert again == made
        assert hash(again) == hash(made)
        assert repr(again) == repr(made)
        assert ran(again, count) == ran(made, count)
    assert (identity | made) == made == (made | identity)
    assert ran(made, Success(count)) == ran(made, count)


@given(steps, errors)
def test_combinator_earlier_failure(made: Step[Count, Any], error: PocketenvError) -> None:
    """An earlier Failure skips every combinator."""
    failed: Result[Count, PocketenvError] = Failure(error)
    result, did = ran(made, failed)
    assert result is failed
    assert did == []


@given(steps, counts)
def test_tap_returns_target(made: Step[Count, Any], count: Count) -> None:
    """Tap runs its step and returns the target."""
    result, did = ran(made, count)
    assert ran(tap(made), count) == (result.map(lambda _: count), did)
    assert ran(tap(identity), count) == (Success(count), [])
    assert ran(tap(tap(made)), count) == ran(tap(made), count)


@given(steps, simple, counts, st.integers(60, 600))
def test_within_long_enough(made: Step[Count, Any], before: Step[Count, Count], count: Count, seconds: int) -> None:
    """A timeout that is long enough changes nothing."""
    assert ran(within(seconds, made), count) == ran(made, count)
    assert ran(within(seconds, before | made), count) == ran(within(seconds, before) | within(seconds, made), count)
    assert within(seconds, made).safe == made.safe


@given(st.lists(steps, min_size=1, max_size=7), counts)
def test_gather_first_failure(several: list[Step[Count, Any]], count: Count) -> None:
    """Gather runs each step on the same target, up to the first failure."""
    expected: list[Any] = []
    did: list[str] = []
    failed: Result[Any, PocketenvError] | None = None
    for each in several:
        result, work = ran(each, count)
        did += work
        if isinstance(result, Failure):
            failed = result
            break
        expected.append(result.unwrap())
    first, *rest = several
    assert ran(gather(first, *rest), count) == (failed or Success(tuple(expected)), did)
    whole = failed or Success((count, *expected))
    assert ran(NAMES["keep"](first, *rest), count) == (whole, did)


@given(steps, steps, counts, st.sampled_from([PocketenvError, InvalidInput, ApiError]))
def test_or_else_and_recover_on(
    made: Step[Count, Any], other: Step[Count, Any], count: Count, on: type[PocketenvError]
) -> None:
    """Both handle only errors of the classes in on."""
    result, did = ran(made, count)
    if isinstance(result, Failure) and isinstance(result.failure(), on):
        after, more = ran(other, count)
        assert ran(or_else(made, other, on=on), count) == (after, did + more)
        assert ran(recover(made, 7, on=on), count) == (Success(7), did)
        assert ran(recover(made, said, on=(on,)), count) == (Success(said(result.failure())), did)
    else:
        assert ran(or_else(made, other, on=on), count) == (result, did)
        assert ran(recover(made, 7, on=on), count) == (result, did)


@given(steps, counts)
def test_when_predicate(made: Step[Count, Any], count: Count) -> None:
    """When runs its step if the predicate is true, and otherwise returns the target."""
    assert ran(when(is_even, made), count) == (ran(made, count) if is_even(count) else (Success(count), []))


@given(st.integers(1, 5), st.integers(1, 7))
def test_retrying_attempts(attempts: int, turn: int) -> None:
    """Retrying stops at the first success, or after the last attempt."""
    result, did = ran(retrying(in_time(turn), attempts, delay=0), Count(0))
    assert len(did) == min(attempts, turn)
    assert isinstance(result, Success) == (turn <= attempts)


def test_retrying_on() -> None:
    """Retrying does not repeat after errors of other classes."""
    assert ran(retrying(at_most(1), 5, delay=0), Count(3)) == (
        Failure(InvalidInput("count", "is above 1")),
        ["at_most 1"],
    )
    assert len(ran(retrying(at_most(1), 5, on=InvalidInput, delay=0), Count(3))[1]) == 5


UNSAFE: list[Step[Any, Any]] = [
    publish,
    exec("make"),
    create,
    set_secret("A", from_env("B")),
    sandbox.delete,
    start | exec("ls"),
    tap(exec("ls")),
    gather(start, start, exec("ls")),
    or_else(start, exec("ls")),
    recover(exec("ls"), None),
    when(is_even, publish),
    managed(start),
    ephemeral(start),
]
SAFE: list[Step[Any, Any]] = [
    start,
    stop(token="x"),
    wait_until_running(timeout=1) | list_ports,
    tap(start),
    gather(start, list_ports),
    recover(list_ports, []),
    when(started, start),
    get_sandbox,
    check | lines,
    identity,
]


@pytest.mark.parametrize("made", UNSAFE, ids=repr)
def test_retrying_unsafe_step(made: Step[Any, Any]) -> None:
    """A step that may not be safe needs unsafe=True."""
    with pytest.raises(TypeError, match=r"retrying: .* may not be safe to repeat.* unsafe=True"):
        retrying(made)
    assert not retrying(made, unsafe=True).safe


@pytest.mark.parametrize("made", SAFE, ids=repr)
def test_retrying_safe_step(made: Step[Any, Any]) -> None:
    """A safe step can be repeated, and stays safe."""
    assert retrying(made).safe


MARKED = sorted(name for name in public_names(sandbox) if getattr(getattr(sandbox, name), "repeatable", False))


def test_safe_operations() -> None:
    """The list of operations that are marked safe is pinned."""
    # Each is a query, or leaves a sandbox in the state that it is in: a new name here needs a reason.
    # The functions of a job read files, or end or delete one job. The second request finds that done.
    assert [name for name in MARKED if not name.startswith(("get_", "list_"))] == [
        "cancel",
        "exists",
        "follow",
        "forget",
        "job_output",
        "read_bytes",
        "read_text",
        "refresh",
        "service_logs",
        "start",
        "stop",
        "wait_for_http",
        "wait_for_job",
        "wait_for_port",
        "wait_until_running",
    ]


# The first two change something, and the platform has no handler for what the third would ask.
NO_QUERIES = {"start", "stop", "list_integrations"}
# The platform has no method for jobs: these run a line of the library's own in the sandbox.
OF_A_JOB = {"cancel", "follow", "forget", "job_output", "wait_for_job"}
OF_JOBS = {*OF_A_JOB, "get_job", "list_jobs"}
# So do these.
OF_FILES = {"exists", "list_directory", "read_bytes", "read_text", "service_logs", "wait_for_http", "wait_for_port"}


@pytest.mark.parametrize("name", [name for name in MARKED if name not in NO_QUERIES | OF_JOBS | OF_FILES])
def test_safe_operation_requests(environment: dict[str, str], platform: local.Platform, name: str) -> None:
    """Operations that are marked safe send queries only."""
    assert environment
    box = (create("box") | start).unwrap()
    platform.calls.clear()
    asked = getattr(sandbox, name)
    asked(box) if not isinstance(asked, Operation) else asked(box, "6f9619ff-8b86-4d01-b42d-00cf4fc964ff")
    sent = [method.rpartition(".")[2] for method, _ in platform.calls]
    assert sent
    assert all(method.startswith(("get", "list")) for method in sent), sent


@pytest.mark.parametrize("name", sorted(OF_JOBS))
def test_safe_job_function_repeats(environment: dict[str, str], platform: local.Platform, name: str) -> None:
    """It sends nothing but exec, and a second call returns the result of the first."""
    assert environment
    box = (create("box") | start).unwrap()
    job = (box | sandbox.submit("echo a; exit 3", id="job")).unwrap()
    assert (job | sandbox.wait_for_job).unwrap().exit_code == 3
    platform.calls.clear()
    called = getattr(sandbox, name)
    arguments = ("job",) if name == "get_job" else ()
    first, second = (called(job if name in OF_A_JOB else box, *arguments) for _ in range(2))
    assert first == second
    assert isinstance(first, Success)
    assert {method.rpartition(".")[2] for method, _ in platform.calls} == {"exec"}


@pytest.mark.parametrize("name", COMBINATORS)
def test_combinator_refuses(name: str) -> None:
    """A combinator raises a TypeError for values that are no step."""
    combinator: Any = getattr(combinators, name)
    before = {"when": (is_even,), "within": (5,)}.get(name, ())
    after = {"or_else": (start,), "recover": (None,)}.get(name, ())
    with pytest.raises(TypeError, match=rf"^{name}: (step|first): exec needs arguments: write `\| exec\("):
        combinator(*before, exec, *after)
    with pytest.raises(TypeError, match=f"{name}: .*expected a step, got "):
        combinator(*before, "start", *after)
    with pytest.raises(TypeError, match=f"{name}: "):
        combinator()
    with pytest.raises(TypeError, match=f"{name}: .*unexpected keyword"):
        combinator(*before, start, *after, nothing=1)


def test_combinator_checks_arguments() -> None:
    """The other arguments are checked when the step is made."""
    anything: Any = "anything"
    with pytest.raises(TypeError, match="when: predicate: expected a function, got str"):
        when(anything, start)
    with pytest.raises(TypeError, match="recover: on: error classes"):
        recover(start, 1, on=anything)
    with pytest.raises(TypeError, match="or_else: on: error classes"):
        or_else(start, start, on=(anything, anything))
    with pytest.raises(TypeError, match="retrying: on: error classes"):
        retrying(start, on=anything)
    with pytest.raises(TypeError, match="retrying: attempts: expected int, got str"):
        retrying(start, anything)
    with pytest.raises(TypeError, match="retrying: delay: expected float, got str"):
        retrying(start, delay=anything)


def test_retrying_limits() -> None:
    """A number outside its limits is a Failure, and the step does not run."""
    assert ran(retrying(publish, 0, unsafe=True), Count(1)) == (
        Failure(InvalidInput("attempts", "Expected `int` >= 1")),
        [],
    )
    assert ran(retrying(plus(1), delay=-1), Count(1))[1] == []


def test_combinator_wrong_target() -> None:
    """A target of another type raises a TypeError."""
    text: Any = "a text"
    for made in (tap(start), gather(start), or_else(start, start), recover(start, None), retrying(start), keep(start)):
        with pytest.raises(TypeError, match="start takes a Sandbox"):
            made(text)


def test_combinator_missing_sandbox() -> None:
    """Each combinator returns SandboxNotFound for None."""
    for made in (tap(start), gather(start), or_else(start, start), retrying(start), keep(start), when(started, start)):
        assert isinstance(made(None).failure(), SandboxNotFound)


@pytest.mark.parametrize("secret", [SECRET, f"-----BEGIN PRIVATE KEY-----{SECRET}"])
def test_combinator_secrets(secret: str) -> None:
    """Secrets of inner steps are masked in the repr and refused by pickle."""
    inner = set_secret("A", secret)
    for made in (
        tap(inner),
        gather(start, start, start, inner),
        keep(list_ports, tap(inner)),
        or_else(start, inner),
        recover(inner, None),
        tap(start | inner),
        retrying(inner, unsafe=True),
        retrying(start(token=SECRET)),
        managed(inner),
        managed(start, acquire=create(secrets={"A": secret}) | start),
        ephemeral(inner),
        ephemeral(start, secrets={"A": secret}),
        ephemeral(start, token=SECRET),
    ):
        assert SECRET not in repr(made)
        assert "***" in repr(made)
        with pytest.raises(pickle.PicklingError) as refused:
            pickle.dumps(made)
        assert SECRET not in str(refused.value)
    with_variables = gather(set_secret("A", from_env("B")), start)
    assert pickle.loads(pickle.dumps(with_variables)) == with_variables


def test_retrying_refusal_secret() -> None:
    """The error for an unsafe step does not quote its secret."""
    with pytest.raises(TypeError) as refused:
        retrying(set_secret("A", SECRET))
    assert SECRET not in str(refused.value)


def test_recover_copies_list() -> None:
    """Recover keeps its own copy of a list."""
    instead = [1]
    made = recover(at_most(0), instead)
    instead.append(2)
    assert made(Count(1)) == Success([1])


def test_combinator_signature() -> None:
    """Signatures leave out the target."""
    for name in COMBINATORS:
        signature = inspect.signature(getattr(combinators, name))
        assert "target" not in signature.parameters
        assert repr(getattr(combinators, name)).startswith(f"<combinator {name}(")


@pytest.mark.parametrize("name", [*COMBINATORS, *ENDS, "managed", "ephemeral"])
def test_combinator_docstring(name: str) -> None:
    """Each docstring has an example and names the return value."""
    text = getattr(pocketenv_fp, name).__doc__
    assert ">>>" in text
    assert re.search("Give|Return", text)


def test_combinators_all() -> None:
    """The list __all__ holds every combinator."""
    assert combinators.__all__ == COMBINATORS
    assert {*output.__all__} - {"ended_well"} == {*ENDS}


# The ends


def result(printed: str, code: int = 0) -> ExecResult:
    return ExecResult(printed, "", code)


@given(st.integers(-1, 255), st.text(), st.text())
def test_check_exit_code(code: int, printed: str, complained: str) -> None:
    """Check returns the result for exit code 0, and otherwise CommandFailed."""
    checked = check(ExecResult(printed, complained, code))
    if code == 0:
        assert checked == Success(ExecResult(printed, complained, 0))
    else:
        assert checked == Failure(CommandFailed(code, printed, complained))


@given(st.lists(st.text(st.characters(exclude_characters="\n"))))
def test_lines_printed(printed: list[str]) -> None:
    """Lines returns the printed lines without their ends."""
    assert lines(result("".join(f"{line}\n" for line in printed))) == Success(printed)


def test_lines_last_line() -> None:
    """The last line may lack its newline."""
    assert lines(result("a\nb")) == lines(result("a\nb\n")) == Success(["a", "b"])
    assert lines(result("")) == Success([])
    assert lines(result("\n")) == Success([""])


@given(st.text(), st.integers(0, 255))
def test_stdout_printed(printed: str, code: int) -> None:
    """The step stdout returns the printed string, for any exit code."""
    assert stdout(result(printed, code)) == Success(printed)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
)  # fmt: skip


@given(values)
def test_json_output_value(value: Any) -> None:
    """The step json_output returns the value that was printed as JSON."""
    assert json_output(result(json.dumps(value, indent=2) + "\n")) == Success(value)


NO_JSON: dict[str, tuple[str, str]] = {
    "nothing": ("", "it is empty"),
    "blank": (" \n", "it is empty"),
    "text": (SECRET, "Expecting value: line 1, column 1"),
    "text before": (f"{SECRET}\n{{}}", "Expecting value: line 1, column 1"),
    "text behind": (f"{{}}\n{SECRET}", "Extra data: line 2, column 1. It is more than one JSON value"),
    "lines": ("{}\n{}\n", "if each line is one, use lines"),
    "cut": (f'{{"a": {json.dumps(SECRET)}', "Expecting ',' delimiter: line 1, column"),
    "half a pair": ("\ud800", "Expecting value: line 1, column 1"),
    "deep": ("[" * 100_000, "nested too deeply"),
    "digits": ("1" * 5_000, "more digits"),
    "a control character": ('["\x01"]', "Invalid control character at: line 1, column 3"),
}


@pytest.mark.parametrize(("printed", "reason"), NO_JSON.values(), ids=NO_JSON)
def test_json_output_no_json(printed: str, reason: str) -> None:
    """The error names the reason and the place, and never holds what was printed."""
    failed = json_output(result(printed)).failure()
    assert isinstance(failed, DecodeError)
    assert reason in failed.reason
    assert SECRET not in f"{failed!r} {failed} {failed.__context__!r} {failed.__cause__!r}"


LOOSE: dict[str, tuple[str, str]] = {
    "NaN": ('{"loss": NaN}', "{'loss': nan}"),
    "Infinity": ("[Infinity, -Infinity, 1e400]", "[inf, -inf, inf]"),
    "half a pair": (r'"\ud83d"', r"'\ud83d'"),
    "a mark": ("\ufeff[1]", "[1]"),
    "twice": ('{"a": 1, "a": 2}', "{'a': 2}"),
}


@pytest.mark.parametrize(("printed", "value"), LOOSE.values(), ids=LOOSE)
def test_json_output_python_constants(printed: str, value: str) -> None:
    """What programs print as JSON by default is read, although the standard has no word for it."""
    assert repr(json_output(result(printed)).unwrap()) == value


def test_output_steps_wrong_target() -> None:
    """The steps for command output take an ExecResult only."""
    text: Any = "a text"
    for end in (check, stdout, lines, json_output):
        with pytest.raises(TypeError, match="takes an ExecResult or a Result of one, not str"):
            _ = Success(text) | end


# On the embedded platform


@pytest.mark.usefixtures("environment")
def test_combinators_compose() -> None:
    """A pipeline of several combinators runs, also after pickling."""
    box = create("box")
    whole = (
        start
        | tap(exec("printf 'a\\nb\\n' > list") | check)
        | gather(exec("cat list") | check | lines, recover(exec("cat missing") | check | stdout, "none"), list_ports)
    )
    expected: tuple[list[str], str, list[Port]] = (["a", "b"], "none", [])
    assert whole(box) == Success(expected)
    assert pickle.loads(pickle.dumps(whole))(box) == Success(expected)


@pytest.mark.usefixtures("environment")
def test_tap_failure() -> None:
    """A tap that fails ends the pipeline."""
    box = (create("box") | start).unwrap()
    failed = box | tap(exec("exit 3") | check) | exec("touch after")
    assert isinstance(failed.failure(), CommandFailed)
    assert (box | exec("ls") | lines) == Success([])


@pytest.mark.usefixtures("environment")
def test_retrying_start(platform: local.Platform) -> None:
    """A start is repeated until the platform answers."""
    box = create("box").unwrap()
    with platform.faults.on("sandbox.startSandbox", Refuse(502), times=2) as planned:
        assert (box | retrying(start, 3, delay=0)).unwrap().status is Status.RUNNING
    assert planned.played == 2
    with platform.faults.on("sandbox.startSandbox", Refuse(502)) as planned:
        assert isinstance((box | retrying(start, 3, delay=0)).failure(), ServerError)
    assert planned.played == 3


@pytest.mark.usefixtures("environment")
@settings(max_examples=examples(5), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 3))
def test_retrying_unsafe_command(platform: local.Platform, attempts: int) -> None:
    """A command with unsafe=True runs as often as there are attempts."""
    platform.remove_sandboxes()
    box = (create("box") | start).unwrap()
    with platform.faults.on("sandbox.exec", Drop(after_work=True)):
        lost = box | retrying(exec("echo >> runs"), attempts, delay=0, unsafe=True)
    assert isinstance(lost.failure(), TransportError)
    assert (box | exec("wc -l < runs") | stdout) == Success(f"{attempts}\n")


@step(Count, safe=True)
def limited(_: Count) -> Result[Count, PocketenvError]:
    done.append("limited")
    return Failure(RateLimited(429, "TooMany", "slow down", retry_after=0.3))


def test_retrying_rate_limit() -> None:
    """After RateLimited the pause is at least as long as the platform asks for."""
    begun = time.monotonic()
    assert ran(retrying(limited, 2, on=RateLimited, delay=0), Count(0))[1] == ["limited", "limited"]
    assert time.monotonic() - begun >= 0.3


@step(Count, safe=True)
def shut_out(_: Count) -> Result[Count, PocketenvError]:
    done.append("shut out")
    return Failure(RateLimited(429, "TooMany", "come back next year", retry_after=3e7))


def test_retrying_long_rate_limit() -> None:
    """A rate limit with too long a pause is returned at once."""
    result, did = ran(retrying(shut_out, 3, on=RateLimited, delay=0), Count(0))
    assert (type(result.failure()), did) == (RateLimited, ["shut out"])
