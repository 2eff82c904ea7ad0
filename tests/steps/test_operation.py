"""Steps in the hands of a program: every operation with every wrong target, in threads and processes, with secrets."""

from __future__ import annotations

import copy
import enum
import functools
import inspect
import math
import operator
import pickle
import pydoc
import re
import subprocess
import sys
import typing
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
import toolz
from msgspec.structs import replace
from returns.iterables import Fold
from returns.pipeline import flow, pipe
from returns.pointfree import lash, map_
from returns.result import Failure, Result, Success

import pocketenv_fp
from pocketenv_fp import (
    ApiError,
    CommandFailed,
    Config,
    DecodeError,
    ExecResult,
    InvalidInput,
    NotLoggedIn,
    PocketenvError,
    Sandbox,
    SandboxNotFound,
    Step,
    claim,
    create,
    create_backup,
    delete,
    delete_secret,
    exec,
    expose,
    from_env,
    get_sandbox,
    get_ssh_keys,
    get_tailscale_auth_key,
    identity,
    list_backups,
    list_ports,
    list_secrets,
    local,
    recover,
    refresh,
    restore_backup,
    sandbox,
    set_secret,
    set_ssh_keys,
    set_tailscale_auth_key,
    start,
    stop,
    unexpose,
    vscode,
    wait_until_running,
)
from pocketenv_fp.http.xrpc import Call, answered_by
from pocketenv_fp.models import Page, Variable
from pocketenv_fp.steps.operation import Operation
from pocketenv_fp.validation import Arguments
from tests.names import public_names

BOX = Sandbox(id="3f", name="calm-otter")
SECRET = "sk-top-secret"
KEY = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{SECRET}\n-----END OPENSSH PRIVATE KEY-----\n"


def name_of(step: object) -> str:
    return repr(step).partition("(")[0]


# One step of each operation, with arguments that are all right.
KEPT = ("secret", "variable", "file", "volume", "service")
STEPS: list[Step[Any, Any]] = [
    claim(),
    sandbox.copy_to("other", "output", "input"),
    create(provider="daytona", secrets={"A": from_env("HOME")}),
    create_backup("/workspace"),
    delete(),
    delete_secret("id"),
    sandbox.download("output", "no/such/directory", max_bytes=1000),
    exec("true"),
    sandbox.exec_script("print()"),
    expose(8080),
    get_sandbox(),
    *(getattr(sandbox, f"list_{noun}s")() for noun in KEPT if noun != "secret"),
    *(
        getattr(sandbox, f"{verb}_{noun}")("a")
        for verb in ("get", "delete")
        for noun in KEPT
        if verb + noun != "deletesecret"
    ),
    sandbox.set_variable("A", "b"),
    sandbox.set_file("/a", from_env("HOME")),
    sandbox.set_volume("a", "/a", read_only=True),
    sandbox.set_service("a", "true", ports=[8080]),
    sandbox.start_service("a"),
    sandbox.stop_service("a"),
    sandbox.restart_service("a"),
    sandbox.rename("another"),
    sandbox.update_settings(topics=["a"]),
    sandbox.get_preferences(),
    sandbox.list_integrations(),
    sandbox.create_integration("a"),
    get_ssh_keys(),
    get_tailscale_auth_key(),
    list_backups(),
    list_ports(),
    list_secrets(limit=3),
    refresh(),
    restore_backup("id"),
    set_secret("A", from_env("HOME")),
    set_ssh_keys(from_env("HOME"), "ssh-ed25519 AAAA"),
    set_tailscale_auth_key(from_env("HOME")),
    sandbox.spawn("true", name="a"),
    start(repo="https://example.org/a.git"),
    stop(),
    unexpose(8080),
    sandbox.upload("no/such/directory", ignore=["*.log"]),
    vscode(),
    wait_until_running(timeout=3),
    sandbox.submit("true"),
    sandbox.get_job("a"),
    sandbox.list_jobs(),
    sandbox.follow(stdout_from=3),
    sandbox.wait_for_job(timeout=3),
    sandbox.job_output(),
    sandbox.cancel(),
    sandbox.send_input("a"),
    sandbox.forget(),
    sandbox.run_code("1"),
    sandbox.restart_context("a"),
    sandbox.read_text("a"),
    sandbox.read_bytes("a"),
    sandbox.write_file("a", from_env("HOME"), mode=0o600),
    sandbox.list_directory("a"),
    sandbox.exists("a"),
    sandbox.restart(keep="a"),
    sandbox.service_logs("web"),
    sandbox.wait_for_port(8080, timeout=3),
    sandbox.wait_for_http("/a", port=8080, timeout=3),
]
OF_A_JOB = {"cancel", "follow", "forget", "job_output", "send_input", "wait_for_job"}
OF_A_NAME = {"create", "get_sandbox"}
EACH = pytest.mark.parametrize("step", STEPS, ids=name_of)


