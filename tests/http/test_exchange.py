"""One exchange: what is sent, what may be sent, and which connection is kept."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextlib
import email.utils
import errno
import math
import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme
from returns.result import Success

from pocketenv_fp import Config, TransportError, exec, get_sandbox, list_sandboxes
from pocketenv_fp.config import settings
from pocketenv_fp.http import routes, storage
from pocketenv_fp.http import transport as transports
from pocketenv_fp.http.failures import trouble
from pocketenv_fp.http.responses import limit
from pocketenv_fp.http.transport import Request, Transport, transport
from tests import servers
from tests.servers import BOX, RAN, TOKEN, VIEW, Proxy, Reply, Server, client, heard, reply, under

PROXIES = [f"{scheme}_proxy" for scheme in ("http", "https", "all", "no")]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (*PROXIES, *map(str.upper, PROXIES)):
        monkeypatch.delenv(name, raising=False)
    servers.forget()
    yield
    servers.forget()


def line(url: str) -> Transport:
    return transport(under(client(url), settings).unwrap())


# What is sent


UNSENDABLE: dict[str, tuple[str, dict[str, str]]] = {
    "a line in a value": ("/x", {"X": "a\r\nB: c"}),
    "a line break in a value": ("/x", {"X": "a\nB: c"}),
    "a return in a value": ("/x", {"X": "a\rB: c"}),
    "a line in a name": ("/x", {"X: a\r\nB": "c"}),
    "NUL": ("/x", {"X": "a\0"}),
    "no Latin-1": ("/x", {"X": "\u20ac"}),
    "a space in the target": ("/x y", {}),
    "a line in the target": ("/x HTTP/1.1\r\nB: c", {}),
    "no ASCII in the target": ("/\xfc", {}),
}


@pytest.mark.parametrize(("target", "headers"), UNSENDABLE.values(), ids=UNSENDABLE)
def test_send_unsendable_header(target: str, headers: dict[str, str]) -> None:
    """A header that would be two is not sent."""
    with Server(servers.ordinary) as server:
        with pytest.raises(ValueError, match=r"header|codec") as raised:
            line(server.url).send(Request("GET", target, headers), 5, "sandbox.exec")
        assert server.connections == 0
    if not isinstance(raised.value, UnicodeError):
        assert not trouble(raised.value, "x").maybe_sent


def test_send_bytes() -> None:
    """The bytes of a request are its line, its host, its header and its body."""
    urls: list[str] = []

    def ask(url: str) -> None:
        urls.append(url)
        request = Request("POST", "/xrpc/x?id=1", {"A": "b", "Content-Length": "2"}, b"{}")
        assert line(f"{url}/base/").send(request, 5, "x").body == RAN

    packet = heard(ask).decode()
    host = urls[0].removeprefix("http://")
    assert packet == f"POST /base/xrpc/x?id=1 HTTP/1.1\r\nHost: {host}\r\nA: b\r\nContent-Length: 2\r\n\r\n{{}}"


@pytest.mark.parametrize("code", [errno.EPIPE, errno.ECONNRESET, errno.EPROTOTYPE])
def test_send_response_before_break(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A response that came before the connection broke is returned, and the connection is not used again."""
    usual, mine, sent = socket.socket.sendall, threading.get_ident(), list[bytes]()

    def send(sock: socket.socket, data: bytes) -> None:
        if threading.get_ident() == mine:
            sent.append(data)
            if len(sent) == 2:
                raise OSError(code, "closed")
        usual(sock, data)

    def answer(request: servers.Request) -> Reply:
        return reply(b'{"error": "x"}', 413 if request.verb == "POST" else 200)

    with Server(answer) as server:
        monkeypatch.setattr(socket.socket, "sendall", send)
        # The server takes the header for all of the request.
        assert line(server.url).send(Request("POST", "/x", {}, b"x" * 50_000), 5, "x").status == 413
        assert line(server.url).send(Request("GET", "/x", {}), 5, "x").status == 200
        assert server.connections == 2


