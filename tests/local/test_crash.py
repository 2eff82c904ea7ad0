"""SIGKILL under load, again and again: acknowledged writes are there and whole, all others are whole or absent.

`POCKETENV_CRASH_SECONDS` makes it longer, and `POCKETENV_CRASH_SEED` repeats its random choices.
"""

import contextlib
import http.client
import os
import random
import shlex
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pocketenv_fp import local
from pocketenv_fp.local import processes
from pocketenv_fp.local.agent import file_operations
from pocketenv_fp.local.box import Isolation, bubblewrap
from tests.levels import LEVELS
from tests.local.loader import Client
from tests.local.wire import Place, Wire, eventually

CLIENTS = 4
SECONDS: dict[Isolation, float] = {"bubblewrap": 26.0, "processes": 8.0}


class Command:
    """`python -m pocketenv_fp.local`, again and again on the same folder."""

    def __init__(self, folder: Path, isolation: Isolation) -> None:
        self.folder = folder
        self._command = [sys.executable, "-m", "pocketenv_fp.local", "--data", str(folder), "--isolation", isolation]
        paths = [str(Path.cwd()), *(path for path in sys.path if path)]
        self._environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        self._process: subprocess.Popen[str] | None = None

    def begin(self) -> "subprocess.Popen[str]":
        """Start without waiting."""
        pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
        self._process = subprocess.Popen(
            self._command, env=self._environment, stdout=pipe, stderr=nothing, text=True, start_new_session=True
        )
        return self._process

    def start(self) -> Place:
        """Start, and wait for the address."""
        process = self.begin()
        assert process.stdout is not None
        exports = [process.stdout.readline() for _ in range(4)]
        assert all(exports), f"it did not start again, and ended with {process.wait()}"
        return Place(dict(shlex.split(export)[1].split("=", 1) for export in exports))

    def kill(self) -> None:
        """Send SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None


def born(pids: set[int]) -> set[tuple[int, bytes]]:
    """Return the living ones of these processes, each with its time of birth: a number may be used again."""
    found: set[tuple[int, bytes]] = set()
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
        except OSError:
            continue
        if fields[0] != b"Z":
            found.add((pid, fields[19]))
    return found


def living(wire: Wire) -> set[str]:
    """Return the ids of all sandboxes of the user."""
    did = wire.get("actor.getProfile").json["did"]
    return {row["id"] for row in wire.get("actor.getActorSandboxes", did=did, limit=1000).json["sandboxes"]}


def remains(folder: Path, wire: Wire) -> list[str]:
    """Return the remains of a crash in the platform's folder that no client can see."""
    sandboxes = living(wire)
    volumes = {row["id"] for row in wire.get("volume.getVolumes", limit=1000).json["volumes"]}
    backups = {row["id"] for each in sandboxes for row in wire.get("sandbox.getBackups", id=each).json["backups"]}
    drafts = [str(path) for path in folder.rglob(f"{file_operations.DRAFT}*")]
    drafts += [str(path) for pattern in ("*.draft", ".clone-*", "storage/.drafts/*") for path in folder.glob(pattern)]
    for name, known in (("sandboxes", sandboxes), ("volumes", volumes), ("backups", backups), ("trash", set[str]())):
        if (folder / name).is_dir():
            drafts += [f"{name}/{path.name}" for path in (folder / name).iterdir() if path.name not in known]
    missing = volumes - {path.name for path in (folder / "volumes").iterdir()}
    return drafts + [f"no volume {each}" for each in missing]


def strangers(clients: list[Client], wire: Wire) -> list[str]:
    """Return the faults of sandboxes whose creation was not acknowledged. They are deleted."""
    known = {name for client in clients for kind, name in [*client.book.kept, *client.book.asked] if kind == "sandbox"}
    found = living(wire) - known
    wrong = ["a sandbox that nobody created"] if len(found) > sum(client.creating for client in clients) else []
    for each in found:
        if wire.exec(each, "echo works")[0] != "works\n":
            wrong.append("half a sandbox")
        wire.post("sandbox.deleteSandbox", id=each)
    for client in clients:
        client.creating = False
    return wrong


