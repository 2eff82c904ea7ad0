"""Read HTTP responses strictly: an incomplete response is an error, and extra bytes are not the next response."""

from __future__ import annotations

import http.client
import io
import math
import re
import socket
import time
from typing import Any, BinaryIO, NamedTuple

from pocketenv_fp.http.headers import LONGEST_LINE, Headers, read_headers, skip_headers

__all__ = ["LONGEST_TIMEOUT", "PIECE", "Body", "Received", "Response", "limit", "read_response", "read_status"]

# The operating system counts a socket's timeout in 32 bits of milliseconds. Longer timeouts count as infinite.
LONGEST_TIMEOUT = 2_000_000.0
# A negligible difference in seconds.
SOON = 0.01
PIECE = 64 * 1024
# A platform may send an interim response every few seconds for hours, but not without end.
MOST_INTERIM = 10_000
NO_BODY = frozenset({http.HTTPStatus.NO_CONTENT, http.HTTPStatus.NOT_MODIFIED})

_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) +([1-9][0-9]{2})(?: [^\r\n]*)?\r?\n")
_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")


def limit(sock: socket.socket, seconds: float) -> None:
    """Set the timeout of a socket, with a system call only for another one. Raises TimeoutError if no time is left."""
    if seconds <= 0:
        raise TimeoutError
    current = sock.gettimeout()
    if seconds > LONGEST_TIMEOUT:
        if current is not None:
            sock.settimeout(None)
    elif current is None or abs(current - seconds) > SOON:
        sock.settimeout(seconds)


class Received(io.RawIOBase):
    """The bytes that come on a connection, with a total timeout. A socket's own timeout starts again with every byte."""

    def __init__(self, sock: socket.socket, seconds: float) -> None:
        self._sock = sock
        self.is_paused = False
        self.begin(seconds, math.inf)

    def begin(self, seconds: float, read_timeout: float) -> None:
        """Wait up to ``seconds`` for all that follows, and up to ``read_timeout`` for each part of it."""
        self._until = time.monotonic() + seconds
        self._read_timeout = read_timeout
        self.is_paused = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        # Between two responses only bytes are looked at that came already.
        if self.is_paused:
            return None
        limit(self._sock, min(self._read_timeout, self._until - time.monotonic()))
        return self._sock.recv_into(buffer)


class Body:
    """The body of a response. It is read up to its end, and not beyond."""

    __slots__ = ("_is_chunked", "_left", "_reader", "closed")

    def __init__(self, reader: BinaryIO, length: int | None, *, is_chunked: bool = False) -> None:
        self._reader = reader
        self._is_chunked = is_chunked
        # The bytes up to the end, or to the end of a chunk. None means that the body ends where the connection does.
        self._left = length
        self.closed = length == 0 and not is_chunked

    @property
    def length(self) -> int | None:
        """The number of bytes that are left, or None if it is unknown."""
        return None if self._is_chunked else self._left

    @property
    def has_end(self) -> bool:
        """Whether the response shows where its body ends."""
        return self._left is not None

    def read(self, size: int = -1, /) -> bytes:
        """Return ``size`` bytes, or fewer at the end, or all. Raises http.client's exceptions if the body breaks off."""
        pieces: list[bytes] = []
        while size and not self.closed:
            piece = self._part(PIECE if size < 0 else min(size, PIECE))
            pieces.append(piece)
            size -= len(piece) if size > 0 else 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _part(self, most: int) -> bytes:
        if self._is_chunked and not self._left:
            self._begin_chunk()
            if self.closed:
                return b""
        wanted = most if self._left is None else min(most, self._left)
        data = self._reader.read(wanted)
        if self._left is None:
            self.closed = len(data) < wanted
            return data
        if len(data) < wanted:
            raise http.client.IncompleteRead(b"", self._left)
        self._left -= wanted
        if not self._left:
            self._end()
        return data

    def _begin_chunk(self) -> None:
        line = self._reader.readline(LONGEST_LINE + 1)
        if not line.endswith(b"\n") and len(line) <= LONGEST_LINE:
            raise _cut()
        size = _CHUNK_LINE.fullmatch(line)
        if size is None:
            raise http.client.HTTPException("a chunk has no size")
        self._left = int(size[1], 16)
        if not self._left:
            skip_headers(self._reader)
            self.closed = True

    def _end(self) -> None:
        if not self._is_chunked:
            self.closed = True
            return
        end = self._reader.read(2)
        if len(end) < len(b"\r\n"):
            raise _cut()
        if end != b"\r\n":
            raise http.client.HTTPException("a chunk is longer than its size")

    def close(self) -> None:
        """Read no more."""
        self.closed = True


class Response(NamedTuple):
    """A response. Its body is unread. ``is_kept`` is False if its header shows that the server closes the connection."""

    status: int
    headers: Headers
    body: Body
    is_kept: bool


def read_response(reader: BinaryIO) -> Response:
    """Read the header of a response. Raises http.client's exceptions if it is invalid or breaks off."""
    minor, status = read_status(reader)
    headers = read_headers(reader)
    connection = headers.get("Connection", "").lower()
    is_kept = "close" not in connection if minor else "keep-alive" in connection
    encoding = headers.get("Transfer-Encoding")
    if encoding is not None and encoding.strip().lower() != "chunked":
        raise http.client.HTTPException("an unknown transfer encoding")
    if status in NO_BODY:
        body = Body(reader, 0)
    elif encoding is not None:
        body = Body(reader, 0, is_chunked=True)
    else:
        body = Body(reader, _length(headers))
    return Response(status, headers, body, is_kept)


def _length(headers: Headers) -> int | None:
    lengths = headers.get_all("Content-Length")
    if not lengths:
        return None
    # A number that is not clear may hide where the next response begins.
    if any(each != lengths[0] for each in lengths) or _LENGTH.fullmatch(lengths[0].strip()) is None:
        raise http.client.HTTPException("an invalid length")
    return int(lengths[0])


def read_status(reader: BinaryIO) -> tuple[int, int]:
    """Skip interim responses. Return the minor version and the status of the final one."""
    for _ in range(MOST_INTERIM):
        line = reader.readline(LONGEST_LINE + 1)
        found = _STATUS_LINE.fullmatch(line)
        if found is None:
            raise _cut() if b"HTTP/".startswith(line[:5]) and not line.endswith(b"\n") else _NoStatus()
        status = int(found[2])
        if status >= 200:
            return int(found[1]), status
        if status == http.HTTPStatus.SWITCHING_PROTOCOLS:  # never requested, and no HTTP follows
            break
        skip_headers(reader)
    raise _NoStatus


class _NoStatus(http.client.BadStatusLine):
    def __init__(self) -> None:
        # The line is left out: it may quote the request.
        super().__init__("no final response")


def _cut() -> http.client.RemoteDisconnected:
    return http.client.RemoteDisconnected("the connection was closed in the middle of a response")