def public(name: str) -> Any:
    return getattr(pocketenv_fp, name)


def evaluated(step: object) -> object:
    return eval(repr(step), {name: getattr(pocketenv_fp, name) for name in public_names(pocketenv_fp)})


def test_steps_complete() -> None:
    """The list of steps has one of each operation."""
    # `sh` makes steps of `exec`.
    walked = {name for name in public_names(sandbox) if name.startswith("iter_")}
    assert {name_of(step) for step in STEPS} == {*public_names(sandbox), *OF_A_NAME} - {"sh"} - walked


# Targets


@EACH
def test_operation_failure_target(step: Step[Any, Any], environment: dict[str, str], platform: local.Platform) -> None:
    """A Failure as the target is returned as it is, and no request is sent."""
    assert environment
    before = list(platform.calls)
    failed: Result[Any, PocketenvError] = Failure(NotLoggedIn())
    assert step(failed) is failed
    assert (failed | step) is failed
    assert (start | step | stop)(failed) is failed
    # Only all the arguments of copy_to show whether the first is its target.
    if name_of(step) != "copy_to":
        assert public(name_of(step))(failed, nonsense=1) is failed, "what was to come does not matter any more"
    assert list(platform.calls) == before


@EACH
def test_operation_none_target(step: Step[Any, Any], environment: dict[str, str], platform: local.Platform) -> None:
    """None as the target is SandboxNotFound with the operation's name, and no request is sent."""
    assert environment
    before = list(platform.calls)
    for missing in (None, Success(None)):
        if name_of(step) in OF_A_NAME:
            with pytest.raises(TypeError, match="takes a str"):
                step(missing)
        elif name_of(step) in OF_A_JOB:
            with pytest.raises(TypeError, match="takes a Job"):
                step(missing)
        else:
            error = step(missing).failure()
            assert isinstance(error, SandboxNotFound)
            assert error.operation == name_of(step)
    assert list(platform.calls) == before


WRONG: list[object] = [3, b"box", ["box"], {"id": "3f"}, Sandbox, ExecResult("", "", 0), start, exec, NotLoggedIn()]


def refusal(step: Step[Any, Any], target: object) -> str:
    """The message of the TypeError for a target."""
    try:
        return f"no TypeError, but {step(target)!r}"
    except TypeError as error:
        return str(error)


@EACH
def test_operation_wrong_target(step: Step[Any, Any]) -> None:
    """A target of another type is a TypeError that names both types."""
    wanted = step._steps[0].operation.accepts.__name__  # pyright: ignore[reportPrivateUsage]
    assert wanted in ({"str"} if name_of(step) in OF_A_NAME else {"Sandbox", "Job"})
    messages = {
        (type(target).__name__, is_result): refusal(step, Success(target) if is_result else target)
        for target in WRONG
        for is_result in (False, True)
    }
    assert len(messages) == 2 * len(WRONG)
    wrong = {
        (name, is_result): message
        for (name, is_result), message in messages.items()
        if not re.search(f"^{name_of(step)} takes a {wanted} or a Result of one, not {name}(: [a-z].*)?$", message)
    }
    assert wrong == {}


