"""A packed tree comes out the same: byte for byte, mode for mode, and with GNU tar as well."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings

from pocketenv_fp.archive import compression
from pocketenv_fp.archive.pack import survey
from pocketenv_fp.archive.unpack import Limits, unpack
from tests.archive.trees import NO_IGNORE, TREES, Node, look, packed, reading, unpacked, write
from tests.examples import examples

ENGINES = compression.engines()
SEVERAL = settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
HARDEST = Node(
    0o755,
    below={
        b"closed": Node(0o555, below={b"deep": Node(0o500, below={b"x": Node(0o400, content=b"x")})}),
        b"empty": Node(0o700),
        b"none": Node(0o644, content=b""),
        b"\xff\n-": Node(0o755, content=b"#!/bin/sh\n" * 4000),
        b"n" * 200: Node(0o755, below={b"m" * 200: Node(0o644, content=b"long")}),
        b"to": Node(0, link=b"n" * 150),
        b"twin": Node(0, hard=True),
    },
)


@contextmanager
def folder() -> Generator[Path]:
    """Yield a directory. Its removal also removes read-only directories in it."""
    with tempfile.TemporaryDirectory() as made:
        try:
            yield Path(made)
        finally:
            subprocess.run(["chmod", "-R", "u+rwX", made], check=True)


@SEVERAL
@given(TREES)
@example(HARDEST)
def test_unpack_packed_tree(tree: Node) -> None:
    """A packed tree is unpacked unchanged."""
    with folder() as place:
        write(tree, place / "in")
        archive = packed(place / "in")
        assert archive == packed(place / "in")
        entries = unpacked(archive, place / "out")
        assert look(place / "out") == look(place / "in")
        assert entries == survey(place / "in", ignore=NO_IGNORE).entries


@SEVERAL
@given(TREES)
@example(HARDEST)
def test_pack_for_gnu_tar(tree: Node) -> None:
    """GNU tar unpacks a packed tree without a warning."""
    with folder() as place:
        write(tree, place / "in")
        (place / "a.tar.gz").write_bytes(packed(place / "in"))
        (place / "out").mkdir()
        # Delayed, so that it can fill directories that forbid writing. It does not warn.
        ran = subprocess.run(["tar", "xzpf", place / "a.tar.gz", "-C", place / "out"], check=True, capture_output=True)
        assert ran.stderr == b""
        assert look(place / "out") == look(place / "in")


@SEVERAL
@given(TREES)
@example(HARDEST)
@pytest.mark.parametrize("form", ["gnu", "posix"])
def test_unpack_gnu_tar(form: str, tree: Node) -> None:
    """Archives of GNU tar are unpacked."""
    with folder() as place:
        write(tree, place / "in")
        made = ["tar", "czf", str(place / "a.tar.gz"), f"--format={form}", "-C", str(place / "in"), "."]
        subprocess.run(made, check=True, capture_output=True)
        unpacked((place / "a.tar.gz").read_bytes(), place / "out")
        assert look(place / "out") == look(place / "in")
        top = (place / "in").stat()
        assert ((place / "out").stat().st_mode, (place / "out").stat().st_mtime_ns) == (top.st_mode, top.st_mtime_ns)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("size", [1, 4096, 1 << 20])
def test_engines_read_each_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: str, size: int) -> None:
    """Each compression engine reads the archives of the others."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "noise").write_bytes(os.urandom(100_000))
    (tmp_path / "in" / "text").write_bytes(b"again and again\n" * 200_000)
    monkeypatch.setattr(compression, "engine", ENGINES[engine])
    archive = packed(tmp_path / "in")
    for name, other in ENGINES.items():
        monkeypatch.setattr(compression, "engine", other)
        unpack(reading(archive, size), tmp_path / name, limits=Limits())
        assert look(tmp_path / name, times=False) == look(tmp_path / "in", times=False)


def test_pack_single_file(tmp_path: Path) -> None:
    """A single file is one entry, also where the path is a link to it."""
    source = tmp_path / "tool.sh"
    source.write_bytes(b"#!/bin/sh\n")
    source.chmod(0o755)
    (tmp_path / "link").symlink_to(source)
    unpacked(packed(source), tmp_path / "own")
    unpacked(packed(tmp_path / "link"), tmp_path / "linked")
    assert (tmp_path / "own" / "tool.sh").read_bytes() == b"#!/bin/sh\n"
    assert os.access(tmp_path / "linked" / "link", os.X_OK)
    assert not (tmp_path / "linked" / "link").is_symlink()


def test_pack_sparse_file(tmp_path: Path) -> None:
    """A sparse file is unpacked with its content."""
    (tmp_path / "in").mkdir()
    with (tmp_path / "in" / "sparse").open("wb") as file:
        file.seek(5_000_000)
        file.write(b"end")
    archive = packed(tmp_path / "in")
    unpacked(archive, tmp_path / "out")
    assert (tmp_path / "out" / "sparse").read_bytes() == bytes(5_000_000) + b"end"


@pytest.mark.slow
def test_unpack_deep_tree(tmp_path: Path) -> None:
    """A tree may be deeper than Python's stack."""
    deep = "/".join("d" * 1200)
    subprocess.run(["mkdir", "-p", f"{tmp_path}/in/{deep}"], check=True)
    unpacked(packed(tmp_path / "in"), tmp_path / "out")
    subprocess.run(["rmdir", f"{tmp_path}/out/{deep}"], check=True)
    # Removing is recursive as well, in Python and in the cleanup of tests.
    subprocess.run(["rm", "-rf", tmp_path / "in", tmp_path / "out"], check=True)
