"""Requests as values, and the one function that sends them.

Every function of the library builds a `Call`: method, parameters, body and decoder. `send` adds the token, follows the
platform's rules for bodies, sends, decodes, and returns every error as a Failure. Because a Call is only a description,
a pipeline can be explained before it runs.

>>> from pocketenv_fp.http.xrpc import procedure
>>> procedure("sandbox.exec", bytes.decode, {"id": "3f"}, {"command": "ls"})
POST io.pocketenv.sandbox.exec(id) with body (command)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import msgspec
from returns.result import Failure, Result, Success

from pocketenv_fp.config import Settings, settings
from pocketenv_fp.errors import (
    ApiError,
    DecodeError,
    MalformedToken,
    PocketenvError,
    RateLimited,
    ServerError,
    TransportError,
    api_error_kind,
)
from pocketenv_fp.http.tokens import is_token
from pocketenv_fp.plain_types import UNDECODABLE, built
from pocketenv_fp.redaction import HIDDEN, printable, without_passwords
from pocketenv_fp.runtime.scope import scope

if TYPE_CHECKING:
    from pocketenv_fp.http.transport import Answer

__all__ = [
    "Call",
    "Door",
    "answered",
    "answered_by",
    "decode",
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


def answered_by(door: Door) -> AbstractContextManager[None]:
    """Let ``door`` answer every call inside the block, in this thread. No request is sent."""
    return scope(_door, door)


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
    try:
        # It imports urllib3, which is slow: a program that only composes steps does not wait for it.
        from pocketenv_fp.http import exchange
    except OSError as error:
        return Failure(TransportError("connect", f"no connection: {error.strerror}", call.nsid))
    request = exchange.request_of(call, login)
    if isinstance(request, PocketenvError):
        return Failure(request)
    answer = exchange.delivered(request, login, _read_timeout(call, login), call.nsid)
    if isinstance(answer, PocketenvError):
        return Failure(answer)
    return _read(call, answer, login)


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
