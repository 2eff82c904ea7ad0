"""Every recorded request of the real server, sent to the embedded platform: the answers are the recorded ones."""

from __future__ import annotations

import pytest

from pocketenv_fp import local
from tests.conformance import wire_replay
from tests.figures import Figures

_ACCOUNTS = "a failure inside the recorded server's login, with its stack: it had no network to reach the account"
_TERMINAL = "a failure inside the recorded server, which had no provider's terminal; or a page without a WebSocket"
UNEQUAL = {
    192: "GET / is a page for the person at this machine",
    324: "the recorded server could not reach Daytona; here it is played",
    590: _ACCOUNTS,
    593: _ACCOUNTS,
    594: _ACCOUNTS,
    595: _ACCOUNTS,
    597: "the web site to which the login returns is the platform itself here",
    598: _TERMINAL,
    599: _TERMINAL,
    600: _TERMINAL,
    601: _TERMINAL,
    602: _TERMINAL,
    604: "there is no OAuth client here to describe",
    605: "the storage shares its address with the API, and so GET / is the page for the person at this machine",
    606: "the storage shares its address with the API, which answers for all paths but /cp",
}


@pytest.mark.contract
def test_wire_recorded_requests(figures: Figures) -> None:
    """Each recorded request gets the recorded answer, apart from the listed differences."""
    rows = wire_replay.recorded()
    differences: dict[int, str] = {}
    for part in wire_replay.parts(rows):
        with local.platform() as platform:
            for row, different in wire_replay.Replay(platform).run(part):
                if different is not None:
                    differences[row["n"]] = f"{row['case']}: {different}"
    named = [f"  not equal: {number}, {reason}" for number, reason in sorted(UNEQUAL.items())]
    figures.line("the recorded requests", f"{len(rows) - len(differences)} of {len(rows)} requests equal", *named)
    new = {number: difference for number, difference in differences.items() if number not in UNEQUAL}
    assert not new
    assert set(differences) == set(UNEQUAL), "an entry of UNEQUAL is equal by now: remove it"
