"""Ignore files with git's meaning."""

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
    """The rules for entries that are left out: none, given patterns, or the ignore files in the tree.

    In each directory its ``.pocketenvignore`` counts if there is one, else its ``.gitignore``. As in git, the last
    matching pattern decides, and a deeper directory's patterns go before those above it. An ignored directory is not
    entered, so nothing in it can be included again. ``.git`` itself is left out wherever ignore files are read.
    """

    reads_files: bool
    # The directory of each list of patterns, as a prefix of names, and the list: the deepest first, the last first.
    rules: tuple[tuple[str, Sequence[Pattern]], ...] = ()
    # Entries that are left out by their own names.
    names: frozenset[str] = frozenset()

    @classmethod
    def none(cls) -> Ignore:
        """Leave nothing out."""
        return cls(reads_files=False)

    @classmethod
    def files(cls) -> Ignore:
        """Leave out the entries that the ignore files in the tree name, and ``.git``."""
        return cls(reads_files=True)

    @classmethod
    def patterns(cls, lines: Iterable[str]) -> Ignore:
        """Leave out the entries that these lines name, as lines of one ignore file at the top of the tree.

        Raises UnicodeEncodeError for half of a surrogate pair.
        """
        return cls(reads_files=False, rules=_rules("", [encoded(line) for line in lines], ()))

    def without(self, names: frozenset[str]) -> Ignore:
        """Leave out these entries as well."""
        return replace(self, names=names)

    def within(self, folder: Descriptor, name: str, entries: Sequence[os.DirEntry[str]]) -> Ignore:
        """Return the rules in the directory that is open as ``folder`` and ``name`` in the tree. Raises ArchiveError."""
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
        """Return whether this entry of a directory is left out. Directories above it are not looked at."""
        if self.reads_files and entry.name == ".git":
            return True
        if not self.rules and not self.names:
            return False
        own = from_disk(entry.name)
        name = f"{directory}/{own}" if directory else own
        return name in self.names or self.hides(name, is_directory=entry.is_dir(follow_symlinks=False))

    def hides(self, name: str, *, is_directory: bool) -> bool:
        """Return whether the patterns leave out an entry of this name. Directories above it are not looked at."""
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
        # A link could have the patterns of another place read: git refuses it too.
        with closing(hold(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, folder)) as opened:
            content = read_all(opened)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ArchiveError("an ignore file must not be a link: git would not read it either", shown(name)) from None
        raise broken(error, name) from None
    return content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
