"""A sandbox's secrets: environment variables that are sealed on this machine and opened only in the sandbox."""

from __future__ import annotations

from returns.result import Failure, Result, Success

from pocketenv_fp import pocketenv
from pocketenv_fp.arguments import Id, Limit, Name, Offset, Text
from pocketenv_fp.config import Config, FromEnv
from pocketenv_fp.errors import DecodeError, PocketenvError
from pocketenv_fp.models import Sandbox, Secret
from pocketenv_fp.operation import operation, step

__all__ = ["delete_secret", "list_secrets", "set_secret"]

PAGE = 100


@step(Sandbox)
def list_secrets(
    sandbox: Sandbox,
    *,
    limit: Limit = PAGE,
    offset: Offset = 0,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[list[Secret], PocketenvError]:
    """List the sandbox's secrets, in no stable order. Gives a list of Secret: names and ids, never values.

    >>> from pocketenv_fp import create, list_secrets
    >>> create("my-box") | list_secrets
    <Success: []>
    """
    return pocketenv.list_secrets(sandbox.id, limit=limit, offset=offset, token=token, config=config)


@operation(Sandbox, secret=("value",))
def set_secret(
    sandbox: Sandbox,
    name: Name,
    value: str | FromEnv,
    *,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Secret, PocketenvError]:
    """Add a secret, sealed before it leaves this machine. Gives its Secret: the name and the id, not the value.

    It is in the environment of commands from the next start on. ``value`` is a text, or `from_env` of a variable to
    read when the step runs: a step with a text in it shows it masked and refuses to be pickled.

    Failures: InvalidInput for an empty value or a public key that is none; EncryptionError; ServerError for a name that
    the sandbox has already.

    >>> from pocketenv_fp import create, set_secret
    >>> (create("my-box") | set_secret("API_KEY", "sk-12345")).map(lambda secret: secret.name)
    <Success: API_KEY>
    >>> set_secret("API_KEY", "sk-12345")
    set_secret('API_KEY', '***')
    """
    added = pocketenv.add_secret(sandbox.id, name, value, token=token, config=config)
    return added.bind(lambda _: _named(sandbox, name, token, config))


def _named(
    sandbox: Sandbox, name: str, token: str | None, config: Config | None, offset: int = 0
) -> Result[Secret, PocketenvError]:
    # Adding tells no id, so the record is looked up, page by page.
    def pick(secrets: list[Secret]) -> Result[Secret, PocketenvError]:
        for secret in secrets:
            if secret.name == name:
                return Success(secret)
        if len(secrets) < PAGE:
            return Failure(DecodeError("secret.getSecrets", "the secret that was just added is not in the list"))
        return _named(sandbox, name, token, config, offset + PAGE)

    listed = pocketenv.list_secrets(sandbox.id, limit=PAGE, offset=offset, token=token, config=config)
    return listed.bind(pick)


@operation(Sandbox)
def delete_secret(
    sandbox: Sandbox, id: Id, *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox, PocketenvError]:
    """Delete the secret with this id. Gives the Sandbox as it was given. Failures: InvalidInput, ApiError.

    >>> from pocketenv_fp import create, delete_secret, list_secrets, set_secret
    >>> box = create("my-box")
    >>> old = (box | set_secret("OLD", "1")).unwrap()
    >>> box | delete_secret(old.id) | list_secrets
    <Success: []>
    """
    return pocketenv.delete_secret(id, token=token, config=config).map(lambda _: sandbox)
