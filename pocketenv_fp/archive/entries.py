"""Read the entries of an untrusted tar.gz, one after the other.

tarfile's own loop is not used: on Python 3.11 a header can make it hang or fill the memory. Only its parser of a single
header is used.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Generator
from dataclasses import dataclass

from pocketenv_fp.archive import compression
from pocketenv_fp.archive.names import decoded, shown
from pocketenv_fp.archive.skipped import DEVICE, PIPE
from pocketenv_fp.errors import ArchiveError

__all__ = ["ODD", "Entries", "Entry", "Stream"]

_RECORD = 512
_LONGEST_HEADER = 1024 * 1024
_LONGEST_END = 1024 * 1024
_FREE_HEADER = 8 * 1024
_HEADERS_BEFORE = 8
_SIZE = re.compile(rb"\d{1,18}")
_TIME = re.compile(rb"(-?)(\d{1,12})(?:\.(\d+))?")
_FILES = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE})
_HEADERS = frozenset({tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE})
_LONG = {tarfile.GNUTYPE_LONGNAME: b"path", tarfile.GNUTYPE_LONGLINK: b"linkpath"}
_OTHERS = frozenset({tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE})
ODD = {tarfile.CHRTYPE: DEVICE, tarfile.BLKTYPE: DEVICE, tarfile.FIFOTYPE: PIPE}
_SPARSE_FILE = "a sparse file in the form that only GNU tar reads"
# The only headers that are read. Nothing else is kept.
_HEEDED = frozenset({b"path", b"linkpath", b"size", b"mtime"})
_SPARSE = b"GNU.sparse."


class Stream:
    """The uncompressed archive, read forward only."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self.failure: BaseException | None = None
        self._read = read
        self._blocks = compression.expand(self._watched)
        self._block = memoryview(b"")

    def close(self) -> None:
        self._blocks.close()

    def exactly(self, size: int) -> bytes:
        """Return the next bytes. Raises ArchiveError if the archive ends before."""
        if len(self._block) >= size:
            found, self._block = self._block[:size], self._block[size:]
            return bytes(found)
        return b"".join(self.pieces(size))

    def pieces(self, size: int, *, may_end: bool = False) -> Generator[memoryview]:
        """Yield the next bytes as they arrive. Raises ArchiveError if the archive ends before."""
        while size:
            if not self._block:
                self._block = memoryview(next(self._blocks, b""))
            if not self._block:
                if may_end:
                    return
                raise ArchiveError("the archive breaks off")
            piece, self._block = self._block[:size], self._block[size:]
            size -= len(piece)
            yield piece

    def pad(self, size: int) -> None:
        """Skip the padding after ``size`` bytes."""
        self.exactly(-size % _RECORD)

    def skip(self, size: int) -> None:
        """Skip ``size`` bytes and their padding."""
        for _ in self.pieces(size + -size % _RECORD):
            pass

    def drain(self) -> None:
        """Read up to the end. Raises ArchiveError for anything but the zeros that pad an archive."""
        left = _LONGEST_END
        for piece in self.pieces(left + 1, may_end=True):
            left -= len(piece)
            if left < 0 or piece.tobytes().strip(b"\0"):
                raise ArchiveError("the archive has something behind its end")

    def _watched(self, size: int) -> bytes:
        try:
            return self._read(size)
        except BaseException as error:
            self.failure = error
            raise


@dataclass
class Entry:
    """One entry, with the fields of all its headers. ``excess`` is the size of its headers beyond 8 KiB."""

    name: str
    link: str
    kind: bytes
    size: int
    mode: int
    time: int
    excess: int


class Entries:
    """The entries of an archive."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._defaults: dict[bytes, bytes] = {}

    def next(self) -> Entry | None:
        """Return the next entry, or None at the end of the archive."""
        fields, spent, announced = dict[bytes, bytes](), 0, False
        for _ in range(_HEADERS_BEFORE):
            header = self._header()
            if header is None:
                if announced:
                    raise ArchiveError("the archive breaks off: a header without its entry")
                return None
            if header.type in _LONG:
                body = self._body(header)
                fields[_LONG[header.type]] = body.removesuffix(b"\0")
            elif header.type in _HEADERS:
                body = self._body(header)
                (self._defaults if header.type == tarfile.XGLTYPE else fields).update(_records(body))
            else:
                return _understood(header, {**self._defaults, **fields}, max(0, spent - _FREE_HEADER))
            spent, announced = spent + len(body), announced or header.type != tarfile.XGLTYPE
        raise ArchiveError("an entry with too many headers")

    def _header(self) -> tarfile.TarInfo | None:
        block = self._stream.exactly(_RECORD)
        if not any(block):
            if any(self._stream.exactly(_RECORD)):
                raise ArchiveError("the archive is damaged: there is something behind half an end mark")
            return None
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.TarError:
            raise ArchiveError("the archive is damaged: a header is not understood") from None
        if block.startswith(b"ustar  \0", 257):
            # GNU's own format has other fields where POSIX has the beginning of a long name.
            header.name = decoded(block[:100].partition(b"\0")[0])
        return header

    def _body(self, header: tarfile.TarInfo) -> bytes:
        if not 0 <= header.size <= _LONGEST_HEADER:
            raise ArchiveError("a header that is too long")
        body = self._stream.exactly(header.size)
        self._stream.pad(header.size)
        return body


def _check_kind(entry: Entry) -> None:
    if entry.kind == tarfile.GNUTYPE_SPARSE:
        raise ArchiveError(_SPARSE_FILE, shown(entry.name))
    if entry.kind not in _FILES and entry.kind not in _OTHERS and entry.kind not in ODD:
        raise ArchiveError("an entry of an unknown kind", shown(entry.name))
    if entry.size < 0 or (entry.size and entry.kind not in _FILES):
        raise ArchiveError("an entry of a size that it cannot have", shown(entry.name))


def _understood(header: tarfile.TarInfo, fields: dict[bytes, bytes], excess: int) -> Entry:
    name = decoded(fields[b"path"]) if fields.get(b"path") else header.name
    link = decoded(fields[b"linkpath"]) if fields.get(b"linkpath") else header.linkname
    size, time = header.size, int(header.mtime) * 10**9
    if _SPARSE in fields:
        raise ArchiveError(_SPARSE_FILE, shown(name))
    if text := fields.get(b"size"):
        if not _SIZE.fullmatch(text):
            raise ArchiveError("a size that is no number", shown(name))
        size = int(text)
    if text := fields.get(b"mtime"):
        if (found := _TIME.fullmatch(text)) is None:
            raise ArchiveError("a time that is no number", shown(name))
        sign, seconds, part = found.groups(b"")
        time = (int(seconds) * 10**9 + int(part[:9].ljust(9, b"0"))) * (-1 if sign else 1)
    # Without setuid, setgid and the sticky bit.
    entry = Entry(name, link, header.type, size, header.mode & 0o777, time, excess)
    _check_kind(entry)
    return entry


def _records(body: bytes) -> dict[bytes, bytes]:
    found, at = dict[bytes, bytes](), 0
    while at < len(body):
        digits, _, _ = body[at : at + 8].partition(b" ")
        length = int(digits) if _SIZE.fullmatch(digits) else 0
        key, equals, value = body[at + len(digits) + 1 : at + length].partition(b"=")
        if not (equals and key and value.endswith(b"\n") and at + length <= len(body)):
            raise ArchiveError("the archive is damaged: a header is not understood")
        if key in _HEEDED:
            found[key] = value[:-1]
        elif key.startswith(_SPARSE):
            found[_SPARSE] = b""
        at += length
    return found
