"""A request that changes something is not sent again once a byte of it may have arrived, wherever the way breaks."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple, Self

import pytest
import trustme
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from returns.result import Result, Success

from pocketenv_fp import Config, ExecResult, PocketenvError, TransportError, get_sandbox
from pocketenv_fp.http.xrpc import decode, procedure, send
from pocketenv_fp.observing import observing
from tests import servers
from tests.examples import examples
from tests.servers import TOKEN, Proxy, read_request, reply, under

HOST = "pocketenv.invalid"
BODY = (
    b'{"sandbox": {"id": "3f2a", "name": "brave-otter-x1y2", "status": "RUNNING"}, "id": "3f2a", '
    b'"name": "brave-otter-x1y2", "provider": "cloudflare", "createdAt": "2026-01-01T00:00:00Z", "uri": "at://x", '
    b'"stdout": "hello", "stderr": "", "exitCode": 0}'
)
ANSWER = reply(BODY).raw
HEAD = ANSWER.index(b"\r\n\r\n") + 4
RESET = struct.pack("ii", 1, 0)


class Fault(NamedTuple):
    """Where the first connection breaks: after this number of bytes of a part."""

    place: str  # "accept", "hello", "request", "answer" or "tunnel"
    after: int
    is_reset: bool = False


class Faulty:
    """A server whose first connection breaks off, and whose others are right."""

    def __init__(self, fault: Fault, tls: ssl.SSLContext | None) -> None:
        self.begun = 0
        self.whole: list[bytes] = []
        self._fault, self._tls = fault, tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        for thread in self._threads:
            thread.join(60)

    def _accept(self) -> None:
        fault: Fault | None = self._fault if self._fault.place != "tunnel" else None
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            self._threads.append(threading.Thread(target=self._serve, args=(connection, fault), daemon=True))
            self._threads[-1].start()
            fault = None

    def _serve(self, connection: socket.socket, fault: Fault | None) -> None:
        with contextlib.suppress(OSError, ValueError):
            connection.settimeout(20)
            if fault and fault.place in {"accept", "hello"}:
                if fault.place == "hello":
                    connection.recv(max(fault.after, 1), socket.MSG_WAITALL)
                broken(connection, fault)
                return
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            if fault and fault.place == "request":
                if fault.after:
                    left = fault.after
                    while left > 0 and (part := connection.recv(left)):
                        self.begun = 1
                        left -= len(part)
                broken(connection, fault)
                return
            while request := read_request(connection, 1):
                self.begun = 1
                self.whole.append(request.verb.encode())
                if fault:
                    connection.sendall(ANSWER[: fault.after])
                    broken(connection, fault)
                    return
                connection.sendall(ANSWER)


def broken(connection: socket.socket, fault: Fault) -> None:
    """End a connection, or break it."""
    if fault.is_reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    else:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
    connection.close()


class FaultyProxy(Proxy):
    """A proxy that breaks off the first tunnel, before or in the middle of its own answer."""

    def __init__(self, fault: Fault) -> None:
        self._fault: Fault | None = fault if fault.place == "tunnel" else None
        super().__init__(servers.ordinary)

    def _tunnel(self, held: socket.socket, port: int) -> None:
        fault, self._fault = self._fault, None
        if fault is None:
            super()._tunnel(held, port)
            return
        held.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n"[: fault.after])
        broken(held, fault)


Outcome = Result[object, PocketenvError]


def look(config: Config) -> Outcome:
    return get_sandbox("3f2a", config=config)


def run(config: Config) -> Outcome:
    asked = procedure("sandbox.exec", lambda body: decode(body, ExecResult), {"id": "3f2a"}, {"command": "x" * 30_000})
    return under(config, send, asked)


def make(config: Config) -> Outcome:
    asked = procedure("sandbox.createSandbox", lambda body: decode(body, ExecResult), {}, {"base": "at://x"})
    return under(config, send, asked)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str]:
    made = trustme.CA()
    path = tmp_path_factory.mktemp("bundle") / "ca.pem"
    made.cert_pem.write_to_path(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.issue_cert(HOST, "127.0.0.1").configure_cert(context)
    return context, str(path)


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "requests_ca_bundle", "curl_ca_bundle"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    servers.forget()
    yield
    servers.forget()


PLACES = {"accept": 0, "hello": 400, "request": 30_000, "answer": len(ANSWER) - 1, "tunnel": 30}
FAULTS = st.one_of(
    *(st.builds(Fault, st.just(place), st.integers(0, most), st.booleans()) for place, most in PLACES.items())
)


@settings(max_examples=examples(80), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fault=FAULTS, way=st.sampled_from(["plain", "TLS", "tunnel"]), ask=st.sampled_from([look, run, make]))
@example(Fault("answer", 0), "tunnel", run)
@example(Fault("answer", 0, is_reset=True), "tunnel", make)
@example(Fault("answer", HEAD), "tunnel", run)
@example(Fault("request", 10), "tunnel", run)
@example(Fault("answer", 0), "tunnel", look)
@example(Fault("tunnel", 0), "tunnel", run)
@example(Fault("answer", HEAD - 2), "TLS", make)
def test_send_broken_connection(
    authority: tuple[ssl.SSLContext, str], fault: Fault, way: str, ask: Callable[[Config], Outcome]
) -> None:
    """A procedure is sent once at most, wherever the connection breaks."""
    context, bundle = authority
    # What a client never sends is not waited for.
    if fault.place == "request" and ask is not run:
        fault = fault._replace(after=fault.after % 150)
    if fault.place == "hello" and way == "plain":
        fault = fault._replace(after=fault.after % 150)
    servers.forget()
    with (
        pytest.MonkeyPatch.context() as patched,
        Faulty(fault, None if way == "plain" else context) as server,
        FaultyProxy(fault) as proxy,
    ):
        host = HOST if way == "tunnel" else "127.0.0.1"
        if way == "tunnel":
            patched.setenv("HTTPS_PROXY", proxy.url)
        config = Config(
            api_url=f"{'http' if way == 'plain' else 'https'}://{host}:{server.port}",
            token=TOKEN,
            retries=2,
            connect_timeout=60,
            read_timeout=60,
            verify=bundle,
        )
        counted: list[int] = []
        with observing(lambda begun: (lambda done: counted.append(done.requests)) if begun.kind == "call" else None):
            outcome = ask(config)
        error = None if isinstance(outcome, Success) else outcome.failure()
        if ask is not look:
            assert len(server.whole) <= 1
            assert error is None or not (server.begun and not _is_maybe_sent(error)), (error, server.begun)
        if error is not None:
            assert isinstance(error, TransportError), error
            assert counted == [int(_is_maybe_sent(error))]
        breaks = fault.place != "tunnel" or way == "tunnel"
        if not breaks:
            assert error is None
            return
        if fault.place == "answer":
            # A query is repeated, a procedure may have been acted on.
            assert (error is None) == (ask is look)
        if way != "plain" and fault.place in {"accept", "hello", "tunnel"}:
            assert error is None or not _is_maybe_sent(error), error


def _is_maybe_sent(error: PocketenvError) -> bool:
    return isinstance(error, TransportError) and error.maybe_sent
