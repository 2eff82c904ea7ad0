"""A client that follows the platform's headers is never refused, however many threads it has."""

# pyright: reportPrivateUsage=false
# What the limiter says before anybody sleeps is asked without sleeping.

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from returns.result import Success

from pocketenv_fp import Config, get_sandbox, local
from pocketenv_fp.config import settings
from pocketenv_fp.http import rate_limit
from pocketenv_fp.http.rate_limit import Limiter
from pocketenv_fp.http.transport import transport
from pocketenv_fp.local import limits
from pocketenv_fp.runtime.deadline import TimeIsOver, brief, limited
from pocketenv_fp.runtime.deadline import nap as usual_nap
from tests import servers
from tests.servers import VIEW, Reply, Request, Server, client, reply, under


def headers(limit: object, remaining: object, reset: object) -> dict[str, str]:
    return {"X-RateLimit-Limit": str(limit), "X-RateLimit-Remaining": str(remaining), "X-RateLimit-Reset": str(reset)}


def waited(held: Limiter) -> float:
    """Seconds until a turn comes."""
    began = time.monotonic()
    with held.turn():
        return time.monotonic() - began


def test_who_knows_no_limit_does_not_wait() -> None:
    held = Limiter()
    assert all(held._claim() == 0 for _ in range(1000))


def test_what_is_left_is_spent_and_then_the_window_waited_for() -> None:
    held = Limiter()
    held.feed(headers(5, 2, 1))
    began = time.monotonic()
    spent = 0
    with held.turn():
        spent += 1
        with held.turn():
            spent += 1
            assert held._claim() > 0
            with held.turn():
                spent += 1
    assert spent == 3
    assert time.monotonic() - began >= 1.0


def test_turn_brief_begins_no_vain_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cleanup does not wait for a turn that comes after its deadline."""
    naps: list[float] = []
    monkeypatch.setattr(rate_limit, "nap", naps.append)
    held = Limiter()
    held.feed(headers(5, 0, 40))
    with limited(30), brief(), pytest.raises(TimeIsOver), held.turn():
        pass
    assert naps == []
    with limited(0.05), pytest.raises(TimeIsOver), held.turn():
        pass
    assert naps != []


@pytest.mark.parametrize("now", [lambda: 1, lambda: int(time.time()) + 1], ids=["seconds until", "moment of"])
def test_a_reset_is_the_seconds_until_it_or_its_moment(now: Callable[[], int]) -> None:
    held = Limiter()
    held.feed(headers(5, 0, now()))
    assert 0 < held._claim() <= 1.0


def test_a_reset_in_the_past_holds_nobody_back() -> None:
    held = Limiter()
    held.feed(headers(5, 0, int(time.time()) - 100))
    assert held._claim() == 0


@pytest.mark.parametrize(
    "reset", [10_000, int(time.time()) + 10_000, 999_999_999_999_999], ids=["far", "later", "never"]
)
def test_a_reset_far_away_is_waited_for_no_longer_than_a_minute(reset: int) -> None:
    held = Limiter()
    held.feed(headers(5, 0, reset))
    assert 0 < held._claim() <= rate_limit.LONGEST_WAIT


def test_answers_that_overtake_each_other_never_raise_what_is_left() -> None:
    held = Limiter()
    for left in (3, 1, 2):
        held.feed(headers(5, left, 30))
    assert held._claim() == 0
    assert held._claim() > 0


def test_a_new_window_is_learned_from_its_headers() -> None:
    held = Limiter()
    held.feed(headers(5, 0, 100))
    held.feed(headers(5, 4, 101))
    assert [held._claim() > 0 for _ in range(5)] == [False] * 4 + [True]


def test_an_answer_of_an_older_window_that_comes_late_teaches_nothing() -> None:
    held = Limiter()
    later = int(time.time()) + 20
    held.feed(headers(5, 0, later))
    held.feed(headers(5, 4, later - 1))
    assert held._claim() > 0


def test_when_the_window_is_over_one_goes_ahead_and_its_answer_tells_how_many_follow() -> None:
    held = Limiter()
    held.feed(headers(9, 0, 0))
    assert [held._claim() > 0 for _ in range(3)] == [False, True, True]
    held.feed(headers(9, 3, int(time.time()) + 20))
    # The one that went ahead is on its way still, as far as the limiter knows.
    assert [held._claim() > 0 for _ in range(4)] == [False, False, True, True]


def test_one_that_went_ahead_and_is_never_answered_holds_nobody_back_for_long() -> None:
    held = Limiter()
    held.feed(headers(9, 0, 0))
    with held.turn():
        assert rate_limit.GOING_AHEAD / 2 < waited(held) < 10 * rate_limit.GOING_AHEAD


def test_requests_on_their_way_count_before_they_are_answered() -> None:
    held = Limiter()
    held.feed(headers(10, 3, 30))
    assert [held._claim() > 0 for _ in range(4)] == [False, False, False, True]


def test_a_request_that_failed_is_no_longer_on_its_way() -> None:
    held = Limiter()
    held.feed(headers(10, 1, 30))
    for _ in range(3):
        with pytest.raises(ConnectionError), held.turn():
            raise ConnectionError
    assert held._claim() == 0


BAD = st.one_of(
    st.sampled_from(["", "-1", "1.5", "inf", "nan", "0x10", "1e3", "²", "١٢٣ ", " 5", "5, 6", "9" * 400, "9" * 5000]),
    st.text(max_size=5).filter(lambda text: not text.isdecimal()),
)


@given(place=st.integers(0, 2), bad=BAD)
def test_a_header_that_is_no_number_teaches_nothing(place: int, bad: str) -> None:
    held = Limiter()
    values: list[object] = [5, 0, 30]
    values[place] = bad
    held.feed(headers(*values))
    assert held._claim() == 0


def test_headers_that_are_missing_teach_nothing() -> None:
    held = Limiter()
    for name in headers(5, 0, 30):
        held.feed({key: value for key, value in headers(5, 0, 30).items() if key != name})
    assert held._claim() == 0


def over(passed: list[float]) -> Limiter:
    """A limiter whose window is over."""
    held = Limiter()
    held.feed(headers(9, 1, 2))
    passed.append(3.0)
    return held


def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let the limiter's time pass by what is put into this list, and by what it sleeps."""
    passed: list[float] = []
    base, today = time.monotonic(), time.time()
    monkeypatch.setattr(time, "monotonic", lambda: base + sum(passed))
    monkeypatch.setattr(time, "time", lambda: today + sum(passed))
    monkeypatch.setattr(rate_limit, "nap", passed.append)
    return passed


