"""Every example of the package's docstrings is run, each in a fresh namespace, on the embedded platform."""

from __future__ import annotations

import doctest
import importlib
import inspect
import os
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import pocketenv_fp
from pocketenv_fp import ApiError, PocketenvError, local, pocketenv, sandbox
from pocketenv_fp.providers import provider_of
from tests.names import public_names
from tests.places import ROOT

PROVIDERS = ["cloudflare", "daytona", "deno", "vercel", "sprites", "modal", "e2b", "blaxel", "hopx", "runloop"]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules() -> Iterator[ModuleType]:
    yield pocketenv_fp
    for found in pkgutil.walk_packages(pocketenv_fp.__path__, "pocketenv_fp."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def examples() -> Iterator[doctest.DocTest]:
    for module in modules():
        for found in doctest.DocTestFinder(exclude_empty=True).find(module):
            if found.examples:
                yield found


@pytest.mark.parametrize("example", tuple(examples()), ids=lambda example: example.name.removeprefix("pocketenv_fp."))
@pytest.mark.usefixtures("environment")
def test_docstring_examples(example: doctest.DocTest) -> None:
    """The examples of a docstring pass."""
    report: list[str] = []
    failed, tried = doctest.DocTestRunner(optionflags=FLAGS).run(example, out=report.append)
    assert tried > 0
    assert failed == 0, "".join(report)


def functions() -> dict[str, Any]:
    """Every public function, by its full name: `identity` and the records are values, and say themselves what they are."""
    return {
        f"{module.__name__}.{name}": getattr(module, name)
        for module in (pocketenv_fp, pocketenv, sandbox)
        for name in module.__all__
        if hasattr(getattr(module, name), "__name__")
        if not isinstance(getattr(module, name), (type, ModuleType))
    }


FUNCTIONS = functions()


def docstring(function: Any) -> tuple[str, list[str]]:
    """Its prose, and its lines of source."""
    text = inspect.getdoc(function) or ""
    prose, _, _ = text.partition(">>>")
    return prose, [line for line in text.splitlines() if line.startswith((">>> ", "... "))]


def has_example(function: Any) -> bool:
    _, source = docstring(function)
    used = re.compile(rf"\b{function.__name__}\b")
    return any(used.search(line) for line in source if " import " not in line)


def test_docstring_uses_the_function() -> None:
    """Each function has an example that uses it."""
    assert [name for name, function in FUNCTIONS.items() if not has_example(function)] == []


def test_docstring_return_value() -> None:
    """Each docstring describes the return value."""
    returns = re.compile(r"\b(Gives?|Returns?|Yields?)\b")
    assert [name for name, function in FUNCTIONS.items() if not returns.search(docstring(function)[0])] == []


TIMES = {"delay", "interval", "read_timeout", "seconds", "timeout", "ttl"}
TIME_TYPES = re.compile(r"\b(?:Lifetime|Seconds|Wait)\b")


def units_left_out(function: Any) -> set[str]:
    """The parameters with a number whose unit the docstring does not have."""
    prose, _ = docstring(function)
    parameters = inspect.signature(function).parameters
    times = {each for each, value in parameters.items() if each in TIMES or TIME_TYPES.search(str(value.annotation))}
    sizes = {each for each in parameters if "bytes" in each}
    left_out = {each for each in times | sizes if not re.search(rf"\b{each}\b", prose)}
    left_out |= set() if "second" in prose else times
    left_out |= set() if re.search(r"(?<!_)bytes\b", prose) else sizes
    return left_out


def test_docstring_units() -> None:
    """Each docstring has the units of its numbers."""
    assert {name: left_out for name, each in FUNCTIONS.items() if (left_out := units_left_out(each))} == {}


@pytest.mark.parametrize("namespace", [pocketenv, sandbox], ids=lambda module: module.__name__)
def test_namespace_docstring_errors(namespace: ModuleType) -> None:
    """The docstring of a namespace lists the errors of every request."""
    text = namespace.__doc__ or ""
    for error in ("NotLoggedIn", "Unauthorized", "RateLimited", "ServerError", "TransportError", "DecodeError"):
        assert error in text


def test_page_of_notebooks() -> None:
    """The page of notebooks lists each notebook."""
    listed = re.findall(r"\(notebooks/(\w+)\.md\)", (ROOT / ".docs" / "notebooks.md").read_text(encoding="utf-8"))
    assert listed == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def test_page_of_methods_functions() -> None:
    """The page of methods has each function of both namespaces."""
    text = (ROOT / ".docs" / "methods.md").read_text(encoding="utf-8")
    public = {f"{module.__name__.split('.')[-1]}.{name}" for module in (pocketenv, sandbox) for name in module.__all__}
    # The page has each public name, and no other.
    assert public - set(re.findall(r"`(\w+\.\w+)`", text)) == set()
    assert set(re.findall(r"`((?:pocketenv|sandbox)\.[a-z_]+)`", text)) <= public


PAGES = sorted((ROOT / ".docs").glob("*.md"))
WITH_EXAMPLES = [page for page in PAGES if ">>> " in page.read_text(encoding="utf-8")]


@pytest.fixture
def _own_variables() -> Iterator[None]:
    """What a page sets is gone after it."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.stem)
@pytest.mark.usefixtures("environment", "_own_variables")
def test_page_examples(page: Path) -> None:
    """The examples of a page pass."""
    blocks = re.findall(r"^```python\n(>>> .*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    example = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, page.stem, str(page), 0)
    report: list[str] = []
    failed, tried = doctest.DocTestRunner(optionflags=FLAGS).run(example, out=report.append)
    assert tried == page.read_text(encoding="utf-8").count("\n>>> ")
    assert failed == 0, "".join(report)


def test_examples_platform(platform: local.Platform) -> None:
    """The examples use the embedded platform."""
    before = len(platform.calls)
    with pocketenv_fp.using(pocketenv_fp.Config(api_url=platform.url, token=platform.token)):
        pocketenv_fp.me().unwrap()
    assert len(platform.calls) == before + 1


DOCS = ROOT / ".docs"


def rows(page: str) -> list[list[str]]:
    """The cells of the tables of a page."""
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")]


def test_page_of_errors_tree() -> None:
    """Every public error has a row, and its dashes are its depth in the tree."""
    public = [getattr(pocketenv_fp, name) for name in public_names(pocketenv_fp)]
    errors = [each for each in public if isinstance(each, type) and issubclass(each, PocketenvError)]
    depths = {each.__name__: sum(issubclass(base, ApiError) for base in each.__mro__) for each in errors}
    listed = [re.match(r"((?:— )*)`(\w+)`", row[0]) for row in rows("errors.md")]
    shown = {name[2]: name[1].count("—") for name in listed if name}
    assert shown == {name: max(depth - 1, 0) for name, depth in depths.items()}


@pytest.mark.parametrize("row", [row for row in rows("providers.md") if row[0] in {f"`{name}`" for name in PROVIDERS}])
def test_page_of_providers_row(row: list[str]) -> None:
    """A row of the page agrees with the table in the code."""
    name, shell, seconds, copies, files = row
    known = provider_of(name.strip("`"))
    assert shell.startswith("one bash" if known.persistent else f"a new {known.reader}")
    assert seconds == (f"{known.exec_seconds:g} s" if known.exec_seconds else "not known")
    assert copies.startswith("through storage" if known.copies else "through commands")
    assert files == ("kept" if known.keeps_files else "lost")


def test_page_of_providers_rows() -> None:
    """The page has a row for each provider, in order."""
    assert [row[0] for row in rows("providers.md") if row[0].strip("`") in PROVIDERS] == [
        f"`{name}`" for name in PROVIDERS
    ]
