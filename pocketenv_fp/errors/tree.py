"""Everything that can go wrong, as one tree of typed values.

.. code-block:: text

    PocketenvError
    ├── NotLoggedIn                     no token was found where one is needed
    ├── InvalidInput                    a value was refused before anything was sent     (a ValueError)
    ├── ApiError                        the platform answered with an error
    │   ├── SandboxNotFound             no such sandbox, or none that is yours
    │   ├── RecordNotFound              the sandbox has no such secret, variable, file, volume or service
    │   ├── PathNotFound                the sandbox has no such file or directory
    │   ├── JobNotFound                 the sandbox has no such job, or no longer
    │   ├── ProfileNotFound             the platform gave an empty profile
    │   ├── RepositoryTaken             an older sandbox of yours has that repository and base
    │   ├── Unauthorized                the token is missing, expired or not accepted
    │   ├── RateLimited                 too many requests; ``retry_after`` seconds to wait
    │   └── ServerError                 a 5xx: the platform failed
    │       ├── NameTaken               another sandbox has that name
    │       ├── PathTaken               another volume of the sandbox is at that path
    │       ├── MalformedToken          the token is none of Pocketenv's
    │       └── SessionLost             the AT Protocol session of the login is gone: log in again
    ├── TransportError                  no answer: connection, TLS, time-out, broken connection
    ├── DecodeError                     an answer that the contract does not describe
    ├── DeadlineExceeded                the time that `within` gave was over             (a TimeoutError)
    ├── WorkerLost                      the process that ran a pipeline of `fan_out` died
    ├── NotSupported                    the sandbox's provider cannot do that, or the platform has no handler
    ├── ShellLost                       the sandbox's one shell has ended: no command runs until stop and start
    ├── ShellBusy                       the sandbox's one shell did not take the command in time (a TimeoutError)
    ├── WaitTimeout                     a sandbox was not running in time                (a TimeoutError)
    ├── JobTimeout                      a job was still running when `follow` waited no longer (a TimeoutError)
    ├── CommandFailed                   a command's exit code was not zero, where that was asked to matter
    ├── CommandTimeout                  a command took longer than it may                (a TimeoutError)
    ├── ArchiveError                    an archive could not be made, read or trusted
    └── EncryptionError                 a value could not be sealed

Functions of this library *return* these inside a ``Failure``. They are ordinary exceptions as well, so that
``raise_for`` and ``unwrap`` chain well in programs that prefer to raise. Each says what to do, compares by value,
pickles, and has its fields in pattern order:

    >>> from pocketenv_fp.errors import ApiError, SandboxNotFound
    >>> error = SandboxNotFound(404, "SandboxNotFound", "no such sandbox", "exec")
    >>> match error:
    ...     case ApiError(status=404, operation=operation):
    ...         print(operation)
    exec
    >>> print(error)
    exec: no such sandbox (404 SandboxNotFound). Check the id or name, and that the token is the owner's.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, Self, TypeVar, cast

import msgspec
from returns.result import Failure, Result

from pocketenv_fp.plain_types import demand_type

__all__ = [
    "ApiError",
    "ArchiveError",
    "CommandFailed",
    "CommandTimeout",
    "DeadlineExceeded",
    "DecodeError",
    "EncryptionError",
    "InvalidInput",
    "JobNotFound",
    "JobTimeout",
    "MalformedToken",
    "NameTaken",
    "NotLoggedIn",
    "NotSupported",
    "PathNotFound",
    "PathTaken",
    "Place",
    "PocketenvError",
    "ProfileNotFound",
    "RateLimited",
    "RecordNotFound",
    "RepositoryTaken",
    "SandboxNotFound",
    "ServerError",
    "SessionLost",
    "ShellBusy",
    "ShellLost",
    "TransportError",
    "TransportKind",
    "Unauthorized",
    "WaitTimeout",
    "WorkerLost",
    "api_error_kind",
    "hides_its_cause",
    "raise_for",
]

T = TypeVar("T")

TransportKind = Literal["connect", "dropped", "protocol", "proxy", "timeout", "tls"]
"""Where a request got stuck: no connection, a broken one, no HTTP on it, the proxy, too slow, TLS."""


class Place(msgspec.Struct, frozen=True):
    """Where a failure happened: in which step of which pipeline, ``seconds`` after that began.

    Steps are shown by their source with secrets masked, shortened where that is long. ``position`` counts from 1.
    """

    step: str
    position: int
    pipeline: str
    seconds: float

    def __str__(self) -> str:
        which = "" if self.pipeline == self.step else f", step {self.position} of {self.pipeline}"
        return f"{self.step}{which}, after {self.seconds:.3f} s"


# Not frozen: contextmanager and add_note assign to exceptions on their way. Equality, hash and repr are written once:
# to have them made for each class would be a fifth of this library's import time.
@dataclass(eq=False, repr=False)
class PocketenvError(Exception):
    """The root of the tree: ``except PocketenvError`` catches all that this library reports."""

    advice: ClassVar[str] = ""

    def summary(self) -> str:
        """What happened, in one clause."""
        return type(self).__name__

    @property
    def where(self) -> tuple[Place, ...]:
        """Where it happened: the step that failed, then the step that this one was in, and so on.

        It is no part of what is compared, and empty for an error that comes from no step.

        >>> from pocketenv_fp import create, exec
        >>> ci = create | exec("make test", check=True)
        >>> place = ci("my-box").failure().where[0]
        >>> place.step, place.position, place.pipeline
        ("exec('make test', check=True)", 2, "create() | exec('make test', check=True)")
        """
        return cast("tuple[Place, ...]", self.__dict__.get("_where", ()))

    def at(self, place: Place) -> Self:
        """Give the same error, which happened there: a copy, since one error may be the answer to many."""
        moved = copy(self)
        moved.__dict__["_where"] = (*self.where, place)
        return moved

    def __str__(self) -> str:
        return f"{self.summary()}. {self.advice}" if self.advice else f"{self.summary()}."

    def _fields(self) -> tuple[object, ...]:
        names: tuple[str, ...] = type(self).__match_args__
        return tuple(getattr(self, name) for name in names)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PocketenvError) or type(self) is not type(other):
            return NotImplemented
        return self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash((type(self), self._fields()))

    def __repr__(self) -> str:
        shown = (f"{field.name}={getattr(self, field.name)!r}" for field in fields(self) if field.repr)
        return f"{type(self).__name__}({', '.join(shown)})"

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception's own way re-creates it from `args`, which lack what was given by keyword.
        kept: dict[str, object] = {"_where": self.where} if self.where else {}
        if notes := getattr(self, "__notes__", None):
            kept["__notes__"] = list(notes)
        return (type(self), self._fields(), kept) if kept else (type(self), self._fields())


@dataclass(eq=False, repr=False)
class NotLoggedIn(PocketenvError):
    """No token where one is needed. Nothing was sent."""

    advice: ClassVar[str] = (
        'Set POCKETENV_TOKEN, pass token=, or write {"token": "…"} to ~/.pocketenv/token.json; '
        "POCKETENV_API_URL=local needs none."
    )

    def summary(self) -> str:
        return "not logged in"


@dataclass(eq=False, repr=False)
class InvalidInput(PocketenvError, ValueError):
    """A value that cannot be right. Nothing was sent. ``reason`` never holds the value itself."""

    field: str
    reason: str

    def summary(self) -> str:
        return f"{self.field}: {self.reason}"


@dataclass(eq=False, repr=False)
class ApiError(PocketenvError):
    """The platform's own answer: HTTP ``status``, its ``error`` name and ``message``, and who asked."""

    status: int
    error: str = ""
    message: str = ""
    operation: str = ""

    def summary(self) -> str:
        said = self.message or self.error or "the platform refused"
        name = f" {self.error}" if self.error and self.error != said else ""
        where = f"{self.operation}: " if self.operation else ""
        return f"{where}{said} ({self.status}{name})"

    def __str__(self) -> str:
        # All that the platform tells of what a provider refused, such as a command in a stopped sandbox.
        refused = self.status == 400 and self.message == "Request failed with status code 400"
        told = super().__str__()
        return (
            f"{told} The provider refused, and the platform hides why. If the sandbox does not run, start it."
            if refused
            else told
        )


