"""What a cloud asks before it lets the platform run sandboxes on somebody's account there.

Tokens and keys are sealed on this machine, and what is sent beside them to be shown later is masked whole. The ids of
organizations, projects and teams are no secrets: they are sent as they are.

>>> from pocketenv_fp import create
>>> create("my-box", provider="e2b", provider_credentials={"daytona_api_key": "dtn_12345"})
<Failure: provider_credentials: holds what e2b does not take: it takes e2b_api_key.>
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
    """One thing that a cloud asks for: its name here, and the environment variables in which its users keep it."""

    name: str
    variables: tuple[str, ...]
    is_secret: bool = True

    @property
    def on_the_wire(self) -> str:
        """Its name in a request."""
        first, *rest = self.name.split("_")
        return first + "".join(map(str.capitalize, rest))

    def fields(self, value: str | FromEnv) -> Result[dict[str, str], PocketenvError]:
        """Give what is sent for a value: sealed and with a twin to show, where it is a secret."""
        return plain(value, f"{FIELD}[{self.name!r}]").bind(self._sent)

    def _sent(self, text: str) -> Result[dict[str, str], PocketenvError]:
        name = self.on_the_wire
        if not self.is_secret:
            return Success({name: text})
        # No cloud says which part of its keys may be seen.
        twin = {f"redacted{name[0].upper()}{name[1:]}": HIDDEN}
        return seal(text).map(lambda sealed: {name: sealed, **twin})


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
    # Its own pages have the singular, what others wrote for it mostly the plural.
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
    """Give the fields of a createSandbox that hold a provider's credentials, ready to be sent.

    With None they are what the environment has of them, now. Failures: InvalidInput for one that the provider does not
    take, that is empty or not set; EncryptionError.
    """
    known = {credential.name: credential for credential in CREDENTIALS.get(provider, ())}
    wanted = _usual(known) if given is None else given
    if not wanted.keys() <= known.keys():
        # Not which one: whoever mixed up names and values would find a secret in the error.
        taken = ", ".join(known) or "none"
        return Failure(InvalidInput(FIELD, f"holds what {provider} does not take: it takes {taken}"))
    fields: dict[str, str] = {}
    for name, value in wanted.items():
        made = known[name].fields(value)
        if not isinstance(made, Success):
            return made
        fields |= made.unwrap()
    return Success(fields)


def _usual(known: Mapping[str, Credential]) -> dict[str, str | FromEnv]:
    if known and is_rehearsed():
        note(lambda: "with the credentials for the provider from the environment, if any")
        return {}
    return {
        name: FromEnv(variable)
        for name, credential in known.items()
        for variable in credential.variables
        if os.environ.get(variable)
    }
