r"""The pytest plugin with the fixture `pocketenv_local`: a running embedded platform for each test.

    from pocketenv_fp import create, exec, start

    def test_my_pipeline(pocketenv_local):
        result = create("box") | start | exec("echo", ["hi"])
        assert result.unwrap().stdout == "hi\n"

The plugin comes with the library and needs the extra `local`. The first test that uses the fixture starts the platform,
one for the session (with pytest-xdist, one for each worker). Each test is a new user without sandboxes. Its sandboxes
are removed after it. POCKETENV_* variables, the token file and a `using` block around the test are ignored. Settings
inside the test are used.

`--pocketenv-isolation` sets the isolation of the sandboxes. The default is the best level of this machine.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from pocketenv_fp.config import Config, using

if TYPE_CHECKING:
    from pocketenv_fp.local import Platform
    from pocketenv_fp.local.box import Isolation
    from pocketenv_fp.local.faults import Faults

__all__ = ["PocketenvLocal"]

_LEVEL = pytest.StashKey[str]()
_numbers = itertools.count(1)


class PocketenvLocal:
    """The platform of one test: its address, its user and its requests."""

    def __init__(self, platform: Platform, handle: str) -> None:
        self._platform = platform
        self.handle = handle
        self.token = platform.new_user(handle)
        faults = platform.faults
        self._before = {name: faults.worked(name) for name in faults.names("*")}

    @property
    def url(self) -> str:
        """The URL of its API."""
        return self._platform.url

    @property
    def storage_url(self) -> str:
        """The URL of its storage."""
        return self._platform.storage_url

    @property
    def public_key(self) -> str:
        """The public key for sealing secrets, in hex."""
        return self._platform.public_key

    @property
    def isolation(self) -> str:
        """The isolation of its sandboxes from this machine: see `local.Platform.isolation`."""
        return self._platform.isolation

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a program that the test starts uses this platform as this test's user."""
        return {**self._platform.environment, "POCKETENV_TOKEN": self.token}

    @property
    def calls(self) -> list[tuple[str, int]]:
        """The requests since the start of the test as (method, status), oldest first."""
        return list(self._platform.calls)

    @property
    def faults(self) -> Faults:
        """The faults to play in the next responses of this test: see `pocketenv_fp.local.faults`."""
        return self._platform.faults

    def worked(self, method: str) -> int:
        """Return how often a method was executed since the start of the test, as `faults.worked` counts it."""
        faults = self._platform.faults
        return sum(faults.worked(name) - self._before[name] for name in faults.names(method))

    def new_user(self, handle: str) -> str:
        """Create another user with this `handle` (`alice.test`). Returns the token."""
        return self._platform.new_user(handle)

    def __repr__(self) -> str:
        return f"<PocketenvLocal {self.url} handle={self.handle!r} isolation={self.isolation!r}>"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the command-line options, which `addopts` can set too."""
    parser.getgroup("pocketenv").addoption(
        "--pocketenv-isolation",
        choices=("bubblewrap", "processes"),
        help="isolation of the sandboxes of pocketenv_local (default: the best level of this machine)",
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Report the isolation level, if a test used sandboxes."""
    level = config.stash.get(_LEVEL, None)
    if level is not None and terminalreporter.verbosity >= 0:
        terminalreporter.write_line(f"pocketenv_local: isolation {level!r}")


@pytest.fixture(scope="session")
def _pocketenv_platform(pytestconfig: pytest.Config) -> Iterator[Platform]:
    with _started(pytestconfig.getoption("pocketenv_isolation")) as platform:
        pytestconfig.stash[_LEVEL] = platform.isolation
        yield platform


@pytest.fixture
def pocketenv_local(_pocketenv_platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Iterator[PocketenvLocal]:
    """Run an embedded Pocketenv platform on this machine, and let pocketenv_fp use it during the test."""
    platform = _pocketenv_platform
    platform.calls.clear()
    here = PocketenvLocal(platform, f"test{next(_numbers)}.localhost")
    for name, value in here.environment.items():
        monkeypatch.setenv(name, value)
    # The environment reaches threads and child processes. The block comes before another block around the test.
    config = Config(api_url=here.url, storage_url=here.storage_url, public_key=here.public_key, token=here.token)
    with using(config):
        yield here
    platform.faults.clear()
    platform.remove_sandboxes()


def _started(isolation: Isolation | None) -> Platform:
    # Imported here: pytest loads this module in every run, if the library is installed.
    from pocketenv_fp import local

    try:
        return local.platform(isolation=isolation)
    except ModuleNotFoundError as error:
        pytest.fail(f"pocketenv_local: {error}", pytrace=False)
    except OSError as error:
        pytest.fail(f"pocketenv_local cannot start: {error}", pytrace=False)
