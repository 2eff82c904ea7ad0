"""Backups: a directory of a sandbox as a tar.gz beside it."""

import contextlib
import logging
import os
import shutil
import tarfile
import uuid
from pathlib import Path
from typing import Any

from pocketenv_fp.local import sandboxes
from pocketenv_fp.local.call import EMPTY, Call, World, iso, new_id, not_found, now, provider_refused
from pocketenv_fp.local.machine import Machine
from pocketenv_fp.local.sandboxes import CLOUDFLARE, Sandbox
from pocketenv_fp.local.threads import aside

LIFE_SECONDS = 3 * 24 * 3600
# The last moment that the platform's notation can write.
_END_OF_TIME = 253_402_300_799.0

_log = logging.getLogger("pocketenv_fp.local")


async def create(call: Call) -> Any:
    """Keep a copy of a directory; of one that is not there nothing is kept, and nothing is said."""
    found = _own(call)
    if found.provider != CLOUDFLARE:
        raise provider_refused()
    moment, name, world = now(), new_id(), call.world
    machine = world.machine(found.id)
    async with machine.turn:
        if not await aside(_pack, machine, call.body["directory"], folder(world) / name):
            return EMPTY
        # The record comes last: what is listed is whole.
        life = call.body.get("ttl", LIFE_SECONDS)
        with contextlib.suppress(OverflowError):
            life = float(life)
        world.store.insert(
            "backups",
            id=name,
            sandbox=found.id,
            directory=call.body["directory"],
            description=call.body.get("description"),
            expires_at=max(0.0, min(moment + life, _END_OF_TIME)) if isinstance(life, float) else _END_OF_TIME,
            created_at=moment,
        )
    return EMPTY


async def get_all(call: Call) -> Any:
    """The backups of a sandbox whose time has not run out."""
    found = _own(call)
    _expire(call.world)
    rows = call.world.store.rows(
        "SELECT id, directory, description, expires_at, created_at FROM backups WHERE sandbox = ? ORDER BY rowid",
        found.id,
    )
    return {"backups": [_view(*row) for row in rows]}


async def restore(call: Call) -> Any:
    """Make the directory again what it was; what came into it since is gone."""
    world, name = call.world, call.body["backupId"]
    _expire(world)
    row = world.store.row("SELECT sandbox, directory FROM backups WHERE id = ?", name)
    found = sandboxes.find(world, row[0], by="id", owner=call.me.id) if row else None
    if row is None or found is None:
        raise not_found("Backup not found")
    machine = world.machine(found.id)
    async with machine.turn:
        current = sandboxes.find(world, found.id, by="id")
        if current is None or current.stopped or not await aside(_unpack, machine, row[1], folder(world) / name):
            raise provider_refused()
    return EMPTY


def folder(world: World) -> Path:
    """Where the archives lie."""
    return world.data / "backups"


def archives(world: World, sandbox_id: str) -> list[Path]:
    """The archives of one sandbox."""
    rows = world.store.rows("SELECT id FROM backups WHERE sandbox = ?", sandbox_id)
    return [folder(world) / row[0] for row in rows]


def _pack(machine: Machine, directory: str, archive: Path) -> bool:
    source = machine.locate(directory)
    if source is None or not source.is_dir():
        return False
    archive.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = archive.with_suffix(".draft")
    try:
        with draft.open("wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as tar:
                tar.add(source, arcname=".")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(archive)
    except (OSError, tarfile.TarError) as error:
        # A file that shrank or cannot be read: on the platform too such a backup just never appears.
        _log.warning("a backup was given up: %s", error)
        draft.unlink(missing_ok=True)
        return False
    return True


def _unpack(machine: Machine, directory: str, archive: Path) -> bool:
    target = machine.locate(directory)
    if target is None:
        return False
    # Unpacked beside first: an archive that breaks off must not cost what is there now.
    staging = machine.folder / f".restore-{uuid.uuid4().hex}"
    try:
        with tarfile.open(archive, "r:gz") as tar:
            # The links in a backup may point where they like, as they did in the sandbox.
            tar.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)
            tar.extractall(staging)  # noqa: S202 - this platform packed it
        target.mkdir(parents=True, exist_ok=True)
        for entry in target.iterdir():
            _remove(entry)
        for entry in staging.iterdir():
            entry.rename(target / entry.name)
    except (OSError, tarfile.TarError) as error:
        _log.warning("a backup could not be restored: %s", error)
        return False
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return True


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()


def _expire(world: World) -> None:
    moment = now()
    for row in world.store.rows("SELECT id FROM backups WHERE expires_at <= ?", moment):
        world.store.write("DELETE FROM backups WHERE id = ?", row[0])
        (folder(world) / row[0]).unlink(missing_ok=True)


def _own(call: Call) -> Sandbox:
    found = sandboxes.find(call.world, call.params["id"], by="uri", owner=call.me.id)
    if found is None:
        raise not_found("Sandbox not found")
    return found


def _view(name: str, directory: str, description: str | None, expires_at: float, created_at: float) -> dict[str, Any]:
    return {
        "id": name,
        "directory": directory,
        "description": description,
        "expiresAt": iso(expires_at),
        "createdAt": iso(created_at),
    }
