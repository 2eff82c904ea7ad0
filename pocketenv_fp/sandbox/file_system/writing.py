"""Write a file of a sandbox: a small one with one request, a large one through storage."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Generator
from functools import partial
from typing import Annotated

import msgspec
from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config, FromEnv
from pocketenv_fp.errors import InvalidInput, PocketenvError
from pocketenv_fp.models import Sandbox
from pocketenv_fp.pocketenv.records import text
from pocketenv_fp.redaction import HIDDEN, SecretText
from pocketenv_fp.runtime import rehearsal
from pocketenv_fp.sandbox.commands.exec import without_values
from pocketenv_fp.sandbox.copying.delivery import deliver
from pocketenv_fp.sandbox.copying.remote import names_directory, temporary
from pocketenv_fp.sandbox.file_system.lines import WRITE
from pocketenv_fp.sandbox.file_system.requests import Location, location
from pocketenv_fp.steps.needs import Need
from pocketenv_fp.steps.operation import operation
from pocketenv_fp.validation import Text, unsendable

__all__ = ["write_file"]

Mode = Annotated[int, msgspec.Meta(ge=0, le=0o7777)]
BLOCK = 512 * 1024


@operation(Sandbox, reads=Need.STATUS, returns_target=True)
def write_file(
    sandbox: Sandbox,
    path: Text,
    content: SecretText | bytes | FromEnv,
    *,
    mode: Mode | None = None,
    parents: bool = True,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Sandbox, PocketenvError]:
    r"""Write a file of the running sandbox now, exactly. Returns the Sandbox unchanged.

    A str is written as UTF-8, without any change. **Whole or not at all**: the content goes to a new file beside
    ``path``, which is then renamed. So other programs read the old content or the new, and after a Failure the old file
    is there. An existing file keeps its mode, and a symlink is replaced, not followed.

    Content of up to about 48 KiB, compressed, is sent in one command. More goes through storage in three requests, as
    with `upload`. The sandbox needs base64 and gzip, and for more also tar and curl. The request that writes is sent
    once. A step masks the content when it is printed, and cannot be pickled with it. Use `from_env`, or `upload`, there.

    Failures: InvalidInput for a directory or a device at ``path``, a file in the place of its directory, or a directory
    that the sandbox's user may not write; PathNotFound for a directory that does not exist, with ``parents=False``;
    CommandFailed if the sandbox's disk is full; NotSupported above 64 MiB, compressed, if the provider cannot copy;
    ApiError (400) for a sandbox that is not running; TransportError with ``maybe_sent`` if the file may be written.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        path: Path in the sandbox. A relative path starts at ``/workspace``.
        content: The content as str or bytes, or `from_env`.
        mode: Permissions of the file, such as ``0o600``. Default: those of the existing file, or of a new one.
        parents: True to create directories that do not exist. Default: True.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, exec, start, write_file
    >>> box = create("my-box") | start
    >>> box | write_file("bin/hello", "#!/bin/sh\necho hello\n", mode=0o755) | exec("bin/hello")
    <Success: ExecResult(stdout='hello\n', stderr='', exit_code=0)>
    >>> box | write_file("bin", "text")
    <Failure: path: is a directory in the sandbox.>
    >>> write_file("key", "sesame")
    write_file('key', '***')
    """
    if names_directory(path):
        return Failure(InvalidInput("path", "names a directory: add the name of the file"))
    if mode is not None and 0o777 < mode <= 777 and set(str(mode)) <= set("01234567"):
        return Failure(InvalidInput("mode", f"is octal: write 0o{mode}, and not {mode}"))
    at = location(sandbox, path, "write_file")
    if isinstance(at, Failure):
        return at
    data = _data(content)
    if isinstance(data, PocketenvError):
        return Failure(data)
    values: dict[str, str | int] = {
        "mode": "" if mode is None else f"{mode:o}",
        "parents": "1" if parents else "",
    }
    place = partial(_placed, at.unwrap(), values)
    if rehearsal.is_rehearsed():
        rehearsal.note(lambda: "content above 48 KiB, compressed, goes through storage, with two requests more")
        return place(temporary(), data)
    return deliver(at.unwrap().end, partial(_compressed, data), place, operation="write_file")


def _data(content: str | bytes | FromEnv) -> bytes | PocketenvError:
    # Not in a Result: its repr would show the content in a traceback.
    if isinstance(content, bytes):
        return content
    read = text(content, "content")
    if isinstance(read, Failure):
        failed: PocketenvError = read.failure()
        return failed
    # A file may contain NUL characters.
    if wrong := unsendable("content", read.unwrap().replace("\0", "")):
        return wrong
    return read.unwrap().encode()


def _compressed(content: bytes) -> Generator[bytes]:
    if len(content) <= BLOCK:
        packer = zlib.compressobj(wbits=31)
        yield packer.compress(content) + packer.flush()
        return
    from pocketenv_fp.archive.compression import shrink

    yield from shrink(bytearray(content[at : at + BLOCK]) for at in range(0, len(content), BLOCK))


def _placed(at: Location, values: dict[str, str | int], staged: str, packed: bytes) -> Result[Sandbox, PocketenvError]:
    is_masked = rehearsal.is_rehearsed() and packed == HIDDEN.encode()
    data = rehearsal.stand_in("CONTENT_GZIP_BASE64") if is_masked else base64.b64encode(packed).decode()
    output = at.end.run(WRITE, is_long=not packed, p=at.path, s=staged, values={**values, "data": data})
    answer = output.alt(lambda error: without_values(error, [data])).bind(at.judged)
    if isinstance(answer, Failure):
        return answer
    is_done = answer.unwrap().words == ("done",) or rehearsal.is_rehearsed()
    return Success(at.end.sandbox) if is_done else Failure(at.unclear())
