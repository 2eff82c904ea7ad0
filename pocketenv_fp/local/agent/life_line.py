"""The socket between an agent and its platform. Where it is closed, the box ends."""

import os
import selectors
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, NoReturn

from .frames import Frames, frame
from .spawner import PIECE

Handler = Callable[[dict[str, Any], bytes], None]


class LifeLine:
    """Reads requests and sends answers, and never blocks.

    `handle` gets each request with its payload. `end` is called when the line is closed. `woken`: the first byte of the
    next request was read before.
    """

    def __init__(
        self,
        connection: socket.socket,
        selector: selectors.BaseSelector,
        handle: Handler,
        end: Callable[[], NoReturn],
        *,
        woken: bool,
    ) -> None:
        self._connection = connection
        self._selector = selector
        self._handle = handle
        self._end = end
        self._frames = Frames(woken=woken)
        self._descriptors: deque[int] = deque()
        self._sending: deque[memoryview] = deque()
        connection.setblocking(False)  # noqa: FBT003 - the socket's own signature
        selector.register(connection, selectors.EVENT_READ, self._receive)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing was received or sent in part."""
        return not (self._sending or self._descriptors or self._frames.has_part)

    def fileno(self) -> int:
        """Return the number of the socket's descriptor."""
        return self._connection.fileno()

    def descriptor(self) -> int:
        """Return the descriptor that came with a request. The caller closes it."""
        return self._descriptors.popleft()

    def say(self, message: dict[str, Any], payload: bytes | bytearray = b"") -> None:
        """Send a message."""
        self._sending.append(memoryview(frame(message, payload)))
        self._send()

    def _receive(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._connection, PIECE * 4, 16)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        for descriptor in descriptors:
            # It arrives inheritable: a command that starts before its turn would get it.
            os.set_inheritable(descriptor, False)  # noqa: FBT003 - its own signature
            self._descriptors.append(descriptor)
        if not data:
            self._end()
        for request, payload in self._frames.feed(data):
            self._handle(request, payload)

    def _send(self) -> None:
        try:
            while self._sending:
                sent = self._connection.send(self._sending[0])
                left = self._sending[0][sent:]
                if left:
                    self._sending[0] = left
                else:
                    self._sending.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self._end()
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._sending else 0)
        if self._selector.get_key(self._connection).events != events:
            self._selector.modify(self._connection, events, self._exchange if self._sending else self._receive)

    def _exchange(self) -> None:
        self._send()
        self._receive()
