"""Volumes: folders that are attached to a sandbox under a path, and that a stop does not take away.

A start attaches those that have a path. Such a path is kept as an absolute one: a relative path starts at the root,
and `..` goes up no further than that. Refused is what would hide the machine from its own commands: the root itself,
anything in /proc, /sys, /dev and /run, and every directory that the system has already (`/usr/local`, but not
`/usr/local/models`).
"""

import os
import posixpath
from pathlib import Path
from typing import Any

from pocketenv_fp.local import layout, records
from pocketenv_fp.local.call import EMPTY, NOTHING, Call, World, iso, new_id, now, provider_refused
from pocketenv_fp.local.layout import Mount
from pocketenv_fp.local.machine import trash
from pocketenv_fp.local.threads import aside

_VIEW = ("id", "name", "path", "created_at", "updated_at")
_KERNELS = ("proc", "sys", "dev", "run")


async def add(call: Call) -> Any:
    """An empty volume under a name that is free."""
    sent, moment, record = call.body["volume"], now(), new_id()
    call.world.store.insert(
        "volumes",
        id=record,
        sandbox=records.sandbox_of(call, sent.get("sandboxId")),
        name=sent["name"],
        path=_path(sent["path"]) if "path" in sent else None,
        read_only=int(sent.get("readOnly", False)),
        created_at=moment,
        updated_at=moment,
    )
    _made(call.world, record)
    return EMPTY


async def update(call: Call) -> Any:
    """Another name for a volume, and another path or kind where they are sent; its content stays."""
    sent = call.body["volume"]
    values: dict[str, Any] = {"name": sent["name"], "updated_at": now()}
    if "path" in sent:
        values["path"] = _path(sent["path"])
    if "readOnly" in sent:
        values["read_only"] = int(sent["readOnly"])
    return records.change(call, "volumes", "Volume not found", **values)


async def get(call: Call) -> Any:
    """One volume; `{}` where there is none."""
    row = records.one(call, "volumes", _VIEW, call.params["id"])
    return {"volume": _view(*row)} if row else NOTHING


async def get_all(call: Call) -> Any:
    """A page of volumes."""
    rows, total = records.page(call, "volumes", _VIEW, records.listed(call))
    return {"volumes": [_view(*row) for row in rows], "total": total}


async def delete(call: Call) -> Any:
    """Remove a volume and what is in it; one that is unknown is passed over in silence."""
    # The record goes first: a folder without one is removed at the next start of the platform.
    if records.remove(call, "volumes"):
        await discard(call.world, [folder(call.world) / call.params["id"]])
    return EMPTY


def mounts(world: World, sandbox_id: str) -> list[Mount]:
    """What a start attaches: the volumes of a sandbox that have a path."""
    rows = world.store.rows(
        "SELECT id, path, read_only FROM volumes WHERE sandbox = ? AND path IS NOT NULL ORDER BY path", sandbox_id
    )
    return [Mount(path, _made(world, record), bool(read_only)) for record, path, read_only in rows]


def folder(world: World) -> Path:
    """Where the contents of all volumes lie, each under its id."""
    return world.data / "volumes"


def contents(world: World, sandbox_id: str) -> list[Path]:
    """The folders of one sandbox's volumes."""
    return [folder(world) / row[0] for row in world.store.rows("SELECT id FROM volumes WHERE sandbox = ?", sandbox_id)]


async def discard(world: World, folders: list[Path]) -> None:
    """Throw these away, each at once and as a whole, however long that takes."""
    for content in folders:
        await aside(trash, content, world.data / "trash")


def recover(world: World) -> None:
    """Remove what belongs to no volume: a deletion that a crash cut short."""
    kept = {row[0] for row in world.store.rows("SELECT id FROM volumes")}
    if folder(world).is_dir():
        for content in list(folder(world).iterdir()):
            if content.name not in kept:
                trash(content, world.data / "trash")


def _made(world: World, record: str) -> Path:
    # Also asked of one that is listed: a crash may have come between the record and its folder.
    folder(world).mkdir(mode=0o700, exist_ok=True)
    content = folder(world) / record
    content.mkdir(mode=0o700, exist_ok=True)
    return content


def _path(path: str) -> str:
    found = posixpath.normpath(posixpath.join("/", path)).replace("//", "/")
    first = found.lstrip("/").partition("/")[0]
    if "\0" in path or not first or first in _KERNELS:
        raise provider_refused()
    system = layout.lent(found)
    if system is not None and os.path.lexists(system):
        raise provider_refused()
    return found


def _view(record: str, name: str, path: str | None, created_at: float, updated_at: float) -> dict[str, Any]:
    shown = {"id": record, "name": name, "path": path, "createdAt": iso(created_at), "updatedAt": iso(updated_at)}
    return {key: value for key, value in shown.items() if value is not None}
