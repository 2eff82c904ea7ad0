"""A line below a running cell that shows the current steps."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from pocketenv_fp.elements import element
from pocketenv_fp.jupyter.display import Show, display_in_place
from pocketenv_fp.jupyter.markup import escaped, plain
from pocketenv_fp.observing import Begun, Done, Ended, observe
from pocketenv_fp.redaction import counted, shorten

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["Board", "live"]

QUIET_SECONDS = 0.3
INTERVAL_SECONDS = 0.25
STEP_CHARACTERS = 80
KINDS = 4


class _Running(NamedTuple):
    step: str
    began: float
    thread: int


class Board:
    """The running steps, and the finished ones since `clear`.

    Many threads start and end steps, and the process may be forked at any time. So this class uses no lock: a forked
    child could find it locked.
    """

    def __init__(self) -> None:
        self._running: list[_Running] = []
        self._statuses: dict[int, str] = {}
        self._ended: list[bool] = []
        self._requests: list[int] = []
        self._times: list[float] = []
        self.has_begun = threading.Event()

    def clear(self) -> None:
        """Start again, for a new cell."""
        self._ended, self._requests, self._times = [], [], []
        self.has_begun.clear()

    def watch(self, begun: Begun) -> Ended | None:
        """Record an event: a watcher for `pocketenv_fp.observing`."""
        if begun.kind == "call":
            return lambda done: self._requests.append(done.requests)
        if begun.kind == "status":
            self._statuses[threading.get_ident()] = begun.name
            return None
        running = _Running(begun.name, time.monotonic(), threading.get_ident())
        outermost = all(other.thread != running.thread for other in tuple(self._running))
        self._running.append(running)
        self._times.append(running.began)
        if not self.has_begun.is_set():
            self.has_begun.set()

        def ended(done: Done) -> None:
            self._running.remove(running)
            self._statuses.pop(running.thread, None)
            self._times.append(time.monotonic())
            # If a step fails because of an inner step, that counts as one failure.
            self._ended.append(outermost and done.outcome != "ok")

        return ended

    @property
    def is_idle(self) -> bool:
        return not self._running

    @property
    def seconds(self) -> float:
        """The seconds since the first step started."""
        return time.monotonic() - self._times[0] if self._times else 0.0

    def line(self) -> str:
        """Return the running steps in one line: the innermost step, or with many threads the names and numbers."""
        now = time.monotonic()
        innermost = tuple({running.thread: running for running in tuple(self._running)}.values())
        if not innermost:
            return self.summary()
        shown = _one(innermost[0], now) if len(innermost) == 1 else _many(innermost, now)
        # With many threads, the numbers are enough.
        status = self._statuses.get(innermost[0].thread, "") if len(innermost) == 1 else ""
        return f"▸ {shown}{status and ' · '}{status} · {counted(sum(self._requests), 'request')}"

    def summary(self) -> str:
        """Return the finished steps in one line."""
        failed = sum(self._ended)
        parts = [
            counted(len(self._ended), "step"),
            *([f"{failed:,} failed"] if failed else []),
            counted(sum(self._requests), "request"),
            f"{max(self._times, default=0.0) - min(self._times, default=0.0):.1f} s",
        ]
        return f"{'✕' if failed else '✓'} {', '.join(parts)}"


def _one(running: _Running, now: float) -> str:
    step = shorten(running.step, STEP_CHARACTERS)
    return f"{step} {now - running.began:.1f} s"


def _many(running: Iterable[_Running], now: float) -> str:
    counted = Counter(each.step.partition("(")[0] for each in running)
    most = [f"{number:,} × {name}" for name, number in counted.most_common(KINDS)]
    rest = sum(counted.values()) - sum(number for _, number in counted.most_common(KINDS))
    longest = max(now - each.began for each in running)
    return f"{', '.join([*most, *([f'{rest:,} more'] if rest else [])])}, up to {longest:.1f} s"


class _Reporter:
    """Shows the board's line four times a second, as soon as steps run longer than a moment."""

    def __init__(self, board: Board, show: Callable[[str], None]) -> None:
        self._board = board
        self._show = show
        self._over = threading.Event()
        self._shown = ""
        self._thread = threading.Thread(target=self._run, name="pocketenv-live", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        # Most cells run no step: wait without waking up.
        self._board.has_begun.wait()
        self._over.wait(max(QUIET_SECONDS - self._board.seconds, 0.0))
        while not self._over.is_set():
            if self._shown or not self._board.is_idle:
                self._update(self._board.line())
            self._over.wait(INTERVAL_SECONDS)

    def _update(self, line: str) -> None:
        if line != self._shown:
            self._show(line)
            self._shown = line

    def end(self) -> None:
        """Show the finished steps, if a line was shown before."""
        self._over.set()
        self._board.has_begun.set()
        self._thread.join()
        if self._shown:
            self._update(self._board.summary())


def _show_line(show: Show, line: str) -> None:
    show(element("div", escaped(line), style="font-size:12px;opacity:.75;unicode-bidi:isolate"), plain(line))


@contextmanager
def live(ipython: InteractiveShell) -> Generator[None]:
    """Show the running steps of cells, inside the block. It works only in a notebook."""
    if getattr(ipython, "kernel", None) is None:
        yield
        return
    board = Board()
    reporters: list[_Reporter] = []
    events = cast("Any", ipython).events

    def begins(*_: object) -> None:
        ends()
        board.clear()
        reporters.append(_Reporter(board, partial(_show_line, display_in_place())))

    def ends(*_: object) -> None:
        while reporters:
            reporters.pop().end()

    stop = observe(board.watch)
    events.register("pre_run_cell", begins)
    events.register("post_run_cell", ends)
    begins()  # for the cell that loads the extension
    try:
        yield
    finally:
        events.unregister("pre_run_cell", begins)
        events.unregister("post_run_cell", ends)
        stop()
        ends()
