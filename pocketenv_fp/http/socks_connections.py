"""Connections through a SOCKS proxy, with the package PySocks."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from urllib3.exceptions import NewConnectionError

from pocketenv_fp.http.connections import FreshHTTP, FreshHTTPS, HTTPPool, HTTPSPool
from pocketenv_fp.runtime.deadline import remaining
from pocketenv_fp.runtime.optional import needed

__all__ = ["POOLS"]

PORT = 1080


class _SocksHTTP(FreshHTTP):
    _has_proxy = True

    def __init__(self, _socks_options: Mapping[str, Any], *args: Any, **kwargs: Any) -> None:
        # urllib3 passes its options by this name.
        self._options = _socks_options
        super().__init__(*args, **kwargs)

    def _new_conn(self) -> socket.socket:
        limit, host, port = self.timeout, str(self._options["proxy_host"]), self._options["proxy_port"] or PORT
        left = remaining()
        timeout = limit if limit is None or limit < left else max(left, 0.001)
        # PySocks looks names up without a timeout. With socks5h and socks4a, the proxy looks up the target.
        proxy = self._addresses_of(host, port, timeout)[0]
        target = self.host if self._options["rdns"] else self._addresses_of(self.host, self.port, timeout)[0]
        try:
            made: socket.socket = needed("socks", "").create_connection(
                (target, self.port),
                timeout=timeout,
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
        made.settimeout(limit)
        self._has_tunnel = True
        return made


class _SocksHTTPS(_SocksHTTP, FreshHTTPS):
    pass


class _SocksHTTPPool(HTTPPool):
    ConnectionCls = _SocksHTTP


class _SocksHTTPSPool(HTTPSPool):
    ConnectionCls = _SocksHTTPS


POOLS = {"http": _SocksHTTPPool, "https": _SocksHTTPSPool}
"""Pools of connections by scheme."""
