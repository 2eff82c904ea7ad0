"""Requests as values, and the one door that they leave by.

Every function of the library builds a `Call`: which method, with which parameters and body, and how to read its answer.
`send` puts the token on, keeps the platform's rules about bodies, sends, decodes, and turns everything that goes wrong
into a Failure. Describing apart from sending is what lets a pipeline be explained before it runs.

>>> from pocketenv_fp.http.xrpc import procedure
>>> procedure("sandbox.exec", bytes.decode, {"id": "3f"}, {"command": "ls"})
POST io.pocketenv.sandbox.exec(id) with body (command)
"""

from __future__ import annotations

import errno
import math
import re
from collections.abc import Callable, Generator, Hashable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar, cast

import msgspec
from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config, Settings, settings
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
from pocketenv_fp.redaction import HIDDEN, HiddenBytes, HiddenText, without_passwords
from pocketenv_fp.runtime.deadline import TimeIsOver, exceeded, over

if TYPE_CHECKING:
    from pocketenv_fp.http.transport import Answer, Request, Transport

__all__ = [
    "Call",
    "Door",
    "answered",
    "answered_by",
    "connected",
    "decode",
    "has_door",
    "nothing",
    "procedure",
    "query",
    "refusal",
    "send",
    "token_did",
]

T = TypeVar("T")

NAMESPACE = "io.pocketenv."
MESSAGE_LENGTH = 500
# As JSON writes it: an even number of backslashes before it are no part of it.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class Call(msgspec.Struct, Generic[T], frozen=True):
    """One request, described. Its repr tells the names of what it carries and never the values.

    A ``body`` of None is no body at all: the platform refuses one where it expects none, and misses one where it does.
    Values of None, in the parameters and the body, are left out. ``read_timeout`` is in seconds, None for the
    configured one: a query may shorten that, a procedure may lengthen it, up to ``math.inf`` for no limit. ``login`` is
    False for what the platform answers without a token, too.
    """

    nsid: str
    decode: Callable[[bytes], T]
    params: Mapping[str, object]
    body: Mapping[str, object] | None = None
    is_query: bool = False
    login: bool = True
    read_timeout: float | None = None

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # msgspec's own would show the values.
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
    """Describe a GET. ``nsid`` is without the leading ``io.pocketenv.``"""
    return Call(nsid, decode, params or {}, is_query=True, login=login, read_timeout=read_timeout)


def procedure(
    nsid: str,
    decode: Callable[[bytes], T],
    params: Mapping[str, object] | None = None,
    body: Mapping[str, object] | None = None,
    *,
    read_timeout: float | None = None,
) -> Call[T]:
    """Describe a POST."""
    return Call(nsid, decode, params or {}, body, read_timeout=read_timeout)


@cache
def _decoder(kind: Hashable) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(cast("Any", kind))


def decode(body: bytes, kind: type[T]) -> T:
    """Read a JSON answer as ``kind``; raises msgspec's ValidationError or DecodeError.

    Types are strict. A null stands for a key that is absent: one provider sends the one, another the other.
    """
    try:
        return cast("T", _decoder(cast("Hashable", kind)).decode(body))
    except msgspec.ValidationError as error:
        told = msgspec.json.decode(body)
        try:
            return msgspec.convert(_without_nulls(told), kind)
        except msgspec.ValidationError:
            raise error from None


def _without_nulls(told: object) -> object:
    if isinstance(told, dict):
        fields = cast("dict[str, object]", told).items()
        return {name: _without_nulls(value) for name, value in fields if value is not None}
    if isinstance(told, list):
        return [_without_nulls(value) for value in cast("list[object]", told)]
    return told


def nothing(body: bytes) -> None:
    """Read an answer that has nothing to say: zero bytes, or a JSON object."""
    if body:
        decode(body, dict[str, object])


Door = Callable[[Call[Any]], Result[Any, PocketenvError]]
"""What answers calls in the place of a platform."""

_door: ContextVar[Door | None] = ContextVar("pocketenv_fp.door", default=None)


@contextmanager
def answered_by(door: Door) -> Generator[None]:
    """Have ``door`` answer every call inside the block, in this thread: nothing is sent."""
    mark = _door.set(door)
    try:
        yield
    finally:
        _door.reset(mark)


def has_door() -> bool:
    """Tell whether a door answers here in the place of a platform."""
    return _door.get() is not None


def answered(call: Call[T]) -> Result[T, PocketenvError] | None:
    """Give the answer of the door in the place of a platform, None where there is none and ``call`` is to be sent."""
    door = _door.get()
    return None if door is None else door(call)


def send(call: Call[T], *, token: str | None = None, config: Config | None = None) -> Result[T, PocketenvError]:
    """Send ``call`` and give its decoded answer.

    Failures: NotLoggedIn and InvalidInput before anything is sent; ApiError and its kinds for what the platform
    refused; TransportError where no answer came; DecodeError for an answer that the contract does not describe.
    """
    answer = answered(call)
    return settings(config, token=token).bind(lambda found: _send(call, found)) if answer is None else answer


def _send(call: Call[T], found: Settings) -> Result[T, PocketenvError]:
    if call.login and found.token is None:
        return Failure(NotLoggedIn())
    if late := exceeded(call.nsid):
        return Failure(late)
    try:
        request = _prepared(call, found)
    except UnicodeEncodeError:
        return Failure(InvalidInput("text", "is not valid Unicode: it contains half of a surrogate pair"))
    except OSError as error:
        return Failure(_unconnected(error, call.nsid))
    if _has_nul(request):
        return Failure(InvalidInput("text", "contains a NUL character"))
    return _sent(call, request, found).bind(lambda answer: _read(call, answer, found))


