"""Secrets of a sandbox, by id."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from returns.result import Result

from pocketenv_fp.config import Config, FromEnv
from pocketenv_fp.crypto import plain, seal
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.models import Page, Secret
from pocketenv_fp.pocketenv.decorators import checked, iterates
from pocketenv_fp.pocketenv.records import StoredRecords
from pocketenv_fp.redaction import SecretText
from pocketenv_fp.validation import Id, Limit, Offset, Text, VariableName

__all__ = ["add_secret", "delete_secret", "get_secret", "iter_secrets", "list_secrets", "update_secret"]

_SECRETS = StoredRecords("secret", Secret)


def _sealed(name: str, value: SecretText | FromEnv) -> Result[dict[str, str], PocketenvError]:
    """Return the fields of a secret, with the value sealed on this machine."""
    sealed = plain(value, "value").bind(seal)
    return sealed.map(lambda seal_of_value: {"name": name, "value": seal_of_value})


@checked
def list_secrets(
    sandbox_id: Id,
    *,
    limit: Limit = 100,
    offset: Offset = 0,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Page[Secret], PocketenvError]:
    """List a sandbox's secrets, in no stable order. Returns a Page of Secret: names and ids, never values.

    Pass the id of the sandbox. For a name, the platform returns an empty list. Failures: InvalidInput.

    Args:
        sandbox_id: Id of the sandbox.
        limit: Maximal number of records, at least 1. Default: 100.
        offset: Number of records to skip, at least 0. Default: 0.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, pocketenv
    >>> box = create("my-box").unwrap()
    >>> pocketenv.add_secret(box.id, "API_KEY", "sk-12345")
    <Success: None>
    >>> pocketenv.list_secrets(box.id).map(lambda secrets: [secret.name for secret in secrets])
    <Success: ['API_KEY']>
    """
    return _SECRETS.page(sandbox_id, limit, offset)


@iterates
def iter_secrets(
    sandbox_id: Id, *, limit: Limit = 1000, token: Text | None = None, config: Config | None = None
) -> Iterator[Result[Secret, PocketenvError]]:
    """Iterate over all secrets of a sandbox. Returns an iterator of Results, and requests pages when needed.

    If a page fails, its Failure is the last item. An inconsistent list ends with a DecodeError.

    Args:
        sandbox_id: Id of the sandbox.
        limit: Records per request, at least 1. Default: 1000.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, pocketenv
    >>> box = create("my-box").unwrap()
    >>> added = [pocketenv.add_secret(box.id, name, "1") for name in ("A", "B", "C")]
    >>> sorted(secret.unwrap().name for secret in pocketenv.iter_secrets(box.id, limit=2))
    ['A', 'B', 'C']
    """
    return _SECRETS.each(partial(list_secrets, sandbox_id), limit)


@checked
def get_secret(id: Id, *, token: Text | None = None, config: Config | None = None) -> Result[Secret, PocketenvError]:
    """Look up the secret with this id. Returns a Secret without its value. Failures: InvalidInput; RecordNotFound.

    Args:
        id: Id of the secret.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, pocketenv, sandbox
    >>> stored = create("my-box") | sandbox.set_secret("API_KEY", "sk-12345")
    >>> pocketenv.get_secret(stored.unwrap().id).map(lambda secret: secret.name)
    <Success: API_KEY>
    >>> pocketenv.get_secret("no-such-id")
    <Failure: secret.getSecret: there is no secret with the id 'no-such-id' (404 RecordNotFound). ...>
    """
    return _SECRETS.get(id)


@checked
def add_secret(
    sandbox_id: Id,
    name: VariableName,
    value: SecretText | FromEnv,
    *,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[None, PocketenvError]:
    """Add a secret, and seal it on this machine. Returns None: the platform returns no id.

    On Cloudflare, commands see it as an environment variable after the next start. **On other providers no command sees
    it.** This function knows only the id, so it does not check the provider: `set_secret` does. The platform does not
    check the owner of the sandbox.

    Failures: InvalidInput for an empty value or a wrong public key; EncryptionError; ServerError for a name that is
    taken.

    Args:
        sandbox_id: Id of the sandbox.
        name: Name of the variable. The rule is that of `set_variable`.
        value: The value, or `from_env`.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, pocketenv
    >>> pocketenv.add_secret(create("my-box").unwrap().id, "API_KEY", "")
    <Failure: value: is empty.>
    """
    return _sealed(name, value).bind(partial(_SECRETS.add, sandbox_id))


@checked
def update_secret(
    id: Id,
    name: VariableName,
    value: SecretText | FromEnv,
    *,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[None, PocketenvError]:
    """Change the name and the value of the secret with this id. Returns None. The value is sealed on this machine.

    When commands see it: as for `add_secret`. Failures: the same, and RecordNotFound for an unknown id.

    Args:
        id: Id of the secret.
        name: New name of the variable.
        value: The value, or `from_env`.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, pocketenv, sandbox
    >>> stored = create("my-box") | sandbox.set_secret("API_KEY", "sk-12345")
    >>> stored.bind(lambda secret: pocketenv.update_secret(secret.id, "API_KEY", "sk-67890"))
    <Success: None>
    """
    return _sealed(name, value).bind(partial(_SECRETS.update, id))


@checked
def delete_secret(id: Id, *, token: Text | None = None, config: Config | None = None) -> Result[None, PocketenvError]:
    """Delete the secret with this id. Returns None. Failures: InvalidInput; RecordNotFound for an unknown id.

    Args:
        id: Id of the secret.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, pocketenv, sandbox
    >>> (create("my-box") | sandbox.set_secret("OLD", "1")).bind(lambda old: pocketenv.delete_secret(old.id))
    <Success: None>
    """
    return _SECRETS.delete(id)
