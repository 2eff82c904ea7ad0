"""Sandboxes as machines: created, started, stopped, deleted, and put in order after a crash."""

import asyncio
import contextlib
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

from pocketenv_fp.local import backups, keys, processes, sandboxes, secrets
from pocketenv_fp.local.call import NOTHING, Call, World, not_found, now, server_error
from pocketenv_fp.local.machine import Machine, Refused
from pocketenv_fp.local.sandboxes import CLOUDFLARE, Sandbox
from pocketenv_fp.local.threads import aside

CLONE_SECONDS = 20.0
_GIT = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true"}


async def create_sandbox(call: Call) -> Any:
    """A new sandbox, or the one with the same repository and base, started."""
    existing = sandboxes.same(call)
    if existing is not None:
        await _start(call.world, existing, {})
        return sandboxes.created(existing, call.body)
    made = sandboxes.add(call)
    machine = call.world.machine(made.id)
    async with machine.turn:
        await aside(machine.prepare)
        await _clone(machine, made.repo)
    return sandboxes.created(made, call.body)


async def start_sandbox(call: Call) -> Any:
    """Start; also when it runs, for only a start puts secrets, variables and keys in place."""
    await _start(call.world, _own(call, by="name"), call.body)
    return NOTHING


async def stop_sandbox(call: Call) -> Any:
    """End all its processes; on Cloudflare the file system goes too."""
    found = _own(call, by="name")
    machine = call.world.machine(found.id)
    async with machine.turn:
        call.world.store.write("UPDATE sandboxes SET stopped = 1 WHERE id = ?", found.id)
        machine.generation += 1
        await aside(machine.halt)
        if found.provider == CLOUDFLARE:
            await aside(machine.discard)
    return NOTHING


async def delete_sandbox(call: Call) -> Any:
    """End it and remove every trace, its backups included."""
    found = _own(call, by="name")
    machine = call.world.machine(found.id)
    async with machine.turn:
        if sandboxes.find(call.world, found.id, by="id") is None:
            raise not_found("Sandbox not found", "SandboxNotFound")
        archives = backups.archives(call.world, found.id)
        call.world.store.write("DELETE FROM sandboxes WHERE id = ?", found.id)
        machine.generation += 1
        await aside(machine.halt)
        await aside(machine.discard)
        for archive in archives:
            archive.unlink(missing_ok=True)
        call.world.machines.pop(found.id, None)
    return NOTHING


def variables(world: World, sandbox: Sandbox) -> dict[str, str]:
    """The environment that the last start gave the sandbox."""
    machine = world.machine(sandbox.id)
    if machine.variables is None:
        machine.variables = secrets.opened(world.vault, json.loads(sandbox.environment))
    return machine.variables


def recover(world: World) -> None:
    """Remove what a crash left: processes, half-removed folders, archives that were never finished."""
    processes.end_marked(world.data)
    shutil.rmtree(world.data / "trash", ignore_errors=True)
    kept = {
        row[0] for row in world.store.rows("SELECT id FROM sandboxes WHERE stopped = 0 OR provider <> ?", CLOUDFLARE)
    }
    for folder in _entries(world.data / "sandboxes"):
        if folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)
    finished = {row[0] for row in world.store.rows("SELECT id FROM backups")}
    for archive in _entries(backups.folder(world)):
        if archive.name not in finished:
            archive.unlink(missing_ok=True)


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
            raise server_error() from None
        await aside(_furnish, machine, pair)
        world.store.write(
            "UPDATE sandboxes SET stopped = 0, started_at = max(?, ready_at), environment = ?,"
            " keep_alive = coalesce(?, keep_alive) WHERE id = ?",
            now(),
            json.dumps(snapshot),
            body.get("keepAlive"),
            sandbox.id,
        )
        machine.variables = environment
        await _clone(machine, body.get("repo", sandbox.repo))


def _furnish(machine: Machine, pair: keys.Pair | None) -> None:
    machine.prepare()
    if pair is not None:
        keys.install(machine.folder / "root", pair)


async def _clone(machine: Machine, repo: str | None) -> None:
    # A repository that cannot be had leaves a sandbox without it, and one that is slow goes on arriving
    # after the answer: neither is a reason not to start.
    name = Path((repo or "").rstrip("/").removesuffix(".git")).name
    if not repo or not name or (machine.folder / "workspace" / name).exists():
        return
    line = f"git clone --quiet -- {shlex.quote(repo)} {shlex.quote(name)}"
    environment = {**(machine.variables or {}), **_GIT}
    with contextlib.suppress(Refused, asyncio.TimeoutError):
        await asyncio.wait_for(aside(machine.run, line, environment, machine.generation), CLONE_SECONDS)


def _own(call: Call, *, by: sandboxes.By) -> Sandbox:
    found = sandboxes.find(call.world, call.params["id"], by=by, owner=call.owner)
    if found is None:
        raise not_found("Sandbox not found", "SandboxNotFound")
    return found


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
