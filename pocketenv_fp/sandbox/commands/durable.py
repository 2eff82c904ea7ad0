"""`exec` as a job: started, followed and deleted in one call."""

from __future__ import annotations

import os
from functools import partial

from returns.result import Failure, Result

from pocketenv_fp.errors import DeadlineExceeded, PocketenvError
from pocketenv_fp.models import ExecResult, Job, Sandbox
from pocketenv_fp.runtime.deadline import brief, limited, unlimited
from pocketenv_fp.runtime.signals import guarded, opened, sealed
from pocketenv_fp.sandbox.commands import job_lines as lines
from pocketenv_fp.sandbox.commands.exec import Env, OnOutput, hidden_values
from pocketenv_fp.sandbox.commands.job_follow import ended, follow_to_the_end
from pocketenv_fp.sandbox.commands.job_output import Output, printer
from pocketenv_fp.sandbox.commands.job_requests import Asking, Look, Place, Work, read_look
from pocketenv_fp.sandbox.commands.wire_form import Command, environment
from pocketenv_fp.steps.output import ended_well

__all__ = ["new_id", "run_durably"]

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
    """Run a command as a job. It is ended where the caller does not wait for its end: by Ctrl-C, or `within`."""
    asking = Asking(Job(sandbox, new_id()))
    work, output, on_piece = Work(command, env), Output(Place()), printer(on_output)

    def first(asking: Asking) -> Result[Look, PocketenvError]:
        return asking.start(work, asking.look_line(Place(), asking.longest_wait)).bind(read_look)

    is_left = True
    with guarded():
        try:
            with opened():
                looked = follow_to_the_end(asking, output, on_piece, None, first)
            # A job that cannot be reached may be reached later.
            is_left = isinstance(looked, Failure) and isinstance(looked.failure(), DeadlineExceeded)
        finally:
            if is_left:
                with sealed(), unlimited(), limited(CLEANING_SECONDS), brief():
                    asking.run(lines.REVOKE)
        if not isinstance(looked, Failure):
            with sealed(), limited(CLEANING_SECONDS), brief():
                asking.run(lines.FORGET, keeps="1" if asking.repeats else "")
    result = looked.bind(partial(ended, output=output))
    if not check:
        return result
    hidden = environment(env).map(partial(hidden_values, env)).value_or([])
    return result.bind(partial(ended_well, hidden=hidden))
