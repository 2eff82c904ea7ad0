"""The function that clones a repository into a new sandbox.

It needs modules above this room, so `pocketenv_fp.sandbox` registers it here, before anything else is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from returns.result import Result

    from pocketenv_fp.errors import PocketenvError
    from pocketenv_fp.models import Sandbox

__all__ = ["Clone", "clone_by", "cloner"]


class Clone(Protocol):
    """A function that clones a repository into a sandbox. Returns the Sandbox afterwards."""

    def __call__(self, sandbox: Sandbox, repo: str) -> Result[Sandbox, PocketenvError]: ...


class _Cloner:
    clone: Clone | None = None


_registered = _Cloner()


def clone_by(clone: Clone) -> None:
    """Set the function that clones a repository into a new sandbox."""
    _registered.clone = clone


def cloner() -> Clone | None:
    """Return the function that clones a repository into a new sandbox."""
    return _registered.clone
