"""Write the request of a call, and exchange it for the platform's answer.

`pocketenv_fp.http.xrpc.send` imports this module at the first request, because it imports urllib3. A function returns
its value or the error: the one Result is made in `send`.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from pocketenv_fp.config import Settings
from pocketenv_fp.errors import InvalidInput, NotLoggedIn, PocketenvError, TransportError
from pocketenv_fp.http.failures import TROUBLE, trouble
from pocketenv_fp.http.tokens import request_headers
from pocketenv_fp.http.transport import Answer, Request, Transport, transport
from pocketenv_fp.http.xrpc import NAMESPACE, Call
from pocketenv_fp.redaction import HiddenBytes, HiddenText
from pocketenv_fp.runtime.deadline import TimeIsOver, exceeded, over
from pocketenv_fp.validation import not_unicode

__all__ = ["connected", "delivered", "request_of"]

# In JSON, an even number of backslashes before it does not escape it.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_NO_FILES = frozenset({errno.EMFILE, errno.ENFILE})


def request_of(call: Call[Any], login: Settings) -> Request | PocketenvError:
    """Return what is sent for ``call``, or the error of a call that is refused before it is sent."""
    if call.login and login.token is None:
        return NotLoggedIn()
    if late := exceeded(call.nsid):
        return late
    try:
        request = _written(call, login.token)
    except UnicodeEncodeError:
        return not_unicode("text")
    # The platform's database cannot store a NUL, and would answer with a 500.
    body = request.body
    if "%00" in request.target or (isinstance(body, bytes) and rb"\u0000" in body and _NUL.search(body)):
        return InvalidInput("text", "holds a NUL character")
    return request


def _written(call: Call[Any], token: str | None) -> Request:
    target = f"/xrpc/{NAMESPACE}{call.nsid}"
    fields = [f"{name}={quote(str(value), safe='')}" for name, value in call.params.items() if value is not None]
    if fields:
        target += f"?{'&'.join(fields)}"
    headers = {"Accept": "application/json", **request_headers(token)}
    if call.body is not None:
        # The environment of a command may contain a secret.
        body = HiddenBytes(msgspec.json.encode(_present(call.body), enc_hook=_plain))
        headers["Content-Type"] = "application/json"
        headers["Content-Length"] = str(len(body))
        return Request("POST", target, headers, body)
    if not call.is_query:
        headers["Content-Length"] = "0"
    return Request("GET" if call.is_query else "POST", target, headers)


def _plain(value: object) -> str:
    if isinstance(value, HiddenText):
        return str(value)
    raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")


def _present(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


def delivered(
    request: Request, known: Settings, read_timeout: float, operation: str, *, whole: bool = True
) -> Answer | PocketenvError:
    """Send a request and return its answer, whatever its status. ``whole`` reads the body too.

    Errors: those of `connected`; TransportError where no answer came; DeadlineExceeded.
    """
    line = connected(known, operation)
    if isinstance(line, PocketenvError):
        return line
    try:
        return (line.send if whole else line.open)(request, read_timeout, operation)
    except TimeIsOver:
        return over(operation)
    except TROUBLE as error:
        met = trouble(error, operation)
        return exceeded(operation, maybe_sent=met.maybe_sent) or met


def connected(known: Settings, operation: str = "") -> Transport | PocketenvError:
    """Return the transport for these settings.

    Errors: InvalidInput for a CA bundle that cannot be read; TransportError if the process has too many open files.
    """
    try:
        return transport(known)
    except OSError as error:
        if error.errno in _NO_FILES:
            return TransportError("connect", f"no connection: {error.strerror}", operation)
        return InvalidInput("verify", f"the CA bundle cannot be read: {error.strerror or 'it contains no certificate'}")
    except ValueError:
        return InvalidInput("verify", "is not a path")
