"""Hostile archives: each is refused whole, by the name of the entry, and nothing outside changes."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import stat
import struct
import subprocess
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from pocketenv_fp.archive import compression
from pocketenv_fp.archive.ignore import Ignore
from pocketenv_fp.archive.landing import land, staging
from pocketenv_fp.archive.links import LinkRule
from pocketenv_fp.archive.skipped import Skipped
from pocketenv_fp.archive.unpack import Limits, unpack
from pocketenv_fp.errors import ArchiveError
from tests.archive.trees import NO_IGNORE, look, packed, reading, unpacked

MEBI = 1024 * 1024
FILE, HARD, LINK, DIRECTORY = tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE


@dataclass
class E:
    """Return an entry as an attacker would write it."""

    name: str
    kind: bytes = FILE
    link: str = ""
    content: bytes = b""
    mode: int = 0o644
    size: int | None = None
    time: int = 1_700_000_000
    pax: dict[str, str] = field(default_factory=dict[str, str])


def raw(entry: E, form: Literal[1, 2] = tarfile.PAX_FORMAT) -> bytes:
    """Return its bytes in a tar."""
    info = tarfile.TarInfo(entry.name)
    info.type, info.linkname, info.mode, info.mtime = entry.kind, entry.link, entry.mode, entry.time
    info.size = len(entry.content) if entry.size is None else entry.size
    info.pax_headers = entry.pax
    return info.tobuf(form, "utf-8", "surrogateescape") + entry.content + bytes(-len(entry.content) % 512)


def tar(*entries: E | bytes, end: bytes = bytes(1024)) -> bytes:
    """Return a tar.gz of entries and of raw bytes."""
    return gzip.compress(b"".join(raw(one) if isinstance(one, E) else one for one in entries) + end)


def header(body: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    """Return a header for the next entry, in any bytes."""
    return raw(E("././@PaxHeader", kind, content=body))


def record(key: str, value: bytes) -> bytes:
    """Return one record of a header, with its length before it."""
    said = f" {key}=".encode() + value + b"\n"
    length = len(said)
    while len(said) + len(str(length)) != length:
        length = len(said) + len(str(length))
    return str(length).encode() + said


D = DIRECTORY
GOOD = E("first", content=b"good")
# Each with the entry that the error has to name: as in the archive, or the printable part of it.
ATTACKS: dict[str, tuple[list[E | bytes], str]] = {
    "an absolute name": ([E("/etc/evil")], "/etc/evil"),
    "an absolute name with many slashes": ([E("//etc/evil")], "//etc/evil"),
    "a name that leads upwards": ([E("../../canary/file")], "../../canary/file"),
    "only dots": ([E("..", D)], ".."),
    "dots at the end": ([E("d/..", D)], "d/.."),
    "a name in a header that leads upwards": ([E("a", pax={"path": "../../canary/file"})], "../../canary/file"),
    "a long name that leads upwards": (
        [header(b"../../canary/file\0", tarfile.GNUTYPE_LONGNAME), E("a")],
        "../../canary/file",
    ),
    "a long name and then another in a header": (
        [header(b"harmless\0", tarfile.GNUTYPE_LONGNAME), header(record("path", b"../../canary/file")), E("a")],
        "../../canary/file",
    ),
    "a header and then another long name": (
        [header(record("path", b"harmless")), header(b"../../canary/file\0", tarfile.GNUTYPE_LONGNAME), E("a")],
        "../../canary/file",
    ),
    "a NUL in a name": ([header(record("path", b"a\0/../b")), E("a")], "a\\x00/../b"),
    "no name": ([E("")], ""),
    "a file behind a link that leads outside": (
        [E("l", LINK, "../../canary"), E("l/file", content=b"evil")],
        "l/file",
    ),
    "a directory behind a link that leads outside": (
        [E("l", LINK, "../../canary"), E("l/d", D)],
        "l/d",
    ),
    "a file behind a link that stays inside": (
        [E("d", D, mode=0o755), E("l", LINK, "d"), E("l/file", content=b"odd")],
        "l/file",
    ),
    "a directory where a link is": ([E("l", LINK, "../../canary"), E("l", D, mode=0o777)], "l"),
    "a file where a link is": ([E("l", LINK, "../../canary/file"), E("l", content=b"evil")], "l"),
    "a link to an absolute name": ([E("l", LINK, "/etc/passwd")], "l"),
    "a link upwards": ([E("l", LINK, "../../canary")], "l"),
    "a link upwards after going in": ([E("d", D, mode=0o755), E("l", LINK, "d/../../../canary")], "l"),
    "a link upwards through what is not there": ([E("l", LINK, "none/../../../canary")], "l"),
    "a link that leads outside by another link": (
        [E("d/e/up", LINK, "../.."), E("l", LINK, "d/e/up/../canary")],
        "l",
    ),
    "a link that leads outside by a later link": (
        [E("l", LINK, "later/../../canary"), E("d/e/f", D, mode=0o755), E("later", LINK, ".")],
        "l",
    ),
    "a name for all entries that leads upwards": (
        [header(record("path", b"../../canary/file"), tarfile.XGLTYPE), E("a")],
        "../../canary/file",
    ),
    "a link in a header": ([E("l", LINK, "x", pax={"linkpath": "../../canary"})], "l"),
    "a link with a NUL": ([header(record("linkpath", b"a\0/../../b")), E("l", LINK, "x")], "l"),
    "a link to no name": ([E("l", LINK, "")], "l"),
    "a hard link upwards": ([E("h", HARD, "../../canary/file")], "h"),
    "a hard link to an absolute name": ([E("h", HARD, "/etc/passwd")], "h"),
    "a hard link to what is only on the disk": ([E("h", HARD, "canary/file")], "h"),
    "a hard link behind a link": (
        [E("l", LINK, "../../canary"), E("h", HARD, "l/file")],
        "h",
    ),
    "a hard link to a link that leads outside from there": (
        [E("d/l", LINK, "../up"), E("h", HARD, "d/l")],
        "h",
    ),
    "a link by a chain longer than any path": (
        # The entry after it has no room for its path: a hole that tarfile had in 2025.
        [
            E("d" * 240, D, mode=0o755),
            *(E("l" * n, LINK, ("d" * 240 + "/../") * 16 + ("l" * (n - 1) or ".")) for n in range(1, 17)),
            E("out", LINK, "l" * 16 + "/../../canary"),
        ],
        "out",
    ),
    "a link down and up again by a link": (
        [E("d/e", D, mode=0o755), E("up", LINK, "d/e/../.."), E("l", LINK, "up/../canary")],
        "l",
    ),
    "a hard link to a directory": ([E("d", D, mode=0o755), E("h", HARD, "d")], "h"),
    "a hard link to itself": ([E("h", HARD, "h")], "h"),
    "a hard link to what comes later": ([E("h", HARD, "z"), E("z")], "h"),
    "a hard link over a file": ([E("a"), E("b"), E("a", HARD, "b")], "a"),
    "a device that leads upwards": ([E("../../null", tarfile.CHRTYPE)], "../../null"),
    "a pipe with content": ([E("pipe", tarfile.FIFOTYPE, size=512), bytes(512)], "pipe"),
    "a kind that nobody knows": ([E("odd", b"Q")], "odd"),
    "a sparse file": ([E("sparse", tarfile.GNUTYPE_SPARSE)], "sparse"),
    "a sparse file in a header": ([E("sparse", pax={"GNU.sparse.major": "1"})], "sparse"),
    "the same file twice": ([E("a"), E("a")], "a"),
    "the same file by another spelling": ([E("a"), E(".//a")], ".//a"),
    "a file where a directory is": ([E("d", D, mode=0o755), E("d")], "d"),
    "a directory where a file is": ([E("a"), E("a", D)], "a"),
    "a file below a file": ([E("a"), E("a/b")], "a/b"),
    "a file that is the top": ([E(".")], "."),
    "a link that is the top": ([E(".", LINK, "../canary")], "."),
    "a directory with content": ([E("d", D, size=512), bytes(512)], "d"),
    "a link with content": ([E("l", LINK, "first", size=512), bytes(512)], "l"),
    "a size below zero": ([E("a", pax={"size": "-1"})], "a"),
    "a size below zero in binary": ([raw(E("a", size=-512), tarfile.GNU_FORMAT)], "a"),
    "a size for all entries": ([header(record("size", b"512"), tarfile.XGLTYPE), E("d", D), bytes(512)], "d"),
    "a size that hides a link": (
        [header(record("size", b"0")), E("l", LINK, "../../canary", size=1024), bytes(1024)],
        "l",
    ),
    "a hard link with content": ([E("h", HARD, "first", size=512), bytes(512)], "h"),
    "a size that is no number": ([E("a", pax={"size": "1e3"})], "a"),
    "a time that is no number": ([E("a", pax={"mtime": "nan"})], "a"),
    "a time of too many digits": ([E("a", pax={"mtime": "9" * 40})], "a"),
    "a time beyond all time": ([raw(E("a", time=2**80), tarfile.GNU_FORMAT)], "a"),
    "a directory's time beyond all time": ([raw(E("d", D, mode=0o755, time=2**80), tarfile.GNU_FORMAT)], "d"),
    "a link's time beyond all time": ([raw(E("l", LINK, "first", time=2**80), tarfile.GNU_FORMAT)], "l"),
    "a name that no disk takes": ([E("n" * 300)], "n" * 300),
    "a header longer than it may be": ([header(b"x" * (MEBI + 1)), E("a")], ""),
    "a header of a size below zero": ([raw(E("x", tarfile.XHDTYPE, size=-1), tarfile.GNU_FORMAT), E("a")], ""),
    "a record of no length": ([header(b"0 path=a\n"), E("a")], ""),
    "a record longer than its header": ([header(b"99 path=a\n"), E("a")], ""),
    "a record without a number": ([header(b"path=a\n"), E("a")], ""),
    "a record without an end": ([header(b"9 path=ab"), E("a")], ""),
    "headers without end": ([header(b"9 path=a\n")] * 100 + [E("a")], ""),
    "a header without an entry": ([header(b"9 path=a\n")], ""),
    "a header that says nothing without an entry": ([header(record("comment", b"a"))], ""),
    "a checksum that is wrong": ([b"\1" + raw(E("a"))[1:]], ""),
    "noise for a header": ([bytes(range(256)) * 2], ""),
    "half an end mark": ([bytes(512), E("a")], ""),
}


@pytest.fixture
def canary(tmp_path: Path) -> Callable[[], object]:
    """Checks everything that an archive must not change: beside the target, and in it before."""
    (tmp_path / "canary").mkdir()
    (tmp_path / "canary" / "file").write_bytes(b"canary")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept").write_bytes(b"kept")
    for path in ("canary/file", "canary", "out/kept", "out"):
        os.utime(tmp_path / path, (1_600_000_000, 1_600_000_000))
    return lambda: (look(tmp_path), sorted(os.listdir(tmp_path)))


def download(archive: bytes, place: Path, links: LinkRule = "refuse", ignore: Ignore = NO_IGNORE) -> Skipped:
    """Unpack an archive as a download does. Return the skipped entries."""
    skipped = Skipped()
    with staging(place) as made:
        unpack(io.BytesIO(archive).read, made, limits=Limits(), links=links, ignore=ignore, skipped=skipped)
        land(made, place)
    return skipped


def test_unpack_without_attack(tmp_path: Path, canary: Callable[[], object]) -> None:
    """The same archive without an attack is unpacked."""
    before = canary()
    download(tar(GOOD, E("d/l", LINK, "../first"), E("h", HARD, "first")), tmp_path / "out")
    assert (tmp_path / "out" / "d" / "l").read_bytes() == b"good"
    assert (tmp_path / "out" / "kept").read_bytes() == b"kept"
    assert canary() != before


@pytest.mark.parametrize("attack", ATTACKS)
def test_unpack_attack_error(tmp_path: Path, canary: Callable[[], object], attack: str) -> None:
    """An attack is refused, and the error names its entry."""
    entries, named = ATTACKS[attack]
    before = canary()
    with pytest.raises(ArchiveError) as caught:
        download(tar(GOOD, *entries), tmp_path / "out")
    assert caught.value.entry == named, caught.value
    assert caught.value.__cause__ is None
    assert str(tmp_path) not in str(caught.value)
    assert canary() == before


# The attacks that are only links. All others are refused under any rule for links.
ONLY_LINKS = {
    "a link to an absolute name",
    "a link upwards",
    "a link upwards after going in",
    "a link upwards through what is not there",
    "a link that leads outside by another link",
    "a link that leads outside by a later link",
    "a link in a header",
    "a size that hides a link",
    "a hard link to a link that leads outside from there",
    "a link by a chain longer than any path",
    "a link down and up again by a link",
}


def unchanged(place: Path) -> None:
    """Everything beside the target, and in it before, is unchanged."""
    assert sorted(os.listdir(place)) == ["canary", "out"]
    assert os.listdir(place / "canary") == ["file"]
    for name, content in (("canary/file", b"canary"), ("out/kept", b"kept")):
        assert (place / name).read_bytes() == content
        assert (place / name).stat().st_mtime == 1_600_000_000
        assert (place / name).stat().st_nlink == 1
    assert (place / "canary").stat().st_mtime == 1_600_000_000


@pytest.mark.usefixtures("canary")
@pytest.mark.parametrize("links", ["skip", "keep"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_unpack_attack_by_each_rule(tmp_path: Path, links: LinkRule, attack: str) -> None:
    """No rule for links lets an attack write outside the target."""
    entries, named = ATTACKS[attack]
    if attack in ONLY_LINKS:
        skipped = download(tar(GOOD, *entries), tmp_path / "out", links)
        assert (tmp_path / "out" / "first").read_bytes() == b"good"
        assert os.path.islink(tmp_path / "out" / named) is (links == "keep")
        assert (skipped.count > 0) is (links == "skip")
    else:
        with pytest.raises(ArchiveError) as caught:
            download(tar(GOOD, *entries), tmp_path / "out", links)
        assert caught.value.entry == named
    unchanged(tmp_path)


@pytest.mark.usefixtures("canary")
@pytest.mark.parametrize("ignore", [["l"], ["*", "!l"]])
@pytest.mark.parametrize("links", ["skip", "keep"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_unpack_attack_with_ignore(tmp_path: Path, links: LinkRule, attack: str, ignore: list[str]) -> None:
    """No ignore pattern lets an attack write outside the target."""
    with contextlib.suppress(ArchiveError):
        download(tar(GOOD, *ATTACKS[attack][0]), tmp_path / "out", links, Ignore.patterns(ignore))
    unchanged(tmp_path)


@pytest.mark.usefixtures("canary")
@pytest.mark.parametrize("second", [[E("l/file", content=b"evil")], [E("l", D, mode=0o777)], [E("l")]])
def test_unpack_old_link_in_target(tmp_path: Path, second: list[E | bytes]) -> None:
    """Nothing is written through a link that was there before."""
    download(tar(E("l", LINK, "../canary")), tmp_path / "out", "keep")
    assert (tmp_path / "out" / "l" / "file").read_bytes() == b"canary"
    download(tar(*second), tmp_path / "out", "keep")
    assert not (tmp_path / "out" / "l").is_symlink()
    unchanged(tmp_path)


@pytest.mark.usefixtures("canary")
@pytest.mark.parametrize("links", ["skip", "keep"])
@pytest.mark.parametrize("kind", [LINK, HARD, FILE, D])
def test_unpack_link_other_spelling(tmp_path: Path, links: LinkRule, kind: bytes) -> None:
    """Another spelling of a link is not followed out of the target."""
    # As above: L is another name for l, as on a disk that treats both as one.
    noise, target = os.urandom(4 * MEBI), tmp_path / "new"
    evil = {
        LINK: E("x", LINK, "L/../y"),
        HARD: E("h", HARD, "L"),
        FILE: E("L/file", content=b"evil"),
        D: E("L", D, mode=0o777),
    }[kind]
    source = reading(tar(E("l", LINK, "../canary"), E("noise", content=noise), evil), 64 * 1024)

    def read(size: int) -> bytes:
        if (target / "l").is_symlink() and not (target / "L").is_symlink():
            os.link(target / "l", target / "L", follow_symlinks=False)
        return source(size)

    with contextlib.suppress(ArchiveError):
        unpack(read, target, limits=Limits(), links=links)
        assert kind == LINK
    assert os.listdir(tmp_path / "canary") == ["file"]
    assert (tmp_path / "canary" / "file").read_bytes() == b"canary"
    assert (tmp_path / "canary").stat().st_mode & 0o777 == 0o755


VENV: list[E | bytes] = [
    E("bin", D, mode=0o755),
    E("bin/python3", LINK, "/usr/bin/python3"),
    E("bin/python", LINK, "python3"),
    E("lib64", LINK, "lib"),
    E("lib/x.py", content=b"x"),
    E("pkg", LINK, "../../store/pkg"),
    E("twin", HARD, "pkg"),
]


def test_unpack_refuses_venv(tmp_path: Path) -> None:
    """A link to the outside is refused, and the error names the option."""
    with pytest.raises(ArchiveError, match=r'links="skip".* links="keep"') as caught:
        download(tar(*VENV), tmp_path / "out")
    assert caught.value.entry == "bin/python3"
    with pytest.raises(ArchiveError, match=r'links="skip".* links="keep"') as caught:
        download(tar(*VENV[2:]), tmp_path / "out")
    assert caught.value.entry == "pkg"


def test_unpack_skips_outside_links(tmp_path: Path) -> None:
    """Links to the outside are skipped and counted."""
    skipped = download(tar(*VENV), tmp_path / "out", "skip")
    assert str(skipped) == "3 links that lead outside (bin/python3, pkg, twin)"
    assert sorted(os.listdir(tmp_path / "out")) == ["bin", "lib", "lib64"]
    assert os.listdir(tmp_path / "out" / "bin") == ["python"]
    assert (tmp_path / "out" / "lib64" / "x.py").read_bytes() == b"x"


def test_unpack_keeps_outside_links(tmp_path: Path) -> None:
    """Links to the outside are kept with the option."""
    skipped = download(tar(*VENV), tmp_path / "out", "keep")
    assert skipped.count == 0
    kept = {
        name: os.readlink(tmp_path / "out" / name) for name in ("bin/python3", "bin/python", "lib64", "pkg", "twin")
    }
    assert list(kept.values()) == ["/usr/bin/python3", "python3", "lib", "../../store/pkg", "../../store/pkg"]


@pytest.mark.parametrize(("rule", "made"), [("skip", 4), ("keep", 7)])
def test_unpack_returns_entry_count(tmp_path: Path, rule: LinkRule, made: int) -> None:
    """The result is the number of entries that were made."""
    limits = Limits(max_entries=8)
    assert unpack(io.BytesIO(tar(*VENV)).read, tmp_path, limits=limits, links=rule) == made


ODD: list[E | bytes] = [
    E("pipe", tarfile.FIFOTYPE),
    E("null", tarfile.CHRTYPE),
    E("sda", tarfile.BLKTYPE),
    E("twin", HARD, "pipe"),
    E("first", content=b"good"),
]


def test_unpack_skips_special_files(tmp_path: Path) -> None:
    """Pipes and devices are skipped and counted."""
    skipped = download(tar(*ODD), tmp_path / "out")
    assert str(skipped) == "2 devices, 2 pipes (pipe, null, sda, …)"
    assert os.listdir(tmp_path / "out") == ["first"]


def test_unpack_skipped_entries_count(tmp_path: Path) -> None:
    """Skipped entries count toward the limit."""
    unpack(io.BytesIO(tar(*ODD)).read, tmp_path / "just", limits=Limits(max_entries=5))
    with pytest.raises(ArchiveError, match="more than 4 entries"):
        unpack(io.BytesIO(tar(*ODD)).read, tmp_path / "out", limits=Limits(max_entries=4))


def test_unpack_ignored_entries(tmp_path: Path) -> None:
    """Ignored entries are not unpacked."""
    entries: list[E | bytes] = [
        E("node_modules/a/b", content=b"x" * 5000),
        E("node_modules", D, mode=0o755),
        E("node_modules/l", LINK, "/etc"),
        E("node_modules/p", tarfile.FIFOTYPE),
        E("d/a.log", content=b"y" * 700),
        E("d/b.log", content=b"good"),
        E("d/e", D, mode=0o700),
        E("e", content=b"a file"),
    ]
    ignore = Ignore.patterns(["node_modules/", "*.log", "!b.log", "e/", "/first"])
    archive = tar(GOOD, *entries)
    limits = Limits(max_bytes=10, max_entries=10)
    made = unpack(io.BytesIO(archive).read, tmp_path / "out", limits=limits, ignore=ignore)
    assert made == 2
    assert {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*")} == {
        "d",
        "d/b.log",
        "e",
    }
    with pytest.raises(ArchiveError, match="more than 9 entries"):
        unpack(io.BytesIO(archive).read, tmp_path / "less", limits=Limits(max_entries=9), ignore=ignore)


@pytest.mark.parametrize("line", ["/first", "d", "d/first"])
def test_unpack_hard_link_to_ignored_file(tmp_path: Path, line: str) -> None:
    """A hard link to an ignored file is refused."""
    entries = [E("d/first", content=b"good"), GOOD, E("d/e", D, mode=0o755)]
    known = "first" if line == "/first" else "d/first"
    hard = E("h", HARD, f"{known}")
    with pytest.raises(ArchiveError, match=f"another name of {known}, which ignore leaves out") as caught:
        download(tar(*entries, hard), tmp_path / "out", ignore=Ignore.patterns([line]))
    assert caught.value.entry == "h"
    download(tar(*entries, hard), tmp_path / "out", ignore=Ignore.patterns([line, "h"]))
    assert not (tmp_path / "out" / known).exists()


def test_unpack_ignores_like_pack(tmp_path: Path) -> None:
    """Patterns leave out the same entries in both directions."""
    lines = ["*.o", "!keep.o", "/a/*/c", "**/x/", "b", "!/a/b/"]
    for name in ("a/b/c/f", "a/d/c", "a/d/keep.o", "x/y", "a/x/y", "q/x", "z.o", "b/f", "q/b"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    unpacked(packed(tmp_path / "in", Ignore.patterns(lines)), tmp_path / "one")
    unpack(
        io.BytesIO(packed(tmp_path / "in")).read,
        tmp_path / "other",
        limits=Limits(),
        ignore=Ignore.patterns(lines),
    )
    assert look(tmp_path / "one") == look(tmp_path / "other")


@pytest.mark.parametrize("cut", [0, 1, 5, 17, 200, -1, -4, -8, -9])
def test_unpack_truncated_archive(tmp_path: Path, canary: Callable[[], object], cut: int) -> None:
    """A truncated archive is refused and changes nothing."""
    before = canary()
    whole = tar(GOOD, E("noise", content=os.urandom(4000)))
    with pytest.raises(ArchiveError, match=r"breaks off|empty|not gzip"):
        download(whole[:cut], tmp_path / "out")
    assert canary() == before


@pytest.mark.parametrize("end", [b"", bytes(511), bytes(512), bytes(1023)])
def test_unpack_missing_end_mark(tmp_path: Path, canary: Callable[[], object], end: bytes) -> None:
    """An archive without its end mark is refused and changes nothing."""
    before = canary()
    with pytest.raises(ArchiveError, match="breaks off"):
        download(tar(GOOD, end=end), tmp_path / "out")
    assert canary() == before


@pytest.mark.parametrize("content", [b"", b"x" * 700])
def test_unpack_truncated_entry(tmp_path: Path, content: bytes) -> None:
    """An archive that ends inside an entry is refused."""
    with pytest.raises(ArchiveError, match="breaks off"):
        download(tar(E("a", size=5000), content, end=b""), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def damaged(archive: bytes) -> dict[str, bytes]:
    checked, size = struct.unpack("<II", archive[-8:])
    return {
        "another checksum": archive[:-8] + struct.pack("<II", checked ^ 1, size),
        "another size": archive[:-8] + struct.pack("<II", checked, size + 1),
        "garbage behind it": archive + b"garbage",
        "a letter behind it": archive + b"\x1f",
        "zeros behind it": archive + bytes(512),
        "half another member": archive + archive[:40],
        "damage in the middle": archive[:30] + bytes(20) + archive[50:],
        "not gzip": b"PK\3\4" + archive,
        "a tar that is not compressed": gzip.decompress(archive),
        "an answer in JSON": b'{"error": "File not found"}',
        "only a head": archive[:10],
        "the wrong method": archive[:2] + b"\7" + archive[3:],
        "something behind the end mark": gzip.compress(gzip.decompress(archive) + b"x"),
        "an entry behind the end mark": gzip.compress(gzip.decompress(archive) + raw(E("late"))),
        "zeros without end": gzip.compress(gzip.decompress(archive) + bytes(8 * MEBI)),
    }


@pytest.mark.parametrize("engine", compression.engines())
@pytest.mark.parametrize("damage", damaged(tar(GOOD)))
def test_unpack_damaged_archive(
    tmp_path: Path, canary: Callable[[], object], monkeypatch: pytest.MonkeyPatch, engine: str, damage: str
) -> None:
    """A damaged archive is refused and changes nothing."""
    before = canary()
    monkeypatch.setattr(compression, "engine", compression.engines()[engine])
    with pytest.raises(ArchiveError):
        download(damaged(tar(GOOD))[damage], tmp_path / "out")
    assert canary() == before


@pytest.mark.parametrize("more", [0, 1])
def test_unpack_padding(tmp_path: Path, more: int) -> None:
    """A mebibyte of padding is accepted, and more is refused."""
    archive = tar(GOOD, end=bytes(1024 + MEBI + more))
    if not more:
        unpacked(archive, tmp_path / "out")
        return
    with pytest.raises(ArchiveError, match="behind its end"):
        unpacked(archive, tmp_path / "out")


def test_unpack_gzip_members(tmp_path: Path) -> None:
    """Several gzip members and padding are one archive."""
    plain = gzip.decompress(tar(GOOD, E("second", content=b"2" * 5000))) + bytes(9216)
    unpacked(gzip.compress(plain[:700]) + gzip.compress(b"") + gzip.compress(plain[700:]), tmp_path / "out")
    assert (tmp_path / "out" / "second").read_bytes() == b"2" * 5000


def test_unpack_max_bytes(tmp_path: Path) -> None:
    """More bytes than allowed are refused before they are written."""
    limits = Limits(max_bytes=1000)
    unpacked(tar(E("a", content=bytes(600)), E("b", content=bytes(400))), tmp_path / "just", limits=limits)
    with pytest.raises(ArchiveError, match="more than 1000 bytes") as caught:
        unpacked(tar(E("a", content=bytes(600)), E("b", content=bytes(401))), tmp_path / "out", limits=limits)
    assert caught.value.entry == "b"
    assert not (tmp_path / "out" / "b").exists()


@pytest.mark.parametrize("engine", compression.engines())
def test_unpack_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    """A decompression bomb is refused and takes no memory."""
    monkeypatch.setattr(compression, "engine", compression.engines()[engine])
    deflater = zlib.compressobj(wbits=31)
    bomb = deflater.compress(raw(E("bomb", size=120 * MEBI)))
    bomb += b"".join(deflater.compress(bytes(MEBI)) for _ in range(120)) + deflater.flush()
    assert len(bomb) < MEBI
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveError, match="more than"):
            unpacked(bomb, tmp_path / "out", limits=Limits(max_bytes=30 * MEBI))
        with pytest.raises(ArchiveError, match="breaks off"):
            unpacked(bomb, tmp_path / "whole")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * MEBI


def test_unpack_max_entries(tmp_path: Path) -> None:
    """More entries than allowed are refused. Directories in names count."""
    limits = Limits(max_entries=4)
    unpacked(tar(E("a/b/c"), E("a/b/d")), tmp_path / "just", limits=limits)
    with pytest.raises(ArchiveError, match="more than 4 entries") as caught:
        unpacked(tar(E("a/b/c"), E("a/e/d")), tmp_path / "out", limits=limits)
    assert caught.value.entry == "a/e/d"


def test_unpack_long_headers(tmp_path: Path) -> None:
    """Headers count where they are longer than names need."""
    said = record("comment", b"c" * 300_000)
    limits = Limits(max_bytes=400_000)
    unpacked(tar(header(said), E("a")), tmp_path / "just", limits=limits)
    with pytest.raises(ArchiveError, match="more than 400000 bytes"):
        unpacked(tar(header(said), E("a"), header(said), E("b")), tmp_path / "out", limits=limits)


def comment(size: int) -> bytes:
    """Return a header of exactly this size without any effect."""
    empty = len(record("comment", b"x" * (size - 30)))
    return header(record("comment", b"x" * (2 * size - 30 - empty)))


@pytest.mark.parametrize(("size", "max_bytes"), [(8 * 1024, 0), (MEBI, MEBI - 8 * 1024)])
def test_unpack_headers_above_8_kib(tmp_path: Path, size: int, max_bytes: int) -> None:
    """Headers count toward the bytes above 8 KiB."""
    assert len(comment(size)) == 512 + size
    unpacked(tar(comment(size), E("a")), tmp_path / "just", limits=Limits(max_bytes=max_bytes))
    with pytest.raises(ArchiveError, match=r"more than|too long"):
        unpacked(tar(comment(size + 1), E("a")), tmp_path / "out", limits=Limits(max_bytes=max_bytes))


def test_unpack_seven_headers(tmp_path: Path) -> None:
    """An entry may have seven headers."""
    said = [header(record("comment", b"a"))] * 7
    unpacked(tar(*said, E("a"), *said, E("b")), tmp_path / "just")
    with pytest.raises(ArchiveError, match="too many headers"):
        unpacked(tar(*said, said[0], E("a")), tmp_path / "out")


@pytest.mark.parametrize("steps", [512, 513])
def test_unpack_link_of_512_steps(tmp_path: Path, steps: int) -> None:
    """A link may have 512 steps."""
    # Only steps up to the last ".." are followed.
    link = header(f"{'./x/../' * 255}{'x/' * (steps - 511)}..\0".encode(), tarfile.GNUTYPE_LONGLINK)
    if steps == 512:
        unpacked(tar(link, E("l", LINK)), tmp_path / "out")
        return
    with pytest.raises(ArchiveError, match="more steps"):
        unpacked(tar(link, E("l", LINK)), tmp_path / "out")


def test_unpack_times(tmp_path: Path) -> None:
    """Both times are restored."""
    unpacked(tar(E("d", D, mode=0o755), E("d/a"), E("l", LINK, "d")), tmp_path / "out")
    for name in ("d", "d/a", "l"):
        found = (tmp_path / "out" / name).lstat()
        assert (found.st_atime, found.st_mtime) == (1_700_000_000, 1_700_000_000)


@pytest.mark.parametrize("key", ["comment", "GNU.sparse"])
def test_unpack_unused_headers_memory(tmp_path: Path, key: str) -> None:
    """Unused values of headers take no memory."""
    said = [
        header(b"".join(record(f"{key}.{number}.{line}", bytes(900)) for line in range(1000)), tarfile.XGLTYPE)
        for number in range(14)
    ]
    archive = tar(*said[:7], E("a"), *said[7:], E("b"))
    tracemalloc.start()
    try:
        if key == "comment":
            unpacked(archive, tmp_path / "out")
        else:
            with pytest.raises(ArchiveError, match="sparse"):
                unpacked(archive, tmp_path / "out")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * MEBI


@pytest.mark.parametrize(
    ("last", "most"),
    [
        (E("dir/c", D), 7),
        (E("dir/d/f"), 7),
        (E("l", LINK, "12345"), 8),
        (E("h", HARD, "dir/a"), 11),
    ],
)
def test_unpack_most_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: E, most: int) -> None:
    """The memory for names has a limit."""
    from pocketenv_fp.archive import unpack as module

    link: list[E | bytes] = [E("dir/a", LINK, "abc")] if last.kind == HARD else []
    files: list[E | bytes] = [E("dir", D, mode=0o755), *link, *(E(f"dir/{number}") for number in range(50))]
    monkeypatch.setattr(module, "_MOST_NAMES", most)
    unpacked(tar(*files), tmp_path / "just")
    with pytest.raises(ArchiveError, match="more memory") as caught:
        unpacked(tar(*files, last), tmp_path / "out")
    assert caught.value.entry == last.name


def test_unpack_slow_links(tmp_path: Path) -> None:
    """Links that take long to follow are refused soon."""
    deep = "/".join("d" * 1000)
    ways = {"down and up": "d/" * 400 + "../" * 200, "in circles": "./d/../" * 400}
    entries: list[E | bytes] = [header(f"{deep}\0".encode(), tarfile.GNUTYPE_LONGNAME), E("x", D, mode=0o755)]
    for name, way in ways.items():
        said = header(f"{way}\0".encode(), tarfile.GNUTYPE_LONGLINK)
        with pytest.raises(ArchiveError, match="more steps") as caught:
            unpacked(tar(*entries, said, E(name, LINK)), tmp_path / name)
        assert caught.value.entry == name
        # Removing is recursive in the cleanup of tests.
        subprocess.run(["rm", "-rf", tmp_path / name], check=True)


@pytest.mark.parametrize("kind", [LINK, HARD])
def test_unpack_second_name_of_a_link(tmp_path: Path, kind: bytes) -> None:
    """A link that gets a second spelling from the disk is not followed."""
    # Some disks treat c and C as one name. Here there are two, which is the same to a caller of either.
    noise, target = os.urandom(4 * MEBI), tmp_path / "out"
    evil = E("evil", LINK, "a/b/C/../canary") if kind == LINK else E("evil", HARD, "a/b/C")
    source = reading(tar(E("a/b/c", LINK, "../.."), E("noise", content=noise), evil), 64 * 1024)

    def read(size: int) -> bytes:
        if (target / "a" / "b" / "c").is_symlink() and not (target / "a" / "b" / "C").is_symlink():
            os.link(target / "a" / "b" / "c", target / "a" / "b" / "C", follow_symlinks=False)
        return source(size)

    with pytest.raises(ArchiveError, match="another spelling") as caught:
        unpack(read, target, limits=Limits())
    assert caught.value.entry == "evil"


def test_unpack_drops_setuid(tmp_path: Path) -> None:
    """The bits for setuid, setgid and sticky are dropped."""
    unpacked(tar(E("d", D, mode=0o7755), E("d/tool", mode=0o6755)), tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out" / "d").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "out" / "d" / "tool").stat().st_mode) == 0o755


def test_unpack_inside_links(tmp_path: Path) -> None:
    """Links inside the target are kept unchanged."""
    links = {"self": "self", "one": "two", "two": "one", "away": "nowhere/at/all", "d/up": "..", "d/back": "up/d/up/a"}
    archive = tar(E("a", content=b"a"), E("d", D, mode=0o755), *(E(name, LINK, link) for name, link in links.items()))
    unpacked(archive, tmp_path / "out")
    assert {name: os.readlink(tmp_path / "out" / name) for name in links} == links
    assert (tmp_path / "out" / "d" / "back").read_bytes() == b"a"


def test_unpack_long_chain_of_links(tmp_path: Path) -> None:
    """A chain of links may be longer than Python's stack."""
    unpacked(tar(*(E(f"l{number}", LINK, f"l{number + 1}") for number in range(3000))), tmp_path / "out")
    assert len(os.listdir(tmp_path / "out")) == 3000


