"""Which providers have a terminal."""

from __future__ import annotations

from returns.result import Failure, Result, Success

from pocketenv_fp.errors import NotSupported, PocketenvError
from pocketenv_fp.models import Sandbox
from pocketenv_fp.providers import CLOUDFLARE, provider_of

__all__ = ["OPERATION", "ROUTES", "supported"]

OPERATION = "sandbox.console"
# The names of the routes. Blaxel is not among them: the platform has no terminal for it.
ROUTES = {
    "daytona": "ssh",
    "deno": "ssh",
    "sprites": "tty",
    **dict.fromkeys(("vercel", "modal", "e2b", "hopx", "runloop"), "pty"),
}


def supported(sandbox: Sandbox) -> Result[Sandbox, PocketenvError]:
    """Return the sandbox, or Failure(NotSupported) if its provider has no known terminal."""
    provider = provider_of(sandbox.provider).name
    if provider == CLOUDFLARE or provider in ROUTES:
        return Success(sandbox)
    return Failure(NotSupported("console", provider, "Run single commands with exec(…)."))