@dataclass(eq=False, repr=False)
class SandboxNotFound(ApiError):
    """There is no such sandbox, or it is somebody else's: the platform does not tell the two apart."""

    advice: ClassVar[str] = "Check the id or name, and that the token is the owner's."

    status: int = 404
    error: str = "SandboxNotFound"


@dataclass(eq=False, repr=False)
class RecordNotFound(ApiError):
    """The sandbox has no secret, variable, file, volume or service with that name or id."""

    advice: ClassVar[str] = "List what the sandbox has: the platform may also be hiding what is not yours."

    status: int = 404
    error: str = "RecordNotFound"


@dataclass(eq=False, repr=False)
class PathNotFound(ApiError):
    """The sandbox has no such file or directory. The platform itself answers 200 and hands over nothing."""

    advice: ClassVar[str] = "Check the path: a relative one starts at /workspace."

    status: int = 404
    error: str = "PathNotFound"


@dataclass(eq=False, repr=False)
class JobNotFound(ApiError):
    """The sandbox has no such job. A job ends with its sandbox: after a stop there is none."""

    advice: ClassVar[str] = "Check the id with list_jobs. A job ends when its sandbox stops: submit it again."

    status: int = 404
    error: str = "JobNotFound"


@dataclass(eq=False, repr=False)
class ProfileNotFound(ApiError):
    """An empty profile. The platform hides every failure of a profile lookup behind a 200 and ``{}``."""

    advice: ClassVar[str] = "Check the DID or handle; for me(), the token."

    status: int = 200
    error: str = "ProfileNotFound"


