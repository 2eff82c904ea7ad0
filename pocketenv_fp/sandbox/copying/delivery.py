"""The end of a copy in a sandbox: an archive is brought there and put in its place.

A small archive travels in the line that puts it there. A large one comes through storage, or in pieces through commands
where the provider cannot copy.
"""

from __future__ import annotations

import base64
import tarfile
import zlib
from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial
from typing import NamedTuple

from returns.result import Failure, Result, Success

from pocketenv_fp.errors import ApiError, ArchiveError, CommandFailed, InvalidInput, PocketenvError
from pocketenv_fp.http import storage
from pocketenv_fp.models import ExecResult, Sandbox
from pocketenv_fp.runtime.signals import guarded, opened
from pocketenv_fp.sandbox.copying import lines
from pocketenv_fp.sandbox.copying.departure import MOST_THROUGH_COMMANDS, Packed, too_large
from pocketenv_fp.sandbox.copying.lines import PIECE, PLACE
from pocketenv_fp.sandbox.copying.remote import End, may_have_run, repeated, succeeded, tag_of, temporary

__all__ = ["Goal", "arrived", "deliver", "wrapped"]

SMALL: int = 48 * 1024
"""An archive of up to so many bytes fits into a line: a body may have 102,400 bytes, and base64 makes 4 of 3."""
PIECE_BYTES = SMALL
MEMBER = 2 * 1024**2
_RECORD = 512
_ENDS_OF_THE_LINE = (CommandFailed, InvalidInput, ArchiveError)


class Goal(NamedTuple):
    """Where an archive goes. ``into``: a file goes into the directory ``path`` even where that is not there yet."""

    path: str
    kind: Packed
    into: bool


def deliver(end: End, goal: Goal, pieces: storage.Pieces, *, operation: str) -> Result[Sandbox, PocketenvError]:
    """Bring the archive that ``pieces`` yields to its place. ``pieces`` is called once for each attempt.

    Failures: InvalidInput for a file where a directory should be, or the other way round; ArchiveError where the
    archive did not arrive; CommandFailed for what the sandbox's tools could not do; NotSupported for more than 64 MiB
    where the provider cannot copy; those of requests, and what ``pieces`` raises as a PocketenvError. Anything else
    that it raises comes out.
    """
    with closing(pieces()) as archive:
        try:
            held, is_whole = _beginning(archive)
        except PocketenvError as error:
            return Failure(error)
        if is_whole:
            return _placed(end, goal, temporary(), held)
        first = [_chained(held, archive)]

        def attempt() -> Generator[bytes]:
            return first.pop() if first else pieces()

        if end.provider.copies:
            staged = temporary()
            stored = storage.put(lambda: wrapped(attempt(), tag_of(staged)), token=end.token, config=end.config)
            return stored.bind(lambda uuid: arrived(end, goal, uuid, staged))
        return _through_commands(end, goal, attempt(), operation)


def arrived(end: End, goal: Goal, uuid: str, staged: str) -> Result[Sandbox, PocketenvError]:
    """Have an archive of storage, in members of a tar with the tag of ``staged``, put in its place."""
    return _brought(end, goal, staged, lambda: end.pull(uuid, staged))


def _brought(
    end: End, goal: Goal, staged: str, bring: Callable[[], Result[None, PocketenvError]]
) -> Result[Sandbox, PocketenvError]:
    """Put an archive in its place that ``bring`` brings into ``staged``, of which nothing stays."""
    is_there, is_under_way = True, True
    # A shell does not stop where the caller does: what the last line moves is moved before Ctrl-C comes out.
    with guarded():
        try:
            with opened():
                brought = bring()
            if isinstance(brought, Failure):
                is_there = not isinstance(brought.failure(), ApiError) or may_have_run(brought.failure())
                return Failure(brought.failure())
            is_under_way = False
            placed = _placed(end, goal, staged, b"")
            # The line takes what was staged as its own when it begins. It may not have begun.
            is_there = isinstance(placed, Failure) and not isinstance(placed.failure(), _ENDS_OF_THE_LINE)
            return placed
        finally:
            if is_there:
                end.remove(staged, is_under_way=is_under_way)


def wrapped(archive: Generator[bytes], tag: str) -> Generator[bytes]:
    """Yield a tar.gz whose members ``TAG.00000000``, … are the archive, cut: nothing is compressed again."""
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
    held = bytearray()
    for piece in archive:
        held += piece
        while len(held) >= size:
            yield bytes(held[:size])
            del held[:size]
    if held:
        yield bytes(held)


def _beginning(archive: Generator[bytes]) -> tuple[bytes, bool]:
    held = bytearray()
    for piece in archive:
        held += piece
        if len(held) > SMALL:
            return bytes(held), False
    return bytes(held), True


def _chained(held: bytes, archive: Generator[bytes]) -> Generator[bytes]:
    yield held
    yield from archive


def _placed(end: End, goal: Goal, staged: str, data: bytes) -> Result[Sandbox, PocketenvError]:
    def judge(ran: ExecResult) -> Result[Sandbox, PocketenvError]:
        match ran.exit_code:
            case lines.INCOMPLETE:
                reason = "the archive did not arrive in the sandbox: storage lost it, or the sandbox has no curl"
                return Failure(ArchiveError(reason))
            case lines.IN_THE_WAY:
                reason = "a file is in the sandbox where a directory should be, or a directory where a file should"
                return Failure(InvalidInput(end.field, reason))
            case _:
                return succeeded(ran).map(lambda _: end.sandbox)

    values: dict[str, str | int] = {
        "kind": goal.kind,
        "into": "1" if goal.into else "",
        "data": base64.b64encode(data).decode(),
    }
    return end.run(PLACE, is_long=not data, p=goal.path, s=staged, values=values).bind(judge)


def _through_commands(
    end: End, goal: Goal, archive: Generator[bytes], operation: str
) -> Result[Sandbox, PocketenvError]:
    staged = temporary()
    with closing(archive):
        return _brought(end, goal, staged, lambda: _sent(end, staged, archive, operation))


def _sent(end: End, staged: str, archive: Generator[bytes], operation: str) -> Result[None, PocketenvError]:
    total = 0
    try:
        for number, piece in enumerate(_members(archive, PIECE_BYTES)):
            total += len(piece)
            if total > MOST_THROUGH_COMMANDS:
                return Failure(too_large(end, operation))
            written = repeated(end, partial(_write, end, staged, number, piece))
            if isinstance(written, Failure):
                return written
    except PocketenvError as error:
        return Failure(error)
    return Success(None)


def _write(end: End, staged: str, number: int, piece: bytes) -> Result[None, PocketenvError]:
    def judge(ran: ExecResult) -> Result[None, PocketenvError]:
        if ran.stdout.strip() == str(len(piece)):
            return Success(None)
        return Failure(ArchiveError("a part of the archive arrived incomplete in the sandbox"))

    values: dict[str, str | int] = {"number": f"{number:08}", "data": base64.b64encode(piece).decode()}
    return end.run(PIECE, s=staged, values=values).bind(succeeded).bind(judge)
