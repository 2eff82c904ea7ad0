"""Progress: its reports, how often they come, and the text of a bar."""

from __future__ import annotations

import io
import pickle
import sys

import pytest

from pocketenv_fp import upload
from pocketenv_fp.runtime import progress
from pocketenv_fp.runtime.progress import Track, tracking

Told = list[tuple[int, int | None]]


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


def test_it_is_told_at_the_start_at_most_twenty_times_a_second_and_at_the_end(clock: Clock) -> None:
    told: Told = []
    with tracking(lambda done, total: told.append((done, total)), 1000) as track:
        for _ in range(1000):
            track.add(1)
            clock.now += 0.001
    assert told[0] == (0, 1000)
    assert told[-1] == (1000, 1000)
    assert 20 <= len(told) <= 22
    assert told == sorted(told)


def test_the_end_is_told_once() -> None:
    told: Told = []
    with tracking(lambda done, total: told.append((done, total)), 0) as track:
        track.finish()
    assert told == [(0, 0)]


def test_who_begins_again_tells_so_at_once() -> None:
    told: Told = []
    with tracking(lambda done, total: told.append((done, total)), None) as track:
        track.add(5)
        track.restart(9)
        track.add(9)
    assert told == [(0, None), (0, 9), (9, 9)]


def test_the_end_is_not_told_where_there_is_none() -> None:
    told: Told = []

    def broken() -> None:
        with tracking(lambda done, total: told.append((done, total)), 10) as track:
            track.add(3)
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    assert told == [(0, 10)]


def test_what_a_function_raises_comes_out() -> None:
    def refuse(_done: int, _total: int | None) -> None:
        raise KeyError

    with pytest.raises(KeyError), tracking(refuse, 10):
        pass


def test_nobody_is_told_where_nobody_asked() -> None:
    with tracking(False, 10) as track:  # noqa: FBT003  # as the caller's option has it
        track.add(10)
        track.finish()
    assert isinstance(track, Track)


def test_true_is_a_bar_that_ends_full_and_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_bar_is_closed_where_something_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)

    def broken() -> None:
        with tracking(True, 10):  # noqa: FBT003  # as the caller's option has it
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    assert screen.getvalue().endswith("\n")


def test_without_tqdm_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match=r"pip install .*\[progress\]"), tracking(True, 10):  # noqa: FBT003
        pass


def test_a_step_with_a_function_pickles_as_the_function_does() -> None:
    step = upload("a", progress=print)
    assert pickle.loads(pickle.dumps(step)) == step
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(upload("a", progress=lambda _done, _total: None))