@dataclass(eq=False, repr=False)
class RepositoryTaken(ApiError):
    """The platform answered a create with an older sandbox of yours: it has the same repository and base."""

    advice: ClassVar[str] = (
        "Use that sandbox with reuse=True. For a sandbox of its own, create it without repo=, "
        "and clone with start(repo=…)."
    )

    status: int = 200
    error: str = "RepositoryTaken"


@dataclass(eq=False, repr=False)
class Unauthorized(ApiError):
    """401: the platform wants a login, or does not accept this one."""

    advice: ClassVar[str] = (
        "The token is missing, expired or of another platform: log in again and set POCKETENV_TOKEN."
    )


@dataclass(eq=False, repr=False)
class RateLimited(ApiError):
    """429, after waiting as often as ``retries`` allows. ``retry_after`` is in seconds, None if not said."""

    advice: ClassVar[str] = "Refused requests count too: stop for retry_after seconds before the next one."

    retry_after: float | None = None


@dataclass(eq=False, repr=False)
class ServerError(ApiError):
    """5xx. A create or an exec that got one may have happened: look before trying again."""

    advice: ClassVar[str] = (
        "The platform hides the cause. A token with a bad signature, a name that is taken and an unreadable secret all "
        "look like this."
    )


@dataclass(eq=False, repr=False)
class NameTaken(ServerError):
    """Another sandbox has that name, yours or somebody else's."""

    advice: ClassVar[str] = "Choose another name, or use the sandbox that has it: get_sandbox(name)."

    status: int = 500
    error: str = "NameTaken"


@dataclass(eq=False, repr=False)
class PathTaken(ServerError):
    """Another volume of the sandbox is attached at that path."""

    advice: ClassVar[str] = "Choose another path, or delete that volume: delete_volume(name)."

    status: int = 500
    error: str = "PathTaken"


@dataclass(eq=False, repr=False)
class MalformedToken(ServerError):
    """The token is none of Pocketenv's, and the platform answers every request with such a token with a 500."""

    advice: ClassVar[str] = (
        "The token is malformed. Log in again, and set POCKETENV_TOKEN, token= or ~/.pocketenv/token.json "
        "to the whole new token."
    )

    status: int = 500
    error: str = "InternalServerError"


@dataclass(eq=False, repr=False)
class TransportError(PocketenvError):
    """No answer came. ``maybe_sent`` tells whether the platform may have received the request all the same."""

    kind: TransportKind
    reason: str
    operation: str = ""
    maybe_sent: bool = False

    def summary(self) -> str:
        where = f"{self.operation}: " if self.operation else ""
        return f"{where}{self.reason} ({self.kind})"

    def __str__(self) -> str:
        advice = (
            "The platform may have acted on it: look before trying again."
            if self.maybe_sent
            else "Nothing reached the platform: it is safe to try again."
        )
        return f"{self.summary()}. {advice}"


