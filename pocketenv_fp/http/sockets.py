"""Sockets to a host or a proxy: urllib3's connections, with a timeout for the name lookup too."""

from __future__ import annotations

import http.client
import io
import math
import socket
import sys
import time
from typing import Any

# urllib3 is slow to import. This module is imported only before a request.
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import create_connection

from pocketenv_fp.http.lookups import addresses
from pocketenv_fp.http.responses import Received, limit, read_status
from pocketenv_fp.runtime.deadline import remaining

__all__ = ["TimedHTTP", "TimedHTTPS"]


class _TunnelResponse(http.client.HTTPResponse):
    """The response of a proxy to CONNECT. All of it has the time of one read."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = io.BufferedReader(Received(sock, sock.gettimeout() or math.inf))

    def _read_status(self) -> tuple[str, int, str]:
        return "HTTP/1.1", read_status(self.fp)[1], ""


class TimedHTTP(HTTPConnection):
    """A connection over HTTP whose ``timeout`` includes the name lookup."""

    response_class = _TunnelResponse
    has_socks_proxy = False
    _has_tunnel = False

    @property
    def is_at_proxy(self) -> bool:
        """Whether a failure to connect is one of the proxy."""
        return (self.has_socks_proxy or self.proxy is not None) and not self._has_tunnel

    def _new_conn(self) -> socket.socket:
        seconds = self.timeout
        until = math.inf if seconds is None else time.monotonic() + seconds
        hosts = self.addresses_of(self._dns_host, self.port)
        for number, host in enumerate(hosts, 1):
            # If an address does not respond, time must remain for the others. All together have the time of one.
            left = until - time.monotonic()
            share = None if left == math.inf else max(left, 0.001) / (len(hosts) + 1 - number)
            try:
                sock = create_connection((host, self.port), share, self.source_address, _options())
            except OSError as error:
                if number < len(hosts):
                    continue
                if isinstance(error, TimeoutError):
                    raise ConnectTimeoutError(self, "no connection in time") from error
                raise NewConnectionError(self, "no connection") from error
            # TLS and a tunnel have as much time again, up to the deadline.
            limit(sock, max(min(remaining(), math.inf if seconds is None else seconds), 0.001))
            sys.audit("http.client.connect", self, self.host, self.port)
            return sock
        raise NewConnectionError(self, "the name has no address")

    def addresses_of(self, host: str, port: int) -> list[str]:
        """Look up a name. Raises urllib3's exceptions."""
        try:
            return addresses(host, port, self.timeout)
        except socket.gaierror as error:
            raise NameResolutionError(host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "the name lookup did not end in time") from error
        except OSError as error:
            raise NewConnectionError(self, "the name lookup did not begin") from error

    def _tunnel(self) -> None:
        super()._tunnel()
        self._has_tunnel = True


class TimedHTTPS(TimedHTTP, HTTPSConnection):
    """The same over TLS. In its method resolution order, HTTPSConnection comes before HTTPConnection."""


def _options() -> list[tuple[int, int, int | bytes]]:
    # A command may run for hours without output: keep-alive probes detect a dead peer.
    options: list[tuple[int, int, int | bytes]] = [
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    ]
    for name, seconds in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), seconds))
    return options
