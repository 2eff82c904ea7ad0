"""Headers of tar: read as tarfile reads them, or refused."""

from __future__ import annotations

import gzip
import io
import tarfile

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pocketenv_fp.archive.entries import Entries, Entry, Stream
from pocketenv_fp.errors import ArchiveError

CHECKSUM = slice(148, 156)
KINDS = [tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]


def summed(block: bytes | bytearray) -> bytes:
    """Return the header with its right checksum."""
    made = bytearray(block)
    made[CHECKSUM] = b" " * 8
    made[CHECKSUM] = b"%06o\0 " % sum(made)
    return bytes(made)


def first(block: bytes) -> Entry | None:
    """Return the entry of a header."""
    stream = Stream(io.BytesIO(gzip.compress(block + bytes(1024))).read)
    try:
        return Entries(stream).next()
    finally:
        stream.close()


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    """Return a header with any fields, and with some bytes of it replaced."""
    info = tarfile.TarInfo(draw(st.text("ab/.\u00e9", min_size=1, max_size=60)))
    info.type = draw(st.sampled_from(KINDS))
    info.linkname = draw(st.text("ab/.\u00e9", max_size=40))
    info.size = draw(st.integers(-(2**40), 2**40)) if info.type == tarfile.REGTYPE else 0
    info.mode, info.mtime = draw(st.integers(0, 0o7777)), draw(st.integers(-(2**40), 2**40))
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
    block[257:265] = draw(st.sampled_from([b"ustar  \0", b"ustar\x0000", bytes(8)]))
    block[345:355] = draw(st.sampled_from([bytes(10), b"some/above"]))
    for at, byte in draw(st.lists(st.tuples(st.integers(0, 511), st.integers(0, 255)), max_size=3)):
        block[at] = byte
    return summed(block)


@given(headers())
@example(summed(tarfile.TarInfo("a/").tobuf()[:156] + b"\0" + bytes(355)))
@example(summed(b"a".ljust(124, b"\0") + b"0000000017 \0".ljust(388, b"\0")))
def test_header_like_tarfile(block: bytes) -> None:
    """A header has the meaning that it has for tarfile, or it is refused."""
    try:
        entry = first(block)
    except ArchiveError:
        return
    assert entry is not None
    known = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    # In GNU's format, the beginning of a long name is not there.
    is_gnu = block[257:265] == b"ustar  \0"
    name = block[:100].partition(b"\0")[0].decode("utf-8", "surrogateescape") if is_gnu else known.name
    assert entry.name.rstrip("/") == name.rstrip("/")
    assert (entry.kind, entry.link, entry.size) == (known.type, known.linkname, known.size)
    assert (entry.mode, entry.time) == (known.mode & 0o777, int(known.mtime) * 10**9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("time", [0, 1_700_000_000, -1, 2**40])
def test_header_of_tarfile(kind: bytes, time: int) -> None:
    """A header of tarfile is read, with a time of any size."""
    info = tarfile.TarInfo("d/a")
    info.type, info.mode, info.mtime, info.linkname = kind, 0o6755, time, "b"
    entry = first(info.tobuf(tarfile.GNU_FORMAT))
    assert entry == Entry("d/a", "b", kind, 0, 0o755, time * 10**9)


@pytest.mark.parametrize(
    "field", [b"0000-17\0", b"00_0017\0", b"0o00017\0", b"0000018\0", b"+000017\0", b"17\t17\0\0\0"]
)
def test_header_wrong_number(field: bytes) -> None:
    """A number that is not octal is refused, also where tarfile takes it."""
    block = bytearray(tarfile.TarInfo("a").tobuf())
    block[100:108] = field
    with pytest.raises(ArchiveError, match="a header is not understood"):
        first(summed(block))


@pytest.mark.parametrize("at", [0, 100, 124, 136, 148, 156, 157, 345, 511])
def test_header_wrong_checksum(at: int) -> None:
    """A changed byte is refused by the checksum."""
    block = bytearray(tarfile.TarInfo("a").tobuf())
    block[at] ^= 1
    with pytest.raises(ArchiveError, match="a header is not understood"):
        first(bytes(block))
