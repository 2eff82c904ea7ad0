"""The program inside a sandbox's box: it runs what the platform asks for, and everything here ends with it.

It knows nothing but the standard library, for nothing else is in a box: it is process 1 there, or an ordinary process
where there are no boxes. What it is to do comes as one argument, a JSON object.

Requests and answers go over one inherited socket, which is the life line as well: at its end, whoever closed it and
however, process 1 ends, and the kernel ends the rest.
"""

import contextlib
import fcntl
import gc
import json
import os
import resource
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

PIECE = 1 << 16
MOST_FILES = 65_536
# How long a service may take to end when it is asked to.
GRACE_SECONDS = 3.0
WATCH_SECONDS = 0.05
DIRECTORIES = ("workspace", "root", "tmp")
OWN = "run/pocketenv/session"
# Where there is no box, a command's `/workspace` would be the machine's: an absolute directory that the sandbox's folder
# has means that one to `cd`, in bash and in other shells that have read this.
CHANGE_DIRECTORY = """cd() {
for pocketenv_to do :; done
case ${pocketenv_to-} in
"$POCKETENV_SANDBOX_DIR" | "$POCKETENV_SANDBOX_DIR"/*) ;;
/*) if [ -d "$POCKETENV_SANDBOX_DIR$pocketenv_to" ]; then set -- "$POCKETENV_SANDBOX_DIR$pocketenv_to"; fi ;;
esac
unset pocketenv_to
command cd "$@"
}
"""
_QUOTE = "'\\''"
# Python ignores the last two and would pass that on.
_OWN_SIGNALS = (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ)


class Command:
    """A process that was asked for: a command line, a service, or file work. `deadline` is when it is killed."""

    def __init__(self, number: int | None, pid: int, trouble: int | None, key: str | None = None) -> None:
        self.number = number
        self.pid = pid
        self.trouble = trouble
        self.key = key
        self.outputs: dict[int, bytearray] = {}
        self.limited = False
        self.deadline: float | None = None
        self.late = False


