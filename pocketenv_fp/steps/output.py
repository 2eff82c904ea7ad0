r"""What a command printed, as steps: its text, its lines, its JSON, and whether it ended well.

>>> from pocketenv_fp import check, create, exec, lines, start
>>> create("my-box") | start | exec("printf 'a\\nb\\n'") | check | lines
<Success: ['a', 'b']>
"""

from __future__ import annotations

from typing import Any

import msgspec
from returns.result import Failure, Result, Success

from pocketenv_fp.errors import CommandFailed, DecodeError, PocketenvError
from pocketenv_fp.models import ExecResult
from pocketenv_fp.steps.operation import step

__all__ = ["check", "ended_well", "json_output", "lines", "stdout"]


def ended_well(result: ExecResult) -> Result[ExecResult, PocketenvError]:
    """Return the result of a command that ended well, Failure(CommandFailed) of one whose exit code is not zero."""
    if result.exit_code == 0:
        return Success(result)
    return Failure(CommandFailed(result.exit_code, result.stdout, result.stderr))


@step(ExecResult, safe=True)
def check(result: ExecResult) -> Result[ExecResult, PocketenvError]:
    r"""Ask that a command ended well. Gives the ExecResult; Failure(CommandFailed) where its exit code is not zero.

    >>> from pocketenv_fp import check, create, exec, start
    >>> box = create("my-box") | start
    >>> box | exec("true") | check
    <Success: ExecResult(stdout='', stderr='', exit_code=0)>
    >>> box | exec("ls /missing") | check
    <Failure: the command ended with exit code 2. Its output is in .stdout and .stderr.>
    """
    return ended_well(result)


@step(ExecResult, safe=True)
def stdout(result: ExecResult) -> Result[str, PocketenvError]:
    r"""Give what a command printed, as a str, whatever its exit code: put `check` before it where that matters.

    >>> from pocketenv_fp import create, exec, start, stdout
    >>> (create("my-box") | start | exec("echo hello") | stdout).unwrap()
    'hello\n'
    """
    return Success(result.stdout)


@step(ExecResult, safe=True)
def lines(result: ExecResult) -> Result[list[str], PocketenvError]:
    r"""Give the lines that a command printed, as a list of str, whatever its exit code.

    Only ``\n`` ends a line: other signs at which Python breaks lines may be part of a file's name.

    >>> from pocketenv_fp import check, create, exec, lines, start
    >>> create("my-box") | start | exec("touch a b; ls") | check | lines
    <Success: ['a', 'b']>
    """
    return Success(result.stdout.removesuffix("\n").split("\n") if result.stdout else [])


@step(ExecResult, safe=True)
def json_output(result: ExecResult) -> Result[Any, PocketenvError]:
    r"""Return what a command printed as JSON, decoded: dicts, lists, strings, numbers, booleans and None.

    It is whatever the exit code. NaN, Infinity and half of a surrogate pair are read as Python's ``json`` reads them,
    and a byte order mark is skipped. Failures: DecodeError where it is not JSON, with the reason and the place, but
    never with what was printed.

    >>> from pocketenv_fp import create, exec, json_output, start
    >>> box = create("my-box") | start
    >>> box | exec("echo '{\"passed\": 3}'") | json_output
    <Success: {'passed': 3}>
    >>> box | exec("echo; echo passed") | json_output
    <Failure: json_output: the output is not valid: Expecting value: line 2, column 1. ...>
    """
    text = result.stdout.removeprefix("\ufeff")
    try:
        return Success(msgspec.json.decode(text))
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return _loose_json(text)


def _loose_json(text: str) -> Result[Any, PocketenvError]:
    import json

    try:
        return Success(json.loads(text))
    except json.JSONDecodeError as error:
        reason = f"{error.msg}: line {error.lineno}, column {error.colno}" if text.strip() else "it is empty"
        several = error.msg == "Extra data"
        hint = ". It is more than one JSON value: for one on each line, use lines" if several else ""
        return Failure(DecodeError("json_output", f"{reason}{hint}"))
    except RecursionError:
        return Failure(DecodeError("json_output", "it is nested too deeply"))
    except ValueError:
        return Failure(DecodeError("json_output", "it contains a number with more digits than Python reads"))
