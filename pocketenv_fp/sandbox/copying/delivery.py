"""The target of a copy: send an archive to a sandbox, and unpack it there.

A small archive is part of the line that unpacks it. A large one goes through storage. If the provider cannot copy, it
goes in pieces through commands.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial
from itertools import chain
from typing import NamedTuple

from returns.result import Failure, Result, Success

from pocketenv_fp.errors import ApiError, ArchiveError, CommandFailed, InvalidInput, PathNotFound, PocketenvError
from pocketenv_fp.http import storage
from pocketenv_fp.models import Sandbox
from pocketenv_fp.runtime.rehearsal import IN_PIECES, is_rehearsed, note
from pocketenv_fp.runtime.signals import opened
from pocketenv_fp.sandbox.copying import lines
from pocketenv_fp.sandbox.copying.departure import MOST_THROUGH_COMMANDS, Packed, too_large
from pocketenv_fp.sandbox.copying.lines import PIECE, PLACE
from pocketenv_fp.sandbox.copying.remote import (
    End,
    failed,
    may_have_run,
    repeated,
    staging,
    succeeded,
    tag_of,
    temporary,
)

__all__ = ["SMALL", "Goal", "Place", "arrive", "deliver", "unread", "wrapped"]

SMALL: int = 48 * 1024
"""An archive of up to this many bytes fits into a line: a body has at most 102,400 bytes, and base64 adds a third."""
PIECE_BYTES = SMALL
MEMBER = 2 * 1024**2
_RECORD = 512
_ENDS_OF_THE_LINE = (CommandFailed, InvalidInput, ArchiveError, PathNotFound)

Place = Callable[[str, bytes], Result[Sandbox, PocketenvError]]
"""Puts content in its place: from files in a directory of the sandbox, as `lines` says, or from the bytes.

Its line removes the directory, also where it ends with one of `_ENDS_OF_THE_LINE`.
"""


class Goal(NamedTuple):
    """The place for an archive. With ``into``, a file goes into the directory ``path``, which may not exist yet."""

    end: End
    path: str
    kind: Packed
    into: bool

    def place(self, staged: str, data: bytes) -> Result[Sandbox, PocketenvError]:
        """Unpack an archive. It is a `Place`.

        Failures: InvalidInput for a file in the place of a directory, or the reverse; ArchiveError if the archive did
        not arrive; CommandFailed if a tool in the sandbox fails; those of a request.
        """
        values: dict[str, str | int] = {
            "kind": self.kind,
            "into": "1" if self.into else "",
            "data": base64.b64encode(data).decode(),
        }
        ran = self.end.run(PLACE, is_long=not data, p=self.path, s=staged, values=values)
        if isinstance(ran, Failure):
            return ran
        match ran.unwrap().exit_code:
            case 0:
                return Success(self.end.sandbox)
            case lines.INCOMPLETE:
                reason = "the archive did not arrive in the sandbox: storage lost it, or the sandbox has no curl"
                return Failure(ArchiveError(reason))
            case lines.IN_THE_WAY:
                reason = "a file is in the sandbox where a directory should be, or a directory where a file should"
                return Failure(InvalidInput(self.end.field, reason))
            case _:
                return Failure(failed(ran.unwrap()))


def deliver(end: End, pieces: storage.Pieces, place: Place, *, operation: str) -> Result[Sandbox, PocketenvError]:
    """Send what ``pieces`` yields, and put it in its place. ``pieces`` is called once for each attempt.

    Failures: those of ``place`` and of requests; NotSupported above 64 MiB if the provider cannot copy; a PocketenvError
    that ``pieces`` raises. Other exceptions of ``pieces`` are raised.
    """
    with closing(pieces()) as archive:
        try:
            start, is_whole = _beginning(archive)
        except PocketenvError as error:
            return Failure(error)
        staged = temporary()
        if is_whole:
            return place(staged, start)
        archives = chain((_chained(start, archive),), iter(pieces, None))
        if not end.provider.copies:
            with closing(next(archives)) as whole:
                return arrive(end, place, staged, partial(_send, end, staged, whole, operation))
        stored = storage.put(lambda: wrapped(next(archives), tag_of(staged)))
        if isinstance(stored, Failure):
            return stored
        return arrive(end, place, staged, partial(end.pull, stored.unwrap(), staged))


def arrive(
    end: End, place: Place, path: str, bring: Callable[[], Result[None, PocketenvError]]
) -> Result[Sandbox, PocketenvError]:
    """Put an archive in its place that ``bring`` brings into the directory ``path``, of which nothing stays."""
    with staging(end, path) as staged:
        with opened():
            brought = bring()
        if isinstance(brought, Failure):
            error = brought.failure()
            staged.is_there = not isinstance(error, ApiError) or may_have_run(error)
            return brought
        staged.is_under_way = False
        placed = place(path, b"")
        # The line takes what was staged as its own when it begins. It may not have begun.
        staged.is_there = isinstance(placed, Failure) and not isinstance(placed.failure(), _ENDS_OF_THE_LINE)
        return placed


def unread() -> Generator[bytes]:
    """Yield nothing: `explain` reads no file."""
    yield from ()


def wrapped(archive: Generator[bytes], tag: str) -> Generator[bytes]:
    """Yield a tar.gz with the archive cut into members ``TAG.00000000``, …, without compressing it again."""
    import tarfile  # most programs upload nothing

    shell = zlib.compressobj(0, zlib.DEFLATED, 31)
    with closing(archive):
        for number, member in enumerate(_members(archive, MEMBER)):
            header = tarfile.TarInfo(f"{tag}.{number:08}")
            header.size, header.mode = len(member), 0o600
            yield shell.compress(header.tobuf(tarfile.GNU_FORMAT))
            yield shell.compress(member)
            yield shell.compress(bytes(-len(member) % _RECORD))
    yield shell.compress(bytes(2 * _RECORD)) + shell.flush()


def _members(archive: Generator[bytes], size: int) -> Generator[bytes]:
    buffer = bytearray()
    for piece in archive:
        buffer += piece
        while len(buffer) >= size:
            yield bytes(buffer[:size])
            del buffer[:size]
    if buffer:
        yield bytes(buffer)


def _beginning(archive: Generator[bytes]) -> tuple[bytes, bool]:
    buffer = bytearray()
    if is_rehearsed():
        return b"", False
    for piece in archive:
        buffer += piece
        if len(buffer) > SMALL:
            return bytes(buffer), False
    return bytes(buffer), True


def _chained(start: bytes, archive: Generator[bytes]) -> Generator[bytes]:
    yield start
    yield from archive


def _send(end: End, staged: str, archive: Generator[bytes], operation: str) -> Result[None, PocketenvError]:
    note(lambda: f"{IN_PIECES} 48 KiB of the archive")
    total = 0
    try:
        for number, piece in enumerate(_members(archive, PIECE_BYTES)):
            total += len(piece)
            if total > MOST_THROUGH_COMMANDS:
                return Failure(too_large(end, operation))
            written = repeated(partial(_write, end, staged, number, piece))
            if isinstance(written, Failure):
                return written
    except PocketenvError as error:
        return Failure(error)
    return Success(None)


def _write(end: End, staged: str, number: int, piece: bytes) -> Result[None, PocketenvError]:
    values: dict[str, str | int] = {"number": f"{number:08}", "data": base64.b64encode(piece).decode()}
    ran = end.run(PIECE, s=staged, values=values).bind(succeeded)
    if isinstance(ran, Failure):
        return ran
    if ran.unwrap().stdout.strip() != str(len(piece)):
        return Failure(ArchiveError("a part of the archive arrived incomplete in the sandbox"))
    return Success(None)
