"""The guide for the first hour: its three programs run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import NO_PLUGINS, PYTEST, ROOT

TEXT = (ROOT / ".docs" / "start.md").read_text(encoding="utf-8")
FIRST, TEST, PROGRAM = re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def run(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    # The library as an installed one: no variable but these.
    variables = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT), **variables, **NO_PLUGINS}
    arguments = [sys.executable, *command]
    return subprocess.run(
        arguments, cwd=folder, env=variables, capture_output=True, text=True, timeout=100, check=False
    )


def test_start_first_result(tmp_path: Path) -> None:
    done = run(tmp_path, "-c", FIRST)
    assert done.stderr == ""
    assert f"`{done.stdout.strip()}`" in TEXT


def test_start_first_test(tmp_path: Path) -> None:
    (tmp_path / "test_box.py").write_text(TEST, encoding="utf-8")
    done = run(tmp_path, *PYTEST, "test_box.py")
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_start_first_program(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    done = run(tmp_path, "program.py", POCKETENV_API_URL="local")
    assert (done.returncode, done.stdout, done.stderr) == (0, "42\n", "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("print(6 * 7)", "raise SystemExit(3)"), "main.py ended with 3"),
        (("print(6 * 7)", "import time; time.sleep(60)"), "main.py took too long"),
        (('"app", "app")', '"nowhere", "app")'), "nowhere"),
    ],
)
def test_start_first_program_fails(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    changed = PROGRAM.replace(*change)
    if "sleep" in changed:
        changed = changed.replace("timeout=60", "timeout=0.5")
    (tmp_path / "program.py").write_text(changed, encoding="utf-8")
    done = run(tmp_path, "program.py", POCKETENV_API_URL="local")
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_start_first_program_no_login(tmp_path: Path) -> None:
    """Without a login, the program ends with exit code 1 and one line of advice."""
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    done = run(tmp_path, "program.py")
    assert (done.returncode, done.stderr) == (1, "log in first, or set POCKETENV_API_URL=local\n")
