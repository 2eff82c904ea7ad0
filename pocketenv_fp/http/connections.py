"""Connections that are closed before the platform closes them, and that respect the deadline of `within`.

urllib3 connects, through proxies and with TLS. Requests and responses are written and read here. A connection is reused
only if its last request was sent completely, and only its response came back.
"""

from __future__ import annotations

import errno
import io
import math
import socket
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

# urllib3 is slow to import. This module is imported only before a request.
from urllib3.util.wait import wait_for_read

from pocketenv_fp.http.responses import Received, Response, limit, read_response
from pocketenv_fp.redaction import HiddenBytes
from pocketenv_fp.runtime.deadline import TimeIsOver, remaining

if TYPE_CHECKING:
    from pocketenv_fp.http.headers import Headers

__all__ = ["Connection"]

# The platform closes connections that are idle for 5 s. If it closed one during a create, it would be unknown whether
# the create arrived. So connections are closed a little earlier.
IDLE_SECONDS = 4.0
# A body up to this size is sent with its header, in one packet.
SMALL = 16 * 1024
# macOS reports a closed connection with the last one.
_CLOSED = frozenset({errno.EPIPE, errno.ECONNRESET, errno.EPROTOTYPE})


class Connection:
    """An open connection. Its repr shows nothing."""

    __slots__ = ("_is_clean", "_reader", "_received", "_sock", "_used")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._received = Received(sock, math.inf)
        self._reader = io.BufferedReader(self._received)
        self._is_clean = False
        self._used = 0.0

    def send(self, head: HiddenBytes, body: bytes | Iterator[bytes] | None, seconds: float) -> None:
        """Send a request. ``seconds`` is the time for each part of it. Raises TimeIsOver if no byte was sent in time.

        A server may respond and close the connection before the request is complete: then its response can be read.
        """
        self._is_clean = False
        is_answered_early = False
        for number, part in enumerate(_parts(head, body)):
            left = remaining()
            if left <= 0:
                raise TimeoutError if number else TimeIsOver
            # After a response in the middle, the server may take the rest for another request.
            is_answered_early = is_answered_early or (number > 0 and wait_for_read(self._sock, 0.0))
            limit(self._sock, min(seconds, left))
            try:
                self._sock.sendall(part)
            except OSError as error:
                if error.errno in _CLOSED:
                    return
                raise
        self._is_clean = not is_answered_early

    def receive(self, seconds: float, read_timeout: float) -> Response:
        """Read the header of the response. ``seconds`` is for all of it with its body, the other for each part."""
        self._received.begin(seconds, read_timeout)
        response = read_response(self._reader)
        # Another response may come from a proxy, and the platform's own may still follow.
        is_ours = 200 <= response.status < 300 or response.body.closed or _is_json(response.headers)
        self._is_clean = self._is_clean and response.is_kept and is_ours
        return response

    def finish(self) -> bool:
        """Return whether the connection may be used again, now that the response was read to its end."""
        self._used = time.monotonic()
        self._received.is_paused = True
        self._is_clean = self._is_clean and not self._reader.peek(1)
        return self._is_clean

    def distrust(self) -> None:
        """Do not use the connection again: what came on it is not the platform's."""
        self._is_clean = False

    @property
    def is_idle(self) -> bool:
        """Whether the connection was unused for too long to use it again."""
        return time.monotonic() - self._used >= IDLE_SECONDS

    @property
    def is_fresh(self) -> bool:
        """Whether the connection may be used: it was used a moment ago, it is open, and no byte came since."""
        return self._is_clean and not self.is_idle and not _pending(self._sock) and not wait_for_read(self._sock, 0.0)

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()


def _parts(head: HiddenBytes, body: bytes | Iterator[bytes] | None) -> Iterable[bytes]:
    if body is None:
        return (head,)
    if not isinstance(body, bytes):
        return _chunks(head, body)
    return (HiddenBytes(head + body),) if len(body) <= SMALL else (head, body)


def _chunks(head: HiddenBytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    for piece in pieces:
        if piece:
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


def _pending(sock: Any) -> int:
    # OpenSSL may keep a part of a TLS record.
    return int(sock.pending()) if hasattr(sock, "pending") else 0


def _is_json(headers: Headers) -> bool:
    return bool(headers.get("Content-Type", "").partition(";")[0].strip().lower() == "application/json")
