"""The platform on this machine: the same HTTP API, real, on loopback.

    >>> from pocketenv_fp import local
    >>> with local.platform() as p:
    ...     sorted(p.environment)
    ['POCKETENV_API_URL', 'POCKETENV_PUBLIC_KEY', 'POCKETENV_STORAGE_URL', 'POCKETENV_TOKEN']

Commands run as real processes of the user who started it. `Platform.isolation` says how far they are kept from this
machine, and so does the log:

- `"bubblewrap"`, where bubblewrap is installed and namespaces are allowed: each sandbox is one box that lives as long as
  it runs, with a root of its own in which the system's directories are read-only, and no processes but its own. Nothing
  of this machine's home, environment, /tmp, /var, /opt, /srv or /run is in it. The network is shared, or a loopback of
  its own (`network="private"`).
- `"processes"`, elsewhere: plain processes in the sandbox's folder, with a clean environment. `/workspace` and the like
  mean the sandbox's folders to the calls of this API, and this machine's directories to a command. A volume is a link
  there, and a read-only one can be written.

**Neither is a security boundary for hostile code**: run only what you would run yourself.

`Platform.faults` makes answers go wrong on demand (`pocketenv_fp.local.faults`).

It keeps the platform's shapes, statuses and oddities, so that what runs here runs there. It differs on purpose:

- Every exposed port has a preview URL, `http://127.0.0.1:PORT`: sandboxes share this machine's network. On the
  platform a second one can be null.
- `exposeVscode` gives a `vscode://` URL that opens the workspace in this machine's VS Code.
- Every base image is this machine itself. Sizes, keepAlive, provider credentials and Tailscale keys are accepted
  and without effect.
- In a box the system is read-only, save where a file, a volume or an upload names a path in it; an upload that is the
  first to name one, and a start with other volumes than before, end what runs in the sandbox and bring services back.
- Files and keys are written before startSandbox answers; the platform does it behind its answer.
- A command that runs while its sandbox is stopped answers with exit code 137 and no output.
- A secret or variable whose name no environment can hold is left out of it. So is a value with a NUL.
- A repository is cloned to `/workspace/NAME` before start and create answer, for at most 20 seconds; a slower clone
  goes on behind them.
- A backup is made before createBackup answers, and restoreBackup puts the directory back exactly: files that came
  later go.
- `GET /` is a page for the person at this machine: the sandboxes of all users and the newest requests, no token and no
  value. It answers to loopback names only, and nothing counts it: no limit, no fault, no list of requests.
- Compressed request bodies are refused (415). Requests are not limited unless `rate_limit` says so.
- Tokens do not expire, AT Protocol sessions are never lost, providers fail only where the contract says so.
- updateFile changes the content too: the platform keeps the old one and says nothing.
- A file whose path no file can have is refused at once, and so is a volume whose path would hide the machine itself
  (400). A path of a volume is kept as an absolute one. The content of a volume goes when its record does.
- A service's status is that of its process. What ran when the platform ended runs again when it starts on the same
  folder. startService and restartService are refused (400) while the sandbox does not run.
- An archive in storage is its sender's alone, and kept for a day. What is no archive is refused by pullDirectory (400).
- Whoever claims a sandbox is told the least sizes that the contract allows. `Platform.new_ownerless_sandbox` makes one.
- An integration is kept and listed, and connected with nothing: what calls its web hook gets a 404. The platform was
  never seen to answer createIntegration and getIntegrations, so that they follow the contract alone.
"""

import atexit
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pocketenv_fp.local.box import Container, Isolation, Limits, Network
    from pocketenv_fp.local.server import Platform

__all__ = ["Platform", "platform", "shared"]


class _Shared:
    """The platform that `shared` gives, and what keeps two threads from starting two."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        # Run in a forked child too: the platform is the parent's, and a thread that is not there may hold the guard.
        self.platform: Platform | None = None
        self.guard = threading.Lock()


_held = _Shared()


def platform(
    *,
    data: str | os.PathLike[str] | None = None,
    boot_delay: float = 0.0,
    rate_limit: int | None = None,
    port: int = 0,
    isolation: "Isolation | None" = None,
    network: "Network" = "shared",
    limits: "Limits | None" = None,
    container: "Container" = "0.7.8",
    exec_seconds: float = 300.0,
) -> "Platform":
    """A platform that runs until it is closed, or until its `with` block ends.

    `data`: folder that keeps its state; by default a temporary one, removed at the end.
    `boot_delay`: seconds that a sandbox stays INITIALIZING on every provider but Cloudflare.
    `rate_limit`: requests allowed in 30 seconds (the platform's own: 500); None for no limit.
    `port`: on 127.0.0.1; 0 for any free one.
    `isolation`: "bubblewrap" or "processes"; None for the stronger one that this machine has. `Platform.isolation` says
    which it is and what that means.
    `network`: "shared", so that a server in a sandbox answers on 127.0.0.1, or "private" (only with bubblewrap).
    `limits`: what the commands of each sandbox may use.
    `container`: the version of Cloudflare's container that is played: 0.7.8, the one that the platform pins, puts four
    spaces after each newline of a command; 0.7.18 does not.
    `exec_seconds`: the time limit of a command on Cloudflare. A command that takes longer is a server error and runs on.

    Raises OSError where the port is taken, another platform has the folder, or what was asked for cannot be had here.
    """
    # Here and not above: whoever only names this module should not wait for a web server to load.
    from pocketenv_fp.local.box import Limits
    from pocketenv_fp.local.server import Platform

    return Platform(
        data=data,
        boot_delay=boot_delay,
        rate_limit=rate_limit,
        port=port,
        isolation=isolation,
        network=network,
        limits=Limits() if limits is None else limits,
        container=container,
        exec_seconds=exec_seconds,
    )


def shared() -> "Platform":
    """The one platform of this process, started on first use and closed when Python ends.

    A forked child gets its own.
    """
    with _held.guard:
        if _held.platform is None:
            _held.platform = platform()
            atexit.register(_held.platform.close)
        return _held.platform


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_held.forget)


def __getattr__(name: str) -> object:
    if name == "Platform":
        from pocketenv_fp.local.server import Platform

        return Platform
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
