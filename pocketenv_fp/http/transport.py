"""Send requests: connection pools with proxies, certificates, retries and the request limit.

A `Transport` is immutable, so threads share it. Transports that differ only in timeouts and retries share a `Route`,
the connections to one URL. A route depends on the proxies and the CA bundle in the environment. When these variables
change, the next call makes a new route. Only recently used routes are kept. netrc is not read, because requests would
replace the token with its password. Redirects are not followed, cookies are not stored, and loopback uses no proxy.
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
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlencode, urlsplit

# urllib3 and requests are slow to import. This module is imported only before a request.
import certifi
from urllib3.exceptions import (
    HTTPError,
    InvalidHeader,
    MaxRetryError,
    ProtocolError,
    ReadTimeoutError,
)
from urllib3.util.retry import Retry
from urllib3.util.timeout import Timeout

from pocketenv_fp.config import Settings
from pocketenv_fp.forking import after_fork
from pocketenv_fp.http.failures import LARGEST_ANSWER, TROUBLE, AnswerTooLarge, trouble
from pocketenv_fp.http.rate_limit import LONGEST_WAIT, Limiter
from pocketenv_fp.http.responses import LONGEST_TIMEOUT, answered_in
from pocketenv_fp.http.routes import Route
from pocketenv_fp.observing import Done, begin, reporting
from pocketenv_fp.runtime import backoff
from pocketenv_fp.runtime.deadline import TimeIsOver, exceeded, longest_wait, nap, remaining, remaining_to_answer
from pocketenv_fp.runtime.environment import Variables

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

__all__ = ["RETRY_AFTER", "Answer", "Request", "Transport", "query_string", "transport"]

log = logging.getLogger("pocketenv_fp")

MOST_ROUTES = 16
# A route that was unused for this many seconds is closed when another one is made.
UNUSED_SECONDS = 60.0
MOST_TRANSPORTS = 256
MOST_CONTEXTS = 4
RETRY_AFTER = 30.0
PIECE = 64 * 1024


class _Left(Timeout):
    """A Timeout that is cut to the remaining time at the start of each attempt. Raises TimeIsOver if it is zero."""

    def clone(self) -> Timeout:
        left = remaining()
        if left <= 0:
            raise TimeIsOver
        left = min(left, LONGEST_TIMEOUT)
        if remaining_to_answer() == math.inf:
            return Timeout(connect=min(left, cast("float", self._connect)), read=self._read)
        return Timeout(total=left, connect=self._connect, read=self._read)


class _Lasting(Timeout):
    """A Timeout without a total. It does not count, so that requests share it. urllib3 clones a usual one twice."""

    def clone(self) -> Timeout:
        return self

    def start_connect(self) -> float:
        return 0.0


class _Policy(Retry):
    """The retry rules: queries after a broken connection or a 502-504; any request after a 429 or a refused connection.

    A procedure whose request may have arrived is never repeated. No request is repeated after a read timeout.
    Repetitions stop, and pauses end, when the time of `within` is over.
    """

    limiter: Limiter

    def new(self, **changes: Any) -> _Policy:
        copy = super().new(**changes)
        copy.limiter = self.limiter
        return copy

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:  # noqa: FBT001, FBT002  # urllib3's
        return status_code == 429 or super().is_retry(method, status_code, has_retry_after)

    def increment(self, *args: Any, **kwargs: Any) -> _Policy:
        error, response = kwargs.get("error"), kwargs.get("response")
        if isinstance(error, ReadTimeoutError):
            raise error
        if remaining() <= 0:
            raise error or MaxRetryError(kwargs.get("_pool"), "", None)  # type: ignore[arg-type]  # urllib3 then returns the response
        if response is not None and self._seconds(response) > min(LONGEST_WAIT, longest_wait()):
            raise MaxRetryError(kwargs.get("_pool"), "", None)  # type: ignore[arg-type]  # urllib3 then returns the response
        return super().increment(*args, **kwargs)

    def sleep(self, response: BaseHTTPResponse | None = None) -> None:
        seconds = 0.0 if response is None else self._seconds(response)
        if response is not None and response.status == 429:
            self.limiter.pause(seconds)
        else:
            nap(seconds or self.get_backoff_time())

    def _seconds(self, response: BaseHTTPResponse) -> float:
        try:
            return self.parse_retry_after(response.headers["Retry-After"])
        except (KeyError, InvalidHeader, ValueError, OverflowError):  # the last two: an invalid number or date
            return RETRY_AFTER if response.status == 429 else 0.0


class Request:
    """A request. ``target`` is a path below the platform's URL. Its repr shows nothing."""

    __slots__ = ("body", "headers", "target", "verb")

    def __init__(
        self, verb: str, target: str, headers: dict[str, str], body: bytes | Iterator[bytes] | None = None
    ) -> None:
        self.verb = verb
        self.target = target
        self.headers = headers
        self.body = body


