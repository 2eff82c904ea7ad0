"""The envelope: what every request and every answer goes through, whatever the method.

One ASGI callable with a dictionary of methods, because the benchmarks of the client run against it. Starlette
answers everything that is no method.
"""

import logging
import sqlite3
from collections import deque
from collections.abc import Mapping
from html import escape
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send

from pocketenv_fp.local import actors
from pocketenv_fp.local.call import (
    EMPTY,
    NOTHING,
    Call,
    Refusal,
    User,
    World,
    invalid,
    now,
    server_error,
    unauthorized,
)
from pocketenv_fp.local.limits import PLATFORM_LIMIT, WINDOW_SECONDS, RateWindow
from pocketenv_fp.local.methods import Method
from pocketenv_fp.local.schema import check_body, read_params

LARGEST_BODY = 102_400
CALLS_KEPT = 10_000
PREFIX = "/xrpc/"

Headers = list[tuple[bytes, bytes]]

_log = logging.getLogger("pocketenv_fp.local")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_JSON: Headers = [(b"content-type", b"application/json; charset=utf-8")]
_BLANK: Headers = []


class App:
    """The ASGI application of one platform."""

    def __init__(self, world: World, methods: Mapping[str, Method], rate_limit: int | None) -> None:
        self.calls: deque[tuple[str, int]] = deque(maxlen=CALLS_KEPT)
        self._world = world
        self._methods = methods
        self._window = RateWindow(rate_limit)
        self._pages = Starlette(exception_handlers={404: _no_page, 405: _no_page})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        admitted, headers = self._count(scope)
        path: str = scope["path"]
        nsid = path[len(PREFIX) :] if path.startswith(PREFIX) else None
        method = self._methods.get(nsid) if nsid else None
        if not admitted:
            headers.append((b"retry-after", str(WINDOW_SECONDS).encode()))
            status, extra, body = 429, _JSON, _encode({"error": "Too many requests, please try again later."})
        elif nsid is None or (method is not None and method.handler is None):
            await self._pages(scope, receive, _with_headers(send, headers))
            self._note(nsid or path, 404)
            return
        else:
            status, extra, body = await self._answer(method, scope, receive)
        self._note(nsid or path, status)
        length = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": extra + length + headers})
        await send({"type": "http.response.body", "body": body})

    def _note(self, name: str, status: int) -> None:
        self.calls.append((name, status))

    def _count(self, scope: Scope) -> tuple[bool, Headers]:
        client: tuple[str, int] | None = scope.get("client")
        admitted, left, reset = self._window.admit(client[0] if client else "", now())
        limit = PLATFORM_LIMIT if self._window.limit is None else self._window.limit
        return admitted, [
            (b"x-ratelimit-limit", str(limit).encode()),
            (b"x-ratelimit-remaining", str(left).encode()),
            (b"x-ratelimit-reset", str(reset).encode()),
        ]

    async def _answer(self, method: Method | None, scope: Scope, receive: Receive) -> tuple[int, Headers, bytes]:
        try:
            result = await self._perform(method, scope, receive)
        except Refusal as refusal:
            return refusal.status, _JSON, _encode({"error": refusal.error, "message": refusal.message})
        if result is EMPTY:
            return 200, _BLANK, b""
        return 200, _JSON, _encode(result)

    async def _perform(self, method: Method | None, scope: Scope, receive: Receive) -> Any:
        if method is None or method.handler is None:
            raise Refusal(501, "MethodNotImplemented", "Method Not Implemented")
        if scope["method"] != method.verb:
            raise invalid(f"Incorrect HTTP method ({scope['method']}) expected {method.verb}")
        headers = _read_headers(scope)
        body = await _read_body(headers, receive)
        params = read_params(method.params, scope["query_string"])
        user = self._user(headers.get(b"authorization"))
        given = _check_input(method, headers, body)
        if user is None and method.login is not None:
            raise unauthorized(method.login)
        try:
            return await method.handler(Call(self._world, user, params, given))
        except Refusal:
            raise
        except sqlite3.IntegrityError:
            # A name that is taken, or an id that nothing has: the platform calls both a server error.
            raise server_error() from None
        except Exception:  # noqa: BLE001 - whatever it is, the client is owed an answer
            _log.exception("%s failed", method.nsid)
            raise server_error() from None

    def _user(self, authorization: bytes | None) -> User | None:
        if authorization is None:
            return None
        scheme, _, token = authorization.decode("latin-1").partition(" ")
        user_id = self._world.vault.signer(token.strip()) if scheme.lower() == "bearer" else None
        user = actors.find(self._world.store, user_id)
        if user is None:
            raise server_error()
        return user


def _read_headers(scope: Scope) -> dict[bytes, bytes]:
    return dict(scope["headers"])


async def _read_body(headers: Mapping[bytes, bytes], receive: Receive) -> bytes | None:
    # None where no body came; a Content-Length of 0 is none either.
    length = headers.get(b"content-length", b"0")
    if length == b"0" and b"transfer-encoding" not in headers:
        return None
    if length.isdigit() and int(length) > LARGEST_BODY:
        raise _too_large()
    parts, size, more = list[bytes](), 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise invalid("request aborted")
        part: bytes = message.get("body", b"")
        parts.append(part)
        size += len(part)
        if size > LARGEST_BODY:
            raise _too_large()
        more = message.get("more_body", False)
    return b"".join(parts)


def _check_input(method: Method, headers: Mapping[bytes, bytes], body: bytes | None) -> dict[str, Any]:
    if method.body is None:
        if body is not None:
            raise invalid("A request body was provided when none was expected")
        return NOTHING
    if body is None:
        raise invalid("A request body is expected but none was provided")
    return check_body(method.body, _parse(headers, body))


def _parse(headers: Mapping[bytes, bytes], body: bytes) -> Any:
    kind, _, rest = headers.get(b"content-type", b"").decode("latin-1").lower().partition(";")
    if not kind.strip():
        raise invalid("Request encoding (Content-Type) required but not provided")
    if kind.strip() != "application/json":
        raise invalid(f"Wrong request encoding (Content-Type): {kind.strip()}")
    if encoding := headers.get(b"content-encoding", b"identity").decode("latin-1").lower().replace("identity", ""):
        raise Refusal(415, "UnsupportedMediaTypeError", f'unsupported content encoding "{encoding}"')
    charset = _charset(rest)
    if not charset.startswith("utf-"):
        raise Refusal(415, "UnsupportedMediaTypeError", f'unsupported charset "{charset.upper()}"')
    try:
        value = _decode(body if charset == "utf-8" else body.decode(charset).encode())
    except (msgspec.DecodeError, UnicodeError, LookupError, RecursionError):
        raise _malformed() from None
    if not isinstance(value, dict | list):
        raise _malformed()
    return value  # pyright: ignore[reportUnknownVariableType]


def _charset(rest: str) -> str:
    for part in rest.split(";"):
        name, _, value = part.partition("=")
        if name.strip() == "charset":
            return value.strip().strip('"')
    return "utf-8"


def _malformed() -> Refusal:
    return Refusal(400, "SyntaxError", "The request body is not valid JSON")


def _too_large() -> Refusal:
    return Refusal(413, "PayloadTooLargeError", "request entity too large")


def _with_headers(send: Send, headers: Headers) -> Send:
    async def sender(message: Any) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *headers]}
        await send(message)

    return sender


async def _no_page(request: Request, _error: Exception) -> Response:
    told = f"Cannot {escape(request.method)} {escape(request.url.path)}"
    return HTMLResponse(f"<!doctype html><html><title>Error</title><body><pre>{told}</pre></body></html>", 404)
