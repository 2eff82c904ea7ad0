"""`python -m pocketenv_fp`: the demo that the README starts with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pocketenv_fp import __main__ as command
from pocketenv_fp import ephemeral, exec, start
from pocketenv_fp.extras import install_command

ROOT = Path(__file__).parents[1]


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


def test_demo_failure_is_exit_code_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command, "PIPELINE", ephemeral(start | exec("exit 3", check=True)))
    assert command.main(["demo"]) == 1
    assert "exit code 3" in capsys.readouterr().out


def test_demo_names_the_missing_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "httptools", None)
    assert command.main(["demo"]) == 1
    assert f"httptools is missing: {install_command('local')}" in capsys.readouterr().err


def test_main_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main([])
    assert ended.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def test_main_as_a_module() -> None:
    """The import of the package alone takes no web server, and the module runs as a program."""
    ran = subprocess.run(
        [sys.executable, "-m", "pocketenv_fp", "demo"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.endswith("<Success: 42>\n")
    assert ran.stderr == ""
