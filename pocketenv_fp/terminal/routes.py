"""The providers that have a terminal, and its routes."""

from __future__ import annotations

from pocketenv_fp.errors import NotSupported
from pocketenv_fp.models import Sandbox
from pocketenv_fp.providers import CLOUDFLARE, provider_of

__all__ = ["OPERATION", "ROUTES", "unsupported"]

OPERATION = "sandbox.console"
# The names of the routes. Blaxel is not among them: the platform has no terminal for it.
ROUTES = {
    "daytona": "ssh",
    "deno": "ssh",
    "sprites": "tty",
    **dict.fromkeys(("vercel", "modal", "e2b", "hopx", "runloop"), "pty"),
}


def unsupported(sandbox: Sandbox) -> NotSupported | None:
    """Return the error if the sandbox's provider has no known terminal, otherwise None."""
    provider = provider_of(sandbox.provider).name
    if provider == CLOUDFLARE or provider in ROUTES:
        return None
    return NotSupported("console", provider, "Run single commands with exec(…).")
