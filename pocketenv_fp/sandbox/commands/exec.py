"""Run commands as a shell line, or as a program with arguments."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import msgspec
from returns.result import Failure, Result

from pocketenv_fp.config import Config, FromEnv
from pocketenv_fp.errors import ApiError, InvalidInput, PocketenvError
from pocketenv_fp.http.xrpc import decode, procedure, send
from pocketenv_fp.models import ExecResult, Piece, Sandbox
from pocketenv_fp.providers import Provider, provider_of
from pocketenv_fp.redaction import HIDDEN, HiddenText
from pocketenv_fp.sandbox.commands.shell_state import Shell
from pocketenv_fp.sandbox.commands.wire_form import GRACE_SECONDS, Command, environment, joined, output, wire_form
from pocketenv_fp.steps.listening import listener
from pocketenv_fp.steps.needs import Need
from pocketenv_fp.steps.operation import operation
from pocketenv_fp.steps.output import ended_well
from pocketenv_fp.validation import Seconds, Text, not_unicode

__all__ = [
    "Env",
    "OnOutput",
    "encoded",
    "exec",
    "finite",
    "hidden_values",
    "ran",
    "ran_or_followed",
    "without_values",
]

Env = Mapping[str, str | FromEnv]
OnOutput = Callable[[Piece], object] | bool


class _Answer(msgspec.Struct, rename="camel"):
    """A response of exec. Some providers omit ``stderr``, or add keys of their own, which are ignored."""

    stdout: str
    exit_code: int
    stderr: str | None = None


def _result(body: bytes) -> ExecResult:
    try:
        answer = decode(body, _Answer)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError as error:
        # A command may print half of a surrogate pair. Its JSON escape is valid JSON, but msgspec refuses it.
        import json

        try:
            loose = json.loads(body)
        except ValueError:
            raise error from None
        whole = re.sub("[\ud800-\udfff]", "\ufffd", json.dumps(loose, ensure_ascii=False))
        answer = msgspec.convert(json.loads(whole), _Answer)
    return ExecResult(answer.stdout, answer.stderr or "", answer.exit_code)


@operation(Sandbox, reads=Need.STATUS)
def exec(
    sandbox: Sandbox,
    command: str,
    args: Sequence[str] = (),
    *,
    cwd: Text | None = None,
    env: Mapping[str, str | FromEnv] | None = None,
    timeout: Seconds | None = None,
    stdin: str | bytes | None = None,
    check: bool = False,
    on_output: OnOutput | None = None,
    durable: bool = False,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[ExecResult, PocketenvError]:
    r"""Run a command and wait until it ends. Returns an ExecResult. A non-zero exit code is not a Failure.

    The line runs in bash, or in ``sh`` if the sandbox has no bash, so pipes, globs and ``&&`` work. It runs in a shell
    of its own: ``exit``, ``cd``, ``export`` or an unclosed quote do not affect the next command. stdout and stderr are
    exact, except for bytes that are not UTF-8.

    **Environment.** The values in ``env`` are shown when the step is printed. A `from_env` is read when the step runs
    and is never shown. Other processes in the sandbox can read it: use `set_secret` for a secret.

    **Timeout.** A command that reaches ``timeout`` gets SIGTERM, and SIGKILL five seconds later. So do its children, in
    pipelines and in the background, unless they left its process group (``setsid``). The result is
    Failure(CommandTimeout) with the output so far. It needs bash in the sandbox. Without bash the result is
    InvalidInput, and nothing runs. The client waits ``read_timeout`` seconds longer for the response.

    A provider ends each request after some time: 300 s on Cloudflare, 60 s on E2B, 30 s on Hopx. A command without a
    ``timeout`` that reaches this limit is Failure(CommandTimeout) with ``may_run``: its output is lost, and it may still
    run. So pass a longer ``timeout``, or ``durable=True``, for a longer command. It then runs as a job, as with `submit`
    and `follow`: in the background, for any time, without blocking the shell. A lost response does not lose the job. A
    job takes two requests more. Ctrl-C, `within` and an exception of ``on_output`` kill it. If no answer arrives,
    the job may run: the error's ``job_id`` is its id, for `get_job`.

    **The shell.** On Cloudflare one shell runs all commands of a sandbox, one after the other. Failure(ShellLost) means
    that another client ended that shell. Failure(ShellBusy) means that it did not respond within ``timeout`` and
    ``read_timeout``. Stop and start repair both, and delete the sandbox's files. Other providers run the command in a
    new, empty sandbox if this one is not running. So a record that is not RUNNING is InvalidInput there, before a
    request.

    A command that is not a job is sent once. Failures: InvalidInput for a name in ``env`` that is not valid, a variable that is not set
    on this machine, or a line above about 100,000 bytes; TransportError with ``maybe_sent`` if no response arrived and
    the command may have run; ApiError (400) for a stopped sandbox on Cloudflare.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        command: Shell line, for instance with pipes, globs and ``&&``.
        args: Further arguments of the command. Each is quoted and stays one argument. Default: none.
        cwd: Working directory. A relative path starts at ``/workspace``. Default: ``/workspace``. If it cannot be
            entered, the command does not run, and the exit code is not zero.
        env: Further environment variables: values, or `from_env`. Default: none.
        timeout: Seconds until the command is killed. None or infinity: no limit but the provider's.
        stdin: Standard input, as str or bytes. Default: empty.
        check: True to turn a non-zero exit code into Failure(CommandFailed). Default: False.
        on_output: Function that is called with each Piece of the output while the command runs, as a job. True
            prints the output. Default: none.
        durable: True to run the command as a job. Default: False.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, exec, start
    >>> box = create("my-box") | start
    >>> box | exec("echo a b | tr a-z A-Z")
    <Success: ExecResult(stdout='A B\n', stderr='', exit_code=0)>
    >>> box | exec("printf '%s|'", ["one argument", "$HOME", "it's"])
    <Success: ExecResult(stdout="one argument|$HOME|it's|", stderr='', exit_code=0)>
    >>> (box | exec("exit 3")).unwrap().exit_code
    3
    >>> box | exec("pwd; echo $GREETING", cwd="/tmp", env={"GREETING": "hello"})
    <Success: ExecResult(stdout='/tmp\nhello\n', stderr='', exit_code=0)>
    >>> (box | exec("sort", stdin="b\na\n")).unwrap().stdout
    'a\nb\n'
    >>> box | exec("echo started; sleep 60", timeout=0.5)
    <Failure: the command was killed after 0.5 s. ...>
    >>> box | exec("exit 3", check=True)
    <Failure: the command ended with exit code 3. ...>
    >>> box | exec("echo begun; sleep 0.2; echo done", on_output=True)
    begun
    done
    <Success: ExecResult(stdout='begun\ndone\n', stderr='', exit_code=0)>
    """
    data = None if stdin is None else encoded("stdin", stdin)
    if isinstance(data, InvalidInput):
        return Failure(data)
    whole = Command(joined(command, args), cwd, stdin=data, timeout=finite(timeout))
    return ran_or_followed(sandbox, whole, env=env, check=check, on_output=on_output, durable=durable)


def encoded(field: str, data: str | bytes) -> bytes | InvalidInput:
    """Return the bytes of an argument that is text or bytes."""
    if isinstance(data, bytes):
        return data
    try:
        return data.encode()
    except UnicodeEncodeError:
        return not_unicode(field)


def ran_or_followed(
    sandbox: Sandbox,
    command: Command,
    *,
    env: Env | None,
    check: bool,
    on_output: OnOutput | None,
    durable: bool,
) -> Result[ExecResult, PocketenvError]:
    """Run the command in one request, or as a job where that is not enough. ``env`` is its environment."""
    longest = provider_of(sandbox.provider).exec_seconds
    is_longer = command.timeout is not None and longest is not None and command.timeout > longest
    if not (durable or is_longer or on_output or (on_output is None and listener())):
        return ran(sandbox, command, env=env, check=check)
    # Most programs run no command as a job.
    from pocketenv_fp.sandbox.commands.durable import run_durably

    return run_durably(sandbox, command, env=env, check=check, on_output=on_output)


def finite(timeout: float | None) -> float | None:
    """Return a timeout in seconds, or None for an infinite one."""
    return None if timeout == math.inf else timeout


def ran(
    sandbox: Sandbox,
    command: Command,
    *,
    env: Env | None,
    check: bool,
    work_seconds: float | None = None,
) -> Result[ExecResult, PocketenvError]:
    """Send the command once, with the environment ``env``, and evaluate its result.

    ``work_seconds`` is how long the command may take, by default as long as its timeout or its provider allows. Its
    answer may take ``read_timeout`` more.
    """
    provider = provider_of(sandbox.provider)
    hidden: list[str] = []
    if env:
        values = environment(env)
        if isinstance(values, Failure):
            return values
        command = command._replace(env=values.unwrap())
        hidden = hidden_values(env, values.unwrap())
    form = wire_form(command, provider)
    if isinstance(form, Failure):
        return form
    # The line holds the values of `from_env`, and the repr of a Result shows its value.
    body = {"command": HiddenText(form.unwrap())}
    del form
    shell = Shell(sandbox, provider)
    if refusal := shell.refusal():
        return Failure(refusal)
    most = _work_seconds(command, provider) if work_seconds is None else work_seconds
    call = procedure("sandbox.exec", _result, {"id": sandbox.id}, body, work_seconds=most)
    began = time.monotonic()
    answer = send(call)
    if isinstance(answer, Failure):
        return Failure(without_values(shell.cause(answer.failure(), command, time.monotonic() - began), hidden))
    ended = output(answer.unwrap(), command, provider)
    return ended.bind(partial(ended_well, hidden=hidden)) if check else ended


def hidden_values(env: Env | None, values: Mapping[str, str]) -> list[str]:
    """Return the values in ``env`` that were read from the environment of this machine. They may be secret."""
    return [values[name] for name, value in (env or {}).items() if isinstance(value, FromEnv)]


def _work_seconds(command: Command, provider: Provider) -> float:
    longest = command.timeout if command.timeout is not None else provider.exec_seconds
    return math.inf if longest is None else longest + GRACE_SECONDS


# The platform's own messages. Any other message may quote the refused line, in any form.
PLATFORM_MESSAGES = r"|Unauthorized|Internal Server Error|Sandbox not found|Request failed with status code \d+"


def without_values(error: PocketenvError, values: Sequence[str]) -> PocketenvError:
    """Return the error without the platform's words if they may quote one of the values."""
    if not (values and isinstance(error, ApiError)):
        return error
    # A new error: an exception also keeps its constructor's arguments in `args`.
    kept_name = re.fullmatch(r"\w{0,40}", error.error) and not any(value in error.error for value in values)
    kept_message = re.fullmatch(PLATFORM_MESSAGES, error.message)
    return replace(error, error=error.error if kept_name else HIDDEN, message=error.message if kept_message else HIDDEN)
