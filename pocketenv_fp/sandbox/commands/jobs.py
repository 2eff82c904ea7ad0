"""Jobs: commands that run in the background of a sandbox. Their output stays there until it is deleted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config, FromEnv
from pocketenv_fp.errors import InvalidInput, JobNotFound, PocketenvError
from pocketenv_fp.models import ExecResult, Job, JobOutput, Sandbox
from pocketenv_fp.sandbox.commands import job_lines as lines
from pocketenv_fp.sandbox.commands.durable import new_id
from pocketenv_fp.sandbox.commands.exec import OnOutput, encoded
from pocketenv_fp.sandbox.commands.job_follow import ended, follow_to_the_end, seen_so_far, until_ended
from pocketenv_fp.sandbox.commands.job_output import Output, printer
from pocketenv_fp.sandbox.commands.job_requests import Asking, Place, Work
from pocketenv_fp.sandbox.commands.wire_form import Command, joined
from pocketenv_fp.steps.needs import Need
from pocketenv_fp.steps.operation import operation, step
from pocketenv_fp.validation import Identifier, Offset, Seconds, Text

__all__ = ["cancel", "follow", "forget", "get_job", "job_output", "list_jobs", "send_input", "submit", "wait_for_job"]

MESSAGE_BYTES = 32 * 1024
ENDING_SECONDS = 60.0


@operation(Sandbox, reads=Need.STATUS, returns_target=True)
def submit(
    sandbox: Sandbox,
    command: str,
    args: Sequence[str] = (),
    *,
    cwd: Text | None = None,
    env: Mapping[str, str | FromEnv] | None = None,
    timeout: Seconds | None = None,
    stdin: str | bytes | None = None,
    open_stdin: bool = False,
    id: Identifier | None = None,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Job, PocketenvError]:
    r"""Start a command in the background of the sandbox, as a job, and do not wait for it. Returns the Job.

    ``command``, ``args``, ``cwd``, ``env`` and ``stdin`` are those of `exec`. The job runs until it ends, `cancel` ends
    it, or the sandbox stops. After ``timeout`` seconds it gets SIGTERM, and SIGKILL five seconds later. It may be longer
    than the provider's limit for a request. With ``open_stdin`` the standard input stays open for `send_input`.

    The job's output is kept in the sandbox, in ``/tmp/.pocketenv-jobs``, until `forget` deletes it. A Job is a value:
    another process can `follow` it. The values of ``env`` are in no file.

    ``id`` names the job: up to 64 letters, digits, ``.``, ``_`` and ``-``. By default it is a random one. A command is
    started once for each id. So a request whose answer is lost is sent again, and ``submit`` with the id of a job that
    was started returns that Job. The result is InvalidInput if it was another command.

    Failures, besides those of `exec`: CommandFailed if the sandbox could not store the job; InvalidInput for ``id``.
    If no answer arrives, the job may run: the error's ``job_id`` is its id, for `get_job`.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        command: Shell line, for instance with pipes, globs and ``&&``.
        args: Further arguments of the command. Each is quoted and stays one argument. Default: none.
        cwd: Working directory. A relative path starts at ``/workspace``. Default: ``/workspace``.
        env: Further environment variables: values, or `from_env`. Default: none.
        timeout: Seconds until the command is killed. Default: no limit.
        stdin: Standard input, as str or bytes. Default: empty.
        open_stdin: True to keep the standard input open for `send_input`. Default: False.
        id: Name of the job in its sandbox. Default: a random one.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, follow, start, submit
    >>> box = create("my-box") | start
    >>> box | submit("echo begun; sleep 0.2; echo done", id="nightly") | follow
    <Success: ExecResult(stdout='begun\ndone\n', stderr='', exit_code=0)>
    >>> box | submit("echo begun; sleep 0.2; echo done", id="nightly")
    <Success: Job(sandbox='my-box', id='nightly')>
    >>> box | submit("echo other", id="nightly")
    <Failure: id: is the id of another job of this sandbox: choose another, or none.>
    """
    if open_stdin and stdin is not None:
        return Failure(InvalidInput("stdin", "is sent with send_input if open_stdin=True: leave one of the two out"))
    data = None if stdin is None else encoded("stdin", stdin)
    if isinstance(data, InvalidInput):
        return Failure(data)
    job = Job(sandbox, id or new_id())
    work = Work(Command(joined(command, args), cwd, {}, data, timeout), env, open_stdin)
    asking = Asking(job)
    return asking.start(work).map(lambda _: job).alt(asking.named)


@step(Job, safe=True, reads=Need.STATUS)
def follow(
    job: Job,
    *,
    on_output: OnOutput | None = None,
    timeout: Seconds | None = None,
    stdout_from: Offset = 0,
    stderr_from: Offset = 0,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[ExecResult, PocketenvError]:
    r"""Read the output of a job until it ends. Returns its ExecResult.

    ``on_output`` is called with each Piece as it comes: its ``stream``, its ``text`` in whole characters, and the
    ``end``. ``True`` prints the pieces. The order of the pieces of one stream is that of the command. Any number of
    processes may follow a job. One that goes on where another stopped passes the last ``end`` of each stream as
    ``stdout_from`` and ``stderr_from``, in bytes. The result then contains only the output after them.

    Requests wait in the sandbox for output, up to a second (0.25 on Cloudflare, where others wait for it). A job that
    prints all the time costs a request a second, a silent one less. A request whose answer is lost is sent again.

    The result contains the last 64 Mi characters of each stream. ``on_output`` gets all of them.

    After ``timeout`` seconds the result is Failure(JobTimeout), and the job keeps running. It also keeps running if
    `within` or Ctrl-C stops this function. Other failures: CommandTimeout if the job reached its own ``timeout``, with
    its output; JobNotFound, also if the sandbox was stopped. An exception of ``on_output`` is raised.

    Args:
        job: The Job, or a Result of one. Without it, the call returns a step.
        on_output: Function that is called with each Piece of the output. True prints the output. Default: none.
        timeout: Seconds to wait for the end of the job. Default: no limit.
        stdout_from: Bytes of stdout to skip. Default: 0.
        stderr_from: Bytes of stderr to skip. Default: 0.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, follow, start, submit
    >>> job = create("my-box") | start | submit("echo to be seen; exit 3")
    >>> job | follow(on_output=lambda piece: print(piece.stream, repr(piece.text), piece.end))
    stdout 'to be seen\n' 11
    <Success: ExecResult(stdout='to be seen\n', stderr='', exit_code=3)>
    >>> (job | follow(stdout_from=6)).unwrap().stdout
    'seen\n'
    """
    asking, output = Asking(job), Output(Place(stdout_from, stderr_from))
    seen = follow_to_the_end(asking, output, printer(on_output), timeout)
    return seen.bind(partial(ended, output=output))


@step(Job, safe=True, reads=Need.STATUS)
def wait_for_job(
    job: Job, *, timeout: Seconds | None = None, token: Text | None = None, config: Config | None = None
) -> Result[ExecResult, PocketenvError]:
    r"""Wait until a job has ended. Returns its ExecResult, as `follow` does, with fewer requests.

    ``timeout`` is in seconds. Failures: JobTimeout if the job runs longer; those of `follow`.

    Args:
        job: The Job, or a Result of one. Without it, the call returns a step.
        timeout: Seconds to wait for the end of the job. Default: no limit.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, start, submit, wait_for_job
    >>> job = create("my-box") | start | submit("sleep 0.2; echo done")
    >>> job | wait_for_job(timeout=60)
    <Success: ExecResult(stdout='done\n', stderr='', exit_code=0)>
    """
    return _result(Asking(job), timeout)


def _result(asking: Asking, timeout: float | None) -> Result[ExecResult, PocketenvError]:
    seen = until_ended(asking, timeout)
    return seen if isinstance(seen, Failure) else ended(*seen.unwrap())


@step(Job, safe=True, reads=Need.STATUS)
def job_output(
    job: Job, *, token: Text | None = None, config: Config | None = None
) -> Result[JobOutput, PocketenvError]:
    r"""Read the output of a job until now. Returns a JobOutput. While the job runs, its ``exit_code`` contains None.

    Failures: JobNotFound.

    Args:
        job: The Job, or a Result of one. Without it, the call returns a step.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, job_output, start, submit, wait_for_job
    >>> job = create("my-box") | start | submit("echo done")
    >>> _ = job | wait_for_job
    >>> job | job_output
    <Success: JobOutput(stdout='done\n', stderr='', exit_code=0)>
    """
    asking = Asking(job)
    seen = seen_so_far(asking)
    if isinstance(seen, Failure):
        return seen
    look, output = seen.unwrap()
    if look.state == "lost":
        return Failure(asking.lost())
    return Success(JobOutput(output.stdout, output.stderr, look.exit_code if look.state == "ended" else None))


@step(Job, safe=True, reads=Need.STATUS)
def cancel(job: Job, *, token: Text | None = None, config: Config | None = None) -> Result[ExecResult, PocketenvError]:
    r"""Kill a job, and wait for its end. Returns its ExecResult with the output so far; the exit code is often 143.

    The command and its process group get SIGTERM, and SIGKILL five seconds later. A job that has ended does not change.
    Failures: JobNotFound; JobTimeout if it did not end in a minute.

    Args:
        job: The Job, or a Result of one. Without it, the call returns a step.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import cancel, create, start, submit
    >>> create("my-box") | start | submit("echo begun; sleep 600") | cancel
    <Success: ExecResult(stdout='...', stderr='', exit_code=143)>
    """
    asking = Asking(job)
    sent = asking.run(lines.CANCEL).alt(asking.error_of)
    return sent if isinstance(sent, Failure) else _result(asking, ENDING_SECONDS)


@operation(Job, reads=Need.STATUS, returns_target=True)
def send_input(
    job: Job,
    data: str | bytes = b"",
    *,
    close: bool = False,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Job, PocketenvError]:
    r"""Send text or bytes to the standard input of a job that was submitted with ``open_stdin=True``. Returns the Job.

    With ``close=True`` the input ends after it. If the answer is lost, the request is sent again, and the job still
    reads the data once. This function does not wait until the job reads it. Failures: InvalidInput for a job that
    reads no input, or has ended; JobNotFound.

    Args:
        job: The Job, or a Result of one. Without it, the call returns a step.
        data: Text or bytes to send. Default: empty.
        close: True to close the standard input after the data. Default: False.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, follow, send_input, start, submit
    >>> job = create("my-box") | start | submit("sort", open_stdin=True)
    >>> job | send_input("b\n") | send_input("a\n", close=True) | follow
    <Success: ExecResult(stdout='a\nb\n', stderr='', exit_code=0)>
    """
    asking = Asking(job)
    sent = encoded("data", data)
    if isinstance(sent, InvalidInput):
        return Failure(sent)
    parts = [sent[at : at + MESSAGE_BYTES] for at in range(0, len(sent), MESSAGE_BYTES)] or [b""]
    for number, part in enumerate(parts, 1):
        is_last = close and number == len(parts)
        done = asking.run(lines.INPUT, part, message=new_id(), closes="1" if is_last else "")
        if isinstance(done, Failure):
            return Failure(asking.error_of(done.failure()))
    return Success(job)


@step(Job, safe=True, reads=Need.STATUS, returns_target=True)
def forget(job: Job, *, token: Text | None = None, config: Config | None = None) -> Result[Sandbox, PocketenvError]:
    r"""Delete a job that has ended, with its output. Returns its Sandbox.

    Its id can be used again. A job that does not exist is no failure. Failures: InvalidInput if it still runs.

    Args:
        job: The Job, or a Result of one. Without it, the call returns a step.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, follow, forget, job_output, start, submit
    >>> job = create("my-box") | start | submit("sleep 600", id="nap")
    >>> job | forget
    <Failure: job: still runs: cancel it first, or wait for its end.>
    >>> job = create("other-box") | start | submit("true", id="short")
    >>> _ = job | follow
    >>> (job | forget).map(lambda box: box.name)
    <Success: other-box>
    >>> job | job_output
    <Failure: job: there is no job short (404 JobNotFound). Check the id with list_jobs. ...>
    """
    asking = Asking(job)
    done = asking.run(lines.FORGET, keeps="").alt(asking.error_of)
    if isinstance(done, Failure) and isinstance(done.failure(), JobNotFound):
        return Success(job.sandbox)
    return done.map(lambda _: job.sandbox)


@operation(Sandbox, safe=True, reads=Need.STATUS, returns_target=True)
def get_job(
    sandbox: Sandbox, id: Identifier, *, token: Text | None = None, config: Config | None = None
) -> Result[Job, PocketenvError]:
    r"""Look for a job of the sandbox by its id. Returns the Job. Failures: JobNotFound.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        id: Name of the job.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, get_job, start, submit
    >>> box = create("my-box") | start
    >>> _ = box | submit("sleep 600", id="nap")
    >>> box | get_job("nap")
    <Success: Job(sandbox='my-box', id='nap')>
    >>> box | get_job("walk")
    <Failure: job: there is no job walk (404 JobNotFound). ...>
    """
    job = Job(sandbox, id)
    asking = Asking(job)
    return asking.look(Place(), 0.0, 0).map(lambda _: job).alt(asking.error_of)


@step(Sandbox, safe=True, reads=Need.STATUS, returns_target=True)
def list_jobs(
    sandbox: Sandbox, *, token: Text | None = None, config: Config | None = None
) -> Result[list[Job], PocketenvError]:
    r"""List the jobs of the sandbox, running and ended, by their ids. Returns a list of Job.

    Failures: those of a request. A sandbox that does not run has no jobs: JobNotFound.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, list_jobs, start, submit
    >>> box = create("my-box") | start
    >>> _ = box | submit("sleep 600", id="nap")
    >>> box | list_jobs
    <Success: [Job(sandbox='my-box', id='nap')]>
    """
    asking = Asking(Job(sandbox, "*"))
    listed = asking.run(lines.LIST).alt(asking.error_of)
    return listed.map(lambda done: [Job(sandbox, id) for id in done.stdout.split()])
