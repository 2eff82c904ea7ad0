"""The function that clones a repository into a new sandbox.

It needs operations of `pocketenv_fp.sandbox`, which this room must not import. So that package registers it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from returns.result import Result

    from pocketenv_fp.errors import PocketenvError
    from pocketenv_fp.models import Sandbox

    Clone = Callable[[str, Sandbox], Result[Sandbox, PocketenvError]]

__all__ = ["clone_by", "cloner"]

_loaders: list[Callable[[], Clone]] = []


def clone_by(load: Callable[[], Clone]) -> None:
    """Set the function that imports and returns the function that clones."""
    _loaders[:] = [load]


def cloner(repo: str) -> Callable[[Sandbox], Result[Sandbox, PocketenvError]] | None:
    """Return a function that clones ``repo`` into a sandbox and returns the Sandbox. It is imported here."""
    return partial(_loaders[0](), repo) if _loaders else None
