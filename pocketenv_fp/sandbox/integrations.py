"""Integrations of a sandbox. The published contract has them, but the platform has no handler."""

from __future__ import annotations

from returns.result import Result

from pocketenv_fp import pocketenv
from pocketenv_fp.config import Config
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.models import Integration, Sandbox
from pocketenv_fp.steps.needs import Need
from pocketenv_fp.steps.operation import operation, step
from pocketenv_fp.validation import Name, Text

__all__ = ["create_integration", "list_integrations"]


@operation(Sandbox, reads=Need.ID)
def create_integration(
    sandbox: Sandbox, name: Name, *, token: Text | None = None, config: Config | None = None
) -> Result[Integration, PocketenvError]:
    """Return Failure(NotSupported): the platform has no handler for integrations. No request is sent.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        name: Name of the integration.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, create_integration
    >>> create("my-box") | create_integration("GitHub")
    <Failure: create_integration: the platform does not support it. It has no handler for integrations.>
    """
    return pocketenv.create_integration(sandbox.id, name)


@step(Sandbox, safe=True, reads=Need.ID)
def list_integrations(
    sandbox: Sandbox, *, token: Text | None = None, config: Config | None = None
) -> Result[list[Integration], PocketenvError]:
    """Return Failure(NotSupported): the platform has no handler for integrations. No request is sent.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, list_integrations
    >>> create("my-box") | list_integrations
    <Failure: list_integrations: the platform does not support it. It has no handler for integrations.>
    """
    return pocketenv.list_integrations(sandbox.id)
