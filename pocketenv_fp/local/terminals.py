"""The terminals of the platform: WebSockets to an interactive shell in a sandbox.

Cloudflare's are at ``/v1/sandboxes/ID/ws/terminal``. A session has a name, and outlives its connections: its earlier output
comes first. After the end of the shell there is silence, and no close. Daytona and Deno have ``/ssh``, Sprites ``/tty``, and
the others ``/pty``. Their shells end with the connection.

All of them are at the address of the API here. A script of another web site gets a 403.
"""

import asyncio
import base64
import json
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

from starlette.types import Receive, Scope, Send

from pocketenv_fp.local import actors, bodies, hosts, providers, sandboxes
from pocketenv_fp.local.call import Refusal, User, World
from pocketenv_fp.local.machine import Refused
from pocketenv_fp.local.replies import Reply, error_reply, json_reply
from pocketenv_fp.local.sandboxes import CLOUDFLARE, Sandbox
from pocketenv_fp.local.terminal_session import Session

Headers = Mapping[bytes, bytes]
Note = Callable[[int], None]

SIZE = (80, 24)
LARGEST_SIDE = 65_535
MOST_WAITING = 1000

_OF_CLOUDFLARE = re.compile(r"/v1/sandboxes/(?P<id>[^/]+)/ws/terminal/?")
_OF_WORKERS = re.compile(r"/(?P<kind>tty|pty|ssh)/(?P<id>[^/]+)/ws/?")
_DISCONNECT = re.compile(r"/ssh/disconnect/(?P<id>[^/]+)")
_TEXT = (b"content-type", b"text/plain;charset=UTF-8")
_KINDS = {"daytona": "ssh", "deno": "ssh", "sprites": "tty"}
_NO_TERMINAL = "blaxel"


def _refusal(status: int, text: str) -> Reply:
    return Reply(status, text, (_TEXT,))


class _Visit(NamedTuple):
    """A WebSocket that is not accepted yet: its query, and the two ways of its messages."""

    query: Mapping[str, str]
    receive: Receive
    send: Send
    note: Note

    async def accept(self, wrap: Callable[[bytes], dict[str, Any]]) -> "_Line":
        """Open the WebSocket. `wrap` is the form of its output."""
        self.note(101)
        await self.send({"type": "websocket.accept"})
        return _Line(self.receive, self.send, wrap)

    async def refuse(self, reply: Reply) -> None:
        """Answer without a WebSocket."""
        self.note(reply.status)
        start = {"type": "websocket.http.response.start", "status": reply.status, "headers": [*reply.headers]}
        await self.send(start)
        await self.send({"type": "websocket.http.response.body", "body": reply.text.encode()})


class _Line(NamedTuple):
    """An open WebSocket, and the form of its output."""

    receive: Receive
    send: Send
    wrap: Callable[[bytes], dict[str, Any]]

    async def output(self, data: bytes) -> None:
        """Send output."""
        await self.send({"type": "websocket.send", **self.wrap(data)})

    async def control(self, **message: object) -> None:
        """Send a control message."""
        await self.send({"type": "websocket.send", "text": json.dumps(message, separators=(",", ":"))})