def check(folder: Path, clients: list[Client], place: Place, pool: ThreadPoolExecutor) -> list[str]:
    """Return the faults after a start."""
    with place.wire() as wire:
        there = living(wire)
        wrong = strangers(clients, wire)
        looking = [pool.submit(client.check, place.wire(), there) for client in clients]
        wrong += [found for each in looking for found in each.result()]
        wrong += remains(folder, wire)
        if not eventually(lambda: not any(client.rest(wire) for client in clients), 60):
            wrong.append("a service that did not come back")
    return wrong


@pytest.fixture(params=LEVELS)
def isolation(request: pytest.FixtureRequest) -> Isolation:
    """Yield each level."""
    if request.param == "bubblewrap" and bubblewrap() is None:
        pytest.skip("no bubblewrap that works here: install it, or allow namespaces")
    level: Isolation = request.param
    return level


@pytest.mark.slow
def test_kill_keeps_acknowledged_writes(
    isolation: Isolation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A kill at any moment keeps all that was acknowledged and leaves nothing half done."""
    seed = os.environ.get("POCKETENV_CRASH_SEED") or str(random.randrange(10**6))
    end = time.monotonic() + float(os.environ.get("POCKETENV_CRASH_SECONDS") or SECONDS[isolation])
    choice = random.Random(seed)
    command = Command(tmp_path / "state", isolation)
    clients = [Client(number, seed) for number in range(CLIENTS)]
    cycles = starts = 0
    wrong: list[str] = []
    try:
        with ThreadPoolExecutor(CLIENTS) as pool:
            while not wrong and (time.monotonic() < end or cycles < 3):
                for _ in range(choice.choice([0, 0, 1, 2])):
                    command.begin()
                    time.sleep(choice.uniform(0.0, 0.6))
                    command.kill()
                    starts += 1
                place = command.start()
                for client in clients if cycles == 0 else []:
                    client.prepare(place.wire())
                wrong += check(command.folder, clients, place, pool)
                loads = [pool.submit(client.load, place.wire()) for client in clients]
                time.sleep(choice.uniform(0.05, 0.9))
                ran = born(processes.find_marked(command.folder))
                command.kill()
                for load in loads:
                    load.result(30)
                # Either all is gone by itself, or a start that comes at once removes it.
                if choice.random() < 0.5:
                    assert eventually(lambda: not processes.find_marked(command.folder), 10)
                else:
                    command.start()
                    assert not born({pid for pid, _ in ran}) & ran
                    command.kill()
                cycles += 1
    finally:
        command.kill()
        processes.end_marked(command.folder)
        told = sum(client.book.acknowledged for client in clients)
        with capsys.disabled():
            print(
                f"\nkill -9, {isolation}: {cycles} cycles, {starts} starts cut short, {told} acknowledged writes,"
                f" {len(wrong)} lost or half done (POCKETENV_CRASH_SEED={seed})"
            )
    assert wrong == []


def interrupted(folder: Path, archive: str, sandbox: str, directory: str) -> None:
    """Leave the folder of a closed platform as a crash in the middle of a restore does."""
    with contextlib.closing(sqlite3.connect(folder / "state.sqlite3")) as database, database:
        database.execute("INSERT INTO restores VALUES (?, ?, ?)", (archive, sandbox, directory))


def pending_restores(folder: Path) -> int:
    """Return the number of unfinished restores."""
    with contextlib.closing(sqlite3.connect(folder / "state.sqlite3")) as database:
        return int(database.execute("SELECT count(*) FROM restores").fetchone()[0])


def test_restart_finishes_a_restore(isolation: Isolation, tmp_path: Path) -> None:
    """A restore that was cut short is finished before the first answer."""
    with local.platform(data=tmp_path, isolation=isolation) as platform, Wire(platform, platform.token) as wire:
        sandbox = wire.create()
        wire.out(sandbox, "mkdir d; echo one > d/x; echo one > d/y")
        row = wire.back_up(sandbox, "/workspace/d")
        # Half of it is back, and half of the later content is still there.
        wire.out(
            sandbox, "echo two > d/y; echo two > d/z; mkdir d/.pocketenv-draft-1; echo one > d/.pocketenv-draft-1/y"
        )
    interrupted(tmp_path, f"backups/{row['id']}", sandbox, "/workspace/d")
    with local.platform(data=tmp_path, isolation=isolation) as platform, Wire(platform, platform.token) as wire:
        assert pending_restores(tmp_path) == 0
        assert wire.out(sandbox, "cd d; grep -r ''; ls -A") == "x:one\ny:one\nx\ny\n"
        wire.out(sandbox, "rm -r d")
        assert wire.post("sandbox.restoreBackup", {"backupId": row["id"]}).empty
        assert wire.out(sandbox, "cat d/x d/y") == "one\none\n"
        assert pending_restores(tmp_path) == 0


def test_restart_removes_draft_of_pull(isolation: Isolation, tmp_path: Path) -> None:
    """A pull is not resumed, as on the platform: the files so far are there."""
    with local.platform(data=tmp_path, isolation=isolation) as platform, Wire(platform, platform.token) as wire:
        sandbox = wire.create()
        wire.out(sandbox, "mkdir d; echo text > d/x")
        push = {"sandboxId": sandbox, "directoryPath": "/workspace/d"}
        left = wire.post("sandbox.pushDirectory", push).json["uuid"]
    (tmp_path / "storage" / ".drafts" / "taken").write_bytes(b"half")
    with local.platform(data=tmp_path, isolation=isolation) as platform, Wire(platform, platform.token) as wire:
        assert list((tmp_path / "storage" / ".drafts").iterdir()) == []
        body = {"sandboxId": sandbox, "uuid": left, "directoryPath": "/workspace/later"}
        assert wire.post("sandbox.pullDirectory", body).empty
        assert wire.out(sandbox, "cat later/d/x") == "text\n"


def test_restart_with_a_broken_restore(tmp_path: Path) -> None:
    """A restore that cannot be finished does not keep the platform from starting."""
    with local.platform(data=tmp_path) as platform, Wire(platform, platform.token) as wire:
        sandbox = wire.create()
        wire.out(sandbox, "echo text > x")
    (tmp_path / "backups").mkdir(exist_ok=True)
    (tmp_path / "backups" / "broken").write_bytes(b"no archive")
    interrupted(tmp_path, "backups/broken", sandbox, "/workspace/new")
    with local.platform(data=tmp_path) as platform, Wire(platform, platform.token) as wire:
        assert wire.out(sandbox, "ls -A") == "x\n"
        assert pending_restores(tmp_path) == 0


def test_close_during_a_restore(tmp_path: Path) -> None:
    """The next platform finishes a restore that a closing one broke off."""
    with local.platform(data=tmp_path) as platform, Wire(platform, platform.token) as wire:
        sandbox = wire.create()
        wire.out(
            sandbox,
            "mkdir d; head -c 20000000 /dev/urandom > d/large; i=0; while [ $i -lt 500 ]; do echo $i > d/$i; i=$((i+1)); done",
        )
        before = wire.out(sandbox, "cat d/* | cksum")
        row = wire.back_up(sandbox, "/workspace/d")
        wire.out(sandbox, "rm d/1*; echo two > d/new")
        restoring = threading.Thread(target=give_up, args=(wire, row["id"]))
        restoring.start()
        assert eventually(lambda: pending_restores(tmp_path) == 1 or not restoring.is_alive())
    restoring.join()
    with local.platform(data=tmp_path) as platform, Wire(platform, platform.token) as wire:
        assert wire.out(sandbox, "cat d/* | cksum") == before


def give_up(wire: Wire, backup: str) -> None:
    """Ask for a restore that may get no answer."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        wire.post("sandbox.restoreBackup", {"backupId": backup})


def test_restart_after_a_broken_first_start(tmp_path: Path) -> None:
    """A first start that was cut short does not spoil the folder."""
    (tmp_path / "lock").touch()
    with local.platform(data=tmp_path) as platform, Wire(platform, platform.token) as wire:
        assert wire.get("sandbox.getSandboxes").json["total"] > 0
        (tmp_path / ".clone-1" / "half").mkdir(parents=True)
    with local.platform(data=tmp_path):
        assert not (tmp_path / ".clone-1").exists()
