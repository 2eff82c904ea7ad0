"""Report progress to a function, or show it as a bar.

The function gets the finished amount, for a copy in bytes, and the total, or None if it is unknown. It is called at the
start, up to twenty times a second, and at the end. ``True`` shows a bar, in terminals and notebooks. It needs the extra
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
from functools import partial
from types import TracebackType
from typing import Any

from pocketenv_fp.runtime.optional import needed

__all__ = ["Progress", "Track", "tracking"]

Progress = Callable[[int, int | None], None]

INTERVAL = 0.05


class Track:
    """The finished amount so far."""

    def __init__(self, report: Progress | None, total: int | None) -> None:
        self.total = total
        self._report = report
        self._done = 0
        self._reported: tuple[int, int | None] | None = None
        self._next = 0.0

    def add(self, done: int) -> None:
        """Add to the finished amount."""
        self._done += done
        if self._report is not None and time.monotonic() >= self._next:
            self._call(self._report)

    def restart(self, total: int | None) -> None:
        """Start from zero, for a new attempt."""
        self._done, self.total = 0, total
        if self._report is not None:
            self._call(self._report)

    def finish(self) -> None:
        """Report the last numbers, if they are not reported yet."""
        if self._report is not None and self._reported != (self._done, self.total):
            self._call(self._report)

    def _call(self, report: Progress) -> None:
        self._reported = (self._done, self.total)
        try:
            report(*self._reported)
        except Exception as error:
            raise _CallerError(error) from error
        self._next = time.monotonic() + INTERVAL


class _CallerError(BaseException):
    """Carries an exception of the caller's function.

    Code in between handles errors of disks and connections. It would mistake the caller's OSError, TransportError or
    StopIteration for its own. This class is a BaseException, so it is not handled.
    """

    def __init__(self, raised: Exception) -> None:
        super().__init__()
        self.raised = raised


class _Tracking:
    """The context manager of `tracking`. Not a generator: a StopIteration of the caller cannot leave a generator."""

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
            # Restore the context, without _CallerError.
            raised.__context__ = context


def tracking(
    progress: Progress | bool,  # noqa: FBT001  # the caller's argument
    total: int | None,
    label: str = "",
    *,
    unit: str = "B",
) -> AbstractContextManager[Track, None]:
    """Return a context manager that yields a Track, and calls ``progress``. The last call is at the end of the block.

    If the block raises, the last call is omitted. Raises ImportError for ``True`` if tqdm is not installed. Exceptions
    of the function are raised unchanged.
    """
    if progress is not True:
        return _Tracking(Track(progress or None, total), lambda: None)
    bar: Any = _bars().tqdm(
        total=total, desc=label or None, unit=unit, unit_scale=unit == "B", unit_divisor=1024, miniters=1
    )
    return _Tracking(Track(partial(_show, bar), total), bar.close)


def _bars() -> Any:
    # A notebook without ipywidgets gets a text bar. That is fine, so hide tqdm's warning.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "IProgress not found")
        return needed("tqdm.auto", "progress")


def _show(bar: Any, done: int, total: int | None) -> None:
    bar.total = total
    bar.update(done - bar.n)
