"""The life of a platform: started, closed, forked, killed, started again on the same folder."""

import asyncio
import contextlib
import errno
import http.client
import multiprocessing
import os
import re
import resource
import shlex
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Generator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from pocketenv_fp import local
from pocketenv_fp.local import processes
from pocketenv_fp.local.web_server import ErrorHandler
from tests.local.wire import Wire, commands_alive, eventually

EXPORT = re.compile(r"export (POCKETENV_\w+)=(.+)")


@contextlib.contextmanager
def served(*options: str) -> Generator[tuple["subprocess.Popen[str]", dict[str, str]]]:
    """Yield `python -m pocketenv_fp.local` and the variables that it printed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "pocketenv_fp.local", *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            lines = [EXPORT.fullmatch(process.stdout.readline().strip()) for _ in range(4)]
            yield process, {line[1]: shlex.split(line[2])[0] for line in lines if line}
        finally:
            process.kill()


def test_close_removes_everything() -> None:
    """Closing leaves no process, no folder and no port."""
    platform = local.platform()
    with Wire(platform, platform.token) as wire:
        wire.exec(wire.create(), "sleep 100 & setsid sleep 100 &")
        # The sandbox's own shell, and the two that it started.
        assert eventually(lambda: len(commands_alive(platform.data)) == 3)
        platform.close()
    assert processes.find_marked(platform.data) == set()
    assert not platform.data.exists()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(platform.url.rsplit(":", 1)[1]))) != 0
    assert not [
        thread
        for thread in threading.enumerate()
        if thread.name == "pocketenv-platform" and thread_of(thread, platform)
    ]
    platform.close()


def thread_of(thread: threading.Thread, platform: local.Platform) -> bool:
    """Return whether this is the platform's own thread."""
    return thread is platform._thread  # pyright: ignore[reportPrivateUsage]


def test_close_lost_cancel() -> None:
    """Work that loses a cancel is cancelled again, so that the platform ends."""

    async def stubborn() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(600)
        await asyncio.sleep(600)

    running = local.platform()
    running._do(lambda: running._world.run(stubborn()))  # pyright: ignore[reportPrivateUsage]
    closing = threading.Thread(target=running.close, daemon=True)
    closing.start()
    closing.join(60)
    assert not closing.is_alive()


def test_close_during_command() -> None:
    """Closing ends a command and the wait of its client."""
    platform = local.platform()
    with Wire(platform, platform.token) as wire:
        sandbox = wire.create()
        ended = threading.Event()

        def sleeper() -> None:
            with Wire(platform, platform.token) as own, contextlib.suppress(OSError, http.client.HTTPException):
                own.post("sandbox.exec", {"command": "sleep 100"}, id=sandbox)
            ended.set()

        threading.Thread(target=sleeper).start()
        assert eventually(lambda: bool(processes.find_marked(platform.data)))
        platform.close()
        assert ended.wait(60)


def test_repr_without_token(place: local.Platform) -> None:
    """The repr has the address and not the token."""
    assert place.url in repr(place)
    assert place.token not in repr(place)
    assert place.token.rpartition(".")[2] not in repr(place)


def test_environment_variables(place: local.Platform) -> None:
    """`environment` has the variables that clients read."""
    assert place.environment == {
        "POCKETENV_API_URL": place.url,
        "POCKETENV_STORAGE_URL": place.storage_url,
        "POCKETENV_PUBLIC_KEY": place.public_key,
        "POCKETENV_TOKEN": place.token,
    }
    assert place.url.startswith("http://127.0.0.1:")
    assert re.fullmatch("[0-9a-f]{64}", place.public_key)
    assert place.isolation in {"bubblewrap", "processes"}


def test_calls_names_and_statuses(wire: Wire) -> None:
    """`calls` has the method and status of each request."""
    wire.get("sandbox.getSandbox", id="x")
    assert wire.platform.calls[-1] == ("io.pocketenv.sandbox.getSandbox", 200)


def test_folder_permissions(place: local.Platform) -> None:
    """The folder and its key are private to the user of the platform."""
    assert stat.S_IMODE(place.data.stat().st_mode) == 0o700
    assert stat.S_IMODE((place.data / "key").stat().st_mode) == 0o600


def test_platform_several_at_once() -> None:
    """Several platforms run at once and do not share state."""
    with local.platform() as first, local.platform() as second:
        assert first.url != second.url
        with Wire(first, first.token) as one, Wire(second, second.token) as two:
            sandbox = one.create()
            assert two.get("sandbox.getSandbox", id=sandbox).raw == b"{}"


