"""Secrets and variables: the environment of a sandbox's commands, set by a start."""

import json
from typing import Any

from pocketenv_fp.local import processes
from pocketenv_fp.local.agent import process_tree
from pocketenv_fp.local.call import Call, World
from pocketenv_fp.local.records import Kind
from pocketenv_fp.local.sandboxes import Sandbox
from pocketenv_fp.local.store import Store
from pocketenv_fp.local.vault import Vault

# (name, value, whether the value is a sealed box)
Setting = tuple[str, str, bool]

_MARKS = frozenset([processes.MARK, process_tree.MARK])
SECRETS = Kind("secret", "secret", ("id", "name", "created_at"))
VARIABLES = Kind("variable", "var", ("id", "name", "value", "created_at", "updated_at"))


async def add_secret(call: Call) -> None:
    """Keep a sealed value under a name that is free. As on the platform, the owner of the sandbox is not checked."""
    call.need_agent()
    SECRETS.add(call, call.body["secret"].get("sandboxId"), **_sealed(call))


async def update_secret(call: Call) -> None:
    """Change the name and the sealed value of a secret."""
    SECRETS.change(call, **_sealed(call))


async def add_variable(call: Call) -> None:
    """Keep a plain value under a name that is free. As on the platform, the owner of the sandbox is not checked."""
    sent = call.body["variable"]
    VARIABLES.add(call, sent.get("sandboxId"), name=sent["name"], value=sent["value"])


async def update_variable(call: Call) -> None:
    """Change the name and the value of a variable, of any user as on the platform."""
    sent = call.body["variable"]
    VARIABLES.change(call, of_any=True, name=sent["name"], value=sent["value"])


def snapshot(store: Store, sandbox_id: str) -> list[Setting]:
    """Return the settings of a start with sealed values: they may be stored on the disk."""
    plain = store.rows("SELECT name, value FROM variables WHERE sandbox = ? ORDER BY rowid", sandbox_id)
    boxes = store.rows("SELECT name, value FROM secrets WHERE sandbox = ? ORDER BY rowid", sandbox_id)
    return [(name, value, False) for name, value in plain] + [(name, value, True) for name, value in boxes]


def environment(vault: Vault, settings: list[Setting]) -> dict[str, str]:
    """Return the environment. Raises ValueError where a value cannot be opened.

    A name or value that no environment can hold is left out: an empty name, a name with `=`, a NUL. So are the names
    that mark the processes of a sandbox for this platform.
    """
    environment = {name: vault.open(value) if sealed else value for name, value, sealed in settings}
    return {
        name: value
        for name, value in environment.items()
        if name and name not in _MARKS and "=" not in name and "\0" not in name and "\0" not in value
    }


def current(world: World, sandbox: Sandbox) -> dict[str, str]:
    """Return the environment of the sandbox's last start. Raises ValueError where a value cannot be opened."""
    machine = world.machine(sandbox.id)
    if machine.variables is None:
        machine.variables = environment(world.vault, json.loads(sandbox.environment))
    return machine.variables


def _sealed(call: Call) -> dict[str, Any]:
    sent = call.body["secret"]
    return {"name": sent["name"], "value": sent["value"], "redacted": call.body.get("redacted")}