class Terminals:
    """The terminals of one platform."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._named: dict[tuple[str, str], Session] = {}
        self._waiting: dict[str, tuple[Sandbox, tuple[int, int]]] = {}
        self._open: set[Session] = set()

    async def answer(self, scope: Scope, receive: Receive, headers: Headers) -> Reply | None:
        """Answer an ordinary request for one of the pages. Return None for another path."""
        verb, path = scope["method"], scope["path"]
        if verb == "GET" and _OF_CLOUDFLARE.fullmatch(path):
            return _refusal(426, "Expected WebSocket connection")
        if verb == "POST" and path == "/ssh/connect":
            return await self._begin_ssh(receive, headers)
        if verb == "DELETE" and (match := _DISCONNECT.fullmatch(path)):
            session = self._waiting.pop(match["id"], None)
            return json_reply(200, {"ok": True}) if session else json_reply(404, {"error": "Session not found"})
        return None

    async def connect(self, scope: Scope, receive: Receive, send: Send, headers: Headers, note: Note) -> None:
        """Serve a WebSocket until one of its sides ends it."""
        # The first message is websocket.connect.
        await receive()
        visit = _Visit(bodies.read_fields(scope["query_string"]), receive, send, note)
        # Browsers let a script of any web site open a WebSocket to this machine.
        refusal: Reply | None
        if not hosts.is_here(headers) or hosts.is_foreign(headers):
            refusal = _refusal(403, "Forbidden")
        elif match := _OF_CLOUDFLARE.fullmatch(scope["path"]):
            refusal = await self._cloudflare(match["id"], visit)
        elif match := _OF_WORKERS.fullmatch(scope["path"]):
            refusal = await self._worker(match["kind"], match["id"], visit)
        else:
            refusal = _refusal(404, "Not Found")
        if refusal is not None:
            await visit.refuse(refusal)

    def close(self) -> None:
        """Hang up every terminal."""
        for session in list(self._open):
            session.close()

    # Cloudflare.

    async def _cloudflare(self, id: str, visit: _Visit) -> Reply | None:
        sandbox = sandboxes.find(self._world, id, by="id")
        if sandbox is None or sandbox.provider != CLOUDFLARE:
            return _refusal(404, "Sandbox not found")
        if "t" in visit.query and not self._is_owner(sandbox, visit.query["t"]):
            return _refusal(403, "Unauthorized")
        if sandbox.stopped:
            return _refusal(400, "Sandbox not started")
        line = await visit.accept(lambda data: {"bytes": data})
        key = (sandbox.id, visit.query.get("session") or str(uuid.uuid4()))
        session = self._named.get(key)
        if session is None:
            try:
                session = await self._start(sandbox, _size(visit.query), lambda: self._named.pop(key, None))
            except Refused:
                await line.control(type="error", message="Failed to get PTY")
                await line.send({"type": "websocket.close", "code": 1011, "reason": "Failed to get PTY"})
                return None
            self._named[key] = session
        await _serve(line, session, before=bytes(session.backlog), is_cloudflare=True)
        return None

    def _is_owner(self, sandbox: Sandbox, token: str) -> bool:
        claims = self._world.vault.claims(token)
        did = None if claims is None else claims.get("sub")
        user = actors.by_identifier(self._world.store, did) if isinstance(did, str) else None
        return user is not None and user.id == sandbox.owner

    # The nine others.

    async def _begin_ssh(self, receive: Receive, headers: Headers) -> Reply:
        user = self._user(actors.token_in(headers))
        name = headers.get(b"x-sandbox-id", b"").decode("latin-1")
        try:
            sent: Any = await bodies.read(headers, receive)
        except Refusal as refusal:
            return error_reply(f"{refusal.error}: {refusal.message}", refusal.status)
        sandbox = self._own(user, name, "ssh")
        if sandbox is None:
            return error_reply(f"Error: Sandbox not found: {name}")
        body = cast("dict[str, Any]", sent) if isinstance(sent, dict) else {}
        session = str(uuid.uuid4())
        self._waiting[session] = (sandbox, _size(body))
        while len(self._waiting) > MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]
        return json_reply(200, {"sessionId": session})

    async def _worker(self, kind: str, id: str, visit: _Visit) -> Reply | None:
        user = self._user(visit.query.get("token"))
        if kind == "ssh":
            sandbox, size = self._waiting.pop(id, (None, SIZE))
            if sandbox is None or user is None or sandbox.owner != user.id:
                return _refusal(404, "Session not found")
        else:
            sandbox, size = self._own(user, id, kind), SIZE
            if sandbox is None:
                return _refusal(404, "Sandbox not found")
        line = await visit.accept(_base64 if kind == "ssh" else _characters())
        try:
            session = await self._start(sandbox, size, lambda: None)
        except Refused:
            await line.send({"type": "websocket.close", "code": 1011, "reason": "Failed to open a terminal"})
            return None
        try:
            await _serve(line, session)
        finally:
            session.close()
        return None

    def _own(self, user: User | None, id: str, kind: str) -> Sandbox | None:
        sandbox = None if user is None else sandboxes.find(self._world, id, by="name", owner=user.id)
        if sandbox is None or sandbox.provider in {CLOUDFLARE, _NO_TERMINAL} or sandbox.stopped:
            return None
        return sandbox if _KINDS.get(sandbox.provider, "pty") == kind else None

    def _user(self, token: str | None) -> User | None:
        claims = None if token is None else self._world.vault.claims(token)
        did = None if claims is None else claims.get("did")
        return actors.by_identifier(self._world.store, did) if isinstance(did, str) else None

    async def _start(self, sandbox: Sandbox, size: tuple[int, int], ended: Callable[[], object]) -> Session:
        place = providers.provider(sandbox.provider)
        machine = self._world.machine(sandbox.id)
        descriptor = await machine.open_terminal(size, directory=place.directory, home=place.home)

        def over() -> None:
            self._open.discard(session)
            ended()

        session = Session(descriptor, over)
        self._open.add(session)
        return session


async def _serve(line: _Line, session: Session, *, before: bytes = b"", is_cloudflare: bool = False) -> None:
    """Carry output and keys until the client leaves. Cloudflare's WebSocket stays open after the end of the shell."""
    listener = session.listen()
    try:
        if before:
            await line.output(before)
        if is_cloudflare:
            await line.control(type="ready")
        typing = asyncio.ensure_future(_type(line, session, is_cloudflare=is_cloudflare))
        showing = asyncio.ensure_future(_show(line, session, listener, is_cloudflare=is_cloudflare))
        try:
            await asyncio.wait([typing, showing], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (typing, showing):
                task.cancel()
            await asyncio.gather(typing, showing, return_exceptions=True)
    finally:
        session.forget(listener)


async def _show(line: _Line, session: Session, listener: "asyncio.Queue[bytes | None]", *, is_cloudflare: bool) -> None:
    while (data := await listener.get()) is not None:
        await line.output(data)
        session.go_on()
    if is_cloudflare:
        # Silence until the client leaves.
        await asyncio.Event().wait()
    await line.send({"type": "websocket.close", "code": 1000})


async def _type(line: _Line, session: Session, *, is_cloudflare: bool) -> None:
    while (message := await line.receive())["type"] == "websocket.receive":
        if (keys := message.get("bytes")) is not None:
            session.write(keys)
            continue
        text: str = message["text"]
        size = _new_size(text)
        if isinstance(size, tuple):
            session.resize(*size)
        elif not is_cloudflare:
            # Also keys are text there.
            session.write(text.encode("utf-8", "replace"))
        elif size is not None:
            await line.control(type="error", message=size)


def _new_size(text: str) -> tuple[int, int] | str | None:
    """Return the size in a control message, the error in it, or None for a message of another type."""
    try:
        message: Any = json.loads(text)
    except (ValueError, RecursionError):
        return "Invalid control message"
    fields = cast("dict[str, Any]", message) if isinstance(message, dict) else {}
    if fields.get("type") != "resize":
        return None
    columns, rows = fields.get("cols"), fields.get("rows")
    if not isinstance(columns, int) or not isinstance(rows, int) or columns <= 0 or rows <= 0:
        return "Invalid dimensions: cols and rows must be positive"
    return min(columns, LARGEST_SIDE), min(rows, LARGEST_SIDE)


def _size(fields: Mapping[str, Any]) -> tuple[int, int]:
    sides = [str(fields.get(name, "")) for name in ("cols", "rows")]
    columns, rows = (int(side) if re.fullmatch(r"[1-9]\d{0,4}", side) else 0 for side in sides)
    return (min(columns, LARGEST_SIDE) or SIZE[0], min(rows, LARGEST_SIDE) or SIZE[1])


def _base64(data: bytes) -> dict[str, Any]:
    return {"text": base64.b64encode(data).decode()}


def _characters() -> Callable[[bytes], dict[str, Any]]:
    import codecs

    # A piece may end in the middle of a character.
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return lambda data: {"text": decoder.decode(data)}
