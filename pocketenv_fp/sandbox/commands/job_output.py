"""The output of a job while it is followed: bytes become whole characters, and the caller gets pieces."""

from __future__ import annotations

import codecs
import sys
from collections import deque
from collections.abc import Callable
from typing import Literal

from pocketenv_fp.models import Piece
from pocketenv_fp.sandbox.commands.exec import OnOutput
from pocketenv_fp.sandbox.commands.job_requests import Look, Place
from pocketenv_fp.steps.listening import listener, printing

__all__ = ["MOST_KEPT", "Output", "printer"]

MOST_KEPT = 64 * 1024 * 1024
"""The maximum characters of a stream in a result. A longer stream keeps its end, and a line says so."""


def printer(on_output: OnOutput | None) -> Callable[[Piece], object] | None:
    """Return the function that gets the pieces. ``True`` and ``print`` print them as they come, without more newlines.

    ``True`` uses the printer of a notebook. None is the listener of this thread.
    """
    if on_output is None:
        return listener()
    if on_output is True:
        return printing() or _print
    if on_output is print:
        return _print
    return None if isinstance(on_output, bool) else on_output


def _print(piece: Piece) -> None:
    stream = sys.stdout if piece.stream == "stdout" else sys.stderr
    stream.write(piece.text)
    stream.flush()


class _Stream:
    """One of the two outputs."""

    def __init__(self, name: Literal["stdout", "stderr"], start: int, *, keeps: bool) -> None:
        self.name: Literal["stdout", "stderr"] = name
        self.end = start
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._keeps = keeps
        self._kept: deque[str] = deque()
        self._size = 0
        self._dropped = 0

    def read(self, data: bytes, *, is_last: bool) -> Piece | None:
        text = self._decoder.decode(data, is_last)
        self.end += len(data)
        if not text:
            return None
        if self._keeps:
            self._keep(text)
        # A follower that continues from here must read the first bytes of an incomplete character again.
        pending: bytes = self._decoder.getstate()[0]
        return Piece(self.name, text, self.end - len(pending))

    def _keep(self, text: str) -> None:
        self._kept.append(text)
        self._size += len(text)
        while self._size - len(self._kept[0]) >= MOST_KEPT:
            gone = len(self._kept.popleft())
            self._size -= gone
            self._dropped += gone

    @property
    def text(self) -> str:
        head = f"[… {self._dropped:,} characters are left out: follow with on_output= has them all]\n"
        return "".join((head if self._dropped else "", *self._kept))


class Output:
    """Both outputs of a job, from a position on."""

    def __init__(self, start: Place, *, keeps: bool = True) -> None:
        self._stdout = _Stream("stdout", start.stdout, keeps=keeps)
        self._stderr = _Stream("stderr", start.stderr, keeps=keeps)

    @property
    def place(self) -> Place:
        """Return how much of each was read."""
        return Place(self._stdout.end, self._stderr.end)

    @property
    def stdout(self) -> str:
        """Return what was kept."""
        return self._stdout.text

    @property
    def stderr(self) -> str:
        """Return what was kept."""
        return self._stderr.text

    def read(self, look: Look, on_piece: Callable[[Piece], object] | None = None) -> None:
        """Read the new output of a look. ``on_piece`` is called with each piece of it."""
        for stream, data, size in (
            (self._stdout, look.stdout, look.sizes.stdout),
            (self._stderr, look.stderr, look.sizes.stderr),
        ):
            is_last = look.state == "ended" and stream.end + len(data) >= size
            piece = stream.read(data, is_last=is_last)
            if piece and on_piece:
                on_piece(piece)

    def is_whole(self, look: Look) -> bool:
        """Return whether all output of the look was read."""
        return self._stdout.end >= look.sizes.stdout and self._stderr.end >= look.sizes.stderr
