r"""The Pocketenv platform on this machine, for tests, demos and offline work.

It is a real HTTP server on loopback with the platform's API and storage. State is in SQLite, commands are real processes, and
secrets are really sealed. No account and no network is needed.

    >>> from pocketenv_fp import create, exec, local, start
    >>> with local.platform():
    ...     (create("box") | start | exec("echo hello")).unwrap().stdout
    'hello\n'

Every call inside the block uses the platform and its token, in this thread or task, before the environment. Only a `using`
block or a ``config=`` with an ``api_url`` comes first. Other processes get `Platform.environment`.

`platform(...)` starts a platform of your own, with the options that it lists. `shared()` returns one platform for the whole
process. The pytest fixture `pocketenv_local` uses it. `python -m pocketenv_fp.local` serves until Ctrl-C and prints the
environment variables for clients. `Platform.environment` has the same four variables:

    >>> with local.platform() as p:
    ...     sorted(p.environment)
    ['POCKETENV_API_URL', 'POCKETENV_PUBLIC_KEY', 'POCKETENV_STORAGE_URL', 'POCKETENV_TOKEN']

## Isolation: where commands run

Commands run as real processes of your user. `Platform.isolation` is the level of their isolation from this machine:

- `"bubblewrap"` is the default where bubblewrap is installed and namespaces are allowed. Each sandbox is a box with a root
  of its own. It sees only its own processes. The system's directories are read-only in it. Your home and environment are
  not in it. Neither are /tmp, /var, /opt, /srv and /run of this machine.
- `"processes"` is the level elsewhere: plain processes in the sandbox's folder, with a clean environment.

**Warning: at level "processes" an absolute path in a command is this machine's path.** `rm -rf /tmp/*` in a sandbox deletes
the files in `/tmp` of this machine. As root it can delete every file. The platform logs a warning where it starts as root at
this level. Three kinds of absolute paths are the sandbox's at this level too:

- the directory of `cd` in bash and `sh -c`, where the sandbox's folder has it, as in `cd /workspace/x` or `cd /tmp`;
- the paths of uploads, downloads and files;
- the paths of volumes, after `cd`. Each is a link there.

Use relative paths after a `cd`. `cat /workspace/x` reads this machine's `/workspace`. `pwd` prints the path on this machine.

**Neither level is a security boundary for hostile code.** Run only code that you would run yourself.

## Faults

`Platform.faults` makes chosen answers fail: dropped connections, errors, slow answers, a dead shell. See
`pocketenv_fp.local.faults`.

## What it plays

It answers as the real platform was recorded, oddities included: a program that works here should work there. The recorded
requests, sessions and copies are replayed in `tests/conformance`.

It plays the provider of each sandbox (`pocketenv_fp.local.providers`):

- Cloudflare, the default, has one persistent bash for each sandbox. Commands run one after the other. The directory,
  variables and options of the shell stay. An `exit` ends the shell: then every command and copy is a 500 until a stop and a
  start.
- The nine others start a shell for each command. Quoting, keys of the answer, directories and limits differ.
- Copies are lines in the same shells.
- A start answers first, and then writes files and SSH keys. A backup is made after the answer of createBackup. Wait for the
  effect: a backup of a missing directory never appears.

## What it does not play

Some things cannot work on one machine, or would put it at risk:

- **Images.** Every base image is this machine, with its tools. A box has one user, root, and no `sudo` of its own.
- **Sizes and credentials.** Sizes, keepAlive, provider credentials and Tailscale keys are accepted and have no effect.
- **Ports.** The preview URL of a port is `http://127.0.0.1:PORT`. `exposeVscode` returns a `vscode://` URL that opens the
  workspace in the VS Code of this machine.
- **System directories.** They are read-only in a box, except where a file, a volume or an upload names a path in them. The
  first upload to such a path kills the processes of the sandbox, its shell included. So does a start with other volumes.
  Services come back.
- **Limits.** Requests are not limited without `rate_limit`. The output of a command is: see `Limits.output_bytes`.
- **Waits.** The platform waits 5 seconds for a lost AT Protocol session and 20 for an unknown profile. This one does not.
  `faults` has the lost session.
- **Copies.** Archives do not pass through `curl` in the sandbox, and no token is on a command line there.
- **SSH keys.** No key is made for a sandbox without one.
- **Repositories.** Start and create clone to `/workspace/NAME` before they answer, for at most 20 seconds. A slower clone goes
  on after the answer.
- **Backups.** restoreBackup restores the directory exactly: later files are removed.
- **Environment.** A secret or variable is left out if no environment can hold its name, or if its value has a NUL.
- **Volumes.** A volume is not attached where its path would hide the machine from its own commands. The content of a volume
  is deleted with its record.
- **Services.** A service of a stopped sandbox is added without a start. startService and restartService are a 400 there.
- **Restarts.** A platform that starts again on the same folder starts the services again. Shells are new ones.
- **Storage.** It has the address of the API and keeps an archive for a day. Brotli bodies are refused (415).
- **Accounts.** The login is the platform's, in the browser and with an app password. But the server of the account is a
  stand-in: a page with two buttons, which asks for no password. `Platform.app_password` is the app password of a user. The
  picture of a profile is a blank one.
- **Terminals.** They are at the address of the API, also Cloudflare's: other clients find those with `POCKETENV_CF_URL`.
  Terminals without a WebSocket (`/tty/ID/stream` and the like) are not served. The package `websockets` is needed.
- **Unknown facts.** Where the behaviour of a provider is not known, it is a guess. `pocketenv_fp.local.providers.workers`
  marks each guess.

## Only here

- `GET /` is a page for you: the sandboxes of all users and the newest requests, without tokens or values. No limit, fault or
  list of requests counts it.
- `Platform.new_user` adds a user. `Platform.new_ownerless_sandbox` makes a sandbox that can be claimed.
- Web sites cannot use it: a Host header that does not name this machine is a 403 (DNS rebinding). So is a request of another
  web site's script without a token, and every request of it for a login or a terminal.
"""

