"""Whatever happens on the way ends as one typed Failure, and nothing that may have arrived is sent again."""

from __future__ import annotations

import builtins
import contextlib
import datetime as dt
import http.client
import inspect
import json
import math
import os
import signal
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
import requests.exceptions
import trustme
import urllib3.exceptions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from returns.result import Failure, Result, Success

from pocketenv_fp import (
    ApiError,
    Config,
    ExecResult,
    InvalidInput,
    PocketenvError,
    RateLimited,
    ServerError,
    TransportError,
    create,
    exec,
    get_sandbox,
    list_sandboxes,
    local,
    pocketenv,
    sandbox,
)
from pocketenv_fp.archive.ignore import Ignore
from pocketenv_fp.archive.pack import pack
from pocketenv_fp.http import failures, storage, transport
from pocketenv_fp.http.xrpc import decode, procedure, send
from pocketenv_fp.models import Status
from tests import servers
from tests.examples import examples
from tests.servers import BOX, RAN, TOKEN, VIEW, Proxy, Reply, Server, client, heard, reply, under

Outcome = Result[object, PocketenvError]
Ask = Callable[[Config], Outcome]

PROXIES = [f"{scheme}_proxy" for scheme in ("http", "https", "all", "no")]


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A CA file that is read in no time and trusts none of the servers here."""
    path = tmp_path_factory.mktemp("bundle") / "small.pem"
    trustme.CA().cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, small_bundle: str) -> Iterator[None]:
    """Proxies and certificates are read once a platform: no test sees those of another, or of this machine's user."""
    for name in (*PROXIES, *map(str.upper, PROXIES), "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", small_bundle)
    servers.forget()
    yield
    servers.forget()


def look(config: Config) -> Outcome:
    """A query."""
    return get_sandbox("3f2a", config=config)


def run(config: Config) -> Outcome:
    """A procedure that must never happen twice, its time-out the configured one."""
    asked = procedure("sandbox.exec", lambda body: decode(body, ExecResult), {"id": BOX.id}, {"command": "make"})
    return under(config, send, asked)


def make(config: Config) -> Outcome:
    """Another one."""
    return create("box", config=config)


def broke(outcome: Outcome) -> TransportError:
    """The TransportError that must have come back."""
    error = outcome.failure()
    assert isinstance(error, TransportError), repr(error)
    assert error.operation.startswith(("sandbox.", "actor.")), error
    assert TOKEN not in f"{error}{error!r}"
    return error


# What can be raised at all


def exceptions_in(module: ModuleType) -> list[type[Exception]]:
    classes = (value for _, value in inspect.getmembers(module, inspect.isclass) if value.__module__ == module.__name__)
    return [kind for kind in classes if issubclass(kind, Exception) and not issubclass(kind, Warning)]


LIBRARIES = exceptions_in(requests.exceptions) + exceptions_in(urllib3.exceptions)
# What the standard library raises passes through those two, inside one of theirs or as it is.
STANDARD: list[type[Exception]] = [
    *(kind for kind in exceptions_in(builtins) + exceptions_in(socket) if issubclass(kind, OSError)),
    *(kind for kind in exceptions_in(ssl) if issubclass(kind, OSError | ValueError)),
    UnicodeError,
    UnicodeEncodeError,
    UnicodeDecodeError,
    json.JSONDecodeError,
]
NOT_SENT = {
    "ProxyError": "proxy",
    "InvalidProxyURL": "proxy",
    "ProxySchemeUnknown": "proxy",
    "ProxySchemeUnsupported": "proxy",
    "ConnectTimeout": "connect",
    "ConnectTimeoutError": "connect",
    "NewConnectionError": "connect",
    "NameResolutionError": "connect",
    "gaierror": "connect",
    "InvalidURL": "protocol",
    "InvalidSchema": "proxy",
    "MissingSchema": "protocol",
    "URLRequired": "protocol",
    "LocationValueError": "protocol",
    "LocationParseError": "protocol",
    "URLSchemeUnknown": "protocol",
    "SSLCertVerificationError": "tls",
}
MAYBE_SENT = {
    "ReadTimeout": "timeout",
    "ReadTimeoutError": "timeout",
    "Timeout": "timeout",
    "TimeoutError": "timeout",
    "SSLError": "tls",
    "SSLZeroReturnError": "tls",
    "SSLEOFError": "tls",
    "ConnectionError": "dropped",
    "ConnectionResetError": "dropped",
    "BrokenPipeError": "dropped",
    "ChunkedEncodingError": "dropped",
    "ContentDecodingError": "protocol",
    "InvalidHeader": "protocol",
    "DecodeError": "protocol",
}


