"""The services of a sandbox: processes that stay until they are ended."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from . import process_tree
from .spawner import Command, Spawner

# The time of a service between SIGTERM and SIGKILL.
GRACE_SECONDS = 3.0
WATCH_SECONDS = 0.05


class Services:
    """The services that run, and those that are to end. `say` sends an answer."""

    def __init__(self, spawner: Spawner, say: Callable[[dict[str, Any]], None]) -> None:
        self._spawner = spawner
        self._say = say
        self._running: dict[str, Command] = {}
        self._ending: dict[str, tuple[list[int], float]] = {}

    def launch(self, number: int, request: dict[str, Any], log: str) -> None:
        """Start a service. Its output goes to the file `log`. Raises OSError."""
        key: str = request["key"]
        if key in self._running:
            self._say({"id": number, "error": "it runs"})
            return
        os.makedirs(os.path.dirname(log), exist_ok=True)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        request["env"][process_tree.MARK] = key
        request["argv"] = ["bash", "-c", request["line"]]
        try:
            self._running[key] = self._spawner.start(None, request, output, output, key=key)
        finally:
            os.close(output)
        self._say({"id": number})

    def end(self, number: int, key: str) -> None:
        """End a service: SIGTERM now, SIGKILL later. The answer comes after its end."""
        service = self._running.get(key)
        if service is None:
            self._say({"id": number})
            return
        waiting, deadline = self._ending.get(key, ([], time.monotonic() + GRACE_SECONDS))
        self._ending[key] = ([*waiting, number], deadline)
        process_tree.kill_group(service.pid, signal.SIGTERM)

    def patience(self) -> float | None:
        """Return the seconds until the next call of `attend`; None for no deadline."""
        moment = time.monotonic()
        return min((deadline - moment for _, deadline in self._ending.values()), default=None)

    def attend(self) -> None:
        """Kill the services that did not end in time."""
        moment = time.monotonic()
        for key, (waiting, deadline) in list(self._ending.items()):
            if deadline <= moment:
                process_tree.kill(process_tree.of_service(self._running[key].pid, key))
                self._ending[key] = (waiting, moment + WATCH_SECONDS)

    def lose(self, key: str, pid: int, code: int) -> None:
        """Report the end of a service. Processes in its session or with its mark are killed with it."""
        del self._running[key]
        if key in self._ending:
            process_tree.kill(process_tree.of_service(pid, key))
        waiting, _ = self._ending.pop(key, ([], 0.0))
        self._say({"gone": key, "code": code})
        for number in waiting:
            self._say({"id": number})
