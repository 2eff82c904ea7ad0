"""Small servers on loopback that do what a test needs done: answer, stall, break off, talk nonsense.

Real sockets and real threads. Each ends with its `with` block, and every thread of it with it.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, ParamSpec, Self, TypeVar

from pocketenv_fp import Config, Sandbox, using
from pocketenv_fp.http import transport

P = ParamSpec("P")
T = TypeVar("T")

# In the shape of an embedded platform's: one of no known shape is the cause of every 500.
TOKEN = f"tok-En_For_Tests.{'0123456789abcdef' * 4}"
BOX = Sandbox(id="3f2a", name="brave-otter-x1y2")
VIEW = b'{"sandbox": {"id": "3f2a", "name": "brave-otter-x1y2", "status": "RUNNING"}}'
RAN = b'{"stdout": "hello", "stderr": "", "exitCode": 0}'

# A client sees its connection broken rather than ended where the server's socket has this on.
_RESET = struct.pack("ii", 1, 0)


class Request(NamedTuple):
    """One request as it arrived: header names in lower case, and which connection of the server it came on."""

    verb: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    when: float


class Reply(NamedTuple):
    """What to do with a request: wait, send these bytes, then keep the connection, end it or break it.

    ``later`` comes in a packet of its own. ``slowly`` comes after the rest, byte by byte, ten of them a second.
    """

    raw: bytes = b""
    wait: float = 0.0
    then: str = "keep"  # or "close", or "reset"
    slowly: bytes = b""
    later: bytes = b""


Answer = Callable[[Request], Reply]


def reply(
    body: bytes = b"{}", status: int = 200, headers: Mapping[str, str] | None = None, *, wait: float = 0
) -> Reply:
    """A whole HTTP answer, as the platform would frame it."""
    shown = {
        "Content-Length": str(len(body)),
        **({"Content-Type": "application/json"} if body else {}),
        **(headers or {}),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in shown.items())
    return Reply(f"HTTP/1.1 {status} Whatever\r\n{lines}\r\n".encode("latin-1") + body, wait)


OK = b"HTTP/1.1 200 OK\r\n"
# Each takes far longer than a second as a whole, and far less from one byte to the next.
DRIBBLING = {
    "head": Reply(OK, slowly=b"X-More: and more of it\r\n" * 40),
    "body": Reply(OK + b"Content-Length: 1000\r\n\r\n", slowly=b" " * 1000),
    "chunks": Reply(OK + b"Transfer-Encoding: chunked\r\n\r\n", slowly=b"1\r\n \r\n" * 170),
    "one chunk": Reply(OK + b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n", slowly=b" " * 1000),
    "last connection": Reply(OK + b"Connection: close\r\n\r\n", slowly=b" " * 1000, then="close"),
}


def always(answer: Reply) -> Answer:
    """The same for every request."""
    return lambda _: answer


def in_turn(*answers: Reply) -> Answer:
    """One after the other. The last one repeats."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def ordinary(request: Request) -> Reply:
    """A sandbox for a lookup, a result for an exec."""
    return reply(VIEW if request.verb == "GET" else RAN)


