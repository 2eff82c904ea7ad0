"""The volumes of a sandbox: storage that survives stops."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from functools import partial
from weakref import WeakValueDictionary

from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config
from pocketenv_fp.errors import ApiError, InvalidInput, PathTaken, PocketenvError, RecordNotFound, hides_its_cause
from pocketenv_fp.models import Page, Sandbox, Volume
from pocketenv_fp.pocketenv import volumes as pocketenv
from pocketenv_fp.runtime.turns import Turns
from pocketenv_fp.sandbox.records import RecordKind
from pocketenv_fp.sandbox.support import unsupported
from pocketenv_fp.steps.iteration import iterates_over
from pocketenv_fp.steps.needs import Need
from pocketenv_fp.steps.operation import operation, step
from pocketenv_fp.validation import Limit, Name, Offset, Text

__all__ = ["delete_volume", "get_volume", "iter_volumes", "list_volumes", "set_volume"]

ADD, UPDATE = "volume.addVolume", "volume.updateVolume"
TURNS = 5

_turns = Turns()
_VOLUMES = RecordKind[Volume]("volume", "name", pocketenv.iter_volumes, pocketenv.delete_volume)


@step(Sandbox, safe=True, reads=Need.ID)
def list_volumes(
    sandbox: Sandbox,
    *,
    limit: Limit = 100,
    offset: Offset = 0,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Page[Volume], PocketenvError]:
    """List the sandbox's volumes, in no stable order. Returns a Page of Volume.

    Failures: InvalidInput for a limit below 1 or an offset below 0.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        limit: Maximal number of records, at least 1. Default: 100.
        offset: Number of records to skip, at least 0. Default: 0.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, list_volumes
    >>> create("my-box") | list_volumes
    <Success: Page(items=(), total=0)>
    """
    return pocketenv.list_volumes(sandbox.id, limit=limit, offset=offset)


@iterates_over(Sandbox)
def iter_volumes(
    sandbox: Sandbox, *, limit: Limit = 1000, token: Text | None = None, config: Config | None = None
) -> Iterator[Result[Volume, PocketenvError]]:
    """Iterate over all volumes of the sandbox. Returns an iterator of Results, and requests pages when needed.

    It takes a Sandbox or a Result of one, and is not a step. A Failure as argument is the only item. If a page fails,
    its Failure is the last item. An inconsistent list ends with a DecodeError.

    Args:
        sandbox: The Sandbox, or a Result of one.
        limit: Records per request, at least 1. Default: 1000.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, iter_volumes, set_volume
    >>> box = create("my-box")
    >>> stored = [box | set_volume(name, f"/srv/{name}") for name in ("a", "b", "c")]
    >>> sorted(volume.unwrap().name for volume in iter_volumes(box, limit=2))
    ['a', 'b', 'c']
    """
    return pocketenv.iter_volumes(sandbox.id, limit=limit)


@operation(Sandbox, safe=True, reads=Need.ID, record="volume")
def get_volume(
    sandbox: Sandbox, name_or_id: Name, *, token: Text | None = None, config: Config | None = None
) -> Result[Volume, PocketenvError]:
    """Find a volume of the sandbox by id, or else by name. Returns a Volume. Names may repeat.

    Failures: InvalidInput; RecordNotFound.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        name_or_id: Name or id. An id comes first.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, get_volume
    >>> (create("my-box") | get_volume("models")).failure().error
    'RecordNotFound'
    """
    return _VOLUMES.of(sandbox).find(name_or_id)


@operation(Sandbox, reads=Need.ID, record="volume", looks_up_record=True)
def set_volume(
    sandbox: Sandbox,
    name: Name,
    path: Text | None = None,
    *,
    read_only: bool = False,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Volume, PocketenvError]:
    """Add an empty volume, or attach an existing one at ``path``. Returns its Volume. The next start attaches it.

    **The platform ignores** ``read_only``: commands can write to the volume. The content of an existing volume stays.

    On the platform a path is unique, but a name is not. So the list is read first, and no second volume gets the same
    name. If several volumes have the name already, none of them is moved.

    Failures: InvalidInput for a path that is not absolute or is /, or if several volumes have the name; PathTaken if
    another volume is at the path; RecordNotFound without a path if no volume has the name; NotSupported on e2b and
    blaxel; ApiError (400) for a path where a volume cannot be attached; ServerError if the platform refuses it.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        name: Name of the volume.
        path: Absolute path in the sandbox. None: an existing volume stays at its path. A new volume needs a path.
        read_only: The platform ignores it. Default: False.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, set_volume
    >>> box = create("my-box")
    >>> (box | set_volume("models", "/models")).map(lambda volume: volume.path)
    <Success: /models>
    >>> (box | set_volume("models", "/srv/models")).map(lambda volume: volume.path)
    <Success: /srv/models>
    >>> box | set_volume("data", "/srv/models")
    <Failure: volume.addVolume: the volume models is at /srv/models (500 PathTaken). Choose another path, ...>
    """
    if path is not None and not path.startswith("/"):
        return Failure(InvalidInput("path", "is not absolute: it must start with /"))
    one_spelling = None if path is None else _spelled(path)
    if one_spelling == "/":
        return Failure(InvalidInput("path", "is /, the root of the sandbox's own file system"))
    if refusal := unsupported(sandbox, "volumes", "set_volume"):
        return Failure(refusal)
    return _Attaching(sandbox, name, one_spelling, read_only=read_only).run()


def _spelled(path: str) -> str:
    return f"/{posixpath.normpath(path).lstrip('/')}"


class _Changes:
    """Counts the changes of one sandbox's volumes by this process, while a thread has a list of them."""

    def __init__(self) -> None:
        self._number = 0

    def stamp(self) -> tuple[_Changes, int]:
        return self, self._number

    def one_more(self) -> tuple[_Changes, int]:
        self._number += 1
        return self.stamp()


