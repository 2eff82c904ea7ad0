"""An import that finds no free descriptor: a Failure, if it is this library's own."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

import pytest
from returns.result import Result, Success

from pocketenv_fp import PocketenvError, TransportError, identity
from pocketenv_fp.pocketenv.decorators import checked
from pocketenv_fp.runtime import first_use
from pocketenv_fp.runtime.first_use import unopened
from pocketenv_fp.steps.combinator import combinator
from pocketenv_fp.steps.operation import step

FULL = os.strerror(errno.EMFILE)


class Finder(MetaPathFinder):
    """Raises what the system raises without a free descriptor."""

    def find_spec(self, name: str, *_: object) -> Any:
        if name == "file_of_a_module":
            raise OSError(errno.EMFILE, FULL)
        if name == "other_module":
            raise ImportError("undefined symbol")


@pytest.fixture(autouse=True, params=["file_of_a_module", "compiled_module"])
def module(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    finder = Finder()
    sys.meta_path.insert(0, finder)
    if request.param == "compiled_module":
        # The message of the system's loader, for another reason.
        (tmp_path / "compiled_module.so").write_bytes(b"")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(first_use.os, "strerror", lambda _: "file too short")  # type: ignore[attr-defined]
    yield request.param
    sys.meta_path.remove(finder)


def reason(module: str) -> str:
    return FULL if module == "file_of_a_module" else "file too short"


def importing(module: str, package: str) -> Any:
    """Return a function of a package that imports the module."""
    names: dict[str, Any] = {"__name__": package}
    exec(f"def function(target):\n    import {module}", names)
    return names["function"]


def test_unopened_reason(module: str) -> None:
    """Return the message of an import that fails without a descriptor, else None."""
    assert unopened(module) == reason(module)
    assert unopened("json", module) == reason(module)
    assert unopened("json") is unopened("other_module") is unopened("no_such_module") is None


@pytest.mark.parametrize("decorate", [step(str), combinator(), checked], ids=["step", "combinator", "function"])
def test_import_by_library(module: str, decorate: Any) -> None:
    """A failed import in the library is a TransportError."""
    own = importing(module, "pocketenv_fp.anything")

    def function(target: str) -> Result[Any, PocketenvError]:
        return Success(own(target))

    made = decorate(function)
    error = (made("box") if decorate is checked else made()("box")).failure()
    assert isinstance(error, TransportError)
    assert (error.operation, error.maybe_sent) == ("function", True)
    assert reason(module) in error.reason


def test_import_by_caller(module: str) -> None:
    """A failed import in the caller's function propagates."""
    with pytest.raises((OSError, ImportError), match=reason(module)):
        identity.map(importing(module, "program"))("box")


def test_import_other_error() -> None:
    """Other errors of the caller propagate."""
    with pytest.raises(FileNotFoundError):
        identity.map(open)("/no/such/file")
    with pytest.raises(ImportError, match="undefined symbol"):
        identity.map(importing("other_module", "pocketenv_fp.anything"))("box")
