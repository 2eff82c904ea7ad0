"""Requests about a job. Each line may be sent again: a second run of it changes nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Literal, NamedTuple

import msgspec
from returns.result import Failure, Result, Success

from pocketenv_fp.config import settings
from pocketenv_fp.errors import (
    ApiError,
    CommandFailed,
    DeadlineExceeded,
    DecodeError,
    InvalidInput,
    JobNotFound,
    PocketenvError,
    ServerError,
    ShellBusy,
    ShellLost,
    TransportError,
)
from pocketenv_fp.models import ExecResult, Job
from pocketenv_fp.pocketenv.sandboxes import look
from pocketenv_fp.providers import Provider, provider_of
from pocketenv_fp.runtime.backoff import pauses
from pocketenv_fp.runtime.deadline import nap, remaining
from pocketenv_fp.sandbox.commands import job_lines as lines
from pocketenv_fp.sandbox.commands.exec import Env, finite, ran
from pocketenv_fp.sandbox.commands.wire_form import (
    MAKE_HOME,
    Command,
    directory_of,
    environment,
    guarded,
    is_at_home,
    is_plain,
    unsendable_part,
)
from pocketenv_fp.sandbox.copying.departure import bytes_of
from pocketenv_fp.sandbox.copying.lines import with_variables
from pocketenv_fp.sandbox.copying.remote import may_have_run

__all__ = [
    "AT_THE_END",
    "LONGEST_SECONDS",
    "PIECE_BYTES",
    "STEP_SECONDS",
    "Asking",
    "Look",
    "Place",
    "Work",
    "read_look",
]

STEP_SECONDS = 0.05
PIECE_BYTES = 384 * 1024
"""One request returns at most this many bytes of each stream."""
BUSY_SECONDS = 60.0
"""A request to a busy shell may wait this many seconds for another command, before it is sent again."""
LINE_SECONDS = 1.0
ATTEMPTS = 3
"""These requests are retried this many times as often as others, because they are safe to repeat."""
LONGEST_SECONDS = 1e9
ON_ENV = "pocketenv_env_"


class Place(NamedTuple):
    """A position in the output: the number of bytes of each stream that were read."""

    stdout: int = 0
    stderr: int = 0


AT_THE_END = Place(2**62, 2**62)
"""The place of a look that waits for the end of a job. At the end, it returns the output from the beginning."""


class Look(NamedTuple):
    """The state and output of a job at one time. ``sizes`` are the bytes of each stream, at the job's end if it has ended.

    ``late`` is the time limit of a job that reached it and was killed.
    """

    state: Literal["runs", "ended", "lost"]
    exit_code: int
    sizes: Place
    late: float | None
    stdout: bytes
    stderr: bytes


class Work(NamedTuple):
    """The command of a job and its environment. ``is_open``: standard input is sent later."""

    command: Command
    env: Env | None = None
    is_open: bool = False

    @property
    def key(self) -> str:
        """Return a hash of the command, without the environment: its values may be secrets."""
        import hashlib

        command = self.command
        parts = (command.line, command.cwd, command.script, command.timeout, self.is_open, command.stdin)
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


class Asking:
    """The requests about one job. ``repeats`` counts the requests that were sent again."""

    look_script = lines.LOOK

    def __init__(self, job: Job) -> None:
        self.job = job
        self.repeats = 0
        self._maybe_started = False
        self._is_busy = False

    @property
    def provider(self) -> Provider:
        """The capabilities of the sandbox's provider."""
        return provider_of(self.job.sandbox.provider)

    @property
    def longest_wait(self) -> float:
        """Return the seconds that a request may wait in the sandbox. On Cloudflare it blocks the one shell."""
        return 0.25 if self.provider.persistent else 1.0

    def start(self, work: Work, then: str = "") -> Result[ExecResult, PocketenvError]:
        """Start it, if it was not started before, and run another line. Failures: InvalidInput if the id has other work."""
        read = environment(work.env)
        if isinstance(read, Failure):
            return read
        values, command = read.unwrap(), work.command
        if wrong := unsendable_part(command):
            return Failure(wrong)
        seconds = finite(command.timeout)
        variables: dict[str, str | int] = {
            "id": self.job.id,
            "key": work.key,
            "line": guarded(command.line),
            "directory": directory_of(command.cwd),
            "seconds": "" if seconds is None else f"{min(max(seconds, 0.001), LONGEST_SECONDS):.3f}",
            "given": "open" if work.is_open else "data" if command.stdin is not None else "none",
            "has_script": "" if command.script is None else "1",
            "script": command.script or "",
            "runner": lines.runner([*values], {name for name in values if is_plain(name)}),
            "supervisor": lines.SUPERVISOR,
        }
        home = f"{{ {MAKE_HOME}; }} 2>/dev/null\n"
        needs_home = not self.provider.persistent and is_at_home(command.cwd)
        script = with_variables(f"{home if needs_home else ''}set --\n{lines.START}{then}", variables)
        sent: Env = {f"{ON_ENV}{at}": value for at, value in enumerate((work.env or {}).values())}
        return self._answer(script, command.stdin, sent)

    def run(self, line: str, data: bytes | None = None, **variables: str | int) -> Result[ExecResult, PocketenvError]:
        """Run a line of `job_lines` in the job's sandbox."""
        script = with_variables(line, {"id": self.job.id, **variables})
        return self._answer(script, data, {})

    def look(self, place: Place, waits: float, most: int = PIECE_BYTES) -> Result[Look, PocketenvError]:
        """Return the job's state and the output after a place. Wait up to ``waits`` seconds for new output."""
        return self.run(self.look_line(place, waits, most)).bind(read_look)

    def look_line(self, place: Place, waits: float, most: int = PIECE_BYTES) -> str:
        """Return the line of a look."""
        variables: dict[str, str | int] = {"from_o": place.stdout, "from_r": place.stderr, "most": most}
        variables["whole"] = "1" if place == AT_THE_END else ""
        waits = min(waits, self.longest_wait)
        return with_variables(self.look_script, {**variables, "waits": round(waits / STEP_SECONDS)})

    def _answer(self, script: str, data: bytes | None, env: Env) -> Result[ExecResult, PocketenvError]:
        return self._repeated(script, data, env).bind(self._judged)

    def _repeated(self, script: str, data: bytes | None, env: Env) -> Result[ExecResult, PocketenvError]:
        """Repeat a request whose response is lost, unless the platform does not answer at all."""
        known = settings()
        if isinstance(known, Failure):
            return known
        for pause in pauses(known.unwrap().retries * ATTEMPTS):
            result = self._sent(script, data, env)
            if not isinstance(result, Failure) or not _is_passing(result.failure()) or remaining() <= 0:
                return result
            if _is_late(result.failure()):
                # One shell runs all commands of a sandbox. Other requests are answered while it is busy.
                if not self._is_answered():
                    return result
                self._is_busy = self.provider.persistent
            self.repeats += 1
            nap(pause)
        return self._sent(script, data, env)

    def named(self, error: PocketenvError) -> PocketenvError:
        """Return the error with the id of the job, if the job may run."""
        if not self._maybe_started or not (_is_passing(error) or isinstance(error, DeadlineExceeded)):
            return error
        # The last request may be the only one that was not sent.
        sent = replace(error, maybe_sent=True) if isinstance(error, TransportError | DeadlineExceeded) else error
        return sent.with_job(self.job.id)

    def _sent(self, script: str, data: bytes | None, env: Env) -> Result[ExecResult, PocketenvError]:
        command = Command(script, "/", stdin=data)
        seconds = BUSY_SECONDS if self._is_busy else LINE_SECONDS
        result = ran(self.job.sandbox, command, env=env, check=False, work_seconds=seconds)
        self._maybe_started = self._maybe_started or not isinstance(result, Failure) or may_have_run(result.failure())
        return result

    def _is_answered(self) -> bool:
        seen = look(self.job.sandbox)
        return not (isinstance(seen, Failure) and isinstance(seen.failure(), TransportError))

    def _judged(self, done: ExecResult) -> Result[ExecResult, PocketenvError]:
        refusals: Mapping[int, PocketenvError] = {
            lines.GONE: self.not_found(),
            lines.DIFFERS: InvalidInput("id", "is the id of another job of this sandbox: choose another, or none"),
            lines.NO_TOOL: InvalidInput("command", f"the sandbox has no `{done.stdout.strip()}`: install it for jobs"),
            lines.RUNS: InvalidInput("job", "still runs: cancel it first, or wait for its end"),
            lines.CLOSED: InvalidInput(
                "job", "reads no input: open_stdin=True keeps it open, and close=True closes it"
            ),
            lines.ENDED: InvalidInput("job", "has ended, and reads no input"),
        }
        if done.exit_code == 0:
            return Success(done)
        return Failure(refusals.get(done.exit_code) or CommandFailed(done.exit_code, done.stdout, done.stderr))

    def not_found(self, message: str = "") -> JobNotFound:
        """Return the error for a job that does not exist."""
        return JobNotFound(message=message or f"there is no job {self.job.id}", operation="job")

    def lost(self) -> JobNotFound:
        """Return the error of a job that cannot have ended by itself."""
        reason = "did not end by itself: its sandbox stopped, or its processes were killed"
        return self.not_found(f"the job {self.job.id} {reason}")

    def error_of(self, error: PocketenvError) -> PocketenvError:
        """Return the error of a look: a sandbox that does not run has no jobs."""
        match error:
            case ApiError(status=400, message="Request failed with status code 400"):
                return self.not_found(f"there is no job {self.job.id}: the sandbox does not run")
            case InvalidInput(field="sandbox"):
                return self.not_found(f"there is no job {self.job.id}: the sandbox {error.reason}")
            case _:
                return error


