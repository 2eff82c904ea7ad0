"""Which processes the commands of a box may trace: not the agent, whose life line they could take.

A command of the same user may trace a process, and take its descriptors with pidfd_getfd, while that process is
"dumpable".
"""

import contextlib
import os
import signal
from typing import NoReturn, cast

_SET_DUMPABLE = 4


def hide() -> None:
    """Let no command trace this process or take its descriptors. Children inherit this until they execute a program."""
    prctl(_SET_DUMPABLE, 0)


def hold(descriptor: int) -> int:
    """Return a new process that commands may look into: it keeps ``descriptor`` open, and no other, until it is killed.

    A command opens the file by ``/proc/PID/fd/DESCRIPTOR``.
    """
    ready, ready_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        _keep(descriptor, ready_end)
    os.close(ready_end)
    os.read(ready, 1)
    os.close(ready)
    return pid


def _keep(descriptor: int, ready: int) -> NoReturn:
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        first, last = sorted((descriptor, ready))
        os.closerange(0, first)
        os.closerange(first + 1, last)
        os.closerange(last + 1, 1 << 20)
        prctl(_SET_DUMPABLE, 1)
        os.close(ready)
        while True:
            signal.pause()
    finally:
        os._exit(1)


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process, where the system has it (Linux)."""
    # The part below ctypes: to load all of it takes as long as the rest of the agent's start.
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import _ctypes

        address = _ctypes.dlsym(_ctypes.dlopen(cast("str", None), 0), "prctl")
        _ctypes.call_function(address, (option, value, 0, 0, 0))
