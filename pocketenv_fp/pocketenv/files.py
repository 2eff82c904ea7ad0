"""Files that each start writes into a sandbox, by id."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from functools import partial

from returns.result import Failure, Result

from pocketenv_fp.config import Config, FromEnv
from pocketenv_fp.crypto import seal
from pocketenv_fp.errors import InvalidInput, PocketenvError
from pocketenv_fp.models import File, Page
from pocketenv_fp.pocketenv.decorators import checked, iterates
from pocketenv_fp.pocketenv.records import StoredRecords, text
from pocketenv_fp.redaction import SecretText
from pocketenv_fp.validation import Id, Limit, Offset, Text

__all__ = ["add_file", "delete_file", "get_file", "iter_files", "list_files", "update_file"]

_FILES = StoredRecords("file", File)

HOME = "/workspace"


def stored_path(path: str) -> str:
    """Return the path of a stored file: absolute, relative to /workspace, and normalized.

    >>> stored_path("notes/../a.txt"), stored_path("/etc//a")
    ('/workspace/a.txt', '/etc/a')
    """
    return f"/{posixpath.normpath(posixpath.join(HOME, path)).lstrip('/')}"


def _sealed(path: str, content: str | FromEnv) -> Result[dict[str, str], PocketenvError]:
    """Return the fields of a file, with the content sealed on this machine."""
    if stored_path(path) == "/" or posixpath.basename(path) in {"", ".", ".."}:
        return Failure(InvalidInput("path", "is a directory: start writes a file there"))
    clear = text(content, "content")
    # The platform appends a newline to each file that it writes.
    sealed = clear if isinstance(clear, Failure) else seal(clear.unwrap().removesuffix("\n"))
    return sealed.map(lambda sealed_content: {"path": stored_path(path), "content": sealed_content})


@checked
def list_files(
    sandbox_id: Id,
    *,
    limit: Limit = 100,
    offset: Offset = 0,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Page[File], PocketenvError]:
    """List the records of files that each start writes. Returns a Page of File: paths and ids, no contents.

    They have no stable order. `sandbox.list_directory` lists the files that are in a sandbox now.

    Failures: InvalidInput.

    Args:
        sandbox_id: Id of the sandbox.
        limit: Maximal number of records, at least 1. Default: 100.
        offset: Number of records to skip, at least 0. Default: 0.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, pocketenv
    >>> box = create("my-box").unwrap()
    >>> pocketenv.add_file(box.id, "/workspace/.npmrc", "registry=https://registry.example")
    <Success: None>
    >>> pocketenv.list_files(box.id).map(lambda files: [file.path for file in files])
    <Success: ['/workspace/.npmrc']>
    """
    return _FILES.page(sandbox_id, limit, offset)


@iterates
def iter_files(
    sandbox_id: Id, *, limit: Limit = 1000, token: Text | None = None, config: Config | None = None
) -> Iterator[Result[File, PocketenvError]]:
    """Iterate over the records of files that each start writes. Returns an iterator of Results.

    Pages are requested when needed. If a page fails, its Failure is the last item. An inconsistent list ends with a DecodeError.

    Args:
        sandbox_id: Id of the sandbox.
        limit: Records per request, at least 1. Default: 1000.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, pocketenv
    >>> box = create("my-box").unwrap()
    >>> added = [pocketenv.add_file(box.id, path, "") for path in ("/etc/a", "/etc/b", "/etc/c")]
    >>> sorted(file.unwrap().path for file in pocketenv.iter_files(box.id, limit=2))
    ['/etc/a', '/etc/b', '/etc/c']
    """
    return _FILES.each(partial(list_files, sandbox_id), limit)


@checked
def get_file(id: Id, *, token: Text | None = None, config: Config | None = None) -> Result[File, PocketenvError]:
    """Look up the record of a file that each start writes, by its id. Returns a File without its content.

    Failures: InvalidInput; RecordNotFound.

    Args:
        id: Id of the file.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import pocketenv
    >>> pocketenv.get_file("no-such-id")
    <Failure: file.getFile: there is no file with the id 'no-such-id' (404 RecordNotFound). ...>
    """
    return _FILES.get(id)


@checked
def add_file(
    sandbox_id: Id,
    path: Text,
    content: SecretText | FromEnv,
    *,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[None, PocketenvError]:
    """Add the record of a file that each start writes to ``path``. Returns None.

    Nothing is written before the next start: `sandbox.write_file` writes a file now. The content is sealed on this
    machine.

    **The platform appends one newline to the content.** So one final newline of the content is not sent, and the file
    is exact. Content without a final newline gets one, and empty content becomes one newline.

    The next start writes the file, in the background after the response. This function knows only the id, so it does
    not check that the provider can write the file: `set_file` does. Failures: InvalidInput for a wrong public key or
    for a path that is a directory; EncryptionError; ApiError (413) for content above about 75,000 bytes; ServerError
    for a path that is taken.

    Args:
        sandbox_id: Id of the sandbox.
        path: Path in the sandbox. A relative path starts at ``/workspace``.
        content: The content, or `from_env`.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, pocketenv
    >>> pocketenv.add_file(create("my-box").unwrap().id, "/workspace/.env", "STAGE=test")
    <Success: None>
    """
    return _sealed(path, content).bind(partial(_FILES.add, sandbox_id))


@checked
def update_file(
    id: Id,
    path: Text,
    content: SecretText | FromEnv,
    *,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[None, PocketenvError]:
    """Change the path of the file with this id. Returns None.

    **The platform changes only the path**, but its response does not say so. To change the content, use `set_file`,
    which deletes and adds. A file that an earlier start wrote to the old path stays there. Failures: as for `add_file`,
    and ApiError (404) for an unknown id.

    Args:
        id: Id of the file.
        path: New path in the sandbox.
        content: The old content: the platform needs it, and ignores it.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, pocketenv, sandbox
    >>> stored = (create("my-box") | sandbox.set_file("/workspace/a", "1")).unwrap()
    >>> pocketenv.update_file(stored.id, "/workspace/b", "1")
    <Success: None>
    >>> pocketenv.get_file(stored.id).map(lambda file: file.path)
    <Success: /workspace/b>
    """
    return _sealed(path, content).bind(partial(_FILES.update, id))


@checked
def delete_file(id: Id, *, token: Text | None = None, config: Config | None = None) -> Result[None, PocketenvError]:
    """Stop writing the file with this id at each start. Returns None, also for an unknown id. Existing files stay.

    Failures: InvalidInput.

    Args:
        id: Id of the file.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, pocketenv, sandbox
    >>> stored = create("my-box") | sandbox.set_file("/workspace/a", "1")
    >>> stored.bind(lambda file: pocketenv.delete_file(file.id))
    <Success: None>
    """
    return _FILES.delete(id)
