"""The end of a login in the browser: a web server on this machine that receives the token.

The platform's page sends the token to ``http://localhost:6997/token``. The port is the platform's choice. The server
listens on loopback only, and takes requests for this machine's name only (DNS rebinding).

The page is another web site, so the server allows requests of every origin. The platform sends no secret along that
would prove where a token comes from. So `login` checks that the token belongs to the account that was asked for.
"""

from __future__ import annotations

import errno
import re
import socket
import threading
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self

import msgspec

from pocketenv_fp.plain_types import UNDECODABLE, built
from pocketenv_fp.redaction import HiddenBytes, HiddenText

__all__ = ["PORT", "Listener"]

PORT = 6997
LARGEST_BODY = 64 * 1024
# Also for a client that connects and sends nothing.
REQUEST_SECONDS = 5.0
POLL_SECONDS = 0.1

_HERE = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)
_WORD = re.compile(r"[!-~]+")


class _Sent(msgspec.Struct):
    token: str


class _Server(ThreadingHTTPServer):
    """A server that puts each token into ``tokens``."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, family: int, host: str, tokens: SimpleQueue[HiddenText]) -> None:
        self.address_family = family
        self.tokens = tokens
        super().__init__((host, PORT), _Handler)

    def server_bind(self) -> None:
        # The standard library looks up a name for the address here, which may take seconds.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "localhost", self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Drop a broken request. The standard library would print its traceback."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = REQUEST_SECONDS

    def do_OPTIONS(self) -> None:
        """Allow the request of the platform's page."""
        self._reply(204, b"")

    def do_POST(self) -> None:
        """Take a token."""
        if not _HERE.fullmatch(self.headers.get("Host", "")):
            self._reply(403, b'{"error":"Forbidden"}')
            return
        if self.path.partition("?")[0] != "/token":
            self._reply(404, b'{"error":"Not Found"}')
            return
        token = self._token()
        if token is None:
            self._reply(400, b'{"error":"There is no token in the request"}')
            return
        self._reply(200, b'{"ok":1}')
        server = self.server
        if isinstance(server, _Server):
            server.tokens.put(token)

    def _token(self) -> HiddenText | None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or len(length) > 6 or int(length) > LARGEST_BODY:
            return None
        body = HiddenBytes(self.rfile.read(int(length)))
        try:
            token = HiddenText(msgspec.json.decode(body, type=built(_Sent)).token)
        except UNDECODABLE:
            return None
        return token if _WORD.fullmatch(token) else None

    def _reply(self, status: int, body: bytes) -> None:
        # One request for each connection: the server need not wait for a second one.
        self.close_connection = True
        self.send_response(status)
        self.send_header("Connection", "close")
        self.send_header("Access-Control-Allow-Origin", "*")
        if self.command == "OPTIONS":
            self.send_header("Access-Control-Allow-Methods", "POST")
            self.send_header("Access-Control-Allow-Headers", "Content-Type")
            # Browsers ask before a public web site may send to this machine.
            self.send_header("Access-Control-Allow-Private-Network", "true")
        if status != 204:
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        """Return the name for the Server header."""
        return "pocketenv-fp"

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the library does not write to standard error for each request."""


class Listener:
    """The server, from the start of a ``with`` block to its end. Entering raises OSError, for instance for a used port."""

    def __init__(self) -> None:
        self._tokens: SimpleQueue[HiddenText] = SimpleQueue()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._serve(stack, socket.AF_INET, "127.0.0.1")
            try:
                # A browser may try this address of localhost first.
                self._serve(stack, socket.AF_INET6, "::1")
            except OSError as error:
                # Another program there would get the token. A machine without IPv6 has no such program.
                if error.errno == errno.EADDRINUSE:
                    raise
            self._stack = stack.pop_all()
        return self

    def _serve(self, stack: ExitStack, family: int, host: str) -> None:
        server = _Server(family, host, self._tokens)
        stack.callback(server.server_close)
        thread = threading.Thread(
            target=server.serve_forever, args=(POLL_SECONDS,), name="pocketenv-login", daemon=True
        )
        thread.start()
        stack.callback(thread.join)
        stack.callback(server.shutdown)

    def wait(self, seconds: float) -> HiddenText | None:
        """Return the first token, or None after ``seconds``."""
        try:
            return self._tokens.get(timeout=min(seconds, threading.TIMEOUT_MAX))
        except Empty:
            return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
