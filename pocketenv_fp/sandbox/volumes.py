"""A sandbox's volumes: storage that outlives stops."""

from __future__ import annotations

from collections.abc import Iterator

from returns.result import Result

from pocketenv_fp import pocketenv
from pocketenv_fp.arguments import Limit, Name, Offset, Text
from pocketenv_fp.config import Config
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.models import Page, Sandbox, Volume
from pocketenv_fp.operation import operation, step
from pocketenv_fp.paging import iterates_over
from pocketenv_fp.sandbox.records import Kind

__all__ = ["delete_volume", "get_volume", "iter_volumes", "list_volumes", "set_volume"]

_VOLUMES = Kind[Volume]("volume", "name", pocketenv.iter_volumes, pocketenv.delete_volume)


@step(Sandbox, safe=True)
def list_volumes(
    sandbox: Sandbox,
    *,
    limit: Limit = 100,
    offset: Offset = 0,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Page[Volume], PocketenvError]:
    """List the sandbox's volumes, in no stable order. Gives a Page of Volume.

    >>> from pocketenv_fp import create, list_volumes
    >>> create("my-box") | list_volumes
    <Success: Page(items=(), total=0)>
    """
    return pocketenv.list_volumes(sandbox.id, limit=limit, offset=offset, token=token, config=config)


@iterates_over(Sandbox)
def iter_volumes(
    sandbox: Sandbox, *, limit: Limit = 100, token: Text | None = None, config: Config | None = None
) -> Iterator[Result[Volume, PocketenvError]]:
    """Give an iterator of all the sandbox's volumes, each a Success, asked for ``limit`` at a time when needed.

    It takes a Sandbox or a Result of one, whose Failure is then the one item; it is no step. A page that fails is the
    last item, as its Failure; so is a list that does not add up, as a DecodeError.

    >>> from pocketenv_fp import create, iter_volumes, set_volume
    >>> box = create("my-box")
    >>> stored = [box | set_volume(name) for name in ("a", "b", "c")]
    >>> sorted(volume.unwrap().name for volume in iter_volumes(box, limit=2))
    ['a', 'b', 'c']
    """
    return pocketenv.iter_volumes(sandbox.id, limit=limit, token=token, config=config)


@operation(Sandbox, safe=True)
def get_volume(
    sandbox: Sandbox, name_or_id: Name, *, token: Text | None = None, config: Config | None = None
) -> Result[Volume, PocketenvError]:
    """Give the sandbox's Volume with this id, or else with this name.

    Failures: InvalidInput; RecordNotFound where the sandbox has none.

    >>> from pocketenv_fp import create, get_volume
    >>> (create("my-box") | get_volume("models")).failure().error
    'RecordNotFound'
    """
    return _VOLUMES.of(sandbox, token, config).find(name_or_id)


@operation(Sandbox)
def set_volume(
    sandbox: Sandbox,
    name: Name,
    path: Text | None = None,
    *,
    read_only: bool = False,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Volume, PocketenvError]:
    """Add an empty volume, or attach the one with this name otherwise, from the next start on. Gives its Volume.

    Commands cannot write to it where it is ``read_only``. Without a ``path`` a new volume is not attached, and one
    that is there stays at its own: the platform takes no path away. What is in it stays.

    Failures: InvalidInput; ApiError (400) for a path that nothing can be attached at; ServerError where the platform
    refuses it and the sandbox has no volume of this name, or another one at this path.

    >>> from pocketenv_fp import create, set_volume
    >>> box = create("my-box")
    >>> (box | set_volume("models", "/models")).map(lambda volume: volume.path)
    <Success: /models>
    >>> (box | set_volume("models", "/srv/models", read_only=True)).map(lambda volume: volume.path)
    <Success: /srv/models>
    """
    return _VOLUMES.of(sandbox, token, config).set(
        name,
        add=lambda: pocketenv.add_volume(sandbox.id, name, path, read_only=read_only, token=token, config=config),
        update=lambda old: pocketenv.update_volume(old.id, name, path, read_only=read_only, token=token, config=config),
    )


@operation(Sandbox)
def delete_volume(
    sandbox: Sandbox, name_or_id: Name, *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox, PocketenvError]:
    """Delete the sandbox's volume with this id, or else with this name, and all that is in it.

    Gives the Sandbox as it was given. Failures: InvalidInput; RecordNotFound where the sandbox has none.

    >>> from pocketenv_fp import create, delete_volume, list_volumes, set_volume
    >>> box = create("my-box")
    >>> stored = box | set_volume("models", "/models")
    >>> (box | delete_volume("models") | list_volumes).map(len)
    <Success: 0>
    """
    return _VOLUMES.of(sandbox, token, config).delete(name_or_id)
