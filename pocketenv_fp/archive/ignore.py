"""Ignore files, with the rules of git."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from pocketenv_fp.archive.descriptors import Descriptor, hold, read_all
from pocketenv_fp.archive.names import broken, encoded, from_disk, shown
from pocketenv_fp.archive.patterns import Pattern, read
from pocketenv_fp.errors import ArchiveError

__all__ = ["Ignore"]

OWN, GIT = ".pocketenvignore", ".gitignore"


@dataclass(frozen=True)
class Ignore:
    """The rule for excluded entries: none, a list of patterns, or the ignore files of the tree.

    In each directory its ``.pocketenvignore`` counts if there is one, else its ``.gitignore``. As in git, the last
    matching pattern decides, and patterns of a deeper directory come first. The content of an ignored directory is not
    read, so nothing in it can be included again. With ignore files, ``.git`` is always excluded.
    """

    reads_files: bool
    # Pairs of a directory, as a prefix of names, and its patterns. The deepest directory and the last pattern come
    # first.
    rules: tuple[tuple[str, Sequence[Pattern]], ...] = ()
    # Entries that are excluded by name.
    names: frozenset[str] = frozenset()

    @classmethod
    def none(cls) -> Ignore:
        """Exclude nothing."""
        return cls(reads_files=False)

    @classmethod
    def files(cls) -> Ignore:
        """Exclude by the ignore files in the tree, and exclude ``.git``."""
        return cls(reads_files=True)

    @classmethod
    def patterns(cls, lines: Iterable[str]) -> Ignore:
        """Exclude by these lines, as if they were the only ignore file, at the top.

        Raises UnicodeEncodeError for half of a surrogate pair.
        """
        return cls(reads_files=False, rules=_rules("", [encoded(line) for line in lines], ()))

    def without(self, names: frozenset[str]) -> Ignore:
        """Exclude these entries too."""
        return replace(self, names=names)

    def within(self, folder: Descriptor, name: str, entries: Sequence[os.DirEntry[str]]) -> Ignore:
        """Return the rules for the directory ``name``, which is open as ``folder``. Raises ArchiveError."""
        if not self.reads_files:
            return self
        there = {
            entry.name
            for entry in entries
            if entry.name in {OWN, GIT} and (entry.is_file(follow_symlinks=False) or entry.is_symlink())
        }
        if not there:
            return self
        chosen = OWN if OWN in there else GIT
        prefix = f"{name}/" if name else ""
        return replace(self, rules=_rules(prefix, _lines(chosen, folder, prefix + chosen), self.rules))

    def skips(self, entry: os.DirEntry[str], directory: str) -> bool:
        """Return whether this entry of a directory is excluded. Directories above it are not checked."""
        if self.reads_files and entry.name == ".git":
            return True
        if not self.rules and not self.names:
            return False
        entry_name = from_disk(entry.name)
        name = f"{directory}/{entry_name}" if directory else entry_name
        return name in self.names or self.hides(name, is_directory=entry.is_dir(follow_symlinks=False))

    def hides(self, name: str, *, is_directory: bool) -> bool:
        """Return whether the patterns exclude an entry of this name. Directories above it are not checked."""
        raw = _by_bytes(name)
        for prefix, patterns in self.rules:
            below = raw[len(prefix) :]
            for pattern in patterns:
                if pattern.matches(below, is_directory=is_directory):
                    return pattern.ignores
        return False


def _by_bytes(name: str) -> str:
    # Names are compared byte by byte, as git does.
    return encoded(name).decode("latin-1")


def _rules(
    prefix: str, lines: Iterable[bytes], above: tuple[tuple[str, Sequence[Pattern]], ...]
) -> tuple[tuple[str, Sequence[Pattern]], ...]:
    patterns = [pattern for line in lines if (pattern := read(line)) is not None]
    return ((_by_bytes(prefix), patterns[::-1]), *above) if patterns else above


def _lines(file: str, folder: Descriptor, name: str) -> list[bytes]:
    try:
        # A symlink could make it read the patterns of another place. git refuses it too.
        with closing(hold(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, folder)) as opened:
            content = read_all(opened)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ArchiveError(
                "an ignore file must not be a symlink: git does not read one either", shown(name)
            ) from None
        raise broken(error, name) from None
    return content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
