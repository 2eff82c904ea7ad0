"""Providers: how a command reaches a shell, the keys of the answer, what a stop keeps."""

import pytest

from pocketenv_fp import local
from pocketenv_fp.local.faults import BlockedShell, DeadShell, NoStderr
from pocketenv_fp.local.methods import PROVIDERS
from tests.local.wire import Wire

WORKERS = [name for name in PROVIDERS if name not in {"cloudflare", "blaxel"}]
LOST = (500, "InternalServerError", "Internal Server Error")


def out(wire: Wire, sandbox: str, command: str) -> str:
    """Return the stdout of exactly this."""
    answer = wire.say(sandbox, command)
    assert answer.status == 200, answer
    return str(answer.json["stdout"])


@pytest.mark.parametrize("provider", WORKERS)
def test_exec_answer_keys(wire: Wire, provider: str) -> None:
    """The keys of the response depend on the provider."""
    keys = {"stdout", "stderr", "exitCode"}
    if provider == "daytona":
        keys -= {"stderr"}
    answer = wire.say(wire.create(provider=provider), "true").json
    assert keys <= set(answer) <= keys | {"startedAt"}


@pytest.mark.parametrize("provider", ["daytona", "sprites", "modal", "hopx", "deno", "vercel"])
def test_exec_of_a_worker_keeps_no_state(wire: Wire, provider: str) -> None:
    """A worker keeps no state and no variable between commands."""
    sandbox = wire.create(provider=provider)
    wire.post("variable.addVariable", {"variable": {"sandboxId": sandbox, "name": "V", "value": "v"}})
    wire.start(sandbox)
    wire.say(sandbox, "cd /; W=w; export W; exit 3")
    assert out(wire, sandbox, 'echo "[$V$W]"; printf "a\\n\\n"') == "[]\na\n\n"
    assert wire.say(sandbox, "exit 3").json["exitCode"] == 3


@pytest.mark.parametrize("provider", ["deno", "vercel"])
def test_exec_of_deno_and_vercel(wire: Wire, provider: str) -> None:
    """Deno and Vercel run a command with `sh`."""
    assert out(wire, wire.create(provider=provider), "echo $0") == "sh\n"


def test_exec_of_daytona_merges_outputs(wire: Wire) -> None:
    """Daytona merges both outputs."""
    assert out(wire, wire.create(provider="daytona"), "echo a; echo b >&2") == "a\nb\n"


def test_exec_of_e2b_takes_one_word(wire: Wire) -> None:
    """E2B takes one word, and a failing command is an error."""
    sandbox = wire.create(provider="e2b")
    assert out(wire, sandbox, "echo hi") == "\n"
    assert out(wire, sandbox, "'echo hi'") == "hi\n"
    assert wire.say(sandbox, "'exit 3'").error == LOST


def test_exec_of_blaxel_takes_one_word(place: local.Platform) -> None:
    with Wire(place, None) as stranger:
        sandbox = place.new_ownerless_sandbox("blaxel")
        assert out(stranger, sandbox, "echo hi") == "\n"
        assert stranger.say(sandbox, "'echo hi; exit 3'").json == {"stdout": "hi\n", "stderr": "", "exitCode": 3}


def test_create_on_blaxel(wire: Wire) -> None:
    """Create on blaxel is a 403."""
    assert wire.post("sandbox.createSandbox", {"base": "openclaw", "provider": "blaxel"}).status == 403


def test_exec_of_runloop_double_quotes(wire: Wire) -> None:
    """Runloop puts the command in double quotes."""
    sandbox = wire.create(provider="runloop")
    assert out(wire, sandbox, "x=1; echo [$x]") == "[]\n"
    assert out(wire, sandbox, "x=1; echo [\\$x]") == "[1]\n"


@pytest.mark.parametrize(
    ("provider", "kept"),
    [("sprites", True), ("hopx", True), ("daytona", True), ("modal", False), ("deno", False), ("cloudflare", False)],
)
def test_stop_keeps_files_by_provider(wire: Wire, provider: str, *, kept: bool) -> None:
    """A stop keeps the files of some providers only."""
    sandbox = wire.create(provider=provider)
    wire.say(sandbox, "cd /workspace && echo x > kept")
    wire.post("sandbox.stopSandbox", id=sandbox)
    wire.start(sandbox)
    assert out(wire, sandbox, "cd /workspace && ls").strip() == ("kept" if kept else "")


def test_exec_before_ready_runs_elsewhere() -> None:
    """A command that comes before the sandbox is ready runs in another one."""
    with local.platform(boot_delay=1) as platform, Wire(platform, platform.token) as wire:
        sandbox = wire.create(provider="modal")
        assert out(wire, sandbox, "echo x > /tmp/early; ls /tmp") == "early\n"
        assert wire.status(sandbox) == "INITIALIZING"
        while wire.status(sandbox) != "RUNNING":
            pass
        assert out(wire, sandbox, "cd /tmp && ls") == ""


def test_dead_shell_until_stop_and_start(wire: Wire) -> None:
    """A dead shell stays dead until a stop and a start."""
    sandbox = wire.create()
    with wire.platform.faults.on("sandbox.exec", DeadShell(), times=1):
        assert wire.say(sandbox, "echo hi").error == LOST
    wire.start(sandbox)
    assert wire.say(sandbox, "echo hi").error == LOST
    assert wire.status(sandbox) == "RUNNING"
    wire.post("sandbox.stopSandbox", id=sandbox)
    wire.start(sandbox)
    assert wire.out(sandbox, "echo hi") == "hi\n"


def test_blocked_shell_holds_until_the_limit(place: local.Platform) -> None:
    """A blocked shell holds commands until their time limit."""
    with local.platform(isolation=place.isolation, exec_seconds=0.5) as own, Wire(own, own.token) as wire:
        sandbox = wire.create()
        own.faults.add("sandbox.exec", BlockedShell())
        assert [wire.say(sandbox, "echo hi").error for _ in range(2)] == [LOST, LOST]
        wire.post("sandbox.stopSandbox", id=sandbox)
        wire.start(sandbox)
        assert wire.out(sandbox, "echo hi") == "hi\n"


def test_no_stderr_keeps_stdout(wire: Wire) -> None:
    """`NoStderr` removes the key `stderr` and keeps the rest."""
    sandbox = wire.create()
    with wire.platform.faults.on("sandbox.exec", NoStderr(), times=1):
        answer = wire.say(sandbox, "echo hi; echo no >&2").json
    assert ("stderr" in answer, answer["stdout"]) == (False, "hi")


def test_container_0718_keeps_newlines(place: local.Platform) -> None:
    """Container 0.7.18 does not change the newlines of a command."""
    line = "printf '%s|' 'a\nb'"
    for container, wanted in (("0.7.8", "a\n    b|"), ("0.7.18", "a\nb|")):
        with (
            local.platform(isolation=place.isolation, container=container) as own,  # type: ignore[arg-type]
            Wire(own, own.token) as wire,
        ):
            assert out(wire, wire.create(), line) == wanted
