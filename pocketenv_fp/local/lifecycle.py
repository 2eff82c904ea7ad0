"""Sandboxes as machines: created, started, stopped, deleted, and put in order after a crash."""

import json
import logging
from pathlib import Path
from typing import Any

from pocketenv_fp.local import (
    backups,
    files,
    keys,
    processes,
    providers,
    repositories,
    sandboxes,
    secrets,
    services,
    unpackings,
    volumes,
)
from pocketenv_fp.local import mounts as layout
from pocketenv_fp.local.agent import file_operations
from pocketenv_fp.local.box import Plan
from pocketenv_fp.local.call import NOTHING, Call, World, not_found, now, provider_refused, server_error
from pocketenv_fp.local.machine import Machine, Refused, bury
from pocketenv_fp.local.sandboxes import Sandbox

_log = logging.getLogger("pocketenv_fp.local")


async def create_sandbox(call: Call) -> Any:
    """A new sandbox, or the one with the same repository and base, started."""
    existing = sandboxes.same(call)
    if existing is not None:
        await _start(call.world, existing, {})
        return sandboxes.found_again(existing)
    made = sandboxes.add(call)
    machine = call.world.machine(made.id)
    async with machine.turn:
        await repositories.clone(machine, made.repo)
    return sandboxes.created(made, call.body)


async def start_sandbox(call: Call) -> Any:
    """Start; also when it runs, for only a start puts secrets, variables and keys in place."""
    await _start(call.world, _own(call, by="name"), call.body)
    return NOTHING


async def stop_sandbox(call: Call) -> Any:
    """End what runs in it, and on most providers discard its files."""
    found = _own(call, by="name")
    machine = call.world.machine(found.id)
    async with machine.turn:
        sandboxes.mark_stopped(call.world, found.id)
        this = providers.provider(found.provider)
        if not this.runs_on:
            await machine.halt()
        if not this.keeps_files:
            await machine.discard()
    return NOTHING


async def delete_sandbox(call: Call) -> Any:
    """End it and remove every trace, its backups included."""
    found = _own(call, by="name")
    machine = call.world.machine(found.id)
    async with machine.turn:
        if sandboxes.find(call.world, found.id, by="id") is None:
            raise not_found("Sandbox not found", "SandboxNotFound")
        archives, contents = backups.archives(call.world, found.id), volumes.contents(call.world, found.id)
        call.world.store.write("DELETE FROM sandboxes WHERE id = ?", found.id)
        await machine.halt()
        await machine.discard()
        for archive in archives:
            archive.unlink(missing_ok=True)
        await volumes.discard(call.world, contents)
        call.world.machines.pop(found.id, None)
    return NOTHING


def plan(world: World, sandbox_id: str) -> Plan:
    """What the box of a sandbox is built from, as its records are now."""
    mounts = volumes.mounts(world, sandbox_id)
    named = world.store.rows(
        "SELECT path FROM files WHERE sandbox = ? UNION SELECT path FROM reached WHERE sandbox = ?",
        sandbox_id,
        sandbox_id,
    )
    paths = [*(row[0] for row in named), *(mount.path for mount in mounts)]
    reach = frozenset(lent for path in paths if (lent := layout.lent(path)) is not None)
    return Plan(world.data / "sandboxes" / sandbox_id, tuple(mounts), reach)


async def reach(world: World, sandbox_id: str, path: str) -> None:
    """Make sure that something can be written at a path. For who holds the machine's turn.

    In a box the system's directories are read-only. One that is named here is open to new names from now on; the box is
    built anew for that, and services come back.
    """
    lent = layout.lent(path)
    if world.kind.isolation != "bubblewrap" or lent is None:
        return
    world.store.write("INSERT OR IGNORE INTO reached (sandbox, path) VALUES (?, ?)", sandbox_id, lent)
    if await world.machine(sandbox_id).reach(lent):
        await services.resume(world, sandbox_id)


def recover(world: World) -> None:
    """Remove what a crash left: processes, half-removed folders, archives that were never finished."""
    processes.end_marked(world.data)
    bury(world.data / "trash")
    for clone in world.data.glob(f"{repositories.DRAFT}*"):
        bury(clone)
    kept = {
        name
        for name, stopped, provider in world.store.rows("SELECT id, stopped, provider FROM sandboxes")
        if not stopped or providers.provider(provider).keeps_files
    }
    for folder in _entries(world.data / "sandboxes"):
        if folder.name not in kept:
            bury(folder)
        else:
            file_operations.sweep(str(folder))
    volumes.recover(world)
    for content in _entries(volumes.folder(world)):
        file_operations.sweep(str(content))
    finished = {row[0] for row in world.store.rows("SELECT id FROM backups")}
    for archive in _entries(backups.folder(world)):
        if archive.name not in finished:
            archive.unlink(missing_ok=True)


async def finish(world: World) -> None:
    """Do to the end what a crash interrupted half way: archives that were being unpacked into a sandbox."""
    for noted in unpackings.left(world):
        sandbox = sandboxes.find(world, noted.sandbox, by="id")
        async with world.machine(noted.sandbox).turn:
            if sandbox is not None and not sandbox.stopped and (world.data / noted.archive).exists():
                try:
                    await reach(world, noted.sandbox, noted.directory)
                    await unpackings.carry(world, noted)
                except (Refused, OSError) as error:
                    _log.warning("an interrupted unpacking could not be finished: %s", error)
            unpackings.forget(world, noted)


async def _start(world: World, sandbox: Sandbox, body: dict[str, Any]) -> None:
    machine = world.machine(sandbox.id)
    async with machine.turn:
        if sandboxes.find(world, sandbox.id, by="id") is None:
            raise not_found("Sandbox not found", "SandboxNotFound")
        snapshot = secrets.snapshot(world.store, sandbox.id)
        try:
            environment = secrets.opened(world.vault, snapshot)
            pair = keys.opened(world, sandbox.id)
        except ValueError:
            # The platform boots the machine before it opens the boxes.
            world.store.write("UPDATE sandboxes SET stopped = 0, started_at = ? WHERE id = ?", now(), sandbox.id)
            raise server_error() from None
        written = files.opened(world, sandbox.id)
        await machine.adopt(plan(world, sandbox.id))
        await _furnish(machine, pair, written, boot=bool(volumes.contents(world, sandbox.id)))
        world.store.write(
            "UPDATE sandboxes SET stopped = 0, started_at = max(?, ready_at), environment = ?,"
            " keep_alive = coalesce(?, keep_alive) WHERE id = ?",
            now(),
            json.dumps(snapshot),
            body.get("keepAlive"),
            sandbox.id,
        )
        machine.variables = environment
        providers.started(world, sandbox)
        await services.resume(world, sandbox.id)
        await repositories.clone(machine, body.get("repo", sandbox.repo))


async def _furnish(machine: Machine, pair: keys.Pair | None, written: list[tuple[str, bytes]], *, boot: bool) -> None:
    try:
        if boot:
            # A volume that cannot be attached is told now, and not by the first command.
            await machine.boot()
        if pair is not None:
            await keys.install(machine, pair)
        for path, content in written:
            await machine.write(path, content)
    except Refused as error:
        _log.warning("a sandbox could not be furnished: %s", error)
        raise provider_refused() from None


def _own(call: Call, *, by: sandboxes.By) -> Sandbox:
    found = sandboxes.find(call.world, call.params["id"], by=by, owner=call.owner)
    if found is None:
        raise not_found("Sandbox not found", "SandboxNotFound")
    return found


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
