"""Running commands, as a shell line or as a template with fields."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast, overload

import msgspec
from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config, FromEnv, settings
from pocketenv_fp.errors import ApiError, PocketenvError
from pocketenv_fp.http.xrpc import decode, procedure, send
from pocketenv_fp.models import ExecResult, Piece, Sandbox
from pocketenv_fp.providers import Provider, provider_of
from pocketenv_fp.redaction import HIDDEN
from pocketenv_fp.sandbox.commands.shell_state import Shell
from pocketenv_fp.sandbox.commands.template import Value, fields, fill
from pocketenv_fp.sandbox.commands.wire_form import GRACE_SECONDS, Command, environment, joined, output, wire_form
from pocketenv_fp.steps.operation import Step, operation
from pocketenv_fp.steps.output import ended_well
from pocketenv_fp.validation import Seconds, Text

__all__ = ["Env", "OnOutput", "exec", "finite", "ran", "ran_or_followed", "sh"]

Env = Mapping[str, str | FromEnv]
OnOutput = Callable[[Piece], object] | bool


class _Answer(msgspec.Struct, rename="camel"):
    """An answer of exec. Providers leave ``stderr`` out, or add keys of their own, which are not read."""

    stdout: str
    exit_code: int
    stderr: str | None = None


def _result(body: bytes) -> ExecResult:
    try:
        answer = decode(body, _Answer)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError as error:
        # Half of a surrogate pair, which a command may print, is JSON by its grammar, and msgspec does not read it.
        try:
            loose = json.loads(body)
        except ValueError:
            raise error from None
        answer = msgspec.convert(_without_halves(loose), _Answer)
    return ExecResult(answer.stdout, answer.stderr or "", answer.exit_code)


def _without_halves(answer: object) -> object:
    return cast("object", json.loads(re.sub("[\ud800-\udfff]", "\ufffd", json.dumps(answer, ensure_ascii=False))))


@operation(Sandbox)
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
    r"""Run a command and wait for its end. Returns an ExecResult: a non-zero exit code is data, not a Failure.

    ``command`` is a line of bash (of ``sh`` where the sandbox has no bash), so pipes, globs and ``&&`` work. Each of
    ``args`` is quoted and stays one argument, whatever is in it. The line runs in a shell of its own: ``exit``,
    ``cd``, ``export`` and an unclosed quote change nothing for the next command. stdout and stderr are exact, but for
    bytes that are no UTF-8. With ``check=True`` a non-zero exit code is Failure(CommandFailed).

    ``cwd`` is the directory, ``/workspace`` by default; a relative one is below that. If it cannot be entered, the
    command does not run, and the exit code is not zero. ``stdin`` is the standard input, empty by default. ``env``
    adds environment variables. Their values are shown when the step is printed. A `from_env` is read when the step
    runs and is never shown, but other processes in the sandbox can read it: keep a secret from them with `set_secret`.

    ``timeout`` is in seconds. A command that takes longer gets SIGTERM, and SIGKILL five seconds later. So do its
    children, in pipelines and in the background, unless they left its process group (``setsid``). That is
    Failure(CommandTimeout), with what was printed. It needs bash in the sandbox, else the Failure is InvalidInput and
    nothing runs. The answer is awaited that long, and ``read_timeout`` more.

    A provider ends each request after a while: 300 s on Cloudflare, 60 s on E2B, 30 s on Hopx. A command without a
    ``timeout`` that reaches that limit is Failure(CommandTimeout) with ``may_run``: its output is lost, and it may run
    on. So give a longer command a longer ``timeout``, or ``durable=True``. Then it runs as a job, as with `submit` and
    `follow`: in the background, for any time, without holding the shell, and no lost answer loses it. A job takes two
    requests more. It is ended where this function is left early: by Ctrl-C, by `within`, or by what ``on_output``
    raises. One that cannot be reached any more runs on; `list_jobs` finds it.

    ``on_output`` is called with each Piece of the output while the command runs, as a job. ``True`` prints it.

    On Cloudflare one shell runs all commands of a sandbox, one after the other. Failure(ShellLost) says that another
    client ended that shell; Failure(ShellBusy) says that it did not answer within ``timeout`` and ``read_timeout``.
    Stop and start heal both, and discard the sandbox's files. Other providers run a command in a new, empty sandbox
    where this one does not run. So a record that is not RUNNING is InvalidInput there, before anything is sent.

    A command that is no job is sent once. Failures: InvalidInput for a name in ``env`` that is none, for a variable that is not
    set here, and for a line that is too long, about 100,000 bytes; TransportError with ``maybe_sent`` where no answer
    came: the command may have run; ApiError (400) for a stopped sandbox on Cloudflare.

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
    >>> box | exec("echo begun; sleep 60", timeout=0.5)
    <Failure: the command was ended after 0.5 s. ...>
    >>> box | exec("exit 3", check=True)
    <Failure: the command ended with exit code 3. ...>
    >>> box | exec("echo begun; sleep 0.2; echo done", on_output=True)
    begun
    done
    <Success: ExecResult(stdout='begun\ndone\n', stderr='', exit_code=0)>
    """

    def made(values: dict[str, str]) -> Command:
        given = stdin.encode() if isinstance(stdin, str) else stdin
        return Command(joined(command, args), cwd, values, given, finite(timeout))

    return ran_or_followed(
        sandbox,
        made,
        env=env,
        check=check,
        token=token,
        config=config,
        on_output=on_output,
        durable=durable,
    )


def ran_or_followed(
    sandbox: Sandbox,
    made: Callable[[dict[str, str]], Command],
    *,
    env: Env | None,
    check: bool,
    on_output: OnOutput | None,
    durable: bool,
    token: str | None,
    config: Config | None,
) -> Result[ExecResult, PocketenvError]:
    """Run the command in one request, or as a job where that is not enough."""
    longest, timeout = provider_of(sandbox.provider).exec_seconds, made({}).timeout
    is_longer = timeout is not None and longest is not None and timeout > longest
    if not (durable or is_longer or on_output):
        return ran(sandbox, made, env=env, check=check, token=token, config=config)
    # Most programs run no command as a job.
    from pocketenv_fp.sandbox.commands.durable import run_durably

    return run_durably(sandbox, made({}), env=env, check=check, on_output=on_output, token=token, config=config)


def finite(timeout: float | None) -> float | None:
    """Return a limit in seconds, None for one that is infinite."""
    return None if timeout == math.inf else timeout


def ran(
    sandbox: Sandbox,
    made: Callable[[dict[str, str]], Command],
    *,
    env: Env | None,
    check: bool,
    token: str | None,
    config: Config | None,
    waits: float | None = None,
) -> Result[ExecResult, PocketenvError]:
    """Send the command that ``made`` makes of the environment, once, and judge how it ended.

    ``waits`` is how many seconds its answer may take, by default ``read_timeout`` more than the command may.
    """
    provider = provider_of(sandbox.provider)
    values = environment(env)
    if isinstance(values, Failure):
        return values
    command = made(values.unwrap())
    hidden = [values.unwrap()[name] for name, value in (env or {}).items() if isinstance(value, FromEnv)]
    form = wire_form(command, provider)
    if isinstance(form, Failure):
        return form
    shell = Shell(sandbox, provider, token, config)
    if refusal := shell.refusal():
        return Failure(refusal)
    most = Success(waits) if waits is not None else _read_timeout(command, provider, token, config)
    if isinstance(most, Failure):
        return most
    body = {"command": form.unwrap()}
    call = procedure("sandbox.exec", _result, {"id": sandbox.id}, body, read_timeout=most.unwrap())
    began = time.monotonic()
    answer = send(call, token=token, config=config).lash(
        lambda error: Failure(_hide(shell.cause(error, command, time.monotonic() - began), hidden))
    )
    ended = answer.bind(lambda result: output(result, command, provider))
    return ended.bind(ended_well) if check else ended


def _read_timeout(
    command: Command, provider: Provider, token: str | None, config: Config | None
) -> Result[float, PocketenvError]:
    """Return how long an answer may take: a little more than the command may."""
    longest = command.timeout if command.timeout is not None else provider.exec_seconds
    if longest is None:
        return Success(math.inf)
    return settings(config, token=token).map(lambda known: longest + GRACE_SECONDS + known.read_timeout)


# What the platform is known to say to an exec. Anything else may quote the line that it refuses, in whatever guise.
PLATFORM_SAYS = re.compile(r"|Unauthorized|Internal Server Error|Sandbox not found|Request failed with status code \d+")


def _hide(error: PocketenvError, values: list[str]) -> PocketenvError:
    if not (values and isinstance(error, ApiError)):
        return error
    # A new one: an exception keeps what it was made of in its args, too.
    kept_name = re.fullmatch(r"\w{0,40}", error.error) and not any(value in error.error for value in values)
    kept_message = PLATFORM_SAYS.fullmatch(error.message)
    return replace(error, error=error.error if kept_name else HIDDEN, message=error.message if kept_message else HIDDEN)


@overload
def sh(
    template: str,
    /,
    *,
    cwd: str | None = None,
    env: Env | None = None,
    timeout: float | None = None,
    check: bool = False,
    on_output: OnOutput | None = None,
    durable: bool = False,
    token: str | None = None,
    config: Config | None = None,
    **values: Value,
) -> Step[Sandbox, ExecResult]: ...
@overload
def sh(
    target: Sandbox | None | Result[Sandbox | None, PocketenvError],
    template: str,
    /,
    *,
    cwd: str | None = None,
    env: Env | None = None,
    timeout: float | None = None,
    check: bool = False,
    on_output: OnOutput | None = None,
    durable: bool = False,
    token: str | None = None,
    config: Config | None = None,
    **values: Value,
) -> Result[ExecResult, PocketenvError]: ...
def sh(
    *given: object,
    cwd: str | None = None,
    env: Env | None = None,
    timeout: float | None = None,
    check: bool = False,
    on_output: OnOutput | None = None,
    durable: bool = False,
    token: str | None = None,
    config: Config | None = None,
    **values: object,
) -> Step[Sandbox, ExecResult] | Result[ExecResult, PocketenvError]:
    r"""Run a command line that is a template: every ``{field}`` becomes its value, quoted. Gives what `exec` gives.

    A value is a str, an int, a float or a path, and stays one argument whatever is in it. Of a sequence of those each
    becomes an argument; an empty one, none. Braces of the shell's own are written ``{{`` and ``}}``. The options are
    those of `exec`, ``timeout`` in seconds among them, and so are the failures; without a sandbox it is the step that
    `exec` makes of the finished line.

    Raises TypeError at once, and says what to write instead, for a field without a value and a value without a field,
    for a value of another type, and for a field in a place where quoting does not hold: between quotes (take them
    away), in a comment or here-document, in ``${…}``, arithmetic, a subscript, ``[[ … ]]`` or backticks. Values for
    those go through ``env=``, and so do secrets: a value is shown when the step is printed.

    A program that is told to run one of its arguments (``eval``, ``sh -c``, ``ssh``, ``xargs``) still runs it.

    >>> from pocketenv_fp import create, exec, sh, start
    >>> box = create("my-box") | start
    >>> box | sh("printf '%s|' {words} {n} | tee {path}", words=["it's", "$HOME"], n=3, path="a file")
    <Success: ExecResult(stdout="it's|$HOME|3|", stderr='', exit_code=0)>
    >>> sh("make -C {place} test", place="my tree", timeout=60)
    exec("make -C 'my tree' test", timeout=60)
    >>> sh("awk '{{ print $1 }}' {file}", file="data.txt", check=True)
    exec("awk '{ print $1 }' 'data.txt'", check=True)
    >>> sh("grep '{pattern}' {file}", pattern="x", file="data.txt")
    Traceback (most recent call last):
        ...
    TypeError: sh: {pattern} stands inside single quotes: remove them, the value is quoted already
    """
    if not 1 <= len(given) <= 2 or not isinstance(given[-1], str):
        raise TypeError('sh takes a template, and a sandbox before it if it is to run: sh("grep {word} log", word=…)')
    try:
        line = _filled(given[-1], values)
    except TypeError as error:
        raise TypeError(f"sh: {error}") from None
    options = {"cwd": cwd, "env": env, "timeout": timeout, "check": check or None, "token": token, "config": config}
    wanted: dict[str, Any] = {name: option for name, option in options.items() if option is not None}
    wanted |= {"on_output": on_output} if on_output else {}
    wanted |= {"durable": True} if durable else {}
    step: Step[Sandbox, ExecResult] = exec(line, **wanted)
    return step if len(given) == 1 else step(cast("Sandbox", given[0]))


OPTIONS = frozenset({"cwd", "env", "timeout", "check", "on_output", "durable", "token", "config"})


def _filled(template: str, values: Mapping[str, object]) -> str:
    for name in fields(template):
        if name in OPTIONS:
            raise TypeError(f"{{{name}}} has the name of an option: call the field otherwise")
    return fill(template, values)
