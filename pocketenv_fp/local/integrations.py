"""Integrations of a sandbox: kept and listed as the contract describes them. Nothing is connected with anything.

An integration's web hook is an address of this platform where nothing is: whoever calls it gets a 404, as for any other
page that is not there.
"""

from typing import Any, NamedTuple

from pocketenv_fp.local import sandboxes
from pocketenv_fp.local.call import Call, iso, new_id, not_found, now


class Integration(NamedTuple):
    """A row of `integrations`: `hook` is the last part of its web hook's address, known to whoever may list it."""

    id: str
    sandbox: str
    name: str
    hook: str
    created_at: float


async def create(call: Call) -> Any:
    """Keep an integration. One name may be there twice: the contract says nothing against it."""
    made = Integration(new_id(), _own(call, call.body["id"]), call.body["name"], new_id(), now())
    call.world.store.insert("integrations", **made._asdict())
    return _view(call, made)


async def get_all(call: Call) -> Any:
    """The integrations of a sandbox, as a list."""
    found = _own(call, call.params["id"])
    rows = call.world.store.select(Integration._fields, "integrations", "WHERE sandbox = ? ORDER BY rowid", found)
    return [_view(call, Integration(*row)) for row in rows]


def _own(call: Call, sandbox_id: str) -> str:
    found = sandboxes.find(call.world, sandbox_id, by="id", owner=call.me.id)
    if found is None:
        raise not_found("Sandbox not found")
    return found.id


def _view(call: Call, made: Integration) -> dict[str, Any]:
    # The address is put together when it is shown: on the next start of the platform the port may be another one.
    created = iso(made.created_at)
    return {
        "id": made.id,
        "name": made.name,
        "webhookUrl": f"{call.world.url}/hooks/{made.hook}",
        "createdAt": created,
        "updatedAt": created,
    }
