"""Files: kept sealed, written by a start, shown without their contents."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from pocketenv_fp import local
from pocketenv_fp.local import call
from tests.local.wire import Wire

SERVER_ERROR = (500, "InternalServerError", "Internal Server Error")


def add_file(wire: Wire, sandbox: str, path: str, content: str) -> None:
    """Add a file. Its content is sealed here."""
    file = {"sandboxId": sandbox, "path": path, "content": wire.seal(content)}
    assert wire.post("file.addFile", {"file": file}).empty


def files(wire: Wire, sandbox: str) -> list[dict[str, Any]]:
    """Return the files of a sandbox."""
    rows: list[dict[str, Any]] = wire.get("file.getFiles", sandboxId=sandbox).json["files"]
    return rows


def test_start_writes_files(wire: Wire) -> None:
    """A start writes the files of its sandbox."""
    sandbox = wire.create()
    add_file(wire, sandbox, "/workspace/deep/er/x", "text é\n")
    add_file(wire, sandbox, "/app/config.json", "{}")
    assert wire.exec(sandbox, "ls deep")[2] != 0
    wire.start_and_wait(sandbox)
    assert wire.out(sandbox, "cat deep/er/x") == "text é\n\n"
    assert wire.out(sandbox, "ls deep/er") == "x\n"


def test_start_answers_before_the_files(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start answers first and writes the files afterwards, as the real platform does."""
    monkeypatch.setattr(call, "PAUSE_SECONDS", 3600.0)
    sandbox = wire.create()
    add_file(wire, sandbox, "/workspace/x", "one")
    wire.start(sandbox)
    assert wire.exec(sandbox, "cat x")[2] == 1


def test_start_stopped_at_once_writes_no_file(wire: Wire) -> None:
    """A stop that comes before the files discards them, and the next start writes them."""
    sandbox = wire.create()
    add_file(wire, sandbox, "/workspace/x", "one")
    wire.start(sandbox)
    wire.post("sandbox.stopSandbox", id=sandbox)
    other = wire.create()
    wire.start_and_wait(other)
    assert not (wire.platform.data / "sandboxes" / sandbox / "workspace" / "x").exists()
    wire.start_and_wait(sandbox)
    assert wire.out(sandbox, "cat x") == "one\n"


def test_file_survives_a_stop(wire: Wire) -> None:
    """Files come back after a stop that discards the file system."""
    sandbox = wire.create()
    add_file(wire, sandbox, "/workspace/x", "kept")
    wire.start_and_wait(sandbox)
    wire.out(sandbox, "echo changed > x")
    wire.post("sandbox.stopSandbox", id=sandbox)
    wire.start_and_wait(sandbox)
    assert wire.out(sandbox, "cat x") == "kept\n"


def test_file_list_without_content(wire: Wire) -> None:
    """A file is listed without its content, by the id or name of its sandbox."""
    sandbox = wire.create()
    name = wire.get("sandbox.getSandbox", id=sandbox).json["sandbox"]["name"]
    add_file(wire, name, "/workspace/x", "content")
    page = wire.get("file.getFiles", sandboxId=sandbox).json
    (row,) = page["files"]
    assert page["total"] == 1
    assert set(row) == {"id", "path", "createdAt", "updatedAt"}
    assert row["path"] == "/workspace/x"
    assert wire.get("file.getFile", id=row["id"]).json == {"file": row}
    assert wire.get("file.getFiles", sandboxId=name).json == page
    assert wire.get("file.getFiles").json == page
    assert wire.get("file.getFiles", sandboxId="unknown").json == {"files": [], "total": 0}


def test_file_list_pages(wire: Wire) -> None:
    """Files are listed in pages of 20."""
    sandbox = wire.create()
    for number in range(21):
        add_file(wire, sandbox, f"/workspace/{number}", "")
    assert len(files(wire, sandbox)) == 20
    page = wire.get("file.getFiles", sandboxId=sandbox, limit=5, offset=20).json
    assert (len(page["files"]), page["total"]) == (1, 21)


def test_file_update_changes_only_the_path(wire: Wire) -> None:
    """An update changes the path and keeps the content."""
    sandbox = wire.create()
    add_file(wire, sandbox, "/workspace/old", "one")
    (row,) = files(wire, sandbox)
    sent = {"id": row["id"], "file": {"path": "/workspace/new", "content": wire.seal("two")}}
    assert wire.post("file.updateFile", sent).empty
    (changed,) = files(wire, sandbox)
    assert (changed["id"], changed["path"], changed["createdAt"]) == (row["id"], "/workspace/new", row["createdAt"])
    assert changed["updatedAt"] >= row["updatedAt"]
    wire.start_and_wait(sandbox)
    assert wire.out(sandbox, "ls; cat new") == "new\none\n"


