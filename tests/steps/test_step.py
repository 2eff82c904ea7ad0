"""What a step is: made, composed, shown, compared, copied, pickled and run."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys

import pytest
import toolz
from returns.pipeline import flow
from returns.pointfree import bind
from returns.result import Failure, Result, Success

import pocketenv_fp
from pocketenv_fp import (
    Config,
    ExecResult,
    InvalidInput,
    NotLoggedIn,
    PocketenvError,
    Sandbox,
    SandboxNotFound,
    Step,
    create,
    create_backup,
    create_sandbox,
    delete,
    exec,
    expose,
    from_env,
    get_sandbox,
    identity,
    local,
    pocketenv,
    sandbox,
    set_secret,
    set_ssh_keys,
    set_tailscale_auth_key,
    start,
    stop,
    unexpose,
    wait_until_running,
)
from pocketenv_fp.steps.operation import Operation, StepOperation
from tests.names import public_names

# `sh` makes steps of `exec`.
OPERATIONS = [getattr(sandbox, name) for name in public_names(sandbox) if name != "sh"] + [create, get_sandbox]
HELLO = Success(ExecResult("hello\n", "", 0))


@pytest.fixture
def box(environment: dict[str, str]) -> Sandbox:
    assert environment
    return create("my-box").unwrap()


def evaluated(source: str) -> object:
    return eval(source, {name: getattr(pocketenv_fp, name) for name in public_names(pocketenv_fp)})


def test_exec_three_forms(box: Sandbox) -> None:
    """The curried call, the data-first call and the operator have the same result."""
    assert exec("echo", ["hello"])(box) == exec(box, "echo", ["hello"]) == (box | exec("echo", ["hello"])) == HELLO


def test_exec_result_target(box: Sandbox) -> None:
    """A target may be a Result."""
    assert exec(Success(box), "echo", ["hello"]) == (Success(box) | exec("echo", ["hello"])) == HELLO


@pytest.mark.usefixtures("environment")
def test_operation_without_brackets() -> None:
    """Operations with optional arguments only need no brackets."""
    pipeline = create | start | wait_until_running | exec("echo", ["hello"])
    assert pipeline("my-box") == HELLO
    assert (create("my-other-box") | start | wait_until_running | exec("echo", ["hello"])) == HELLO


@pytest.mark.usefixtures("environment")
def test_pipeline_many_targets() -> None:
    """One pipeline runs on several sandboxes."""
    name = create | start | exec("cat name 2>/dev/null; echo once >> name")
    assert [name(box).unwrap().stdout for box in ("a", "b")] == ["", ""]


@pytest.mark.usefixtures("environment")
def test_step_in_returns_and_toolz() -> None:
    """Steps work in the pipelines of returns and toolz."""
    hello = exec("echo", ["hello"])
    assert flow(create("a"), start, hello) == HELLO
    assert flow(create("b"), bind(start), bind(hello)) == HELLO
    assert create("c").bind(start).bind(hello) == HELLO
    assert create("d").bind(start).bind(hello).map(lambda done: done.stdout) == Success("hello\n")
    assert toolz.pipe("e", create, start, hello) == HELLO
    assert toolz.compose_left(create, start, hello)("f") == HELLO
    done: Result[int, PocketenvError] = Result.do(
        result.exit_code for made in create("g") for result in exec(made, "exit 3")
    )
    assert done == Success(3)


STEPS = {
    "start()": start,
    "stop()": stop(),
    "start(repo='https://example.org/a.git', keep_alive=True)": start(
        repo="https://example.org/a.git", keep_alive=True
    ),
    "exec('make', ['test'], timeout=3)": exec("make", ["test"], timeout=3),
    "expose(8080, description='web')": expose(8080, description="web"),
    "unexpose(8080)": unexpose(port=8080),
    "create(provider='daytona')": create_sandbox(provider="daytona"),
    "wait_until_running(timeout=120, interval=0.5)": wait_until_running(timeout=120, interval=0.5),
    "set_secret('A', from_env('B'))": set_secret("A", from_env("B")),
    "create_backup('/workspace', ttl=60)": create_backup("/workspace", ttl=60),
    "create() | start() | exec('a b')": create | start | exec("a b"),
    "get_sandbox() | delete()": get_sandbox | delete,
    "start(config=Config(read_timeout=5))": start(config=Config(read_timeout=5)),
    "identity": identity,
}


@pytest.mark.parametrize(("source", "step"), STEPS.items(), ids=STEPS)
def test_step_repr(source: str, step: Step[object, object]) -> None:
    """The repr of a step is source that evaluates to an equal step."""
    assert repr(step) == source
    assert evaluated(source) == step
    assert hash(evaluated(source)) == hash(step)


@pytest.mark.parametrize(("source", "step"), STEPS.items(), ids=STEPS)
def test_step_pickle_and_copy(source: str, step: Step[object, object]) -> None:
    """Pickling and copying a step returns an equal step."""
    for twin in (pickle.loads(pickle.dumps(step)), copy.copy(step), copy.deepcopy(step)):
        assert twin == step
        assert repr(twin) == source


def test_step_inequality() -> None:
    """Steps differ by operation, arguments and order."""
    steps = [start, stop, start(repo="a"), start(repo="b"), exec("a"), exec("a", ["b"]), start | stop, stop | start]
    assert len({repr(step) for step in steps}) == len(steps)
    assert all(a != b for a in steps for b in steps if a is not b)
    assert start != "start()"


def test_step_equal_keywords() -> None:
    """Positional and keyword arguments make equal steps."""
    assert exec("ls", ["-a"]) == exec(command="ls", args=["-a"]) == exec("ls", args=["-a"])


def test_step_copies_list() -> None:
    """A step keeps its own copy of a list of arguments."""
    args = ["-la"]
    step = exec("ls", args)
    args.append("/")
    assert repr(step) == "exec('ls', ['-la'])"


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
def test_operation_documented(operation: Operation[object, ..., object]) -> None:
    """An operation has a docstring and a signature, and pickles by name."""
    assert pickle.loads(pickle.dumps(operation)) is operation
    assert copy.deepcopy(operation) is operation
    assert inspect.getdoc(operation)
    assert list(inspect.signature(operation).parameters)[-2:] == ["token", "config"]
    assert operation.__name__ in repr(operation)


def test_operation_classes() -> None:
    """Operations that need no arguments are steps, and the others are not."""
    bare = {operation.__name__ for operation in OPERATIONS if isinstance(operation, StepOperation)}
    needy = {operation.__name__ for operation in OPERATIONS if isinstance(operation, Operation)}
    assert bare >= {"create", "get_sandbox", "start", "stop", "delete", "wait_until_running", "list_ports", "vscode"}
    assert needy >= {"exec", "expose", "unexpose", "set_secret", "create_backup", "restore_backup"}


def test_pipeline_other_process(environment: dict[str, str]) -> None:
    """A pickled pipeline runs in another process."""
    pipeline = create(provider="daytona") | start | wait_until_running | exec("echo", ["hello"])
    program = (
        "import pickle, sys\n"
        "pipeline = pickle.load(sys.stdin.buffer)\n"
        "sys.stdout.buffer.write(pickle.dumps((repr(pipeline), pipeline('box'))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=pickle.dumps(pipeline), capture_output=True, check=True, env=environment
    )
    assert pickle.loads(done.stdout) == (repr(pipeline), HELLO)


def test_pipeline_missing_sandbox(environment: dict[str, str], platform: local.Platform) -> None:
    """A missing sandbox is SandboxNotFound, and no request is sent."""
    assert environment
    missing = get_sandbox("no-such-box")
    assert missing == Success(None)
    before = len(platform.calls)
    for result in (missing | exec("ls"), exec(missing, "ls"), exec(None, "ls"), (start | exec("ls"))(None)):
        assert isinstance(result.failure(), SandboxNotFound)
    assert len(platform.calls) == before


def test_step_failure_target() -> None:
    """A Failure as the target is returned as it is."""
    failed: Result[Sandbox, PocketenvError] = Failure(NotLoggedIn())
    results: list[object] = [
        failed | start,
        failed | start | exec("ls"),
        exec(failed, "ls"),
        (start | exec("ls"))(failed),
        failed | expose(80),  # what is wrong with the argument does not matter any more
    ]
    assert all(result is failed for result in results)


@pytest.mark.parametrize("target", [create("x"), create, identity, "box"], ids=["result", "step", "identity", "text"])
def test_operation_needs_arguments(target: object) -> None:
    """The TypeError for an operation without its arguments has the form to write."""
    with pytest.raises(TypeError, match=r"exec needs arguments: write `\| exec\(…\)`, with exec\(command"):
        target | exec  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue, reportUnusedExpression]


WRONG = {
    "a number for a text": lambda: exec(3),  # type: ignore[call-overload]
    "a text for a list": lambda: exec("ls", "-la"),
    "a missing argument": lambda: exec(timeout=3),  # type: ignore[call-overload]
    "a surplus argument": lambda: start("x", "y"),  # type: ignore[call-overload]
    "an unknown option": lambda: start(nope=1),  # type: ignore[call-overload]
    "None for a text": lambda: set_secret("A", None),  # type: ignore[call-overload]
    "a text for a number": lambda: expose("8080"),  # type: ignore[call-overload]
    "a truth value for a number": lambda: expose(True),  # noqa: FBT003
    "a number for a list item": lambda: exec("ls", [1]),  # type: ignore[list-item]
    "a config that is none": lambda: start(config={"token": "x"}),  # type: ignore[call-overload]
    "another type of record": lambda: Success(ExecResult("", "", 0)) | start,  # type: ignore[operator]
    "a name for a sandbox": lambda: (start | stop)("my-box"),  # type: ignore[arg-type]
    "a name that is none": lambda: create(None),
    "a dict as a target": lambda: {} | start,  # type: ignore[operator]
    "a step after a value": lambda: start | 3,  # type: ignore[operator]
    "a wrong type in a plain function": lambda: pocketenv.list_secrets(3),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("mistake", WRONG.values(), ids=WRONG)
def test_step_mistake(mistake: object) -> None:
    """A mistake in the program raises a TypeError at once."""
    assert callable(mistake)
    with pytest.raises(TypeError):
        mistake()


SECRET_STEPS = {
    "set_secret('A', '***')": set_secret("A", "sk-top-secret"),
    "set_ssh_keys('***', 'ssh-ed25519 AAAA')": set_ssh_keys("sk-top-secret", "ssh-ed25519 AAAA"),
    "set_tailscale_auth_key('***')": set_tailscale_auth_key("sk-top-secret"),
    "set_tailscale_auth_key('***') ": set_tailscale_auth_key(auth_key="sk-top-secret"),
    "start(token='***')": start(token="sk-top-secret"),
    "start() | exec('ls', token='***')": start | exec("ls", token="sk-top-secret"),
    "start(config=Config(token='***'))": start(config=Config(token="sk-top-secret")),
}


@pytest.mark.parametrize(("source", "step"), SECRET_STEPS.items(), ids=SECRET_STEPS)
def test_step_secret_masked(source: str, step: Step[object, object]) -> None:
    """A secret is masked in the repr, and pickling the step is refused."""
    assert repr(step) == source.strip()
    with pytest.raises(pickle.PicklingError, match=r"from_env|POCKETENV_TOKEN") as refused:
        pickle.dumps(step)
    assert "sk-top-secret" not in str(refused.value)


def test_from_env_read_late(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A from_env secret is read when the step runs."""
    step = set_secret("API_KEY", from_env("MY_KEY"))
    missing = box | step
    assert missing == Failure(InvalidInput("value", "the environment variable MY_KEY is not set"))
    monkeypatch.setenv("MY_KEY", "sk-1")
    assert (box | step).unwrap().name == "API_KEY"
    assert (box | start | exec("printenv API_KEY")).unwrap().stdout == "sk-1\n"
