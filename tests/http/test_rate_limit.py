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


def waited(limiter: Limiter) -> float:
    """Seconds until a turn comes."""
    began = time.monotonic()
    with limiter.turn():
        return time.monotonic() - began


def test_claim_unknown_limit() -> None:
    """Without a known limit no request waits."""
    limiter = Limiter()
    assert all(limiter._claim() == 0 for _ in range(1000))


def test_turn_spends_quota() -> None:
    """Requests spend the remaining quota and then wait for the next window."""
    limiter = Limiter()
    limiter.feed(headers(5, 2, 1))
    began = time.monotonic()
    spent = 0
    with limiter.turn():
        spent += 1
        with limiter.turn():
            spent += 1
            assert limiter._claim() > 0
            with limiter.turn():
                spent += 1
    assert spent == 3
    assert time.monotonic() - began >= 1.0


def test_turn_brief_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cleanup does not wait for a turn that comes after its deadline."""
    naps: list[float] = []
    monkeypatch.setattr(rate_limit, "nap", naps.append)
    limiter = Limiter()
    limiter.feed(headers(5, 0, 40))
    with limited(30), brief(), pytest.raises(TimeIsOver), limiter.turn():
        pass
    assert naps == []
    with limited(0.05), pytest.raises(TimeIsOver), limiter.turn():
        pass
    assert naps != []


@pytest.mark.parametrize("now", [lambda: 1, lambda: int(time.time()) + 1], ids=["seconds until", "moment of"])
def test_feed_reset_formats(now: Callable[[], int]) -> None:
    """A reset is a number of seconds or a Unix time."""
    limiter = Limiter()
    limiter.feed(headers(5, 0, now()))
    assert 0 < limiter._claim() <= 1.0


def test_feed_past_reset() -> None:
    """A reset in the past delays no request."""
    limiter = Limiter()
    limiter.feed(headers(5, 0, int(time.time()) - 100))
    assert limiter._claim() == 0


@pytest.mark.parametrize(
    "reset", [10_000, int(time.time()) + 10_000, 999_999_999_999_999], ids=["far", "later", "never"]
)
def test_feed_distant_reset(reset: int) -> None:
    """A request waits a minute at most for a distant reset."""
    limiter = Limiter()
    limiter.feed(headers(5, 0, reset))
    assert 0 < limiter._claim() <= rate_limit.LONGEST_WAIT


def test_feed_out_of_order() -> None:
    """Responses out of order never raise the remaining quota."""
    limiter = Limiter()
    for left in (3, 1, 2):
        limiter.feed(headers(5, left, 30))
    assert limiter._claim() == 0
    assert limiter._claim() > 0


def test_feed_new_window() -> None:
    """The headers of a new window replace the quota."""
    limiter = Limiter()
    limiter.feed(headers(5, 0, 100))
    limiter.feed(headers(5, 4, 101))
    assert [limiter._claim() > 0 for _ in range(5)] == [False] * 4 + [True]


def test_feed_older_window() -> None:
    """A late response of an older window changes nothing."""
    limiter = Limiter()
    later = int(time.time()) + 20
    limiter.feed(headers(5, 0, later))
    limiter.feed(headers(5, 4, later - 1))
    assert limiter._claim() > 0


def test_claim_probe_after_reset() -> None:
    """After a reset one probe is sent, and its response sets the quota of the others."""
    limiter = Limiter()
    limiter.feed(headers(9, 0, 0))
    assert [limiter._claim() > 0 for _ in range(3)] == [False, True, True]
    limiter.feed(headers(9, 3, int(time.time()) + 20))
    # The one that went ahead is on its way still, as far as the limiter knows.
    assert [limiter._claim() > 0 for _ in range(4)] == [False, False, True, True]


def test_claim_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim returns the seconds to the next look: a moment for the probe, else until the end of the pause or window."""
    passed = clock(monkeypatch)
    limiter = Limiter()
    limiter.feed(headers(9, 0, 8))
    assert limiter._claim() == pytest.approx(8.0)
    passed.append(8.0)
    assert limiter._claim() == 0
    assert limiter._claim() == pytest.approx(rate_limit.WAIT_FOR_ANSWER)
    passed.append(rate_limit.GOING_AHEAD - 0.01)
    assert limiter._claim() == pytest.approx(0.01)
    limiter._paused_until = time.monotonic() + 5.0
    assert limiter._claim() == pytest.approx(5.0)