import atexit
import os
import threading
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from pocketenv_fp.extras import install_command
from pocketenv_fp.forking import after_fork

if TYPE_CHECKING:
    from pocketenv_fp.local.box import Container, Isolation, Limits, Network
    from pocketenv_fp.local.server import Platform

__all__ = ["Platform", "entered", "platform", "shared"]

entered: "ContextVar[Platform | None]" = ContextVar("pocketenv_fp.local.entered", default=None)
"""The platform of the innermost `with` block, or None."""


class _Shared:
    """The platform of `shared`, and a lock, so that two threads do not start two."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        # Called in a forked child too. The platform is the parent's, and a thread of the parent may hold the lock.
        self.platform: Platform | None = None
        self.guard = threading.Lock()


_state = _Shared()


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
    """Start a platform. It runs until `Platform.close`, or until the end of its `with` block, whose calls use it.

    `data`: folder for the state. By default a temporary one, removed at the end.
    `boot_delay`: seconds that a new sandbox stays INITIALIZING. Cloudflare has no delay.
    `rate_limit`: requests that an address may send in 30 seconds. The real platform's is 500. None is no limit.
    `port`: port on 127.0.0.1. 0 is any free one.
    `isolation`: "bubblewrap" or "processes". None is the stronger one of this machine. **At "processes" absolute paths in
    commands are this machine's**: see the module's documentation.
    `network`: "shared" or "private". With "shared" a server in a sandbox answers on 127.0.0.1 of this machine. With
    "private" each sandbox has only a loopback of its own. "private" needs bubblewrap.
    `limits`: limits on the commands of each sandbox.
    `container`: version of Cloudflare's container. 0.7.8, the real platform's, puts four spaces after each newline of a
    command. 0.7.18 does not.
    `exec_seconds`: time limit of a command on Cloudflare. A longer command is a 500 and runs on.

    Raises ModuleNotFoundError without the extra ``local``. Raises OSError if the port is taken, another platform uses the folder, or this machine lacks the isolation or network.

    >>> with platform(rate_limit=500) as p:
    ...     p.isolation in {"bubblewrap", "processes"}
    True
    """
    # Imported here: `import pocketenv_fp.local` should not wait for a web server.
    from pocketenv_fp.local.box import NO_LIMITS, choose_kind

    try:
        import httptools  # noqa: F401  # pyright: ignore[reportUnusedImport]  # the server's thread would miss it later

        from pocketenv_fp.local.server import Platform
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(f"{missing.name} is missing: {install_command('local')}", name=missing.name) from None

    kind = choose_kind(isolation, network, limits or NO_LIMITS, container, exec_seconds)
    return Platform(None if data is None else Path(data), kind, port=port, boot_delay=boot_delay, rate_limit=rate_limit)


def shared() -> "Platform":
    """Return the one platform of this process. The first call starts it, and the end of Python closes it.

    A forked child gets a platform of its own.
    """
    with _state.guard:
        if _state.platform is None:
            _state.platform = platform()
            atexit.register(_state.platform.close)
        return _state.platform


after_fork(_state.forget)


def __getattr__(name: str) -> object:
    if name == "Platform":
        from pocketenv_fp.local.server import Platform

        return Platform
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
