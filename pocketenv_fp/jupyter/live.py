"""A line below a cell that tells what it is at, while it runs."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from pocketenv_fp.jupyter.markup import escaped, plain
from pocketenv_fp.observing import Begun, Done, Ended, observe
from pocketenv_fp.redaction import shorten

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["Board", "live"]

QUIET_SECONDS = 0.3
INTERVAL_SECONDS = 0.25
STEP_CHARACTERS = 80
KINDS = 4

Show = Callable[[str], None]


class _Running(NamedTuple):
    step: str
    began: float
    thread: int


class Board:
    """What runs at this moment, and what has been since `clear`.

    Steps begin and end in many threads, and a process may be forked meanwhile: there is no lock that could stay closed
    in the other process, and nothing that needs one.
    """

    def __init__(self) -> None:
        self._running: list[_Running] = []
        self._statuses: dict[int, str] = {}
        self._ended: list[bool] = []
        self._requests: list[int] = []
        self._times: list[float] = []
        self.has_begun = threading.Event()

    def clear(self) -> None:
        """Forget what has been: a new cell begins."""
        self._ended, self._requests, self._times = [], [], []
        self.has_begun.clear()

    def watch(self, begun: Begun) -> Ended | None:
        """Note what begins: a watcher for `pocketenv_fp.observing`."""
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
            # A step fails because one inside it did: that is one failure.
            self._ended.append(outermost and done.outcome != "ok")

        return ended

    @property
    def is_idle(self) -> bool:
        return not self._running

    @property
    def seconds(self) -> float:
        """The time since the first step began."""
        return time.monotonic() - self._times[0] if self._times else 0.0

    def line(self) -> str:
        """Give what runs, in one line: of each thread the innermost step, of many the names and how many there are."""
        now = time.monotonic()
        innermost = tuple({running.thread: running for running in tuple(self._running)}.values())
        if not innermost:
            return self.summary()
        shown = _one(innermost[0], now) if len(innermost) == 1 else _many(innermost, now)
        # Of many who wait, their number is told already.
        status = self._statuses.get(innermost[0].thread, "") if len(innermost) == 1 else ""
        return f"▸ {shown}{status and ' · '}{status} · {_counted(sum(self._requests), 'request')}"

    def summary(self) -> str:
        """Give what has been, in one line."""
        failed = sum(self._ended)
        parts = [
            _counted(len(self._ended), "step"),
            *([f"{failed:,} failed"] if failed else []),
            _counted(sum(self._requests), "request"),
            f"{max(self._times, default=0.0) - min(self._times, default=0.0):.1f} s",
        ]
        return f"{'✕' if failed else '✓'} {', '.join(parts)}"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _one(running: _Running, now: float) -> str:
    step = shorten(running.step, STEP_CHARACTERS)
    return f"{step} {now - running.began:.1f} s"


def _many(running: Iterable[_Running], now: float) -> str:
    counted = Counter(each.step.partition("(")[0] for each in running)
    most = [f"{number:,} × {name}" for name, number in counted.most_common(KINDS)]
    rest = sum(counted.values()) - sum(number for _, number in counted.most_common(KINDS))
    longest = max(now - each.began for each in running)
    return f"{', '.join([*most, *([f'{rest:,} more'] if rest else [])])}, up to {longest:.1f} s"


class _Teller:
    """Shows the board's line four times a second, as soon as steps have taken long enough for somebody to ask."""

    def __init__(self, board: Board, show: Show) -> None:
        self._board = board
        self._show = show
        self._over = threading.Event()
        self._shown = ""
        self._thread = threading.Thread(target=self._tell, name="pocketenv-live", daemon=True)
        self._thread.start()

    def _tell(self) -> None:
        # Most cells have no step in them, and nothing to wake up for.
        self._board.has_begun.wait()
        self._over.wait(max(QUIET_SECONDS - self._board.seconds, 0.0))
        while not self._over.is_set():
            if self._shown or not self._board.is_idle:
                self._say(self._board.line())
            self._over.wait(INTERVAL_SECONDS)

    def _say(self, line: str) -> None:
        if line != self._shown:
            self._show(line)
            self._shown = line

    def end(self) -> None:
        """Show what has been, where something was shown."""
        self._over.set()
        self._board.has_begun.set()
        self._thread.join()
        if self._shown:
            self._say(self._board.summary())


def _display() -> Show:
    """Give a function that shows a line, always at the same place of the cell that runs now."""
    from IPython import display

    handles: list[Any] = []

    def show(line: str) -> None:
        bundle = {
            "text/plain": plain(line),
            "text/html": f'<div style="font-size:12px;opacity:.75;unicode-bidi:isolate">{escaped(line)}</div>',
        }
        if handles:
            handles[0].update(bundle, raw=True)
        else:
            handles.append(cast("Any", display).display(bundle, raw=True, display_id=True))

    return show


@contextmanager
def live(ipython: InteractiveShell) -> Generator[None]:
    """Show what cells are at, inside the block. Only a notebook can: elsewhere it does nothing."""
    if getattr(ipython, "kernel", None) is None:
        yield
        return
    board = Board()
    tellers: list[_Teller] = []
    events = cast("Any", ipython).events

    def begins(*_: object) -> None:
        ends()
        board.clear()
        tellers.append(_Teller(board, _display()))

    def ends(*_: object) -> None:
        while tellers:
            tellers.pop().end()

    stop = observe(board.watch)
    events.register("pre_run_cell", begins)
    events.register("post_run_cell", ends)
    begins()  # the cell that loads this
    try:
        yield
    finally:
        events.unregister("pre_run_cell", begins)
        events.unregister("post_run_cell", ends)
        stop()
        ends()