def test_turn_lost_probe() -> None:
    """A probe without a response delays the other requests only briefly."""
    limiter = Limiter()
    limiter.feed(headers(9, 0, 0))
    with limiter.turn():
        assert rate_limit.GOING_AHEAD / 2 < waited(limiter) < 10 * rate_limit.GOING_AHEAD


def test_claim_counts_pending_requests() -> None:
    """A request counts before its response arrives."""
    limiter = Limiter()
    limiter.feed(headers(10, 3, 30))
    assert [limiter._claim() > 0 for _ in range(4)] == [False, False, False, True]


def test_turn_releases_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that was answered, or failed, no longer counts as pending: the next one does not wait."""
    passed = clock(monkeypatch)
    limiter = Limiter()
    limiter.feed(headers(10, 1, 30))
    for _ in range(3):
        with limiter.turn():
            pass
        with pytest.raises(ConnectionError), limiter.turn():
            raise ConnectionError
    assert passed == []


BAD = st.one_of(
    st.sampled_from(["", "-1", "1.5", "inf", "nan", "0x10", "1e3", "²", "١٢٣ ", " 5", "5, 6", "9" * 400, "9" * 5000]),
    st.text(max_size=5).filter(lambda text: not text.isdecimal()),
)


@given(place=st.integers(0, 2), bad=BAD)
def test_feed_invalid_header(place: int, bad: str) -> None:
    """A header that is not a number changes nothing."""
    limiter = Limiter()
    values: list[object] = [5, 0, 30]
    values[place] = bad
    limiter.feed(headers(*values))
    # Of a limit that is known the second one would wait.
    assert [limiter._claim(), limiter._claim()] == [0, 0]


def test_feed_missing_header() -> None:
    """Incomplete headers change nothing."""
    limiter = Limiter()
    for name in headers(5, 0, 30):
        limiter.feed({key: value for key, value in headers(5, 0, 30).items() if key != name})
    assert [limiter._claim(), limiter._claim()] == [0, 0]


@pytest.mark.parametrize("is_good", [True, False])
def test_feed_nothing_in_window(monkeypatch: pytest.MonkeyPatch, *, is_good: bool) -> None:
    """A response without headers does not end a window."""
    clock(monkeypatch)
    limiter = Limiter()
    limiter.feed(headers(5, 0, 30))
    limiter.feed({}, is_good=is_good)
    assert limiter._claim() == pytest.approx(30.0)


def test_feed_ends_probe() -> None:
    """After the response of a probe, the next window has a probe of its own at once."""
    limiter = Limiter()
    for _ in range(5):
        limiter.feed(headers(9, 0, 0))
        assert limiter._claim() == 0


def over(passed: list[float]) -> Limiter:
    """A limiter whose window is over."""
    limiter = Limiter()
    limiter.feed(headers(9, 1, 2))
    passed.append(3.0)
    return limiter


def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let the limiter's time pass by what is put into this list, and by what it sleeps."""
    passed: list[float] = []
    base, today = time.monotonic(), time.time()
    monkeypatch.setattr(time, "monotonic", lambda: base + sum(passed))
    monkeypatch.setattr(time, "time", lambda: today + sum(passed))
    monkeypatch.setattr(rate_limit, "nap", passed.append)
    return passed


def test_feed_headers_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit ends when responses stop sending its headers."""
    passed = clock(monkeypatch)
    limiter = over(passed)
    for _ in range(50):
        with limiter.turn():
            limiter.feed({})
    assert passed == [3.0]
    assert [limiter._claim() for _ in range(20)] == [0.0] * 20


def test_feed_refusal_without_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error response without headers keeps the limit."""
    passed = clock(monkeypatch)
    limiter = over(passed)
    for _ in range(50):
        with limiter.turn():
            # A proxy may have written it: still one at a time, but one after the other.
            assert limiter._claim() > 0
            limiter.feed({}, is_good=False)
    assert passed == [3.0]


