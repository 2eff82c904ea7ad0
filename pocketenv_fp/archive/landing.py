"""Where something arrives whole or not at all: made beside its place, and moved there when it is complete."""

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

__all__ = ["land", "staging"]

_PREFIX = ".pocketenv-"
_OPEN_DIRECTORY = 0o700


@contextmanager
def staging(target: Path) -> Generator[Path]:
    """Give an empty directory on the file system of ``target``, for `land` to move from. It is removed in the end.

    It lies in a hidden one beside the target that only its owner can look into. Directories above the target are
    made, and removed again if nothing arrived. Raises ArchiveError.
    """
    place = _place(target)
    made_above: list[Path] = []
    try:
        above = place.parent
        while not above.exists():
            made_above.append(above)
            above = above.parent
        place.parent.mkdir(parents=True, exist_ok=True)
        own = tempfile.mkdtemp(prefix=_PREFIX, dir=place.parent)
        made = Path(own, "new")
        made.mkdir()
    except OSError as error:
        _remove_empty(made_above)
        raise broken(error, str(target)) from None
    try:
        yield made
    finally:
        # What cannot be removed must not hide what happened before.
        with contextlib.suppress(OSError):
            _remove(own)
        if not os.path.lexists(place):
            _remove_empty(made_above)


def land(made: Path, target: Path) -> None:
    """Move ``made``, which lies in the directory that `staging` gave or is it, to ``target``.

    Where there is nothing it is one rename. A file replaces a file or a link. A directory is merged into the one that
    is there, entry by entry: files replace files, directories are merged in turn and keep their own modes, a link in
    the way is replaced and never followed, and what the new one does not have stays. ``target`` itself may be a link.

    It happens as a whole or not at all: on any failure all is put back as it was. Raises ArchiveError, also for a
    file where a directory is and the other way round.
    """
    place = _place(target)
    try:
        kept = tempfile.mkdtemp(prefix="old-", dir=made.parent)
    except OSError as error:
        raise broken(error, str(target)) from None
    moves = _Moves(kept)
    try:
        moves.merge(str(made), str(place))
    except BaseException as error:
        moves.undo()
        if isinstance(error, OSError):
            raise broken(error, moves.entry or str(target)) from None
        raise


class _Moves:
    """What was moved until now, and how to undo it."""

    def __init__(self, kept: str) -> None:
        self.entry = ""
        self._kept = kept
        self._number = 0
        self._undo: list[Callable[[], object]] = []

    def merge(self, made: str, place: str) -> None:
        """Move one thing and all below it."""
        waiting = [(made, place, "")]
        while waiting:
            new, there, self.entry = waiting.pop()
            below = self._move(new, there)
            waiting += [(f"{new}/{name}", f"{there}/{name}", f"{self.entry}/{name}".lstrip("/")) for name in below]

    def undo(self) -> None:
        """Put back all, the last first, and go on where something cannot be."""
        while self._undo:
            with contextlib.suppress(OSError):
                self._undo.pop()()

    def _move(self, new: str, there: str) -> list[str]:
        # Gives what is left to move one by one.
        is_directory = stat.S_ISDIR(os.lstat(new).st_mode)
        try:
            found = os.lstat(there)
        except FileNotFoundError:
            self._rename(new, there)
            return []
        if stat.S_ISDIR(found.st_mode):
            if not is_directory:
                raise ArchiveError("a directory is where a file should go", shown(self.entry or there))
            if os.stat(new).st_mode & _OPEN_DIRECTORY != _OPEN_DIRECTORY:
                os.chmod(new, _OPEN_DIRECTORY)
            times = (found.st_atime_ns, found.st_mtime_ns)
            self._undo.append(lambda: os.utime(there, ns=times))
            return os.listdir(new)
        if is_directory and not stat.S_ISLNK(found.st_mode):
            raise ArchiveError("a file is where a directory should go", shown(self.entry or there))
        self._put_aside(there, replaced=not is_directory)
        self._rename(new, there)
        return []

    def _put_aside(self, there: str, *, replaced: bool) -> None:
        self._number += 1
        kept = f"{self._kept}/{self._number}"
        if replaced:
            # With a second name for the old one, the new one can take its place without a moment in between.
            try:
                os.link(there, kept, follow_symlinks=False)
            except (OSError, NotImplementedError):
                pass
            else:
                self._undo.append(lambda: os.rename(kept, there))
                return
        os.rename(there, kept)
        self._undo.append(lambda: os.rename(kept, there))

    def _rename(self, new: str, there: str) -> None:
        _rename(new, there)
        self._undo.append(lambda: _rename(there, new))


def _rename(old: str, new: str) -> None:
    # A directory that forbids writing cannot be moved elsewhere: its way up is written in it.
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
