"""The version is in one place, and the changelog has it."""

from __future__ import annotations

import re
import tomllib

import pocketenv_fp
from tests.places import ROOT

CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def test_version_one_place() -> None:
    """The version is in one place."""
    assert PYPROJECT["project"]["dynamic"] == ["version"]
    assert PYPROJECT["tool"]["hatch"]["version"]["path"] == "pocketenv_fp/__init__.py"
    sources = [*(ROOT / "pocketenv_fp").rglob("*.py"), ROOT / "pyproject.toml", ROOT / ".mkdocs.yml"]
    version = f'"{pocketenv_fp.__version__}"'
    assert [path.name for path in sources if version in path.read_text(encoding="utf-8")] == ["__init__.py"]


def test_changelog_version() -> None:
    """The changelog has the current version."""
    headings = re.findall(r"^## \[(.*?)\]", CHANGELOG, re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert pocketenv_fp.__version__ in headings


def test_changelog_order_of_changes() -> None:
    """The kinds of changes are in their order."""
    for part in re.split(r"^## ", CHANGELOG, flags=re.MULTILINE)[1:]:
        kinds = re.findall(r"^### (\w+)$", part, re.MULTILINE)
        assert kinds == [kind for kind in KINDS if kind in kinds]
        assert len(kinds) > 0, part.splitlines()[0]
        assert [line for line in part.splitlines()[1:] if line.startswith("- ")] != []
