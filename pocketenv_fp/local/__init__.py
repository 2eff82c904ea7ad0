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
- `"processes"`, elsewhere: plain processes in the sandbox's folder, with a clean environment. There is no `/workspace` on
  this machine. So `cd /`, `cd /tmp` and `cd /workspace/x` lead into the sandbox's folder where it has such a directory, in
  bash and in `sh -c`, and so do the paths of copies and files. Every other absolute path is this machine's, as in
  `cat /workspace/x`: use relative ones after a `cd`. `pwd` prints the true path. A volume is a link there.

**Neither is a security boundary for hostile code**: run only what you would run yourself.

`Platform.faults` makes answers go wrong on demand (`pocketenv_fp.local.faults`).

It answers as the real platform was recorded, with its oddities, so that what runs here runs there. It plays the provider
that a sandbox has (`pocketenv_fp.local.providers`). On Cloudflare, the default, all commands of a sandbox go to one
persistent bash, one after the other: its directory, variables and options stay, an `exit` ends it, and then every command
and copy is a 500 until the sandbox is stopped and started. Nine others start a shell for each command, with quoting, answer
keys, directories and limits of their own. The copies are lines in the same shells. What was recorded of the real platform
is replayed in `tests/conformance`. It differs where a machine cannot be a platform, and where that would put the machine
at risk:

- The preview URL of a port is `http://127.0.0.1:PORT`: sandboxes share this machine's network. `exposeVscode` has a
  `vscode://` URL that opens the workspace in the VS Code of this machine.
- Every base image is this machine itself, so its tools are this machine's. Sizes, keepAlive, provider credentials and
  Tailscale keys are accepted and without effect. A box has one user, root, and no `sudo` of its own. The picture of a
  profile is a blank one that needs no network.
- In a box the system is read-only, save where a file, a volume or an upload names a path in it. An upload that is the
  first to name one, and a start with other volumes than before, end what runs in the sandbox, its shell included. Services
  come back.
- Files and keys are written before startSandbox answers, and a backup is made before createBackup does. The platform does
  both afterwards. No SSH key is made for a sandbox that has none.
- The output of a command has a limit (`Limits.output_bytes`). Above it the command is killed.
- An archive does not pass through `curl` in the sandbox, and no token is on a command line there.
- What is not known of a provider is a guess, marked as one in `pocketenv_fp.local.providers.workers`.
- A repository is cloned to `/workspace/NAME` before start and create answer, for at most 20 seconds; a slower clone
  goes on after them.
- restoreBackup puts the directory back exactly: files that came later go.
- A secret or variable whose name no environment can hold is left out of it. So is a value with a NUL. A volume whose path
  would hide the machine from its own commands is kept and not attached. Its content goes when its record does.
- `GET /` is a page for the person at this machine: the sandboxes of all users and the newest requests, no token and no
  value. Nothing counts it: no limit, no fault, no list of requests. There are no pages for login and terminals, and
  `POST /login` explains where the token is.
- The storage has the address of the API. It keeps an archive for a day. Brotli bodies are refused (415).
- Requests are not limited unless `rate_limit` says so. The waits of the platform, 5 seconds for a lost AT Protocol session
  and 20 for an unknown profile, are left out. `faults` has the lost session.
- What ran when the platform ended runs again when it starts on the same folder: services do, and a shell is a new one. A
  service is added to a stopped sandbox without being started; startService and restartService are refused there (400).
- `Platform.new_ownerless_sandbox` makes a sandbox that can be claimed.

Two answers are this platform's own, because it runs where a browser does: a Host header that does not name this machine
is a 403 (DNS rebinding), and so is a request without a token from a script of another web site.
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
