"""The wire: one connection pool per platform, with its proxies, certificates, retries and request limit.

A transport is built once per platform and never changed afterwards, so that threads share it freely. Proxies and the
CA bundle are read from the environment then, not at every request: that scan costs a fifth of a small request. netrc
is never read: requests would put its password in the place of the token. Redirects are not followed, cookies not
kept, and no proxy stands between this machine and itself.
"""

from __future__ import annotations

import logging
import math
import os
import ssl
import threading
import time
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
    ReadTimeoutError,
)
from urllib3.util.retry import Retry
from urllib3.util.timeout import Timeout

from pocketenv_fp.config import Settings, is_loopback
from pocketenv_fp.connections import LONGEST_TIMEOUT, HTTPPool, HTTPSPool, socket_options
from pocketenv_fp.deadline import TimeIsOver, exceeded, nap, remaining, remaining_to_answer
from pocketenv_fp.limiter import Limiter
from pocketenv_fp.observing import Done, begin, told
from pocketenv_fp.trouble import LARGEST_ANSWER, TROUBLE, AnswerTooLarge, trouble

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

__all__ = ["LONGEST_RETRY_AFTER", "RETRY_AFTER", "Transport", "pauses", "transport"]

log = logging.getLogger("pocketenv_fp")

POOL_SIZE = 256
LONGEST_RETRY_AFTER = 60.0
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
        if response is not None and self._seconds(response) > LONGEST_RETRY_AFTER:
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


class _Whole:
    """A pool whose answers are whole: one that breaks off in its body is repeated as one that breaks off before it.

    urllib3 is done once the head of an answer is there. What it has left of the repetitions is what there is for the
    body, so that nothing is sent more often than was configured.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def urlopen(self, method: str, url: str, retries: Retry, **asked: Any) -> Any:
        while True:
            response = self._pool.urlopen(method=method, url=url, retries=retries, **asked)
            try:
                response.whole = _body(response)
            except HTTPError as error:
                response.close()
                try:
                    retries = response.retries.increment(method, url, error=error, _pool=self._pool)
                except MaxRetryError:
                    raise error from None
                retries.sleep()
            else:
                return response


def _body(response: BaseHTTPResponse) -> bytes:
    pieces: list[bytes] = []
    size = 0
    for piece in response.stream(PIECE, decode_content=True):
        size += len(piece)
        if size > LARGEST_ANSWER:
            raise AnswerTooLarge
        pieces.append(piece)
    return b"".join(pieces)


class _Adapter(requests.adapters.HTTPAdapter):
    """requests' adapter with one TLS context for all its connections: reading the CA file costs 13 ms each time."""

    def __init__(self, context: ssl.SSLContext, retries: Retry) -> None:
        self._context = context
        self._direct: Any = None
        super().__init__(pool_connections=4, pool_maxsize=POOL_SIZE, max_retries=retries)

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

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        # All goes to one platform. Where no proxy is between, that is one pool, and to find it is a tenth of a call.
        if proxies:
            return super().get_connection_with_tls_context(request, verify, proxies, cert)
        direct = self._direct = self._direct or super().get_connection_with_tls_context(request, verify, {}, cert)
        return direct

    def request_url(self, request: Any, proxies: Any) -> str:
        return super().request_url(request, proxies) if proxies else str(request.path_url)

    def close(self) -> None:
        self._direct = None
        super().close()

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> tuple[Any, Any]:
        where, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return where, {}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Leave the connection's certificate settings alone: the context has them."""


class _WholeAdapter(_Adapter):
    """The same for answers that are read at once, as all of the API's are."""

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        return _Whole(super().get_connection_with_tls_context(*args, **kwargs))

    def build_response(self, req: Any, resp: Any) -> requests.Response:
        response = super().build_response(req, resp)
        _keep(response, resp.whole)
        return response


def _keep(response: Any, body: bytes | None = None) -> None:
    # requests' own way of reading has no limit.
    response._content = _body(response.raw) if body is None else body  # noqa: SLF001
    response._content_consumed = True  # noqa: SLF001


