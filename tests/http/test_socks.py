"""A SOCKS proxy: requests go through it, and its errors differ from those of the platform."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
import trustme
from returns.result import Success

from pocketenv_fp import Config, TransportError, exec, get_sandbox
from pocketenv_fp.http.xrpc import Call, send
from tests import servers
from tests.servers import BOX, Server, free_port, under

needs_pysocks = pytest.mark.skipif(importlib.util.find_spec("socks") is None, reason="PySocks is not installed")
NAME = "pocketenv.invalid"


class Socks:
    """A SOCKS5 proxy that connects every target to one port of this machine. `code` refuses, `cuts` ends the answer."""

    def __init__(self, port: int, *, code: int = 0, cuts: bool = False) -> None:
        self.targets: list[tuple[str, int]] = []
        self._port, self._code, self._cuts = port, code, cuts
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"socks5h://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._connected, args=(near,), daemon=True).start()

    def _connected(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError, struct.error, IndexError):
            near.recv(near.recv(2)[1])
            near.sendall(b"\5\0")
            kind = near.recv(4)[3]
            host = near.recv(near.recv(1)[0]).decode() if kind == 3 else socket.inet_ntoa(near.recv(4))
            (port,) = struct.unpack("!H", near.recv(2))
            self.targets.append((host, port))
            near.sendall(bytes([5, self._code, 0, 1]) + bytes(6))
            if self._code:
                return
            with socket.create_connection(("127.0.0.1", self._port)) as far:
                back = threading.Thread(target=self._copy, args=(far, near), daemon=True)
                back.start()
                while data := near.recv(1 << 16):
                    far.sendall(data)
                far.shutdown(socket.SHUT_WR)
                back.join()

    def _copy(self, far: socket.socket, near: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := far.recv(1 << 16):
                if self._cuts:
                    near.shutdown(socket.SHUT_RDWR)
                    return
                near.sendall(data)
            near.shutdown(socket.SHUT_RDWR)


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    servers.forget()
    yield
    servers.forget()


def client() -> Config:
    return Config(api_url=f"http://{NAME}:8080", retries=0, connect_timeout=5, read_timeout=5)


def failure(monkeypatch: pytest.MonkeyPatch, url: str) -> TransportError:
    monkeypatch.setenv("ALL_PROXY", url)
    error = get_sandbox("3f2a", config=client()).failure()
    assert isinstance(error, TransportError), error
    return error


@needs_pysocks
def test_socks_proxy_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests go through the proxy, which resolves the host name."""
    with Server(servers.ordinary) as server, Socks(server.port) as proxy:
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        assert isinstance(get_sandbox("3f2a", config=client()), Success)
        assert isinstance(get_sandbox("3f2a", config=client()), Success)
        # The proxy looks the name up, and the connection is kept.
        assert proxy.targets == [(NAME, 8080)]
        assert len(server.seen) == 2


@needs_pysocks
def test_socks_proxy_tls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A TLS connection goes through the proxy, and its certificate is verified."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert(NAME).configure_cert(context)
    with Server(servers.ordinary, tls=context) as server, Socks(server.port) as proxy:
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        url, bundle = f"https://{NAME}:{server.port}", str(tmp_path / "ca.pem")
        config = Config(api_url=url, token="t0", retries=0, verify=bundle)
        assert isinstance(get_sandbox("3f2a", config=config), Success)
        assert isinstance(exec(BOX, "make", config=config), Success)
        assert proxy.targets == [(NAME, server.port)]
        error = get_sandbox("3f2a", config=Config(api_url=url, token="t0", retries=0)).failure()
    assert isinstance(error, TransportError)
    assert (error.kind, error.maybe_sent) == ("tls", False)


@needs_pysocks
def test_socks_proxy_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that the proxy refuses is a proxy error."""
    with Socks(1, code=5) as proxy:
        error = failure(monkeypatch, proxy.url)
        assert proxy.targets == [(NAME, 8080)]
    assert (error.kind, error.maybe_sent) == ("proxy", False)


@needs_pysocks
@pytest.mark.parametrize("scheme", ["socks4", "socks4a", "socks5", "socks5h", "SOCKS5H"])
def test_socks_proxy_unreachable(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """An unreachable proxy is a proxy error that hides its password."""
    error = failure(monkeypatch, f"{scheme}://me:top-secret@127.0.0.1:{free_port()}")
    assert (error.kind, error.maybe_sent) == ("proxy", False)
    assert "top-secret" not in f"{error}{error!r}"


@needs_pysocks
@pytest.mark.parametrize("url", ["socks5h://no-such-name.invalid:1080", "socks6://127.0.0.1:1", "socks5h://", "socks"])
def test_socks_proxy_unusable_url(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """An unusable proxy URL is a proxy error."""
    error = failure(monkeypatch, url)
    assert (error.kind, error.maybe_sent) == ("proxy", False)


@needs_pysocks
def test_socks_proxy_lost_response(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that drops the answer of a command: the command arrived, and is not sent again."""
    with Server(servers.ordinary) as server, Socks(server.port, cuts=True) as proxy:
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        # Without a token, which is not sent over plain HTTP.
        command = Call("sandbox.exec", bytes, {"id": "3f2a"}, {"command": "make"}, login=False)
        error = under(Config(api_url=f"http://{NAME}:8080", retries=3), send, command).failure()
        assert len(server.seen) == 1
    assert isinstance(error, TransportError)
    assert (error.kind, error.maybe_sent) == ("dropped", True)


@pytest.mark.skipif(importlib.util.find_spec("socks") is not None, reason="PySocks is installed")
def test_socks_proxy_without_pysocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PySocks a SOCKS proxy is a proxy error that names it."""
    error = failure(monkeypatch, "socks5h://127.0.0.1:1")
    assert (error.kind, error.maybe_sent) == ("proxy", False)
    assert "PySocks" in str(error)