class Server:
    """An HTTP server that reads requests properly and sends the replies of the test.

    `idle` is after how many seconds without a request it ends a connection; `tls` what it speaks HTTP over.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        tls: ssl.SSLContext | None = None,
        idle: float | None = None,
        port: int = 0,
    ) -> None:
        self.seen: list[Request] = []
        self.connections = 0
        self._answer = answer
        self._tls = tls
        self._idle = idle
        self._closed = threading.Event()
        self.alive: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", port), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._spawn(self._accept)

    @property
    def verbs(self) -> list[str]:
        """The verbs of all requests so far: how often something arrived."""
        return [request.verb for request in self.seen]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        for held in (self._listener, *self.alive):
            with contextlib.suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)
            held.close()
        for thread in self._threads:
            thread.join(5)

    def _spawn(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                found, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._spawn(lambda held=found, number=self.connections: self._serve(held, number))  # type: ignore[misc]

    def _serve(self, held: socket.socket, number: int) -> None:
        try:
            held.settimeout(self._idle or 30)
            if self._tls:
                held = self._tls.wrap_socket(held, server_side=True)
            self.alive.add(held)
            while (request := read_request(held, number)) and not self._closed.is_set():
                self.seen.append(request)
                answer = self._answer(request)
                self._closed.wait(answer.wait)
                held.sendall(answer.raw)
                if answer.later:
                    self._closed.wait(0.05)
                    held.sendall(answer.later)
                for byte in answer.slowly:
                    self._closed.wait(0.1)
                    held.sendall(bytes([byte]))
                if answer.then == "reset":
                    held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                if answer.then != "keep":
                    return
        except (OSError, ValueError):
            pass
        finally:
            self.alive.discard(held)
            held.close()


def read_request(held: socket.socket, number: int) -> Request | None:
    """Read one request; None where the client has gone."""
    head = b""
    while b"\r\n\r\n" not in head:
        part = held.recv(65536)
        if not part:
            return None
        head += part
    head, _, body = head.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        while not body.endswith(b"0\r\n\r\n") and (part := held.recv(65536)):
            body += part
        body = unchunked(body)
    missing = int(headers.get("content-length", "0")) - len(body)
    while missing > 0 and (part := held.recv(65536)):
        body += part
        missing -= len(part)
    verb, path, _ = first.split(" ")
    return Request(verb, path, headers, body, number, time.monotonic())


def unchunked(body: bytes) -> bytes:
    """A body that came in chunks, in one piece."""
    whole = b""
    while size := int(body.partition(b"\r\n")[0], 16):
        body = body.partition(b"\r\n")[2]
        whole, body = whole + body[:size], body[size + 2 :]
    return whole


class Proxy(Server):
    """A proxy that takes every name for 127.0.0.1, so that tests may use names that do not exist."""

    def _serve(self, held: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError, ValueError), held:
            held.settimeout(30)
            self.alive.add(held)
            while request := read_request(held, number):
                self.seen.append(request)
                if request.verb == "CONNECT":
                    self._tunnel(held, int(request.path.rpartition(":")[2]))
                    return
                held.sendall(self._answer(request).raw)

    def _tunnel(self, held: socket.socket, port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as far:
            self.alive.add(far)
            held.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            self._spawn(lambda: relay(far, held))
            relay(held, far)


def relay(source: socket.socket, target: socket.socket) -> None:
    """Pass bytes on until there are no more."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def deaf() -> Generator[str]:
    """The URL of a port that takes no more connections and refuses none: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)  # noqa: FBT003  # the socket's own signature
            waiting.connect_ex(address)
        time.sleep(0.05)
        yield f"http://127.0.0.1:{address[1]}"


def free_port() -> int:
    """A port where no server listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def client(url: str, *, read_timeout: float = 5.0, retries: int = 0, verify: str | None = None) -> Config:
    """The Config of a caller that is logged in at ``url`` and does not wait for long."""
    return Config(
        api_url=url,
        storage_url=url,
        token=TOKEN,
        connect_timeout=0.5,
        read_timeout=read_timeout,
        retries=retries,
        verify=verify,
    )


def forget() -> None:
    """Close all connections of the library and let it read the environment again."""
    for route in transport._routes.values():  # pyright: ignore[reportPrivateUsage]
        route.close()
    # A context takes longer to make than most tests run. Its key is the state of the file that it was read from.
    contexts = dict(transport._contexts)  # pyright: ignore[reportPrivateUsage]
    transport._forget()  # pyright: ignore[reportPrivateUsage]
    transport._contexts.update(contexts)  # pyright: ignore[reportPrivateUsage]


def under(config: Config | None, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``function`` as a call with ``config=`` does."""
    with contextlib.nullcontext() if config is None else using(config):
        return function(*args, **kwargs)


def heard(send: Callable[[str], object]) -> bytes:
    """Return the first packet that ``send`` sends to the URL that it gets. The server answers as to a command."""
    packets: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        with listener.accept()[0] as connection:
            packets.append(connection.recv(65536))
            connection.sendall(reply(RAN).raw)

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        served = pool.submit(serve, listener)
        send(f"http://127.0.0.1:{listener.getsockname()[1]}")
        served.result()
    return packets[0]
