"""A sandbox as one end of a copy: the lines that run in it, and its archives in and out of storage.

The platform pastes a path into its own shell lines without quotes, so it is only ever asked for paths in ``/tmp`` whose
names were made here. What a caller named is reached by quoted lines of this library.

How long is waited: a line that looks or cleans up has ``read_timeout``, as every request has. What may take long,
packing, unpacking and the platform's own work, has the provider's time limit for a command (300 s on Cloudflare, an
hour where none is known) and ``read_timeout`` more.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable
from typing import TypedDict, TypeVar

import msgspec
from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config, settings
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
from pocketenv_fp.runtime.deadline import limited, nap, remaining, unlimited
from pocketenv_fp.sandbox.commands.exec import ran
from pocketenv_fp.sandbox.commands.wire_form import Command
from pocketenv_fp.sandbox.copying.lines import NO_TOOL, REMOVE, REMOVE_LATE, with_variables

__all__ = [
    "HOME",
    "STAGED",
    "End",
    "may_have_run",
    "names_directory",
    "place",
    "repeated",
    "succeeded",
    "tag_of",
    "temporary",
]

T = TypeVar("T")

HOME = "/workspace"
STAGED = "/tmp/pocketenv-"  # noqa: S108  # in a sandbox
# For removing what was staged, where the time of `within` is over.
REMOVING = 30.0
LONGEST = 3600.0


class _Packed(msgspec.Struct):
    uuid: str


def _uuid(body: bytes) -> str:
    return decode(body, _Packed).uuid


def place(field: str, path: str) -> Result[str, PocketenvError]:
    """Return a path of a sandbox in full. Failures: InvalidInput for what cannot be copied from or to."""
    if "\0" in path:
        return Failure(InvalidInput(field, "contains a NUL character"))
    if path.startswith("~"):
        return Failure(
            InvalidInput(field, "starts with ~, which is not expanded: write an absolute path, or ./~ for that name")
        )
    try:
        path.encode()
    except UnicodeEncodeError:
        return Failure(InvalidInput(field, "is not valid Unicode: it contains half of a surrogate pair"))
    full = "/" + posixpath.normpath(posixpath.join(HOME, path)).lstrip("/")
    if full == "/":
        return Failure(InvalidInput(field, "is the root of the sandbox: use a directory in it"))
    return Success(full)


def names_directory(path: str) -> bool:
    """Return whether the path by its end alone means a directory, whatever is there."""
    return posixpath.basename(path) in {"", ".", ".."}


def temporary() -> str:
    """Return a path in a sandbox that nothing has yet, and whose name no shell changes."""
    return f"{STAGED}{os.urandom(16).hex()}"


def tag_of(staged: str) -> str:
    """Return what the names of the files in a temporary directory begin with, by which they are known elsewhere."""
    return posixpath.basename(staged)


def may_have_run(error: PocketenvError) -> bool:
    """Return whether what failed may have been done all the same, or in part."""
    match error:
        case TransportError(maybe_sent=True) | DeadlineExceeded(maybe_sent=True) | ServerError() | DecodeError():
            return True
        case _:
            return False


class End:
    """A sandbox as one end of a copy, and how to reach it. ``field`` is the argument that names the path in it."""

    def __init__(self, sandbox: Sandbox, token: str | None, config: Config | None, field: str = "remote") -> None:
        self.sandbox = sandbox
        self.field = field
        self.token = token
        self.config = config

    @property
    def provider(self) -> Provider:
        """What is known of the sandbox's provider."""
        return provider_of(self.sandbox.provider)

    def push(self, directory: str) -> Result[str, PocketenvError]:
        """Have a directory packed into storage. Returns the archive's uuid; that of none where there is no directory."""
        body = {"sandboxId": self.sandbox.id, "directoryPath": directory}

        def asked(seconds: float) -> Result[str, PocketenvError]:
            call = procedure("sandbox.pushDirectory", _uuid, body=body, read_timeout=seconds)
            return send(call, token=self.token, config=self.config)

        return self._seconds(is_long=True).bind(asked)

    def pull(self, uuid: str, directory: str) -> Result[None, PocketenvError]:
        """Have an archive of storage unpacked into a directory. Success says nothing of whether it was."""
        body = {"sandboxId": self.sandbox.id, "uuid": uuid, "directoryPath": directory}

        def asked(seconds: float) -> Result[None, PocketenvError]:
            call = procedure("sandbox.pullDirectory", nothing, body=body, read_timeout=seconds)
            return send(call, token=self.token, config=self.config)

        return self._seconds(is_long=True).bind(asked)

    def run(
        self, line: str, *, is_long: bool = False, values: dict[str, str | int] | None = None, **paths: str
    ) -> Result[ExecResult, PocketenvError]:
        """Run a line of `copy_lines` with these variables; paths are absolute. Its exit code is data.

        Failures: InvalidInput where the sandbox lacks a tool that the line needs; those of a request.
        """
        variables = {**{name: f".{path}" for name, path in paths.items()}, **(values or {})}
        variables["tag"] = tag_of(paths["s"])
        script = with_variables(line, variables)

        def judged(ran: ExecResult) -> Result[ExecResult, PocketenvError]:
            if ran.exit_code == NO_TOOL:
                tool = ran.stderr.strip()
                reason = f"the sandbox has no `{tool}`, which copying needs: install it there"
                return Failure(InvalidInput(self.field, reason))
            return Success(ran)

        return self._seconds(is_long=is_long).bind(lambda seconds: self._send(script, seconds)).bind(judged)

    def remove(self, directory: str, *, is_under_way: bool) -> None:
        """Remove what was staged, as well as it can be done: for a minute, where it may still be on its way there."""
        with unlimited(), limited(REMOVING):
            self.run(REMOVE_LATE if is_under_way else REMOVE, s=directory)

    def _seconds(self, *, is_long: bool) -> Result[float, PocketenvError]:
        most = (self.provider.exec_seconds or LONGEST) if is_long else 0.0
        return settings(self.config, token=self.token).map(lambda found: most + found.read_timeout)

    def _send(self, script: str, seconds: float) -> Result[ExecResult, PocketenvError]:
        command = Command(script, cwd="/")
        login: _Login = {"token": self.token, "config": self.config}
        return ran(self.sandbox, lambda _: command, env=None, check=False, waits=seconds, **login)


class _Login(TypedDict):
    token: str | None
    config: Config | None


def succeeded(ran: ExecResult) -> Result[ExecResult, PocketenvError]:
    """Return the result of a line that ended well. Failures: CommandFailed with what the sandbox's tools printed."""
    if ran.exit_code == 0:
        return Success(ran)
    return Failure(CommandFailed(ran.exit_code, ran.stdout, ran.stderr))


def repeated(end: End, attempt: Callable[[], Result[T, PocketenvError]]) -> Result[T, PocketenvError]:
    """Send a line again whose answer is lost, as often as configured. It must do nothing where it ran before."""
    known = settings(end.config, token=end.token)
    if isinstance(known, Failure):
        return known
    for pause in range(known.unwrap().retries):
        result = attempt()
        if not isinstance(result, Failure) or not may_have_run(result.failure()) or remaining() <= 0:
            return result
        nap(min(0.2 * 2**pause, 5.0))
    return attempt()
