"""Packing: errors of this machine's disk, and no remains."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import tracemalloc
from io import BytesIO
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from pocketenv_fp.archive import compression, descriptors, ignore, tree
from pocketenv_fp.archive import pack as pack_module
from pocketenv_fp.archive.ignore import Ignore
from pocketenv_fp.archive.pack import Survey, _Tar, pack, survey  # pyright: ignore[reportPrivateUsage]  # no threads
from pocketenv_fp.archive.skipped import Skipped
from pocketenv_fp.archive.unpack import Limits, unpack
from pocketenv_fp.errors import ArchiveError
from tests.archive.trees import NO_IGNORE, packed

MEBI = 1024 * 1024


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("pocketenv-archive")]


def open_files() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


def noise(path: Path, size: int) -> None:
    """Return a file that no engine makes smaller."""
    with path.open("wb") as file:
        for _ in range(size // MEBI):
            file.write(os.urandom(MEBI))


def refused(source: Path, rules: Ignore = NO_IGNORE) -> ArchiveError:
    with pytest.raises(ArchiveError) as caught:
        packed(source, rules)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value


def test_pack_pieces_up_to_a_mebibyte(tmp_path: Path) -> None:
    """Pieces are large and never larger than a mebibyte."""
    noise(tmp_path / "noise", 4 * MEBI)
    (tmp_path / "text").write_bytes(b"all the same " * MEBI)
    sizes = [len(piece) for piece in pack(tmp_path, ignore=NO_IGNORE)]
    assert len(sizes) > 4
    assert max(sizes) <= MEBI
    assert min(sizes[:-1]) >= 64 * 1024


def test_pack_counts_bytes(tmp_path: Path) -> None:
    """The counted bytes are those of the survey."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_bytes(bytes(3 * MEBI + 1))
    (tmp_path / "d" / "b").write_bytes(b"b")
    for name in ("c", "e"):
        os.link(tmp_path / "d" / "b", tmp_path / "d" / name)
    (tmp_path / "l").symlink_to("d/a")
    counts: list[int] = []
    for _ in pack(tmp_path, ignore=NO_IGNORE, count=counts.append):
        pass
    assert survey(tmp_path, ignore=NO_IGNORE) == Survey(entries=6, bytes=3 * MEBI + 2)
    assert sum(counts) == 3 * MEBI + 2
    assert survey(tmp_path / "d" / "b", ignore=NO_IGNORE) == Survey(entries=1, bytes=1)


def test_pack_order_and_times(tmp_path: Path) -> None:
    """Entries are in the order of the bytes of their names, files first. Times are whole seconds, rounded down."""
    for name in ("b/y", "b/X", "B/x", "a/c/x", "z", "Z"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (1_600_000_000.9, 1_600_000_000.9))
    with tarfile.open(fileobj=BytesIO(packed(tmp_path))) as archive:
        entries = archive.getmembers()
    assert [entry.name for entry in entries] == ["Z", "z", "B", "B/x", "a", "a/c", "a/c/x", "b", "b/X", "b/y"]
    assert {entry.mtime for entry in entries if entry.isfile()} == {1_600_000_000}


