"""Storage: archives on their way between this machine and sandboxes, each read once.

They are files, named after their uuid. An archive is streamed into a draft and takes its place when it is whole; a
reader takes it away first. Neither way holds more of it in memory than a piece. An archive that is not fetched within a
day of its upload is removed. Every user can read every archive whose uuid he knows, as on the platform.
"""

import asyncio
import contextlib
import hashlib
import os
import posixpath
import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from pocketenv_fp.local import actors, lifecycle, sandboxes, unpackings
from pocketenv_fp.local.call import EMPTY, Call, World, invalid, not_found, now, provider_refused, server_error
from pocketenv_fp.local.machine import Machine, Refused
from pocketenv_fp.local.sandboxes import Sandbox
from pocketenv_fp.local.threads import aside

PIECE = 256 * 1024
LIFE_SECONDS = 24 * 3600

_DRAFTS = ".drafts"
_ROOT = "/cp"


class Upload:
    """The parts of a multipart body, fed piece by piece. The last part with the name `file` counts.

    `found`: whether there is one. `text`: whether it is an ordinary field, without a file name.
    """

    def __init__(self, boundary: bytes, draft: IO[bytes]) -> None:
        self.found = False
        self.text = False
        self.whole = False
        self._restart = False
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
        if self._restart:
            self._restart = False
            await aside(_empty, self._draft)
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
        _, options = parse_options_header(self._disposition)
        if options.get(b"name") != b"file":
            return
        self._chosen, self.text = True, b"filename" not in options
        # What an earlier part left, in memory and in the draft, is not part of this one.
        self._restart = self.found
        self._kept.clear()

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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, or as much of it as there is somebody to take."""
        gone = asyncio.ensure_future(_hung_up(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            # A request for the head takes the archive away as well.
            while scope["method"] == "GET" and not gone.done() and (piece := await aside(self._file.read, PIECE)):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()
            self._file.close()


class Storage:
    """The pages of the storage host."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def answer(self, scope: Scope, receive: Receive, send: Send, headers: Mapping[bytes, bytes]) -> None:
        """Answer one request for `/cp` or a path below it."""
        try:
            response = await self._respond(Request(scope, receive), headers)
        except (FormParserError, ClientDisconnect):
            response = _broken()
        await response(scope, receive, send)

    async def _respond(self, request: Request, headers: Mapping[bytes, bytes]) -> Response:
        verb = request.method
        rest = request.scope["raw_path"].decode("latin-1").removeprefix(_ROOT)
        uploading = verb == "POST" and not rest
        name = rest.removeprefix("/")
        if not uploading and (verb not in {"GET", "HEAD"} or not name or "/" in name):
            return PlainTextResponse("404 Not Found", 404)
        if not _may_pass(self._world, headers):
            return _refusal(401, "Unauthorized")
        if uploading:
            return await _receive(self._world, request)
        file = _taken(self._world, unquote(name))
        return _refusal(404, "File not found") if file is None else Archive(file)


async def pull(call: Call) -> Any:
    """Unpack an archive into a directory of a sandbox; an unknown one is passed over in silence."""
    world, taken = call.world, drafts(call.world) / uuid.uuid4().hex
    if "uuid" not in call.body:
        raise server_error()
    async with _running(call):
        # Noted before it is taken: a crash between the two must not cost the archive.
        noted = unpackings.note(world, taken, _own(call).id, call.body["directoryPath"])
        try:
            if _claim(world, call.body["uuid"], taken):
                await lifecycle.reach(world, noted.sandbox, noted.directory)
                await unpackings.carry(world, noted)
        except Refused:
            raise provider_refused() from None
        finally:
            unpackings.forget(world, noted)
    return EMPTY


async def push(call: Call) -> Any:
    """The uuid of a new archive of a directory; where there is no such directory it is the uuid of nothing."""
    world, name = call.world, str(uuid.uuid4())
    directory = posixpath.normpath(posixpath.join("/workspace", call.body["directoryPath"]))
    top = posixpath.basename(directory)
    draft = drafts(world) / name
    async with _running(call) as machine:
        if not top:
            raise provider_refused()
        try:
            if await machine.pack(directory, draft, top):
                _keep(world, draft, name)
        except Refused:
            raise provider_refused() from None
        finally:
            draft.unlink(missing_ok=True)
    return {"uuid": name}


def folder(world: World) -> Path:
    """Where the archives lie."""
    return world.data / "storage"


def drafts(world: World) -> Path:
    """Where the archives lie that are being written, or are being read into a sandbox; made where it is missing."""
    found = folder(world) / _DRAFTS
    found.mkdir(mode=0o700, parents=True, exist_ok=True)
    return found


def recover(world: World) -> None:
    """Remove what a crash left unfinished, and what is too old."""
    for draft in set(drafts(world).iterdir()) - unpackings.archives(world):
        draft.unlink(missing_ok=True)
    expire(world)


def expire(world: World) -> None:
    """Remove the archives that were not fetched within their day."""
    oldest = time.time() - LIFE_SECONDS
    for archive in folder(world).iterdir():
        # A reader may take it at this moment.
        with contextlib.suppress(FileNotFoundError):
            if archive.name != _DRAFTS and archive.stat().st_mtime < oldest:
                archive.unlink()


async def _receive(world: World, request: Request) -> Response:
    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        return _broken()
    await aside(expire, world)
    draft = drafts(world) / uuid.uuid4().hex
    try:
        with draft.open("wb", buffering=0) as file:
            upload = Upload(boundary, file)
            async for piece in request.stream():
                await upload.feed(piece)
            await upload.flush()
        if not upload.whole or upload.text:
            return _broken()
        if not upload.found:
            return _refusal(400, "No file uploaded")
        name = request.query_params.get("uuid") or str(uuid.uuid4())
        _keep(world, draft, name)
    finally:
        draft.unlink(missing_ok=True)
    return JSONResponse({"uuid": name})


def _empty(draft: IO[bytes]) -> None:
    draft.seek(0)
    draft.truncate()


def _place(world: World, name: str) -> Path:
    # A client chooses the uuid, and may choose `../x`: the file is called by its hash.
    return folder(world) / hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def _keep(world: World, draft: Path, name: str) -> None:
    draft.replace(_place(world, name))


def _claim(world: World, name: str, taken: Path) -> bool:
    # A rename gives it to one reader only, and a crash on the way leaves a draft.
    try:
        _place(world, name).rename(taken)
    except FileNotFoundError:
        return False
    return True


def _taken(world: World, name: str) -> IO[bytes] | None:
    taken = drafts(world) / uuid.uuid4().hex
    if not _claim(world, name, taken):
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
        # It may have been stopped or deleted while this waited.
        if _own(call).status != "RUNNING":
            raise invalid("Sandbox is not running")
        yield machine


def _own(call: Call) -> Sandbox:
    found = sandboxes.find(call.world, call.body["sandboxId"], by="uri", owner=call.me.id)
    if found is None:
        raise not_found("Sandbox not found")
    return found


def _may_pass(world: World, headers: Mapping[bytes, bytes]) -> bool:
    # Other than the API, the storage looks at the end of a token's life.
    token = actors.token_in(headers)
    claims = None if token is None else world.vault.claims(token)
    if claims is None or not isinstance(claims.get("did"), str):
        return False
    end = claims.get("exp")
    return not isinstance(end, int | float) or end > now()


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _refusal(status: int, error: str) -> Response:
    return JSONResponse({"error": error}, status)


def _broken() -> Response:
    return PlainTextResponse("Internal Server Error", 500)
