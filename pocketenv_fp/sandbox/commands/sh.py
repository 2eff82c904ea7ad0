"""Run commands as a template with fields."""

from __future__ import annotations

from typing import Any, cast, overload

from returns.result import Result

from pocketenv_fp.config import Config
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.models import ExecResult, Sandbox
from pocketenv_fp.pocketenv.records import present
from pocketenv_fp.redaction import hidden
from pocketenv_fp.sandbox.commands.exec import Env, OnOutput, exec
from pocketenv_fp.sandbox.commands.template import Value, fill
from pocketenv_fp.steps.step import Step

__all__ = ["sh"]


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
    *arguments: object,
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
    r"""Run a command line that is a template: each ``{field}`` becomes its quoted value. Returns what `exec` returns.

    A value is a str, an int, a float or a path, and is always one argument. Each item of a sequence becomes one
    argument. Write the shell's own braces as ``{{`` and ``}}``. The options are those of `exec`, with ``timeout`` in
    seconds, and so are the failures. Without a sandbox it returns the step that `exec` makes of the finished line.

    Raises TypeError at once, with advice, for a field without a value, a value without a field, or a value of another
    type. It also raises TypeError for a field where quoting is not safe: inside quotes (remove them) or a comment, and
    after the start of a here-document, ``${…}`` with quotes in it, arithmetic, an array, a subscript, ``[[ … ]]`` or
    backticks. Pass such values with ``env=``, and secrets too: a value is shown when the step is printed.

    A program that runs one of its arguments as a command (``eval``, ``sh -c``, ``ssh``, ``xargs``) still does so.

    Args:
        *arguments: The template. To run it at once, the Sandbox or a Result of one comes before it.
        cwd: Working directory. A relative path starts at ``/workspace``. Default: ``/workspace``. If it cannot be
            entered, the command does not run, and the exit code is not zero.
        env: Environment variables of the command: values, or `from_env`. Default: none.
        timeout: Seconds until the command is killed. None or infinity: no limit but the provider's.
        check: True to turn a non-zero exit code into Failure(CommandFailed). Default: False.
        on_output: Function that is called with each Piece of the output while the command runs, as a job. True
            prints the output. Default: none.
        durable: True to run the command as a job. Default: False.
        **values: The value of each field.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

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
    TypeError: sh: {pattern} is inside single quotes: remove them, the value is quoted already
    """
    token = hidden(token)
    if not 1 <= len(arguments) <= 2 or not isinstance(arguments[-1], str):
        raise TypeError('sh takes a template: sh("grep {word} log", word=…). To run it at once, pass the sandbox first')
    options: dict[str, object] = {
        "cwd": cwd,
        "env": env,
        "timeout": timeout,
        "check": check or None,
        "on_output": on_output or None,
        "durable": durable or None,
        "token": token,
        "config": config,
    }
    try:
        line = fill(arguments[-1], values, options)
    except TypeError as error:
        raise TypeError(f"sh: {error}") from None
    step: Step[Sandbox, ExecResult] = exec(line, **cast("Any", present(options)))
    return step if len(arguments) == 1 else step(cast("Sandbox", arguments[0]))
