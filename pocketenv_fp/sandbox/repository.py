"""A git repository in a sandbox that no other create shares."""

from __future__ import annotations

from returns.result import Result, Success

from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.models import Sandbox
from pocketenv_fp.providers import provider_of
from pocketenv_fp.sandbox.lifecycle import start, wait_until_running

__all__ = ["clone"]

LONGEST_WAIT = 300.0
"""How many seconds a new sandbox has to run, so that it can be started with a repository."""


def clone(sandbox: Sandbox, repo: str) -> Result[Sandbox, PocketenvError]:
    """Have the platform clone ``repo`` into the sandbox. Returns the Sandbox as it is afterwards.

    A start does that, also of a sandbox that runs. Where a new sandbox does not run at once, that is waited for: before,
    a start would make a second one. Failures: WaitTimeout; what `start` has.

    >>> from pocketenv_fp import create
    >>> from pocketenv_fp.sandbox.repository import clone
    >>> create("my-box").bind(lambda box: clone(box, "file:///no/such/repository")).map(lambda box: box.status)
    <Success: Status.RUNNING>
    """
    runs = provider_of(sandbox.provider).running_on_create
    running = Success(sandbox) if runs else wait_until_running(sandbox, timeout=LONGEST_WAIT)
    return running.bind(lambda box: start(box, repo=repo))
