"""Volumes of a sandbox, by id: storage that survives stops."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from returns.result import Result

from pocketenv_fp.config import Config
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.models import Page, Volume
from pocketenv_fp.pocketenv.decorators import checked, iterates
from pocketenv_fp.pocketenv.records import StoredRecords
from pocketenv_fp.validation import Id, Limit, Name, Offset, Text

__all__ = ["add_volume", "delete_volume", "get_volume", "iter_volumes", "list_volumes", "update_volume"]

_VOLUMES = StoredRecords("volume", Volume)


@checked
def list_volumes(
    sandbox_id: Id,
    *,
    limit: Limit = 100,
    offset: Offset = 0,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Page[Volume], PocketenvError]:
    """List a sandbox's volumes, in no stable order. Returns a Page of Volume. Failures: InvalidInput.

    Args:
        sandbox_id: Id of the sandbox.
        limit: Maximal number of records, at least 1. Default: 100.
        offset: Number of records to skip, at least 0. Default: 0.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, pocketenv
    >>> box = create("my-box").unwrap()
    >>> pocketenv.add_volume(box.id, "models", "/models")
    <Success: None>
    >>> pocketenv.list_volumes(box.id).map(lambda volumes: [(each.name, each.path) for each in volumes])
    <Success: [('models', '/models')]>
    """
    return _VOLUMES.page(sandbox_id, limit, offset)


@iterates
def iter_volumes(
    sandbox_id: Id, *, limit: Limit = 1000, token: Text | None = None, config: Config | None = None
) -> Iterator[Result[Volume, PocketenvError]]:
    """Iterate over all volumes of a sandbox. Returns an iterator of Results, and requests pages when needed.

    If a page fails, its Failure is the last item. An inconsistent list ends with a DecodeError.

    Args:
        sandbox_id: Id of the sandbox.
        limit: Records per request, at least 1. Default: 1000.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, pocketenv
    >>> box = create("my-box").unwrap()
    >>> added = [pocketenv.add_volume(box.id, name, f"/srv/{name}") for name in ("a", "b", "c")]
    >>> sorted(volume.unwrap().name for volume in pocketenv.iter_volumes(box.id, limit=2))
    ['a', 'b', 'c']
    """
    return _VOLUMES.each(partial(list_volumes, sandbox_id), limit)


@checked
def get_volume(id: Id, *, token: Text | None = None, config: Config | None = None) -> Result[Volume, PocketenvError]:
    """Look up the volume with this id. Returns a Volume. Failures: InvalidInput; RecordNotFound.

    Args:
        id: Id of the volume.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import pocketenv
    >>> pocketenv.get_volume("no-such-id")
    <Failure: volume.getVolume: there is no volume with the id 'no-such-id' (404 RecordNotFound). ...>
    """
    return _VOLUMES.get(id)


@checked
def add_volume(
    sandbox_id: Id,
    name: Name,
    path: Text | None = None,
    *,
    read_only: bool = False,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[None, PocketenvError]:
    """Add an empty volume. The next start attaches it at ``path``. Returns None: the platform returns no id.

    **Without a path the platform attaches it to no sandbox**, and no list contains it. **The platform ignores**
    ``read_only``: commands can write to the volume. Two volumes may have the same name, but not the same path.

    Failures: InvalidInput; ApiError (400) for a path where a volume cannot be attached; ServerError for a path that is
    taken.

    Args:
        sandbox_id: Id of the sandbox.
        name: Name of the volume.
        path: Absolute path in the sandbox.
        read_only: The platform ignores it. Default: False.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, pocketenv
    >>> pocketenv.add_volume(create("my-box").unwrap().id, "models", "/models", read_only=True)
    <Success: None>
    """
    return _VOLUMES.add(sandbox_id, {"name": name, "path": path, "readOnly": read_only})


@checked
def update_volume(
    id: Id,
    name: Name,
    path: Text | None = None,
    *,
    read_only: bool | None = None,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[None, PocketenvError]:
    """Change the name, and with ``path`` also the path, of the volume with this id. Returns None. Its content stays.

    The change takes effect at the next start. **The platform ignores** ``read_only``. Failures: as for `add_volume`,
    and RecordNotFound for an unknown id.

    Args:
        id: Id of the volume.
        name: New name of the volume.
        path: New absolute path. None: unchanged.
        read_only: The platform ignores it.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, pocketenv, sandbox
    >>> models = (create("my-box") | sandbox.set_volume("models", "/models")).unwrap()
    >>> pocketenv.update_volume(models.id, "models", "/srv/models")
    <Success: None>
    >>> pocketenv.get_volume(models.id).map(lambda volume: volume.path)
    <Success: /srv/models>
    """
    return _VOLUMES.update(id, {"name": name, "path": path, "readOnly": read_only})


@checked
def delete_volume(id: Id, *, token: Text | None = None, config: Config | None = None) -> Result[None, PocketenvError]:
    """Delete the volume with this id and its content. Returns None, also for an unknown id.

    Failures: InvalidInput.

    Args:
        id: Id of the volume.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, pocketenv, sandbox
    >>> stored = create("my-box") | sandbox.set_volume("models", "/models")
    >>> stored.bind(lambda volume: pocketenv.delete_volume(volume.id))
    <Success: None>
    """
    return _VOLUMES.delete(id)
