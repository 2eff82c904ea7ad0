"""Define every error of this library as one tree of typed values.

.. code-block:: text

    PocketenvError
    ├── NotLoggedIn                     a token is needed and was not found
    ├── LoginFailed                     `login` did not succeed: ``reason`` says why
    ├── LoginTimeout                    a login in the browser was not finished in time  (a TimeoutError)
    ├── InvalidInput                    a value was refused before the request was sent  (a ValueError)
    ├── ApiError                        the platform returned an error
    │   ├── SandboxNotFound             the sandbox does not exist, or is not yours
    │   ├── RecordNotFound              the sandbox has no such secret, variable, file, volume or service
    │   ├── PathNotFound                the sandbox has no such file or directory
    │   ├── JobNotFound                 the sandbox does not have this job, or not any more
    │   ├── ProfileNotFound             the platform returned an empty profile
    │   ├── RepositoryTaken             an older sandbox of yours has that repository and base
    │   ├── Unauthorized                the token is missing, expired or not accepted
    │   ├── RateLimited                 too many requests: wait for ``retry_after`` seconds
    │   └── ServerError                 a 5xx: the platform failed
    │       ├── NameTaken               another sandbox has that name
    │       ├── PathTaken               another volume of the sandbox is at that path
    │       ├── MalformedToken          the token is not a Pocketenv token
    │       └── SessionLost             the AT Protocol session of the login is gone: log in again
    ├── TransportError                  no response: connection, TLS, timeout, broken connection
    ├── DecodeError                     a response that the contract does not describe
    ├── DeadlineExceeded                the time limit of `within` was reached           (a TimeoutError)
    ├── WorkerLost                      the process that ran a pipeline of `fan_out` died
    ├── NotSupported                    the provider or the platform does not support the operation
    ├── ShellLost                       the sandbox's one shell has ended: stop and start the sandbox
    ├── ShellBusy                       the sandbox's one shell did not take the command in time (a TimeoutError)
    ├── WaitTimeout                     a sandbox was not running in time                (a TimeoutError)
    ├── JobTimeout                      a job still ran when `follow` stopped waiting     (a TimeoutError)
    ├── ServerTimeout                   a server in a sandbox was not ready in time      (a TimeoutError)
    ├── NotRestored                     a directory was not put back after a restart: the error says where it is
    ├── CommandFailed                   a command's exit code was not zero, and ``check`` was set
    ├── CommandTimeout                  a command reached its timeout                    (a TimeoutError)
    ├── CodeFailed                      code of `run_code` raised an exception, and ``check`` was set
    ├── CodeTimeout                     code reached its timeout, and was interrupted    (a TimeoutError)
    ├── ContextLost                     the process that ran the code ended, with its state
    ├── ArchiveError                    an archive could not be created, read or trusted
    └── EncryptionError                 a value could not be sealed

Functions of this library *return* these errors inside a ``Failure``. They are exceptions too, so `raise_for` and
``unwrap`` can raise them. The message of each error says what to do. Errors compare by value and can be pickled.
Their fields can be matched by position:

    >>> from pocketenv_fp.errors import ApiError, SandboxNotFound
    >>> error = SandboxNotFound(404, "SandboxNotFound", "no such sandbox", "exec")
    >>> match error:
    ...     case ApiError(status=404, operation=operation):
    ...         print(operation)
    exec
    >>> print(error)
    exec: no such sandbox (404 SandboxNotFound). Check the id or name. The token must be the owner's.
"""

from __future__ import annotations

from typing import ClassVar, Literal, TypeVar

from returns.result import Failure, Result

from pocketenv_fp.errors.base import PocketenvError, after_place, typed_error
from pocketenv_fp.plain_types import demand_type

__all__ = [
    "ArchiveError",
    "DeadlineExceeded",
    "DecodeError",
    "EncryptionError",
    "InvalidInput",
    "LoginFailed",
    "LoginTimeout",
    "NotLoggedIn",
    "NotSupported",
    "TransportError",
    "WaitTimeout",
    "WorkerLost",
    "raise_for",
]

T = TypeVar("T")

TransportKind = Literal["connect", "dropped", "protocol", "proxy", "timeout", "tls"]
"""The stage at which a request failed: connection, broken connection, not HTTP, proxy, timeout or TLS."""


@typed_error
class NotLoggedIn(PocketenvError):
    """A token is needed, and none was found. No request was sent."""

    happened: ClassVar[str] = "not logged in"
    advice: ClassVar[str] = (
        "Log in: python -m pocketenv_fp login HANDLE. Or set POCKETENV_TOKEN, or pass token=. "
        "POCKETENV_API_URL=local needs no token."
    )


@typed_error
class LoginFailed(PocketenvError):
    """A login or logout did not succeed. ``reason`` says why. The token file is unchanged."""

    happened: ClassVar[str] = "no login: {reason}"
    advice: ClassVar[str] = "The token file is unchanged. Try again: python -m pocketenv_fp login HANDLE."

    reason: str


