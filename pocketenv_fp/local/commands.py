"""Run commands in a sandbox."""

from typing import Any

from pocketenv_fp.local import providers, sandboxes
from pocketenv_fp.local.call import Call, server_error
from pocketenv_fp.local.faults import BlockedShell, DeadShell, NoStderr
from pocketenv_fp.local.sandboxes import CLOUDFLARE

# Another client may have sent these before.
_ENDS = "exit"
_HOLDS = "kill -STOP $$"


async def run(call: Call) -> Any:
    """Return the output and exit code of a command. A non-zero exit code is no error."""
    sandbox = sandboxes.find_usable(call)
    if isinstance(call.shell, DeadShell | BlockedShell):
        if sandbox.provider == CLOUDFLARE:
            await providers.execute(call.world, sandbox, _ENDS if isinstance(call.shell, DeadShell) else _HOLDS)
        raise server_error()
    answer = await providers.execute(call.world, sandbox, call.body["command"])
    return {name: value for name, value in answer.items() if name != "stderr" or not isinstance(call.shell, NoStderr)}
