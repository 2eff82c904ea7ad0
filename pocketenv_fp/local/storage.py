"""Storage: archives between this machine and sandboxes. Each is read once.

They are files, named after their uuid. An upload streams into a draft, which is renamed when it is whole. A reader moves
the archive away first. Both ways hold only one piece in memory. An archive that is not fetched within a day of its upload
is removed. As on the platform, every user can read every archive whose uuid they know.
"""

import asyncio
import contextlib
import hashlib
import os
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from pocketenv_fp.local import actors
from pocketenv_fp.local.blocking import aside
from pocketenv_fp.local.call import World, now

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
        """Parse the next piece of the body. Raises FormParserError."""
        self._parser.write(data)
        if len(self._kept) >= PIECE:
            await self.flush()

    async def flush(self) -> None:
        """Write the buffered bytes."""
        buffer, self._kept = self._kept, bytearray()
        if self._restart:
            self._restart = False
            await aside(_empty, self._draft)
        if buffer:
            await aside(self._draft.write, buffer)

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
        # The memory and the draft of an earlier part do not belong to this one.
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
        """Send it, until the client leaves."""
        end = asyncio.ensure_future(_hung_up(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            # A HEAD request consumes the archive as well.
            while scope["method"] == "GET" and not end.done() and (piece := await aside(self._file.read, PIECE)):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            end.cancel()
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


def folder(world: World) -> Path:
    """Return the folder of the archives."""
    return world.data / "storage"


def drafts(world: World) -> Path:
    """Return the folder of unfinished archives and of those that a sandbox reads. Make it where it is missing."""
    path = folder(world) / _DRAFTS
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def recover(world: World) -> None:
    """Remove the unfinished archives of a crash, and old ones."""
    for draft in drafts(world).iterdir():
        draft.unlink(missing_ok=True)
    expire(world)


def expire(world: World) -> None:
    """Remove the archives that were not fetched within a day."""
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
        keep(world, draft, name)
    finally:
        draft.unlink(missing_ok=True)
    return JSONResponse({"uuid": name})


def _empty(draft: IO[bytes]) -> None:
    draft.seek(0)
    draft.truncate()


def _place(world: World, name: str) -> Path:
    # A client chooses the uuid, and may choose `../x`: the file is named by its hash.
    return folder(world) / hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def keep(world: World, draft: Path, name: str) -> None:
    """Rename a draft to an archive. It replaces one of the same name."""
    draft.replace(_place(world, name))


def claim(world: World, name: str, path: Path) -> bool:
    """Move an archive to a path of one reader. Return whether there was one."""
    # A rename succeeds for one reader only, and a crash on the way leaves a draft.
    try:
        _place(world, name).rename(path)
    except FileNotFoundError:
        return False
    return True


def _taken(world: World, name: str) -> IO[bytes] | None:
    place = drafts(world) / uuid.uuid4().hex
    if not claim(world, name, place):
        return None
    try:
        return place.open("rb", buffering=0)
    finally:
        place.unlink()


def _may_pass(world: World, headers: Mapping[bytes, bytes]) -> bool:
    # Unlike the API, the storage checks the end of a token's life.
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