def test_unpack_directory_late_or_twice(tmp_path: Path) -> None:
    """A directory may come after its entries, and twice."""
    entries = [E("d/a"), E("d", D, mode=0o500), E("d/b"), E("d/", D, mode=0o550), E("./", D, mode=0o711)]
    unpacked(tar(*entries), tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out" / "d")) == ["a", "b"]
    assert stat.S_IMODE((tmp_path / "out" / "d").stat().st_mode) == 0o550
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o711


def test_unpack_fractional_times(tmp_path: Path) -> None:
    """Times finer than seconds are kept."""
    unpacked(tar(E("a", pax={"mtime": "1700000000.123456789"}), E("b", pax={"mtime": "-1.5"})), tmp_path / "out")
    assert (tmp_path / "out" / "a").stat().st_mtime_ns == 1_700_000_000_123_456_789
    assert (tmp_path / "out" / "b").stat().st_mtime_ns == -1_500_000_000


def test_unpack_size_in_header(tmp_path: Path) -> None:
    """The size in a header counts, and no entry hides in the content."""
    # Readers that disagree about this see different archives: content for one is an entry for another.
    hidden = raw(E("hidden", content=b"unseen"))
    shown = header(record("size", str(len(hidden)).encode()))
    unpacked(tar(shown, raw(E("a", size=0)), hidden, E("b")), tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == ["a", "b"]
    assert (tmp_path / "out" / "a").read_bytes() == hidden


def test_unpack_global_header(tmp_path: Path) -> None:
    """A global header holds for all entries."""
    said = header(b"20 mtime=1234567890\n", tarfile.XGLTYPE)
    unpacked(tar(said, E("a"), E("b", pax={"mtime": "5"})), tmp_path / "out")
    assert [int((tmp_path / "out" / name).stat().st_mtime) for name in "ab"] == [1_234_567_890, 5]


def test_unpack_gnu_tar_times(tmp_path: Path) -> None:
    """The times in a GNU header are not read as a part of the name."""
    block = bytearray(raw(E("d/a", content=b""), tarfile.GNU_FORMAT))
    block[345:357] = b"14552314325\0"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block[:512])
    unpacked(tar(bytes(block)), tmp_path / "out")
    assert (tmp_path / "out" / "d" / "a").is_file()


@pytest.mark.parametrize("kind", [FILE, LINK, HARD, D])
def test_unpack_name_twice(tmp_path: Path, kind: bytes) -> None:
    """The error of a name that is there twice says so."""
    with pytest.raises(ArchiveError, match="in the archive twice") as caught:
        unpacked(tar(GOOD, E("a"), E("a", kind, "first")), tmp_path / "out")
    assert caught.value.entry == "a"


def test_unpack_target_is_a_file(tmp_path: Path) -> None:
    """A file in the place of the target is no entry of the archive."""
    (tmp_path / "out").touch()
    with pytest.raises(ArchiveError, match="File exists") as caught:
        unpacked(tar(E("a")), tmp_path / "out")
    assert caught.value.entry == ""


def test_unpack_target_not_empty(tmp_path: Path) -> None:
    """A target that is not empty is refused."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept").touch()
    with pytest.raises(ArchiveError, match="not empty"):
        unpacked(tar(E("a")), tmp_path / "out")
    assert os.listdir(tmp_path / "out") == ["kept"]


@pytest.mark.parametrize("raised", [ConnectionResetError("gone"), KeyError("mine"), KeyboardInterrupt()])
def test_unpack_read_raises(tmp_path: Path, raised: BaseException) -> None:
    """An exception of the reader is raised unchanged."""
    archive = packed_noise(tmp_path)
    source = reading(archive, 64 * 1024)
    reads = iter(range(100))

    def read(size: int) -> bytes:
        if next(reads) == 3:
            raise raised
        return source(size)

    with pytest.raises(type(raised)) as caught:
        unpack(read, tmp_path / "out", limits=Limits())
    assert caught.value is raised


def packed_noise(place: Path) -> bytes:
    (place / "in").mkdir()
    (place / "in" / "noise").write_bytes(os.urandom(MEBI))
    return packed(place / "in")


def test_unpack_disk_error(tmp_path: Path) -> None:
    """An error of the disk is an ArchiveError."""
    # A file in the way represents every refusal of a disk.
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ArchiveError):
        unpacked(tar(E("a")), tmp_path / "file" / "out")
    with pytest.raises(ArchiveError):
        unpacked(tar(E("a")), tmp_path / "file")
