"""Secrets of a sandbox, by ids."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from returns.result import Result

from pocketenv_fp.config import Config, FromEnv
from pocketenv_fp.crypto import plain, seal
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.http.paging import walk
from pocketenv_fp.http.xrpc import nothing, procedure, query, send
from pocketenv_fp.models import Page, Secret
from pocketenv_fp.pocketenv.decorators import checked, iterates
from pocketenv_fp.pocketenv.records import known, one_of, page_of
from pocketenv_fp.validation import Id, Limit, Offset, Text, VariableName

__all__ = ["add_secret", "delete_secret", "get_secret", "iter_secrets", "list_secrets", "update_secret"]

_page = page_of("secrets", Secret)
_one = one_of("secret", Secret)


@checked
def list_secrets(
    sandbox_id: Id,
    *,
    limit: Limit = 100,
    offset: Offset = 0,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Page[Secret], PocketenvError]:
    """List a sandbox's secrets, in no stable order. Gives a Page of Secret: names and ids, never values.

    It takes the id: for a name the platform lists nothing. Failures: InvalidInput.

    >>> from pocketenv_fp import create, pocketenv
    >>> box = create("my-box").unwrap()
    >>> pocketenv.add_secret(box.id, "API_KEY", "sk-12345")
    <Success: None>
    >>> pocketenv.list_secrets(box.id).map(lambda secrets: [secret.name for secret in secrets])
    <Success: ['API_KEY']>
    """
    params = {"sandboxId": sandbox_id, "limit": limit, "offset": offset}
    return send(query("secret.getSecrets", _page, params))


@iterates
def iter_secrets(
    sandbox_id: Id, *, limit: Limit = 100, token: Text | None = None, config: Config | None = None
) -> Iterator[Result[Secret, PocketenvError]]:
    """Give an iterator of all of a sandbox's secrets, each a Success, asked for ``limit`` at a time when needed.

    A page that fails is the last item, as its Failure; so is a list that does not add up, as a DecodeError.

    >>> from pocketenv_fp import create, pocketenv
    >>> box = create("my-box").unwrap()
    >>> added = [pocketenv.add_secret(box.id, name, "1") for name in ("A", "B", "C")]
    >>> sorted(secret.unwrap().name for secret in pocketenv.iter_secrets(box.id, limit=2))
    ['A', 'B', 'C']
    """
    fetch = partial(list_secrets, sandbox_id)
    return walk("secret.getSecrets", fetch, limit=limit)


@checked
def get_secret(id: Id, *, token: Text | None = None, config: Config | None = None) -> Result[Secret, PocketenvError]:
    """Give the Secret with this id: its name, never its value. Failures: InvalidInput; RecordNotFound for none.

    >>> from pocketenv_fp import create, pocketenv, sandbox
    >>> stored = create("my-box") | sandbox.set_secret("API_KEY", "sk-12345")
    >>> pocketenv.get_secret(stored.unwrap().id).map(lambda secret: secret.name)
    <Success: API_KEY>
    >>> pocketenv.get_secret("no-such-id")
    <Failure: secret.getSecret: there is no secret with the id 'no-such-id' (404 RecordNotFound). ...>
    """
    return send(query("secret.getSecret", _one, {"id": id})).bind(known("secret", id))


@checked
def add_secret(
    sandbox_id: Id,
    name: VariableName,
    value: str | FromEnv,
    *,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[None, PocketenvError]:
    """Add a secret, sealed before it leaves this machine. Returns None: the platform answers no id.

    On Cloudflare, commands have it in their environment from the next start on. **On the other providers it reaches no
    command**: only the id is known here, so that is not checked, as `set_secret` does. The platform does not check whose the sandbox is. Failures: InvalidInput for
    an empty value or a public key that is none; EncryptionError; ServerError for a name that the sandbox has already.

    >>> from pocketenv_fp import create, pocketenv
    >>> pocketenv.add_secret(create("my-box").unwrap().id, "API_KEY", "")
    <Failure: value: is empty.>
    """

    def add(sealed: str) -> Result[None, PocketenvError]:
        body = {"secret": {"sandboxId": sandbox_id, "name": name, "value": sealed}}
        return send(procedure("secret.addSecret", nothing, body=body))

    return plain(value, "value").bind(seal).bind(add)


@checked
def update_secret(
    id: Id,
    name: VariableName,
    value: str | FromEnv,
    *,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[None, PocketenvError]:
    """Change the name and the value of the secret with this id, sealed before it leaves this machine. Returns None.

    Commands have it as `add_secret` says. Failures: as there, and ApiError (404) where there is no such secret.

    >>> from pocketenv_fp import create, pocketenv, sandbox
    >>> stored = create("my-box") | sandbox.set_secret("API_KEY", "sk-12345")
    >>> stored.bind(lambda secret: pocketenv.update_secret(secret.id, "API_KEY", "sk-67890"))
    <Success: None>
    """

    def update(sealed: str) -> Result[None, PocketenvError]:
        body = {"id": id, "secret": {"name": name, "value": sealed}}
        return send(procedure("secret.updateSecret", nothing, body=body))

    return plain(value, "value").bind(seal).bind(update)


@checked
def delete_secret(id: Id, *, token: Text | None = None, config: Config | None = None) -> Result[None, PocketenvError]:
    """Delete the secret with this id. Gives None. Failures: InvalidInput; ApiError (404) where there is none.

    >>> from pocketenv_fp import create, pocketenv, sandbox
    >>> (create("my-box") | sandbox.set_secret("OLD", "1")).bind(lambda old: pocketenv.delete_secret(old.id))
    <Success: None>
    """
    return send(procedure("secret.deleteSecret", nothing, {"id": id}))
