"""Connections are shared and bounded, and made new when the proxy or the CA bundle changes."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import gc
import os
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme
from returns.result import Success

from pocketenv_fp import Config, TransportError, exec, get_sandbox, list_sandboxes
from pocketenv_fp.http import connections, transport
from tests import servers
from tests.servers import BOX, RAN, TOKEN, Proxy, Server, client, reply

PROXIES = [f"{scheme}_proxy" for scheme in ("http", "https", "all", "no")]
BUNDLES = ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]
NO_IMAGES = b'{"sandboxes": [], "total": 0}'


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (*PROXIES, *map(str.upper, PROXIES), *BUNDLES):
        monkeypatch.delenv(name, raising=False)
    servers.forget()
    yield
    servers.forget()


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # what is counted has no path


@pytest.fixture
def authority(tmp_path: Path) -> tuple[trustme.CA, str]:
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    return made, str(tmp_path / "ca.pem")


def secured(authority: trustme.CA) -> Server:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return Server(servers.ordinary, tls=context)


# How many are kept


def test_connection_shared_by_configs() -> None:
    """Configs with one URL share a connection."""
    with Server(servers.ordinary) as server:
        for number in range(40):
            config = Config(
                api_url=server.url, token=TOKEN, connect_timeout=5 + number, read_timeout=9 + number, retries=number
            )
            assert isinstance(get_sandbox("3f2a", config=config), Success)
        assert server.connections == 1


def test_routes_upper_bound() -> None:
    """The number of routes is bounded, and so are their connections."""
    with ExitStack() as stack:
        made = [stack.enter_context(Server(servers.ordinary)) for _ in range(3 * transport.MOST_ROUTES)]
        before = descriptors()
        for server in made:
            assert isinstance(get_sandbox("3f2a", config=client(server.url)), Success)
        assert len(transport._routes) == transport.MOST_ROUTES
        # A connection has an end on each side here.
        assert descriptors() - before <= 2 * transport.MOST_ROUTES + len(made)
        kept = {made.route for made in transport._transports.values()}
        assert kept == set(transport._routes.values())


def test_routes_keep_last_used() -> None:
    """The route that was used last is kept."""
    with ExitStack() as stack:
        first, *others = (stack.enter_context(Server(servers.ordinary)) for _ in range(2 * transport.MOST_ROUTES))
        for server in others:
            for each in (first, server):
                assert isinstance(get_sandbox("3f2a", config=client(each.url)), Success)
        assert first.connections == 1


def test_routes_dropped_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request on a dropped route finishes."""
    monkeypatch.setattr(transport, "MOST_ROUTES", 1)
    with (
        Server(servers.always(reply(RAN, wait=0.5))) as slow,
        Server(servers.ordinary) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        running = pool.submit(exec, BOX, "make", config=client(slow.url))
        while not slow.seen:
            time.sleep(0.005)
        assert isinstance(get_sandbox("3f2a", config=client(other.url)), Success)
        assert len(transport._routes) == 1
        assert running.result().unwrap().stdout == "hello"


def test_routes_close_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unused route is closed after a while."""
    monkeypatch.setattr(transport, "UNUSED_SECONDS", 0.0)
    with Server(servers.ordinary) as first, Server(servers.ordinary) as second:
        for server in (first, second):
            assert isinstance(get_sandbox("3f2a", config=client(server.url)), Success)
        assert [key[0] for key in transport._routes] == [second.url]
        assert isinstance(get_sandbox("3f2a", config=client(first.url)), Success)


def test_transports_upper_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of transports is bounded."""
    monkeypatch.setattr(transport, "MOST_TRANSPORTS", 5)
    with Server(servers.ordinary) as server:
        for number in range(20):
            config = Config(api_url=server.url, token=TOKEN, connect_timeout=5 + number)
            assert isinstance(get_sandbox("3f2a", config=config), Success)
        assert len(transport._transports) == 5


def test_connections_idle_after_burst() -> None:
    """Idle connections of a burst are closed, although the newest is used on."""
    with Server(servers.always(reply(RAN, wait=0.3))) as server:
        config = client(server.url)
        with ThreadPoolExecutor(12) as pool:
            for each in [pool.submit(exec, BOX, "make", config=config) for _ in range(12)]:
                each.result().unwrap()
        opened = server.connections
        assert opened > 1
        (route,) = transport._routes.values()
        *others, newest = route._idle
        for connection in others:
            connection._used -= connections.IDLE_SECONDS
        assert isinstance(exec(BOX, "make", config=config), Success)
        assert list(route._idle) == [newest]
        assert [connection._sock.fileno() for connection in others] == [-1] * (opened - 1)
        assert server.connections == opened


def test_tls_context_shared(authority: tuple[trustme.CA, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Transports with one CA bundle share a TLS context."""
    read: list[str] = []
    usual = ssl.create_default_context

    def counted(**given: Any) -> ssl.SSLContext:
        read.append("once")
        return usual(**given)

    monkeypatch.setattr(ssl, "create_default_context", counted)
    with secured(authority[0]) as first, secured(authority[0]) as second:
        for server in (first, second, first):
            for seconds in (5, 6):
                config = Config(api_url=server.url, token=TOKEN, connect_timeout=seconds, verify=authority[1])
                assert isinstance(get_sandbox("3f2a", config=config), Success)
    assert read == ["once"]


def test_tls_contexts_upper_bound(tmp_path: Path) -> None:
    """The number of TLS contexts is bounded."""
    for number in range(3 * transport.MOST_CONTEXTS):
        path = tmp_path / f"{number}.pem"
        trustme.CA(key_type=trustme.KeyType.ECDSA).cert_pem.write_to_path(path)
        get_sandbox("x", config=client("https://127.0.0.1:1", verify=str(path)))
    assert len(transport._contexts) == transport.MOST_CONTEXTS


# What the environment says


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_proxy_changes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of the proxy variables takes effect with the next request."""
    config = Config(api_url="http://pocketenv.invalid", connect_timeout=5, retries=0)
    with Proxy(servers.always(reply(NO_IMAGES))) as first, Proxy(servers.always(reply(NO_IMAGES))) as second:
        assert isinstance(list_sandboxes(config=config).failure(), TransportError)
        for number, proxy in enumerate((first, second, first), 1):
            monkeypatch.setenv(name, proxy.url)
            assert list_sandboxes(config=config).unwrap().total == 0
            assert len(first.seen) + len(second.seen) == number
        assert (len(first.seen), len(second.seen)) == (2, 1)
        monkeypatch.setenv("NO_PROXY" if name.isupper() else "no_proxy", "pocketenv.invalid")
        assert isinstance(list_sandboxes(config=config).failure(), TransportError)
        monkeypatch.delenv("NO_PROXY" if name.isupper() else "no_proxy")
        assert list_sandboxes(config=config).unwrap().total == 0
        monkeypatch.delenv(name)
        assert isinstance(list_sandboxes(config=config).failure(), TransportError)
        assert (len(first.seen), len(second.seen)) == (3, 1)


@pytest.mark.parametrize("name", BUNDLES)
def test_ca_bundle_changes(name: str, authority: tuple[trustme.CA, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of the CA bundle variables takes effect with the next request."""
    with secured(authority[0]) as server:
        assert isinstance(get_sandbox("3f2a", config=client(server.url)).failure(), TransportError)
        monkeypatch.setenv(name, authority[1])
        assert isinstance(get_sandbox("3f2a", config=client(server.url)), Success)
        monkeypatch.delenv(name)
        assert isinstance(get_sandbox("3f2a", config=client(server.url)).failure(), TransportError)


def test_environment_other_mapping(monkeypatch: pytest.MonkeyPatch) -> None:
    """`os.environ` may be replaced by another mapping."""
    with Proxy(servers.always(reply(NO_IMAGES))) as proxy:
        monkeypatch.setattr(os, "environ", {**os.environ, "http_proxy": proxy.url})
        assert transport._environment.raw()[0] == proxy.url


def test_transport_reused() -> None:
    """An unchanged Config reuses its transport and its route."""
    with Server(servers.ordinary) as server:
        for _ in range(3):
            assert isinstance(get_sandbox("3f2a", config=client(server.url)), Success)
        assert (len(transport._transports), len(transport._routes)) == (1, 1)
