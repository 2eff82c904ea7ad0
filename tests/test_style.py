"""The rules of CONTRIBUTING.md that no linter knows."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pocketenv_fp
from tests.places import TESTS

PACKAGE = Path(pocketenv_fp.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))


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
