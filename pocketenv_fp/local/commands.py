"""Running commands in a sandbox."""

from typing import Any

from pocketenv_fp.local import providers, sandboxes
from pocketenv_fp.local.call import Call, not_found


async def run(call: Call) -> Any:
    """Return what a command wrote and how it ended; a non-zero exit is an answer like any other."""
    found = sandboxes.find(call.world, call.params["id"], by="name", owner=call.owner)
    if found is None:
        raise not_found("Sandbox not found", "SandboxNotFound")
    return await providers.execute(call.world, found, call.body["command"])
