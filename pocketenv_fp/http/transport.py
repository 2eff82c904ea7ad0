"""Sending: connection pools with proxies, certificates, retries and the request limit.

A `Transport` never changes after it was made, so that threads share it freely. Transports that differ in time limits and
retries only share a `Route`: the connections to one URL. A route is made for the proxies and the CA bundle that the
environment names; when these variables change, the next call makes another. Only the routes that were used lately are
kept. netrc is never read: requests would put its password in the place of the token. Redirects are not followed,
cookies are not kept, and no proxy stands between this machine and itself.
"""

from __future__ import annotations

import http.client
import logging
import math
import os
import ssl
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast
from urllib.parse import urlsplit

# urllib3 and requests are slow to import. Who imports this module is about to use them.
import certifi
import requests
import requests.adapters
import requests.utils
from urllib3.exceptions import (
    HTTPError,
    InvalidHeader,
    MaxRetryError,
    ProtocolError,
    ReadTimeoutError,
)
from urllib3.util.retry import Retry
from urllib3.util.timeout import Timeout

from pocketenv_fp.config import Settings, is_loopback
from pocketenv_fp.http.connections import HTTPPool, HTTPSPool, socket_options
from pocketenv_fp.http.failures import LARGEST_ANSWER, TROUBLE, AnswerTooLarge, trouble
from pocketenv_fp.http.rate_limit import LONGEST_WAIT, Limiter
from pocketenv_fp.http.responses import LONGEST_TIMEOUT, answered_in
from pocketenv_fp.observing import Done, begin, told
from pocketenv_fp.runtime.deadline import TimeIsOver, exceeded, nap, remaining, remaining_to_answer
from pocketenv_fp.runtime.environment import Variables

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, HTTPConnectionPool

__all__ = ["RETRY_AFTER", "Answer", "Request", "Transport", "pauses", "transport"]

log = logging.getLogger("pocketenv_fp")

POOL_SIZE = 256
MOST_ROUTES = 16
# A route that was not used for so many seconds is closed when another one is made.
UNUSED_SECONDS = 60.0
MOST_TRANSPORTS = 256
MOST_CONTEXTS = 4
RETRY_AFTER = 30.0
PIECE = 64 * 1024


class _Timely(Retry):
    """Repetitions that stop, and pauses that end, when the time of `within` is over."""

    def increment(self, *args: Any, **kwargs: Any) -> Self:
        if remaining() <= 0:
            raise kwargs.get("error") or MaxRetryError(kwargs.get("_pool"), "", None)  # type: ignore[arg-type]  # urllib3 then gives the answer back
        return super().increment(*args, **kwargs)

    def sleep(self, response: BaseHTTPResponse | None = None) -> None:  # noqa: ARG002  # urllib3's signature
        nap(self.get_backoff_time())


class _Left(Timeout):
    """Time limits that are cut to what is left when an attempt begins. Raises TimeIsOver where that is nothing."""

    def clone(self) -> Timeout:
        left = remaining()
        if left <= 0:
            raise TimeIsOver
        left = min(left, LONGEST_TIMEOUT)
        if remaining_to_answer() == math.inf:
            return Timeout(connect=min(left, cast("float", self._connect)), read=self._read)
        return Timeout(total=left, connect=self._connect, read=self._read)


class _Policy(_Timely):
    """What may be sent again: a query after a broken connection or a 502-504, anything after 429 and a refused connection.

    A procedure whose request may have arrived is never repeated, nor is anything after a read time-out.
    """

    limiter: Limiter

    def new(self, **changes: Any) -> _Policy:
        made = super().new(**changes)
        made.limiter = self.limiter
        return made

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:  # noqa: FBT001, FBT002  # urllib3's
        return status_code == 429 or super().is_retry(method, status_code, has_retry_after)

    def increment(self, *args: Any, **kwargs: Any) -> _Policy:
        error, response = kwargs.get("error"), kwargs.get("response")
        if isinstance(error, ReadTimeoutError):
            raise error
        if response is not None and self._seconds(response) > LONGEST_WAIT:
            raise MaxRetryError(kwargs.get("_pool"), "", None)  # type: ignore[arg-type]  # urllib3 then gives the answer back
        return super().increment(*args, **kwargs)

    def sleep(self, response: BaseHTTPResponse | None = None) -> None:
        seconds = 0.0 if response is None else self._seconds(response)
        if response is not None and response.status == 429:
            self.limiter.pause(seconds)
        elif seconds > 0:
            nap(seconds)
        else:
            super().sleep()

    def _seconds(self, response: BaseHTTPResponse) -> float:
        try:
            return self.parse_retry_after(response.headers["Retry-After"])
        except (KeyError, InvalidHeader, ValueError, OverflowError):  # the last two: no such number, no such date
            return RETRY_AFTER if response.status == 429 else 0.0


