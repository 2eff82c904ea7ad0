"""A tree on this machine's disk, walked in one fixed order, without what is ignored."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pocketenv_fp.archive.ignore import Ignore
from pocketenv_fp.archive.names import broken, shown
from pocketenv_fp.errors import ArchiveError

__all__ = ["Survey", "survey", "walk"]

_LOOK = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True)
class Survey:
    """What there is to pack: the number of entries and the bytes of all files together."""

    entries: int
    bytes: int


def walk(source: str, ignore: Ignore) -> Generator[tuple[str, os.DirEntry[str] | None, int]]:
    """Give all that is below ``source``: its name, its entry, and the number by which its directory is open.

    Each directory comes before what is in it, in order of names, files and links before directories. It has no entry:
    the number is its own, and good until the next step. Links are given and never followed, nor is one that takes the
    place of a directory meanwhile: what lies outside of the tree is not read. Raises ArchiveError.
    """
    # Not recursive: a tree may be deeper than Python's stack.
    root, waiting = _open(source, _LOOK, None, source), [("", ignore)]
    try:
        while waiting:
            name, rules = waiting.pop()
            folder = _descend(root, name)
            try:
                if name:
                    yield name, None, folder
                above = f"{name}/" if name else ""
                others, directories, rules = _listing(folder, name or source, name, rules)
                for entry in others:
                    yield above + entry.name, entry, folder
            finally:
                os.close(folder)
            waiting += [(above + directory, rules) for directory in reversed(directories)]
    finally:
        os.close(root)


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
        _packable(found.st_mode, str(source), str(source), None)
        return Survey(1, found.st_size)
    with closing(walk(str(source), ignore)) as walking:
        for name, entry, folder in walking:
            entries += 1
            if entry is None or entry.is_symlink():
                continue
            try:
                found = entry.stat(follow_symlinks=False)
            except OSError as error:
                raise broken(error, name) from None
            _packable(found.st_mode, name, entry.name, folder)
            if found.st_nlink > 1:
                if (found.st_dev, found.st_ino) in seen:
                    continue
                seen.add((found.st_dev, found.st_ino))
            size += found.st_size
    return Survey(entries, size)


def _packable(mode: int, name: str, path: str, folder: int | None) -> None:
    if not stat.S_ISREG(mode):
        raise ArchiveError("not a file, directory or link: it cannot be packed", shown(name))
    if not os.access(path, os.R_OK, dir_fd=folder):
        raise ArchiveError("it cannot be read: permission denied", shown(name))


def _descend(root: int, name: str) -> int:
    # Step by step, so that no part of the way is a link.
    folder = _open(".", _LOOK, root, ".")
    for part in name.split("/") if name else ():
        try:
            below = _open(part, _LOOK | os.O_NOFOLLOW, folder, name)
        finally:
            os.close(folder)
        folder = below
    return folder


def _open(path: str, flags: int, folder: int | None, name: str) -> int:
    try:
        return os.open(path, flags, dir_fd=folder)
    except OSError as error:
        raise broken(error, name) from None


def _listing(folder: int, shown_as: str, name: str, ignore: Ignore) -> tuple[list[os.DirEntry[str]], list[str], Ignore]:
    # What is no directory, the names of the directories, and the rules for them.
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=_by_name)
        rules = ignore.within(folder, name, entries)
        kept = [entry for entry in entries if not rules.skips(entry, name)]
        directories = [entry.name for entry in kept if entry.is_dir(follow_symlinks=False)]
        return [entry for entry in kept if not entry.is_dir(follow_symlinks=False)], directories, rules
    except OSError as error:
        raise broken(error, shown_as) from None


def _by_name(entry: os.DirEntry[str]) -> str:
    return entry.name
