"""The command that installs an extra is one that works where the library came from."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from pocketenv_fp.extras import command_for, install_command
from tests.places import ROOT

WHEEL = "file:///tmp/a%20b/pocketenv_fp-0.1.0-py3-none-any.whl"
GIT = {"vcs": "git", "requested_revision": "main", "commit_id": "1a2b3c"}


@pytest.mark.parametrize(
    ("origin", "requirement"),
    [
        (None, ["pocketenv-fp[local]"]),
        ({"url": "file:///home/me/it%27s%20mine", "dir_info": {"editable": True}}, ["-e", "/home/me/it's mine[local]"]),
        ({"url": "file:///home/me/clone", "dir_info": {}}, ["/home/me/clone[local]"]),
        ({"url": "https://example.org/x.git", "vcs_info": GIT}, ["pocketenv-fp[local] @ git+https://example.org/x.git@1a2b3c"]),
        ({"url": WHEEL, "archive_info": {}}, [f"pocketenv-fp[local] @ {WHEEL}"]),
    ],
)  # fmt: skip
def test_command_for_origins(origin: Any, requirement: list[str]) -> None:
    """The command installs from the origin of the installed package."""
    assert shlex.split(command_for("local", origin)) == ["pip", "install", *requirement]


class Installed:
    """A distribution with an origin."""

    def __init__(self, origin: Any) -> None:
        self.origin = origin

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return self.origin and json.dumps(self.origin)


def test_install_command_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package from an index is installed by its name."""

    def installed(_: str) -> Installed:
        return Installed(None)

    monkeypatch.setattr(importlib.metadata, "distribution", installed)
    assert install_command("keys") == "pip install 'pocketenv-fp[keys]'"


def test_install_command_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clone on the import path is installed as an editable package."""

    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    assert shlex.split(install_command("keys")) == ["pip", "install", "-e", f"{ROOT}[keys]"]


def test_extras_requirement_in_one_file() -> None:
    """No other module writes a requirement by hand."""
    files = [*(ROOT / "pocketenv_fp").rglob("*.py"), *(ROOT / ".docs").glob("*.md")]
    assert [path.name for path in files if "pocketenv-fp[" in path.read_text("utf-8")] == ["extras.py"]


def test_extras_of_messages() -> None:
    """Each extra that a message names is in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    text = "".join(path.read_text("utf-8") for path in Path(ROOT / "pocketenv_fp").rglob("*.py"))
    for extra in ("local", "keys", "progress"):
        assert extra in project["optional-dependencies"]
        assert f'"{extra}")' in text or f"install_command('{extra}')" in text


def test_local_without_extra() -> None:
    """The embedded platform says so, wherever it is started from."""
    code = "import sys; sys.modules['uvicorn'] = None; from pocketenv_fp import me; me()"
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "POCKETENV_API_URL": "local"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=60, check=False
    )
    last = done.stderr.splitlines()[-1]
    assert last == f"ModuleNotFoundError: uvicorn is missing: {install_command('local')}"
