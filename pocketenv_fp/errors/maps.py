"""Convert Results to and from the result maps of the Clojure SDK.

``{:ok value}`` is ``{"ok": value}``, and ``{:error reason}`` is ``{"error": reason}``. A value stays as it is. A reason
that Clojure knows has Clojure's form: ``"not_logged_in"``, ``"timeout"``, or a map of ``status`` and ``body``. The
failures that Clojure throws, or does not distinguish, are maps with a ``type``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypedDict, TypeVar, cast

from returns.result import Failure, Result, Success

from pocketenv_fp.errors import (
    ApiError,
    ArchiveError,
    CodeFailed,
    CodeTimeout,
    CommandFailed,
    CommandTimeout,
    ContextLost,
    DeadlineExceeded,
    DecodeError,
    EncryptionError,
    InvalidInput,
    JobNotFound,
    JobTimeout,
    LoginFailed,
    LoginTimeout,
    MalformedToken,
    NameTaken,
    NotLoggedIn,
    NotRestored,
    NotSupported,
    PathNotFound,
    PathTaken,
    PocketenvError,
    ProfileNotFound,
    RateLimited,
    RecordNotFound,
    RepositoryTaken,
    ServerTimeout,
    SessionLost,
    ShellBusy,
    ShellLost,
    TransportError,
    WaitTimeout,
    WorkerLost,
    api_error_kind,
)
from pocketenv_fp.plain_types import demand_type

__all__ = ["ErrorMap", "OkMap", "from_map", "to_map"]

T = TypeVar("T")

KINDS: dict[str, type[PocketenvError]] = {
    "archive_error": ArchiveError,
    "code_failed": CodeFailed,
    "code_timeout": CodeTimeout,
    "command_failed": CommandFailed,
    "command_timeout": CommandTimeout,
    "context_lost": ContextLost,
    "deadline_exceeded": DeadlineExceeded,
    "decode_error": DecodeError,
    "encryption_error": EncryptionError,
    "invalid_input": InvalidInput,
    "job_not_found": JobNotFound,
    "job_timeout": JobTimeout,
    "login_failed": LoginFailed,
    "login_timeout": LoginTimeout,
    "malformed_token": MalformedToken,
    "name_taken": NameTaken,
    "not_restored": NotRestored,
    "not_supported": NotSupported,
    "path_not_found": PathNotFound,
    "path_taken": PathTaken,
    "profile_not_found": ProfileNotFound,
    "record_not_found": RecordNotFound,
    "repository_taken": RepositoryTaken,
    "session_lost": SessionLost,
    "shell_busy": ShellBusy,
    "shell_lost": ShellLost,
    "transport_error": TransportError,
    "server_timeout": ServerTimeout,
    "worker_lost": WorkerLost,
}
NAMES = {kind: name for name, kind in KINDS.items()}


class OkMap(TypedDict):
    """``{:ok value}``"""

    ok: Any


class ErrorMap(TypedDict):
    """``{:error reason}``"""

    error: Any


def to_map(result: Result[Any, PocketenvError]) -> OkMap | ErrorMap:
    """Return the Clojure shape of a Result. It loses a WaitTimeout's fields and an ApiError's ``operation``.

    Args:
        result: A Result of this library.

    >>> from pocketenv_fp import Status, create, get_sandbox, start, stop, to_map
    >>> to_map((create("my-box") | start).map(lambda box: box.status))
    {'ok': Status.RUNNING}
    >>> to_map(get_sandbox("no-such-box") | stop)
    {'error': {'status': 404, 'body': {'error': 'SandboxNotFound', 'message': 'the step before returned no sandbox'}}}
    """
    demand_type("to_map", "result", result, Result)
    if isinstance(result, Success):
        return {"ok": result.unwrap()}
    match result.failure():
        case NotLoggedIn():
            reason: Any = "not_logged_in"
        case WaitTimeout():
            reason = "timeout"
        case error if type(error) in NAMES:
            reason = {"type": NAMES[type(error)], **{f.name: getattr(error, f.name) for f in fields(error)}}
        case ApiError() as error:
            body = {"error": error.error, "message": error.message}
            reason = {"status": error.status, "body": {name: text for name, text in body.items() if text}}
            if isinstance(error, RateLimited) and error.retry_after is not None:
                reason["retry_after"] = error.retry_after
        case error:
            reason = {"type": type(error).__name__}
    return {"error": reason}


def from_map(shape: Mapping[str, Any]) -> Result[Any, PocketenvError]:
    """Convert a Clojure result map. Returns the Result. Raises TypeError or ValueError if it is not a result map.

    Args:
        shape: A result map: ``{"ok": value}`` or ``{"error": reason}``.

    >>> from pocketenv_fp import from_map
    >>> from_map({"ok": 3})
    <Success: 3>
    >>> from_map({"error": {"status": 429, "body": {"error": "Too many requests"}}})
    <Failure: Too many requests (429). Refused requests count too: ...>
    """
    demand_type("from_map", "shape", shape, Mapping[str, Any])
    match shape:
        case {"ok": value}:
            return Success(value)
        case {"error": "not_logged_in"}:
            return Failure(NotLoggedIn())
        case {"error": "timeout"}:
            return Failure(WaitTimeout())
        case {"error": {"type": str(name)} as reason} if name in KINDS:
            return Failure(KINDS[name](**{field: value for field, value in reason.items() if field != "type"}))
        case {"error": {"status": int(status)} as reason} if status is not True and status is not False:
            return Failure(_api_error(status, reason.get("body"), reason.get("retry_after")))
        case _:
            raise ValueError("from_map: not a result map: it has no 'ok' and no known 'error'")


def _api_error(status: int, body: object, retry_after: float | None) -> ApiError:
    texts: Mapping[str, str] = cast("Mapping[str, str]", body) if isinstance(body, Mapping) else {}
    error, message = texts.get("error", ""), texts.get("message", "")
    if status == 429:
        return RateLimited(status, error, message, retry_after=retry_after)
    return api_error_kind(status, error)(status, error, message)
