"""Integrations: the published contract has them, but the platform has no handler.

Both functions exist because the contract has both methods. Each returns Failure(NotSupported) and sends no request. The
platform would return ``{}`` for each request and connect nothing.

>>> from pocketenv_fp import pocketenv
>>> pocketenv.create_integration("some-id", "GitHub")
<Failure: create_integration: the platform does not support it. It has no handler for integrations.>
"""

from __future__ import annotations

from returns.result import Failure, Result

from pocketenv_fp.config import Config
from pocketenv_fp.errors import NotSupported, PocketenvError
from pocketenv_fp.models import Integration
from pocketenv_fp.pocketenv.decorators import checked
from pocketenv_fp.validation import Id, Name, Text

__all__ = ["create_integration", "list_integrations"]

REASON = "It has no handler for integrations."


@checked
def create_integration(
    sandbox_id: Id, name: Name, *, token: Text | None = None, config: Config | None = None
) -> Result[Integration, PocketenvError]:
    """Return Failure(NotSupported): the platform has no handler for integrations. No request is sent.

    Args:
        sandbox_id: Id of the sandbox.
        name: Name of the integration.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import pocketenv
    >>> pocketenv.create_integration("some-id", "GitHub").failure().operation
    'create_integration'
    """
    return Failure(NotSupported("create_integration", instead=REASON))


@checked
def list_integrations(
    sandbox_id: Id, *, token: Text | None = None, config: Config | None = None
) -> Result[list[Integration], PocketenvError]:
    """Return Failure(NotSupported): the platform has no handler for integrations. No request is sent.

    Args:
        sandbox_id: Id of the sandbox.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import pocketenv
    >>> pocketenv.list_integrations("some-id").failure().operation
    'list_integrations'
    """
    return Failure(NotSupported("list_integrations", instead=REASON))
