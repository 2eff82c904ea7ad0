"""Backups: a restore brings the directory back, and nothing from outside the sandbox gets in."""

import contextlib
import sqlite3
from datetime import datetime
from pathlib import Path

import pytest

from pocketenv_fp.local import call
from tests.local.wire import Wire


def test_restore_whole_directory(wire: Wire) -> None:
    """A restore brings back files, links and modes, and keeps other files."""
    sandbox = wire.create()
    wire.out(sandbox, "mkdir -p d/e; echo one > d/e/f; ln -s /etc/hostname d/link; chmod 750 d/e; echo own > kept")
    row = wire.back_up(sandbox, "/workspace/d", description="first")
    assert set(row) == {"id", "directory", "description", "expiresAt", "createdAt"}
    assert (row["directory"], row["description"]) == ("/workspace/d", "first")

    wire.out(sandbox, "echo two > d/e/f; echo new > d/later; rm d/link; echo other > kept")
    assert wire.post("sandbox.restoreBackup", {"backupId": row["id"]}).empty
    assert wire.out(sandbox, "cat d/e/f; ls d; readlink d/link; stat -c %a d/e; cat kept") == (
        "one\ne\nlink\n/etc/hostname\n750\nother\n"
    )


def test_backup_survives_a_stop(wire: Wire) -> None:
    """A backup survives a stop that discards the file system."""
    sandbox = wire.create()
    wire.out(sandbox, "echo text > file")
    row = wire.back_up(sandbox)
    wire.post("sandbox.stopSandbox", id=sandbox)
    assert wire.post("sandbox.restoreBackup", {"backupId": row["id"]}).error[0] == 400
    wire.start(sandbox)
    assert wire.out(sandbox, "ls") == ""
    assert wire.post("sandbox.restoreBackup", {"backupId": row["id"]}).empty
    assert wire.out(sandbox, "cat file") == "text\n"


def test_backup_ttl(wire: Wire) -> None:
    """A backup expires after three days or its `ttl`."""
    sandbox = wire.create()
    made = [wire.back_up(sandbox), wire.back_up(sandbox, ttl=3600), wire.back_up(sandbox, ttl=10**30)]
    lives = [
        (datetime.fromisoformat(row["expiresAt"]) - datetime.fromisoformat(row["createdAt"])).total_seconds()
        for row in made
    ]
    assert lives[:2] == [259_200.0, 3600.0]
    assert lives[2] > 10**9
    with contextlib.closing(sqlite3.connect(wire.platform.data / "state.sqlite3")) as database, database:
        database.execute("UPDATE backups SET expires_at = 1 WHERE id = ?", [made[0]["id"]])
    assert wire.backups(sandbox) == made[1:]


@pytest.mark.parametrize("directory", ["/workspace/none", "/workspace/../none", "/none", "/workspace/out", "\0"])
def test_backup_of_a_missing_directory(wire: Wire, directory: str, tmp_path: Path) -> None:
    """A missing directory is a 200 and never appears."""
    # The last but one leads to a directory of this machine, which is not the sandbox's.
    sandbox = wire.create()
    wire.out(sandbox, f"ln -s {tmp_path} out")
    assert wire.post("sandbox.createBackup", {"directory": directory}, id=sandbox).empty
    # Backups are made in the order of their requests: with this one, the other is done.
    row = wire.back_up(sandbox)
    assert wire.backups(sandbox) == [row]


def test_create_backup_answers_before_the_copy(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup is made after the answer, as on the real platform."""
    monkeypatch.setattr(call, "PAUSE_SECONDS", 3600.0)
    sandbox = wire.create()
    assert wire.post("sandbox.createBackup", {"directory": "/workspace"}, id=sandbox).empty
    assert wire.backups(sandbox) == []


def test_create_backup_of_deleted_sandbox(wire: Wire) -> None:
    """A sandbox that is deleted before its backup is made leaves no archive."""
    sandbox, other = wire.create(), wire.create()
    assert wire.post("sandbox.createBackup", {"directory": "/workspace"}, id=sandbox).empty
    wire.post("sandbox.deleteSandbox", id=sandbox)
    before = {wire.back_up(other)["id"]}
    archives = {path.name for path in (wire.platform.data / "backups").iterdir()}
    listed = wire.platform._world.store.rows("SELECT id FROM backups")  # pyright: ignore[reportPrivateUsage]
    assert before <= archives == {row[0] for row in listed}


def test_restore_follows_no_link_out(wire: Wire, tmp_path: Path) -> None:
    """A restore does not follow a link out of the sandbox."""
    sandbox = wire.create()
    wire.out(sandbox, "mkdir d; echo x > d/f")
    row = wire.back_up(sandbox, "/workspace/d")
    (tmp_path / "precious").write_text("host")
    wire.out(sandbox, f"rm -r d; ln -s {tmp_path} d")
    # Without a box the link leads out and is refused. In a box it leads to a place of the sandbox's own.
    boxed = wire.platform.isolation == "bubblewrap"
    assert wire.post("sandbox.restoreBackup", {"backupId": row["id"]}).status == (200 if boxed else 400)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_backup_on_other_providers(wire: Wire) -> None:
    """Providers other than Cloudflare refuse a backup."""
    sandbox = wire.create(provider="daytona")
    assert wire.post("sandbox.createBackup", {"directory": "/workspace"}, id=sandbox).error[:2] == (
        400,
        "InvalidRequest",
    )


def test_restore_unknown_or_foreign_backup(wire: Wire, other: Wire) -> None:
    """An unknown backup and one of another user are a 404."""
    sandbox = wire.create()
    row = wire.back_up(sandbox)
    for client, name in ((wire, "none"), (other, row["id"])):
        assert client.post("sandbox.restoreBackup", {"backupId": name}).error[:2] == (404, "XRPCNotSupported")


def test_delete_removes_backups(wire: Wire) -> None:
    """Deleting a sandbox removes its backups."""
    sandbox = wire.create()
    archive = wire.platform.data / "backups" / wire.back_up(sandbox)["id"]
    assert archive.exists()
    wire.post("sandbox.deleteSandbox", id=sandbox)
    assert not archive.exists()
