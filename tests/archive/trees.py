"""Trees of files: generate, write and compare them."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import strategies as st

from pocketenv_fp.archive.ignore import Ignore
from pocketenv_fp.archive.pack import pack
from pocketenv_fp.archive.unpack import Limits, unpack

NO_IGNORE = Ignore.none()


@dataclass
class Node:
    """A directory, a file, a link, or another name of a file."""

    mode: int
    content: bytes | None = None
    link: bytes | None = None
    hard: bool = False
    below: dict[bytes, Node] = field(default_factory=dict[bytes, "Node"])

    @property
    def is_directory(self) -> bool:
        return self.content is None and self.link is None and not self.hard


def _name(raw: bytes) -> bytes:
    return raw.replace(b"/", b"_").replace(b"\0", b"_")


def _repeated(piece: bytes) -> bytes:
    return piece * (piece[0] * 4 + 1)


NAMES = st.one_of(
    st.sampled_from(
        [b"a", b"b c", b"-rf", b"new\nline", "häß".encode(), "名前".encode(), b"\xff\xfe", b"n" * 200, b"..."]
    ),
    st.binary(min_size=1, max_size=12).map(_name),
    st.text(min_size=1, max_size=30).map(lambda text: _name(text.encode("utf-8", "replace"))[:120]),
).filter(lambda name: name not in {b".", b".."})
# The test's own user has to be able to read them.
FILE_MODES = st.sampled_from([0o644, 0o600, 0o755, 0o400, 0o555, 0o666, 0o777])
DIRECTORY_MODES = st.sampled_from([0o755, 0o700, 0o555, 0o500, 0o777])
CONTENTS = st.one_of(
    st.binary(max_size=600),
    st.binary(min_size=1, max_size=100).map(_repeated),
)
LINKS = st.sampled_from([b"a", b"./b c", b"nowhere", b"a/\xff\xfe", "häß".encode(), b"x" * 150])
FILES = st.builds(Node, FILE_MODES, content=CONTENTS)
SYMLINKS = st.builds(Node, st.just(0), link=LINKS)
HARD_LINKS = st.builds(Node, st.just(0), hard=st.just(value=True))
TREES = st.recursive(
    st.builds(Node, DIRECTORY_MODES, below=st.dictionaries(NAMES, st.one_of(FILES, SYMLINKS, HARD_LINKS), max_size=4)),
    lambda trees: st.builds(
        Node,
        DIRECTORY_MODES,
        below=st.dictionaries(NAMES, st.one_of(FILES, SYMLINKS, HARD_LINKS, trees), max_size=5),
    ),
    max_leaves=6,
)


def write(tree: Node, top: Path) -> None:
    """Write it to the disk with a time of its own for each entry."""
    files: list[bytes] = []
    times = iter(range(1_000_000_000, 2_000_000_000, 1_000_003))

    def put(node: Node, path: bytes) -> None:
        moment = next(times)
        if node.hard:
            if files:
                os.link(files[0], path)
            return
        if node.link is not None:
            os.symlink(node.link, path)
            os.utime(path, (moment, moment), follow_symlinks=False)
            return
        if node.content is not None:
            Path(os.fsdecode(path)).write_bytes(node.content)
            files.append(path)
        else:
            os.mkdir(path)
            for name, below in node.below.items():
                put(below, path + b"/" + name)
        os.chmod(path, node.mode)
        os.utime(path, (moment, moment))

    put(tree, os.fsencode(top))


def look(top: Path, *, times: bool = True) -> dict[bytes, tuple[object, ...]]:
    """Return everything in a tree, without the top itself: kinds, modes, times, contents, and the names of one file."""
    found: dict[bytes, tuple[object, ...]] = {}
    first: dict[int, bytes] = {}
    root = os.fsencode(top)
    for folder, directories, files in os.walk(root):
        for name in directories + files:
            path = folder + b"/" + name
            said = os.lstat(path)
            own = path[len(root) + 1 :]
            mode = stat.S_IMODE(said.st_mode)
            moment = said.st_mtime_ns if times else 0
            if stat.S_ISLNK(said.st_mode):
                found[own] = ("link", os.readlink(path), moment)
            elif stat.S_ISDIR(said.st_mode):
                found[own] = ("directory", mode, moment)
            else:
                content = Path(os.fsdecode(path)).read_bytes()
                found[own] = ("file", mode, moment, content, said.st_ino if said.st_nlink > 1 else 0)
    # Inodes differ from tree to tree; the first name of a file does not.
    for own, what in sorted(found.items()):
        if what[0] == "file" and isinstance(inode := what[4], int):
            found[own] = (*what[:4], first.setdefault(inode, own) if inode else b"")
    return found


def packed(source: Path, ignore: Ignore = NO_IGNORE) -> bytes:
    """Return the whole archive."""
    return b"".join(pack(source, ignore=ignore))


def unpacked(archive: bytes, target: Path, *, limits: Limits | None = None) -> int:
    """Unpack it from memory."""
    return unpack(io.BytesIO(archive).read, target, limits=limits or Limits())


def reading(archive: bytes, size: int) -> Callable[[int], bytes]:
    """Read in pieces of this size at most, as from a network."""
    source = io.BytesIO(archive)
    return lambda wanted: source.read(min(size, wanted))
