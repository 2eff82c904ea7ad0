"""Sandboxes from create to delete."""

import re
import subprocess
import time
from pathlib import Path

import pytest

from pocketenv_fp import local
from pocketenv_fp.local import providers, volumes
from pocketenv_fp.local.call import World
from pocketenv_fp.local.machine import Refused
from pocketenv_fp.local.sandboxes import Sandbox
from tests.local.wire import BASE, Wire, eventually

DETAILED = {
    "id", "name", "provider", "displayName", "description", "topics", "baseSandbox", "status", "repo", "logo", "readme",
    "installs", "uri", "vcpus", "memory", "disk", "createdAt", "startedAt", "owner",
}  # fmt: skip
OWNER = {"id", "did", "displayName", "handle", "avatar", "createdAt", "updatedAt"}
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_create_assigns_name(wire: Wire) -> None:
    """Create assigns the name and returns no status."""
    made = wire.post("sandbox.createSandbox", {"base": BASE, "name": "my-box"}).json
    assert set(made) == {"id", "name", "provider", "createdAt", "uri"}
    assert re.fullmatch(r"[a-z]+-[a-z]+-[0-9a-z]{4}", made["name"])
    assert made["provider"] == "cloudflare"
    assert ISO.fullmatch(made["createdAt"])
    assert made["uri"].startswith("at://did:plc:")


def test_create_echoes_and_stores_no_description(wire: Wire) -> None:
    """Create echoes its input and does not store the description."""
    sent = {"description": "d", "topics": ["t"], "vcpus": 2, "memory": 4, "disk": 3, "readme": "https://x.test/r"}
    made = wire.post("sandbox.createSandbox", {"base": BASE, **sent}).json
    assert {name: made[name] for name in sent} == sent
    shown = wire.get("sandbox.getSandbox", id=made["id"]).json["sandbox"]
    assert [shown[name] for name in ("description", "topics", "readme")] == [None] * 3
    assert [shown[name] for name in ("vcpus", "memory", "disk")] == [2, 8, 16]


