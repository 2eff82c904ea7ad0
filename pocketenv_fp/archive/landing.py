"""Create a file or directory completely or not at all: build it next to its place, then move it there."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from pocketenv_fp.archive.names import broken, shown
from pocketenv_fp.errors import ArchiveError
from pocketenv_fp.runtime.signals import closed, guarded, opened

__all__ = ["land", "staging"]

_PREFIX = ".pocketenv-"
_OPEN_DIRECTORY = 0o700
# The data to restore an entry: the number of its copy, or a directory's times.
_Before = int | tuple[int, int] | None


@contextmanager
def staging(target: Path, *, inside: bool = False) -> Generator[Path]:
    """Yield an empty directory on the file system of ``target``, from which `land` moves. It is removed at the end.

    It is in a hidden directory next to the target, or ``inside`` it, that only its owner can read. Missing parents of
    the target are created. They are removed if the target does not exist at the end. Raises ArchiveError.
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
            hidden = tempfile.mkdtemp(prefix=_PREFIX, dir=folder)
            made = Path(hidden, "new")
            made.mkdir()
        except OSError as error:
            _remove_empty(made_above)
            raise broken(error, str(target)) from None
        try:
            with opened():
                yield made
        finally:
            # An error of the removal must not hide an earlier exception.
            with contextlib.suppress(OSError):
                _remove(hidden)
            if not os.path.lexists(place):
                _remove_empty(made_above)


def land(made: Path, target: Path) -> None:
    """Move ``made``, the directory of `staging` or an entry of it, to ``target``.

    If the target does not exist, this is one rename. A file replaces a file or a symlink. A directory is merged into an
    existing one, entry by entry: files replace files, and subdirectories are merged and keep their own modes. A symlink
    in the way is replaced, never followed. Other existing entries stay. ``target`` itself may be a symlink.

    It happens completely or not at all: on any failure the previous state is restored. Raises ArchiveError, also for a
    file in the place of a directory and the reverse.
    """
    place = _place(target)
    try:
        kept = tempfile.mkdtemp(prefix="old-", dir=made.parent)
    except OSError as error:
        raise broken(error, str(target)) from None
    moves = _Moves(str(made), str(place), kept)
    # Ctrl-C may stop the merge, but not the restoration.
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
        # There may be a million moves: store the names of entries, not closures and full paths.
        self._undo: list[tuple[Callable[[str, _Before], object], str, _Before]] = []

    def merge(self) -> None:
        """Move an entry and everything below it."""
        waiting = [""]
        while waiting:
            self.entry = waiting.pop()
            above = f"{self.entry}/" if self.entry else ""
            waiting += [above + name for name in self._move(self.entry)]

    def undo(self) -> None:
        """Undo all moves, the last one first. Errors are ignored."""
        while self._undo:
            with contextlib.suppress(OSError):
                back, entry, before = self._undo.pop()
                back(entry, before)

    def _move(self, entry: str) -> list[str]:
        # Returns the names of the children that must be moved one by one.
        new, there = self._paths(entry)
        is_directory = stat.S_ISDIR(os.lstat(new).st_mode)
        try:
            existing = os.lstat(there)
        except FileNotFoundError:
            self._rename(entry)
            return []
        if stat.S_ISDIR(existing.st_mode):
            if not is_directory:
                raise ArchiveError("a directory is in the place of a file", shown(entry or there))
            if os.stat(new).st_mode & _OPEN_DIRECTORY != _OPEN_DIRECTORY:
                os.chmod(new, _OPEN_DIRECTORY)
            self._undo.append((self._restore_times, entry, (existing.st_atime_ns, existing.st_mtime_ns)))
            return os.listdir(new)
        if is_directory and not stat.S_ISLNK(existing.st_mode):
            raise ArchiveError("a file is in the place of a directory", shown(entry or there))
        self._put_aside(entry, replaced=not is_directory)
        self._rename(entry)
        return []

    def _put_aside(self, entry: str, *, replaced: bool) -> None:
        self._number += 1
        there, kept = self._paths(entry)[1], f"{self._kept}/{self._number}"
        # Recorded before the action, here and below: Ctrl-C may come in between. Undoing an action that was not done
        # has no effect.
        self._undo.append((self._put_back, entry, self._number))
        if replaced:
            # With a hard link to the old file, the new one can replace it atomically.
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
    # A directory without write permission cannot be moved to another parent: its `..` entry changes.
    status = os.lstat(old)
    if not stat.S_ISDIR(status.st_mode) or status.st_mode & stat.S_IWUSR:
        os.rename(old, new)
        return
    os.chmod(old, stat.S_IMODE(status.st_mode) | stat.S_IWUSR)
    try:
        os.rename(old, new)
    except OSError:
        os.chmod(old, stat.S_IMODE(status.st_mode))
        raise
    os.chmod(new, stat.S_IMODE(status.st_mode))


def _place(target: Path) -> Path:
    try:
        return Path(os.path.realpath(target))
    except OSError as error:
        raise broken(error, str(target)) from None


def _remove(top: str) -> None:
    # shutil.rmtree is recursive, and stops at directories without write permission.
    directories, waiting = list[str](), [top]
    while waiting:
        directory = waiting.pop()
        directories.append(directory)
        os.chmod(directory, _OPEN_DIRECTORY)
        with os.scandir(directory) as listing:
            for entry in listing:
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
