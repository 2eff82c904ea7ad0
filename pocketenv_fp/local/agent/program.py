"""The program inside a sandbox's box: it runs the requests of the platform, and every process of the box ends with it.

It imports only the standard library: a box has nothing else. It is process 1 in a box, and an ordinary process where there
are no boxes. Its options are one argument, a JSON object.

Requests and answers go over its standard input, a socket. The socket is the life line as well: when it is closed, for any
reason, process 1 ends, and the kernel kills the rest.

An agent without work becomes a small shell, and the next request makes it an agent again: see `rest`.
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
from collections.abc import Callable
from typing import Any, NoReturn

from . import file_operations, process_tree, protection, rest
from .life_line import LifeLine
from .services import Services
from .session import Line, Outcome, Rested, Session, Shell
from .spawner import PIECE, Command, Spawner

WATCH_SECONDS = 0.05


class Agent:
    """The loop that reads requests and sends answers."""

    def __init__(self, connection: socket.socket, options: dict[str, Any]) -> None:
        self._options = options
        self._root: str = options["root"]
        self._volumes: dict[str, str] = options["volumes"]
        self._alone: bool = options["alone"]
        self._limits: dict[str, int | None] = options["limits"]
        self._shell: str = options["shell"]
        self._selector = selectors.DefaultSelector()
        self._line = LifeLine(connection, self._selector, self._handle, self._end, woken="rested" in options)
        self._holders: dict[str, int] = {}
        self._running: dict[int, Command] = {}
        self._spawner = Spawner(options, self._running)
        self._services = Services(self._spawner, self._line.say)
        self._crowd = 0
        self._terminals: set[int] = set()
        self._session: Session | None = None
        self._typed: dict[str, Any] = {}
        self._rests_at = 0.0

    def serve(self) -> NoReturn:
        """Answer requests until the life line is closed."""
        woken = process_tree.wake_on_children()
        self._selector.register(woken, selectors.EVENT_READ, lambda: self._reap(woken))
        if "rested" in self._options:
            self._resume(self._options.pop("rested"), woken)
        else:
            self._line.say({"ready": True})
        self._rests_at = time.monotonic() + self._options["idle_seconds"]
        while True:
            if events := self._selector.select(self._patience()):
                self._rests_at = time.monotonic() + self._options["idle_seconds"]
            for key, _ in events:
                key.data()
            self._attend()

    def _patience(self) -> float | None:
        moment = time.monotonic()
        waits = [each.deadline - moment for each in self._running.values() if each.deadline is not None]
        if (patience := self._services.patience()) is not None:
            waits.append(patience)
        if self._session is not None and (patience := self._session.patience()) is not None:
            waits.append(patience)
        if self._limits["processes"] is not None and (self._crowd or self._running):
            waits.append(WATCH_SECONDS)
        if self._is_idle():
            waits.append(self._rests_at - moment)
        return max(min(waits), 0.0) if waits else None

    def _attend(self) -> None:
        moment = time.monotonic()
        self._services.attend()
        for command in self._running.values():
            if command.deadline is not None and command.deadline <= moment:
                command.deadline, command.late = None, True
                process_tree.kill_group(command.pid)
        if self._session is not None:
            self._session.attend()
        if (most := self._limits["processes"]) is not None:
            spared = None if self._session is None else self._session.pid
            self._crowd = process_tree.thin_out(os.getpid(), most, spared)
        if self._rests_at <= moment and self._is_idle():
            self._rest()

    # Rest.

    @property
    def _shells(self) -> set[int]:
        return set() if self._session is None or self._session.pid is None else {self._session.pid}

    def _is_idle(self) -> bool:
        has_line = self._session is not None and not self._session.is_idle
        return self._line.is_quiet and self._running.keys() == self._shells and not has_line

    def _rest(self) -> None:
        if rest.is_possible(self._shells):
            with self._spawner.few_descriptors():
                rest.begin(self._line, self._options, None if self._session is None else self._session.rest())
        # Something runs in the background, or the system refuses.
        self._rests_at = time.monotonic() + self._options["idle_seconds"]

    def _resume(self, rested: list[Any] | None, woken: int) -> None:
        if rested is not None:
            self._session = self._new_session()
            self._session.resume(Rested(*rested))
        self._running.update({pid: Command(None, pid, None) for pid in self._shells})
        # What ended during the rest has sent no signal to this program.
        self._reap(woken)
        if self._session is not None and not self._shells <= (process_tree.children(os.getpid()) or set()):
            self._lose_shell(self._session)

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
                    self._terminal(number, request, self._line.descriptor())
                case "hold":
                    self._hold(number, self._line.descriptor())
                case "release":
                    os.kill(self._holders.pop(request["name"]), signal.SIGKILL)
                    self._line.say({"id": number})
                case "launch":
                    log = file_operations.place(self._root, request["log"], self._volumes)
                    self._services.launch(number, request, log)
                case "end":
                    self._services.end(number, request["key"])
                case "write":
                    path, mode = request["path"], request["mode"]
                    self._work(number, lambda: file_operations.write(self._root, path, self._volumes, payload, mode))
                case "pack" | "unpack" as what:
                    self._archive(number, what, request, self._line.descriptor())
                case unknown:
                    self._line.say({"id": number, "error": f"cannot {unknown}"})
        except (OSError, ValueError, file_operations.WorkError) as error:
            self._line.say({"id": number, "error": file_operations.reason(error)})

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
            self._session = self._new_session()
        self._typed = request
        for text in request["before"]:
            self._session.type(Line(None, _bytes(text), request["limit"]))
        self._session.type(Line(number, _bytes(request["line"]), request["limit"]))

    def _new_session(self) -> Session:
        return Session(
            self._spawner.own,
            self._selector,
            self._shell_of_session,
            answer=self._answer,
            most=self._limits["output_bytes"],
        )

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
            self._line.say({"id": number, "lost": True})
            return
        message = {"id": number, "code": outcome.code, "out": len(outcome.out), "limited": outcome.limited}
        self._line.say(message, outcome.out + outcome.err)

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
        self._line.say({"id": number})

    def _hold(self, number: int, descriptor: int) -> None:
        # A command opens the file by this name, also one in a directory that its box does not have.
        try:
            pid = protection.hold(descriptor)
        finally:
            os.close(descriptor)
        name = f"/proc/{pid}/fd/{descriptor}"
        self._holders[name] = pid
        self._line.say({"id": number, "name": name})

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
            process_tree.kill_group(command.pid)

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
                self._lose_shell(self._session)
                continue
            if pid in self._terminals:
                self._terminals.discard(pid)
                self._forget(pid)
            elif (command := self._running.get(pid)) is not None:
                self._finish(command, os.waitstatus_to_exitcode(status))

    def _lose_shell(self, session: Session) -> None:
        if session.pid is not None:
            self._forget(session.pid)
        session.lose_shell()

    def _forget(self, pid: int) -> None:
        if (trouble := self._running.pop(pid).trouble) is not None:
            os.close(trouble)

    def _finish(self, command: Command, code: int) -> None:
        trouble = ""
        if command.trouble is not None:
            trouble = os.read(command.trouble, PIECE).decode()
            os.close(command.trouble)
        if command.key is not None:
            del self._running[command.pid]
            self._services.lose(command.key, command.pid, code)
            return
        for end in [end for end in command.outputs if end >= 0]:
            self._drain(command, end)
        del self._running[command.pid]
        outputs = list(command.outputs.values())
        if trouble:
            self._line.say({"id": command.number, "error": trouble})
        elif command.late:
            self._line.say({"id": command.number, "lost": True})
        else:
            exit_code = code if code >= 0 else 128 - code
            message = {"id": command.number, "code": exit_code, "out": len(outputs[0]), "limited": command.limited}
            self._line.say(message, b"".join(outputs))

    def _drain(self, command: Command, end: int) -> None:
        # The whole output of the command is in the pipe by now. Later bytes are another process's.
        size = struct.unpack("i", fcntl.ioctl(end, termios.FIONREAD, b"\0\0\0\0"))[0]
        while size > 0 and (data := os.read(end, min(size, PIECE))):
            size -= len(data)
            self._keep(command, end, data)
        if end not in self._selector.get_map():
            os.close(end)


def _bytes(text: str) -> bytes:
    # Half of a surrogate pair becomes the replacement character, as JavaScript writes it.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def main() -> NoReturn:
    """Serve on the socket that is the standard input."""
    options = json.loads(sys.argv[-1])
    connection = socket.socket(fileno=os.dup(0))
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
    agent = Agent(connection, options)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    agent.serve()
