"""The addresses of terminals, their messages, and the errors of a connection that does not open."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import ssl
from contextlib import ExitStack
from typing import Any

import pytest
from msgspec.structs import replace
from returns.result import Failure

from pocketenv_fp import (
    ApiError,
    DecodeError,
    InvalidInput,
    NotLoggedIn,
    PocketenvError,
    RateLimited,
    Sandbox,
    SandboxNotFound,
    ServerError,
    Status,
    TransportError,
    Unauthorized,
    using,
)
from pocketenv_fp.config import API_URL, Settings, settings
from pocketenv_fp.redaction import HIDDEN, HiddenText
from pocketenv_fp.terminal import links
from pocketenv_fp.terminal.consoles import _connect, _failure, _running
from pocketenv_fp.terminal.links import Control, Link, _base64_output, _cloudflare_output, _terminal_url, _text_keys
from pocketenv_fp.terminal.routes import OPERATION
from tests.servers import BOX, TOKEN, Reply, Server, always, client, reply, under

pytest.importorskip("websockets")


def known(token: str | None = TOKEN, url: str = "http://127.0.0.1:9") -> Settings:
    """Return the settings of a platform at ``url``."""
    return replace(under(client(url), settings).unwrap(), token=token)


def link(box: Sandbox, url: str) -> Any:
    with using(client(url)):
        return links.link_to(box, known(url=url), (80, 24))


@pytest.mark.parametrize(("provider", "route"), [("sprites", "tty"), ("modal", "pty"), ("e2b", "pty")])
def test_link_to_token_in_address(provider: str, route: str) -> None:
    """These terminals have an address with the id and the token, which is hidden."""
    made = link(replace(BOX, id="a/b", provider=provider), "http://127.0.0.1:9").unwrap()
    assert str(made.address) == f"ws://127.0.0.1:9/{route}/a%2Fb/ws?token={TOKEN}"
    assert TOKEN not in repr(made)
    assert (made.has_ready, made.session) == (False, "")


@pytest.mark.parametrize("provider", ["cloudflare", "daytona", "modal"])
def test_link_to_without_login(provider: str) -> None:
    """Without a token nothing is sent."""
    made = links.link_to(replace(BOX, provider=provider, base_sandbox="openclaw"), known(None), (80, 24))
    assert made == Failure(NotLoggedIn())


@pytest.mark.parametrize("base", [None, "", "a/b", ".", "-a", "a b"])
def test_link_to_base_of_no_host(base: str | None) -> None:
    """The name of the base image becomes part of a host: it must be a word."""
    error = link(replace(BOX, provider="cloudflare", base_sandbox=base), "http://127.0.0.1:9").failure()
    assert isinstance(error, DecodeError)


def test_link_to_cloudflare() -> None:
    """The token of a terminal is another one, and each terminal has a session of its own."""
    with Server(always(reply(b'{"token": "short/lived"}'))) as server:
        box = replace(BOX, provider="cloudflare", base_sandbox="openclaw")
        first, second = link(box, server.url).unwrap(), link(box, server.url).unwrap()
    start = f"{server.url.replace('http', 'ws')}/v1/sandboxes/{BOX.id}/ws/terminal?t=short/lived&session="
    assert str(first.address).startswith(start)
    assert str(first.address) != str(second.address)
    assert (first.has_ready, first.keys(b"x")) == (True, b"x")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply(b'{"sessionId": "s1"}'), None),
        (reply(b'{"sessionId": "../x"}'), DecodeError),
        (reply(b'{"sessionId": ""}'), DecodeError),
        (reply(b"[]"), DecodeError),
        (reply(b"busy", 500), ServerError),
        (reply(b"", 401), Unauthorized),
    ],
)
def test_link_to_session(answer: Reply, kind: type[PocketenvError] | None) -> None:
    """A session is asked for with the size, and ended with its name."""
    with Server(always(answer)) as server:
        made = link(replace(BOX, provider="daytona"), server.url)
        (request,) = server.seen
        assert (request.verb, request.path, request.body) == ("POST", "/ssh/connect", b'{"cols":80,"rows":24}')
        if kind is not None:
            assert isinstance(made.failure(), kind)
            return
        assert made.unwrap().session == "s1"
        assert str(made.unwrap().address).endswith(f"/ssh/s1/ws?token={TOKEN}")
        links.disconnect(made.unwrap(), known(url=server.url))
        links.disconnect(made.unwrap()._replace(session=""), known(url=server.url))
        assert [(each.verb, each.path) for each in server.seen[1:]] == [("DELETE", "/ssh/disconnect/s1")]


@pytest.mark.parametrize(
    ("chosen", "api", "expected"),
    [
        ("", "http://127.0.0.1:9", "http://127.0.0.1:9"),
        ("", API_URL, "https://openclaw.pocketenv.io"),
        ("https://own.example/", "http://127.0.0.1:9", "https://own.example"),
        ("https://sbx.example", API_URL, "https://openclaw.example"),
        ("http://127.0.0.1:8", API_URL, "http://127.0.0.1:8"),
        ("http://own.example", API_URL, None),
        ("https://own example", API_URL, None),
        ("https://own\x7f.example", API_URL, None),
    ],
)
def test_terminal_url(chosen: str, api: str, expected: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token goes to the host of the platform that is used, over https or on this machine."""
    monkeypatch.setenv("POCKETENV_CF_URL", chosen)
    made = _terminal_url("openclaw", known(url=api))
    if expected is None:
        assert isinstance(made.failure(), InvalidInput)
    else:
        assert made.unwrap() == expected
    monkeypatch.setenv("POCKETENV_CF_URL", "")
    assert _terminal_url("claude-code", known(url=API_URL)).unwrap() == "https://claudecode.pocketenv.io"


