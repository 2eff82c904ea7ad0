"""The rules of CONTRIBUTING.md that no linter knows."""

from __future__ import annotations

import ast
from pathlib import Path

import pocketenv_fp

PACKAGE = Path(pocketenv_fp.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))


def _lambdas(tree: ast.AST) -> list[int]:
    return [
        call.lineno
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in {"bind", "lash"}
        if any(isinstance(argument, ast.Lambda) for argument in call.args)
    ]


def test_bind_and_lash_take_functions_with_a_name() -> None:
    assert _lambdas(ast.parse("a.bind(lambda x: x)")) == [1]
    found = {str(path.relative_to(PACKAGE)): _lambdas(ast.parse(path.read_text("utf-8"))) for path in MODULES}
    assert {name: lines for name, lines in found.items() if lines} == {}
