"""The rest of an agent without work: it executes a small shell in its own place.

Python needs 5 MB in each box, and a waiting `sh` needs 0.1 MB. The process stays the same: it is still process 1 of its box
and the parent of the sandbox's shell, and its life line stays open. The first byte of each request is a newline. `sh` reads
this byte and no more, and executes Python again. Where the life line is closed, `sh` kills the sandbox's shell and ends.

While it rests, a command could take the life line: see `protection`. So an agent rests only where no command runs.
"""

import json
import os
import sys
from typing import Any

from . import process_tree
from .life_line import LifeLine
from .session import Rested

_SHELL = "/bin/sh"
# $0 is the sandbox's shell, or nothing. The other words are the command of the agent.
_SCRIPT = 'read -r _ && exec "$@"; test -z "$0" || kill -9 "$0"'


def is_possible(shells: set[int]) -> bool:
    """Return whether no process of the sandbox runs but its shell, and that the shell waits for a line."""
    for parent, expected in ((os.getpid(), shells), *((shell, set[int]()) for shell in shells)):
        if process_tree.children(parent) != expected:
            return False
    return True


def begin(line: LifeLine, options: dict[str, Any], session: Rested | None) -> None:
    """Rest until the next request. Return only where the system refuses it, and all is as before."""
    shell = None if session is None else session.pid
    later = json.dumps({**options, "rested": session})
    command = ["sh", "-c", _SCRIPT, "" if shell is None else str(shell), *sys.orig_argv[:-1], later]
    ends = [end for end in (session.stdin, session.bell) if end >= 0] if session is not None else []
    try:
        for end in ends:
            os.set_inheritable(end, True)  # noqa: FBT003 - its own signature
        os.dup2(line.fileno(), 0)
        os.set_blocking(0, True)
        os.execv(_SHELL, command)  # noqa: S606 - it is a shell
    except OSError:
        # The life line stays open as the standard input. That is closed with the program.
        os.set_blocking(line.fileno(), False)
        for end in (0, *ends):
            os.set_inheritable(end, False)  # noqa: FBT003 - its own signature
