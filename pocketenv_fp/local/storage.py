"""Storage: archives on their way between this machine and sandboxes, each read once and only by who sent it.

They are files, one folder a user. An archive is streamed into a draft and takes its place when it is whole; whoever
reads it takes it away first. Neither way holds more of it in memory than a piece. What nobody fetched within a day
of its upload is removed.
"""

import asyncio
import contextlib
import os
import posixpath
import re
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import IO, Any

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from pocketenv_fp.local import actors, lifecycle, sandboxes, unpackings
from pocketenv_fp.local.call import EMPTY, Call, User, World, invalid, new_id, not_found, provider_refused
from pocketenv_fp.local.machine import Machine, Refused
from pocketenv_fp.local.sandboxes import Sandbox
from pocketenv_fp.local.threads import aside

PIECE = 256 * 1024
LIFE_SECONDS = 24 * 3600

_UUID = re.compile(r"[A-Za-z0-9-]{1,64}")
_DRAFTS = ".drafts"


class Upload:
    """The parts of a multipart body, fed piece by piece: the first file under the name `file` is what is kept."""

    def __init__(self, boundary: bytes, draft: IO[bytes]) -> None:
        self.found = False
        self.whole = False
        self._draft = draft
        self._chosen = False
        self._name = bytearray()
        self._value = bytearray()
        self._disposition = b""
        self._kept = bytearray()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._field,
                "on_header_value": self._text,
                "on_header_end": self._header,
                "on_headers_finished": self._choose,
                "on_part_data": self._data,
                "on_part_end": self._part,
                "on_end": self._end,
            },
        )

    async def feed(self, data: bytes) -> None:
        """Take the next piece of the body. Raises FormParserError."""
        self._parser.write(data)
        if len(self._kept) >= PIECE:
            await self.flush()

    async def flush(self) -> None:
        """Write down what is held."""
        kept, self._kept = self._kept, bytearray()
        if kept:
            await aside(self._draft.write, kept)

    def _begin(self) -> None:
        self._disposition = b""

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _text(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header(self) -> None:
        if bytes(self._name).lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _choose(self) -> None:
        # Without a file name it is an ordinary field of the form.
        _, options = parse_options_header(self._disposition)
        self._chosen = not self.found and options.get(b"name") == b"file" and b"filename" in options

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._chosen:
            self._kept += memoryview(data)[start:end]

    def _part(self) -> None:
        self.found = self.found or self._chosen
        self._chosen = False

    def _end(self) -> None:
        self.whole = True


class Archive(Response):
    """An open file, sent in pieces and closed."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(media_type="application/gzip")
        self.headers["content-length"] = str(os.fstat(file.fileno()).st_size)
        self._file = file

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, or as much of it as there is somebody to take."""
        gone = asyncio.ensure_future(_hung_up(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            while not gone.done() and (piece := await aside(self._file.read, PIECE)):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()
            self._file.close()


def routes(world: World) -> list[Route]:
    """The pages of the storage host."""

    async def upload(request: Request) -> Response:
        user = _user(world, request)
        return _refusal(401, "Unauthorized") if user is None else await _receive(world, user, request)

    async def read(request: Request) -> Response:
        user = _user(world, request)
        if user is None:
            return _refusal(401, "Unauthorized")
        file = _taken(world, user, request.path_params["uuid"])
        return _refusal(404, "File not found") if file is None else Archive(file)

    reading = Route("/cp/{uuid}", read, methods=["GET"])
    # It would take the archive away and give nothing for it.
    reading.methods = {"GET"}
    return [Route("/cp", upload, methods=["POST"]), reading]


async def pull(call: Call) -> Any:
    """Unpack an archive into a directory of a sandbox; an unknown one is passed over in silence."""
    world, me, taken = call.world, call.me, drafts(call.world) / new_id()
    async with _running(call):
        # Noted before it is taken: a crash between the two must not cost the archive.
        noted = unpackings.note(world, taken, _own(call).id, call.body["directoryPath"])
        try:
            if _claim(world, me, call.body["uuid"], taken):
                await lifecycle.reach(world, noted.sandbox, noted.directory)
                await unpackings.carry(world, noted)
        except Refused:
            raise provider_refused() from None
        finally:
            unpackings.forget(world, noted)
    return EMPTY


async def push(call: Call) -> Any:
    """The uuid of a new archive of a directory; where there is no such directory it is the uuid of nothing."""
    world, me, name = call.world, call.me, new_id()
    directory = posixpath.normpath(posixpath.join("/workspace", call.body["directoryPath"]))
    top = "." if call.body["directoryPath"].endswith("/.") else posixpath.basename(directory)
    draft = drafts(world) / name
    async with _running(call) as machine:
        if not top:
            raise provider_refused()
        try:
            if await machine.pack(directory, draft, top):
                _keep(world, me, draft, name)
        except Refused:
            raise provider_refused() from None
        finally:
            draft.unlink(missing_ok=True)
    return {"uuid": name}


def folder(world: World) -> Path:
    """Where the archives lie."""
    return world.data / "storage"


def drafts(world: World) -> Path:
    """Where those lie that are being written, or are being read into a sandbox; made where it is missing."""
    found = folder(world) / _DRAFTS
    found.mkdir(mode=0o700, parents=True, exist_ok=True)
    return found


def recover(world: World) -> None:
    """Remove what a crash left unfinished and nobody wants, and what is too old."""
    for draft in set(drafts(world).iterdir()) - unpackings.archives(world):
        draft.unlink(missing_ok=True)
    expire(world)


def expire(world: World) -> None:
    """Remove the archives that nobody fetched within their day."""
    oldest = time.time() - LIFE_SECONDS
    for archive in folder(world).glob("*/*"):
        # Somebody may fetch it at this moment.
        with contextlib.suppress(FileNotFoundError):
            if archive.parent.name != _DRAFTS and archive.stat().st_mtime < oldest:
                archive.unlink()


async def _receive(world: World, user: User, request: Request) -> Response:
    name = request.query_params.get("uuid") or new_id()
    if not _UUID.fullmatch(name):
        return _refusal(400, "Invalid uuid")
    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        return _refusal(400, "No file uploaded")
    await aside(expire, world)
    draft = drafts(world) / new_id()
    try:
        with draft.open("wb", buffering=0) as file:
            try:
                upload = Upload(boundary, file)
                async for piece in request.stream():
                    await upload.feed(piece)
                await upload.flush()
            except (FormParserError, ClientDisconnect):
                return _refusal(400, "No file uploaded")
        if not (upload.found and upload.whole):
            return _refusal(400, "No file uploaded")
        _keep(world, user, draft, name)
    finally:
        draft.unlink(missing_ok=True)
    return JSONResponse({"uuid": name})


def _keep(world: World, user: User, draft: Path, name: str) -> None:
    own = folder(world) / user.id
    own.mkdir(mode=0o700, exist_ok=True)
    draft.replace(own / name)


def _claim(world: World, user: User, name: str, taken: Path) -> bool:
    # A rename gives it to one reader only, and a crash on the way leaves a draft.
    if not _UUID.fullmatch(name):
        return False
    try:
        (folder(world) / user.id / name).rename(taken)
    except FileNotFoundError:
        return False
    return True


def _taken(world: World, user: User, name: str) -> IO[bytes] | None:
    taken = drafts(world) / new_id()
    if not _claim(world, user, name, taken):
        return None
    try:
        return taken.open("rb", buffering=0)
    finally:
        taken.unlink()


@contextlib.asynccontextmanager
async def _running(call: Call) -> AsyncGenerator[Machine]:
    found = _own(call)
    machine = call.world.machine(found.id)
    async with machine.turn:
        # Somebody may have stopped or deleted it while this waited.
        if _own(call).status != "RUNNING":
            raise invalid("Sandbox is not running")
        yield machine


def _own(call: Call) -> Sandbox:
    found = sandboxes.find(call.world, call.body["sandboxId"], by="uri", owner=call.me.id)
    if found is None:
        raise not_found("Sandbox not found")
    return found


def _user(world: World, request: Request) -> User | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    user = world.vault.signer(token.strip()) if scheme.lower() == "bearer" else None
    return None if user is None else actors.find(world.store, user)


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _refusal(status: int, error: str) -> Response:
    return JSONResponse({"error": error}, status)
