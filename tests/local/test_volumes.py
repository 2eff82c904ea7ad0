"""Volumes: a start attaches them under their path, and they survive a stop."""

import stat
from pathlib import Path
from typing import Any

import pytest

from pocketenv_fp import local
from tests.local.wire import Wire


def add_volume(wire: Wire, sandbox: str, name: str, **given: object) -> str:
    """Add a volume. Return its id."""
    assert wire.post("volume.addVolume", {"volume": {"sandboxId": sandbox, "name": name, **given}}).empty
    (volume_id,) = [row["id"] for row in volumes(wire, sandbox) if row["name"] == name]
    return str(volume_id)


def volumes(wire: Wire, sandbox: str) -> list[dict[str, Any]]:
    """Return the volumes of a sandbox."""
    rows: list[dict[str, Any]] = wire.get("volume.getVolumes", sandboxId=sandbox).json["volumes"]
    return rows


def kept(wire: Wire, volume: str) -> Path:
    """Return the folder of a volume's content."""
    return wire.platform.data / "volumes" / volume


def test_volume_survives_a_stop(wire: Wire) -> None:
    """The content of a volume survives a stop that discards the file system."""
    sandbox = wire.create()
    add_volume(wire, sandbox, "data", path="/workspace/data")
    wire.start(sandbox)
    wire.out(sandbox, "echo kept > data/x; echo lost > y")
    wire.post("sandbox.stopSandbox", id=sandbox)
    wire.start(sandbox)
    assert wire.out(sandbox, "cat data/x; ls") == "kept\ndata\n"


def test_start_attaches_volume(wire: Wire) -> None:
    """A start attaches a volume, and nothing does before."""
    sandbox = wire.create()
    wire.out(sandbox, "true")
    add_volume(wire, sandbox, "data", path="/workspace/data")
    assert wire.exec(sandbox, "ls data")[2] != 0
    wire.start(sandbox)
    assert wire.out(sandbox, "ls data") == ""


def test_volume_without_path(wire: Wire) -> None:
    """A volume without a path is accepted and not stored."""
    sandbox = wire.create()
    assert wire.post("volume.addVolume", {"volume": {"sandboxId": sandbox, "name": "loose"}}).empty
    assert volumes(wire, sandbox) == []


def test_volume_list_by_id_or_name(wire: Wire) -> None:
    """A volume is listed by the id or name of its sandbox."""
    sandbox = wire.create()
    name = wire.get("sandbox.getSandbox", id=sandbox).json["sandbox"]["name"]
    volume = add_volume(wire, name, "data", path="/data/models", readOnly=True)
    page = wire.get("volume.getVolumes", sandboxId=sandbox).json
    (row,) = page["volumes"]
    assert set(row) == {"id", "name", "path", "createdAt", "updatedAt"}
    assert (page["total"], row["id"], row["path"]) == (1, volume, "/data/models")
    assert wire.get("volume.getVolume", id=volume).json == {"volume": row}
    assert wire.get("volume.getVolumes").json == page
    assert wire.get("volume.getVolumes", sandboxId="unknown").json == {"volumes": [], "total": 0}


@pytest.mark.parametrize("path", ["data/v", "/data//v/", "//data/v", "/data/../data/./v", "../../data/v"])
def test_volume_path_unchanged(wire: Wire, path: str) -> None:
    """A path is kept as it was sent and starts at the root."""
    sandbox = wire.create()
    add_volume(wire, sandbox, "data", path=path)
    assert volumes(wire, sandbox)[0]["path"] == path
    wire.start(sandbox)
    wire.out(sandbox, "cd /data/v && echo kept > x")
    wire.post("sandbox.stopSandbox", id=sandbox)
    wire.start(sandbox)
    assert wire.out(sandbox, "cd /data/v && cat x") == "kept\n"


@pytest.mark.parametrize(
    "path", ["", "/", "..", "/workspace/..", "/proc", "/proc/1", "/dev/shm", "/sys", "/run/x", "/usr", "/etc"]
)
def test_volume_over_system_path(wire: Wire, path: str) -> None:
    """A path that would hide the machine is not attached."""
    sandbox = wire.create()
    assert wire.post("volume.addVolume", {"volume": {"sandboxId": sandbox, "name": "v", "path": path}}).empty
    assert [row["path"] for row in volumes(wire, sandbox)] == [path]
    wire.start(sandbox)
    assert wire.out(sandbox, "cat /proc/self/comm && ls /usr/bin/env") == "cat\n/usr/bin/env\n"


def test_volume_update_keeps_the_content(wire: Wire) -> None:
    """An update keeps the content and every field that is not sent."""
    sandbox = wire.create()
    volume = add_volume(wire, sandbox, "one", path="/workspace/one")
    wire.start(sandbox)
    wire.out(sandbox, "echo kept > one/x")
    assert wire.post("volume.updateVolume", {"id": volume, "volume": {"name": "two"}}).empty
    (row,) = volumes(wire, sandbox)
    assert (row["name"], row["path"]) == ("two", "/workspace/one")
    assert wire.post("volume.updateVolume", {"id": volume, "volume": {"name": "two", "path": "/workspace/two"}}).empty
    wire.post("sandbox.stopSandbox", id=sandbox)
    wire.start(sandbox)
    assert wire.out(sandbox, "cat two/x; ls") == "kept\ntwo\n"


