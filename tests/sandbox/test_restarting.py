"""A restart that carries a directory over: whole, or the content is named."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from returns.result import Success

from pocketenv_fp import (
    ApiError,
    ArchiveError,
    Config,
    InvalidInput,
    NotRestored,
    PathNotFound,
    Sandbox,
    SandboxNotFound,
    Status,
    create,
    delete,
    exec,
    explain,
    local,
    read_text,
    restart,
    using,
    write_file,
)
from pocketenv_fp.local.faults import Drop, Fault, Refuse
from pocketenv_fp.sandbox import restarting
from pocketenv_fp.sandbox.copying import delivery, departure
from pocketenv_fp.sandbox.restarting import check_archive

MAKE = """mkdir -p 'a b/deep' empty; echo text >'a b/deep/file'; chmod 640 'a b/deep/file'; chmod 700 'a b'
ln -s 'a b' link; ln -s /none dangling; printf x >.hidden; chmod 755 .hidden"""
LIST = "find . -mindepth 1 -printf '%P %y %m %l\\n' | sort; cat 'a b/deep/file'"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory for temporary files."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    yield place
    assert [name for name in os.listdir(place) if not name.startswith("pocketenv-restart-")] == []  # noqa: PTH208


def left(here: Path) -> list[Path]:
    return sorted(here.glob("pocketenv-restart-*"))


def output(box: Sandbox, line: str) -> str:
    return exec(box, line, check=True).unwrap().stdout


def test_restart_each_provider(any_box: Sandbox, login: local.Platform, here: Path) -> None:
    """The directory is the same afterwards, and the rest is as after a stop."""
    output(any_box, MAKE)
    before = output(any_box, LIST)
    keeps = any_box.provider in {"daytona", "sprites", "hopx"}
    requests = len(login.calls)
    again = (any_box | restart(keep="/workspace")).unwrap()
    # A look, stop, start and unpack; the start looks up the record.
    assert len(login.calls) - requests == (3 if keeps else 5)
    assert again.status is Status.RUNNING
    assert output(again, LIST) == before
    plain = (again | restart).unwrap()
    assert (output(plain, "ls -A") != "") is keeps
    assert left(here) == []


def test_restart_large(box: Sandbox, login: local.Platform, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large directory goes through storage."""
    monkeypatch.setattr(departure, "SMALL", 1000)
    monkeypatch.setattr(delivery, "SMALL", 1000)
    content = os.urandom(40_000).hex()
    (box | write_file("data/large", content)).unwrap()
    before = len(login.calls)
    again = (box | restart(keep="data")).unwrap()
    assert len(login.calls) - before == 5 + 3 + 3
    assert again | read_text("data/large") == Success(content)
    assert left(here) == []


def test_restart_closes_archive(box: Sandbox) -> None:
    """No descriptor of an archive stays open."""
    (box | write_file("file", "text") | restart(keep="file")).unwrap()
    opened = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]  # noqa: PTH208
    assert [path for path in opened if "pocketenv-restart-" in path] == []


def test_restart_file(box: Sandbox) -> None:
    """A single file is kept with its mode."""
    (box | write_file("one/file", "text", mode=0o600) | write_file("two", "gone")).unwrap()
    again = (box | restart(keep="one/file")).unwrap()
    assert output(again, "cat one/file; stat -c %a one/file; ls") == "text600\none\n"


def test_restart_refuses(box: Sandbox, here: Path) -> None:
    """Nothing is stopped where there is nothing to carry over."""
    (box | write_file("file", "text")).unwrap()
    missing = (box | restart(keep="none")).failure()
    assert isinstance(missing, PathNotFound)
    assert missing.path == "/workspace/none"
    for path in ("/", "~", "a\0"):
        assert isinstance((box | restart(keep=path)).failure(), InvalidInput)
    assert isinstance((box | restart(keep="")).failure(), InvalidInput)
    assert box | read_text("file") == Success("text")
    (box | delete).unwrap()
    assert isinstance((box | restart(keep="/workspace")).failure(), SandboxNotFound)
    assert left(here) == []


