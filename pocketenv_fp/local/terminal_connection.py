"""One client's WebSocket: uvicorn's, without a log of its requests, because their addresses have tokens in them."""

import logging
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

_silent = logging.getLogger("pocketenv_fp.local.terminal_connection")
_silent.setLevel(logging.CRITICAL + 1)


class TerminalConnection(WebSocketsSansIOProtocol):
    """A WebSocket that logs nothing."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.logger = self.conn.logger = _silent
        self.conn.debug = False
