"""Progress: its reports, how often they come, and the text of a bar."""

from __future__ import annotations

import io
import pickle
import sys

import pytest

from pocketenv_fp import upload
from pocketenv_fp.runtime import progress
from pocketenv_fp.runtime.progress import Track, tracking

Reports = list[tuple[int, int | None]]


class Clock:
    """Stands still until it is moved."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_tracking_rate(clock: Clock) -> None:
    """Report the start, the end and at most twenty steps a second."""
    reports: Reports = []
    with tracking(lambda done, total: reports.append((done, total)), 1000) as track:
        for _ in range(1000):
            track.add(1)
            clock.now += 0.001
    assert reports[0] == (0, 1000)
    assert reports[-1] == (1000, 1000)
    assert 20 <= len(reports) <= 22
    assert reports == sorted(reports)


def test_tracking_end_once() -> None:
    """Report the end once."""
    reports: Reports = []
    with tracking(lambda done, total: reports.append((done, total)), 0) as track:
        track.finish()
    assert reports == [(0, 0)]


def test_tracking_restart() -> None:
    """Report a restart at once."""
    reports: Reports = []
    with tracking(lambda done, total: reports.append((done, total)), None) as track:
        track.add(5)
        track.restart(9)
        track.add(9)
    assert reports == [(0, None), (0, 9), (9, 9)]


def test_tracking_after_failure() -> None:
    """A failed transfer reports no end."""
    reports: Reports = []

    def broken() -> None:
        with tracking(lambda done, total: reports.append((done, total)), 10) as track:
            track.add(3)
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    assert reports == [(0, 10)]


def test_tracking_callback_raises() -> None:
    """An exception of the callback propagates."""

    def refuse(_done: int, _total: int | None) -> None:
        raise KeyError

    with pytest.raises(KeyError), tracking(refuse, 10):
        pass


def test_tracking_without_callback() -> None:
    """Without a callback nothing is reported."""
    with tracking(False, 10) as track:  # noqa: FBT003  # as the caller's option has it
        track.add(10)
        track.finish()
    assert isinstance(track, Track)


def test_tracking_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """True shows a bar that ends full and is closed."""
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    with tracking(True, None, "output") as track:  # noqa: FBT003  # as the caller's option has it
        track.restart(4096)
        track.add(1024)
        track.restart(4096)
        track.add(4096)
    assert "output: 100%" in screen.getvalue()
    assert "4.00k/4.00k" in screen.getvalue()
    assert screen.getvalue().endswith("\n")


def test_tracking_bar_after_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar is closed after an exception."""
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)

    def broken() -> None:
        with tracking(True, 10):  # noqa: FBT003  # as the caller's option has it
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    assert screen.getvalue().endswith("\n")


def test_tracking_without_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without tqdm the error names the extra to install."""
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match=r"pip install .*\[progress\]"), tracking(True, 10):  # noqa: FBT003
        pass


def test_upload_pickles_progress() -> None:
    """A step with a callback can be pickled if the callback can."""
    step = upload("a", progress=print)
    assert pickle.loads(pickle.dumps(step)) == step
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(upload("a", progress=lambda _done, _total: None))
