"""The web server of a platform: its socket, uvicorn with its settings, and the errors of its event loop."""

import asyncio
import errno
import logging
import socket
from importlib.util import find_spec
from typing import Any

import uvicorn

from pocketenv_fp.local.app import App
from pocketenv_fp.local.connection import Connection

IDLE_SECONDS = 5
BACKLOG = 2048
# The number of connections that asyncio accepts at once. It goes on after an error, so it is also the number of reports.
AT_ONCE = 32
# The interval of log lines about missing file descriptors or memory for new connections.
LOG_SECONDS = 30.0
# Of a WebSocket. Keys are short, and a client may paste a file.
LARGEST_MESSAGE = 1024 * 1024

_EXHAUSTED = frozenset([errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
_log = logging.getLogger("pocketenv_fp.local")


def listen(port: int) -> socket.socket:
    """Return a socket that listens on 127.0.0.1. Port 0 is any free one. Raises OSError."""
    # The protocol is named because asyncio turns Nagle's algorithm off only for sockets that say they are TCP;
    # an answer in two segments would otherwise wait 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(BACKLOG)
        listener.settimeout(0)
    except BaseException:
        listener.close()
        raise
    return listener


def lengthen_queue(listener: socket.socket) -> None:
    """Let connections wait. uvicorn makes the queue as short as AT_ONCE."""
    listener.listen(BACKLOG)


def serving(app: App) -> uvicorn.Server:
    """Return the server of an app. It does not run yet."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=Connection,
            # Without the package the platform serves everything but terminals.
            ws="none" if find_spec("websockets") is None else _terminal_connection,  # type: ignore[arg-type]
            ws_max_size=LARGEST_MESSAGE,
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=IDLE_SECONDS,
            backlog=AT_ONCE,
        )
    )


def _terminal_connection(*args: Any, **options: Any) -> asyncio.Protocol:
    # Imported here: a platform should not wait for the package before its first terminal.
    from pocketenv_fp.local.terminal_connection import TerminalConnection

    return TerminalConnection(*args, **options)


class ErrorHandler:
    """Handler for errors of the event loop. Without file descriptors it is called thousands of times a second."""

    def __init__(self) -> None:
        self._quiet_until = 0.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, ValueError) and "_start_serving" in context.get("message", ""):
            # A pause after such an error is over, and the platform has closed by then.
            return
        if not isinstance(error, OSError) or error.errno not in _EXHAUSTED:
            loop.default_exception_handler(context)
        elif loop.time() >= self._quiet_until:
            self._quiet_until = loop.time() + LOG_SECONDS
            _log.warning("new connections have to wait: %s", error.strerror)
