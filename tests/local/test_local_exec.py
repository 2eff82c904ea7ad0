"""Commands: real processes that see nothing of the host's environment and that end with their sandbox."""

import json
import os
import resource
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
    """Number of processes that commands of a sandbox left or have running, its box itself left aside."""
    return len(commands_alive(wire.platform.data / "sandboxes" / sandbox))


def test_exec_gives_both_outputs_and_the_exit_code(wire: Wire) -> None:
    sandbox = wire.create()
    assert wire.exec(sandbox, "echo out; echo err >&2; exit 3") == ("out\n", "err\n", 3)


def test_the_command_is_one_raw_shell_line(wire: Wire) -> None:
    assert wire.out(wire.create(), "x='a  b'; printf '%s|' \"$x\" | tr a z && echo $((6*7))") == "z  b|42\n"


def test_commands_start_in_the_workspace_and_keep_their_files(wire: Wire) -> None:
    sandbox = wire.create()
    wire.out(sandbox, "cd /; echo text > $OLDPWD/file")
    assert wire.out(sandbox, "cat file; basename $PWD") == "text\nworkspace\n"


def test_an_exec_survives_a_removed_workspace(wire: Wire) -> None:
    sandbox = wire.create()
    wire.out(sandbox, 'rm -rf "$PWD"')
    assert wire.out(sandbox, "ls -A") == ""


def test_death_by_a_signal_is_128_and_its_number(wire: Wire) -> None:
    assert wire.exec(wire.create(), "kill -9 $$")[2] == 137


def test_standard_input_is_empty(wire: Wire) -> None:
    assert wire.out(wire.create(), "cat | wc -c").strip() == "0"


def test_output_that_is_not_utf8_is_shown_with_replacements(wire: Wire) -> None:
    assert wire.out(wire.create(), r"printf '\xff\xfeok'") == "\ufffd\ufffdok"


def test_large_output_arrives_whole(wire: Wire) -> None:
    assert len(wire.out(wire.create(), "head -c 5000000 /dev/zero | tr '\\0' x")) == 5_000_000


@pytest.mark.parametrize("command", ["echo a\0b", "\0"])
def test_a_nul_in_the_command_is_a_400(wire: Wire, command: str) -> None:
    told = wire.post("sandbox.exec", {"command": command}, id=wire.create()).error
    assert told == (400, "InvalidRequest", "Request failed with status code 400")


