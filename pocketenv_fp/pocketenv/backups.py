"""Restore a backup by its id."""

from __future__ import annotations

from returns.result import Result

from pocketenv_fp.config import Config
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.http.xrpc import nothing, procedure, send
from pocketenv_fp.pocketenv.decorators import checked
from pocketenv_fp.validation import Id, Text

__all__ = ["restore_backup"]


@checked
def restore_backup(
    backup_id: Id, *, token: Text | None = None, config: Config | None = None
) -> Result[None, PocketenvError]:
    """Restore a backup to its original directory, by id. Returns None.

    It runs at once. `pocketenv_fp.sandbox.restore_backup` is the operation on a sandbox: without the sandbox it returns
    a step, and restores nothing. Failures: InvalidInput; ApiError for an unknown backup, for a sandbox that does not
    run, and on every provider except Cloudflare.

    Args:
        backup_id: Id of the backup, from `list_backups`.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import pocketenv
    >>> pocketenv.restore_backup("no-such-backup").failure().status
    404
    """
    return send(procedure("sandbox.restoreBackup", nothing, body={"backupId": backup_id}))