def pauses(retries: int) -> _Timely:
    """Give what counts ``retries`` repetitions, with ``increment``, and waits between them, with ``sleep``."""
    return _Timely(total=retries, redirect=0, backoff_factor=0.2, backoff_max=5.0, backoff_jitter=0.2)


class Request:
    """What is to be sent, its ``target`` a path below the platform's URL. Its repr shows none of it."""

    __slots__ = ("body", "headers", "target", "verb")

    def __init__(
        self, verb: str, target: str, headers: dict[str, str], body: bytes | Iterator[bytes] | None = None
    ) -> None:
        self.verb = verb
        self.target = target
        self.headers = headers
        self.body = body


class Answer:
    """What came. ``body`` is all of it, or nothing where it is still to be read from ``raw``."""

    __slots__ = ("body", "headers", "raw", "status")

    def __init__(self, raw: BaseHTTPResponse, body: bytes = b"") -> None:
        self.raw = raw
        self.status = raw.status
        self.headers: Mapping[str, str] = raw.headers
        self.body = body

    @property
    def is_good(self) -> bool:
        """Whether the platform did what it was asked for."""
        return 200 <= self.status < 300

    def distrust(self) -> None:
        """Have the connection closed before the next request: this answer was none of the platform's."""
        cast("Any", self.raw)._original_response.has_more = True  # noqa: SLF001  # urllib3 has no public name for it

    def close(self) -> None:
        """Give up what has not been read."""
        self.raw.close()


def _body(response: BaseHTTPResponse) -> bytes:
    if (response.length_remaining or LARGEST_ANSWER) <= PIECE and "Content-Encoding" not in response.headers:
        return response.read()
    has_end = response.chunked or response.length_remaining is not None
    pieces: list[bytes] = []
    size = 0
    for piece in response.stream(PIECE, decode_content=True):
        size += len(piece)
        if size > LARGEST_ANSWER:
            raise AnswerTooLarge
        pieces.append(piece)
    if not pieces and not has_end and 200 <= response.status < 300:
        # Many methods answer with no byte. A connection that broke after the header looks the same.
        raise ProtocolError("no end of the body", http.client.IncompleteRead(b""))
    return b"".join(pieces)


class _Adapter(requests.adapters.HTTPAdapter):
    """requests' connections, to hosts and by proxies, with one TLS context: reading the CA file costs 13 ms each time."""

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
        manager = super().proxy_manager_for(proxy, ssl_context=self._context, proxy_ssl_context=self._context, **pool)
        manager.pool_classes_by_scheme = {"http": HTTPPool, "https": HTTPSPool}
        return manager

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> tuple[Any, Any]:
        where, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return where, {}

    def line_to(self, url: str) -> tuple[HTTPConnectionPool, str]:
        """Return the connections to ``url``, and what they expect before the path of each request."""
        # requests would do this for each request, and the objects that it makes take as long as the rest of a call.
        request = requests.PreparedRequest()
        request.url = f"{url}/"
        proxies = {} if is_loopback(urlsplit(url).hostname or "") else requests.utils.get_environ_proxies(url)
        pool = self.get_connection_with_tls_context(request, verify=True, proxies=proxies)
        return pool, self.request_url(request, proxies).removesuffix("/")