def test_pack_keeps_all_mode_bits(tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(b"")
    (tmp_path / "shared").mkdir()
    modes = {"program": 0o4751, "shared": 0o1777}
    for name, mode in modes.items():
        (tmp_path / name).chmod(mode)
    with tarfile.open(fileobj=BytesIO(packed(tmp_path))) as archive:
        assert {entry.name: entry.mode for entry in archive} == modes


def test_pack_closed_early(tmp_path: Path) -> None:
    """A closed iterator leaves no thread and no open file."""
    noise(tmp_path / "noise", 16 * MEBI)
    before = open_files()
    pieces = pack(tmp_path, ignore=NO_IGNORE)
    next(pieces)
    assert threads()
    pieces.close()
    assert not threads()
    assert open_files() == before


def test_pack_count_raises_cleanup(tmp_path: Path) -> None:
    """An error of `count` leaves no thread and no open file."""
    noise(tmp_path / "noise", 2 * MEBI)
    before = open_files()

    def count(_: int) -> None:
        raise KeyError("the caller's own mistake")

    with pytest.raises(KeyError, match="the caller's own mistake"):
        list(pack(tmp_path, ignore=NO_IGNORE, count=count))
    assert not threads()
    assert open_files() == before


def test_pack_missing_source(tmp_path: Path) -> None:
    """The error names a source that is missing."""
    error = refused(tmp_path / "missing")
    assert error.entry == str(tmp_path / "missing")
    assert "No such file" in error.reason
    with pytest.raises(ArchiveError, match="No such file"):
        survey(tmp_path / "missing", ignore=NO_IGNORE)


def odd(path: Path, kind: str) -> None:
    """Make a pipe or a socket."""
    if kind == "pipe":
        os.mkfifo(path)
        return
    # A socket's path has to be short.
    with socket.socket(socket.AF_UNIX) as server, tempfile.TemporaryDirectory() as short:
        server.bind(f"{short}/s")
        os.rename(f"{short}/s", path)


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_pack_skips_special_files(tmp_path: Path, kind: str) -> None:
    """Pipes, sockets and devices are skipped and counted."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_bytes(b"a")
    odd(tmp_path / "d" / "odd", kind)
    os.link(tmp_path / "d" / "odd", tmp_path / "d" / "twin")
    found = survey(tmp_path, ignore=NO_IGNORE)
    assert (found, found.skipped.count) == (Survey(entries=2, bytes=1), 2)
    assert str(found.skipped) == f"2 {kind}s (d/odd, d/twin)"
    with tarfile.open(fileobj=BytesIO(packed(tmp_path))) as archive:
        assert archive.getnames() == ["d", "d/a"]


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_pack_special_file_as_source(tmp_path: Path, kind: str) -> None:
    """A pipe, socket or device as the source is refused."""
    path = tmp_path / "odd"
    odd(path, kind)
    with pytest.raises(ArchiveError, match="cannot be packed"):
        packed(path)
    with pytest.raises(ArchiveError, match="cannot be packed"):
        survey(path, ignore=NO_IGNORE)


def test_pack_file_becomes_pipe(tmp_path: Path) -> None:
    """A file that becomes a pipe during the walk is refused."""
    (tmp_path / "a").write_bytes(bytes(compression.BLOCK))
    (tmp_path / "b").write_bytes(b"b")

    def count(_: int) -> None:
        (tmp_path / "b").unlink(missing_ok=True)
        os.mkfifo(tmp_path / "b")

    with pytest.raises(ArchiveError, match="cannot be packed") as caught:
        list(pack(tmp_path, ignore=NO_IGNORE, count=count))
    assert caught.value.entry == "b"


def test_pack_file_becomes_link(tmp_path: Path) -> None:
    """A link that replaces a file during the walk is not followed out of the tree."""
    (tmp_path / "outside").write_bytes(b"not to be read")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_bytes(bytes(compression.BLOCK))
    (tree / "b").write_bytes(b"b")

    def count(_: int) -> None:
        (tree / "b").unlink(missing_ok=True)
        (tree / "b").symlink_to("../outside")

    with pytest.raises(ArchiveError, match="symbolic links") as caught:
        list(pack(tree, ignore=NO_IGNORE, count=count))
    assert caught.value.entry == "b"


def test_skipped_first_names() -> None:
    """Only the first skipped entries are named."""
    skipped = Skipped()
    for number in range(1000):
        skipped.add("socket", f"{number}\x1b")
    skipped.add("pipe", "p")
    assert str(skipped) == "1 pipe, 1000 sockets (0\\x1b, 1\\x1b, 2\\x1b, …)"
    three = Skipped()
    for name in "abc":
        three.add("pipe", name)
    assert str(three) == "3 pipes (a, b, c)"


@pytest.mark.parametrize("raised", [OSError(5, "mine"), FileNotFoundError("mine"), OverflowError(), KeyError("mine")])
def test_pack_count_raises(tmp_path: Path, raised: Exception) -> None:
    """An exception of `count` is raised unchanged."""
    (tmp_path / "a").write_bytes(b"a")

    def count(_: int) -> None:
        raise raised

    for source in (tmp_path, tmp_path / "a"):
        with pytest.raises(type(raised)) as caught:
            list(pack(source, ignore=NO_IGNORE, count=count))
        assert caught.value is raised


OUT = {"up": "../x", "absolute": "/etc/passwd", "by": "d/up/x", "d/up": "../..", "d/deep": "../../x"}
INSIDE = {"in": "d/f", "d/back": "../in", "nowhere": "none/../none", "d/self": "self"}


def links(top: Path) -> None:
    (top / "d").mkdir(parents=True)
    (top / "d" / "f").write_bytes(b"f")
    for name, text in {**OUT, **INSIDE}.items():
        (top / name).symlink_to(text)


def test_survey_refuses_outside_link(tmp_path: Path) -> None:
    """A link to the outside is refused, and the error names the option."""
    links(tmp_path / "in")
    with pytest.raises(ArchiveError, match=r'links="skip".* links="keep"') as caught:
        survey(tmp_path / "in", ignore=NO_IGNORE, links="refuse")
    assert caught.value.entry in OUT
    for name in OUT:
        (tmp_path / "in" / name).unlink()
    assert survey(tmp_path / "in", ignore=NO_IGNORE, links="refuse").entries == 2 + len(INSIDE)


def test_survey_skips_outside_links(tmp_path: Path) -> None:
    """Links to the outside are skipped and counted."""
    links(tmp_path / "in")
    found = survey(tmp_path / "in", ignore=NO_IGNORE, links="skip")
    # A link leads outside over this one. Without it, it leads nowhere.
    skipped = frozenset(OUT) - {"by"}
    assert (found.links_out, found.skipped.count) == (skipped, len(skipped))
    archive = packed(tmp_path / "in", NO_IGNORE.without(found.links_out))
    assert unpack(BytesIO(archive).read, tmp_path / "out", limits=Limits()) == found.entries
    assert {path.name for path in (tmp_path / "out").rglob("*") if path.is_symlink()} == {
        Path(name).name for name in {*INSIDE, "by"}
    }


def test_survey_keeps_links(tmp_path: Path) -> None:
    """All links are kept by default."""
    links(tmp_path / "in")
    found = survey(tmp_path / "in", ignore=NO_IGNORE)
    assert (found.entries, found.links_out, found.skipped.count) == (2 + len(OUT) + len(INSIDE), frozenset(), 0)


def test_pack_interrupt_at_any_bytecode(tmp_path: Path) -> None:
    """Interrupt before each bytecode that opens or closes a file, as a signal may."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / ".gitignore").write_bytes(b"ignored\n")
    modules = {descriptors.__file__, ignore.__file__, pack_module.__file__, tree.__file__}
    before = open_files()

    def finished(raised_at: set[object]) -> bool:
        was_raised = False

        def trace(frame: FrameType, event: str, _: object) -> Any:
            nonlocal was_raised
            if frame.f_code.co_filename not in modules:
                return None
            frame.f_trace_opcodes = True
            place = (frame.f_code, frame.f_lasti)
            if event == "opcode" and not was_raised and place not in raised_at:
                raised_at.add(place)
                was_raised = True
                raise KeyboardInterrupt
            return trace

        measuring = sys.gettrace()
        sys.settrace(trace)
        try:
            for _ in _Tar(None).blocks(tmp_path, Ignore.files()):
                pass
        except KeyboardInterrupt:
            return False
        finally:
            sys.settrace(measuring)
        return True

    raised_at = set[object]()
    while not finished(raised_at):
        assert open_files() == before, len(raised_at)
    assert len(raised_at) > 500


@pytest.mark.parametrize(("change", "says"), [(-1, "shorter"), (1, "longer")])
def test_pack_file_changes_size(tmp_path: Path, change: int, says: str) -> None:
    """A file that changes its size during the copy is refused."""
    size = 4 * compression.BLOCK
    path = tmp_path / "log"
    path.write_bytes(bytes(size))
    counts: list[int] = []

    def count(read: int) -> None:
        if not counts:
            os.truncate(path, size + change)
        counts.append(read)

    with pytest.raises(ArchiveError, match=says) as caught:
        list(pack(tmp_path, ignore=NO_IGNORE, count=count))
    assert caught.value.entry == "log"


def test_pack_file_vanishes(tmp_path: Path) -> None:
    """A file that is deleted during the walk is refused by name."""
    (tmp_path / "a").write_bytes(bytes(compression.BLOCK))
    (tmp_path / "b").write_bytes(b"b")
    with pytest.raises(ArchiveError, match="No such file") as caught:
        list(pack(tmp_path, ignore=NO_IGNORE, count=lambda _: (tmp_path / "b").unlink(missing_ok=True)))
    assert caught.value.entry == "b"


@pytest.mark.parametrize("when", ["before", "amid"])
def test_pack_link_in_place_of_a_directory(tmp_path: Path, when: str) -> None:
    """A link in the place of a directory is not followed."""
    outside, tree = tmp_path / "outside", tmp_path / "in"
    for place, content in ((outside, b"outside"), (tree / "d", b"inside")):
        place.mkdir(parents=True)
        for name in ("a", "b"):
            (place / name).write_bytes(content)
    (outside / ".gitignore").write_bytes(b"b")
    (tree / "a").write_bytes(b"a")
    counts: list[int] = []

    def count(read: int) -> None:
        counts.append(read)
        if len(counts) == (1 if when == "before" else 2):
            (tree / "d").rename(tmp_path / "moved")
            (tree / "d").symlink_to(outside)

    pieces = pack(tree, ignore=Ignore.files(), count=count)
    if when == "before":
        with pytest.raises(ArchiveError, match="Not a directory") as caught:
            list(pieces)
        assert caught.value.entry == "d"
    else:
        unpack(BytesIO(b"".join(pieces)).read, tmp_path / "out", limits=Limits())
        assert {path.name for path in (tmp_path / "out" / "d").iterdir()} == {"a", "b"}
        assert {path.read_bytes() for path in (tmp_path / "out" / "d").iterdir()} == {b"inside"}


def test_pack_deep_tree(tmp_path: Path) -> None:
    """A tree may be deeper than the longest path."""
    script = """
import os
for level in range(60):
    os.mkdir("d" * 100)
    os.chdir("d" * 100)
open("deep", "w").close()
"""
    (tmp_path / "in").mkdir()
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path / "in", check=True)
    assert survey(tmp_path / "in", ignore=NO_IGNORE) == Survey(entries=61, bytes=0)
    listed = subprocess.run(["tar", "tz"], input=packed(tmp_path / "in"), capture_output=True, check=True).stdout
    assert listed.splitlines()[-1] == b"/".join([b"d" * 100] * 60 + [b"deep"])
    # Test cleanup would try to remove it by paths.
    subprocess.run(["rm", "-rf", tmp_path / "in"], check=True)


