"""A sandbox's own machine: a folder that stands for its file system, and the processes it runs."""

import asyncio
import contextlib
import os
import posixpath
import shutil
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NamedTuple

from pocketenv_fp.local import processes

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/homebrew/bin"
DIRECTORIES = ("workspace", "root", "home", "tmp")


class Finished(NamedTuple):
    """What a command left behind."""

    stdout: str
    stderr: str
    exit_code: int


class Refused(Exception):
    """The machine would not run the command: it was halted meanwhile, or the system said no."""


class Machine:
    """The folder and the processes of one sandbox.

    `generation` is which run of the machine a command was meant for: it is read when the command is accepted and
    compared when its process is made, so that no command slips into a machine that was halted in between.
    `turn` is held by whatever changes the machine as a whole (start, stop, delete, backup), one at a time; commands
    do not wait for it. `variables` is the environment of the last start, None until it is read again after a restart.
    """

    def __init__(self, folder: Path, trash: Path, closed: threading.Event) -> None:
        self.folder = folder
        self.generation = 0
        self.variables: dict[str, str] | None = None
        self.turn = asyncio.Lock()
        self._trash = trash
        self._closed = closed
        self._lock = threading.Lock()
        self._alive: dict[int, subprocess.Popen[bytes]] = {}
        self._orphaned: set[int] = set()

    def prepare(self) -> None:
        """Make the directories that every sandbox has."""
        for name in DIRECTORIES:
            (self.folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)

    def locate(self, path: str) -> Path | None:
        """Where an absolute platform path (or one relative to /workspace) lies on the host.

        None where a symbolic link leads out of the sandbox's folder.
        """
        inside = posixpath.normpath(posixpath.join("/workspace", path)).lstrip("/")
        if "\0" in inside:
            return None
        real = (self.folder / inside).resolve()
        return real if real.is_relative_to(self.folder.resolve()) else None

    def run(self, line: str, variables: Mapping[str, str], generation: int) -> Finished:
        """Run one raw shell line in /workspace and wait for the shell, not for what it left in the background.

        Death by signal n is exit code 128 + n. Raises Refused.
        """
        with _spool(self.folder) as stdout, _spool(self.folder) as stderr:
            process = self._spawn(line, variables, generation, stdout, stderr)
            code = self._bury(process)
            return Finished(_text(stdout), _text(stderr), code if code >= 0 else 128 - code)

    def halt(self) -> None:
        """End every process that was started here, detached ones included."""
        self.end_groups()
        processes.end_marked(self.folder)

    def end_groups(self) -> None:
        """End the commands that run, without a search for what they detached."""
        with self._lock:
            for group in (*self._alive, *self._orphaned):
                processes.end_group(group)
            self._orphaned.clear()

    def discard(self) -> None:
        """Throw the file system away; a crash half way leaves nothing of it in place."""
        self._trash.mkdir(mode=0o700, parents=True, exist_ok=True)
        grave = self._trash / uuid.uuid4().hex
        with contextlib.suppress(FileNotFoundError):
            self.folder.rename(grave)
        shutil.rmtree(grave, ignore_errors=True)

    def _spawn(
        self, line: str, variables: Mapping[str, str], generation: int, stdout: IO[bytes], stderr: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        environment = {
            "PATH": PATH,
            "LANG": "C.UTF-8",
            "HOME": str(self.folder / "root"),
            "TMPDIR": str(self.folder / "tmp"),
            **variables,
            processes.MARK: str(self.folder),
        }
        with self._lock:
            if generation != self.generation or self._closed.is_set():
                raise Refused("halted")
            try:
                (self.folder / "workspace").mkdir(parents=True, exist_ok=True)
                process = subprocess.Popen(
                    [shell(), "-c", line],
                    cwd=self.folder / "workspace",
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:
                # ValueError is a NUL in the line; OSError a missing workspace, or more than the system takes.
                raise Refused(type(error).__name__) from None
            self._alive[process.pid] = process
            return process

    def _bury(self, process: "subprocess.Popen[bytes]") -> int:
        # The number of a process is its own until somebody waits for it. It is first seen dead, then struck off
        # and waited for under the lock: `halt` can never kill a stranger who was given the number.
        if hasattr(os, "waitid"):
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        else:
            process.wait()
        with self._lock:
            del self._alive[process.pid]
            code = process.wait()
            # Kept only where nothing better than the group tells the children that were left behind.
            if not processes.has_proc() and processes.group_lives(process.pid):
                self._orphaned.add(process.pid)
        return code

    def __repr__(self) -> str:
        return f"Machine({str(self.folder)!r})"


def shell() -> str:
    """The shell that runs a command line: bash where there is one."""
    return "/bin/bash" if Path("/bin/bash").exists() else "/bin/sh"


def _spool(folder: Path) -> IO[bytes]:
    # A file and not a pipe: a child in the background holds a pipe open, and the command would never seem to end.
    try:
        return tempfile.TemporaryFile(dir=folder, buffering=0)
    except OSError as error:
        raise Refused(type(error).__name__) from None


def _text(spool: IO[bytes]) -> str:
    # Read by position: the offset belongs to the children that still write too.
    descriptor, parts, offset = spool.fileno(), list[bytes](), 0
    size = os.fstat(descriptor).st_size
    while offset < size and (part := os.pread(descriptor, size - offset, offset)):
        parts.append(part)
        offset += len(part)
    return b"".join(parts).decode("utf-8", "replace")