def test_pipeline_type_mismatch(environment: dict[str, str]) -> None:
    """A step that returns another type than the next one takes raises a TypeError."""
    assert environment
    backwards: Any = exec("true")
    with pytest.raises(
        TypeError, match=r"^stop takes a Sandbox or a Result of one, not ExecResult: write tap\(…\) around"
    ):
        _ = create("box") | backwards | stop


# Arguments


@pytest.mark.parametrize("wrong", [deque(["-la"]), iter(["-la"]), {"-la": 1}, {"-la"}, frozenset({"-la"}), b"-la"])
def test_exec_args_refuses(wrong: Any) -> None:
    """Arguments of a command must be a list or a tuple of strings."""
    # A set's order changes from run to run, and a step that holds the caller's set changes with it.
    with pytest.raises(TypeError, match=r"^exec: args: "):
        exec("ls", wrong)


@pytest.mark.parametrize(
    "call",
    [
        lambda: exec("ls", None, SECRET),  # type: ignore[call-overload]
        lambda: set_secret("A", SECRET, SECRET),  # type: ignore[call-overload]
        lambda: set_secret("A", [SECRET]),  # type: ignore[call-overload]
        lambda: set_secret("A", SECRET.encode()),  # type: ignore[call-overload]
        lambda: set_secret(BOX, "A", {SECRET: SECRET}),  # type: ignore[call-overload]
        lambda: set_ssh_keys([KEY], "ssh-ed25519 AAAA"),  # type: ignore[call-overload]
        lambda: start(token={SECRET}),  # type: ignore[call-overload]
    ],
    ids=range(7),
)
def test_operation_mistake_hides_secret(call: Any) -> None:
    """A TypeError about a secret argument does not quote it."""
    with pytest.raises(TypeError) as raised:
        call()
    assert SECRET not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ((3,), "command: expected str, got int"),
        (("ls", "-la"), "args: expected a list of str, got str"),
        ((), "command"),
        (("ls", (), "/tmp"), "positional"),
    ],
    ids=["wrong type", "text for a list", "missing", "surplus"],
)
def test_operation_data_first_checks(arguments: Any, field: str) -> None:
    """A data-first call checks its arguments like a curried one."""
    with pytest.raises(TypeError, match=field):
        exec(*arguments)
    with pytest.raises(TypeError, match=field):
        exec(BOX, *arguments)


def test_operation_needs_arguments() -> None:
    """A call with a target and nothing else is answered with the form of the whole call."""
    with pytest.raises(TypeError, match=r"^exec needs arguments: write `\| exec\(…\)`, with exec\(command"):
        cast("Any", exec)(BOX)


def test_iterator_targets() -> None:
    """An iterator's one item is the Failure of its target. A Success is unwrapped."""
    failure: Result[Sandbox, PocketenvError] = Failure(NotLoggedIn())
    assert list(sandbox.iter_variables(failure)) == [failure]
    record = Variable(BOX.id, "A", "1")
    with answered_by(lambda call: Success(Page((replace(record, id=call.params["sandboxId"]),), 1))):
        assert list(sandbox.iter_variables(BOX)) == list(sandbox.iter_variables(Success(BOX))) == [Success(record)]


def test_step_checks_arguments_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The arguments of a step are read when it is made and at its first run. A wrong value fails every run."""
    reads: list[tuple[Any, ...]] = []
    usual = Arguments.read

    def read(self: Arguments, args: tuple[Any, ...], kwargs: Any) -> Any:
        reads.append(args)
        return usual(self, args, kwargs)

    step, wrong = exec("ls", ["-l"]), expose(80)
    monkeypatch.setattr(Arguments, "read", read)
    with answered_by(lambda _: Failure(NotLoggedIn())):
        assert [step(BOX), step(BOX), step(BOX)] == [Failure(NotLoggedIn())] * 3
        assert reads == [("ls", ["-l"])]
        assert [type(wrong(BOX).failure()) for _ in range(2)] == [InvalidInput] * 2
        assert reads == [("ls", ["-l"]), (80,)]


def test_operation_checks_each_target() -> None:
    """A target that is no record is the caller's, so each one is checked and is a plain string."""
    seen: list[Any] = []

    def door(call: Call[Any]) -> Result[Any, PocketenvError]:
        seen.append(call.params["id"])
        return Success(None)

    class Label(str):
        __slots__ = ()

    with answered_by(door):
        assert get_sandbox("a") == Success(None)
        assert isinstance(get_sandbox("").failure(), InvalidInput)
        assert isinstance((Success(" ") | get_sandbox).failure(), InvalidInput)
        assert get_sandbox(Label("b")) == Success(None)
    assert [type(id) for id in seen] == [str, str]