class Agent:
    """The loop."""

    def __init__(self, line: socket.socket, options: dict[str, Any]) -> None:
        self._line = line
        self._root: str = options["root"]
        self._volumes: dict[str, str] = options["volumes"]
        self._alone: bool = options["alone"]
        self._limits: dict[str, int | None] = options["limits"]
        self._shell: str = options["shell"]
        self._path: str = options["path"]
        self._marks: dict[str, str] = options["marks"]
        limited = self._limits["cpu_seconds"] is not None or self._limits["memory_bytes"] is not None
        # A spawned process that leads a session is Linux's; elsewhere Python may not know how.
        self._forks = limited or not sys.platform.startswith("linux")
        self._nothing = os.open(os.devnull, os.O_RDONLY)
        self._selector = selectors.DefaultSelector()
        self._frames = Frames()
        self._descriptors: deque[int] = deque()
        self._holders: dict[str, int] = {}
        self._sending: deque[memoryview] = deque()
        self._running: dict[int, Command] = {}
        self._services: dict[str, Command] = {}
        self._ending: dict[str, tuple[list[int], float]] = {}
        self._crowd = 0
        self._session: Session | None = None
        self._typed: dict[str, Any] = {}
        self._own = self._place(OWN)
        self._open_files = self._many_files = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.suppress(ValueError, OSError):
            soft, hard = self._open_files
            most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(most, soft), hard))
            self._many_files = (max(most, soft), hard)

    def serve(self) -> NoReturn:
        """Answer until the line ends."""
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
            # It comes as one that a command started before its turn would inherit.
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
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._sending else 0)
        if self._selector.get_key(self._line).events != wanted:
            self._selector.modify(self._line, wanted, self._exchange if self._sending else self._receive)

    def _exchange(self) -> None:
        self._send()
        self._receive()

    def _end(self) -> NoReturn:
        # Process 1 takes all others of its box along. Where there is no box they are hunted down.
        if not self._alone:
            process_tree.end_all(os.getpid(), {command.pid for command in self._running.values()})
        os._exit(0)

    # What can be asked for.

    def _handle(self, request: dict[str, Any], payload: bytes) -> None:
        number: int = request["id"]
        try:
            match request["do"]:
                case "run":
                    self._run(number, request)
                case "line":
                    self._type(number, request)
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
        # Pipes, read to their end and not to the command's: a child left in the background keeps writing to a
        # reader that throws its words away, and /dev/stderr can be opened by name.
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        try:
            # Closed at once where both outputs are one: nothing comes through it.
            command = self._start(number, request, out_end, out_end if request["merged"] else err_end)
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
                self._own,
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
            # Its own name is in its error messages.
            bash = "/usr/bin/bash" if os.path.exists("/usr/bin/bash") else self._shell
            request = {**self._typed, "argv": [bash, "--norc"]}
            command = self._start(None, request, self._nothing, self._nothing, reading=reading)
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
        told = {"id": number, "code": outcome.code, "out": len(outcome.out), "limited": outcome.limited}
        self._say(told, outcome.out + outcome.err)

    def _hold(self, number: int, descriptor: int) -> None:
        # A command opens the file by this name, whatever directory of the machine it lies in.
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
            self._services[key] = self._start(None, request, output, output, key=key)
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
                return archive.pack(self._root, request["path"], self._volumes, file, request["top"])
            archive.unpack(self._root, request["path"], self._volumes, file, request["exact"])
            return None

        try:
            self._work(number, task)
        finally:
            os.close(file)

    def _work(self, number: int, task: Callable[[], object]) -> None:
        # In a child, for it may take long, and so that whatever goes wrong in it goes wrong there.
        answer, answer_end = os.pipe()

        def body() -> None:
            os.write(answer_end, json.dumps(task()).encode())
            os._exit(0)

        try:
            command = self._fork(number, body)
        except OSError:
            os.close(answer)
            raise
        finally:
            os.close(answer_end)
        command.outputs[answer] = bytearray()

    # Making processes, and noticing their end.

    def _fork(self, number: int | None, body: Callable[[], None], key: str | None = None) -> Command:
        trouble, trouble_end = os.pipe()
        try:
            pid = os.fork()
        except OSError:
            os.close(trouble)
            os.close(trouble_end)
            raise
        if pid == 0:
            try:
                _forget_signals()
                os.setsid()
                body()
            except BaseException as error:  # noqa: BLE001 - told to the parent, whatever it is
                os.write(trouble_end, file_operations.reason(error).encode()[:PIECE])
            finally:
                os._exit(126)
        os.close(trouble_end)
        self._running[pid] = command = Command(number, pid, trouble, key)
        return command

    def _start(
        self,
        number: int | None,
        request: dict[str, Any],
        out: int,
        err: int,
        *,
        key: str | None = None,
        reading: int | None = None,
    ) -> Command:
        home = self._place(request["home"].lstrip("/"))
        environment = {"PATH": self._path, "HOME": home, **request["env"], **self._marks}
        arguments: list[str] = request["argv"]
        if not self._alone:
            arguments = self._mapped(arguments, environment)
        self._enter(request["cwd"].lstrip("/"), home)
        ends = ((self._nothing if reading is None else reading, 0), (out, 1), (err, 2))
        program = {"bash": self._shell, "sh": "/bin/sh"}.get(arguments[0], arguments[0])
        if self._forks:
            return self._fork(number, lambda: self._become(program, arguments, environment, ends), key)
        # A third faster than a fork, and an error is known at once; but limits could not be set on the way.
        try:
            # So many descriptors are the agent's own business.
            resource.setrlimit(resource.RLIMIT_NOFILE, self._open_files)
            pid = os.posix_spawn(
                program,
                arguments,
                environment,
                file_actions=[(os.POSIX_SPAWN_DUP2, end, standard) for end, standard in ends],
                setsid=True,
                setsigdef=_OWN_SIGNALS,
            )
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, self._many_files)
        self._running[pid] = command = Command(number, pid, None, key)
        return command

    def _enter(self, directory: str, home: str) -> None:
        # The agent has no use for a directory of its own, and a child starts where its parent is.
        try:
            os.makedirs(home, exist_ok=True)
            os.chdir(self._place(directory))
        except OSError:
            for name in (*DIRECTORIES, directory):
                os.makedirs(self._place(name), exist_ok=True)
            os.chdir(self._place(directory))

    def _mapped(self, arguments: list[str], environment: dict[str, str]) -> list[str]:
        os.makedirs(self._own, exist_ok=True)
        prelude = os.path.join(os.path.dirname(self._own), "cd.sh")
        if not os.path.exists(prelude):
            with open(prelude, "w", encoding="utf-8") as file:
                file.write(CHANGE_DIRECTORY)
        environment.setdefault("TMPDIR", self._place("tmp"))
        environment.setdefault("BASH_ENV", prelude)
        if os.path.basename(arguments[0]) == "bash" or "-c" not in arguments:
            return arguments
        quoted = prelude.replace("'", _QUOTE)
        return [*arguments[:-1], f". '{quoted}'; {arguments[-1]}"]

    def _become(
        self, program: str, arguments: list[str], environment: dict[str, str], ends: tuple[tuple[int, int], ...]
    ) -> NoReturn:
        for end, standard in ends:
            os.dup2(end, standard)
        self._limit()
        os.execve(program, arguments, environment)  # noqa: S606 - it is a shell

    def _place(self, name: str) -> str:
        return os.path.join(self._root, name)

    def _limit(self) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, self._open_files)
        if (seconds := self._limits["cpu_seconds"]) is not None:
            # SIGXCPU first, and a second later SIGKILL for who ignores it.
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        if (size := self._limits["memory_bytes"]) is not None:
            resource.setrlimit(resource.RLIMIT_AS, (size, size))

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
                # What it wrote is kept under a number that no descriptor has.
                command.outputs = {(~end if kept == end else kept): text for kept, text in command.outputs.items()}
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
            told = {"id": command.number, "code": exit_code, "out": len(outputs[0]), "limited": command.limited}
            self._say(told, b"".join(outputs))

    def _drain(self, command: Command, end: int) -> None:
        # All that the command itself wrote is in the pipe by now; what comes later is somebody else's.
        size = struct.unpack("i", fcntl.ioctl(end, termios.FIONREAD, b"\0\0\0\0"))[0]
        while size > 0 and (data := os.read(end, min(size, PIECE))):
            size -= len(data)
            self._keep(command, end, data)
        if end not in self._selector.get_map():
            os.close(end)

    def _lose(self, key: str, pid: int, code: int) -> None:
        # Whatever it left in its session, or marked as its own, goes with it.
        del self._services[key]
        if key in self._ending:
            process_tree.kill(process_tree.of_service(pid, key))
        waiting, _ = self._ending.pop(key, ([], 0.0))
        self._say({"gone": key, "code": code})
        for number in waiting:
            self._say({"id": number})


def _wake_on_children() -> int:
    # The handler does nothing; that there is one makes Python write to the descriptor at once.
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


def _curb(log: str, shell: int, is_growing: bool) -> None:  # noqa: FBT001 - called by position
    holders = {pid for pid in process_tree.living() if pid not in {shell, os.getpid()} and _holds(pid, f"{log}.")}
    for pid in holders or ({shell} if is_growing else set[int]()):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


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


def _forget_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in _OWN_SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def main() -> NoReturn:
    """Serve on the socket that the options name."""
    options = json.loads(sys.argv[-1])
    line = socket.socket(fileno=options["line"])
    os.set_inheritable(options["line"], False)  # noqa: FBT003 - its own signature
    # Process 1 has no handlers: nobody in the box can make it stop.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
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
