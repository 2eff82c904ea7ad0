"""Find the caller's sandbox of a name, for ``create(…, exist_ok=True)``."""

from __future__ import annotations

from collections.abc import Callable

from returns.result import Failure, Result, Success

from pocketenv_fp.errors import NameTaken, PocketenvError
from pocketenv_fp.models import Sandbox
from pocketenv_fp.pocketenv.sandboxes import get_sandbox, is_yours
from pocketenv_fp.runtime import rehearsal

__all__ = ["existing_or"]


def existing_or(name: str, create: Callable[[], Result[Sandbox, PocketenvError]]) -> Result[Sandbox, PocketenvError]:
    """Return the caller's sandbox of that name, or create it. Another program may create it at the same time."""
    rehearsal.note(lambda: "if you have a sandbox of that name, it is the result, and the rest is not sent")
    found = _existing(name)
    if found is not None and not rehearsal.is_rehearsed():
        return found
    return create().lash(lambda error: (_is_own_name(error) and _existing(name)) or Failure(error))


def _existing(name: str) -> Result[Sandbox, PocketenvError] | None:
    looked = get_sandbox(name)
    if not isinstance(looked, Success):
        return Failure(looked.failure())
    box = looked.unwrap()
    if box is None or box.name != name:
        return None
    is_own = is_yours(box)
    if is_own:
        return Success(box)
    return Failure(NameTaken(message=f"the name {name} is taken", operation="sandbox.getSandbox", is_yours=is_own))


def _is_own_name(error: PocketenvError) -> bool:
    return isinstance(error, NameTaken) and bool(error.is_yours)