def test_headers_that_stop_end_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    passed = clock(monkeypatch)
    held = over(passed)
    for _ in range(50):
        with held.turn():
            held.feed({})
    assert passed == [3.0]
    assert [held._claim() for _ in range(20)] == [0.0] * 20


def test_a_refusal_without_headers_ends_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    passed = clock(monkeypatch)
    held = over(passed)
    for _ in range(50):
        with held.turn():
            # A proxy may have written it: still one at a time, but one after the other.
            assert held._claim() > 0
            held.feed({}, is_good=False)
    assert passed == [3.0]


def test_requests_that_fail_do_not_wait_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    passed = clock(monkeypatch)
    held = over(passed)
    for _ in range(50):
        with pytest.raises(ConnectionError), held.turn():
            raise ConnectionError
    assert passed == [3.0]


@pytest.mark.parametrize("behind", [30, 3600])
def test_a_clock_that_is_ahead_slows_nothing(behind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Limiter()
    passed = clock(monkeypatch)
    for number in range(100):
        with held.turn():
            held.feed(headers(500, 499 - number, int(time.time()) - behind))
    assert sum(passed) < 1


def test_a_reset_of_no_seconds_slows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Limiter()
    passed = clock(monkeypatch)
    for number in range(100):
        with held.turn():
            held.feed(headers(500, 499 - number, 0))
    assert sum(passed) < 1


def test_headers_that_stop_end_the_limit_of_calls() -> None:
    servers.forget()
    answers = servers.in_turn(reply(VIEW, headers=headers(5, 1, 0)), reply(VIEW))
    with Server(answers) as server:
        config = client(server.url)
        for _ in range(3):
            assert isinstance(get_sandbox("x", config=config), Success)
        held = transport(under(config, settings).unwrap()).limiter
        held._resets_at = 0.0
        assert isinstance(get_sandbox("x", config=config), Success)
        assert held._limit is None


def test_pause_ends_with_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    naps: list[float] = []

    def short(seconds: float) -> None:
        naps.append(seconds)
        usual_nap(0.01)

    monkeypatch.setattr(rate_limit, "nap", short)
    held = Limiter()
    with limited(0.05):
        held.pause(30.0)
    assert naps
    assert all(0 < seconds <= 30.0 for seconds in naps)
    # What sleeps in one piece would have outlasted the deadline by half a minute.
    assert held._claim() > 20


def test_turn_naps_no_longer_than_it_has_to(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Limiter()
    passed = clock(monkeypatch)
    held.feed(headers(5, 0, 3))
    with held.turn() as seconds:
        assert seconds == pytest.approx(3.0)
    assert passed == pytest.approx([rate_limit.LOOK_AGAIN] * 3)


def test_a_pause_holds_everyone_back_the_caller_included() -> None:
    held = Limiter()
    began = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        pausing = pool.submit(held.pause, 0.4)
        while not held._paused_until and not pausing.done():
            time.sleep(0.001)
        others = [pool.submit(waited, held) for _ in range(3)]
        pausing.result()
        assert time.monotonic() - began >= 0.4
        assert all(other.result() > 0 for other in others)


def test_a_shorter_pause_does_not_end_a_longer_one() -> None:
    held = Limiter()
    longer = threading.Thread(target=held.pause, args=(0.4,))
    longer.start()
    time.sleep(0.02)
    began = time.monotonic()
    held.pause(0.01)
    assert time.monotonic() - began > 0.3
    longer.join()


# Against servers that count


class Window:
    """Requests in a fixed window, counted as the platform does: refused ones too."""

    def __init__(self, limit: int, seconds: int, *, moment: bool) -> None:
        self.refused = 0
        self.windows = 0
        self._limit, self._seconds, self._moment = limit, seconds, moment
        self._lock = threading.Lock()
        self._count, self._ends = 0, 0.0

    def __call__(self, _request: Request) -> Reply:
        with self._lock:
            now = time.time()
            if now >= self._ends:
                self._count, self._ends = 0, now + self._seconds
                self.windows += 1
            self._count += 1
            left = max(self._limit - self._count, 0)
            # As a client should read it: not before the window is really over.
            reset = int(self._ends) + 1 if self._moment else int(self._ends - now) + 1
            shown = headers(self._limit, left, reset)
            if self._count > self._limit:
                self.refused += 1
                return reply(b'{"error": "Too many requests"}', 429, {**shown, "Retry-After": "1"})
        return reply(VIEW, headers=shown)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 8])
