"""Map the exceptions of urllib3, requests and the standard library to TransportError.

The type of a cause decides, never its text: a text may quote what was sent.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator

# urllib3 and requests are slow to import. Who imports this module is about to use them.
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

# An answer of the API is held in memory. What a command prints comes in one, so there is room for a lot; a server that
# never ends is not waited for. Archives are streamed and have no limit here.
LARGEST_ANSWER = 256 * 1024 * 1024


class AnswerTooLarge(HTTPError):
    """An answer of the API that is more than `LARGEST_ANSWER` bytes, unpacked."""


class NotSent(Exception):
    """Among the causes of an error: it came before a byte of the request was written. Never raised itself."""

    def __init__(self, *, by_proxy: bool) -> None:
        super().__init__("the request was not sent")
        self.by_proxy = by_proxy


TROUBLE = (requests.RequestException, HTTPError, OSError, ValueError)
"""All that `Transport.send` raises. ValueError is what the standard library says to headers and URLs that are not any."""


DROPPED = "the connection broke before the answer was complete"
NO_HTTP = "the answer is not HTTP that can be read"

_Causes = tuple[type[BaseException], ...]

# Most specific first.
_TROUBLES: tuple[tuple[_Causes, TransportKind, str, bool], ...] = (
    (
        # InvalidSchema is requests' for a SOCKS proxy without PySocks.
        (
            failed.ProxyError,
            failed.InvalidProxyURL,
            failed.InvalidSchema,
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
    ((failed.Timeout, Urllib3TimeoutError, TimeoutError), "timeout", "no answer in time", True),
    (
        (failed.InvalidURL, failed.MissingSchema, failed.URLRequired, LocationValueError),
        "protocol",
        "the URL cannot be used",
        False,
    ),
    ((AnswerTooLarge,), "protocol", f"the answer is larger than {LARGEST_ANSWER >> 20} MiB", True),
    ((failed.ContentDecodingError, DecodeError), "protocol", "the answer cannot be unpacked", True),
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
    # No answer was waited for yet.
    before: dict[TransportKind, tuple[TransportKind, str]] = {
        "timeout": ("connect", "no connection in time"),
        "dropped": ("connect", "no connection"),
    }
    return before.get(kind, (kind, reason))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes. requests and urllib3 keep them in three places."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        found = waiting.pop()
        if isinstance(found, BaseException) and id(found) not in seen:
            seen.add(id(found))
            yield found
            waiting += [*found.args, getattr(found, "reason", None), found.__cause__, found.__context__]
