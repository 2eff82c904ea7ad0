"""The pauses of those who follow jobs, in a time of the test's own."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from pocketenv_fp.sandbox.commands import job_follow
from pocketenv_fp.sandbox.commands.job_follow import AT_ONCE, DENSE_SECONDS, FOLLOWERS_A_SECOND, LONGEST_PAUSE
from pocketenv_fp.sandbox.commands.job_output import Output
from pocketenv_fp.sandbox.commands.job_requests import Look, Place

WITH_OUTPUT = Look("runs", -1, Place(1, 0), None, b"x", b"")
SILENT = Look("runs", -1, Place(1, 0), None, b"", b"")
UNREAD = Look("runs", -1, Place(9, 0), None, b"x", b"")


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let the time pass by what is put into this list."""
    seconds: list[float] = []
    monkeypatch.setattr(time, "monotonic", lambda: sum(seconds))
    return seconds


def output() -> Output:
    """Return an output of which one byte was read."""
    return Output(Place(1, 0))


def test_followers_share_requests() -> None:
    """Many followers of one process share ten requests a second."""
    followers = job_follow._Followers()
    with ExitStack() as blocks:
        for number in range(1, 31):
            blocks.enter_context(followers.one_more())
            assert followers.seconds == max(DENSE_SECONDS, number / FOLLOWERS_A_SECOND)
        assert followers.seconds == 3.0
    assert followers.seconds == DENSE_SECONDS
    with pytest.raises(LookupError), followers.one_more():
        raise LookupError
    assert followers._number == 0


def test_pace_of_a_full_output(passed: list[float]) -> None:
    """While more output is there, no request waits."""
    pace = job_follow._Pace()
    assert [pace.pause(UNREAD, output()) for _ in range(20)] == [0.0] * 20
    assert pace.pause(WITH_OUTPUT, output()) == pytest.approx(DENSE_SECONDS)
    assert passed == []


def test_pace_of_steady_output(passed: list[float]) -> None:
    """The first requests follow at once, the others once a second."""
    pace = job_follow._Pace()
    pauses: list[float] = []
    for _ in range(20):
        pauses.append(pace.pause(WITH_OUTPUT, output()))
        passed.append(pauses[-1])
    assert pauses == pytest.approx([0.0] * int(AT_ONCE) + [DENSE_SECONDS] * (20 - int(AT_ONCE)))
    passed.append(1000.0)
    assert [pace.pause(WITH_OUTPUT, output()) for _ in range(5)] == pytest.approx([0, 0, 0, 0, DENSE_SECONDS])


def test_pace_of_a_silent_job(passed: list[float]) -> None:
    """The pauses of a silent job grow to a limit, and output ends them."""
    pace = job_follow._Pace()
    assert pace.pause(SILENT, output()) == 0.0
    for seconds, pause in ((10.0, 1.0), (20.0, 3.0), (30.0, LONGEST_PAUSE), (40.0, LONGEST_PAUSE)):
        passed.append(seconds)
        assert pace.pause(SILENT, output()) == pytest.approx(pause)
    assert pace.pause(WITH_OUTPUT, output()) == 0.0
    passed.append(10.0)
    assert pace.pause(SILENT, output()) == pytest.approx(1.0)