def test_link_messages() -> None:
    """Each form of message carries bytes whole, and a wrong one is shown as it is."""
    keys = _text_keys()
    assert [keys(b"a\xc3"), keys(b"\xa9\xff")] == ["a", "é�"]
    assert links._text_output("é\ud800") == b"\xc3\xa9?"
    assert links._text_output(b"\xff") == b"\xff"
    assert [_base64_output(each) for each in ("aGk=", "no base64", b"raw")] == [b"hi", b"no base64", b"raw"]
    assert _cloudflare_output(b"raw") == b"raw"
    assert _cloudflare_output('{"type": "error", "message": "m"}') == Control("error", "m")
    assert _cloudflare_output("nonsense") == Control("")


def test_running_only() -> None:
    """A sandbox that does not run has no terminal."""
    assert _running(replace(BOX, status=Status.RUNNING)).unwrap().id == BOX.id
    assert "is STOPPED: start it" in str(_running(replace(BOX, status=Status.STOPPED)).failure())


@pytest.mark.parametrize(
    ("address", "options"),
    [
        ("ws://127.0.0.1:9/x", {"proxy": None}),
        ("ws://own.example/x", {"proxy": True}),
        ("wss://own.example/x", {"proxy": True, "ssl": ssl.SSLContext}),
        ("ws:///x", {"proxy": True}),
    ],
)
def test_connected_options(address: str, options: dict[str, Any]) -> None:
    """A proxy is for other machines only, and the TLS settings are those of requests."""
    seen: dict[str, Any] = {}

    def connect(_: str, **given: Any) -> Any:
        seen.update(given)
        raise TimeoutError

    with ExitStack() as stack:
        made = Link(HiddenText(address), bytes, _cloudflare_output)
        assert _connect(connect, stack, made, known()) == TransportError("connect", "no connection in time", OPERATION)
    assert seen["proxy"] is options["proxy"]
    assert isinstance(seen["ssl"], ssl.SSLContext) if "ssl" in options else "ssl" not in seen


def refused(status: int, body: bytes) -> Exception:
    from websockets.datastructures import Headers
    from websockets.exceptions import InvalidStatus
    from websockets.http11 import Response

    return InvalidStatus(Response(status, "", Headers(), body))


def test_failure_of_connection() -> None:
    """Each exception of a connection is an error, and none has the token in it."""
    from websockets.exceptions import InvalidHandshake, InvalidProxy, ProxyError

    named, certificate = ssl.SSLError(1, "bad"), ssl.SSLCertVerificationError(1, "bad")
    named.reason, certificate.verify_message = "WRONG_VERSION_NUMBER", "self-signed certificate"
    kinds: list[tuple[Exception, str, str]] = [
        (InvalidProxy("p", "m"), "proxy", "the proxy cannot be used"),
        (ProxyError(), "proxy", "the proxy cannot be used"),
        (ImportError(), "proxy", "the proxy cannot be used"),
        (TimeoutError(), "connect", "no connection in time"),
        (ssl.SSLError(1, "bad"), "tls", "the TLS connection failed: no reason is known"),
        (named, "tls", "the TLS connection failed: WRONG_VERSION_NUMBER"),
        (certificate, "tls", "the TLS connection failed: self-signed certificate"),
        (ConnectionRefusedError(111, "Connection refused"), "connect", "no connection: Connection refused"),
        (OSError(), "connect", "no connection: the host is not known"),
        (EOFError(), "dropped", "the connection broke before the terminal was open"),
        (InvalidHandshake(), "protocol", "the response is not that of a WebSocket"),
        (ValueError(), "protocol", "the response is not that of a WebSocket"),
    ]
    for raised, kind, reason in kinds:
        error = _failure(raised, known())
        assert isinstance(error, TransportError)
        assert (error.kind, error.reason, error.operation) == (kind, reason, OPERATION)


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (403, b"Unauthorized", SandboxNotFound, "Unauthorized"),
        (404, b"", SandboxNotFound, ""),
        (401, f"bad {TOKEN}".encode(), Unauthorized, f"bad {HIDDEN}"),
        (401, b"x" * 199 + TOKEN.encode(), Unauthorized, "x" * 199 + HIDDEN[:1]),
        (429, b"  <html>", RateLimited, ""),
        (500, b"x" * 300, ServerError, "x" * 200),
        (502, b" \xff\x1b ", ServerError, "�"),
    ],
)
def test_refusal_of_connection(status: int, body: bytes, kind: type[ApiError], message: str) -> None:
    """A refused connection has the status, and the first words of the platform without the token."""
    error = _failure(refused(status, body), known())
    assert isinstance(error, kind)
    assert error.status == status
    assert error.message == message
    assert isinstance(_failure(refused(status, body), known(None)), kind)
