"""Play a fault: one request, and the bytes that then go on the wire."""

import asyncio
import hashlib
import math
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple, assert_never

import msgspec
from msgspec import UNSET
from starlette.types import Message, Receive, Scope, Send

from pocketenv_fp.local import fault_kinds as kinds
from pocketenv_fp.local.call import now
from pocketenv_fp.local.connection import hang_up
from pocketenv_fp.local.faults import PREFIX
from pocketenv_fp.local.limits import WINDOW_SECONDS
from pocketenv_fp.local.replies import JSON

Headers = list[tuple[bytes, bytes]]
Note = Callable[[int], None]

NOT_SENT = 0
# The key in a request's scope for a lost AT Protocol session of the user.
SESSION_LOST = "pocketenv.session-lost"
# The key for a fault of the sandbox's shell.
SHELL_FAULT = "pocketenv.shell-fault"
LOOK_AGAIN = 0.05

_encode = msgspec.json.Encoder().encode
_HTML = (b"content-type", b"text/html")
_EMPTY = b"{}"
# The platform's words, where they are not those of HTTP.
_WORDS = {
    400: ("InvalidRequest", "Bad Request"),
    401: ("AuthenticationRequired", "Unauthorized"),
    403: ("SandboxProviderError", "Forbidden"),
    404: ("XRPCNotSupported", "Not Found"),
    413: ("PayloadTooLargeError", "request entity too large"),
    415: ("UnsupportedMediaTypeError", "Unsupported Media Type"),
    501: ("MethodNotImplemented", "Method Not Implemented"),
    502: ("SandboxProviderError", "Bad Gateway"),
}
TOO_MANY = "Too many requests, please try again later."


class Exchange(NamedTuple):
    """A request, and the way of its answer.

    `sent` are the headers of the request, and `headers` those of every answer. `note` is called with the status before
    anything is sent.
    """

    scope: Scope
    receive: Receive
    send: Send
    sent: Mapping[bytes, bytes]
    headers: Headers
    note: Note


Work = Callable[[Exchange], Awaitable[None]]


