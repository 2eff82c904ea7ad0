"""Whether a sandbox's shell can take a command, and why it did not.

The platform answers most failures with a 500 that hides the cause. Another look finds it.
"""

from __future__ import annotations

from typing import NamedTuple

from returns.result import Failure, Result, Success

from pocketenv_fp.errors import (
    CommandTimeout,
    InvalidInput,
    PocketenvError,
    ServerError,
    ShellBusy,
    ShellLost,
    TransportError,
)
from pocketenv_fp.http.xrpc import procedure, send
from pocketenv_fp.models import Sandbox, Status
from pocketenv_fp.pocketenv.sandboxes import look
from pocketenv_fp.providers import Provider
from pocketenv_fp.sandbox.commands.wire_form import GRACE_SECONDS, Command, wire_form

__all__ = ["Shell"]

EXEC = "sandbox.exec"


class Shell(NamedTuple):
    """What runs the commands of a sandbox, and how to ask for it."""

    sandbox: Sandbox
    provider: Provider

    def refusal(self) -> PocketenvError | None:
        """Return why no command may be sent now: it would run in a new sandbox, where the provider's does not run.

        A record without a status is looked at once. On Cloudflare the platform itself refuses.
        """
        if self.provider.running_on_create or self.sandbox.status is Status.RUNNING:
            return None
        if self.sandbox.status is not Status.UNKNOWN:
            return self._not_running(self.sandbox.status)
        match look(self.sandbox):
            case Success(Sandbox(status=Status.RUNNING)):
                return None
            case Success(seen):
                return self._not_running(seen.status)
            case failed:
                return failed.failure()

    def _not_running(self, status: Status) -> PocketenvError:
        first = "wait_until_running" if status is Status.INITIALIZING else "start it and wait_until_running"
        reason = (
            f"is {status.name} in this record, and {self.provider.name} would run the command in a new, empty one: "
            f"{first} first, or look with refresh"
        )
        return InvalidInput("sandbox", reason)

    def cause(self, error: PocketenvError, command: Command, seconds: float) -> PocketenvError:
        """Return what lies behind the error that a command got after so many seconds."""
        match error:
            case ServerError(status=500, error="InternalServerError"):
                return self._hidden_cause(error, command, seconds)
            case TransportError(kind="timeout", maybe_sent=True) if self.provider.persistent and command.timeout:
                return ShellBusy(round(seconds, 1), EXEC) if self._is_running() else error
            case _:
                return error

    def _hidden_cause(self, error: ServerError, command: Command, seconds: float) -> PocketenvError:
        longest = self.provider.exec_seconds
        if longest is not None and seconds >= longest:
            # It cannot have taken so long by itself: it waited for an earlier one.
            was_waiting = command.timeout is not None and command.timeout + GRACE_SECONDS < longest
            if was_waiting and self.provider.persistent:
                return ShellBusy(longest, EXEC)
            return CommandTimeout(longest, may_run=True)
        if self.provider.persistent and self._is_running() and self._refuses_all():
            return ShellLost(EXEC)
        return error

    def _is_running(self) -> bool:
        seen = look(self.sandbox)
        return isinstance(seen, Success) and seen.unwrap().status is Status.RUNNING

    def _refuses_all(self) -> bool:
        # Once is no proof: the platform's database may have failed. A dead shell refuses the smallest command, too.
        smallest = wire_form(Command("true"), self.provider).bind(self._probe)
        return isinstance(smallest, Failure) and isinstance(smallest.failure(), ServerError)

    def _probe(self, form: str) -> Result[None, PocketenvError]:
        call = procedure(EXEC, lambda _: None, {"id": self.sandbox.id}, {"command": form})
        return send(call)
