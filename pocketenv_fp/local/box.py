"""A sandbox's box: the place of its commands, and the line to the agent in it.

There are two levels. With bubblewrap a sandbox has a file system of its own and sees only its own processes. The root of
the file system is the sandbox's folder, with the system's directories mounted read-only. Without namespaces its commands
are plain processes in that folder. Neither is a security boundary for hostile code.
"""

import asyncio
import contextlib
import functools
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from pocketenv_fp.local import processes
from pocketenv_fp.local.agent.frames import Frames, frame
from pocketenv_fp.local.blocking import aside
from pocketenv_fp.local.layout import LIBRARY, PYTHON, Mount, furnish, link_targets, mounted, python_at

Isolation = Literal["bubblewrap", "processes"]
Network = Literal["shared", "private"]
Container = Literal["0.7.8", "0.7.18"]

EXEC_SECONDS = 300.0

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BOOT_SECONDS = 20.0
# An agent without work rests after this time.
IDLE_SECONDS = 5.0
PATIENCE_SECONDS = 3.0
PIECE = 1 << 18
_START = "import sys; sys.path.append(sys.argv[1]); from agent.program import main; main()"


class Limits(NamedTuple):
    """Limits on the commands of one sandbox. None is no limit.

    `cpu_seconds` (processor time) and `memory_bytes` (address space) hold for each process. `processes` is the number of
    processes that a sandbox may have at once. Above it, whole sessions are killed. `output_bytes` is the size of one
    command's two outputs together. Above it, the command is killed, and its exit code is 137.
    """

    cpu_seconds: int | None = None
    memory_bytes: int | None = None
    processes: int | None = None
    output_bytes: int | None = 40 * 1024 * 1024  # JSON writes a byte as six at most, and clients take 256 MiB


NO_LIMITS = Limits()


class Refused(Exception):
    """The box refused: it was halted in between, or the system failed."""


class Kind(NamedTuple):
    """The kind of boxes of one platform, and the version of Cloudflare's container that they play.

    `container` is the version of Cloudflare's container: 0.7.8 puts four spaces after each newline of a command.
    `exec_seconds` is the longest time that a command may take there.
    """

    isolation: Isolation
    network: Network = "shared"
    limits: Limits = NO_LIMITS
    container: Container = "0.7.8"
    exec_seconds: float = EXEC_SECONDS


class Plan(NamedTuple):
    """The parts of a box.

    `root` is the folder that is its root, `mounts` are the folders in it, `reach` the paths in the system's directories
    that may be written.
    """

    root: Path
    mounts: tuple[Mount, ...] = ()
    reach: frozenset[str] = frozenset()