@pytest.mark.parametrize(
    ("method", "fault"),
    [
        ("sandbox.stopSandbox", Refuse(500)),
        ("sandbox.stopSandbox", Drop(after_work=True)),
        ("sandbox.startSandbox", Refuse(500)),
        ("sandbox.startSandbox", Drop()),
    ],
    ids=repr,
)
def test_restart_names_archive(method: str, fault: Fault, box: Sandbox, login: local.Platform, here: Path) -> None:
    """After the stop a Failure says where the content is, and it is whole."""
    output(box, MAKE)
    no_retries = Config(
        api_url=login.url, storage_url=login.storage_url, token=login.token, public_key=login.public_key, retries=0
    )
    with using(no_retries), login.faults.on(method, fault, times=1):
        error = (box | restart(keep="/workspace")).failure()
    assert isinstance(error, NotRestored)
    (archive,) = left(here)
    assert error.directory == "/workspace"
    assert str(archive) in error.place
    assert error.reason
    assert archive.stat().st_mode & 0o777 == 0o600
    subprocess.run(["tar", "-xzf", archive], cwd=here.parent, check=True)
    assert (here.parent / "a b" / "deep" / "file").read_text() == "text\n"


def test_restart_not_stopped(box: Sandbox, login: local.Platform, here: Path) -> None:
    """A refused stop changes nothing, and leaves nothing here."""
    (box | write_file("file", "text")).unwrap()
    with login.faults.on("sandbox.stopSandbox", Refuse(400), times=1):
        error = (box | restart(keep="/workspace")).failure()
    assert isinstance(error, ApiError)
    assert error.status == 400
    assert box | read_text("file") == Success("text")
    assert left(here) == []


def test_restart_checks_archive(
    box: Sandbox, login: local.Platform, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken archive is found before the stop."""

    def broken(archive: Path) -> None:
        assert archive.stat().st_size > 0
        raise ArchiveError("the archive breaks off")

    (box | write_file("file", "text")).unwrap()
    monkeypatch.setattr(restarting, "check_archive", broken)
    before = len(login.calls)
    assert (box | restart(keep="file")).failure() == ArchiveError("the archive breaks off")
    assert all("stopSandbox" not in name for name, _ in list(login.calls)[before:])
    assert left(here) == []


def test_restart_interrupted(box: Sandbox, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C after the stop has a note that names the archive."""
    (box | write_file("file", "text")).unwrap()

    def interrupted(_: Sandbox) -> Success[Sandbox]:
        raise KeyboardInterrupt

    monkeypatch.setattr(restarting, "_running", interrupted)
    with pytest.raises(KeyboardInterrupt) as stopped:
        restart(box, keep="/workspace")
    (archive,) = left(here)
    assert str(archive) in stopped.value.__notes__[0]


@pytest.mark.parametrize("size", [0, 10, 512, 1024, 5000, 10_239])
def test_restart_cut_archive(size: int, tmp_path: Path) -> None:
    """An archive that tar did not end is no reason to stop a sandbox."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        member = tarfile.TarInfo("file")
        member.size = 5000
        tar.addfile(member, io.BytesIO(b"x" * 5000))
    archive = tmp_path / "archive.tar.gz"
    archive.write_bytes(gzip.compress(whole.getvalue()))
    check_archive(archive)
    data = whole.getvalue()[:size] if size < 10_239 else whole.getvalue()[:5632]
    archive.write_bytes(gzip.compress(data))
    with pytest.raises(ArchiveError):
        check_archive(archive)
    archive.write_bytes(gzip.compress(whole.getvalue())[:-1])
    with pytest.raises(ArchiveError):
        check_archive(archive)


def test_restart_explained() -> None:
    """An explanation has the copy before the stop."""
    requests = explain(restart(keep="/workspace")).requests
    assert [request.path.partition("?")[0].rpartition(".")[2] for request in requests][:2] == ["exec", "exec"]
    stops = [number for number, request in enumerate(requests) if "stopSandbox" in request.path]
    pushes = [number for number, request in enumerate(requests) if "pushDirectory" in request.path]
    assert pushes < stops
    pulls = [number for number, request in enumerate(requests) if "pullDirectory" in request.path]
    assert stops < pulls
    assert "as for a large directory" in str(explain(restart(keep="/workspace")))
    assert len(explain(restart).requests) == 3
    there = explain(create(provider="daytona") | restart(keep="/workspace"))
    assert len(there.requests) == 6
    assert "this provider keeps all files" in str(there)
