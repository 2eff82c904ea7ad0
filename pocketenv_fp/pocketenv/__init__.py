r"""Functions of the account: they take ids. This is the namespace ``pocketenv-io.pocketenv`` of the Clojure SDK.

Each function returns a ``Result``: a Success with the value, or a Failure with an error of `pocketenv_fp.errors`.
A docstring names the special failures of its function. Any call may also return NotLoggedIn, Unauthorized,
RateLimited, ServerError, TransportError or DecodeError. All take ``token=`` and ``config=``, which come first in the
order of sources: see `pocketenv_fp.config`.

>>> from pocketenv_fp import pocketenv, sandbox
>>> sandbox.exec(sandbox.start(pocketenv.create_sandbox("my-box")), "echo", ["hello"])
<Success: ExecResult(stdout='hello\n', stderr='', exit_code=0)>
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pocketenv_fp.exports import exports

if TYPE_CHECKING:
    from pocketenv_fp.pocketenv.actors import *
    from pocketenv_fp.pocketenv.backups import *
    from pocketenv_fp.pocketenv.creation import *
    from pocketenv_fp.pocketenv.files import *
    from pocketenv_fp.pocketenv.integrations import *
    from pocketenv_fp.pocketenv.keys import *
    from pocketenv_fp.pocketenv.own import *
    from pocketenv_fp.pocketenv.preferences import *
    from pocketenv_fp.pocketenv.sandboxes import *
    from pocketenv_fp.pocketenv.secrets import *
    from pocketenv_fp.pocketenv.services import *
    from pocketenv_fp.pocketenv.sweeping import *
    from pocketenv_fp.pocketenv.variables import *
    from pocketenv_fp.pocketenv.volumes import *
else:
    __all__, __getattr__, __dir__ = exports(
        __name__,
        {
            "actors": "get_profile get_terminal_token iter_sandboxes_by_actor list_sandboxes_by_actor me",
            "backups": "restore_backup",
            "creation": "create create_sandbox",
            "files": "add_file delete_file get_file iter_files list_files update_file",
            "integrations": "create_integration list_integrations",
            "keys": "generate_ssh_keys get_ssh_keys get_tailscale_auth_key put_ssh_keys put_tailscale_auth_key",
            "own": "iter_my_sandboxes my_sandboxes",
            "preferences": "get_preferences put_preferences",
            "sandboxes": "claim_sandbox get_sandbox iter_sandboxes list_sandboxes",
            "secrets": "add_secret delete_secret get_secret iter_secrets list_secrets update_secret",
            "services": (
                "add_service delete_service list_services restart_service start_service stop_service update_service"
            ),
            "sweeping": "sweep",
            "variables": "add_variable delete_variable get_variable iter_variables list_variables update_variable",
            "volumes": "add_volume delete_volume get_volume iter_volumes list_volumes update_volume",
        },
    )
