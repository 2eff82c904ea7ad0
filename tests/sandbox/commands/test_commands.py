"""Commands with a directory, an environment and a time limit; scripts; commands in the background."""

from __future__ import annotations

import base64
import json
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from returns.result import Failure, Success

from pocketenv_fp import (
    CommandFailed,
    CommandTimeout,
    Config,
    DecodeError,
    ExecResult,
    FromEnv,
    InvalidInput,
    NotSupported,
    PocketenvError,
    Sandbox,
    SandboxNotFound,
    ServerError,
    Service,
    ShellBusy,
    ShellLost,
    Status,
    TransportError,
    check,
    create,
    delete_service,
    exec,
    exec_script,
    from_env,
    get_service,
    list_services,
    local,
    sh,
    spawn,
    start,
    stop,
    stop_service,
    using,
)
from pocketenv_fp.local.faults import Slow
from pocketenv_fp.providers import Provider, provider_of
from pocketenv_fp.sandbox.commands import spawn as spawning
from pocketenv_fp.sandbox.commands.wire_form import GRACE_SECONDS, Command, wire_form
from tests import servers
from tests.examples import examples
from tests.servers import BOX, Reply, Server, client, reply

ON_THE_PLATFORM = settings(
    max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def box(environment: dict[str, str], request: pytest.FixtureRequest) -> Sandbox:
    assert environment
    return (create(f"commands-{abs(hash(request.node.nodeid))}") | start).unwrap()


def ended(box: Sandbox, command: str, timeout: float = 0.5) -> CommandTimeout:
    error = exec(box, command, timeout=timeout).failure()
    assert isinstance(error, CommandTimeout), repr(error)
    assert error.seconds == timeout
    return error


def alive(box: Sandbox, word: str) -> list[str]:
    """The processes of a sandbox that have a word in their command line, but for the one that looks."""
    # As `[x]yz`, the pattern is not what it looks for.
    looked = exec(box, f"grep -lsa '[{word[0]}]{word[1:]}' /proc/[0-9]*/cmdline")
    return looked.unwrap().stdout.split()


# A directory and an environment


def test_exec_cwd(box: Sandbox) -> None:
    """A command runs in the requested directory."""
    assert exec(box, "pwd", cwd="/tmp") == Success(ExecResult("/tmp\n", "", 0))
    exec(box, "mkdir -p 'a b' ./-", check=True).unwrap()
    assert exec(box, 'basename "$PWD"', cwd="a b").unwrap().stdout == "a b\n"
    assert exec(box, 'basename "$PWD"', cwd="-").unwrap().stdout == "-\n"
    assert exec(box, 'basename "$PWD"', cwd="a b", env={"CDPATH": "/"}).unwrap().stdout == "a b\n"


@pytest.mark.parametrize("timeout", [None, 10.0])
def test_exec_missing_cwd(box: Sandbox, timeout: float | None) -> None:
    """Nothing runs if the directory cannot be entered."""
    ran = exec(box, "echo ran; touch /tmp/ran", cwd="no/such", timeout=timeout).unwrap()
    assert (ran.stdout, ran.exit_code == 0) == ("", False)
    assert "no/such" in ran.stderr
    assert exec(box, "test -e /tmp/ran").unwrap().exit_code == 1


VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


@given(value=VALUES, timeout=st.sampled_from([None, 20.0]))
@ON_THE_PLATFORM
@example("'; exit 9; '", None)
@example("a\nb\n", 20.0)
def test_exec_env_values(box: Sandbox, value: str, timeout: float | None) -> None:
    """A variable has exactly its value from env."""
    ran = exec(box, 'printf \'%s|\' "$A_1" "$_b"', env={"A_1": value, "_b": "c"}, timeout=timeout)
    assert ran == Success(ExecResult(f"{value}|c|", "", 0))


def test_exec_options_one_command(box: Sandbox) -> None:
    """Options change one command and not the next."""
    exec(box, "true", cwd="/tmp", env={"A": "b"}, timeout=5).unwrap()
    assert exec(box, 'echo ${A-none}; basename "$PWD"').unwrap().stdout == "none\nworkspace\n"


@pytest.mark.parametrize("name", ["", "1A", "A B", "A=B", "A-B", "é", "A\n", "$(id)"])
def test_exec_env_invalid_name(name: str) -> None:
    """An invalid variable name is refused before a request is sent."""
    with Server(servers.ordinary) as server:
        error = exec(BOX, "true", env={name: "top-secret"}, config=client(server.url)).failure()
        assert isinstance(error, InvalidInput)
        assert (error.field, "top-secret" in str(error), server.seen) == ("env", False, [])


def test_exec_from_env_late(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value of from_env is read when the step runs."""
    step = exec("printenv INSIDE", env={"INSIDE": from_env("OUTSIDE"), "SHOWN": "text"})
    assert repr(step) == "exec('printenv INSIDE', env={'INSIDE': from_env('OUTSIDE'), 'SHOWN': 'text'})"
    missing = step(box).failure()
    assert isinstance(missing, InvalidInput)
    assert "OUTSIDE is not set" in str(missing)
    for value in ("first", "it's second"):
        monkeypatch.setenv("OUTSIDE", value)
        assert step(box).unwrap().stdout == f"{value}\n"


@pytest.mark.parametrize("timeout", [None, 5.0])
def test_exec_from_env_hidden(box: Sandbox, monkeypatch: pytest.MonkeyPatch, timeout: float | None) -> None:
    """A value of from_env is in no error."""
    monkeypatch.setenv("OUTSIDE", "top-secret")
    env = {"INSIDE": from_env("OUTSIDE")}
    for command in ("exit 3", "no-such-command", "if", "echo )", "kill -9 $$"):
        failed = exec(box, command, env=env, timeout=timeout, check=True).failure()
        assert isinstance(failed, CommandFailed)
        assert "top-secret" not in f"{failed!r}{failed}{failed.stdout}{failed.stderr}"
    refusal = json.dumps({"error": "InvalidRequest", "message": "cannot run env INSIDE='top-secret' sh"}).encode()
    with Server(servers.always(reply(refusal, 400))) as server:
        refused = exec(BOX, "true", env=env, timeout=timeout, config=client(server.url)).failure()
    assert "sandbox.exec: *** (400 InvalidRequest)" in str(refused)
    assert "top-secret" not in f"{refused!r}{refused}{refused.__cause__!r}{refused.__context__!r}"


def test_exec_no_raw_line() -> None:
    """No line is sent as it is: that could end or block the one shell of a sandbox on Cloudflare."""
    with Server(servers.ordinary) as server:
        config = client(server.url)
        exec(BOX, "exit\n3", config=config)
        sh(BOX, "exit {x}", x=3, config=config)
        exec_script(BOX, "exit\n3", "sh", config=config)
        sent = [request.body.decode() for request in server.seen if request.verb == "POST"]
    assert len(sent) == 3
    for body in sent:
        command = json.loads(body)["command"]
        assert "\n" not in command
        assert " -c " in command


def test_exec_nul() -> None:
    """A NUL character is refused before a request is sent."""
    with Server(servers.ordinary) as server:
        config = client(server.url)
        for result in (
            exec(BOX, "a\0b", config=config),
            exec(BOX, "a", ["\0"], config=config),
            exec(BOX, "a", cwd="\0", config=config),
            exec(BOX, "a", env={"A": "\0"}, timeout=1, config=config),
            exec_script(BOX, "a\0b", config=config),
            sh(BOX, "a {x}", x="\0", config=config),
        ):
            assert isinstance(result.failure(), InvalidInput)
        spawned = spawn(BOX, "a\0b", config=config).failure()
        assert isinstance(spawned, InvalidInput)
        assert server.seen == []


def test_exec_too_long() -> None:
    """What no request can hold is refused before it is sent, with the length that is possible."""
    with Server(servers.ordinary) as server:
        for command, env, field in (("x" * 110_000, {}, "command"), ("true", {"A": "x" * 110_000}, "env")):
            error = exec(BOX, command, env=env, config=client(server.url)).failure()
            assert isinstance(error, InvalidInput)
            assert error.field == field
            assert "may have about 102,0" in error.reason
        assert server.seen == []


@pytest.mark.parametrize("letter", ["x", "'", "\n", "é", "\\"])
def test_exec_long_line(box: Sandbox, letter: str) -> None:
    """A line of 70,000 bytes arrives whole, whatever it is full of."""
    text = letter * (70_000 // len(letter.encode()))
    ran = exec(box, f"cat <<'END' | wc -c\n{text}\nEND", check=True).unwrap()
    assert ran.stdout == "70001\n"


# Exit codes


@pytest.mark.parametrize(
    ("cwd", "timeout"),
    [
        (None, None),
        ("/tmp", 20.0),
        pytest.param("/tmp", None, marks=pytest.mark.slow),
        pytest.param(None, 20.0, marks=pytest.mark.slow),
    ],
)
def test_exec_exit_codes(box: Sandbox, cwd: str | None, timeout: float | None) -> None:
    """The exit code is the command's own, with and without options."""
    codes = (0, 1, 3, 124, 125, 126, 127, 137, 143, 255)
    results = {code: exec(box, f"exit {code}", cwd=cwd, timeout=timeout) for code in codes}
    assert results == {code: Success(ExecResult("", "", code)) for code in codes}
    line = "echo out; echo err >&2; exit"
    checked = {code: exec(box, f"{line} {code}", cwd=cwd, timeout=timeout, check=True) for code in codes}
    assert checked.pop(0) == Success(ExecResult("out\n", "err\n", 0))
    assert checked == {code: Failure(CommandFailed(code, "out\n", "err\n")) for code in codes if code}


# The message of a command that failed


def test_exec_failure_shows_command_and_sandbox(box: Sandbox) -> None:
    """The message has the step as it prints, the sandbox and the last lines of stderr."""
    error = exec(box, "seq 9 >&2; echo out; exit 3", check=True).failure()
    assert isinstance(error, CommandFailed)
    assert str(error) == (
        "the command ended with exit code 3. Its output is in .stdout and .stderr. The step was "
        f"exec('seq 9 >&2; echo out; exit 3', check=True), on the sandbox {box.name}. The end of stderr:\n"
        "    5\n    6\n    7\n    8\n    9"
    )
    assert "stderr:" not in str(exec(box, "echo out; exit 3", check=True).failure())


@pytest.mark.parametrize("durable", [False, True])
def test_exec_failure_masks_tail(box: Sandbox, monkeypatch: pytest.MonkeyPatch, *, durable: bool) -> None:
    """Values from the environment, passwords in URLs, keys and control characters are not quoted."""
    monkeypatch.setenv("MY_KEY", "sk-12345")
    monkeypatch.setenv("MY_LONG_KEY", "sk-12345-long")
    env = {"KEY": from_env("MY_KEY"), "LONG": from_env("MY_LONG_KEY")}
    line = "echo key $KEY $LONG >&2; echo 'https://me:pw@example.com \\033[31m' >&2; exit 3"
    error = exec(box, line, env=env, check=True, durable=durable).failure()
    assert isinstance(error, CommandFailed)
    assert error.tail.split("\n") == ["key *** ***", "https://***@example.com \\033[31m"]
    assert "sk-12345" in error.stderr
    assert "sk-12345" not in f"{error}{error!r}"
    key = exec(box, "echo '-----BEGIN PRIVATE KEY-----' >&2; echo body >&2; exit 3", check=True).failure()
    assert str(key).endswith("The end of stderr:\n    ***")


def test_exec_failure_without_output(box: Sandbox) -> None:
    """With hide_output the message has no output, for a call, a block and a check."""
    line, hidden = "echo top-secret >&2; exit 3", Config(hide_output=True)
    with using(hidden):
        errors = [exec(box, line, check=True).failure(), (box | exec(line) | check).failure()]
        shown = exec(box, line, check=True, config=Config(hide_output=False)).failure()
    errors.append(exec(box, line, check=True, config=hidden).failure())
    for error in errors:
        assert isinstance(error, CommandFailed)
        assert (error.tail, error.stderr) == ("", "top-secret\n")
        assert "top-secret" not in str(error).replace("echo top-secret", "")
    assert str(shown).endswith("The end of stderr:\n    top-secret")


@pytest.mark.parametrize("signal", ["KILL", "TERM", "HUP", "SEGV"])
def test_exec_killed_by_signal(box: Sandbox, signal: str) -> None:
    """A killed command has the same result with and without options."""
    command = f"echo a; kill -{signal} $$; echo b"
    plain = exec(box, command)
    assert exec(box, command, timeout=20) == exec(box, command, cwd="/workspace") == plain
    assert plain.unwrap().exit_code > 128


def test_exec_kills_own_group(box: Sandbox) -> None:
    """A command that kills its process group is no timeout."""
    assert exec(box, "echo a; kill 0; sleep 60", timeout=30).unwrap().exit_code == 143
    assert exec(box, "echo a; kill -9 0; sleep 60", timeout=30) == Success(ExecResult("a\n", "", 137))
    assert exec(box, "echo a; kill -9 0; sleep 60") == Success(ExecResult("a\n", "", 137))
    assert exec_script(box, "kill -9 0; sleep 60", "sh", timeout=300).unwrap().exit_code == 137


OUTPUTS = st.text(st.sampled_from("ab:é\n\t pocketenv-late%s\\"), max_size=40)


@given(out=OUTPUTS, err=OUTPUTS)
@ON_THE_PLATFORM
def test_exec_timeout_keeps_output(box: Sandbox, out: str, err: str) -> None:
    """A time limit does not change the output."""
    ran = exec(box, 'show() { printf %s "$1"; printf %s "$2" >&2; }; show', [out, err], timeout=20)
    assert ran == Success(ExecResult(out, err, 0))


def test_exec_large_output(box: Sandbox) -> None:
    """Megabytes of output arrive whole."""
    ran = exec(box, "head -c 3000000 /dev/zero | tr '\\0' x; head -c 200000 /dev/zero | tr '\\0' y >&2", timeout=60)
    assert ran == Success(ExecResult("x" * 3_000_000, "y" * 200_000, 0))


# The end of the time

STUBBORN = "trap '' TERM; echo begun; n=0; while [ $n -lt 300 ]; do sleep 0.1; n=$((n+1)); done"
LINGERING = {
    "a command": "echo begun; sleep 31.4159",
    "a pipeline": "{ echo begun; sleep 31.4159; } | cat",
    "a child in the background": "sleep 31.4159 & echo begun; wait",
    "a grandchild in the background": "(sh -c 'sleep 31.4159 & sleep 31.4159' &) ; echo begun; sleep 31.4159",
    "a child that goes on when its parent has ended": "(trap '' TERM; sleep 31.4159) & echo begun; sleep 31.4159",
    "one that ignores the request to end": f"sh -c {shlex.quote(STUBBORN)} 31.4159",
}


@pytest.mark.slow
@pytest.mark.parametrize("command", LINGERING.values(), ids=LINGERING)
def test_exec_timeout_kills_children(box: Sandbox, command: str) -> None:
    """After the timeout the command and all its children are dead."""
    error = ended(box, command)
    assert (error.stdout, error.stderr) == ("begun\n", "")
    assert alive(box, "31.4159") == []


def test_exec_timeout_grace(box: Sandbox) -> None:
    """A late command has time to clean up."""
    command = "trap 'sleep 0.3; echo tidy; exit 0' TERM; echo begun; sleep 60 & wait"
    assert ended(box, command).stdout == "begun\ntidy\n"
    # What it started has that time as well, when the command itself is gone.
    assert ended(box, f"sh -c {command!r}; echo not reached").stdout == "begun\ntidy\n"


def test_exec_timeout_output(box: Sandbox) -> None:
    """The error keeps the output, and its repr does not show it."""
    error = ended(box, "echo out; printf err >&2; sleep 60")
    assert (error.stdout, error.stderr) == ("out\n", "err")
    assert "0.5 s" in str(error)
    assert "out\n" not in repr(error)


def test_exec_background_child(box: Sandbox) -> None:
    """A background process outlives a command that ends in time."""
    assert exec(box, "sleep 27.1828 >/dev/null 2>&1 & echo done", timeout=30).unwrap().stdout == "done\n"
    assert len(alive(box, "27.1828")) == 1


@pytest.mark.parametrize("seconds", [0.0001, 1e-300])
def test_exec_shortest_timeout(box: Sandbox, seconds: float) -> None:
    """No timeout is too short."""
    ended(box, "sleep 60", timeout=seconds)


@pytest.mark.parametrize("seconds", [300, float("inf")])
def test_exec_longest_timeout(box: Sandbox, seconds: float) -> None:
    """The provider's own limit is a valid timeout, and so is an infinite one."""
    assert exec(box, "echo a", timeout=seconds) == Success(ExecResult("a\n", "", 0))


@pytest.mark.parametrize(("provider", "seconds"), [("cloudflare", 300), ("e2b", 60), ("hopx", 30)])
def test_wire_form_timeout_above(provider: str, seconds: float) -> None:
    """No request is sent with a longer limit than the platform's: exec runs such a command as a job."""
    for timeout in (seconds + 1, 1e300):
        error = wire_form(Command("true", timeout=timeout), provider_of(provider)).failure()
        assert isinstance(error, InvalidInput)
        assert error.field == "timeout"
        assert f"{seconds} s" in error.reason
        assert "durable=True" in error.reason


def test_exec_invalid_timeout() -> None:
    """A timeout that is not positive is refused."""
    for seconds in (0, -1, float("nan")):
        assert isinstance(exec(BOX, "true", timeout=seconds).failure(), InvalidInput)


def test_exec_shell_busy(box: Sandbox, platform: local.Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell that does not answer in time is busy, where the platform itself answers."""
    monkeypatch.setattr("pocketenv_fp.sandbox.commands.exec.GRACE_SECONDS", 0.1)
    with platform.faults.on("sandbox.exec", Slow(8, before_work=True)):
        error = exec(box, "true", timeout=0.1, config=Config(read_timeout=0.3)).failure()
    assert isinstance(error, ShellBusy)
    assert error.seconds >= 0.5
    assert "stop | start" in str(error)


def test_exec_frozen_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform that answers nothing is no busy shell."""
    monkeypatch.setattr("pocketenv_fp.sandbox.commands.exec.GRACE_SECONDS", 0)
    with Server(servers.always(reply(wait=60))) as server:
        error = exec(BOX, "true", timeout=0.1, config=client(server.url, read_timeout=0.2)).failure()
    assert isinstance(error, TransportError)
    assert (error.kind, error.maybe_sent) == ("timeout", True)


def always(provider: Provider) -> Callable[[object], Provider]:
    return lambda _: provider


INTERNAL = reply(b'{"error": "InternalServerError", "message": "Internal Server Error"}', 500)


def judged(*answers: Reply, view: Reply | None = None, sandbox: Sandbox = BOX, timeout: float | None = None) -> Any:
    """The error of an exec whose requests, and those behind it, get these answers."""
    execs = servers.in_turn(*answers)
    looks = view or reply(servers.VIEW)
    with Server(lambda request: looks if request.verb == "GET" else execs(request)) as server:
        error = exec(sandbox, "true", timeout=timeout, config=client(server.url)).failure()
        return error, server.verbs


def test_exec_shell_lost() -> None:
    """A running sandbox on Cloudflare that answers even the smallest command with a 500 has lost its shell."""
    error, verbs = judged(INTERNAL, INTERNAL)
    assert error == ShellLost("sandbox.exec")
    assert "stop | start" in str(error)
    assert verbs == ["POST", "GET", "POST"]


STOPPED_VIEW = reply(servers.VIEW.replace(b"RUNNING", b"STOPPED"))
NOT_LOST: dict[str, tuple[tuple[Reply, ...], Reply | None, str | None]] = {
    "the next command runs": ((INTERNAL, reply(servers.RAN)), None, None),
    "it is stopped": ((INTERNAL, INTERNAL), STOPPED_VIEW, None),
    "the look fails": ((INTERNAL, INTERNAL), INTERNAL, None),
    "another provider": ((INTERNAL, INTERNAL), None, "modal"),
}


@pytest.mark.parametrize(("answers", "view", "provider"), NOT_LOST.values(), ids=NOT_LOST)
def test_exec_shell_not_lost(answers: tuple[Reply, ...], view: Reply | None, provider: str | None) -> None:
    """A 500 that may have another cause stays a ServerError."""
    there = msgspec.structs.replace(BOX, provider=provider, status=Status.RUNNING)
    error, _ = judged(*answers, view=view, sandbox=there)
    assert type(error) is ServerError


@pytest.mark.parametrize("provider", ["cloudflare", "e2b"])
def test_exec_provider_limit(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 500 after the provider's own limit is a command that took too long, and may run on."""
    short = provider_of(provider)._replace(exec_seconds=0.3)
    monkeypatch.setattr("pocketenv_fp.sandbox.commands.exec.provider_of", always(short))
    there = msgspec.structs.replace(BOX, provider=provider, status=Status.RUNNING)
    late = INTERNAL._replace(wait=0.4)
    error, verbs = judged(late, sandbox=there)
    assert (error, verbs) == (CommandTimeout(0.3, may_run=True), ["POST"])
    assert "may still run" in str(error)
    assert "durable=True" in str(error)


def test_exec_waits_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that may not take as long as the platform waited had to wait for an earlier one."""
    monkeypatch.setattr("pocketenv_fp.sandbox.commands.shell_state.GRACE_SECONDS", 0.1)
    short = provider_of(None)._replace(exec_seconds=0.4)
    monkeypatch.setattr("pocketenv_fp.sandbox.commands.exec.provider_of", always(short))
    error, _ = judged(INTERNAL._replace(wait=0.5), timeout=0.1)
    assert error == ShellBusy(0.4, "sandbox.exec")


@pytest.mark.parametrize("status", [Status.STOPPED, Status.INITIALIZING])
@pytest.mark.parametrize("is_known", [True, False])
def test_exec_not_running(status: Status, *, is_known: bool) -> None:
    """Where a command would run in a new sandbox, it is not sent. A record without a status is looked at once."""
    view = servers.VIEW.replace(b"RUNNING", status.name.encode())
    there = msgspec.structs.replace(BOX, provider="modal", status=status if is_known else Status.UNKNOWN)
    with Server(servers.always(reply(view))) as server:
        error = exec(there, "true", config=client(server.url)).failure()
        assert isinstance(error, InvalidInput)
        assert (error.field, server.verbs) == ("sandbox", [] if is_known else ["GET"])
    assert status.name in error.reason
    assert "wait_until_running" in error.reason


def test_exec_running_after_look() -> None:
    """A sandbox that the look shows as running gets its command, and Cloudflare's is not looked at."""
    with Server(servers.ordinary) as server:
        for provider, verbs in (("modal", ["GET", "POST"]), ("cloudflare", ["POST"]), (None, ["POST"])):
            there = msgspec.structs.replace(BOX, provider=provider)
            assert exec(there, "true", config=client(server.url)).unwrap().stdout == "hello"
            assert server.verbs == verbs
            server.seen.clear()


ANSWERS: dict[str, tuple[bytes, ExecResult]] = {
    "no stderr": (b'{"stdout": "a\\n\\u001e", "exitCode": 3}', ExecResult("a\n", "", 3)),
    "null": (b'{"stdout": "a", "exitCode": 0, "stderr": null}', ExecResult("a", "", 0)),
    "unknown keys": (b'{"stdout": "a", "exitCode": 0, "client": {"token": "s3cr3t"}}', ExecResult("a", "", 0)),
    "no marks": (b'{"stdout": "a\\n", "stderr": "b", "exitCode": 137}', ExecResult("a\n", "b", 137)),
    "half of a pair": (b'{"stdout": "a\\ud83d\\u001e", "exitCode": 0}', ExecResult("a\ufffd", "", 0)),
    "a pair": (b'{"stdout": "\\ud83d\\ude00", "exitCode": 0}', ExecResult("\U0001f600", "", 0)),
}


@pytest.mark.parametrize(("body", "expected"), ANSWERS.values(), ids=ANSWERS)
def test_exec_answers(body: bytes, expected: ExecResult) -> None:
    """Of an answer, only stdout and exitCode are sure."""
    with Server(servers.always(reply(body))) as server:
        result = exec(BOX, "true", config=client(server.url))
    assert result == Success(expected)
    assert "s3cr3t" not in repr(result)


@pytest.mark.parametrize(
    "body", [b"{}", b'{"stdout": "a"}', b'{"exitCode": 0}', b'{"stdout": 1, "exitCode": 0}', b"\xff"]
)
def test_exec_unreadable_answer(body: bytes) -> None:
    """An answer without its meaning is a DecodeError."""
    with Server(servers.always(reply(body))) as server:
        assert isinstance(exec(BOX, "true", config=client(server.url)).failure(), DecodeError)


@pytest.mark.parametrize("timeout", [None, 20.0])
@pytest.mark.parametrize("data", ["", "a\n", "no end", b"\0\xff\n\n", "it's \\n 'é'\n", b"x" * 70_000])
def test_exec_stdin(box: Sandbox, data: str | bytes, timeout: float | None) -> None:
    """The standard input arrives byte for byte, and a command need not read it."""
    given = data.encode() if isinstance(data, str) else data
    ran = exec(box, "base64 -w0", stdin=data, timeout=timeout, check=True).unwrap()
    assert base64.b64decode(ran.stdout) == given
    assert exec(box, "exit 3", stdin=data, timeout=timeout).unwrap().exit_code == 3


def test_exec_prints_timeout_mark(box: Sandbox) -> None:
    """Output that looks like the mark of a timeout is no timeout."""
    for text in ("late", "\x1elate", "\x1e", "\x1dlate"):
        assert exec(box, "exec >&2; echo", [text], timeout=20) == Success(ExecResult("", f"{text}\n", 0))
    # Its own mark is in its parents' command lines, and may well be printed.
    assert isinstance(exec(box, "cat /proc/[0-9]*/cmdline >&2; exit 124", timeout=20), Success)


# Templates


def test_sh_equals_exec(box: Sandbox) -> None:
    """A template is a step of exec, and runs when it gets a sandbox."""
    step = sh("printf '%s|' {words} {n}", words=["a b", "$HOME"], n=1, env={"A": "b"}, timeout=20, check=True)
    twin = exec("printf '%s|' 'a b' '$HOME' '1'", env={"A": "b"}, timeout=20, check=True)
    assert step == twin
    assert eval(repr(step)) == step
    for ran in (box | step, step(Success(box)), sh(box, "printf '%s|' {a} {b} 1", a="a b", b="$HOME")):
        assert ran == Success(ExecResult("a b|$HOME|1|", "", 0))
    failed = Failure(ServerError(500))
    assert sh(failed, "echo {x}", x=1) is failed
    assert isinstance(sh(None, "echo").failure(), SandboxNotFound)
    assert create("sh-box") | sh("cat {file}", file="no such", check=True) == Failure(
        CommandFailed(1, "", "cat: 'no such': No such file or directory\n")
    )


# What type checkers would refuse.
any_sh: Any = sh
any_exec: Any = exec

MISUSES: dict[str, Callable[[], object]] = {
    "nothing": any_sh,
    "no template": lambda: any_sh(BOX),
    "too much": lambda: any_sh(BOX, "a", "b"),
    "a list": lambda: any_sh(["a", "b"]),
    "a target of another type": lambda: any_sh("box", "ls"),
    "a wrong option": lambda: any_sh("ls", timeout="3"),
    "a wrong environment": lambda: any_exec("ls", env={"A": 3}),
    "an environment of lists": lambda: any_exec("ls", env=["A=b"]),
}


@pytest.mark.parametrize("misuse", MISUSES.values(), ids=MISUSES)
def test_sh_wrong_arguments(misuse: Callable[[], object]) -> None:
    """Wrong arguments raise a TypeError at once."""
    with pytest.raises(TypeError, match=r"^(sh|exec)[ :]"):
        misuse()


# Scripts

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60)


@given(text=TEXTS, args=st.lists(TEXTS, max_size=3))
@ON_THE_PLATFORM
@example('it\'s "quoted" $HOME `id` \\ \\n\n\n', [])
@example("no line break at the end", ["a b", ""])
def test_exec_script_bytes(box: Sandbox, text: str, args: list[str]) -> None:
    """A script and its arguments arrive byte for byte."""
    ran = exec_script(box, text, 'sh -c \'cat "$1"; shift; printf "|%s" "$@"\' sh', args)
    assert ran.unwrap().stdout == text + ("".join(f"|{each}" for each in args) or "|")


def test_exec_script_options(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script has the options of a command."""
    monkeypatch.setenv("OUTSIDE", "from here")
    script = "import os, sys\nprint(os.getcwd(), os.environ['A'], sys.argv[1:], repr(sys.stdin.read()))\nsys.exit(3)\n"
    ran = exec_script(box, script, args=["a b"], cwd="/tmp", env={"A": from_env("OUTSIDE")}, timeout=30)
    assert ran == Success(ExecResult("/tmp from here ['a b'] ''\n", "", 3))
    assert isinstance(exec_script(box, "exit 3", "bash", check=True).failure(), CommandFailed)
    assert exec_script(box, "echo $-", "bash -eu").unwrap().stdout.startswith("e")


ENDINGS: dict[str, tuple[str, float | None]] = {
    "well": ('echo "$0"', None),
    "badly": ('echo "$0"; exit 3', None),
    "by a signal": ('echo "$0"; kill -9 $$', None),
    "in time": ('echo "$0"', 20),
    "too late": ('echo "$0"; sleep 60', 0.5),
    "too late and not at once": ("trap '' TERM; echo \"$0\"; sleep 60; sleep 60", 0.5),
}


@pytest.mark.parametrize(("script", "timeout"), ENDINGS.values(), ids=ENDINGS)
def test_exec_script_leaves_nothing(
    box: Sandbox, script: str, timeout: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script's file is removed, however the script ends."""
    monkeypatch.setattr("pocketenv_fp.sandbox.commands.wire_form.GRACE_SECONDS", 1)
    ran = exec_script(box, script, "bash", timeout=timeout)
    error = ran.failure() if isinstance(ran, Failure) else None
    path = error.stdout.strip() if isinstance(error, CommandTimeout) else ran.unwrap().stdout.strip()
    assert path.endswith("/script")
    assert isinstance(error, CommandTimeout) == (timeout == 0.5)
    assert exec(box, "test -e", [path]).unwrap().exit_code == 1
    assert exec(box, "test -e", [str(Path(path).parent)]).unwrap().exit_code == 1


def test_exec_script_imports(box: Sandbox) -> None:
    """A script imports no module from the directory for temporary files."""
    exec(box, "echo 'raise SystemExit(9)' >\"${TMPDIR:-/tmp}/json.py\"", check=True).unwrap()
    assert exec_script(box, "import json; print(json.dumps(1))").unwrap().stdout == "1\n"


@pytest.mark.parametrize(
    ("letter", "length", "fits"),
    [("x", 100_000, True), ("x", 103_000, False), ("\n", 70_000, True), ("\n", 80_000, False)],
)
def test_exec_script_long(box: Sandbox, letter: str, length: int, *, fits: bool) -> None:
    """A script that no request holds is refused. One that is full of line breaks is sent as base64."""
    ran = exec_script(box, letter * length, "wc -c <")
    if fits:
        assert ran.unwrap().stdout == f"{length}\n"
    else:
        assert isinstance(ran.failure(), InvalidInput)
        assert "Upload a file" in str(ran.failure())


# In the background


def until(found: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not found() and time.monotonic() < deadline:
        time.sleep(0.05)
    return found()


def test_spawn_until_stopped(box: Sandbox) -> None:
    """A background command runs until it is stopped."""
    step = spawn('echo "$A $PWD" >/tmp/began; sleep', ["16.1803"], name="nap", cwd="/tmp", env={"A": "it's"})
    service = step(box).unwrap()
    assert isinstance(service, Service)
    assert (service.name, service.status) == ("nap", Status.RUNNING)
    assert until(lambda: exec(box, "cat /tmp/began").unwrap().stdout == "it's /tmp\n")
    assert len(alive(box, "16.1803")) > 0
    assert (box | stop_service("nap")).unwrap().status is Status.STOPPED
    assert until(lambda: alive(box, "16.1803") == [])
    assert isinstance(box | delete_service("nap"), Success)


def test_spawn_without_name(box: Sandbox) -> None:
    """A service gets a name of its own, and the platform keeps its line."""
    services = [spawn(box, "true").unwrap() for _ in range(3)]
    assert len({service.name for service in services}) == 3
    assert all("; cd /workspace && exec env " in service.command for service in services)
    assert all(service.command.endswith(" bash -c 'true')") for service in services)


@pytest.mark.parametrize("command", ["true", "exit 3", "no-such-command", "echo 'unclosed", "kill -9 $$"])
def test_spawn_ended(box: Sandbox, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that ends at once is STOPPED, each time. The platform calls it RUNNING."""
    # On a busy machine a look takes longer, and so does the start of the command.
    monkeypatch.setattr(spawning, "PATIENCE", 60.0)
    with monkeypatch.context() as patch:
        patch.setattr(spawning, "LOOKS", 600)
        assert [spawn(box, command).unwrap().status for _ in range(3)] == [Status.STOPPED] * 3
    assert spawn(box, "sleep 60").unwrap().status is Status.RUNNING
    assert spawn(box, "sleep 60 & disown; exit").unwrap().status is Status.RUNNING


def test_spawn_not_running(box: Sandbox) -> None:
    """In a stopped sandbox nothing is started and nothing is left, however old the record is."""
    stopped = (box | stop).unwrap()
    for record in (stopped, box):
        error = spawn(record, "true", name="nap").failure()
        assert isinstance(error, InvalidInput)
        assert error.field == "sandbox"
    assert (box | list_services) == Success([])


def test_spawn_elsewhere() -> None:
    """Where the provider runs no services, nothing is sent."""
    there = msgspec.structs.replace(BOX, provider="modal", status=Status.RUNNING)
    with Server(servers.ordinary) as server:
        error = spawn(there, "true", config=client(server.url)).failure()
        assert isinstance(error, NotSupported)
        assert (error.provider, server.seen) == ("modal", [])
    assert "submit" in str(error)


def test_spawn_busy_shell(box: Sandbox, platform: local.Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service is there although nothing is known of its process."""
    monkeypatch.setattr("pocketenv_fp.sandbox.commands.spawn.PATIENCE", 0.2)
    with platform.faults.on("sandbox.exec", Slow(2, before_work=True)):
        assert spawn(box, "true").unwrap().status is Status.RUNNING


def test_spawn_name_taken(box: Sandbox) -> None:
    """A taken name is an error and does not change the service."""
    first = spawn(box, "sleep 60", name="web").unwrap()
    assert isinstance(spawn(box, "sleep 61", name="web").failure(), ServerError)
    assert (box | get_service("web")).unwrap().command == first.command


def test_spawn_refuses_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values that the platform would store unencrypted are refused."""
    monkeypatch.setenv("OUTSIDE", "top-secret")
    env: dict[str, str | FromEnv] = {"A": "b", "B": from_env("OUTSIDE")}
    with Server(servers.ordinary) as server:
        errors: list[PocketenvError] = [
            spawn(BOX, "true", env=env, config=client(server.url)).failure(),
            spawn(BOX, "true", env={"A-B": "c"}, config=client(server.url)).failure(),
        ]
        assert server.seen == []
    assert all(isinstance(error, InvalidInput) for error in errors)
    assert "set_secret" in str(errors[0])


def test_exec_documented_grace() -> None:
    """The docstring has the right number of seconds to clean up."""
    assert GRACE_SECONDS == 5
    assert "five seconds" in (exec.__doc__ or "")
