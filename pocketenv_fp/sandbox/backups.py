"""Back up a directory of a sandbox, and restore it."""

from __future__ import annotations

from typing import Annotated

import msgspec
from returns.result import Failure, Result

from pocketenv_fp import pocketenv
from pocketenv_fp.config import Config
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.http.xrpc import nothing, procedure, query, send
from pocketenv_fp.models import Backup, Sandbox
from pocketenv_fp.pocketenv.records import list_of
from pocketenv_fp.sandbox.support import unsupported
from pocketenv_fp.steps.needs import Need
from pocketenv_fp.steps.operation import operation, step
from pocketenv_fp.validation import Id, Text

__all__ = ["create_backup", "list_backups", "restore_backup"]

Lifetime = Annotated[int, msgspec.Meta(ge=1)]


@operation(Sandbox, reads=Need.ID)
def create_backup(
    sandbox: Sandbox,
    directory: Text,
    *,
    description: str | None = None,
    ttl: Lifetime | None = None,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[None, PocketenvError]:
    """Request a backup of a directory. Returns None at once. The backup appears in `list_backups` when it is done.

    The platform returns no id. A backup appears when the platform has stored it, often after seconds. Repeat
    `list_backups` until it is there, with a limit: a directory that does not exist is a Success too, and no backup
    appears. Failures: NotSupported on every provider except Cloudflare.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        directory: Path of the directory in the sandbox.
        description: A description. Default: none.
        ttl: Lifetime of the backup in seconds. Default: three days.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, create_backup, start
    >>> create("my-box") | start | create_backup("/workspace", description="before the upgrade", ttl=3600)
    <Success: None>
    """
    if refusal := unsupported(sandbox, "backups", "create_backup"):
        return Failure(refusal)
    body = {"directory": directory, "description": description, "ttl": ttl}
    return send(procedure("sandbox.createBackup", nothing, {"id": sandbox.id}, body))


@step(Sandbox, safe=True, reads=Need.ID)
def list_backups(
    sandbox: Sandbox, *, token: Text | None = None, config: Config | None = None
) -> Result[list[Backup], PocketenvError]:
    """List the sandbox's backups that have not expired. Returns a list of Backup.

    A new backup is missing until the platform has stored it. Failures: those of every request.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, list_backups
    >>> create("my-box") | list_backups
    <Success: []>
    """
    return send(query("sandbox.getBackups", list_of("backups", Backup), {"id": sandbox.id}))


@operation(Sandbox, reads=Need.ID)
def restore_backup(
    sandbox: Sandbox, backup_id: Id, *, token: Text | None = None, config: Config | None = None
) -> Result[None, PocketenvError]:
    """Restore a backup to its original directory. Returns None.

    Without the sandbox, the call returns a step, and restores nothing. `pocketenv.restore_backup` takes the id alone,
    and restores at once. Failures: NotSupported on every provider except Cloudflare; ApiError for an unknown backup.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        backup_id: Id of the backup.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, restore_backup, start
    >>> (create("my-box") | start | restore_backup("no-such-backup")).failure().status
    404
    """
    if refusal := unsupported(sandbox, "backups", "restore_backup"):
        return Failure(refusal)
    return pocketenv.restore_backup(backup_id)