def test_file_delete(wire: Wire) -> None:
    """A deleted file is not written, and deleting is always a 200."""
    sandbox = wire.create()
    add_file(wire, sandbox, "/workspace/x", "one")
    (row,) = files(wire, sandbox)
    for _ in range(2):
        assert wire.post("file.deleteFile", id=row["id"]).empty
    assert files(wire, sandbox) == []
    assert wire.get("file.getFile", id=row["id"]).raw == b"{}"
    wire.start_and_wait(sandbox)
    assert wire.out(sandbox, "ls") == ""


def test_file_with_a_taken_path(wire: Wire) -> None:
    """A taken path is a 500, and an unknown sandbox is a 404."""
    sandbox = wire.create()
    add_file(wire, sandbox, "/workspace/x", "one")
    file = {"sandboxId": sandbox, "path": "/workspace/x", "content": wire.seal("two")}
    assert wire.post("file.addFile", {"file": file}).error == SERVER_ERROR
    for where in ({"sandboxId": "unknown"}, {}):
        error = wire.post("file.addFile", {"file": {**where, "path": "/x", "content": "x"}}).error
        assert error == (404, "XRPCNotSupported", "Sandbox not found")
    error = wire.post("file.updateFile", {"id": "unknown", "file": {"path": "/x", "content": "x"}}).error
    assert error == (404, "XRPCNotSupported", "File not found")


@pytest.mark.parametrize("path", ["", "/", "//"])
def test_file_with_an_impossible_path(wire: Wire, path: str) -> None:
    """A path that no file can have is kept and not written."""
    sandbox = wire.create()
    add_file(wire, sandbox, path, "x")
    assert [row["path"] for row in files(wire, sandbox)] == [path]
    wire.start_and_wait(sandbox)


def test_file_not_sealed(wire: Wire) -> None:
    """Content that is no sealed box is not written."""
    sandbox = wire.create()
    file = {"sandboxId": sandbox, "path": "/workspace/x", "content": "plain"}
    assert wire.post("file.addFile", {"file": file}).empty
    add_file(wire, sandbox, "/workspace/y", "written")
    wire.start_and_wait(sandbox)
    assert wire.out(sandbox, "ls") == "y\n"


def test_file_binary_content(wire: Wire) -> None:
    """A file with arbitrary bytes is written unchanged."""
    sandbox = wire.create()
    content = wire.seal_bytes(bytes(range(256)))
    wire.post("file.addFile", {"file": {"sandboxId": sandbox, "path": "/workspace/x", "content": content}})
    wire.start_and_wait(sandbox)
    assert wire.out(sandbox, "od -An -v -tx1 x | tr -d ' \\n'") == bytes([*range(256), 10]).hex()


def test_file_of_another_user(wire: Wire, other: Wire, stranger: Wire) -> None:
    """No user sees, changes or deletes another user's file."""
    sandbox = wire.create()
    add_file(wire, sandbox, "/workspace/x", "mine")
    (row,) = files(wire, sandbox)
    sent = {"path": "/workspace/x", "content": wire.seal("theirs")}
    assert other.get("file.getFile", id=row["id"]).raw == b"{}"
    assert files(other, sandbox) == []
    assert other.get("file.getFiles").json["total"] == 0
    assert other.post("file.addFile", {"file": {"sandboxId": sandbox, **sent}}).status == 404
    assert other.post("file.updateFile", {"id": row["id"], "file": sent}).status == 404
    assert other.post("file.deleteFile", id=row["id"]).empty
    assert stranger.get("file.getFile", id=row["id"]).status == 401
    assert stranger.post("file.deleteFile", id=row["id"]).status == 401
    assert files(wire, sandbox) == [row]
    wire.start_and_wait(sandbox)
    assert wire.out(sandbox, "cat x") == "mine\n"


def test_file_content_sealed_on_disk(wire: Wire) -> None:
    """The disk has no plain content before a start."""
    sandbox = wire.create()
    add_file(wire, sandbox, "/workspace/x", "content-never-on-disk")
    (row,) = files(wire, sandbox)
    sealed = wire.seal("other-never-on-disk")
    wire.post("file.updateFile", {"id": row["id"], "file": {"path": "/workspace/x", "content": sealed}})
    kept = [path for path in wire.platform.data.rglob("*") if path.is_file()]
    assert not [path for path in kept if b"never-on-disk" in path.read_bytes()]


def test_delete_removes_files(wire: Wire) -> None:
    """Deleting a sandbox deletes its files."""
    sandbox = wire.create()
    add_file(wire, sandbox, "/workspace/x", "x")
    (row,) = files(wire, sandbox)
    wire.post("sandbox.deleteSandbox", id=sandbox)
    assert wire.get("file.getFile", id=row["id"]).raw == b"{}"


def test_platform_folder_of_other_version(tmp_path: Path) -> None:
    """A folder of another version is an OSError."""
    with local.platform(data=tmp_path) as platform, Wire(platform, platform.token) as wire:
        wire.create()
    with contextlib.closing(sqlite3.connect(tmp_path / "state.sqlite3")) as database:
        database.execute("PRAGMA user_version = 1")
    with pytest.raises(OSError, match="another version"):
        local.platform(data=tmp_path)