def test_step_keeps_its_list() -> None:
    """No run changes what the next one gets, nor does a change of the caller's list."""
    given = ["a b"]
    step = exec("ls", given)
    given.append("c")
    seen: list[Any] = []

    def door(call: Call[Any]) -> Result[Any, PocketenvError]:
        seen.append(dict(call.body or {}))
        return Failure(NotLoggedIn())

    with answered_by(door):
        step(BOX), step(BOX)  # pyright: ignore[reportUnusedExpression]
    assert seen[0] == seen[1]
    assert str(step) == "exec('ls', ['a b'])"


PLAIN_IDS: dict[str, Any] = {
    "delete": lambda: delete("my-box"),  # type: ignore[call-overload]
    "exec": lambda: exec("my-box", "ls"),
    "start": lambda: start("my-box", repo="https://example.org/a.git"),  # type: ignore[call-overload]
    "restore_backup": lambda: restore_backup("my-box", "bk-1"),  # type: ignore[call-overload]
}


@pytest.mark.parametrize("name", PLAIN_IDS)
def test_operation_of_id(name: str) -> None:
    """A string in the place of a sandbox is a TypeError with the form that looks the sandbox up."""
    with pytest.raises(TypeError, match=rf"^{name}: .*write get_sandbox\(…\) \| {name}"):
        PLAIN_IDS[name]()


def test_operation_of_other_type() -> None:
    """The advice is for strings, and only where the rest is a whole call."""
    calls: list[Any] = [
        lambda: delete(3),  # type: ignore[call-overload]
        lambda: exec("ls", (), "/tmp"),  # type: ignore[call-overload]
        lambda: exec(3, "ls"),  # type: ignore[call-overload]
    ]
    for call in calls:
        with pytest.raises(TypeError) as raised:
            call()
        assert "get_sandbox" not in str(raised.value)


class Cloud(enum.StrEnum):
    DAYTONA = "daytona"


# What the annotations allow and a plain repr does not write as source.
UNUSUAL: list[Step[Any, Any]] = [
    exec("sleep 9", timeout=math.inf),
    wait_until_running(timeout=math.inf),
    start(config=Config(read_timeout=math.inf)),
    create(provider=Cloud.DAYTONA),
    exec("printf", ["\n", "\0", "\ud800", "it's", '"', "\\", "é", "{}"]),
    exec("ls", ()),
    exec("ls", ("-a",)),
    exec("ls", timeout=1e-300),
    expose(-(2**40)),
]


