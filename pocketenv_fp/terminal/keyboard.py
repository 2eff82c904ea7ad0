"""The terminal of this program: its size, and its raw mode, in which each key is sent as it is."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable, Generator

from returns.result import Failure, Result, Success

from pocketenv_fp.errors import InvalidInput, PocketenvError
from pocketenv_fp.terminal.links import Size

__all__ = ["Terminal", "own_terminal"]

# Undo the changes of a program in the sandbox: bracketed paste, a hidden cursor, mouse reports, colours.
_RESET = b"\x1b[?2004l\x1b[?25h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[0m\r\n"
USUAL = (80, 24)


class Terminal:
    """The terminal of this program: ``keyboard`` and ``screen`` are its descriptors."""

    def __init__(self, keyboard: int, screen: int) -> None:
        self.keyboard = keyboard
        self.screen = screen

    def size(self) -> Size:
        """Return its columns and rows."""
        try:
            columns, rows = os.get_terminal_size(self.screen)
        except OSError:
            return USUAL
        # A terminal without a size reports 0 of both.
        return columns or USUAL[0], rows or USUAL[1]

    def write(self, data: bytes) -> None:
        """Write all of it. Raises OSError if the terminal is gone."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self.screen, rest) :]

    @contextlib.contextmanager
    def raw(self) -> Generator[None]:
        """Send each key at once and as it is, Ctrl-C too. The end of the block restores the terminal. Raises OSError."""
        try:
            before = termios.tcgetattr(self.keyboard)
        except termios.error as error:
            # termios.error is not an OSError, but has the same arguments.
            raise OSError(*error.args) from None
        try:
            with contextlib.suppress(termios.error):
                tty.setraw(self.keyboard, termios.TCSADRAIN)
            yield
        finally:
            # Not TCSADRAIN: a terminal that takes no output would never be restored.
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self.keyboard, termios.TCSANOW, before)
            with contextlib.suppress(OSError):
                self.write(_RESET)

    @contextlib.contextmanager
    def resized(self, call: Callable[[], None]) -> Generator[None]:
        """Call ``call`` after each change of the size. In other threads it is never called: Python handles signals in the main one."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGWINCH, lambda _number, _frame: call())
        try:
            yield
        finally:
            # None stands for a handler that was not set from Python.
            signal.signal(signal.SIGWINCH, signal.SIG_DFL if before is None else before)


def own_terminal() -> Result[Terminal, PocketenvError]:
    """Return the terminal of standard input and output, or Failure(InvalidInput) if one of them is not a terminal."""
    try:
        keyboard, screen = sys.stdin.fileno(), sys.stdout.fileno()
        if os.isatty(keyboard) and os.isatty(screen):
            return Success(Terminal(keyboard, screen))
    except (AttributeError, OSError, ValueError):
        # A notebook, or a closed or replaced stream.
        pass
    return Failure(InvalidInput("stdin", "console needs a terminal. Run single commands with exec(…)"))
