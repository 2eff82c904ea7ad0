"""The secrets of a sandbox: environment variables that are sealed on this machine and opened only in the sandbox."""

from __future__ import annotations

from collections.abc import Iterator

from returns.result import Failure, Result

from pocketenv_fp.config import Config, FromEnv
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.models import Page, Sandbox, Secret
from pocketenv_fp.pocketenv import secrets as pocketenv
from pocketenv_fp.redaction import SecretText
from pocketenv_fp.sandbox.records import RecordKind
from pocketenv_fp.sandbox.support import unsupported
from pocketenv_fp.steps.iteration import iterates_over
from pocketenv_fp.steps.needs import Need
from pocketenv_fp.steps.operation import operation, step
from pocketenv_fp.validation import Limit, Name, Offset, Text, VariableName

__all__ = ["delete_secret", "get_secret", "iter_secrets", "list_secrets", "set_secret"]

_SECRETS = RecordKind[Secret](
    "secret", "name", pocketenv.iter_secrets, pocketenv.delete_secret, is_same_after_update=True
)


@step(Sandbox, safe=True, reads=Need.ID)
def list_secrets(
    sandbox: Sandbox,
    *,
    limit: Limit = 100,
    offset: Offset = 0,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Page[Secret], PocketenvError]:
    """List the sandbox's secrets, in no stable order. Returns a Page of Secret: names and ids, never values.

    The platform returns an empty list for a deleted sandbox: the result is then a Success without secrets. Failures:
    InvalidInput for a limit below 1 or an offset below 0.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        limit: Maximal number of records, at least 1. Default: 100.
        offset: Number of records to skip, at least 0. Default: 0.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, list_secrets
    >>> create("my-box") | list_secrets
    <Success: Page(items=(), total=0)>
    """
    return pocketenv.list_secrets(sandbox.id, limit=limit, offset=offset)


@iterates_over(Sandbox)
def iter_secrets(
    sandbox: Sandbox, *, limit: Limit = 1000, token: Text | None = None, config: Config | None = None
) -> Iterator[Result[Secret, PocketenvError]]:
    """Iterate over all secrets of the sandbox. Returns an iterator of Results, and requests pages when needed.

    It takes a Sandbox or a Result of one, and is not a step. A Failure as argument is the only item. If a page fails,
    its Failure is the last item. An inconsistent list ends with a DecodeError.

    Args:
        sandbox: The Sandbox, or a Result of one.
        limit: Records per request, at least 1. Default: 1000.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, iter_secrets, set_secret
    >>> box = create("my-box")
    >>> stored = [box | set_secret(name, "1") for name in ("A", "B", "C")]
    >>> sorted(secret.unwrap().name for secret in iter_secrets(box, limit=2))
    ['A', 'B', 'C']
    """
    return pocketenv.iter_secrets(sandbox.id, limit=limit)


@operation(Sandbox, safe=True, reads=Need.ID, record="secret")
def get_secret(
    sandbox: Sandbox, name_or_id: Name, *, token: Text | None = None, config: Config | None = None
) -> Result[Secret, PocketenvError]:
    """Find a secret of the sandbox by id, or else by name. Returns a Secret without its value.

    Failures: InvalidInput; RecordNotFound.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        name_or_id: Name or id. An id comes first.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, get_secret
    >>> (create("my-box") | get_secret("API_KEY")).failure().error
    'RecordNotFound'
    """
    return _SECRETS.of(sandbox).find(name_or_id)


@operation(Sandbox, reads=Need.ID, record="secret", looks_up_record=True)
def set_secret(
    sandbox: Sandbox,
    name: VariableName,
    value: SecretText | FromEnv,
    *,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Secret, PocketenvError]:
    """Add a secret, or change the value of an existing one. Returns its Secret: name and id, not the value.

    The value is sealed on this machine. On Cloudflare, commands see it as an environment variable after the next
    `start`. On other providers no start sets secrets, so the result is Failure(NotSupported): pass them to each command
    with ``exec(…, env={…: from_env(…)})``. A step masks a plain value when it is printed, and cannot be pickled with
    it.

    On Cloudflare, the current container inserts four spaces after every newline of a value. Pass such a value with
    ``exec(…, env={…})``.

    Failures: InvalidInput for an empty value or a wrong public key; EncryptionError; NotSupported; ServerError if the
    platform refuses it and no secret has this name.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        name: Name of the variable. The rule is that of `set_variable`.
        value: The value, or `from_env`.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, set_secret
    >>> (create("my-box") | set_secret("API_KEY", "sk-12345")).map(lambda secret: secret.name)
    <Success: API_KEY>
    >>> set_secret("API_KEY", "sk-12345")
    set_secret('API_KEY', '***')
    """
    if refusal := unsupported(sandbox, "variables", "set_secret"):
        return Failure(refusal)
    return _SECRETS.of(sandbox).set(
        name,
        add=lambda: pocketenv.add_secret(sandbox.id, name, value),
        update=lambda old: pocketenv.update_secret(old.id, name, value),
    )


@operation(Sandbox, reads=Need.ID, returns_target=True, record="secret")
def delete_secret(
    sandbox: Sandbox, name_or_id: Name, *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox, PocketenvError]:
    """Delete a secret of the sandbox, by id or else by name. Returns the Sandbox unchanged.

    Commands see it until the sandbox is stopped, because a start does not remove variables. Failures: InvalidInput;
    RecordNotFound.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        name_or_id: Name or id. An id comes first.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, delete_secret, list_secrets, set_secret
    >>> box = create("my-box")
    >>> stored = box | set_secret("OLD", "1")
    >>> (box | delete_secret("OLD") | list_secrets).map(len)
    <Success: 0>
    """
    return _SECRETS.of(sandbox).delete(name_or_id)