@pytest.mark.parametrize("kind", LIBRARIES + STANDARD, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_trouble_each_exception(kind: type[Exception]) -> None:
    """Each exception of the libraries below is caught and mapped to a kind."""
    assert issubclass(kind, failures.TROUBLE)
    error = kind.__new__(kind)
    if isinstance(error, ssl.SSLCertVerificationError):
        error.verify_message = "certificate has expired"  # what OpenSSL sets
    named = failures.trouble(error, "sandbox.exec")
    if kind.__name__ in NOT_SENT:
        assert (named.kind, named.maybe_sent) == (NOT_SENT[kind.__name__], False)
    else:
        # What is not known to have happened before the request left may have happened after.
        assert named.maybe_sent
        assert named.kind == MAYBE_SENT.get(kind.__name__, named.kind)
    assert named.operation == "sandbox.exec"
    assert named.reason


def test_trouble_known_exceptions() -> None:
    """The exceptions that these tests list exist in the libraries."""
    assert len(exceptions_in(requests.exceptions)) >= 20
    assert len(exceptions_in(urllib3.exceptions)) >= 25
    known = {kind.__name__ for kind in LIBRARIES + STANDARD}
    assert known >= NOT_SENT.keys() | MAYBE_SENT.keys()


@pytest.mark.parametrize("kind", exceptions_in(http.client), ids=lambda kind: kind.__name__)
def test_trouble_http_client(kind: type[Exception]) -> None:
    """A wrapped exception of http.client is mapped to a kind."""
    inner = urllib3.exceptions.ProtocolError("Connection aborted.", kind.__new__(kind))
    named = failures.trouble(requests.exceptions.ConnectionError(inner), "x")
    gone = issubclass(kind, ConnectionError | http.client.IncompleteRead)
    assert (named.kind, named.maybe_sent) == ("dropped" if gone else "protocol", True)


@pytest.mark.parametrize("by_proxy", [False, True])
@pytest.mark.parametrize("kind", LIBRARIES + STANDARD, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_trouble_not_sent(kind: type[Exception], *, by_proxy: bool) -> None:
    """An exception before the request means that it was not sent."""
    error = kind.__new__(kind)
    if isinstance(error, ssl.SSLCertVerificationError):
        error.verify_message = "certificate has expired"
    error.__cause__ = failures.NotSent(by_proxy=by_proxy)
    named = failures.trouble(urllib3.exceptions.ProtocolError("Connection aborted.", error), "x")
    assert not named.maybe_sent
    assert named.kind not in {"dropped", "timeout"}
    assert not by_proxy or named.kind in {"proxy", "tls"}


def test_trouble_hides_cause() -> None:
    """The error shows no string of its cause."""
    inner = ValueError(f"Invalid header value b'Bearer {TOKEN}'")
    named = failures.trouble(requests.exceptions.ConnectionError(inner), "x")
    assert TOKEN not in f"{named}{named!r}{named.args}"


def test_trouble_circular_causes() -> None:
    """Circular causes are each examined once."""
    first, second = requests.exceptions.ConnectionError(), ConnectionResetError(104, "Connection reset by peer")
    first.__cause__, second.__cause__ = second, first
    assert failures.trouble(first, "x").kind == "dropped"


# No connection


@pytest.mark.parametrize("ask", [look, run, make])
def test_send_connection_refused(ask: Ask) -> None:
    """A request on a refused connection was not sent."""
    error = broke(ask(client(f"http://127.0.0.1:{servers.free_port()}")))
    assert (error.kind, error.maybe_sent) == ("connect", False)
    assert "refused" in error.reason


def test_send_unknown_host() -> None:
    """An unknown host name is a connect error."""
    error = broke(look(client("https://no-such-host.invalid")))
    assert (error.kind, error.maybe_sent) == ("connect", False)


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".invalid", "xn--\u00e9.invalid"])
def test_send_invalid_host(host: str) -> None:
    """An invalid host name is InvalidInput or was not sent."""
    error = look(client(f"https://{host}")).failure()
    assert isinstance(error, InvalidInput) or (isinstance(error, TransportError) and not error.maybe_sent)


def test_send_silent_port() -> None:
    """A port that does not answer is a connect error."""
    with servers.deaf() as url:
        error = broke(make(client(url)))
    assert (error.kind, error.maybe_sent) == ("connect", False)


# Slow ones


@pytest.mark.parametrize("ask", [look, run])
@pytest.mark.parametrize("answer", servers.DRIBBLING.values(), ids=servers.DRIBBLING)
def test_send_slow_response(answer: Reply, ask: Ask) -> None:
    """The read timeout bounds the whole of a response that comes byte by byte."""
    with Server(servers.always(answer)) as server:
        began = time.monotonic()
        error = broke(ask(client(server.url, read_timeout=0.5)))
        assert time.monotonic() - began < 60  # what dribbles does so for eighty seconds and more
        assert (error.kind, error.maybe_sent) == ("timeout", True)
        assert len(server.seen) == 1


def test_exec_slow_response() -> None:
    """A command without a timeout waits for a slow response."""
    slow = Reply(servers.OK + f"Content-Length: {len(RAN) + 10}\r\n\r\n".encode() + RAN, slowly=b" " * 10)
    with Server(servers.always(slow)) as server:
        assert exec(BOX, "make", config=client(server.url, read_timeout=0.3)).unwrap().stdout == "hello"


def test_take_slow_download(tmp_path: Path) -> None:
    """The read timeout of a download bounds each part and not the whole."""
    archive = b"".join(pack(tmp_path, ignore=Ignore.none()))

    def take(incoming: storage.Incoming) -> bytes:
        return incoming.read()

    slow = Reply(servers.OK + f"Content-Length: {len(archive)}\r\n\r\n".encode() + archive[:-10], slowly=archive[-10:])
    with Server(servers.always(slow)) as server:
        assert under(client(server.url, read_timeout=0.5), storage.take, "3f", take).unwrap() == archive


