"""How far something is, told to a function or shown as a bar.

A function gets how much is done, of a copy in bytes, and the total, None where that is not known: at the start, up to
twenty times a second, and at the end. ``True`` is a bar, in terminals and notebooks alike, for which there is the extra
``progress``.

>>> from pocketenv_fp.runtime.progress import tracking
>>> with tracking(lambda done, total: print(done, "of", total), 300) as track:
...     track.add(200)
...     track.add(100)
0 of 300
300 of 300
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from pocketenv_fp.runtime.optional import needed

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
        try:
            tell(*self._told)
        except Exception as error:
            raise _CallerError(error) from error
        self._next = time.monotonic() + INTERVAL


class _CallerError(BaseException):
    """What a caller's function raised, on its way out.

    Between here and there others handle errors of their own, of disks and connections, and would take an OSError, a
    TransportError or a StopIteration of the caller's for one of them. None handles this.
    """

    def __init__(self, raised: Exception) -> None:
        super().__init__()
        self.raised = raised


class _Tracking:
    """The block of `tracking`. Not a generator: a StopIteration of the caller's would not come out of one."""

    def __init__(self, track: Track, close: Callable[[], object]) -> None:
        self._track = track
        self._close = close

    def __enter__(self) -> Track:
        try:
            self._track.restart(self._track.total)
        except BaseException as error:
            self._close()
            self._raise(error)
            raise
        return self._track

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if error is None:
                self._track.finish()
        except _CallerError as last:
            error = last
        finally:
            self._close()
        self._raise(error)

    @staticmethod
    def _raise(error: BaseException | None) -> None:
        if not isinstance(error, _CallerError):
            return
        raised = error.raised
        context = raised.__context__
        try:
            raise raised
        finally:
            # As it was raised, without what carried it here.
            raised.__context__ = context


def tracking(
    progress: Progress | bool,  # noqa: FBT001  # the caller's own
    total: int | None,
    label: str = "",
    *,
    unit: str = "B",
) -> AbstractContextManager[Track, None]:
    """Return a block that yields what counts, and calls ``progress`` with it; last at its end, unless it raises.

    Raises ImportError for ``True`` where tqdm is not installed. What the function raises comes out of the block as it
    is.
    """
    if progress is not True:
        return _Tracking(Track(progress or None, total), lambda: None)
    bar: Any = _bars().tqdm(
        total=total, desc=label or None, unit=unit, unit_scale=unit == "B", unit_divisor=1024, miniters=1
    )
    return _Tracking(Track(_shown_by(bar), total), bar.close)


def _bars() -> Any:
    # A notebook without ipywidgets gets a bar of text. It is a bar, which was asked for: nothing to warn of.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "IProgress not found")
        return needed("tqdm.auto", "progress")


def _shown_by(bar: Any) -> Progress:
    def show(done: int, total: int | None) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return show
