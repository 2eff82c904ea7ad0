"""The pauses and the ends of `follow`, with a clock and answers of the test."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

import pytest
from returns.result import Failure, Result, Success

from pocketenv_fp import (
    CommandTimeout,
    DeadlineExceeded,
    ExecResult,
    InvalidInput,
    Job,
    JobNotFound,
    JobTimeout,
    Piece,
    PocketenvError,
)
from pocketenv_fp.runtime.deadline import ANSWER_SECONDS, limited, remaining
from pocketenv_fp.sandbox.commands import job_follow
from pocketenv_fp.sandbox.commands.durable import run_to_the_end
from pocketenv_fp.sandbox.commands.job_follow import (
    AT_ONCE,
    DENSE_SECONDS,
    FOLLOWERS_A_SECOND,
    LONGEST_PAUSE,
    ended,
    follow_to_the_end,
    seen_so_far,
    until_ended,
)
from pocketenv_fp.sandbox.commands.job_output import Output
from pocketenv_fp.sandbox.commands.job_requests import Asking, Look, Place, Work
from pocketenv_fp.sandbox.commands.wire_form import Command
from tests.servers import BOX

WITH_OUTPUT = Look("runs", -1, Place(1, 0), None, b"x", b"")
SILENT = Look("runs", -1, Place(1, 0), None, b"", b"")
UNREAD = Look("runs", -1, Place(9, 0), None, b"x", b"")
UNREAD_ERRORS = Look("runs", -1, Place(1, 9), None, b"", b"x")
NOTHING_READ = Look("runs", -1, Place(9, 0), None, b"", b"")
ERRORS = Look("runs", -1, Place(1, 0), None, b"", b"x")


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
    assert [pace.pause(look, output()) for look in [UNREAD, UNREAD_ERRORS] * 10] == [0.0] * 20
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


def test_pace_without_progress(passed: list[float]) -> None:
    """A job whose further output does not come is not asked all the time."""
    pace = job_follow._Pace()
    assert [pace.pause(NOTHING_READ, output()) for _ in range(6)] == pytest.approx([0, 0, 0, 0, 1, 2])
    assert passed == []


def test_pace_of_errors(passed: list[float]) -> None:
    """Output to stderr ends the pauses of a silent job too."""
    pace = job_follow._Pace()
    passed.append(20.0)
    assert pace.pause(ERRORS, output()) == 0.0
    passed.append(10.0)
    assert pace.pause(SILENT, output()) == pytest.approx(1.0)


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


# Following, with looks of the test's own.


class Looks(Asking):
    """Answer looks from a list, and note where each one begins and how long it may wait."""

    def __init__(self, answers: Iterable[Look | PocketenvError]) -> None:
        super().__init__(Job(BOX, "nightly"))
        self.answers = list(answers)
        self.asked: list[tuple[Place, float]] = []
        self.followers: list[int] = []
        self.limits: list[float] = []

    def look(self, place: Place, waits: float, most: int = 0) -> Result[Look, PocketenvError]:  # noqa: ARG002  # of the interface
        self.asked.append((place, waits))
        self.followers.append(job_follow._followers._number)
        self.limits.append(remaining())
        answer = self.answers.pop(0)
        return Failure(answer) if isinstance(answer, PocketenvError) else Success(answer)


LAST = Look("ended", 3, Place(4, 1), None, b"cd", b"e")
WHOLE = LAST._replace(stdout=b"abcd")


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses, which take no time."""
    seconds: list[float] = []
    monkeypatch.setattr(job_follow, "nap", seconds.append)
    return seconds


def test_follow_to_the_end(naps: list[float]) -> None:
    """Each look begins where the last one ended, and each piece is passed on once."""
    pieces: list[Piece] = []
    # Of an ended job too, a look has only a part of the output.
    part = Look("ended", 3, Place(4, 1), None, b"b", b"")
    asking = Looks([WITH_OUTPUT, part, LAST])
    output = Output(Place())
    assert follow_to_the_end(asking, output, pieces.append, None) == Success(LAST)
    assert [place for place, _ in asking.asked] == [Place(0, 0), Place(1, 0), Place(2, 0)]
    assert [piece.text for piece in pieces] == ["x", "b", "cd", "e"]
    assert asking.followers == [1, 1, 1]
    assert job_follow._followers._number == 0
    assert ended(LAST, output) == Success(ExecResult("xbcd", "e", 3))
    assert ended(LAST._replace(late=1.5), output) == Failure(CommandTimeout(1.5, "xbcd", "e"))
    assert naps == [0.0, 0.0]


def test_follow_first_look(naps: list[float]) -> None:
    """A look that was taken already is read, and not requested again."""
    asking = Looks([LAST._replace(sizes=Place(3, 1))])
    assert isinstance(follow_to_the_end(asking, Output(Place()), None, None, WITH_OUTPUT), Success)
    assert [place for place, _ in asking.asked] == [Place(1, 0)]
    assert len(naps) == 1


