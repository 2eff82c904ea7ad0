"""The sandbox that the platform leaves if a create finds no AT Protocol session.

It has a random name and no at-URI.
"""

from __future__ import annotations

from dataclasses import replace

from returns.result import Success

from pocketenv_fp.errors import PocketenvError, SessionLost
from pocketenv_fp.http.tokens import login_did
from pocketenv_fp.models import Sandbox
from pocketenv_fp.pocketenv.actors import list_sandboxes_by_actor
from pocketenv_fp.pocketenv.sandboxes import remove
from pocketenv_fp.runtime.deadline import unlimited

__all__ = ["without_leftover"]

# The platform's clock may be this many seconds behind this machine's.
CLOCKS_APART = 30.0


def without_leftover(error: PocketenvError, provider: str, began: float) -> PocketenvError:
    """Delete the sandbox that the platform made before it found no session. Returns an error that names what is left."""
    if not isinstance(error, SessionLost):
        return error
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
    return [
        box
        for box in newest
        if box.uri is None
        and box.provider == provider
        and box.created_at is not None
        and box.created_at.timestamp() >= since
    ]