class Transport:
    """Connections to one platform. ``send`` may be called from any thread."""

    def __init__(self, settings: Settings) -> None:
        where = urlsplit(settings.api_url)
        self.limiter = _limiters.setdefault(where.netloc, Limiter())
        self._connect_timeout = min(settings.connect_timeout, LONGEST_TIMEOUT)
        policy = _Policy(
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
        policy.limiter = self.limiter
        self._proxies = (
            {} if is_loopback(where.hostname or "") else requests.utils.get_environ_proxies(settings.api_url)
        )
        context = _context(settings.verify)
        self._whole, self._streamed = _WholeAdapter(context, policy), _Adapter(context, policy)

    def send(self, request: requests.PreparedRequest, read_timeout: float | None, operation: str) -> requests.Response:
        """Send ``request`` and read the whole answer. ``read_timeout`` is in seconds, None for no limit.

        A query is repeated wherever its answer breaks off. Raises `TROUBLE`, for more than `LARGEST_ANSWER` bytes too.
        What is logged, at DEBUG, and told to who watches, is ``operation``, the status and the time.
        """
        return self._answer(self._whole, request, read_timeout, operation)

    def open(self, request: requests.PreparedRequest, read_timeout: float | None, operation: str) -> requests.Response:
        """Send ``request`` and give its answer with the body still to come, for the caller to read and to close.

        Of a refusal the body has come: it is read as `send` reads it, and never repeated.
        The request's body may be an iterator: it is sent in chunks as they are made. What it raises comes out as it is.
        """
        response = self._answer(self._streamed, request, read_timeout, operation)
        if not 200 <= response.status_code < 300:
            _keep(response)
        return response

    def _answer(
        self, adapter: _Adapter, request: requests.PreparedRequest, read_timeout: float | None, operation: str
    ) -> requests.Response:
        began = time.perf_counter()
        ended = begin("call", lambda: operation)
        if ended is None:
            response, _ = self._exchange(adapter, request, read_timeout)
        else:
            with told(ended, began) as tell:
                try:
                    response, held = self._exchange(adapter, request, read_timeout)
                except (TimeIsOver, *TROUBLE) as error:
                    met = trouble(error, operation)
                    maybe_sent = met.maybe_sent and not isinstance(error, TimeIsOver)
                    late = exceeded(operation, maybe_sent=maybe_sent)
                    tell(Done(0.0, late or met, requests=int(maybe_sent)))
                    raise
                repeated = len(response.raw.retries.history)
                tell(Done(0.0, status=response.status_code, requests=1 + repeated, held=held))
        log.debug("%s: %d, %.1f ms", operation, response.status_code, (time.perf_counter() - began) * 1000)
        return response

    def _exchange(
        self, adapter: _Adapter, request: requests.PreparedRequest, read_timeout: float | None
    ) -> tuple[requests.Response, float]:
        """Give the answer, and the seconds for which the request limit held the request back."""
        limit = None if read_timeout is None or read_timeout > LONGEST_TIMEOUT else read_timeout
        timeout: Any = (self._connect_timeout, limit)
        if remaining() < math.inf:
            timeout = _Left(connect=self._connect_timeout, read=limit)
        with self.limiter.turn() as held:
            response = adapter.send(request, stream=True, timeout=timeout, proxies=self._proxies)
            self.limiter.feed(response.headers)
        return response, held

    def close(self) -> None:
        """Close the idle connections."""
        self._whole.close()
        self._streamed.close()


def _context(verify: str | None) -> ssl.SSLContext:
    bundle = verify or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or certifi.where()
    if Path(bundle).is_dir():
        return ssl.create_default_context(capath=bundle)
    return ssl.create_default_context(cafile=bundle)


# One a host, whatever the settings: the platform counts requests by address.
_limiters: dict[str, Limiter] = {}
_transports: dict[tuple[object, ...], Transport] = {}
_making = threading.Lock()


def transport(settings: Settings) -> Transport:
    """Give the transport for ``settings``, made on first use. Raises OSError for a CA bundle that cannot be read."""
    key = (settings.api_url, settings.verify, settings.connect_timeout, settings.retries)
    if made := _transports.get(key):
        return made
    # A fleet begins with hundreds of threads that all need it now: each would read the CA file for itself.
    with _making:
        return _transports.get(key) or _transports.setdefault(key, Transport(settings))


def _forget() -> None:
    # A forked child must not write on its parent's connections, nor wait for a lock that a thread of it held.
    global _making  # noqa: PLW0603  # one process, one lock
    _making = threading.Lock()
    _limiters.clear()
    _transports.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
