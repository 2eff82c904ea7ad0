"""The local end of a download: unpack next to the target, and move it there when it is complete."""

from __future__ import annotations

import os
import posixpath
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pocketenv_fp.archive.ignore import Ignore
from pocketenv_fp.archive.landing import land, staging
from pocketenv_fp.archive.links import LinkRule
from pocketenv_fp.archive.names import broken, shown
from pocketenv_fp.archive.skipped import Skipped
from pocketenv_fp.archive.unpack import Limits, unpack
from pocketenv_fp.errors import ArchiveError
from pocketenv_fp.http import storage
from pocketenv_fp.runtime.progress import Track
from pocketenv_fp.sandbox.copying.departure import Packed

__all__ = ["Arrival", "land_file"]


class Arrival(NamedTuple):
    """What a download does with an archive. ``path`` is where it comes from.

    A directory goes to ``target``. A file goes to ``file``, whose directory is there where it goes ``into`` one.
    """

    path: str
    target: Path
    file: Path
    into: bool
    limits: Limits
    ignore: Ignore
    links: LinkRule
    track: Track

    def take(self, kind: Packed, source: storage.Readable) -> Path:
        """Unpack an archive beside its place and move it there. Returns the place. Raises ArchiveError."""
        is_file = kind == "file"
        beside = self.file if is_file and not self.into else self.target
        ignore = Ignore.none() if is_file else self.ignore
        skipped = Skipped()
        self.track.restart(source.total)
        try:
            with staging(beside, inside=not _has_room_beside(beside)) as made:
                read = partial(self._read, source)
                unpack(read, made, limits=self.limits, ignore=ignore, links=self.links, skipped=skipped)
                self.track.finish()
                if is_file:
                    land_file(made, self.file, into=self.into)
                else:
                    land(made, self.target)
        except ArchiveError as error:
            entry = error.entry.removeprefix("./")
            # The name of the one entry of a file's archive was not chosen by the caller.
            is_whole = is_file and entry in {"file", posixpath.basename(self.path)}
            raise ArchiveError(error.reason, shown(self.path) if is_whole else entry) from None
        skipped.report("download")
        return self.file if is_file else self.target

    def _read(self, source: storage.Readable, size: int) -> bytes:
        data = source.read(size)
        self.track.add(len(data))
        return data


def _has_room_beside(target: Path) -> bool:
    """Return whether a directory next to it can be moved to its place. Not for a mount, or without write permission."""
    try:
        place = os.path.realpath(target)
    except OSError:
        return True  # for instance a deleted current directory: `staging` reports it
    above = os.path.dirname(place)  # noqa: PTH120  # pathlib's raise for unreadable paths
    return not os.path.isdir(place) or (not os.path.ismount(place) and os.access(above, os.W_OK | os.X_OK))  # noqa: PTH112


def land_file(arrived: Path, file: Path, *, into: bool) -> None:
    """Move the only file in ``arrived`` to the path ``file``. With ``into``, its directory exists already.

    Raises ArchiveError.
    """
    try:
        [name] = os.listdir(arrived)  # noqa: PTH208  # pathlib's raises later
    except (OSError, ValueError):
        name = ""
    made = arrived / name
    if os.path.islink(made) or not os.path.isfile(made):  # noqa: PTH113, PTH114  # pathlib's raise for unreadable paths
        raise ArchiveError("the archive does not contain the requested file")
    if not into:
        land(made, file)
        return
    # Move it as an entry of a directory: then a symlink in its place is replaced. The symlink may lead outside.
    alone = made.parent.with_name("alone")
    try:
        alone.mkdir()
        made.rename(alone / file.name)
    except OSError as error:
        raise broken(error, shown(file.name)) from None
    land(alone, file.parent)
