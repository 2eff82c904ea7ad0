"""Check whether a sandbox's shell can take a command, and find out why it did not.

The platform answers most failures with a 500 without a cause. A second request finds the cause.
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
    """The shell of a sandbox, as its provider runs it."""

    sandbox: Sandbox
    provider: Provider

    def refusal(self) -> PocketenvError | None:
        """Return an error if the command must not be sent, because the provider would run it in a new sandbox.

        A record without a status is looked up first. On Cloudflare the platform itself refuses such a command.
        """
        if self.provider.running_on_create:
            return None
        status = self.sandbox.status
        if status is Status.UNKNOWN:
            current = look(self.sandbox)
            if isinstance(current, Failure):
                error: PocketenvError = current.failure()
                return error
            status = current.unwrap().status
        if status is Status.RUNNING:
            return None
        first = "wait_until_running" if status is Status.INITIALIZING else "start it and wait_until_running"
        reason = (
            f"is {status.name} in this record, and {self.provider.name} would run the command in a new, empty sandbox: "
            f"{first} first, or look it up with refresh"
        )
        return InvalidInput("sandbox", reason)

    def cause(self, error: PocketenvError, command: Command, seconds: float) -> PocketenvError:
        """Return the cause of the error that a command got after ``seconds``."""
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
            # With this timeout the command itself cannot take so long: it waited for an earlier one.
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
        # One 500 proves nothing: the platform's database may have failed. An ended shell refuses every command.
        smallest = wire_form(Command("true"), self.provider).bind(self._probe)
        return isinstance(smallest, Failure) and isinstance(smallest.failure(), ServerError)

    def _probe(self, form: str) -> Result[None, PocketenvError]:
        return send(procedure(EXEC, lambda _: None, {"id": self.sandbox.id}, {"command": form}))