class Route:
    """The connections to one URL, by one CA bundle and one proxy."""

    def __init__(self, url: str, context: ssl.SSLContext) -> None:
        self.used = time.monotonic()
        self._url = url
        self._adapter = _Adapter(context)
        self._line: tuple[HTTPConnectionPool, str] | None = None

    def line(self) -> tuple[HTTPConnectionPool, str]:
        """Return the pool of connections, and what comes before the path of each request."""
        self.used = time.monotonic()
        self._line = self._line or self._adapter.line_to(self._url)
        return self._line

    def close(self) -> None:
        """Close the idle connections."""
        self._line = None
        self._adapter.close()


class Transport:
    """Sends requests to one platform. ``send`` may be called from any thread."""

    def __init__(self, settings: Settings, route: Route) -> None:
        self.limiter = _limiters.setdefault(urlsplit(settings.api_url).netloc, Limiter())
        self.route = route
        self._connect_timeout = min(settings.connect_timeout, LONGEST_TIMEOUT)
        self._policy = _Policy(
            total=settings.retries,
            allowed_methods={"GET"},
            status_forcelist={502, 503, 504},
            other=0,
            redirect=0,
            backoff_factor=0.2,
            backoff_max=5.0,
            backoff_jitter=0.2,
            raise_on_status=False,
        )
        self._policy.limiter = self.limiter

    def send(self, request: Request, read_timeout: float, operation: str) -> Answer:
        """Send ``request`` and read the whole answer. ``read_timeout`` is in seconds for all of it.

        A query is repeated wherever its answer breaks off. Raises `TROUBLE`, for more than `LARGEST_ANSWER` bytes too.
        What is logged, at DEBUG, and told to who watches, is ``operation``, the status and the time.
        """
        return self._watched(self._whole, request, read_timeout, operation)

    def open(self, request: Request, read_timeout: float, operation: str) -> Answer:
        """Send ``request`` and give its answer with the body still to come, for the caller to read and to close.

        Of a refusal the body has come: it is read as `send` reads it, and never repeated. ``read_timeout`` is for each
        part that comes. The request's body may be an iterator: it is sent in chunks as they are made. What it raises
        comes out as it is.
        """
        answer = self._watched(self._head, request, read_timeout, operation)
        if not answer.is_good:
            answer.body = _body(answer.raw)
        return answer

    def _watched(
        self, exchange: Callable[[Request, float], Answer], request: Request, read_timeout: float, operation: str
    ) -> Answer:
        """Exchange in turn with the other requests to this host. Log it, and report it to the watchers."""
        began = time.perf_counter()
        ended = begin("call", lambda: operation)
        with told(ended, began) if ended else nullcontext() as tell:
            try:
                with self.limiter.turn() as held:
                    answer = exchange(request, read_timeout)
                    self.limiter.feed(answer.headers, is_good=answer.is_good)
            except (TimeIsOver, *TROUBLE) as error:
                if tell:
                    met = trouble(error, operation)
                    maybe_sent = met.maybe_sent and not isinstance(error, TimeIsOver)
                    late = exceeded(operation, maybe_sent=maybe_sent)
                    tell(Done(0.0, late or met, requests=int(maybe_sent)))
                raise
            if tell:
                repeated = len(answer.raw.retries.history) if answer.raw.retries else 0
                tell(Done(0.0, status=answer.status, requests=1 + repeated, held=held))
        log.debug("%s: %d, %.1f ms", operation, answer.status, (time.perf_counter() - began) * 1000)
        return answer

    def _head(self, request: Request, read_timeout: float) -> Answer:
        return Answer(self._urlopen(request, min(read_timeout, LONGEST_TIMEOUT), self._policy))

    def _whole(self, request: Request, read_timeout: float) -> Answer:
        # urllib3 is done once the head of an answer is there. What it has left of the repetitions is what there is for
        # the body, so that nothing is sent more often than was configured.
        retries: Retry = self._policy
        limit = None if read_timeout > LONGEST_TIMEOUT else read_timeout
        with answered_in(math.inf if limit is None else limit):
            while True:
                response = self._urlopen(request, limit, retries)
                try:
                    return Answer(response, _body(response))
                except HTTPError as error:
                    response.close()
                    try:
                        retries = cast("Retry", response.retries).increment(request.verb, request.target, error=error)
                    except MaxRetryError:
                        raise error from None
                    retries.sleep()

    def _urlopen(self, request: Request, limit: float | None, retries: Retry) -> BaseHTTPResponse:
        pool, above = self.route.line()
        return pool.urlopen(
            request.verb,
            above + request.target,
            cast("bytes | None", request.body),  # what urllib3 takes as well, and does not say, is an iterator
            request.headers,
            retries,
            redirect=False,
            assert_same_host=False,
            timeout=(Timeout if remaining() == math.inf else _Left)(connect=self._connect_timeout, read=limit),
            chunked="Transfer-Encoding" in request.headers,
            preload_content=False,
            decode_content=False,
        )

    def close(self) -> None:
        """Close the idle connections."""
        self.route.close()