def test_send_other_break(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another error while sending is raised, and the response is not waited for."""

    def send(_: socket.socket, data: bytes) -> None:
        raise OSError(errno.EHOSTUNREACH, "No route to host", str(len(data)))

    with Server(servers.ordinary) as server:
        monkeypatch.setattr(socket.socket, "sendall", send)
        error = get_sandbox("3f2a", config=client(server.url)).failure()
    assert isinstance(error, TransportError)
    assert (error.kind, error.maybe_sent) == ("dropped", True)


def test_put_stalled_server() -> None:
    """A part of an upload that is not taken within the read timeout is a timeout."""
    done = threading.Event()

    def endless() -> Generator[bytes]:
        while True:
            yield bytes(65536)

    def accept(listener: socket.socket) -> None:
        with listener.accept()[0]:
            done.wait(60)

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        pool.submit(accept, listener)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = Config(storage_url=url, token=TOKEN, connect_timeout=60, read_timeout=0.3, retries=0)
        error = under(config, storage.put, endless).failure()
        done.set()
    assert isinstance(error, TransportError)
    assert (error.kind, error.maybe_sent) == ("timeout", True)


def test_send_empty_piece() -> None:
    """An empty piece of a body is left out: an empty chunk would end the body."""
    with Server(servers.ordinary) as server:
        request = Request("POST", "/x", {"Transfer-Encoding": "chunked"}, iter([b"", b"one ", b"", b"two", b""]))
        line(server.url).send(request, 5, "x")
        assert server.seen[0].body == b"one two"


def test_read_stalled() -> None:
    """A part of a download that does not come within the read timeout is a timeout."""
    with Server(servers.always(Reply(servers.OK + b"Content-Length: 9\r\n\r\nhalf"))) as server:
        answer = line(server.url).open(Request("GET", "/x", {}), 0.3, "x")
        assert answer.read(4) == b"half"
        with pytest.raises(TimeoutError):
            answer.read(1)
        answer.close()
        assert len(line(server.url).route._idle) == 0


def test_limit_seconds() -> None:
    """A socket has no timeout for a very long time, and no time is an error."""
    first, second = socket.socketpair()
    with first, second:
        for seconds, timeout in ((5, 5), (5.005, 5), (4.9, 4.9), (math.inf, None), (3e6, None), (0.001, 0.001)):
            limit(first, seconds)
            assert first.gettimeout() == timeout
        for seconds in (0, -1.0):
            with pytest.raises(TimeoutError):
                limit(first, seconds)


# What is repeated


def test_query_refused_by_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that refuses is not asked again."""
    with Server(servers.always(reply(b"", 407))) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        error = get_sandbox("3f2a", config=client("https://pocketenv.invalid", retries=2)).failure()
        assert isinstance(error, TransportError)
        assert error.kind == "proxy"
        assert proxy.verbs == ["CONNECT"]


def test_query_unusable_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy with an unusable URL is not tried again."""
    naps: list[float] = []
    monkeypatch.setattr(transports, "nap", naps.append)
    monkeypatch.setenv("HTTPS_PROXY", "http://")
    error = get_sandbox("3f2a", config=client("https://pocketenv.invalid", retries=2)).failure()
    assert isinstance(error, TransportError)
    assert (error.kind, naps) == ("proxy", [])


@pytest.mark.parametrize("call", [get_sandbox, exec], ids=["query", "procedure"])
def test_send_413(call: Callable[..., object]) -> None:
    """A request that is too large is not repeated, although its response has a Retry-After."""
    with Server(servers.always(reply(b"{}", 413, {"Retry-After": "0"}))) as server:
        config = client(server.url, retries=2)
        get_sandbox("3f2a", config=config) if call is get_sandbox else exec(BOX, "make", config=config)
        assert len(server.seen) == 1


@pytest.mark.parametrize(("moment", "least", "most"), [(-1000.0, 0.0, 0.0), (50.0, 1.0, 50.0)], ids=["past", "future"])
def test_query_retry_after_date(moment: float, least: float, most: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Retry-After may be a date. One in the past is no pause."""
    naps: list[float] = []
    monkeypatch.setattr(transports, "nap", naps.append)
    later = {"Retry-After": email.utils.formatdate(time.time() + moment, usegmt=True)}
    with Server(servers.in_turn(reply(b"", 503, later), reply(VIEW))) as server:
        assert isinstance(get_sandbox("3f2a", config=client(server.url, retries=1)), Success)
    assert len(naps) == 1
    assert least <= naps[0] <= most


# Which connection is used


def test_close_twice() -> None:
    """A response that is closed twice keeps one connection, for one request at a time."""
    with Server(servers.ordinary) as server:
        answer = line(server.url).open(Request("GET", "/x", {}), 5, "x")
        assert (answer.read(3), answer.read(), answer.read()) == (VIEW[:3], VIEW[3:], b"")
        answer.close()
        answer.close()
        assert len(line(server.url).route._idle) == 1


def test_close_unread() -> None:
    """A connection with an unread response is closed."""
    with Server(servers.ordinary) as server:
        answer = line(server.url).open(Request("GET", "/x", {}), 5, "x")
        answer.close()
        assert len(line(server.url).route._idle) == 0
        assert answer._connection._sock.fileno() == -1


def test_open_error_response() -> None:
    """An error response is read, and its connection is kept."""
    with Server(servers.always(reply(b"{}", 404))) as server:
        answer = line(server.url).open(Request("GET", "/x", {}), 5, "x")
        assert (answer.status, answer.body) == (404, b"{}")
        assert len(line(server.url).route._idle) == 1


def test_connections_upper_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """More idle connections than a limit are closed."""
    monkeypatch.setattr(routes, "MOST_IDLE", 2)
    together = threading.Barrier(6, timeout=60)

    def answer(_: object) -> Reply:
        together.wait()
        return reply(RAN)

    with Server(answer) as server, ThreadPoolExecutor(6) as pool:
        for running in [pool.submit(exec, BOX, "make", config=client(server.url)) for _ in range(6)]:
            running.result().unwrap()
        assert server.connections == 6
        assert len(line(server.url).route._idle) == 2


def test_connection_last_used_first() -> None:
    """The connection that was used last is used first, so that the others become idle."""
    with Server(servers.ordinary) as server:
        first, second = (line(server.url).open(Request("GET", "/x", {}), 5, "x") for _ in range(2))
        for each in (first, second):
            each.read()
            each.close()
        get_sandbox("3f2a", config=client(server.url)).unwrap()
        assert [request.connection for request in server.seen] == [1, 2, 2]


def test_connection_after_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection of an interrupted request is closed."""

    class Stopped(BaseException):
        pass

    mine = threading.get_ident()
    usual = socket.socket.recv_into

    def stop(sock: socket.socket, buffer: bytearray) -> int:
        if threading.get_ident() == mine:
            raise Stopped
        return usual(sock, buffer)

    with Server(servers.ordinary) as server:
        with monkeypatch.context() as patched:
            patched.setattr(socket.socket, "recv_into", stop, raising=False)
            with pytest.raises(Stopped):
                get_sandbox("3f2a", config=client(server.url))
        assert len(line(server.url).route._idle) == 0
        get_sandbox("3f2a", config=client(server.url)).unwrap()
        assert server.connections == 2


# Proxies


def test_proxy_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy is sent its password, with each request or with the tunnel."""
    none = reply(b'{"sandboxes": [], "total": 0}')
    with Proxy(servers.always(none)) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy.url.replace("//", "//me:top-secret@"))
        assert list_sandboxes(config=Config(api_url="http://pocketenv.invalid", retries=0)).unwrap().total == 0
        get_sandbox("3f2a", config=client(f"https://pocketenv.invalid:{servers.free_port()}"))
        sent = [(request.verb, request.headers.get("proxy-authorization")) for request in proxy.seen]
        assert sent == [("GET", "Basic bWU6dG9wLXNlY3JldA=="), ("CONNECT", "Basic bWU6dG9wLXNlY3JldA==")]


