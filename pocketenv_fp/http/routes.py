"""Connections to one URL, through the proxy of the environment and with one CA bundle."""

from __future__ import annotations

import http.client
import re
import ssl
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests.adapters
import requests.exceptions
import requests.utils
from urllib3 import HTTPSConnectionPool, PoolManager
from urllib3.exceptions import HTTPError
from urllib3.util import parse_url

from pocketenv_fp.http.connections import Connection
from pocketenv_fp.http.failures import NotSent
from pocketenv_fp.http.responses import LONGEST_TIMEOUT
from pocketenv_fp.http.sockets import TimedHTTP, TimedHTTPS
from pocketenv_fp.redaction import HiddenBytes, HiddenText
from pocketenv_fp.runtime.deadline import TimeIsOver, remaining
from pocketenv_fp.validation import is_loopback

__all__ = ["Route"]

MOST_IDLE = 256
_UNSENDABLE = re.compile(r"[^!-~]")
_PORTS = {"http": 80, "https": 443}


class _Way(NamedTuple):
    """How requests travel. ``prefix`` begins each target, and ``fields`` each header."""

    pool: Any
    has_tunnel: bool
    prefix: str
    fields: HiddenText


class Route:
    """The connections to one URL, with one CA bundle and one proxy."""

    def __init__(self, url: str, context: ssl.SSLContext) -> None:
        self.used = time.monotonic()
        self._url = url
        self._context = context
        self._way: _Way | None = None
        self._making = threading.Lock()
        # The connection that was used last is taken first. A deque needs no lock.
        self._idle: deque[Connection] = deque()
        # A request that runs may be the last that uses a route.
        weakref.finalize(self, _close_all, self._idle)

    def head(self, verb: str, target: str, headers: Mapping[str, str]) -> HiddenBytes:
        """Return the header of a request. Raises ValueError for a character that would end a line."""
        self.used = time.monotonic()
        way = self._way or self._made_way()
        head = HiddenText(
            f"{verb} {way.prefix}{target} HTTP/1.1\r\n{way.fields}"
            + "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
            + "\r\n"
        )
        lines = len(headers) + 2 + way.fields.count("\n")
        if not head.count("\n") == head.count("\r") == lines or "\0" in head or _UNSENDABLE.search(target):
            raise ValueError("a header has a character that cannot be sent") from NotSent(by_proxy=False)
        return head.encode("latin-1")

    def take(self, seconds: float) -> Connection:
        """Return a connection that was kept, or make one within ``seconds``."""
        while self._idle:
            try:
                kept = self._idle.pop()
            except IndexError:  # another thread took it
                break
            if kept.is_fresh:
                return kept
            kept.close()
        return self._connected(seconds)

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next request, if it may be used again. Close those that are idle for too long."""
        if not connection.finish() or len(self._idle) >= MOST_IDLE:
            connection.close()
            return
        try:
            # After hundreds of threads, the oldest would stay open.
            while self._idle and self._idle[0].is_idle:
                self._idle.popleft().close()
        except IndexError:  # another thread took it
            pass
        self._idle.append(connection)

    def _connected(self, seconds: float) -> Connection:
        left = remaining()
        if left <= 0:
            raise TimeIsOver
        way = self._way or self._made_way()
        seconds = min(seconds, left)
        made = way.pool._new_conn()  # noqa: SLF001  # urllib3 has no public name for it
        made.timeout = None if seconds > LONGEST_TIMEOUT else seconds
        try:
            if way.has_tunnel:
                way.pool._prepare_proxy(made)  # noqa: SLF001  # nor for this
            else:
                made.connect()
        except BaseException as error:
            made.close()
            if isinstance(error, (OSError, http.client.HTTPException, HTTPError, ValueError)):
                # No byte of the request was sent. NotSent among the causes records it.
                raise error from NotSent(by_proxy=made.is_at_proxy)
            raise
        return Connection(made.sock)

    def _made_way(self) -> _Way:
        # Many threads may need it at once.
        with self._making:
            self._way = self._way or _way(self._url, self._context)
            return self._way

    def close(self) -> None:
        """Close the idle connections."""
        self._way = None
        _close_all(self._idle)


def _close_all(idle: deque[Connection]) -> None:
    with suppress(IndexError):  # another thread may take the last one
        while idle:
            idle.pop().close()


def _way(url: str, context: ssl.SSLContext) -> _Way:
    parts = urlsplit(url)
    proxies = {} if is_loopback(parts.hostname or "") else requests.utils.get_environ_proxies(url)
    proxy = requests.utils.select_proxy(url, proxies)
    manager = _proxied(proxy, context) if proxy else PoolManager(ssl_context=context)
    pool: Any = manager.connection_from_host(parts.hostname, parts.port, parts.scheme)
    is_secure = isinstance(pool, HTTPSConnectionPool)
    if proxy and pool.proxy is None:  # urllib3 does not record a SOCKS proxy
        from pocketenv_fp.http.socks_connections import SocksHTTP, SocksHTTPS

        pool.ConnectionCls = SocksHTTPS if is_secure else SocksHTTP
    else:
        pool.ConnectionCls = TimedHTTPS if is_secure else TimedHTTP
    is_forwarded = pool.proxy is not None and parts.scheme == "http"
    target = parse_url(url)
    host = f"{target.host}" if target.port in {None, _PORTS[parts.scheme]} else f"{target.host}:{target.port}"
    fields: dict[str, str] = {"Host": host, **(pool.proxy_headers if is_forwarded else {})}
    return _Way(
        pool,
        has_tunnel=pool.proxy is not None and not is_forwarded,
        prefix=(f"http://{host}" if is_forwarded else "") + (target.path or "").rstrip("/"),
        fields=HiddenText("".join([f"{name}: {value}\r\n" for name, value in fields.items()])),
    )


def _proxied(proxy: str, context: ssl.SSLContext) -> Any:
    proxy = requests.utils.prepend_scheme_if_needed(proxy, "http")
    if not parse_url(proxy).host:
        raise requests.exceptions.InvalidProxyURL
    adapter = requests.adapters.HTTPAdapter()
    if not proxy.lower().startswith("socks"):
        return adapter.proxy_manager_for(proxy, ssl_context=context, proxy_ssl_context=context)
    # Without PySocks, requests raises InvalidSchema here.
    try:
        return adapter.proxy_manager_for(proxy, ssl_context=context)
    except ValueError as error:  # an unknown version of SOCKS
        raise requests.exceptions.ProxyError from error
