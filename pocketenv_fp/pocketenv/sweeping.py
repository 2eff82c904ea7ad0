"""Delete the sandboxes that programs left."""

from __future__ import annotations

import time

from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config
from pocketenv_fp.errors import PocketenvError, SandboxNotFound
from pocketenv_fp.http.paging import collected
from pocketenv_fp.models import Page, Sandbox
from pocketenv_fp.pocketenv.actors import iter_sandboxes_by_actor, own_did
from pocketenv_fp.pocketenv.decorators import checked
from pocketenv_fp.pocketenv.preferences import Topic
from pocketenv_fp.pocketenv.sandboxes import look, remove
from pocketenv_fp.runtime.marks import EPHEMERAL, expiry_of
from pocketenv_fp.validation import Seconds, Text

__all__ = ["sweep"]


@checked
def sweep(
    *, older_than: Seconds, topic: Topic = EPHEMERAL, token: Text | None = None, config: Config | None = None
) -> Result[Page[Result[Sandbox, PocketenvError]], PocketenvError]:
    """Delete your sandboxes that have a topic and are older than an age in seconds. Returns a Page of Results.

    Each item is a Success with a deleted Sandbox, or the Failure of one that could not be looked up or deleted. Other
    sandboxes are never deleted.

    `ephemeral` and `managed` mark each new sandbox with the topic ``pocketenv-fp-ephemeral``, and delete the sandbox
    themselves. A program that is killed leaves it, and ``sweep`` deletes it. The platform itself has no lifetime for a
    sandbox. **A sandbox may still be in use**: pass more seconds than your longest program takes. A sandbox of
    ``ephemeral(…, ttl=…)`` is deleted when its ``ttl`` is over, for any ``older_than``. To keep a sandbox, set other
    topics: ``update_settings(topics=…)``.

    The ages are those of this machine's clock. One request is sent for each of your sandboxes, as the platform's list
    has no topics. Failures: those of the list, and then nothing was deleted; InvalidInput.

    Args:
        older_than: Age in seconds.
        topic: Topic of the sandboxes to delete. Default: the topic of `ephemeral` and `managed`.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, get_sandbox, sweep
    >>> kept, old = create("kept").unwrap(), create("old", topics=["scratch"]).unwrap()
    >>> sweep(older_than=3600, topic="scratch").map(len)
    <Success: 0>
    >>> sweep(older_than=0.001, topic="scratch").map(lambda page: [item.unwrap().name for item in page])
    <Success: ['old']>
    >>> get_sandbox("old"), get_sandbox("kept").map(lambda box: box.name)
    (<Success: None>, <Success: kept>)
    """
    did = own_did()
    if isinstance(did, Failure):
        return did
    # All are listed first: the pages shift while sandboxes are deleted.
    boxes = collected(iter_sandboxes_by_actor(did.unwrap()))
    if isinstance(boxes, Failure):
        return boxes
    results = [swept(box, topic, older_than, did.unwrap()) for box in boxes.unwrap()]
    items = tuple(each for each in results if each is not None)
    return Success(Page(items, len(items)))


def swept(box: Sandbox, topic: str, older_than: float, did: str) -> Result[Sandbox, PocketenvError] | None:
    """Delete the sandbox if its time is over. Returns None if it is not, or if the sandbox is gone."""
    current = look(box)
    if isinstance(current, Success) and not _is_over(current.unwrap(), topic, older_than, did):
        return None
    deletion = current.bind(remove)
    if isinstance(deletion, Success):
        return current
    error = deletion.failure()
    if isinstance(error, SandboxNotFound):
        return None
    error.add_note(f"The sandbox {box.id} may still exist.")
    return Failure(error)


def _is_over(box: Sandbox, topic: str, older_than: float, did: str) -> bool:
    topics = box.topics or ()
    if topic not in topics or (box.owner is not None and box.owner.did != did):
        return False
    expiry = expiry_of(topics)
    if expiry is not None:
        return expiry <= time.time()
    return box.created_at is not None and box.created_at.timestamp() + older_than <= time.time()
