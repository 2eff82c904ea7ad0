"""A sandbox's own machine: a folder that is its file system, and the box of its commands."""

import asyncio
import contextlib
import os
import socket
import threading
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pocketenv_fp.local import box as boxes
from pocketenv_fp.local import layout, processes
from pocketenv_fp.local.agent import file_operations, process_tree
from pocketenv_fp.local.blocking import aside
from pocketenv_fp.local.box import Box, Kind, Plan, Refused

__all__ = ["Finished", "Lost", "Machine", "Refused"]

TERMINAL = {"TERM": "xterm-256color", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
LIMITED = "the output was cut: the command wrote more than it may\n"


class Finished(NamedTuple):
    """The result of a command. `limited`: it was killed because it wrote too much."""

    stdout: str
    stderr: str
    exit_code: int
    limited: bool = False


class Lost(Exception):
    """A command has no answer: its shell ended, or it took too long."""


class Machine:
    """The folder and the box of one sandbox. The first operation builds the box.

    `generation` counts the runs of the machine. A request reads it at its start and compares it when the box is there,
    so that no command gets into a machine that was halted in between.
    `turn` is a lock for changes of the whole machine (start, stop, delete, backup). Commands do not wait for it.
    `variables` is the environment of the last start; None until it is read again after a restart.
    `early`: its content is from before the sandbox was ready. `is_retired`: its sandbox is deleted.
    """

    def __init__(
        self, folder: Path, trash: Path, closed: threading.Event, kind: Kind, planned: Callable[[], Plan]
    ) -> None:
        self.folder = folder
        self.generation = 0
        self.variables: dict[str, str] | None = None
        self.early = False
        self.is_retired = False
        self.turn = asyncio.Lock()
        self.box: Box | None = None
        self._trash = trash
        self._closed = closed
        self._kind = kind
        self._planned = planned
        self._plan: Plan | None = None
        self._building = asyncio.Lock()
        self._services: set[str] = set()
        self._typed_in: Box | None = None
        self._later: list[str] = []

    async def adopt(self, plan: Plan) -> None:
        """Use this plan from now on. A box with another plan is ended."""
        if self.box is not None and plan != self._plan:
            await self.halt()
        self._plan = plan

    async def reach(self, path: str) -> bool:
        """Let a directory of the system accept new names. Return whether the running processes were killed for it."""
        plan = self._planned() if self._plan is None else self._plan
        restarts = self.box is not None and path not in plan.reach
        await self.adopt(plan._replace(reach=plan.reach | {path}))
        return restarts

    async def boot(self) -> Box:
        """Return the box, and build it first where it is missing. Raises Refused."""
        generation = self.generation
        if self.box is not None:
            return self.box
        async with self._building:
            if generation != self.generation or self.is_retired or self._closed.is_set():
                raise Refused("halted")
            if self.box is not None:
                return self.box
            if self._plan is None:
                self._plan = self._planned()
            await aside(self._prepare, self._plan)
            box = await boxes.start(self._kind, self._plan)
            await box.ready(self._services.discard, lambda: self._lose(box))
            if generation != self.generation or self._closed.is_set():
                await box.end()
                raise Refused("halted")
            self.box = box
            return box

    async def run(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        directory: str = "/workspace",
        home: str = "/root",
        merged: bool = False,
        limit: float | None = None,
    ) -> Finished:
        """Run a process and wait for it, not for its background children.

        `merged`: both outputs are the first one. `limit` is in seconds. Death by signal n is exit code 128 + n. Raises
        Lost where it took longer, Refused where the machine was halted.
        """
        box = await self.boot()
        request = {
            "do": "run",
            "argv": list(arguments),
            "env": _own(environment),
            "cwd": directory,
            "home": home,
            "merged": merged,
            "limit": limit,
        }
        return _finished(*await box.ask(request))

    async def type_line(
        self, line: str, *, opening: Callable[[], list[str]], environment: Mapping[str, str], limit: float
    ) -> Finished:
        """Type a line into the one shell of this machine and wait for its end. Lines run one after the other.

        The first line starts a shell with `environment` and is typed after the lines of `opening`. `limit` is in
        seconds, from when the line is typed. Raises Lost where the shell ended or the line took longer, Refused where
        the machine was halted.
        """
        box = await self.boot()
        before, self._later = self._later, []
        if box is not self._typed_in:
            before, self._typed_in = opening(), box
        request = {
            "do": "line",
            "line": line,
            "before": before,
            "env": _own(environment),
            "cwd": "/workspace",
            "home": "/root",
            "limit": limit,
        }
        return _finished(*await box.ask(request))

    def type_later(self, lines: list[str]) -> None:
        """Type these before the next line, if the shell runs."""
        if self.box is not None and self.box is self._typed_in:
            self._later += lines

    async def open_terminal(self, size: tuple[int, int], *, directory: str, home: str) -> int:
        """Start an interactive bash in a terminal of (columns, rows). Return the descriptor of the terminal's other end.

        It does not block. Reading it raises OSError once the shell and its children have ended. Raises Refused.
        """
        box = await self.boot()
        columns, rows = size
        request = {"do": "terminal", "columns": columns, "rows": rows, "cwd": directory, "home": home, "env": TERMINAL}
        near, far = socket.socketpair()
        with near, far:
            await box.ask(request, descriptor=far.fileno())
            near.setblocking(False)  # noqa: FBT003 - the socket's own signature
            _, descriptors, _, _ = socket.recv_fds(near, 1, 1)
        os.set_inheritable(descriptors[0], False)  # noqa: FBT003 - its own signature
        os.set_blocking(descriptors[0], False)
        return descriptors[0]

    @contextlib.asynccontextmanager
    async def hold(self, archive: Path, *, writing: bool = False) -> AsyncGenerator[str]:
        """Yield the name by which a command opens a file of this machine, also in a box. Raises Refused, OSError."""
        if self._kind.isolation == "processes":
            yield str(archive)
            return
        box = await self.boot()
        with archive.open("r+b" if writing else "rb") as file:
            answer, _ = await box.ask({"do": "hold"}, descriptor=file.fileno())
        try:
            yield answer["name"]
        finally:
            with contextlib.suppress(Refused):
                await box.ask({"do": "release", "name": answer["name"]})

    async def write(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Write a file at an absolute path of the sandbox. It appears whole. Raises Refused."""
        box = await self.boot()
        await box.ask({"do": "write", "path": path, "mode": mode}, content)

    async def pack(self, path: str, archive: Path) -> bool:
        """Pack the entries of a directory into a tar.gz of this machine. Return whether there is such a directory.

        The archive appears whole. Raises Refused.
        """
        box = await self.boot()
        draft = archive.with_name(f"{archive.name}.draft")
        archive.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with draft.open("wb") as file:
                answer, payload = await box.ask({"do": "pack", "path": path}, descriptor=file.fileno())
                await aside(os.fsync, file.fileno())
            if payload[: answer["out"]] != b"true":
                return False
            draft.replace(archive)
        finally:
            draft.unlink(missing_ok=True)
        return True

    async def unpack(self, path: str, archive: Path, *, exact: bool = False) -> None:
        """Unpack an archive into a directory. With `exact` all other entries are removed. Raises Refused."""
        box = await self.boot()
        with archive.open("rb") as file:
            await box.ask({"do": "unpack", "path": path, "exact": exact}, descriptor=file.fileno())

    async def launch(self, service: str, line: str, environment: Mapping[str, str], log: str) -> None:
        """Start a process that stays, under a new key. Its output goes to `log`. Raises Refused."""
        box = await self.boot()
        self._services.add(service)
        try:
            request = {"do": "launch", "key": service, "line": line, "env": _own(environment), "log": log}
            await box.ask({**request, "cwd": "/workspace", "home": "/root"})
        except Refused:
            self._services.discard(service)
            raise

    async def end(self, service: str) -> None:
        """End a service and its children: SIGTERM first, SIGKILL a few seconds later."""
        if self.box is not None and service in self._services:
            with contextlib.suppress(Refused):
                await self.box.ask({"do": "end", "key": service})
        self._services.discard(service)

    def runs(self, service: str) -> bool:
        """Return whether a service runs."""
        return service in self._services

    async def halt(self) -> None:
        """Kill every process that was started here, detached ones included."""
        self.generation += 1
        async with self._building:
            box, self.box = self.box, None
            if box is not None:
                await box.end()
        if self._kind.isolation == "processes":
            await aside(processes.end_marked, self.folder)

    async def retire(self) -> None:
        """Kill every process as `halt` does, and refuse each later operation: the sandbox is deleted."""
        self.is_retired = True
        await self.halt()

    async def discard(self) -> None:
        """Remove the file system. A crash half way leaves nothing of it in place."""
        await aside(discard, self.folder, self._trash)

    def _prepare(self, plan: Plan) -> None:
        try:
            layout.prepare(plan.root)
            if self._kind.isolation == "processes":
                layout.attach(plan.root, plan.mounts)
        except OSError as error:
            raise Refused(error.strerror) from None

    def _lose(self, box: Box) -> None:
        if self.box is box:
            self.box = None
        self._services.clear()

    def __repr__(self) -> str:
        return f"Machine({str(self.folder)!r})"


def _finished(answer: dict[str, Any], output: bytes) -> Finished:
    if "lost" in answer:
        raise Lost
    stdout, stderr = (part.decode("utf-8", "replace") for part in (output[: answer["out"]], output[answer["out"] :]))
    return Finished(stdout, stderr, answer["code"], answer["limited"])


def _own(environment: Mapping[str, str]) -> dict[str, str]:
    # A command with a wrong mark would count as another sandbox's.
    return {name: value for name, value in environment.items() if name not in {processes.MARK, process_tree.MARK}}


def discard(folder: Path, trash: Path) -> None:
    """Remove a folder: at once and as a whole, although the removal takes longer."""
    trash.mkdir(mode=0o700, parents=True, exist_ok=True)
    moved = trash / uuid.uuid4().hex
    with contextlib.suppress(FileNotFoundError):
        folder.rename(moved)
        remove_tree(moved)


def remove_tree(folder: Path) -> None:
    """Remove a tree, also with read-only directories. A mount point or another user's file may stay."""
    with contextlib.suppress(OSError):
        file_operations.remove(str(folder))
