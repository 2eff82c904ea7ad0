"""urllib3 connections that are closed before the platform closes them, and that respect the deadline of `within`.

A connection is reused only if its last request was sent completely, and only its response came back.
"""

from __future__ import annotations

import http.client
import math
import socket
import time
from collections.abc import Sequence
from typing import Any, cast

# urllib3 is slow to import. This module is imported only before a request.
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, NewConnectionError
from urllib3.util.wait import wait_for_read

from pocketenv_fp.http.failures import NotSent
from pocketenv_fp.http.lookups import addresses
from pocketenv_fp.http.responses import Response
from pocketenv_fp.redaction import HiddenBytes
from pocketenv_fp.runtime.deadline import TimeIsOver, remaining

__all__ = ["FreshHTTP", "FreshHTTPS", "HTTPPool", "HTTPSPool", "socket_options"]

# The platform closes connections that are idle for 5 s. If it closed one during a create, it would be unknown whether
# the create arrived. So connections are closed a little earlier.
IDLE_SECONDS = 4.0
SMALL = 16 * 1024


class FreshHTTP(HTTPConnection):
    """A connection over HTTP. It is fresh where it was not idle for too long."""

    response_class = Response
    _used = 0.0
    _response: Response | None = None
    # The header of a request. It waits for a small body, so that both are sent in one packet.
    _head: HiddenBytes | None = None
    _has_small_body = False
    _is_connecting = False
    _has_tunnel = False
    # urllib3 does not record a SOCKS proxy.
    _has_proxy = False
    # A byte of the request may have been sent.
    _has_written = False
    # A response came before the request was complete. The server may take the rest for another request.
    _is_answered_early = False
    _is_reusable = False

    # Connecting

    def _new_conn(self) -> socket.socket:
        name, limit = self._dns_host, self.timeout
        until = math.inf if limit is None else time.monotonic() + limit
        hosts = self._addresses_of(name, self.port, limit)
        try:
            for number, host in enumerate(hosts, 1):
                # If an address does not respond, time must remain for the others. All together have the time of one.
                left = until - time.monotonic()
                self.timeout = None if left == math.inf else max(left, 0.001) / (len(hosts) + 1 - number)
                self._dns_host = host
                try:
                    sock = super()._new_conn()
                except (ConnectTimeoutError, NewConnectionError):
                    if number == len(hosts):
                        raise
                else:
                    sock.settimeout(
                        limit if remaining() == math.inf else max(min(remaining(), limit or math.inf), 0.001)
                    )
                    return sock
        finally:
            self._dns_host, self.timeout = name, limit
        raise NewConnectionError(self, "the name has no address")

    def _addresses_of(self, host: str, port: int, limit: float | None) -> list[str]:
        try:
            return addresses(host, port, limit)
        except socket.gaierror as error:
            raise NameResolutionError(host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "the name lookup did not end in time") from error
        except OSError as error:
            raise NewConnectionError(self, "the name lookup did not begin") from error

    def connect(self) -> None:
        self._head, self._has_written, self._has_tunnel, self._is_connecting = None, False, False, True
        has_proxy = self._has_proxy or self.proxy is not None
        try:
            super().connect()
        except (OSError, http.client.HTTPException, HTTPError, ValueError) as error:
            # urllib3 does not report at which point a connection broke. NotSent among the causes records it.
            raise error from NotSent(by_proxy=has_proxy and not self._has_tunnel)
        finally:
            self._is_connecting = False

    def _tunnel(self) -> None:
        super()._tunnel()
        self._has_tunnel = True

    @property
    def has_connected_to_proxy(self) -> bool:
        # urllib3 resets its own flag when http.client closes the connection. Then it blames the proxy for a lost
        # response.
        return self._has_written or super().has_connected_to_proxy

    # Sending

    def request(self, method: str, url: str, body: Any = None, *args: Any, **kwargs: Any) -> None:
        self._has_written = self._is_answered_early = self._is_reusable = False
        self._head = HiddenBytes()
        self._has_small_body = isinstance(body, bytes) and 0 < len(body) <= SMALL
        super().request(method, url, body, *args, **kwargs)
        self._send_head()
        self._is_reusable = not self._is_answered_early

    # urllib3's own looks for a mark that no header has here.
    putheader = http.client.HTTPConnection.putheader

    def endheaders(self, *args: Any, **kwargs: Any) -> None:
        super().endheaders(*args, **kwargs)
        # http.client's frames contain the header as plain bytes, with the token. Send it when these frames are gone.
        if not self._has_small_body:
            self._send_head()

    def send(self, data: Any) -> None:
        if self._head is None:
            self._write(data)
        else:
            self._head = HiddenBytes(self._head + data)

    def _send_head(self) -> None:
        if self._head is not None:
            head, self._head = self._head, None
            self._write(head)

    def _write(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        if (left := remaining()) < math.inf:
            if left <= 0:
                raise TimeoutError if self._has_written else TimeIsOver
            cast("socket.socket", self.sock).settimeout(left if self.timeout is None else min(self.timeout, left))
        if self._has_written and wait_for_read(cast("socket.socket", self.sock), 0.0):
            self._is_answered_early = True
        self._has_written = not self._is_connecting
        super().send(data)

    # Receiving

    def getresponse(self) -> Any:
        response = super().getresponse()
        self._used = time.monotonic()
        self._response = cast("Any", response)._original_response  # noqa: SLF001  # urllib3 has no public name for it
        # Another response may come from a proxy, and the platform's own may still follow.
        is_ours = 200 <= response.status < 300 or response.length_remaining == 0 or _is_json(response)
        self._is_reusable = self._is_reusable and is_ours
        return response

    @property
    def is_idle(self) -> bool:
        """Whether the connection was unused for too long to use it again."""
        return time.monotonic() - self._used >= IDLE_SECONDS

    @property
    def is_connected(self) -> bool:
        is_clean = self._is_reusable and (self._response is None or not self._response.has_more)
        return is_clean and super().is_connected and not self.is_idle


def _is_json(response: Any) -> bool:
    return bool(response.headers.get("Content-Type", "").partition(";")[0].strip().lower() == "application/json")


class FreshHTTPS(FreshHTTP, HTTPSConnection):
    """The same over TLS. In its method resolution order, HTTPSConnection comes before HTTPConnection."""


class HTTPPool(HTTPConnectionPool):
    """Connections to one host. Connections that are idle too long are closed when another one is returned."""

    ConnectionCls: Any = FreshHTTP
    _next_sweep = 0.0

    def _put_conn(self, conn: Any) -> None:
        super()._put_conn(conn)
        if (now := time.monotonic()) >= self._next_sweep:
            self._next_sweep = now + IDLE_SECONDS
            self._sweep()

    def _sweep(self) -> None:
        connections: Any = self.pool
        if connections is None:
            return
        # A pool hands out its newest connection first. After hundreds of threads, the oldest would stay open.
        with connections.mutex:
            for conn in connections.queue:
                if conn is not None and conn.sock is not None and conn.is_idle:
                    conn.close()


class HTTPSPool(HTTPPool, HTTPSConnectionPool):
    """The same over TLS. In its method resolution order, HTTPSConnectionPool comes before HTTPConnectionPool."""

    ConnectionCls: Any = FreshHTTPS


def socket_options() -> list[tuple[int, int, int]]:
    """Return the socket options."""
    # A command may run for hours without output: keep-alive probes detect a dead peer.
    defaults = cast("Sequence[tuple[int, int, int]]", HTTPConnection.default_socket_options)
    options = [*defaults, (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, seconds in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), seconds))
    return options
