"""Send requests: connection pools with proxies, certificates, retries and the request limit.

A `Transport` is immutable, so threads share it. Transports that differ only in timeouts and retries share a `Route`,
the connections to one URL. A route depends on the proxies and the CA bundle in the environment. When these variables
change, the next call makes a new route. Only recently used routes are kept. netrc is not read, because requests would
replace the token with its password. Redirects are not followed, cookies are not stored, and loopback uses no proxy.
"""

from __future__ import annotations

import email.utils
import http.client
import logging
import math
import os
import ssl
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

# urllib3 and requests are slow to import. This module is imported only before a request.
import certifi
from urllib3 import HTTPResponse
from urllib3.exceptions import ConnectTimeoutError, ProtocolError

from pocketenv_fp.config import Settings
from pocketenv_fp.forking import after_fork
from pocketenv_fp.http.connections import Connection
from pocketenv_fp.http.failures import LARGEST_ANSWER, TROUBLE, AnswerTooLarge, NotSent, trouble
from pocketenv_fp.http.rate_limit import LONGEST_WAIT, Limiter
from pocketenv_fp.http.responses import PIECE, Response
from pocketenv_fp.http.routes import Route
from pocketenv_fp.observing import Done, begin, reporting
from pocketenv_fp.redaction import HiddenBytes
from pocketenv_fp.runtime.backoff import pauses
from pocketenv_fp.runtime.deadline import TimeIsOver, exceeded, longest_wait, nap, remaining, remaining_to_answer
from pocketenv_fp.runtime.environment import Variables

__all__ = ["RETRY_AFTER", "Answer", "Request", "Transport", "transport"]

log = logging.getLogger("pocketenv_fp")

