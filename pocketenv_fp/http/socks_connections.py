"""Connections through a SOCKS proxy, with the package PySocks."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from urllib3.exceptions import NewConnectionError

from pocketenv_fp.http.sockets import TimedHTTP, TimedHTTPS
from pocketenv_fp.runtime.optional import needed

__all__ = ["SocksHTTP", "SocksHTTPS"]

PORT = 1080


class SocksHTTP(TimedHTTP):
    """A connection over HTTP through a SOCKS proxy."""

    has_socks_proxy = True

    def __init__(self, _socks_options: Mapping[str, Any], *args: Any, **kwargs: Any) -> None:
        # urllib3 passes its options by this name.
        self._options = _socks_options
        super().__init__(*args, **kwargs)

    def _new_conn(self) -> socket.socket:
        host, port = str(self._options["proxy_host"]), self._options["proxy_port"] or PORT
        # PySocks looks names up without a timeout. With socks5h and socks4a, the proxy looks up the target.
        proxy = self.addresses_of(host, port)[0]
        target = self.host if self._options["rdns"] else self.addresses_of(self.host, self.port)[0]
        try:
            made: socket.socket = needed("socks", "").create_connection(
                (target, self.port),
                timeout=self.timeout,
                proxy_type=self._options["socks_version"],
                proxy_addr=proxy,
                proxy_port=port,
                proxy_rdns=self._options["rdns"],
                proxy_username=self._options["username"],
                proxy_password=self._options["password"],
                socket_options=self.socket_options,
            )
        except OSError as error:
            raise NewConnectionError(self, "the SOCKS proxy made no connection") from error
        self._has_tunnel = True
        return made


class SocksHTTPS(SocksHTTP, TimedHTTPS):
    """The same over TLS."""
