"""Check the files of a release: ``python -m tests.release FOLDER``, after ``python -m build --outdir FOLDER``."""

from __future__ import annotations

import email
import re
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from pathlib import Path

import pocketenv_fp
from tests.places import ROOT

__all__ = ["metadata_faults", "sdist_faults", "wheel_faults"]

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
VERSION = pocketenv_fp.__version__
# What a contributor needs besides the package, and what no user needs.
SOURCES = [
    *(".ci/run", ".docs/start.md", ".github/CONTRIBUTING.md", ".mkdocs.yml", "CHANGELOG.md", "LICENSE", "README.md"),
    *("notebooks/picture.png", "tests/conftest.py", "pyproject.toml", "pocketenv_fp/py.typed"),
]


def metadata_faults(text: str) -> list[str]:
    """Return what is wrong in the METADATA of a wheel."""
    found = email.message_from_string(text)
    extras = {name: len(needs) for name, needs in PROJECT["optional-dependencies"].items()}
    expected = {
        "Name": [PROJECT["name"]],
        "Version": [VERSION],
        "Summary": [PROJECT["description"]],
        "License-Expression": [PROJECT["license"]],
        "Requires-Python": [PROJECT["requires-python"]],
        "Classifier": PROJECT["classifiers"],
        "Project-URL": [f"{name}, {url}" for name, url in PROJECT["urls"].items()],
        "Provides-Extra": [*extras],
    }
    faults = [
        f"{name} is {_all(found, name)}" for name, values in expected.items() if _all(found, name) != sorted(values)
    ]
    needs = _all(found, "Requires-Dist")
    if len([need for need in needs if "extra ==" not in need]) != len(PROJECT["dependencies"]):
        faults.append("Requires-Dist has other dependencies")
    faults += [
        f"the extra {extra} is empty" for extra in extras if not any(f"extra == '{extra}'" in need for need in needs)
    ]
    return faults + ([] if "# pocketenv_fp" in text else ["the README is missing"])


def _all(message: Message, name: str) -> list[str]:
    return sorted(str(value) for value in message.get_all(name, []))


def wheel_faults(wheel: Path) -> list[str]:
    """Return what is wrong with a wheel: its metadata, its entry point, and its modules."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = f"pocketenv_fp-{VERSION}.dist-info"
        faults = metadata_faults(archive.read(f"{info}/METADATA").decode())
        points = archive.read(f"{info}/entry_points.txt").decode()
        for point in ("pocketenv_fp = pocketenv_fp.pytest_plugin", "pocketenv-fp = pocketenv_fp.__main__:main"):
            if point not in points.splitlines():
                faults.append(f"{point} is no entry point")
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "pocketenv_fp").rglob("*.py")} | {
        "pocketenv_fp/py.typed"
    }
    faults += [f"{name} is missing" for name in sorted(modules - names)]
    return faults + [f"{name} is too much" for name in sorted(names - modules) if not name.startswith(info)]


def sdist_faults(sdist: Path) -> list[str]:
    """Return what is missing in a source distribution."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    faults = [f"{name} is missing" for name in SOURCES if name not in names]
    return faults + [f"{name} is too much" for name in sorted(names) if re.search(r"__pycache__|\.venv|^site/", name)]


def main(folder: Path) -> int:
    """Check the wheel and the source distribution in ``folder``. Return the exit code."""
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    faults = [f"{wheel.name}: {fault}" for fault in wheel_faults(wheel)]
    faults += [f"{sdist.name}: {fault}" for fault in sdist_faults(sdist)]
    print("\n".join(faults) or f"{wheel.name} and {sdist.name} are as they should be")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