def test_send_one_packet() -> None:
    """A small request is one packet."""
    packet = heard(lambda url: exec(BOX, "make", config=client(url)).unwrap())
    body = packet.partition(b"\r\n\r\n")[2]
    assert "make" in json.loads(body)["command"]


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> str:
    """The CA file by which the servers of these tests are trusted."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture
def other_bundle(tmp_path: Path) -> str:
    path = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(path)
    return str(path)


def secured(
    authority: trustme.CA, *names: str, answer: servers.Answer = servers.ordinary, not_after: dt.datetime | None = None
) -> Server:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = authority.issue_cert(
        *(names or ("127.0.0.1",)), not_before=dt.datetime(2020, 1, 1, tzinfo=dt.UTC), not_after=not_after
    )
    certificate.configure_cert(context)
    return Server(answer, tls=context)


def test_tls_trusted_certificate(authority: trustme.CA, bundle: str) -> None:
    """A server with a trusted certificate is used over one connection."""
    with secured(authority) as server:
        assert isinstance(look(client(server.url, verify=bundle)), Success)
        assert isinstance(run(client(server.url, verify=bundle)), Success)
        assert server.connections == 1


@pytest.mark.parametrize("ask", [look, run])
def test_tls_untrusted_certificate(authority: trustme.CA, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrusted certificate is a TLS error, and no request is sent."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with secured(authority) as server:
        error = broke(ask(client(server.url, retries=2)))
        assert (error.kind, error.maybe_sent) == ("tls", False)
        assert "not trusted" in error.reason
        assert (server.seen, server.connections) == ([], 1)


def test_tls_wrong_host(authority: trustme.CA, bundle: str) -> None:
    """A certificate of another host is a TLS error."""
    with secured(authority, "elsewhere.example") as server:
        error = broke(look(client(server.url, verify=bundle)))
        assert (error.kind, error.maybe_sent, server.seen) == ("tls", False, [])
        assert "mismatch" in error.reason


def test_tls_expired_certificate(authority: trustme.CA, bundle: str) -> None:
    """An expired certificate is a TLS error."""
    with secured(authority, not_after=dt.datetime(2021, 1, 1, tzinfo=dt.UTC)) as server:
        error = broke(look(client(server.url, verify=bundle)))
        assert (error.kind, error.maybe_sent, server.seen) == ("tls", False, [])
        assert "expired" in error.reason


def test_tls_plain_http_port(platform: local.Platform, bundle: str) -> None:
    """A server without TLS is a TLS error."""
    before = len(platform.calls)
    error = broke(look(client(platform.url.replace("http", "https"), verify=bundle, retries=2)))
    assert error.kind == "tls"
    assert len(platform.calls) == before


def test_tls_context_shared(authority: trustme.CA, bundle: str) -> None:
    """The CA file is read once, and all connections share the context."""
    answers = servers.in_turn(reply(VIEW)._replace(then="close"))
    with secured(authority, answer=answers) as server, secured(authority, "elsewhere.example") as wrong:
        config = client(server.url, verify=bundle)
        assert isinstance(look(config), Success)
        Path(bundle).unlink()
        assert isinstance(look(config), Success)
        assert server.connections == 2
        # A context that trusts what it met before would let this one through.
        assert isinstance(look(client(wrong.url, verify=bundle)).failure(), InvalidInput)


def test_tls_context_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that start at the same time read the CA file once."""
    read: list[str] = []
    usual = ssl.create_default_context
    begin = threading.Barrier(20, timeout=120)

    def counted(**given: Any) -> ssl.SSLContext:
        read.append("once")
        return usual(**given)

    def begun(config: Config) -> Outcome:
        begin.wait()
        return look(config)

    monkeypatch.setattr(ssl, "create_default_context", counted)
    with Server(servers.ordinary) as server, ThreadPoolExecutor(begin.parties) as pool:
        results = list(pool.map(begun, [client(server.url)] * begin.parties))
    assert [type(result) for result in results] == [Success] * begin.parties
    assert read == ["once"]