def test_platform_in_any_thread() -> None:
    """A platform can be made in any thread and inside a running loop."""

    async def inside() -> int:
        with local.platform() as platform, Wire(platform, platform.token) as wire:
            return await asyncio.to_thread(lambda: wire.get("sandbox.getSandboxes").status)

    assert asyncio.run(inside()) == 200
    made: list[local.Platform] = []
    thread = threading.Thread(target=lambda: made.append(local.platform()))
    thread.start()
    thread.join()
    with made[0] as platform, Wire(platform, platform.token) as wire:
        assert wire.get("sandbox.getSandboxes").status == 200


def test_platform_port_taken(place: local.Platform) -> None:
    """A taken port is an OSError."""
    with pytest.raises(OSError, match="in use"):
        local.platform(port=int(place.url.rsplit(":", 1)[1]))


def test_restart_keeps_state(tmp_path: Path) -> None:
    """A platform on the same folder has the state of the last one."""
    with local.platform(data=tmp_path / "state") as first, Wire(first, first.token) as wire:
        here, there = wire.create(), wire.create(provider="deno")
        wire.post("secret.addSecret", {"secret": {"sandboxId": here, "name": "A", "value": wire.seal("1")}})
        wire.start(here)
        wire.out(here, "echo text > file")
        wire.post("sandbox.stopSandbox", id=there)
        known = first.environment
    with local.platform(data=tmp_path / "state") as second, Wire(second, known["POCKETENV_TOKEN"]) as wire:
        assert (second.token, second.public_key) == (known["POCKETENV_TOKEN"], known["POCKETENV_PUBLIC_KEY"])
        assert (wire.status(here), wire.status(there)) == ("RUNNING", "STOPPED")
        assert wire.out(here, "cat file; echo $A") == "text\n1\n"
    assert (tmp_path / "state").is_dir()


def test_platform_folder_in_use(tmp_path: Path) -> None:
    """A folder in use by another platform is an OSError."""
    with local.platform(data=tmp_path / "state"), pytest.raises(OSError, match="another platform"):
        local.platform(data=tmp_path / "state")


