"""Ignore files, as git means them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pocketenv_fp.archive.names import broken, shown
from pocketenv_fp.archive.patterns import Pattern, read
from pocketenv_fp.errors import ArchiveError

__all__ = ["Ignore"]

OWN, GIT = ".pocketenvignore", ".gitignore"


@dataclass(frozen=True)
class Ignore:
    """What is left out: nothing, what given patterns say, or what the ignore files in the tree say.

    In each directory its ``.pocketenvignore`` counts if there is one, else its ``.gitignore``. As in git, the last
    pattern that matches decides, those of a deeper directory go before those above it, and below an ignored
    directory nothing is looked at, so that nothing in it can be included again. ``.git`` itself is left out wherever
    ignore files are read.
    """

    reads_files: bool
    # The directory of each list of patterns, as a prefix of names, and the list: the deepest first, the last first.
    rules: tuple[tuple[str, Sequence[Pattern]], ...] = ()

    @classmethod
    def none(cls) -> Ignore:
        """Leave nothing out."""
        return cls(reads_files=False)

    @classmethod
    def files(cls) -> Ignore:
        """Leave out what the ignore files in the tree say, and ``.git``."""
        return cls(reads_files=True)

    @classmethod
    def patterns(cls, lines: Iterable[str]) -> Ignore:
        """Leave out what these lines say, as if they stood in the only ignore file, at the top."""
        return cls(reads_files=False, rules=_rules("", [os.fsencode(line) for line in lines], ()))

    def within(self, folder: int, name: str, entries: Sequence[os.DirEntry[str]]) -> Ignore:
        """Give the rules in the directory that is open as ``folder`` and ``name`` in the tree. Raises ArchiveError."""
        if not self.reads_files:
            return self
        there = {
            entry.name for entry in entries if entry.name in {OWN, GIT} and not entry.is_dir(follow_symlinks=False)
        }
        if not there:
            return self
        chosen = OWN if OWN in there else GIT
        prefix = f"{name}/" if name else ""
        return replace(self, rules=_rules(prefix, _lines(chosen, folder, prefix + chosen), self.rules))

    def skips(self, entry: os.DirEntry[str], directory: str) -> bool:
        """Tell whether this entry of a directory is left out."""
        if self.reads_files and entry.name == ".git":
            return True
        if not self.rules:
            return False
        name = os.fsencode(f"{directory}/{entry.name}" if directory else entry.name).decode("latin-1")
        is_directory = entry.is_dir(follow_symlinks=False)
        for prefix, patterns in self.rules:
            below = name[len(prefix) :]
            for pattern in patterns:
                if pattern.matches(below, is_directory=is_directory):
                    return pattern.ignores
        return False


def _rules(
    prefix: str, lines: Iterable[bytes], above: tuple[tuple[str, Sequence[Pattern]], ...]
) -> tuple[tuple[str, Sequence[Pattern]], ...]:
    # Lengths of prefixes count bytes: names are compared byte by byte, as git does.
    patterns = [pattern for line in lines if (pattern := read(line)) is not None]
    return ((os.fsencode(prefix).decode("latin-1"), patterns[::-1]), *above) if patterns else above


def _lines(file: str, folder: int, name: str) -> list[bytes]:
    try:
        # A link could have the patterns of another place read: git refuses it too.
        number = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        with open(number, "rb") as opened:
            content = opened.read()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ArchiveError("an ignore file must not be a link: git would not read it either", shown(name)) from None
        raise broken(error, name) from None
    return content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