def test_tls_environment_bundle(authority: trustme.CA, bundle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CA bundle of the environment is used."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)
    with secured(authority) as server:
        assert isinstance(look(client(server.url)), Success)


def test_tls_explicit_bundle(
    authority: trustme.CA, bundle: str, other_bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An explicit CA bundle overrides the environment's."""
    with secured(authority) as server:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", other_bundle)
        assert isinstance(look(client(server.url, verify=bundle)), Success)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)
        assert broke(look(client(server.url, verify=other_bundle))).kind == "tls"


def test_tls_bundle_directory(authority: trustme.CA, tmp_path: Path) -> None:
    """The CA bundle may be a directory of certificates."""
    # An empty one trusts no certificate. The kind of the failure shows that it is read as a directory.
    with secured(authority) as server:
        assert broke(look(client(server.url, verify=str(tmp_path)))).kind == "tls"


@pytest.mark.parametrize("name", ["missing.pem", "garbage.pem", "nul\0.pem", "half\ud800.pem"])
def test_tls_invalid_bundle(tmp_path: Path, name: str) -> None:
    """An unreadable CA bundle is InvalidInput."""
    (tmp_path / "garbage.pem").write_text("not a certificate")
    error = look(client("https://127.0.0.1:1", verify=f"{tmp_path}/{name}")).failure()
    assert isinstance(error, InvalidInput)
    assert error.field == "verify"


# Proxies


def test_proxy_from_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy of the environment is used for other hosts."""
    images = b'{"sandboxes": [], "total": 0}'
    with Proxy(servers.always(reply(images))) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        config = Config(api_url="http://pocketenv.invalid", connect_timeout=0.5, retries=0)
        assert list_sandboxes(config=config).unwrap().total == 0
        assert proxy.seen[0].path.startswith("http://pocketenv.invalid/xrpc/io.pocketenv.sandbox.getSandboxes?")


def test_proxy_tls_tunnel(authority: trustme.CA, bundle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy sees neither the token nor the request of a TLS connection."""
    with secured(authority, "pocketenv.invalid") as server, Proxy(servers.ordinary) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        config = client(f"https://pocketenv.invalid:{server.port}", verify=bundle)
        assert isinstance(look(config), Success)
        assert isinstance(run(config), Success)
        assert server.seen[0].headers["authorization"] == f"Bearer {TOKEN}"
        assert [request.verb for request in proxy.seen] == ["CONNECT"]
        assert "authorization" not in proxy.seen[0].headers


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_proxy_loopback(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy is used for this machine."""
    with Proxy(servers.ordinary) as proxy, Server(servers.ordinary) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert isinstance(look(client(f"http://{host}:{server.port}")), Success)
        assert proxy.seen == []


def test_proxy_excluded_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy is used for the hosts of NO_PROXY."""
    with Proxy(servers.ordinary) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", ".invalid")
        assert broke(look(client("https://pocketenv.invalid"))).kind == "connect"
        assert proxy.seen == []


@pytest.mark.parametrize("where", ["http://127.0.0.1:{free}", "nonsense://127.0.0.1:{free}", "http://"])
@pytest.mark.parametrize("ask", [look, run])
def test_proxy_unusable(ask: Ask, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unusable proxy is a proxy error."""
    monkeypatch.setenv("HTTPS_PROXY", where.format(free=servers.free_port()))
    error = broke(ask(client("https://pocketenv.invalid")))
    assert (error.kind, error.maybe_sent) == ("proxy", False)


def test_proxy_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that refuses to connect is a proxy error."""
    with Server(servers.always(reply(b"", 407))) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        error = broke(run(client("https://pocketenv.invalid")))
        assert (error.kind, error.maybe_sent) == ("proxy", False)


def test_proxy_socks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A SOCKS proxy that does not exist is a Failure that was not sent."""
    monkeypatch.setenv("HTTPS_PROXY", f"socks5://127.0.0.1:{servers.free_port()}")
    error = broke(run(client("https://pocketenv.invalid")))
    # With PySocks installed there is still no such proxy to connect to.
    assert error.kind in {"proxy", "connect"}
    assert not error.maybe_sent


# What must not be sent, or not elsewhere


def test_send_ignores_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The credentials of a netrc file are never sent."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password letmein\ndefault login someone password letmein\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with Server(servers.ordinary) as server:
        assert isinstance(look(client(server.url)), Success)
        assert isinstance(get_sandbox("x", config=Config(api_url=server.url)), Success)
        assert [request.headers.get("authorization") for request in server.seen] == [f"Bearer {TOKEN}", None]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("ask", [look, run])
def test_send_redirect(ask: Ask, status: int) -> None:
    """A redirect is an ApiError and is not followed."""
    with Server(servers.ordinary) as elsewhere:
        answer = reply(b"", status, {"Location": f"{elsewhere.url}/xrpc/io.pocketenv.sandbox.exec"})
        with Server(servers.always(answer)) as server:
            error = ask(client(server.url, retries=2)).failure()
            assert isinstance(error, ApiError)
            assert error.status == status
            assert (len(server.seen), elsewhere.connections) == (1, 0)


@pytest.mark.parametrize("location", ["http://[", "//", "http://a:b:c", "\xff\xfe", "http://127.0.0.1:99999/"])
def test_send_invalid_redirect(location: str) -> None:
    """A redirect with an invalid location is an ApiError."""
    with Server(servers.always(reply(b"", 302, {"Location": location}))) as server:
        error = look(client(server.url)).failure()
        assert isinstance(error, ApiError)
        assert error.status == 302


@pytest.mark.parametrize(
    "cookie", ["session=abc; Path=/", "=;;;=", "\xff=\xfe; Max-Age=x; Expires=never", "a=b; Version=9"]
)
def test_send_drops_cookies(cookie: str) -> None:
    """Cookies are not sent back."""
    with Server(servers.always(reply(VIEW, headers={"Set-Cookie": cookie}))) as server:
        for _ in range(2):
            assert isinstance(look(client(server.url)), Success)
        assert "cookie" not in server.seen[1].headers


# Answers that are none

HALF = reply(VIEW).raw[:-10]
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BROKEN = {
    "closed before the answer": (Reply(then="close"), "dropped"),
    "reset before the answer": (Reply(then="reset"), "dropped"),
    "closed in the middle of the body": (Reply(HALF, then="close"), "dropped"),
    "reset in the middle of the body": (Reply(HALF, then="reset"), "dropped"),
    **{
        f"closed after {len(head)} bytes of the header": (Reply(head, then="close"), "dropped")
        for head in (
            b"HTTP/1.1 200 OK",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Le",
            b"HTTP/1.1 200 OK\r\nContent-Length: 0",
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n",
            b"HTTP/1.1 103 Early Hints\r\n\r\n",
        )
    },
    "closed after a header without a length": (Reply(b"HTTP/1.1 200 OK\r\n\r\n", then="close"), "dropped"),
    "closed in the size of a chunk": (Reply(CHUNKED + b"0", then="close"), "dropped"),
    "closed before the end of the chunks": (Reply(CHUNKED + b"2\r\n{}\r\n0\r\n", then="close"), "dropped"),
    "another protocol is switched to": (
        Reply(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n" + reply(VIEW).raw, then="close"),
        "protocol",
    ),
    "an interim answer with a body": (
        Reply(b"HTTP/1.1 103 Early Hints\r\nContent-Length: 2\r\n\r\n{}" + reply(VIEW).raw, then="close"),
        "protocol",
    ),
    "garbage": (Reply(b"\x16\x03\x01\x00\x00 what?\r\n\r\n", then="close"), "protocol"),
    "another protocol": (Reply(b"SSH-2.0-OpenSSH_9.6\r\n", then="close"), "protocol"),
    "no status": (Reply(b"HTTP/1.1 fine\r\n\r\n", then="close"), "protocol"),
    "an unknown version": (Reply(b"HTTP/7.0 200 OK\r\n\r\n", then="close"), "protocol"),
    "a bad chunk": (
        Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n", then="close"),
        "protocol",
    ),
    "a missing chunk": (
        Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n{}", then="close"),
        "dropped",
    ),
    "two lengths": (Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\n{}", then="close"), "protocol"),
    "a length too long": (reply(VIEW, headers={"Content-Length": "999"})._replace(then="close"), "dropped"),
    "a huge header": (reply(headers={"X": "y" * 70_000})._replace(then="close"), "protocol"),
    "too many headers": (reply(headers={f"X-{n}": "y" for n in range(200)})._replace(then="close"), "protocol"),
    "a broken gzip": (reply(b"not gzip", headers={"Content-Encoding": "gzip"}), "protocol"),
}


@pytest.mark.parametrize(("answer", "kind"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("ask", [look, run, make])
def test_send_broken_response(ask: Ask, answer: Reply, kind: str) -> None:
    """A broken response is a TransportError that may have been acted on."""
    with Server(servers.always(answer)) as server:
        error = broke(ask(client(server.url)))
        assert (error.kind, error.maybe_sent) == (kind, True)
        assert len(server.seen) == 1


@pytest.mark.parametrize("ask", [look, run, make])
@pytest.mark.parametrize("sent", [b"", HALF], ids=["no answer", "half an answer"])
def test_send_read_timeout(ask: Ask, sent: bytes) -> None:
    """A read timeout is a TransportError, and the request is not sent again."""
    stall = servers.always(Reply(sent))
    with Server(stall) as server:
        error = broke(ask(client(server.url, read_timeout=0.2, retries=3)))
        assert (error.kind, error.maybe_sent) == ("timeout", True)
        assert len(server.seen) == 1


def test_tls_unfinished_handshake(bundle: str) -> None:
    """An unfinished TLS handshake ends with a timeout."""
    with servers.deaf() as url, socket.create_server(("127.0.0.1", 0)) as silent:
        assert url
        error = broke(look(client(f"https://127.0.0.1:{silent.getsockname()[1]}", verify=bundle)))
        assert error.kind in {"timeout", "connect"}


def test_send_surplus_bytes() -> None:
    """Bytes after the declared length are dropped, and the connection is not used again."""
    longer = reply(VIEW)
    with Server(servers.in_turn(longer._replace(raw=longer.raw + b"HTTP/1.1 200 OK\r\n\r\nbait"), longer)) as server:
        first = look(client(server.url))
        assert isinstance(first, Success)
        assert look(client(server.url)) == first


@pytest.mark.parametrize("seconds", [math.inf, 1e300, 1e10, 3_000_000.0])
def test_send_huge_timeout(seconds: float) -> None:
    """A timeout that is too long for the system is no timeout."""
    with Server(servers.ordinary) as server:
        config = Config(api_url=server.url, token=TOKEN, connect_timeout=seconds, read_timeout=seconds)
        assert isinstance(look(config), Success)
        # Cloudflare ends a request after 300 s, and says so at once.
        elsewhere = msgspec.structs.replace(BOX, provider="modal", status=Status.RUNNING)
        assert isinstance(exec(elsewhere, "make", timeout=seconds, config=config), Success)


HALVES: list[Ask] = [
    lambda config: get_sandbox("\ud800", config=config),
    lambda config: create("\udfff", config=config),
    lambda config: exec(BOX, "echo \ud83d", config=config),
    lambda config: exec(BOX, "echo", ["\ud83d"], config=config),
    lambda config: pocketenv.add_secret("3f", "NAME", "\ud800", config=config),
    lambda config: sandbox.expose(BOX, 8080, description="\ud800", config=config),
]


@pytest.mark.parametrize("ask", HALVES)
def test_send_lone_surrogate(ask: Ask) -> None:
    """A lone surrogate is a Failure, and no request is sent."""
    with Server(servers.ordinary) as server:
        error = ask(client(server.url)).failure()
        assert error.summary()
        assert not isinstance(error, TransportError | ApiError)
        assert server.seen == []


HEADERS = st.sampled_from(
    [
        "Content-Length: 2",
        "Content-Length: -1",
        "Content-Length: " + "9" * 40,
        "Content-Length: zwei",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Content-Encoding: deflate",
        "Content-Encoding: br, zstd",
        "Content-Type: \xff",
        "Content-Type: text/html; charset=\x00",
        "Retry-After: " + "9" * 400,
        "Retry-After: " + "9" * 5000,
        "Retry-After: Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Retry-After: soon",
        "X-RateLimit-Limit: " + "9" * 5000,
        "X-RateLimit-Limit: 500",
        "X-RateLimit-Remaining: 0",
        "X-RateLimit-Remaining: " + "9" * 400,
        "X-RateLimit-Reset: " + "9" * 400,
        "X-RateLimit-Reset: " + "9" * 5000,
        "X-RateLimit-Reset: 0",
        "Location: http://[",
        "Set-Cookie: \xff;=;",
        "Connection: close",
        ": empty",
        " folded",
        "no colon",
    ]
)
BODIES = st.one_of(
    st.binary(max_size=30),
    st.sampled_from(
        [
            b"{}",
            VIEW,
            b"[" * 60_000,
            b'{"x": ' + b"[" * 60_000,
            b'{"error": "\\ud800"}',
            b'{"sandbox": 1e999}',
            b"\xff\xfe{}",
        ]
    ),
)


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    status=st.sampled_from(
        ["200", "204", "301", "400", "404", "413", "429", "500", "503", "599", "100", "999", "0", "x"]
    ),
    headers=st.lists(HEADERS, max_size=5),
    body=BODIES,
)
def test_send_any_response(bundle: str, status: str, headers: list[str], body: bytes) -> None:
    """Any response of a server is a Result."""
    # A small CA bundle: each example has a transport of its own, or one's rate limit would hold up the next.
    servers.forget()
    head = "\r\n".join([f"HTTP/1.1 {status} Said", *headers, "", ""])
    with Server(servers.always(Reply(head.encode("latin-1") + body, then="close"))) as server:
        config = client(server.url, verify=bundle, read_timeout=0.5)
        for ask in (look, run):
            servers.forget()
            outcome = ask(config)
            assert isinstance(outcome, Success) or isinstance(outcome.failure(), PocketenvError)


# What is sent again, and what never

TRANSIENT = {
    "closed": Reply(then="close"),
    "reset": Reply(then="reset"),
    "502": reply(b"", 502),
    "503": reply(b"", 503),
    "503 with Retry-After": reply(b"", 503, {"Retry-After": "0"}),
    "503 with a bad Retry-After": reply(b"", 503, {"Retry-After": "soon"}),
    "503 with a Retry-After beyond the calendar": reply(
        b"", 503, {"Retry-After": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}
    ),
    "504": reply(b"", 504),
}


@pytest.mark.parametrize("answer", TRANSIENT.values(), ids=TRANSIENT)
def test_query_transient_error(answer: Reply) -> None:
    """A query is sent again after a transient error."""
    with Server(servers.in_turn(answer, reply(VIEW))) as server:
        assert isinstance(look(client(server.url, retries=1)), Success)
        assert server.verbs == ["GET", "GET"]


@pytest.mark.parametrize("answer", [TRANSIENT["closed"], TRANSIENT["502"]], ids=["closed", "502"])
@pytest.mark.parametrize("retries", [0, 2])
def test_query_retries_used_up(answer: Reply, retries: int) -> None:
    """A query fails after the configured retries."""
    with Server(servers.always(answer)) as server:
        error = look(client(server.url, retries=retries)).failure()
        assert isinstance(error, TransportError if answer.then == "close" else ServerError)
        assert server.verbs == ["GET"] * (retries + 1)


def naps_of(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of each pause, which is not made."""
    naps: list[float] = []
    monkeypatch.setattr(transport, "nap", naps.append)
    monkeypatch.setattr(storage, "nap", naps.append)
    return naps


# urllib3 repeats once without a pause. Each later pause is twice the one before, up to 5 s, and up to 0.2 s longer.
PAUSES = [0.0, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def assert_paced(naps: list[float]) -> None:
    assert len(naps) == len(PAUSES)
    for nap, pause in zip(naps, PAUSES, strict=True):
        assert pause <= nap <= min(pause + (0.2 if pause else 0.0), 5.0), naps
    assert naps != PAUSES  # many clients do not all come at once


@pytest.mark.parametrize("answer", [TRANSIENT["503"], TRANSIENT["closed"]], ids=["503", "closed"])
def test_query_retry_pauses(answer: Reply, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses between retries of a query become longer."""
    naps = naps_of(monkeypatch)
    with Server(servers.always(answer)) as server:
        look(client(server.url, retries=len(PAUSES)))
        assert len(server.seen) == len(PAUSES) + 1
    assert_paced(naps)


def one_piece() -> Generator[bytes]:
    yield b"x"


def test_put_retry_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses between retries of an upload become longer."""
    naps = naps_of(monkeypatch)
    with Server(servers.always(TRANSIENT["503"])) as server:
        config = client(server.url, retries=len(PAUSES))
        assert isinstance(under(config, storage.put, one_piece), Failure)
    assert_paced(naps)


def test_query_retry_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry waits for the time of Retry-After."""
    naps = naps_of(monkeypatch)
    with Server(servers.in_turn(reply(b"", 503, {"Retry-After": "7"}), reply(VIEW))) as server:
        assert isinstance(look(client(server.url, retries=1)), Success)
    assert naps == [7]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500, 501])
def test_query_permanent_error(status: int) -> None:
    """A query is not sent again after a permanent error."""
    with Server(servers.always(reply(b"{}", status))) as server:
        assert isinstance(look(client(server.url, retries=3)).failure(), ApiError)
        assert server.verbs == ["GET"]


ONCE = {
    **TRANSIENT,
    **{name: answer for name, (answer, _) in BROKEN.items()},
    "500": reply(b"", 500),
    "500 with Retry-After": reply(b"", 500, {"Retry-After": "0"}),
    "413 with Retry-After": reply(b"", 413, {"Retry-After": "0"}),
    "no answer": Reply(),
}


@pytest.mark.parametrize("answer", ONCE.values(), ids=ONCE)
@pytest.mark.parametrize("ask", [run, make])
def test_procedure_no_retry(ask: Ask, answer: Reply) -> None:
    """A procedure that may have arrived is not sent again."""
    with Server(servers.in_turn(answer, reply(RAN))) as server:
        outcome = ask(client(server.url, read_timeout=0.2, retries=3))
        assert isinstance(outcome, Failure)
        assert server.verbs == ["POST"]


def test_procedure_late_server() -> None:
    """A procedure is retried until its server accepts connections."""
    port = servers.free_port()
    config = client(f"http://127.0.0.1:{port}", retries=4)
    given: list[Outcome] = []
    asking = threading.Thread(target=lambda: given.append(run(config)))
    asking.start()
    time.sleep(0.3)
    with Server(servers.ordinary, port=port) as server:
        asking.join()
        assert isinstance(given[0], Success)
        assert server.verbs == ["POST"]


# Too many requests

ENOUGH = reply(b'{"error": "Too many requests, please try again later."}', 429, {"Retry-After": "1"})


@pytest.mark.parametrize(("ask", "answer"), [(look, VIEW), (run, RAN)])
def test_send_after_429(ask: Ask, answer: bytes) -> None:
    """Any call waits after a 429 and is then sent again unchanged."""
    with Server(servers.in_turn(ENOUGH, reply(answer))) as server:
        assert isinstance(ask(client(server.url, retries=1)), Success)
        first, second = server.seen
        assert second.when - first.when >= 1.0
        assert (first.path, first.body) == (second.path, second.body)


def test_send_429_other_threads() -> None:
    """The pause after a 429 delays other threads and other Configs."""
    with Server(servers.in_turn(ENOUGH, reply(VIEW))) as server:
        first = threading.Thread(target=look, args=(client(server.url, retries=1),))
        first.start()
        while not server.seen:
            time.sleep(0.005)
        time.sleep(0.1)
        assert isinstance(look(client(server.url, retries=2)), Success)
        first.join()
        assert len(server.seen) == 3
        assert min(request.when for request in server.seen[1:]) - server.seen[0].when >= 1.0


def test_send_429_retries_used_up() -> None:
    """A 429 after the last retry is RateLimited."""
    with Server(servers.always(ENOUGH)) as server:
        error = run(client(server.url, retries=1)).failure()
        assert error == RateLimited(429, "Too many requests, please try again later.", "", "sandbox.exec", 1.0)
        assert len(server.seen) == 2


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3600", 3600.0), ("Fri, 31 Dec 2100 23:59:59 GMT", None), ("9" * 30, float("9" * 30))],
)
def test_send_429_long_wait(header: str, seconds: float | None) -> None:
    """A Retry-After that is too long is RateLimited at once."""
    with Server(servers.always(reply(b"", 429, {"Retry-After": header}))) as server:
        error = look(client(server.url, retries=3)).failure()
        assert isinstance(error, RateLimited)
        assert error.retry_after == seconds
        assert len(server.seen) == 1


def test_send_429_without_retry_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 429 without Retry-After waits for one window."""
    monkeypatch.setattr(transport, "RETRY_AFTER", 0.3)  # the constant is 30 s: the platform's window
    with Server(servers.in_turn(reply(b"", 429), reply(VIEW))) as server:
        assert isinstance(look(client(server.url, retries=1)), Success)
        assert server.seen[1].when - server.seen[0].when >= 0.3


# Connections


def test_connection_shared() -> None:
    """Calls share a connection."""
    with Server(servers.ordinary) as server:
        config = client(server.url)
        for ask in (look, run, look):
            assert isinstance(ask(config), Success)
        assert {request.connection for request in server.seen} == {1}


def test_connection_after_close() -> None:
    """A route opens new connections after it was closed."""
    with Server(servers.ordinary) as server:
        for number in (1, 2):
            assert isinstance(look(client(server.url)), Success)
            assert server.connections == number
            for route in transport._routes.values():  # pyright: ignore[reportPrivateUsage]
                route.close()


def test_connection_after_error() -> None:
    """A connection is used again after an error response."""
    answers = servers.in_turn(reply(b"{}", 500), reply(b"", 400), reply(b'{"error": "x"}', 404), reply(VIEW))
    with Server(answers) as server:
        for _ in range(4):
            look(client(server.url))
        assert server.connections == 1


def test_connection_idle(platform: local.Platform) -> None:
    """An idle connection is closed before the server closes it."""
    real = Config(api_url=platform.url, token=platform.token, retries=0)
    pocketenv.me(config=real).unwrap()
    with Server(servers.ordinary, idle=5.0) as server:
        config = client(server.url)
        assert isinstance(look(config), Success)
        time.sleep(1.0)
        assert isinstance(look(config), Success)
        assert server.connections == 1
        time.sleep(4.2)
        assert isinstance(run(config), Success)
        assert [request.connection for request in server.seen] == [1, 1, 2]
    # The platform has dropped the connection by now, after its 5 s.
    before = len(platform.calls)
    create("after-the-break", config=real).unwrap()
    asked = ["createSandbox", "putPreferences", "getSandbox"]
    assert list(platform.calls)[before:] == [(f"io.pocketenv.sandbox.{method}", 200) for method in asked]


def test_connection_dropped_by_server() -> None:
    """A procedure is not sent on a connection that the server dropped."""
    with Server(servers.in_turn(reply(VIEW)._replace(then="close"), reply(RAN))) as server:
        config = client(server.url)
        assert isinstance(look(config), Success)
        while server.alive:
            time.sleep(0.001)
        assert isinstance(run(config), Success)
        assert server.connections == 2


def test_send_parallel_threads() -> None:
    """Threads do not wait for the responses of other threads."""
    together = threading.Barrier(16, timeout=60)

    def answer(_: object) -> Reply:
        # No answer goes out before all have asked.
        together.wait()
        return reply(RAN)

    with Server(answer) as server:
        config = client(server.url)
        threads = [threading.Thread(target=run, args=(config,)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(server.seen) == server.connections == 16


@contextlib.contextmanager
def forked() -> Generator[bool]:
    """Run the block in this process (False) and in a child (True), which ends with it; its failure fails here."""
    with warnings.catch_warnings():
        # Python warns of forks in a process with threads. That such a child works is what is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        yield False
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        return
    code = 1
    try:
        yield True
        code = 0
    finally:
        os._exit(code)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_fork_own_connections() -> None:
    """A forked child opens its own connections."""
    with Server(servers.ordinary) as server:
        config = client(server.url)
        assert isinstance(look(config), Success)
        with forked() as in_child:
            assert isinstance(look(config), Success)
            assert isinstance(run(config), Success)
            if in_child:
                assert isinstance(run(config), Success)
        mine = {request.connection for request in server.seen if request.verb == "GET"}
        assert (len(server.seen), server.connections, len(mine)) == (6, 2, 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_fork_during_pause() -> None:
    """A forked child does not wait for the pause of a thread of its parent."""
    with Server(servers.in_turn(ENOUGH, reply(VIEW))) as server:
        waiting = threading.Thread(target=look, args=(client(server.url, retries=1),))
        waiting.start()
        while not server.seen:
            time.sleep(0.005)
        time.sleep(0.1)
        with forked() as in_child:
            if in_child:
                assert isinstance(look(client(server.url)), Success)
        waiting.join()
        assert server.seen[1].when - server.seen[0].when < 0.9


def opened_for_writing(pipe: Path) -> int:
    """Open a named pipe once it has a reader. A fork before that could hold a lock of OpenSSL in the child."""
    while True:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            time.sleep(0.005)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_fork_during_ca_load(tmp_path: Path) -> None:
    """A forked child does not wait for a thread of its parent that reads the CA file."""
    slow = tmp_path / "slow.pem"
    os.mkfifo(slow)
    with Server(servers.ordinary) as server:
        waiting = threading.Thread(target=look, args=(client(server.url, verify=str(slow)),))
        waiting.start()
        writer = opened_for_writing(slow)
        assert transport._making.locked()  # pyright: ignore[reportPrivateUsage]
        with forked() as in_child:
            if in_child:
                signal.alarm(60)  # one that waits would do so without end
                assert isinstance(look(client(server.url)), Success)
        os.close(writer)
        waiting.join()
        assert len(server.seen) == 1
