"""A directory or a file of a sandbox to this machine: a tar.gz that is unpacked as it arrives."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Annotated

import msgspec
from returns.result import Failure, Result

from pocketenv_fp.archive.links import LinkRule
from pocketenv_fp.config import Config
from pocketenv_fp.errors import ArchiveError, PocketenvError
from pocketenv_fp.models import Sandbox
from pocketenv_fp.runtime import rehearsal
from pocketenv_fp.runtime.first_use import unopened
from pocketenv_fp.runtime.progress import Progress, tracking
from pocketenv_fp.sandbox.copying.arguments import is_directory, places
from pocketenv_fp.sandbox.copying.departure import fetch
from pocketenv_fp.sandbox.copying.remote import End, names_directory, place
from pocketenv_fp.steps.needs import Need
from pocketenv_fp.steps.operation import operation
from pocketenv_fp.validation import Text

__all__ = ["download"]

Most = Annotated[int, msgspec.Meta(ge=0)]
MAX_BYTES = 32 * 1024**3
MAX_ENTRIES = 1_000_000


@operation(Sandbox, reads=Need.STATUS)
def download(
    sandbox: Sandbox,
    remote: Text,
    local: Text | PathLike[str],
    *,
    ignore: Sequence[str] = (),
    links: LinkRule = "refuse",
    max_bytes: Most = MAX_BYTES,
    max_entries: Most = MAX_ENTRIES,
    progress: bool | Progress = False,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Path, PocketenvError]:
    """Copy a directory or a file of a running sandbox to this machine. Returns its local Path.

    The *content* of a directory goes into ``local``, which is created if it does not exist. Existing files stay, unless
    they have the same name. A symlink in the way is replaced, never followed. A file goes to the path ``local``, or
    into it if that is a directory or ends with ``/``. The copy arrives completely or not at all, also after Ctrl-C.
    Only a program that is killed leaves a directory ``.pocketenv-…`` next to ``local``, or in it if that is a mount:
    delete it.

    **Refused archives.** An archive is refused if an entry would be written outside of ``local``, if a symlink leads
    outside, or if it exceeds ``max_bytes`` or ``max_entries``. The ArchiveError names the entry. A virtual environment
    of Python has such symlinks. With ``links="keep"`` nothing is written through a symlink, but a program that opens it
    later leaves the directory. Pipes and devices are skipped. A warning in the log ``pocketenv_fp`` has the number of
    skipped entries and their first names.

    **Transfer.** An archive of up to 512 KiB comes with the response of one command. A larger one comes through
    storage. An interrupted transfer starts again with a new archive. If the provider cannot copy, it comes through
    commands, as for `upload`. The sandbox is left clean.

    Failures: PathNotFound if ``remote`` does not exist; ArchiveError for a refused archive or an error of this
    machine's disk; InvalidInput; CommandFailed for a file that the sandbox could not read; NotSupported as for
    `upload`; ApiError (400) for a sandbox that is not running; TransportError.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        remote: Path in the sandbox. A relative path starts at ``/workspace``.
        local: Path on this machine. ``~`` is the home directory.
        ignore: Patterns to exclude, as in ``.gitignore``. Excluded entries count for ``max_entries``, not for
            ``max_bytes``. Default: none.
        links: ``"refuse"``: fail if a symlink leads out of ``local``. ``"skip"``: skip such symlinks. ``"keep"``: keep
            them. Default: ``"refuse"``.
        max_bytes: Limit for the unpacked size, in bytes. Default: 32 GiB.
        max_entries: Limit for the number of entries. Default: 1000000.
        progress: Function of the received bytes of the compressed archive and the total, or True for a bar. Default:
            False.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> import pathlib, tempfile
    >>> from pocketenv_fp import create, download, exec, start
    >>> work = tempfile.TemporaryDirectory()
    >>> box = create("my-box") | start
    >>> _ = box | exec("mkdir output && echo 42 > output/answer")
    >>> (box | download("output", pathlib.Path(work.name, "out"))).map(lambda path: (path / "answer").read_text())
    <Success: 42
    >
    >>> (box | download("no-such-directory", work.name)).failure().error
    'PathNotFound'
    >>> work.cleanup()
    """
    if rehearsal.is_rehearsed():
        return _rehearsed(End(sandbox), remote, local)
    if reason := unopened("pocketenv_fp.archive.ignore", "pocketenv_fp.sandbox.copying.local"):
        return Failure(ArchiveError(reason))
    from pocketenv_fp.archive.names import on_disk, shown
    from pocketenv_fp.archive.unpack import Limits
    from pocketenv_fp.sandbox.copying.local import Arrival

    ends = places(remote, local, ignore)
    if isinstance(ends, Failure):
        return ends
    path, target, rules = ends.unwrap()
    into = is_directory(target)
    file = target / on_disk(posixpath.basename(path)) if into or names_directory(os.fspath(local)) else target
    with tracking(progress, None, shown(posixpath.basename(path))) as track:
        arrival = Arrival(path, target, file, into, Limits(max_bytes, max_entries), rules, links, track)
        return fetch(End(sandbox), path, arrival.take, operation="download")


def _rehearsed(end: End, remote: str, local: str | PathLike[str]) -> Result[Path, PocketenvError]:
    """Explain the copy of a large directory."""
    rehearsal.note(
        lambda: "as for a large directory; a small one comes with the first answer, and no other request is sent"
    )
    with rehearsal.copying(os.fspath(local)):
        path = place("remote", remote)
        if isinstance(path, Failure):
            return path
        return fetch(end, path.unwrap(), lambda _, __: Path(local), operation="download", most=-1)
