"""Backups: what was there comes back, and nothing from outside the sandbox gets in."""

import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.local.wire import Wire


def backups(wire: Wire, sandbox: str) -> list[dict[str, str]]:
    """The backups that a sandbox has."""
    rows: list[dict[str, str]] = wire.get("sandbox.getBackups", id=sandbox).json["backups"]
    return rows


def test_a_backup_puts_the_directory_back_as_it_was(wire: Wire) -> None:
    sandbox = wire.create()
    wire.out(sandbox, "mkdir -p d/e; echo one > d/e/f; ln -s /etc/hostname d/link; chmod 750 d/e; echo own > kept")
    assert wire.post("sandbox.createBackup", {"directory": "/workspace/d", "description": "first"}, id=sandbox).empty
    (row,) = backups(wire, sandbox)
    assert set(row) == {"id", "directory", "description", "expiresAt", "createdAt"}
    assert (row["directory"], row["description"]) == ("/workspace/d", "first")

    wire.out(sandbox, "echo two > d/e/f; echo new > d/later; rm d/link; echo other > kept")
    assert wire.post("sandbox.restoreBackup", {"backupId": row["id"]}).empty
    assert wire.out(sandbox, "cat d/e/f; ls d; readlink d/link; stat -c %a d/e; cat kept") == (
        "one\ne\nlink\n/etc/hostname\n750\nother\n"
    )


def test_a_backup_outlives_a_stop_that_discards_the_file_system(wire: Wire) -> None:
    sandbox = wire.create()
    wire.out(sandbox, "echo text > file")
    wire.post("sandbox.createBackup", {"directory": "/workspace"}, id=sandbox)
    (row,) = backups(wire, sandbox)
    wire.post("sandbox.stopSandbox", id=sandbox)
    assert wire.post("sandbox.restoreBackup", {"backupId": row["id"]}).error[0] == 400
    wire.start(sandbox)
    assert wire.out(sandbox, "ls") == ""
    assert wire.post("sandbox.restoreBackup", {"backupId": row["id"]}).empty
    assert wire.out(sandbox, "cat file") == "text\n"


def test_backups_live_three_days_or_their_ttl(wire: Wire) -> None:
    sandbox = wire.create()
    for body in ({}, {"ttl": 3600}, {"ttl": 1}, {"ttl": 10**30}):
        assert wire.post("sandbox.createBackup", {"directory": "/workspace", **body}, id=sandbox).empty
    lives = [
        (datetime.fromisoformat(row["expiresAt"]) - datetime.fromisoformat(row["createdAt"])).total_seconds()
        for row in backups(wire, sandbox)
    ]
    assert lives[:3] == [259_200.0, 3600.0, 1.0]
    assert lives[3] > 10**9
    time.sleep(1.1)
    assert len(backups(wire, sandbox)) == 3


@pytest.mark.parametrize("directory", ["/workspace/none", "/workspace/../none", "/none", "/workspace/out", "\0"])
def test_a_directory_that_is_missing_is_a_200_and_never_appears(wire: Wire, directory: str, tmp_path: Path) -> None:
    # The last but one leads to a directory of this machine, which is not the sandbox's.
    sandbox = wire.create()
    wire.out(sandbox, f"ln -s {tmp_path} out")
    assert wire.post("sandbox.createBackup", {"directory": directory}, id=sandbox).empty
    assert backups(wire, sandbox) == []


def test_a_restore_does_not_follow_a_link_out_of_the_sandbox(wire: Wire, tmp_path: Path) -> None:
    sandbox = wire.create()
    wire.out(sandbox, "mkdir d; echo x > d/f")
    wire.post("sandbox.createBackup", {"directory": "/workspace/d"}, id=sandbox)
    (row,) = backups(wire, sandbox)
    (tmp_path / "precious").write_text("host")
    wire.out(sandbox, f"rm -r d; ln -s {tmp_path} d")
    # Without a box the link leads out and is refused; in a box it leads to a place of the sandbox's own.
    boxed = wire.platform.isolation == "bubblewrap"
    assert wire.post("sandbox.restoreBackup", {"backupId": row["id"]}).status == (200 if boxed else 400)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_backups_are_cloudflares_only(wire: Wire) -> None:
    sandbox = wire.create(provider="daytona")
    assert wire.post("sandbox.createBackup", {"directory": "/workspace"}, id=sandbox).error[:2] == (
        400,
        "InvalidRequest",
    )


def test_an_unknown_backup_and_somebody_elses_are_404(wire: Wire, other: Wire) -> None:
    sandbox = wire.create()
    wire.post("sandbox.createBackup", {"directory": "/workspace"}, id=sandbox)
    (row,) = backups(wire, sandbox)
    for client, name in ((wire, "none"), (other, row["id"])):
        assert client.post("sandbox.restoreBackup", {"backupId": name}).error[:2] == (404, "XRPCNotSupported")


def test_deleting_a_sandbox_removes_its_backups(wire: Wire) -> None:
    sandbox = wire.create()
    wire.post("sandbox.createBackup", {"directory": "/workspace"}, id=sandbox)
    archive = wire.platform.data / "backups" / backups(wire, sandbox)[0]["id"]
    assert archive.exists()
    wire.post("sandbox.deleteSandbox", id=sandbox)
    assert not archive.exists()
