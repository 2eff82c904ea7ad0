"""Commands: real processes that see nothing of the host's environment and end with their sandbox."""

import json
import os
import resource
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pocketenv_fp import local
from pocketenv_fp.local import processes
from pocketenv_fp.local.box import NO_LIMITS, Limits
from tests.local.wire import Wire, commands_alive, eventually


def living(wire: Wire, sandbox: str) -> int:
    """Return the number of processes of a sandbox's commands, without its box."""
    return len(commands_alive(wire.platform.data / "sandboxes" / sandbox))


def test_exec_outputs_and_exit_code(wire: Wire) -> None:
    """Exec returns both outputs and the exit code."""
    sandbox = wire.create()
    assert wire.exec(sandbox, "echo out; echo err >&2; exit 3") == ("out\n", "err\n", 3)


def test_exec_raw_shell_line(wire: Wire) -> None:
    """The command is one line of shell code, unchanged."""
    assert wire.out(wire.create(), "x='a  b'; printf '%s|' \"$x\" | tr a z && echo $((6*7))") == "z  b|42\n"


def test_exec_in_the_workspace_keeps_files(wire: Wire) -> None:
    """Commands start in the workspace and keep their files."""
    sandbox = wire.create()
    wire.out(sandbox, "cd /; echo text > $OLDPWD/file")
    assert wire.out(sandbox, "cat file; basename $PWD") == "text\nworkspace\n"


def test_exec_killed_by_signal(wire: Wire) -> None:
    """The exit code of a killed command is 128 plus the signal number."""
    assert wire.exec(wire.create(), "kill -9 $$")[2] == 137


def test_exec_empty_stdin(wire: Wire) -> None:
    """The standard input of a command is empty."""
    assert wire.out(wire.create(), "cat | wc -c").strip() == "0"


def test_exec_output_not_utf8(wire: Wire) -> None:
    """Output that is not UTF-8 is shown with replacement characters."""
    assert wire.out(wire.create(), r"printf '\xff\xfeok'") == "\ufffd\ufffdok"


def test_exec_large_output(wire: Wire) -> None:
    """Large output is returned whole."""
    assert len(wire.out(wire.create(), "head -c 5000000 /dev/zero | tr '\\0' x")) == 5_000_000


def test_exec_nul_in_command(wire: Wire) -> None:
    """A NUL in the command is dropped."""
    assert wire.say(wire.create(), "echo a\0b").json["stdout"] == "ab"


