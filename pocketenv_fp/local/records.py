"""Records that belong to a sandbox, and so to its owner. No other user finds, changes or removes one."""

from typing import Any, Literal

from pocketenv_fp.local import sandboxes
from pocketenv_fp.local.call import EMPTY, LIST_ROWS, Call, not_found
from pocketenv_fp.local.store import Value

Table = Literal["secrets", "variables", "files", "volumes", "services"]
Row = tuple[Any, ...]

_MINE = "sandbox IN (SELECT id FROM sandboxes WHERE owner = ?)"
_ONE = f"{_MINE} AND id = ?"


def one(call: Call, table: Table, fields: tuple[str, ...], record: str) -> Row | None:
    """Return the caller's record with this id."""
    rows = call.world.store.select(fields, table, f"WHERE {_ONE}", call.me.id, record)
    return rows[0] if rows else None


def page(call: Call, table: Table, fields: tuple[str, ...], sandbox_id: str | None) -> tuple[list[Row], int]:
    """Return a page of one sandbox's records, or (None) of all the caller's records, and their total."""
    limit, offset = call.window(LIST_ROWS)
    where = f"WHERE {_MINE} AND sandbox = coalesce(?, sandbox)"
    chosen = (call.me.id, sandbox_id)
    store = call.world.store
    rows = store.select(fields, table, f"{where} ORDER BY rowid LIMIT ? OFFSET ?", *chosen, limit, offset)
    return rows, store.select(["count(*)"], table, where, *chosen)[0][0]


def change(call: Call, table: Table, missing: str, *, of_any: bool = False, **values: Value) -> Any:
    """Set new values in the record that the body names. 404 where the caller (`of_any`: any user) has none."""
    known = call.world.store.row(f"SELECT 1 FROM {table} WHERE id = ?", call.body["id"]) if of_any else None  # noqa: S608 - a literal
    if known is None and one(call, table, ("id",), call.body["id"]) is None:
        raise not_found(missing)
    call.world.store.change(table, "id = ?", (call.body["id"],), **values)
    return EMPTY


def remove(call: Call, table: Table) -> bool:
    """Delete the caller's record with the id of the request. Return whether there was one."""
    return call.world.store.remove(table, _ONE, call.me.id, call.params["id"]) > 0


def sandbox_of(call: Call, identifier: str | None) -> str:
    """Return the id of the caller's sandbox with this id or name. 404 where the caller has none."""
    if identifier is None:
        raise not_found("Sandbox not found")
    return sandboxes.find_own(call, identifier, by="name").id


def list_filter(call: Call) -> str | None:
    """Return the sandbox id for a list, from an id or name. An unknown one stays as it is, and its list is empty."""
    identifier: str | None = call.params.get("sandboxId")
    sandbox = None if identifier is None else sandboxes.find(call.world, identifier, by="name", owner=call.me.id)
    return identifier if sandbox is None else sandbox.id
