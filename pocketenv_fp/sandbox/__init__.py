"""What can be done with a sandbox. This is the namespace ``pocketenv-io.sandbox`` of the Clojure SDK.

Every name here is an operation: with a Sandbox, or a Result of one, as its first argument it runs, and without one it
is a step for later. All give a ``Result``, take ``token=`` and ``config=``, and let a Failure pass by untouched.
Besides the failures that a docstring names, each may give SandboxNotFound, NotLoggedIn, Unauthorized, RateLimited,
ServerError, TransportError and DecodeError.
"""

from pocketenv_fp.sandbox.backups import create_backup, list_backups, restore_backup
from pocketenv_fp.sandbox.commands import exec
from pocketenv_fp.sandbox.keys import get_ssh_keys, get_tailscale_auth_key, set_ssh_keys, set_tailscale_auth_key
from pocketenv_fp.sandbox.lifecycle import delete, start, stop, wait_until_running
from pocketenv_fp.sandbox.ports import expose, list_ports, unexpose, vscode
from pocketenv_fp.sandbox.secrets import delete_secret, list_secrets, set_secret

__all__ = [
    "create_backup",
    "delete",
    "delete_secret",
    "exec",
    "expose",
    "get_ssh_keys",
    "get_tailscale_auth_key",
    "list_backups",
    "list_ports",
    "list_secrets",
    "restore_backup",
    "set_secret",
    "set_ssh_keys",
    "set_tailscale_auth_key",
    "start",
    "stop",
    "unexpose",
    "vscode",
    "wait_until_running",
]
