"""Carry keys and output between the terminal of this program and that of a sandbox."""

from __future__ import annotations

import contextlib
import json
import math
import os
import selectors
import threading
import time
from collections.abc import Generator
from typing import TYPE_CHECKING

from pocketenv_fp.errors import PocketenvError, TransportError
from pocketenv_fp.redaction import printable
from pocketenv_fp.runtime.deadline import exceeded, remaining
from pocketenv_fp.runtime.signals import guarded, opened
from pocketenv_fp.terminal.keyboard import Terminal
from pocketenv_fp.terminal.links import Control, Link
from pocketenv_fp.terminal.routes import OPERATION

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

__all__ = ["LEAVE", "Conversation"]

LEAVE = b"\x1d"
"""The key that closes the console: Ctrl-]."""

PIECE = 1 << 16
# After the end of the shell the platform sends nothing more.
SILENCE_SECONDS = 1.0
JOIN_SECONDS = 2.0
_LAST_WORDS = (b"exit\r\n", b"logout\r\n")
_HINT = "the shell may have ended: Ctrl-] leaves"


class Conversation:
    """The exchange over one WebSocket. `run` returns at its end.

    The thread of `run` reads keys and sends them. A second thread shows the output. It wakes the first one with a byte
    in a pipe. `read_timeout` is the time for the first message, in seconds.
    """

    def __init__(self, line: ClientConnection, link: Link, terminal: Terminal, read_timeout: float) -> None:
        self._line = line
        self._link = link
        self._terminal = terminal
        self._read_timeout = read_timeout
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        self._is_ready = not link.has_ready
        self._is_over = False
        self._is_resized = True
        self._error: PocketenvError | None = None
        self._tail = b""
        self._last_output = math.inf

    def run(self) -> PocketenvError | None:
        """Carry keys and output until one side ends. Returns the error of a broken connection, or None."""
        showing = threading.Thread(target=self._show, name="pocketenv-console", daemon=True)
        try:
            with guarded(), self._terminal.resized(self._resize):
                showing.start()
                with opened():
                    error = self._until_ready()
                if error is not None or self._is_over:
                    return error or self._error
                with self._terminal.raw(), opened():
                    return self._type()
        finally:
            self._is_over = True
            self._line.close()
            showing.join(JOIN_SECONDS)
            if not showing.is_alive():
                # A thread that still waits for the screen would write into another file.
                os.close(self._woken)
                os.close(self._waker)

    # Keys.

    def _until_ready(self) -> PocketenvError | None:
        with self._events() as events:
            until = time.monotonic() + self._read_timeout
            while not self._is_ready and not self._is_over:
                if late := exceeded(OPERATION):
                    return late
                left = until - time.monotonic()
                if left <= 0:
                    return TransportError("timeout", "the terminal was not ready in time", OPERATION)
                self._wait(events, min(left, remaining()))
        return None

    def _type(self) -> PocketenvError | None:
        with self._events(self._terminal.keyboard) as events:
            while not self._is_over:
                if self._is_resized:
                    self._is_resized = False
                    self._send_size()
                if late := exceeded(OPERATION):
                    return late
                if self._wait(events, min(self._hint(), remaining())) and not self._pass_keys():
                    return None
        return self._error

    @contextlib.contextmanager
    def _events(self, *more: int) -> Generator[selectors.BaseSelector]:
        with selectors.DefaultSelector() as selector:
            for descriptor in (self._woken, *more):
                selector.register(descriptor, selectors.EVENT_READ)
            yield selector

    def _wait(self, events: selectors.BaseSelector, seconds: float) -> bool:
        """Wait for a key, for the other thread, or for ``seconds``. Returns whether there is a key."""
        ready = {key.fd for key, _ in events.select(None if seconds == math.inf else max(seconds, 0))}
        if self._woken in ready:
            os.read(self._woken, PIECE)
        return bool(ready - {self._woken})

    def _pass_keys(self) -> bool:
        """Send the typed keys. Returns False after the key that closes the console."""
        try:
            keys = os.read(self._terminal.keyboard, PIECE)
        except OSError:
            keys = b""
        if not keys:
            # The terminal is gone.
            return False
        before, leave, _ = keys.partition(LEAVE)
        if message := self._link.keys(before):
            self._send(message)
        return not leave

    def _send(self, message: str | bytes) -> None:
        from websockets.exceptions import ConnectionClosed

        # The other thread gets the same exception, and reports it.
        with contextlib.suppress(ConnectionClosed, OSError):
            self._line.send(message)

    def _send_size(self) -> None:
        columns, rows = self._terminal.size()
        self._send(json.dumps({"type": "resize", "cols": columns, "rows": rows}))

    def _resize(self) -> None:
        self._is_resized = True
        self._wake()

    def _hint(self) -> float:
        """Show a hint in the silence after the shell's end. Returns the seconds until the next look."""
        if not self._tail.endswith(_LAST_WORDS):
            return math.inf
        left = self._last_output + SILENCE_SECONDS - time.monotonic()
        if left > 0:
            return left
        self._tail = b""
        self._show_note(_HINT)
        return math.inf

    def _show_note(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._terminal.write(f"\r\n[pocketenv: {printable(text)}]\r\n".encode())

    # Output, in a thread of its own.

    def _show(self) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            for message in self._line:
                piece = self._link.output(message)
                if isinstance(piece, Control):
                    self._handle_control(piece)
                elif not self._is_over:
                    self._show_piece(piece)
                if self._is_over:
                    break
        except ConnectionClosed as closed:
            # 1005 is a close without a reason.
            if closed.rcvd is None or closed.rcvd.code != 1005:
                reason = printable(closed.rcvd.reason)[:200] if closed.rcvd is not None else ""
                text = f"the terminal's connection broke{f': {reason}' if reason else ''}"
                self._error = TransportError("dropped", text, OPERATION, maybe_sent=True)
        except OSError:
            # The screen is gone.
            pass
        finally:
            self._is_over = True
            self._wake()

    def _show_piece(self, piece: bytes) -> None:
        self._terminal.write(piece)
        self._tail, self._last_output = (self._tail + piece)[-16:], time.monotonic()
        if self._tail.endswith(_LAST_WORDS):
            self._wake()

    def _handle_control(self, control: Control) -> None:
        if control.kind == "ready":
            self._is_ready = True
            self._wake()
        elif control.kind == "error":
            self._show_note(control.text)
        elif control.kind == "exit":
            self._is_over = True

    def _wake(self) -> None:
        # A full pipe wakes the thread too.
        with contextlib.suppress(OSError):
            os.write(self._waker, b".")
