r"""Convert Results to and from the result maps of the Clojure SDK: plain data that JSON can hold.

``{:ok value}`` is ``{"ok": value}``, and ``{:error reason}`` is ``{"error": reason}``. A record is a dict with the names of
Clojure's keywords, such as ``"exit-code"``, and a status is ``"running"``. A reason that Clojure knows has Clojure's form:
``"not_logged_in"``, ``"timeout"``, or a map of ``status`` and ``body``. Every `ApiError` has these two. The failures that
Clojure throws, or does not distinguish, have a ``type`` too.

>>> from toolz import get_in
>>> from pocketenv_fp import ExecResult, create, exec, from_map, start, to_map
>>> shape = to_map(create("my-box") | start | exec("echo hello"))
>>> shape
{'ok': {'stdout': 'hello\n', 'stderr': '', 'exit-code': 0}}
>>> get_in(["ok", "stdout"], shape)
'hello\n'
>>> from_map(shape, ExecResult)
<Success: ExecResult(stdout='hello\n', stderr='', exit_code=0)>
"""

from __future__ import annotations

import enum
import os
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields
from datetime import datetime
from typing import Any, TypedDict, TypeVar, cast, get_args, get_origin, overload

import msgspec
from returns.result import Failure, Result, Success

from pocketenv_fp import errors
from pocketenv_fp.errors import (
    ApiError,
    NotLoggedIn,
    PocketenvError,
    RateLimited,
    SandboxNotFound,
    ServerError,
    Unauthorized,
    WaitTimeout,
    api_error_kind,
)
from pocketenv_fp.plain_types import built, demand_type
from pocketenv_fp.redaction import HIDDEN, secret_names, shorten

__all__ = ["ErrorMap", "OkMap", "from_map", "to_map"]

T = TypeVar("T")
MESSAGE_LENGTH = 500

# Clojure's own form says what these are, without a type.
PLAIN = (PocketenvError, NotLoggedIn, WaitTimeout, ApiError, RateLimited, SandboxNotFound, ServerError, Unauthorized)
KINDS: dict[str, type[PocketenvError]] = {
    re.sub("(?<!^)([A-Z])", r"_\1", name).lower(): kind
    for name in errors.__all__
    if isinstance(kind := getattr(errors, name), type) and kind not in PLAIN
}
NAMES = {kind: name for name, kind in KINDS.items()}


class OkMap(TypedDict):
    """``{:ok value}``"""

    ok: Any


class ErrorMap(TypedDict):
    """``{:error reason}``"""

    error: Any


def to_map(result: Result[Any, PocketenvError]) -> OkMap | ErrorMap:
    """Return the Clojure shape of a Result, as plain data. It loses a WaitTimeout's fields and an ApiError's ``operation``.

    Records become dicts, also inside lists and dicts. A Page becomes a list, and loses its total. Times are ISO strings.
    Fields that a record never shows, such as a token, are masked. A value of another type stays as it is.

    Args:
        result: A Result of this library.

    >>> from pocketenv_fp import create, get_sandbox, start, stop, to_map
    >>> to_map((create("my-box") | start).map(lambda box: box.status))
    {'ok': 'running'}
    >>> to_map(get_sandbox("no-such-box") | stop)
    {'error': {'status': 404, 'body': {'error': 'SandboxNotFound', 'message': 'the step before returned no sandbox'}}}
    """
    demand_type("to_map", "result", result, Result)
    return {"ok": _data(result.unwrap())} if isinstance(result, Success) else {"error": _reason(result.failure())}


def _data(value: Any) -> Any:  # noqa: PLR0911  # a kind of value each
    if isinstance(value, msgspec.Struct):
        return _data(cast("Any", value).items) if _is_page(type(value)) else _record(value)
    if isinstance(value, Mapping):
        return {key: _data(each) for key, each in cast("Mapping[object, object]", value).items()}
    if isinstance(value, (list, tuple, AbstractSet)):
        return [_data(each) for each in cast("list[object]", value)]
    if isinstance(value, Result):
        return to_map(cast("Result[Any, PocketenvError]", value))
    if isinstance(value, PocketenvError):
        return _reason(value)
    if isinstance(value, enum.Enum):
        return str(value.value).lower()
    if isinstance(value, datetime):
        return msgspec.to_builtins(value)
    return os.fspath(cast("os.PathLike[str]", value)) if isinstance(value, os.PathLike) else value


def _record(record: msgspec.Struct) -> dict[str, Any]:
    hidden = secret_names(type(record))
    return {
        name.replace("_", "-"): HIDDEN if name in hidden else _data(getattr(record, name))
        for name in record.__struct_fields__
    }


def _is_page(kind: Any) -> bool:
    # This module knows no record: it is below them.
    return getattr(kind, "__struct_fields__", ()) == ("items", "total")


def _reason(error: object) -> Any:
    if isinstance(error, NotLoggedIn):
        return "not_logged_in"
    if isinstance(error, WaitTimeout):
        return "timeout"
    if not isinstance(error, PocketenvError):
        return _data(error)  # with `safe` and others, the error may be the caller's own
    name = NAMES.get(type(error))
    values = {each.name.replace("_", "-"): _data(getattr(error, each.name)) for each in fields(error)}
    if not isinstance(error, ApiError):
        return {"type": name or type(error).__name__, **values}
    if not error.status and error.message:
        return error.message
    body = {key: text for key in ("error", "message") if (text := values.pop(key))}
    if name is None:
        del values["operation"]
    more = {key: value for key, value in values.items() if key != "status" and value is not None}
    return {"status": error.status, "body": body, **({"type": name} if name else {}), **more}


