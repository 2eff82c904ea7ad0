"""Find the processes that belong together, and kill them."""

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Iterable
from types import FrameType

from . import protection

MARK = "POCKETENV_SERVICE"
PATIENCE_SECONDS = 2.0
_SET_CHILD_SUBREAPER = 36
PIECE = 1 << 16


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, where the system can (Linux)."""
    protection.prctl(_SET_CHILD_SUBREAPER, 1)


def descendants(ancestors: set[int]) -> dict[int, tuple[int, int]]:
    """Return every living process below these: its number, and its (parent, session)."""
    if not ancestors:
        return {}
    processes = living()
    below: dict[int, tuple[int, int]] = {}
    grown = ancestors
    while grown:
        grown = {pid for pid, (parent, _) in processes.items() if parent in grown and pid not in below}
        below.update({pid: processes[pid] for pid in grown})
    return below


def wake_on_children() -> int:
    """Return a descriptor that can be read when a child of this process has ended."""
    woken, waker = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(waker, False)
    # The handler does nothing. With a handler, Python writes to the descriptor at once.
    signal.signal(signal.SIGCHLD, _look)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    return woken


def _look(_number: int, _frame: FrameType | None) -> None:
    pass


def children(parent: int) -> set[int] | None:
    """Return the children of a process that has one thread, zombies included. None where the system does not list them."""
    try:
        with open(f"/proc/{parent}/task/{parent}/children", "rb") as file:
            return {int(pid) for pid in file.read().split()}
    except OSError:
        return None


def of_service(leader: int, key: str) -> set[int]:
    """Return the processes in the session of a service, and those with its mark that left the session."""
    bearing = b"\0" + f"{MARK}={key}".encode() + b"\0"
    return {leader} | {
        pid for pid, (_, session) in living().items() if session == leader or bearing in environment(pid)
    }


def kill(pids: set[int]) -> None:
    """Kill these at once, each with the group that it leads."""
    for pid in pids - {os.getpid()}:
        kill_each((pid,))
        # Without a process table only the group is known.
        kill_group(pid)


def kill_each(pids: Iterable[int]) -> None:
    """Kill these processes. One that has ended, or is another user's, is skipped."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def kill_group(leader: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to a group of processes. One that has ended, or is another user's, is skipped."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def thin_out(ancestor: int, most: int, spared: int | None = None) -> int:
    """Return how many processes live below `ancestor`.

    Above `most`, whole sessions are killed, the most crowded first, but for the process `spared`.
    """
    below = descendants({ancestor})
    left = len(below)
    if left <= most:
        return left
    for session, members in Counter(session for _, session in below.values()).most_common():
        kill_each(pid for pid, (_, own) in below.items() if own == session and pid != spared)
        left -= members
        if left <= most:
            break
    return len(below)


def end_all(ancestor: int, groups: set[int]) -> None:
    """Kill every descendant, and repeat until none is left: a process that forks during the kill leaves children."""
    kill(groups)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (below := descendants({ancestor})) and time.monotonic() < deadline:
        kill_each(below)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.001)


def living() -> dict[int, tuple[int, int]]:
    """Return every living process that can be seen: its number, and its (parent, session). Empty without /proc."""
    processes: dict[int, tuple[int, int]] = {}
    for pid in numbers():
        with contextlib.suppress(OSError, ValueError):
            state, parent, _, session = _read(f"/proc/{pid}/stat").rpartition(b") ")[2].split()[:4]
            # A zombie cannot be killed again.
            if state != b"Z":
                processes[pid] = int(parent), int(session)
    return processes


def numbers() -> list[int]:
    """Return the number of every process that can be seen, zombies included. Empty without /proc."""
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        return []


def kill_holders(start: str, spared: int) -> bool:
    """Kill the processes with an open file whose path begins with `start`, but for `spared`. Return whether there are any."""
    pids = {pid for pid in living() if pid not in {spared, os.getpid()} and _holds(pid, start)}
    kill_each(pids)
    return bool(pids)


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


def environment(pid: int) -> bytes:
    """Return the environment that a process was started with, a NUL before each name.

    It is empty where it cannot be seen. A zombie has none.
    """
    try:
        return b"\0" + _read(f"/proc/{pid}/environ")
    except OSError:
        return b""


def _read(path: str) -> bytes:
    # A file object takes several times as long, and a machine has hundreds of processes.
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = part = os.read(file, PIECE)
        while len(part) > 0 and (part := os.read(file, PIECE)):
            content += part
        return content
    finally:
        os.close(file)