def _is_late(error: PocketenvError) -> bool:
    return isinstance(error, TransportError) and error.kind == "timeout"


def _is_passing(error: PocketenvError) -> bool:
    match error:
        case ShellLost() | ShellBusy() | DeadlineExceeded() | TransportError(kind="tls" | "proxy"):
            return False
        case TransportError() | DecodeError():
            return True
        case ServerError(error="InternalServerError") | ServerError(status=502 | 503 | 504):
            return True
        case _:
            return False


def read_look(done: ExecResult) -> Result[Look, PocketenvError]:
    """Parse the output of a look."""
    head, _, rest = done.stdout.partition("\n")
    out, dot, err = f"\n{rest}".partition("\n.\n")
    match = _HEAD.fullmatch(head)
    if match is None or not dot:
        return Failure(DecodeError("sandbox.exec", "the shell does not say how the job is"))
    state, code, stdout_size, stderr_size, late = match.groups()
    if (state == "ended") is (code == "-"):
        return Failure(DecodeError("sandbox.exec", "the shell does not say how the job ended"))
    sizes = Place(int(stdout_size), int(stderr_size))
    limit = None if late == "-" else float(late)
    look = partial(Look, _STATES[state], -1 if code == "-" else int(code), sizes, limit)
    return Result.do(look(stdout, stderr) for stdout in bytes_of(out) for stderr in bytes_of(err))


# The command itself may have written the numbers: they must be ones that `int` and `float` take.
_HEAD = re.compile(r"(runs|ended|lost) (-|\d{1,3}) (\d{1,18}) (\d{1,18}) (-|\d{1,18}(?:\.\d{1,18})?)", re.ASCII)
_STATES: Mapping[str, Literal["runs", "ended", "lost"]] = {"runs": "runs", "ended": "ended", "lost": "lost"}