def test_exec_without_the_host_environment(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands see nothing of the host's environment."""
    monkeypatch.setenv("POCKETENV_TOKEN", "host-token")
    monkeypatch.setenv("SOMETHING_OF_THE_HOST", "x")
    names = {line.partition("=")[0] for line in wire.out(wire.create(), "env").splitlines()}
    own = {"PATH", "HOME", "LANG", "LC_ALL", "LANGUAGE", "COMMAND_TIMEOUT_MS"}
    assert own <= names
    # The last three exist where there is no box.
    assert names - own <= {"PWD", "OLDPWD", "SHLVL", "_", processes.MARK, "TMPDIR", "BASH_ENV"}
    assert wire.out(wire.create(), "echo $LANG ${HOME##*/}") == "C.UTF-8 root\n"


def test_exec_missing_sandbox(wire: Wire) -> None:
    """Exec in a missing sandbox is a 404 with its own error name."""
    assert wire.post("sandbox.exec", {"command": "true"}, id="nobody").error[:2] == (404, "SandboxNotFound")


def test_exec_in_a_stopped_sandbox(wire: Wire) -> None:
    """A command in a stopped sandbox is refused on Cloudflare and runs elsewhere."""
    here, there = wire.create(), wire.create(provider="modal")
    wire.say(there, "echo kept > /workspace/x")
    for sandbox in (here, there):
        wire.post("sandbox.stopSandbox", id=sandbox)
    error = wire.say(here, "true").error
    assert error == (400, "InvalidRequest", "Request failed with status code 400")
    assert wire.say(there, "cd /workspace; ls; echo runs").json["stdout"] == "runs\n"
    assert wire.status(there) == "STOPPED"


@pytest.mark.parametrize("command", ["sleep 100 &", "(sleep 100; echo late) & disown", "setsid sleep 100 &"])
@pytest.mark.parametrize("ending", ["stopSandbox", "deleteSandbox"])
def test_exec_background_child(wire: Wire, command: str, ending: str) -> None:
    """A background child does not hold exec up and ends with its sandbox."""
    sandbox = wire.create()
    # The client's own limit is below what the child sleeps.
    assert wire.exec(sandbox, f"{command}\necho done") == ("done\n", "", 0)
    assert eventually(lambda: living(wire, sandbox) >= 1)
    assert wire.post(f"sandbox.{ending}", id=sandbox).raw == b"{}"
    assert living(wire, sandbox) == 0


def test_exec_detached_child(wire: Wire) -> None:
    """A child that left its session, parents and environment ends with its sandbox."""
    sandbox = wire.create()
    folder = wire.platform.data / "sandboxes" / sandbox
    wire.exec(sandbox, "(env -i setsid sh -c 'sleep 100; :' &) & sleep 0.2")
    children = commands_alive(folder)
    # The sandbox's own shell is the third.
    assert len(children) == 3
    wire.post("sandbox.stopSandbox", id=sandbox)
    assert not [child for child in children if alive(child)]


def alive(pid: int) -> bool:
    """Return whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def test_stop_kills_running_commands(wire: Wire) -> None:
    """A stop kills the running commands."""
    sandbox = wire.create()
    statuses: list[int] = []

    def sleeper() -> None:
        with Wire(wire.platform, wire.token) as second:
            statuses.append(second.say(sandbox, "sleep 100").status)

    running = threading.Thread(target=sleeper)
    running.start()
    assert eventually(lambda: living(wire, sandbox) >= 2)
    wire.post("sandbox.stopSandbox", id=sandbox)
    running.join(60)
    assert statuses == [500]


def test_stop_leaves_other_sandboxes_alone(wire: Wire) -> None:
    """A stop leaves the processes of another sandbox alone."""
    first, second = wire.create(), wire.create()
    for sandbox in (first, second):
        wire.exec(sandbox, "sleep 100 &")
    wire.post("sandbox.stopSandbox", id=first)
    assert (living(wire, first), living(wire, second)) == (0, 2)
    wire.post("sandbox.deleteSandbox", id=second)


def test_exec_commands_take_turns(wire: Wire) -> None:
    """Commands of one sandbox take turns and do not hold other requests up."""
    sandbox = wire.create()

    def add(number: int) -> str:
        with Wire(wire.platform, wire.token) as own:
            return own.out(sandbox, f"test ! -e busy; echo $?; touch busy; sleep 0.02; rm busy; echo {number}")

    with ThreadPoolExecutor(50) as pool:
        running = [pool.submit(add, number) for number in range(50)]
        while not all(task.done() for task in running):
            assert wire.status(sandbox) == "RUNNING"
            time.sleep(0.05)
        assert [task.result() for task in running] == [f"0\n{number}\n" for number in range(50)]


def test_exec_default_signals(wire: Wire) -> None:
    """A command has the signals of its shell, also on a platform that a shell started in the background."""
    sandbox = wire.create()
    before = {
        number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
    }
    try:
        traps = wire.out(sandbox, "trap -p")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert "''" not in traps


def test_exec_of_worker_in_parallel(wire: Wire) -> None:
    """Commands of a worker run in parallel."""
    sandbox = wire.create(provider="sprites")

    def meet(number: int) -> str:
        line = f"touch /tmp/{number}; until [ -e /tmp/1 ] && [ -e /tmp/2 ]; do sleep 0.01; done; echo met"
        with Wire(wire.platform, wire.token) as own:
            mapped = line if wire.platform.isolation == "bubblewrap" else line.replace("/tmp/", "$HOME/")
            return str(own.say(sandbox, mapped).json["stdout"])

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(meet, (1, 2))) == ["met\n", "met\n"]


def test_exec_inherits_no_descriptor(wire: Wire) -> None:
    """No descriptor of the platform reaches a command."""
    targets = wire.out(wire.create(), "readlink /proc/self/fd/*; :")
    assert "socket:" not in targets
    assert "state.sqlite3" not in targets


@pytest.mark.parametrize("limits", [NO_LIMITS, Limits(cpu_seconds=100)], ids=["spawned", "forked"])
def test_exec_limit_of_open_files(place: local.Platform, limits: Limits) -> None:
    """A command may open as many files as the user of the platform."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[0] - 1, before[1]))
    try:
        with local.platform(isolation=place.isolation, limits=limits) as own, Wire(own, own.token) as wire:
            assert wire.out(wire.create(), "ulimit -Sn") == f"{before[0] - 1}\n"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_exec_disconnected_client(wire: Wire) -> None:
    """A client that leaves does no harm to the platform."""
    sandbox = wire.create()
    leaver = Wire(wire.platform, wire.token)
    body = json.dumps({"command": "sleep 0.3; echo went on > file"})
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {wire.token}"}
    leaver.connection.request("POST", f"/xrpc/io.pocketenv.sandbox.exec?id={sandbox}", body, headers)
    time.sleep(0.1)
    leaver.connection.close()
    assert eventually(lambda: wire.exec(sandbox, "cat file")[0] == "went on\n")


def test_find_marked_without_this_process() -> None:
    """Nothing of this process counts as a sandbox's."""
    assert os.getpid() not in processes.find_marked(Path("/"))
