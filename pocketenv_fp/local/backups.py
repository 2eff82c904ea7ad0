"""Backups: a directory of a sandbox as a tar.gz, kept outside of the sandbox."""

import contextlib
import logging
import uuid
from functools import partial
from pathlib import Path
from typing import Any

from pocketenv_fp.local import restores, sandboxes
from pocketenv_fp.local.call import Call, World, invalid, not_found, now, provider_refused, show
from pocketenv_fp.local.machine import Refused
from pocketenv_fp.local.sandboxes import CLOUDFLARE

LIFE_SECONDS = 3 * 24 * 3600
# The last moment that the platform's notation can write.
_END_OF_TIME = 253_402_300_799.0
_VIEW = ("id", "directory", "description", "expires_at", "created_at")

_log = logging.getLogger("pocketenv_fp.local")


async def create(call: Call) -> None:
    """Copy a directory after the answer. A missing directory leaves no backup and no error."""
    sandbox = sandboxes.find_own(call, call.params["id"], by="uri")
    if sandbox.provider != CLOUDFLARE:
        raise invalid("Sandbox provider does not support backup")
    if not sandbox.stopped:
        call.world.do_later(partial(_copy, call.world, sandbox.id, call.body, now()))


async def _copy(world: World, sandbox_id: str, body: dict[str, Any], moment: float) -> None:
    machine, name = world.machine(sandbox_id), str(uuid.uuid4())
    async with machine.turn:
        sandbox = sandboxes.find(world, sandbox_id, by="id")
        if sandbox is None or sandbox.stopped or not await machine.pack(body["directory"], folder(world) / name):
            return
        life = body.get("ttl") or LIFE_SECONDS
        with contextlib.suppress(OverflowError):
            life = float(life)
        # The record is written last: a listed backup is whole.
        world.store.insert(
            "backups",
            id=name,
            sandbox=sandbox_id,
            directory=body["directory"],
            description=body.get("description"),
            expires_at=max(0.0, min(moment + life, _END_OF_TIME)) if isinstance(life, float) else _END_OF_TIME,
            created_at=moment,
        )


async def get_all(call: Call) -> Any:
    """Return the backups of a sandbox that are not expired."""
    sandbox = sandboxes.find_own(call, call.params["id"], by="uri")
    _expire(call.world)
    rows = call.world.store.select(_VIEW, "backups", "WHERE sandbox = ? ORDER BY rowid", sandbox.id)
    return {"backups": [show(dict(zip(_VIEW, row, strict=True)), *_VIEW) for row in rows]}


async def restore(call: Call) -> None:
    """Restore a directory exactly. Files that were added since the backup are removed."""
    world, name = call.world, call.body["backupId"]
    _expire(world)
    row = world.store.row("SELECT sandbox, directory FROM backups WHERE id = ?", name)
    sandbox = sandboxes.find(world, row[0], by="id", owner=call.me.id) if row else None
    if row is None or sandbox is None:
        raise not_found("Sandbox not found")
    machine = world.machine(sandbox.id)
    async with machine.turn:
        current = sandboxes.find(world, sandbox.id, by="id")
        if current is None or current.stopped:
            raise provider_refused()
        pending = restores.record(world, folder(world) / name, sandbox.id, row[1])
        try:
            await restores.carry_out(world, pending)
        except (Refused, OSError) as error:
            _log.warning("a backup could not be restored: %s", error)
            raise provider_refused() from None
        finally:
            restores.forget(world, pending)


def folder(world: World) -> Path:
    """Return the folder of the archives."""
    return world.data / "backups"


def archives(world: World, sandbox_id: str) -> list[Path]:
    """Return the archives of one sandbox."""
    rows = world.store.rows("SELECT id FROM backups WHERE sandbox = ?", sandbox_id)
    return [folder(world) / row[0] for row in rows]


def _expire(world: World) -> None:
    moment, unfinished = now(), restores.archives(world)
    for row in world.store.rows("SELECT id FROM backups WHERE expires_at <= ?", moment):
        if folder(world) / row[0] in unfinished:
            continue
        world.store.write("DELETE FROM backups WHERE id = ?", row[0])
        (folder(world) / row[0]).unlink(missing_ok=True)
