"""``%%sandbox NAME``: the lines of a cell, run in a sandbox."""

from __future__ import annotations

import argparse
import keyword
import math
import shlex
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, cast

from returns.result import Failure, Result, Success

from pocketenv_fp.errors import PocketenvError, SandboxNotFound
from pocketenv_fp.jupyter.markup import plain
from pocketenv_fp.models import ExecResult, Sandbox, Status
from pocketenv_fp.pocketenv import create, get_sandbox
from pocketenv_fp.sandbox import exec_script, refresh, start, wait_until_running
from pocketenv_fp.sandbox.managed import managed
from pocketenv_fp.steps.operation import Step

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["magic"]

NAME = "sandbox"

ABOUT = """Run the lines of a cell in a sandbox, as one script of sh:

    %%sandbox my-box --timeout 60
    cd /tmp
    uname -a

NAME is a variable that holds a Sandbox or a Result of one; any other NAME is the name or id of a sandbox on the
platform. One that is there is used, and started if it does not run. Where there is none, one is created, and this is
said. What comes back is the Result, with the ExecResult in it. `%sandbox NAME` shows the sandbox as it is now.
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
    # IPython has put the values of variables into the line: what is left of these signs has none.
    if text.startswith("$") or {"{", "}"} & set(text):
        raise argparse.ArgumentTypeError(f"there is no variable for {text!r}")
    return text


def _parser(*, lines: bool) -> _Parser:
    prog = f"%%{NAME}" if lines else f"%{NAME}"
    options = " [--provider P] [--rm | --keep] [--timeout S] [--cwd D] [--check] [--out VAR]" if lines else ""
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
        help="a variable that holds a Sandbox or a Result of one, or a sandbox's name or id",
    )
    if not lines:
        return parser
    add("--provider", metavar="P", help="where to create it, if there is none")
    after = parser.add_mutually_exclusive_group()
    after.add_argument("--rm", action="store_true", help="delete it afterwards, if it was created for this cell")
    after.add_argument("--keep", action="store_true", help="do not, which is usual")
    add("--timeout", metavar="S", type=_seconds, help="end the lines after so many seconds")
    add("--cwd", metavar="D", help="the directory to run them in, /workspace if not given")
    add("--check", action="store_true", help="make an exit code that is not zero a Failure")
    add("--out", metavar="VAR", type=_variable, help="a variable for the Result, too")
    return parser


@contextmanager
def magic(ipython: InteractiveShell) -> Generator[None]:
    """Have ``%sandbox`` and ``%%sandbox`` inside the block."""
    manager = cast("Any", ipython).magics_manager
    before = {kind: manager.magics[kind].get(NAME) for kind in ("line", "cell")}

    def sandbox(line: str, cell: str | None = None) -> Result[Any, PocketenvError]:
        return _show(ipython, line) if cell is None else _run(ipython, line, cell)

    sandbox.__doc__ = _parser(lines=True).format_help()
    manager.register_function(sandbox, "line_cell", NAME)
    try:
        yield
    finally:
        for kind, was in before.items():
            if manager.magics[kind].get(NAME) is sandbox:
                manager.magics[kind].pop(NAME)
                manager.magics[kind].update({NAME: was} if was else {})


def _options(line: str, *, lines: bool) -> argparse.Namespace:
    parser = _parser(lines=lines)
    try:
        words = shlex.split(line)
    except ValueError:
        parser.error("a quotation mark is not closed")
    return parser.parse_args(words)


def _held(ipython: InteractiveShell, name: str) -> Result[Sandbox | None, PocketenvError] | None:
    """Give the sandbox that the variable ``name`` holds, None where that is no such variable."""
    value: object = cast("dict[str, object]", ipython.user_ns).get(name)
    if isinstance(value, Sandbox):
        return Success(value)
    if not isinstance(value, Result):
        return None
    result = cast("Result[object, object]", value)
    inside = result.failure() if isinstance(result, Failure) else result.unwrap()
    # None is what get_sandbox gives where there is none.
    is_one = isinstance(inside, PocketenvError) if isinstance(result, Failure) else isinstance(inside, Sandbox | None)
    return cast("Result[Sandbox | None, PocketenvError]", result) if is_one else None


def _show(ipython: InteractiveShell, line: str) -> Result[Sandbox, PocketenvError]:
    name: str = _options(line, lines=False).name
    held = _held(ipython, name)
    return get_sandbox(name).bind(lambda box: _there(box, name)) if held is None else held | refresh


def _there(box: Sandbox | None, name: str) -> Result[Sandbox, PocketenvError]:
    if box is None:
        return Failure(SandboxNotFound(message=f"there is no sandbox {name}"))
    return Success(box)


def _run(ipython: InteractiveShell, line: str, cell: str) -> Result[ExecResult, PocketenvError]:
    from IPython.core.error import UsageError

    asked = _options(line, lines=True)
    if not cell.strip():
        raise UsageError(f"%%{NAME}: there is nothing to run: write shell lines below the first one")
    use = exec_script(cell, "sh", cwd=asked.cwd, timeout=asked.timeout, check=asked.check)
    held = _held(ipython, asked.name)
    result = _in(asked, use) if held is None else held.bind(lambda box: _up(box, use))
    if asked.out:
        cast("Any", ipython).push({asked.out: result})
    return result


def _in(asked: argparse.Namespace, use: Step[Sandbox, ExecResult]) -> Result[ExecResult, PocketenvError]:
    def reached(box: Sandbox | None) -> Result[ExecResult, PocketenvError]:
        if box is not None:
            return _up(box, use)
        _say(f"There is no sandbox {asked.name}: creating it{', for this cell' if asked.rm else ''}.")
        creation = create(provider=asked.provider) if asked.provider else create()
        running = start | wait_until_running | use
        return managed(running, acquire=creation)(asked.name) if asked.rm else (creation | running)(asked.name)

    return get_sandbox(asked.name).bind(reached)


def _up(box: Sandbox | None, use: Step[Sandbox, ExecResult]) -> Result[ExecResult, PocketenvError]:
    def seen(now: Sandbox) -> Result[ExecResult, PocketenvError]:
        if now.status is Status.RUNNING:
            return now | use
        _say(f"The sandbox {now.name} does not run: starting it.")
        return now | start | wait_until_running | use

    # What a variable holds was seen some time ago.
    return (Success(box) | refresh).bind(seen)


def _say(text: str) -> None:
    print(plain(text))  # noqa: T201  # a cell's output is where it belongs