@typed_error
class LoginTimeout(PocketenvError, TimeoutError):
    """A login in the browser was not finished after ``seconds``. The token file is unchanged."""

    happened: ClassVar[str] = "the login in the browser was not finished after {seconds:g} s"
    advice: ClassVar[str] = (
        "Try again, and allow the login in the browser. On a machine without a browser use an app password: "
        "python -m pocketenv_fp login HANDLE --app-password."
    )

    seconds: float


@typed_error
class InvalidInput(PocketenvError, ValueError):
    """A value is not valid. No request was sent. ``reason`` never contains the value itself."""

    happened: ClassVar[str] = "{field}: {reason}"
    field: str
    reason: str


@typed_error
class TransportError(PocketenvError):
    """No response arrived. ``maybe_sent`` says whether the platform may have received the request."""

    kind: TransportKind
    reason: str
    operation: str = ""
    maybe_sent: bool = False

    def summary(self) -> str:
        return after_place(self.operation, f"{self.reason} ({self.kind})")

    def __str__(self) -> str:
        if self.maybe_sent:
            return self.with_advice("The platform may have executed it: check before you retry.")
        return self.with_advice("The request did not reach the platform: you can retry.")


@typed_error
class DecodeError(PocketenvError):
    """The response does not match the contract. ``reason`` names the place in it, never its content."""

    advice: ClassVar[str] = "The platform may be newer than this library. Or POCKETENV_API_URL is not a Pocketenv API."

    operation: str
    reason: str

    def summary(self) -> str:
        # Methods of the platform have a dot in their name. Other operations decode the output of a command.
        noun = "response" if "." in self.operation else "output"
        return f"{self.operation}: the {noun} is not valid: {self.reason}"

    def __str__(self) -> str:
        if "." in self.operation:
            return super().__str__()
        return self.with_advice("Check the command's stdout: it must print only this output.")


@typed_error
class WaitTimeout(PocketenvError, TimeoutError):
    """The sandbox was not running after ``seconds``. ``last_status`` is its last known status."""

    advice: ClassVar[str] = "Raise timeout=, or look at the sandbox. If its creation failed, it stays INITIALIZING."

    seconds: float | None = None
    last_status: str | None = None

    def summary(self) -> str:
        after = "in time" if self.seconds is None else f"after {self.seconds:g} s"
        status = f"; its status was {self.last_status}" if self.last_status else ""
        return f"the sandbox was not running {after}{status}"


@typed_error
class DeadlineExceeded(PocketenvError, TimeoutError):
    """The time limit of `within`, in ``seconds``, was reached before ``operation`` was done or could begin.

    ``maybe_sent`` says whether the platform may have received the request.
    """

    seconds: float
    operation: str = ""
    maybe_sent: bool = False

    def summary(self) -> str:
        return after_place(self.operation, f"not done within {self.seconds:g} s")

    def __str__(self) -> str:
        if self.maybe_sent:
            return self.with_advice(
                "The platform may have executed it, and a command may still run: check before you retry."
            )
        return self.with_advice("The request was not sent: raise the limit, or retry.")


@typed_error
class WorkerLost(PocketenvError):
    """The process for a pipeline died before it returned a result. Its progress is unknown."""

    happened: ClassVar[str] = "the worker process of this pipeline died"
    advice: ClassVar[str] = (
        "Its sandbox may exist, and a command in it may have run: look for it by its name before you retry. "
        "A worker dies when it runs out of memory or is killed."
    )


@typed_error
class NotSupported(PocketenvError):
    """The sandbox's ``provider`` does not support ``operation``. No request was sent. ``instead`` is an alternative.

    An empty ``provider`` means that the platform itself does not support it.
    """

    operation: str
    provider: str = ""
    instead: str = ""

    def summary(self) -> str:
        subject = f"the provider {self.provider}" if self.provider else "the platform"
        return f"{self.operation}: {subject} does not support it"

    def __str__(self) -> str:
        return self.with_advice(self.instead)


@typed_error
class ArchiveError(PocketenvError):
    """An archive could not be created, read or trusted. ``entry`` is the member with the error."""

    reason: str
    entry: str = ""

    def summary(self) -> str:
        return after_place(self.entry, self.reason)


@typed_error
class EncryptionError(PocketenvError):
    """A value could not be sealed. ``reason`` never contains the value."""

    happened: ClassVar[str] = "the value could not be sealed: {reason}"
    reason: str


def raise_for(result: Result[T, PocketenvError]) -> T:
    """Return the value of a Success, or raise the error of a Failure.

    >>> from returns.result import Failure, Success
    >>> from pocketenv_fp.errors import NotLoggedIn, raise_for
    >>> raise_for(Success(3))
    3
    >>> raise_for(Failure(NotLoggedIn()))
    Traceback (most recent call last):
        ...
    pocketenv_fp.errors.tree.NotLoggedIn: not logged in. Log in: python -m pocketenv_fp login HANDLE. ...

    The traceback ends with a note for each place of the failure.

    Args:
        result: The Result of a function of this library.

    """
    demand_type("raise_for", "result", result, Result)
    if isinstance(result, Failure):
        error = result.failure()
        notes = getattr(error, "__notes__", ())
        for place in error.where:
            if (note := f"in {place}") not in notes:
                error.add_note(note)
        raise error
    return result.unwrap()
