"""Connections through a SOCKS proxy. They need the package PySocks: this module is imported only with it."""

from __future__ import annotations

from typing import Any, cast

from urllib3.contrib.socks import SOCKSConnection

from pocketenv_fp.http.connections import FreshHTTP, FreshHTTPS, HTTPPool, HTTPSPool
from pocketenv_fp.runtime.deadline import remaining

__all__ = ["POOLS"]


class _SocksHTTP(SOCKSConnection, FreshHTTP):
    _has_proxy = True

    def _new_conn(self) -> Any:
        name, limit, options = self._dns_host, self.timeout, self._socks_options
        if limit is not None and remaining() < limit:
            self.timeout = max(remaining(), 0.001)
        try:
            # PySocks looks names up without a timeout. With socks5h and socks4a, the proxy looks up the target.
            host = str(options["proxy_host"])
            proxy = self._addresses_of(host, int(options["proxy_port"] or 1080), limit)[0]
            self._socks_options = {
                **options,
                "proxy_host": proxy,
                "proxy_port": cast("Any", options["proxy_port"] or 1080),
            }
            if not options["rdns"]:
                self._dns_host = self._addresses_of(name, self.port, limit)[0]
            made = super()._new_conn()
        finally:
            self._dns_host, self.timeout, self._socks_options = name, limit, options
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