@dataclass(eq=False, repr=False)
class DecodeError(PocketenvError):
    """The answer is not what the contract says. ``reason`` names the place in it, never its content."""

    advice: ClassVar[str] = "The platform may be newer than this library, or POCKETENV_API_URL may not be a Pocketenv."

    operation: str
    reason: str

    def summary(self) -> str:
        # A method of the platform has a dot in its name. What else reads something reads what a command printed.
        what = "answer" if "." in self.operation else "output"
        return f"{self.operation}: the {what} is not understood: {self.reason}"

    def __str__(self) -> str:
        asked = "." in self.operation
        return (
            super().__str__()
            if asked
            else f"{self.summary()}. Look at the command's stdout, and that it prints nothing else."
        )


@dataclass(eq=False, repr=False)
class WaitTimeout(PocketenvError, TimeoutError):
    """Not running after ``seconds``. ``last_status`` is the status that the last look showed."""

    advice: ClassVar[str] = (
        "Give it more time with timeout=, or look at the sandbox: a creation that failed stays INITIALIZING."
    )

    seconds: float | None = None
    last_status: str | None = None

    def summary(self) -> str:
        after = "in time" if self.seconds is None else f"after {self.seconds:g} s"
        status = f"; its status was {self.last_status}" if self.last_status else ""
        return f"the sandbox was not running {after}{status}"


@dataclass(eq=False, repr=False)
class DeadlineExceeded(PocketenvError, TimeoutError):
    """The ``seconds`` that `within` gave were over before ``operation`` was done, or before it could begin.

    ``maybe_sent`` tells whether the platform may have received its request.
    """

    seconds: float
    operation: str = ""
    maybe_sent: bool = False

    def summary(self) -> str:
        where = f"{self.operation}: " if self.operation else ""
        return f"{where}not done within {self.seconds:g} s"

    def __str__(self) -> str:
        advice = (
            "The platform may have acted on it, and a command may still run: look before trying again."
            if self.maybe_sent
            else "Its request was not sent: give it more time, or try again."
        )
        return f"{self.summary()}. {advice}"


@dataclass(eq=False, repr=False)
class WorkerLost(PocketenvError):
    """The process that was to run a pipeline died before it gave a result. How far it had come nobody knows."""

    advice: ClassVar[str] = (
        "Its sandbox may be there, and a command in it may have run: look for it by its name before trying again. "
        "Workers die where they run out of memory, or are killed."
    )

    def summary(self) -> str:
        return "the process that ran this pipeline, or was to run it, died"


@dataclass(eq=False, repr=False)
class CommandFailed(PocketenvError):
    """A command ended with a non-zero ``exit_code``. Its output is in the fields and not in the message."""

    advice: ClassVar[str] = "What it printed is in .stdout and .stderr."

    exit_code: int
    stdout: str = field(default="", repr=False)
    stderr: str = field(default="", repr=False)

    def summary(self) -> str:
        return f"the command ended with exit code {self.exit_code}"


@dataclass(eq=False, repr=False)
class JobTimeout(PocketenvError, TimeoutError):
    """The job with this ``id`` still ran after ``seconds``, and runs on."""

    advice: ClassVar[str] = "Follow it again, or end it with cancel."

    seconds: float
    id: str = ""

    def summary(self) -> str:
        return f"the job {self.id} still runs after {self.seconds:g} s"


@dataclass(eq=False, repr=False)
class CommandTimeout(PocketenvError, TimeoutError):
    """A command was still running after ``seconds`` and was killed, with all that it had started.

    Its output up to then is in the fields and not in the message. With ``may_run`` it was the platform that stopped
    waiting: the output is lost, and the command may run on.
    """

    advice: ClassVar[str] = "Give it more time with timeout=. What it had printed is in .stdout and .stderr."

    seconds: float
    stdout: str = field(default="", repr=False)
    stderr: str = field(default="", repr=False)
    may_run: bool = False

    def summary(self) -> str:
        if self.may_run:
            return f"the platform waited {self.seconds:g} s for the command and no longer"
        return f"the command was ended after {self.seconds:g} s"

    def __str__(self) -> str:
        if not self.may_run:
            return super().__str__()
        return (
            f"{self.summary()}. It may run on, and later commands may wait for it. Run a long command as a job: "
            "exec(…, durable=True), or submit."
        )