@pytest.mark.parametrize("what", ["file", "directory"])
def test_pack_unreadable_entry(tmp_path: Path, what: str) -> None:
    """A file or directory without read permission is refused."""
    top = tmp_path / "top"
    top.mkdir()
    top.chmod(0o755)
    path = top / "closed"
    if what == "file":
        path.write_bytes(b"secret content")
    else:
        path.mkdir()
    path.chmod(0)
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from pocketenv_fp.archive.ignore import Ignore\n"
        "from pocketenv_fp.archive.pack import pack, survey\n"
        "from pocketenv_fp.errors import ArchiveError\n"
        "os.chdir(sys.argv[1])\n"
        "os.getuid() or os.setuid(65534)\n"
        "for look in (lambda: list(pack(Path(), ignore=Ignore.none())), lambda: survey(Path(), ignore=Ignore.none())):\n"
        "    try:\n"
        "        look()\n"
        "    except ArchiveError as error:\n"
        "        print(error.entry, error.reason)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program, top], check=True, capture_output=True, text=True)
    path.chmod(0o700)
    said = ran.stdout.splitlines()
    assert len(said) == 2
    assert all(line.startswith("closed ") and "ermission denied" in line for line in said)


def test_pack_errors_print_names_safely(tmp_path: Path) -> None:
    """Names in errors can be printed and hold no terminal sequence."""
    os.symlink("/", os.fsencode(tmp_path) + b"/\xff\x1b[2J\n")
    with pytest.raises(ArchiveError) as caught:
        survey(tmp_path, ignore=NO_IGNORE, links="refuse")
    error = caught.value
    assert error.entry == "\\xff\\x1b[2J\\n"
    str(error).encode("ascii", "strict")


@pytest.mark.slow
def test_pack_memory(tmp_path: Path) -> None:
    """The memory does not grow with the tree."""
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(200 * MEBI)
    for number in range(2000):
        (tmp_path / f"file-{number}").write_bytes(b"x")
    tracemalloc.start()
    try:
        for _ in pack(tmp_path, ignore=NO_IGNORE):
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 24 * MEBI
