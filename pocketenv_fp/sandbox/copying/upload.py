"""A directory or a file of this machine into a sandbox.

It travels as one tar.gz, streamed at every turn: memory stays flat whatever its size. It arrives as it was: contents,
permission bits, empty directories, links, names of any length and script.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from returns.result import Failure, Result

from pocketenv_fp.archive.links import LinkRule
from pocketenv_fp.config import Config
from pocketenv_fp.errors import ArchiveError, PocketenvError
from pocketenv_fp.models import Sandbox
from pocketenv_fp.runtime import rehearsal
from pocketenv_fp.runtime.first_use import unopened
from pocketenv_fp.runtime.progress import Progress, Track, tracking
from pocketenv_fp.sandbox.copying.arguments import is_directory, places
from pocketenv_fp.sandbox.copying.delivery import Goal, deliver, unread
from pocketenv_fp.sandbox.copying.departure import Packed
from pocketenv_fp.sandbox.copying.remote import HOME, End, names_directory, place
from pocketenv_fp.steps.needs import Need
from pocketenv_fp.steps.operation import operation
from pocketenv_fp.validation import Text

if TYPE_CHECKING:
    from pocketenv_fp.archive.ignore import Ignore
    from pocketenv_fp.archive.pack import Survey

__all__ = ["upload"]


@operation(Sandbox, reads=Need.STATUS, returns_target=True)
def upload(
    sandbox: Sandbox,
    local: Text | PathLike[str],
    remote: Text = HOME,
    *,
    ignore: bool | Sequence[str] = True,
    links: LinkRule = "keep",
    progress: bool | Progress = False,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Sandbox, PocketenvError]:
    """Copy a directory or a file from this machine into a running sandbox. Returns the Sandbox unchanged.

    The *content* of a directory goes into ``remote``, which is created if it does not exist. Existing files stay,
    unless they have the same name. A file goes to the path ``remote``, or into it if that is a directory or ends with
    ``/``.

    **Ignored files.** In each directory, the patterns of ``.pocketenvignore``, or else of ``.gitignore``, exclude what
    git would exclude, and also ``.git``. ``.git/info/exclude`` and ``core.excludesFile`` are not read, so that a copy
    is the same for every user. Sockets, pipes and devices are skipped. A warning in the log ``pocketenv_fp`` has the
    number of skipped entries and their first names.

    **Transfer.** A small archive, up to 48 KiB, is sent in one command. A larger one goes through storage. An
    interrupted transfer is retried, and the unpack request is sent once. tar in the sandbox unpacks it in ``/tmp``
    first, so an incomplete archive changes nothing. E2B, Blaxel, Runloop, Deno and Vercel cannot copy: there the bytes
    go through commands, up to 64 MiB compressed. Short requests have ``read_timeout``. Packing and unpacking have the
    provider's limit for a command (300 s on Cloudflare) plus ``read_timeout``.

    Failures: ArchiveError for a file that cannot be read or that changes during the copy, and for an archive that did
    not arrive; InvalidInput for a ``remote`` that is not valid or is a file in the place of a directory, and for a
    sandbox without tar, gzip or base64; CommandFailed if a tool in the sandbox fails, and then a part may have been
    copied; NotSupported above 64 MiB; ApiError (400) for a sandbox that is not running; TransportError, with
    ``maybe_sent`` if the archive may have been unpacked.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        local: Path of a directory or file on this machine. ``~`` is the home directory.
        remote: Path in the sandbox. A relative path starts at ``/workspace``. Default: ``"/workspace"``.
        ignore: True: exclude by ignore files. False: exclude nothing. A list of patterns: exclude by these only.
            Default: True.
        links: ``"keep"``: copy all symlinks. ``"skip"``: skip symlinks that lead out of ``local``. ``"refuse"``: fail
            if there is one. Default: ``"keep"``.
        progress: Function of the bytes read and the total, or True for a bar. Default: False.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> import pathlib, tempfile
    >>> from pocketenv_fp import create, exec, start, upload
    >>> work = tempfile.TemporaryDirectory()
    >>> _ = pathlib.Path(work.name, "hello.txt").write_text("hello")
    >>> box = create("my-box") | start
    >>> (box | upload(work.name, "src") | exec("cat src/hello.txt")).unwrap().stdout
    'hello'
    >>> upload("./src", "/workspace/src", ignore=["*.log"])
    upload('./src', '/workspace/src', ignore=['*.log'])
    >>> work.cleanup()
    """
    if rehearsal.is_rehearsed():
        return _rehearsed(End(sandbox), local, remote)
    if reason := unopened("pocketenv_fp.archive.ignore", "pocketenv_fp.archive.pack"):
        return Failure(ArchiveError(reason))
    from pocketenv_fp.archive.names import shown
    from pocketenv_fp.archive.pack import survey

    ends = places(remote, local, ignore)
    if isinstance(ends, Failure):
        return ends
    path, source, rules = ends.unwrap()
    try:
        found = survey(source, ignore=rules, links=links)
    except ArchiveError as error:
        return Failure(error)
    kind: Packed = "directory" if is_directory(source) else "file"
    goal = Goal(End(sandbox), path, kind, names_directory(remote))
    with tracking(progress, found.bytes, shown(source.name)) as track:
        pieces = partial(_pieces, source, rules, found, track)
        return deliver(goal.end, pieces, goal.place, operation="upload")


def _pieces(source: Path, rules: Ignore, found: Survey, track: Track) -> Generator[bytes]:
    from pocketenv_fp.archive.pack import pack

    track.restart(found.bytes)
    yield from pack(source, ignore=rules.without(found.links_out), count=track.add)
    track.finish()
    # Here, where it is known that all the rest is sent, and not where it is only explained.
    found.skipped.report("upload")


def _rehearsed(end: End, local: str | PathLike[str], remote: str) -> Result[Sandbox, PocketenvError]:
    """Explain the copy of a large directory: `explain` reads no file, so it does not know the size."""
    rehearsal.note(
        lambda: "as for a large directory, since no file is read here; a small one needs the last request only"
    )
    with rehearsal.copying(os.fspath(local)):
        path = place("remote", remote)
        if isinstance(path, Failure):
            return path
        goal = Goal(end, path.unwrap(), "directory", names_directory(remote))
        return deliver(end, unread, goal.place, operation="upload")
