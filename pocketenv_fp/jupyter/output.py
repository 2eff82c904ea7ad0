"""Show the output of a command in the cell while it runs: coloured as in a terminal, and cut when it is long."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from pocketenv_fp.jupyter.cards import output_card
from pocketenv_fp.jupyter.display import Show, display_in_place
from pocketenv_fp.jupyter.markup import plain
from pocketenv_fp.models import Piece
from pocketenv_fp.steps.listening import print_with

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["CellOutput", "cell_output", "output_in_cells"]

INTERVAL_SECONDS = 0.25
LIVE_CHARACTERS = 20_000
HEAD_CHARACTERS, TAIL_CHARACTERS = 40_000, 160_000


class CellOutput:
    """Collects pieces, and shows them at most four times a second: while they come the end, at last start and end."""

    def __init__(self, show: Show) -> None:
        self._show = show
        self._lock = threading.Lock()
        self._head = self._tail = ""
        self._dropped = 0
        self._shown = 0.0
        self._timer: threading.Timer | None = None

    def __call__(self, piece: Piece) -> None:
        with self._lock:
            self._keep(piece.text)
            wait = self._shown + INTERVAL_SECONDS - time.monotonic()
            if wait <= 0:
                self._update()
            elif self._timer is None:
                # What comes before a long silence is shown too.
                self._timer = threading.Timer(wait, self._later)
                self._timer.daemon = True
                self._timer.start()

    def _keep(self, text: str) -> None:
        room = HEAD_CHARACTERS - len(self._head)
        self._head += text[:room]
        self._tail += text[room:]
        if len(self._tail) > 2 * TAIL_CHARACTERS:
            self._dropped += len(self._tail) - TAIL_CHARACTERS
            self._tail = self._tail[-TAIL_CHARACTERS:]

    def _later(self) -> None:
        with self._lock:
            if self._timer is not None:
                self._update()

    def _update(self) -> None:
        self._timer, self._shown = None, time.monotonic()
        text = f"{self._head}{self._tail}"
        before = self._dropped + max(0, len(text) - LIVE_CHARACTERS)
        note = f"… {before:,} characters before\n" if before else ""
        self._draw(f"{note}{text[-LIVE_CHARACTERS:]}")

    def _draw(self, text: str) -> None:
        self._show(output_card(text), plain(text))

    def close(self, *, keeps: bool) -> None:
        """Show the start and the end of the output, or nothing more: where a card with all of it follows."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if not (self._head or self._shown):
                return
            if not keeps:
                self._show("", "")
                return
            # The card cuts the text once more, and counts what it hides.
            note = f"… {self._dropped:,} characters are left out in the middle\n" if self._dropped else ""
            self._draw(f"{note}{self._head}{self._tail}")


@contextmanager
def cell_output(ipython: InteractiveShell) -> Generator[CellOutput | None]:
    """Yield a function for the pieces of a command whose card follows. None in a terminal."""
    if getattr(ipython, "kernel", None) is None:
        yield None
        return
    output = CellOutput(display_in_place())
    keeps = True
    try:
        yield output
        keeps = False
    finally:
        output.close(keeps=keeps)


@contextmanager
def output_in_cells(ipython: InteractiveShell) -> Generator[None]:
    """Have ``on_output=True`` print into the cell, inside the block. It works only in a notebook."""
    if getattr(ipython, "kernel", None) is None:
        yield
        return
    open_outputs: list[CellOutput] = []
    events = cast("Any", ipython).events

    def printer() -> CellOutput:
        open_outputs.append(CellOutput(display_in_place()))
        return open_outputs[-1]

    def ends(*_: object) -> None:
        while open_outputs:
            open_outputs.pop().close(keeps=True)

    stop = print_with(printer)
    events.register("post_run_cell", ends)
    try:
        yield
    finally:
        events.unregister("post_run_cell", ends)
        stop()
        ends()
