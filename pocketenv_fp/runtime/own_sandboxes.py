"""Decide whether a create must make a new sandbox, as in `managed` and `fan_out`.

For one user, repository and base, the platform returns the same sandbox for each create. In these scopes that sandbox
would be shared, and the first scope to end would delete it.

>>> from pocketenv_fp.runtime.own_sandboxes import are_wanted, wanted
>>> with wanted():
...     are_wanted()
True
>>> are_wanted()
False
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from contextvars import ContextVar

from pocketenv_fp.runtime.scope import scope

__all__ = ["are_wanted", "wanted"]

_wanted: ContextVar[bool] = ContextVar("pocketenv_fp.own_sandboxes", default=False)


def wanted() -> AbstractContextManager[None]:
    """Let every create inside the block make a new sandbox."""
    return scope(_wanted, value=True)


def are_wanted() -> bool:
    """Return whether a create must make a new sandbox here."""
    return _wanted.get()
