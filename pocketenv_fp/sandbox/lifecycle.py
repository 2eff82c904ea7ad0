"""Starting, stopping, deleting, claiming, looking, and waiting until a sandbox runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from itertools import count, repeat

from returns.result import Failure, Result, Success

from pocketenv_fp import pocketenv
from pocketenv_fp.config import Config
from pocketenv_fp.errors import PocketenvError, WaitTimeout
from pocketenv_fp.http.xrpc import nothing, procedure, send
from pocketenv_fp.models import Sandbox, Status
from pocketenv_fp.observing import note
from pocketenv_fp.pocketenv.sandboxes import look, remove
from pocketenv_fp.runtime import rehearsal
from pocketenv_fp.runtime.deadline import exceeded, remaining
from pocketenv_fp.sandbox.shared_polling import SHORTEST_READ, Waiter
from pocketenv_fp.steps.operation import step
from pocketenv_fp.validation import Seconds, Text, Wait

__all__ = ["claim", "delays", "delete", "refresh", "start", "stop", "wait_until_running"]


@step(Sandbox, safe=True)
def start(
    sandbox: Sandbox,
    *,
    repo: Text | None = None,
    keep_alive: bool | None = None,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Sandbox, PocketenvError]:
    """Start the sandbox, or leave it running. Returns the Sandbox as it is afterwards.

    Secrets, variables, files, keys and volumes take effect only at a start, of a running sandbox too. A start of a
    running one keeps its files, its processes and its shell. Variables and secrets take effect on Cloudflare only.

    ``repo`` is the URL of a git repository to clone; ``keep_alive`` keeps the sandbox from being stopped when idle. A
    start does not heal a Cloudflare shell that has ended: stop and start do, and discard the files. Failures:
    ServerError where a stored secret cannot be read.

    >>> from pocketenv_fp import create, start
    >>> (create("my-box") | start).map(lambda box: box.status)
    <Success: Status.RUNNING>
    """
    asked = procedure("sandbox.startSandbox", nothing, {"id": sandbox.id}, {"repo": repo, "keepAlive": keep_alive})
    return send(asked).bind(lambda _: look(sandbox))


@step(Sandbox, safe=True)
def stop(
    sandbox: Sandbox, *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox, PocketenvError]:
    """Stop the sandbox, or leave it stopped: **on Cloudflare that discards its files**. Returns the Sandbox.

    On Cloudflare, deno, vercel, modal, e2b and runloop all of its file system is gone, volumes excepted. Daytona,
    sprites and hopx keep the files. Processes end, on sprites excepted, where only the status changes. Exposed ports
    stay listed.

    >>> from pocketenv_fp import create, start, stop
    >>> (create("my-box") | start | stop).map(lambda box: box.status)
    <Success: Status.STOPPED>
    """
    asked = procedure("sandbox.stopSandbox", nothing, {"id": sandbox.id})
    return send(asked).bind(lambda _: look(sandbox))


@step(Sandbox)
def delete(
    sandbox: Sandbox, *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox, PocketenvError]:
    """Delete the sandbox for good. Returns the Sandbox as it was given. Failures: SandboxNotFound the second time.

    >>> from pocketenv_fp import create, delete
    >>> create("my-box") | delete | delete
    <Failure: sandbox.deleteSandbox: ... (404 SandboxNotFound). ...>
    """
    return remove(sandbox).map(lambda _: sandbox)


@step(Sandbox, safe=True)
def refresh(
    sandbox: Sandbox, *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox, PocketenvError]:
    """Look at the sandbox, by its id. Returns the Sandbox as it is now. Failures: SandboxNotFound where it is gone.

    >>> from pocketenv_fp import create, refresh, stop
    >>> box = create("my-box")
    >>> stopped = box | stop
    >>> (box | refresh) == stopped
    True
    """
    return look(sandbox)


@step(Sandbox)
def claim(
    sandbox: Sandbox, *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox, PocketenvError]:
    """Make a sandbox that nobody owns yours. Gives the Sandbox as it is afterwards.

    Failures: ApiError (404) where it is gone, or somebody has it already.

    >>> from pocketenv_fp import claim, create
    >>> (create("my-box") | claim).failure().status
    404
    """
    claimed = pocketenv.claim_sandbox(sandbox.id)
    return claimed.bind(look)


@step(Sandbox, safe=True)
def wait_until_running(
    sandbox: Sandbox,
    *,
    timeout: Wait = 60,
    interval: Seconds | None = None,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Sandbox, PocketenvError]:
    """Look at the sandbox, by its id, until it runs. Returns the running Sandbox.

    On Cloudflare a sandbox runs when create answers. On the other providers it is INITIALIZING first, and a creation
    that failed in the background stays so. Wait before the first command there: until the sandbox runs, a command makes
    a second, empty one. A STOPPED sandbox is waited for too: another program may start it.

    ``timeout`` is how many seconds to wait at the most; 0 looks once. ``interval`` is the seconds between looks, which
    grow from a tenth of a second to two seconds where it is not given. Failures: WaitTimeout with the last status;
    SandboxNotFound as soon as the sandbox is gone.

    Where four or more wait at the same time for sandboxes of one owner, as in a `fan_out`, they are told together from
    one list of them that is asked for once a second at the most; whoever has a shorter ``interval`` looks for itself.

    >>> from pocketenv_fp import create, start, wait_until_running
    >>> (create("my-box", provider="daytona") | start | wait_until_running(timeout=10)).map(lambda box: box.status)
    <Success: Status.RUNNING>
    >>> create("my-other-box") | wait_until_running(timeout=0) | wait_until_running
    <Success: Sandbox(...status=Status.RUNNING...)>
    """
    due = time.monotonic()
    deadline = due + min(timeout, remaining())
    rehearsal.note(lambda: f"is repeated until it runs, for {rehearsal.duration(timeout)} at the most")
    with rehearsal.polling(timeout), Waiter(sandbox, interval) as waiter:
        for delay in delays() if interval is None else repeat(interval):
            status = waiter.wait(due, deadline)
            if status in {None, Status.RUNNING}:
                # A look that hangs must not outlast the wait by the read time-out.
                looked = look(sandbox, read_timeout=max(deadline - time.monotonic(), SHORTEST_READ))
                if not isinstance(looked, Success) or looked.unwrap().status is Status.RUNNING:
                    return looked
                waiter.saw(looked.unwrap())
                note(partial("{0.name} {0.status.name}".format, looked.unwrap()))
                if late := exceeded("sandbox.getSandbox"):
                    return Failure(late)
                if time.monotonic() >= deadline:
                    return Failure(WaitTimeout(timeout, looked.unwrap().status.name))
            due = min(time.monotonic() + delay, deadline)
    raise AssertionError("the delays have no end")


def delays() -> Iterator[float]:
    """Give the seconds to wait after each look: 0.1 growing to 0.5, later a twentieth of the time waited, at most 2.

    Most sandboxes run within seconds, so looking is quick at first; over a whole minute it is about one call a second.
    A tenth of jitter keeps a fleet from asking in step.
    """
    import random

    waited = 0.0
    for turn in count():
        jitter = random.uniform(0.9, 1.1)  # noqa: S311  # no secret hangs on it
        delay = max(min(0.1 * 1.2 ** min(turn, 20), 0.5), min(0.05 * waited, 2.0)) * jitter
        waited += delay
        yield delay