MOST_ROUTES = 16
# A route that was unused for this many seconds is closed when another one is made.
UNUSED_SECONDS = 60.0
MOST_TRANSPORTS = 256
MOST_CONTEXTS = 4
RETRY_AFTER = 30.0
PASSING = frozenset({502, 503, 504})


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
    """A response. ``body`` is complete, or empty if it must still be read. ``requests`` counts how often it was sent."""

    __slots__ = ("_connection", "_is_closed", "_response", "_route", "body", "headers", "requests", "status")

    def __init__(self, response: Response, connection: Connection, route: Route) -> None:
        self._response, self._connection, self._route = response, connection, route
        self.status = response.status
        self.headers = response.headers
        self.body = b""
        self.requests = 1
        self._is_closed = False

    @property
    def is_good(self) -> bool:
        """Whether the status is a success."""
        return 200 <= self.status < 300

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes of the body, or none at its end. Raises `TROUBLE`."""
        return self._response.body.read(size)

    def distrust(self) -> None:
        """Close the connection before the next request: this response did not come from the platform."""
        self._connection.distrust()

    def close(self) -> None:
        """Discard the unread part. The connection of a complete response is kept."""
        if self._is_closed:  # another request may use the connection by now
            return
        self._is_closed = True
        if self._response.body.closed:
            self._route.give_back(self._connection)
        else:
            self._connection.close()


class Transport:
    """Sends requests to one platform. ``send`` may be called from any thread."""

    def __init__(self, settings: Settings, route: Route) -> None:
        self.limiter = _limiters.setdefault(urlsplit(settings.api_url).netloc, Limiter())
        self.route = route
        self._connect_timeout = settings.connect_timeout
        self._retries = settings.retries

    def send(self, request: Request, read_timeout: float, operation: str) -> Answer:
        """Send ``request`` and read the whole answer. ``read_timeout`` is in seconds for all of it.

        A query is retried if its response is incomplete. Raises `TROUBLE`, also for more than `LARGEST_ANSWER` bytes.
        ``operation``, status and duration are logged at DEBUG and reported to watchers.
        """
        return self._watched(request, read_timeout, operation, is_whole=True)

    def open(self, request: Request, read_timeout: float, operation: str) -> Answer:
        """Send ``request`` and return the response with an unread body. The caller reads and closes it.

        The body of an error response is read. ``read_timeout`` is for each read. The request's body may be an iterator:
        its pieces are sent as chunks. Exceptions of the iterator are raised unchanged.
        """
        return self._watched(request, read_timeout, operation, is_whole=False)

    def _watched(self, request: Request, read_timeout: float, operation: str, *, is_whole: bool) -> Answer:
        """Exchange in turn with the other requests to this host. Log it, and report it to the watchers."""
        began = time.perf_counter()
        ended = begin("call", lambda: operation)
        with reporting(ended, began) if ended else nullcontext() as report:
            try:
                with self.limiter.turn() as held:
                    answer = self._repeated(request, read_timeout, is_whole=is_whole)
                    self.limiter.feed(answer.headers, is_good=answer.is_good)
            except (TimeIsOver, *TROUBLE) as error:
                if report:
                    failure = trouble(error, operation)
                    maybe_sent = failure.maybe_sent and not isinstance(error, TimeIsOver)
                    late = exceeded(operation, maybe_sent=maybe_sent)
                    report(Done(0.0, late or failure, requests=int(maybe_sent)))
                raise
            if report:
                report(Done(0.0, status=answer.status, requests=answer.requests, held=held))
        log.debug("%s: %d, %.1f ms", operation, answer.status, (time.perf_counter() - began) * 1000)
        return answer

    def _repeated(self, request: Request, read_timeout: float, *, is_whole: bool) -> Answer:
        """Send a request, and again where that is safe, as often as configured and while there is time.

        These are queries after a broken connection or a 502-504, and any request after a 429 or a refused connection.
        A procedure that may have arrived is never repeated. No request is repeated after a read timeout.
        """
        headers = request.headers
        head = self.route.head(request.verb, request.target, headers)
        left = pauses(self._retries)
        requests = 0
        while True:
            requests += 1
            try:
                answer = self._exchange(head, request.body, read_timeout, is_whole=is_whole)
            except TROUBLE as error:
                pause = next(left, None) if _may_repeat(error, request.verb) and remaining() > 0 else None
                if pause is None:
                    raise
                nap(pause)
                continue
            answer.requests = requests
            if answer.status != 429 and (answer.status not in PASSING or request.verb != "GET"):
                return answer
            seconds = _retry_after(answer)
            is_worth_it = remaining() > 0 and seconds <= min(LONGEST_WAIT, longest_wait())
            pause = next(left, None) if is_worth_it else None
            if pause is None:
                return answer
            if answer.status == 429:
                self.limiter.pause(seconds)
            else:
                nap(seconds or pause)

    def _exchange(
        self, head: HiddenBytes, body: bytes | Iterator[bytes] | None, read_timeout: float, *, is_whole: bool
    ) -> Answer:
        """Send a request once and read its response."""
        connection = self.route.take(self._connect_timeout)
        try:
            connection.send(head, body, read_timeout)
            seconds = min(read_timeout if is_whole else math.inf, remaining_to_answer())
            response = connection.receive(seconds, read_timeout)
            answer = Answer(response, connection, self.route)
            is_read = is_whole or not answer.is_good
            if is_read:
                answer.body = _body(response)
        except BaseException:
            connection.close()
            raise
        if is_read:
            answer.close()
        return answer

    def close(self) -> None:
        """Close the idle connections."""
        self.route.close()


def _body(response: Response) -> bytes:
    """Read a body. One of more than `LARGEST_ANSWER` bytes raises AnswerTooLarge."""
    body = response.body
    is_encoded = "Content-Encoding" in response.headers
    if not is_encoded and body.length is not None and body.length <= PIECE:
        return body.read()
    pieces: list[bytes] = []
    size = 0
    for piece in _decoded(response) if is_encoded else iter(lambda: body.read(PIECE), b""):
        size += len(piece)
        if size > LARGEST_ANSWER:
            raise AnswerTooLarge
        pieces.append(piece)
    if not pieces and not body.has_end and 200 <= response.status < 300:
        # Many methods return zero bytes. A connection that broke after the header looks the same.
        raise http.client.IncompleteRead(b"")
    return b"".join(pieces)


def _decoded(response: Response) -> Iterator[bytes]:
    # None is asked for. A proxy may send one.
    encoding = {"Content-Encoding": response.headers.get("Content-Encoding")}
    return HTTPResponse(cast("Any", response.body), encoding, preload_content=False).stream(PIECE, decode_content=True)


def _may_repeat(error: BaseException, verb: str) -> bool:
    if isinstance(error, ConnectTimeoutError):  # also a refused connection: the request was not sent
        return True
    if isinstance(error, (TimeoutError, ssl.SSLError)) or (
        isinstance(error.__cause__, NotSent) and error.__cause__.by_proxy
    ):
        return False
    return verb == "GET" and isinstance(error, (OSError, http.client.HTTPException, ProtocolError))


def _retry_after(answer: Answer) -> float:
    """Return the seconds that a platform asks to wait, or those to wait where it does not ask."""
    text = answer.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(email.utils.parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return RETRY_AFTER if answer.status == 429 else 0.0


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
    # A route closes its connections when the last reference is gone, so after the running requests.
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
