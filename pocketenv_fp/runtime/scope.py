"""Set a context variable for a block of the program.

>>> from contextvars import ContextVar
>>> from pocketenv_fp.runtime.scope import scope
>>> depth = ContextVar("depth", default=0)
>>> with scope(depth, 1):
...     depth.get()
1
>>> depth.get()
0
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

__all__ = ["scope"]

T = TypeVar("T")


@contextmanager
def scope(variable: ContextVar[T], value: T) -> Generator[None]:
    """Let ``variable`` have this value in the block, in this thread or task. Its end restores the value before."""
    mark = variable.set(value)
    try:
        yield
    finally:
        variable.reset(mark)
