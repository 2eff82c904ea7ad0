"""What help() and a notebook's `?` show of the public functions: readable signatures, and each parameter."""

from __future__ import annotations

import inspect
import pydoc
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pocketenv_fp
from pocketenv_fp import pocketenv, sandbox
from pocketenv_fp.steps.operation import Curried
from pocketenv_fp.steps.signature import readable

LOGIN = {"token", "config"}


def functions() -> Iterator[tuple[str, Any]]:
    for module in (pocketenv_fp, pocketenv, sandbox):
        for name in module.__all__:
            value = getattr(module, name)
            if hasattr(value, "__name__") and not isinstance(value, (type, ModuleType)):
                yield f"{module.__name__}.{name}", value


def described(function: Any) -> list[str]:
    """The names in the list of parameters, in its order."""
    text = inspect.getdoc(function) or ""
    block = re.search(r"^Args:\n((?: +.*\n?)+)", text, re.MULTILINE)
    rows = re.findall(r"^    ([*\w][\w, *]*): ", block[1], re.MULTILINE) if block else []
    return [name.strip("* ") for row in rows for name in row.split(",")]


def expected(name: str, function: Any) -> list[str]:
    """The parameters in their order, those of the login last."""
    if name == "pocketenv_fp.using":
        return ["config"]
    parameters = [*inspect.signature(function).parameters]
    return sorted(parameters, key=lambda each: each in LOGIN)


def test_help_parameters() -> None:
    """The docstring describes each parameter in order, those of the login last."""
    # Explaining has a page of its own.
    checked = {
        name: function
        for name, function in functions()
        if not function.__module__.startswith("pocketenv_fp.explaining")
    }
    assert len(checked) > 250
    wrong = {
        name: described(function)
        for name, function in checked.items()
        if described(function) != expected(name, function)
    }
    assert wrong == {}


def is_readable(function: Any) -> bool:
    text = pydoc.plain(pydoc.render_doc(function))
    heading = text.partition("\n\n")[2]
    has_name = heading.startswith(f"{function.__name__}(") or f" = {function.__name__}(" in heading.partition("\n")[0]
    shown = heading.partition(f"\n    {(function.__doc__ or '').splitlines()[0]}")[0]
    return has_name and max(map(len, shown.splitlines())) <= 120 and not re.search(r": '", shown)


def test_help_signature() -> None:
    """The signature in `help` has short lines and no quoted types."""
    operations = {name: function for name, function in functions() if isinstance(function, Curried)}
    assert len(operations) > 100
    assert [name for name, function in operations.items() if not is_readable(function)] == []


def test_help_units_and_defaults() -> None:
    """The help of a function has the units and defaults of its parameters."""
    text = pydoc.plain(pydoc.render_doc(pocketenv_fp.wait_until_running))
    assert "    timeout: Annotated" not in text
    assert "timeout: Wait = 60" in text
    assert "timeout: Seconds to wait, below 10000. 0 looks once." in text


def test_ipython_signature() -> None:
    """IPython shows the signature and the docstring of an operation."""
    from IPython.core.oinspect import Inspector

    shown = Inspector(theme_name="linux").info(pocketenv_fp.exec, oname="exec")
    assert "command: str" in str(shown["definition"])
    assert "Args:" in str(shown["docstring"])


def test_readable_keeps_parameters() -> None:
    """The readable signature equals the original one."""

    def function(
        one: int, /, two: str, *rest: int, three: float = 1.0, four: str | None = None, **more: int
    ) -> None: ...

    signature = inspect.signature(function)
    assert readable(signature) == signature
    assert str(readable(signature)).split() == (
        [
            "(",
            "one:",
            "int,",
            "/,",
            "two:",
            "str,",
            "*rest:",
            "int,",
            "three:",
            "float",
            "=",
            "1.0,",
            "four:",
            "str",
            "|",
            "None",
            "=",
            "None,",
            "**more:",
            "int,",
            ")",
            "->",
            "None",
        ]
    )


def test_readable_keyword_only() -> None:
    """Keyword-only parameters come after a star."""

    def function(one: int, *, a_long_name_for_the_second: str = "", a_long_name_for_the_third: str = "") -> None: ...

    assert str(readable(inspect.signature(function))).splitlines()[1:3] == ["    one: int,", "    *,"]


def test_operation_in_a_class() -> None:
    """An operation as a class attribute is no method."""

    class Programs:
        run = pocketenv_fp.exec

    assert Programs().run is Programs.run is pocketenv_fp.exec
