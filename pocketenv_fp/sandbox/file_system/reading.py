"""Read a file of a sandbox: a small one with one request, a large one through storage."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from io import BufferedIOBase

from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config
from pocketenv_fp.errors import ArchiveError, InvalidInput, PocketenvError
from pocketenv_fp.http import storage
from pocketenv_fp.models import Sandbox
from pocketenv_fp.runtime import rehearsal
from pocketenv_fp.runtime.signals import opened
from pocketenv_fp.sandbox.copying.departure import bytes_of, through_commands, through_storage
from pocketenv_fp.sandbox.copying.remote import Staged, may_have_run, repeated, staging, succeeded, temporary
from pocketenv_fp.sandbox.file_system.lines import COPY, EXISTS, READ
from pocketenv_fp.sandbox.file_system.requests import Answer, Location, location
from pocketenv_fp.steps.needs import Need
from pocketenv_fp.steps.operation import operation
from pocketenv_fp.validation import Text

__all__ = ["exists", "read_bytes", "read_text"]

SMALL: int = 512 * 1024
"""A file of up to this many bytes comes with the first response."""
DIGITS = 20
"""`int` raises for a number of thousands of digits, which a program of the sandbox may print."""


@operation(Sandbox, safe=True, reads=Need.STATUS)
def read_bytes(
    sandbox: Sandbox, path: Text, *, token: Text | None = None, config: Config | None = None
) -> Result[bytes, PocketenvError]:
    r"""Read a file of the running sandbox now. Returns its content as bytes, exactly.

    Symlinks are followed. A file of up to 512 KiB comes with the response of one command. A larger one comes through
    storage, as with `download`, and is in memory as a whole. The sandbox needs base64, and for a large file tar, gzip
    and curl.

    Failures: PathNotFound; InvalidInput for a directory, a device, or a file that the sandbox's user may not read;
    ArchiveError for a file that became shorter while it was read; NotSupported above 64 MiB, compressed, if the provider
    cannot copy; ApiError (400) for a sandbox that is not running.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        path: Path in the sandbox. A relative path starts at ``/workspace``.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, read_bytes, start, write_file
    >>> box = create("my-box") | start
    >>> box | write_file("data", b"\x00\xff\n") | read_bytes("data")
    <Success: b'\x00\xff\n'>
    >>> box | read_bytes("no-such-file")
    <Failure: read_bytes: there is no /workspace/no-such-file (404 PathNotFound). ...>
    """
    return location(sandbox, path, "read_bytes").bind(_content)


@operation(Sandbox, safe=True, reads=Need.STATUS)
def read_text(
    sandbox: Sandbox,
    path: Text,
    *,
    encoding: Text = "utf-8",
    token: Text | None = None,
    config: Config | None = None,
) -> Result[str, PocketenvError]:
    r"""Read a text file of the running sandbox now. Returns its content as a str.

    Newlines are not changed. A file that is not text in ``encoding`` is Failure(InvalidInput), and no character is
    replaced. The rest is as in `read_bytes`.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        path: Path in the sandbox. A relative path starts at ``/workspace``.
        encoding: Name of a text encoding of Python. Default: ``"utf-8"``.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, read_text, start, write_file
    >>> box = create("my-box") | start | write_file("notes/one.txt", "first\n")
    >>> box | read_text("notes/one.txt")
    <Success: first
    >
    >>> box | write_file("data", b"\xff") | read_text("data")
    <Failure: path: is not text in utf-8: byte 0 of 1 does not fit. Read it with read_bytes, ...>
    """
    if wrong := _wrong_encoding(encoding):
        return Failure(wrong)
    return location(sandbox, path, "read_text").bind(_content).bind(partial(_text, encoding))


@operation(Sandbox, safe=True, reads=Need.STATUS)
def exists(
    sandbox: Sandbox, path: Text, *, token: Text | None = None, config: Config | None = None
) -> Result[bool, PocketenvError]:
    """Check whether a path exists in the running sandbox. Returns True or False.

    It is True for a file, a directory and anything else. Symlinks are followed: it is False for a link to a path that
    does not exist. Failures: InvalidInput for a path in a directory that the sandbox's user may not search; ApiError
    (400) for a sandbox that is not running.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        path: Path in the sandbox. A relative path starts at ``/workspace``.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, exists, start
    >>> box = create("my-box") | start
    >>> box | exists("/workspace"), box | exists("no-such-file")
    (<Success: True>, <Success: False>)
    """
    return location(sandbox, path, "exists").bind(_is_there)


def _is_there(at: Location) -> Result[bool, PocketenvError]:
    output = repeated(lambda: at.end.run(EXISTS, p=at.path))
    answer = output.bind(at.judged)
    if isinstance(answer, Failure):
        return answer
    word = answer.unwrap().words
    return Success(word == ("yes",)) if word in {("yes",), ("no",)} else Failure(at.unclear())


def _content(at: Location) -> Result[bytes, PocketenvError]:
    rehearsal.note(lambda: "a file above 512 KiB comes through storage, with more requests")
    with staging(at.end, temporary()) as staged, opened():
        answer = _look(at, staged)
        if isinstance(answer, Failure):
            return answer
        match answer.unwrap().words:
            case ("whole", size) if size.isdecimal() and len(size) < DIGITS:
                return bytes_of(answer.unwrap().rest).bind(partial(_whole, int(size)))
            case ("large", size, "linked") if size.isdecimal():
                return through_storage(at.end, staged.path, _unpacked)
            case ("large", size) if size.isdecimal() and at.end.provider.copies:
                return _copied(at, staged)
            case ("large", size) if size.isdecimal():
                staged.is_there = True
                return through_commands(at.end, at.path, staged.path, _unpacked, at.operation)
            case _:
                return Failure(at.unclear())


def _look(at: Location, staged: Staged) -> Result[Answer, PocketenvError]:
    stages = at.end.provider.copies
    values: dict[str, str | int] = {"most": SMALL, "stages": "1" if stages else ""}
    output = repeated(lambda: at.end.run(READ, p=at.path, s=staged.path, values=values))
    staged.is_under_way = stages and isinstance(output, Failure) and may_have_run(output.failure())
    answer = output.bind(at.judged)
    is_large = isinstance(answer, Success) and answer.unwrap().words[0] == "large"
    is_broken = isinstance(output, Success) and output.unwrap().exit_code != 0
    staged.is_there = staged.is_under_way or (stages and (is_large or is_broken))
    return answer


def _copied(at: Location, staged: Staged) -> Result[bytes, PocketenvError]:
    copied = repeated(lambda: at.end.run(COPY, is_long=True, p=at.path, s=staged.path))
    staged.is_under_way = isinstance(copied, Failure)
    done = copied.bind(succeeded)
    return done if isinstance(done, Failure) else through_storage(at.end, staged.path, _unpacked)


def _whole(size: int, content: bytes) -> Result[bytes, PocketenvError]:
    if len(content) != size:
        return Failure(ArchiveError("the file changed while it was read: read it again"))
    return Success(content)


class _Blocks(BufferedIOBase):
    """A file of the bytes that an iterator yields."""

    def __init__(self, blocks: Generator[bytes]) -> None:
        self._blocks = blocks
        self._left = b""

    def read(self, size: int | None = -1, /) -> bytes:
        if not self._left:
            self._left = next(self._blocks, b"")
        end = len(self._left) if size is None or size < 0 else size
        taken, self._left = self._left[:end], self._left[end:]
        return taken


def _unpacked(source: storage.Readable) -> bytes:
    """Return the content of the only file in a tar.gz. Raises ArchiveError."""
    import tarfile

    from pocketenv_fp.archive.compression import BLOCK, expand

    blocks = expand(source.read)
    contents: list[bytes] = []
    try:
        # tarfile reads no more than 10 KiB at once by itself.
        with tarfile.open(fileobj=_Blocks(blocks), mode="r|", bufsize=BLOCK) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isreg() else None
                contents += [file.read()] if file else []
        for _ in blocks:
            pass  # gzip checks the whole archive at its end
    except (tarfile.TarError, EOFError):
        raise ArchiveError("the archive is damaged: tar cannot read it") from None
    finally:
        blocks.close()
    if len(contents) != 1:
        raise ArchiveError("the archive does not contain the requested file")
    return contents[0]


def _wrong_encoding(encoding: str) -> InvalidInput | None:
    try:
        # Python looks up no codec for empty bytes.
        b"a".decode(encoding)
    except UnicodeError:
        return None
    except (LookupError, ValueError):
        return InvalidInput("encoding", "is not a text encoding of Python")
    return None


def _text(encoding: str, content: bytes) -> Result[str, PocketenvError]:
    if rehearsal.is_rehearsed():
        return Success("")
    try:
        return Success(content.decode(encoding))
    except ValueError as error:
        place = (
            f"byte {error.start} of {len(content)} does not fit"
            if isinstance(error, UnicodeDecodeError)
            else "the codec refuses it"
        )
    reason = f"is not text in {encoding}: {place}. Read it with read_bytes, or with another encoding"
    return Failure(InvalidInput("path", reason))
