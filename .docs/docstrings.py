"""What the pages show of the source: examples as code, combinators as they are called, and types without aliases."""

from __future__ import annotations

import dataclasses
import re
from importlib import import_module
from typing import Any

from griffe import (
    AliasResolutionError,
    Attribute,
    Class,
    Expr,
    ExprCall,
    ExprName,
    ExprSubscript,
    ExprTuple,
    Extension,
    Function,
    Module,
    Object,
)

EXAMPLE = re.compile(r"^( *)>>> .*(?:\n(?!\s*$).*)*(?:\n\s*\n\1>>> .*(?:\n(?!\s*$).*)*)*", re.MULTILINE)
PARAMETERS = re.compile(r"^Args:\n((?: +.*\n?)+)", re.MULTILINE)
DIRECTIVE = re.compile(r"^\.\. code-block:: *\w*\n", re.MULTILINE)

COMPUTED = {"pocketenv_fp", "pocketenv_fp.pocketenv", "pocketenv_fp.sandbox"}
"""Packages that compute their ``__all__``: it cannot be read from the source."""


def _fenced(found: re.Match[str]) -> str:
    lines = [line.removeprefix(found[1]) for line in found[0].splitlines()]
    return "\n".join(["```pycon", *lines, "```"])


def _listed(match: re.Match[str]) -> str:
    rows = re.sub(r"^    (\S[^:]*): ", r"- `\1`: ", match[1], flags=re.MULTILINE)
    return f"**Parameters**\n\n{re.sub(r'^ +', '  ', rows, flags=re.MULTILINE)}"


def as_markdown(text: str) -> str:
    """Return a docstring with its examples fenced, and its drawings as Markdown's indented code."""
    return EXAMPLE.sub(_fenced, DIRECTIVE.sub("", text))


def fields(of: Class) -> str:
    """Return the fields of a record as code, or an empty string for a class that is no record."""
    seen = [
        f"{name}: {member.annotation}"
        for name, member in of.members.items()
        if isinstance(member, Attribute) and not name.startswith("_") and "property" not in member.labels
        if member.annotation and not member.docstring and "ClassVar" not in str(member.annotation)
    ]
    return "\n".join(["```python", *seen, "```"]) if seen else ""


def plain(annotation: Any, package: Module) -> Any:
    """Return an annotation with each alias of this library replaced: ``Text`` by ``str``, ``LinkRule`` by its words."""
    if isinstance(annotation, ExprName):
        inner = meaning(annotation, package)
        return annotation if inner is None else plain(inner, package)
    if not isinstance(annotation, Expr):
        return annotation
    for field in dataclasses.fields(annotation):
        value = getattr(annotation, field.name)
        if isinstance(value, list):
            setattr(annotation, field.name, [plain(each, package) for each in value])
        elif isinstance(value, Expr):
            setattr(annotation, field.name, plain(value, package))
    return annotation


def meaning(name: ExprName, package: Module) -> Any:
    """Return the expression that an alias stands for, or None for a class, a type variable and another library's name."""
    path = name.canonical_path
    try:
        found = package.modules_collection[path]
        found = found.final_target if found.is_alias else found
    except (KeyError, AliasResolutionError):
        return None
    if not isinstance(found, Attribute) or not isinstance(found.parent, Module) or isinstance(found.value, ExprCall):
        return None
    value = found.value
    if isinstance(value, ExprSubscript) and str(value.left) == "Annotated" and isinstance(value.slice, ExprTuple):
        return value.slice.elements[0]
    return value if isinstance(value, Expr) and path.startswith("pocketenv_fp.") else None


class Docstrings(Extension):
    """Change what was read from the source before it is shown."""

    def on_package(self, *, pkg: Module, **_: Any) -> None:
        waiting: list[Object] = [pkg]
        while waiting:
            each = waiting.pop()
            waiting += [member for member in each.members.values() if not member.is_alias]
            if isinstance(each, Function):
                waiting += each.overloads or []
                each.returns = plain(each.returns, pkg)
                for parameter in each.parameters:
                    parameter.annotation = plain(parameter.annotation, pkg)
            elif isinstance(each, Attribute):
                each.annotation = plain(each.annotation, pkg)

    def on_module(self, *, mod: Module, **_: Any) -> None:
        if mod.path in COMPUTED:
            mod.exports = list(import_module(mod.path).__all__)

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)

    def on_class(self, *, cls: Class, **_: Any) -> None:
        if cls.docstring:
            cls.docstring.value = f"{cls.docstring.value}\n\n{fields(cls)}".rstrip()

    def on_function(self, *, func: Function, **_: Any) -> None:
        # The first parameter is the target of the combinator's step: callers do not write it.
        if any(str(each.value).startswith("combinator(") for each in func.decorators):
            target = func.parameters[0]
            given = str(func.returns).removeprefix("Result[").removesuffix(", PocketenvError]")
            func.returns = f"Step[{target.annotation}, {given}]"
            del func.parameters[target.name]