def _sent(call: Call[Any], request: Request, found: Settings) -> Result[Answer, PocketenvError]:
    def sent(line: Transport) -> Result[Answer, PocketenvError]:
        # requests is slow to import: a program that only composes steps does not wait for it.
        from pocketenv_fp.http.failures import TROUBLE, trouble

        try:
            return Success(line.send(request, _read_timeout(call, found), call.nsid))
        except TimeIsOver:
            return Failure(over(call.nsid))
        except TROUBLE as error:
            met = trouble(error, call.nsid)
            return Failure(exceeded(call.nsid, maybe_sent=met.maybe_sent) or met)

    return connected(found, call.nsid).bind(sent)


def connected(found: Settings, operation: str = "") -> Result[Transport, PocketenvError]:
    """Return the transport for these settings.

    Failures: InvalidInput for a CA bundle that cannot be used; TransportError where no file can be opened at all.
    """
    try:
        from pocketenv_fp.http.transport import transport

        return Success(transport(found))
    except OSError as error:
        if error.errno in _NO_FILES:
            return Failure(_unconnected(error, operation))
        return Failure(
            InvalidInput("verify", f"the CA bundle cannot be read: {error.strerror or 'it contains no certificate'}")
        )
    except ValueError:
        return Failure(InvalidInput("verify", "is not a path"))


_NO_FILES = frozenset({errno.EMFILE, errno.ENFILE})


def _unconnected(error: OSError, operation: str) -> TransportError:
    # Modules are imported on first use, which opens files as well.
    return TransportError("connect", f"no connection: {error.strerror}", operation)


def _read(call: Call[T], answer: Answer, found: Settings) -> Result[T, PocketenvError]:
    if not answer.is_good:
        return Failure(refusal(call.nsid, answer, found.token))
    try:
        return Success(call.decode(answer.body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        answer.distrust()
        return Failure(DecodeError(call.nsid, _unreadable(answer.body, error)))


def _read_timeout(call: Call[Any], found: Settings) -> float | None:
    if call.read_timeout is None:
        return found.read_timeout
    if call.is_query:
        return min(call.read_timeout, found.read_timeout)
    return None if call.read_timeout == math.inf else call.read_timeout


def _prepared(call: Call[Any], found: Settings) -> Request:
    from urllib.parse import quote, urlencode

    from pocketenv_fp.http.transport import Request

    target = f"/xrpc/{NAMESPACE}{call.nsid}"
    if call.params:
        target += f"?{urlencode(_given(call.params), quote_via=quote)}"
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "pocketenv-fp"}
    if found.token is not None:
        headers["Authorization"] = HiddenText(f"Bearer {found.token}")
    if call.body is not None:
        # What a command is given may be a secret.
        body = HiddenBytes(msgspec.json.encode(_given(call.body), enc_hook=_plain))
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


def _has_nul(request: Request) -> bool:
    # The platform's database can keep none: it would answer a 500 that says nothing.
    body = request.body if isinstance(request.body, bytes) else b""
    return "%00" in request.target or (rb"\u0000" in body and _NUL.search(body) is not None)


def _given(values: Mapping[str, object]) -> dict[str, object]:
    from toolz import valfilter  # pyright: ignore[reportUnknownVariableType]  # toolz has no types

    return cast("dict[str, object]", valfilter(_is_given, values))


def _is_given(value: object) -> bool:
    return value is not None


class _Refused(msgspec.Struct):
    error: str = ""
    message: str = ""


def refusal(operation: str, answer: Answer, token: str | None) -> ApiError:
    """Give the error that an answer tells of, whose status is none of a success. ``token`` is masked in its texts."""
    status = answer.status
    try:
        said = decode(answer.body, _Refused)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        kind = _printable(answer.headers.get("Content-Type", "no content type").partition(";")[0], token)[:60]
        said = _Refused(message=f"an answer that is not the platform's ({kind})")
    error, message = (_printable(text, token) for text in (said.error, said.message))
    if status == 429:
        return RateLimited(status, error, message, operation, _seconds(answer.headers.get("Retry-After", "")))
    refused = api_error_kind(status, error)
    if (
        refused is ServerError
        and (status, said.error) == (500, "InternalServerError")
        and token
        and not _is_token(token)
    ):
        refused = MalformedToken
    return refused(status, error, message, operation)


class _Claims(msgspec.Struct):
    did: Annotated[str, msgspec.Meta(min_length=1)]


def _is_token(token: str) -> bool:
    """Return whether a token has the shape of a platform's: a JWT with a DID, or an embedded platform's own."""
    if re.fullmatch(r"[^.]+\.[0-9a-f]{64}", token):
        return True
    return token_did(token) is not None


def token_did(token: str) -> str | None:
    """Return the DID that a JSON Web Token is about, without a look at its signature, or None."""
    from base64 import urlsafe_b64decode

    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        return decode(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)), _Claims).did
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return None


def _printable(text: str, token: str | None) -> str:
    # An error may quote the request that it is about.
    text = without_passwords(text.replace(token, HIDDEN) if token else text)
    return "".join(c if c.isprintable() else " " for c in text[:MESSAGE_LENGTH])


def _seconds(text: str) -> float | None:
    return float(text) if text.isdecimal() else None


def _unreadable(body: bytes, error: Exception) -> str:
    if isinstance(error, msgspec.ValidationError):
        return str(error)
    return "it is empty" if not body else "it is not JSON"
