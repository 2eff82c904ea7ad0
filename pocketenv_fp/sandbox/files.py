"""Records of files that each start writes into a sandbox. They are sealed on this machine, and opened only in it.

Functions for the files that are in a sandbox now are in `pocketenv_fp.sandbox.file_system`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config, FromEnv
from pocketenv_fp.errors import NotSupported, PocketenvError
from pocketenv_fp.models import File, Page, Sandbox
from pocketenv_fp.pocketenv import files as pocketenv
from pocketenv_fp.pocketenv.files import stored_path
from pocketenv_fp.pocketenv.records import text
from pocketenv_fp.providers import CLOUDFLARE, provider_of
from pocketenv_fp.redaction import SecretText
from pocketenv_fp.sandbox.records import RecordKind
from pocketenv_fp.sandbox.support import unsupported
from pocketenv_fp.steps.iteration import iterates_over
from pocketenv_fp.steps.needs import Need
from pocketenv_fp.steps.operation import operation, step
from pocketenv_fp.validation import Limit, Offset, Text

__all__ = ["delete_file", "get_file", "iter_files", "list_files", "set_file"]

_FILES = RecordKind[File]("file", "path", pocketenv.iter_files, pocketenv.delete_file)


@step(Sandbox, safe=True, reads=Need.ID)
def list_files(
    sandbox: Sandbox,
    *,
    limit: Limit = 100,
    offset: Offset = 0,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Page[File], PocketenvError]:
    """List the records of files that each start writes. Returns a Page of File: paths and ids, no contents.

    They have no stable order. `list_directory` lists the files that are in the sandbox now. Failures: InvalidInput for a
    limit below 1 or an offset below 0.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        limit: Maximal number of records, at least 1. Default: 100.
        offset: Number of records to skip, at least 0. Default: 0.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, list_files
    >>> create("my-box") | list_files
    <Success: Page(items=(), total=0)>
    """
    return pocketenv.list_files(sandbox.id, limit=limit, offset=offset)


@iterates_over(Sandbox)
def iter_files(
    sandbox: Sandbox, *, limit: Limit = 1000, token: Text | None = None, config: Config | None = None
) -> Iterator[Result[File, PocketenvError]]:
    """Iterate over the records of files that each start writes. Returns an iterator of Results.

    Pages are requested when needed. `list_directory` lists the files that are in the sandbox now.

    It takes a Sandbox or a Result of one, and is not a step. A Failure as argument is the only item. If a page fails,
    its Failure is the last item. An inconsistent list ends with a DecodeError.

    Args:
        sandbox: The Sandbox, or a Result of one.
        limit: Records per request, at least 1. Default: 1000.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, iter_files, set_file
    >>> box = create("my-box")
    >>> stored = [box | set_file(path, "1") for path in ("/workspace/a", "/workspace/b", "/workspace/c")]
    >>> sorted(file.unwrap().path for file in iter_files(box, limit=2))
    ['/workspace/a', '/workspace/b', '/workspace/c']
    """
    return pocketenv.iter_files(sandbox.id, limit=limit)


@operation(Sandbox, safe=True, reads=Need.ID, record="file")
def get_file(
    sandbox: Sandbox, path_or_id: Text, *, token: Text | None = None, config: Config | None = None
) -> Result[File, PocketenvError]:
    """Find the record of a file that each start writes, by id or else by path. Returns a File without its content.

    Other files of the sandbox are not found: `read_text`, `read_bytes` and `exists` look at them. Failures:
    InvalidInput; RecordNotFound.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        path_or_id: Path of the stored file, or its id. A relative path starts at ``/workspace``.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, get_file
    >>> (create("my-box") | get_file("/workspace/.env")).failure().error
    'RecordNotFound'
    """
    return _FILES.of(sandbox).find(path_or_id, stored_path(path_or_id))


@operation(Sandbox, reads=Need.ID, record="file", looks_up_record=True)
def set_file(
    sandbox: Sandbox,
    path: Text,
    content: SecretText | FromEnv,
    *,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[File, PocketenvError]:
    r"""Set the record of a file that each start writes to ``path``. Returns its File, without the content.

    **Nothing is written before the next start**: `write_file` writes a file now. The next start writes it in the
    background, after the response. The content is sealed on this machine.

    **The platform appends one newline to the content.** So one final newline of the content is not sent, and the file
    is exact. Content without a final newline gets one, and empty content becomes one newline.

    A step masks plain content when it is printed, and cannot be pickled with it.

    An existing file is deleted and added with a new id, because the platform's own update does not change the content.
    Threads that set one path take turns, and another process gets a short time to finish. If the add fails after the
    delete, the Failure says that the old file is gone.

    Failures: InvalidInput for a wrong public key, or for a path that is a directory; EncryptionError; NotSupported on
    e2b and blaxel, where no start writes files; NotSupported on other providers except Cloudflare for a path or content
    that their shell line would change; ApiError (413) for content above about 75,000 bytes; ServerError if the platform
    refuses it.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        path: Path in the sandbox. A relative path starts at ``/workspace``.
        content: The content, or `from_env`.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, set_file
    >>> (create("my-box") | set_file("/workspace/.env", "STAGE=test\n")).map(lambda file: file.path)
    <Success: /workspace/.env>
    >>> set_file("/workspace/.env", "STAGE=test\n")
    set_file('/workspace/.env', '***')
    """
    if refusal := unsupported(sandbox, "writes", "set_file"):
        return Failure(refusal)
    read = text(content, "content").bind(partial(_written_exactly, sandbox, stored_path(path)))
    if isinstance(read, Failure):
        return read
    clear = read.unwrap()
    # The repr of a Result shows its value.
    del read
    # Before anything is deleted, the same content has been sealed and sent once.
    return _FILES.of(sandbox).replace(stored_path(path), lambda: pocketenv.add_file(sandbox.id, path, clear))


# Providers other than Cloudflare write a file with the shell line `echo 'CONTENT' > PATH`.
_BARE = re.compile(r"[A-Za-z0-9_./=,:@%+-]+")
_OPTION = re.compile(r"-[neE]+")


def _written_exactly(sandbox: Sandbox, path: str, content: str) -> Result[str, PocketenvError]:
    provider = provider_of(sandbox.provider)
    if provider.name == CLOUDFLARE:
        return Success(content)
    # dash's echo interprets backslashes. Double quotes around the line let a shell expand more.
    changed = "'" + ("\\" if provider.reader == "sh" else "") + ('\\"$`' if provider.quoting == "double" else "")
    if not _BARE.fullmatch(path) or set(changed).intersection(content) or _OPTION.fullmatch(content):
        reason = "Its shell line would change this path or content: write it with upload(…) or exec(…)."
        return Failure(NotSupported("set_file", provider.name, reason))
    return Success(content)


@operation(Sandbox, reads=Need.ID, returns_target=True, record="file")
def delete_file(
    sandbox: Sandbox, path_or_id: Text, *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox, PocketenvError]:
    """Delete the record of a file, by id or else by path: later starts do not write it. Returns the Sandbox unchanged.

    A file that a start wrote stays in the sandbox: delete it with `exec`. Failures: InvalidInput; RecordNotFound.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        path_or_id: Path of the stored file, or its id. A relative path starts at ``/workspace``.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, delete_file, list_files, set_file
    >>> box = create("my-box")
    >>> stored = box | set_file("/workspace/.env", "STAGE=test")
    >>> (box | delete_file("/workspace/.env") | list_files).map(len)
    <Success: 0>
    """
    return _FILES.of(sandbox).delete(path_or_id, stored_path(path_or_id))
