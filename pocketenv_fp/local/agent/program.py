"""The program inside a sandbox's box: it runs the requests of the platform, and every process of the box ends with it.

It imports only the standard library: a box has nothing else. It is process 1 in a box, and an ordinary process where there
are no boxes. Its options are one argument, a JSON object.

Requests and answers go over one inherited socket. The socket is the life line as well: when it is closed, for any reason,
process 1 ends, and the kernel kills the rest.
"""

import contextlib
import fcntl
import gc
import json
import os
import selectors
import signal
import socket
import struct
import sys
import termios
import time
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from . import file_operations, process_tree, protection
from .frames import Frames, frame
from .session import Line, Outcome, Session, Shell
from .spawner import PIECE, Command, Spawner

# The time of a service between SIGTERM and SIGKILL.
GRACE_SECONDS = 3.0
WATCH_SECONDS = 0.05


class Agent:
    """The loop that reads requests and sends answers."""

    def __init__(self, line: socket.socket, options: dict[str, Any]) -> None:
        self._line = line
        self._root: str = options["root"]
        self._volumes: dict[str, str] = options["volumes"]
        self._alone: bool = options["alone"]
        self._limits: dict[str, int | None] = options["limits"]
        self._shell: str = options["shell"]
        self._selector = selectors.DefaultSelector()
        self._frames = Frames()
        self._descriptors: deque[int] = deque()
        self._holders: dict[str, int] = {}
        self._sending: deque[memoryview] = deque()
        self._running: dict[int, Command] = {}
        self._spawner = Spawner(options, self._running)
        self._services: dict[str, Command] = {}
        self._ending: dict[str, tuple[list[int], float]] = {}
        self._crowd = 0
        self._terminals: set[int] = set()
        self._session: Session | None = None
        self._typed: dict[str, Any] = {}

    def serve(self) -> NoReturn:
        """Answer requests until the life line is closed."""
        self._line.setblocking(False)  # noqa: FBT003 - the socket's own signature
        self._selector.register(self._line, selectors.EVENT_READ, self._receive)
        woken = _wake_on_children()
        self._selector.register(woken, selectors.EVENT_READ, lambda: self._reap(woken))
        self._say({"ready": True})
        while True:
            for key, _ in self._selector.select(self._patience()):
                key.data()
            self._attend()

    def _patience(self) -> float | None:
        waits = [deadline - time.monotonic() for _, deadline in self._ending.values()]
        waits += [each.deadline - time.monotonic() for each in self._running.values() if each.deadline is not None]
        if self._session is not None and (patience := self._session.patience()) is not None:
            waits.append(patience)
        if self._limits["processes"] is not None and (self._crowd or self._running):
            waits.append(WATCH_SECONDS)
        return max(min(waits), 0.0) if waits else None

    def _attend(self) -> None:
        moment = time.monotonic()
        for key, (waiting, deadline) in list(self._ending.items()):
            if deadline <= moment:
                process_tree.kill(process_tree.of_service(self._services[key].pid, key))
                self._ending[key] = (waiting, moment + WATCH_SECONDS)
        for command in self._running.values():
            if command.deadline is not None and command.deadline <= moment:
                command.deadline, command.late = None, True
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(command.pid, signal.SIGKILL)
        if self._session is not None:
            self._session.attend()
        if (most := self._limits["processes"]) is not None:
            spared = None if self._session is None else self._session.pid
            self._crowd = process_tree.thin_out(os.getpid(), most, spared)

    # Receiving and sending.

    def _receive(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._line, PIECE * 4, 16)
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

    def _say(self, message: dict[str, Any], payload: bytes | bytearray = b"") -> None:
        self._sending.append(memoryview(frame(message, payload)))
        self._send()

    def _send(self) -> None:
        try:
            while self._sending:
                sent = self._line.send(self._sending[0])
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
        if self._selector.get_key(self._line).events != events:
            self._selector.modify(self._line, events, self._exchange if self._sending else self._receive)

    def _exchange(self) -> None:
        self._send()
        self._receive()

    def _end(self) -> NoReturn:
        # The kernel kills all processes of a box with process 1. Without a box they are killed one by one.
        if not self._alone:
            process_tree.end_all(os.getpid(), {command.pid for command in self._running.values()})
        os._exit(0)

    # The requests.

    def _handle(self, request: dict[str, Any], payload: bytes) -> None:  # noqa: C901 - a case for each request
        number: int = request["id"]
        try:
            match request["do"]:
                case "run":
                    self._run(number, request)
                case "line":
                    self._type(number, request)
                case "terminal":
                    self._terminal(number, request, self._descriptors.popleft())
                case "hold":
                    self._hold(number, self._descriptors.popleft())
                case "release":
                    os.kill(self._holders.pop(request["name"]), signal.SIGKILL)
                    self._say({"id": number})
                case "launch":
                    self._launch(number, request)
                case "end":
                    self._end_service(number, request["key"])
                case "write":
                    path, mode = request["path"], request["mode"]
                    self._work(number, lambda: file_operations.write(self._root, path, self._volumes, payload, mode))
                case "pack" | "unpack" as what:
                    self._archive(number, what, request, self._descriptors.popleft())
                case unknown:
                    self._say({"id": number, "error": f"cannot {unknown}"})
        except (OSError, ValueError, file_operations.WorkError) as error:
            self._say({"id": number, "error": file_operations.reason(error)})

    def _run(self, number: int, request: dict[str, Any]) -> None:
        # Pipes, so that /dev/stderr can be opened by name. They are read to their end, not to the command's: a child in
        # the background keeps writing, and its output is dropped.
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        try:
            # Closed at once where both outputs are one: it is not used.
            command = self._spawner.start(number, request, out_end, out_end if request["merged"] else err_end)
        except OSError:
            os.close(out)
            os.close(err)
            raise
        finally:
            os.close(out_end)
            os.close(err_end)
        if request["limit"] is not None:
            command.deadline = time.monotonic() + request["limit"]
        for end in (out, err):
            os.set_blocking(end, False)
            command.outputs[end] = bytearray()
            self._selector.register(end, selectors.EVENT_READ, lambda end=end: self._read(command, end))

    def _type(self, number: int, request: dict[str, Any]) -> None:
        if self._session is None:
            self._session = Session(
                self._spawner.own,
                self._selector,
                self._shell_of_session,
                answer=self._answer,
                curb=_curb,
                most=self._limits["output_bytes"],
            )
        self._typed = request
        for text in request["before"]:
            self._session.type(Line(None, _bytes(text), request["limit"]))
        self._session.type(Line(number, _bytes(request["line"]), request["limit"]))

    def _shell_of_session(self) -> Shell:
        reading, writing = os.pipe()
        try:
            # The name of the program is in its error messages.
            bash = "/usr/bin/bash" if os.path.exists("/usr/bin/bash") else self._shell
            request = {**self._typed, "argv": [bash, "--norc"]}
            command = self._spawner.start(None, request, self._spawner.null, self._spawner.null, reading=reading)
        except OSError:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        return Shell(command.pid, writing)

    def _answer(self, number: int, outcome: Outcome) -> None:
        if outcome.code is None:
            self._say({"id": number, "lost": True})
            return
        message = {"id": number, "code": outcome.code, "out": len(outcome.out), "limited": outcome.limited}
        self._say(message, outcome.out + outcome.err)

    def _terminal(self, number: int, request: dict[str, Any], descriptor: int) -> None:
        # Made here, so that it has a name in the box. The platform gets the other end over a socket of its own.
        with socket.socket(fileno=descriptor) as line:
            near, far = os.openpty()
            try:
                fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", request["rows"], request["columns"], 0, 0))
                self._terminals.add(self._spawner.terminal(request, far).pid)
                socket.send_fds(line, [b"."], [near])
            finally:
                os.close(near)
                os.close(far)
        self._say({"id": number})

    def _hold(self, number: int, descriptor: int) -> None:
        # A command opens the file by this name, also one in a directory that its box does not have.
        try:
            pid = protection.hold(descriptor)
        finally:
            os.close(descriptor)
        name = f"/proc/{pid}/fd/{descriptor}"
        self._holders[name] = pid
        self._say({"id": number, "name": name})

    def _launch(self, number: int, request: dict[str, Any]) -> None:
        key: str = request["key"]
        if key in self._services:
            self._say({"id": number, "error": "it runs"})
            return
        log = file_operations.place(self._root, request["log"], self._volumes)
        os.makedirs(os.path.dirname(log), exist_ok=True)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        request["env"][process_tree.MARK] = key
        request["argv"] = ["bash", "-c", request["line"]]
        try:
            self._services[key] = self._spawner.start(None, request, output, output, key=key)
        finally:
            os.close(output)
        self._say({"id": number})

    def _end_service(self, number: int, key: str) -> None:
        service = self._services.get(key)
        if service is None:
            self._say({"id": number})
            return
        waiting, deadline = self._ending.get(key, ([], time.monotonic() + GRACE_SECONDS))
        self._ending[key] = ([*waiting, number], deadline)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(service.pid, signal.SIGTERM)

    def _archive(self, number: int, what: str, request: dict[str, Any], file: int) -> None:
        def task() -> bool | None:
            from . import archive

            if what == "pack":
                return archive.pack(self._root, request["path"], self._volumes, file)
            archive.unpack(self._root, request["path"], self._volumes, file, request["exact"])
            return None

        try:
            self._work(number, task)
        finally:
            os.close(file)

    def _work(self, number: int, task: Callable[[], object]) -> None:
        # In a child: it may take long, and its failures do not reach the agent.
        answer, answer_end = os.pipe()

        def body() -> None:
            os.write(answer_end, json.dumps(task()).encode())
            os._exit(0)

        try:
            command = self._spawner.fork(number, body)
        except OSError:
            os.close(answer)
            raise
        finally:
            os.close(answer_end)
        command.outputs[answer] = bytearray()

    # Reading outputs, and noticing the end of processes.

    def _read(self, command: Command, end: int) -> None:
        try:
            data = os.read(end, PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(end)
            os.close(end)
            if self._running.get(command.pid) is command:
                # Its output is kept under a number that no descriptor has.
                command.outputs = {(~end if other == end else other): text for other, text in command.outputs.items()}
        elif self._running.get(command.pid) is command:
            self._keep(command, end, data)

    def _keep(self, command: Command, end: int, data: bytes) -> None:
        most = self._limits["output_bytes"]
        room = len(data) if most is None else most - sum(map(len, command.outputs.values()))
        command.outputs[end] += data[: max(room, 0)]
        if len(data) > room and not command.limited:
            command.limited = True
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(command.pid, signal.SIGKILL)

    def _reap(self, woken: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(woken, PIECE)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self._session is not None and pid == self._session.pid:
                if (trouble := self._running.pop(pid).trouble) is not None:
                    os.close(trouble)
                self._session.died()
                continue
            if pid in self._terminals:
                self._terminals.discard(pid)
                if (trouble := self._running.pop(pid).trouble) is not None:
                    os.close(trouble)
                continue
            command = self._running.get(pid)
            if command is not None:
                self._finish(command, os.waitstatus_to_exitcode(status))

    def _finish(self, command: Command, code: int) -> None:
        trouble = ""
        if command.trouble is not None:
            trouble = os.read(command.trouble, PIECE).decode()
            os.close(command.trouble)
        if command.key is not None:
            del self._running[command.pid]
            self._lose(command.key, command.pid, code)
            return
        for end in [end for end in command.outputs if end >= 0]:
            self._drain(command, end)
        del self._running[command.pid]
        outputs = list(command.outputs.values())
        if trouble:
            self._say({"id": command.number, "error": trouble})
        elif command.late:
            self._say({"id": command.number, "lost": True})
        else:
            exit_code = code if code >= 0 else 128 - code
            message = {"id": command.number, "code": exit_code, "out": len(outputs[0]), "limited": command.limited}
            self._say(message, b"".join(outputs))

    def _drain(self, command: Command, end: int) -> None:
        # The whole output of the command is in the pipe by now. Later bytes are another process's.
        size = struct.unpack("i", fcntl.ioctl(end, termios.FIONREAD, b"\0\0\0\0"))[0]
        while size > 0 and (data := os.read(end, min(size, PIECE))):
            size -= len(data)
            self._keep(command, end, data)
        if end not in self._selector.get_map():
            os.close(end)

    def _lose(self, key: str, pid: int, code: int) -> None:
        # Processes in its session or with its mark are killed with it.
        del self._services[key]
        if key in self._ending:
            process_tree.kill(process_tree.of_service(pid, key))
        waiting, _ = self._ending.pop(key, ([], 0.0))
        self._say({"gone": key, "code": code})
        for number in waiting:
            self._say({"id": number})


def _wake_on_children() -> int:
    # The handler does nothing. With a handler, Python writes to the descriptor at once.
    woken, waker = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(waker, False)
    signal.signal(signal.SIGCHLD, _look)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    return woken


def _look(_number: int, _frame: FrameType | None) -> None:
    pass


def _bytes(text: str) -> bytes:
    # Half of a surrogate pair becomes the replacement character, as JavaScript writes it.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _curb(log: str, shell: int) -> bool:
    holders = {pid for pid in process_tree.living() if pid not in {shell, os.getpid()} and _holds(pid, f"{log}.")}
    for pid in holders:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return bool(holders)


def _holds(pid: int, start: str) -> bool:
    try:
        ends = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return False
    for end in ends:
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/fd/{end}").startswith(start):
                return True
    return False


def main() -> NoReturn:
    """Serve on the socket that the options name."""
    options = json.loads(sys.argv[-1])
    line = socket.socket(fileno=options["line"])
    os.set_inheritable(options["line"], False)  # noqa: FBT003 - its own signature
    # Process 1 has no handlers: no process of the box can stop it.
    # Nor does a sandbox ignore what a shell ignores for a platform in its background.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    if options["alone"]:
        protection.hide()
    else:
        process_tree.adopt_orphans()
    nothing = os.open(os.devnull, os.O_RDWR)
    gc.disable()
    agent = Agent(line, options)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    agent.serve()
