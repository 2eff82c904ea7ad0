"""Files that every start writes into a sandbox: sealed on this machine and opened only in the sandbox."""

from __future__ import annotations

import re
from collections.abc import Iterator

from returns.result import Failure, Result, Success

from pocketenv_fp import pocketenv
from pocketenv_fp.config import Config, FromEnv
from pocketenv_fp.errors import NotSupported, PocketenvError
from pocketenv_fp.models import File, Page, Sandbox
from pocketenv_fp.pocketenv.files import stored_path
from pocketenv_fp.pocketenv.records import text
from pocketenv_fp.providers import CLOUDFLARE, provider_of
from pocketenv_fp.sandbox.records import Kind
from pocketenv_fp.sandbox.support import supported
from pocketenv_fp.steps.iteration import iterates_over
from pocketenv_fp.steps.operation import operation, step
from pocketenv_fp.validation import Limit, Offset, Text

__all__ = ["delete_file", "get_file", "iter_files", "list_files", "set_file"]

_FILES = Kind[File]("file", "path", pocketenv.iter_files, pocketenv.delete_file)


@step(Sandbox, safe=True)
def list_files(
    sandbox: Sandbox,
    *,
    limit: Limit = 100,
    offset: Offset = 0,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Page[File], PocketenvError]:
    """List the files that every start writes, in no stable order. Gives a Page of File: paths and ids, never contents.

    >>> from pocketenv_fp import create, list_files
    >>> create("my-box") | list_files
    <Success: Page(items=(), total=0)>
    """
    return pocketenv.list_files(sandbox.id, limit=limit, offset=offset)


@iterates_over(Sandbox)
def iter_files(
    sandbox: Sandbox, *, limit: Limit = 100, token: Text | None = None, config: Config | None = None
) -> Iterator[Result[File, PocketenvError]]:
    """Give an iterator of all the sandbox's files, each a Success, asked for ``limit`` at a time when needed.

    It takes a Sandbox or a Result of one, whose Failure is then the one item; it is no step. A page that fails is the
    last item, as its Failure; so is a list that does not add up, as a DecodeError.

    >>> from pocketenv_fp import create, iter_files, set_file
    >>> box = create("my-box")
    >>> stored = [box | set_file(path, "1") for path in ("/workspace/a", "/workspace/b", "/workspace/c")]
    >>> sorted(file.unwrap().path for file in iter_files(box, limit=2))
    ['/workspace/a', '/workspace/b', '/workspace/c']
    """
    return pocketenv.iter_files(sandbox.id, limit=limit)


@operation(Sandbox, safe=True)
def get_file(
    sandbox: Sandbox, path_or_id: Text, *, token: Text | None = None, config: Config | None = None
) -> Result[File, PocketenvError]:
    """Give the sandbox's File with this id, or else with this path: never its content.

    Failures: InvalidInput; RecordNotFound where no start writes such a file. What is in the sandbox otherwise is for
    `exec` to look at.

    >>> from pocketenv_fp import create, get_file
    >>> (create("my-box") | get_file("/workspace/.env")).failure().error
    'RecordNotFound'
    """
    return _FILES.of(sandbox).find(path_or_id, stored_path(path_or_id))


@operation(Sandbox, secret=("content",))
def set_file(
    sandbox: Sandbox,
    path: Text,
    content: str | FromEnv,
    *,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[File, PocketenvError]:
    r"""Let every start write ``content`` to ``path``, sealed before it leaves this machine. Returns its File, no content.

    **The platform puts one newline behind the content.** So the last newline of a content that ends with one is not
    sent, and the file is exact. A content without a final newline gets one, and an empty content becomes one newline.

    The next start writes it, in the background after it has answered. A relative ``path`` is below /workspace.
    ``content`` is a text, or `from_env` of a variable to read when the step runs: a step with a text in it shows it
    masked and refuses to be pickled.

    A file that is set already is deleted and added again with a new id, since the platform's own update leaves the
    content as it is. Threads that set one path take turns; another process is waited for a little. If adding fails
    after the old file is deleted, the Failure says that the old file is gone.

    Failures: InvalidInput for a public key that is none, or for a path that names a directory; EncryptionError;
    NotSupported on e2b and blaxel, where no start writes files, and on the other providers besides Cloudflare for a
    path or a content that their shell line would change; ApiError (413) for a content of more than about 75,000 bytes;
    ServerError where the platform refuses it.

    >>> from pocketenv_fp import create, set_file
    >>> (create("my-box") | set_file("/workspace/.env", "STAGE=test\n")).map(lambda file: file.path)
    <Success: /workspace/.env>
    >>> set_file("/workspace/.env", "STAGE=test\n")
    set_file('/workspace/.env', '***')
    """

    def put(clear: str) -> Result[File, PocketenvError]:
        # By the time that something is deleted, the same content has been sealed and sent once.
        return _FILES.of(sandbox).replace(
            stored_path(path),
            add=lambda: pocketenv.add_file(sandbox.id, path, clear),
        )

    return (
        supported(sandbox, "writes", "set_file")
        .bind(lambda _: text(content, "content"))
        .bind(lambda clear: _written_exactly(sandbox, stored_path(path), clear))
        .bind(put)
    )


# The other providers write a file by the shell line `echo 'CONTENT' > PATH`.
_BARE = re.compile(r"[A-Za-z0-9_./=,:@%+-]+")
_OPTION = re.compile(r"-[neE]+")


def _written_exactly(sandbox: Sandbox, path: str, content: str) -> Result[str, PocketenvError]:
    provider = provider_of(sandbox.provider)
    if provider.name == CLOUDFLARE:
        return Success(content)
    # dash's echo reads backslashes, and double quotes around the line let a shell read more.
    changed = "'" + ("\\" if provider.reader == "sh" else "") + ('\\"$`' if provider.quoting == "double" else "")
    if not _BARE.fullmatch(path) or set(changed).intersection(content) or _OPTION.fullmatch(content):
        reason = "Its shell line would change this path or content: write it with upload(…) or exec(…)."
        return Failure(NotSupported("set_file", provider.name, reason))
    return Success(content)


@operation(Sandbox)
def delete_file(
    sandbox: Sandbox, path_or_id: Text, *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox, PocketenvError]:
    """Let no more starts write the file with this id, or else with this path. Gives the Sandbox as it was given.

    What a start wrote stays where it is. Failures: InvalidInput; RecordNotFound where no start writes such a file.

    >>> from pocketenv_fp import create, delete_file, list_files, set_file
    >>> box = create("my-box")
    >>> stored = box | set_file("/workspace/.env", "STAGE=test")
    >>> (box | delete_file("/workspace/.env") | list_files).map(len)
    <Success: 0>
    """
    return _FILES.of(sandbox).delete(path_or_id, stored_path(path_or_id))
