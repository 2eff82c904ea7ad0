"""Volumes of a sandbox, by ids: storage that outlives stops."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from returns.result import Result

from pocketenv_fp.config import Config
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.http.paging import walk
from pocketenv_fp.http.xrpc import nothing, procedure, query, send
from pocketenv_fp.models import Page, Volume
from pocketenv_fp.pocketenv.decorators import checked, iterates
from pocketenv_fp.pocketenv.records import known, one_of, page_of
from pocketenv_fp.validation import Id, Limit, Name, Offset, Text

__all__ = ["add_volume", "delete_volume", "get_volume", "iter_volumes", "list_volumes", "update_volume"]

_page = page_of("volumes", Volume)
_one = one_of("volume", Volume)


def _volume(**said: object) -> dict[str, object]:
    return {"volume": {name: value for name, value in said.items() if value is not None}}


@checked
def list_volumes(
    sandbox_id: Id,
    *,
    limit: Limit = 100,
    offset: Offset = 0,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Page[Volume], PocketenvError]:
    """List a sandbox's volumes, in no stable order. Gives a Page of Volume. Failures: InvalidInput.

    >>> from pocketenv_fp import create, pocketenv
    >>> box = create("my-box").unwrap()
    >>> pocketenv.add_volume(box.id, "models", "/models")
    <Success: None>
    >>> pocketenv.list_volumes(box.id).map(lambda volumes: [(each.name, each.path) for each in volumes])
    <Success: [('models', '/models')]>
    """
    params = {"sandboxId": sandbox_id, "limit": limit, "offset": offset}
    return send(query("volume.getVolumes", _page, params))


@iterates
def iter_volumes(
    sandbox_id: Id, *, limit: Limit = 100, token: Text | None = None, config: Config | None = None
) -> Iterator[Result[Volume, PocketenvError]]:
    """Give an iterator of all of a sandbox's volumes, each a Success, asked for ``limit`` at a time when needed.

    A page that fails is the last item, as its Failure; so is a list that does not add up, as a DecodeError.

    >>> from pocketenv_fp import create, pocketenv
    >>> box = create("my-box").unwrap()
    >>> added = [pocketenv.add_volume(box.id, name, f"/srv/{name}") for name in ("a", "b", "c")]
    >>> sorted(volume.unwrap().name for volume in pocketenv.iter_volumes(box.id, limit=2))
    ['a', 'b', 'c']
    """
    fetch = partial(list_volumes, sandbox_id)
    return walk("volume.getVolumes", fetch, limit=limit)


@checked
def get_volume(id: Id, *, token: Text | None = None, config: Config | None = None) -> Result[Volume, PocketenvError]:
    """Give the Volume with this id. Failures: InvalidInput; RecordNotFound for none.

    >>> from pocketenv_fp import pocketenv
    >>> pocketenv.get_volume("no-such-id")
    <Failure: volume.getVolume: there is no volume with the id 'no-such-id' (404 RecordNotFound). ...>
    """
    return send(query("volume.getVolume", _one, {"id": id})).bind(known("volume", id))


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
    """Add an empty volume, attached at ``path`` from the next start on. Returns None: the platform answers no id.

    **Without a path the platform keeps it for no sandbox**, and lists it nowhere. **The platform ignores** ``read_only``: commands can write to the volume. Names may
    repeat: only a path is a volume's own. Failures: InvalidInput; ApiError (400) for a path that nothing can be attached
    at; ServerError for a path that another volume of the sandbox has.

    >>> from pocketenv_fp import create, pocketenv
    >>> pocketenv.add_volume(create("my-box").unwrap().id, "models", "/models", read_only=True)
    <Success: None>
    """
    body = _volume(sandboxId=sandbox_id, name=name, path=path, readOnly=read_only)
    return send(procedure("volume.addVolume", nothing, body=body))


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
    """Change the name of the volume with this id, and its path where one is given. Returns None. Its content stays.

    It is attached so from the next start on. **The platform ignores** ``read_only``. Failures: as `add_volume`, and
    ApiError (404) where there is no such volume.

    >>> from pocketenv_fp import create, pocketenv, sandbox
    >>> models = (create("my-box") | sandbox.set_volume("models", "/models")).unwrap()
    >>> pocketenv.update_volume(models.id, "models", "/srv/models")
    <Success: None>
    >>> pocketenv.get_volume(models.id).map(lambda volume: volume.path)
    <Success: /srv/models>
    """
    body = {"id": id, **_volume(name=name, path=path, readOnly=read_only)}
    return send(procedure("volume.updateVolume", nothing, body=body))


@checked
def delete_volume(id: Id, *, token: Text | None = None, config: Config | None = None) -> Result[None, PocketenvError]:
    """Delete the volume with this id and all that is in it. Gives None, also where there was none.

    Failures: InvalidInput.

    >>> from pocketenv_fp import create, pocketenv, sandbox
    >>> stored = create("my-box") | sandbox.set_volume("models", "/models")
    >>> stored.bind(lambda volume: pocketenv.delete_volume(volume.id))
    <Success: None>
    """
    return send(procedure("volume.deleteVolume", nothing, {"id": id}))
