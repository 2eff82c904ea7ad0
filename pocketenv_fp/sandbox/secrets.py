"""A sandbox's secrets: environment variables that are sealed on this machine and opened only in the sandbox."""

from __future__ import annotations

from collections.abc import Iterator

from returns.result import Result

from pocketenv_fp import pocketenv
from pocketenv_fp.config import Config, FromEnv
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.models import Page, Sandbox, Secret
from pocketenv_fp.sandbox.records import Kind
from pocketenv_fp.sandbox.support import supported
from pocketenv_fp.steps.iteration import iterates_over
from pocketenv_fp.steps.operation import operation, step
from pocketenv_fp.validation import Limit, Name, Offset, Text, VariableName

__all__ = ["delete_secret", "get_secret", "iter_secrets", "list_secrets", "set_secret"]

_SECRETS = Kind[Secret]("secret", "name", pocketenv.iter_secrets, pocketenv.delete_secret)


@step(Sandbox, safe=True)
def list_secrets(
    sandbox: Sandbox,
    *,
    limit: Limit = 100,
    offset: Offset = 0,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Page[Secret], PocketenvError]:
    """List the sandbox's secrets, in no stable order. Gives a Page of Secret: names and ids, never values.

    >>> from pocketenv_fp import create, list_secrets
    >>> create("my-box") | list_secrets
    <Success: Page(items=(), total=0)>
    """
    return pocketenv.list_secrets(sandbox.id, limit=limit, offset=offset)


@iterates_over(Sandbox)
def iter_secrets(
    sandbox: Sandbox, *, limit: Limit = 100, token: Text | None = None, config: Config | None = None
) -> Iterator[Result[Secret, PocketenvError]]:
    """Give an iterator of all the sandbox's secrets, each a Success, asked for ``limit`` at a time when needed.

    It takes a Sandbox or a Result of one, whose Failure is then the one item; it is no step. A page that fails is the
    last item, as its Failure; so is a list that does not add up, as a DecodeError.

    >>> from pocketenv_fp import create, iter_secrets, set_secret
    >>> box = create("my-box")
    >>> stored = [box | set_secret(name, "1") for name in ("A", "B", "C")]
    >>> sorted(secret.unwrap().name for secret in iter_secrets(box, limit=2))
    ['A', 'B', 'C']
    """
    return pocketenv.iter_secrets(sandbox.id, limit=limit)


@operation(Sandbox, safe=True)
def get_secret(
    sandbox: Sandbox, name_or_id: Name, *, token: Text | None = None, config: Config | None = None
) -> Result[Secret, PocketenvError]:
    """Give the sandbox's Secret with this id, or else with this name: never its value.

    Failures: InvalidInput; RecordNotFound where the sandbox has none.

    >>> from pocketenv_fp import create, get_secret
    >>> (create("my-box") | get_secret("API_KEY")).failure().error
    'RecordNotFound'
    """
    return _SECRETS.of(sandbox).find(name_or_id)


@operation(Sandbox, secret=("value",))
def set_secret(
    sandbox: Sandbox,
    name: VariableName,
    value: str | FromEnv,
    *,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Secret, PocketenvError]:
    """Add a secret, or change the value of the one with this name, sealed before it leaves this machine.

    Returns its Secret: the name and the id, not the value. Commands have it in their environment from the next `start`
    on, on Cloudflare only. On the nine other providers no start sets secrets, so this is NotSupported there: hand them
    to each command, with ``exec(…, env={…: from_env(…)})``. Names have the rule of `set_variable`.

    ``value`` is a text, or `from_env` of a variable to read when the step runs: a step with a text in it shows it
    masked and refuses to be pickled.
    On Cloudflare, the platform's present container puts four spaces behind every line break in a value: hand such a
    value to commands with ``exec(…, env={…})``.

    Failures: InvalidInput for an empty value or a public key that is none; EncryptionError; NotSupported; ServerError
    where the platform refuses it and the sandbox has no secret of this name.

    >>> from pocketenv_fp import create, set_secret
    >>> (create("my-box") | set_secret("API_KEY", "sk-12345")).map(lambda secret: secret.name)
    <Success: API_KEY>
    >>> set_secret("API_KEY", "sk-12345")
    set_secret('API_KEY', '***')
    """
    return supported(sandbox, "variables", "set_secret").bind(
        lambda _: _SECRETS.of(sandbox).set(
            name,
            add=lambda: pocketenv.add_secret(sandbox.id, name, value),
            update=lambda old: pocketenv.update_secret(old.id, name, value),
        )
    )


@operation(Sandbox)
def delete_secret(
    sandbox: Sandbox, name_or_id: Name, *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox, PocketenvError]:
    """Delete the sandbox's secret with this id, or else with this name. Gives the Sandbox as it was given.

    Commands keep it until the sandbox is stopped: a start sets what is stored, and takes nothing away. Failures:
    InvalidInput; RecordNotFound where the sandbox has none.

    >>> from pocketenv_fp import create, delete_secret, list_secrets, set_secret
    >>> box = create("my-box")
    >>> stored = box | set_secret("OLD", "1")
    >>> (box | delete_secret("OLD") | list_secrets).map(len)
    <Success: 0>
    """
    return _SECRETS.of(sandbox).delete(name_or_id)
