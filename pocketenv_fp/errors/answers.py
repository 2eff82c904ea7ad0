"""Errors that the platform returned."""

from __future__ import annotations

from typing import ClassVar

from pocketenv_fp.errors.base import PocketenvError, after_place, typed_error

__all__ = [
    "ApiError",
    "JobNotFound",
    "MalformedToken",
    "NameTaken",
    "PathNotFound",
    "PathTaken",
    "ProfileNotFound",
    "RateLimited",
    "RecordNotFound",
    "RepositoryTaken",
    "SandboxNotFound",
    "ServerError",
    "SessionLost",
    "Unauthorized",
]


@typed_error
class ApiError(PocketenvError):
    """The platform returned an error: HTTP ``status``, ``error`` name, ``message`` and the ``operation``."""

    status: int
    error: str = ""
    message: str = ""
    operation: str = ""

    def summary(self) -> str:
        text = self.message or self.error or "the platform refused the request"
        name = f" {self.error}" if self.error and self.error != text else ""
        # An error of another program may be words alone: see `from_map`.
        return after_place(self.operation, f"{text} ({self.status}{name})" if self.status else text)

    def __str__(self) -> str:
        # The platform's only message when a provider refuses, for instance a command in a stopped sandbox.
        if self.status != 400 or self.message != "Request failed with status code 400":
            return super().__str__()
        hidden = "The provider refused, and the platform hides the reason. If the sandbox is stopped, start it."
        return f"{super().__str__()} {hidden}"


@typed_error
class SandboxNotFound(ApiError):
    """The sandbox does not exist, or it is not yours. The platform returns the same error for both."""

    advice: ClassVar[str] = "Check the id or name. The token must be the owner's."

    status: int = 404
    error: str = "SandboxNotFound"


@typed_error
class RecordNotFound(ApiError):
    """The sandbox has no secret, variable, file, volume or service with that name or id."""

    advice: ClassVar[str] = "List the sandbox's records. The platform also hides records that are not yours."

    status: int = 404
    error: str = "RecordNotFound"


@typed_error
class PathNotFound(ApiError):
    """The sandbox has no file or directory at ``path``. The platform itself returns 200 and no archive."""

    advice: ClassVar[str] = "Check the path. A relative path starts at /workspace."

    status: int = 404
    error: str = "PathNotFound"
    path: str = ""


@typed_error
class JobNotFound(ApiError):
    """The sandbox does not have this job. A job ends with its sandbox, so a stop removes all jobs."""

    advice: ClassVar[str] = "Check the id with list_jobs. A job ends when its sandbox stops: submit it again."

    status: int = 404
    error: str = "JobNotFound"


@typed_error
class ProfileNotFound(ApiError):
    """The profile is empty. The platform returns 200 and ``{}`` for every failed profile lookup."""

    advice: ClassVar[str] = "Check the DID or handle. For me(), check the token."

    status: int = 200
    error: str = "ProfileNotFound"


@typed_error
class RepositoryTaken(ApiError):
    """The platform answered a create with an older sandbox of yours, which has the same repository and base."""

    advice: ClassVar[str] = (
        "Use that sandbox with reuse=True. For a new sandbox, create it without repo= and clone with start(repo=…)."
    )

    status: int = 200
    error: str = "RepositoryTaken"


@typed_error
class Unauthorized(ApiError):
    """401: the platform needs a login, or does not accept this one."""

    advice: ClassVar[str] = (
        "The token is missing, expired or from another platform. Log in again: python -m pocketenv_fp login HANDLE. "
        "If POCKETENV_TOKEN is set, set it to the new token."
    )


@typed_error
class RateLimited(ApiError):
    """429, after ``retries`` retries. ``retry_after`` is in seconds, or None if the platform did not send it."""

    advice: ClassVar[str] = "Refused requests count too: send no request for retry_after seconds."

    retry_after: float | None = None


@typed_error
class ServerError(ApiError):
    """5xx. A create or an exec with this error may have taken effect: check before you retry."""

    advice: ClassVar[str] = (
        "The platform hides the cause. Common causes: a token with a bad signature, a name that is taken, "
        "an unknown base, a secret that cannot be read."
    )


@typed_error
class NameTaken(ServerError):
    """Another sandbox has that name. ``is_yours`` says whether it is yours. None means that this is not known."""

    advice: ClassVar[str] = "Choose another name, or use the sandbox that has it: get_sandbox(name)."

    status: int = 500
    error: str = "NameTaken"
    is_yours: bool | None = None

    def __str__(self) -> str:
        if self.is_yours is None:
            return super().__str__()
        advice = "or use your sandbox of that name: create(name, exist_ok=True)" if self.is_yours else "it is not yours"
        return f"{self.summary()}. Choose another name, {advice}."


@typed_error
class PathTaken(ServerError):
    """Another volume of the sandbox is attached at ``path``."""

    advice: ClassVar[str] = "Choose another path, or delete that volume: delete_volume(name)."

    status: int = 500
    error: str = "PathTaken"
    path: str = ""


@typed_error
class MalformedToken(ServerError):
    """The token is not a Pocketenv token. The platform returns a 500 for every request with such a token."""

    advice: ClassVar[str] = (
        "The token is malformed. Log in again. Set POCKETENV_TOKEN, token= or ~/.pocketenv/token.json "
        "to the complete new token."
    )

    status: int = 500
    error: str = "InternalServerError"


@typed_error
class SessionLost(ServerError):
    """The platform's AT Protocol session of this login is gone (500 AgentCreationError).

    ``left`` is the id of a sandbox that the create left and that could not be deleted. Otherwise it is empty.
    """

    advice: ClassVar[str] = "Log in to Pocketenv again, and set the new token."

    status: int = 500
    error: str = "AgentCreationError"
    left: str = ""

    def __str__(self) -> str:
        left = f" The sandbox {self.left} was created and still exists: delete it." if self.left else ""
        return f"{super().__str__()}{left}"


# Most methods answer XRPCNotSupported for what is missing. Only the message says what it is.
_RECORDS = frozenset(f"{noun} not found" for noun in ("File", "Secret", "Service", "Variable", "Volume"))


def api_error_kind(status: int, error: str, message: str = "") -> type[ApiError]:
    """Return the error class for this HTTP status, error name and message."""
    if status == 401:
        return Unauthorized
    if status == 404 and (error == "SandboxNotFound" or message == "Sandbox not found"):
        return SandboxNotFound
    if status == 404 and message in _RECORDS:
        return RecordNotFound
    if status == 500 and error == "AgentCreationError":
        return SessionLost
    return ServerError if status >= 500 else ApiError


def hides_its_cause(error: PocketenvError) -> bool:
    """Return whether ``error`` is a 500 without a cause. One possible cause is a name that is taken."""
    return type(error) is ServerError and error.status == 500
