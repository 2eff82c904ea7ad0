"""One walk over the platform for all tests of its answers, and the report at the end of the run."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import pytest

from pocketenv_fp import local
from pocketenv_fp.local.box import bubblewrap
from tests.conformance import contract, test_wire, watched
from tests.conformance.recorder import Exchange, Recorded, Recorder
from tests.conformance.table import rows
from tests.conformance.walk import hammer, repeat_without_login, walk

WALKED = pytest.StashKey[list[Exchange]]()
SENT = pytest.StashKey[Counter[int]]()


@pytest.fixture(scope="session")
def walked(pytestconfig: pytest.Config) -> list[Exchange]:
    """Return all answers of the platform to walks through all its methods: with and without a login, at each level."""
    exchanges = list[Exchange]()
    levels: list[Literal["bubblewrap", "processes"]] = ["processes"]
    if bubblewrap() is not None:
        levels.append("bubblewrap")
    for level in levels:
        with local.platform(boot_delay=300, isolation=level) as platform:
            recorder = Recorder(platform)
            with Recorded(platform, platform.token, recorder) as wire:
                walk(wire)
                repeat_without_login(wire)
        exchanges += recorder.exchanges
    with local.platform(rate_limit=3) as limited, Recorded(limited, None, Recorder(limited)) as wire:
        hammer(wire)
        exchanges += wire.recorder.exchanges
    pytestconfig.stash[WALKED] = exchanges
    return exchanges


@pytest.fixture(scope="session")
def sent(pytestconfig: pytest.Config) -> Counter[int]:
    """Return the number of bad requests by the status of their answers. 0 is a closed connection."""
    counted = pytestconfig.stash[SENT] = Counter[int]()
    return counted


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table of all methods, and the number of bad requests."""
    exchanges = config.stash.get(WALKED, None)
    if exchanges is not None and contract.LEXICONS.is_dir():
        terminalreporter.section("the embedded platform and the published contract")
        for line in rows(exchanges):
            terminalreporter.write_line(line)
    callers = config.stash.get(watched.SEEN, None)
    if callers:
        terminalreporter.section("the methods of the platform and the functions that call them")
        for line in watched.rows(callers):
            terminalreporter.write_line(line)
    replayed = config.stash.get(test_wire.EQUAL, None)
    if replayed is not None:
        terminalreporter.write_line(f"{replayed[0]} of {replayed[1]} requests equal")
        for number, reason in sorted(test_wire.UNEQUAL.items()):
            terminalreporter.write_line(f"  not equal: {number}, {reason}")
    counted = config.stash.get(SENT, None)
    if counted:
        told = ", ".join(f"{status}: {number}" for status, number in sorted(counted.items()))
        terminalreporter.write_line(f"bad requests sent: {sum(counted.values())} (by status: {told})")
