"""The rules of CONTRIBUTING.md that no linter knows."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pocketenv_fp
from tests.places import TESTS

PACKAGE = Path(pocketenv_fp.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
# A test's name has a function and a case: no sentence, and none of these words.
OTHER_WORDS = {"who", "whoever", "nobody", "told", "gives", "anew", "lest", "behind", "himself", "meanwhile"}


def _lambdas(tree: ast.AST) -> list[int]:
    return [
        call.lineno
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in {"bind", "lash"}
        if any(isinstance(argument, ast.Lambda) for argument in call.args)
    ]


def test_bind_without_lambda() -> None:
    """`bind` and `lash` take named functions, no lambda."""
    assert _lambdas(ast.parse("a.bind(lambda x: x)")) == [1]
    found = {str(path.relative_to(PACKAGE)): _lambdas(ast.parse(path.read_text("utf-8"))) for path in MODULES}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_rm_absolute_pattern() -> None:
    """At isolation "processes", the path of a command is this machine's: such a line emptied its /tmp once."""
    pattern = re.compile(r"rm -r\w* +/\S*\*")
    # The replay of recorded copies runs in boxes only.
    spared = {TESTS / "conformance" / "copy_replay.py", Path(__file__)}
    found = [
        str(path)
        for path in sorted(TESTS.rglob("*.py"))
        if path not in spared and pattern.search(path.read_text("utf-8"))
    ]
    assert found == []


def _is_plain(name: str) -> bool:
    return len(name) < 50 and not OTHER_WORDS & set(name.split("_"))


def test_names_of_tests() -> None:
    """Each test's name is `test_<function>_<case>`, under 50 characters. The sentence is in its docstring."""
    assert _is_plain("test_wait_shorter_interval")
    assert not _is_plain("test_who_waits")
    assert not _is_plain("test_" + "x" * 45)
    names = [
        f"{path.relative_to(TESTS)}: {node.name}"
        for path in sorted(TESTS.rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        if not _is_plain(node.name)
    ]
    assert names == []