def test_volume_delete_removes_the_content(wire: Wire) -> None:
    """Deleting a volume removes its content and is always a 200."""
    sandbox = wire.create()
    volume = add_volume(wire, sandbox, "data", path="/workspace/data")
    wire.start(sandbox)
    wire.out(sandbox, "echo x > data/x")
    assert stat.S_IMODE(kept(wire, volume).stat().st_mode) == 0o700
    for _ in range(2):
        assert wire.post("volume.deleteVolume", id=volume).empty
    assert volumes(wire, sandbox) == []
    assert wire.get("volume.getVolume", id=volume).raw == b"{}"
    assert not kept(wire, volume).exists()
    wire.post("sandbox.stopSandbox", id=sandbox)
    wire.start(sandbox)
    assert wire.out(sandbox, "ls") == ""


def test_volume_at_the_path_of_a_deleted_one(wire: Wire) -> None:
    """A new volume at the path of a deleted one is empty."""
    sandbox = wire.create(provider="daytona")
    volume = add_volume(wire, sandbox, "data", path="/workspace/data")
    wire.start(sandbox)
    assert wire.say(sandbox, "cd /workspace && echo x > data/x; cat data/x").json["stdout"] == "x\n"
    wire.post("volume.deleteVolume", id=volume)
    add_volume(wire, sandbox, "data", path="/workspace/data")
    wire.start(sandbox)
    line = "cd /workspace && ls data; echo y > data/y; ls data"
    assert wire.say(sandbox, line).json["stdout"] == "y\n"


def test_delete_removes_volumes(wire: Wire) -> None:
    """Deleting a sandbox removes its volumes."""
    sandbox = wire.create()
    volume = add_volume(wire, sandbox, "data", path="/workspace/data")
    wire.start(sandbox)
    wire.out(sandbox, "echo x > data/x")
    wire.post("sandbox.deleteSandbox", id=sandbox)
    assert not kept(wire, volume).exists()
    assert wire.get("volume.getVolume", id=volume).raw == b"{}"


def test_volume_with_a_taken_path(wire: Wire) -> None:
    """A taken path is a 500; an unknown sandbox or volume is a 404."""
    sandbox = wire.create()
    add_volume(wire, sandbox, "data", path="/data/v")
    add_volume(wire, wire.create(), "data", path="/data/v")
    error = wire.post("volume.addVolume", {"volume": {"sandboxId": sandbox, "name": "more", "path": "/data/v"}}).error
    assert error == (500, "InternalServerError", "Internal Server Error")
    assert wire.post("volume.addVolume", {"volume": {"sandboxId": sandbox, "name": "data", "path": "/data/w"}}).empty
    for where in ({"sandboxId": "unknown"}, {}):
        error = wire.post("volume.addVolume", {"volume": {**where, "name": "x"}}).error
        assert error == (404, "XRPCNotSupported", "Sandbox not found")
    error = wire.post("volume.updateVolume", {"id": "unknown", "volume": {"name": "x"}}).error
    assert error == (404, "XRPCNotSupported", "Volume not found")


def test_volume_of_another_user(wire: Wire, other: Wire, stranger: Wire) -> None:
    """No user sees, changes or deletes another user's volume."""
    sandbox = wire.create()
    volume = add_volume(wire, sandbox, "data", path="/data/v")
    (row,) = volumes(wire, sandbox)
    assert other.get("volume.getVolume", id=volume).raw == b"{}"
    assert volumes(other, sandbox) == []
    assert other.get("volume.getVolumes").json["total"] == 0
    assert other.post("volume.addVolume", {"volume": {"sandboxId": sandbox, "name": "x"}}).status == 404
    assert other.post("volume.updateVolume", {"id": volume, "volume": {"name": "x"}}).status == 404
    assert other.post("volume.deleteVolume", id=volume).empty
    assert stranger.get("volume.getVolume", id=volume).status == 401
    assert volumes(wire, sandbox) == [row]
    assert kept(wire, volume).is_dir()


def test_volume_after_a_platform_restart(tmp_path: Path) -> None:
    """A restart keeps contents and removes those without a volume."""
    with local.platform(data=tmp_path) as platform, Wire(platform, platform.token) as wire:
        sandbox = wire.create()
        volume = add_volume(wire, sandbox, "data", path="/workspace/data")
        wire.start(sandbox)
        wire.out(sandbox, "echo kept > data/x")
        lost = kept(wire, "lost")
    lost.mkdir()
    with local.platform(data=tmp_path) as platform, Wire(platform, platform.token) as wire:
        assert wire.out(sandbox, "cat data/x") == "kept\n"
        assert not lost.exists()
        assert kept(wire, volume).is_dir()


def test_volume_read_only(wire: Wire) -> None:
    """The platform ignores `readOnly`."""
    sandbox = wire.create()
    add_volume(wire, sandbox, "data", path="/workspace/data", readOnly=True)
    wire.start(sandbox)
    assert wire.out(sandbox, "echo kept > data/x; cat data/x") == "kept\n"
