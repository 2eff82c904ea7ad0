"""Agents without work: each becomes a small shell, and the next request finds the sandbox as it was."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pocketenv_fp import local
from pocketenv_fp.local import box, processes
from pocketenv_fp.local.agent.frames import WAKING, Frames, frame
from pocketenv_fp.local.box import Limits
from tests.levels import LEVELS
from tests.local.wire import Wire, eventually
from tests.places import ROOT

IDLE_SECONDS = 0.02


@pytest.fixture(autouse=True)
def short_idle_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent rests at once."""
    monkeypatch.setattr(box, "IDLE_SECONDS", IDLE_SECONDS)


@pytest.fixture(scope="module", params=LEVELS)
def place(request: pytest.FixtureRequest) -> Iterator[local.Platform]:
    """Yield a platform at each level. Its sandboxes start when the idle time is short."""
    if request.param == "bubblewrap" and box.bubblewrap() is None:
        pytest.skip("no bubblewrap that works here: install it, or allow namespaces")
    with local.platform(isolation=request.param) as platform:
        yield platform


def folder_of(wire: Wire, sandbox: str) -> Path:
    """Return the folder of a sandbox."""
    return wire.platform.data / "sandboxes" / sandbox


def programs(wire: Wire, sandbox: str) -> dict[str, int]:
    """Return the processes of a sandbox by the name of their program."""
    found: dict[str, int] = {}
    for pid in processes.find_marked(folder_of(wire, sandbox)):
        try:
            found[Path(f"/proc/{pid}/comm").read_text().strip()] = pid
        except OSError:
            continue
    return found


def rests(wire: Wire, sandbox: str) -> bool:
    """Return whether the agent of a sandbox rests."""
    return "sh" in programs(wire, sandbox)


def let_rest(wire: Wire, sandbox: str) -> None:
    """Wait until the agent of a sandbox rests."""
    assert eventually(lambda: rests(wire, sandbox)), programs(wire, sandbox)


def test_rest_keeps_the_shell(wire: Wire) -> None:
    """The directory, variables, functions, traps and descriptors of the shell stay, more than once."""
    sandbox = wire.create()
    wire.say(sandbox, "mkdir -p d; cd d; export seen=yes; own=mine; twice() { echo $1$1; }; exec 7<>kept; echo in >&7")
    for _ in range(3):
        let_rest(wire, sandbox)
        answer = wire.say(sandbox, "basename \"$PWD\"; bash -c 'echo $seen'; echo $own; twice a; cat kept")
        assert answer.json["stdout"] == "d\nyes\nmine\naa\nin"


def test_rest_keeps_the_numbers_of_lines(wire: Wire) -> None:
    """The files of a line after a rest are not those of a line before."""
    sandbox = wire.create()
    wire.say(sandbox, "first=$log")
    let_rest(wire, sandbox)
    assert wire.say(sandbox, 'test "$first" != "$log" && echo differs').json["stdout"] == "differs"


def test_rest_of_a_provider_without_a_shell(wire: Wire) -> None:
    sandbox = wire.create(provider="daytona")
    wire.start(sandbox)
    wire.exec(sandbox, "cd /tmp && echo kept > file; test ! -d /dev/shm || echo memory > /dev/shm/file")
    for _ in range(2):
        let_rest(wire, sandbox)
        assert "bash" not in programs(wire, sandbox)
        assert wire.exec(sandbox, "cd /tmp && cat file")[0] == "kept\n"
    if wire.platform.isolation == "bubblewrap":
        let_rest(wire, sandbox)
        assert wire.exec(sandbox, "cat /dev/shm/file")[0] == "memory\n"


@pytest.mark.parametrize("provider", ["cloudflare", "daytona"])
def test_rest_waits_for_a_background_job(wire: Wire, provider: str) -> None:
    """An agent with a running process does not rest before the end of the process."""
    sandbox = wire.create(provider=provider)
    wire.start(sandbox)
    wire.say(sandbox, "(setsid sleep 1000 &) > /dev/null 2>&1; :")
    assert eventually(lambda: "sleep" in programs(wire, sandbox))
    time.sleep(20 * IDLE_SECONDS)
    running = programs(wire, sandbox)
    assert "sleep" in running
    assert "sh" not in running
    os.kill(running["sleep"], signal.SIGKILL)
    let_rest(wire, sandbox)


def test_rest_waits_for_a_service(wire: Wire) -> None:
    """An agent with a service does not rest, and it does after the end of the service."""
    sandbox = wire.create()
    service = {"name": "clock", "command": "exec sleep 1000"}
    assert wire.post("service.addService", {"service": service}, sandboxId=sandbox).empty
    assert eventually(lambda: "sleep" in programs(wire, sandbox))
    time.sleep(20 * IDLE_SECONDS)
    assert not rests(wire, sandbox)
    (row,) = wire.get("service.getServices", sandboxId=sandbox).json["services"]
    assert wire.post("service.stopService", serviceId=row["id"]).status == 200
    let_rest(wire, sandbox)
    assert wire.post("service.startService", serviceId=row["id"]).status == 200
    assert eventually(lambda: "sleep" in programs(wire, sandbox))


