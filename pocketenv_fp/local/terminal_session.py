"""An interactive shell in a sandbox's terminal, with the output that came before."""

import asyncio
import contextlib
import fcntl
import os
import struct
import termios
from collections.abc import Callable

BACKLOG_BYTES = 256 * 1024
PIECE = 1 << 16
# Above this number of unsent pieces the shell waits.
MOST_WAITING = 16

Listener = asyncio.Queue[bytes | None]


class Session:
    """One shell, and the clients that look at it. `ended` is called once, when the shell has ended."""

    def __init__(self, descriptor: int, ended: Callable[[], None]) -> None:
        self.backlog = bytearray()
        self._descriptor = descriptor
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._listeners: set[Listener] = set()
        self._unwritten = bytearray()
        self._loop.add_reader(descriptor, self._read)

    @property
    def is_over(self) -> bool:
        """Whether the shell has ended."""
        return self._descriptor < 0

    def listen(self) -> Listener:
        """Return a queue that gets the later output, and None at the end."""
        listener: Listener = asyncio.Queue()
        self._listeners.add(listener)
        return listener

    def forget(self, listener: Listener) -> None:
        """Put nothing more into a queue."""
        self._listeners.discard(listener)
        self.go_on()

    def go_on(self) -> None:
        """Read on, if no client is far behind."""
        if not self.is_over and not self._is_behind():
            self._loop.add_reader(self._descriptor, self._read)

    def write(self, keys: bytes) -> None:
        """Type these bytes."""
        if not self.is_over:
            self._unwritten += keys
            self._write()

    def resize(self, columns: int, rows: int) -> None:
        """Set the size of the terminal. Values that no terminal can have are ignored."""
        if not self.is_over:
            with contextlib.suppress(OSError, struct.error):
                fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def close(self) -> None:
        """Hang up. The system sends SIGHUP to the shell."""
        if self.is_over:
            return
        self._loop.remove_reader(self._descriptor)
        self._loop.remove_writer(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1
        for listener in self._listeners:
            listener.put_nowait(None)
        self._ended()

    def _is_behind(self) -> bool:
        return any(listener.qsize() > MOST_WAITING for listener in self._listeners)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, PIECE)
        except BlockingIOError:
            return
        except OSError:
            # The last process has closed the terminal.
            data = b""
        if not data:
            self.close()
            return
        self.backlog += data
        del self.backlog[:-BACKLOG_BYTES]
        for listener in self._listeners:
            listener.put_nowait(data)
        if self._is_behind():
            self._loop.remove_reader(self._descriptor)

    def _write(self) -> None:
        try:
            while self._unwritten:
                del self._unwritten[: os.write(self._descriptor, self._unwritten[:PIECE])]
        except BlockingIOError:
            self._loop.add_writer(self._descriptor, self._write)
            return
        except OSError:
            self._unwritten.clear()
        self._loop.remove_writer(self._descriptor)
