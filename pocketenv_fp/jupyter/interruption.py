"""Show an interrupted step as one line instead of a traceback through this library and its HTTP client."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, cast

from pocketenv_fp.jupyter.markup import plain
from pocketenv_fp.redaction import shorten
from pocketenv_fp.steps.step import Applied

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["interruption", "interruption_line"]

STEP_CHARACTERS = 120
PACKAGE = "pocketenv_fp."
# Steps that wait for a command, and steps that delete the sandbox after an interrupt.
COMMANDS = frozenset({"exec", "exec_script"})
RELEASING = frozenset({"managed", "ephemeral"})


@contextmanager
def interruption(ipython: InteractiveShell) -> Generator[None]:
    """Show a KeyboardInterrupt from this library as one line, in the block. Other exceptions are shown as before."""
    shell = cast("Any", ipython)
    before: tuple[type[BaseException], ...] = shell.custom_exceptions
    show_before: Callable[..., Any] = shell.CustomTB

    def show(
        _: object,
        kind: type[BaseException],
        error: BaseException,
        trace: TracebackType | None,
        tb_offset: int | None = None,
    ) -> None:
        line = interruption_line(error, trace)
        if line is not None:
            # IPython uses a method of this name as the exception's own traceback.
            error._render_traceback_ = lambda: [line]  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        elif issubclass(kind, before):
            show_before(kind, error, trace, tb_offset)
            return
        shell.showtraceback((kind, error, trace), tb_offset=tb_offset, running_compiled_code=True)

    shell.set_custom_exc((*before, KeyboardInterrupt), show)
    ours = shell.CustomTB
    try:
        yield
    finally:
        if shell.CustomTB is ours:
            shell.custom_exceptions, shell.CustomTB = before, show_before


def interruption_line(error: BaseException, trace: TracebackType | None) -> str | None:
    """Return one line for a KeyboardInterrupt in this library. None for one that was raised elsewhere."""
    frames = [frame for frame in _frames(trace) if str(frame.f_globals.get("__name__")).startswith(PACKAGE)]
    if not isinstance(error, KeyboardInterrupt) or not frames:
        return None
    steps = [step for frame in frames if isinstance(step := frame.f_locals.get("self"), Applied)]
    names = [step.operation.__name__ for step in steps]
    parts = [f"interrupted in {shorten(str(steps[-1]), STEP_CHARACTERS) if steps else _function(frames)}."]
    notes: list[str] = getattr(error, "__notes__", [])
    # A deleted sandbox runs nothing. A note says that a deletion failed.
    has_sandbox = bool(notes) or not RELEASING.intersection(names)
    jobs = [step for step in steps if step.kwargs.get("durable") or step.kwargs.get("on_output")]
    if "run_code" in names and has_sandbox:
        parts.append("The code in the sandbox was interrupted, and its context keeps its variables.")
    elif jobs and has_sandbox:
        parts.append("The command in the sandbox was killed. Use submit for a command that runs on.")
    elif COMMANDS.intersection(names) and has_sandbox:
        parts.append("The command may still run in the sandbox: exec(timeout=…) kills a command after a time.")
    elif steps and not steps[-1].safe and has_sandbox:
        parts.append("The platform may have executed it already.")
    return plain(" ".join(("KeyboardInterrupt:", *parts, *notes)))


def _frames(trace: TracebackType | None) -> Iterator[FrameType]:
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next


def _function(frames: list[FrameType]) -> str:
    return next(
        (name for frame in frames if (name := frame.f_code.co_name).isidentifier() and name[0] != "_"), "a step"
    )
