r"""The pytest plugin: the fixture `pocketenv_local`, a running embedded platform that the library talks to.

    from pocketenv_fp import create, exec, start

    def test_my_pipeline(pocketenv_local):
        result = create("box") | start | exec("echo", ["hi"])
        assert result.unwrap().stdout == "hi\n"

It comes with the library and needs the extra `local`. The platform is started by the first test that wants it, one
for the whole session (with pytest-xdist, one for each worker). Each test is a user of its own who has nothing yet, and
what it leaves running is ended behind it. Nothing in the surroundings leads a test elsewhere: neither POCKETENV_*, nor
the token file, nor a `using` block around it; what the test itself says does.

`--pocketenv-isolation` says how the sandboxes are kept apart; by default as well as this machine can.
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
    """The platform of one test: where it is, who the test is on it, and what it was asked."""

    def __init__(self, platform: Platform, handle: str) -> None:
        self._platform = platform
        self.handle = handle
        self.token = platform.new_user(handle)
        faults = platform.faults
        self._before = {name: faults.worked(name) for name in faults.names("*")}

    @property
    def url(self) -> str:
        """Where its API is."""
        return self._platform.url

    @property
    def storage_url(self) -> str:
        """Where its storage is."""
        return self._platform.storage_url

    @property
    def public_key(self) -> str:
        """The key that secrets are sealed with, in hex."""
        return self._platform.public_key

    @property
    def isolation(self) -> str:
        """How far its sandboxes are kept from this machine, as `local.Platform.isolation` explains."""
        return self._platform.isolation

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which clients find it as this test's user: for a program that the test starts."""
        return {**self._platform.environment, "POCKETENV_TOKEN": self.token}

    @property
    def calls(self) -> list[tuple[str, int]]:
        """The requests since the test began as (method, status), oldest first."""
        return list(self._platform.calls)

    @property
    def faults(self) -> Faults:
        """What is to go wrong with the next answers of this test: see `pocketenv_fp.local.faults`."""
        return self._platform.faults

    def worked(self, method: str) -> int:
        """How often the work of a method was really done since the test began, as `faults.worked` counts it."""
        faults = self._platform.faults
        return sum(faults.worked(name) - self._before[name] for name in faults.names(method))

    def new_user(self, handle: str) -> str:
        """The token of somebody else, known as `handle` (`alice.test`)."""
        return self._platform.new_user(handle)

    def __repr__(self) -> str:
        return f"<PocketenvLocal {self.url} handle={self.handle!r} isolation={self.isolation!r}>"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what can be set on the command line, and so in `addopts`."""
    parser.getgroup("pocketenv").addoption(
        "--pocketenv-isolation",
        choices=("bubblewrap", "processes"),
        help="how the sandboxes of pocketenv_local are kept apart (default: as well as this machine can)",
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how far sandboxes were kept apart, where there were any."""
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
    """A running Pocketenv platform on this machine that pocketenv_fp talks to during the test."""
    platform = _pocketenv_platform
    platform.calls.clear()
    here = PocketenvLocal(platform, f"test{next(_numbers)}.localhost")
    for name, value in here.environment.items():
        monkeypatch.setenv(name, value)
    # The environment reaches threads and child processes; only a block can outdo another one around the test.
    config = Config(api_url=here.url, storage_url=here.storage_url, public_key=here.public_key, token=here.token)
    with using(config):
        yield here
    platform.faults.clear()
    platform.remove_sandboxes()


def _started(isolation: Isolation | None) -> Platform:
    # Imported here: this module is loaded in every run of pytest where the library is installed.
    from pocketenv_fp import local

    try:
        import httptools  # noqa: F401 - the server would miss it only in its own thread  # pyright: ignore[reportUnusedImport]

        return local.platform(isolation=isolation)
    except ModuleNotFoundError as missing:
        pytest.fail(f"pocketenv_local needs {missing.name}: pip install 'pocketenv-fp[local]'", pytrace=False)
    except OSError as error:
        pytest.fail(f"pocketenv_local cannot start: {error}", pytrace=False)
