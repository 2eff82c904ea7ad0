"""Topics that mark the sandboxes of `managed` and `ephemeral`, so that `sweep` finds what a killed program left.

>>> from pocketenv_fp.runtime.marks import EPHEMERAL, current, expiry_of, expiry_topic, marking
>>> with marking((EPHEMERAL,)):
...     current()
('pocketenv-fp-ephemeral',)
>>> current()
()
>>> expiry_of(("demo", expiry_topic(1_800_000_000.5)))
1800000001.0
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from contextlib import AbstractContextManager
from contextvars import ContextVar

from pocketenv_fp.runtime.scope import scope

__all__ = ["EPHEMERAL", "current", "expiry_of", "expiry_topic", "marking"]

EPHEMERAL = "pocketenv-fp-ephemeral"
"""The topic of a sandbox that its program deletes."""
_UNTIL = "pocketenv-fp-until-"
_EXPIRY = re.compile(rf"{_UNTIL}(\d{{1,15}})", re.ASCII)
_LONGEST = 10**15 - 1

_marks: ContextVar[tuple[str, ...]] = ContextVar("pocketenv_fp.marks", default=())


def marking(topics: tuple[str, ...]) -> AbstractContextManager[None]:
    """Let each `create` inside the block add these topics to a new sandbox."""
    return scope(_marks, topics)


def current() -> tuple[str, ...]:
    """Return the topics that a create must add here."""
    return _marks.get()


def expiry_topic(moment: float) -> str:
    """Return the topic of a sandbox that may be deleted after ``moment``, in seconds since 1970."""
    return f"{_UNTIL}{math.ceil(min(moment, _LONGEST))}"


def expiry_of(topics: Iterable[str]) -> float | None:
    """Return the latest expiry among topics, in seconds since 1970, or None without one."""
    return max((float(match[1]) for topic in topics if (match := _EXPIRY.fullmatch(topic))), default=None)
