"""Actors: your own profile, other profiles, and the sandboxes of each."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config
from pocketenv_fp.errors import PocketenvError, ProfileNotFound
from pocketenv_fp.http.paging import walk
from pocketenv_fp.http.tokens import login_did
from pocketenv_fp.http.xrpc import Call, decode, query, send
from pocketenv_fp.models import Page, Profile, Sandbox, TerminalToken
from pocketenv_fp.pocketenv.decorators import checked, iterates
from pocketenv_fp.pocketenv.sandboxes import page_of_sandboxes
from pocketenv_fp.runtime.rehearsal import is_rehearsed, stand_in
from pocketenv_fp.validation import Id, Limit, Offset, Text

__all__ = ["get_profile", "get_terminal_token", "iter_sandboxes_by_actor", "list_sandboxes_by_actor", "me"]


@checked
def list_sandboxes_by_actor(
    did: Id,
    *,
    limit: Limit = 30,
    offset: Offset = 0,
    is_running: bool = False,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Page[Sandbox], PocketenvError]:
    """List the sandboxes of an actor, newest first. Returns a Page of Sandbox.

    Works without a login. Failures: InvalidInput.

    Args:
        did: DID or handle of the actor.
        limit: Maximal number of records, at least 1. Default: 30.
        offset: Number of records to skip, at least 0. Default: 0.
        is_running: True for running sandboxes only. The platform has no filter for stopped ones. Default: False.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, list_sandboxes_by_actor, me
    >>> box = create("my-box").unwrap()
    >>> me().bind(lambda my: list_sandboxes_by_actor(my.did, limit=1)).map(lambda page: page[0].id == box.id)
    <Success: True>
    """
    return send(sandboxes_of(did, limit=limit, offset=offset, is_running=is_running))


def sandboxes_of(
    did: str, *, limit: int, offset: int, is_running: bool = False, read_timeout: float | None = None
) -> Call[Page[Sandbox]]:
    """Describe the request for one page of an actor's sandboxes. ``read_timeout`` is in seconds."""
    # The platform accepts "true" as the only boolean.
    params = {"did": did, "limit": limit, "offset": offset, "isRunning": "true" if is_running else None}
    return query("actor.getActorSandboxes", page_of_sandboxes, params, login=False, read_timeout=read_timeout)


@iterates
def iter_sandboxes_by_actor(
    did: Id, *, limit: Limit = 1000, is_running: bool = False, token: Text | None = None, config: Config | None = None
) -> Iterator[Result[Sandbox, PocketenvError]]:
    """Iterate over all sandboxes of an actor. Returns an iterator of Results, and requests pages when needed.

    If a page fails, its Failure is the last item. An inconsistent list ends with a DecodeError. Works without a login.

    Args:
        did: DID or handle of the actor.
        limit: Records per request, at least 1. Default: 1000.
        is_running: True for running sandboxes only. The platform has no filter for stopped ones. Default: False.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, iter_sandboxes_by_actor, me
    >>> boxes = [create(f"box-{number}").unwrap().id for number in range(3)]
    >>> mine = [box.unwrap().id for box in iter_sandboxes_by_actor(me().unwrap().did, limit=2)]
    >>> mine == boxes[::-1]
    True
    """
    fetch = partial(list_sandboxes_by_actor, did, is_running=is_running)
    return walk("actor.getActorSandboxes", fetch, limit=limit)


def _profile(body: bytes) -> Profile | None:
    return decode(body, Profile) if decode(body, dict[str, object]) else None


def _present(subject: str, profile: Profile | None) -> Result[Profile, PocketenvError]:
    if profile is None:
        message = f"the platform has no profile for {subject}"
        return Failure(ProfileNotFound(message=message, operation="actor.getProfile"))
    return Success(profile)


@checked
def me(*, token: Text | None = None, config: Config | None = None) -> Result[Profile, PocketenvError]:
    """Return your own Profile.

    Failures: ProfileNotFound if the platform returns an empty profile, as for an expired token.

    Args:
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import me
    >>> me().map(lambda profile: profile.did.startswith("did:"))
    <Success: True>
    """
    return send(query("actor.getProfile", _profile)).bind(partial(_present, "this token"))


def own_did() -> Result[str, PocketenvError]:
    """Return the DID in the token, or that of your profile."""
    # An explanation reads no token. The platform's own tokens have a DID.
    did = stand_in("TOKEN_DID") if is_rehearsed() else login_did()
    return me().map(lambda profile: profile.did) if did is None else Success(did)


@checked
def get_profile(did: Id, *, token: Text | None = None, config: Config | None = None) -> Result[Profile, PocketenvError]:
    """Return the Profile of an actor. Works without a login.

    Failures: InvalidInput; ProfileNotFound if the platform returns an empty profile.

    Args:
        did: DID or handle of the actor.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import get_profile
    >>> get_profile("unknown.example")
    <Failure: actor.getProfile: the platform has no profile for unknown.example (200 ProfileNotFound). ...>
    """
    call = query("actor.getProfile", _profile, {"did": did}, login=False)
    return send(call).bind(partial(_present, did))


@checked
def get_terminal_token(
    *, token: Text | None = None, config: Config | None = None
) -> Result[TerminalToken, PocketenvError]:
    """Return a TerminalToken: a short-lived token for the platform's terminal service. It is masked and not pickled.

    `console` opens a terminal. Failures: those of every call.

    Args:
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import pocketenv
    >>> pocketenv.get_terminal_token()
    <Success: TerminalToken(token='***')>
    """
    return send(query("actor.getTerminalToken", partial(decode, kind=TerminalToken)))
