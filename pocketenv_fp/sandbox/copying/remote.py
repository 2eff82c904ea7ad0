"""A sandbox as one end of a copy: the lines that run in it, and its archives in storage.

The platform pastes paths into its own shell lines without quotes. So it gets only paths in ``/tmp`` with generated
names. A path of the caller is used only in quoted lines of this library.

Read timeouts: a line that looks or cleans up has ``read_timeout``. Packing, unpacking and the platform's own work have
the provider's limit for a command (300 s on Cloudflare, an hour if it is unknown) plus ``read_timeout``.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import msgspec
from returns.result import Failure, Result, Success

from pocketenv_fp.config import settings
from pocketenv_fp.errors import (
    CommandFailed,
    DeadlineExceeded,
    DecodeError,
    InvalidInput,
    PocketenvError,
    ServerError,
    TransportError,
)
from pocketenv_fp.http.xrpc import decode, nothing, procedure, send
from pocketenv_fp.models import ExecResult, Sandbox
from pocketenv_fp.providers import Provider, provider_of
from pocketenv_fp.runtime.backoff import pauses
from pocketenv_fp.runtime.deadline import brief, limited, nap, remaining, unlimited
from pocketenv_fp.runtime.signals import guarded
from pocketenv_fp.sandbox.commands.exec import ran
from pocketenv_fp.sandbox.commands.wire_form import Command
from pocketenv_fp.sandbox.copying.lines import NO_TOOL, REMOVE, REMOVE_LATE, with_variables
from pocketenv_fp.validation import unsendable

__all__ = [
    "HOME",
    "STAGED",
    "End",
    "Staged",
    "failed",
    "may_have_run",
    "names_directory",
    "place",
    "repeated",
    "staging",
    "succeeded",
    "tag_of",
    "temporary",
]

T = TypeVar("T")

HOME = "/workspace"
STAGED = "/tmp/pocketenv-"  # noqa: S108  # in a sandbox
# For the cleanup, if the deadline of `within` is over.
REMOVING = 30.0
LONGEST = 3600.0


class _Packed(msgspec.Struct):
    uuid: str


def _uuid(body: bytes) -> str:
    return decode(body, _Packed).uuid


def place(field: str, path: str) -> Result[str, PocketenvError]:
    """Return the absolute path in a sandbox. Failures: InvalidInput for a path that cannot be copied."""
    if wrong := unsendable(field, path):
        return Failure(wrong)
    if path.startswith("~"):
        return Failure(
            InvalidInput(field, "starts with ~, which is not expanded: write an absolute path, or ./~ for that name")
        )
    full = "/" + posixpath.normpath(posixpath.join(HOME, path)).lstrip("/")
    if full == "/":
        return Failure(InvalidInput(field, "is the root of the sandbox: use a directory in it"))
    return Success(full)


def names_directory(path: str) -> bool:
    """Return whether the end of the path alone shows that it is a directory."""
    return posixpath.basename(path) in {"", ".", ".."}


def temporary() -> str:
    """Return a new path in a sandbox. Its name needs no quoting."""
    return f"{STAGED}{os.urandom(16).hex()}"


def tag_of(staged: str) -> str:
    """Return the common prefix of the files in a temporary directory. It identifies them in other places."""
    return posixpath.basename(staged)


def may_have_run(error: PocketenvError) -> bool:
    """Return whether a failed request may have been executed, completely or in part."""
    match error:
        case TransportError(maybe_sent=True) | DeadlineExceeded(maybe_sent=True) | ServerError() | DecodeError():
            return True
        case _:
            return False


class End(NamedTuple):
    """A sandbox as one end of a copy. ``field`` is the argument with its path."""

    sandbox: Sandbox
    field: str = "remote"

    @property
    def provider(self) -> Provider:
        """The sandbox's provider."""
        return provider_of(self.sandbox.provider)

    def push(self, directory: str) -> Result[str, PocketenvError]:
        """Pack a directory into storage. Returns the archive's uuid, also if the directory does not exist."""
        body = {"sandboxId": self.sandbox.id, "directoryPath": directory}
        return send(procedure("sandbox.pushDirectory", _uuid, body=body, work_seconds=self._longest))

    def pull(self, uuid: str, directory: str) -> Result[None, PocketenvError]:
        """Unpack an archive from storage into a directory. A Success does not prove that it was unpacked."""
        body = {"sandboxId": self.sandbox.id, "uuid": uuid, "directoryPath": directory}
        return send(procedure("sandbox.pullDirectory", nothing, body=body, work_seconds=self._longest))

    def run(
        self, line: str, *, is_long: bool = False, values: dict[str, str | int] | None = None, **paths: str
    ) -> Result[ExecResult, PocketenvError]:
        """Run a line of `lines` with these variables; paths are absolute. A non-zero exit code is not a Failure.

        Failures: InvalidInput if the sandbox lacks a tool that the line needs; those of a request.
        """
        variables: dict[str, str | int] = {}
        for name, path in paths.items():
            variables[name] = f".{path}"
        variables |= values or {}
        if "s" in paths:
            variables["tag"] = tag_of(paths["s"])
        command = Command(with_variables(line, variables), cwd="/")
        most = self._longest if is_long else 0.0
        answer = ran(self.sandbox, command, env=None, check=False, work_seconds=most)
        if isinstance(answer, Failure) or answer.unwrap().exit_code != NO_TOOL:
            return answer
        reason = f"the sandbox has no `{answer.unwrap().stderr.strip()}`, which is needed here: install it there"
        return Failure(InvalidInput(self.field, reason))

    def remove(self, directory: str, *, is_under_way: bool) -> None:
        """Remove the staged files. Repeat it for a minute if a request may still create some."""
        with unlimited(), limited(REMOVING), brief():
            self.run(REMOVE_LATE if is_under_way else REMOVE, s=directory)

    @property
    def _longest(self) -> float:
        return self.provider.exec_seconds or LONGEST


@dataclass
class Staged:
    """A temporary directory in a sandbox, and its state."""

    path: str
    is_there: bool = True
    is_under_way: bool = True


@contextmanager
def staging(end: End, path: str) -> Generator[Staged]:
    """Remove ``path`` after the block, if it may exist. Signals are delayed, except in an `opened` block."""
    staged = Staged(path)
    # A shell does not stop where the caller does: what the last line moves is moved before Ctrl-C comes out.
    with guarded():
        try:
            yield staged
        finally:
            if staged.is_there:
                end.remove(staged.path, is_under_way=staged.is_under_way)


def failed(ran: ExecResult) -> CommandFailed:
    """Return the error of a line, with the output of the sandbox's tools."""
    return CommandFailed(ran.exit_code, ran.stdout, ran.stderr)


def succeeded(ran: ExecResult) -> Result[ExecResult, PocketenvError]:
    """Return the result of a line with exit code 0. Failures: CommandFailed."""
    return Success(ran) if ran.exit_code == 0 else Failure(failed(ran))


def repeated(attempt: Callable[[], Result[T, PocketenvError]]) -> Result[T, PocketenvError]:
    """Retry a line whose response was lost, up to ``retries`` times. The line must be safe to repeat."""
    known = settings()
    if isinstance(known, Failure):
        return known
    for pause in pauses(known.unwrap().retries):
        result = attempt()
        if not isinstance(result, Failure) or not may_have_run(result.failure()) or remaining() <= 0:
            return result
        nap(pause)
    return attempt()
