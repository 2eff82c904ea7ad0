"""One embedded platform for the whole run: real HTTP, real processes, real sealed boxes."""

from __future__ import annotations

import gc
import itertools
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from pocketenv_fp import local
from pocketenv_fp.http import storage, transport
from pocketenv_fp.local.server import Platform
from tests import bytecode, places, scratch
from tests.examples import register
from tests.figures import Figures

FIGURES = pytest.StashKey[Figures]()
# A shell starts what runs in the background with these ignored, and children inherit it: the tests send them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

VARIABLES = ("POCKETENV_TOKEN", "POCKETENV_API_URL", "POCKETENV_STORAGE_URL", "POCKETENV_PUBLIC_KEY")
LIVE = places.TESTS / "live"

register()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that runs the tests of behaviour against another API."""
    parser.getgroup("pocketenv").addoption(
        "--pocketenv-live",
        action="store_true",
        help="run tests/live against the API, storage, token and key of POCKETENV_*, and nothing else",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Have a run of all tests use all processors: ``-n0`` or ``-p no:xdist`` is one process, as is a run of some tests.

    Another platform's account is one for all tests, which look at the end what is left there.
    """
    is_whole = config.args_source is not pytest.Config.ArgsSource.ARGS and not config.getoption("pocketenv_live")
    if is_whole and not hasattr(config, "workerinput") and getattr(config.option, "numprocesses", 0) is None:
        # Half of a test's time is a wait for a sandbox, a server or a pause: more processes keep the processors busy.
        config.option.numprocesses = _processors() + 4
        # Each process has a part of the tests, in their order: what a module sets up is set up once.
        config.option.dist = "worksteal"


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pytest_configure(config: pytest.Config) -> None:
    """Start with no figures, and have the processes of a run share compiled modules."""
    config.stash[FIGURES] = Figures()
    if getattr(config.option, "numprocesses", None):
        bytecode.share(config)
        scratch.use_memory(config)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the temporary directory of a run with several processes."""
    scratch.remove(config)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Have one of several processes compile the tests."""
    # Collection makes a million objects that all stay: a search for garbage among them takes seconds and finds none.
    gc.disable()
    try:
        if not hasattr(session.config, "workerinput"):
            return (yield)
        with bytecode.first_alone(session.config):
            return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect all but tests/live where those run against another API, and what needs a contract that is not there."""
    if config.getoption("pocketenv_live"):
        _deselect(config, items, [item for item in items if not item.path.is_relative_to(LIVE)])
    if not places.PLATFORM.is_dir():
        away = [item for item in items if item.get_closest_marker("contract")]
        if away:
            text = f"{len(away)} tests were left out: they need the platform's contract, and {places.PLATFORM} is not there"
            config.stash[FIGURES].line("the platform's contract", text)
        _deselect(config, items, away)


def _deselect(config: pytest.Config, items: list[pytest.Item], away: list[pytest.Item]) -> None:
    left = set(away)
    config.hook.pytest_deselected(items=away)
    items[:] = [item for item in items if item not in left]


@pytest.fixture(scope="session")
def platform() -> Iterator[local.Platform]:
    """The embedded platform, shared by all tests that do not change it for others."""
    with local.platform() as running:
        yield running


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Paths of directories that are not there, for tests without a directory of their own."""
    folder = tmp_path_factory.mktemp("homes")
    return (folder / str(number) for number in itertools.count())


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Keep a shared platform's list of calls from its limit of 10,000: a test could not count any more calls."""
    for value in getattr(item, "funcargs", {}).values():
        if isinstance(value, Platform) and len(value.calls) > 5_000:
            value.calls.clear()


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, _homes: Iterator[Path]) -> Iterator[None]:
    """No test sees the login of this machine's user: neither the environment's token nor the home directory's."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    # A new directory among thousands takes longer than most tests, which need none.
    has_own = "tmp_path" in request.fixturenames
    home = request.getfixturevalue("tmp_path") / "home" if has_own else next(_homes)
    monkeypatch.setenv("HOME", str(home))
    # A fixture of more than one test has entered a platform.
    mark = local.entered.set(None)
    yield
    local.entered.reset(mark)


@pytest.fixture
def environment(_nobody: None, platform: local.Platform, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The environment of a user that is logged in to the embedded platform, and has no sandbox there yet.

    Names are unique on a platform: what a test leaves behind would be in the way of the next one.
    """
    # Tests that take the platform without this may have left some.
    platform.remove_sandboxes()
    for name, value in platform.environment.items():
        monkeypatch.setenv(name, value)
    yield platform.environment
    platform.remove_sandboxes()


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are sent again at once: for tests of how often that is, and not of the pauses."""

    def nap(_seconds: float) -> None:
        """Return at once."""

    for module in (storage, transport):
        monkeypatch.setattr(module, "nap", nap)


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Figures:
    """What the run reports at its end."""
    return pytestconfig.stash[FIGURES]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the figures of one of several processes to the one that reports."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["figures"] = session.config.stash[FIGURES].plain()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take the figures of one of several processes. One that died has none."""
    plain = getattr(node, "workeroutput", {}).get("figures")
    if plain:
        node.config.stash[FIGURES].add(plain)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the figures."""
    for title, lines in config.stash[FIGURES].sections():
        terminalreporter.section(title)
        for line in lines:
            terminalreporter.write_line(line)
