"""Cloudflare: one persistent bash for each sandbox. It runs all commands, one after the other.

Container 0.7.8, the platform's version, puts four spaces after each newline of a command, in quotes too.
"""

import time
from typing import Any

from pocketenv_fp.local import secrets
from pocketenv_fp.local.call import World, iso, now, provider_refused, server_error
from pocketenv_fp.local.machine import LIMITED, Lost, Refused
from pocketenv_fp.local.sandboxes import Sandbox

INDENTING = "0.7.8"
# At a start the platform looks for an SSH key through the same shell. Here these lines have one effect: error
# messages count them as lines of the script.
_NOTHING = ":"


async def execute(world: World, sandbox: Sandbox, command: str) -> dict[str, Any]:
    """Type a command into the sandbox's shell and return the answer of exec. Raises Refusal."""
    if sandbox.stopped:
        raise provider_refused()
    machine, kind, begun = world.machine(sandbox.id), world.kind, time.monotonic()
    try:
        finished = await machine.type_line(
            _pasted(world, command),
            opening=lambda: [*_exports(world, sandbox), _NOTHING],
            environment=_environment(kind.exec_seconds),
            limit=kind.exec_seconds,
        )
    except (Lost, Refused):
        # A shell that ended, a command that took too long, a stopped sandbox: the cause is hidden.
        raise server_error() from None
    return {
        "success": finished.exit_code == 0,
        "exitCode": finished.exit_code,
        "stdout": finished.stdout,
        "stderr": finished.stderr + (LIMITED if finished.limited else ""),
        "command": command,
        "duration": round((time.monotonic() - begun) * 1000),
        "timestamp": iso(now()),
        "sessionId": f"sandbox-{sandbox.id.removeprefix('sandbox_')}",
    }


def export_settings(world: World, sandbox: Sandbox) -> None:
    """Export the variables and secrets in a shell that runs. A new shell exports them first."""
    world.machine(sandbox.id).type_later([*_exports(world, sandbox), _NOTHING])


def _exports(world: World, sandbox: Sandbox) -> list[str]:
    exports: list[str] = []
    for name, value in secrets.current(world, sandbox).items():
        quoted = value.replace("'", "'\\''")
        exports.append(_pasted(world, f"export {name}='{quoted}'"))
    return exports


def _pasted(world: World, command: str) -> str:
    return command.replace("\n", "\n    ") if world.kind.container == INDENTING else command


def _environment(seconds: float) -> dict[str, str]:
    return {
        "COMMAND_TIMEOUT_MS": str(round(seconds * 1000)),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "LANGUAGE": "en_US.UTF-8",
    }
