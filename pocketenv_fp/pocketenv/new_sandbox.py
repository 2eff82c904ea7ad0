"""Create a sandbox completely, or not at all: a sandbox that cannot be set up is deleted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from msgspec import structs
from returns.result import Failure, Result, Success

from pocketenv_fp.errors import DecodeError, PocketenvError, RepositoryTaken, SandboxNotFound, SessionLost
from pocketenv_fp.http.paging import collected
from pocketenv_fp.http.tokens import login_did
from pocketenv_fp.http.xrpc import procedure, send
from pocketenv_fp.models import Preferences, Sandbox
from pocketenv_fp.pocketenv.actors import iter_sandboxes_by_actor, list_sandboxes_by_actor, own_did
from pocketenv_fp.pocketenv.first_values import FirstValues
from pocketenv_fp.pocketenv.preferences import difference, put_preferences
from pocketenv_fp.pocketenv.sandboxes import look, look_if_needed, remove, shown, started
from pocketenv_fp.runtime.deadline import patient, unlimited
from pocketenv_fp.runtime.scope import scope
from pocketenv_fp.runtime.signals import guarded
from pocketenv_fp.runtime.turns import Turns

__all__ = ["NewSandbox", "noting"]

CREATE = "sandbox.createSandbox"
# The platform's clock may be this many seconds behind this machine's.
CLOCKS_APART = 30.0

# When two threads create with one repo, the second must see the first one's sandbox as an older one.
_turns = Turns()

_made: ContextVar[list[Sandbox] | None] = ContextVar("made", default=None)


def noting(made: list[Sandbox]) -> AbstractContextManager[None]:
    """Append each sandbox that a `create` inside the block makes to ``made``, at once. Older sandboxes are not added."""
    return scope(_made, made)


class NewSandbox:
    """One call of `create`, from its arguments to the finished Sandbox.

    ``clone`` is the last request, in place of a look at the sandbox.
    """

    def __init__(
        self,
        wanted: Preferences,
        values: FirstValues,
        clone: Callable[[Sandbox], Result[Sandbox, PocketenvError]] | None,
        *,
        reuse: bool,
    ) -> None:
        self._wanted = wanted
        self._values = values
        self._last = clone or look_if_needed
        self._reuse = reuse
        self._is_shared = False
        self._there = frozenset[str]()
        self._made: Sandbox | None = None

    def run(self, body: Mapping[str, object], shared_by: tuple[str, str] | None) -> Result[Sandbox, PocketenvError]:
        """Create the sandbox and set it up. ``shared_by`` is repository and base, if an older sandbox may have them."""
        if shared_by is None:
            return self._whole_or_none(self._created, body)
        # Hold the turn until done: another thread's sandbox counts as existing only once its creation succeeded.
        with _turns.of(shared_by, CREATE) as late:
            return Failure(late) if late else self._whole_or_none(self._created_or_older, body)

    def _whole_or_none(
        self, created: Callable[[Mapping[str, object]], Result[Sandbox, PocketenvError]], body: Mapping[str, object]
    ) -> Result[Sandbox, PocketenvError]:
        try:
            result = created(body).bind(self._furnished)
        except BaseException as stopped:
            self._undo(stopped)
            raise
        if isinstance(result, Failure):
            self._undo(result.failure())
        return result

    def _created(self, body: Mapping[str, object]) -> Result[Sandbox, PocketenvError]:
        # An interrupt or deadline before the response would leave a sandbox with an unknown id.
        began = time.time()
        with guarded(), patient():
            created = send(procedure(CREATE, self._noted, body=body))
            # Look for the leftover sandbox inside `guarded`, so that an interrupt cannot come between.
            error = created.swap().value_or(None)
            if isinstance(error, SessionLost):
                return Failure(_without_leftover(error, str(body["provider"]), began))
            return created

    def _noted(self, body: bytes) -> Sandbox:
        # Recorded at once: an interrupt may come at any moment.
        box = shown(body)
        # The answer for an older sandbox contains its sizes. The answer for a new one does not.
        is_older = box.id in self._there or (self._is_shared and box.vcpus is not None)
        if not is_older:
            self._made = box
            if (noted := _made.get()) is not None:
                noted.append(box)
        return box

    def _created_or_older(self, body: Mapping[str, object]) -> Result[Sandbox, PocketenvError]:
        self._is_shared = True
        # The response does not say whether the sandbox is new. Compare with the sandboxes from before.
        mine = own_did()
        there = mine if isinstance(mine, Failure) else collected(iter_sandboxes_by_actor(mine.unwrap()))
        if isinstance(there, Failure):
            return there
        self._there = frozenset(box.id for box in there.unwrap())
        return self._created(body)

    def _furnished(self, box: Sandbox) -> Result[Sandbox, PocketenvError]:
        if self._made is None:
            return self._older(box)
        # putPreferences may delete an absent repository, so it is sent again.
        settings = put_preferences(box.id, **structs.asdict(self._wanted))
        values = settings if isinstance(settings, Failure) else self._values.set_all(box.id, is_new=True)
        return values if isinstance(values, Failure) else self._last(self._known(box)).bind(self._as_wanted)

    def _older(self, box: Sandbox) -> Result[Sandbox, PocketenvError]:
        if box.name != self._wanted.name and not self._reuse:
            message = f"your sandbox {box.name} has this repository and base"
            return Failure(RepositoryTaken(message=message, operation=CREATE))
        answer = self._values.set_all(box.id, is_new=False)
        return answer if isinstance(answer, Failure) else look(box)

    def _known(self, box: Sandbox) -> Sandbox:
        # The rename of a new sandbox of one's own fails only with an error. So a pipeline may leave the lookup out.
        wanted = self._wanted
        fields = {"name": wanted.name or box.name, "description": wanted.description, "topics": wanted.topics}
        return structs.replace(started(box), **fields)

    def _as_wanted(self, box: Sandbox) -> Result[Sandbox, PocketenvError]:
        if missing := difference(structs.replace(self._wanted, repo=None), box):
            return Failure(DecodeError("sandbox.getSandbox", f"the sandbox does not have the {missing} that was set"))
        return Success(box)

    def _undo(self, error: BaseException) -> None:
        if self._made is None:
            return
        with guarded(), unlimited():
            deletion = remove(self._made)
            is_gone = isinstance(deletion, Success) or _is_gone(deletion) or _is_gone(look(self._made))
        if is_gone:
            if (noted := _made.get()) is not None:
                noted.remove(self._made)
            return
        error.add_note(
            f"The sandbox {self._made.id}, which this call created, may still exist. "
            f"Its deletion failed: {deletion.failure()}"
        )


def _is_gone(result: Result[Any, PocketenvError]) -> bool:
    return isinstance(result.swap().value_or(None), SandboxNotFound)


def _without_leftover(error: SessionLost, provider: str, began: float) -> PocketenvError:
    """Delete the sandbox that the platform made before it found no session. Returns an error that names what is left.

    The sandbox has a random name and no at-URI.
    """
    with unlimited():
        left = _leftovers(provider, began - CLOCKS_APART)
        # With several candidates, only their owner knows which program made which.
        is_gone = len(left) == 1 and isinstance(remove(left[0]), Success)
    if not left:
        error.add_note(
            "The platform may have created a sandbox with a random name and without an at-URI: "
            "look for it in your list."
        )
    return error if is_gone or not left else replace(error, left=", ".join(box.id for box in left))


def _leftovers(provider: str, since: float) -> list[Sandbox]:
    # `me` needs a session, so the owner's DID comes from the token.
    did = login_did()
    if did is None:
        return []
    newest = list_sandboxes_by_actor(did).map(lambda page: page.items).value_or(())
    unnamed = (box for box in newest if box.uri is None and box.provider == provider)
    return [box for box in unnamed if box.created_at is not None and box.created_at.timestamp() >= since]
