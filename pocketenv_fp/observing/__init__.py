"""Watch programs run: functions that are called for each step and request, logs, and spans."""

from __future__ import annotations

from pocketenv_fp.observing.events import LOG as LOG
from pocketenv_fp.observing.events import (
    Begun,
    Done,
    Ended,
    Kind,
    Watcher,
    begin,
    logged,
    note,
    observe,
    observing,
    reporting,
    spans,
    unobserved,
)

__all__ = [
    "Begun",
    "Done",
    "Ended",
    "Kind",
    "Watcher",
    "begin",
    "logged",
    "note",
    "observe",
    "observing",
    "reporting",
    "spans",
    "unobserved",
]