def test_proxy_tunnel_broken_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that breaks off behind a tunnel is no error of the proxy."""

    def accept(listener: socket.socket) -> None:
        with listener.accept()[0] as connection:
            connection.recv(65536)

    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        Proxy(servers.ordinary) as proxy,
        ThreadPoolExecutor(1) as pool,
    ):
        pool.submit(accept, listener)
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        config = client(f"https://pocketenv.invalid:{listener.getsockname()[1]}")
        error = get_sandbox("3f2a", config=config).failure()
    assert isinstance(error, TransportError)
    assert error.kind in {"tls", "connect"}
    assert not error.maybe_sent


class SecureProxy(Proxy):
    """A proxy that is reached over TLS."""

    def __init__(self, answer: servers.Answer, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(answer)
        self.url = f"https://127.0.0.1:{self.port}"

    def _serve(self, held: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError):
            super()._serve(self._context.wrap_socket(held, server_side=True), number)


@pytest.fixture
def authority(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    made, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    made.issue_cert("127.0.0.1", "pocketenv.invalid").configure_cert(context)
    return context, str(tmp_path / "ca.pem")


def test_secure_proxy(authority: tuple[ssl.SSLContext, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests over plain HTTP go to a proxy over TLS with their whole URL."""
    context, bundle = authority
    none = reply(b'{"sandboxes": [], "total": 0}')
    with SecureProxy(servers.always(none), context) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        config = Config(api_url="http://pocketenv.invalid", retries=0, verify=bundle)
        for _ in range(2):
            assert list_sandboxes(config=config).unwrap().total == 0
        assert {request.connection for request in proxy.seen} == {1}
        assert all(request.path.startswith("http://pocketenv.invalid/xrpc/") for request in proxy.seen)


def test_secure_proxy_tunnel(authority: tuple[ssl.SSLContext, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests over TLS go through a proxy over TLS: one in the other."""
    context, bundle = authority
    large = RAN.replace(b"hello", b"x" * 200_000)
    with (
        Server(lambda request: reply(VIEW if request.verb == "GET" else large), tls=context) as server,
        SecureProxy(servers.ordinary, context) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        config = client(f"https://pocketenv.invalid:{server.port}", verify=bundle)
        for _ in range(2):
            assert isinstance(get_sandbox("3f2a", config=config), Success)
            assert len(exec(BOX, "x" * 100_000, config=config).unwrap().stdout) == 200_000
        assert (server.connections, proxy.verbs) == (1, ["CONNECT"])


def test_proxy_slow_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time to connect bounds the whole response of a proxy that comes byte by byte."""
    slow = Reply(b"HTTP/1.1 200 OK\r\n", slowly=b"X-More: and more of it\r\n" * 40)
    with Server(servers.always(slow)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        began = time.monotonic()
        error = get_sandbox("3f2a", config=client("https://pocketenv.invalid")).failure()
        assert time.monotonic() - began < 60  # it comes for eighty seconds and more
    assert isinstance(error, TransportError)
    assert (error.kind, error.maybe_sent) == ("proxy", False)