def test_turn_failed_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed probe delays no other request."""
    passed = clock(monkeypatch)
    limiter = over(passed)
    for _ in range(50):
        with pytest.raises(ConnectionError), limiter.turn():
            raise ConnectionError
    assert passed == [3.0]


@pytest.mark.parametrize("behind", [30, 3600])
def test_turn_clock_ahead(behind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock ahead of the platform's delays no request."""
    limiter = Limiter()
    passed = clock(monkeypatch)
    for number in range(100):
        with limiter.turn():
            limiter.feed(headers(500, 499 - number, int(time.time()) - behind))
    assert sum(passed) < 1


def test_turn_zero_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reset of 0 seconds delays no request."""
    limiter = Limiter()
    passed = clock(monkeypatch)
    for number in range(100):
        with limiter.turn():
            limiter.feed(headers(500, 499 - number, 0))
    assert sum(passed) < 1


def test_get_sandbox_headers_stop() -> None:
    """The limit of a transport ends when responses stop sending its headers."""
    servers.forget()
    answers = servers.in_turn(reply(VIEW, headers=headers(5, 1, 0)), reply(VIEW))
    with Server(answers) as server:
        config = client(server.url)
        for _ in range(3):
            assert isinstance(get_sandbox("x", config=config), Success)
        limiter = transport(under(config, settings).unwrap()).limiter
        limiter._resets_at = 0.0
        assert isinstance(get_sandbox("x", config=config), Success)
        assert limiter._limit is None


def test_pause_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause ends with the deadline of its caller, and goes on for others."""
    naps: list[float] = []

    def short(seconds: float) -> None:
        naps.append(seconds)
        usual_nap(0.01)

    monkeypatch.setattr(rate_limit, "nap", short)
    limiter = Limiter()
    with limited(0.05):
        limiter.pause(30.0)
    assert naps
    assert all(0 < seconds <= 30.0 for seconds in naps)
    # What sleeps in one piece would have outlasted the deadline by half a minute.
    assert limiter._claim() > 20


def test_turn_short_naps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn waits in short naps, and no longer than the window lasts."""
    limiter = Limiter()
    passed = clock(monkeypatch)
    limiter.feed(headers(5, 0, 3))
    with limiter.turn() as seconds:
        assert seconds == pytest.approx(3.0)
    assert passed == pytest.approx([rate_limit.LOOK_AGAIN] * 3)


def test_pause_all_threads() -> None:
    """A pause delays every thread, the caller's included."""
    limiter = Limiter()
    began = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        pausing = pool.submit(limiter.pause, 0.4)
        while not limiter._paused_until and not pausing.done():
            time.sleep(0.001)
        others = [pool.submit(waited, limiter) for _ in range(3)]
        pausing.result()
        assert time.monotonic() - began >= 0.4
        assert all(other.result() > 0 for other in others)


def test_pause_overlapping() -> None:
    """A shorter pause does not end a longer one."""
    limiter = Limiter()
    longer = threading.Thread(target=limiter.pause, args=(0.4,))
    longer.start()
    time.sleep(0.02)
    began = time.monotonic()
    limiter.pause(0.01)
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
def test_get_sandbox_fixed_window(workers: int, *, moment: bool) -> None:
    """No thread is refused by a server with a fixed window."""
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


def test_limiter_shared_by_configs() -> None:
    """Two Configs for one host share its limit."""
    servers.forget()
    window = Window(6, 1, moment=True)
    with Server(window) as server:
        for number in range(10):
            get_sandbox("x", config=client(server.url, retries=number % 2)).unwrap()
        assert window.refused == 0


def test_limiter_per_host() -> None:
    """Two hosts do not share a limit."""
    servers.forget()
    with Server(servers.always(reply(VIEW, headers=headers(1, 0, 90)))) as full, Server(servers.ordinary) as other:
        get_sandbox("x", config=client(full.url)).unwrap()
        began = time.monotonic()
        get_sandbox("x", config=client(other.url)).unwrap()
        assert time.monotonic() - began < 50  # and not the minute of the other host


def test_limiter_local_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded platform with a limit refuses no request."""
    # Its real window is the platform's 30 s. A second shows the same thing.
    monkeypatch.setattr(limits, "WINDOW_SECONDS", 1)
    with local.platform(rate_limit=8) as platform:
        config = Config(api_url=platform.url, token=platform.token, retries=0)
        for _ in range(20):
            get_sandbox("no-such-box", config=config).unwrap()
        assert [status for _, status in platform.calls] == [200] * 20


@pytest.mark.slow
def test_limiter_sliding_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread is refused by a server with a sliding window."""
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
