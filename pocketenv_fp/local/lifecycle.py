"""Create, start, stop and delete sandboxes as machines, and recover them after a crash."""

import json
import logging
from functools import partial
from pathlib import Path
from typing import Any

from pocketenv_fp.local import (
    backups,
    files,
    keys,
    processes,
    providers,
    repositories,
    restores,
    sandboxes,
    secrets,
    services,
    volumes,
)
from pocketenv_fp.local.agent import file_operations
from pocketenv_fp.local.box import Plan
from pocketenv_fp.local.call import NOTHING, Call, World, not_found, now, provider_refused, server_error
from pocketenv_fp.local.layout import system_path
from pocketenv_fp.local.machine import Machine, Refused, remove_tree
from pocketenv_fp.local.sandboxes import Sandbox

_log = logging.getLogger("pocketenv_fp.local")


async def create_sandbox(call: Call) -> Any:
    """Create a sandbox, or start the one with the same repository and base."""
    existing = sandboxes.same(call)
    if existing is not None:
        await _start(call.world, existing, {})
        return sandboxes.view_existing(existing)
    sandbox = sandboxes.add(call)
    machine = call.world.machine(sandbox.id)
    async with machine.turn:
        await repositories.clone(machine, sandbox.repo)
    return sandboxes.view_created(sandbox, call.body)


async def start_sandbox(call: Call) -> Any:
    """Start a sandbox. A running one gets its secrets, variables, files and keys again."""
    await _start(call.world, sandboxes.find_usable(call), call.body)
    return NOTHING


async def stop_sandbox(call: Call) -> Any:
    """Kill its processes, and on most providers discard its files."""
    sandbox = sandboxes.find_usable(call)
    machine = call.world.machine(sandbox.id)
    async with machine.turn:
        sandboxes.mark_stopped(call.world, sandbox.id)
        this = providers.provider(sandbox.provider)
        if not this.runs_on:
            await machine.halt()
        if not this.keeps_files:
            await machine.discard()
    return NOTHING


async def delete_sandbox(call: Call) -> Any:
    """Kill its processes and remove every trace, its backups included."""
    sandbox = sandboxes.find_usable(call)
    machine = call.world.machine(sandbox.id)
    async with machine.turn:
        if sandboxes.find(call.world, sandbox.id, by="id") is None:
            raise not_found("Sandbox not found", "SandboxNotFound")
        archives, contents = backups.archives(call.world, sandbox.id), volumes.contents(call.world, sandbox.id)
        call.world.store.write("DELETE FROM sandboxes WHERE id = ?", sandbox.id)
        # Another request may still run here: it must not build a box again.
        await machine.retire()
        await machine.discard()
        for archive in archives:
            archive.unlink(missing_ok=True)
        await volumes.discard(call.world, contents)
        call.world.machines.pop(sandbox.id, None)
    return NOTHING


def plan(world: World, sandbox_id: str) -> Plan:
    """Return the plan for the box of a sandbox, from its records as they are now."""
    mounts = volumes.mounts(world, sandbox_id)
    named = world.store.rows(
        "SELECT path FROM files WHERE sandbox = ? UNION SELECT path FROM reached WHERE sandbox = ?",
        sandbox_id,
        sandbox_id,
    )
    paths = [*(row[0] for row in named), *(mount.path for mount in mounts)]
    reach = frozenset(place for path in paths if (place := system_path(path)) is not None)
    return Plan(world.data / "sandboxes" / sandbox_id, tuple(mounts), reach)


async def reach(world: World, sandbox_id: str, path: str) -> None:
    """Make sure that a path can be written. The caller holds the machine's turn.

    In a box the system's directories are read-only. From now on this one accepts new names. The box is rebuilt for that,
    and services come back.
    """
    place = system_path(path)
    if world.kind.isolation != "bubblewrap" or place is None:
        return
    world.store.write("INSERT OR IGNORE INTO reached (sandbox, path) VALUES (?, ?)", sandbox_id, place)
    if await world.machine(sandbox_id).reach(place):
        await services.resume(world, sandbox_id)


def recover(world: World) -> None:
    """Remove the remains of a crash: processes, half-removed folders, unfinished archives."""
    processes.end_marked(world.data)
    remove_tree(world.data / "trash")
    for clone in world.data.glob(f"{repositories.DRAFT}*"):
        remove_tree(clone)
    names = {
        name
        for name, stopped, provider in world.store.rows("SELECT id, stopped, provider FROM sandboxes")
        if not stopped or providers.provider(provider).keeps_files
    }
    for folder in _entries(world.data / "sandboxes"):
        if folder.name not in names:
            remove_tree(folder)
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
    """Finish the restores that a crash interrupted."""
    for restore in restores.unfinished(world):
        async with world.machine(restore.sandbox).turn:
            await _finish(world, restore)
            restores.forget(world, restore)


async def _finish(world: World, restore: restores.Restore) -> None:
    sandbox = sandboxes.find(world, restore.sandbox, by="id")
    if sandbox is None or sandbox.stopped or not (world.data / restore.archive).exists():
        return
    try:
        await reach(world, restore.sandbox, restore.directory)
        await restores.carry_out(world, restore)
    except (Refused, OSError) as error:
        _log.warning("an interrupted restore could not be finished: %s", error)


async def _start(world: World, sandbox: Sandbox, body: dict[str, Any]) -> None:
    machine = world.machine(sandbox.id)
    async with machine.turn:
        if sandboxes.find(world, sandbox.id, by="id") is None:
            raise not_found("Sandbox not found", "SandboxNotFound")
        snapshot = secrets.snapshot(world.store, sandbox.id)
        try:
            environment = secrets.environment(world.vault, snapshot)
            pair = keys.open_pair(world, sandbox.id)
        except ValueError:
            # The platform boots the machine before it opens the sealed boxes.
            world.store.write("UPDATE sandboxes SET stopped = 0, started_at = ? WHERE id = ?", now(), sandbox.id)
            raise server_error() from None
        contents = files.contents(world, sandbox.id)
        await machine.adopt(plan(world, sandbox.id))
        if volumes.contents(world, sandbox.id):
            await _attach_volumes(machine)
        started = max(now(), sandbox.ready_at)
        world.store.write(
            "UPDATE sandboxes SET stopped = 0, started_at = ?, environment = ?,"
            " keep_alive = coalesce(?, keep_alive) WHERE id = ?",
            started,
            json.dumps(snapshot),
            body.get("keepAlive"),
            sandbox.id,
        )
        machine.variables = environment
        providers.export_settings(world, sandbox)
        if pair is not None or contents:
            world.do_later(partial(_write_files, world, sandbox.id, started, pair, contents))
        await services.resume(world, sandbox.id)
        await repositories.clone(machine, body.get("repo", sandbox.repo))


async def _attach_volumes(machine: Machine) -> None:
    try:
        # The start reports a volume that cannot be attached. The first command would report it otherwise.
        await machine.boot()
    except Refused as error:
        _log.warning("a volume could not be attached: %s", error)
        raise provider_refused() from None


async def _write_files(
    world: World, sandbox_id: str, started: float, pair: keys.Pair | None, contents: list[tuple[str, bytes]]
) -> None:
    machine = world.machine(sandbox_id)
    async with machine.turn:
        sandbox = sandboxes.find(world, sandbox_id, by="id")
        if sandbox is None or sandbox.stopped or sandbox.started_at != started:
            # A later start writes its own files.
            return
        if pair is not None:
            await keys.install(machine, pair)
        for path, content in contents:
            try:
                await machine.write(path, content)
            except Refused as error:
                _log.warning("a file could not be written: %s", error)


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
