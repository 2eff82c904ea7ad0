r"""Steps for the output of a command: as a string, as lines, as JSON, and a check of the exit code.

>>> from pocketenv_fp import check, create, exec, lines, start
>>> create("my-box") | start | exec("printf 'a\\nb\\n'") | check | lines
<Success: ['a', 'b']>
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from returns.result import Failure, Result, Success

from pocketenv_fp.config import hides_output
from pocketenv_fp.errors import CommandFailed, DecodeError, PocketenvError
from pocketenv_fp.models import ExecResult
from pocketenv_fp.plain_types import UNDECODABLE
from pocketenv_fp.redaction import HIDDEN, printable, shorten, without_passwords
from pocketenv_fp.steps.operation import step

__all__ = ["check", "ended_well", "json_output", "lines", "stdout"]


TAIL_LINES = 5
TAIL_CHARACTERS = 300


def ended_well(result: ExecResult, hidden: Sequence[str] = ()) -> Result[ExecResult, PocketenvError]:
    """Return the result of a command with exit code 0, else Failure(CommandFailed).

    Its message ends with the last lines of stderr, in which the values of ``hidden`` are masked.
    """
    if result.exit_code == 0:
        return Success(result)
    error = CommandFailed(result.exit_code, result.stdout, result.stderr)
    return Failure(error if hides_output() else error.quoting(_tail(result.stderr, hidden)))


def _tail(text: str, hidden: Sequence[str]) -> str:
    if "PRIVATE KEY" in text:
        return HIDDEN
    # The longest first: one value may be a part of another.
    for value in sorted(hidden, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    last = without_passwords(text).rstrip().split("\n")[-TAIL_LINES:]
    return "\n".join(shorten(printable(line), TAIL_CHARACTERS) for line in last)


@step(ExecResult, safe=True)
def check(result: ExecResult) -> Result[ExecResult, PocketenvError]:
    r"""Check the exit code of a command. Returns the ExecResult, or Failure(CommandFailed) if the code is not zero.

    Args:
        result: The ExecResult of a command, or a Result of one. The function is also a step.

    >>> from pocketenv_fp import check, create, exec, start
    >>> box = create("my-box") | start
    >>> box | exec("true") | check
    <Success: ExecResult(stdout='', stderr='', exit_code=0)>
    >>> print((box | exec("ls /missing") | check).failure())
    the command ended with exit code 2. Its output is in .stdout and .stderr. The step was check(). The end of stderr:
        ls: cannot access '/missing': No such file or directory
    """
    return ended_well(result)


@step(ExecResult, safe=True)
def stdout(result: ExecResult) -> Result[str, PocketenvError]:
    r"""Return the standard output of a command as a str. The exit code is ignored: put `check` before it.

    Args:
        result: The ExecResult of a command, or a Result of one. The function is also a step.

    >>> from pocketenv_fp import create, exec, start, stdout
    >>> (create("my-box") | start | exec("echo hello") | stdout).unwrap()
    'hello\n'
    """
    return Success(result.stdout)


@step(ExecResult, safe=True)
def lines(result: ExecResult) -> Result[list[str], PocketenvError]:
    r"""Return the lines of a command's standard output, as a list of str. The exit code is ignored.

    Only ``\n`` ends a line. Other line breaks of Python may be part of a file name.

    Args:
        result: The ExecResult of a command, or a Result of one. The function is also a step.

    >>> from pocketenv_fp import check, create, exec, lines, start
    >>> create("my-box") | start | exec("touch a b; ls") | check | lines
    <Success: ['a', 'b']>
    """
    return Success(result.stdout.removesuffix("\n").split("\n") if result.stdout else [])


@step(ExecResult, safe=True)
def json_output(result: ExecResult) -> Result[Any, PocketenvError]:
    r"""Decode the standard output of a command as JSON. Returns dicts, lists, strings, numbers, booleans or None.

    The exit code is ignored. NaN, Infinity and half of a surrogate pair are decoded as in Python's ``json``, and a byte
    order mark is skipped. Failures: DecodeError for other output, with the reason and the place, but without the
    output.

    Args:
        result: The ExecResult of a command, or a Result of one. The function is also a step.

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
    except UNDECODABLE:
        return _loose_json(text)


def _loose_json(text: str) -> Result[Any, PocketenvError]:
    import json

    try:
        return Success(json.loads(text))
    except json.JSONDecodeError as error:
        reason = f"{error.msg}: line {error.lineno}, column {error.colno}" if text.strip() else "it is empty"
        several = error.msg == "Extra data"
        hint = ". It is more than one JSON value: if each line is one, use lines" if several else ""
        return Failure(DecodeError("json_output", f"{reason}{hint}"))
    except RecursionError:
        return Failure(DecodeError("json_output", "it is nested too deeply"))
    except ValueError:
        return Failure(DecodeError("json_output", "it contains a number with more digits than Python reads"))