_changes: WeakValueDictionary[str, _Changes] = WeakValueDictionary()


class _Attaching:
    """One call of `set_volume`."""

    def __init__(self, sandbox: Sandbox, name: str, path: str | None, *, read_only: bool) -> None:
        self.sandbox, self.name, self.path, self.read_only = sandbox, name, path, read_only
        self._records = _VOLUMES.of(sandbox)
        self._changes = _Changes()
        self._is_new_list = True

    def run(self) -> Result[Volume, PocketenvError]:
        # Names may repeat: without turns, two threads with one name would make two volumes.
        with _turns.of(self.sandbox.id, ADD) as late:
            if late:
                return Failure(late)
            self._changes = _changes.setdefault(self.sandbox.id, self._changes)
            self._is_new_list = self._records.listing.stamp != self._changes.stamp()
            changed = self._listed().bind(self._changed)
            for _ in range(TURNS):
                error = changed.swap().value_or(None)
                if not (isinstance(error, ApiError) and error.status == 404 and error.operation == UPDATE):
                    break
                # Another program deleted the volume in between.
                changed = self._listed_again().bind(self._changed)
            return changed

    def _listed(self) -> Result[tuple[Volume, ...], PocketenvError]:
        """Return all volumes, of the neighbours' list if it may be an older one."""
        if self._is_new_list:
            self._records.listing.renew()
        volumes = self._records.listing.whole(self.name)
        self._records.listing.stamp = self._changes.stamp()
        return volumes

    def _listed_again(self) -> Result[tuple[Volume, ...], PocketenvError]:
        self._is_new_list = True
        return self._listed()

    def _changed(self, volumes: Sequence[Volume]) -> Result[Volume, PocketenvError]:
        holder = self._at_the_path(volumes)
        if holder is not None and holder.name == self.name:
            return Success(holder)
        if holder is not None:
            # It may be gone since a neighbour requested the list.
            return Failure(self._taken(holder)) if self._is_new_list else self._listed_again().bind(self._changed)
        named = [volume for volume in volumes if volume.name == self.name]
        if named and self.path is None:
            return Success(named[0])
        if len(named) > 1:
            reason = f"{len(named)} volumes have the name {self.name}: use pocketenv.update_volume with an id"
            return Failure(InvalidInput("name", reason))
        if not named and self.path is None:
            return Failure(self._missing(": a new one needs a path"))
        return self._moved(named[0]) if named else self._added(volumes)

    def _moved(self, volume: Volume) -> Result[Volume, PocketenvError]:
        self._noted(volume)
        updated = pocketenv.update_volume(volume.id, self.name, self.path, read_only=self.read_only)
        moved = updated.lash(self._refused)
        if isinstance(moved, Failure):
            return moved
        look, seen = partial(pocketenv.get_volume, volume.id), partial(self._records.listing.seen, id=volume.id)
        return self._records.looked_up(look, seen, self.name)

    def _added(self, before: Sequence[Volume]) -> Result[Volume, PocketenvError]:
        known = frozenset(volume.id for volume in before)
        self._noted()
        added = pocketenv.add_volume(self.sandbox.id, self.name, self.path, read_only=self.read_only)
        stored = added.lash(self._refused)
        if isinstance(stored, Failure):
            return stored
        return self._records.looked_up(partial(self._new_again, known), partial(self._new, known), self.name)

    def _noted(self, volume: Volume | None = None) -> None:
        """Note a change, for the lists of other threads and for the neighbours of this step."""
        self._records.listing.change(self.name, volume)
        self._records.listing.stamp = self._changes.one_more()

    def _new_again(self, known: frozenset[str]) -> Result[Volume, PocketenvError]:
        self._records.listing.renew()
        return self._new(known)

    def _new(self, known: frozenset[str]) -> Result[Volume, PocketenvError]:
        return self._records.listing.whole(self.name).bind(partial(self._new_of, known))

    def _new_of(self, known: frozenset[str], volumes: Sequence[Volume]) -> Result[Volume, PocketenvError]:
        mine = (volume for volume in volumes if volume.id not in known and volume.name == self.name)
        # An older volume may be the right one: another program may have added it in between.
        volume = self._at_the_path(volumes) or next(mine, None)
        if volume is None or volume.name != self.name:
            return Failure(self._missing())
        return Success(volume)

    def _missing(self, why: str = "") -> RecordNotFound:
        message = f"the sandbox {self.sandbox.name} has no volume {self.name!r}{why}"
        return RecordNotFound(message=message, operation="volume.getVolumes")

    def _refused(self, error: PocketenvError) -> Result[None, PocketenvError]:
        # A path that is taken is a 500 without a cause: look it up in the list.
        if not hides_its_cause(error):
            return Failure(error)
        holder = self._listed_again().map(self._at_the_path).value_or(None)
        if holder is None:
            return Failure(error)
        return Success(None) if holder.name == self.name else Failure(self._taken(holder))

    def _at_the_path(self, volumes: Sequence[Volume]) -> Volume | None:
        same = (volume for volume in volumes if volume.path and _spelled(volume.path) == self.path)
        return next(same, None)

    def _taken(self, volume: Volume) -> PathTaken:
        message = f"the volume {volume.name} is at {self.path}"
        return PathTaken(message=message, operation=ADD, path=self.path or "")


@operation(Sandbox, reads=Need.ID, returns_target=True, record="volume")
def delete_volume(
    sandbox: Sandbox, name_or_id: Name, *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox, PocketenvError]:
    """Delete a volume of the sandbox, by id or else by name, with its content. Returns the Sandbox unchanged.

    Failures: InvalidInput; RecordNotFound.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        name_or_id: Name or id. An id comes first.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, delete_volume, list_volumes, set_volume
    >>> box = create("my-box")
    >>> stored = box | set_volume("models", "/models")
    >>> (box | delete_volume("models") | list_volumes).map(len)
    <Success: 0>
    """
    return _VOLUMES.of(sandbox).delete(name_or_id)
