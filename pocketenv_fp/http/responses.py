"""Read HTTP responses strictly: an incomplete response is an error, and extra bytes are not the next response.

http.client treats the end of the stream as the end of the header, skips interim responses only for status 100, and
drops bytes after a body silently.
"""

from __future__ import annotations

import http.client
import io
import math
import socket
import time
from contextvars import ContextVar
from typing import Any, cast

from pocketenv_fp.http.headers import LONGEST_LINE, MOST_LINES, read_headers
from pocketenv_fp.runtime.deadline import remaining_to_answer

__all__ = ["LONGEST_TIMEOUT", "Response", "answered_in"]

# The operating system counts a socket's timeout in 32 bits of milliseconds. Longer timeouts count as infinite.
LONGEST_TIMEOUT = 2_000_000.0
# A negligible difference in seconds.
SOON = 0.01
# A platform may send an interim response every few seconds for hours, but not without end.
MOST_INTERIM = 10_000
NO_BODY = frozenset({http.HTTPStatus.NO_CONTENT, http.HTTPStatus.NOT_MODIFIED})

_answer_seconds: ContextVar[float] = ContextVar("pocketenv_fp.answer_seconds", default=math.inf)


class answered_in:  # noqa: N801  # used as a function; a generator would take longer, and each request has one
    """Limit each response in a block to ``seconds``, from its request to its last byte."""

    __slots__ = ("_mark", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        self._mark = _answer_seconds.set(self._seconds)

    def __exit__(self, *_: object) -> None:
        _answer_seconds.reset(self._mark)


class _Bytes(io.RawIOBase):
    """Socket reader with a total timeout.

    A socket's own timeout starts again with every byte. The limit is set by the thread that sends the request: another
    thread may read an archive.
    """

    def __init__(self, sock: socket.socket, raw: io.RawIOBase, seconds: float) -> None:
        self._sock, self._raw, self._limit = sock, raw, sock.gettimeout()
        self._until = time.monotonic() + seconds
        self.is_ended = self.has_closed = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        if self.is_ended:
            return None
        left = self._until - time.monotonic()
        # True for the first read. Most responses need only one.
        if left > LONGEST_TIMEOUT or (self._limit is not None and self._limit - left < SOON):
            size = cast("int | None", self._raw.readinto(buffer))
        else:
            size = self._read_in(left, buffer)
        self.has_closed = size == 0
        return size

    def _read_in(self, left: float, buffer: Any) -> int | None:
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left if self._limit is None else min(self._limit, left))
        try:
            return cast("int | None", self._raw.readinto(buffer))
        finally:
            # The connection may be kept. The next request on it has its own limit.
            self._sock.settimeout(self._limit)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Buffer(io.BufferedReader):
    def has_more(self) -> bool:
        """Return whether unread bytes have arrived, without waiting. Nothing can be read afterwards."""
        cast("_Bytes", self.raw).is_ended = True
        return bool(self.peek(1))


class _Lines:
    """Reads a chunked body. A line between chunks without a newline means that the connection broke."""

    def __init__(self, buffer: _Buffer) -> None:
        self._buffer = buffer
        self.read, self.readinto, self.close = buffer.read, buffer.readinto, buffer.close
        self.has_more, self.flush, self.peek = buffer.has_more, buffer.flush, buffer.peek

    @property
    def closed(self) -> bool:
        return self._buffer.closed

    def readline(self, size: int = -1, /) -> bytes:
        line = self._buffer.readline(size)
        if line.endswith(b"\n") or len(line) == size:
            return line
        raise _cut()


def _cut() -> http.client.RemoteDisconnected:
    return http.client.RemoteDisconnected("the connection was closed in the middle of a response")


def _length(text: str) -> int | None:
    try:
        length = int(text)
    except ValueError:
        return None
    return None if length < 0 else length


class Response(http.client.HTTPResponse):
    """A response of http.client. ``has_more`` is True when bytes came after its end."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        seconds = min(remaining_to_answer(), _answer_seconds.get())
        self._bytes = _Bytes(sock, self.fp.detach(), seconds)
        self.fp = _Buffer(self._bytes)
        self.has_more = False
        # A response to HEAD has the header of one with a body.
        self._is_of_head = (kwargs.get("method") or "GET") == "HEAD"

    def begin(self) -> None:
        if cast("Any", self.headers) is not None:
            return
        version, self.status, reason = self._read_status()
        self.code, self.reason = self.status, reason.strip()
        if not version.startswith(("HTTP/1.", "HTTP/0.9")):
            raise http.client.UnknownProtocol(version)
        self.version = 10 if version in {"HTTP/1.0", "HTTP/0.9"} else 11
        self.headers = self.msg = read_headers(self.fp)
        if self._bytes.has_closed:  # a complete header ends with an empty line
            raise _cut()
        self._frame()

    def _frame(self) -> None:
        """Find out where the body ends."""
        self.chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
        self.will_close = self._check_close()  # type: ignore[attr-defined]  # http.client's; typeshed does not list it
        self.length = None if self.chunked else _length(self.headers.get("content-length", ""))
        if self.status in NO_BODY or self._is_of_head:
            self.length = 0
        if self.chunked:
            self.chunk_left = None
            self.fp = cast("Any", _Lines(cast("_Buffer", self.fp)))
        elif self.length is None:
            # The body ends where the connection does.
            self.will_close = True

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(MOST_INTERIM):
            read: tuple[str, int, str] = cast("tuple[str, int, str]", super()._read_status())  # type: ignore[misc]  # http.client's; typeshed does not list it
            status = read[1]
            if not 100 <= status < 200:
                return read
            if status == http.HTTPStatus.SWITCHING_PROTOCOLS:  # never requested, and no HTTP follows
                break
            self._skip_header()
        raise http.client.BadStatusLine("no final response")

    def _skip_header(self) -> None:
        for _ in range(MOST_LINES + 1):
            line = self.fp.readline(LONGEST_LINE + 1)
            if len(line) > LONGEST_LINE:
                raise http.client.LineTooLong("header line")
            if line in {b"\r\n", b"\n"}:
                return
        raise http.client.HTTPException("too many headers")

    def _close_conn(self) -> None:
        reader: Any = self.fp
        self.has_more = self.has_more or (not reader.closed and reader.has_more())
        super()._close_conn()  # type: ignore[misc]  # http.client's; typeshed does not list it
