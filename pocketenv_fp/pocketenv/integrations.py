"""Integrations of a sandbox, by its id. What is here follows the platform's contract and was never seen answered."""

from __future__ import annotations

from returns.result import Result

from pocketenv_fp.arguments import Id, Name, Text, checked
from pocketenv_fp.config import Config
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.models import Integration
from pocketenv_fp.xrpc import decode, procedure, query, send

__all__ = ["create_integration", "list_integrations"]


def _integration(body: bytes) -> Integration:
    return decode(body, Integration)


def _integrations(body: bytes) -> list[Integration]:
    return decode(body, list[Integration])


@checked
def create_integration(
    sandbox_id: Id, name: Name, *, token: Text | None = None, config: Config | None = None
) -> Result[Integration, PocketenvError]:
    """Connect a sandbox with another service, such as GitHub. Gives the Integration, whose web hook is never shown.

    The platform's contract has this method, but nobody saw it answer: what is read is what the contract says. On the
    embedded platform the web hook leads nowhere. Failures: InvalidInput; ApiError (404) where you have no such sandbox.

    >>> from pocketenv_fp import create, pocketenv
    >>> pocketenv.create_integration(create("my-box").unwrap().id, "GitHub")
    <Success: Integration(id='...', name='GitHub', webhook_url='***', ...)>
    """
    asked = procedure("sandbox.createIntegration", _integration, body={"id": sandbox_id, "name": name})
    return send(asked, token=token, config=config)


@checked
def list_integrations(
    sandbox_id: Id, *, token: Text | None = None, config: Config | None = None
) -> Result[list[Integration], PocketenvError]:
    """List what a sandbox is connected with. Gives a list of Integration. As `create_integration`, it was never seen.

    Failures: InvalidInput; ApiError (404) where you have no such sandbox.

    >>> from pocketenv_fp import create, pocketenv
    >>> pocketenv.list_integrations(create("my-box").unwrap().id)
    <Success: []>
    """
    return send(query("sandbox.getIntegrations", _integrations, {"id": sandbox_id}), token=token, config=config)