class Answer:
    """A response. ``body`` is complete, or empty if it must still be read from ``raw``."""

    __slots__ = ("body", "headers", "raw", "status")

    def __init__(self, raw: BaseHTTPResponse, body: bytes = b"") -> None:
        self.raw = raw
        self.status = raw.status
        self.headers: Mapping[str, str] = raw.headers
        self.body = body

    @property
    def is_good(self) -> bool:
        """Whether the status is a success."""
        return 200 <= self.status < 300

    def distrust(self) -> None:
        """Close the connection before the next request: this response did not come from the platform."""
        cast("Any", self.raw)._original_response.has_more = True  # noqa: SLF001  # urllib3 has no public name for it

    def close(self) -> None:
        """Discard the unread part."""
        self.raw.close()


def query_string(params: Mapping[str, object]) -> str:
    """Return the parameters as the query of a URL."""
    return urlencode(params, quote_via=quote)


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
        # Many methods return zero bytes. A connection that broke after the header looks the same.
        raise ProtocolError("no end of the body", http.client.IncompleteRead(b""))
    return b"".join(pieces)


class Transport:
    """Sends requests to one platform. ``send`` may be called from any thread."""

    def __init__(self, settings: Settings, route: Route) -> None:
        self.limiter = _limiters.setdefault(urlsplit(settings.api_url).netloc, Limiter())
        self.route = route
        self._connect_timeout = min(settings.connect_timeout, LONGEST_TIMEOUT)
        # The last one. Most requests have the same.
        self._lasting = _Lasting(connect=self._connect_timeout, read=settings.read_timeout)
        self._policy = _Policy(
            total=settings.retries,
            allowed_methods={"GET"},
            status_forcelist={502, 503, 504},
            other=0,
            redirect=0,
            backoff_factor=backoff.FACTOR,
            backoff_max=backoff.LONGEST,
            backoff_jitter=backoff.FACTOR,
            raise_on_status=False,
        )
        self._policy.limiter = self.limiter

    def send(self, request: Request, read_timeout: float, operation: str) -> Answer:
        """Send ``request`` and read the whole answer. ``read_timeout`` is in seconds for all of it.

        A query is retried if its response is incomplete. Raises `TROUBLE`, also for more than `LARGEST_ANSWER` bytes.
        ``operation``, status and duration are logged at DEBUG and reported to watchers.
        """
        return self._watched(self._whole, request, read_timeout, operation)

    def open(self, request: Request, read_timeout: float, operation: str) -> Answer:
        """Send ``request`` and return the response with an unread body. The caller reads and closes it.

        Error responses are read in full and never retried. ``read_timeout`` is for each read. The request's body may be
        an iterator: its pieces are sent as chunks. Exceptions of the iterator are raised unchanged.
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
        with reporting(ended, began) if ended else nullcontext() as report:
            try:
                with self.limiter.turn() as held:
                    answer = exchange(request, read_timeout)
                    self.limiter.feed(answer.headers, is_good=answer.is_good)
            except (TimeIsOver, *TROUBLE) as error:
                if report:
                    failure = trouble(error, operation)
                    maybe_sent = failure.maybe_sent and not isinstance(error, TimeIsOver)
                    late = exceeded(operation, maybe_sent=maybe_sent)
                    report(Done(0.0, late or failure, requests=int(maybe_sent)))
                raise
            if report:
                repeated = len(answer.raw.retries.history) if answer.raw.retries else 0
                report(Done(0.0, status=answer.status, requests=1 + repeated, held=held))
        log.debug("%s: %d, %.1f ms", operation, answer.status, (time.perf_counter() - began) * 1000)
        return answer

    def _head(self, request: Request, read_timeout: float) -> Answer:
        return Answer(self._urlopen(request, min(read_timeout, LONGEST_TIMEOUT), self._policy))

    def _whole(self, request: Request, read_timeout: float) -> Answer:
        # urllib3 counts retries only until the response's header. The retries that are left are used for the body, so
        # that the request is not sent more often than configured.
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
            cast("bytes | None", request.body),  # urllib3 also accepts an iterator, against its types
            request.headers,
            retries,
            redirect=False,
            assert_same_host=False,
            timeout=self._timeout(limit),
            chunked="Transfer-Encoding" in request.headers,
            preload_content=False,
            decode_content=False,
        )

    def _timeout(self, limit: float | None) -> Timeout:
        if remaining() < math.inf:
            return _Left(connect=self._connect_timeout, read=limit)
        if (lasting := self._lasting).read_timeout != limit:
            lasting = self._lasting = _Lasting(connect=self._connect_timeout, read=limit)
        return lasting

    def close(self) -> None:
        """Close the idle connections."""
        self.route.close()


# The variables that `requests.utils` and `_bundle` read.
_environment = Variables(
    *(f"{scheme}_proxy" for scheme in ("http", "https", "all", "no")),
    *(f"{scheme}_PROXY" for scheme in ("HTTP", "HTTPS", "ALL", "NO")),
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "REQUEST_METHOD",  # set in a CGI program: there HTTP_PROXY comes from the client
)


def _bundle(verify: str | None) -> str:
    return verify or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or certifi.where()


def _context(bundle: str) -> ssl.SSLContext:
    """Return the TLS context for a CA bundle. It is cached: one takes 0.8 MB and 13 ms."""
    status = Path(bundle).stat()
    key = (bundle, status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
    if key not in _contexts:
        context = (
            ssl.create_default_context(capath=bundle)
            if stat.S_ISDIR(status.st_mode)
            else ssl.create_default_context(cafile=bundle)
        )
        while len(_contexts) >= MOST_CONTEXTS:
            del _contexts[next(iter(_contexts))]
        _contexts[key] = context
    return _contexts[key]


def tls_context(settings: Settings) -> ssl.SSLContext:
    """Return the TLS context of requests with these settings. Raises OSError for a CA bundle that cannot be read."""
    with _making:
        return _context(_bundle(settings.verify))


_contexts: dict[tuple[object, ...], ssl.SSLContext] = {}
# One for each host, for all settings: the platform counts requests by address.
_limiters: dict[str, Limiter] = {}
_routes: dict[tuple[object, ...], Route] = {}
_transports: dict[tuple[object, ...], Transport] = {}
_making = threading.Lock()


def transport(settings: Settings) -> Transport:
    """Return the transport for ``settings``. Raises OSError for a CA bundle that cannot be read."""
    environment = _environment.raw()
    key = (settings.api_url, settings.verify, settings.connect_timeout, settings.retries, environment)
    if existing := _transports.get(key):
        return existing
    # Many threads may need it at once. Without the lock, each would read the CA file.
    with _making:
        if existing := _transports.get(key):
            return existing
        created = Transport(settings, _route(settings, environment))
        while len(_transports) >= MOST_TRANSPORTS:
            del _transports[next(iter(_transports))]
        _transports[key] = created
    return created


def _route(settings: Settings, environment: tuple[object, ...]) -> Route:
    key = (settings.api_url, settings.verify, environment)
    if key not in _routes:
        context = _context(_bundle(settings.verify))
        _forget_unused()
        _routes[key] = Route(settings.api_url, context)
    return _routes[key]


def _forget_unused() -> None:
    # urllib3 closes a pool's connections when the last reference is gone, so after the running requests.
    by_age = sorted(_routes, key=lambda key: _routes[key].used, reverse=True)
    since = time.monotonic() - UNUSED_SECONDS
    kept = {key: _routes[key] for key in by_age[: MOST_ROUTES - 1] if _routes[key].used >= since}
    for key in [key for key, made in _transports.items() if made.route not in kept.values()]:
        del _transports[key]
    for key in by_age:
        if key not in kept:
            del _routes[key]


def _forget() -> None:
    # A forked child must not use its parent's connections. A thread of the parent may hold the lock.
    global _making  # noqa: PLW0603  # one process, one lock
    _making = threading.Lock()
    _limiters.clear()
    _routes.clear()
    _transports.clear()
    _contexts.clear()


after_fork(_forget)
