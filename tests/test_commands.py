"""Commands with a directory, an environment and a time limit; scripts; commands in the background."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from returns.result import Failure, Success

from pocketenv_fp import (
    ApiError,
    CommandFailed,
    CommandTimeout,
    Config,
    ExecResult,
    FromEnv,
    InvalidInput,
    PocketenvError,
    Sandbox,
    SandboxNotFound,
    ServerError,
    Service,
    Status,
    TransportError,
    create,
    delete_service,
    exec,
    exec_script,
    from_env,
    get_service,
    local,
    sh,
    spawn,
    start,
    stop_service,
)
from pocketenv_fp.local.faults import Slow
from pocketenv_fp.sandbox.lines import GRACE_SECONDS, Limit, script_line, shell_line
from tests import servers
from tests.servers import BOX, Server, client, reply

SHELLS = sorted({found for name in ("bash", "sh", "dash") if (found := shutil.which(name))})
ON_THE_PLATFORM = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


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


def test_a_command_runs_in_the_directory_that_is_asked_for(box: Sandbox) -> None:
    assert exec(box, "pwd", cwd="/tmp") == Success(ExecResult("/tmp\n", "", 0))
    exec(box, "mkdir -p 'a b' ./-", check=True).unwrap()
    assert exec(box, 'basename "$PWD"', cwd="a b").unwrap().stdout == "a b\n"
    assert exec(box, 'basename "$PWD"', cwd="-").unwrap().stdout == "-\n"
    assert exec(box, 'basename "$PWD"', cwd="a b", env={"CDPATH": "/"}).unwrap().stdout == "a b\n"


@pytest.mark.parametrize("timeout", [None, 10.0])
def test_a_directory_that_cannot_be_entered_runs_nothing(box: Sandbox, timeout: float | None) -> None:
    ran = exec(box, "echo ran; touch /tmp/ran", cwd="no/such", timeout=timeout).unwrap()
    assert (ran.stdout, ran.exit_code == 0) == ("", False)
    assert "no/such" in ran.stderr
    assert exec(box, "test -e /tmp/ran").unwrap().exit_code == 1


VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


@given(value=VALUES, timeout=st.sampled_from([None, 20.0]))
@ON_THE_PLATFORM
@example("'; exit 9; '", None)
@example("a\nb\n", 20.0)
def test_a_variable_has_the_value_that_it_was_given(box: Sandbox, value: str, timeout: float | None) -> None:
    ran = exec(box, 'printf \'%s|\' "$A_1" "$_b"', env={"A_1": value, "_b": "c"}, timeout=timeout)
    assert ran == Success(ExecResult(f"{value}|c|", "", 0))


def test_an_option_changes_one_command_and_not_the_next(box: Sandbox) -> None:
    exec(box, "true", cwd="/tmp", env={"A": "b"}, timeout=5).unwrap()
    assert exec(box, 'echo ${A-none}; basename "$PWD"').unwrap().stdout == "none\nworkspace\n"


@pytest.mark.parametrize("name", ["", "1A", "A B", "A=B", "A-B", "é", "A\n", "$(id)"])
def test_a_name_that_is_none_is_refused_before_anything_is_sent(name: str) -> None:
    with Server(servers.ordinary) as server:
        error = exec(BOX, "true", env={name: "top-secret"}, config=client(server.url)).failure()
        assert isinstance(error, InvalidInput)
        assert (error.field, "top-secret" in str(error), server.seen) == ("env", False, [])


def test_a_value_from_the_environment_is_read_when_it_runs(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    step = exec("printenv INSIDE", env={"INSIDE": from_env("OUTSIDE"), "SHOWN": "text"})
    assert repr(step) == "exec('printenv INSIDE', env={'INSIDE': from_env('OUTSIDE'), 'SHOWN': 'text'})"
    missing = step(box).failure()
    assert isinstance(missing, InvalidInput)
    assert "OUTSIDE is not set" in str(missing)
    for value in ("first", "it's second"):
        monkeypatch.setenv("OUTSIDE", value)
        assert step(box).unwrap().stdout == f"{value}\n"


@pytest.mark.parametrize("timeout", [None, 5.0])
def test_a_value_from_the_environment_is_in_no_error(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch, timeout: float | None
) -> None:
    monkeypatch.setenv("OUTSIDE", "top-secret")
    env = {"INSIDE": from_env("OUTSIDE")}
    for command in ("exit 3", "no-such-command", "if", "echo )", "kill -9 $$"):
        failed = exec(box, command, env=env, timeout=timeout, check=True).failure()
        assert isinstance(failed, CommandFailed)
        assert "top-secret" not in f"{failed!r}{failed}{failed.stdout}{failed.stderr}"
    told = json.dumps({"error": "InvalidRequest", "message": "cannot run env INSIDE='top-secret' sh"}).encode()
    with Server(servers.always(reply(told, 400))) as server:
        refused = exec(BOX, "true", env=env, timeout=timeout, config=client(server.url)).failure()
    assert "sandbox.exec: *** (400 InvalidRequest)" in str(refused)
    assert "top-secret" not in f"{refused!r}{refused}{refused.__cause__!r}{refused.__context__!r}"


def test_a_line_without_options_is_sent_as_it_is_and_one_with_them_whole() -> None:
    with Server(servers.ordinary) as server:
        config = client(server.url)
        exec(BOX, "a && b", ["it's"], config=config)
        sh(BOX, "a {x}", x="b c", config=config)
        exec(BOX, "a && b", cwd="c", config=config)
        sent = [json.loads(request.body)["command"] for request in server.seen]
    assert sent[:2] == ["a && b 'it'\"'\"'s'", "a 'b c'"]
    assert "'a && b'" in sent[2]


def test_a_nul_in_a_command_is_refused_before_anything_is_sent() -> None:
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


def test_a_line_that_is_too_long_for_a_request_is_the_platforms_refusal(box: Sandbox) -> None:
    error = exec(box, "true", ["x" * 110_000]).failure()
    assert isinstance(error, ApiError)
    assert error.status == 413


# Exit codes


@pytest.mark.parametrize("timeout", [None, 20.0])
@pytest.mark.parametrize("cwd", [None, "/tmp"])
@pytest.mark.parametrize("code", [0, 1, 3, 124, 125, 126, 127, 137, 143, 255])
def test_an_exit_code_is_the_commands_own(box: Sandbox, code: int, cwd: str | None, timeout: float | None) -> None:
    assert exec(box, f"exit {code}", cwd=cwd, timeout=timeout) == Success(ExecResult("", "", code))
    checked = exec(box, f"echo out; echo err >&2; exit {code}", cwd=cwd, timeout=timeout, check=True)
    if code == 0:
        assert checked == Success(ExecResult("out\n", "err\n", 0))
    else:
        assert checked == Failure(CommandFailed(code, "out\n", "err\n"))


@pytest.mark.parametrize("signal", ["KILL", "TERM", "HUP", "SEGV"])
def test_a_command_that_is_killed_by_a_signal_ends_as_it_does_without_options(box: Sandbox, signal: str) -> None:
    command = f"echo a; kill -{signal} $$; echo b"
    plain = exec(box, command)
    assert exec(box, command, timeout=20) == exec(box, command, cwd="/workspace") == plain
    assert plain.unwrap().exit_code > 128


def test_a_command_that_ends_its_whole_group_has_not_run_out_of_time(box: Sandbox) -> None:
    assert exec(box, "echo a; kill 0; sleep 60", timeout=30).unwrap().exit_code == 143
    assert exec(box, "echo a; kill -9 0; sleep 60", timeout=30) == Success(ExecResult("a\n", "", 137))
    assert exec_script(box, "kill -9 0; sleep 60", "sh", timeout=1e9).unwrap().exit_code == 137


OUTPUTS = st.text(st.sampled_from("ab:é\n\t pocketenv-late%s\\"), max_size=40)


@given(out=OUTPUTS, err=OUTPUTS)
@ON_THE_PLATFORM
def test_a_time_limit_changes_nothing_of_what_is_printed(box: Sandbox, out: str, err: str) -> None:
    ran = exec(box, 'show() { printf %s "$1"; printf %s "$2" >&2; }; show', [out, err], timeout=20)
    assert ran == Success(ExecResult(out, err, 0))


def test_much_output_comes_whole(box: Sandbox) -> None:
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


@pytest.mark.parametrize("command", LINGERING.values(), ids=LINGERING)
def test_when_its_time_is_over_a_command_and_all_that_it_started_is_dead(box: Sandbox, command: str) -> None:
    error = ended(box, command)
    assert (error.stdout, error.stderr) == ("begun\n", "")
    assert alive(box, "31.4159") == []


def test_a_command_has_time_to_tidy_up(box: Sandbox) -> None:
    command = "trap 'sleep 0.3; echo tidy; exit 0' TERM; echo begun; sleep 60 & wait"
    assert ended(box, command).stdout == "begun\ntidy\n"
    # What it started has that time as well, when the command itself is gone.
    assert ended(box, f"sh -c {command!r}; echo not reached").stdout == "begun\ntidy\n"


def test_what_it_had_printed_is_kept_and_not_shown(box: Sandbox) -> None:
    error = ended(box, "echo out; printf err >&2; sleep 60")
    assert (error.stdout, error.stderr) == ("out\n", "err")
    assert "0.5 s" in str(error)
    assert "out\n" not in repr(error)


def test_what_is_left_in_the_background_by_a_command_in_time_goes_on(box: Sandbox) -> None:
    assert exec(box, "sleep 27.1828 >/dev/null 2>&1 & echo done", timeout=30).unwrap().stdout == "done\n"
    assert len(alive(box, "27.1828")) == 1


@pytest.mark.parametrize("seconds", [0.0001, 1e-300])
def test_no_time_is_too_short(box: Sandbox, seconds: float) -> None:
    ended(box, "sleep 60", timeout=seconds)


@pytest.mark.parametrize("seconds", [1e8, 1e9, 1e300, float("inf")])
def test_no_time_is_too_long(box: Sandbox, seconds: float) -> None:
    assert exec(box, "echo a", timeout=seconds) == Success(ExecResult("a\n", "", 0))


def test_a_time_that_is_none_is_refused() -> None:
    for seconds in (0, -1, float("nan")):
        assert isinstance(exec(BOX, "true", timeout=seconds).failure(), InvalidInput)


def test_a_platform_that_hangs_does_not_hang_the_caller(
    environment: dict[str, str], box: Sandbox, platform: local.Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert environment
    monkeypatch.setattr("pocketenv_fp.sandbox.commands.GRACE_SECONDS", 0.1)
    with platform.faults.on("sandbox.exec", Slow(8, before_work=True)):
        began = time.monotonic()
        error = exec(box, "true", timeout=0.1, config=Config(read_timeout=0.3)).failure()
        assert time.monotonic() - began < 6
    assert isinstance(error, TransportError)
    assert (error.kind, error.maybe_sent) == ("timeout", True)


def test_a_sandbox_without_timeout_says_so_and_runs_nothing(box: Sandbox) -> None:
    # The line is the one that is sent; what finds no `timeout` there is the shell that runs it.
    limit = Limit.of(5)
    assert limit is not None
    line = shell_line("touch /tmp/ran", None, {}, limit)
    ran = exec(box, f"PATH=/nothing; {line}").unwrap()
    error = limit.judge(ran).failure()
    assert isinstance(error, InvalidInput)
    assert "no `timeout` of GNU coreutils" in str(error)
    assert exec(box, "test -e /tmp/ran").unwrap().exit_code == 1


def test_another_timeout_than_gnus_is_not_trusted_and_gnus_is_found_under_its_other_names(box: Sandbox) -> None:
    limit = Limit.of(0.5)
    assert limit is not None
    script = "#!/bin/sh\necho 'timeout (uutils coreutils) 0.2.2'\n"
    made = sh(box, "mkdir -p other && printf %s {script} >other/timeout && chmod +x other/timeout", script=script)
    assert made.unwrap().exit_code == 0
    line = shell_line("touch /tmp/ran; sleep 60", None, {}, limit)
    assert isinstance(limit.judge(exec(box, f"PATH=$PWD/other; {line}").unwrap()).failure(), InvalidInput)
    assert exec(box, "test -e /tmp/ran").unwrap().exit_code == 1
    exec(box, 'ln -s "$(command -v timeout)" other/gnutimeout', check=True)
    ended = limit.judge(exec(box, f'PATH="$PWD/other:$PATH"; {line}').unwrap()).failure()
    assert isinstance(ended, CommandTimeout)


def test_one_that_prints_what_a_time_out_of_another_command_leaves_is_not_taken_for_one(box: Sandbox) -> None:
    for text in ("pocketenv-0:late", "late", "pocketenv-:absent"):
        assert exec(box, "exec >&2; echo", [text], timeout=20) == Success(ExecResult("", f"{text}\n", 0))
    # Its own mark is in its parents' command lines, and may well be printed.
    assert isinstance(exec(box, "cat /proc/[0-9]*/cmdline >&2; exit 124", timeout=20), Success)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_that_the_platform_runs_lines_with_lives_on(shell: str, tmp_path: Path) -> None:
    limit = Limit.of(0.3)
    lines = [
        shell_line("exit 3", "/", {"A": "b"}, None),
        "echo code $?",
        shell_line("exit 4", None, {}, Limit.of(20)),
        "echo code $?",
        shell_line("kill -9 $$", None, {"A": "b"}, None),
        "echo code $?",
        shell_line("sleep 60", None, {}, limit),
        "echo code $?",
        shell_line("pwd", "no/such", {}, None),
        script_line("exit 5\n", 'sh "$1"', None, {}, None),
        "echo code $?",
        "echo ${A-none} $PWD",
    ]
    done = subprocess.run(
        [shell], input="\n".join(lines), capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path
    )
    codes = [f"code {code}" for code in (3, 4, 137, 124, 5)]
    assert done.stdout.splitlines() == [*codes, f"none {tmp_path}"]
    assert limit is not None
    assert f"{limit.mark}:late" in done.stderr
    assert "Killed" not in done.stderr


# Templates


def test_a_template_is_a_step_of_exec_and_runs_with_a_sandbox(box: Sandbox) -> None:
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
def test_a_mistake_in_the_program_raises_at_once(misuse: Callable[[], object]) -> None:
    with pytest.raises(TypeError, match=r"^(sh|exec)[ :]"):
        misuse()


# Scripts

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60)


@given(text=TEXTS, args=st.lists(TEXTS, max_size=3))
@ON_THE_PLATFORM
@example('it\'s "quoted" $HOME `id` \\ \\n\n\n', [])
@example("no line break at the end", ["a b", ""])
def test_a_script_arrives_byte_for_byte_with_its_arguments(box: Sandbox, text: str, args: list[str]) -> None:
    ran = exec_script(box, text, 'sh -c \'cat "$1"; shift; printf "|%s" "$@"\' sh', args)
    assert ran.unwrap().stdout == text + ("".join(f"|{each}" for each in args) or "|")


def test_a_script_has_the_options_of_a_command(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_however_a_script_ends_nothing_of_it_is_left(box: Sandbox, script: str, timeout: float | None) -> None:
    ran = exec_script(box, script, "bash", timeout=timeout)
    error = ran.failure() if isinstance(ran, Failure) else None
    path = error.stdout.strip() if isinstance(error, CommandTimeout) else ran.unwrap().stdout.strip()
    assert path.endswith("/script")
    assert isinstance(error, CommandTimeout) == (timeout == 0.5)
    assert exec(box, "test -e", [path]).unwrap().exit_code == 1
    assert exec(box, "test -e", [str(Path(path).parent)]).unwrap().exit_code == 1


def test_a_script_imports_nothing_that_lies_about(box: Sandbox) -> None:
    exec(box, "echo 'raise SystemExit(9)' >\"${TMPDIR:-/tmp}/json.py\"", check=True).unwrap()
    assert exec_script(box, "import json; print(json.dumps(1))").unwrap().stdout == "1\n"


@pytest.mark.parametrize(("length", "fits"), [(100_000, True), (103_000, False)])
@pytest.mark.parametrize("letter", ["x", "\n"])
def test_a_script_that_is_too_long_for_a_request_is_refused(
    box: Sandbox, length: int, letter: str, *, fits: bool
) -> None:
    # A line break is two characters of a request.
    ran = exec_script(box, letter * (length if letter == "x" else length // 2), "wc -c <")
    if fits:
        assert ran.unwrap().exit_code == 0
    else:
        assert isinstance(ran.failure(), InvalidInput)
        assert "upload it" in str(ran.failure())


# In the background


def until(found: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not found() and time.monotonic() < deadline:
        time.sleep(0.05)
    return found()


def test_a_command_in_the_background_runs_until_it_is_stopped(box: Sandbox) -> None:
    step = spawn('echo "$A $PWD" >/tmp/began; sleep', ["16.1803"], name="nap", cwd="/tmp", env={"A": "it's"})
    service = step(box).unwrap()
    assert isinstance(service, Service)
    assert (service.name, service.status) == ("nap", Status.RUNNING)
    assert until(lambda: exec(box, "cat /tmp/began").unwrap().stdout == "it's /tmp\n")
    assert len(alive(box, "16.1803")) > 0
    assert (box | stop_service("nap")).unwrap().status is Status.STOPPED
    assert until(lambda: alive(box, "16.1803") == [])
    assert isinstance(box | delete_service("nap"), Success)


def test_a_command_without_a_name_gets_one_of_its_own(box: Sandbox) -> None:
    services = [spawn(box, "true").unwrap() for _ in range(3)]
    assert len({service.name for service in services}) == 3
    assert until(lambda: (box | get_service(services[0].name)).unwrap().status is Status.STOPPED)
    assert [service.command for service in services] == ["true"] * 3


def test_a_name_that_is_taken_is_no_update(box: Sandbox) -> None:
    first = spawn(box, "sleep 60", name="web").unwrap()
    assert isinstance(spawn(box, "sleep 61", name="web").failure(), ServerError)
    assert (box | get_service("web")).unwrap().command == first.command


def test_what_would_be_kept_in_clear_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_the_time_that_a_command_has_to_end_is_the_one_that_is_told() -> None:
    assert GRACE_SECONDS == 5
    assert "five seconds" in (exec.__doc__ or "")