class Table:
    """What cannot be asked whether it equals something, as a table of many values."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("which of the values?")

    __hash__ = None  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]  # as theirs

    def __repr__(self) -> str:
        return "Table()"


def test_recover_incomparable_value(environment: dict[str, str]) -> None:
    """A value whose comparison raises is in the repr, and does not hide the failure."""
    assert environment
    step = recover(exec("exit 3", check=True), Table(), on=DecodeError)
    assert repr(step) == "recover(exec('exit 3', check=True), Table(), on=DecodeError)"
    assert (create("my-box") | start | step).failure() == CommandFailed(3, "", "")


@pytest.mark.parametrize("step", UNUSUAL, ids=repr)
def test_step_repr_unusual_arguments(step: Step[Any, Any]) -> None:
    """The repr of unusual arguments is source too."""
    assert evaluated(step) == step


# Values


@EACH
def test_step_pickle_protocols(step: Step[Any, Any]) -> None:
    """A step pickles with every protocol."""
    whole = identity | step | identity
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(whole, protocol)) == whole == step


@EACH
def test_pipe_keeps_steps(step: Step[Any, Any]) -> None:
    """Composition does not change the steps that it combines."""
    shown, number = repr(step), hash(step)
    longer = step | stop
    longer = longer | stop
    assert (repr(step), hash(step)) == (shown, number)
    assert repr(longer) == f"{shown} | stop() | stop()"


def test_steps_as_keys() -> None:
    """Steps can be keys of a dict, also after pickling."""
    names = {step: name_of(step) for step in STEPS}
    assert len(names) == len(STEPS)
    assert all(names[pickle.loads(pickle.dumps(step))] == name_of(step) for step in STEPS)


def test_pipeline_copies_list() -> None:
    """A pipeline keeps its own copy of a list of arguments."""
    args = ["-la"]
    whole = start | exec("ls", args) | identity
    twin = copy.deepcopy(whole)
    args.clear()
    assert whole == twin
    assert repr(whole) == "start() | exec('ls', ['-la'])"


@pytest.mark.parametrize(
    "step",
    [set_secret("A", SECRET), start | set_secret("A", SECRET), stop(token=SECRET), stop(config=Config(token=SECRET))],
)
@pytest.mark.parametrize("twin_of", [copy.copy, copy.deepcopy])
def test_step_copy_with_secret(step: Step[Any, Any], twin_of: Any) -> None:
    """A step with a secret can be copied inside its process."""
    # Only what leaves the process is refused: `deepcopy` of a configuration or a dataclass that holds a step does not.
    assert twin_of(step) == step


HIDING: list[Step[Any, Any]] = [
    set_secret("A", SECRET),
    set_secret(name="A", value=SECRET),
    set_ssh_keys(KEY, "ssh-ed25519 AAAA"),
    set_ssh_keys("ssh-ed25519 AAAA", KEY),
    set_ssh_keys(public_key=KEY, private_key=KEY),
    set_tailscale_auth_key(auth_key=SECRET),
    exec("cat >key", [KEY]),
    exec(f"echo '{KEY}' >key"),
    create(repo=KEY),
    create(token=SECRET),
    get_sandbox(token=SECRET),
    exec("true", token=SECRET),
    create(config=Config(token=SECRET)) | start | stop(token=SECRET) | set_secret("A", SECRET),
]


@pytest.mark.parametrize("step", HIDING, ids=repr)
def test_step_repr_hides_secret(step: Step[Any, Any]) -> None:
    """The strings of a step do not hold its secret."""
    shown = [repr(step), str(step), f"{step}", f"{[step]}", repr(step | identity), repr(Success(step))]
    assert not [text for text in shown if SECRET in text]


@pytest.mark.parametrize("step", HIDING, ids=repr)
def test_step_pickle_refuses_secret(step: Step[Any, Any]) -> None:
    """Pickling a step with a secret raises, and the error does not quote the secret."""
    for whole in (step, start | step, step | stop, [step], {"step": step}):
        with pytest.raises(pickle.PicklingError) as refused:
            pickle.dumps(whole)
        assert SECRET not in str(refused.value)


def test_from_env_other_process(environment: dict[str, str]) -> None:
    """A from_env secret is read in the process that runs the pipeline."""
    pipeline = create | set_secret("API_KEY", from_env("MY_KEY"))
    program = "import pickle, sys; print(pickle.load(sys.stdin.buffer)(sys.argv[1]).map(lambda secret: secret.name))"
    done = [
        subprocess.run(
            [sys.executable, "-c", program, name],
            input=pickle.dumps(pipeline),
            capture_output=True,
            check=True,
            env=env,
        ).stdout.decode()
        for name, env in (("with-it", environment | {"MY_KEY": SECRET}), ("without-it", environment))
    ]
    assert done == ["<Success: API_KEY>\n", "<Failure: value: the environment variable MY_KEY is not set.>\n"]


# In a program


def test_pipeline_many_threads(environment: dict[str, str]) -> None:
    """One pipeline runs in many threads at once."""
    assert environment
    names = [f"box-{number}" for number in range(12)]
    pipeline = create | exec("echo x >>here; cat here")
    with ThreadPoolExecutor(6) as pool:
        outs = [result.unwrap().stdout for result in pool.map(pipeline, names)]
    assert outs == ["x\n"] * len(names), "each once, and in a folder of its own"


def then(earlier: Any, later: Any) -> Any:
    return earlier | later


def test_step_functools(environment: dict[str, str]) -> None:
    """The tools of functools, toolz and the builtins take steps as functions."""
    assert environment
    box = create("box").unwrap()
    hello = Success(ExecResult("hello\n", "", 0))
    assert functools.partial(exec, box)("echo hello") == hello
    assert list(map(exec("echo hello"), [box, box])) == [hello, hello]
    chain: list[Any] = [start, wait_until_running, exec("echo hello")]
    assert functools.reduce(then, chain, identity)(box) == hello
    assert functools.reduce(then, chain, Success(box)) == hello
    assert toolz.compose(exec("echo hello"), start)(box) == hello
    assert toolz.thread_last(box, start, (exec("echo hello"),)) == hello


def another(_error: PocketenvError) -> Result[Sandbox, PocketenvError]:
    return create("another")


def test_step_returns_tools(environment: dict[str, str]) -> None:
    """The tools of returns take steps as functions."""
    assert environment
    # Checkers see less here than of `|`: what they see of `flow` and `bind` is in tests/typing.
    box: Any = create("box").unwrap()
    hello: Any = exec("echo hello")
    stdout = cast("Any", map_)(operator.attrgetter("stdout"))
    again = cast("Any", lash)(another)
    ran = ExecResult("hello\n", "", 0)
    assert flow(box, start, hello, stdout) == Success("hello\n")
    assert pipe(start, hello, stdout)(box) == Success("hello\n")
    assert Fold.collect(map(hello, [box, box]), Success(())) == Success((ran, ran))
    assert flow(box, delete, delete, again, hello) == Success(ran)
    assert isinstance(flow(box, delete, hello).failure(), ApiError)


def test_do_notation_first_failure(environment: dict[str, str], platform: local.Platform) -> None:
    """Do notation stops at the first failure."""
    assert environment
    gone = create("box") | delete
    before = len(platform.calls)
    done: Result[str, PocketenvError] = Result.do(
        ran.stdout + again.stdout for ran in exec(gone, "echo a") for again in exec(gone, "echo b")
    )
    assert isinstance(done.failure(), SandboxNotFound)
    assert len(platform.calls) == before + 1


# How it looks to a reader


@pytest.mark.parametrize("name", sorted({*public_names(sandbox), *OF_A_NAME}))
def test_operation_help(name: str) -> None:
    """The help and the signature of an operation are those of its function."""
    operation = public(name)
    function = inspect.unwrap(operation)
    assert inspect.isfunction(function)
    assert (operation.__name__, operation.__module__, operation.__doc__) == (
        name,
        function.__module__,
        function.__doc__,
    )
    assert inspect.signature(operation) == inspect.signature(function)
    assert typing.get_type_hints(operation) == typing.get_type_hints(function)
    assert f"def {name}(" in inspect.getsource(operation)
    text = pydoc.plain(pydoc.render_doc(operation))
    assert name in text
    for line in inspect.getdoc(function).splitlines():  # type: ignore[union-attr]
        assert line.strip() in text


@pytest.mark.parametrize(
    "name", [name for name in public_names(sandbox) if isinstance(getattr(sandbox, name), Operation)]
)
def test_operation_bare(name: str) -> None:
    """An operation without its arguments raises a TypeError that names it and its arguments."""
    bare = public(name)
    needed = next(iter(list(inspect.signature(bare).parameters)[1:])) if name != "update_settings" else r"\*, name"
    for before in (BOX, Success(BOX), Failure(NotLoggedIn()), None, create, create | start, exec("ls"), identity):
        with pytest.raises(
            TypeError, match=rf"^{name} needs arguments: write `\| {name}\(…\)`, with {name}\({needed}: "
        ):
            _ = before | bare


def test_operation_bare_first() -> None:
    """An operation without its arguments cannot be the first step either."""
    bare: Any = exec
    for after in (start, exec("ls"), exec, 3):
        with pytest.raises(TypeError):
            _ = bare | after
