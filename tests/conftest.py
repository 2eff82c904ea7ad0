"""One embedded platform for the whole run: real HTTP, real processes, real sealed boxes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pocketenv_fp import local

TOLD = pytest.StashKey[dict[str, list[str]]]()
# A shell starts what runs in the background with these ignored, and children inherit it: the tests send them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

VARIABLES = ("POCKETENV_TOKEN", "POCKETENV_API_URL", "POCKETENV_STORAGE_URL", "POCKETENV_PUBLIC_KEY")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that runs the tests of behaviour against another API."""
    parser.getgroup("pocketenv").addoption(
        "--pocketenv-live",
        action="store_true",
        help="run tests/live against the API, storage, token and key of POCKETENV_*, and nothing else",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect all but tests/live where those run against another API."""
    if not config.getoption("pocketenv_live"):
        return
    live = [item for item in items if "live" in item.path.parts]
    config.hook.pytest_deselected(items=[item for item in items if item not in live])
    items[:] = live


@pytest.fixture(scope="session")
def platform() -> Iterator[local.Platform]:
    """The embedded platform, shared by all tests that do not change it for others."""
    with local.platform() as running:
        yield running


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the person who runs it: neither the environment's token nor the home directory's."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def environment(_nobody: None, platform: local.Platform, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The environment of somebody who is logged in to the embedded platform, and has no sandbox there yet.

    Names are unique on a platform: what a test leaves behind would be in the way of the next one.
    """
    # Tests that take the platform without this may have left some.
    platform.remove_sandboxes()
    for name, value in platform.environment.items():
        monkeypatch.setenv(name, value)
    yield platform.environment
    platform.remove_sandboxes()


@pytest.fixture(scope="session")
def told(pytestconfig: pytest.Config) -> dict[str, list[str]]:
    """What the run tells at its end: lines, under titles."""
    return pytestconfig.stash.setdefault(TOLD, dict[str, list[str]]())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What the tests put into `told`."""
    for title, lines in config.stash.get(TOLD, dict[str, list[str]]()).items():
        terminalreporter.section(title)
        for line in lines:
            terminalreporter.write_line(line)
