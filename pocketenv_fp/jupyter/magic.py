"""``%%sandbox NAME``: run the lines of a cell in a sandbox."""

from __future__ import annotations

import argparse
import keyword
import math
import shlex
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, cast

from returns.result import Failure, Result, Success

from pocketenv_fp.errors import PocketenvError, SandboxNotFound
from pocketenv_fp.jupyter.markup import plain
from pocketenv_fp.jupyter.output import CellOutput, cell_output
from pocketenv_fp.models import Sandbox, Status
from pocketenv_fp.pocketenv import create, get_sandbox
from pocketenv_fp.sandbox import exec_script, refresh, run_code, start, wait_until_running
from pocketenv_fp.sandbox.managed import managed
from pocketenv_fp.steps.step import Step

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["magic"]

NAME = "sandbox"

ABOUT = """Run the lines of a cell in a sandbox, as one script of sh, and show the output while it runs:

    %%sandbox my-box --timeout 60
    cd /tmp
    uname -a

NAME is a variable with a Sandbox or a Result of one. Any other NAME is the name or id of a sandbox on the platform. An
existing sandbox is used, and started if it is not running. If it does not exist, it is created, with a message. The
value is the Result with the ExecResult. `%sandbox NAME` shows the current sandbox.

With --python the cell is Python code, which keeps its variables from cell to cell, as `run_code` does. Its value is the
Result with the CodeResult, whose card shows figures and tables. HTML is shown without scripts and styles. With --keep
the next cell begins in the directory and with the exported variables of this one, in a file of the sandbox.
Interrupting a cell ends its command, or interrupts its code, which keeps its variables.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        from IPython.core.error import UsageError

        raise UsageError(
            f"{self.prog}: {message.removeprefix('argument ')}. Write: {(self.usage or '').replace('%%', '%')}"
        )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, such as 60 or 0.5")
    return seconds


def _variable(text: str) -> str:
    if not text.isidentifier() or keyword.iskeyword(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a variable")
    return text


def _name(text: str) -> str:
    # IPython has inserted the values of variables: the signs that are left belong to no variable.
    if text.startswith("$") or {"{", "}"} & set(text):
        raise argparse.ArgumentTypeError(f"there is no variable for {text!r}")
    return text


def _parser(*, lines: bool) -> _Parser:
    prog = f"%%{NAME}" if lines else f"%{NAME}"
    options = (
        " [--provider P] [--rm | --keep] [--python] [--timeout S] [--cwd D] [--check] [--out VAR]" if lines else ""
    )
    parser = _Parser(
        prog=prog,
        usage=f"{prog} NAME{options}".replace("%", "%%"),
        description=ABOUT,
        add_help=False,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "name",
        metavar="NAME",
        type=_name,
        help="a variable with a Sandbox or a Result of one, or a sandbox's name or id",
    )
    if not lines:
        return parser
    add("--provider", metavar="P", help="the provider, if the sandbox is created")
    after = parser.add_mutually_exclusive_group()
    after.add_argument(
        "--rm", action="store_true", help="delete the sandbox afterwards, if it was created for this cell"
    )
    after.add_argument(
        "--keep",
        action="store_true",
        help="keep the directory and the exported variables for the next cell with --keep",
    )
    add("--python", action="store_true", help="run Python code that keeps its variables")
    add("--timeout", metavar="S", type=_seconds, help="kill the lines after S seconds")
    add("--cwd", metavar="D", help="the working directory (default: /workspace)")
    add("--check", action="store_true", help="turn a non-zero exit code into a Failure")
    add("--out", metavar="VAR", type=_variable, help="also store the Result in this variable")
    return parser


@contextmanager
def magic(ipython: InteractiveShell) -> Generator[None]:
    """Register ``%sandbox`` and ``%%sandbox`` inside the block."""
    manager = cast("Any", ipython).magics_manager
    before = {kind: manager.magics[kind].get(NAME) for kind in ("line", "cell")}

    def sandbox(line: str, cell: str | None = None) -> Result[Any, PocketenvError]:
        return _show(ipython, line) if cell is None else _run(ipython, line, cell)

    sandbox.__doc__ = _parser(lines=True).format_help()
    manager.register_function(sandbox, "line_cell", NAME)
    try:
        yield
    finally:
        for kind, previous in before.items():
            if manager.magics[kind].get(NAME) is sandbox:
                manager.magics[kind].pop(NAME)
                manager.magics[kind].update({NAME: previous} if previous else {})


def _options(line: str, *, lines: bool) -> argparse.Namespace:
    parser = _parser(lines=lines)
    try:
        words = shlex.split(line)
    except ValueError:
        parser.error("a quotation mark is not closed")
    return parser.parse_args(words)


def _variable_value(ipython: InteractiveShell, name: str) -> Result[Sandbox | None, PocketenvError] | None:
    """Return the sandbox in the variable ``name``, or None if it is not such a variable."""
    value: object = cast("dict[str, object]", ipython.user_ns).get(name)
    if isinstance(value, Sandbox):
        return Success(value)
    if not isinstance(value, Result):
        return None
    result = cast("Result[object, object]", value)
    inside = result.failure() if isinstance(result, Failure) else result.unwrap()
    # get_sandbox returns None for a missing sandbox.
    is_one = isinstance(inside, PocketenvError) if isinstance(result, Failure) else isinstance(inside, Sandbox | None)
    return cast("Result[Sandbox | None, PocketenvError]", result) if is_one else None


def _show(ipython: InteractiveShell, line: str) -> Result[Sandbox, PocketenvError]:
    name: str = _options(line, lines=False).name
    value = _variable_value(ipython, name)
    return get_sandbox(name).bind(partial(_there, name)) if value is None else value | refresh


def _there(name: str, box: Sandbox | None) -> Result[Sandbox, PocketenvError]:
    if box is None:
        return Failure(SandboxNotFound(message=f"there is no sandbox {name}"))
    return Success(box)


def _run(ipython: InteractiveShell, line: str, cell: str) -> Result[Any, PocketenvError]:
    from IPython.core.error import UsageError

    options = _options(line, lines=True)
    if not cell.strip():
        raise UsageError(f"%%{NAME}: there is nothing to run: write shell lines below the first one")
    if options.python and (options.keep or options.cwd):
        raise UsageError(f"%%{NAME}: --python keeps its variables and its directory: leave out --keep and --cwd")
    value = _variable_value(ipython, options.name)
    with cell_output(ipython) as output:
        use = _step(options, cell, output)
        # The record in a variable may be old.
        result = _in(options, use) if value is None else (value | refresh).bind(partial(_up, use))
    if options.out:
        cast("Any", ipython).push({options.out: result})
    return result


def _step(options: argparse.Namespace, cell: str, output: CellOutput | None) -> Step[Sandbox, Any]:
    if options.python:
        return run_code(cell, timeout=options.timeout, check=options.check, on_output=output)
    script = f"{_KEEPING}\n{cell}" if options.keep else cell
    # As a job, it is ended where the cell is interrupted.
    return exec_script(
        script, "sh", cwd=options.cwd, timeout=options.timeout, check=options.check, on_output=output, durable=True
    )


# One line, so that messages about the cell's lines have few more. `trap` keeps the exit code.
_KEEPING = (
    'pocketenv_cell="$HOME/.pocketenv-cell"; '
    'if [ -r "$pocketenv_cell" ]; then . "$pocketenv_cell"; cd "$PWD"; fi; '
    'trap \'(umask 077; export PWD; export -p >"$pocketenv_cell.new" && mv "$pocketenv_cell.new" "$pocketenv_cell")\' EXIT'
)


def _in(options: argparse.Namespace, use: Step[Sandbox, Any]) -> Result[Any, PocketenvError]:
    known = get_sandbox(options.name)
    if isinstance(known, Failure):
        return known
    box = known.unwrap()
    if box is not None:
        return _up(use, box)
    _say(f"There is no sandbox {options.name}: creating it{', for this cell' if options.rm else ''}.")
    creation = create(provider=options.provider) if options.provider else create()
    running = start | wait_until_running | use
    return managed(running, acquire=creation)(options.name) if options.rm else (creation | running)(options.name)


def _up(use: Step[Sandbox, Any], box: Sandbox) -> Result[Any, PocketenvError]:
    """Run ``use`` in a sandbox that was just looked up, and start it before if needed."""
    if box.status is Status.RUNNING:
        return box | use
    _say(f"The sandbox {box.name} is not running: starting it.")
    return box | start | wait_until_running | use


def _say(text: str) -> None:
    print(plain(text))  # noqa: T201  # shown in the output of the cell
