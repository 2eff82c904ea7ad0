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

from copy import copy
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, Protocol, Self, TypeVar, cast

import msgspec
from returns.result import Failure, Result

from pocketenv_fp.plain_types import demand_type

__all__ = [
    "ApiError",
    "ArchiveError",
    "CodeFailed",
    "CodeTimeout",
    "CommandFailed",
    "CommandTimeout",
    "ContextLost",
    "DeadlineExceeded",
    "DecodeError",
    "EncryptionError",
    "InvalidInput",
    "JobNotFound",
    "JobTimeout",
    "LoginFailed",
    "LoginTimeout",
    "MalformedToken",
    "NameTaken",
    "Named",
    "NotLoggedIn",
    "NotRestored",
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
    "ServerTimeout",
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
"""The stage at which a request failed: connection, broken connection, not HTTP, proxy, timeout or TLS."""


class Place(msgspec.Struct, frozen=True):
    """The place of a failure: a step of a pipeline, ``seconds`` after the pipeline began.

    Steps are shown as source code. Secrets are masked, and long steps are shortened. ``position`` counts from 1.
    """

    step: str
    position: int
    pipeline: str
    seconds: float

    def __str__(self) -> str:
        which = "" if self.pipeline == self.step else f", step {self.position} of {self.pipeline}"
        return f"{self.step}{which}, after {self.seconds:.3f} s"


class Named(Protocol):
    """A Sandbox, as far as errors know it."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...


# Not frozen: contextmanager and add_note assign to an exception. Equality, hash and repr are written once here.
# Generating them for each class would take a fifth of this library's import time.
@dataclass(eq=False, repr=False)
class PocketenvError(Exception):
    """The root of the tree. ``except PocketenvError`` catches every error that this library reports."""

    advice: ClassVar[str] = ""

    def summary(self) -> str:
        """Return a clause that says what happened."""
        return type(self).__name__

    @property
    def where(self) -> tuple[Place, ...]:
        """The places of the failure: first the step that failed, then the step around it, and so on.

        Equality ignores it. It is empty for an error that no step returned.

        >>> from pocketenv_fp import create, exec
        >>> ci = create | exec("make test", check=True)
        >>> place = ci("my-box").failure().where[0]
        >>> place.step, place.position, place.pipeline
        ("exec('make test', check=True)", 2, "create() | exec('make test', check=True)")
        """
        return cast("tuple[Place, ...]", self.__dict__.get("_where", ()))

    @property
    def sandbox(self) -> Named | None:
        """The Sandbox of the step that failed, or None. It may still exist, also after a create of this program.

        Its id, name and provider are sure. The rest may be older, or missing. `sandbox_of` returns it as the target of a
        cleanup. Equality ignores it.

        >>> from pocketenv_fp import create, exec
        >>> (create | exec("make test", check=True))("my-box").failure().sandbox.name
        'my-box'
        """
        return cast("Named | None", self.__dict__.get("_sandbox"))

    def at(self, place: Place, sandbox: Named | None = None) -> Self:
        """Return a copy of the error with ``place`` added, and with ``sandbox`` if it has none.

        One error may be the result of several calls.
        """
        moved = copy(self)
        moved.__dict__["_where"] = (*self.where, place)
        if sandbox is not None:
            moved.__dict__.setdefault("_sandbox", sandbox)
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
        # Exception.__reduce__ rebuilds from `args`, which lack keyword arguments.
        state: dict[str, object] = {
            name: self.__dict__[name] for name in ("_where", "_sandbox", "_tail") if name in self.__dict__
        }
        if notes := getattr(self, "__notes__", None):
            state["__notes__"] = list(notes)
        return (type(self), self._fields(), state) if state else (type(self), self._fields())


@dataclass(eq=False, repr=False)
class NotLoggedIn(PocketenvError):
    """A token is needed, and none was found. No request was sent."""

    advice: ClassVar[str] = (
        "Log in: python -m pocketenv_fp login HANDLE. Or set POCKETENV_TOKEN, or pass token=. "
        "POCKETENV_API_URL=local needs no token."
    )

    def summary(self) -> str:
        return "not logged in"


@dataclass(eq=False, repr=False)
class LoginFailed(PocketenvError):
    """A login or logout did not succeed. ``reason`` says why. The token file is unchanged."""

    advice: ClassVar[str] = "The token file is unchanged. Try again: python -m pocketenv_fp login HANDLE."

    reason: str

    def summary(self) -> str:
        return f"no login: {self.reason}"


@dataclass(eq=False, repr=False)
class LoginTimeout(PocketenvError, TimeoutError):
    """A login in the browser was not finished after ``seconds``. The token file is unchanged."""

    advice: ClassVar[str] = (
        "Try again, and allow the login in the browser. On a machine without a browser use an app password: "
        "python -m pocketenv_fp login HANDLE --app-password."
    )

    seconds: float

    def summary(self) -> str:
        return f"the login in the browser was not finished after {self.seconds:g} s"


@dataclass(eq=False, repr=False)
class InvalidInput(PocketenvError, ValueError):
    """A value is not valid. No request was sent. ``reason`` never contains the value itself."""

    field: str
    reason: str

    def summary(self) -> str:
        return f"{self.field}: {self.reason}"


@dataclass(eq=False, repr=False)
class ApiError(PocketenvError):
    """The platform returned an error: HTTP ``status``, ``error`` name, ``message`` and the ``operation``."""

    status: int
    error: str = ""
    message: str = ""
    operation: str = ""

    def summary(self) -> str:
        text = self.message or self.error or "the platform refused the request"
        name = f" {self.error}" if self.error and self.error != text else ""
        where = f"{self.operation}: " if self.operation else ""
        # An error of another program may be words alone: see `from_map`.
        return f"{where}{text} ({self.status}{name})" if self.status else f"{where}{text}"

    def __str__(self) -> str:
        # The platform's only message when a provider refuses, for instance a command in a stopped sandbox.
        is_refusal = self.status == 400 and self.message == "Request failed with status code 400"
        message = super().__str__()
        return (
            f"{message} The provider refused, and the platform hides the reason. If the sandbox is stopped, start it."
            if is_refusal
            else message
        )


@dataclass(eq=False, repr=False)
class SandboxNotFound(ApiError):
    """The sandbox does not exist, or it is not yours. The platform returns the same error for both."""

    advice: ClassVar[str] = "Check the id or name. The token must be the owner's."

    status: int = 404
    error: str = "SandboxNotFound"


@dataclass(eq=False, repr=False)
class RecordNotFound(ApiError):
    """The sandbox has no secret, variable, file, volume or service with that name or id."""

    advice: ClassVar[str] = "List the sandbox's records. The platform also hides records that are not yours."

    status: int = 404
    error: str = "RecordNotFound"


@dataclass(eq=False, repr=False)
class PathNotFound(ApiError):
    """The sandbox has no such file or directory. The platform itself returns 200 and no archive."""

    advice: ClassVar[str] = "Check the path. A relative path starts at /workspace."

    status: int = 404
    error: str = "PathNotFound"


@dataclass(eq=False, repr=False)
class JobNotFound(ApiError):
    """The sandbox does not have this job. A job ends with its sandbox, so a stop removes all jobs."""

    advice: ClassVar[str] = "Check the id with list_jobs. A job ends when its sandbox stops: submit it again."

    status: int = 404
    error: str = "JobNotFound"


@dataclass(eq=False, repr=False)
class ProfileNotFound(ApiError):
    """The profile is empty. The platform returns 200 and ``{}`` for every failed profile lookup."""

    advice: ClassVar[str] = "Check the DID or handle. For me(), check the token."

    status: int = 200
    error: str = "ProfileNotFound"


@dataclass(eq=False, repr=False)
class RepositoryTaken(ApiError):
    """The platform answered a create with an older sandbox of yours, which has the same repository and base."""

    advice: ClassVar[str] = (
        "Use that sandbox with reuse=True. For a new sandbox, create it without repo= and clone with start(repo=…)."
    )

    status: int = 200
    error: str = "RepositoryTaken"


@dataclass(eq=False, repr=False)
class Unauthorized(ApiError):
    """401: the platform needs a login, or does not accept this one."""

    advice: ClassVar[str] = (
        "The token is missing, expired or from another platform. Log in again: python -m pocketenv_fp login HANDLE. "
        "If POCKETENV_TOKEN is set, set it to the new token."
    )


@dataclass(eq=False, repr=False)
class RateLimited(ApiError):
    """429, after ``retries`` retries. ``retry_after`` is in seconds, or None if the platform did not send it."""

    advice: ClassVar[str] = "Refused requests count too: send no request for retry_after seconds."

    retry_after: float | None = None


@dataclass(eq=False, repr=False)
class ServerError(ApiError):
    """5xx. A create or an exec with this error may have taken effect: check before you retry."""

    advice: ClassVar[str] = (
        "The platform hides the cause. Common causes: a token with a bad signature, a name that is taken, "
        "a secret that cannot be read."
    )


@dataclass(eq=False, repr=False)
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


@dataclass(eq=False, repr=False)
class PathTaken(ServerError):
    """Another volume of the sandbox is attached at that path."""

    advice: ClassVar[str] = "Choose another path, or delete that volume: delete_volume(name)."

    status: int = 500
    error: str = "PathTaken"


@dataclass(eq=False, repr=False)
class MalformedToken(ServerError):
    """The token is not a Pocketenv token. The platform returns a 500 for every request with such a token."""

    advice: ClassVar[str] = (
        "The token is malformed. Log in again. Set POCKETENV_TOKEN, token= or ~/.pocketenv/token.json "
        "to the complete new token."
    )

    status: int = 500
    error: str = "InternalServerError"


@dataclass(eq=False, repr=False)
class TransportError(PocketenvError):
    """No response arrived. ``maybe_sent`` says whether the platform may have received the request."""

    kind: TransportKind
    reason: str
    operation: str = ""
    maybe_sent: bool = False

    def summary(self) -> str:
        where = f"{self.operation}: " if self.operation else ""
        return f"{where}{self.reason} ({self.kind})"

    def __str__(self) -> str:
        advice = (
            "The platform may have executed it: check before you retry."
            if self.maybe_sent
            else "The request did not reach the platform: you can retry."
        )
        return f"{self.summary()}. {advice}"


@dataclass(eq=False, repr=False)
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
        is_response = "." in self.operation
        return (
            super().__str__()
            if is_response
            else f"{self.summary()}. Check the command's stdout: it must print only this output."
        )


@dataclass(eq=False, repr=False)
class WaitTimeout(PocketenvError, TimeoutError):
    """The sandbox was not running after ``seconds``. ``last_status`` is its last known status."""

    advice: ClassVar[str] = "Raise timeout=, or look at the sandbox. If its creation failed, it stays INITIALIZING."

    seconds: float | None = None
    last_status: str | None = None

    def summary(self) -> str:
        after = "in time" if self.seconds is None else f"after {self.seconds:g} s"
        status = f"; its status was {self.last_status}" if self.last_status else ""
        return f"the sandbox was not running {after}{status}"


@dataclass(eq=False, repr=False)
class DeadlineExceeded(PocketenvError, TimeoutError):
    """The time limit of `within`, in ``seconds``, was reached before ``operation`` was done or could begin.

    ``maybe_sent`` says whether the platform may have received the request.
    """

    seconds: float
    operation: str = ""
    maybe_sent: bool = False

    def summary(self) -> str:
        where = f"{self.operation}: " if self.operation else ""
        return f"{where}not done within {self.seconds:g} s"

    def __str__(self) -> str:
        advice = (
            "The platform may have executed it, and a command may still run: check before you retry."
            if self.maybe_sent
            else "The request was not sent: raise the limit, or retry."
        )
        return f"{self.summary()}. {advice}"


@dataclass(eq=False, repr=False)
class WorkerLost(PocketenvError):
    """The process for a pipeline died before it returned a result. Its progress is unknown."""

    advice: ClassVar[str] = (
        "Its sandbox may exist, and a command in it may have run: look for it by its name before you retry. "
        "A worker dies when it runs out of memory or is killed."
    )

    def summary(self) -> str:
        return "the worker process of this pipeline died"


@dataclass(eq=False, repr=False)
class CommandFailed(PocketenvError):
    """A command ended with a non-zero ``exit_code``. Its output is in the fields.

    The message names the step and the sandbox. It ends with the last lines of stderr: see ``tail``.
    """

    advice: ClassVar[str] = "Its output is in .stdout and .stderr."

    exit_code: int
    stdout: str = field(default="", repr=False)
    stderr: str = field(default="", repr=False)

    @property
    def tail(self) -> str:
        """The last lines of stderr, as the message quotes them. Equality ignores it.

        Passwords in URLs and the values of `from_env` are masked. It is empty with ``Config(hide_output=True)``.
        """
        return cast("str", self.__dict__.get("_tail", ""))

    def quoting(self, tail: str) -> Self:
        """Return a copy of the error whose message ends with ``tail``."""
        quoted = copy(self)
        quoted.__dict__["_tail"] = tail
        return quoted

    def __str__(self) -> str:
        on = f", on the sandbox {self.sandbox.name}" if self.sandbox else ""
        step = f" The step was {self.where[0].step}{on}." if self.where else ""
        quoted = "".join(f"\n    {line}" for line in self.tail.split("\n")) if self.tail else ""
        return f"{super().__str__()}{step}{f' The end of stderr:{quoted}' if quoted else ''}"

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
class ServerTimeout(PocketenvError, TimeoutError):
    """No server in the sandbox was ready on ``port`` after ``seconds``. ``last_seen`` says what the last look saw."""

    advice: ClassVar[str] = (
        "Raise timeout=, or read its output with service_logs or job_output. It must listen on this port of "
        "127.0.0.1, ::1 or all addresses."
    )

    seconds: float
    port: int
    last_seen: str = ""

    def summary(self) -> str:
        seen = f": {self.last_seen}" if self.last_seen else ""
        return f"no server was ready on port {self.port} after {self.seconds:g} s{seen}"


@dataclass(eq=False, repr=False)
class NotRestored(PocketenvError):
    """`restart` stopped the sandbox, and could not put back the content of ``directory``. It is in ``place``.

    ``reason`` is the message of the error that came between.
    """

    advice: ClassVar[str] = "Nothing of it is lost: unpack it with tar -xzf, and put it back with upload."

    directory: str
    place: str
    reason: str

    def summary(self) -> str:
        return f"the content of {self.directory} is in {self.place}, and not in the sandbox: {self.reason}"


@dataclass(eq=False, repr=False)
class CommandTimeout(PocketenvError, TimeoutError):
    """A command still ran after ``seconds``, and was killed with the processes that it had started.

    Its output so far is in the fields, not in the message. With ``may_run`` the platform stopped waiting: the output is
    lost, and the command may still run.
    """

    advice: ClassVar[str] = "Raise timeout=. Its output so far is in .stdout and .stderr."

    seconds: float
    stdout: str = field(default="", repr=False)
    stderr: str = field(default="", repr=False)
    may_run: bool = False

    def summary(self) -> str:
        if self.may_run:
            return f"the platform stopped waiting for the command after {self.seconds:g} s"
        return f"the command was killed after {self.seconds:g} s"

    def __str__(self) -> str:
        if not self.may_run:
            return super().__str__()
        return (
            f"{self.summary()}. It may still run, and later commands may wait for it. Run a long command as a job: "
            "exec(…, durable=True), or submit."
        )


@dataclass(eq=False, repr=False)
class CodeFailed(PocketenvError):
    """Code raised an exception of the class ``kind``. The message, traceback and output are in the fields only."""

    advice: ClassVar[str] = "The traceback is in .traceback, and the output in .stdout and .stderr."

    kind: str
    message: str = field(default="", repr=False)
    traceback: str = field(default="", repr=False)
    stdout: str = field(default="", repr=False)
    stderr: str = field(default="", repr=False)

    def summary(self) -> str:
        return f"the code raised {self.kind}"


@dataclass(eq=False, repr=False)
class CodeTimeout(PocketenvError, TimeoutError):
    """Code still ran after ``seconds``, and was interrupted. Its context keeps its state.

    With ``is_lost`` the code ignored the interrupt. Then its process was killed, and the state is lost.
    """

    seconds: float
    stdout: str = field(default="", repr=False)
    stderr: str = field(default="", repr=False)
    is_lost: bool = False

    def summary(self) -> str:
        return f"the code was {'killed' if self.is_lost else 'interrupted'} after {self.seconds:g} s"

    def __str__(self) -> str:
        state = "Its context has lost its state" if self.is_lost else "Its context keeps its state"
        return f"{self.summary()}. {state}. Raise timeout=. The output so far is in .stdout and .stderr."


@dataclass(eq=False, repr=False)
class ContextLost(PocketenvError):
    """The process of a ``context`` ended while it ran code: it crashed, was killed, or was restarted."""

    advice: ClassVar[str] = (
        "Its state is lost, and the next run_code starts a new one. os._exit, a crash or too little memory ends it."
    )

    context: str
    stdout: str = field(default="", repr=False)
    stderr: str = field(default="", repr=False)

    def summary(self) -> str:
        return f"the process of the context {self.context} ended while the code ran"


@dataclass(eq=False, repr=False)
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
        return f"{self.summary()}. {self.instead}" if self.instead else f"{self.summary()}."


@dataclass(eq=False, repr=False)
class ShellLost(PocketenvError):
    """The one shell that runs all commands of a Cloudflare sandbox has ended. No further command can run.

    Another client may have ended it: with a raw ``exit``, a failing line under ``set -e``, or a syntax error. Then your
    command did not run. Or your command killed the shell, for instance with ``kill -9 -1``.
    """

    advice: ClassVar[str] = (
        "Stop and start the sandbox: box | stop | start. On Cloudflare this deletes its files. "
        "A start alone is not enough."
    )

    operation: str = ""

    def summary(self) -> str:
        where = f"{self.operation}: " if self.operation else ""
        return f"{where}the sandbox's shell has ended"


@dataclass(eq=False, repr=False)
class ShellBusy(PocketenvError, TimeoutError):
    """The one shell of a Cloudflare sandbox did not respond in ``seconds``, which is longer than the command's limit.

    An earlier command still runs in the shell, or an unclosed quote from another client blocks it. Your command may run
    later.
    """

    advice: ClassVar[str] = (
        "Wait for the earlier command to end. If no command runs, stop and start the sandbox: box | stop | start. "
        "On Cloudflare this deletes its files."
    )

    seconds: float
    operation: str = ""

    def summary(self) -> str:
        where = f"{self.operation}: " if self.operation else ""
        return f"{where}the sandbox's shell was busy for {self.seconds:g} s"


@dataclass(eq=False, repr=False)
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


@dataclass(eq=False, repr=False)
class ArchiveError(PocketenvError):
    """An archive could not be created, read or trusted. ``entry`` is the member with the error."""

    reason: str
    entry: str = ""

    def summary(self) -> str:
        return f"{self.entry}: {self.reason}" if self.entry else self.reason


@dataclass(eq=False, repr=False)
class EncryptionError(PocketenvError):
    """A value could not be sealed. ``reason`` never contains the value."""

    reason: str

    def summary(self) -> str:
        return f"the value could not be sealed: {self.reason}"


def api_error_kind(status: int, error: str) -> type[ApiError]:
    """Return the error class for this HTTP status and error name."""
    if status == 401:
        return Unauthorized
    if status == 404 and error == "SandboxNotFound":
        return SandboxNotFound
    if status == 500 and error == "AgentCreationError":
        return SessionLost
    return ServerError if status >= 500 else ApiError


def hides_its_cause(error: PocketenvError) -> bool:
    """Return whether ``error`` is a 500 without a cause. One possible cause is a name that is taken."""
    return type(error) is ServerError and error.status == 500


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
