"""Read the output of a service."""

from __future__ import annotations

from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config
from pocketenv_fp.errors import JobNotFound, JobTimeout, NotSupported, PocketenvError, RecordNotFound, TransportError
from pocketenv_fp.models import Job, Sandbox, ServiceLogs
from pocketenv_fp.providers import provider_of
from pocketenv_fp.sandbox.commands.exec import OnOutput
from pocketenv_fp.sandbox.commands.job_follow import follow_to_the_end, seen_so_far
from pocketenv_fp.sandbox.commands.job_output import Output, printer
from pocketenv_fp.sandbox.commands.job_requests import PIECE_BYTES, Asking, Look, Place
from pocketenv_fp.sandbox.commands.service_lines import LOOK, key_of
from pocketenv_fp.steps.needs import Need
from pocketenv_fp.steps.operation import operation
from pocketenv_fp.validation import Name, Seconds, Text

__all__ = ["service_logs"]


@operation(Sandbox, safe=True, reads=Need.STATUS)
def service_logs(
    sandbox: Sandbox,
    name: Name,
    *,
    follow: OnOutput | None = None,
    timeout: Seconds | None = None,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[ServiceLogs, PocketenvError]:
    r"""Read what a service of `spawn` has printed so far. Returns a ServiceLogs: its stdout and its stderr.

    Without ``follow`` one request is sent, or more for more than 384 KiB. With ``follow`` it reads until the service
    ends or ``timeout`` seconds are over. The function is called with each Piece of the output. A service that is started
    again, also by a start of the sandbox, adds to its output. The output is kept in the sandbox: on Cloudflare a stop
    deletes it. A result has at most the last 64 Mi characters of each stream.

    Failures: RecordNotFound if the sandbox has no output of a service of this name: only `spawn` keeps it, and
    `set_service` does not; NotSupported on providers that run no services: there, `submit` a job, and read `job_output`
    or `follow` it; ApiError (400) for a sandbox that is not running.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        name: Name of the service.
        follow: Function that is called with each Piece of the output. True prints the output. Default: none.
        timeout: Seconds to follow it. Default: no limit.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, service_logs, spawn, start
    >>> box = create("my-box") | start
    >>> service = box | spawn("echo begun; sleep 0.5; echo done", name="web")
    >>> box | service_logs("web", follow=lambda piece: print(piece.text, end=""))
    begun
    done
    <Success: ServiceLogs(stdout='begun\ndone\n', stderr='')>
    >>> box | service_logs("no-such-service")
    <Failure: service_logs: there is no output of a service 'no-such-service'... (404 RecordNotFound). ...>
    """
    provider = provider_of(sandbox.provider)
    if not provider.services:
        instead = "Run the command as a job, with submit, and read its output with job_output or follow."
        return Failure(NotSupported("service_logs", provider.name, instead))
    asking = _Logs(sandbox, name)
    on_piece = printer(follow)
    if on_piece is None:
        return seen_so_far(asking).map(_logs).alt(asking.in_words)
    output = Output(Place())
    last = follow_to_the_end(asking, output, on_piece, timeout)
    if isinstance(last, Failure) and not isinstance(last.failure(), JobTimeout):
        return Failure(asking.in_words(last.failure()))
    if isinstance(last, Failure) and not asking.is_answered:
        return Failure(TransportError("timeout", "no response in time", "service_logs", maybe_sent=True))
    return Success(ServiceLogs(output.stdout, output.stderr))


def _logs(seen: tuple[Look, Output]) -> ServiceLogs:
    _, output = seen
    return ServiceLogs(output.stdout, output.stderr)


class _Logs(Asking):
    """The requests about the output of a service. It looks like that of a job."""

    look_script = LOOK

    def __init__(self, sandbox: Sandbox, name: str) -> None:
        super().__init__(Job(sandbox, key_of(name)))
        self._name = name
        self.is_answered = False

    def look(self, place: Place, waits: float, most: int = PIECE_BYTES) -> Result[Look, PocketenvError]:
        """Return the output after a place, and remember that there was an answer."""
        looked = super().look(place, waits, most)
        self.is_answered = self.is_answered or isinstance(looked, Success)
        return looked

    def error_of(self, error: PocketenvError) -> PocketenvError:
        """Return the error of a look as it is."""
        return error

    def in_words(self, error: PocketenvError) -> PocketenvError:
        """Return the error of a look, in the words of a service."""
        if not isinstance(error, JobNotFound):
            return error
        message = f"there is no output of a service {self._name!r}: only spawn keeps it, until the sandbox stops"
        return RecordNotFound(message=message, operation="service_logs")
