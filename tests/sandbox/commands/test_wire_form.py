"""The wire form against real shells: each provider's way to hand a command to a shell is played by subprocess."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from returns.result import Failure, Success

from pocketenv_fp import CommandTimeout, ExecResult, InvalidInput, Service
from pocketenv_fp.providers import Provider, provider_of
from pocketenv_fp.sandbox.commands.quoting import quote
from pocketenv_fp.sandbox.commands.service_lines import MARK as SPAWN_MARK
from pocketenv_fp.sandbox.commands.service_lines import keeping
from pocketenv_fp.sandbox.commands.wire_form import (
    LARGEST_BODY,
    MARK,
    Command,
    _kept_form,  # pyright: ignore[reportPrivateUsage]
    output,
    service_form,
    wire_form,
)
from tests.examples import examples

PROVIDERS = (
    *("cloudflare", "daytona", "deno", "vercel", "sprites"),
    *("modal", "e2b", "blaxel", "hopx", "runloop"),
)
REAL_SHELL = settings(
    max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)

# How the server of each provider calls a shell, by providers.md. A raw newline on the wire gets four spaces on Cloudflare.
BASH, SH = str(shutil.which("bash")), str(shutil.which("dash") or shutil.which("sh"))
SHELLS: Mapping[str, Callable[[str], list[str]]] = {
    "cloudflare": lambda sent: [BASH, "-c", sent.replace("\n", "\n    ")],
    "daytona": lambda sent: [SH, "-c", sent],
    "deno": lambda sent: [SH, "-c", sent],
    "vercel": lambda sent: ["/bin/sh", "-c", sent],
    "sprites": lambda sent: [BASH, "-c", sent],
    "modal": lambda sent: [BASH, "-c", sent],
    "e2b": lambda sent: [BASH, "-c", f"bash -c {sent}"],
    "blaxel": lambda sent: [BASH, "-c", f"bash -c {sent}"],
    "hopx": lambda sent: [BASH, "-c", sent],
    "runloop": lambda sent: [SH, "-c", f'bash -c "{sent}"'],
}


def played(provider: Provider, sent: str, env: Mapping[str, str] | None) -> ExecResult:
    """Run what was sent as the provider would, and return its answer."""
    done = subprocess.run(
        SHELLS[provider.name](sent), stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False, env=env
    )
    stderr = done.stderr.decode(errors="replace") if provider.has_stderr else ""
    if provider.lost_exit_code:
        assert done.returncode == 0, "a 500 of the platform"
    return ExecResult(done.stdout.decode(errors="replace"), stderr, done.returncode)


def ran(name: str, command: Command, env: Mapping[str, str] | None = None) -> Any:
    provider = provider_of(name)
    sent = wire_form(command, provider).unwrap()
    assert "\n" not in sent
    answer = played(provider, sent, env)
    # The platform drops one last newline.
    return output(
        ExecResult(answer.stdout.removesuffix("\n"), answer.stderr.removesuffix("\n"), answer.exit_code),
        command,
        provider,
    )


@pytest.fixture
def somewhere(tmp_path: Path) -> str:
    return str(tmp_path)


# Each shell that reads a form, once: Cloudflare's and Hopx' are the same.
READERS = ("cloudflare", "daytona", "deno", "e2b", "runloop")


@pytest.mark.parametrize("name", READERS)
@given(text=TEXTS, value=TEXTS, stdin=st.binary(max_size=40))
@REAL_SHELL
@example("'; exit 9; '\n", '"$HOME`id`\\', b"\0\xff'\\n\n")
@example("\x01\x07\x1b[0m\x7f\r\n\n", "\n", b"")
@example("\U0001f600 \u0301 \ufeff \x85 \u2028\\", "é\n\n", "é'\"".encode())
def test_wire_form_text(name: str, somewhere: str, text: str, value: str, stdin: bytes) -> None:
    """Arbitrary text in a line, in a variable and in the standard input arrives byte for byte."""
    line = f'printf \'%s|\' {quote(text)} "$A_1" "$LC_X"; base64 -w0'
    result = ran(name, Command(line, somewhere, {"A_1": value, "LC_X": f"{value}\n"}, stdin)).unwrap()
    printed, _, encoded = result.stdout.rpartition("|")
    assert (printed, base64.b64decode(encoded)) == (f"{text}|{value}|{value}\n", stdin)
    assert (result.stderr, result.exit_code) == ("", 0)


@pytest.mark.parametrize("name", READERS)
@given(line=TEXTS)
@REAL_SHELL
@example("-c exit")
@example("+B")
@example("echo a\\\n")
@example("cat <<X\na\n\n")
@example("echo \x1e \x1d")
def test_wire_form_line(name: str, somewhere: str, line: str) -> None:
    """An arbitrary line does what `bash -c` does with it, and ends nothing else."""
    assume(not re.search(r"[0-9&$>|~*?/]", line))  # what depends on the machine or on the number of a process
    expected = subprocess.run(
        ["bash", "-c", f" {line}" if line[:1] in "+-" else line, "bash"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
        cwd=somewhere,
    )
    result = ran(name, Command(line, somewhere)).unwrap()
    assert (result.stdout, result.exit_code) == (expected.stdout.decode(errors="replace"), expected.returncode)
    assert result.stderr == expected.stderr.decode(errors="replace")


@pytest.mark.slow
@pytest.mark.parametrize("name", PROVIDERS)
@pytest.mark.parametrize("letter", ["x", "'", "\n", "\\", "é", "\x01"])
def test_wire_form_longest(name: str, somewhere: str, letter: str) -> None:
    """A long line is sent as base64 where that is shorter, and the length that the refusal names can be sent."""
    provider = provider_of(name)
    error = wire_form(Command(letter * 200_000), provider).failure()
    assert isinstance(error, InvalidInput)
    plain, packed = (int(number.replace(",", "")) for number in re.findall(r"\d+,\d+", error.reason))
    fits = "x" * plain if letter == "x" else letter * (packed // len(letter.encode()) - 80)
    line = fits if letter == "x" else f"wc -c <<'END'\n{fits}\nEND"
    sent = wire_form(Command(line, somewhere), provider).unwrap()
    assert len(msgspec.json.encode({"command": sent})) <= LARGEST_BODY
    if letter != "x":
        assert ran(name, Command(line, somewhere)).unwrap().stdout == f"{len(fits.encode()) + 1}\n"


@pytest.mark.parametrize("name", PROVIDERS)
def test_wire_form_without_base64(name: str, somewhere: str) -> None:
    """Where there is no base64, a long line does not look as if it had run well."""
    line = f"echo ran {BACKSLASHES}"
    tools = Path(somewhere, "bin")
    tools.mkdir()
    for tool in ("bash", "sh", "mktemp", "rm", "cat"):
        (tools / tool).symlink_to(str(shutil.which(tool)))
    result = ran(name, Command(line, somewhere), env={"PATH": str(tools)}).unwrap()
    assert (result.stdout, result.exit_code) == ("", 127)
    script = ran(name, Command('cat "$1"', somewhere, script=line), env={"PATH": str(tools)}).unwrap()
    assert (script.stdout, script.exit_code) == ("", 127)


BACKSLASHES = "\\" * 60_000


@pytest.mark.parametrize("name", ["daytona", "deno", "vercel"])
def test_wire_form_without_bash(name: str, somewhere: str) -> None:
    """Without bash a line is read by sh, and one with a time limit does not run."""
    tools = Path(somewhere, "bin")
    tools.mkdir()
    for tool in ("sh", "mktemp", "rm", "cat", "sleep", "dash"):
        (tools / tool).symlink_to(str(shutil.which(tool)))
    env = {"PATH": str(tools)}
    line = Command('echo "$A"; echo e >&2; exit 3', somewhere, {"A": "it's\n"})
    shell = [str(tools / "dash"), "-c", wire_form(line, provider_of(name)).unwrap()]
    done = subprocess.run(shell, capture_output=True, text=True, env=env, check=False, timeout=60)
    answer = ExecResult(done.stdout, done.stderr, done.returncode)
    assert output(answer, line, provider_of(name)) == Success(ExecResult("it's\n\n", "e\n", 3))
    limited = line._replace(timeout=5)
    shell = [str(tools / "dash"), "-c", wire_form(limited, provider_of(name)).unwrap()]
    done = subprocess.run(shell, capture_output=True, text=True, env=env, check=False, timeout=60)
    error = output(ExecResult(done.stdout, done.stderr, done.returncode), limited, provider_of(name)).failure()
    assert isinstance(error, InvalidInput)
    assert "no bash" in error.reason
    assert "it's" not in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", PROVIDERS)
def test_wire_form_timeout(name: str, somewhere: str) -> None:
    """A late command and its children are dead when the answer comes, and what they printed is kept."""
    line = "echo out; echo err >&2; (trap '' TERM; exec sleep 6.1803) & sleep 61.803"
    began = Command(line, somewhere, timeout=0.8)
    late = ran(name, began).failure()
    assert late == CommandTimeout(0.8, "out\n", "err\n")
    for code in (0, 124, 137, 143):
        assert ran(name, Command(f"exit {code}", somewhere, timeout=20)).unwrap().exit_code == code
    assert ran(name, Command("kill -9 0", somewhere, timeout=20)).unwrap().exit_code == 137
    stopped = ran(name, Command("echo a; kill -STOP $$; echo b", somewhere, timeout=0.3)).failure()
    assert isinstance(stopped, CommandTimeout)


@pytest.mark.parametrize("name", ["cloudflare", "daytona", "runloop"])
def test_wire_form_unread_input(name: str, somewhere: str) -> None:
    """Input that is not read holds no answer up, where the sleep of the time limit outlives its end."""
    fake, pids = Path(somewhere, "sleep"), Path(somewhere, "pids")
    fake.write_text(f"#!/bin/sh\ntrap '' TERM\necho $$ >>{pids}\nexec {shutil.which('sleep')} \"$@\"\n")
    fake.chmod(0o755)
    # It ends before `played` loses its patience, or the sleep is over.
    command = Command(f"until [ -s {pids} ]; do :; done; exit 3", somewhere, {}, b"x" * 70_000, 90)
    try:
        answer = ran(name, command, {"PATH": f"{somewhere}:{os.environ['PATH']}"})
    finally:
        for pid in pids.read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
    assert answer.unwrap().exit_code == 3


@pytest.mark.parametrize("name", PROVIDERS)
def test_wire_form_refuses_nul(name: str) -> None:
    """No command line contains a NUL character, and half of a surrogate pair is no text."""
    for text in ("a\0b", "a\ud83d"):
        for command in (
            Command(text),
            Command("true", cwd=text),
            Command("true", env={"A": text}),
            Command("true", script=text),
        ):
            error = wire_form(command, provider_of(name)).failure()
            assert isinstance(error, InvalidInput)
            assert text not in str(error)
    assert isinstance(service_form("a\0b", None, {}), Failure)


def test_wire_form_keeps_plain_lines() -> None:
    """A short line is made once. What may hold a secret, or is long, is not kept."""
    provider = provider_of("cloudflare")
    _kept_form.cache_clear()
    kept = wire_form(Command("make", "/tmp", timeout=2.0), provider)
    assert wire_form(Command("make", "/tmp", timeout=2.0), provider) is kept
    assert (_kept_form.cache_info().hits, _kept_form.cache_info().currsize) == (1, 1)
    for other in (
        Command("make", "/tmp", {"A": "sk-secret"}, timeout=2.0),
        Command("make", "/tmp", stdin=b"", timeout=2.0),
        Command("make", "/tmp", timeout=2.0, script=""),
        Command("make " * 1000, "/tmp", timeout=2.0),
    ):
        assert wire_form(other, provider) != kept
    assert _kept_form.cache_info().currsize == 1
    for other in (
        Command("make"),
        Command("make", "/tmp"),
        Command("make", timeout=2.0),
        Command("Make", "/tmp", timeout=2.0),
    ):
        assert wire_form(other, provider) != kept
    assert wire_form(Command("make", "/tmp", timeout=2.0), provider_of("daytona")) != kept


@pytest.mark.parametrize("shell", ["bash", SH])
@given(text=TEXTS, value=TEXTS)
@REAL_SHELL
def test_service_form_any_shell(shell: str, somewhere: str, text: str, value: str) -> None:
    """A service's line has its directory and environment in any shell."""
    line = f'printf \'%s|\' {quote(text)} "$A" "$PWD"'
    sent = service_form(line, somewhere, {"A": value}).unwrap()
    assert "\n" not in sent
    done = subprocess.run([shell, "-c", sent], capture_output=True, timeout=60, check=False)
    assert done.stdout.decode() == f"{text}|{value}|{somewhere}|"


