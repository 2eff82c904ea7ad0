"""One client's connection: uvicorn's, and a way to end it without an answer."""

import asyncio
import contextlib
import socket
import struct

from starlette.types import Receive, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

TRANSPORT = "pocketenv.transport"
# A socket that is closed with this on sends a reset: its client sees the connection broken rather than ended.
_RESET = struct.pack("ii", 1, 0)


class Connection(HttpToolsProtocol):
    """A connection whose transport is in the `state` of each of its requests: uvicorn itself lends it to nobody."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own narrowing
        super().connection_made(transport)
        self.app_state = {**self.app_state, TRANSPORT: transport}


async def hang_up(scope: Scope, receive: Receive, *, reset: bool) -> None:
    """End the connection of this request, whatever has been sent of its answer, and return once it has ended.

    The request should have been read to its end: the system turns the close of a socket with unread bytes into a reset.
    """
    transport: asyncio.Transport = scope["state"][TRANSPORT]
    if reset:
        # The client may have gone already.
        with contextlib.suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.close()
    # Until uvicorn knows that the client is gone, it takes an application without an answer for a broken one.
    while (await receive())["type"] != "http.disconnect":
        pass
