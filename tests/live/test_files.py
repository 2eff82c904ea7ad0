"""Files that are read and written now, and servers that are waited for, on any platform."""

from __future__ import annotations

import os

import pytest
from returns.result import Success

from pocketenv_fp import (
    InvalidInput,
    PathNotFound,
    Sandbox,
    ServerTimeout,
    exists,
    list_directory,
    read_bytes,
    read_text,
    submit,
    wait_for_http,
    wait_for_port,
    write_file,
)

PORT = 18_653


@pytest.mark.parametrize("size", [0, 1, 40_000, 600_000])
def test_files_content(shared_box: Sandbox, size: int) -> None:
    """A file is read as it was written."""
    content = os.urandom(size)
    assert shared_box | write_file(f"files/{size}", content) == Success(shared_box)
    assert shared_box | read_bytes(f"files/{size}") == Success(content)


def test_files_odd_names(shared_box: Sandbox) -> None:
    for name in ("a b", "it's", "$(x)", "a\nb", "-rf", "é", "\udcff"):
        (shared_box | write_file(f"odd/{name}", f"{name!r}\n", mode=0o600)).unwrap()
        assert shared_box | read_text(f"odd/{name}") == Success(f"{name!r}\n")
    listed = (shared_box | list_directory("odd")).unwrap()
    assert {entry.name for entry in listed} == {"a b", "it's", "$(x)", "a\nb", "-rf", "é", "\udcff"}
    assert {(entry.kind, entry.mode) for entry in listed} == {("file", 0o600)}


def test_files_invalid_paths(shared_box: Sandbox) -> None:
    """A missing path is PathNotFound, and a wrong kind of path is InvalidInput."""
    (shared_box | write_file("there/file", "x")).unwrap()
    assert (shared_box | exists("there/file")).unwrap() is True
    assert (shared_box | exists("there/none")).unwrap() is False
    assert isinstance((shared_box | read_text("there/none")).failure(), PathNotFound)
    for step in (read_text("there"), write_file("there", "x"), write_file("there/file/x", "x")):
        assert isinstance((shared_box | step).failure(), InvalidInput)
    assert isinstance((shared_box | list_directory("there/file")).failure(), InvalidInput)


def test_wait_for_servers(shared_box: Sandbox) -> None:
    """`wait_for_port` and `wait_for_http` return once the server answers."""
    assert isinstance((shared_box | wait_for_port(PORT, timeout=0)).failure(), ServerTimeout)
    (shared_box | submit(f"cd /workspace; exec python3 -m http.server {PORT}", timeout=600)).unwrap()
    assert shared_box | wait_for_port(PORT) == Success(shared_box)
    assert shared_box | wait_for_http("/", port=PORT) == Success(shared_box)
    seen = (shared_box | wait_for_http("/no-such-path", port=PORT, timeout=0)).failure()
    assert seen == ServerTimeout(0, PORT, "the status was 404")
