"""Secrets and variables: the environment of a sandbox's commands, set by a start."""

import json
from typing import Any

from pocketenv_fp.local import processes, records
from pocketenv_fp.local.agent import process_tree
from pocketenv_fp.local.call import EMPTY, NOTHING, Call, World, iso, new_id, not_found, now
from pocketenv_fp.local.sandboxes import Sandbox
from pocketenv_fp.local.store import Store
from pocketenv_fp.local.vault import Vault

# (name, value, whether the value is a sealed box)
Setting = tuple[str, str, bool]

_MARKS = frozenset([processes.MARK, process_tree.MARK])
_SECRET = ("id", "name", "created_at")
_VARIABLE = ("id", "name", "value", "created_at", "updated_at")


async def add_secret(call: Call) -> Any:
    """Keep a sealed value under a name that is free. As on the platform, the owner of the sandbox is not checked."""
    sent = call.body["secret"]
    call.need_agent()
    call.world.store.insert(
        "secrets",
        id=new_id("secret"),
        sandbox=sent.get("sandboxId"),
        name=sent["name"],
        value=sent["value"],
        redacted=call.body.get("redacted"),
        created_at=now(),
    )
    return EMPTY


async def update_secret(call: Call) -> Any:
    """Change the name and the sealed value of a secret."""
    sent = call.body["secret"]
    values: dict[str, Any] = {"name": sent["name"], "value": sent["value"], "redacted": call.body.get("redacted")}
    return records.change(call, "secrets", "Secret not found", **values)


async def get_secret(call: Call) -> Any:
    """Return one secret without its value; `{}` for an unknown one."""
    row = records.one(call, "secrets", _SECRET, call.params["id"])
    return {"secret": _secret(row)} if row else NOTHING


async def get_secrets(call: Call) -> Any:
    """Return a page of secrets without their values."""
    rows, total = records.page(call, "secrets", _SECRET, call.params.get("sandboxId"))
    return {"secrets": [_secret(row) for row in rows], "total": total}


async def delete_secret(call: Call) -> Any:
    """Delete a secret. Commands keep it until the next start."""
    if not records.remove(call, "secrets"):
        raise not_found("Secret not found")
    return EMPTY


async def add_variable(call: Call) -> Any:
    """Keep a plain value under a name that is free. As on the platform, the owner of the sandbox is not checked."""
    sent, moment = call.body["variable"], now()
    call.world.store.insert(
        "variables",
        id=new_id("var"),
        sandbox=sent.get("sandboxId"),
        name=sent["name"],
        value=sent["value"],
        created_at=moment,
        updated_at=moment,
    )
    return EMPTY


async def update_variable(call: Call) -> Any:
    """Change the name and the value of a variable, of any user as on the platform."""
    sent = call.body["variable"]
    values = {"name": sent["name"], "value": sent["value"], "updated_at": now()}
    return records.change(call, "variables", "Variable not found", of_any=True, **values)


async def get_variable(call: Call) -> Any:
    """Return one variable; `{}` for an unknown one."""
    row = records.one(call, "variables", _VARIABLE, call.params["id"])
    return {"variable": _variable(row)} if row else NOTHING


async def get_variables(call: Call) -> Any:
    """Return a page of variables."""
    rows, total = records.page(call, "variables", _VARIABLE, call.params.get("sandboxId"))
    return {"variables": [_variable(row) for row in rows], "total": total}


async def delete_variable(call: Call) -> Any:
    """Delete a variable. Commands keep it until the next start."""
    if not records.remove(call, "variables"):
        raise not_found("Variable not found")
    return EMPTY


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


def _secret(row: tuple[Any, ...]) -> dict[str, Any]:
    return {"id": row[0], "name": row[1], "createdAt": iso(row[2])}


def _variable(row: tuple[Any, ...]) -> dict[str, Any]:
    return {"id": row[0], "name": row[1], "value": row[2], "createdAt": iso(row[3]), "updatedAt": iso(row[4])}
