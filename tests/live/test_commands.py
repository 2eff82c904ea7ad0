"""Commands: their output, end, directory and environment, and that none of them changes the next one."""

from __future__ import annotations

import json

import pytest
from returns.result import Failure, Success

from pocketenv_fp import (
    CommandFailed,
    CommandTimeout,
    ExecResult,
    Sandbox,
    exec,
    exec_script,
    sh,
)
from tests.places import RECORDED


@pytest.mark.parametrize(
    "output", ["", "x", "x\n", "a\n\n\n", "\n", " x ", "é\t漢\r\n", "\u001e", "x\u001e\n"], ids=repr
)
def test_exec_output(shared_box: Sandbox, output: str) -> None:
    """Standard output and standard error arrive as they were printed, final newlines included."""
    expected = ExecResult(output, output, 0)
    assert (shared_box | exec('printf %s "$1"; printf %s "$1" >&2; :', env={"x": "y"})).unwrap() == ExecResult(
        "", "", 0
    )
    assert shared_box | exec('f() { printf %s "$1"; printf %s "$1" >&2; }; f', [output]) == Success(expected)


ENDS = {
    "exit 0": 0,
    "exit 3": 3,
    "false": 1,
    "set -e; false; echo no": 1,
    "set -u; echo $NO_SUCH_NAME": 127,
    "exec true": 0,
    "exec false": 1,
    "kill -9 $$": 137,
    "kill $$": 143,
    "no-such-command": 127,
    "echo 'unclosed": 2,
    "if": 2,
    "{ echo a": 2,
    "echo a; }": 2,
    "PATH=/nope": 0,
    "readonly RO=1; RO=2": 1,
    "trap 'exit 5' EXIT; true": 5,
    "(exit 9)": 9,
    "exit 256": 0,
    "exit -1": 255,
}


@pytest.mark.parametrize(("command", "code"), ENDS.items(), ids=ENDS)
def test_exec_exit_codes(shared_box: Sandbox, command: str, code: int) -> None:
    """A command ends as it does in a shell of its own, and the next command runs as if it had not been."""
    assert (shared_box | exec(command)).unwrap().exit_code == code
    assert shared_box | exec("echo alive") == Success(ExecResult("alive\n", "", 0))


STATES = {
    "cd /tmp": ("pwd", "/workspace\n"),
    "export A=1; B=2": ("echo ${A-none} ${B-none}", "none none\n"),
    "set -euxo pipefail": ("false | true; echo $NO_SUCH_NAME.", ".\n"),
    "umask 077": ("umask", "0022\n"),
    "f() { echo f; }": ("type f >/dev/null 2>&1; echo $?", "1\n"),
    "alias echo=false": ("echo a", "a\n"),
    "exec > /tmp/away": ("echo a", "a\n"),
    "trap 'echo trapped' EXIT": ("echo a", "a\n"),
}


@pytest.mark.parametrize(("command", "look"), STATES.items(), ids=STATES)
def test_exec_leaves_no_state(shared_box: Sandbox, command: str, look: tuple[str, str]) -> None:
    """Nothing that a command does to its shell reaches the next command."""
    (shared_box | exec(command)).unwrap()
    assert (shared_box | exec(look[0])).unwrap().stdout == look[1]


@pytest.mark.contract
def test_exec_recorded_lines(shared_box: Sandbox) -> None:
    """The lines of which the right result is known run as they do in bash."""
    wrong: list[str] = []
    lines = [json.loads(line) for line in (RECORDED / "lines.jsonl").read_text(encoding="utf-8").splitlines()]
    for line in lines:
        ran = (shared_box | exec(line["line"])).unwrap()
        answer = {"exit_code": ran.exit_code, "stdout_less_its_last_newline": ran.stdout.removesuffix("\n")}
        # null: bash gives no one answer.
        if any(line[key] not in {None, value} for key, value in answer.items()):
            wrong.append(f"{line['case']}: {ran}")
    assert not wrong


def test_exec_cwd_and_env(shared_box: Sandbox) -> None:
    """A relative directory starts at /workspace, and values arrive as they are."""
    value = 'it\'s "$HOME"\n`x` \\ é'
    made = shared_box | exec("mkdir -p 'a b'")
    assert made == Success(ExecResult("", "", 0))
    ran = shared_box | exec('pwd; printf "%s" "$VALUE"', cwd="a b", env={"VALUE": value})
    assert ran == Success(ExecResult(f"/workspace/a b\n{value}", "", 0))
    missing = (shared_box | exec("echo ran", cwd="no/such")).unwrap()
    assert (missing.stdout, missing.exit_code == 0) == ("", False)


def test_exec_check_and_timeout(shared_box: Sandbox) -> None:
    """A checked command fails by its exit code, and a late one by its time."""
    assert shared_box | exec("echo out; exit 3", check=True) == Failure(CommandFailed(3, "out\n", ""))
    late = (shared_box | exec("echo begun; sleep 60", timeout=1)).failure()
    assert isinstance(late, CommandTimeout)
    assert late.stdout == "begun\n"
    assert shared_box | exec("echo alive") == Success(ExecResult("alive\n", "", 0))


def test_exec_above_platform_limit(shared_box: Sandbox) -> None:
    """A command with more time than a request has runs as a job, with the same result."""
    assert shared_box | exec("echo out; echo err >&2; exit 3", timeout=100_000) == Success(
        ExecResult("out\n", "err\n", 3)
    )


def test_exec_live_output(shared_box: Sandbox) -> None:
    """Pieces of the output arrive in order, and the result has all of them."""
    pieces: list[str] = []
    ran = shared_box | exec(
        "for n in 1 2 3; do echo $n; sleep 0.2; done", on_output=lambda piece: pieces.append(str(piece))
    )
    assert ran == Success(ExecResult("1\n2\n3\n", "", 0))
    assert "".join(pieces) == "1\n2\n3\n"


def test_exec_background_child(shared_box: Sandbox) -> None:
    """A child in the background delays no answer."""
    assert (shared_box | exec("sleep 600 & echo started")).unwrap().stdout == "started\n"
    (shared_box | exec("pkill -f 'sleep 600' || true")).unwrap()


def test_exec_script_and_sh(shared_box: Sandbox) -> None:
    """Scripts of many lines and templates with fields run as they are written."""
    script = "import sys\n\ndef f():\n    return 'a\\tb'\n\nprint(f())\nsys.exit(4)\n"
    assert shared_box | exec_script(script) == Success(ExecResult("a\tb\n", "", 4))
    here = "cat <<END\nfirst\n\tsecond\nEND\necho done"
    assert (shared_box | exec(here)).unwrap().stdout == "first\n\tsecond\ndone\n"
    assert (shared_box | sh("printf '%s|' {words}", words=["a b", "$x", "it's"])).unwrap().stdout == "a b|$x|it's|"
