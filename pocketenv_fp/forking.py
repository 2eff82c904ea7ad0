"""State that a forked child must not share with its parent."""

from __future__ import annotations

import os
from collections.abc import Callable

__all__ = ["after_fork"]


def after_fork(forget: Callable[[], None]) -> None:
    """Call ``forget`` in each forked child: the threads that hold locks or wait are the parent's."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=forget)