# What `requests.utils` and `_bundle` look up.
_environment = Variables(
    *(f"{scheme}_proxy" for scheme in ("http", "https", "all", "no")),
    *(f"{scheme}_PROXY" for scheme in ("HTTP", "HTTPS", "ALL", "NO")),
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "REQUEST_METHOD",  # of a CGI program, where HTTP_PROXY is a header of the client
)


def _bundle(verify: str | None) -> str:
    return verify or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or certifi.where()


def _context(bundle: str) -> ssl.SSLContext:
    """Return the TLS context for a CA bundle: one takes 0.8 MB and 13 ms, so it is made once for each file."""
    status = Path(bundle).stat()
    key = (bundle, status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
    if key not in _contexts:
        made = (
            ssl.create_default_context(capath=bundle)
            if stat.S_ISDIR(status.st_mode)
            else ssl.create_default_context(cafile=bundle)
        )
        while len(_contexts) >= MOST_CONTEXTS:
            del _contexts[next(iter(_contexts))]
        _contexts[key] = made
    return _contexts[key]


_contexts: dict[tuple[object, ...], ssl.SSLContext] = {}
# One a host, whatever the settings: the platform counts requests by address.
_limiters: dict[str, Limiter] = {}
_routes: dict[tuple[object, ...], Route] = {}
_transports: dict[tuple[object, ...], Transport] = {}
_making = threading.Lock()


def transport(settings: Settings) -> Transport:
    """Return the transport for ``settings``. Raises OSError for a CA bundle that cannot be read."""
    environment = _environment.raw()
    key = (settings.api_url, settings.verify, settings.connect_timeout, settings.retries, environment)
    if made := _transports.get(key):
        return made
    # A fleet begins with hundreds of threads that all need it now: each would read the CA file for itself.
    with _making:
        if made := _transports.get(key):
            return made
        made = Transport(settings, _route(settings, environment))
        while len(_transports) >= MOST_TRANSPORTS:
            del _transports[next(iter(_transports))]
        _transports[key] = made
    return made


def _route(settings: Settings, environment: tuple[object, ...]) -> Route:
    key = (settings.api_url, settings.verify, environment)
    if key not in _routes:
        context = _context(_bundle(settings.verify))
        _forget_unused()
        _routes[key] = Route(settings.api_url, context)
    return _routes[key]


def _forget_unused() -> None:
    # urllib3 closes the connections of a pool when nothing refers to it: after the requests that are on their way.
    by_age = sorted(_routes, key=lambda key: _routes[key].used, reverse=True)
    since = time.monotonic() - UNUSED_SECONDS
    kept = {key: _routes[key] for key in by_age[: MOST_ROUTES - 1] if _routes[key].used >= since}
    for key in [key for key, made in _transports.items() if made.route not in kept.values()]:
        del _transports[key]
    for key in by_age:
        if key not in kept:
            del _routes[key]


def _forget() -> None:
    # A forked child must not write on its parent's connections, nor wait for a lock that a thread of it held.
    global _making  # noqa: PLW0603  # one process, one lock
    _making = threading.Lock()
    _limiters.clear()
    _routes.clear()
    _transports.clear()
    _contexts.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
