"""What a sandbox's provider can do, asked before anything is sent.

>>> from pocketenv_fp import create, vscode
>>> create("my-box", provider="daytona") | vscode
<Failure: vscode: the provider daytona does not support it. Run an editor in the sandbox, and expose its port.>
"""

from __future__ import annotations

from typing import Literal

from returns.result import Failure, Result, Success

from pocketenv_fp.errors import NotSupported, PocketenvError
from pocketenv_fp.models import Sandbox
from pocketenv_fp.providers import provider_of

__all__ = ["ENVIRONMENT", "Feature", "supported"]

Feature = Literal["services", "variables", "vscode", "backups", "writes", "volumes"]

ENVIRONMENT = "Hand it to each command with exec(…, env={…}): there, no start sets it."
"""What to do where variables and secrets reach no command."""

_INSTEAD: dict[Feature, str] = {
    "services": "Run the command in the background with spawn(…): there, a service is stored and never runs.",
    "variables": ENVIRONMENT,
    "vscode": "Run an editor in the sandbox, and expose its port.",
    "backups": "Copy the directory with download(…).",
    "writes": "Write it with exec(…): there, no start can write a file.",
    "volumes": "Copy what is to stay with download(…): there, no start can attach a volume.",
}


def supported(sandbox: Sandbox, feature: Feature, operation: str) -> Result[Sandbox, PocketenvError]:
    """Return the sandbox, or Failure(NotSupported) where its provider does not have ``feature``.

    ``writes``: a start writes stored files and keys; ``volumes``: it attaches them. A record that names no provider is Cloudflare's.
    """
    provider = provider_of(sandbox.provider)
    # What a start writes or attaches goes through a shell line that two providers quote wrong.
    of_a_start = feature in {"writes", "volumes"}
    has_it = provider.quoting != "word" if of_a_start else bool(getattr(provider, feature))
    if has_it:
        return Success(sandbox)
    return Failure(NotSupported(operation, provider.name, _INSTEAD[feature]))
