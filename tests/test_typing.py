"""What the type checkers say of programs that use the library: the right types, and an error for each wrong line.

Each checker runs once, over the programs, which are part of the project's ordinary type check too, and over texts with
one mistake in each line that is marked: a mistake that is no longer seen fails as well as one that is invented. Every
public name has to be among the cases, so that a new one is not forgotten.
"""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pocketenv_fp import pocketenv, sandbox
from pocketenv_fp.steps.operation import Operation
from tests.names import public_names
from tests.places import ROOT, TESTS

pytestmark = pytest.mark.slow

CASES = TESTS / "typing"
PROGRAMS = ("accepted.py", "flow.py", "forms.py", "interop.py")
MISTAKES = ("misuse.txt", "refused.txt")
Places = set[tuple[str, int]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("cases")
    for program in PROGRAMS:
        shutil.copy(CASES / program, made)
    for mistakes in MISTAKES:
        # Its errors are meant: as a text it is no part of the project's own type check.
        shutil.copy(CASES / mistakes, (made / mistakes).with_suffix(".py"))
    return made


@pytest.fixture(scope="module")
def meant(folder: Path) -> Places:
    files = [(folder / mistakes).with_suffix(".py") for mistakes in MISTAKES]
    return {
        (file.name, number)
        for file in files
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if line.endswith("# error")
    }


def compare(found: dict[tuple[str, int], str], meant: Places) -> None:
    assert {place: said for place, said in found.items() if place not in meant} == {}, "errors that are not meant"
    assert sorted(meant - found.keys()) == [], "mistakes that are not found"


def test_mypy_marked_errors(folder: Path, meant: Places) -> None:
    """mypy reports the marked mistakes and no others."""
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "--output", "json"]
    files = sorted(map(str, folder.glob("*.py")))
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=False, cwd=ROOT)
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert said, done.stdout + done.stderr
    compare({(Path(e["file"]).name, e["line"]): e["message"] for e in said if e["severity"] == "error"}, meant)


def test_pyright_marked_errors(folder: Path, meant: Places) -> None:
    """pyright reports the marked mistakes and no others."""
    # What pyright says of style (an expression without use, an unused name) would hide what it says of types.
    config = {
        "typeCheckingMode": "strict",
        "reportUnknownMemberType": False,
        "reportUnusedExpression": False,
        "reportUnusedVariable": False,
        "reportUnusedImport": False,
        "exclude": ["flow.py"],  # to pyright, what flow gives is Unknown
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(config), encoding="utf-8")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    said = json.loads(done.stdout)
    assert said["summary"]["filesAnalyzed"] == len(PROGRAMS) - 1 + len(MISTAKES)
    errors = (each for each in said["generalDiagnostics"] if each["severity"] == "error")
    compare({(Path(e["file"]).name, e["range"]["start"]["line"] + 1): e["message"] for e in errors}, meant)


def called(tree: ast.AST) -> set[str]:
    """The names that are called, or are operands of ``|``, anywhere below."""
    used: set[str] = set()
    for node in ast.walk(tree):
        parts = [node.func] if isinstance(node, ast.Call) else []
        parts += [node.left, node.right] if isinstance(node, ast.BinOp) else []
        used |= {ast.unparse(part).removeprefix("sandbox.") for part in parts}
    return used


def test_assert_type_each_function() -> None:
    """The return type of each public function is asserted."""
    tree = ast.parse((CASES / "accepted.py").read_text(encoding="utf-8"))
    asserted = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "assert_type"
    ]
    used = set[str]().union(*(called(node.args[0]) for node in asserted))
    account = {name for name in public_names(pocketenv) if name not in used and f"pocketenv.{name}" not in used}
    assert account == set()
    assert set(public_names(sandbox)) - used == set()


@pytest.mark.parametrize(
    "name", [name for name in public_names(sandbox) if isinstance(getattr(sandbox, name), Operation)]
)
def test_misuse_each_operation(name: str) -> None:
    """An operation with arguments is a marked mistake, both bare and called without them."""
    cases = "".join((CASES / file).read_text(encoding="utf-8") for file in ("misuse.txt", "refused.txt"))
    assert f"box | {name}  # error" in cases
    parameters = getattr(sandbox, name).arguments.signature.parameters.values()
    if any(each.default is each.empty for each in parameters):
        assert f"    {name}()  # error" in cases


def test_package_py_typed() -> None:
    """The package has the marker of typed packages."""
    assert (ROOT / "pocketenv_fp" / "py.typed").exists()
