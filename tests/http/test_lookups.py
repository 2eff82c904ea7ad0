"""A name look-up that does not end holds no caller for longer than its time, and no more than one thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
from returns.result import Success

from pocketenv_fp import Config, DeadlineExceeded, TransportError, get_sandbox
from pocketenv_fp.http import lookups
from pocketenv_fp.http.lookups import addresses
from pocketenv_fp.runtime.deadline import limited
from tests import servers
from tests.servers import Proxy, Server, client

Rows = list[tuple[object, ...]]
GetAddrInfo = Callable[..., Rows]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    servers.forget()
    yield
    servers.forget()


class Names:
    """Stands for the system's resolver, which tests cannot make slow."""

    def __init__(self, usual: GetAddrInfo) -> None:
        self.asked: list[str] = []
        self.may_answer = threading.Event()
        self.table: dict[str, list[str]] = {}
        self._usual = usual

    def __call__(self, host: str, port: int, *rest: Any, **more: Any) -> Rows:
        if not host.endswith(".test"):
            return self._usual(host, port, *rest, **more)
        self.asked.append(host)
        if host.startswith("slow"):
            self.may_answer.wait(60)
        rows = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in self.table.get(host, ())]
        if not rows and not host.startswith("empty"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return list(rows)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    made = Names(cast("GetAddrInfo", socket.getaddrinfo))
    monkeypatch.setattr(socket, "getaddrinfo", made)
    yield made
    made.may_answer.set()
    # The next test would share a look-up of the same name that still runs.
    for thread in threading.enumerate():
        if thread.name.startswith("look up "):
            thread.join(60)


def test_addresses_numeric(names: Names) -> None:
    """A numeric address needs no thread."""
    for host in ("127.0.0.1", "::1", "[::1]"):
        assert addresses(host, 80, 1) == [host]
    assert names.asked == []


def test_addresses_from_system(names: Names) -> None:
    """The addresses are those of the system's resolver, and are not cached."""
    names.table["a.test"] = ["127.0.0.2", "127.0.0.1", "127.0.0.2"]
    assert addresses("a.test", 80, None) == ["127.0.0.2", "127.0.0.1"]
    assert addresses("a.test", 80, None) == ["127.0.0.2", "127.0.0.1"]
    assert names.asked == ["a.test", "a.test"]  # an answer is not kept


@pytest.mark.parametrize("host", ["none.test", "empty.test"])
def test_addresses_unknown_name(names: Names, host: str) -> None:
    """An unknown name raises `socket.gaierror` each time."""
    for _ in range(2):
        with pytest.raises(socket.gaierror):
            addresses(host, 80, 5)
    assert names.asked == [host, host]


def test_addresses_slow_name(names: Names) -> None:
    """Many callers that wait for a slow name share one thread."""

    def ask(_: int) -> str:
        try:
            return str(addresses("slow.test", 80, 0.05))
        except TimeoutError:
            return "late"

    before = threading.active_count()
    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(ask, range(60))) == ["late"] * 60
    assert names.asked == ["slow.test"]
    assert threading.active_count() <= before + 1
    names.table["slow.test"] = ["127.0.0.1"]
    names.may_answer.set()
    assert addresses("slow.test", 80, 20) == ["127.0.0.1"]


def test_addresses_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that cannot start is a connect error."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        error = get_sandbox("x", config=client("https://a.test")).failure()
    assert isinstance(error, TransportError)
    assert (error.kind, error.maybe_sent) == ("connect", False)
    assert lookups._running == {}  # pyright: ignore[reportPrivateUsage]


def test_connect_timeout_slow_name(names: Names) -> None:
    """The connect timeout bounds a name look-up."""
    error = get_sandbox("x", config=client("https://slow.test", retries=1)).failure()
    assert isinstance(error, TransportError)
    assert (error.kind, error.maybe_sent) == ("connect", False)
    assert names.asked == ["slow.test"]


def test_limited_slow_name(names: Names) -> None:
    """A deadline bounds a name look-up."""
    config = Config(api_url="https://slow.test", token="t", connect_timeout=500, retries=0)
    with limited(1.0):
        error = get_sandbox("x", config=config).failure()
    assert isinstance(error, DeadlineExceeded), error
    assert not error.maybe_sent
    assert names.asked == ["slow.test"]


def test_connect_timeout_slow_proxy_name(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connect timeout bounds the look-up of a proxy."""
    monkeypatch.setenv("HTTPS_PROXY", "http://slow.test:3128")
    error = get_sandbox("x", config=client("https://api.test")).failure()
    assert isinstance(error, TransportError)
    assert (error.kind, error.maybe_sent) == ("proxy", False)
    assert names.asked == ["slow.test"]


def test_connect_each_address(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    """The addresses of a host are tried one after the other."""
    with Server(servers.ordinary) as server, Proxy(servers.ordinary) as proxy:
        names.table["proxy.test"] = ["127.0.0.3", "127.0.0.2", "127.0.0.1"]
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("127.0.0.1", "proxy.test"))
        config = Config(api_url=server.url.replace("127.0.0.1", "anything.test"), retries=0)
        assert isinstance(get_sandbox("3f2a", config=config), Success)
        assert len(proxy.seen) == 1
