"""The client: ``python3 FILE run CONTEXT [SECONDS]`` has a context run its standard input.

It prints the server's answer after a mark with the name of the run. The first client of a context forks the server. Both
meet at a socket in a directory of mode 700. ``python3 FILE restart CONTEXT`` kills the server.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import socket
import sys
import time

from pocketenv_fp.sandbox.inside.server import Server

INTERRUPT_SECONDS = 1.5
"""After this many seconds a second SIGINT is sent, and after the same time SIGKILL."""
OLD_SECONDS = 600.0
REVOKED = 143


def enter(context: str) -> str:
    """Enter the directory of a context, and return the one before."""
    home, mask = os.getcwd(), os.umask(0o077)
    # This file is in the directory of its job, among the jobs.
    jobs = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    place = os.path.join(jobs, ".contexts", context)
    os.makedirs(place, exist_ok=True)
    os.umask(mask)
    os.chdir(place)
    sweep(jobs)
    return home


def sweep(jobs: str) -> None:
    """Delete what earlier runs left."""
    for entry in os.scandir(jobs):
        try:
            if entry.name.startswith(".job-") and os.stat(f"{entry.path}/code").st_mtime < time.time() - OLD_SECONDS:
                shutil.rmtree(entry.path, ignore_errors=True)
        except OSError:
            continue


def connect(home: str) -> socket.socket:
    """Return a connection with the server. Start the server if it does not run."""
    connection = socket.socket(socket.AF_UNIX)
    with open("lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Not in the except block: the server's exceptions would name this one as their context.
        if not is_there(connection):
            start(home)
            connection.connect("socket")
        fcntl.flock(lock, fcntl.LOCK_UN)
    return connection


def is_there(connection: socket.socket) -> bool:
    try:
        connection.connect("socket")
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    return True


def start(home: str) -> None:
    """Fork the server, and wait until it listens."""
    ready, begun = os.pipe()
    if os.fork():
        os.close(begun)
        os.read(ready, 1)
        os.close(ready)
        return
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for stop in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(stop, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(nothing, number)
        if os.path.exists("socket"):
            os.unlink("socket")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("socket")
        listener.listen(128)
        for number in {*range(3, 64)} - {begun, listener.fileno()}:
            try:
                os.close(number)
            except OSError:
                pass
        # A child does not inherit a lock of this kind.
        alive = open("alive", "w")  # held until the process ends
        fcntl.lockf(alive, fcntl.LOCK_EX)
        alive.write(str(os.getpid()))
        alive.flush()
        os.chdir(home)
        os.write(begun, b".")
        os.close(begun)
        Server(listener).serve()
    finally:
        os._exit(1)


def server_pid() -> int:
    """Return the process id of the server, or 0."""
    try:
        with open("alive", "r+") as alive:
            try:
                fcntl.lockf(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return int(alive.read() or 0)
    except OSError:
        pass
    return 0


def ignore(_: int, __: object) -> None:
    """Handle a signal, which the wakeup descriptor reports."""


class Client:
    """One run. ``signals`` becomes readable when this process is to end."""

    def __init__(self, context: str, mark: str, seconds: float | None) -> None:
        self.home = enter(context)
        self.mark = mark
        self.seconds = seconds
        self.signals, wakes = socket.socketpair()
        self.is_revoked = False
        wakes.setblocking(False)  # noqa: FBT003  # its only argument
        self.wakes = wakes
        signal.set_wakeup_fd(wakes.fileno())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, ignore)

    def wait(self, connection: socket.socket, until: float | None) -> bool:
        """Wait until there is something to read. Returns False if this process is to end, or after ``until``."""
        left = None if until is None else max(0.0, until - time.monotonic())
        watched = [connection] if self.is_revoked else [connection, self.signals]
        ready = select.select(watched, [], [], left)[0]
        if self.signals in ready and not self.is_revoked:
            self.is_revoked = True
            return False
        return connection in ready

    def run(self, source: bytes) -> None:
        while True:
            connection = connect(self.home)
            # The server may run another client's code first. If that kills the server, a new one runs this.
            if not self.wait(connection, None):
                sys.exit(REVOKED)
            try:
                head = connection.recv(64)
                if head:
                    socket.send_fds(connection, [b"%d\n" % len(source)], [1, 2])
                    connection.sendall(source)
                    break
            except OSError:
                pass
            connection.close()
        answer, is_late = self.answer(connection, int(head))
        if self.is_revoked:
            sys.exit(REVOKED)
        late = b"true" if is_late else b"false"
        data = self.mark.encode() + b'{"late":' + late + b',"answer":' + (answer.strip() or b"null") + b"}\n"
        while data:
            data = data[os.write(1, data) :]

    def answer(self, connection: socket.socket, pid: int) -> tuple[bytes, bool]:
        """Read the answer. It is empty if the server died. Interrupt the code when its time is over."""
        parts: list[bytes] = []
        until = None if self.seconds is None else time.monotonic() + self.seconds
        interrupts = 0
        while True:
            if self.wait(connection, until):
                try:
                    part = connection.recv(1 << 20)
                except OSError:
                    part = b""
                if not part:
                    whole = b"".join(parts)
                    return (whole if whole.endswith(b"\n") else b""), interrupts > 0
                parts.append(part)
                continue
            if parts:
                # The code has ended: only its answer has not arrived yet.
                until = None
                continue
            interrupts += 1
            try:
                os.killpg(pid, signal.SIGINT if interrupts < 3 else signal.SIGKILL)
            except ProcessLookupError:
                pass
            until = time.monotonic() + INTERRUPT_SECONDS


def restart(context: str) -> None:
    enter(context)
    with open("lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        pid = server_pid()
        if pid:
            os.killpg(pid, signal.SIGKILL)
            while server_pid() == pid:
                time.sleep(0.01)


def main() -> None:
    if sys.argv[1] == "restart":
        restart(sys.argv[2])
        return
    context, *seconds = sys.argv[2:]
    # The job's directory has the name of the run, after a dot.
    job = os.path.basename(os.path.dirname(os.path.abspath(__file__)))
    mark = f"\x1e{job[1:]}\x1e"
    if sys.version_info < (3, 9):  # it runs in any sandbox
        sys.stdout.write(mark + json.dumps({"old": sys.version.split()[0]}) + "\n")
        return
    Client(context, mark, float(seconds[0]) if seconds else None).run(sys.stdin.buffer.read())


if __name__ == "__main__":
    main()
