"""The six ways to write one program, run on the embedded platform: the same requests, the same ExecResult."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from returns.pipeline import flow
from returns.pointfree import bind
from returns.result import Failure, Result, Success

from pocketenv_fp import (
    ApiError,
    ExecResult,
    NotLoggedIn,
    PocketenvError,
    create,
    delete,
    exec,
    local,
    pocketenv,
    sandbox,
    start,
    wait_until_running,
)

Ran = Result[ExecResult, PocketenvError]

HELLO: Ran = Success(ExecResult("hello\n", "", 0))
CI = create(provider="daytona") | start | wait_until_running | exec("echo", ["hello"])


def operator() -> Ran:
    return create("box", provider="daytona") | start | wait_until_running | exec("echo", ["hello"])


def flowing() -> Ran:
    made = create("box", provider="daytona")
    ran: Ran = flow(made, start, wait_until_running(timeout=120), exec("echo", ["hello"]))
    return ran


def flowing_with_bind() -> Ran:
    made = create("box", provider="daytona")
    ran: Ran = flow(made, bind(start), bind(wait_until_running), bind(exec("echo", ["hello"])))
    return ran


def nested_as_clojure_threads_it() -> Ran:
    made = pocketenv.create_sandbox("box", provider="daytona")
    return sandbox.exec(sandbox.wait_until_running(sandbox.start(made)), "echo", ["hello"])


def pipeline_value() -> Ran:
    return CI("box")


def pattern_matching() -> Ran:
    match CI("box"):
        case Success(ExecResult(exit_code=0, stdout=out)):
            return Success(ExecResult(out, "", 0))
        case other:
            return other


FORMS = (operator, flowing, flowing_with_bind, nested_as_clojure_threads_it, pipeline_value, pattern_matching)
CREATED = ["createSandbox", "putPreferences", "getSandbox"]
REQUESTS = [*CREATED, "startSandbox", "getSandbox", "getSandbox", "exec"]
# A pipeline that exists before it runs leaves out the lookups that no step reads.
AS_DATA = ["createSandbox", "putPreferences", "startSandbox", "getSandbox", "exec"]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@pytest.mark.usefixtures("environment")
def test_forms_same_result(form: Callable[[], Ran], platform: local.Platform) -> None:
    """Every form has the same result."""
    platform.calls.clear()
    assert form() == HELLO
    requests = AS_DATA if form in {pipeline_value, pattern_matching} else REQUESTS
    assert [(name.rpartition(".")[2], status) for name, status in platform.calls] == [(each, 200) for each in requests]


@pytest.mark.usefixtures("environment")
def test_pipeline_repr() -> None:
    """The repr of a pipeline is its source."""
    ci = create(provider="daytona") | start(repo="https://…") | wait_until_running | exec("make", ["test"])
    shown = "create(provider='daytona') | start(repo='https://…') | wait_until_running() | exec('make', ['test'])"
    assert str(ci) == repr(ci) == f"{ci}" == shown


def branch(result: Ran) -> str:
    match result:
        case Success(ExecResult(exit_code=0, stdout=out)):
            return out
        case Success(ExecResult(exit_code=code)):
            return f"exit code {code}"
        case Failure(NotLoggedIn()):
            return "not logged in"
        case Failure(ApiError(status=404)):
            return "gone"
        case _:
            return "something else"


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (create | exec("echo", ["hello"]), "hello\n"),
        (create | exec("exit 3"), "exit code 3"),
        (create | delete | exec("true"), "gone"),
        (create | exec("a\0b"), "something else"),
    ],
    ids=["success", "exit code", "404", "other"],
)
def test_pattern_matching_branch(program: Callable[[str], Ran], expected: str) -> None:
    """A match statement takes the branch of the result."""
    assert branch(program("box")) == expected


def test_pattern_matching_not_logged_in(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, platform: local.Platform
) -> None:
    """Without a token the branch is NotLoggedIn, and no request is sent."""
    assert environment
    monkeypatch.delenv("POCKETENV_TOKEN")
    before = list(platform.calls)
    assert branch(CI("box")) == "not logged in"
    assert list(platform.calls) == before


def test_pipeline_pickle(environment: dict[str, str]) -> None:
    """A pipeline and its result cross to another process and back."""
    program = (
        "import pickle, sys\n"
        "ci = pickle.load(sys.stdin.buffer)\n"
        "sys.stdout.buffer.write(pickle.dumps((ci, repr(ci), hash(ci) == hash(ci), ci('box'))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=pickle.dumps(CI), capture_output=True, check=True, env=environment
    )
    assert pickle.loads(done.stdout) == (CI, repr(CI), True, HELLO)


def test_pipeline_process_pool(environment: dict[str, str]) -> None:
    """A process pool maps a pipeline as a function."""
    # Spawned workers have nothing but what was pickled, and the environment.
    assert environment
    with ProcessPoolExecutor(max_workers=2, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(CI, ["a", "b", "c"])) == [HELLO] * 3
