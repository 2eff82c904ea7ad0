"""`python -m pocketenv_fp`: the commands of the account, and the demo that the README starts with."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from pocketenv_fp import __main__ as command
from pocketenv_fp import __version__, create, ephemeral, exec, local, start
from pocketenv_fp.extras import install_command

ROOT = Path(__file__).parents[1]
COMMANDS = ("login", "logout", "whoami", "ls", "console", "demo")


def test_demo_prints_source_and_result(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["demo"]) == 0
    source, result = capsys.readouterr().out.splitlines()
    assert source == repr(command.PIPELINE)
    assert result == "<Success: 42>"


def test_demo_ignores_the_environment(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A variable that leads to another platform, or a token of one, changes nothing."""
    for name in ("API_URL", "STORAGE_URL", "PUBLIC_KEY", "TOKEN"):
        monkeypatch.setenv(f"POCKETENV_{name}", "http://127.0.0.1:1")
    assert command.main(["demo"]) == 0
    assert capsys.readouterr().out.endswith("<Success: 42>\n")


def test_demo_failure_exit_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A demo that fails ends with exit code 1."""
    monkeypatch.setattr(command, "PIPELINE", ephemeral(start | exec("exit 3", check=True)))
    assert command.main(["demo"]) == 1
    assert "exit code 3" in capsys.readouterr().out


def test_demo_names_the_missing_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "httptools", None)
    assert command.main(["demo"]) == 1
    assert f"httptools is missing: {install_command('local')}" in capsys.readouterr().err


def test_demo_without_a_platform(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refused() -> None:
        raise OSError("there is no room for a platform")

    monkeypatch.setattr(local, "platform", refused)
    assert command.main(["demo"]) == 1
    assert capsys.readouterr().err == "pocketenv: there is no room for a platform\n"


def test_main_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main([])
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert all(f"    {name} " in shown for name in COMMANDS)


def test_main_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The option --version prints the version."""
    with pytest.raises(SystemExit) as ended:
        command.main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"pocketenv_fp {__version__}\n")


def test_main_as_a_module() -> None:
    """The import of the package alone takes no web server, and the module runs as a program."""
    ran = subprocess.run(
        [sys.executable, "-m", "pocketenv_fp", "demo"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.endswith("<Success: 42>\n")
    assert ran.stderr == ""


@pytest.fixture
def account(platform: local.Platform, monkeypatch: pytest.MonkeyPatch) -> local.Platform:
    """The embedded platform, with an app password and without a token."""
    monkeypatch.setenv("POCKETENV_API_URL", platform.url)
    monkeypatch.setenv("POCKETENV_APP_PASSWORD", platform.app_password("you.localhost"))
    return platform


@pytest.mark.usefixtures("account")
def test_login_whoami_logout(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["login", "you.localhost", "--app-password"]) == 0
    assert command.main(["whoami"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"Logged in as {second}."
    assert re.fullmatch(r"you\.localhost \(did:plc:\w+\)", second)
    assert command.main(["logout"]) == 0
    assert command.main(["logout"]) == 0
    assert capsys.readouterr().out.splitlines() == ["Logged out.", "There was no login."]
    assert command.main(["whoami"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "python -m pocketenv_fp login HANDLE" in shown.err


def test_login_with_a_variable_warns(
    account: local.Platform, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POCKETENV_TOKEN", account.token)
    assert command.main(["login", "you.localhost", "--app-password"]) == 0
    assert "POCKETENV_TOKEN is set" in capsys.readouterr().err


@pytest.mark.usefixtures("account")
def test_login_failure_exit_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A failed login ends with exit code 1."""
    monkeypatch.setenv("POCKETENV_APP_PASSWORD", "wrong")
    assert command.main(["login", "you.localhost", "--app-password"]) == 1
    assert "pocketenv: no login: " in capsys.readouterr().err


@pytest.mark.usefixtures("environment")
def test_ls_own_sandboxes(capsys: pytest.CaptureFixture[str]) -> None:
    """The command lists the sandboxes of the user."""
    assert command.main(["ls"]) == 0
    assert capsys.readouterr().out == ""
    names = [create(f"box-{provider}", provider=provider).unwrap().name for provider in ("cloudflare", "daytona")]
    assert command.main(["ls"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [(line[0], line[2]) for line in lines] == [(names[1], "daytona"), (names[0], "cloudflare")]


def test_ls_without_a_login(account: local.Platform, capsys: pytest.CaptureFixture[str]) -> None:
    assert account.url
    assert command.main(["ls"]) == 1
    assert "not logged in" in capsys.readouterr().err


def test_help_of_each_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for name in COMMANDS:
        assert f"    {name} " in shown
        with pytest.raises(SystemExit):
            command.main([name, "--help"])
    assert "POCKETENV_APP_PASSWORD" in capsys.readouterr().out


@pytest.mark.parametrize("seconds", ["0", "-1", "x", "nan"])
def test_login_timeout_argument(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The timeout of a login is a number above 0."""
    with pytest.raises(SystemExit) as ended:
        command.main(["login", "alice.test", "--timeout", seconds])
    assert ended.value.code == 2
    assert "seconds above 0" in capsys.readouterr().err


def test_interrupt_exit_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C ends the program with exit code 130."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "whoami", interrupted)
    assert command.main(["whoami"]) == 130
    assert capsys.readouterr().err == "\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_closed_pipe_exit_code(unbuffered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader has ended before the first line, as in `... | head -0`."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ran = run("demo", stdout=writer)
    finally:
        os.close(writer)
    assert (ran.returncode, ran.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_full_disk_exit_code() -> None:
    """A full disk ends the program with exit code 1."""
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        ran = run("demo", stdout=full)
    assert (ran.returncode, ran.stderr) == (1, "pocketenv: cannot write the output: No space left on device.\n")


def run(name: str, stdout: int | IO[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pocketenv_fp", name],
        cwd=ROOT,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )


def test_console_empty_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["console", ""]) == 1
    assert capsys.readouterr().err == "pocketenv: id: must not be empty.\n"
