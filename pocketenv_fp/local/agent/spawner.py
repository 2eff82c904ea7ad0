"""Start the processes of a sandbox: commands, services, the shell, terminals, and file work."""

import contextlib
import fcntl
import os
import resource
import signal
import sys
import termios
from collections.abc import Callable, Generator
from typing import Any, NoReturn

from . import file_operations

PIECE = 1 << 16
MOST_FILES = 65_536
DIRECTORIES = ("workspace", "root", "tmp")
OWN = "run/pocketenv/session"
# Without a box a command's `/workspace` would be the machine's. So `cd` prefers a directory of the sandbox's folder, in bash
# and in other shells that have read this.
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
# Python ignores the last two, and a child would inherit that.
_OWN_SIGNALS = (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ)


class Command:
    """A requested process: a command line, a service, or file work. `deadline` is the time of its kill."""

    def __init__(self, number: int | None, pid: int, trouble: int | None, key: str | None = None) -> None:
        self.number = number
        self.pid = pid
        self.trouble = trouble
        self.key = key
        self.outputs: dict[int, bytearray] = {}
        self.limited = False
        self.deadline: float | None = None
        self.late = False


class Spawner:
    """Starts processes of one sandbox, with its environment, directory and limits. Puts each into `running`."""

    def __init__(self, options: dict[str, Any], running: dict[int, Command]) -> None:
        self._running = running
        self._root: str = options["root"]
        self._alone: bool = options["alone"]
        self._limits: dict[str, int | None] = options["limits"]
        self._shell: str = options["shell"]
        self._path: str = options["path"]
        self._marks: dict[str, str] = options["marks"]
        limited = self._limits["cpu_seconds"] is not None or self._limits["memory_bytes"] is not None
        # posix_spawn makes a session leader on Linux. On other systems Python may not know how.
        self._forks = limited or not sys.platform.startswith("linux")
        self.null = os.open(os.devnull, os.O_RDONLY)
        self.own = self._place(OWN)
        self._open_files = self._many_files = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.suppress(ValueError, OSError):
            soft, hard = self._open_files
            most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(most, soft), hard))
            self._many_files = (max(most, soft), hard)

    def fork(self, number: int | None, body: Callable[[], None], key: str | None = None) -> Command:
        """Run `body` in a child. Its exceptions go to `Command.trouble`. Raises OSError."""
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
            except BaseException as error:  # noqa: BLE001 - the parent reports every error
                os.write(trouble_end, file_operations.reason(error).encode()[:PIECE])
            finally:
                os._exit(126)
        os.close(trouble_end)
        self._running[pid] = command = Command(number, pid, trouble, key)
        return command

    def start(
        self,
        number: int | None,
        request: dict[str, Any],
        out: int,
        err: int,
        *,
        key: str | None = None,
        reading: int | None = None,
    ) -> Command:
        """Start a program with these outputs. Its standard input is `reading`, or empty. Raises OSError."""
        environment = self._enter(request)
        arguments: list[str] = request["argv"] if self._alone else self._mapped(request["argv"], environment)
        ends = ((self.null if reading is None else reading, 0), (out, 1), (err, 2))
        program = {"bash": self._shell, "sh": "/bin/sh"}.get(arguments[0], arguments[0])
        if self._forks:
            return self.fork(number, lambda: self._become(program, arguments, environment, ends), key)
        # A third faster than a fork, and an error is known at once. But it cannot set limits.
        with self.few_descriptors():
            pid = os.posix_spawn(
                program,
                arguments,
                environment,
                file_actions=[(os.POSIX_SPAWN_DUP2, end, standard) for end, standard in ends],
                setsid=True,
                setsigdef=_OWN_SIGNALS,
            )
        self._running[pid] = command = Command(number, pid, None, key)
        return command

    @contextlib.contextmanager
    def few_descriptors(self) -> Generator[None]:
        """Set the limit on descriptors back in the block, for a program that starts there. Only the agent needs many."""
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, self._open_files)
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, self._many_files)

    def terminal(self, request: dict[str, Any], end: int) -> Command:
        """Start an interactive bash whose terminal is `end`. Raises OSError."""
        environment = self._enter(request)
        if not self._alone:
            # The form in which bash takes a function from the environment. An interactive shell does not read BASH_ENV.
            environment["BASH_FUNC_cd%%"] = CHANGE_DIRECTORY.removeprefix("cd").rstrip()

        def body() -> None:
            fcntl.ioctl(end, termios.TIOCSCTTY, 0)
            self._become(self._shell, ["bash"], environment, ((end, 0), (end, 1), (end, 2)))

        return self.fork(None, body)

    def _enter(self, request: dict[str, Any]) -> dict[str, str]:
        """Enter the directory of a request, and return its environment. Raises OSError."""
        # A child starts in its parent's directory, and the agent itself needs none.
        directory, home = request["cwd"].lstrip("/"), self._place(request["home"].lstrip("/"))
        try:
            os.makedirs(home, exist_ok=True)
            os.chdir(self._place(directory))
        except OSError:
            for name in (*DIRECTORIES, directory):
                os.makedirs(self._place(name), exist_ok=True)
            os.chdir(self._place(directory))
        scratch = {} if self._alone else {"TMPDIR": self._place("tmp")}
        return {"PATH": self._path, "HOME": home, **scratch, **request["env"], **self._marks}

    def _mapped(self, arguments: list[str], environment: dict[str, str]) -> list[str]:
        os.makedirs(self.own, exist_ok=True)
        prelude = os.path.join(os.path.dirname(self.own), "cd.sh")
        if not os.path.exists(prelude):
            with open(prelude, "w", encoding="utf-8") as file:
                file.write(CHANGE_DIRECTORY)
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
            # SIGXCPU first, and SIGKILL a second later for a process that ignores it.
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        if (size := self._limits["memory_bytes"]) is not None:
            resource.setrlimit(resource.RLIMIT_AS, (size, size))


def _forget_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in _OWN_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
