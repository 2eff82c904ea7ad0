"""Start, stop, delete, claim and look up a sandbox, and wait until it is running."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from functools import partial
from itertools import count, repeat

from msgspec.structs import replace
from returns.result import Failure, Result, Success

from pocketenv_fp import pocketenv
from pocketenv_fp.config import Config
from pocketenv_fp.errors import InvalidInput, PocketenvError, WaitTimeout
from pocketenv_fp.http.xrpc import nothing, procedure, send
from pocketenv_fp.models import Sandbox, Status
from pocketenv_fp.observing import note
from pocketenv_fp.pocketenv.sandboxes import look, look_if_needed, remove, started
from pocketenv_fp.runtime import rehearsal
from pocketenv_fp.runtime.deadline import exceeded, remaining
from pocketenv_fp.sandbox.shared_polling import SHORTEST_READ, Waiter
from pocketenv_fp.steps.needs import Need, needed
from pocketenv_fp.steps.operation import step
from pocketenv_fp.validation import Seconds, Text, Wait

__all__ = ["claim", "delete", "refresh", "start", "stop", "wait_until_running"]


@step(Sandbox, safe=True, reads=Need.ID)
def start(
    sandbox: Sandbox,
    *,
    repo: Text | None = None,
    keep_alive: bool | None = None,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Sandbox, PocketenvError]:
    """Start the sandbox. A running sandbox keeps running. Returns the Sandbox afterwards.

    Secrets, variables, files, keys and volumes take effect only at a start. A start of a running sandbox is enough. It
    keeps the files, processes and shell. Variables and secrets take effect on Cloudflare only.

    A start does not repair a Cloudflare shell that has ended. Stop and start do, but they delete the files. Failures:
    ServerError if a stored secret cannot be read.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        repo: URL of a git repository to clone. Default: none.
        keep_alive: True to keep the sandbox running when idle. None: the platform's default.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, start
    >>> (create("my-box") | start).map(lambda box: box.status)
    <Success: Status.RUNNING>
    """
    options = {"repo": repo, "keepAlive": keep_alive}
    answer = send(procedure("sandbox.startSandbox", nothing, {"id": sandbox.id}, options))
    return answer if isinstance(answer, Failure) else look_if_needed(started(sandbox))


@step(Sandbox, safe=True, reads=Need.ID)
def stop(
    sandbox: Sandbox, *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox, PocketenvError]:
    """Stop the sandbox: **on Cloudflare this deletes its files**. A stopped sandbox stays stopped. Returns the Sandbox.

    `restart` with ``keep=`` carries a directory over a stop and a start. On Cloudflare, deno, vercel, modal, e2b and
    runloop the complete file system is deleted, except volumes. Daytona, sprites and hopx keep the files. Processes end,
    except on sprites, where only the status changes. Exposed ports stay listed. Failures: SandboxNotFound if the sandbox
    is gone.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, start, stop
    >>> (create("my-box") | start | stop).map(lambda box: box.status)
    <Success: Status.STOPPED>
    """
    answer = send(procedure("sandbox.stopSandbox", nothing, {"id": sandbox.id}))
    return answer if isinstance(answer, Failure) else look_if_needed(replace(sandbox, status=Status.UNKNOWN))


@step(Sandbox, reads=Need.ID, returns_target=True)
def delete(
    sandbox: Sandbox, *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox, PocketenvError]:
    """Delete the sandbox permanently. Returns the Sandbox unchanged. Failures: SandboxNotFound if it is gone.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, delete
    >>> create("my-box") | delete | delete
    <Failure: sandbox.deleteSandbox: ... (404 SandboxNotFound). ...>
    """
    return remove(sandbox).map(lambda _: sandbox)


@step(Sandbox, safe=True, reads=Need.ID)
def refresh(
    sandbox: Sandbox, *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox, PocketenvError]:
    """Look up the sandbox by id. Returns its current Sandbox. Failures: SandboxNotFound if it is gone.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, refresh, stop
    >>> box = create("my-box")
    >>> stopped = box | stop
    >>> (box | refresh) == stopped
    True
    """
    return look(sandbox)


@step(Sandbox, reads=Need.ID)
def claim(
    sandbox: Sandbox, *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox, PocketenvError]:
    """Take ownership of an unowned sandbox. Returns the Sandbox afterwards.

    Failures: SandboxNotFound if the sandbox is gone or has an owner.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import claim, create
    >>> (create("my-box") | claim).failure().status
    404
    """
    return pocketenv.claim_sandbox(sandbox.id).bind(look_if_needed)


@step(Sandbox, safe=True, reads=Need.ID)
def wait_until_running(
    sandbox: Sandbox,
    *,
    timeout: Wait = 60,
    interval: Seconds | None = None,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Sandbox, PocketenvError]:
    """Look up the sandbox until it is running. Returns the running Sandbox.

    On Cloudflare a new sandbox is running when create returns. On other providers it is INITIALIZING first. It stays so
    if its creation fails in the background. Wait before the first command there: a command before that makes a second,
    empty sandbox. This function also waits for a STOPPED sandbox, because another program may start it.

    Threads that wait for one owner's sandboxes share a list request, at most one per second, if there are four or more.
    A call with a shorter ``interval`` polls alone. Failures: WaitTimeout with the last status, after ``timeout``
    seconds; SandboxNotFound as soon as the sandbox is gone; InvalidInput for a number that is plainly milliseconds.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        timeout: Seconds to wait, below 10000. 0 looks once. Infinity waits without end. Default: 60.
        interval: Seconds between lookups, below 500. Default: growing from 0.1 to 2.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, start, wait_until_running
    >>> (create("my-box", provider="daytona") | start | wait_until_running(timeout=10)).map(lambda box: box.status)
    <Success: Status.RUNNING>
    >>> create("my-other-box") | wait_until_running(timeout=0) | wait_until_running
    <Success: Sandbox(...status=Status.RUNNING...)>
    >>> create("my-last-box") | wait_until_running(timeout=120_000)
    <Failure: timeout: looks like milliseconds, and times are in seconds: divide it by 1000.>
    """
    if wrong := _milliseconds("timeout", timeout, 10_000) or _milliseconds("interval", interval, 500):
        return Failure(wrong)
    due = time.monotonic()
    deadline = due + min(timeout, remaining())
    rehearsal.note(lambda: f"is repeated until it runs, for {rehearsal.duration(timeout)} at the most")
    with rehearsal.polling(timeout), Waiter(sandbox, interval) as waiter:
        for delay in delays() if interval is None else repeat(interval):
            status = waiter.wait(due, deadline)
            if status is Status.RUNNING and needed() is not Need.RECORD:
                return Success(replace(sandbox, status=status))
            if status in {None, Status.RUNNING}:
                answer = _running(sandbox, waiter, timeout, deadline)
                if answer is not None:
                    return answer
            due = min(time.monotonic() + delay, deadline)
    raise AssertionError("the delays have no end")


def _running(
    sandbox: Sandbox, waiter: Waiter, timeout: float, deadline: float
) -> Result[Sandbox, PocketenvError] | None:
    """Look up the sandbox. Returns None if it is not running and there is time left."""
    # A look that hangs must not outlast the wait by the read timeout.
    current = look(sandbox, read_timeout=max(deadline - time.monotonic(), SHORTEST_READ))
    if isinstance(current, Failure) or current.unwrap().status is Status.RUNNING:
        return current
    waiter.saw(current.unwrap())
    note(partial("{0.name} {0.status.name}".format, current.unwrap()))
    if late := exceeded("sandbox.getSandbox"):
        return Failure(late)
    if time.monotonic() >= deadline:
        return Failure(WaitTimeout(timeout, current.unwrap().status.name))
    return None


def _milliseconds(field: str, number: float | None, least: float) -> InvalidInput | None:
    """Return an error for a number of the Clojure SDK or the JavaScript SDK, which both count in milliseconds."""
    if number is None or not least <= number < math.inf:
        return None
    return InvalidInput(field, "looks like milliseconds, and times are in seconds: divide it by 1000")


def delays() -> Iterator[float]:
    """Yield the seconds to wait after each lookup: 0.1 growing to 0.5, later 5 % of the elapsed time, at most 2.

    Most sandboxes are running within seconds, so the first lookups come quickly. Over a minute it is about one call per
    second. Ten percent of jitter keeps many waiters from polling at the same time.
    """
    import random

    elapsed = 0.0
    for turn in count():
        jitter = random.uniform(0.9, 1.1)  # noqa: S311  # not used for security
        delay = max(min(0.1 * 1.2 ** min(turn, 20), 0.5), min(0.05 * elapsed, 2.0)) * jitter
        elapsed += delay
        yield delay
