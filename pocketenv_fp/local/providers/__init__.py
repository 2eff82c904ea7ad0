"""The differences between providers: how a command reaches a shell, the keys of the answer, what a stop keeps.

`provider(name)` returns the facts about one. `execute` runs a command as `sandbox.exec` does, and `run_line` runs a line
of the platform's own. The table is in `workers`. Cloudflare's one shell has a module of its own.
"""

from typing import Any

from pocketenv_fp.local.call import World
from pocketenv_fp.local.providers import cloudflare, workers
from pocketenv_fp.local.providers.workers import Provider, provider
from pocketenv_fp.local.sandboxes import CLOUDFLARE, Sandbox

__all__ = ["Provider", "execute", "export_settings", "provider", "run_line"]


async def execute(world: World, sandbox: Sandbox, command: str) -> dict[str, Any]:
    """Return the answer of exec. Raises Refusal."""
    if sandbox.provider == CLOUDFLARE:
        return await cloudflare.execute(world, sandbox, command)
    return await workers.execute(world, sandbox, command)


async def run_line(world: World, sandbox: Sandbox, line: str) -> None:
    """Run a line of the platform's own through the same shell as a command. Raises Refusal."""
    await execute(world, sandbox, line)


def export_settings(world: World, sandbox: Sandbox) -> None:
    """Pass the variables and secrets of a start to the commands, on the provider that does so."""
    if sandbox.provider == CLOUDFLARE:
        cloudflare.export_settings(world, sandbox)
