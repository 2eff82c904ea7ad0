"""Run the notebooks and write what they print into them: ``python -m tests.notebooks``, or with the names of some.

The stored outputs are those that every machine would show: no times, no user's name, and of a progress bar its last
state. They run in an empty folder and in a home of their own. A page of the documentation is written for each.
"""

from __future__ import annotations

import base64
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import nbformat
from nbclient import NotebookClient

from tests.places import ROOT

__all__ = ["FOLDER", "PAGES", "Cell", "Output", "cells", "cleaned", "executed", "names", "page", "read", "text"]

FOLDER = ROOT / "notebooks"
PAGES = ROOT / ".docs" / "notebooks"
SECONDS = 120
CHATTER = re.compile(r"[✓✕] [\d,]+ steps?, |Matplotlib is building the font cache")
BAR = re.compile(r" *\d+%\|.*\| \d+/\d+ \[.*\]")

Cell = Mapping[str, Any]
Output = Mapping[str, Any]


def names() -> list[str]:
    """Return the names of the notebooks, in the order of reading."""
    return sorted(path.stem for path in FOLDER.glob("*.ipynb"))


def read(name: str) -> Any:
    """Return a notebook as it is stored."""
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)  # type: ignore[no-untyped-call]


def cells(notebook: Any) -> list[Cell]:
    """Return the cells that are code."""
    return [cell for cell in cast("list[Cell]", notebook.cells) if cell["cell_type"] == "code"]


def executed(name: str, folder: Path, *, times: int = 1) -> Any:
    """Return a notebook with the outputs of a run in ``folder``. Raises CellExecutionError where a cell raises.

    Each cell runs ``times`` times before the next one runs.
    """
    notebook = read(name)
    if times > 1:
        notebook.cells = [
            nbformat.from_dict({**cell, "id": f"{cell.id}-{time}"})  # type: ignore[no-untyped-call]
            for cell in notebook.cells
            for time in range(times)
        ]
    client = NotebookClient(
        notebook,
        timeout=SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        coalesce_streams=True,
        record_timing=False,
    )
    client.execute()
    return cleaned(notebook)


def cleaned(notebook: Any) -> Any:
    """Take away what belongs to one run on one machine."""
    notebook.metadata = nbformat.from_dict(  # type: ignore[no-untyped-call]
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [_settled(output) for output in cell.outputs if not _is_chatter(output)]
    return notebook


def _is_chatter(output: Any) -> bool:
    # What comes where a machine is slow: the line about a cell that takes a while, and, once, about the fonts. And live
    # output that has made way for the result.
    is_empty = not text(output).strip() and "image/png" not in output.get("data", {})
    return is_empty or bool(CHATTER.match(text(output)))


def _settled(output: Any) -> Any:
    output.get("metadata", {}).clear()
    if output.output_type == "stream":
        output.text = "\n".join(line.rstrip() for line in output.text.split("\n"))
        # A bar of text is drawn on stderr, which pages show as if something were wrong.
        output.name = "stdout" if BAR.fullmatch(output.text.strip()) else output.name
    return output


def text(output: Output) -> str:
    """Return the text of an output, without a picture."""
    return str(output["text"] if output["output_type"] == "stream" else output["data"].get("text/plain", ""))


def page(name: str, notebook: Any) -> dict[str, bytes]:
    """Return the files of the documentation's page for a notebook: its Markdown, and its plots."""
    parts: list[str] = []
    files: dict[str, bytes] = {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source.replace(".ipynb)", ".md)").replace("(../.docs/", "(../"))
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for output in cell.outputs:
            picture = output.get("data", {}).get("image/png")
            if picture is None:
                parts.append(f"````text\n{text(output).rstrip()}\n````")
            else:
                file = f"{name}-{len(files) + 1}.png"
                files[file] = base64.b64decode(picture)
                parts.append(f"![A plot of this cell]({file})")
    return {f"{name}.md": ("\n\n".join(parts) + "\n").encode(), **files}


def main(wanted: list[str]) -> None:
    """Run these notebooks, or all, and write them back."""
    for name in wanted or names():
        with TemporaryDirectory() as folder:
            os.environ["HOME"] = os.environ["IPYTHONDIR"] = folder
            notebook = executed(name, Path(folder))
        nbformat.write(notebook, FOLDER / f"{name}.ipynb")  # type: ignore[no-untyped-call]
        for file, content in page(name, notebook).items():
            (PAGES / file).write_bytes(content)
        print(name)


if __name__ == "__main__":
    main([Path(name).stem for name in sys.argv[1:]])