@overload
def from_map(shape: Mapping[str, Any]) -> Result[Any, PocketenvError]: ...
@overload
def from_map(shape: Mapping[str, Any], kind: type[T]) -> Result[T, PocketenvError]: ...
def from_map(shape: Mapping[str, Any], kind: Any = None) -> Result[Any, PocketenvError]:
    """Convert a Clojure result map. Returns the Result. Raises TypeError or ValueError if it is not a result map.

    An error that is a string of another program is an ApiError with that message and the status 0.

    Args:
        shape: A result map: ``{"ok": value}`` or ``{"error": reason}``.
        kind: Type of the value, for instance ``Sandbox`` or ``list[Port]``. Default: the value as it is.

    >>> from pocketenv_fp import Port, from_map
    >>> from_map({"ok": 3})
    <Success: 3>
    >>> from_map({"ok": [{"port": 8080, "preview-url": "https://example.org"}]}, list[Port])
    <Success: [Port(port=8080, preview_url='https://example.org')]>
    >>> from_map({"error": {"status": 429, "body": {"error": "Too many requests"}}})
    <Failure: Too many requests (429). Refused requests count too: ...>
    """
    demand_type("from_map", "shape", shape, Mapping[str, Any])
    match shape:
        case {"ok": value}:
            return Success(value if kind is None else _typed(value, kind))
        case {"error": str(words)} if words:
            return Failure(_named(words))
        case {"error": {"type": str(name)} as reason} if name in KINDS:
            return Failure(_of_kind(KINDS[name], reason))
        case {"error": {"status": int(status)} as reason} if status is not True and status is not False:
            return Failure(_api_error(status, reason.get("body"), reason.get("retry-after")))
        case _:
            raise ValueError("from_map: not a result map: it has no 'ok' and no known 'error'")


def _typed(value: Any, kind: Any) -> Any:
    if _is_page(get_origin(kind)):
        value = _page(value)
    if _is_a(kind, enum.Enum):
        value = _capitals(value)
    try:
        return msgspec.convert(_for_records(value) if _has_record(kind) else value, built(kind))
    except msgspec.ValidationError as error:
        raise ValueError(f"from_map: the value has another type: {error}") from None


def _page(value: Any) -> Any:
    # Clojure returns a list of secrets, and a map of sandboxes and their total.
    if isinstance(value, list):
        items = cast("list[object]", value)
        return {"items": items, "total": len(items)}
    listed: Mapping[str, object] = cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}
    return {"items": listed.get("sandboxes"), "total": listed.get("total")}


def _is_a(kind: object, base: type) -> bool:
    return isinstance(kind, type) and issubclass(kind, base)


def _has_record(kind: Any) -> bool:
    return _is_a(get_origin(kind) or kind, msgspec.Struct) or any(map(_has_record, get_args(kind)))


def _for_records(value: Any) -> Any:
    """Return the value with the names that records are decoded from: in camelCase, and a status in capitals."""
    if isinstance(value, Mapping):
        return {
            re.sub("[-_]([a-z])", lambda match: match[1].upper(), str(key)): _for_records(each)
            if key != "status"
            else _capitals(each)
            for key, each in cast("Mapping[object, object]", value).items()
        }
    if isinstance(value, list):
        return [_for_records(each) for each in cast("list[object]", value)]
    return value


def _capitals(status: Any) -> Any:
    return status.lstrip(":").upper() if isinstance(status, str) else status


def _named(words: str) -> PocketenvError:
    match words.lstrip(":").replace("-", "_"):
        case "not_logged_in":
            return NotLoggedIn()
        case "timeout":
            return WaitTimeout()
        case _:
            return ApiError(0, message=words)


def _of_kind(kind: type[PocketenvError], reason: Mapping[str, Any]) -> PocketenvError:
    values = {key.replace("-", "_"): value for key, value in reason.items() if key not in {"type", "body"}}
    if issubclass(kind, ApiError):
        values |= dict(zip(("error", "message"), _texts(reason.get("body")), strict=True))
    return kind(**values)


def _texts(body: object) -> tuple[str, str]:
    """Return the error and the message of a body: a map, JSON, or a string of another server."""
    if isinstance(body, str):
        try:
            body = msgspec.json.decode(body, type=dict[str, Any])
        except msgspec.MsgspecError:
            return "", shorten(str(body), MESSAGE_LENGTH)
    texts: Mapping[str, object] = cast("Mapping[str, object]", body) if isinstance(body, Mapping) else {}
    error, message = texts.get("error", ""), texts.get("message", "")
    return error if isinstance(error, str) else "", message if isinstance(message, str) else ""


def _api_error(status: int, body: object, retry_after: float | None) -> ApiError:
    error, message = _texts(body)
    if status == 429:
        return RateLimited(status, error, message, retry_after=retry_after)
    return api_error_kind(status, error, message)(status, error, message)
