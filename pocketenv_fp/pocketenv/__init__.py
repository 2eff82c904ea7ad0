r"""Functions of the account: they take ids. This is the namespace ``pocketenv-io.pocketenv`` of the Clojure SDK.

Each function returns a ``Result``: a Success with the value, or a Failure with an error of `pocketenv_fp.errors`.
A docstring names the special failures of its function. Any call may also return NotLoggedIn, Unauthorized,
RateLimited, ServerError, TransportError or DecodeError. All take ``token=`` and ``config=``, which come first in the
order of sources: see `pocketenv_fp.config`.

>>> from pocketenv_fp import pocketenv, sandbox
>>> sandbox.exec(sandbox.start(pocketenv.create_sandbox("my-box")), "echo", ["hello"])
<Success: ExecResult(stdout='hello\n', stderr='', exit_code=0)>
"""

from pocketenv_fp.pocketenv.actors import (
    get_profile,
    get_terminal_token,
    iter_sandboxes_by_actor,
    list_sandboxes_by_actor,
    me,
)
from pocketenv_fp.pocketenv.backups import restore_backup
from pocketenv_fp.pocketenv.creation import create, create_sandbox
from pocketenv_fp.pocketenv.files import add_file, delete_file, get_file, iter_files, list_files, update_file
from pocketenv_fp.pocketenv.integrations import create_integration, list_integrations
from pocketenv_fp.pocketenv.keys import (
    generate_ssh_keys,
    get_ssh_keys,
    get_tailscale_auth_key,
    put_ssh_keys,
    put_tailscale_auth_key,
)
from pocketenv_fp.pocketenv.own import iter_my_sandboxes, my_sandboxes
from pocketenv_fp.pocketenv.preferences import get_preferences, put_preferences
from pocketenv_fp.pocketenv.sandboxes import claim_sandbox, get_sandbox, iter_sandboxes, list_sandboxes
from pocketenv_fp.pocketenv.secrets import (
    add_secret,
    delete_secret,
    get_secret,
    iter_secrets,
    list_secrets,
    update_secret,
)
from pocketenv_fp.pocketenv.services import (
    add_service,
    delete_service,
    list_services,
    restart_service,
    start_service,
    stop_service,
    update_service,
)
from pocketenv_fp.pocketenv.sweeping import sweep
from pocketenv_fp.pocketenv.variables import (
    add_variable,
    delete_variable,
    get_variable,
    iter_variables,
    list_variables,
    update_variable,
)
from pocketenv_fp.pocketenv.volumes import (
    add_volume,
    delete_volume,
    get_volume,
    iter_volumes,
    list_volumes,
    update_volume,
)

__all__ = [
    "add_file",
    "add_secret",
    "add_service",
    "add_variable",
    "add_volume",
    "claim_sandbox",
    "create",
    "create_integration",
    "create_sandbox",
    "delete_file",
    "delete_secret",
    "delete_service",
    "delete_variable",
    "delete_volume",
    "generate_ssh_keys",
    "get_file",
    "get_preferences",
    "get_profile",
    "get_sandbox",
    "get_secret",
    "get_ssh_keys",
    "get_tailscale_auth_key",
    "get_terminal_token",
    "get_variable",
    "get_volume",
    "iter_files",
    "iter_my_sandboxes",
    "iter_sandboxes",
    "iter_sandboxes_by_actor",
    "iter_secrets",
    "iter_variables",
    "iter_volumes",
    "list_files",
    "list_integrations",
    "list_sandboxes",
    "list_sandboxes_by_actor",
    "list_secrets",
    "list_services",
    "list_variables",
    "list_volumes",
    "me",
    "my_sandboxes",
    "put_preferences",
    "put_ssh_keys",
    "put_tailscale_auth_key",
    "restart_service",
    "restore_backup",
    "start_service",
    "stop_service",
    "sweep",
    "update_file",
    "update_secret",
    "update_service",
    "update_variable",
    "update_volume",
]