@functools.cache
def bubblewrap() -> str | None:
    """Return the path of bubblewrap if it works here, None without it or where namespaces are forbidden."""
    program = shutil.which("bwrap")
    if program is None or not sys.platform.startswith("linux"):
        return None
    probe = [program, *_NAMESPACES, "--clearenv", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true"]
    try:
        done = subprocess.run(probe, capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return program if done.returncode == 0 else None


def choose_kind(
    isolation: Isolation | None, network: Network, limits: Limits, container: Container, exec_seconds: float
) -> Kind:
    """Return the kind of boxes with these options. None is the strongest isolation of this machine. Raises OSError."""
    if isolation == "bubblewrap" and bubblewrap() is None:
        raise OSError("isolation 'bubblewrap': there is no bwrap here, or the system does not allow namespaces")
    level: Isolation = isolation or ("processes" if bubblewrap() is None else "bubblewrap")
    if network == "private" and level == "processes":
        raise OSError("network 'private' needs isolation 'bubblewrap', which this machine lacks")
    return Kind(level, network, limits, container, exec_seconds)


# Root keeps all capabilities in a box unless they are dropped. With these it could mount, trace the agent, or make files
# that cannot be removed.
_DROPPED = (
    *("SYS_ADMIN", "SYS_PTRACE", "SYS_MODULE", "SYS_RAWIO", "SYS_BOOT", "SYS_TIME", "SYSLOG"),
    *("NET_ADMIN", "MAC_ADMIN", "MAC_OVERRIDE", "DAC_READ_SEARCH", "LINUX_IMMUTABLE"),
)
_NAMESPACES = (
    *("--unshare-user", "--uid", "0", "--gid", "0"),
    *("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
    *(word for name in _DROPPED if os.geteuid() == 0 for word in ("--cap-drop", f"CAP_{name}")),
)


class Box:
    """One running agent. Every method but `wait_for_end` runs on the server's loop."""

    def __init__(self, process: "subprocess.Popen[bytes]", line: socket.socket, errors: IO[bytes]) -> None:
        self.gone = False
        self._process = process
        self._line = line
        self._errors = errors
        self._loop = asyncio.get_running_loop()
        self._numbers = iter(range(1, 2**62))
        self._waiting: dict[int, asyncio.Future[tuple[dict[str, Any], bytes]]] = {}
        self._frames = Frames()
        self._sending: deque[tuple[memoryview, int | None]] = deque()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._lost: Callable[[str], None] = lambda _: None
        self._ended: Callable[[], None] = lambda: None
        line.setblocking(False)  # noqa: FBT003 - the socket's own signature
        self._loop.add_reader(line, self._receive)

    async def ready(self, lost: Callable[[str], None], ended: Callable[[], None]) -> None:
        """Wait for the agent. `lost` is called with the key of each service that ends, `ended` when the box ends."""
        self._lost, self._ended = lost, ended
        try:
            await asyncio.wait_for(asyncio.shield(self._ready), BOOT_SECONDS)
        except (TimeoutError, Refused):
            await self.end()
            errors = (await aside(self._errors.read, 10_000)).decode(errors="replace").strip()
            raise Refused(errors.splitlines()[-1] if errors else "the box did not start") from None
        except asyncio.CancelledError:
            self._end_in_background()
            raise
        finally:
            self._errors.close()

    async def ask(
        self, what: dict[str, Any], payload: bytes = b"", descriptor: int | None = None
    ) -> tuple[dict[str, Any], bytes]:
        """Send a request to the agent. Return its answer and the bytes after it. Raises Refused."""
        if self.gone:
            raise Refused("halted")
        number = next(self._numbers)
        answer: asyncio.Future[tuple[dict[str, Any], bytes]] = self._loop.create_future()
        self._waiting[number] = answer
        request = memoryview(frame({**what, "id": number}, payload))
        # The first byte wakes an agent that rests. A descriptor that comes with this byte would be lost.
        self._sending += [(request, None)] if descriptor is None else [(request[:1], None), (request[1:], descriptor)]
        self._send()
        try:
            message, payload_read = await answer
        finally:
            self._waiting.pop(number, None)
        if "error" in message:
            raise Refused(message["error"])
        return message, payload_read

    async def end(self) -> None:
        """Kill every process of the box, and wait until the last is gone."""
        self.cut()
        await aside(self.wait_for_end)

    def cut(self) -> None:
        """Cut the life line: the box ends by itself. Calls that wait for an answer raise Refused."""
        if self.gone:
            return
        self.gone = True
        self._loop.remove_reader(self._line)
        self._loop.remove_writer(self._line)
        # A forked copy of this process may hold the socket too: closing it here would not end the line.
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)
        self._line.close()
        if not self._ready.done():
            self._ready.set_exception(Refused("the box did not start"))
            self._ready.exception()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(Refused("halted"))
        self._ended()

    def fileno(self) -> int:
        """Return the number of the life line's descriptor; -1 once it is cut."""
        return self._line.fileno()

    def wait_for_end(self) -> None:
        """Wait until a box without its line has ended. Call this in a thread that may wait."""
        try:
            self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            # A debugger or a stop signal holds the agent up: all its descendants are killed from outside.
            processes.end_family(self._process.pid)
            self._process.wait()

    def _end_in_background(self) -> None:
        # A process without a waiting parent stays in the system's table as a zombie.
        self.cut()
        threading.Thread(target=self.wait_for_end, name="pocketenv-box-end", daemon=True).start()

    def _receive(self) -> None:
        try:
            data = self._line.recv(PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end_in_background()
            return
        try:
            for message, payload in self._frames.feed(data):
                self._handle(message, payload)
        except (KeyError, TypeError, ValueError):  # a process in the box writes to the line
            self._end_in_background()

    def _handle(self, message: dict[str, Any], payload: bytes) -> None:
        if "ready" in message:
            if not self._ready.done():
                self._ready.set_result(None)
        elif "gone" in message:
            self._lost(message["gone"])
        elif (answer := self._waiting.get(message["id"])) is not None and not answer.done():
            answer.set_result((message, payload))

    def _send(self) -> None:
        try:
            while self._sending:
                part, descriptor = self._sending[0]
                sent = (
                    self._line.send(part) if descriptor is None else socket.send_fds(self._line, [part], [descriptor])
                )
                # A descriptor travels with the first byte of its part.
                self._sending[0] = (part[sent:], None)
                if sent == len(part):
                    self._sending.popleft()
        except BlockingIOError:
            self._loop.add_writer(self._line, self._send)
            return
        except OSError:
            self._end_in_background()
            return
        self._loop.remove_writer(self._line)


async def start(kind: Kind, plan: Plan) -> Box:
    """Start a box. `Box.ready` waits for its agent."""
    near, far = socket.socketpair()
    try:
        with far:
            process = await aside(_spawn, kind, plan, far)
    except BaseException as error:
        near.close()
        if isinstance(error, OSError):
            raise Refused(error.strerror or type(error).__name__) from None
        raise
    assert process.stderr is not None  # noqa: S101 - it was asked for as a pipe
    return Box(process, near, process.stderr)


def _spawn(kind: Kind, plan: Plan, far: socket.socket) -> "subprocess.Popen[bytes]":
    boxed = kind.isolation == "bubblewrap"
    options = {
        "root": "/" if boxed else str(plan.root),
        "volumes": {} if boxed else link_targets(plan.root, plan.mounts),
        "alone": boxed,
        "limits": kind.limits._asdict(),
        "shell": shell(),
        # The last one serves a machine that has only the Python of this process.
        "path": f"{PATH}:{PYTHON}/bin" if boxed else f"{PATH}:/opt/homebrew/bin",
        "marks": {} if boxed else {processes.MARK: str(plan.root)},
        "idle_seconds": IDLE_SECONDS,
    }
    # By the mark a platform finds the processes of a killed one.
    environment = {processes.MARK: str(plan.root)}
    command = [sys.executable, "-I", "-S", "-c", _START, str(Path(__file__).parent)]
    if boxed:
        furnish(plan.root, plan.mounts, plan.reach)
        command = [*_building(kind, plan), python_at(PYTHON), *command[1:-1], LIBRARY]
    return subprocess.Popen(
        [*command, json.dumps(options)],
        env=environment,
        stdin=far.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def _building(kind: Kind, plan: Plan) -> list[str]:
    command = bubblewrap()
    if command is None:
        raise OSError("bubblewrap is not there any more")
    # Not --die-with-parent: it follows the thread that started it. The life line does better.
    network = ["--unshare-net"] if kind.network == "private" else []
    box = mounted(plan.root, plan.mounts, plan.reach)
    return [command, *_NAMESPACES, *network, "--as-pid-1", "--clearenv", *box]


def shell() -> str:
    """Return the shell for a command line: bash where there is one."""
    return "/bin/bash" if Path("/bin/bash").exists() else "/bin/sh"
