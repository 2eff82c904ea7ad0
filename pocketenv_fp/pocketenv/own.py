"""Your own sandboxes, by status and topic."""

from __future__ import annotations

from collections.abc import Iterator

from returns.result import Failure, Result

from pocketenv_fp.config import Config
from pocketenv_fp.errors import PocketenvError, SandboxNotFound
from pocketenv_fp.http.paging import collected
from pocketenv_fp.models import Page, Sandbox, Status
from pocketenv_fp.plain_types import demand_type
from pocketenv_fp.pocketenv.actors import iter_sandboxes_by_actor, list_sandboxes_by_actor, own_did
from pocketenv_fp.pocketenv.decorators import checked, iterates
from pocketenv_fp.pocketenv.sandboxes import look
from pocketenv_fp.validation import Limit, Offset, Text

__all__ = ["iter_my_sandboxes", "my_sandboxes"]


@checked
def my_sandboxes(
    *,
    limit: Limit = 30,
    offset: Offset = 0,
    status: Status | None = None,
    topic: Text | None = None,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Page[Sandbox], PocketenvError]:
    """List your own sandboxes, newest first. Returns a Page of Sandbox.

    It is one request without a filter, and for RUNNING. The platform has no other filter. So for another ``status`` all
    your sandboxes are requested, and for a ``topic`` each of them is looked up. ``total`` is then the number of matches.
    Failures: InvalidInput for a limit below 1 or an offset below 0.

    Args:
        limit: Maximal number of records, at least 1. Default: 30.
        offset: Number of records to skip, at least 0. Default: 0.
        status: Status of the sandboxes. Default: any.
        topic: A topic that they must have. Default: none.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import Status, create, my_sandboxes, stop
    >>> (create("one"), create("two", topics=["demo"]), create("three") | stop)
    (<Success: ...>, <Success: ...>, <Success: ...>)
    >>> my_sandboxes().map(lambda page: [box.name for box in page])
    <Success: ['three', 'two', 'one']>
    >>> my_sandboxes(status=Status.STOPPED).map(lambda page: ([box.name for box in page], page.total))
    <Success: (['three'], 1)>
    >>> my_sandboxes(topic="demo").map(lambda page: [box.topics for box in page])
    <Success: [('demo',)]>
    """
    _demand_status("my_sandboxes", status)
    if topic is None and status in {None, Status.RUNNING}:
        did = own_did()
        if isinstance(did, Failure):
            return did
        is_running = status is Status.RUNNING
        return list_sandboxes_by_actor(did.unwrap(), limit=limit, offset=offset, is_running=is_running)
    boxes = collected(iter_my_sandboxes(status=status, topic=topic))
    return boxes.map(lambda mine: Page(mine[offset : offset + limit], len(mine)))


@iterates
def iter_my_sandboxes(
    *,
    limit: Limit = 1000,
    status: Status | None = None,
    topic: Text | None = None,
    token: Text | None = None,
    config: Config | None = None,
) -> Iterator[Result[Sandbox, PocketenvError]]:
    """Iterate over all your sandboxes. Returns an iterator of Results, and requests pages when needed.

    With a ``topic``, each sandbox is looked up. If a request fails, its Failure is the last item. An inconsistent list
    ends with a DecodeError.

    Args:
        limit: Records per request, at least 1. Default: 1000.
        status: Status of the sandboxes. Default: any.
        topic: A topic that they must have. Default: none.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, iter_my_sandboxes
    >>> (create("one"), create("two", topics=["demo"]))
    (<Success: ...>, <Success: ...>)
    >>> [box.unwrap().name for box in iter_my_sandboxes(topic="demo")]
    ['two']
    """
    _demand_status("iter_my_sandboxes", status)
    did = own_did()
    if isinstance(did, Failure):
        return iter((did,))
    boxes = iter_sandboxes_by_actor(did.unwrap(), limit=limit, is_running=status is Status.RUNNING)
    return _matching(boxes, status, topic)


def _demand_status(function: str, status: object) -> None:
    # A string would be read as a status, and a misspelt one as UNKNOWN.
    demand_type(function, "status", status, Status | None)


def _matching(
    boxes: Iterator[Result[Sandbox, PocketenvError]], status: Status | None, topic: str | None
) -> Iterator[Result[Sandbox, PocketenvError]]:
    for each in boxes:
        if isinstance(each, Failure):
            yield each
            return
        if status is not None and each.unwrap().status is not status:
            continue
        # The list leaves the topics out.
        current = each if topic is None else look(each.unwrap())
        if isinstance(current, Failure) and isinstance(current.failure(), SandboxNotFound):
            continue
        if isinstance(current, Failure):
            yield current
            return
        if topic is None or topic in (current.unwrap().topics or ()):
            yield current
