"""Clone a git repository into a sandbox that no other create shares."""

from __future__ import annotations

from returns.result import Result, Success

from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.models import Sandbox
from pocketenv_fp.providers import provider_of
from pocketenv_fp.sandbox.lifecycle import start, wait_until_running
from pocketenv_fp.steps.needs import needed

__all__ = ["clone"]

LONGEST_WAIT = 300.0
"""A new sandbox must be running within this number of seconds, so that a start can clone into it."""


def clone(repo: str, sandbox: Sandbox) -> Result[Sandbox, PocketenvError]:
    """Clone ``repo`` into the sandbox. Returns the Sandbox afterwards.

    A start clones the repository, also in a running sandbox. A new sandbox must be running first. Otherwise the start
    would create a second one at the provider. Failures: WaitTimeout; those of `start`.

    >>> from functools import partial
    >>> from pocketenv_fp import create
    >>> from pocketenv_fp.sandbox.repository import clone
    >>> create("my-box").bind(partial(clone, "file:///no/such/repository")).map(lambda box: box.status)
    <Success: Status.RUNNING>
    """
    runs = provider_of(sandbox.provider).running_on_create
    started = start(repo=repo)
    return (started if runs else wait_until_running(timeout=LONGEST_WAIT) | started).run_for(needed(), Success(sandbox))
