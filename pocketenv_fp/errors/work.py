"""Errors of what runs in a sandbox: commands, jobs, code, servers and the shell."""

from __future__ import annotations

from copy import copy
from dataclasses import field
from typing import ClassVar, Self, cast

from pocketenv_fp.errors.base import PocketenvError, after_place, typed_error

__all__ = [
    "CodeFailed",
    "CodeTimeout",
    "CommandFailed",
    "CommandTimeout",
    "ContextLost",
    "JobTimeout",
    "NotRestored",
    "ServerTimeout",
    "ShellBusy",
    "ShellLost",
]


@typed_error
class CommandFailed(PocketenvError):
    """A command ended with a non-zero ``exit_code``. Its output is in the fields.

    The message names the step and the sandbox. It ends with the last lines of stderr: see ``tail``.
    """

    happened: ClassVar[str] = "the command ended with exit code {exit_code}"
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


@typed_error
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


@typed_error
class JobTimeout(PocketenvError, TimeoutError):
    """The job with this ``id`` still ran after ``seconds``, and runs on."""

    happened: ClassVar[str] = "the job {id} still runs after {seconds:g} s"
    advice: ClassVar[str] = "Follow it again, or end it with cancel."

    seconds: float
    id: str = ""


@typed_error
class CodeFailed(PocketenvError):
    """Code raised an exception of the class ``kind``. The message, traceback and output are in the fields only."""

    happened: ClassVar[str] = "the code raised {kind}"
    advice: ClassVar[str] = "The traceback is in .traceback, and the output in .stdout and .stderr."

    kind: str
    message: str = field(default="", repr=False)
    traceback: str = field(default="", repr=False)
    stdout: str = field(default="", repr=False)
    stderr: str = field(default="", repr=False)


@typed_error
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


@typed_error
class ContextLost(PocketenvError):
    """The process of a ``context`` ended while it ran code: it crashed, was killed, or was restarted."""

    happened: ClassVar[str] = "the process of the context {context} ended while the code ran"
    advice: ClassVar[str] = (
        "Its state is lost, and the next run_code starts a new one. os._exit, a crash or too little memory ends it."
    )

    context: str
    stdout: str = field(default="", repr=False)
    stderr: str = field(default="", repr=False)


@typed_error
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
        return after_place(self.operation, "the sandbox's shell has ended")


@typed_error
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
        return after_place(self.operation, f"the sandbox's shell was busy for {self.seconds:g} s")


@typed_error
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


@typed_error
class NotRestored(PocketenvError):
    """`restart` stopped the sandbox, and could not put back the content of ``directory``. It is in ``place``.

    ``reason`` is the message of the error that came between.
    """

    happened: ClassVar[str] = "the content of {directory} is in {place}, and not in the sandbox: {reason}"
    advice: ClassVar[str] = "Nothing of it is lost: unpack it with tar -xzf, and put it back with upload."

    directory: str
    place: str
    reason: str