@pytest.mark.parametrize(("user", "levels"), [(0, ["WARNING"]), (1000, [])])
def test_platform_warns_of_root(
    user: int, levels: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Root's commands can delete this machine's files at level "processes": the platform logs a warning."""
    monkeypatch.setattr(os, "geteuid", lambda: user)
    with local.platform(isolation="processes"):
        pass
    assert [record.levelname for record in caplog.records if "absolute path" in record.message] == levels


def test_platform_refuses_a_foreign_folder(tmp_path: Path) -> None:
    """A folder with other content is left alone."""
    (tmp_path / "sandboxes" / "work").mkdir(parents=True)
    with pytest.raises(OSError, match="not empty"):
        local.platform(data=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["sandboxes"]
    assert (tmp_path / "sandboxes" / "work").is_dir()


def test_shared_many_threads() -> None:
    """All threads get the same shared platform."""
    platforms: list[local.Platform] = []
    threads = [threading.Thread(target=lambda: platforms.append(local.shared())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(platform) for platform in platforms}) == 1


SHARED_AND_FORKED = """
import os, sys
from pocketenv_fp import local
from tests.local.wire import Wire
parent = local.shared()
wire = Wire(parent, parent.token)
sandbox = wire.create()
wire.exec(sandbox, "echo text > file; sleep 100 &")
child = os.fork()
if child == 0:
    own = local.shared()
    assert own.url != parent.url and own.data != parent.data
    assert Wire(own, own.token).get("sandbox.getSandboxes").status == 200
    parent.close()
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert wire.out(sandbox, "cat file; jobs; pgrep -x sleep >/dev/null && echo alive").split() == ["text", "alive"]
print(parent.data)
"""


def test_shared_in_a_forked_child() -> None:
    """A forked child has its own shared platform and leaves its parent's alone."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SHARED_AND_FORKED],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    assert not folder.exists()
    assert processes.find_marked(folder) == set()


def hold(pipe: "Connection[str, str]") -> None:
    """Live until the parent ends it."""
    pipe.recv()


def test_fork_releases_the_port() -> None:
    """A forked child does not hold the parent's port or connections."""
    platform = local.platform()
    with Wire(platform, platform.token) as wire:
        wire.get("sandbox.getSandboxes")
        here, there = multiprocessing.Pipe()
        child = multiprocessing.get_context("fork").Process(target=hold, args=(there,))
        child.start()
        try:
            port = int(platform.url.rsplit(":", 1)[1])
            platform.close()
            wire.connection.sock.settimeout(2)
            assert wire.connection.sock.recv(1) == b""
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0
        finally:
            here.send("end")
            child.join()


def test_import_loads_no_server() -> None:
    """Importing the module loads no server."""
    code = "import sys, pocketenv_fp.local; print([m for m in ('uvicorn', 'starlette', 'nacl') if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_command_prints_variables(number: signal.Signals, tmp_path: Path) -> None:
    """The command prints four variables, serves, and ends cleanly."""
    folder = tmp_path / "state"
    with served("--data", str(folder)) as (process, variables):
        assert set(variables) == {
            "POCKETENV_API_URL", "POCKETENV_STORAGE_URL", "POCKETENV_PUBLIC_KEY", "POCKETENV_TOKEN",
        }  # fmt: skip
        children = run_something(variables, folder)
        process.send_signal(number)
        assert process.wait(60) == 0
        assert process.stderr is not None
        stderr = process.stderr.read()
        assert variables["POCKETENV_API_URL"] in stderr
        assert variables["POCKETENV_TOKEN"] not in stderr
        assert "Traceback" not in stderr
    assert processes.find_marked(folder) == set() != children


def run_something(variables: dict[str, str], folder: Path) -> set[int]:
    """Return the background processes on a platform with these variables."""
    host, _, port = variables["POCKETENV_API_URL"].removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    login = {"Authorization": f"Bearer {variables['POCKETENV_TOKEN']}", "Content-Type": "application/json"}

    def post(path: str, body: str) -> str:
        connection.request("POST", f"/xrpc/io.pocketenv.sandbox.{path}", body, login)
        return connection.getresponse().read().decode()

    try:
        sandbox = re.findall('"id":"([^"]+)"', post("createSandbox", '{"base": "openclaw"}'))[0]
        post(f"exec?id={sandbox}", '{"command": "sleep 100 & setsid sleep 100 &"}')
    finally:
        connection.close()
    # The sandbox's own shell, and the two that it started.
    assert eventually(lambda: len(commands_alive(folder)) == 3)
    return commands_alive(folder)


def test_command_port_taken(place: local.Platform) -> None:
    """The command reports a taken port in plain words."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path])}
    port = place.url.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "pocketenv_fp.local", "--port", port]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"cannot serve on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_restart_after_kill(tmp_path: Path) -> None:
    """A restart cleans up after a killed platform and loses nothing that was acknowledged."""
    folder = tmp_path / "state"
    with served("--data", str(folder)) as (process, variables):
        children = run_something(variables, folder)
        process.kill()
        process.wait()
    assert len(children) == 3
    (folder / "sandboxes" / "half-removed").mkdir()
    (folder / "backups").mkdir(exist_ok=True)
    (folder / "backups" / "half-written.draft").touch()
    with local.platform(data=folder) as again, Wire(again, variables["POCKETENV_TOKEN"]) as wire:
        assert processes.find_marked(folder) == set()
        did = wire.get("actor.getProfile").json["did"]
        (sandbox,) = wire.get("actor.getActorSandboxes", did=did).json["sandboxes"]
        assert wire.out(sandbox["id"], "echo works") == "works\n"
        assert [path.name for path in (folder / "sandboxes").iterdir()] == [sandbox["id"]]
        assert list((folder / "backups").iterdir()) == []


def test_complaints_out_of_descriptors(caplog: pytest.LogCaptureFixture) -> None:
    """Without file descriptors the log has one line, and not one for each attempt."""
    exhausted = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        complaints = ErrorHandler()
        for _ in range(1000):
            complaints(loop, {"message": "socket.accept() out of system resource", "exception": exhausted})
    assert [record.getMessage() for record in caplog.records] == [
        f"new connections have to wait: {os.strerror(errno.EMFILE)}"
    ]


@pytest.mark.slow
def test_platform_out_of_descriptors() -> None:
    """The platform answers again after it ran out of file descriptors."""
    with served() as (process, variables):
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (40, 40))
        host, _, port = variables["POCKETENV_API_URL"].removeprefix("http://").partition(":")
        with contextlib.ExitStack() as connections:
            for _ in range(100):
                connections.enter_context(socket.create_connection((host, int(port)), timeout=30))
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        connection.request("GET", "/xrpc/io.pocketenv.sandbox.getSandboxes")
        assert connection.getresponse().status == 200
        connection.close()
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=30)
    assert len(told) < 20_000