@dataclass(eq=False, repr=False)
class NotSupported(PocketenvError):
    """The sandbox's ``provider`` cannot do ``operation``, and nothing was sent. ``instead`` says what can be done.

    ``provider`` is empty where no provider can: the platform has no handler for it.
    """

    operation: str
    provider: str = ""
    instead: str = ""

    def summary(self) -> str:
        where = f"the provider {self.provider}" if self.provider else "the platform"
        return f"{self.operation}: {where} does not support it"

    def __str__(self) -> str:
        return f"{self.summary()}. {self.instead}" if self.instead else f"{self.summary()}."


@dataclass(eq=False, repr=False)
class ShellLost(PocketenvError):
    """The one shell that runs all commands of a Cloudflare sandbox has ended, so no command runs in it any more.

    Another client ended it, with a raw ``exit``, a failing line under ``set -e`` or a syntax error: then the command
    did not run. Or the command itself killed it, with ``kill -9 -1``.
    """

    advice: ClassVar[str] = (
        "Stop and start the sandbox: box | stop | start. On Cloudflare that discards its files. "
        "A start alone does not heal it."
    )

    operation: str = ""

    def summary(self) -> str:
        where = f"{self.operation}: " if self.operation else ""
        return f"{where}the sandbox's shell has ended"


@dataclass(eq=False, repr=False)
class ShellBusy(PocketenvError, TimeoutError):
    """The one shell of a Cloudflare sandbox did not answer in ``seconds``, which is longer than the command may take.

    An earlier command still holds the shell, or an unclosed quote of another client blocks it. The command may run
    later.
    """

    advice: ClassVar[str] = (
        "Wait for the earlier command to end. If none runs, stop and start the sandbox: box | stop | start. "
        "On Cloudflare that discards its files."
    )

    seconds: float
    operation: str = ""

    def summary(self) -> str:
        where = f"{self.operation}: " if self.operation else ""
        return f"{where}the sandbox's shell was busy for {self.seconds:g} s"


@dataclass(eq=False, repr=False)
class SessionLost(ServerError):
    """The platform's AT Protocol session of this login is gone (500 AgentCreationError).

    ``sandbox`` is the id of a sandbox that a create left all the same and that could not be deleted, else empty.
    """

    advice: ClassVar[str] = "Log in to Pocketenv again, and set the new token."

    status: int = 500
    error: str = "AgentCreationError"
    sandbox: str = ""

    def __str__(self) -> str:
        left = f" The sandbox {self.sandbox} was made all the same: delete it." if self.sandbox else ""
        return f"{super().__str__()}{left}"


@dataclass(eq=False, repr=False)
class ArchiveError(PocketenvError):
    """An archive could not be made, read or trusted; ``entry`` is the member that was at fault."""

    reason: str
    entry: str = ""

    def summary(self) -> str:
        return f"{self.entry}: {self.reason}" if self.entry else self.reason


@dataclass(eq=False, repr=False)
class EncryptionError(PocketenvError):
    """A value could not be sealed. ``reason`` never holds the value."""

    reason: str

    def summary(self) -> str:
        return f"the value could not be sealed: {self.reason}"


def api_error_kind(status: int, error: str) -> type[ApiError]:
    """Give the class of an answer with this HTTP status and error name."""
    if status == 401:
        return Unauthorized
    if status == 404 and error == "SandboxNotFound":
        return SandboxNotFound
    if status == 500 and error == "AgentCreationError":
        return SessionLost
    return ServerError if status >= 500 else ApiError


def hides_its_cause(error: PocketenvError) -> bool:
    """Return whether ``error`` is a 500 that may stand for anything, a name that is taken among them."""
    return type(error) is ServerError and error.status == 500


def raise_for(result: Result[T, PocketenvError]) -> T:
    """Give the value of a Success, or raise the error of a Failure: the door to programs that raise.

    >>> from returns.result import Failure, Success
    >>> from pocketenv_fp.errors import NotLoggedIn, raise_for
    >>> raise_for(Success(3))
    3
    >>> raise_for(Failure(NotLoggedIn()))
    Traceback (most recent call last):
        ...
    pocketenv_fp.errors.NotLoggedIn: not logged in. Set POCKETENV_TOKEN, ...

    Where it happened stands below it in the traceback.
    """
    demand_type("raise_for", "result", result, Result)
    if isinstance(result, Failure):
        error = result.failure()
        noted = getattr(error, "__notes__", ())
        for place in error.where:
            if (note := f"in {place}") not in noted:
                error.add_note(note)
        raise error
    return result.unwrap()