ENVIRONMENT = {
    **dict.fromkeys(("UID", "EUID", "PPID", "SHELLOPTS", "GROUPS", "OPTIND", "e", "p", "n", "t"), "it's"),
    **dict.fromkeys(("RANDOM", "LINENO", "PIPESTATUS", "HISTFILE", "PS1", "IFS", "CDPATH", "HOME", "ENV"), "it's"),
}


@pytest.mark.parametrize("name", READERS)
def test_wire_form_variable_names(name: str, somewhere: str) -> None:
    """Names with a meaning for a shell reach the command as `env` would hand them over, and stop nothing."""
    for variable, value in ENVIRONMENT.items():
        result = ran(name, Command("exec tr '\\0' '\\n' </proc/self/environ", somewhere, {variable: value}))
        lines = result.unwrap().stdout.splitlines()
        own = subprocess.run(
            ["env", f"{variable}={value}", "bash", "-c", "exec tr '\\0' '\\n' </proc/self/environ"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert (f"{variable}={value}" in lines) == (f"{variable}={value}" in own.stdout.splitlines()), variable


def test_wire_form_hides_values(somewhere: str) -> None:
    """On Cloudflare a variable's value is in no process's arguments: other users of the machine may see those."""
    command = Command("cat /proc/self/cmdline /proc/$PPID/cmdline", somewhere, {"SECRET": "s3cr3t"}, timeout=20)
    sent = wire_form(command, provider_of("cloudflare")).unwrap()
    done = subprocess.run(["bash"], input=sent, capture_output=True, text=True, check=False, timeout=60)
    assert "cat" in done.stdout
    assert "s3cr3t" not in done.stdout


def test_wire_form_persistent_shell(somewhere: str) -> None:
    """The shell that runs all commands of a sandbox has its directory, variables and options, and lives on."""
    cloudflare = provider_of("cloudflare")
    lines = [
        "exit 3",
        "set -e; false",
        "cd /; export A=b",
        "kill -9 $$",
        "kill -9 0",
        "echo 'open",
        "x )",
        "kill -9 $PPID",
    ]
    commands = [Command(line, "/tmp", {"B": "c"}, b"in", timeout) for line in lines for timeout in (None, 20)]
    sent = [wire_form(command, cloudflare).unwrap() for command in commands]
    typed = "\n".join(
        ["set -u -o pipefail", *(f"{each}\necho code $?" for each in sent), "echo ${A-none}${B-none} $PWD"]
    )
    # Into files: a watch that was killed with its shell leaves its `sleep` behind, which would hold a pipe open.
    out, err = Path(somewhere, "out"), Path(somewhere, "err")
    with out.open("w") as stdout, err.open("w") as stderr:
        subprocess.run(
            ["bash", "--norc"],
            input=typed,
            stdout=stdout,
            stderr=stderr,
            text=True,
            check=False,
            timeout=60,
            cwd=somewhere,
        )
    printed = out.read_text()
    codes = [line for line in printed.replace(MARK, "").splitlines() if line.startswith("code")]
    assert len(codes) == len(commands)
    assert codes[:10] == [f"code {code}" for code in (3, 3, 1, 1, 0, 0, 137, 137, 137, 137)]
    assert printed.endswith(f"nonenone {somewhere}\n")
    assert "Killed" not in err.read_text()


SPAWNED = ("sleep 60", "echo \"it's\" '$x' `y`; cat <<<'a' | (b)", "-x", "é 名 \\ ' '' '", "bash -c 'x')")


@pytest.mark.parametrize("line", SPAWNED)
@pytest.mark.parametrize("env", [{}, {"A": "it's", "B": "a\nb\n", "C": "POCKETENV_SPAWNED='spawn-0' bash -c 'x'"}])
@pytest.mark.parametrize("cwd", [None, "a b", "/srv"])
def test_service_shows_callers_command(line: str, env: dict[str, str], cwd: str | None) -> None:
    """The repr has the caller's command, and the field the stored one."""
    mark = "spawn-0123456789ab"
    stored = service_form(line, cwd, {**env, SPAWN_MARK: mark}, keeping("a/b", mark)).unwrap()
    service = Service("rec_1", "a/b", stored)
    assert (service.shown().command.lstrip(), service.command) == (line, stored)
    assert "umask" not in repr(service) + service.html()


@pytest.mark.parametrize("change", ["(true; {0}", "{0}; true", "({0})", "cd /; {0}"])
def test_service_shows_other_command_whole(change: str) -> None:
    """A command that only looks like one of spawn may hide something: it is shown as it is stored."""
    mark = "spawn-0123456789ab"
    stored = service_form("sleep 60", None, {SPAWN_MARK: mark}, keeping("web", mark)).unwrap()
    inner = (
        stored.replace(" && exec env", " && true && exec env"),
        stored.replace("cd /workspace", "cd $(true)"),
        stored.replace(mark, "spawn-000000000000", 1),
        stored.replace("exec env ", "exec env A=$(true) "),
        stored.replace("exec env ", "exec env É='a' "),
    )
    for other in (change.format(stored), *inner):
        assert other != stored
        assert Service("rec_1", "web", other).shown().command == other
