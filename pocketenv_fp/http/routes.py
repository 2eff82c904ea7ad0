"""Connections to one URL, through the proxy of the environment and with one CA bundle."""

from __future__ import annotations

import ssl
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
import requests.adapters
import requests.utils

from pocketenv_fp.http.connections import HTTPPool, HTTPSPool, socket_options
from pocketenv_fp.validation import is_loopback

if TYPE_CHECKING:
    from urllib3 import HTTPConnectionPool

__all__ = ["Route"]

POOL_SIZE = 256


class _Adapter(requests.adapters.HTTPAdapter):
    """requests' connections, to hosts and through proxies, with one TLS context. Loading the CA file takes 13 ms."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(pool_connections=4, pool_maxsize=POOL_SIZE)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool: Any) -> None:  # noqa: FBT001, FBT002  # requests'
        super().init_poolmanager(
            connections, maxsize, block, ssl_context=self._context, socket_options=socket_options(), **pool
        )
        pools: Any = self.poolmanager
        pools.pool_classes_by_scheme = {"http": HTTPPool, "https": HTTPSPool}

    def proxy_manager_for(self, proxy: str, **pool: Any) -> Any:
        if proxy.lower().startswith("socks"):
            # Without PySocks, requests raises InvalidSchema here.
            try:
                socks = super().proxy_manager_for(proxy, ssl_context=self._context, **pool)
            except ValueError as error:  # an unknown version of SOCKS
                raise requests.exceptions.ProxyError from error
            from pocketenv_fp.http.socks_connections import POOLS

            socks.pool_classes_by_scheme = POOLS
            return socks
        manager = super().proxy_manager_for(proxy, ssl_context=self._context, proxy_ssl_context=self._context, **pool)
        manager.pool_classes_by_scheme = {"http": HTTPPool, "https": HTTPSPool}
        return manager

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> tuple[Any, Any]:
        where, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return where, {}

    def line_to(self, url: str) -> tuple[HTTPConnectionPool, str]:
        """Return the connections to ``url``, and the prefix of each request's path."""
        # requests would do this for each request, which takes as long as the rest of a call.
        request = requests.PreparedRequest()
        request.url = f"{url}/"
        proxies = {} if is_loopback(urlsplit(url).hostname or "") else requests.utils.get_environ_proxies(url)
        pool = self.get_connection_with_tls_context(request, verify=True, proxies=proxies)
        return pool, self.request_url(request, proxies).removesuffix("/")


class Route:
    """The connections to one URL, with one CA bundle and one proxy."""

    def __init__(self, url: str, context: ssl.SSLContext) -> None:
        self.used = time.monotonic()
        self._url = url
        self._adapter = _Adapter(context)
        self._line: tuple[HTTPConnectionPool, str] | None = None

    def line(self) -> tuple[HTTPConnectionPool, str]:
        """Return the connection pool, and the prefix of each request's path."""
        self.used = time.monotonic()
        self._line = self._line or self._adapter.line_to(self._url)
        return self._line

    def close(self) -> None:
        """Close the idle connections."""
        self._line = None
        self._adapter.close()
