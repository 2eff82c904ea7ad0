"""The one shell of a sandbox on Cloudflare: a bash that reads a script for each line from its standard input.

A script is one group of 30 lines with the line itself in it as plain text. So the line meets the shell's own state: its
directory, variables, options, traps and jobs. The script writes the outputs to files of its own. At the end it moves a
file with the exit code into place. A line may end the shell, leave a quote open, or make the shell drop the group. Then
the script never gets to its end.

Lines run one after the other, in the order of their arrival.
"""

import contextlib
import errno
import os
import selectors
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from . import process_tree

PIECE = 1 << 16
WATCH_SECONDS = 0.05
# A script: the line stands on its 15th line and the group ends on its 30th. Error messages count these.
_BEFORE_LINES = 14
_AFTER_LINES = 15


class Line(NamedTuple):
    """A line to type. A line without a number has no answer; `limit` is in seconds."""

    number: int | None
    text: bytes
    limit: float | None


class Outcome(NamedTuple):
    """The result of a line. It has no `code` where the shell ended, or where the line was not done in time."""

    code: int | None
    out: bytes = b""
    err: bytes = b""
    limited: bool = False


class Shell(NamedTuple):
    """A running bash: its process, and the end of the pipe that it reads."""

    pid: int
    stdin: int


class Rested(NamedTuple):
    """A shell that waits for a line, while its agent rests. Without `pid` it has ended."""

    pid: int | None
    stdin: int
    bell: int
    lines: int


class _Typed:
    """A line whose script was sent to the shell."""

    def __init__(self, line: Line, log: str, most: int | None) -> None:
        self.line = line
        self.log = log
        self.most = most
        self.limited = False
        # The size at the first look that saw only the shell hold the outputs.
        self.alone_at: int | None = None
        self.deadline = None if line.limit is None else time.monotonic() + line.limit

    @property
    def done(self) -> bool:
        return os.path.exists(f"{self.log}.code")

    def outcome(self) -> Outcome:
        with open(f"{self.log}.code", "rb") as file:
            code, _, log = file.read().rstrip(b"\n").partition(b"\n")
        # The line named a variable as the script does, and so removed its output.
        if log != self.log.encode():
            return Outcome(int(code) if code.isdigit() else 0)
        out = _read(f"{self.log}.out", self.most)
        err = _read(f"{self.log}.err", None if self.most is None else self.most - len(out))
        return Outcome(int(code) if code.isdigit() else 0, out, err, self.limited)

    def written(self) -> int:
        return sum(_size(f"{self.log}.{name}") for name in ("out", "err"))

    def forget(self) -> None:
        for name in ("out", "err", "code", "part"):
            with contextlib.suppress(OSError):
                os.unlink(f"{self.log}.{name}")


