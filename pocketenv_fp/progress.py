"""How far something is, told to a function or shown as a bar.

A function gets how much is done, of a copy in bytes, and the total, None where that is not known: at the start, up to
twenty times a second, and at the end. ``True`` is a bar, in terminals and notebooks alike, for which there is the extra
``progress``.

>>> from pocketenv_fp.progress import tracking
>>> with tracking(lambda done, total: print(done, "of", total), 300) as track:
...     track.add(200)
...     track.add(100)
0 of 300
300 of 300
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from pocketenv_fp.extras import needed

__all__ = ["Progress", "Track", "tracking"]

Progress = Callable[[int, int | None], None]

INTERVAL = 0.05


class Track:
    """How much was done until now."""

    def __init__(self, tell: Progress | None, total: int | None) -> None:
        self.total = total
        self._tell = tell
        self._done = 0
        self._told: tuple[int, int | None] | None = None
        self._next = 0.0

    def add(self, done: int) -> None:
        """Count more."""
        self._done += done
        if self._tell is not None and time.monotonic() >= self._next:
            self._say(self._tell)

    def restart(self, total: int | None) -> None:
        """Begin again, which is an attempt's way to go on."""
        self._done, self.total = 0, total
        if self._tell is not None:
            self._say(self._tell)

    def finish(self) -> None:
        """Tell the last figures, unless they were told."""
        if self._tell is not None and self._told != (self._done, self.total):
            self._say(self._tell)

    def _say(self, tell: Progress) -> None:
        self._told = (self._done, self.total)
        tell(*self._told)
        self._next = time.monotonic() + INTERVAL


@contextmanager
def tracking(
    progress: Progress | bool,  # noqa: FBT001  # the caller's own
    total: int | None,
    label: str = "",
    *,
    unit: str = "B",
) -> Generator[Track]:
    """Give what counts, and tell ``progress`` of it; the end is told where no error got in between.

    Raises ImportError for ``True`` where tqdm is not installed. What the function raises comes out.
    """
    if progress is True:
        bar: Any = _bars().tqdm(
            total=total, desc=label or None, unit=unit, unit_scale=unit == "B", unit_divisor=1024, miniters=1
        )
        try:
            yield from _told(Track(_shown_by(bar), total))
        finally:
            bar.close()
    else:
        yield from _told(Track(progress or None, total))


def _bars() -> Any:
    # A notebook without ipywidgets gets a bar of text. It is a bar, which was asked for: nothing to warn of.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "IProgress not found")
        return needed("tqdm.auto", "progress")


def _told(track: Track) -> Generator[Track]:
    track.restart(track.total)
    yield track
    track.finish()


def _shown_by(bar: Any) -> Progress:
    def show(done: int, total: int | None) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return show
