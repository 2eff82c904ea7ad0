"""Records that belong to a sandbox, and so to its owner. No other user finds, changes or removes one."""

from typing import Any, NamedTuple

from pocketenv_fp.local import sandboxes
from pocketenv_fp.local.call import LIST_ROWS, NOTHING, Call, new_id, not_found, now, show
from pocketenv_fp.local.store import Value

_MINE = "sandbox IN (SELECT id FROM sandboxes WHERE owner = ?)"
_ONE = f"{_MINE} AND id = ?"


class Kind(NamedTuple):
    """A kind of records. Its table has the plural of `noun` as its name, and `columns` are shown.

    `prefix` begins an id. With `by_name` a list takes the name of a sandbox too.
    """

    noun: str
    prefix: str
    columns: tuple[str, ...]
    by_name: bool = False

    @property
    def table(self) -> str:
        """The name of the table, and of a list in an answer."""
        return f"{self.noun}s"

    async def get(self, call: Call) -> Any:
        """Return one of the caller's records; `{}` for an unknown one."""
        rows = call.world.store.select(self.columns, self.table, f"WHERE {_ONE}", call.me.id, call.params["id"])
        return {self.noun: self._view(rows[0])} if rows else NOTHING

    async def get_all(self, call: Call) -> Any:
        """Return a page of one sandbox's records, or of all the caller's. An unknown sandbox has none."""
        limit, offset = call.window(LIST_ROWS)
        where, key = f"WHERE {_MINE} AND sandbox = coalesce(?, sandbox)", (call.me.id, self._sandbox_of_list(call))
        store = call.world.store
        rows = store.select(self.columns, self.table, f"{where} ORDER BY rowid LIMIT ? OFFSET ?", *key, limit, offset)
        total = store.select(["count(*)"], self.table, where, *key)[0][0]
        return {self.table: [self._view(row) for row in rows], "total": total}

    async def delete(self, call: Call) -> None:
        """Delete a record. An unknown one is a 404. Commands keep a secret and a variable until the next start."""
        if not self.remove(call):
            raise not_found(f"{self.noun.capitalize()} not found")

    def add(self, call: Call, sandbox_id: str | None, **values: Value) -> str:
        """Add a record and return its id. Raises sqlite3.IntegrityError for a taken name or an unknown sandbox."""
        record, moment = new_id(self.prefix), now()
        times: dict[str, Value] = {column: moment for column in self.columns if column.endswith("_at")}
        call.world.store.insert(self.table, id=record, sandbox=sandbox_id, **values, **times)
        return record

    def change(self, call: Call, *, of_any: bool = False, **values: Value) -> None:
        """Set new values in the record that the body names. 404 where the caller (`of_any`: any user) has none."""
        store, record = call.world.store, call.body["id"]
        where, key = ("WHERE id = ?", (record,)) if of_any else (f"WHERE {_ONE}", (call.me.id, record))
        if not store.select(["id"], self.table, where, *key):
            raise not_found(f"{self.noun.capitalize()} not found")
        times: dict[str, Value] = {"updated_at": now()} if "updated_at" in self.columns else {}
        store.change(self.table, "id = ?", (record,), **values, **times)

    def remove(self, call: Call) -> bool:
        """Delete the caller's record with the id of the request. Return whether there was one."""
        return call.world.store.remove(self.table, _ONE, call.me.id, call.params["id"]) > 0

    def _sandbox_of_list(self, call: Call) -> str | None:
        identifier: str | None = call.params.get("sandboxId")
        if identifier is None or not self.by_name:
            return identifier
        sandbox = sandboxes.find(call.world, identifier, by="name", owner=call.me.id)
        return identifier if sandbox is None else sandbox.id

    def _view(self, row: tuple[Any, ...]) -> dict[str, Any]:
        return show(dict(zip(self.columns, row, strict=True)), *self.columns)


def sandbox_of(call: Call, identifier: str | None) -> str:
    """Return the id of the caller's sandbox with this id or name. 404 where the caller has none."""
    if identifier is None:
        raise not_found("Sandbox not found")
    return sandboxes.find_own(call, identifier, by="name").id
