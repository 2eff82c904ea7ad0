"""One client's connection: uvicorn's, with bounded headers and a way to end it without an answer."""

import asyncio
import contextlib
import socket
import struct

from starlette.types import Receive, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

TRANSPORT = "pocketenv.transport"
# Node's limit for the request line and all headers.
LARGEST_HEAD = 16_384
# A socket that is closed with this option sends a reset. The client sees a broken connection, not an ended one.
_RESET = struct.pack("ii", 1, 0)


class Connection(HttpToolsProtocol):
    """A connection whose transport is in the `state` of each of its requests. uvicorn does not expose it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own narrowing
        super().connection_made(transport)
        self.app_state = {**self.app_state, TRANSPORT: transport}
        self._in_head = True
        self._head_size = 0

    def data_received(self, data: bytes) -> None:
        """Parse the next bytes. A head that is too large ends the connection: the parser would keep it in memory."""
        while data and not self.transport.is_closing():
            if not self._in_head:
                super().data_received(data)
                return
            piece = data[: LARGEST_HEAD - self._head_size]
            data = data[len(piece) :]
            self._head_size += len(piece)
            super().data_received(piece)
            if self._in_head and self._head_size >= LARGEST_HEAD:
                self._refuse(b"431 Request Header Fields Too Large")

    def on_headers_complete(self) -> None:
        """Begin the request. The next bytes are its body."""
        self._in_head, self._head_size = False, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that the next bytes are a head again."""
        self._in_head = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - Node says nothing
        """End a connection that does not speak HTTP as Node does: without a message or type."""
        self._refuse(b"400 Bad Request")

    def _refuse(self, status: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 " + status + b"\r\nConnection: close\r\n\r\n")
            self.transport.close()


async def hang_up(scope: Scope, receive: Receive, *, reset: bool) -> None:
    """End the connection of this request, after any part of its answer, and return once it has ended.

    Read the request to its end before: the system turns the close of a socket with unread bytes into a reset.
    """
    transport: asyncio.Transport = scope["state"][TRANSPORT]
    if reset:
        # The client may have gone already.
        with contextlib.suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.close()
    # Until uvicorn knows that the client is gone, it treats an application without an answer as broken.
    while (await receive())["type"] != "http.disconnect":
        pass
