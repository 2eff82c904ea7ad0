"""The server of a context: one process with its state, which takes one client at a time.

It sends its process id, receives the client's outputs and the source, runs it, sends the answer, and waits until the
client hangs up. So an interrupt of one client never reaches the code of the next.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from typing import Any

from pocketenv_fp.sandbox.inside.displays import BACKEND, Displays, Finder, sendable
from pocketenv_fp.sandbox.inside.engines import engine, explained

MOST_JSON = 1_000_000


class Server:
    """The state of a context."""

    def __init__(self, listener: socket.socket) -> None:
        sys.path[0] = ""
        sys.argv[:] = [""]
        os.environ.setdefault("MPLBACKEND", f"module://{BACKEND}")
        self.listener = listener
        self.connection: socket.socket | None = None
        self.number = 0
        self.displays = Displays()
        self.pid = os.getpid()
        sys.meta_path.append(Finder(self.displays))
        self.engine: Any = None
        os.register_at_fork(after_in_child=self.leave)

    def leave(self) -> None:
        """Close the sockets in a child that the code forked. Clients would wait until it ends."""
        self.listener.close()
        if self.connection is not None:
            self.connection.close()

    def open_streams(self) -> None:
        """Open the standard streams that the code has closed: ``exit()`` closes stdin."""
        import io

        if self.number == 0 or sys.stdin.closed:
            sys.stdin = open(0, encoding="utf-8", closefd=False)  # as long as the process
        for number, name in ((1, "stdout"), (2, "stderr")):
            if self.number == 0 or getattr(sys, name).closed:
                raw = open(number, "wb", 0, closefd=False)
                setattr(sys, name, io.TextIOWrapper(raw, "utf-8", "backslashreplace", newline="", write_through=True))

    def serve(self) -> None:
        while True:
            connection = self.connection = self.listener.accept()[0]
            with connection:
                try:
                    connection.sendall(b"%d\n" % self.pid)
                    source = receive(connection)
                    if source is not None:
                        connection.sendall(json.dumps(self.answer(source)).encode() + b"\n")
                        connection.shutdown(socket.SHUT_WR)
                        connection.recv(1)
                except OSError:
                    pass

    def answer(self, source: str) -> dict[str, Any]:
        self.open_streams()
        self.number += 1
        self.displays.clear()
        value, error = None, None
        try:
            try:
                signal.signal(signal.SIGINT, signal.default_int_handler)
                if self.engine is None:
                    self.engine = engine(self.displays)
                value, error = self.engine.run(source, self.number)
                self.displays.figures(value)
                known = described(value, self.displays, self.engine.bundle)
            finally:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                if os.getpid() != self.pid:
                    # This is a child that the code forked.
                    os._exit(0)
        except BaseException as broken:  # an exception of the code is its result
            known, error = {}, explained(broken)
            try:
                self.displays.figures(None)
            except BaseException:
                pass
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:  # the code may have closed it
                pass
        # The code may have closed a standard stream. The next connection must not get its number.
        nothing = os.open(os.devnull, os.O_RDWR)
        while nothing < 3:
            nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        os.close(nothing)
        return {**known, "error": error, "displays": self.displays.shown, "number": self.number}


def receive(connection: socket.socket) -> str | None:
    """Take the client's outputs, and return its source. Returns None if the client has gone."""
    head, outputs, *_ = socket.recv_fds(connection, 64, 2)
    if len(outputs) != 2:
        return None
    for number, output in zip((1, 2), outputs):  # Python 3.9
        os.dup2(output, number)
        os.close(output)
    size, _, source = head.partition(b"\n")
    parts, missing = [source], int(size) - len(source)
    while missing > 0:
        part = connection.recv(min(missing, 1 << 20))
        if not part:
            return None
        parts.append(part)
        missing -= len(part)
    return b"".join(parts).decode()


def described(value: object, displays: Displays, bundle: Any) -> dict[str, Any]:
    """Return the repr of a value and its JSON, if it has one. Show its rich forms."""
    if value is None:
        return {}
    forms = bundle(value)
    text = repr(value)
    known: dict[str, Any] = {"repr": sendable(text)}
    if any(kind != "text/plain" for kind in forms):
        # A card compares this text with the repr: if they are equal, the value is shown already.
        displays.add({**forms, "text/plain": known["repr"]})
    if len(text) <= MOST_JSON:
        try:
            written = json.dumps(value, allow_nan=False, ensure_ascii=False)
            written.encode()
            read = json.loads(written)
            # In JSON a tuple becomes a list, and keys become strings.
            if repr(read) == text:
                # As a string: it may be nested deeper, or have longer numbers, than the other side reads.
                known["json"] = written
        except (TypeError, ValueError, RecursionError):
            pass
    return known
