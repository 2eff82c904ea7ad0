"""Copies between a sandbox and storage: lines of the platform's own in the sandbox's shell.

The lines behave as the platform's do. The path is pasted into them without quotes. No exit code is checked. The shell is
left in /tmp or below it, and a pulled archive stays unpacked there. Only the transfer differs: the lines read and write
an archive under a name that the platform gave it. A function `curl` in the shell replaces that, as on the platform.
"""

import posixpath
import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from uuid import uuid4

from pocketenv_fp.local import layout, lifecycle, providers, sandboxes, storage
from pocketenv_fp.local.call import Call, World, invalid, server_error
from pocketenv_fp.local.machine import Refused
from pocketenv_fp.local.sandboxes import Sandbox

_STORAGE = "https://sandbox.pocketenv.io/cp"
_LOGIN = '-H "Authorization: Bearer"'
_IS_FUNCTION = "declare -F curl >/dev/null 2>&1"


async def pull(call: Call) -> None:
    """Unpack an archive in a sandbox and copy it into a directory. The result is not reported."""
    world, sandbox, directory = call.world, _running(call), call.body["directoryPath"]
    uuid = call.body.get("uuid")
    if uuid is None:
        raise server_error()
    await _open(world, sandbox, directory)
    archive_file = storage.drafts(world) / uuid4().hex
    archive = archive_file if storage.claim(world, uuid, archive_file) else None
    try:
        await _pull(world, sandbox, uuid, archive, directory)
    except (Refused, OSError):
        raise server_error() from None
    finally:
        archive_file.unlink(missing_ok=True)


async def push(call: Call) -> Any:
    """Return the uuid of an archive. For a missing path no archive has the uuid."""
    world, sandbox, directory = call.world, _running(call), call.body["directoryPath"]
    uuid = str(uuid4())
    draft = storage.drafts(world) / uuid
    try:
        draft.touch(mode=0o600)
        async with world.machine(sandbox.id).hold(draft, writing=True) as name:
            await providers.run_line(world, sandbox, _push_line(_root(world, sandbox), uuid, name, directory))
        if draft.stat().st_size:
            storage.keep(world, draft, uuid)
    except (Refused, OSError):
        raise server_error() from None
    finally:
        draft.unlink(missing_ok=True)
    return {"uuid": uuid}


async def _pull(world: World, sandbox: Sandbox, uuid: str, archive: Path | None, directory: str) -> None:
    root, machine = _root(world, sandbox), world.machine(sandbox.id)
    generation = machine.generation
    async with nullcontext() if archive is None else machine.hold(archive) as name:
        for line in _pull_lines(root, uuid, name, directory):
            # After a stop or a delete, the next line would run in a new box.
            if machine.generation != generation:
                raise Refused("halted")
            await providers.run_line(world, sandbox, line)


def _pull_lines(root: str, uuid: str, archive: str | None, directory: str) -> list[str]:
    target, folder = _mapped(root, directory), f"{root}/tmp/{uuid4()}"  # noqa: S108 - in the sandbox
    if archive is None:
        # It always fails, as the archive is not there. The uuid is pasted too.
        fetched = f"false {_STORAGE}/{uuid} {_LOGIN} --output -"
    else:
        curl = f"curl {_STORAGE}/{uuid} {_LOGIN} --output -"
        fetched = f"if {_IS_FUNCTION}; then {curl}; else cat {shlex.quote(archive)}; fi"
    copied = f"cp -r {folder}/* {target}"
    return [
        f"mkdir -p {folder} && cd {folder} && {fetched} | tar xzvf -",
        f"mkdir -p {target} || sudo mkdir -p {target}",
        f"(shopt -s dotglob && {copied}) || (shopt -s dotglob && sudo {copied})",
    ]


def _push_line(root: str, uuid: str, archive: str, directory: str) -> str:
    source, packed = _mapped(root, directory), f"{uuid}.tar.gz"
    curl = f'curl -X POST "{_STORAGE}?uuid={uuid}" {_LOGIN} -F "file=@{packed}"'
    sent = f"if {_IS_FUNCTION}; then {curl}; else cat {packed} >| {shlex.quote(archive)}; fi"
    tar = f"tar czvf {packed} -C $(dirname {source}) $(basename {source})"
    return f"cd {root}/tmp && {tar} && {sent} && rm {packed}"  # noqa: S108 - in the sandbox


def _root(world: World, sandbox: Sandbox) -> str:
    """Return the prefix of an absolute path: empty in a box, whose root is the sandbox's."""
    if world.kind.isolation == "bubblewrap":
        return ""
    return shlex.quote(str(world.machine(sandbox.id).folder))


def _mapped(root: str, path: str) -> str:
    return f"{root}{path}" if path.startswith("/") else path


async def _open(world: World, sandbox: Sandbox, directory: str) -> None:
    # In a box the system's directories are read-only, except where a path in them was named.
    if world.kind.isolation != "bubblewrap" or not directory.startswith("/"):
        return
    if layout.system_path(posixpath.normpath(directory)) is not None:
        async with world.machine(sandbox.id).turn:
            await lifecycle.reach(world, sandbox.id, directory)


def _running(call: Call) -> Sandbox:
    sandbox = sandboxes.find_own(call, call.body["sandboxId"], by="uri")
    if sandbox.status != "RUNNING":
        raise invalid("Sandbox is not running")
    return sandbox
