"""A tree on this machine's disk, walked in one fixed order, without what is ignored."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pocketenv_fp.archive.ignore import Ignore
from pocketenv_fp.archive.names import broken, shown
from pocketenv_fp.errors import ArchiveError

__all__ = ["Survey", "survey", "walk"]


@dataclass(frozen=True)
class Survey:
    """What there is to pack: the number of entries and the bytes of all files together."""

    entries: int
    bytes: int


def walk(source: str, ignore: Ignore) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Give name and entry of all that is below ``source``: sorted, each directory before what is in it.

    Links are given and never followed. Raises ArchiveError.
    """
    # Not recursive: a tree may be deeper than Python's stack.
    waiting = [(entry.name, entry, rules) for entry, rules in _listing(source, "", ignore)]
    while waiting:
        name, entry, rules = waiting.pop()
        yield name, entry
        if entry.is_dir(follow_symlinks=False):
            waiting += [(f"{name}/{below.name}", below, its) for below, its in _listing(entry.path, name, rules)]


def survey(source: Path, *, ignore: Ignore) -> Survey:
    """Count what `pack` would pack, and find out what it could not. Raises ArchiveError.

    A file with several names counts once. ``source`` itself may be a link.
    """
    entries = size = 0
    seen: set[tuple[int, int]] = set()
    try:
        found = source.stat()
    except OSError as error:
        raise broken(error, str(source)) from None
    if not stat.S_ISDIR(found.st_mode):
        _packable(found.st_mode, str(source), str(source))
        return Survey(1, found.st_size)
    for name, entry in walk(str(source), ignore):
        entries += 1
        if entry.is_symlink() or entry.is_dir(follow_symlinks=False):
            continue
        try:
            found = entry.stat(follow_symlinks=False)
        except OSError as error:
            raise broken(error, name) from None
        _packable(found.st_mode, name, entry.path)
        if found.st_nlink > 1:
            if (found.st_dev, found.st_ino) in seen:
                continue
            seen.add((found.st_dev, found.st_ino))
        size += found.st_size
    return Survey(entries, size)


def _packable(mode: int, name: str, path: str) -> None:
    if not stat.S_ISREG(mode):
        raise ArchiveError("not a file, directory or link: it cannot be packed", shown(name))
    if not os.access(path, os.R_OK):
        raise ArchiveError("it cannot be read: permission denied", shown(name))


def _listing(path: str, name: str, ignore: Ignore) -> list[tuple[os.DirEntry[str], Ignore]]:
    # The last one first, as `walk` takes them from the end.
    try:
        with os.scandir(path) as listing:
            entries = sorted(listing, key=_by_name, reverse=True)
    except OSError as error:
        raise broken(error, name or path) from None
    rules = ignore.within(path, name, entries)
    return [(entry, rules) for entry in entries if not rules.skips(entry, name)]


def _by_name(entry: os.DirEntry[str]) -> str:
    return entry.name