def test_commands_see_nothing_of_the_hosts_environment(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POCKETENV_TOKEN", "host-token")
    monkeypatch.setenv("SOMETHING_OF_THE_HOST", "x")
    names = {line.partition("=")[0] for line in wire.out(wire.create(), "env").splitlines()}
    assert names == {"PATH", "HOME", "LANG", "TMPDIR", processes.MARK, "PWD", "SHLVL", "_"} & names
    assert {"PATH", "HOME", "LANG", "TMPDIR"} <= names
    assert wire.out(wire.create(), "echo $LANG ${HOME##*/} ${TMPDIR##*/}") == "C.UTF-8 root tmp\n"


def test_exec_of_a_missing_sandbox_is_its_own_404(wire: Wire) -> None:
    assert wire.post("sandbox.exec", {"command": "true"}, id="nobody").error[:2] == (404, "SandboxNotFound")


def test_exec_in_a_stopped_one_is_refused_on_cloudflare_and_runs_elsewhere(wire: Wire) -> None:
    here, there = wire.create(), wire.create(provider="e2b")
    for sandbox in (here, there):
        wire.post("sandbox.stopSandbox", id=sandbox)
    told = wire.post("sandbox.exec", {"command": "true"}, id=here).error
    assert told == (400, "InvalidRequest", "Request failed with status code 400")
    assert wire.out(there, "echo runs") == "runs\n"


@pytest.mark.parametrize("command", ["sleep 100 &", "(sleep 100; echo late) & disown", "setsid sleep 100 &"])
@pytest.mark.parametrize("ending", ["stopSandbox", "deleteSandbox"])
def test_a_child_in_the_background_does_not_hang_exec_and_dies_with_its_sandbox(
    wire: Wire, command: str, ending: str
) -> None:
    sandbox = wire.create()
    begun = time.monotonic()
    assert wire.exec(sandbox, f"{command}\necho done") == ("done\n", "", 0)
    assert time.monotonic() - begun < 5
    assert eventually(lambda: living(wire, sandbox) >= 1)
    assert wire.post(f"sandbox.{ending}", id=sandbox).raw == b"{}"
    assert living(wire, sandbox) == 0


def test_a_child_that_leaves_its_session_its_parents_and_its_environment_dies_with_its_sandbox(wire: Wire) -> None:
    sandbox = wire.create()
    folder = wire.platform.data / "sandboxes" / sandbox
    wire.exec(sandbox, "(env -i setsid sh -c 'sleep 100; :' &) & sleep 0.2")
    children = commands_alive(folder)
    assert len(children) == 2
    wire.post("sandbox.stopSandbox", id=sandbox)
    assert not [child for child in children if alive(child)]


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def test_stop_ends_the_commands_that_run(wire: Wire) -> None:
    sandbox = wire.create()
    codes: list[int] = []

    def sleeper() -> None:
        with Wire(wire.platform, wire.token) as second:
            codes.append(second.exec(sandbox, "sleep 100")[2])

    running = threading.Thread(target=sleeper)
    running.start()
    assert eventually(lambda: living(wire, sandbox) >= 1)
    wire.post("sandbox.stopSandbox", id=sandbox)
    running.join(5)
    assert codes == [137]


def test_stopping_one_sandbox_leaves_the_processes_of_another(wire: Wire) -> None:
    first, second = wire.create(), wire.create()
    for sandbox in (first, second):
        wire.exec(sandbox, "sleep 100 &")
    wire.post("sandbox.stopSandbox", id=first)
    assert (living(wire, first), living(wire, second)) == (0, 1)
    wire.post("sandbox.deleteSandbox", id=second)


def test_two_hundred_commands_at_once_leave_room_for_other_requests(wire: Wire) -> None:
    sandbox = wire.create()

    def sleeper(number: int) -> str:
        with Wire(wire.platform, wire.token) as own:
            return own.out(sandbox, f"sleep 2; echo {number}")

    with ThreadPoolExecutor(200) as pool:
        begun = time.monotonic()
        running = [pool.submit(sleeper, number) for number in range(200)]
        slowest = 0.0
        while not all(task.done() for task in running):
            asked = time.monotonic()
            assert wire.status(sandbox) == "RUNNING"
            slowest = max(slowest, time.monotonic() - asked)
            time.sleep(0.02)
        assert [task.result() for task in running] == [f"{number}\n" for number in range(200)]
    assert time.monotonic() - begun < 20
    assert slowest < 1.0


def test_no_descriptor_of_the_platform_reaches_a_command(wire: Wire) -> None:
    targets = wire.out(wire.create(), "readlink /proc/self/fd/*; :")
    assert "socket:" not in targets
    assert "state.sqlite3" not in targets


@pytest.mark.parametrize("limits", [NO_LIMITS, Limits(cpu_seconds=100)], ids=["spawned", "forked"])
def test_a_command_may_open_as_many_files_as_who_started_the_platform(place: local.Platform, limits: Limits) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[0] - 1, before[1]))
    try:
        with local.platform(isolation=place.isolation, limits=limits) as own, Wire(own, own.token) as wire:
            assert wire.out(wire.create(), "ulimit -Sn") == f"{before[0] - 1}\n"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_client_that_goes_away_leaves_the_platform_well(wire: Wire) -> None:
    sandbox = wire.create()
    leaver = Wire(wire.platform, wire.token)
    body = json.dumps({"command": "sleep 0.3; echo went on > file"})
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {wire.token}"}
    leaver.connection.request("POST", f"/xrpc/io.pocketenv.sandbox.exec?id={sandbox}", body, headers)
    time.sleep(0.1)
    leaver.connection.close()
    assert eventually(lambda: wire.exec(sandbox, "cat file")[0] == "went on\n")


def test_nothing_of_this_process_is_ever_taken_for_a_sandboxs() -> None:
    assert os.getpid() not in processes.marked(Path("/"))