class Session:
    """The shell, and the lines that wait for it. It is started with the first line.

    `start` makes the shell. `answer` gets each line that has a number with its outcome. `most` is the size of a line's
    outputs in bytes. Above it, the processes that hold the outputs are killed, and the shell last.
    """

    def __init__(
        self,
        folder: str,
        selector: selectors.BaseSelector,
        start: Callable[[], Shell],
        *,
        answer: Callable[[int, Outcome], None],
        most: int | None,
    ) -> None:
        self.pid: int | None = None
        self._folder = folder
        self._selector = selector
        self._start = start
        self._answer = answer
        self._most = most
        self._dead = False
        self._stdin = -1
        self._signal = -1
        self._unsent = bytearray()
        self._waiting: deque[Line] = deque()
        self._current: _Typed | None = None
        self._late: list[_Typed] = []
        self._count = 0

    def type(self, line: Line) -> None:
        """Run a line when those before it are done."""
        self._waiting.append(line)
        self._proceed()

    @property
    def is_idle(self) -> bool:
        """Whether no line runs or waits."""
        return not (self._current or self._waiting or self._late or self._unsent)

    def rest(self) -> Rested:
        """Return the shell for `resume`, in the program that this process executes next. No line may run or wait."""
        return Rested(None, -1, -1, 0) if self._dead else Rested(self.pid, self._stdin, self._signal, self._count)

    def resume(self, rested: Rested) -> None:
        """Take a shell over from the program that this process was."""
        self.pid, self._stdin, self._signal, self._count = rested
        self._dead = self.pid is None
        if not self._dead:
            for end in (self._stdin, self._signal):
                os.set_inheritable(end, False)  # noqa: FBT003 - its own signature
            self._selector.register(self._signal, selectors.EVENT_READ, self._on_bell)

    def patience(self) -> float | None:
        """Return the seconds until the next call of `attend`; None for no deadline."""
        return WATCH_SECONDS if self._current is not None or self._late else None

    def attend(self) -> None:
        """Look for lines that are done, too late, or too large."""
        current, moment = self._current, time.monotonic()
        for late in [late for late in self._late if late.done]:
            self._late.remove(late)
            late.forget()
        if current is None:
            return
        if current.done:
            self._finish(current)
        elif current.deadline is not None and moment >= current.deadline:
            # The line goes on. The next one is typed after it, with a time limit of its own.
            self._late.append(current)
            self._current = None
            self._report(current.line, Outcome(None))
            self._proceed()
        elif current.most is not None and current.written() > current.most and self.pid is not None:
            current.limited = True
            self._cut(current, self.pid)

    def lose_shell(self) -> None:
        """Record that the shell's process ended. Every waiting and later line has no answer."""
        current, self._current = self._current, None
        self.pid, self._dead = None, True
        self._unsent.clear()
        self._watch(-1)
        for late in self._late:
            late.forget()
        self._late.clear()
        if current is not None:
            # Where the shell ends after the end of the line, the next line reports it.
            self._report(current.line, current.outcome() if current.done else Outcome(None))
            current.forget()
        self._proceed()

    def _proceed(self) -> None:
        while self._waiting and self._current is None:
            line = self._waiting.popleft()
            if not self._dead and self.pid is None:
                self._open()
            if self._dead:
                self._report(line, Outcome(None))
                continue
            self._count += 1
            self._current = _Typed(line, f"{self._folder}/{self._count}", self._most)
            self._unsent += script(line.text, self._current.log, self._folder)
            self._send()

    def _open(self) -> None:
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        for left in os.listdir(self._folder):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(self._folder, left))
        bell = bell_in(self._folder)
        os.mkfifo(bell, 0o600)
        # Open for both: otherwise it would be at its end while no script holds it.
        self._signal = os.open(bell, os.O_RDWR | os.O_NONBLOCK)
        self._selector.register(self._signal, selectors.EVENT_READ, self._on_bell)
        try:
            shell = self._start()
        except OSError:
            self._dead = True
            return
        self.pid, self._stdin = shell
        os.set_blocking(self._stdin, False)

    def _on_bell(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._signal, PIECE)
        self.attend()

    def _finish(self, current: _Typed) -> None:
        self._current = None
        outcome = current.outcome()
        current.forget()
        self._report(current.line, outcome)
        self._proceed()

    def _cut(self, current: _Typed, shell: int) -> None:
        # Called again while the outputs are too large.
        if process_tree.kill_holders(f"{current.log}.", shell):
            current.alone_at = None
            return
        # The size is read after the look: a killed process writes until it is gone. The shell reports its death, so a
        # little growth is not its own output.
        size = current.written()
        if current.alone_at is None:
            current.alone_at = size
        elif size > current.alone_at + PIECE:
            process_tree.kill_each((shell,))

    def _report(self, line: Line, outcome: Outcome) -> None:
        if line.number is not None:
            self._answer(line.number, outcome)

    def _send(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: os.write(self._stdin, self._unsent)]
        except BlockingIOError:
            self._watch(self._stdin)
            return
        except OSError as error:
            # The parent notices its end soon.
            if error.errno != errno.EPIPE:
                raise
            self._unsent.clear()
        self._watch(-1)

    def _watch(self, end: int) -> None:
        watched = self._stdin >= 0 and self._stdin in self._selector.get_map()
        if end >= 0 and not watched:
            self._selector.register(end, selectors.EVENT_WRITE, self._send)
        elif end < 0 and watched:
            self._selector.unregister(self._stdin)


def bell_in(folder: str) -> str:
    """Return the named pipe by which a script reports its end."""
    return f"{folder}/bell"


def script(line: bytes, log: str, folder: str) -> bytes:
    """Return the script that the shell reads for a line.

    It has no quote that is not closed on the same line. So an open quote in a line swallows this script and the next
    ones. Of the system it needs only `mv`. It sets its variables inside of the group, before the line.
    """
    before = [
        "{",
        f"log={_quoted(log)}",
        f"dir={_quoted(folder)}",
        'sp="$dir/sp"',
        'ep="$dir/ep"',
        'cleanup() { rm -f "$sp" "$ep"; }',
        "trap cleanup EXIT HUP INT TERM",
    ]
    after = [
        "    EXIT_CODE=$?",
        '} </dev/null >"$log.out" 2>"$log.err"',
        f'builtin printf "%s\\n" "$EXIT_CODE" "$log" >{_quoted(f"{log}.part")}',
        f"mv {_quoted(f'{log}.part')} {_quoted(f'{log}.code')} && builtin echo >{_quoted(bell_in(folder))}",
    ]
    blank = "\n" * (_BEFORE_LINES - len(before) - 1)
    head = "\n".join(before) + f"\n{blank}{{\n    "
    tail = "\n" + "\n".join(after) + "\n" * (_AFTER_LINES - len(after)) + "}\n"
    return head.encode() + line + tail.encode()


def _quoted(path: str) -> str:
    # In double quotes: each line of the script has an even number of them.
    return '"' + "".join(f"\\{character}" if character in '\\"$`' else character for character in path) + '"'


def _read(path: str, most: int | None) -> bytes:
    # Bash reads it line by line: it drops NUL bytes, and the end of the last line is lost.
    try:
        with open(path, "rb") as file:
            return file.read(most).replace(b"\0", b"").removesuffix(b"\n")
    except OSError:
        return b""


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
