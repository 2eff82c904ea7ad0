"""Docstrings as the pages show them: examples and drawings as code, combinators called as a reader calls them."""

from __future__ import annotations

import re
from typing import Any

from griffe import Attribute, Class, Extension, Function, Object

EXAMPLE = re.compile(r"^( *)>>> .*(?:\n(?!\s*$).*)*(?:\n\s*\n\1>>> .*(?:\n(?!\s*$).*)*)*", re.MULTILINE)
PARAMETERS = re.compile(r"^Args:\n((?: +.*\n?)+)", re.MULTILINE)
DIRECTIVE = re.compile(r"^\.\. code-block:: *\w*\n", re.MULTILINE)


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


class Docstrings(Extension):
    """Change what was read from the source before it is shown."""

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
