"""Sandboxes that belong to nobody, and how somebody gets one."""

from typing import Any

from pocketenv_fp.local import catalogue, sandboxes
from pocketenv_fp.local.call import Call, World, iso, new_id, not_found, now, record_key
from pocketenv_fp.local.sandboxes import CLOUDFLARE, Sandbox

_BASE = f"at://{catalogue.PUBLISHER}/io.pocketenv.sandbox/openclaw"
# No sandbox here has a size, and the contract has three numbers: these are the least that it allows.
_SIZES = {"vcpus": 1, "memory": 1, "disk": 3}


async def claim(call: Call) -> Any:
    """Make an ownerless sandbox the caller's; one that somebody has is not found."""
    me, identifier = call.me, call.params["id"]
    uri = f"at://{me.did}/io.pocketenv.sandbox/{record_key()}"
    key = (identifier,)
    if not call.world.store.change("sandboxes", "id = ? AND owner IS NULL", key, owner=me.id, uri=uri):
        raise not_found("Sandbox not found")
    found = sandboxes.find(call.world, identifier, by="id")
    assert found is not None  # noqa: S101 - it was changed just now
    return {
        "id": found.id,
        "name": found.name,
        "provider": found.provider,
        "description": found.description,
        **_SIZES,
        "readme": None,
        "createdAt": iso(found.created_at),
        "uri": found.uri,
    }


def add_ownerless(world: World) -> Sandbox:
    """A new running sandbox that nobody owns: whoever knows its name may use it, who claims it has it."""
    moment = now()
    made = Sandbox(
        id=new_id(),
        owner=None,
        name=sandboxes.free_name(world),
        uri=None,
        provider=CLOUDFLARE,
        base=_BASE,
        repo=None,
        description=None,
        topics=None,
        keep_alive=0,
        stopped=0,
        ready_at=moment,
        environment="[]",
        created_at=moment,
        started_at=moment,
    )
    world.store.insert("sandboxes", **made._asdict())
    return made
