"""Pack a tree or a file as a tar.gz, in pieces."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

from pocketenv_fp.archive import compression
from pocketenv_fp.archive.descriptors import Descriptor, hold
from pocketenv_fp.archive.ignore import Ignore
from pocketenv_fp.archive.names import broken, from_disk, shown
from pocketenv_fp.archive.tree import Survey, read_link, status, survey, walk
from pocketenv_fp.errors import ArchiveError

__all__ = ["Survey", "pack", "survey"]

_ODD = "not a file, directory or link: it cannot be packed"
_RECORD = 512
_END = 2 * _RECORD
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def pack(source: Path, *, ignore: Ignore, count: Callable[[int], None] | None = None) -> Generator[bytes]:
    """Yield a tar.gz of ``source`` in pieces of up to a mebibyte, with flat memory for any size.

    The entries of a directory are the top entries, without one for the directory itself. A file is one entry.
    ``source`` itself may be a link. Links in it are kept as links, and several names of a file as hard links. Sockets,
    pipes and devices are skipped: `survey` counts them. The same tree makes the same bytes: entries are sorted, times
    are whole seconds, owners are left out. ``count`` is called with the number of bytes of files that were read, piece
    by piece. Its exceptions pass through.

    Raises ArchiveError for an entry that cannot be read, or that changes its size or kind during the copy. The pieces
    before it have no end then, so no reader accepts them as whole. Closing the iterator early ends its threads.
    """
    return compression.shrink(_Tar(count).blocks(source, ignore))


class _Tar:
    """An uncompressed archive: `full` are the finished blocks, `block` is being filled."""

    def __init__(self, count: Callable[[int], None] | None) -> None:
        self._count = count
        self._block = bytearray(compression.BLOCK)
        self._room = memoryview(self._block)
        self._used = 0
        self._names: dict[tuple[int, int], str] = {}

    def blocks(self, source: Path, ignore: Ignore) -> Generator[bytearray]:
        """Yield the archive in blocks."""
        mode = status(source, str(source)).st_mode
        if stat.S_ISDIR(mode):
            with closing(walk(str(source), ignore)) as walking:
                for name, entry, folder in walking:
                    if entry is not None and entry.is_file(follow_symlinks=False):
                        yield from self._file(name, entry.name, _OPEN, folder)
                    else:
                        yield from self._put(_header_of(name, entry, folder))
        elif not stat.S_ISREG(mode):
            raise ArchiveError(_ODD, shown(str(source)))
        else:
            # The user's own path may be a link to it.
            yield from self._file(from_disk(source.name), str(source), _OPEN & ~os.O_NOFOLLOW)
        yield from self._put(bytes(_END))
        if self._used:
            yield self._block[: self._used]

    def _put(self, data: bytes) -> Generator[bytearray]:
        at = 0
        while at < len(data):
            taken = min(len(data) - at, len(self._block) - self._used)
            self._room[self._used : self._used + taken] = data[at : at + taken]
            at += taken
            yield from self._moved(taken)

    def _moved(self, used: int) -> Generator[bytearray]:
        self._used += used
        if self._used == len(self._block):
            full = self._block
            self._block = bytearray(compression.BLOCK)
            self._room = memoryview(self._block)
            self._used = 0
            yield full

    def _file(self, name: str, path: str, flags: int, folder: Descriptor | None = None) -> Generator[bytearray]:
        # Only system calls are in blocks that catch an OSError of the disk: the caller may raise one as well.
        try:
            file = hold(path, flags, folder)
            found = os.fstat(file.fileno())
        except OSError as error:
            raise broken(error, name) from None
        try:
            if not stat.S_ISREG(found.st_mode):
                raise ArchiveError(_ODD, shown(name))
            if found.st_nlink > 1:
                known = self._names.setdefault((found.st_dev, found.st_ino), name)
                if known != name:
                    yield from self._put(_header(name, found, tarfile.LNKTYPE, known))
                    return
            yield from self._put(_header(name, found, tarfile.REGTYPE))
            yield from self._content(name, file.fileno(), found.st_size)
        finally:
            file.close()

    def _content(self, name: str, file: int, size: int) -> Generator[bytearray]:
        left, more = size, bytearray(1)
        while read := _read(name, file, self._room[self._used : self._used + left] if left else more):
            left -= read
            # The header has the size already, so bytes that were added since have no place.
            if left < 0:
                raise ArchiveError("it became longer while it was read", shown(name))
            if self._count is not None:
                self._count(read)
            yield from self._moved(read)
        if left:
            raise ArchiveError("it became shorter while it was read", shown(name))
        yield from self._put(bytes(-size % _RECORD))


def _read(name: str, file: int, room: memoryview | bytearray) -> int:
    try:
        return os.readv(file, [room])
    except OSError as error:
        raise broken(error, name) from None


def _header_of(name: str, entry: os.DirEntry[str] | None, folder: Descriptor) -> bytes:
    try:
        found = os.fstat(folder.fileno()) if entry is None else entry.stat(follow_symlinks=False)
    except OSError as error:
        raise broken(error, name) from None
    if entry is None:
        return _header(name, found, tarfile.DIRTYPE)
    if not stat.S_ISLNK(found.st_mode):
        raise ArchiveError(_ODD, shown(name))
    return _header(name, found, tarfile.SYMTYPE, read_link(entry, name, folder))


def _header(name: str, status: os.stat_result, kind: bytes, link: str = "") -> bytes:
    # GNU's format keeps names as bytes, of any length, and every tar reads it.
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, link
    entry.mode, entry.mtime = stat.S_IMODE(status.st_mode), int(status.st_mtime)
    entry.size = status.st_size if kind == tarfile.REGTYPE else 0
    return entry.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
