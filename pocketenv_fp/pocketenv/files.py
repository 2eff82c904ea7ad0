"""Files that every start writes into a sandbox, by ids."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from functools import partial

from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config, FromEnv
from pocketenv_fp.crypto import seal
from pocketenv_fp.errors import InvalidInput, PocketenvError
from pocketenv_fp.http.paging import walk
from pocketenv_fp.http.xrpc import nothing, procedure, query, send
from pocketenv_fp.models import File, Page
from pocketenv_fp.pocketenv.decorators import checked, iterates
from pocketenv_fp.pocketenv.records import known, one_of, page_of, text
from pocketenv_fp.validation import Id, Limit, Offset, Text

__all__ = [
    "add_file",
    "delete_file",
    "get_file",
    "iter_files",
    "list_files",
    "stored_path",
    "update_file",
    "wrong_path",
]

_page = page_of("files", File)
_one = one_of("file", File)

HOME = "/workspace"


def stored_path(path: str) -> str:
    """Return the path under which a file is stored: absolute, from /workspace on, and in one spelling.

    >>> stored_path("notes/../a.txt"), stored_path("/etc//a")
    ('/workspace/a.txt', '/etc/a')
    """
    return f"/{posixpath.normpath(posixpath.join(HOME, path)).lstrip('/')}"


def wrong_path(path: str) -> Result[str, PocketenvError]:
    """Return the path, or Failure(InvalidInput) for one that names a directory."""
    if stored_path(path) == "/" or posixpath.basename(path) in {"", ".", ".."}:
        return Failure(InvalidInput("path", "names a directory: a start writes a file"))
    return Success(path)


def _sealed(content: str | FromEnv) -> Result[str, PocketenvError]:
    # The platform puts a newline behind what it writes.
    return text(content, "content").bind(lambda clear: seal(clear.removesuffix("\n")))


@checked
def list_files(
    sandbox_id: Id,
    *,
    limit: Limit = 100,
    offset: Offset = 0,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Page[File], PocketenvError]:
    """List the files that every start writes, in no stable order. Gives a Page of File: paths and ids, never contents.

    Failures: InvalidInput.

    >>> from pocketenv_fp import create, pocketenv
    >>> box = create("my-box").unwrap()
    >>> pocketenv.add_file(box.id, "/workspace/.npmrc", "registry=https://registry.example")
    <Success: None>
    >>> pocketenv.list_files(box.id).map(lambda files: [file.path for file in files])
    <Success: ['/workspace/.npmrc']>
    """
    params = {"sandboxId": sandbox_id, "limit": limit, "offset": offset}
    return send(query("file.getFiles", _page, params))


@iterates
def iter_files(
    sandbox_id: Id, *, limit: Limit = 100, token: Text | None = None, config: Config | None = None
) -> Iterator[Result[File, PocketenvError]]:
    """Give an iterator of all of a sandbox's files, each a Success, asked for ``limit`` at a time when needed.

    A page that fails is the last item, as its Failure; so is a list that does not add up, as a DecodeError.

    >>> from pocketenv_fp import create, pocketenv
    >>> box = create("my-box").unwrap()
    >>> added = [pocketenv.add_file(box.id, path, "") for path in ("/etc/a", "/etc/b", "/etc/c")]
    >>> sorted(file.unwrap().path for file in pocketenv.iter_files(box.id, limit=2))
    ['/etc/a', '/etc/b', '/etc/c']
    """
    fetch = partial(list_files, sandbox_id)
    return walk("file.getFiles", fetch, limit=limit)


@checked
def get_file(id: Id, *, token: Text | None = None, config: Config | None = None) -> Result[File, PocketenvError]:
    """Give the File with this id: its path, never its content. Failures: InvalidInput; RecordNotFound for none.

    >>> from pocketenv_fp import pocketenv
    >>> pocketenv.get_file("no-such-id")
    <Failure: file.getFile: there is no file with the id 'no-such-id' (404 RecordNotFound). ...>
    """
    return send(query("file.getFile", _one, {"id": id})).bind(known("file", id))


@checked
def add_file(
    sandbox_id: Id,
    path: Text,
    content: str | FromEnv,
    *,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[None, PocketenvError]:
    """Add a file that every start writes to ``path``, sealed before it leaves this machine. Returns None.

    **The platform puts one newline behind the content.** So the last newline of a content that ends with one is not
    sent, and the file is exact. A content without a final newline gets one, and an empty content becomes one newline.

    The next start writes it, in the background after it has answered. Only the id is known here: whether the sandbox's
    provider can write it is not checked, as `set_file` does. Failures: InvalidInput for a public key that is none, or
    for a path that names no file; EncryptionError; ApiError (413) for a content of more than about 75,000 bytes;
    ServerError for a path that the sandbox has a file for already.

    >>> from pocketenv_fp import create, pocketenv
    >>> pocketenv.add_file(create("my-box").unwrap().id, "/workspace/.env", "STAGE=test")
    <Success: None>
    """

    def add(sealed: str) -> Result[None, PocketenvError]:
        body = {"file": {"sandboxId": sandbox_id, "path": stored_path(path), "content": sealed}}
        return send(procedure("file.addFile", nothing, body=body))

    return wrong_path(path).bind(lambda _: _sealed(content)).bind(add)


@checked
def update_file(
    id: Id,
    path: Text,
    content: str | FromEnv,
    *,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[None, PocketenvError]:
    """Change the path of the file with this id, and send a content with it. Returns None.

    **The platform changes the path only**, and answers as if it had changed both: for another content use `set_file`
    of the sandbox, which deletes and adds. What an earlier start wrote to the old path stays there. Failures: as
    `add_file`, and ApiError (404) where there is no such file.

    >>> from pocketenv_fp import create, pocketenv, sandbox
    >>> stored = (create("my-box") | sandbox.set_file("/workspace/a", "1")).unwrap()
    >>> pocketenv.update_file(stored.id, "/workspace/b", "1")
    <Success: None>
    >>> pocketenv.get_file(stored.id).map(lambda file: file.path)
    <Success: /workspace/b>
    """

    def update(sealed: str) -> Result[None, PocketenvError]:
        body = {"id": id, "file": {"path": stored_path(path), "content": sealed}}
        return send(procedure("file.updateFile", nothing, body=body))

    return wrong_path(path).bind(lambda _: _sealed(content)).bind(update)


@checked
def delete_file(id: Id, *, token: Text | None = None, config: Config | None = None) -> Result[None, PocketenvError]:
    """Let no more starts write the file with this id; what one wrote stays. Gives None, also where there was none.

    Failures: InvalidInput.

    >>> from pocketenv_fp import create, pocketenv, sandbox
    >>> stored = create("my-box") | sandbox.set_file("/workspace/a", "1")
    >>> stored.bind(lambda file: pocketenv.delete_file(file.id))
    <Success: None>
    """
    return send(procedure("file.deleteFile", nothing, {"id": id}))
