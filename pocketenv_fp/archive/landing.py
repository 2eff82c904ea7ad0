"""Move a new file or directory to its place as a whole, or not at all. It is made next to its place first."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from pocketenv_fp.archive.descriptors import entries_of
from pocketenv_fp.archive.names import broken, shown
from pocketenv_fp.errors import ArchiveError
from pocketenv_fp.runtime.signals import closed, guarded, opened

__all__ = ["land", "staging"]

_PREFIX = ".pocketenv-"
_OPEN_DIRECTORY = 0o700
# The data to put an entry back: the number of a kept entry, or a directory's times.
_Before = int | tuple[int, int] | None


@contextmanager
def staging(target: Path, *, inside: bool = False) -> Generator[Path]:
    """Yield an empty directory on the file system of ``target``, for `land` to move from. It is removed at the end.

    It lies in a hidden directory beside the target, or ``inside`` it. Only its owner can read that one. Missing parents
    of the target are made, and removed again if nothing arrived. Raises ArchiveError.
    """
    place = _place(target)
    made_above: list[Path] = []
    with guarded():
        try:
            folder = above = place if inside else place.parent
            while not above.exists():
                made_above.append(above)
                above = above.parent
            folder.mkdir(parents=True, exist_ok=True)
            own = tempfile.mkdtemp(prefix=_PREFIX, dir=folder)
            new = Path(own, "new")
            new.mkdir()
        except OSError as error:
            _remove_empty(made_above)
            raise broken(error, str(target)) from None
        try:
            with opened():
                yield new
        finally:
            # A failed removal must not hide an earlier error.
            with contextlib.suppress(OSError):
                _remove(own)
            if not os.path.lexists(place):
                _remove_empty(made_above)


def land(made: Path, target: Path) -> None:
    """Move ``made``, which is in the directory of `staging` or is that directory, to ``target``.

    Without a target it is one rename. A file replaces a file or a link. A directory is merged into the existing one,
    entry by entry: files replace files, and directories are merged in turn and keep their own modes. A link in the way is
    replaced and never followed. Entries that only the target has stay. ``target`` itself may be a link.

    The move is done as a whole or not at all: on any failure all is put back as it was. Raises ArchiveError, also for a
    file where a directory is and the other way round.
    """
    place = _place(target)
    try:
        old = tempfile.mkdtemp(prefix="old-", dir=made.parent)
    except OSError as error:
        raise broken(error, str(target)) from None
    moves = _Moves(str(made), str(place), old)
    # Ctrl-C may stop the move, but not the undo.
    with closed():
        try:
            with opened():
                moves.merge()
        except BaseException as error:
            moves.undo()
            if isinstance(error, OSError):
                raise broken(error, moves.entry or str(target)) from None
            raise


class _Moves:
    """The moves so far, and how to undo them."""

    def __init__(self, made: str, place: str, kept: str) -> None:
        self.entry = ""
        self._made = made
        self._place = place
        self._kept = kept
        self._number = 0
        # There may be a million of them: the names of entries, not closures and whole paths.
        self._undo: list[tuple[Callable[[str, _Before], object], str, _Before]] = []

    def merge(self) -> None:
        """Move one entry and all below it."""
        waiting = [""]
        while waiting:
            self.entry = waiting.pop()
            above = f"{self.entry}/" if self.entry else ""
            waiting += [above + name for name in self._move(self.entry)]

    def undo(self) -> None:
        """Put back all, the last first, and go on where one fails."""
        while self._undo:
            with contextlib.suppress(OSError):
                back, entry, before = self._undo.pop()
                back(entry, before)

    def _move(self, entry: str) -> list[str]:
        # Return the entries that have to be moved one by one.
        new, there = self._paths(entry)
        is_directory = stat.S_ISDIR(os.lstat(new).st_mode)
        try:
            found = os.lstat(there)
        except FileNotFoundError:
            self._rename(entry)
            return []
        if stat.S_ISDIR(found.st_mode):
            if not is_directory:
                raise ArchiveError("a directory is where a file should go", shown(entry or there))
            if os.stat(new).st_mode & _OPEN_DIRECTORY != _OPEN_DIRECTORY:
                os.chmod(new, _OPEN_DIRECTORY)
            self._undo.append((self._restore_times, entry, (found.st_atime_ns, found.st_mtime_ns)))
            return os.listdir(new)
        if is_directory and not stat.S_ISLNK(found.st_mode):
            raise ArchiveError("a file is where a directory should go", shown(entry or there))
        self._put_aside(entry, replaced=not is_directory)
        self._rename(entry)
        return []

    def _put_aside(self, entry: str, *, replaced: bool) -> None:
        self._number += 1
        there, kept = self._paths(entry)[1], f"{self._kept}/{self._number}"
        # Recorded before it is done, here and below, as Ctrl-C may come in between. To undo a step that was not done does nothing.
        self._undo.append((self._put_back, entry, self._number))
        if replaced:
            # The old entry has a second name, so the new one can replace it without a moment in between.
            try:
                os.link(there, kept, follow_symlinks=False)
            except (OSError, NotImplementedError):
                pass
            else:
                return
        os.rename(there, kept)

    def _put_back(self, entry: str, number: _Before) -> None:
        os.rename(f"{self._kept}/{number}", self._paths(entry)[1])

    def _rename(self, entry: str) -> None:
        self._undo.append((self._take_back, entry, None))
        _rename(*self._paths(entry))

    def _take_back(self, entry: str, _: _Before) -> None:
        new, there = self._paths(entry)
        _rename(there, new)

    def _restore_times(self, entry: str, times: _Before) -> None:
        if isinstance(times, tuple):
            os.utime(self._paths(entry)[1], ns=times)

    def _paths(self, entry: str) -> tuple[str, str]:
        below = f"/{entry}" if entry else ""
        return f"{self._made}{below}", f"{self._place}{below}"


def _rename(old: str, new: str) -> None:
    # A directory that forbids writing cannot be moved elsewhere: its entry ``..`` would be written.
    found = os.lstat(old)
    if not stat.S_ISDIR(found.st_mode) or found.st_mode & stat.S_IWUSR:
        os.rename(old, new)
        return
    os.chmod(old, stat.S_IMODE(found.st_mode) | stat.S_IWUSR)
    try:
        os.rename(old, new)
    except OSError:
        os.chmod(old, stat.S_IMODE(found.st_mode))
        raise
    os.chmod(new, stat.S_IMODE(found.st_mode))


def _place(target: Path) -> Path:
    try:
        return Path(os.path.realpath(target))
    except OSError as error:
        raise broken(error, str(target)) from None


def _remove(top: str) -> None:
    # Not shutil's: that is recursive, and stops at directories that forbid writing.
    directories, waiting = list[str](), [top]
    while waiting:
        directory = waiting.pop()
        directories.append(directory)
        os.chmod(directory, _OPEN_DIRECTORY)
        for entry in entries_of(directory):
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            else:
                os.unlink(entry.path)
    for directory in reversed(directories):
        os.rmdir(directory)


def _remove_empty(directories: list[Path]) -> None:
    with contextlib.suppress(OSError):
        for directory in directories:
            directory.rmdir()
