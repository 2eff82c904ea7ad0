"""Walk a tree on this machine's disk in one fixed order, without ignored entries."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from pocketenv_fp.archive.descriptors import Descriptor, entries_of, hold
from pocketenv_fp.archive.ignore import Ignore
from pocketenv_fp.archive.links import LinkRule, Links, way_out
from pocketenv_fp.archive.names import broken, encoded, from_disk, shown
from pocketenv_fp.archive.skipped import LINK, Skipped, kind_of
from pocketenv_fp.errors import ArchiveError

__all__ = ["Survey", "read_link", "status", "survey", "walk"]

_LOOK = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True)
class Survey:
    """The size of a tree: the number of entries and the bytes of all files together.

    ``skipped`` counts the entries that are skipped by their kind. Its links are in ``links_out``, by name.
    """

    entries: int
    bytes: int
    skipped: Skipped = field(default_factory=Skipped, compare=False)
    links_out: frozenset[str] = field(default=frozenset(), compare=False)


def walk(
    source: str, ignore: Ignore, skipped: Skipped | None = None
) -> Generator[tuple[str, os.DirEntry[str] | None, Descriptor]]:
    """Yield everything below ``source``: its name, its entry, and the open directory that it is in.

    Each directory comes before its entries, in the order of names, files and links before directories. It has no entry:
    the open directory is its own, and valid until the next step. Links are yielded and never followed. Neither is a link
    that replaces a directory during the walk: nothing outside of the tree is read. Sockets, pipes and devices are not
    yielded, and counted in ``skipped``. Raises ArchiveError.
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
                    full = above + from_disk(entry.name)
                    if (odd := _odd(entry, full)) is None:
                        yield full, entry, folder
                    elif skipped is not None:
                        skipped.add(odd, full)
            finally:
                folder.close()
            waiting += [(above + directory, rules) for directory in reversed(directories)]
    finally:
        root.close()


def survey(source: Path, *, ignore: Ignore, links: LinkRule = "keep") -> Survey:
    """Count what `pack` would pack, and find the entries that it could not. Raises ArchiveError.

    A file with several names counts once. ``source`` itself may be a link. With links="refuse" a link that leads out
    of ``source`` raises ArchiveError. With "skip" it is not counted: pass ``links_out`` to `Ignore.without`.
    """
    found = status(source, str(source))
    if not stat.S_ISDIR(found.st_mode):
        _packable(found.st_mode, str(source), str(source), None)
        return Survey(1, found.st_size)
    entries = size = 0
    seen: set[tuple[int, int]] = set()
    skipped, known = Skipped(), Links()
    with closing(walk(str(source), ignore, skipped)) as walking:
        for name, entry, folder in walking:
            entries += 1
            if entry is None:
                continue
            if entry.is_symlink():
                if links != "keep":
                    known.add(name, read_link(entry, name, folder))
                continue
            found = status(entry, name)
            _packable(found.st_mode, name, entry.name, folder)
            if found.st_nlink == 1 or (found.st_dev, found.st_ino) not in seen:
                size += found.st_size
            if found.st_nlink > 1:
                seen.add((found.st_dev, found.st_ino))
    links_out = _judged(known, links, skipped)
    return Survey(entries - len(links_out), size, skipped, links_out)


def _judged(known: Links, links: LinkRule, skipped: Skipped) -> frozenset[str]:
    leading_out = known.leading_out()
    for name, reason in leading_out:
        if links == "refuse":
            raise ArchiveError(way_out(reason), shown(name))
        skipped.add(LINK, name)
    return frozenset(name for name, _ in leading_out)


def read_link(entry: os.DirEntry[str], name: str, folder: Descriptor) -> str:
    """Return the target of a link. Raises ArchiveError."""
    try:
        return from_disk(os.readlink(entry.name, dir_fd=folder.fileno()))
    except OSError as error:
        raise broken(error, name) from None


def status(place: Path | os.DirEntry[str], name: str) -> os.stat_result:
    """Return the status of an entry, or of a path that may be a link. Raises ArchiveError."""
    try:
        return place.stat(follow_symlinks=isinstance(place, Path))
    except OSError as error:
        raise broken(error, name) from None


def _odd(entry: os.DirEntry[str], name: str) -> str | None:
    # The kind of an entry that is no file, directory or link.
    try:
        if entry.is_file(follow_symlinks=False) or entry.is_symlink():
            return None
        mode = entry.stat(follow_symlinks=False).st_mode
    except OSError as error:
        raise broken(error, name) from None
    # It may have been replaced in between, and is checked again where it is read.
    return None if stat.S_ISREG(mode) or stat.S_ISLNK(mode) or stat.S_ISDIR(mode) else kind_of(mode)


def _packable(mode: int, name: str, path: str, folder: Descriptor | None) -> None:
    if not stat.S_ISREG(mode):
        raise ArchiveError("not a file, directory or link: it cannot be packed", shown(name))
    if not os.access(path, os.R_OK, dir_fd=None if folder is None else folder.fileno()):
        raise ArchiveError("it cannot be read: permission denied", shown(name))


def _descend(root: Descriptor, name: str) -> Descriptor:
    # Step by step, so that no part of the way is a link.
    folder = _open(".", _LOOK, root, ".")
    for part in encoded(name).split(b"/") if name else ():
        below = _open(part, _LOOK | os.O_NOFOLLOW, folder, name)
        folder.close()
        folder = below
    return folder


def _open(path: str | bytes, flags: int, folder: Descriptor | None, name: str) -> Descriptor:
    try:
        return hold(path, flags, folder)
    except OSError as error:
        raise broken(error, name) from None


def _listing(
    folder: Descriptor, shown_as: str, name: str, ignore: Ignore
) -> tuple[list[os.DirEntry[str]], list[str], Ignore]:
    # Return the other entries, the names of the directories, and the rules for them.
    try:
        entries = sorted(entries_of(folder), key=_by_name)
        rules = ignore.within(folder, name, entries)
        kept = [entry for entry in entries if not rules.skips(entry, name)]
        directories = [from_disk(entry.name) for entry in kept if entry.is_dir(follow_symlinks=False)]
        return [entry for entry in kept if not entry.is_dir(follow_symlinks=False)], directories, rules
    except OSError as error:
        raise broken(error, shown_as) from None


def _by_name(entry: os.DirEntry[str]) -> bytes:
    # By bytes: the same order in any locale.
    return os.fsencode(entry.name)
