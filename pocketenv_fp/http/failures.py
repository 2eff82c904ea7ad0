"""Map the exceptions of urllib3, requests and the standard library to TransportError.

The type of a cause decides, never its message: a message may quote the request.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator

# urllib3 and requests are slow to import. This module is imported only before a request.
import requests
import requests.exceptions as failed
from urllib3.exceptions import (
    ConnectTimeoutError,
    DecodeError,
    HTTPError,
    InvalidChunkLength,
    InvalidHeader,
    LocationValueError,
    NewConnectionError,
    PoolError,
    ProtocolError,
    ProxyError,
    ProxySchemeUnknown,
    ProxySchemeUnsupported,
    SSLError,
)
from urllib3.exceptions import TimeoutError as Urllib3TimeoutError

from pocketenv_fp.errors import TransportError, TransportKind

__all__ = ["LARGEST_ANSWER", "TROUBLE", "AnswerTooLarge", "NotSent", "trouble"]

# A response of the API is kept in memory. The output of a command is one response, so the limit is high. It protects
# from an endless response. Archives are streamed and have no limit here.
LARGEST_ANSWER = 256 * 1024 * 1024


class AnswerTooLarge(HTTPError):
    """A response of the API with more than `LARGEST_ANSWER` bytes, uncompressed."""


class NotSent(Exception):
    """A mark among the causes of an error: no byte of the request was written. It is never raised itself."""

    def __init__(self, *, by_proxy: bool) -> None:
        super().__init__("the request was not sent")
        self.by_proxy = by_proxy


TROUBLE = (requests.RequestException, HTTPError, http.client.HTTPException, OSError, ValueError)
"""All that `Transport.send` raises. The standard library raises ValueError for invalid headers and URLs."""


DROPPED = "the connection broke before the response was complete"
NO_HTTP = "the response is not valid HTTP"

_Causes = tuple[type[BaseException], ...]

# Most specific first.
_TROUBLES: tuple[tuple[_Causes, TransportKind, str, bool], ...] = (
    # requests raises it for a SOCKS proxy without PySocks, and for nothing else here.
    ((failed.InvalidSchema,), "proxy", "a SOCKS proxy needs the package PySocks", False),
    (
        (
            failed.ProxyError,
            failed.InvalidProxyURL,
            ProxyError,
            ProxySchemeUnknown,
            ProxySchemeUnsupported,
        ),
        "proxy",
        "the proxy cannot be used",
        False,
    ),
    ((NewConnectionError, socket.gaierror), "connect", "no connection", False),
    ((failed.ConnectTimeout, ConnectTimeoutError), "connect", "no connection in time", False),
    ((failed.SSLError, SSLError, ssl.SSLError), "tls", "the TLS connection failed", True),
    ((failed.Timeout, Urllib3TimeoutError, TimeoutError), "timeout", "no response in time", True),
    (
        (failed.InvalidURL, failed.MissingSchema, failed.URLRequired, LocationValueError),
        "protocol",
        "the URL cannot be used",
        False,
    ),
    ((AnswerTooLarge,), "protocol", f"the response is larger than {LARGEST_ANSWER >> 20} MiB", True),
    ((failed.ContentDecodingError, DecodeError), "protocol", "the response cannot be decompressed", True),
    ((InvalidChunkLength,), "protocol", NO_HTTP, True),
    ((ConnectionError, http.client.IncompleteRead), "dropped", DROPPED, True),
    ((http.client.HTTPException, failed.InvalidHeader, InvalidHeader), "protocol", NO_HTTP, True),
    (
        (failed.ConnectionError, failed.ChunkedEncodingError, PoolError, ProtocolError, OSError),
        "dropped",
        DROPPED,
        True,
    ),
)


def trouble(error: BaseException, operation: str) -> TransportError:
    """Return the TransportError for an exception of `TROUBLE`."""
    causes = tuple(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return TransportError("tls", f"the certificate is not trusted: {cause.verify_message}", operation)
    system = next((cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror), None)
    kind, reason, maybe_sent = _named(causes)
    if unsent := next((cause for cause in causes if isinstance(cause, NotSent)), None):
        kind, reason = _unsent(kind, reason, by_proxy=unsent.by_proxy)
        maybe_sent = False
    return TransportError(kind, f"{reason}: {system}" if system else reason, operation, maybe_sent)


def _named(causes: tuple[BaseException, ...]) -> tuple[TransportKind, str, bool]:
    for kinds, kind, reason, maybe_sent in _TROUBLES:
        if any(isinstance(cause, kinds) for cause in causes):
            return kind, reason, maybe_sent
    return "protocol", NO_HTTP, True


def _unsent(kind: TransportKind, reason: str, *, by_proxy: bool) -> tuple[TransportKind, str]:
    if by_proxy:
        return "proxy", "the proxy cannot be used"
    # The request was not sent, so the timeout or break belongs to the connection.
    before: dict[TransportKind, tuple[TransportKind, str]] = {
        "timeout": ("connect", "no connection in time"),
        "dropped": ("connect", "no connection"),
    }
    return before.get(kind, (kind, reason))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes. requests and urllib3 store them in three places."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop()
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            waiting += [*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__]
