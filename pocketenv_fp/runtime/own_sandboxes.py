"""Whether what is created now must be a sandbox of its own, as in `managed` and `fan_out`.

The platform answers one user's create with the same repository and base with the same sandbox. In these scopes that
sandbox would be shared, and deleted by the first that ends.

>>> from pocketenv_fp.runtime.own_sandboxes import are_wanted, wanted
>>> with wanted():
...     are_wanted()
True
>>> are_wanted()
False
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["are_wanted", "wanted"]

_wanted: ContextVar[bool] = ContextVar("pocketenv_fp.own_sandboxes", default=False)


@contextmanager
def wanted() -> Generator[None]:
    """Let every create inside the block make a sandbox of its own."""
    before = _wanted.set(True)
    try:
        yield
    finally:
        _wanted.reset(before)


def are_wanted() -> bool:
    """Return whether a create here has to make a sandbox of its own."""
    return _wanted.get()
