"""The source of a copy: look at a path in a sandbox, and fetch it as an archive.

A small archive comes with the response that describes the path. A large one comes through storage. If the provider
cannot copy, it comes in pieces through commands.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Literal, NamedTuple, TypeVar

from returns.result import Failure, Result, Success

from pocketenv_fp.errors import (
    ArchiveError,
    DecodeError,
    NotSupported,
    PathNotFound,
    PocketenvError,
)
from pocketenv_fp.http import storage
from pocketenv_fp.models import ExecResult
from pocketenv_fp.runtime.rehearsal import IN_PIECES, note
from pocketenv_fp.runtime.signals import opened
from pocketenv_fp.sandbox.copying.lines import LOOK, PACK, READ, STAGE
from pocketenv_fp.sandbox.copying.remote import End, Staged, may_have_run, repeated, staging, succeeded, temporary

__all__ = [
    "MOST_THROUGH_COMMANDS",
    "Archive",
    "Look",
    "Packed",
    "bytes_of",
    "fetch",
    "look",
    "pack",
    "through_commands",
    "through_storage",
    "too_large",
]

T = TypeVar("T")

SMALL: int = 512 * 1024
"""An archive of up to this many bytes comes with the response of the look."""
PIECE = 512 * 1024
MOST_THROUGH_COMMANDS = 64 * 1024**2
NO_LIMIT = 2**62

_ANSWER = re.compile(r"(directory|file) (whole|large|\d{1,18})\n")
Packed = Literal["directory", "file"]


class Archive:
    """An archive that arrives in pieces. ``total`` is its size in bytes."""

    def __init__(self, pieces: Iterator[bytes], total: int) -> None:
        self.total: int | None = total
        self._pieces = pieces
        self._left = b""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, or none at the end. Raises PocketenvError if a piece cannot be read."""
        if not self._left:
            self._left = next(self._pieces, b"")
        taken = self._left if size < 0 else self._left[:size]
        self._left = self._left[len(taken) :]
        return taken


class Look(NamedTuple):
    """A path in a sandbox: its kind, and its archive if that is small."""

    kind: Packed
    archive: bytes | None


def fetch(
    end: End, path: str, use: Callable[[Packed, storage.Readable], T], *, operation: str, most: int | None = None
) -> Result[T, PocketenvError]:
    """Fetch the archive of ``path``, and return the result of ``use`` on it. The sandbox is left clean.

    Failures: PathNotFound; ArchiveError for something that is not a file or a directory; CommandFailed for a file that
    the sandbox could not read; NotSupported for an archive above 64 MiB if the provider cannot copy; a PocketenvError
    that ``use`` raises; those of requests. An archive of up to ``most`` bytes comes with the first response.
    """
    with staging(end, temporary()) as staged, opened():
        looked = look(end, path, staged, operation, most=most)
        if isinstance(looked, Failure):
            return looked
        kind, archive = looked.unwrap()
        if archive is not None:
            return _used(partial(use, kind), Archive(iter([archive]), len(archive)))
        if not end.provider.copies:
            return through_commands(end, path, staged.path, partial(use, kind), operation)
        prepared = end.run(STAGE, is_long=True, p=path, s=staged.path).bind(succeeded)
        if isinstance(prepared, Failure):
            return prepared
        return through_storage(end, staged.path, partial(use, kind))


def through_storage(end: End, staged: str, use: Callable[[storage.Readable], T]) -> Result[T, PocketenvError]:
    """Fetch the archive of what `STAGE` prepared, and return the result of ``use`` on it."""

    def attempt() -> Result[T, PocketenvError]:
        uuid = end.push(f"{staged}/it/.")
        return uuid if isinstance(uuid, Failure) else storage.take(uuid.unwrap(), use)

    return storage.again(attempt)


def through_commands(
    end: End, path: str, staged: str, use: Callable[[storage.Readable], T], operation: str
) -> Result[T, PocketenvError]:
    """Fetch the archive of ``path`` in pieces, and return the result of ``use`` on it."""
    note(lambda: f"{IN_PIECES} 512 KiB of the archive")
    packed = pack(end, path, staged, operation=operation, most=MOST_THROUGH_COMMANDS)
    if isinstance(packed, Failure):
        return packed
    size = packed.unwrap()
    if size > MOST_THROUGH_COMMANDS:
        return Failure(too_large(end, operation))
    return _used(use, Archive(_read(end, staged, size), size))


