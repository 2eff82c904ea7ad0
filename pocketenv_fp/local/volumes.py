"""Volumes: folders that are attached to a sandbox under a path and that survive a stop.

A path is kept as it was sent. A start resolves a relative one from the root. It leaves out paths that would hide the
machine from its own commands: the root itself, all in /proc, /sys, /dev and /run, and every directory that the system
has already (`/usr/local`, but not `/usr/local/models`).
"""

import logging
import os
import posixpath
from pathlib import Path

from pocketenv_fp.local import records
from pocketenv_fp.local.blocking import aside
from pocketenv_fp.local.call import Call, World
from pocketenv_fp.local.layout import Mount, system_path
from pocketenv_fp.local.machine import discard as discard_folder
from pocketenv_fp.local.records import Kind

VOLUMES = Kind("volume", "volume", ("id", "name", "path", "created_at", "updated_at"), by_name=True)
_KERNELS = ("proc", "sys", "dev", "run")

_log = logging.getLogger("pocketenv_fp.local")


async def add(call: Call) -> None:
    """Add an empty volume at a path that is free. Without a path it belongs to no sandbox and is not kept."""
    sent = call.body["volume"]
    sandbox = records.sandbox_of(call, sent.get("sandboxId"))
    call.need_agent()
    if "path" in sent:
        _made(call.world, VOLUMES.add(call, sandbox, name=sent["name"], path=sent["path"]))


async def update(call: Call) -> None:
    """Change the name of a volume, and its path where one is sent. Its content stays."""
    sent = call.body["volume"]
    VOLUMES.change(call, **{name: sent[name] for name in ("name", "path") if name in sent})


async def delete(call: Call) -> None:
    """Delete a volume and its content. An unknown one is ignored silently."""
    # The record goes first: a folder without one is removed at the next start of the platform.
    if VOLUMES.remove(call):
        await discard(call.world, [folder(call.world) / call.params["id"]])


def mounts(world: World, sandbox_id: str) -> list[Mount]:
    """Return the mounts of a start: the volumes of a sandbox that can be attached, one at each place."""
    rows = world.store.rows("SELECT id, path FROM volumes WHERE sandbox = ? ORDER BY rowid", sandbox_id)
    places: dict[str, Mount] = {}
    for record, path in rows:
        place = _place(path)
        if place is None or place in places:
            _log.warning("a volume is not attached: something else is at its path")
        else:
            places[place] = Mount(place, _made(world, record))
    return sorted(places.values())


def folder(world: World) -> Path:
    """Return the folder with the contents of all volumes, each under its id."""
    return world.data / "volumes"


def contents(world: World, sandbox_id: str) -> list[Path]:
    """Return the folders of one sandbox's volumes."""
    return [folder(world) / row[0] for row in world.store.rows("SELECT id FROM volumes WHERE sandbox = ?", sandbox_id)]


async def discard(world: World, folders: list[Path]) -> None:
    """Remove these folders: each at once and as a whole, although the removal takes longer."""
    for content in folders:
        await aside(discard_folder, content, world.data / "trash")


def recover(world: World) -> None:
    """Remove folders without a volume: a crash interrupted their deletion."""
    ids = {row[0] for row in world.store.rows("SELECT id FROM volumes")}
    if folder(world).is_dir():
        for content in list(folder(world).iterdir()):
            if content.name not in ids:
                discard_folder(content, world.data / "trash")


def _made(world: World, record: str) -> Path:
    # Also for a listed volume: a crash may have come between the record and its folder.
    folder(world).mkdir(mode=0o700, exist_ok=True)
    content = folder(world) / record
    content.mkdir(mode=0o700, exist_ok=True)
    return content


def _place(path: str) -> str | None:
    place = posixpath.normpath(posixpath.join("/", path)).replace("//", "/")
    first = place.lstrip("/").partition("/")[0]
    if not first or first in _KERNELS:
        return None
    system = system_path(place)
    return None if system is not None and os.path.lexists(system) else place