async def play(fault: kinds.Fault, exchange: Exchange, work: Work, closed: Callable[[], bool]) -> None:
    """Answer as the fault wants it. `work` makes the true answer; `closed` returns whether the platform is closing."""
    request = _Request(exchange.receive)
    read = exchange._replace(receive=request.receive)
    match fault:
        case kinds.Slow():
            await _slowly(fault, read, request, work, closed)
        case kinds.LostSession() | kinds.DeadShell() | kinds.BlockedShell() | kinds.NoStderr():
            exchange.scope[SESSION_LOST if isinstance(fault, kinds.LostSession) else SHELL_FAULT] = fault
            await work(read)
        case kinds.Cut():
            await work(read._replace(send=_Shorter(exchange.send, fault.kept).send))
            await _end(exchange, request, reset=fault.reset)
        case kinds.Truncated():
            await work(read._replace(send=_Shorter(exchange.send, lambda size: size // 2, honest=True).send))
            await exchange.send({"type": "http.response.body"})
        case kinds.Drop():
            if fault.after_work:
                await work(read._replace(send=_drop_message, note=_drop_status))
            exchange.note(NOT_SENT)
            await _end(exchange, request, reset=fault.reset)
        case kinds.Refuse() | kinds.Html() | kinds.Garbage():
            if fault.after_work:
                await work(read._replace(send=_drop_message, note=_drop_status))
            await request.drain()
            status, headers, body = _fault_answer(fault, exchange)
            if isinstance(fault, kinds.Refuse) and exchange.scope["path"].startswith(PREFIX):
                headers = [*headers, (b"etag", etag(body))]
            exchange.note(status)
            headers = [*headers, (b"content-length", str(len(body)).encode())]
            await exchange.send({"type": "http.response.start", "status": status, "headers": headers})
            await exchange.send({"type": "http.response.body", "body": body})
        case _:
            assert_never(fault)


def etag(body: bytes) -> bytes:
    """Return the weak entity tag of a body."""
    digest = b64encode(hashlib.sha1(body, usedforsecurity=False).digest()).rstrip(b"=")
    return b'W/"%x-%s"' % (len(body), digest)


async def _drop_message(_message: Message) -> None:
    return


def _drop_status(_status: int) -> None:
    return


class _Request:
    """The incoming body of a request, and whether all of it has arrived."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._held: list[Message] = []
        self._ended = False

    async def receive(self) -> Message:
        if self._held:
            return self._held.pop(0)
        message = await self._receive()
        self._ended = self._ended or message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    async def drain(self) -> None:
        # A read after the whole body would wait until the client leaves.
        while not self._ended:
            await self.receive()

    async def hold(self) -> None:
        messages: list[Message] = []
        while not self._ended:
            messages.append(await self.receive())
        self._held = messages


async def _end(exchange: Exchange, request: _Request, *, reset: bool) -> None:
    # A client that waits for "100 Continue" has sent no body. Reading it would put a byte on the wire.
    if b"expect" not in exchange.sent:
        await request.drain()
    await hang_up(exchange.scope, exchange.receive, reset=reset)


async def _slowly(
    fault: kinds.Slow, exchange: Exchange, request: _Request, work: Work, closed: Callable[[], bool]
) -> None:
    waited = False

    async def later(message: Message) -> None:
        nonlocal waited
        if not waited:
            waited = True
            await _wait(fault.seconds, closed)
        await exchange.send(message)

    if fault.before_work:
        await request.hold()
        await _wait(fault.seconds, closed)
        await work(exchange)
    else:
        await work(exchange._replace(send=later))


async def _wait(seconds: float, closed: Callable[[], bool]) -> None:
    # In short naps: a platform that closes does not wait for them.
    clock = asyncio.get_running_loop().time
    until = clock() + seconds
    while (left := until - clock()) > 0 and not closed():  # noqa: ASYNC110 - another thread sets `closed`
        await asyncio.sleep(min(left, LOOK_AGAIN))


class _Shorter:
    """The receiver of an answer of which only the first `kept(size)` bytes are sent, unfinished.

    The head has the true size. With `honest` it has the size of the sent part.
    """

    def __init__(self, send: Send, kept: Callable[[int], int], *, honest: bool = False) -> None:
        self._send = send
        self._kept = kept
        self._honest = honest
        self._left = 0
        self._spare = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._send(self._head(message))
            return
        part = (message.get("body", b"") or self._spare)[: self._left]
        self._left -= len(part)
        if part:
            await self._send({"type": "http.response.body", "body": part, "more_body": True})

    def _head(self, message: Message) -> Message:
        headers: Headers = list(message["headers"])
        size = next((int(value) for name, value in headers if name == b"content-length"), 0)
        if size == 0:
            size, self._spare = len(_EMPTY), _EMPTY
        self._left = self._kept(size)
        length = (b"content-length", str(self._left if self._honest else size).encode())
        return {**message, "headers": [*(pair for pair in headers if pair[0] != b"content-length"), length]}


def _fault_answer(fault: kinds.Refuse | kinds.Html | kinds.Garbage, exchange: Exchange) -> tuple[int, Headers, bytes]:
    match fault:
        case kinds.Html(status=status):
            return status, [_HTML], _page(status)
        case kinds.Garbage(body=body):
            return 200, [JSON, *exchange.headers], body
        case kinds.Refuse(status=429):
            return _too_many(fault, exchange.headers)
        case kinds.Refuse(status=status):
            headers = [JSON, *exchange.headers, *_retry_after(fault.retry_after)]
            return status, headers, _encode(_error(fault, exchange.scope))


def _too_many(fault: kinds.Refuse, headers: Headers) -> tuple[int, Headers, bytes]:
    # The headers of the limit must agree with the refusal.
    pause = WINDOW_SECONDS if fault.retry_after is UNSET else fault.retry_after
    seconds = pause if isinstance(pause, int) else WINDOW_SECONDS
    full = {b"x-ratelimit-remaining": b"0", b"x-ratelimit-reset": str(math.ceil(now() + seconds)).encode()}
    limits = [(name, full.get(name, value)) for name, value in headers]
    return 429, [JSON, *limits, *_retry_after(pause)], _encode({"error": fault.error or TOO_MANY})


def _retry_after(seconds: Any) -> Headers:
    return [] if seconds is None or seconds is UNSET else [(b"retry-after", str(seconds).encode())]


def _error(fault: kinds.Refuse, scope: Scope) -> dict[str, str]:
    phrase = _phrase(fault.status)
    error, message = _WORDS.get(fault.status, (phrase.title().replace(" ", ""), phrase))
    if scope["path"].startswith(PREFIX):
        return {"error": fault.error or error, "message": fault.message or message}
    # The storage has its own shape.
    return {"error": fault.error or fault.message or message}


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _page(status: int) -> bytes:
    title = "Welcome" if status == 200 else f"{status} {_phrase(status)}"
    return f"<!doctype html><html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n".encode()
