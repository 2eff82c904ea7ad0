"""A directory or a file of a sandbox to this machine: a tar.gz that is unpacked as it arrives."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from returns.result import Failure, Result

from pocketenv_fp.archive.links import LinkRule
from pocketenv_fp.config import Config
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.http import storage
from pocketenv_fp.models import Sandbox
from pocketenv_fp.runtime import rehearsal
from pocketenv_fp.runtime.progress import Progress, tracking
from pocketenv_fp.sandbox.copying.arguments import ignore_rules, is_directory, local_path
from pocketenv_fp.sandbox.copying.departure import Packed, fetch
from pocketenv_fp.sandbox.copying.remote import End, names_directory, place
from pocketenv_fp.steps.operation import operation
from pocketenv_fp.validation import Text

if TYPE_CHECKING:
    from pocketenv_fp.archive.ignore import Ignore

__all__ = ["download"]

Most = Annotated[int, msgspec.Meta(ge=0)]
MAX_BYTES = 32 * 1024**3
MAX_ENTRIES = 1_000_000


@operation(Sandbox)
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
    """Copy a directory or a file of a running sandbox to this machine. Returns the Path where it is now.

    What is *in* a directory goes into ``local``, which is made where it is missing; what is there already stays unless
    it has the same name, and a link in the way is replaced, never followed. A file goes to the path ``local``, or into
    it where that is a directory or ends with ``/``. A relative ``remote`` starts at ``/workspace``, and a ``~`` that
    ``local`` begins with is the home directory. It arrives whole or not at all, also at Ctrl-C. Only a program that is killed leaves a directory ``.pocketenv-…`` beside ``local``, or in
    it where that is a mount: delete it.

    An archive with anything in it that would be written elsewhere, a link that leads out of it, or with more than
    ``max_bytes`` in ``max_entries`` entries is refused as a whole: ArchiveError names the entry. A virtual environment
    of Python has such links. ``links="skip"`` leaves them out. ``links="keep"`` keeps them with their text: nothing is
    written through one, but a program that opens it later is led out. ``ignore`` is a list of patterns as those of
    ``.gitignore``; what it leaves out counts as entries, not as bytes. Pipes and devices are skipped. A warning in the
    log ``pocketenv_fp`` has the number of what was skipped and the first names. ``progress`` is a function of the bytes of the compressed archive that have come and their total, or True for a bar.

    An archive of up to 512 KiB comes with the answer of one command. A larger one comes through storage, where a
    download that breaks off begins again, with an archive of what is there then; or through commands, as for `upload`.
    Nothing stays in the sandbox.

    Failures: PathNotFound where there is nothing at ``remote``; ArchiveError for what was refused and what this
    machine's disk did; InvalidInput; CommandFailed for what the sandbox could not read; NotSupported as for `upload`;
    ApiError (400) for a sandbox that does not run; TransportError.

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
    from pocketenv_fp.archive.names import on_disk, shown
    from pocketenv_fp.archive.unpack import Limits
    from pocketenv_fp.sandbox.copying.local import Arrival

    places: Result[tuple[str, Path, Ignore], PocketenvError] = Result.do(
        (path, target, rules)
        for path in place("remote", remote)
        for target in local_path(local)
        for rules in ignore_rules(ignore)
    )
    if isinstance(places, Failure):
        return places
    path, target, rules = places.unwrap()
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

    def arrive(_: Packed, __: storage.Readable) -> Path:
        return Path(local)

    with rehearsal.copying(os.fspath(local)):
        path = place("remote", remote)
        return path.bind(lambda known: fetch(end, known, arrive, operation="download", most=-1))
