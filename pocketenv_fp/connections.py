"""Connections as urllib3 keeps them, which are given up before the platform does, and wait no longer than `within` says."""

from __future__ import annotations

import http.client
import io
import math
import socket
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

# urllib3 is slow to import. Who imports this module is about to use it.
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from pocketenv_fp.deadline import remaining, remaining_to_answer

__all__ = ["LONGEST_TIMEOUT", "HTTPPool", "HTTPSPool", "answered_in", "socket_options"]

# The platform drops connections that were idle for 5 s. One that it drops while a create is on its way would leave open
# whether the create arrived, so connections are given up a little earlier.
IDLE_SECONDS = 4.0
# The system counts a socket's milliseconds in 32 bits. Who waits for longer waits without end.
LONGEST_TIMEOUT = 2_000_000.0
# Seconds that matter to nobody.
SOON = 0.01
SMALL = 16 * 1024


_answer_seconds: ContextVar[float] = ContextVar("pocketenv_fp.answer_seconds", default=math.inf)


@contextmanager
def answered_in(seconds: float) -> Generator[None]:
    """Give each answer to what is sent in a block so many seconds, from its request to its last byte."""
    mark = _answer_seconds.set(seconds)
    try:
        yield
    finally:
        _answer_seconds.reset(mark)


class _Punctual(io.RawIOBase):
    """What comes on a connection, waited for no longer than so many seconds in all, however little comes at a time.

    A socket's own limit begins anew with every byte. The end is that of the thread which sent the request: an archive
    may be read on another.
    """

    def __init__(self, sock: socket.socket, raw: io.RawIOBase, seconds: float) -> None:
        self._sock, self._raw, self._limit = sock, raw, sock.gettimeout()
        self._until = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        left = min(self._until - time.monotonic(), LONGEST_TIMEOUT)
        if (
            self._limit is not None and self._limit - left < SOON
        ):  # as at the first look, and most answers need no other
            return cast("int | None", self._raw.readinto(buffer))
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left if self._limit is None else min(self._limit, left))
        try:
            return cast("int | None", self._raw.readinto(buffer))
        finally:
            # The connection may be kept, and what is sent on it next has a limit of its own.
            self._sock.settimeout(self._limit)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        if (seconds := min(remaining_to_answer(), _answer_seconds.get())) < math.inf:
            self.fp = io.BufferedReader(_Punctual(sock, self.fp.detach(), seconds))


class _FreshHTTP(HTTPConnection):
    response_class = _Answer
    _used = 0.0
    _head: bytes | None = None

    def request(self, method: str, url: str, body: Any = None, *args: Any, **kwargs: Any) -> None:
        # What is small goes out in one packet with its head.
        self._head = b"" if isinstance(body, bytes) and 0 < len(body) <= SMALL else None
        super().request(method, url, body, *args, **kwargs)

    def send(self, data: Any) -> None:
        if self._head is not None:
            if not self._head:
                self._head = data
                return
            data, self._head = self._head + data, None
        if (left := remaining()) < math.inf and self.sock is not None:
            if left <= 0:
                raise TimeoutError
            self.sock.settimeout(left if self.timeout is None else min(self.timeout, left))
        super().send(data)

    def getresponse(self) -> Any:
        response = super().getresponse()
        self._used = time.monotonic()
        return response

    @property
    def is_connected(self) -> bool:
        return super().is_connected and time.monotonic() - self._used < IDLE_SECONDS


class _FreshHTTPS(_FreshHTTP, HTTPSConnection):
    """The same: what comes before HTTPConnection in its order of resolution is HTTPSConnection."""


class HTTPPool(HTTPConnectionPool):
    """Connections to one host."""

    ConnectionCls: Any = _FreshHTTP


class HTTPSPool(HTTPSConnectionPool):
    """Connections to one host, over TLS."""

    ConnectionCls: Any = _FreshHTTPS


def socket_options() -> list[tuple[int, int, int]]:
    """Give what the sockets are set to."""
    # A command may run for hours without a byte: keep-alive probes tell a long command from a dead peer.
    usual = cast("Sequence[tuple[int, int, int]]", HTTPConnection.default_socket_options)
    options = [*usual, (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, seconds in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), seconds))
    return options
