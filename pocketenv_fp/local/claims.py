"""Sandboxes without an owner, and how a user claims one."""

from typing import Any

from pocketenv_fp.local import sandboxes
from pocketenv_fp.local.call import Call, World, new_id, not_found, now, record_key
from pocketenv_fp.local.sandboxes import CLOUDFLARE, Sandbox

_BASE = "openclaw"


async def claim(call: Call) -> Any:
    """Make the caller the owner of a sandbox without an owner. One that has an owner is not found."""
    identifier: str = call.params["id"]
    if sandboxes.find(call.world, identifier, by="id", owner=None) is None:
        raise not_found("Sandbox not found")
    me = call.me
    uri = f"at://{me.did}/io.pocketenv.sandbox/{record_key()}"
    key = (identifier,)
    if not call.world.store.change("sandboxes", "id = ? AND owner IS NULL", key, owner=me.id, uri=uri):
        raise not_found("Sandbox not found")
    sandbox = sandboxes.find(call.world, identifier, by="id")
    assert sandbox is not None  # noqa: S101 - it was changed just now
    details = {"description": sandbox.description, **sandboxes.size(sandbox), "readme": None}
    return sandboxes.view_new(sandbox, details)


def add_ownerless(world: World, provider: str = CLOUDFLARE) -> Sandbox:
    """Add a running sandbox without an owner. Every caller may use it, and the first to claim it owns it."""
    moment = now()
    sandbox = Sandbox(
        id=new_id("sandbox"),
        owner=None,
        name=sandboxes.free_name(world),
        uri=None,
        provider=provider,
        base=_BASE,
        ready_at=moment,
        created_at=moment,
        started_at=moment,
    )
    world.store.insert("sandboxes", **sandbox._asdict())
    return sandbox
