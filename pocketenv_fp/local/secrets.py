"""Secrets and variables: what a start puts into the environment of a sandbox's commands."""

from typing import Any, Literal

from pocketenv_fp.local.call import EMPTY, LIST_ROWS, NOTHING, Call, iso, new_id, not_found, now, server_error
from pocketenv_fp.local.store import Store
from pocketenv_fp.local.vault import Vault

Table = Literal["secrets", "variables"]

# (name, value, whether the value is a sealed box)
Setting = tuple[str, str, bool]

_MINE = "sandbox IN (SELECT id FROM sandboxes WHERE owner = ?)"
_ONE = f"{_MINE} AND id = ?"
_SECRET = ("id", "name", "created_at")
_VARIABLE = ("id", "name", "value", "created_at", "updated_at")


async def add_secret(call: Call) -> Any:
    """Keep a sealed value under a name that is free."""
    sent = call.body["secret"]
    _check_owner(call, sent.get("sandboxId"))
    call.world.store.insert(
        "secrets",
        id=new_id(),
        sandbox=sent["sandboxId"],
        name=sent["name"],
        value=sent["value"],
        redacted=call.body.get("redacted"),
        created_at=now(),
    )
    return EMPTY


async def update_secret(call: Call) -> Any:
    """Another name and another sealed value for a secret."""
    sent = call.body["secret"]
    values = {"name": sent["name"], "value": sent["value"], "redacted": call.body.get("redacted")}
    return _update(call, "secrets", values, "Secret not found")


async def get_secret(call: Call) -> Any:
    """One secret without its value; `{}` where there is none."""
    row = _one(call, "secrets", _SECRET, call.params["id"])
    return {"secret": _secret(row)} if row else NOTHING


async def get_secrets(call: Call) -> Any:
    """A page of secrets without their values."""
    rows, total = _page(call, "secrets", _SECRET)
    return {"secrets": [_secret(row) for row in rows], "total": total}


async def delete_secret(call: Call) -> Any:
    """Forget a secret; the commands of the last start keep it until the next."""
    return _delete(call, "secrets", "Secret not found")


async def add_variable(call: Call) -> Any:
    """Keep a plain value under a name that is free."""
    sent, moment = call.body["variable"], now()
    _check_owner(call, sent.get("sandboxId"))
    call.world.store.insert(
        "variables",
        id=new_id(),
        sandbox=sent["sandboxId"],
        name=sent["name"],
        value=sent["value"],
        created_at=moment,
        updated_at=moment,
    )
    return EMPTY


async def update_variable(call: Call) -> Any:
    """Another name and another value for a variable."""
    sent = call.body["variable"]
    values = {"name": sent["name"], "value": sent["value"], "updated_at": now()}
    return _update(call, "variables", values, "Variable not found")


async def get_variable(call: Call) -> Any:
    """One variable; `{}` where there is none."""
    row = _one(call, "variables", _VARIABLE, call.params["id"])
    return {"variable": _variable(row)} if row else NOTHING


async def get_variables(call: Call) -> Any:
    """A page of variables."""
    rows, total = _page(call, "variables", _VARIABLE)
    return {"variables": [_variable(row) for row in rows], "total": total}


async def delete_variable(call: Call) -> Any:
    """Forget a variable; the commands of the last start keep it until the next."""
    return _delete(call, "variables", "Variable not found")


def snapshot(store: Store, sandbox_id: str) -> list[Setting]:
    """What a start is to put into the environment, boxes unopened: fit to be kept on the disk."""
    plain = store.rows("SELECT name, value FROM variables WHERE sandbox = ? ORDER BY rowid", sandbox_id)
    boxes = store.rows("SELECT name, value FROM secrets WHERE sandbox = ? ORDER BY rowid", sandbox_id)
    return [(name, value, False) for name, value in plain] + [(name, value, True) for name, value in boxes]


def opened(vault: Vault, settings: list[Setting]) -> dict[str, str]:
    """The environment itself; ValueError where a value is no box for this key.

    What no environment can hold (a name that is empty or has a `=`, a NUL) is left out.
    """
    environment = {name: vault.open(value) if sealed else value for name, value, sealed in settings}
    return {
        name: value
        for name, value in environment.items()
        if name and "=" not in name and "\0" not in name and "\0" not in value
    }


def _check_owner(call: Call, sandbox_id: str | None) -> None:
    # A name in place of an id, an unknown id, somebody else's: to the platform each is a broken foreign key.
    if not call.world.store.row("SELECT 1 FROM sandboxes WHERE id = ? AND owner = ?", sandbox_id, call.me.id):
        raise server_error()


def _one(call: Call, table: Table, fields: tuple[str, ...], record: str) -> tuple[Any, ...] | None:
    rows = call.world.store.select(fields, table, f"WHERE {_ONE}", call.me.id, record)
    return rows[0] if rows else None


def _page(call: Call, table: Table, fields: tuple[str, ...]) -> tuple[list[tuple[Any, ...]], int]:
    limit, offset = call.window(LIST_ROWS)
    where = f"WHERE {_MINE} AND sandbox = coalesce(?, sandbox)"
    chosen = (call.me.id, call.params.get("sandboxId"))
    store = call.world.store
    rows = store.select(fields, table, f"{where} ORDER BY rowid LIMIT ? OFFSET ?", *chosen, limit, offset)
    return rows, store.select(["count(*)"], table, where, *chosen)[0][0]


def _update(call: Call, table: Table, values: dict[str, Any], missing: str) -> Any:
    if _one(call, table, ("id",), call.body["id"]) is None:
        raise not_found(missing)
    call.world.store.change(table, "id = ?", (call.body["id"],), **values)
    return EMPTY


def _delete(call: Call, table: Table, missing: str) -> Any:
    if call.world.store.remove(table, _ONE, call.me.id, call.params["id"]) == 0:
        raise not_found(missing)
    return EMPTY


def _secret(row: tuple[Any, ...]) -> dict[str, Any]:
    return {"id": row[0], "name": row[1], "createdAt": iso(row[2])}


def _variable(row: tuple[Any, ...]) -> dict[str, Any]:
    return {"id": row[0], "name": row[1], "value": row[2], "createdAt": iso(row[3]), "updatedAt": iso(row[4])}
