"""The envelope: what every request and every answer goes through, whatever the method.

One ASGI callable with a dictionary of methods, because the benchmarks of the client run against it. Starlette
answers everything that is no method.
"""

import logging
import sqlite3
import time
from collections import deque
from collections.abc import Mapping
from html import escape
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from pocketenv_fp.local import access, actors, storage
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
from pocketenv_fp.local.exchange import Exchange, Headers, play
from pocketenv_fp.local.faults import PREFIX, Faults
from pocketenv_fp.local.limits import PLATFORM_LIMIT, WINDOW_SECONDS, RateWindow
from pocketenv_fp.local.methods import Method
from pocketenv_fp.local.page import Page
from pocketenv_fp.local.schema import check_body, read_params

LARGEST_BODY = 102_400
CALLS_KEPT = 10_000

_log = logging.getLogger("pocketenv_fp.local")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_JSON: Headers = [(b"content-type", b"application/json; charset=utf-8")]
_BLANK: Headers = []


class App:
    """The ASGI application of one platform."""

    def __init__(self, world: World, methods: Mapping[str, Method], rate_limit: int | None) -> None:
        self.calls: deque[tuple[str, int]] = deque(maxlen=CALLS_KEPT)
        self.recent: deque[access.Answered] = deque(maxlen=access.KEPT)
        self.heard: access.Heard | None = None
        self.faults = Faults(methods)
        self._world = world
        self._methods = methods
        self._window = RateWindow(rate_limit)
        self._names = access.Names(world)
        page = Page(world, self.recent, self._names)
        self._pages = Starlette(
            routes=[Route("/", page.show, methods=["GET"]), *storage.routes(world)],
            exception_handlers={404: _no_page, 405: _no_page},
        )
        # The platform sends nobody elsewhere, and an upload could not follow.
        self._pages.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        if scope["path"] == "/":
            # Looking on changes nothing: no limit counts it, no fault meets it, no list of requests has it.
            await self._pages(scope, receive, send)
            return
        begun = time.perf_counter()
        admitted, headers = self._count(scope)
        name: str = scope["path"].removeprefix(PREFIX) or PREFIX

        def note(status: int) -> None:
            self._note(name, status, scope, begun)

        asked = Exchange(scope, receive, send, headers, note)
        if not admitted:
            headers.append((b"retry-after", str(WINDOW_SECONDS).encode()))
            await _reply(asked, 429, _JSON, _encode({"error": "Too many requests, please try again later."}))
        elif self.faults.armed and (fault := self.faults.take(scope["method"], scope["path"])) is not None:
            await play(fault, asked, self._serve, self._world.closed.is_set)
        else:
            await self._serve(asked)

    async def _serve(self, asked: Exchange) -> None:
        path: str = asked.scope["path"]
        nsid = path[len(PREFIX) :] if path.startswith(PREFIX) else None
        method = self._methods.get(nsid) if nsid else None
        if nsid is None or (method is not None and method.handler is None):
            await self._pages(asked.scope, asked.receive, self._to_page(asked))
        else:
            await _reply(asked, *await self._answer(method, asked.scope, asked.receive))

    def _to_page(self, asked: Exchange) -> Send:
        async def sender(message: Any) -> None:
            if message["type"] == "http.response.start":
                if message["status"] < 400:
                    self.faults.count(self.faults.name(asked.scope["method"], asked.scope["path"]))
                asked.note(message["status"])
                message = {**message, "headers": [*message["headers"], *asked.headers]}
            await asked.send(message)

        return sender

    def _note(self, name: str, status: int, scope: Scope, begun: float) -> None:
        self.calls.append((name, status))
        taken = time.perf_counter() - begun
        answered = access.Answered(now(), scope["method"], name, status, taken, scope.get(access.SANDBOX))
        self.recent.append(answered)
        if self.heard is not None:
            self.heard(answered._replace(sandbox=self._names.of(answered.sandbox)))

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
        scope[access.SANDBOX] = access.sandbox(method.nsid, params, given)
        try:
            result = await method.handler(Call(self._world, user, params, given))
        except Refusal:
            raise
        except sqlite3.IntegrityError:
            # A name that is taken, or an id that nothing has: the platform calls both a server error.
            raise server_error() from None
        except Exception:  # noqa: BLE001 - whatever it is, the client is owed an answer
            _log.exception("%s failed", method.nsid)
            raise server_error() from None
        self.faults.count(method.nsid)
        if method.nsid == access.CREATE:
            scope[access.SANDBOX] = result["id"]
            self._names.learn(result["id"], result["name"])
        return result

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


async def _reply(asked: Exchange, status: int, extra: Headers, body: bytes) -> None:
    asked.note(status)
    headers = [*extra, (b"content-length", str(len(body)).encode()), *asked.headers]
    await asked.send({"type": "http.response.start", "status": status, "headers": headers})
    await asked.send({"type": "http.response.body", "body": body})


async def _no_page(request: Request, _error: Exception) -> Response:
    told = f"Cannot {escape(request.method)} {escape(request.url.path)}"
    return HTMLResponse(f"<!doctype html><html><title>Error</title><body><pre>{told}</pre></body></html>", 404)
