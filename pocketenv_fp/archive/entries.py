"""Read the entries of an untrusted tar.gz, one after the other.

tarfile is not used: on Python 3.11 a header can make it hang or fill the memory. Of a header, only the fields that are
used are read.
"""

from __future__ import annotations

import re
import struct
import tarfile
from collections.abc import Callable, Generator
from typing import NamedTuple

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
_DAMAGED = "the archive is damaged: a header is not understood"
_SECOND = 10**9
# Name, mode, size, time, checksum, kind, link, magic, and the beginning of a long name.
_FIELDS = struct.Struct("100s8s16x12s12s8sc100s8s80x155s12x")
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
        """End the thread that decompresses."""
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


class Entry(NamedTuple):
    """One entry, with the fields of all its headers. ``excess`` is the size of its headers beyond 8 KiB."""

    name: str
    link: str
    kind: bytes
    size: int
    mode: int
    time: int
    excess: int = 0


class Entries:
    """The entries of an archive."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._defaults: dict[bytes, bytes] = {}

    def next(self) -> Entry | None:
        """Return the next entry, or None at the end of the archive."""
        fields, spent, announced = dict[bytes, bytes](), 0, False
        for _ in range(_HEADERS_BEFORE):
            entry = self._entry()
            if entry is None:
                if announced:
                    raise ArchiveError("the archive breaks off: a header without its entry")
                return None
            if entry.kind not in _HEADERS and entry.kind not in _LONG:
                return _completed(entry, {**self._defaults, **fields}, max(0, spent - _FREE_HEADER))
            if not 0 <= entry.size <= _LONGEST_HEADER:
                raise ArchiveError("a header that is too long")
            body = self._stream.exactly(entry.size)
            self._stream.pad(entry.size)
            if entry.kind in _LONG:
                fields[_LONG[entry.kind]] = body.removesuffix(b"\0")
            else:
                (self._defaults if entry.kind == tarfile.XGLTYPE else fields).update(_records(body))
            spent, announced = spent + len(body), announced or entry.kind != tarfile.XGLTYPE
        raise ArchiveError("an entry with too many headers")

    def _entry(self) -> Entry | None:
        block = self._stream.exactly(_RECORD)
        if block[0] or any(block):
            return _read(block)
        if any(self._stream.exactly(_RECORD)):
            raise ArchiveError("the archive is damaged: there is something behind half an end mark")
        return None


def _read(block: bytes) -> Entry:
    name, mode, size, time, checksum, kind, link, magic, prefix = _FIELDS.unpack(block)
    # The sum counts its own field as spaces.
    if sum(block) - sum(checksum) + sum(b" " * len(checksum)) != _number(checksum):
        raise ArchiveError(_DAMAGED)
    name = _text(name)
    if kind == tarfile.AREGTYPE and name.endswith("/"):
        kind = tarfile.DIRTYPE
    # GNU's own format has other fields where POSIX has the beginning of a long name.
    if magic != tarfile.GNU_MAGIC and (above := _text(prefix)):
        name = f"{above}/{name}"
    if kind == tarfile.DIRTYPE:
        name = name.rstrip("/")
    # Without setuid, setgid and the sticky bit.
    return Entry(name, _text(link), kind, _number(size), _number(mode) & 0o777, _number(time) * _SECOND)


def _text(field: bytes) -> str:
    return decoded(field.partition(b"\0")[0])


def _number(field: bytes) -> int:
    if field[0] in {0x80, 0xFF}:  # GNU's form of a number that is too large, or below zero
        return int.from_bytes(field[1:], "big") - (field[0] == 0xFF) * (1 << 8 * len(field[1:]))
    digits = field.partition(b"\0")[0].strip(b" ")
    if digits.translate(None, b"01234567"):
        raise ArchiveError(_DAMAGED)
    return int(digits or b"0", 8)


def _completed(entry: Entry, fields: dict[bytes, bytes], excess: int) -> Entry:
    name = decoded(fields[b"path"]) if fields.get(b"path") else entry.name
    link = decoded(fields[b"linkpath"]) if fields.get(b"linkpath") else entry.link
    kind, size, time = entry.kind, entry.size, entry.time
    if _SPARSE in fields or kind == tarfile.GNUTYPE_SPARSE:
        raise ArchiveError("a sparse file in the form that only GNU tar reads", shown(name))
    if text := fields.get(b"size"):
        if not _SIZE.fullmatch(text):
            raise ArchiveError("a size that is no number", shown(name))
        size = int(text)
    if text := fields.get(b"mtime"):
        if (found := _TIME.fullmatch(text)) is None:
            raise ArchiveError("a time that is no number", shown(name))
        sign, seconds, part = found.groups(b"")
        time = (int(seconds) * _SECOND + int(part[:9].ljust(9, b"0"))) * (-1 if sign else 1)
    if kind not in _FILES and kind not in _OTHERS and kind not in ODD:
        raise ArchiveError("an entry of an unknown kind", shown(name))
    if size < 0 or (size and kind not in _FILES):
        raise ArchiveError("an entry of a size that it cannot have", shown(name))
    return Entry(name, link, kind, size, entry.mode, time, excess)


def _records(body: bytes) -> dict[bytes, bytes]:
    found, at = dict[bytes, bytes](), 0
    while at < len(body):
        digits, _, _ = body[at : at + 8].partition(b" ")
        length = int(digits) if _SIZE.fullmatch(digits) else 0
        key, equals, value = body[at + len(digits) + 1 : at + length].partition(b"=")
        if not (equals and key and value.endswith(b"\n") and at + length <= len(body)):
            raise ArchiveError(_DAMAGED)
        if key in _HEEDED:
            found[key] = value[:-1]
        elif key.startswith(_SPARSE):
            found[_SPARSE] = b""
        at += length
    return found
