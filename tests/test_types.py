"""What the type checkers say of programs that use the library: the right types, and an error for each wrong line.

``tests/typing/accepted.py`` is also part of the ordinary type check of the project. Here both checkers are asked for
exactly the lines that they refuse, so that a mistake which they no longer see fails as well as one that they invent.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    shutil.copy(HERE / "typing" / "accepted.py", folder)
    shutil.copy(HERE / "typing" / "flow.py", folder)
    shutil.copy(HERE / "typing" / "refused.txt", folder / "refused.py")
    return folder


def marked(file: Path) -> set[int]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("# error")}


def test_mypy_accepts_and_refuses_what_it_should(cases: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "--output", "json"]
    files = sorted(map(str, cases.glob("*.py")))
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=False, cwd=ROOT)
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    errors = {(Path(each["file"]).name, each["line"]) for each in found if each["severity"] == "error"}
    assert errors == {("refused.py", line) for line in marked(cases / "refused.py")}, done.stdout + done.stderr


def test_pyright_accepts_and_refuses_what_it_should(cases: Path) -> None:
    config = {"typeCheckingMode": "strict", "reportUnusedExpression": False, "reportUnknownMemberType": False}
    unused = {"reportUnusedVariable": False, "reportUnusedCallResult": False, "exclude": ["flow.py"]}
    (cases / "pyrightconfig.json").write_text(json.dumps(config | unused), encoding="utf-8")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(cases)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cases)
    said = json.loads(done.stdout)
    found = [each for each in said["generalDiagnostics"] if each["severity"] == "error"]
    errors = {(Path(each["file"]).name, each["range"]["start"]["line"] + 1) for each in found}
    assert said["summary"]["filesAnalyzed"] == 2
    assert errors == {("refused.py", line) for line in marked(cases / "refused.py")}, done.stdout


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "pocketenv_fp" / "py.typed").exists()
