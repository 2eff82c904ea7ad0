"""Operations on a sandbox. This is the namespace ``pocketenv-io.sandbox`` of the Clojure SDK.

Every name here is an operation. With a Sandbox, or a Result of one, as its first argument, it runs. Without one, it
returns a step. All return a ``Result`` and take ``token=`` and ``config=``. After a Failure they are skipped.
A docstring names the special failures of its function. Each may also return SandboxNotFound, NotLoggedIn,
Unauthorized, RateLimited, ServerError, TransportError or DecodeError.
"""

from pocketenv_fp.pocketenv.creation import clone_by
from pocketenv_fp.sandbox.backups import create_backup, list_backups, restore_backup
from pocketenv_fp.sandbox.commands.code import restart_context, run_code
from pocketenv_fp.sandbox.commands.exec import exec, sh
from pocketenv_fp.sandbox.commands.exec_script import exec_script
from pocketenv_fp.sandbox.commands.jobs import (
    cancel,
    follow,
    forget,
    get_job,
    job_output,
    list_jobs,
    send_input,
    submit,
    wait_for_job,
)
from pocketenv_fp.sandbox.commands.service_logs import service_logs
from pocketenv_fp.sandbox.commands.spawn import spawn
from pocketenv_fp.sandbox.copying.copy_to import copy_to
from pocketenv_fp.sandbox.copying.download import download
from pocketenv_fp.sandbox.copying.upload import upload
from pocketenv_fp.sandbox.file_system.directory import list_directory
from pocketenv_fp.sandbox.file_system.reading import exists, read_bytes, read_text
from pocketenv_fp.sandbox.file_system.writing import write_file
from pocketenv_fp.sandbox.files import delete_file, get_file, iter_files, list_files, set_file
from pocketenv_fp.sandbox.integrations import create_integration, list_integrations
from pocketenv_fp.sandbox.keys import get_ssh_keys, get_tailscale_auth_key, set_ssh_keys, set_tailscale_auth_key
from pocketenv_fp.sandbox.lifecycle import claim, delete, refresh, start, stop, wait_until_running
from pocketenv_fp.sandbox.ports import expose, list_ports, unexpose, vscode
from pocketenv_fp.sandbox.readiness import wait_for_http, wait_for_port
from pocketenv_fp.sandbox.repository import clone
from pocketenv_fp.sandbox.restarting import restart
from pocketenv_fp.sandbox.secrets import delete_secret, get_secret, iter_secrets, list_secrets, set_secret
from pocketenv_fp.sandbox.services import (
    delete_service,
    get_service,
    list_services,
    restart_service,
    set_service,
    start_service,
    stop_service,
)
from pocketenv_fp.sandbox.settings import get_preferences, rename, update_settings
from pocketenv_fp.sandbox.variables import delete_variable, get_variable, iter_variables, list_variables, set_variable
from pocketenv_fp.sandbox.volumes import delete_volume, get_volume, iter_volumes, list_volumes, set_volume

__all__ = [
    "cancel",
    "claim",
    "copy_to",
    "create_backup",
    "create_integration",
    "delete",
    "delete_file",
    "delete_secret",
    "delete_service",
    "delete_variable",
    "delete_volume",
    "download",
    "exec",
    "exec_script",
    "exists",
    "expose",
    "follow",
    "forget",
    "get_file",
    "get_job",
    "get_preferences",
    "get_secret",
    "get_service",
    "get_ssh_keys",
    "get_tailscale_auth_key",
    "get_variable",
    "get_volume",
    "iter_files",
    "iter_secrets",
    "iter_variables",
    "iter_volumes",
    "job_output",
    "list_backups",
    "list_directory",
    "list_files",
    "list_integrations",
    "list_jobs",
    "list_ports",
    "list_secrets",
    "list_services",
    "list_variables",
    "list_volumes",
    "read_bytes",
    "read_text",
    "refresh",
    "rename",
    "restart",
    "restart_context",
    "restart_service",
    "restore_backup",
    "run_code",
    "send_input",
    "service_logs",
    "set_file",
    "set_secret",
    "set_service",
    "set_ssh_keys",
    "set_tailscale_auth_key",
    "set_variable",
    "set_volume",
    "sh",
    "spawn",
    "start",
    "start_service",
    "stop",
    "stop_service",
    "submit",
    "unexpose",
    "update_settings",
    "upload",
    "vscode",
    "wait_for_http",
    "wait_for_job",
    "wait_for_port",
    "wait_until_running",
    "write_file",
]

# `create` is below this package. In `managed` and `fan_out` it needs operations on the new sandbox.
clone_by(clone)