def test_rest_passes_a_descriptor(wire: Wire) -> None:
    """A request with a descriptor wakes the agent: a backup, and its restore."""
    sandbox = wire.create()
    wire.out(sandbox, "mkdir d; echo kept > d/file")
    let_rest(wire, sandbox)
    row = wire.back_up(sandbox, "/workspace/d")
    wire.out(sandbox, "rm d/file")
    let_rest(wire, sandbox)
    assert wire.post("sandbox.restoreBackup", {"backupId": row["id"]}).empty
    assert wire.out(sandbox, "cat d/file") == "kept\n"


@pytest.mark.parametrize("line", ["true", "trap 'sleep 1000' EXIT"], ids=["usual", "stubborn"])
def test_rest_with_closed_life_line(wire: Wire, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    """A closed life line ends the shell of the rest, and the shell of the sandbox. Nothing kills them from outside.

    A usual shell also ends with its input.
    """
    monkeypatch.setattr(box, "PATIENCE_SECONDS", 60.0)
    sandbox = wire.create()
    wire.say(sandbox, line)
    let_rest(wire, sandbox)
    there = wire.platform._world.machines[sandbox].box  # pyright: ignore[reportPrivateUsage]
    loop = wire.platform._loop  # pyright: ignore[reportPrivateUsage]
    assert there is not None
    asyncio.run_coroutine_threadsafe(there.end(), loop).result()
    assert eventually(lambda: processes.find_marked(folder_of(wire, sandbox)) == set())


def test_rest_of_a_dead_shell(wire: Wire) -> None:
    """A shell that ended before a rest stays dead."""
    sandbox = wire.create()
    assert wire.say(sandbox, "exit 3").status == 500
    let_rest(wire, sandbox)
    assert wire.say(sandbox, "true").status == 500


def test_rest_with_a_killed_shell(wire: Wire) -> None:
    """A shell that is killed during a rest is dead, and a line for it is a 500."""
    sandbox = wire.create()
    wire.out(sandbox, "true")
    let_rest(wire, sandbox)
    os.kill(programs(wire, sandbox)["bash"], signal.SIGKILL)
    for _ in range(2):
        assert wire.say(sandbox, "true").status == 500
    wire.post("sandbox.stopSandbox", id=sandbox)
    wire.start(sandbox)
    assert wire.out(sandbox, "echo works") == "works\n"


def test_rest_killed(wire: Wire) -> None:
    """A killed rest takes its box along, and the next command gets a new one."""
    sandbox = wire.create()
    wire.out(sandbox, "echo kept > file")
    let_rest(wire, sandbox)
    os.kill(programs(wire, sandbox)["sh"], signal.SIGKILL)
    assert eventually(lambda: wire.say(sandbox, "true").status == 200)
    assert wire.out(sandbox, "cat file") == "kept\n"


def test_stop_during_a_rest(wire: Wire) -> None:
    sandbox = wire.create()
    wire.out(sandbox, "true")
    let_rest(wire, sandbox)
    assert wire.post("sandbox.stopSandbox", id=sandbox).raw == b"{}"
    assert processes.find_marked(folder_of(wire, sandbox)) == set()


def test_rest_keeps_the_limits(wire: Wire) -> None:
    """Descriptors and limits are the same after a rest."""
    limits = Limits(cpu_seconds=1, memory_bytes=512 * 1024 * 1024, processes=20)
    with (
        local.platform(isolation=wire.platform.isolation, limits=limits) as platform,
        Wire(platform, platform.token) as own,
    ):
        sandbox = own.create()
        before = own.out(sandbox, "ulimit -a")
        let_rest(own, sandbox)
        assert own.out(sandbox, "ulimit -a") == before


REFUSED = """
import os, socket
from pocketenv_fp.local.agent import rest
rest._SHELL = "/none/sh"
line, other = socket.socketpair()
line.setblocking(False)
read, write = os.pipe()
rest.begin(line, {}, rest.Rested(1, write, read, 0))
print([os.get_blocking(line.fileno()), *map(os.get_inheritable, (0, read, write))])
"""


def test_begin_without_a_shell() -> None:
    """Where no shell can be executed, the agent goes on, and its commands inherit nothing of it."""
    program = [sys.executable, "-c", REFUSED]
    ran = subprocess.run(program, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    assert ran.stdout == "[False, False, False, False]\n"


def test_frames_after_a_rest() -> None:
    """The first byte of a message is the one that a resting agent reads."""
    message = frame({"id": 1}, b"payload")
    assert message[:1] == WAKING
    frames = Frames(woken=True)
    assert frames.has_part
    assert list(frames.feed(message[1:] + message[:5])) == [({"id": 1}, b"payload")]
    assert frames.has_part
    assert list(frames.feed(message[5:])) == [({"id": 1}, b"payload")]
    assert not frames.has_part
