"""Create a sandbox completely, or not at all: a sandbox that cannot be set up is deleted."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from msgspec import structs
from returns.result import Failure, Result, Success

from pocketenv_fp.errors import DecodeError, PocketenvError, RepositoryTaken, SandboxNotFound
from pocketenv_fp.http.paging import collected
from pocketenv_fp.http.xrpc import procedure, send
from pocketenv_fp.models import Preferences, Sandbox
from pocketenv_fp.pocketenv.actors import iter_sandboxes_by_actor, own_did
from pocketenv_fp.pocketenv.cloning import Clone
from pocketenv_fp.pocketenv.first_values import FirstValues
from pocketenv_fp.pocketenv.leftover import without_leftover
from pocketenv_fp.pocketenv.preferences import put_preferences
from pocketenv_fp.pocketenv.records import Unit
from pocketenv_fp.pocketenv.sandboxes import look, look_if_needed, remove, shown, started
from pocketenv_fp.runtime.deadline import patient, unlimited
from pocketenv_fp.runtime.signals import guarded
from pocketenv_fp.runtime.turns import Turns

__all__ = ["NewSandbox", "noting"]

CREATE = "sandbox.createSandbox"

# When two threads create with one repo, the second must see the first one's sandbox as an older one.
_turns = Turns()

_made: ContextVar[list[Sandbox] | None] = ContextVar("made", default=None)


@contextmanager
def noting(made: list[Sandbox]) -> Generator[None, None, None]:
    """Append each sandbox that a `create` inside the block makes to ``made``, at once. Older sandboxes are not added."""
    before = _made.set(made)
    try:
        yield
    finally:
        _made.reset(before)


class NewSandbox:
    """One call of `create`, from its arguments to the finished Sandbox."""

    def __init__(self, wanted: Preferences, values: FirstValues, *, reuse: bool) -> None:
        self._wanted = wanted
        self._values = values
        self._reuse = reuse
        self._last: Callable[[Sandbox], Result[Sandbox, PocketenvError]] = look_if_needed
        self._is_shared = False
        self._there = frozenset[str]()
        self._made: Sandbox | None = None

    def clones(self, clone: Clone, repo: str) -> None:
        """Run ``clone`` as the last request, in place of a look at the sandbox."""
        self._last = lambda box: clone(box, repo)

    def run(self, body: Mapping[str, object], shared_by: tuple[str, str] | None) -> Result[Sandbox, PocketenvError]:
        """Create the sandbox and set it up. ``shared_by`` is repository and base, if an older sandbox may have them."""
        if shared_by is None:
            return self._whole_or_none(lambda: self._created(body))
        # Hold the turn until done: another thread's sandbox counts as existing only once its creation succeeded.
        with _turns.of(shared_by, CREATE) as late:
            return Failure(late) if late else self._whole_or_none(lambda: self._created_or_older(body))

    def _whole_or_none(self, created: Callable[[], Result[Sandbox, PocketenvError]]) -> Result[Sandbox, PocketenvError]:
        try:
            result = created().bind(self._furnished)
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
            created = send(procedure("sandbox.createSandbox", self._noted, body=body))
            if isinstance(created, Success):
                return created
            # Look for the leftover sandbox inside `guarded`, so that an interrupt cannot come between.
            return Failure(without_leftover(created.failure(), str(body["provider"]), began))

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
        wanted = self._wanted
        # putPreferences may delete an absent repository, so it is sent again.
        named = put_preferences(
            box.id,
            name=wanted.name,
            description=wanted.description,
            topics=wanted.topics,
            repo=wanted.repo,
        )
        done = named if isinstance(named, Failure) else self._set_values(box)
        return done if isinstance(done, Failure) else self._last(self._known(box)).bind(self._as_asked)

    def _older(self, box: Sandbox) -> Result[Sandbox, PocketenvError]:
        if box.name != self._wanted.name and not self._reuse:
            message = f"your sandbox {box.name} has this repository and base"
            return Failure(RepositoryTaken(message=message, operation=CREATE))
        done = self._set_values(box)
        return done if isinstance(done, Failure) else look(box)

    def _known(self, box: Sandbox) -> Sandbox:
        # The rename of a new sandbox of one's own fails only with an error. So a pipeline may leave the lookup out.
        wanted = self._wanted
        return structs.replace(
            started(box), name=wanted.name or box.name, description=wanted.description, topics=wanted.topics
        )

    def _set_values(self, box: Sandbox) -> Unit:
        return self._values.set_all(box.id, is_new=self._made is not None)

    def _as_asked(self, seen: Sandbox) -> Result[Sandbox, PocketenvError]:
        # putPreferences returns the same response whether it changed something or not.
        missed = [
            field
            for field in ("name", "description", "topics")
            if (value := getattr(self._wanted, field)) is not None and getattr(seen, field) != value
        ]
        if missed:
            reason = f"the sandbox does not have the {' and the '.join(missed)} that was set"
            return Failure(DecodeError("sandbox.getSandbox", reason))
        return Success(seen)

    def _undo(self, error: BaseException) -> None:
        if self._made is None:
            return
        with guarded(), unlimited():
            removed = remove(self._made)
            is_gone = isinstance(removed, Success) or _is_gone(removed) or _is_gone(look(self._made))
        if is_gone:
            if (noted := _made.get()) is not None:
                noted.remove(self._made)
            return
        error.add_note(
            f"The sandbox {self._made.id}, which this call created, may still exist. "
            f"Its deletion failed: {removed.failure()}"
        )


def _is_gone(result: Result[Any, PocketenvError]) -> bool:
    return isinstance(result.swap().value_or(None), SandboxNotFound)
