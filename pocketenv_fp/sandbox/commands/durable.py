"""Run a command as a job in one call: start it, follow it and delete it."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from returns.result import Failure, Result

from pocketenv_fp.errors import DeadlineExceeded, PocketenvError
from pocketenv_fp.models import ExecResult, Job, Piece, Sandbox
from pocketenv_fp.runtime.deadline import brief, limited, unlimited
from pocketenv_fp.runtime.signals import guarded, opened, sealed
from pocketenv_fp.sandbox.commands import job_lines as lines
from pocketenv_fp.sandbox.commands.exec import Env, OnOutput, hidden_values
from pocketenv_fp.sandbox.commands.job_follow import ended, follow_to_the_end
from pocketenv_fp.sandbox.commands.job_output import Output, printer
from pocketenv_fp.sandbox.commands.job_requests import Asking, Look, Place, Work, read_look
from pocketenv_fp.sandbox.commands.wire_form import Command, environment
from pocketenv_fp.steps.output import ended_well

__all__ = ["delete", "new_id", "run_durably", "run_to_the_end"]

CLEANING_SECONDS = 30.0


def new_id() -> str:
    """Return an id that no job has."""
    return f"job-{os.urandom(10).hex()}"


def run_durably(
    sandbox: Sandbox,
    command: Command,
    *,
    env: Env | None,
    check: bool,
    on_output: OnOutput | None,
) -> Result[ExecResult, PocketenvError]:
    """Run a command as a job. Ctrl-C and `within` kill it: then its caller does not wait for the result."""
    asking, output = Asking(Job(sandbox, new_id())), Output(Place())
    last = run_to_the_end(asking, Work(command, env), output, printer(on_output))
    if not isinstance(last, Failure):
        delete(asking)
    elif not isinstance(last.failure(), DeadlineExceeded):
        last = last.alt(asking.named)
    result = last.bind(partial(ended, output=output))
    if not check:
        return result
    hidden = environment(env).map(partial(hidden_values, env)).value_or([])
    return result.bind(partial(ended_well, hidden=hidden))


def run_to_the_end(
    asking: Asking, work: Work, output: Output, on_piece: Callable[[Piece], object] | None
) -> Result[Look, PocketenvError]:
    """Start a job and read its output until it has ended. A job that the caller leaves early is killed."""
    is_left = True
    with guarded():
        try:
            with opened():
                started = asking.start(work, asking.look_line(Place(), asking.longest_wait)).bind(read_look)
                last = started.bind(partial(follow_to_the_end, asking, output, on_piece, None))
            # A job that cannot be reached may be reached later.
            is_left = isinstance(last, Failure) and isinstance(last.failure(), DeadlineExceeded)
        finally:
            if is_left:
                with sealed(), unlimited(), limited(CLEANING_SECONDS), brief():
                    asking.run(lines.REVOKE)
        return last


def delete(asking: Asking) -> None:
    """Delete a job that has ended. After repeated requests its name stays: a late one must start nothing."""
    with guarded(), sealed(), limited(CLEANING_SECONDS), brief():
        asking.run(lines.FORGET, keeps="1" if asking.repeats else "")
