"""What a sandbox is connected with. It follows the platform's contract and was never seen answered."""

from __future__ import annotations

from returns.result import Result

from pocketenv_fp import pocketenv
from pocketenv_fp.arguments import Name, Text
from pocketenv_fp.config import Config
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.models import Integration, Sandbox
from pocketenv_fp.operation import operation, step

__all__ = ["create_integration", "list_integrations"]


@operation(Sandbox)
def create_integration(
    sandbox: Sandbox, name: Name, *, token: Text | None = None, config: Config | None = None
) -> Result[Integration, PocketenvError]:
    """Connect the sandbox with another service, such as GitHub. Gives the Integration, whose web hook is never shown.

    The platform's contract has this method, but nobody saw it answer: what is read is what the contract says. On the
    embedded platform the web hook leads nowhere. Failures: InvalidInput; ApiError (404) where the sandbox is not yours.

    >>> from pocketenv_fp import create, create_integration
    >>> (create("my-box") | create_integration("GitHub")).map(lambda made: made.name)
    <Success: GitHub>
    """
    return pocketenv.create_integration(sandbox.id, name, token=token, config=config)


@step(Sandbox, safe=True)
def list_integrations(
    sandbox: Sandbox, *, token: Text | None = None, config: Config | None = None
) -> Result[list[Integration], PocketenvError]:
    """List what the sandbox is connected with. Gives a list of Integration. As `create_integration`, it was never seen.

    >>> from pocketenv_fp import create, create_integration, list_integrations
    >>> box = create("my-box")
    >>> made = box | create_integration("GitHub")
    >>> (box | list_integrations).map(lambda all_of_them: all_of_them == [made.unwrap()])
    <Success: True>
    """
    return pocketenv.list_integrations(sandbox.id, token=token, config=config)
