"""The function that clones a repository into a new sandbox.

It is above this room, so `pocketenv_fp.sandbox` registers a function that imports it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from returns.result import Result

    from pocketenv_fp.errors import PocketenvError
    from pocketenv_fp.models import Sandbox

__all__ = ["Clone", "clone_by", "cloner"]


class Clone(Protocol):
    """A function that clones a repository into a sandbox. Returns the Sandbox afterwards."""

    def __call__(self, sandbox: Sandbox, repo: str) -> Result[Sandbox, PocketenvError]: ...


class _Registered:
    load: Callable[[], Clone] | None = None


_registered = _Registered()


def clone_by(load: Callable[[], Clone]) -> None:
    """Set the function that imports and returns the function that clones."""
    _registered.load = load


def cloner() -> Clone | None:
    """Return the function that clones a repository into a new sandbox. It is imported here, before the create is sent."""
    return None if _registered.load is None else _registered.load()