def test_delete_builds_no_box_again(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that still runs in a sandbox builds no box after the delete has killed the last one."""
    sandbox = wire.create()
    wire.out(sandbox, "true")
    usual, refusals = volumes.discard, list[str]()

    async def discard(world: World, contents: list[Path]) -> None:
        for machine in (before, world.machine(sandbox)):
            with pytest.raises(Refused) as refused:
                await machine.run(["true"], {})
            refusals.append(str(refused.value))
        await usual(world, contents)

    world = wire.platform._world  # pyright: ignore[reportPrivateUsage]
    before = world.machine(sandbox)
    monkeypatch.setattr(volumes, "discard", discard)
    assert wire.post("sandbox.deleteSandbox", id=sandbox).status == 200
    assert refusals == ["halted"] * 2
    assert world.machine(sandbox).is_retired
    assert before.box is None
    assert sandbox not in world.machines


def test_pull_stops_with_sandbox(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next line of a pull does not run in the box of a later start."""
    sandbox = wire.create()
    wire.out(sandbox, "true")
    usual, lines = providers.run_line, list[str]()
    machine = wire.platform._world.machine(sandbox)  # pyright: ignore[reportPrivateUsage]

    async def run_line(world: World, of: Sandbox, line: str) -> None:
        lines.append(line)
        await usual(world, of, line)
        await machine.halt()

    monkeypatch.setattr(providers, "run_line", run_line)
    body = {"sandboxId": sandbox, "uuid": "none", "directoryPath": "/workspace"}
    assert wire.post("sandbox.pullDirectory", body).status == 500
    assert (len(lines), machine.box) == (1, None)


@pytest.mark.parametrize("key", ["secrets", "envs"])
def test_create_refuses_secrets_and_envs(wire: Wire, key: str) -> None:
    message = f"Lexicon not found: lex:io.pocketenv.sandbox.defs#{key}"
    assert wire.post("sandbox.createSandbox", {"base": BASE, key: []}).error == (400, "InvalidRequest", message)


def test_create_unknown_base(wire: Wire) -> None:
    """Create with an unknown base is a 502."""
    assert wire.post("sandbox.createSandbox", {"base": "at://x/y/z"}).error[:2] == (502, "SandboxProviderError")


def test_create_refuses_blaxel_and_unknown(wire: Wire) -> None:
    """Create is a 403 on blaxel and a 400 on an unknown provider."""
    blaxel = wire.post("sandbox.createSandbox", {"base": BASE, "provider": "blaxel"})
    assert blaxel.error[:2] == (403, "SandboxProviderError")
    assert wire.post("sandbox.createSandbox", {"base": BASE, "provider": "moon"}).error[:2] == (400, "InvalidRequest")


def test_create_again_same_repository(wire: Wire, other: Wire) -> None:
    """The same repository and base is the same sandbox, started."""
    first = wire.create(repo="/no/such/repo")
    wire.post("sandbox.stopSandbox", id=first)
    assert wire.create(repo="/no/such/repo") == first
    assert wire.status(first) == "RUNNING"
    assert other.create(repo="/no/such/repo") != first
    assert wire.create() != wire.create()


def test_get_by_id_name_and_uri(wire: Wire) -> None:
    """Get shows the detailed shape by id, name and at-uri."""
    sandbox = wire.create()
    shown = wire.get("sandbox.getSandbox", id=sandbox).json["sandbox"]
    assert set(shown) == DETAILED
    assert set(shown["owner"]) == OWNER
    assert (shown["status"], shown["baseSandbox"]) == ("RUNNING", "openclaw")
    assert re.fullmatch(r"sandbox_[0-9a-z]{20}", sandbox)
    assert re.fullmatch(r"rec_[0-9a-z]{20}", shown["owner"]["id"])
    for name in (shown["name"], shown["uri"]):
        assert wire.get("sandbox.getSandbox", id=name).json["sandbox"]["id"] == sandbox


def test_get_base_image(wire: Wire) -> None:
    """A base image is a stopped sandbox of the platform that runs no command."""
    shown = wire.get("sandbox.getSandbox", id="openclaw").json["sandbox"]
    assert set(shown) == DETAILED - {"startedAt"}
    assert (shown["uri"], shown["status"], shown["vcpus"]) == (BASE, "STOPPED", None)
    assert shown["owner"]["handle"] == "pocketenv.io"
    assert wire.post("sandbox.exec", {"command": "true"}, id="openclaw").status == 404


def test_get_repeated_id(wire: Wire) -> None:
    """A repeated `id` parameter is an unknown sandbox."""
    sandbox = wire.create()
    path = f"/xrpc/io.pocketenv.sandbox.getSandbox?id={sandbox}&id={sandbox}"
    assert wire.raw("GET", path).raw == b"{}"


def test_get_missing_sandbox(wire: Wire) -> None:
    """A missing sandbox is an empty object."""
    answer = wire.get("sandbox.getSandbox", id="nobody")
    assert (answer.status, answer.raw) == (200, b"{}")


def test_get_by_another_user(wire: Wire, other: Wire) -> None:
    """Every user can get a sandbox."""
    sandbox = wire.create()
    assert other.get("sandbox.getSandbox", id=sandbox).json["sandbox"]["id"] == sandbox


def test_sandbox_of_another_user(wire: Wire, other: Wire) -> None:
    """No user starts, stops, deletes or runs in another user's sandbox."""
    sandbox = wire.create()
    bodies: dict[str, object] = {
        "startSandbox": {},
        "stopSandbox": None,
        "deleteSandbox": None,
        "exec": {"command": "true"},
    }
    for name, body in bodies.items():
        assert other.post(f"sandbox.{name}", body, id=sandbox).error[:2] == (404, "SandboxNotFound")
    bodies = {"exposePort": {"port": 8080}, "createBackup": {"directory": "/workspace"}}
    for name, body in bodies.items():
        assert other.post(f"sandbox.{name}", body, id=sandbox).error[:2] == (404, "XRPCNotSupported")
    assert wire.status(sandbox) == "RUNNING"
    assert wire.out(sandbox, "echo mine") == "mine\n"


def test_boot_delay_of_other_providers() -> None:
    """A boot delay keeps other providers INITIALIZING for a while."""
    with local.platform(boot_delay=0.4) as slow, Wire(slow, slow.token) as wire:
        begun = time.monotonic()
        there, here = wire.create(provider="daytona"), wire.create()
        assert wire.status(here) == "RUNNING"
        assert wire.status(there) == "INITIALIZING"
        assert "startedAt" not in wire.get("sandbox.getSandbox", id=there).json["sandbox"]
        wire.start(there)
        assert wire.status(there) == "INITIALIZING"
        assert eventually(lambda: wire.status(there) == "RUNNING")
        assert time.monotonic() - begun >= 0.4
        assert "startedAt" in wire.get("sandbox.getSandbox", id=there).json["sandbox"]


def test_start_and_stop_twice(wire: Wire) -> None:
    """A repeated start or stop changes nothing."""
    sandbox = wire.create()
    for _ in range(2):
        assert wire.post("sandbox.stopSandbox", id=sandbox).raw == b"{}"
        assert wire.status(sandbox) == "STOPPED"
    for _ in range(2):
        wire.start(sandbox)
        assert wire.status(sandbox) == "RUNNING"


def test_stop_discards_files_on_cloudflare(wire: Wire) -> None:
    """A stop discards the file system on Cloudflare only."""
    for provider, kept in (("cloudflare", ""), ("daytona", "kept")):
        sandbox = wire.create(provider=provider)
        assert wire.say(sandbox, "echo kept > ~/file").json["exitCode"] == 0
        wire.post("sandbox.stopSandbox", id=sandbox)
        wire.start(sandbox)
        assert wire.say(sandbox, "cat ~/file 2>/dev/null").json["stdout"].strip() == kept


def test_delete_removes_folder(wire: Wire) -> None:
    """Delete answers an empty object, then 404, and leaves no folder."""
    sandbox = wire.create()
    folder = wire.platform.data / "sandboxes" / sandbox
    wire.exec(sandbox, "echo something > file")
    assert folder.is_dir()
    assert wire.post("sandbox.deleteSandbox", id=sandbox).raw == b"{}"
    assert wire.post("sandbox.deleteSandbox", id=sandbox).error[:2] == (404, "SandboxNotFound")
    assert wire.get("sandbox.getSandbox", id=sandbox).raw == b"{}"
    assert not folder.exists()


def test_actor_sandboxes_newest_first(wire: Wire) -> None:
    """The sandboxes of an actor come newest first with a total."""
    made = [wire.create() for _ in range(3)]
    wire.post("sandbox.stopSandbox", id=made[1])
    did = wire.get("actor.getProfile").json["did"]
    page = wire.get("actor.getActorSandboxes", did=did).json
    assert page["total"] == 3
    assert [item["id"] for item in page["sandboxes"]] == made[::-1]
    assert set(page["sandboxes"][0]) == DETAILED - {"topics", "repo", "owner"}
    second = wire.get("actor.getActorSandboxes", did=did, limit=1, offset=1).json
    assert ([item["id"] for item in second["sandboxes"]], second["total"]) == ([made[1]], 3)
    for running, expected in (("true", [made[2], made[0]]), ("false", [made[1]]), ("1", [made[1]])):
        page = wire.get("actor.getActorSandboxes", did=did, isRunning=running).json
        assert ([item["id"] for item in page["sandboxes"]], page["total"]) == (expected, len(expected))


def test_catalogue_order(wire: Wire) -> None:
    """The catalogue has openclaw first and no sandbox of a user."""
    before = wire.get("sandbox.getSandboxes").json
    sandbox = wire.create()
    page = wire.get("sandbox.getSandboxes").json
    assert page["total"] == before["total"] == len(page["sandboxes"])
    assert page["sandboxes"][0]["uri"] == BASE
    assert page["sandboxes"][0]["installs"] == before["sandboxes"][0]["installs"] + 1
    assert set(page["sandboxes"][0]) == {
        "id", "name", "displayName", "description", "logo", "readme", "installs", "uri", "createdAt",
    }  # fmt: skip
    assert sandbox not in [item["id"] for item in page["sandboxes"]]
    assert len(wire.get("sandbox.getSandboxes", limit=1, offset=1).json["sandboxes"]) == 1


def test_preferences_rename(wire: Wire, other: Wire) -> None:
    """Preferences rename a sandbox, and a taken name is a 500."""
    sandbox, second = wire.create(), wire.create()
    tag = "io.pocketenv.sandbox.defs#sandboxDetailsPref"
    name = f"renamed-{sandbox}"
    details = {"$type": tag, "name": name, "description": "d", "topics": ["a"]}

    assert wire.post("sandbox.putPreferences", {"sandboxId": sandbox, "preferences": [details]}).empty
    assert wire.get("sandbox.getPreferences", id=name).json == []
    shown = wire.get("sandbox.getSandbox", id=name).json["sandbox"]
    assert (shown["id"], shown["description"], shown["topics"]) == (sandbox, "d", ["a"])
    assert wire.out(name, "echo by name") == "by name\n"

    assert wire.post("sandbox.putPreferences", {"sandboxId": second, "preferences": [details]}).status == 500
    stolen = {"$type": tag, "name": "stolen"}
    assert other.post("sandbox.putPreferences", {"sandboxId": sandbox, "preferences": [stolen]}).empty
    assert wire.get("sandbox.getSandbox", id="stolen").raw == b"{}"
    for tags, status in (([{"$type": tag}], 500), ([{"$type": "other"}], 200), ([], 200)):
        assert wire.post("sandbox.putPreferences", {"sandboxId": sandbox, "preferences": tags}).status == status
    taken = {"$type": tag, "name": "openclaw"}
    assert wire.post("sandbox.putPreferences", {"sandboxId": sandbox, "preferences": [taken]}).status == 500
    untyped = wire.post("sandbox.putPreferences", {"sandboxId": sandbox, "preferences": [{"name": "n"}]})
    assert untyped.error[:2] == (400, "InvalidRequest")


def test_start_clones_the_repository(wire: Wire, tmp_path: Path) -> None:
    """A start clones the repository into the workspace."""
    source = tmp_path / "project"
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t.test"]
    subprocess.run([*git, "init", "-q", str(source)], check=True)
    (source / "hello").write_text("from git\n")
    subprocess.run([*git, "add", "."], check=True, cwd=source)
    subprocess.run([*git, "commit", "-qm", "x"], check=True, cwd=source)

    sandbox = wire.create()
    assert wire.post("sandbox.startSandbox", {"repo": source.as_uri()}, id=sandbox).raw == b"{}"
    assert wire.out(sandbox, "cat project/hello") == "from git\n"
    assert wire.out(wire.create(repo=str(source)), "cat project/hello") == "from git\n"


def test_start_with_a_missing_repository(wire: Wire) -> None:
    """A missing repository does not keep a sandbox from starting."""
    sandbox = wire.create()
    assert wire.post("sandbox.startSandbox", {"repo": "/no/such/place"}, id=sandbox).raw == b"{}"
    assert wire.out(sandbox, "echo up") == "up\n"
