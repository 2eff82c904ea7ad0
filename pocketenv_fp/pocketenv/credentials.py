"""The credentials with which the platform uses your own account at a provider.

Tokens and keys are sealed on this machine. Their displayed twin is masked completely. The ids of organizations,
projects and teams are not secret and are sent unsealed.

>>> from pocketenv_fp import create
>>> create("my-box", provider="e2b", provider_credentials={"daytona_api_key": "dtn_12345"})
<Failure: provider_credentials: contains a name that e2b does not accept: it accepts e2b_api_key.>
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from returns.result import Failure, Result, Success

from pocketenv_fp.config import FromEnv
from pocketenv_fp.crypto import plain, seal
from pocketenv_fp.errors import InvalidInput, PocketenvError
from pocketenv_fp.redaction import HIDDEN
from pocketenv_fp.runtime.rehearsal import is_rehearsed, note

__all__ = ["CREDENTIALS", "Credential", "sealed_credentials"]

FIELD = "provider_credentials"


class Credential(NamedTuple):
    """One credential: its name, and the environment variables that usually contain it."""

    name: str
    variables: tuple[str, ...]
    is_secret: bool = True

    @property
    def on_the_wire(self) -> str:
        """Return its name in a request."""
        first, *rest = self.name.split("_")
        return first + "".join(map(str.capitalize, rest))

    def fields(self, value: str | FromEnv) -> Result[dict[str, str], PocketenvError]:
        """Return the request fields for a value. A secret is sealed, and has a masked twin for display."""
        name = self.on_the_wire
        clear = plain(value, f"{FIELD}[{self.name!r}]")
        if not self.is_secret:
            return clear.map(lambda text: {name: text})
        # No provider documents which part of its keys may be shown.
        twin = {f"redacted{name[0].upper()}{name[1:]}": HIDDEN}
        return clear.bind(seal).map(lambda sealed: {name: sealed, **twin})


CREDENTIALS: Mapping[str, tuple[Credential, ...]] = {
    "daytona": (
        Credential("daytona_api_key", ("DAYTONA_API_KEY",)),
        Credential("daytona_organization_id", ("DAYTONA_ORGANIZATION_ID",), is_secret=False),
    ),
    "deno": (Credential("deno_deploy_token", ("DENO_DEPLOY_TOKEN",)),),
    "e2b": (Credential("e2b_api_key", ("E2B_API_KEY",)),),
    "hopx": (Credential("hopx_api_key", ("HOPX_API_KEY",)),),
    "modal": (
        Credential("modal_token_id", ("MODAL_TOKEN_ID",)),
        Credential("modal_token_secret", ("MODAL_TOKEN_SECRET",)),
    ),
    "runloop": (Credential("runloop_api_key", ("RUNLOOP_API_KEY",)),),
    # The provider's own pages use the singular. Other tools mostly use the plural.
    "sprites": (Credential("sprite_token", ("SPRITE_TOKEN", "SPRITES_TOKEN")),),
    "vercel": (
        Credential("vercel_api_token", ("VERCEL_TOKEN",)),
        Credential("vercel_project_id", ("VERCEL_PROJECT_ID",), is_secret=False),
        Credential("vercel_team_id", ("VERCEL_TEAM_ID",), is_secret=False),
    ),
}


def sealed_credentials(
    provider: str, given: Mapping[str, str | FromEnv] | None
) -> Result[dict[str, str], PocketenvError]:
    """Return the createSandbox fields for a provider's credentials.

    With None, they are read from the environment. Failures: InvalidInput for a name that the provider does not accept,
    or a value that is empty or not set; EncryptionError.
    """
    known = {credential.name: credential for credential in CREDENTIALS.get(provider, ())}
    wanted = _usual(known) if given is None else given
    if not wanted.keys() <= known.keys():
        # The message does not name it: if names and values are swapped, the name is the secret.
        accepted = ", ".join(known) or "none"
        return Failure(InvalidInput(FIELD, f"contains a name that {provider} does not accept: it accepts {accepted}"))
    fields: dict[str, str] = {}
    for name, value in wanted.items():
        sealed = known[name].fields(value)
        if isinstance(sealed, Failure):
            return sealed
        fields |= sealed.unwrap()
    return Success(fields)


def _usual(known: Mapping[str, Credential]) -> dict[str, str | FromEnv]:
    if known and is_rehearsed():
        note(lambda: "with the credentials for the provider from the environment, if any")
        return {}
    return {
        name: FromEnv(variable)
        for name, credential in known.items()
        # The first variable that is set counts: it replaces the later ones.
        for variable in reversed(credential.variables)
        if os.environ.get(variable)
    }
