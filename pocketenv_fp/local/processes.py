"""Find and kill the processes that a sandbox's box left, from outside.

The agent of a box kills all its processes. If the agent itself or the platform was killed, every process of a sandbox is
still known (on Linux): by a variable in its environment, and as the child of a known process. A process that clears its
environment *and* outlives its parents is not found. Plain processes are no security boundary.
"""

import os
import time
from pathlib import Path

from pocketenv_fp.local.agent import process_tree

MARK = "POCKETENV_SANDBOX_DIR"
PATIENCE_SECONDS = 1.0


def end_family(pid: int) -> None:
    """Kill a process and its descendants."""
    process_tree.kill_each({pid} | process_tree.descendants({pid}).keys())


def end_marked(folder: Path) -> None:
    """Kill every process marked with `folder` or a folder below it.

    Repeats until none is left: a process that forks during the kill leaves children, and a parent may end before its
    child has closed a file.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    killed: set[int] = set()
    while pids := find_marked(folder) | _left(killed):
        killed |= pids
        process_tree.kill_each(pids)
        if time.monotonic() > deadline:
            return
        time.sleep(0.002)


def find_marked(folder: Path) -> set[int]:
    """Return the ids of the living processes that belong to `folder`. Empty without /proc."""
    # The closing NUL or slash keeps /a/box1 from matching /a/box10.
    mark = b"\0" + MARK.encode() + b"=" + os.fsencode(folder)
    pids = {
        pid
        for pid in process_tree.numbers()
        if mark + b"\0" in (environment := process_tree.environment(pid)) or mark + b"/" in environment
    }
    return (pids | process_tree.descendants(pids).keys()) - {os.getpid()}


def _left(killed: set[int]) -> set[int]:
    return killed & process_tree.living().keys() if killed else set()
