"""Entries that a copy skips without a pattern: sockets, pipes, devices, and symlinks with ``links="skip"``."""

from __future__ import annotations

import stat

from pocketenv_fp.archive.names import shown
from pocketenv_fp.observing.events import LOG, note

__all__ = ["DEVICE", "LINK", "PIPE", "SOCKET", "Skipped", "kind_of"]

SOCKET, PIPE, DEVICE, LINK = "socket", "pipe", "device", "symlink that leads outside"
_MANY = {SOCKET: "sockets", PIPE: "pipes", DEVICE: "devices", LINK: "symlinks that lead outside"}
_NAMED = 3


class Skipped:
    """The number of skipped entries by kind, and the first names. Memory use does not depend on the number."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._names: list[str] = []
        self._is_reported = False

    @property
    def count(self) -> int:
        """The number of skipped entries."""
        return sum(self._counts.values())

    def add(self, kind: str, name: str) -> None:
        """Count an entry."""
        self._counts[kind] = self._counts.get(kind, 0) + 1
        if len(self._names) < _NAMED:
            self._names.append(shown(name))

    def __str__(self) -> str:
        kinds = ", ".join(
            f"{count} {kind if count == 1 else _MANY[kind]}" for kind, count in sorted(self._counts.items())
        )
        more = ", …" if self.count > _NAMED else ""
        return f"{kinds} ({', '.join(self._names)}{more})"

    def report(self, operation: str) -> None:
        """Log a warning and notify watchers, if entries were skipped. A second call does nothing."""
        if not self.count or self._is_reported:
            return
        self._is_reported = True
        line = f"{operation} skipped {self}"
        note(lambda: line)
        # Imported here: logging is slow to import, and most programs do not need it.
        import logging

        logging.getLogger(LOG).warning("%s", line)


def kind_of(mode: int) -> str:
    """Return the kind for a mode that is not a file, directory or symlink."""
    if stat.S_ISSOCK(mode):
        return SOCKET
    return PIPE if stat.S_ISFIFO(mode) else DEVICE