def pack(end: End, path: str, staged: str, *, operation: str, most: int = NO_LIMIT) -> Result[int, PocketenvError]:
    """Pack ``path`` into the directory ``staged`` of the same sandbox. Returns the size in bytes."""
    ran = end.run(PACK, is_long=True, p=path, s=staged, values={"most": most})
    return ran.bind(partial(_answer, path, operation)).map(lambda answer: int(answer[1]))


def look(
    end: End, path: str, staged: Staged, operation: str, *, most: int | None = None
) -> Result[Look, PocketenvError]:
    """Describe ``path``, with its archive if that has at most ``most`` bytes. In that case ``staged`` is removed."""
    ran = end.run(LOOK, p=path, s=staged.path, values={"most": SMALL if most is None else most})
    seen = ran.bind(partial(_seen, path, operation))
    staged.is_under_way = isinstance(seen, Failure) and may_have_run(seen.failure())
    staged.is_there = staged.is_under_way or (isinstance(seen, Success) and seen.unwrap().archive is None)
    return seen


def _seen(path: str, operation: str, ran: ExecResult) -> Result[Look, PocketenvError]:
    answer = _answer(path, operation, ran)
    if isinstance(answer, Failure):
        return answer
    kind, size = answer.unwrap()
    if size == "large":
        return Success(Look(kind, None))
    return bytes_of(ran.stdout.partition("\n")[2]).map(partial(Look, kind))


def _answer(path: str, operation: str, ran: ExecResult) -> Result[tuple[Packed, str], PocketenvError]:
    failed = succeeded(ran)
    if isinstance(failed, Failure):
        return failed
    if ran.stdout.strip() == "nothing":
        return Failure(PathNotFound(message=f"there is no {path}", operation=operation, path=path))
    if ran.stdout.strip() == "other":
        return Failure(ArchiveError("it is not a file or a directory", path))
    match = _ANSWER.match(ran.stdout)
    if match is None:
        return Failure(DecodeError("sandbox.exec", "the output of the shell does not describe the path"))
    kind: Packed = "directory" if match[1] == "directory" else "file"
    return Success((kind, match[2]))


def bytes_of(text: str) -> Result[bytes, PocketenvError]:
    """Decode the output of the command base64."""
    try:
        return Success(base64.b64decode("".join(text.split()), validate=True))
    except (binascii.Error, ValueError):
        return Failure(DecodeError("sandbox.exec", "the output of the sandbox's base64 command is not base64"))


def _used(use: Callable[[storage.Readable], T], archive: Archive) -> Result[T, PocketenvError]:
    try:
        return Success(use(archive))
    except PocketenvError as error:
        return Failure(error)


def too_large(end: End, operation: str) -> NotSupported:
    """Return the error for an archive that is too large for commands."""
    most = MOST_THROUGH_COMMANDS // 1024**2
    instead = (
        f"The provider cannot copy, so the archive goes through commands, up to {most} MiB compressed. "
        "Copy less at once, or send the data with a command in the sandbox, such as curl."
    )
    return NotSupported(operation, end.provider.name, instead)


def _read(end: End, staged: str, total: int) -> Generator[bytes]:
    for offset in range(0, total, PIECE):
        size = min(PIECE, total - offset)
        piece = repeated(partial(_piece, end, staged, offset, size))
        if isinstance(piece, Failure):
            raise piece.failure()
        yield piece.unwrap()


def _piece(end: End, staged: str, offset: int, size: int) -> Result[bytes, PocketenvError]:
    ran = end.run(READ, s=staged, values={"offset": offset, "size": size}).bind(succeeded)
    piece = ran if isinstance(ran, Failure) else bytes_of(ran.unwrap().stdout)
    if isinstance(piece, Success) and len(piece.unwrap()) != size:
        return Failure(ArchiveError("the archive is incomplete: a part of it is missing in the sandbox"))
    return piece
