"""Check that a sandbox's provider supports a feature, before a request is sent.

>>> from pocketenv_fp import create, vscode
>>> create("my-box", provider="daytona") | vscode
<Failure: vscode: the provider daytona does not support it. Run an editor in the sandbox, and expose its port.>
"""

from __future__ import annotations

from typing import Literal

from pocketenv_fp.errors import NotSupported
from pocketenv_fp.models import Sandbox
from pocketenv_fp.providers import provider_of

__all__ = ["ENVIRONMENT", "Feature", "unsupported"]

Feature = Literal["services", "variables", "vscode", "backups", "writes", "volumes"]

ENVIRONMENT = "Pass it to each command with exec(…, env={…}). No start sets variables there."
"""The alternative if variables and secrets reach no command."""

_INSTEAD: dict[Feature, str] = {
    "services": "Run the command as a job, with submit(…). Services are stored there, but never run.",
    "variables": ENVIRONMENT,
    "vscode": "Run an editor in the sandbox, and expose its port.",
    "backups": "Copy the directory with download(…).",
    "writes": "Write it with exec(…). No start can write a file there.",
    "volumes": "Copy the data with download(…). No start can attach a volume there.",
}


def unsupported(sandbox: Sandbox, feature: Feature, operation: str) -> NotSupported | None:
    """Return the error if the sandbox's provider does not have ``feature``, otherwise None.

    ``writes`` means that a start writes stored files and keys. ``volumes`` means that a start attaches them. A record
    without a provider counts as Cloudflare's.
    """
    provider = provider_of(sandbox.provider)
    # A start writes and attaches with a shell line. Two providers quote it wrongly.
    of_a_start = feature in {"writes", "volumes"}
    has_it = provider.quoting != "word" if of_a_start else bool(getattr(provider, feature))
    return None if has_it else NotSupported(operation, provider.name, _INSTEAD[feature])
