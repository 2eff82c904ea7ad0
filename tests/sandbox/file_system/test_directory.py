"""Directories that are listed: every kind of entry, with any name."""

from __future__ import annotations

import base64
import os
import subprocess
from datetime import UTC, datetime

import msgspec
import pytest
from returns.result import Success

from pocketenv_fp import (
    DecodeError,
    DirectoryEntry,
    InvalidInput,
    PathNotFound,
    Sandbox,
    exec,
    list_directory,
    local,
    write_file,
)
from pocketenv_fp.sandbox.file_system.directory import read_entries
from pocketenv_fp.sandbox.file_system.lines import LIST
from tests.sandbox.copying.test_providers import HOSTILE


def entry(name: str, kind: str = "file", size: int = 0, mode: int = 0o644, target: str | None = None) -> DirectoryEntry:
    moment = datetime.fromtimestamp(1_700_000_000, UTC)
    made = DirectoryEntry(name=name, kind="other", size=size, mode=mode, modified=moment, target=target)
    return msgspec.structs.replace(made, kind=kind)


MAKE = r"""umask 022; printf 12345 >"$(printf 'a\nb')"; mkdir -m 1777 .hidden; mkfifo -m 600 pipe; ln -s "$(printf 'to\n\n/x.')" link
touch "$(printf '\377')" ... -- -n; ln -s /none "$(printf 'l\n.')"; chmod 4755 -- -n; touch -h -d @1700000000 -- * .[!.]* ..."""
LISTED = [
    entry("-n", mode=0o4755),
    entry("..."),
    entry(".hidden", "directory", 4096, 0o1777),
    entry("a\nb", size=5),
    entry("l\n.", "symlink", 5, 0o777, "/none"),
    entry("link", "symlink", 7, 0o777, "to\n\n/x."),
    entry("pipe", "other", 0, 0o600),
    entry("\udcff"),
]


def test_list_directory_each_provider(any_box: Sandbox, login: local.Platform) -> None:
    """Entries of every kind are the same on each provider, with one request."""
    assert (any_box | exec("mkdir 'a b'")).unwrap().exit_code == 0
    assert (any_box | exec(MAKE, cwd="a b", check=True)).unwrap().stderr == ""
    before = len(login.calls)
    listed = (any_box | list_directory("a b")).unwrap()
    assert len(login.calls) - before == 1
    assert [each for each in listed if each.kind != "directory"] == [e for e in LISTED if e.kind != "directory"]
    (directory,) = (each for each in listed if each.kind == "directory")
    assert (directory.name, directory.mode, directory.target) == (".hidden", 0o1777, None)


def test_list_directory_many(box: Sandbox) -> None:
    """Thousands of entries are one answer."""
    assert (box | exec("mkdir many && cd many && seq 1 5000 | xargs touch")).unwrap().exit_code == 0
    listed = (box | list_directory("many")).unwrap()
    assert [each.name for each in listed] == sorted(map(str, range(1, 5001)))


def test_list_directory_refuses(box: Sandbox) -> None:
    """A file, a missing path and a dangling link are refused."""
    made = box | write_file("file", "") | exec("mkdir empty; ln -s empty link; ln -s none dangling")
    assert made.unwrap().exit_code == 0
    assert box | list_directory("empty") == Success([])
    assert box | list_directory("link") == Success([])
    assert (box | list_directory("/")).unwrap() != []
    assert [each.name for each in (box | list_directory).unwrap()] == ["dangling", "empty", "file", "link"]
    assert isinstance((box | list_directory("file")).failure(), InvalidInput)
    for path in ("none", "dangling", "file/x"):
        assert isinstance((box | list_directory(path)).failure(), PathNotFound), path


@pytest.mark.parametrize(
    "printed",
    [b"", b"81a4 1 2 ./a/\n", b"81a4 1 2 ./a\n\0\0", b"81a4 1 2 ./a/\n\0l/t", b"x 1 2 ./a/\n\0\0", b"\0\0x"],
)
def test_list_directory_cut_answers(printed: bytes) -> None:
    """An answer that breaks off is no list."""
    assert isinstance(read_entries(printed).failure(), DecodeError)


def test_read_entries_time() -> None:
    """A time may be before 1970. One that is too large is a DecodeError."""
    assert isinstance(read_entries(b"81a4 1 99999999999999999999 ./a/\n\0\0").failure(), DecodeError)
    (early,) = read_entries(b"81a4 1 -1 ./a/\n\0\0").unwrap()
    assert early.modified == datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize("shell", ["dash", "bash", "sh"])
def test_list_directory_names(shell: str, tmp_path: os.PathLike[str]) -> None:
    """The line itself, in every shell of this machine, with names of any kind."""
    names = sorted([*HOSTILE, "x/\n81a4 1 2 .".replace("/", ":"), "\udcfe", "a" * 255])
    for name in names:
        with open(os.path.join(os.fsencode(tmp_path), name.encode("utf-8", "surrogateescape")), "wb"):  # noqa: PTH118, PTH123
            pass
    ran = subprocess.run([shell, "-c", f"p=.\n{LIST}"], cwd=tmp_path, capture_output=True, check=True, timeout=60)
    word, _, rest = ran.stdout.partition(b"\n")
    assert word == b"entries"
    assert [each.name for each in read_entries(base64.b64decode(rest)).unwrap()] == names


def test_read_entries_huge_numbers() -> None:
    """A program in the place of `stat` may print any number."""
    for entry in (b"81a4 %s 1 ./a/\n", b"81a4 1 %s ./a/\n", b"%s 1 1 ./a/\n"):
        assert isinstance(read_entries(entry % (b"1" * 5000) + b"\0\0").failure(), DecodeError)
