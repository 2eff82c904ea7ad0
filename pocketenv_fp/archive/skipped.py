"""Entries that a copy skips without a pattern: sockets, pipes, devices, and links by ``links="skip"``."""

from __future__ import annotations

import stat

from pocketenv_fp.archive.names import shown
from pocketenv_fp.observing import LOG, note

__all__ = ["DEVICE", "LINK", "PIPE", "SOCKET", "Skipped", "kind_of"]

SOCKET, PIPE, DEVICE, LINK = "socket", "pipe", "device", "link that leads outside"
_MANY = {SOCKET: "sockets", PIPE: "pipes", DEVICE: "devices", LINK: "links that lead outside"}
_NAMED = 3


class Skipped:
    """The number of skipped entries of each kind, and the first names: a million of them take no memory."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._names: list[str] = []
        self._is_reported = False

    @property
    def count(self) -> int:
        """The number of all."""
        return sum(self._counts.values())

    def add(self, kind: str, name: str) -> None:
        """Count one more."""
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
        """Log a warning and report it to observers, where anything was skipped. A second call does nothing."""
        if not self.count or self._is_reported:
            return
        self._is_reported = True
        line = f"{operation} skipped {self}"
        note(lambda: line)
        # Imported here, as elsewhere: most programs never need it, and it is slow to import.
        import logging

        logging.getLogger(LOG).warning("%s", line)


def kind_of(mode: int) -> str:
    """Return the kind of entry for a mode that is no file's, directory's or link's."""
    if stat.S_ISSOCK(mode):
        return SOCKET
    return PIPE if stat.S_ISFIFO(mode) else DEVICE
