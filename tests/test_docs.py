"""Every example of the package's docstrings is run, each in a fresh namespace, on the embedded platform."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest

import pocketenv_fp
from pocketenv_fp import local, pocketenv, sandbox

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
def test_the_examples_of_a_docstring_are_true(example: doctest.DocTest) -> None:
    report: list[str] = []
    failed, tried = doctest.DocTestRunner(optionflags=FLAGS).run(example, out=report.append)
    assert tried > 0
    assert failed == 0, "".join(report)


@pytest.mark.parametrize(
    "name", [f"{module.__name__}.{name}" for module in (pocketenv, sandbox) for name in module.__all__]
)
def test_every_function_has_an_example(name: str) -> None:
    module, _, function = name.rpartition(".")
    text = getattr(importlib.import_module(module), function).__doc__
    assert ">>>" in text, f"{name} shows no example"
    assert "Give" in text, f"{name} does not say what comes back"


def test_the_embedded_platform_is_the_one_that_the_examples_use(platform: local.Platform) -> None:
    before = len(platform.calls)
    with pocketenv_fp.using(pocketenv_fp.Config(api_url=platform.url, token=platform.token)):
        pocketenv_fp.me().unwrap()
    assert len(platform.calls) == before + 1
