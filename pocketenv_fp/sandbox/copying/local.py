"""The local end of a download: unpack next to the target, and move it there when it is complete."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from pocketenv_fp.archive.ignore import Ignore
from pocketenv_fp.archive.landing import land, staging
from pocketenv_fp.archive.links import LinkRule
from pocketenv_fp.archive.names import broken, shown
from pocketenv_fp.archive.skipped import Skipped
from pocketenv_fp.archive.unpack import Limits, unpack
from pocketenv_fp.errors import ArchiveError
from pocketenv_fp.http import storage
from pocketenv_fp.runtime.progress import Track

__all__ = ["arriving", "landed", "landed_file"]


def arriving(
    target: Path,
    limits: Limits,
    track: Track,
    use: Callable[[Path], Path],
    *,
    ignore: Ignore,
    links: LinkRule,
) -> Callable[[storage.Readable], Path]:
    """Return a function that unpacks an archive near ``target`` and passes it to ``use``. It raises ArchiveError."""

    def arrive(incoming: storage.Readable) -> Path:
        track.restart(incoming.total)

        def read(size: int) -> bytes:
            data = incoming.read(size)
            track.add(len(data))
            return data

        skipped = Skipped()
        with staging(target, inside=not _has_room_beside(target)) as made:
            unpack(read, made, strip=False, limits=limits, ignore=ignore, links=links, skipped=skipped)
            track.finish()
            arrived = use(made)
        skipped.report("download")
        return arrived

    return arrive


def _has_room_beside(target: Path) -> bool:
    """Return whether a directory next to it can be moved to its place. Not for a mount, or without write permission."""
    try:
        place = os.path.realpath(target)
    except OSError:
        return True  # for instance a deleted current directory: `staging` reports it
    above = os.path.dirname(place)  # noqa: PTH120  # pathlib's raise for unreadable paths
    return not os.path.isdir(place) or (not os.path.ismount(place) and os.access(above, os.W_OK | os.X_OK))  # noqa: PTH112


def landed(made: Path, target: Path) -> Path:
    """Move the unpacked content to ``target``. Returns ``target``. Raises ArchiveError."""
    land(made, target)
    return target


def landed_file(arrived: Path, file: Path, *, into: bool) -> Path:
    """Move the only file in ``arrived`` to the path ``file``. With ``into``, its directory exists already.

    Returns the path. Raises ArchiveError.
    """
    made = _only(arrived)
    if made is None or os.path.islink(made) or not os.path.isfile(made):  # noqa: PTH113, PTH114  # pathlib's raise for unreadable paths
        raise ArchiveError("the archive does not contain the requested file")
    if not into:
        return landed(made, file)
    # Move it as an entry of a directory: then a symlink in its place is replaced. The symlink may lead outside.
    alone = made.parent.with_name("alone")
    try:
        alone.mkdir()
        made.rename(alone / file.name)
    except OSError as error:
        raise broken(error, shown(file.name)) from None
    landed(alone, file.parent)
    return file


def _only(arrived: Path) -> Path | None:
    try:
        names = os.listdir(arrived)  # noqa: PTH208  # pathlib's raises later
    except OSError:
        return None
    return arrived / names[0] if len(names) == 1 else None
