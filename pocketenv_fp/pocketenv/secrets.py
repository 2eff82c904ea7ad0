"""Secrets of a sandbox, by ids."""

from __future__ import annotations

import msgspec
from returns.result import Result

from pocketenv_fp.arguments import Id, Limit, Name, Offset, Text, checked
from pocketenv_fp.config import Config, FromEnv
from pocketenv_fp.crypto import plain, seal
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.models import Secret
from pocketenv_fp.xrpc import decode, nothing, procedure, query, send

__all__ = ["add_secret", "delete_secret", "list_secrets"]


class _Secrets(msgspec.Struct):
    secrets: list[Secret]


def _secrets(body: bytes) -> list[Secret]:
    return decode(body, _Secrets).secrets


@checked
def list_secrets(
    sandbox_id: Id,
    *,
    limit: Limit = 100,
    offset: Offset = 0,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[list[Secret], PocketenvError]:
    """List a sandbox's secrets, in no stable order. Gives a list of Secret: names and ids, never values.

    It takes the id: for a name the platform lists nothing. Failures: InvalidInput.

    >>> from pocketenv_fp import create, pocketenv
    >>> box = create("my-box").unwrap()
    >>> pocketenv.add_secret(box.id, "API_KEY", "sk-12345")
    <Success: None>
    >>> pocketenv.list_secrets(box.id).map(lambda secrets: [secret.name for secret in secrets])
    <Success: ['API_KEY']>
    """
    params = {"sandboxId": sandbox_id, "limit": limit, "offset": offset}
    return send(query("secret.getSecrets", _secrets, params), token=token, config=config)


@checked
def add_secret(
    sandbox_id: Id,
    name: Name,
    value: str | FromEnv,
    *,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[None, PocketenvError]:
    """Add a secret, sealed before it leaves this machine. Gives None: the platform tells no id.

    It is in the environment of commands from the next start on. Failures: InvalidInput for an empty value or a public
    key that is none; EncryptionError; ServerError for a name that the sandbox has already.

    >>> from pocketenv_fp import create, pocketenv
    >>> pocketenv.add_secret(create("my-box").unwrap().id, "API_KEY", "")
    <Failure: value: is empty.>
    """

    def add(sealed: str) -> Result[None, PocketenvError]:
        body = {"secret": {"sandboxId": sandbox_id, "name": name, "value": sealed}}
        return send(procedure("secret.addSecret", nothing, body=body), token=token, config=config)

    return plain(value, "value").bind(lambda text: seal(text, config=config)).bind(add)


@checked
def delete_secret(id: Id, *, token: Text | None = None, config: Config | None = None) -> Result[None, PocketenvError]:
    """Delete the secret with this id. Gives None. Failures: InvalidInput, ApiError.

    >>> from pocketenv_fp import create, pocketenv, sandbox
    >>> (create("my-box") | sandbox.set_secret("OLD", "1")).bind(lambda old: pocketenv.delete_secret(old.id))
    <Success: None>
    """
    return send(procedure("secret.deleteSecret", nothing, {"id": id}), token=token, config=config)
