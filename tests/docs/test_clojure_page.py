"""The tables for users of the Clojure SDK: each line of their Python runs, and no function of the SDK is missing."""

from __future__ import annotations

import html
import inspect
import re
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from returns.result import Result, Success

from pocketenv_fp import local, pocketenv, sandbox
from tests.errors.test_maps import ACCOUNT, SANDBOX, in_python
from tests.places import ROOT

PAGE = ROOT / ".docs" / "clojure.md"
TEXT = PAGE.read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text below a heading."""
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


FUNCTIONS, COPIES, DIFFERENCES = map(section, ("Every function", "Where a copy lands", "What differs, and why"))
PYTHON = re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
SETUPS = [block for block in PYTHON if not block.startswith(">>>")]
OPTION = re.compile(r":([\w-]+) ")
# Each option that a function of the SDK reads, besides the token.
OPTIONS = {
    "pocketenv/create-sandbox": "base provider repo keep-alive",
    "pocketenv/list-sandboxes": "limit offset",
    "pocketenv/list-sandboxes-by-actor": "limit offset",
    "pocketenv/list-secrets": "limit offset",
    "sandbox/start": "repo keep-alive",
    "sandbox/wait-until-running": "timeout-ms interval-ms",
    "sandbox/expose": "description",
    "sandbox/list-secrets": "limit offset",
    "sandbox/create-backup": "description ttl",
}
CALL = re.compile(r"\((pocketenv|sandbox)/([\w-]+)")
PLAIN, PIPELINE = 1, 2


def rows(namespace: str) -> list[list[str]]:
    """The rows of the table of a namespace: Clojure, Python as plain calls, Python as a pipeline."""
    lines = [line for line in FUNCTIONS.splitlines() if line.startswith(f"| `({namespace}/")]
    # A bar in a cell is an entity: pages and repositories disagree about how else to write it.
    cells = [line.split("|")[1:-1] for line in lines]
    return [[html.unescape(re.sub(r"^ (?:`|<code>)|(?:`|</code>) $", "", cell)) for cell in row] for row in cells]


ROWS = {namespace: rows(namespace) for namespace in ("pocketenv", "sandbox")}
EACH = pytest.mark.parametrize(
    ("namespace", "row"), [(name, row) for name, table in ROWS.items() for row in table], ids=lambda each: each[0]
)


def values(column: int) -> dict[str, object]:
    names: dict[str, Any] = {}
    exec(SETUPS[0], names)
    found: dict[str, object] = {}
    for table in ROWS.values():
        for row in table:
            result = eval(row[column], names)
            assert isinstance(result, Result), row[column]
            assert isinstance(result, Success), f"{row[column]} gives {result}"
            found[row[0]] = result.unwrap()
    return found


@pytest.mark.slow
def test_clojure_page_columns(
    environment: dict[str, str], platform: local.Platform, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Both columns of a row run and return the same type."""
    assert environment
    assert len(SETUPS) == 1
    monkeypatch.chdir(tmp_path)
    # The set-up changes two variables: they are gone when the test is.
    monkeypatch.setenv("MY_KEY", "")
    monkeypatch.setenv("MY_TAILSCALE_KEY", "")
    plain = values(PLAIN)
    platform.remove_sandboxes()
    pipeline = values(PIPELINE)
    assert plain.keys() == pipeline.keys()
    for row in ROWS["sandbox"]:
        assert type(plain[row[0]]) is type(pipeline[row[0]]), row[0]
    assert (tmp_path / "copy" / "main.py").read_text() == "print(6 * 7)"


@pytest.mark.parametrize(("namespace", "names"), [("pocketenv", ACCOUNT), ("sandbox", SANDBOX)])
def test_clojure_page_functions(namespace: str, names: str) -> None:
    """Each function of the SDK is in its table."""
    found = [CALL.match(row[0]) for row in ROWS[namespace]]
    assert in_python(" ".join(call[2] for call in found if call)) == in_python(names)


@EACH
def test_clojure_page_names(namespace: str, row: list[str]) -> None:
    """A name keeps its namespace and is in snake case."""
    call = CALL.match(row[0])
    assert call is not None
    function = call[2].replace("-", "_")
    assert row[PLAIN].startswith(f"{namespace}.{function}(")
    assert function in {"pocketenv": pocketenv, "sandbox": sandbox}[namespace].__all__
    if namespace == "sandbox":
        assert re.match(rf"box \| {function}\b", row[PIPELINE])


@EACH
def test_clojure_page_options_in_row(namespace: str, row: list[str]) -> None:
    """Each option of a row is in the Python call. Milliseconds are seconds there."""
    assert namespace in row[PLAIN]
    options = [name.removesuffix("-ms").replace("-", "_") for name in OPTION.findall(row[0])]
    assert re.findall(r"(\w+)=", row[PLAIN]) == options
    for name, number in re.findall(r":([\w-]+)-ms (\d+)", row[0]):
        for column in (PLAIN, PIPELINE):
            assert re.search(rf"\b{name}={int(number) / 1000:g}\b", row[column])


def test_clojure_page_options_of_the_sdk() -> None:
    """Each option of the SDK is in the tables."""
    shown: dict[str, set[str]] = {}
    for table in ROWS.values():
        for row in table:
            if options := OPTION.findall(row[0]):
                call = CALL.match(row[0])
                assert call is not None
                shown.setdefault(f"{call[1]}/{call[2]}", set()).update(options)
    assert shown == {function: set(options.split()) for function, options in OPTIONS.items()}


@pytest.mark.parametrize("namespace", [pocketenv, sandbox], ids=lambda module: module.__name__)
def test_clojure_page_token_parameter(namespace: ModuleType) -> None:
    """Each function of the SDK has a parameter `token` in Python."""
    names = in_python({pocketenv: ACCOUNT, sandbox: SANDBOX}[namespace])
    assert [name for name in names if "token" not in inspect.signature(getattr(namespace, name)).parameters] == []


def test_clojure_page_cells() -> None:
    """Each row of a table has a cell for each column."""
    lines = TEXT.splitlines()
    for above, line in pairwise(lines):
        if above.startswith("|") and line.startswith("|"):
            assert line.count("|") == above.count("|"), line
