"""The notebooks as they are kept: what they show is what they do, and nothing of the machine that ran them.

After a change, ``python -m tests.notebooks`` runs them and writes their outputs.
"""

from __future__ import annotations

import getpass
import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from tests import notebooks

NAMES = notebooks.names()
each_notebook = pytest.mark.parametrize("name", NAMES)

MACHINE = re.compile(
    r"(?<![\w.])/(?:home|root|Users|tmp|var|opt|mnt|private|usr/local|work)/"  # a path of the machine that ran it
    r"|(?:127\.0\.0\.1|localhost):\d"  # a port of that run
    r"|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"  # an id
    r"| at 0x[0-9a-f]{6,}"  # an address in memory
    r"|eyJ[\w-]{10}"  # a token
    r"|Warning\b|Traceback"
)
NUMBERS = re.compile(r"\d+(?:[.,]\d+)*")
RANDOM = re.compile(r"-[0-9a-f]{8}\b")  # the end of the name of an ephemeral sandbox
FILLED = re.compile(r"[ ▏▎▍▌▋▊▉█]+")
PACE = re.compile(r"\[\d+:.*\]|held back for .* limit, ")  # of a progress bar, and of a fleet's first requests
LINK = re.compile(r"\]\((?!https:)([^)#]+)")


def outputs(notebook: Any) -> list[notebooks.Output]:
    return [output for cell in notebooks.cells(notebook) for output in cell["outputs"]]


def said(notebook: Any) -> list[list[str]]:
    """What each cell says, without the numbers in it: times are new in each run, and what fills the room of digits."""
    return [
        [
            FILLED.sub(" ", NUMBERS.sub("0", RANDOM.sub("-RANDOM", PACE.sub("", notebooks.text(output)))))
            for output in cell["outputs"]
        ]
        for cell in notebooks.cells(notebook)
    ]


def kinds(notebook: Any) -> list[set[str]]:
    return [set(output.get("data", ())) for output in outputs(notebook)]


def test_notebooks_order() -> None:
    """The notebooks are numbered in the order of reading."""
    assert [name.split("_")[0] for name in NAMES] == ["01", "02", "03", "04", "05", "06", "07"]


@each_notebook
def test_notebook_first_cells(name: str) -> None:
    """The first cells have a title, a summary and the switch to run offline."""
    title, offline, first, *_ = notebooks.read(name).cells
    assert re.match(r"# \w.+\n\n\w", title.source)
    assert "`POCKETENV_TOKEN`" in offline.source
    assert first.source == 'import os\n\nos.environ["POCKETENV_API_URL"] = "local"'


@each_notebook
def test_notebook_run_in_order(name: str) -> None:
    """All cells were run once, in order, without an error."""
    notebook = notebooks.read(name)
    counts = [cell["execution_count"] for cell in notebooks.cells(notebook)]
    assert counts == [*range(1, len(counts) + 1)]
    assert {output["output_type"] for output in outputs(notebook)} <= {"stream", "display_data", "execute_result"}
    assert not [output for output in outputs(notebook) if output.get("name") == "stderr"]


@each_notebook
def test_notebook_outputs_as_text(name: str) -> None:
    """Each output has a plain text form."""
    notebook = notebooks.read(name)
    assert outputs(notebook)
    for output in outputs(notebook):
        assert notebooks.text(output).strip()
        assert set(output.get("data", ())) <= {"text/plain", "text/html", "image/png"}


@each_notebook
def test_notebook_hides_machine(name: str) -> None:
    """The outputs have no path, user or host name of the machine."""
    notebook = notebooks.read(name)
    shown = json.dumps([*outputs(notebook)], ensure_ascii=False)
    without_pictures = re.sub(r'"image/png": "[^"]*"', "", shown)
    assert MACHINE.findall(without_pictures) == []
    assert str(Path.home()) not in without_pictures
    for own in {getpass.getuser(), socket.gethostname()}:
        assert not re.search(rf"\b{re.escape(own)}\b", without_pictures), own


@each_notebook
def test_notebook_metadata(name: str) -> None:
    """The file has no metadata of its run."""
    notebook = notebooks.read(name)
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert not any(cell.metadata for cell in notebook.cells)
    assert not any(output.get("metadata") for output in outputs(notebook))


@each_notebook
def test_notebook_links(name: str) -> None:
    """Each link leads to an existing file."""
    sources = [cell.source for cell in notebooks.read(name).cells if cell.cell_type == "markdown"]
    for target in LINK.findall("\n".join(sources)):
        assert (notebooks.FOLDER / target).exists(), target


@pytest.mark.slow
@each_notebook
def test_notebook_current_outputs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new run has the same outputs."""
    # pytest, which one of them runs, says more where these are set.
    for variable in ("CI", "BUILD_NUMBER", "COLUMNS", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "home").mkdir()
    (tmp_path / "folder").mkdir()
    kept, today = notebooks.read(name), notebooks.executed(name, tmp_path / "folder")
    assert said(kept) == said(today)
    assert kinds(kept) == kinds(today)
    assert list((tmp_path / "folder").iterdir()) == []


@each_notebook
def test_notebook_page(name: str) -> None:
    """The page of a notebook is up to date."""
    for file, content in notebooks.page(name, notebooks.read(name)).items():
        assert (notebooks.PAGES / file).read_bytes() == content, f"{file}: python -m tests.notebooks writes it"


@pytest.mark.slow
@each_notebook
def test_notebook_cells_run_twice(name: str, tmp_path: Path) -> None:
    """A reader runs a cell again: no cell raises then, or after that."""
    (tmp_path / "home").mkdir()
    (tmp_path / "folder").mkdir()
    notebooks.executed(name, tmp_path / "folder", times=2)