class Starts(Looks):
    """Answer the start of a job from the list, too."""

    def start(self, work: Work, then: str = "") -> Result[ExecResult, PocketenvError]:  # noqa: ARG002  # of the interface
        answer = self.answers.pop(0)
        assert isinstance(answer, PocketenvError)
        return Failure(answer)


def test_run_to_the_end_refused() -> None:
    """The Failure of the start is the result as it is, and no job is looked for."""
    refused = InvalidInput("command", "is wrong")
    asking = Starts([refused])
    assert run_to_the_end(asking, Work(Command("true")), Output(Place()), None) == Failure(refused)
    assert asking.asked == []


def test_follow_lost(naps: list[float]) -> None:
    """A job that was lost has its output read, and a reason of its own."""
    pieces: list[Piece] = []
    lost = Look("lost", -1, Place(1, 0), None, b"x", b"")
    error = follow_to_the_end(Looks([lost]), Output(Place()), pieces.append, None).failure()
    assert isinstance(error, JobNotFound)
    assert "did not end by itself" in error.message
    assert [piece.text for piece in pieces] == ["x"]
    assert naps == []


def test_follow_timeout(naps: list[float]) -> None:
    """The timeout looks once more, and a deadline around it comes first."""
    asking: Any = Looks([SILENT])
    assert follow_to_the_end(asking, Output(Place()), None, 0.0) == Failure(JobTimeout(0.0, "nightly"))
    assert [waits for _, waits in asking.asked] == [0.0]
    with limited(0.0):
        over = follow_to_the_end(Looks([SILENT]), Output(Place()), None, 0.0)
        assert isinstance(over.failure(), DeadlineExceeded)
    assert naps == []


@pytest.mark.usefixtures("naps")
def test_follow_timeout_of_a_request() -> None:
    """A request that is ended by the timeout of the wait is that timeout, and no other error is."""
    late = DeadlineExceeded(5.0, "sandbox.exec")
    assert until_ended(Looks([late]), 0.0) == Failure(JobTimeout(0.0, "nightly"))
    with limited(0.0):
        assert until_ended(Looks([late]), 0.0) == Failure(late)
    assert until_ended(Looks([late]), 60.0) == Failure(late)
    assert until_ended(Looks([SILENT] * 99), 1e-9) == Failure(JobTimeout(1e-9, "nightly"))
    assert until_ended(Looks([late]), 1e-9) == Failure(JobTimeout(1e-9, "nightly"))
    other = InvalidInput("sandbox", "is STOPPED")
    assert isinstance(until_ended(Looks([other]), 0.0).failure(), JobNotFound)
    look, output = until_ended(Looks([SILENT, WHOLE]), None).unwrap()
    assert (look, output.stdout, output.stderr) == (WHOLE, "abcd", "e")


def test_follow_waits_in_the_sandbox(naps: list[float]) -> None:
    """A request may wait until the timeout or the deadline, and a pause ends there too."""
    asking = Looks([SILENT, SILENT, WHOLE])
    with limited(1000.0):
        assert isinstance(until_ended(asking, 500.0), Success)
    assert all(400.0 < waits <= 500.0 for _, waits in asking.asked)
    assert all(500.0 < limit <= 500.0 + ANSWER_SECONDS for limit in asking.limits)
    with limited(100.0):
        assert isinstance(until_ended(asking := Looks([WHOLE]), 500.0), Success)
    assert all(50.0 < waits <= 100.0 for _, waits in asking.asked)
    assert len(naps) == 2


def test_follow_pauses(passed: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses are those of the pace, and end with the timeout."""
    monkeypatch.setattr(job_follow, "nap", passed.append)
    assert isinstance(until_ended(Looks([SILENT] * 6 + [WHOLE]), None), Success)
    assert passed == pytest.approx([0, 0, 0, 0, 1, 1])
    passed.clear()
    assert until_ended(Looks([SILENT] * 20), 2.5) == Failure(JobTimeout(2.5, "nightly"))
    assert passed == pytest.approx([0, 0, 0, 0, 1, 1, 0.5])


def test_seen_so_far() -> None:
    """All output until now is read, in several looks, and a running job is not waited for."""
    asking = Looks([UNREAD, UNREAD._replace(sizes=Place(2, 0))])
    look, output = seen_so_far(asking).unwrap()
    assert (look.state, output.stdout) == ("runs", "xx")
    assert asking.asked == [(Place(0, 0), 0.0), (Place(1, 0), 0.0)]
    assert seen_so_far(Looks([NOTHING_READ])).unwrap()[1].stdout == ""
    errors = Looks([Look("runs", -1, Place(0, 2), None, b"", b"e"), Look("runs", -1, Place(0, 2), None, b"", b"f")])
    assert seen_so_far(errors).unwrap()[1].stderr == "ef"
    assert isinstance(seen_so_far(Looks([InvalidInput("sandbox", "is STOPPED")])).failure(), JobNotFound)
