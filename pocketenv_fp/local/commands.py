"""Running commands in a sandbox."""

from typing import Any

from pocketenv_fp.local import sandboxes, secrets
from pocketenv_fp.local.call import Call, not_found, provider_refused
from pocketenv_fp.local.machine import Refused
from pocketenv_fp.local.sandboxes import CLOUDFLARE


async def run(call: Call) -> Any:
    """What a shell line wrote and how it ended; a non-zero exit is an answer like any other."""
    found = sandboxes.find(call.world, call.params["id"], by="name", owner=call.owner)
    if found is None:
        raise not_found("Sandbox not found", "SandboxNotFound")
    if found.stopped and found.provider == CLOUDFLARE:
        raise provider_refused()
    machine = call.world.machine(found.id)
    environment = secrets.current(call.world, found)
    try:
        finished = await machine.run(call.body["command"], environment)
    except Refused:
        raise provider_refused() from None
    return {"stdout": finished.stdout, "stderr": finished.stderr, "exitCode": finished.exit_code}
