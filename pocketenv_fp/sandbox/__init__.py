"""Operations on a sandbox. This is the namespace ``pocketenv-io.sandbox`` of the Clojure SDK.

Every name here is an operation. With a Sandbox, or a Result of one, as its first argument, it runs. Without one, it
returns a step. All return a ``Result`` and take ``token=`` and ``config=``. After a Failure they are skipped.
A docstring names the special failures of its function. Each may also return SandboxNotFound, NotLoggedIn,
Unauthorized, RateLimited, ServerError, TransportError or DecodeError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pocketenv_fp.exports import exports
from pocketenv_fp.pocketenv.cloning import clone_by

if TYPE_CHECKING:
    from pocketenv_fp.pocketenv.cloning import Clone
    from pocketenv_fp.sandbox.backups import *
    from pocketenv_fp.sandbox.commands.code import *
    from pocketenv_fp.sandbox.commands.exec import exec as exec
    from pocketenv_fp.sandbox.commands.exec_script import *
    from pocketenv_fp.sandbox.commands.jobs import *
    from pocketenv_fp.sandbox.commands.service_logs import *
    from pocketenv_fp.sandbox.commands.sh import *
    from pocketenv_fp.sandbox.commands.spawn import *
    from pocketenv_fp.sandbox.copying.copy_to import *
    from pocketenv_fp.sandbox.copying.download import *
    from pocketenv_fp.sandbox.copying.upload import *
    from pocketenv_fp.sandbox.file_system.directory import *
    from pocketenv_fp.sandbox.file_system.reading import *
    from pocketenv_fp.sandbox.file_system.writing import *
    from pocketenv_fp.sandbox.files import *
    from pocketenv_fp.sandbox.integrations import *
    from pocketenv_fp.sandbox.keys import *
    from pocketenv_fp.sandbox.lifecycle import *
    from pocketenv_fp.sandbox.ports import *
    from pocketenv_fp.sandbox.readiness import *
    from pocketenv_fp.sandbox.restarting import *
    from pocketenv_fp.sandbox.secrets import *
    from pocketenv_fp.sandbox.services import *
    from pocketenv_fp.sandbox.settings import *
    from pocketenv_fp.sandbox.variables import *
    from pocketenv_fp.sandbox.volumes import *
else:
    __all__, __getattr__, __dir__ = exports(
        __name__,
        {
            "backups": "create_backup list_backups restore_backup",
            "commands.code": "restart_context run_code",
            "commands.exec": "exec",
            "commands.exec_script": "exec_script",
            "commands.jobs": "cancel follow forget get_job job_output list_jobs send_input submit wait_for_job",
            "commands.service_logs": "service_logs",
            "commands.sh": "sh",
            "commands.spawn": "spawn",
            "copying.copy_to": "copy_to",
            "copying.download": "download",
            "copying.upload": "upload",
            "file_system.directory": "list_directory",
            "file_system.reading": "exists read_bytes read_text",
            "file_system.writing": "write_file",
            "files": "delete_file get_file iter_files list_files set_file",
            "integrations": "create_integration list_integrations",
            "keys": "get_ssh_keys get_tailscale_auth_key set_ssh_keys set_tailscale_auth_key",
            "lifecycle": "claim delete refresh start stop wait_until_running",
            "ports": "expose list_ports unexpose vscode",
            "readiness": "wait_for_http wait_for_port",
            "restarting": "restart",
            "secrets": "delete_secret get_secret iter_secrets list_secrets set_secret",
            "services": "delete_service get_service list_services restart_service set_service start_service stop_service",
            "settings": "get_preferences rename update_settings",
            "variables": "delete_variable get_variable iter_variables list_variables set_variable",
            "volumes": "delete_volume get_volume iter_volumes list_volumes set_volume",
        },
    )


def _cloner() -> Clone:
    from pocketenv_fp.sandbox.repository import clone

    return clone


# `create` is below this package. In `managed` and `fan_out` it needs operations on the new sandbox.
clone_by(_cloner)
