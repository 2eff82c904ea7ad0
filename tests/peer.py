"""A real HTTP peer on loopback that says what a test tells it to, and remembers what it was asked.

The embedded platform answers as the platform does. This one answers as a broken proxy, a hostile server or a dying
connection would: byte for byte what the test wrote, on a real socket.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int
    at: float


Answer = bytes | Callable[[socket.socket], None]
"""Bytes to send before the connection is kept open, or a function that does anything else with it."""


def http(status: int = 200, body: bytes | str | object = b"", **headers: str) -> bytes:
    """A whole, correct HTTP answer. What is neither bytes nor text is sent as JSON."""
    raw = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    kind = {} if not raw else {"Content-Type": "application/json; charset=utf-8"}
    lines = {**kind, "Content-Length": str(len(raw)), **{name.replace("_", "-"): v for name, v in headers.items()}}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Status\r\n{head}\r\n".encode() + raw


def close(connection: socket.socket) -> None:
    """Hang up without a word."""
    connection.close()


def reset(connection: socket.socket) -> None:
    """Break the connection with a TCP reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()


def cut(part: bytes) -> Callable[[socket.socket], None]:
    """Send a part of an answer, then hang up."""

    def send(connection: socket.socket) -> None:
        connection.sendall(part)
        connection.close()

    return send


def silent(seconds: float) -> Callable[[socket.socket], None]:
    """Say nothing for so long, then hang up."""

    def wait(connection: socket.socket) -> None:
        time.sleep(seconds)
        connection.close()

    return wait


@dataclass
class Peer:
    """The answers still to give (the last one again and again), and the requests so far."""

    url: str
    answers: list[Answer]
    asked: list[Asked] = field(default_factory=list[Asked])
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self) -> Answer:
        with self.lock:
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def peer(*answers: Answer, tls: ssl.SSLContext | None = None, port: int = 0) -> Generator[Peer]:
    """Serve ``answers`` in order, on any number of connections, until the block ends."""
    listener = socket.create_server(("127.0.0.1", port), backlog=256)
    scheme = "https" if tls else "http"
    serving = Peer(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}", list(answers))
    ended = threading.Event()
    threads: list[threading.Thread] = []
    connections: list[socket.socket] = []

    def talk(connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError, ValueError):
            if tls:
                connection = tls.wrap_socket(connection, server_side=True)
                connections.append(connection)
            while request := _read(connection, number):
                with serving.lock:
                    serving.asked.append(request)
                answer = serving.next()
                if not isinstance(answer, bytes):
                    answer(connection)
                    return
                connection.sendall(answer)

    def accept() -> None:
        while not ended.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            thread = threading.Thread(target=talk, args=(connection, len(connections)), daemon=True)
            threads.append(thread)
            thread.start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield serving
    finally:
        ended.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        accepting.join(5)
        for thread in threads:
            thread.join(5)


def _read(connection: socket.socket, number: int) -> Asked | None:
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return None
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65536)
    method, target, _ = first.split(" ", 2)
    return Asked(method, target, headers, body, number, time.monotonic())
