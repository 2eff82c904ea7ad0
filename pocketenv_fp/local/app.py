"""The envelope of every request and every answer, for all methods.

One ASGI callable with a dictionary of methods: the benchmarks of the client run against it.
"""

import logging
import sqlite3
import time
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from pocketenv_fp.elements import markup
from pocketenv_fp.local import actors, bodies, hosts, login, request_log, storage, terminals
from pocketenv_fp.local.call import NOTHING, Call, Refusal, User, World, invalid, now, server_error, unauthorized
from pocketenv_fp.local.faults import STORAGE, Faults
from pocketenv_fp.local.limits import PLATFORM_LIMIT, WINDOW_SECONDS, RateWindow
from pocketenv_fp.local.methods import METHODS, RECORDS, Method
from pocketenv_fp.local.page import Page
from pocketenv_fp.local.play_fault import SESSION_LOST, SHELL_FAULT, TOO_MANY, Exchange, Headers, etag, play
from pocketenv_fp.local.replies import HTML, JSON, Reply, error_reply
from pocketenv_fp.local.schema import check_body, read_params

CALLS_KEPT = 10_000
LOG_SECONDS = 1.0

_XRPC = "/xrpc/"
_log = logging.getLogger("pocketenv_fp.local")
_JSON: Headers = [JSON]
_HTML: Headers = [HTML]
_BLANK: Headers = []
_ANY_ORIGIN = (b"access-control-allow-origin", b"*")
_KEEP_ALIVE = (b"keep-alive", b"timeout=5")
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Error</title>
</head>
<body>
<pre>{}</pre>
</body>
</html>
"""


class Target(NamedTuple):
    """The target of a request.

    `name`: its name in the lists of requests. `fault`: its name for a fault. `method`: set where the request uses the
    method's own verb.
    """

    name: str
    fault: str
    path: str
    method: Method | None = None
    storage: bool = False


class App:
    """The ASGI application of one platform."""

    def __init__(self, world: World, methods: Mapping[str, Method], rate_limit: int | None) -> None:
        self.calls: deque[tuple[str, int]] = deque(maxlen=CALLS_KEPT)
        self.recent: deque[request_log.Answered] = deque(maxlen=request_log.KEPT)
        self.listener: request_log.Listener | None = None
        self.faults = Faults(methods)
        self._world = world
        self._methods = dict(methods)
        self._in_any_case = {nsid.lower(): nsid for nsid in methods}
        self._window = RateWindow(rate_limit)
        self._names = request_log.Names(world)
        self._storage = storage.Storage(world)
        self._login = login.Login(world)
        self.terminals = terminals.Terminals(world)
        self._logged_at = 0.0
        self._page = Page(world, self.recent, self._names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "websocket":
            await self._connect(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        verb: str = scope["method"]
        if scope["path"] == "/" and verb in {"GET", "HEAD"}:
            # Looking on changes nothing: no limit counts it, no fault meets it, no list of requests has it.
            page = await self._page.show(Request(scope))
            await page(scope, receive, send)
            return
        begun = time.perf_counter()
        headers = _read_headers(scope["headers"])
        target = self._target(verb, scope["raw_path"].decode("latin-1"))
        answered: Headers = [_ANY_ORIGIN]
        if headers.get(b"connection", b"").lower() != b"close":
            answered.append(_KEEP_ALIVE)
        note = partial(self._note, target.name, scope, begun)
        exchange = Exchange(scope, receive, send, headers, answered, note)
        # The platform's storage is another server, without a limit.
        if not hosts.is_here(headers):
            await _reply(exchange, 403, _JSON, bodies.encode(hosts.REFUSED))
        elif verb == "OPTIONS":
            await _reply(exchange, 204, _allowed(headers), b"")
        elif not target.storage and not self._count(scope, answered):
            refused = [*_JSON, (b"retry-after", str(WINDOW_SECONDS).encode())]
            await _reply(exchange, 429, refused, bodies.encode({"error": TOO_MANY}))
        elif self.faults.armed and (fault := self.faults.take(target.fault)) is not None:
            await play(fault, exchange, partial(self._serve, target), self._world.closed.is_set)
        else:
            await self._serve(target, exchange)

    async def _connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        note = partial(self._note, scope["path"], {**scope, "method": "GET"}, time.perf_counter())
        await self.terminals.connect(scope, receive, send, _read_headers(scope["headers"]), note)

    async def _serve(self, target: Target, exchange: Exchange) -> None:
        if target.storage:
            send = self._to_storage(exchange, target)
            await self._storage.answer(exchange.scope, exchange.receive, send, exchange.sent)
        elif target.method is not None:
            await _reply(exchange, *await self._answer(target.method, exchange))
        elif (page := await self._page_of(exchange)) is not None:
            body = _page(page.text) if page.is_error else page.text.encode()
            await _reply(exchange, page.status, [*page.headers], body)
        else:
            await _reply(exchange, *_missing(exchange.scope["method"], target.path))

    async def _page_of(self, exchange: Exchange) -> Reply | None:
        request = exchange.scope, exchange.receive, exchange.sent
        try:
            return await self._login.answer(*request) or await self.terminals.answer(*request)
        except Exception:  # noqa: BLE001 - as for the methods
            self._log_failure(exchange.scope["path"])
            return error_reply("Internal Server Error")

    def _target(self, verb: str, path: str) -> Target:
        if path == STORAGE or path.startswith(f"{STORAGE}/"):
            return Target(path, f"{'GET' if verb == 'HEAD' else verb} {STORAGE}", path, storage=True)
        part = _method_part(path)
        if part is None:
            name = path.removeprefix(_XRPC) or path
            return Target(name, name, path)
        method = self._methods.get(self._in_any_case.get(part.lower(), part))
        name = method.nsid if method else part
        is_served = method is not None and method.handler is not None and _is_verb(method, verb)
        return Target(name, name, path, method if is_served else None)

    def _to_storage(self, exchange: Exchange, target: Target) -> Send:
        async def sender(message: Any) -> None:
            if message["type"] == "http.response.start":
                if message["status"] < 400:
                    self.faults.count(target.fault)
                exchange.note(message["status"])
                message = {**message, "headers": [*message["headers"], *exchange.headers]}
            await exchange.send(message)

        return sender

    def _note(self, name: str, scope: Scope, begun: float, status: int) -> None:
        self.calls.append((name, status))
        seconds = time.perf_counter() - begun
        answered = request_log.Answered(now(), scope["method"], name, status, seconds, scope.get(request_log.SANDBOX))
        self.recent.append(answered)
        if self.listener is not None:
            self.listener(answered._replace(sandbox=self._names.of(answered.sandbox)))

    def _count(self, scope: Scope, headers: Headers) -> bool:
        client: tuple[str, int] | None = scope.get("client")
        admitted, left, reset = self._window.admit(client[0] if client else "", now())
        limit = PLATFORM_LIMIT if self._window.limit is None else self._window.limit
        headers += [
            (b"x-ratelimit-limit", str(limit).encode()),
            (b"x-ratelimit-remaining", str(left).encode()),
            (b"x-ratelimit-reset", str(reset).encode()),
        ]
        return admitted

    async def _answer(self, method: Method, exchange: Exchange) -> tuple[int, Headers, bytes]:
        try:
            result = await self._perform(method, exchange)
        except Refusal as refusal:
            return refusal.status, _JSON, _error(refusal)
        if result is None:
            return 200, _BLANK, b""
        return 200, _JSON, bodies.encode(result)

    async def _perform(self, method: Method, exchange: Exchange) -> Any:
        scope, headers = exchange.scope, exchange.sent
        user = self._user(headers)
        if user is None and hosts.is_foreign(headers):
            raise Refusal(403, *hosts.FOREIGN)
        sent = await bodies.read(headers, exchange.receive) if method.verb == "POST" else None
        params = read_params(method.params, scope["query_string"])
        checked = _check_input(method, headers, sent)
        if user is None and method.login is not None:
            raise unauthorized(method.login)
        scope[request_log.SANDBOX] = request_log.sandbox(method.nsid, params, checked)
        has_session, shell = not scope.get(SESSION_LOST), scope.get(SHELL_FAULT)
        call = Call(self._world, user, params, checked, session=has_session, shell=shell)
        try:
            result = await method.handler(call)  # type: ignore[misc]  # a target has a method only with a handler
        except Refusal:
            raise
        except (sqlite3.IntegrityError, UnicodeError):
            # A taken name, an unknown id, a string that no database holds: a server error each time.
            raise server_error() from None
        except Exception:  # noqa: BLE001 - the client gets an answer in any case
            self._log_failure(method.nsid)
            raise server_error() from None
        self.faults.count(method.nsid)
        if method.nsid == request_log.CREATE:
            scope[request_log.SANDBOX] = result["id"]
            self._names.keep(result["id"], result["name"])
        return result

    def _log_failure(self, nsid: str) -> None:
        # A machine without memory or file descriptors fails every request: one report a second is enough.
        moment = time.monotonic()
        if moment - self._logged_at >= LOG_SECONDS:
            self._logged_at = moment
            _log.exception("%s failed", nsid)

    def _user(self, headers: Mapping[bytes, bytes]) -> User | None:
        token = actors.token_in(headers)
        if token is None:
            return None
        claims = self._world.vault.claims(token)
        if claims is None:
            raise server_error()
        did = claims.get("did")
        return actors.bearer(self._world, did) if isinstance(did, str) and did else None


def _read_headers(sent: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    # The first of equal ones counts.
    return dict(reversed(sent))


def _method_part(path: str) -> str | None:
    # The name of a method in a path, as it was written. None where the path has another form.
    if path[: len(_XRPC)].lower() != _XRPC:
        return None
    part = path[len(_XRPC) :].removesuffix("/")
    return part if part and "/" not in part else None


def _is_verb(method: Method, verb: str) -> bool:
    return verb == method.verb or (verb == "HEAD" and method.verb == "GET")


def _missing(verb: str, path: str) -> tuple[int, Headers, bytes]:
    refusal = _refusal_of(verb, path)
    if refusal is None:
        return 404, _HTML, _page(f"Cannot {verb} {path}")
    return refusal.status, _JSON, _error(refusal)


def _refusal_of(verb: str, path: str) -> Refusal | None:
    """Return the JSON error that the platform has for an unknown method. None where it has a page."""
    part = _method_part(path)
    if part is None:
        return None
    try:
        nsid = unquote_to_bytes(_strict(part)).decode()
    except ValueError:
        return invalid(f"Failed to decode param '{part}'")
    method = METHODS.get(nsid)
    if method is None:
        return None if nsid in RECORDS else Refusal(501, "MethodNotImplemented", "Method Not Implemented")
    return None if verb == method.verb else invalid(f"Incorrect HTTP method ({verb}) expected {method.verb}")


def _strict(part: str) -> str:
    # JavaScript refuses a percent sign without two hex digits; Python keeps it.
    for piece in part.split("%")[1:]:
        bytes.fromhex(piece[:2] if len(piece) >= 2 else "?")
    return part


def _check_input(method: Method, headers: Mapping[bytes, bytes], sent: Any) -> dict[str, Any]:
    presence = bodies.presence(headers)
    if method.body is None:
        if presence == "present":
            raise invalid("A request body was provided when none was expected")
        return NOTHING
    if presence == "missing":
        raise invalid("A request body is expected but none was provided")
    kind = bodies.media_type(headers)
    if not kind:
        raise invalid("Request encoding (Content-Type) required but not provided")
    if kind != bodies.JSON:
        raise invalid(f"Wrong request encoding (Content-Type): {kind}")
    bodies.check_keys(sent)
    return check_body(method.body, sent)


def _allowed(headers: Mapping[bytes, bytes]) -> Headers:
    names = headers.get(b"access-control-request-headers")
    return [
        (b"access-control-allow-methods", b"GET,HEAD,PUT,PATCH,POST,DELETE"),
        (b"vary", b"Access-Control-Request-Headers"),
        *([] if names is None else [(b"access-control-allow-headers", names)]),
    ]


def _page(text: str) -> bytes:
    return _PAGE.format(markup(text)).encode()


def _error(refusal: Refusal) -> bytes:
    return bodies.encode({"error": refusal.error, "message": refusal.message})


def _is_fresh(headers: Mapping[bytes, bytes], tag: bytes) -> bool:
    header = headers.get(b"if-none-match")
    if header is None or b"no-cache" in headers.get(b"cache-control", b""):
        return False
    tags = {each.strip().removeprefix(b"W/") for each in header.split(b",")}
    return header.strip() == b"*" or tag.removeprefix(b"W/") in tags


async def _reply(exchange: Exchange, status: int, extra: Headers, body: bytes) -> None:
    headers = [*extra, *exchange.headers]
    if extra[:1] == _JSON or (extra == _HTML and not body.startswith(b"<")):
        tag = etag(body)
        headers.append((b"etag", tag))
        if status == 200 and exchange.scope["method"] in {"GET", "HEAD"} and _is_fresh(exchange.sent, tag):
            status, body, headers = 304, b"", headers[len(extra) :]
    exchange.note(status)
    if status != 304:
        headers.append((b"content-length", str(len(body)).encode()))
    await exchange.send({"type": "http.response.start", "status": status, "headers": headers})
    await exchange.send({"type": "http.response.body", "body": body})
