"""Finding and ending what a sandbox's box left behind, from outside.

The agent of a box ends all that it started. Where the agent itself was killed, or the platform, every process of a
sandbox is still known (on Linux) by a variable in its environment, and by being the child of one that is known. What
empties its environment *and* outlives its parents is not found then: plain processes are no security boundary.
"""

import contextlib
import os
import signal
import time
from pathlib import Path

MARK = "POCKETENV_SANDBOX_DIR"
PATIENCE_SECONDS = 1.0
_PROC = Path("/proc")


def end_family(pid: int) -> None:
    """Kill a process and its descendants."""
    parents = {found: parent for found in _pids() if (parent := _parent(found)) is not None}
    for member in {pid} | _below({pid}, parents):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(member, signal.SIGKILL)


def end_marked(folder: Path) -> None:
    """Kill every process marked with `folder` or a folder below it.

    Looks again until nothing is left, because what forks while it is hunted leaves children behind; and until what was
    killed is gone, for a parent may end before its child has let go of a file.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    killed: set[int] = set()
    while found := marked(folder) | {pid for pid in killed if _parent(pid) is not None}:
        killed |= found
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return
        time.sleep(0.002)


def marked(folder: Path) -> set[int]:
    """Ids of the living processes that belong to `folder`; empty where there is no /proc."""
    parents: dict[int, int] = {}
    found: set[int] = set()
    for pid in _pids():
        if _bears(pid, folder):
            found.add(pid)
        elif (parent := _parent(pid)) is not None:
            parents[pid] = parent
    return (found | _below(found, parents)) - {os.getpid()}


def _below(found: set[int], parents: dict[int, int]) -> set[int]:
    below: set[int] = set()
    while grown := {pid for pid, parent in parents.items() if parent in found | below and pid not in found | below}:
        below |= grown
    return below


def _pids() -> list[int]:
    try:
        return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal()]
    except OSError:
        return []


def _bears(pid: int, folder: Path) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    # The closing NUL or slash keeps /a/box1 from matching /a/box10.
    start = b"\0" + MARK.encode() + b"=" + os.fsencode(folder)
    text = b"\0" + environment
    return start + b"\0" in text or start + b"/" in text


def _parent(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
    except OSError:
        return None
    # A zombie cannot be killed again, and its children have another parent already.
    return None if not fields or fields[0] == b"Z" else int(fields[1])
