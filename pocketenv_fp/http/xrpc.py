"""Requests as values, and the one function that sends them.

Every function of the library builds a `Call`: method, parameters, body and decoder. `send` adds the token, follows the
platform's rules for bodies, sends, decodes, and returns every error as a Failure. Because a Call is only a description,
a pipeline can be explained before it runs.

>>> from pocketenv_fp.http.xrpc import procedure
>>> procedure("sandbox.exec", bytes.decode, {"id": "3f"}, {"command": "ls"})
POST io.pocketenv.sandbox.exec(id) with body (command)
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Generator, Hashable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import msgspec
from returns.result import Failure, Result, Success

from pocketenv_fp.config import Settings, settings
from pocketenv_fp.errors import (
    ApiError,
    DecodeError,
    InvalidInput,
    MalformedToken,
    NotLoggedIn,
    PocketenvError,
    RateLimited,
    ServerError,
    TransportError,
    api_error_kind,
)
from pocketenv_fp.http.tokens import is_token, request_headers
from pocketenv_fp.plain_types import UNDECODABLE, built
from pocketenv_fp.redaction import HIDDEN, HiddenBytes, HiddenText, printable, without_passwords
from pocketenv_fp.runtime.deadline import TimeIsOver, exceeded, over
from pocketenv_fp.validation import not_unicode

if TYPE_CHECKING:
    from pocketenv_fp.http.transport import Answer, Request, Transport

__all__ = [
    "Call",
    "Door",
    "answered",
    "answered_by",
    "connected",
    "decode",
    "delivered",
    "has_door",
    "nothing",
    "procedure",
    "query",
    "refusal",
    "send",
]

T = TypeVar("T")

NAMESPACE = "io.pocketenv."
MESSAGE_LENGTH = 500
# In JSON, an even number of backslashes before it does not escape it. Python compiles it on first use.
_NUL = rb"(?<!\\)(?:\\\\)*\\u0000"
_UNRESERVED = re.compile(r"[A-Za-z0-9_.~-]*")


class Call(msgspec.Struct, Generic[T], frozen=True):
    """The description of one request. Its repr shows the names of parameters and fields, never their values.

    A ``body`` of None is no body at all: the platform refuses one where it expects none, and misses one where it does.
    Values of None, in the parameters and the body, are left out. A query may
    shorten the configured read timeout with ``read_timeout``, in seconds. A procedure has ``work_seconds`` in addition
    to it, up to ``math.inf`` for no limit. ``login`` is
    False for what the platform answers without a token, too.
    """

    nsid: str
    decode: Callable[[bytes], T]
    params: Mapping[str, object]
    body: Mapping[str, object] | None = None
    is_query: bool = False
    login: bool = True
    read_timeout: float | None = None
    work_seconds: float = 0.0

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # msgspec's own method would show the values.
        return [("nsid", self.nsid), ("params", list(self.params)), ("body", list(self.body or ()))]

    def __repr__(self) -> str:
        body = "" if self.body is None else f" with body ({', '.join(self.body)})"
        return f"{'GET' if self.is_query else 'POST'} {NAMESPACE}{self.nsid}({', '.join(self.params)}){body}"


def query(
    nsid: str,
    decode: Callable[[bytes], T],
    params: Mapping[str, object] | None = None,
    *,
    login: bool = True,
    read_timeout: float | None = None,
) -> Call[T]:
    """Describe a GET request. ``nsid`` is without the leading ``io.pocketenv.``"""
    return Call(nsid, decode, params or {}, is_query=True, login=login, read_timeout=read_timeout)


def procedure(
    nsid: str,
    decode: Callable[[bytes], T],
    params: Mapping[str, object] | None = None,
    body: Mapping[str, object] | None = None,
    *,
    work_seconds: float = 0.0,
) -> Call[T]:
    """Describe a POST request."""
    return Call(nsid, decode, params or {}, body, work_seconds=work_seconds)


@cache
def _decoder(kind: Hashable) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(built(kind))


def decode(body: bytes, kind: type[T]) -> T:
    """Decode a JSON response as ``kind``. Raises msgspec's ValidationError or DecodeError.

    Types are strict. A null means an absent key: some providers send one, some the other.
    """
    try:
        return cast("T", _decoder(cast("Hashable", kind)).decode(body))
    except msgspec.ValidationError as error:
        value = msgspec.json.decode(body)
        try:
            return msgspec.convert(_without_nulls(value), kind)
        except msgspec.ValidationError:
            raise error from None


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        fields = cast("dict[str, object]", value).items()
        return {name: _without_nulls(item) for name, item in fields if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in cast("list[object]", value)]
    return value


def nothing(body: bytes) -> None:
    """Decode an empty response: zero bytes, or a JSON object."""
    if body:
        decode(body, dict[str, object])


Door = Callable[[Call[Any]], Result[Any, PocketenvError]]
"""A function that answers calls in place of a platform."""

_door: ContextVar[Door | None] = ContextVar("pocketenv_fp.door", default=None)


@contextmanager
def answered_by(door: Door) -> Generator[None]:
    """Let ``door`` answer every call inside the block, in this thread. No request is sent."""
    mark = _door.set(door)
    try:
        yield
    finally:
        _door.reset(mark)


def has_door() -> bool:
    """Return whether a door is set."""
    return _door.get() is not None


def answered(call: Call[T]) -> Result[T, PocketenvError] | None:
    """Return the door's answer to ``call``, or None without a door."""
    door = _door.get()
    return None if door is None else door(call)