@pytest.mark.parametrize("moment", [True, False], ids=["moment of the reset", "seconds until it"])
def test_no_thread_is_ever_refused(workers: int, *, moment: bool) -> None:
    servers.forget()
    window = Window(12, 1, moment=moment)
    with Server(window) as server:
        config = client(server.url)
        get_sandbox("first", config=config).unwrap()
        with ThreadPoolExecutor(workers) as pool:
            started = [pool.submit(get_sandbox, "x", config=config) for _ in range(29)]
            outcomes = [each.result() for each in started]
        assert all(isinstance(outcome, Success) for outcome in outcomes)
        assert window.refused == 0
        assert len(server.seen) == 30
        assert window.windows >= 3


def test_two_settings_for_one_host_share_its_limit() -> None:
    servers.forget()
    window = Window(6, 1, moment=True)
    with Server(window) as server:
        for number in range(10):
            get_sandbox("x", config=client(server.url, retries=number % 2)).unwrap()
        assert window.refused == 0


def test_two_hosts_do_not_share_a_limit() -> None:
    servers.forget()
    with Server(servers.always(reply(VIEW, headers=headers(1, 0, 90)))) as full, Server(servers.ordinary) as other:
        get_sandbox("x", config=client(full.url)).unwrap()
        began = time.monotonic()
        get_sandbox("x", config=client(other.url)).unwrap()
        assert time.monotonic() - began < 50  # and not the minute of the other host


def test_the_embedded_platform_with_a_limit_never_has_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    # Its real window is the platform's 30 s. A second shows the same thing.
    monkeypatch.setattr(limits, "WINDOW_SECONDS", 1)
    with local.platform(rate_limit=8) as platform:
        config = Config(api_url=platform.url, token=platform.token, retries=0)
        for _ in range(20):
            get_sandbox("no-such-box", config=config).unwrap()
        assert [status for _, status in platform.calls] == [200] * 20


@pytest.mark.slow
def test_many_threads_at_the_limit_of_a_window_that_slides_are_never_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WINDOW_SECONDS", 2)
    with local.platform(rate_limit=20) as platform:
        config = Config(api_url=platform.url, token=platform.token, retries=0)
        for _ in range(20):
            get_sandbox("no-such-box", config=config).unwrap()
            time.sleep(0.1)
        # When the first of these is old enough, most of them are not.
        with ThreadPoolExecutor(16) as pool:
            asked = [pool.submit(get_sandbox, "no-such-box", config=config) for _ in range(30)]
            assert [each.result() for each in asked] == [Success(None)] * 30
        assert [status for _, status in platform.calls] == [200] * 50
