"""Storage: archives on their way between this machine and sandboxes, each read once.

Every user that is logged in can read one, by its uuid. An archive is streamed into a draft and takes its place when it
is whole. A reader moves it away first. Neither way holds more of it in memory than a piece. An archive is kept for a day.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import time
from pathlib import Path
from typing import IO

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from pocketenv_fp.local import actors
from pocketenv_fp.local.call import User, World, new_id
from pocketenv_fp.local.machine import bury
from pocketenv_fp.local.threads import aside

PIECE = 256 * 1024
LIFE_SECONDS = 24 * 3600

_TEXT = "text/plain; charset=UTF-8"
_DRAFTS = ".drafts"


class Upload:
    """The parts of a multipart body, fed piece by piece: the first file under the name `file` is what is kept.

    `text`: a part of that name is text and no file.
    """

    def __init__(self, boundary: bytes, draft: IO[bytes]) -> None:
        self.found = False
        self.text = False
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
        named = options.get(b"name") == b"file"
        self.text = self.text or (named and b"filename" not in options)
        self._chosen = not self.found and named and b"filename" in options

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

    def __init__(self, file: IO[bytes], *, head: bool = False) -> None:
        super().__init__(media_type="application/gzip")
        self.headers["content-length"] = str(os.fstat(file.fileno()).st_size)
        self._file = file
        self._head = head

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, or as much of it as there is somebody to take."""
        gone = asyncio.ensure_future(_hung_up(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            while not self._head and not gone.done() and (piece := await aside(self._file.read, PIECE)):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()
            self._file.close()


def routes(world: World) -> list[Route]:
    """Return the pages of the storage host."""

    async def upload(request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"content-type": _TEXT})
        if request.method != "POST":
            return _unknown()
        if _user(world, request) is None:
            return _refusal(401, "Unauthorized")
        return await _receive(world, request)

    async def read(request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"content-type": _TEXT})
        if request.method not in {"GET", "HEAD"}:
            return _unknown()
        if _user(world, request) is None:
            return _refusal(401, "Unauthorized")
        file = _taken(world, request.path_params["uuid"])
        # A look at its head takes the archive away too, as on the platform.
        return _refusal(404, "File not found") if file is None else Archive(file, head=request.method == "HEAD")

    uploading, reading = Route("/cp", upload), Route("/cp/{uuid:path}", read)
    # Every method is answered here.
    uploading.methods = reading.methods = None
    return [uploading, reading]


def folder(world: World) -> Path:
    """Where the archives lie."""
    return world.data / "storage"


def drafts(world: World) -> Path:
    """Where those lie that are being written, or are being read into a sandbox; made where it is missing."""
    found = folder(world) / _DRAFTS
    found.mkdir(mode=0o700, parents=True, exist_ok=True)
    return found


def recover(world: World) -> None:
    """Remove what a crash left unfinished, and what is too old."""
    for draft in drafts(world).iterdir():
        draft.unlink(missing_ok=True)
    expire(world)


def expire(world: World) -> None:
    """Remove the archives that were not fetched within their day."""
    oldest = time.time() - LIFE_SECONDS
    for archive in folder(world).iterdir():
        # It may be fetched at this moment.
        with contextlib.suppress(FileNotFoundError):
            if archive.name != _DRAFTS and archive.stat().st_mtime < oldest:
                bury(archive)


def keep(world: World, draft: Path, name: str) -> None:
    """Have a draft take its place as an archive; one of the same name goes."""
    draft.replace(_place(world, name))


def claim(world: World, name: str, taken: Path) -> bool:
    """Move an archive to a path of one reader; whether there was one."""
    # A crash on the way leaves a draft.
    try:
        _place(world, name).rename(taken)
    except FileNotFoundError:
        return False
    return True


async def _receive(world: World, request: Request) -> Response:
    name = request.query_params.get("uuid") or new_id()
    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        return _failure()
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
                return _failure()
        if not upload.whole or upload.text:
            return _failure()
        if not upload.found:
            return _refusal(400, "No file uploaded")
        keep(world, draft, name)
    finally:
        draft.unlink(missing_ok=True)
    return _json({"uuid": name}, 200)


def _place(world: World, name: str) -> Path:
    # A name is what the client sent: anything.
    return folder(world) / hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()


def _taken(world: World, name: str) -> IO[bytes] | None:
    taken = drafts(world) / new_id()
    if not claim(world, name, taken):
        return None
    try:
        return taken.open("rb", buffering=0)
    finally:
        taken.unlink()


def _user(world: World, request: Request) -> User | None:
    # Whatever the scheme is called.
    _, _, token = request.headers.get("authorization", "").partition(" ")
    user = world.vault.signer(token.strip())
    return None if user is None else actors.find(world.store, user)


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _json(value: dict[str, str], status: int) -> Response:
    return Response(json.dumps(value, separators=(",", ":")), status, media_type="application/json")


def _refusal(status: int, error: str) -> Response:
    return _json({"error": error}, status)


def _failure() -> Response:
    return Response("Internal Server Error", 500, headers={"content-type": _TEXT})


def _unknown() -> Response:
    return Response("404 Not Found", 404, headers={"content-type": _TEXT})
