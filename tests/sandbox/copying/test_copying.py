"""Copying on the embedded platform, at both levels of isolation: real archives, real shells, real disks."""

from __future__ import annotations

import contextlib
import contextvars
import gzip
import io
import itertools
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from returns.result import Failure, Result, Success

from pocketenv_fp import (
    ApiError,
    ArchiveError,
    CommandFailed,
    Config,
    DecodeError,
    InvalidInput,
    NotLoggedIn,
    PathNotFound,
    PocketenvError,
    RateLimited,
    Sandbox,
    SandboxNotFound,
    ServerError,
    ShellLost,
    TransportError,
    copy_to,
    create,
    delete,
    download,
    exec,
    get_sandbox,
    local,
    providers,
    set_volume,
    start,
    stop,
    tap,
    upload,
    using,
)
from pocketenv_fp.http import rate_limit, storage, transport
from pocketenv_fp.local.box import bubblewrap
from pocketenv_fp.local.faults import Cut, Drop, Fault, Garbage, Refuse, Slow
from pocketenv_fp.sandbox.copying import delivery, departure, lines
from pocketenv_fp.sandbox.copying import remote as transfer
from tests import servers
from tests.archive.trees import TREES, Node, look, write
from tests.examples import examples
from tests.levels import PLAIN

PUT, TAKE = "POST /cp", "GET /cp"
PUSH, PULL = "sandbox.pushDirectory", "sandbox.pullDirectory"
SEVERAL = settings(
    max_examples=examples(8),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
HARDEST = Node(
    0o755,
    below={
        b"closed": Node(0o555, below={b"deep": Node(0o500, below={b"x": Node(0o400, content=b"x")})}),
        b"empty": Node(0o700),
        b"none": Node(0o644, content=b""),
        b"\xff\n-": Node(0o755, content=b"#!/bin/sh\n" * 4000),
        b"n" * 200: Node(0o755, below={b"m" * 200: Node(0o644, content=b"long")}),
        b".hidden": Node(0o755, below={b"..two": Node(0o644, content=b"2")}),
        "häß 名前".encode(): Node(0o644, content=b"name"),
        b"to": Node(0, link=b"none"),
        b"twin": Node(0, hard=True),
    },
)
numbers = itertools.count()


# The third way is that of providers without copies, which test_providers takes for all that a copy does.
WAYS = [
    pytest.param(("bubblewrap", "line"), id="bubblewrap-line"),
    pytest.param(("bubblewrap", "storage"), id="bubblewrap-storage"),
    pytest.param(("bubblewrap", "commands"), id="bubblewrap-commands", marks=pytest.mark.slow),
    pytest.param(("processes", "line"), id="processes-line", marks=PLAIN),
    pytest.param(("processes", "storage"), id="processes-storage", marks=PLAIN),
]
BY_STORAGE = pytest.mark.parametrize("place", [WAYS[1], WAYS[4]], indirect=True)
# What does one thing many times does so at one level of isolation, and what copies nothing runs once.
HERE = WAYS[:3] if PLAIN else WAYS[3:]
ONCE = pytest.mark.parametrize("place", HERE[:1], indirect=True)


@pytest.fixture(scope="module", params=WAYS)
def place(request: pytest.FixtureRequest) -> Iterator[local.Platform]:
    """A running platform, with boxes or without, and the way that every copy takes."""
    isolation, way = request.param
    if isolation == "bubblewrap" and bubblewrap() is None:
        pytest.skip("no bubblewrap that works here: install it, or allow namespaces")
    with pytest.MonkeyPatch.context() as patch, local.platform(isolation=isolation) as platform:
        if way != "line":
            through(patch, way)
        yield platform


def through(patch: pytest.MonkeyPatch, way: str) -> None:
    """Have every archive be too large to travel in a line, and go through storage or in pieces."""
    patch.setattr(delivery, "SMALL", 0)
    patch.setattr(departure, "SMALL", -1)
    if way == "commands":
        no_copies = providers.provider_of("cloudflare")._replace(copies=False)
        patch.setattr(transfer.End, "provider", no_copies)


def client(place: local.Platform, retries: int = 3) -> Config:
    return Config(api_url=place.url, storage_url=place.storage_url, token=place.token, retries=retries)


@pytest.fixture(autouse=True)
def _login(place: local.Platform) -> Iterator[None]:
    servers.forget()
    with using(client(place)):
        yield
    place.faults.clear()
    servers.forget()


@pytest.fixture(scope="module")
def boxes(place: local.Platform) -> tuple[Sandbox, Sandbox]:
    """Two sandboxes that run."""
    with using(client(place)):
        one, other = ((create(f"box-{next(numbers)}") | start).unwrap() for _ in range(2))
    return one, other


@pytest.fixture
def box(boxes: tuple[Sandbox, Sandbox]) -> Sandbox:
    return boxes[0]


@pytest.fixture
def other(boxes: tuple[Sandbox, Sandbox]) -> Sandbox:
    return boxes[1]


@pytest.fixture
def there() -> str:
    """A path in the sandboxes that nothing has yet."""
    return f"d{next(numbers)}"


@contextmanager
def folder() -> Generator[Path]:
    """A directory that is removed with all that forbids to be changed in it."""
    with tempfile.TemporaryDirectory() as made:
        try:
            yield Path(made)
        finally:
            subprocess.run(["chmod", "-R", "u+rwX", made], check=True)


def said(box: Sandbox, command: str) -> str:
    """What a command prints that ends well."""
    ran = exec(box, command).unwrap()
    assert ran.exit_code == 0, ran
    return ran.stdout


def in_storage(place: local.Platform) -> set[str]:
    """The uuids of what waits to be fetched."""
    return {path.name for path in (place.data / "storage").glob("*/*") if path.parent.name != ".drafts"}


def hidden(box: Sandbox) -> str:
    """What a copy has left in a sandbox, of the library's own and of the platform's."""
    return said(box, "find . -name '*pocketenv-*'; cd /tmp && ls -A")


def names(top: Path) -> list[str]:
    """What is in a directory of this machine."""
    return sorted(path.name for path in top.iterdir())


def asked(place: local.Platform, method: str) -> int:
    """How many requests for a method arrived."""
    return sum(name == f"io.pocketenv.{method}" for name, _ in place.calls)


def simple(top: Path) -> Path:
    """A small tree."""
    (top / "empty").mkdir(parents=True)
    (top / "run.sh").write_text("echo ran")
    (top / "run.sh").chmod(0o755)
    (top / "link").symlink_to("run.sh")
    return top


# Trees


@SEVERAL
@given(tree=TREES)
@example(tree=HARDEST)
def test_copies_round_trip(tree: Node, box: Sandbox, other: Sandbox) -> None:
    """A tree is the same after upload, copy_to and download."""
    remote = f"t{next(numbers)}"
    with folder() as place:
        write(tree, place / "in")
        sent = upload(box, place / "in", remote, ignore=False)
        assert sent == Success(box)
        assert download(box, remote, place / "out") == Success(place / "out")
        assert look(place / "out", times=False) == look(place / "in", times=False)
        assert copy_to(box, other, remote, f"x/{remote}") == Success(other)
        assert download(other, f"/workspace/x/{remote}/", place / "copied").unwrap() == place / "copied"
        assert look(place / "copied", times=False) == look(place / "in", times=False)
    assert hidden(box) == hidden(other) == ""


def test_copies_merge_directory(box: Sandbox, other: Sandbox, there: str, tmp_path: Path) -> None:
    """Copies merge into an existing directory and keep its mode."""
    tree = simple(tmp_path / "in")
    for target in (box, other):
        said(target, f"mkdir -p {there}/empty && echo old > {there}/run.sh && echo kept > {there}/empty/kept")
        said(target, f"chmod 750 {there}")
    upload(box, tree, there).unwrap()
    said(box, f"rm {there}/empty/kept")
    copy_to(box, other, there, there).unwrap()
    assert said(other, f"sh {there}/run.sh; cat {there}/empty/kept; stat -c %a {there}") == "ran\nkept\n750\n"
    out = tmp_path / "out"
    (out / "empty").mkdir(parents=True)
    (out / "mine").write_text("mine")
    (out / "run.sh").write_text("old")
    out.chmod(0o710)
    download(box, there, out).unwrap()
    assert sorted(path.name for path in out.iterdir()) == ["empty", "link", "mine", "run.sh"]
    assert ((out / "run.sh").read_text(), (out / "mine").read_text()) == ("echo ran", "mine")
    assert out.stat().st_mode & 0o777 == 0o710


def test_copies_into_workspace(box: Sandbox, other: Sandbox, tmp_path: Path) -> None:
    """Copies may go into /workspace itself."""
    tree = simple(tmp_path / f"w{next(numbers)}")
    named = tree / tree.name
    named.mkdir()
    upload(box, tree).unwrap()
    assert said(box, f"test -d {tree.name} && sh run.sh") == "ran\n"
    copy_to(box, other, f"/workspace/{tree.name}", "/workspace").unwrap()
    copy_to(box, other, ".", "all").unwrap()
    assert said(other, "sh all/run.sh") == "ran\n"
    assert hidden(other) == ""


def test_copies_empty_directory(box: Sandbox, other: Sandbox, there: str, tmp_path: Path) -> None:
    """An empty directory arrives."""
    (tmp_path / "empty").mkdir()
    upload(box, tmp_path / "empty", there).unwrap()
    copy_to(box, other, there, there).unwrap()
    assert list(download(other, there, tmp_path / "out").unwrap().iterdir()) == []


def test_copies_volumes(place: local.Platform, tmp_path: Path) -> None:
    """Volumes are directories like any other."""
    if place.isolation == "processes":
        pytest.skip("a volume is a link there, and a link in the way is replaced")
    box = create("with-volumes") | tap(set_volume("kept", "/workspace/data/inside")) | start
    write(HARDEST, tmp_path / "there")
    assert isinstance(box | upload(tmp_path / "there", "data/inside/deep"), Success)
    new = Node(0o755, below={b"inside": Node(0o755, below={b"new": Node(0o644, content=b"1")})})
    write(new, tmp_path / "above")
    assert isinstance(box | upload(tmp_path / "above", "data"), Success)
    assert isinstance(box | download("data/inside/deep", tmp_path / "back"), Success)
    assert look(tmp_path / "back", times=False) == look(tmp_path / "there", times=False)
    whole = (box | download("data", tmp_path / "whole")).unwrap()
    assert look(whole / "inside" / "deep", times=False) == look(tmp_path / "there", times=False)
    assert (whole / "inside" / "new").read_text() == "1"
    kept = box | stop | start | exec("cat data/inside/new", check=True)
    assert kept.unwrap().stdout == "1"


def test_copies_outside_workspace(box: Sandbox, other: Sandbox, tmp_path: Path) -> None:
    """Paths outside of /workspace work as those inside."""
    path = f"/data/p{next(numbers)}"
    upload(box, simple(tmp_path / "in"), path).unwrap()
    copy_to(box, other, path, f"{path}/deeper").unwrap()
    download(other, f"{path}/deeper", tmp_path / "out").unwrap()
    assert look(tmp_path / "out", times=False) == look(tmp_path / "in", times=False)
    copy_to(box, other, f"{path}/run.sh", f"{path}/one").unwrap()
    assert download(other, f"{path}/one", tmp_path / "one").unwrap().read_text() == "echo ran"


# Files


def test_upload_file_target(box: Sandbox, there: str, tmp_path: Path) -> None:
    """A file is uploaded to a path or into a directory."""
    file = simple(tmp_path / "in") / "run.sh"
    upload(box, file, f"{there}/a.sh").unwrap()
    upload(box, str(file), f"{there}/new/").unwrap()
    said(box, f"mkdir {there}/old")
    upload(box, file, f"{there}/old").unwrap()
    listed = said(box, f"cd {there} && find . -type f -perm 755 | sort")
    assert listed == "./a.sh\n./new/run.sh\n./old/run.sh\n"
    # A link on the way here is what it leads to.
    upload(box, tmp_path / "in" / "link", f"{there}/b.sh").unwrap()
    assert said(box, f"test ! -h {there}/b.sh && sh {there}/b.sh") == "ran\n"


def test_download_file_target(box: Sandbox, there: str, tmp_path: Path) -> None:
    """A file is downloaded to a path or into a directory."""
    upload(box, simple(tmp_path / "in"), there).unwrap()
    (tmp_path / "dir").mkdir()
    (tmp_path / "old").write_text("old")
    for local_path, arrived in (
        (tmp_path / "a.sh", tmp_path / "a.sh"),
        (tmp_path / "dir", tmp_path / "dir" / "run.sh"),
        (f"{tmp_path}/new/", tmp_path / "new" / "run.sh"),
        (tmp_path / "old", tmp_path / "old"),
        (tmp_path / "deep" / "er", tmp_path / "deep" / "er"),
    ):
        assert download(box, f"{there}/run.sh", local_path) == Success(arrived)
        assert (arrived.read_text(), arrived.stat().st_mode & 0o777) == ("echo ran", 0o755)
    assert hidden(box) == ""


def test_copy_to_file_target(box: Sandbox, other: Sandbox, there: str, tmp_path: Path) -> None:
    """A file is copied to a path or into a directory."""
    upload(box, simple(tmp_path / "in"), there).unwrap()
    said(other, f"mkdir -p {there}/old")
    for dst in ("a.sh", "new/", "old", "deep/er/b.sh"):
        assert copy_to(box, other, f"{there}/run.sh", f"{there}/{dst}") == Success(other)
    listed = said(other, f"cd {there} && find . -type f -perm 755 | sort")
    assert listed == "./a.sh\n./deep/er/b.sh\n./new/run.sh\n./old/run.sh\n"
    assert hidden(box) == hidden(other) == ""


def test_copies_file_or_directory(box: Sandbox, other: Sandbox, there: str, tmp_path: Path) -> None:
    """A file and a directory do not replace each other."""
    upload(box, simple(tmp_path / "in"), there).unwrap()
    (tmp_path / "file").write_text("kept")
    assert isinstance(download(box, there, tmp_path / "file").failure(), ArchiveError)
    assert (tmp_path / "file").read_text() == "kept"
    (tmp_path / "dir" / "run.sh").mkdir(parents=True)
    assert isinstance(download(box, f"{there}/run.sh", tmp_path / "dir").failure(), ArchiveError)
    said(other, f"mkdir -p {there}/dir/run.sh && echo kept > {there}/file")
    for src, dst in ((there, "file"), (f"{there}/run.sh", "dir")):
        error = copy_to(box, other, src, f"{there}/{dst}").failure()
        assert isinstance(error, InvalidInput)
        assert error.field == "dst"
    assert said(other, f"cat {there}/file") == "kept\n"
    assert hidden(other) == ""


@pytest.mark.parametrize("end", ["/", "/.", "/x/.."])
def test_copies_directory_by_path(box: Sandbox, other: Sandbox, there: str, end: str, tmp_path: Path) -> None:
    """The end of a path may say that it is a directory."""
    (tmp_path / "x").write_text("x")
    upload(box, tmp_path / "x", f"{there}{end}").unwrap()
    copy_to(box, other, f"{there}/x", f"{there}{end}").unwrap()
    assert said(box, f"cat {there}/x") == said(other, f"cat {there}/x") == "x"
    arrived = download(box, f"{there}/x", f"{tmp_path}/new/.").unwrap()
    assert (arrived, arrived.read_text()) == (tmp_path / "new" / "x", "x")


def test_copies_replace_links(box: Sandbox, other: Sandbox, there: str, tmp_path: Path) -> None:
    """A link in the sandbox is replaced and not followed."""
    tree = simple(tmp_path / "in")
    (tree / "empty" / "deep").write_text("new")
    upload(box, tree, there).unwrap()
    for target in (box, other):
        said(target, f"mkdir -p {there}-way {there}-outside && echo old | tee {there}-outside/deep > {there}-file")
        said(
            target, f"cd {there}-way && ln -s ../{there}-file run.sh && ln -s ../{there}-outside empty && ln -s x link"
        )
        said(target, f"ln -s ../{there}-outside/deep {there}-way/deep")
    upload(box, tree, f"{there}-way").unwrap()
    copy_to(box, other, there, f"{there}-way").unwrap()
    looked = f"cat {there}-outside/deep {there}-file; cd {there}-way; cat empty/deep; readlink link deep; sh run.sh"
    assert said(box, looked) == said(other, looked) == f"old\nold\nnewrun.sh\n../{there}-outside/deep\nran\n"


def test_download_replaces_links(box: Sandbox, there: str, tmp_path: Path) -> None:
    """A link on this machine is replaced and not followed."""
    upload(box, simple(tmp_path / "in"), there).unwrap()
    (tmp_path / "outside").write_text("old")
    for name, remote in (("tree", there), ("file", f"{there}/run.sh")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.sh").symlink_to("../outside")
        (tmp_path / f"to-{name}").symlink_to(name)
        # The target itself may be one.
        download(box, remote, tmp_path / f"to-{name}").unwrap()
        assert (tmp_path / "outside").read_text() == "old"
        assert (tmp_path / name / "run.sh").read_text() == "echo ran"
        assert not (tmp_path / name / "run.sh").is_symlink()
        assert (tmp_path / f"to-{name}").is_symlink()
    assert names(tmp_path) == ["file", "in", "outside", "to-file", "to-tree", "tree"]
    assert names(tmp_path / "file") == ["run.sh"]


def test_copy_to_running_program(box: Sandbox, other: Sandbox, there: str, tmp_path: Path) -> None:
    """A running program, which cannot be written to, is replaced."""
    upload(box, simple(tmp_path / "in"), there).unwrap()
    # No user, not even root, may write to a program that runs.
    said(other, f"mkdir {there} && cp $(command -v sleep) {there}/run.sh")
    said(other, f"{there}/run.sh 60 > /dev/null 2>&1 < /dev/null & echo $! > {there}/number")
    try:
        copy_to(box, other, there, there).unwrap()
        assert said(other, f"sh {there}/run.sh") == "ran\n"
    finally:
        said(other, f"kill $(cat {there}/number)")


def test_upload_onto_file(box: Sandbox, there: str, tmp_path: Path) -> None:
    """A file is not replaced by a directory, and the error names the argument."""
    tree = simple(tmp_path / "in")
    said(box, f"echo kept > {there}")
    for source, remote in ((tree, there), (tree / "run.sh", f"{there}/"), (tree / "run.sh", f"{there}/x")):
        error = upload(box, source, remote).failure()
        assert isinstance(error, InvalidInput)
        assert error.field == "remote"
    assert said(box, f"cat {there}") == "kept\n"


# What is left out


def test_upload_ignore_files(box: Sandbox, there: str, tmp_path: Path) -> None:
    """Ignore files are followed by default."""
    tree = tmp_path / "in"
    for name in ("keep.txt", "drop.log", "sub/drop.log", "sub/keep.log", "node_modules/x", ".git/config"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    (tree / ".gitignore").write_text("*.log\n/node_modules/\n")
    (tree / "sub" / ".pocketenvignore").write_text("!keep.log\n")

    def arrived(name: str, ignore: Any) -> set[str]:
        upload(box, tree, f"{there}/{name}", ignore=ignore).unwrap()
        return set(said(box, f"cd {there}/{name} && find . -type f").split())

    listed = {"./keep.txt", "./sub/keep.log", "./.gitignore", "./sub/.pocketenvignore"}
    all_of_them = listed | {"./drop.log", "./sub/drop.log", "./node_modules/x", "./.git/config"}
    assert arrived("as-git", ignore=True) == listed
    assert arrived("all", ignore=False) == all_of_them
    assert arrived("own", ignore=["sub/", "*.txt"]) == {name for name in all_of_them if "sub/" not in name} - {
        "./keep.txt"
    }


# What is refused and what fails


@ONCE
@pytest.mark.parametrize("path", ["/", "..", "//", "/..", "a/../..", "~", "~/a", "a\0b", ""])
def test_copies_invalid_paths(place: local.Platform, box: Sandbox, path: str, tmp_path: Path) -> None:
    """Impossible paths are refused before a request is sent."""
    place.calls.clear()
    results: list[Result[Any, PocketenvError]] = [
        upload(box, tmp_path, path),
        download(box, path, tmp_path / "out"),
        copy_to(box, box, path, "b"),
        copy_to(box, box, "a", path),
    ]
    fields = [error.field for result in results if isinstance(error := result.failure(), InvalidInput)]
    assert fields == ["remote", "remote", "src", "dst"]
    assert list(place.calls) == []


@ONCE
def test_copies_half_surrogate_pair(place: local.Platform, box: Sandbox, tmp_path: Path) -> None:
    """Half of a surrogate pair is refused in each argument."""
    place.calls.clear()
    half = "a\ud800"
    results: list[tuple[str, Result[Any, PocketenvError]]] = [
        ("local", upload(box, half)),
        ("local", upload(box, Path(half))),
        ("remote", upload(box, tmp_path, half)),
        ("ignore", upload(box, tmp_path, "a", ignore=[half])),
        ("local", download(box, "a", half)),
        ("local", download(box, "a", tmp_path / half)),
        ("remote", download(box, half, tmp_path)),
        ("src", copy_to(box, box, half, "a")),
        ("dst", copy_to(box, box, "a", half)),
    ]
    for field, result in results:
        error = result.failure()
        assert isinstance(error, InvalidInput)
        assert error.field == field
    assert list(place.calls) == []


def test_download_removed_cwd(box: Sandbox, there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A current directory that was removed is a Failure."""
    upload(box, simple(tmp_path / "in"), there).unwrap()
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for target in (".", "x"):
        assert isinstance(download(box, there, target).failure(), ArchiveError)


@ONCE
def test_copies_missing_here(place: local.Platform, box: Sandbox, tmp_path: Path) -> None:
    """Files that this machine does not have are refused before a request is sent."""
    place.calls.clear()
    os.mkfifo(tmp_path / "pipe")
    assert isinstance(upload(box, tmp_path / "none").failure(), ArchiveError)
    assert isinstance(upload(box, tmp_path / "pipe").failure(), ArchiveError)
    assert isinstance(upload(box, "a\0b").failure(), InvalidInput)
    assert isinstance(download(box, "a", "a\0b").failure(), InvalidInput)
    assert list(place.calls) == []


def test_copies_missing_in_sandbox(box: Sandbox, other: Sandbox, there: str, tmp_path: Path) -> None:
    """Files that the sandbox does not have are a Failure."""
    for got, who in (
        (download(box, there, tmp_path / "out"), "download"),
        (download(box, f"{there}/x", f"{tmp_path}/new/"), "download"),
        (copy_to(box, other, there, there), "copy_to"),
    ):
        error = got.failure()
        assert isinstance(error, PathNotFound)
        assert error.operation == who
        assert there in str(error)
    assert list(tmp_path.iterdir()) == []
    assert said(other, f"ls -d {there} || true") == ""
    said(box, f"mkfifo {there}")
    assert isinstance(download(box, there, tmp_path / "out").failure(), ArchiveError)
    assert isinstance(copy_to(box, other, there, there).failure(), ArchiveError)


def test_download_caps(box: Sandbox, there: str, tmp_path: Path) -> None:
    """An archive above a cap is refused whole."""
    upload(box, simple(tmp_path / "in"), there).unwrap()
    (tmp_path / "out").mkdir()
    assert isinstance(download(box, there, tmp_path / "out", max_bytes=7).failure(), ArchiveError)
    assert isinstance(download(box, there, tmp_path / "out", max_entries=2).failure(), ArchiveError)
    assert isinstance(download(box, there, tmp_path / "out", max_bytes=-1).failure(), InvalidInput)
    assert list((tmp_path / "out").iterdir()) == []
    assert isinstance(download(box, there, tmp_path / "out", max_bytes=8, max_entries=4), Success)


def archive(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A tar.gz of these entries, whatever they are."""
    kept = io.BytesIO()
    with tarfile.open(fileobj=kept, mode="w:gz") as tar:
        for entry, content in entries:
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return kept.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = kind, link, 0o755
    return made


EVIL: dict[str, bytes] = {
    "absolute": archive((entry("/canary"), b"evil")),
    "dots": archive((entry("top/../../canary"), b"evil")),
    "link": archive((entry("top/a", tarfile.SYMTYPE, "../../canary"), b"")),
    "behind a link": archive((entry("top/a", tarfile.SYMTYPE, "../.."), b""), (entry("top/a/canary"), b"evil")),
    "hard link": archive((entry("top/a", tarfile.LNKTYPE, "../canary"), b"")),
    "device": archive((entry("top/../../a", tarfile.CHRTYPE), b"")),
    "half": archive((entry("top/a"), b"x" * 1000))[:-12],
    "no gzip": b"x" * 100,
    "no tar": gzip.compress(b"x" * 5000),
    "nothing": b"",
}


@BY_STORAGE
@pytest.mark.parametrize("name", EVIL)
def test_download_evil_archive(
    box: Sandbox, there: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An evil archive is refused and changes nothing."""
    said(box, f"mkdir {there}")

    # What the platform packs is its own affair: it may hand over anything.
    def swap(*_: object, **__: object) -> Result[str, PocketenvError]:
        return storage.put(lambda: (piece for piece in [EVIL[name]]))

    monkeypatch.setattr(transfer.End, "push", swap)
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "canary").write_text("alive")
    (out / "mine").write_text("mine")
    before = look(tmp_path)
    assert isinstance(download(box, there, out).failure(), ArchiveError)
    assert isinstance(download(box, there, tmp_path / "new").failure(), ArchiveError)
    assert look(tmp_path) == before


@BY_STORAGE
def test_download_file_archive(box: Sandbox, there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive of a file must contain one file and no more."""
    said(box, f"echo content > {there}")
    several = archive((entry("./a"), b"x"), (entry("./b"), b"x"))
    for content in (several, archive((entry("./a", tarfile.SYMTYPE, "b"), b"")), archive()):

        def swap(*_: object, held: bytes = content) -> Result[str, PocketenvError]:
            return storage.put(lambda: iter_of(held))

        monkeypatch.setattr(transfer.End, "push", swap)
        assert isinstance(download(box, there, tmp_path / "new").failure(), ArchiveError)
    assert names(tmp_path) == []


def iter_of(content: bytes) -> Generator[bytes]:
    yield content


def test_download_names_file(box: Sandbox, there: str, tmp_path: Path) -> None:
    """The error names a file by its path in the sandbox."""
    upload(box, simple(tmp_path / "in"), there).unwrap()
    error = download(box, f"{there}/run.sh", tmp_path / "out", max_bytes=3).failure()
    assert isinstance(error, ArchiveError)
    assert error.entry == f"/workspace/{there}/run.sh"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_download_into_mount(box: Sandbox, there: str, tmp_path: Path) -> None:
    """Downloads into a mount work, whatever its entries are called."""
    upload(box, simple(tmp_path / "in"), there).unwrap()
    mount = tmp_path / "mount"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mount], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        for name in ("file", "new"):
            (mount / name).symlink_to(tmp_path / "elsewhere")
        before = names(tmp_path)
        assert download(box, there, mount) == Success(mount)
        assert names(mount) == ["empty", "file", "link", "new", "run.sh"]
        said(box, f"head -c 3000000 /dev/urandom > {there}/large")
        assert isinstance(download(box, there, mount).failure(), ArchiveError)
        assert names(mount) == ["empty", "file", "link", "new", "run.sh"]
        subprocess.run(["mount", "-o", "remount,ro", mount], check=True)
        assert download(box, there, mount) == Failure(ArchiveError("Read-only file system", str(mount)))
        assert names(tmp_path) == before
    finally:
        subprocess.run(["umount", mount], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("place", HERE[1:2], indirect=True)
@pytest.mark.parametrize("method", ["run", "push", "pull"])
@pytest.mark.parametrize("when", ["after", "before"])
def test_copies_ctrl_c(  # noqa: PLR0917  # fixtures
    boxes: tuple[Sandbox, Sandbox], there: str, method: str, when: str, tmp_path: Path, monkeypatch: Any
) -> None:
    """Ctrl-C leaves no temporary files in a sandbox."""
    box, other = boxes
    upload(box, simple(tmp_path / "in"), there).unwrap()
    real: Any = getattr(transfer.End, method)
    copies: list[Callable[[], object]] = [
        lambda: copy_to(box, other, f"{there}/run.sh", f"{there}/x"),
        lambda: copy_to(box, other, there, there),
        lambda: download(box, f"{there}/run.sh", tmp_path / "out"),
        lambda: upload(box, tmp_path / "in", f"{there}/again"),
    ]
    for copy, number in itertools.product(copies, range(3)):
        counted = itertools.count()

        def interrupted(*given: Any, number: int = number, counted: Iterator[int] = counted, **options: Any) -> Any:
            if lines.REMOVE in given[1:2] or lines.REMOVE_LATE in given[1:2] or next(counted) != number:
                return real(*given, **options)
            if when == "after":
                real(*given, **options)
            raise KeyboardInterrupt

        monkeypatch.setattr(transfer.End, method, interrupted)
        with contextlib.suppress(KeyboardInterrupt):
            copy()
        monkeypatch.setattr(transfer.End, method, real)
        assert (hidden(box), hidden(other)) == ("", "")
        said(other, f"rm -rf {there}")
    assert set(names(tmp_path)) <= {"in", "out"}


@BY_STORAGE
@pytest.mark.parametrize("method", ["run", "pull"])
def test_copies_late_arrival(
    boxes: tuple[Sandbox, Sandbox], there: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that arrive after an interrupt are removed."""
    box, other = boxes
    upload(box, simple(tmp_path / "in"), there).unwrap()
    real: Any = getattr(transfer.End, method)
    came, removed = threading.Event(), threading.Event()

    def late(*given: Any, **options: Any) -> None:
        # As slow as a sandbox may be: after all was removed.
        removed.wait()
        real(*given, **options)
        came.set()

    def interrupted(*given: Any, **options: Any) -> Any:
        if method == "run" and given[1] != lines.LOOK:
            return real(*given, **options)
        threading.Thread(target=contextvars.copy_context().run, args=(late, *given), kwargs=options).start()
        raise KeyboardInterrupt

    def remove(*given: Any, **options: Any) -> None:
        real_remove(*given, **options)
        removed.set()

    real_remove: Any = transfer.End.remove
    monkeypatch.setattr(transfer.End, method, interrupted)
    monkeypatch.setattr(transfer.End, "remove", remove)
    copy = copy_to(other, there, there) if method == "pull" else download(there, tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        copy(box)
    assert came.wait(60)
    monkeypatch.undo()
    for _ in range(400):
        if not hidden(other) and not hidden(box):
            break
        time.sleep(0.05)
    assert (hidden(other), hidden(box)) == ("", "")


LOST: list[Fault] = [Drop(after_work=True), Garbage(after_work=True), Refuse(502), Drop()]


@pytest.mark.slow
@pytest.mark.parametrize("place", HERE, indirect=True)
@pytest.mark.parametrize("fault", LOST, ids=repr)
@pytest.mark.parametrize("number", range(4))
def test_copies_lost_answer(  # fixtures
    place: local.Platform, there: str, number: int, fault: Fault, tmp_path: Path
) -> None:
    """A lost answer of a command leaves no temporary files."""
    # Sandboxes of its own: files that a lost cleanup leaves there disturb no other test.
    box, other = ((create(f"box-{next(numbers)}") | start).unwrap() for _ in range(2))
    upload(box, simple(tmp_path / "in"), there).unwrap()
    never = client(place, retries=0)
    copies: list[Callable[[], Result[object, PocketenvError]]] = [
        lambda: download(box, f"{there}/run.sh", tmp_path / "out", config=never),
        lambda: download(box, there, tmp_path / "tree", config=never),
        lambda: copy_to(box, other, there, there, config=never),
        lambda: upload(other, tmp_path / "in", there, config=never),
    ]
    for copy in copies:
        with contextlib.ExitStack() as planned:
            # Those before it pass.
            for _ in range(number):
                planned.enter_context(place.faults.on("sandbox.exec", Slow(0.001), times=1))
            met = planned.enter_context(place.faults.on("sandbox.exec", fault, times=1))
            result = copy()
            played = met.played
        # What was lost may have been the last line, which only cleans up.
        assert played <= 1
        if isinstance(result, Failure):
            assert isinstance(result.failure(), TransportError | ServerError | DecodeError | ShellLost)
        for _ in range(100):
            if not hidden(box) and not hidden(other):
                break
            time.sleep(0.05)
        left = (hidden(box), hidden(other))
        # Else the line that removes it never arrived.
        if left != ("", ""):
            assert number > 0
            assert not getattr(fault, "after_work", False)
            break
    for each in (box, other):
        (each | delete).unwrap()


@BY_STORAGE
@pytest.mark.parametrize(
    "fault", [Drop(), Drop(reset=True, after_work=True), Cut(), Cut(bytes=0), Refuse(503)], ids=repr
)
def test_download_broken_off(place: local.Platform, box: Sandbox, there: str, fault: Fault, tmp_path: Path) -> None:
    """A download that breaks off starts again."""
    upload(box, simple(tmp_path / "in"), there).unwrap()
    pushed = asked(place, PUSH)
    with place.faults.on(TAKE, fault, times=2) as planned:
        download(box, there, tmp_path / "out", config=client(place, retries=2)).unwrap()
        assert planned.left == 0
    assert asked(place, PUSH) - pushed == 3
    assert hidden(box) == ""
    assert look(tmp_path / "out", times=False) == look(tmp_path / "in", times=False)
    (tmp_path / "mine").mkdir()
    with place.faults.on(TAKE, fault) as planned:
        error = download(box, there, tmp_path / "mine", config=client(place, retries=1)).failure()
        assert planned.played == 2
    assert isinstance(error, TransportError | ServerError)
    assert list((tmp_path / "mine").iterdir()) == []
    with place.faults.on(TAKE, fault, times=1):
        file = download(box, f"{there}/run.sh", tmp_path / "file").unwrap()
    assert file.read_text() == "echo ran"
    assert hidden(box) == ""


@BY_STORAGE
@pytest.mark.parametrize("fault", [Drop(after_work=True), Garbage(after_work=True), Refuse(502)], ids=repr)
def test_copies_push_pull_once(
    place: local.Platform, boxes: tuple[Sandbox, Sandbox], there: str, fault: Fault, tmp_path: Path
) -> None:
    """Requests to push and to pull are not retried."""
    box, other = boxes
    upload(box, simple(tmp_path / "in"), there).unwrap()
    for method, copy in (
        (PULL, lambda: upload(box, tmp_path / "in", f"{there}/again")),
        (PUSH, lambda: download(box, there, tmp_path / "out")),
        (PULL, lambda: copy_to(box, other, there, there)),
        (PUSH, lambda: copy_to(box, other, there, there)),
    ):
        with place.faults.on(method, fault) as planned:
            assert isinstance(copy(), Failure)
            assert planned.played == 1
    assert not (tmp_path / "out").exists()
    assert hidden(box) == hidden(other) == ""
    assert said(other, f"ls -d {there} || true") == ""


@BY_STORAGE
@pytest.mark.parametrize("seconds", [3600, 45])
def test_download_long_refusal(  # noqa: PLR0917  # fixtures
    place: local.Platform, box: Sandbox, there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """The cleanup does not wait for the end of a refusal that is longer than the cleanup may take."""
    upload(box, simple(tmp_path / "in"), there).unwrap()
    naps: list[float] = []
    for module in (rate_limit, storage, transport):
        monkeypatch.setattr(module, "nap", naps.append)
    with place.faults.on(TAKE, Refuse(429, retry_after=seconds)):
        error = download(box, there, tmp_path / "out", config=client(place, retries=0)).failure()
    assert isinstance(error, RateLimited)
    assert naps == []
    servers.forget()
    # By its path on this machine: in plain processes, a command with /tmp would name the machine's.
    for left in (place.data / "sandboxes" / box.id / "tmp").glob("pocketenv-*"):
        shutil.rmtree(left)


@BY_STORAGE
def test_upload_broken_off(place: local.Platform, box: Sandbox, there: str, tmp_path: Path) -> None:
    """An upload that breaks off is retried, and unpacked once."""
    pulled, before = asked(place, PULL), in_storage(place)
    with place.faults.on(PUT, Drop(after_work=True), times=2):
        upload(box, simple(tmp_path / "in"), there).unwrap()
    assert asked(place, PULL) - pulled == 1
    assert in_storage(place) == before
    assert said(box, f"sh {there}/run.sh") == "ran\n"


def test_copies_stopped_sandbox(place: local.Platform, box: Sandbox, there: str, tmp_path: Path) -> None:
    """A sandbox that does not run is an error with status 400."""
    stopped = (create(f"box-{next(numbers)}") | stop).unwrap()
    upload(box, simple(tmp_path / "in"), there).unwrap()
    for result in (
        upload(stopped, tmp_path / "in"),
        download(stopped, "a", tmp_path / "out"),
        copy_to(stopped, box, "a", "b"),
    ):
        error = result.failure()
        assert isinstance(error, ApiError)
        assert error.status == 400
        assert "part of it" not in str(error)
    assert not (tmp_path / "out").exists()
    assert place


@BY_STORAGE
@pytest.mark.parametrize("size", [0, 60, -1500])
def test_copies_cut_archive(  # fixtures
    there: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cut archive is a Failure and changes no file."""
    box, other = ((create(f"box-{next(numbers)}") | start).unwrap() for _ in range(2))
    upload(box, simple(tmp_path / "in"), there).unwrap()
    for each in (box, other):
        said(each, f"mkdir {there}-old && echo kept > {there}-old/run.sh")
    real: Any = transfer.End.pull

    def cut(end: transfer.End, uuid: str, directory: str) -> Any:
        whole = storage.take(uuid, lambda archive: archive.read()).unwrap()
        shorter = storage.put(lambda: iter_of(whole[:size])).unwrap()
        return real(end, shorter, directory)

    monkeypatch.setattr(transfer.End, "pull", cut)
    for copy in (
        upload(box, tmp_path / "in", f"{there}-old"),
        upload(box, tmp_path / "in" / "run.sh", f"{there}-new"),
        copy_to(box, other, there, f"{there}-old"),
    ):
        error = copy.failure()
        assert isinstance(error, ArchiveError | CommandFailed)
        assert size or (isinstance(error, ArchiveError) and "did not arrive" in error.reason)
    for each in (box, other):
        assert said(each, f"cat {there}-old/run.sh; ls -d {there}-new 2>/dev/null || true") == "kept\n"
        # Where nothing was unpacked the platform's own directory is empty, and has no name that is known.
        assert "pocketenv-" not in hidden(each)


def test_copies_links_outside(box: Sandbox, there: str, tmp_path: Path) -> None:
    """A download refuses links that lead outside, an upload sends them."""
    said(box, f"mkdir -p {there}/bin && ln -s /usr/bin/env {there}/bin/env && tar czf {there}.tgz {there}")
    error = download(box, there, tmp_path / "out").failure()
    assert isinstance(error, ArchiveError)
    assert error.entry == "bin/env"
    assert 'links="keep"' in error.reason
    with tarfile.open(download(box, f"{there}.tgz", f"{tmp_path}/").unwrap()) as tar:
        assert tar.getmember(f"{there}/bin/env").linkname == "/usr/bin/env"
    (tmp_path / "in").mkdir()
    for name, link in (("absolute", "/usr/bin/env"), ("up", "../../x")):
        (tmp_path / "in" / name).symlink_to(link)
    upload(box, tmp_path / "in", f"{there}/up").unwrap()
    assert said(box, f"cd {there}/up && readlink absolute up") == "/usr/bin/env\n../../x\n"


@ONCE
def test_land_file_closed_directory() -> None:
    """A directory without permissions contains no file."""
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from pocketenv_fp.errors import ArchiveError\n"
        "from pocketenv_fp.sandbox.copying.local import land_file\n"
        "os.chdir(sys.argv[1])\n"
        "os.getuid() or os.setuid(65534)\n"
        "made = Path('made')\n"
        "made.mkdir()\n"
        "(made / 'file').touch()\n"
        "made.chmod(0)\n"
        "try:\n"
        "    land_file(made / 'file', Path('target'), into=False)\n"
        "except ArchiveError as error:\n"
        "    print(error.reason)\n"
    )
    with folder() as place:
        place.chmod(0o777)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
        command = [sys.executable, "-c", program, str(place)]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("the archive does not contain the requested file\n", "")


def test_copy_to_command_fails(box: Sandbox, other: Sandbox, there: str, tmp_path: Path) -> None:
    """A command that fails in the sandbox is a Failure with its stderr."""
    upload(box, simple(tmp_path / "in"), there).unwrap()
    # A link to nowhere is no directory, and nothing can be moved through it.
    said(other, f"mkdir {there} && ln -s nowhere {there}/link && mkdir -p {there}/run.sh")
    error = copy_to(box, other, there, there).failure()
    assert isinstance(error, CommandFailed)
    assert "run.sh" in error.stderr
    assert hidden(other) == ""


# Destinations


def test_copy_to_destination_types(box: Sandbox, other: Sandbox, there: str, tmp_path: Path) -> None:
    """A destination is a sandbox, a Result or an id."""
    upload(box, simple(tmp_path / "in"), there).unwrap()
    ways: list[Result[Sandbox, PocketenvError]] = [
        copy_to(box, other, there, f"{there}/1"),
        copy_to(Success(box), Success(other), there, f"{there}/2"),
        copy_to(get_sandbox(box.id), get_sandbox(other.id), there, f"{there}/3"),
        copy_to(box, other.id, there, f"{there}/4"),
        box | copy_to(other, there, f"{there}/5"),
        Success(box) | copy_to(Success(other), src=there, dst=f"{there}/6"),
        copy_to(box, destination=other, src=there, dst=f"{there}/7"),
        copy_to(other.id, there, dst=f"{there}/8")(box),
        pickle.loads(pickle.dumps(copy_to(other, there, f"{there}/9")))(box),
    ]
    assert [result.unwrap().id for result in ways] == [other.id] * 9
    assert said(other, f"ls {there}").split() == [str(number) for number in range(1, 10)]


@ONCE
def test_copy_to_failed_end(place: local.Platform, box: Sandbox) -> None:
    """A Failure at either end is passed through."""
    place.calls.clear()
    failed: Result[Sandbox, PocketenvError] = Failure(NotLoggedIn())
    assert copy_to(failed, box, "a", "b") is failed
    assert copy_to(box, failed, "a", "b") == failed
    assert (box | copy_to(failed, "a", "b")) == failed
    step = copy_to(failed, "a", "b")
    assert repr(step) == "copy_to(Failure(NotLoggedIn()), 'a', 'b')"
    assert pickle.loads(pickle.dumps(step)) == step
    assert list(place.calls) == []
    for missing in (copy_to(box, "no-such-box", "a", "b"), copy_to(box, get_sandbox("no-such-box"), "a", "b")):
        assert isinstance(missing.failure(), SandboxNotFound)


@ONCE
def test_copies_wrong_arguments(box: Sandbox) -> None:
    """Wrong arguments raise a TypeError."""
    wrong: Any = copy_to
    calls: list[Callable[[], object]] = [
        lambda: wrong(box, "a"),
        lambda: wrong(3, "a", "b"),
        lambda: wrong(box, 3, "a", "b"),
        lambda: wrong("id", box, "a", "b"),
        lambda: wrong(box, Success(3), "a", "b"),
        lambda: wrong(box, box, "a", "b", "c"),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="copy_to"):
            call()
    taken: Any = upload
    for arguments in ((3,), (b"a",), ("a", 3)):
        with pytest.raises(TypeError, match="upload"):
            taken(*arguments)
    for options in ({"ignore": "*.log"}, {"ignore": 1}, {"progress": 1}, {"max_bytes": 3}):
        with pytest.raises(TypeError, match="upload"):
            taken("a", **options)


@ONCE
def test_copies_repr_and_pickle() -> None:
    """A step prints as its source, and can be compared and pickled."""
    step = upload(Path("a"), "b", ignore=["*.log"]) | download("b", Path("c"), max_bytes=5)
    assert repr(step) == "upload('a', 'b', ignore=['*.log']) | download('b', 'c', max_bytes=5)"
    assert pickle.loads(pickle.dumps(step)) == step == eval(repr(step))
    # A function is shown by its name, whatever it holds.
    assert repr(upload("a", progress=print)) == "upload('a', progress=print)"
    assert pickle.loads(pickle.dumps(upload("a", progress=print))) == upload("a", progress=print)


# Progress


def test_copies_progress(box: Sandbox, there: str, tmp_path: Path) -> None:
    """Progress counts bytes up to the end."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "big").write_bytes(os.urandom(700_000))
    (tmp_path / "in" / "small").write_bytes(b"x" * 7)
    up: list[tuple[int, int | None]] = []
    down: list[tuple[int, int | None]] = []
    upload(box, tmp_path / "in", there, progress=lambda done, total: up.append((done, total))).unwrap()
    download(box, there, tmp_path / "out", progress=lambda done, total: down.append((done, total))).unwrap()
    assert up[-1] == (700_007, 700_007)
    assert up[0] == (0, 700_007)
    assert [done for done, _ in up] == sorted(done for done, _ in up)
    done, total = down[-1]
    assert done == total
    assert done > 700_000


def test_copies_bar_name(box: Sandbox, there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar escapes control characters of a name."""
    name = "\x1b[31mred\udcff"
    (tmp_path / name).write_text("x")
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    upload(box, tmp_path / name, there, progress=True).unwrap()
    said(box, f"mkdir '{there}-\x1b[31m'")
    download(box, f"{there}-\x1b[31m", tmp_path / "out", progress=True).unwrap()
    assert "\\x1b[31mred\\xff: 100%" in screen.getvalue()
    assert "\x1b" not in screen.getvalue()


def test_copies_progress_raises(place: local.Platform, box: Sandbox, there: str, tmp_path: Path) -> None:
    """An exception of progress propagates and leaves no files."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "big").write_bytes(os.urandom(700_000))
    before = in_storage(place)

    class Mistake(OSError):
        pass

    def after(bytes_done: int) -> Any:
        def report(done: int, _: int | None) -> None:
            if done > bytes_done:
                raise Mistake

        return report

    for limit in (-1, 0, 699_999):
        with pytest.raises(Mistake):
            upload(box, tmp_path / "in", there, progress=after(limit))
    assert in_storage(place) == before
    upload(box, tmp_path / "in", there).unwrap()
    for limit in (-1, 0):
        with pytest.raises(Mistake):
            download(box, there, tmp_path / "out", progress=after(limit))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


# Memory

CHILD = """
import pathlib, re, sys
from pocketenv_fp import download, get_sandbox, upload
box = get_sandbox(sys.argv[1])
for name in ("small", "large"):
    up = upload(box, f"{sys.argv[2]}/{name}", f"{sys.argv[3]}/{name}")
    down = download(box, f"{sys.argv[3]}/{name}", f"{sys.argv[2]}/back/{name}")
    up.unwrap(), down.unwrap()
    print(re.search(r"VmHWM:\\s*(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process's own peak")
def test_copies_memory(place: local.Platform, box: Sandbox, there: str, tmp_path: Path) -> None:
    """The use of memory does not grow with the size of a file."""
    sizes = {"small": 2_000_000, "large": 64_000_000}
    for name, size in sizes.items():
        (tmp_path / name).mkdir()
        with (tmp_path / name / "file").open("wb") as file:
            file.truncate(size)
    command = [sys.executable, "-c", CHILD, box.id, str(tmp_path), there]
    done = subprocess.run(command, env=os.environ | place.environment, capture_output=True, text=True, check=True)
    for name, size in sizes.items():
        assert (tmp_path / "back" / name / "file").stat().st_size == size
    # A process's peak: the second is that of both.
    small, large = (int(peak) // 1024 for peak in done.stdout.split())
    assert large < 100
    assert large - small < 32


# Secrets


def test_copies_hide_secrets(
    place: local.Platform, box: Sandbox, there: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No token and no content is in a result, an error or a log."""
    caplog.set_level(0)
    content = "content-that-nobody-may-see"
    (tmp_path / "in").mkdir()
    place.calls.clear()
    (tmp_path / "in" / "file").write_text(content)
    shown = [str(upload(box, tmp_path / "in", there)), str(download(box, there, tmp_path / "out"))]
    faults: list[Fault] = [Drop(), Garbage(), Refuse(500), Refuse(400)]
    # Only what goes through storage sends these.
    methods = (PUT, TAKE, PUSH, PULL) if asked(place, PUSH) else ("sandbox.exec",)
    never = client(place, retries=0)
    for method, fault in itertools.product(methods, faults):
        with place.faults.on(method, fault):
            for result in (
                upload(box, tmp_path / "in", there, config=never),
                download(box, there, tmp_path / "out", config=never),
                copy_to(box, box, there, f"{there}/b", config=never),
            ):
                shown += [repr(result), str(result), str(getattr(result, "_inner_value", ""))]
                if isinstance(result, Failure):
                    error = result.failure()
                    assert (error.__cause__, error.__suppress_context__ or error.__context__) in {
                        (None, None),
                        (None, True),
                    }
    whole = "\n".join([*shown, caplog.text])
    assert place.token not in whole
    assert content not in whole
