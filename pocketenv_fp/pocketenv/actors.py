"""People: who you are, who others are, and what they have."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config
from pocketenv_fp.errors import PocketenvError, ProfileNotFound
from pocketenv_fp.http.paging import walk
from pocketenv_fp.http.xrpc import Call, decode, query, send
from pocketenv_fp.models import Page, Profile, Sandbox, TerminalToken
from pocketenv_fp.pocketenv.decorators import checked, iterates
from pocketenv_fp.pocketenv.sandboxes import page_of_sandboxes
from pocketenv_fp.validation import Id, Limit, Offset, Text

__all__ = [
    "get_profile",
    "get_terminal_token",
    "iter_sandboxes_by_actor",
    "list_sandboxes_by_actor",
    "me",
    "sandboxes_of",
]


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
    """List the sandboxes of an actor, by DID or handle, newest first. Gives a Page of Sandbox.

    With ``is_running`` only those that run are listed and counted, else all: the platform has no filter for those
    that do not run. Works without a login. Failures: InvalidInput.

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
    # The platform takes no other boolean than "true".
    params = {"did": did, "limit": limit, "offset": offset, "isRunning": "true" if is_running else None}
    return query("actor.getActorSandboxes", page_of_sandboxes, params, login=False, read_timeout=read_timeout)


@iterates
def iter_sandboxes_by_actor(
    did: Id, *, limit: Limit = 100, is_running: bool = False, token: Text | None = None, config: Config | None = None
) -> Iterator[Result[Sandbox, PocketenvError]]:
    """Give an iterator of all sandboxes of an actor, each a Success, asked for ``limit`` at a time when needed.

    With ``is_running`` only those that run. A page that fails is the last item, as its Failure; so is a list that does
    not add up, as a DecodeError. Works without a login.

    >>> from pocketenv_fp import create, iter_sandboxes_by_actor, me
    >>> boxes = [create(f"box-{number}").unwrap().id for number in range(3)]
    >>> mine = [box.unwrap().id for box in iter_sandboxes_by_actor(me().unwrap().did, limit=2)]
    >>> mine == boxes[::-1]
    True
    """

    def fetch(limit: int, offset: int) -> Result[Page[Sandbox], PocketenvError]:
        return list_sandboxes_by_actor(did, limit=limit, offset=offset, is_running=is_running)

    return walk("actor.getActorSandboxes", fetch, limit=limit)


def _profile(body: bytes) -> Profile | None:
    return decode(body, Profile) if decode(body, dict[str, object]) else None


def _known(who: str) -> Callable[[Profile | None], Result[Profile, PocketenvError]]:
    def known(profile: Profile | None) -> Result[Profile, PocketenvError]:
        if profile is None:
            return Failure(
                ProfileNotFound(message=f"the platform has no profile for {who}", operation="actor.getProfile")
            )
        return Success(profile)

    return known


@checked
def me(*, token: Text | None = None, config: Config | None = None) -> Result[Profile, PocketenvError]:
    """Give your own Profile.

    Failures: ProfileNotFound where the platform answers with nothing, as it does for an expired token.

    >>> from pocketenv_fp import me
    >>> me().map(lambda profile: profile.did.startswith("did:"))
    <Success: True>
    """
    return send(query("actor.getProfile", _profile)).bind(_known("this token"))


@checked
def get_profile(did: Id, *, token: Text | None = None, config: Config | None = None) -> Result[Profile, PocketenvError]:
    """Give the Profile of an actor, by DID or handle. Works without a login.

    Failures: InvalidInput; ProfileNotFound where the platform answers with nothing.

    >>> from pocketenv_fp import get_profile
    >>> get_profile("nobody.example")
    <Failure: actor.getProfile: the platform has no profile for nobody.example (200 ProfileNotFound). ...>
    """
    asked = query("actor.getProfile", _profile, {"did": did}, login=False)
    return send(asked).bind(_known(did))


def _terminal_token(body: bytes) -> TerminalToken:
    return decode(body, TerminalToken)


@checked
def get_terminal_token(
    *, token: Text | None = None, config: Config | None = None
) -> Result[TerminalToken, PocketenvError]:
    """Give a TerminalToken: a short-lived token for the platform's terminal service, never shown and never pickled.

    The embedded platform has no terminal service that would take it. Failures: those of every call.

    >>> from pocketenv_fp import pocketenv
    >>> pocketenv.get_terminal_token()
    <Success: TerminalToken(token='***')>
    """
    return send(query("actor.getTerminalToken", _terminal_token))