def send(call: Call[T]) -> Result[T, PocketenvError]:
    """Send ``call`` and return its decoded response.

    Failures: NotLoggedIn and InvalidInput before the request; ApiError and its subclasses if the platform refused;
    TransportError without a response; DecodeError for a response that the contract does not describe.
    """
    if (door := _door.get()) is not None:
        return door(call)
    known = settings()
    if isinstance(known, Failure):
        return known
    login = known.unwrap()
    request = _request(call, login)
    if isinstance(request, PocketenvError):
        return Failure(request)
    answer = delivered(request, login, _read_timeout(call, login), call.nsid)
    if isinstance(answer, PocketenvError):
        return Failure(answer)
    return _read(call, answer, login)


def delivered(
    request: Request, known: Settings, read_timeout: float, operation: str, *, whole: bool = True
) -> Answer | PocketenvError:
    """Send a request and return its answer, whatever its status. ``whole`` reads the body too.

    Errors: those of `connected`; TransportError where no answer came; DeadlineExceeded.
    """
    line = connected(known, operation)
    if isinstance(line, PocketenvError):
        return line
    # requests is slow to import: a program that only composes steps does not wait for it.
    from pocketenv_fp.http.failures import TROUBLE, trouble

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
        from pocketenv_fp.http.transport import transport

        return transport(known)
    except OSError as error:
        if error.errno in _NO_FILES:
            return _unconnected(error, operation)
        return InvalidInput("verify", f"the CA bundle cannot be read: {error.strerror or 'it contains no certificate'}")
    except ValueError:
        return InvalidInput("verify", "is not a path")


_NO_FILES = frozenset({errno.EMFILE, errno.ENFILE})


def _unconnected(error: OSError, operation: str) -> TransportError:
    # Modules are imported on first use, which opens files too.
    return TransportError("connect", f"no connection: {error.strerror}", operation)


def _read(call: Call[T], answer: Answer, known: Settings) -> Result[T, PocketenvError]:
    if not answer.is_good:
        return Failure(refusal(call.nsid, answer, known.token))
    try:
        return Success(call.decode(answer.body))
    except UNDECODABLE as error:
        answer.distrust()
        return Failure(DecodeError(call.nsid, _unreadable(answer.body, error)))


def _read_timeout(call: Call[Any], login: Settings) -> float:
    if call.read_timeout is not None:
        return min(call.read_timeout, login.read_timeout)
    return login.read_timeout + call.work_seconds


def _request(call: Call[Any], login: Settings) -> Request | PocketenvError:
    """Return what is sent for ``call``, or the error of a call that is refused before it is sent."""
    if call.login and login.token is None:
        return NotLoggedIn()
    if late := exceeded(call.nsid):
        return late
    try:
        request = _written(call, login.token)
    except UnicodeEncodeError:
        return not_unicode("text")
    except OSError as error:
        return _unconnected(error, call.nsid)
    # The platform's database cannot store a NUL, and would answer with a 500.
    if "%00" in request.target or (isinstance(request.body, bytes) and _has_nul(request.body)):
        return InvalidInput("text", "holds a NUL character")
    return request


def _written(call: Call[Any], token: str | None) -> Request:
    from pocketenv_fp.http.transport import Request

    target = f"/xrpc/{NAMESPACE}{call.nsid}"
    fields = [f"{name}={_quoted(str(value))}" for name, value in call.params.items() if value is not None]
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


def _quoted(text: str) -> str:
    # An id needs no quotes. urllib.parse is slow to import.
    if _UNRESERVED.fullmatch(text):
        return text
    from urllib.parse import quote

    return quote(text, safe="")


def _plain(value: object) -> str:
    if isinstance(value, HiddenText):
        return str(value)
    raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")


def _present(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


def _has_nul(body: bytes) -> bool:
    return rb"\u0000" in body and re.search(_NUL, body) is not None


class _Refused(msgspec.Struct):
    error: str = ""
    message: str = ""


def refusal(operation: str, answer: Answer, token: str | None) -> ApiError:
    """Return the error of an unsuccessful response. ``token`` is masked in its strings."""
    status = answer.status
    try:
        refused = decode(answer.body, _Refused)
    except UNDECODABLE:
        kind = _printable(answer.headers.get("Content-Type", "no content type").partition(";")[0], token)[:60]
        refused = _Refused(message=f"a response that is not the platform's ({kind})")
    error, message = (_printable(text, token) for text in (refused.error, refused.message))
    if status == 429:
        return RateLimited(status, error, message, operation, _seconds(answer.headers.get("Retry-After", "")))
    error_class = api_error_kind(status, error, message)
    if (
        error_class is ServerError
        and (status, refused.error) == (500, "InternalServerError")
        and token
        and not is_token(token)
    ):
        error_class = MalformedToken
    return error_class(status, error, message, operation)


def _printable(text: str, token: str | None) -> str:
    # An error may quote the request.
    return printable(without_passwords(text.replace(token, HIDDEN) if token else text)[:MESSAGE_LENGTH])


def _seconds(text: str) -> float | None:
    return float(text) if text.isdecimal() else None


def _unreadable(body: bytes, error: Exception) -> str:
    if isinstance(error, msgspec.ValidationError):
        return str(error)
    return "it is empty" if not body else "it is not JSON"
