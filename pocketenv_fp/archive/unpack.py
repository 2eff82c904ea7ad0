"""Unpack an untrusted tar.gz into a new directory."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pocketenv_fp.archive.entries import ODD, Entries, Entry, Stream
from pocketenv_fp.archive.ignore import Ignore
from pocketenv_fp.archive.links import ABSOLUTE, LinkRule, Links, is_absolute, way_out
from pocketenv_fp.archive.names import broken, encoded, parts, shown
from pocketenv_fp.archive.skipped import LINK, Skipped
from pocketenv_fp.errors import ArchiveError

__all__ = ["Limits", "unpack"]

# The names of directories and links are in memory until the end.
_MOST_NAMES = 256 * 1024**2


_LONGEST_PATH = 4096
_NO_IGNORE = Ignore.none()


@dataclass(frozen=True)
class Limits:
    """The limits of an archive: ``max_bytes`` in all files together, ``max_entries`` in files and directories.

    Headers beyond 8 KiB an entry count as bytes too.
    """

    max_bytes: int = 32 * 1024**3
    max_entries: int = 1_000_000


def unpack(
    read: Callable[[int], bytes],
    target: Path,
    *,
    limits: Limits,
    ignore: Ignore = _NO_IGNORE,
    links: LinkRule = "refuse",
    skipped: Skipped | None = None,
) -> int:
    """Unpack a tar.gz into the directory ``target``, which is new or empty. Return the number of entries.

    ``read`` takes a size and returns up to that size, and none at the end. Contents, links, permission bits and times
    are restored; setuid and the like and owners are not. Entries that ``ignore`` leaves out count among the entries of
    ``limits``, not the bytes. Pipes and devices are skipped, and counted in ``skipped``.

    A link that leads out of ``target``, by any way, is refused, or skipped and counted, or kept with its target, as
    ``links`` says. Nothing is ever written through a link.

    An ArchiveError that names the entry refuses the whole archive for: a name that is absolute or has `..` in it, an
    entry behind a link, a name that is there twice, a hard link to an entry that is not unpacked, more than ``limits``
    allow, 256 MiB of names of directories and links, and an archive that is damaged, breaks off or has data after its
    end. Then, and when reading raises, the entries so far are still in ``target``: the caller removes them (see
    `staging`). Exceptions of ``read`` pass through.
    """
    stream = Stream(read)
    unpacking = _Unpacking(
        stream, os.fsencode(target), limits, ignore=ignore, links=links, skipped=skipped or Skipped()
    )
    try:
        return unpacking.run()
    except (OSError, OverflowError) as error:
        # Errors of the disk and of the connection are both OSErrors.
        if error is stream.failure:
            raise
        # Nothing is ever replaced, so that a later entry cannot change the meaning of an earlier one.
        if isinstance(error, FileExistsError) and unpacking.entry:
            raise ArchiveError("an entry that is in the archive twice", shown(unpacking.entry)) from None
        raise broken(error, unpacking.entry) from None
    finally:
        stream.close()


class _Unpacking:
    """An archive that is being unpacked. No other process changes the target, so these fields describe it truly."""

    def __init__(
        self, stream: Stream, target: bytes, limits: Limits, *, ignore: Ignore, links: LinkRule, skipped: Skipped
    ) -> None:
        self.entry = ""
        self._stream = stream
        self._target = target
        self._limits = limits
        self._ignore = ignore
        self._rule: LinkRule = links
        self._skipped = skipped
        self._bytes = 0
        self._made = 0
        self._names = 0
        # Mode and time by name. Directories that only the names of entries mention have none.
        self._directories: dict[str, tuple[int, int] | None] = {"": None}
        self._links = Links()
        self._odd: dict[str, str] = {}
        self._ignored: str | None = None

    def run(self) -> int:
        """Unpack all entries. Return their number."""
        os.makedirs(self._target, exist_ok=True)
        if os.listdir(self._target):
            raise ArchiveError("the directory to unpack into is not empty")
        archive, entries = Entries(self._stream), 0
        while (entry := archive.next()) is not None:
            self._spend(entry.excess)
            entries += self._place(entry)
            self.entry = ""
        self._stream.drain()
        entries -= self._settle_links()
        # The deepest first: one above may forbid to enter it or to change anything.
        for name, restored in sorted(self._directories.items(), reverse=True):
            if restored is not None:
                self.entry = name or "."
                path = self._path(name)
                os.chmod(path, restored[0])
                os.utime(path, ns=(restored[1], restored[1]))
        return entries

    def _settle_links(self) -> int:
        # The target of a link is certain when all others are known. Return how many were removed again.
        if self._rule == "keep":
            return 0
        leading_out = self._links.leading_out(self._is_disguised)
        for self.entry, reason in leading_out:
            if self._rule == "refuse":
                raise ArchiveError(way_out(reason), shown(self.entry))
            os.unlink(self._path(self.entry))
            self._skipped.add(LINK, self.entry)
        return len(leading_out)

    def _is_disguised(self, name: str) -> bool:
        # A disk may treat a and A as one name.
        return name not in self._directories and os.path.islink(self._path(name))

    def _path(self, name: str) -> bytes:
        return self._target + b"/" + encoded(name)

    def _spend(self, size: int) -> None:
        self._bytes += size
        if self._bytes > self._limits.max_bytes:
            raise ArchiveError(f"the archive unpacks to more than {self._limits.max_bytes} bytes", shown(self.entry))

    def _count(self) -> None:
        self._made += 1
        if self._made > self._limits.max_entries:
            raise ArchiveError(f"the archive has more than {self._limits.max_entries} entries", shown(self.entry))

    def _keep(self, *names: str) -> None:
        self._names += sum(map(len, names))
        if self._names > _MOST_NAMES:
            raise ArchiveError("names that take more memory than any tree needs", shown(self.entry))

    def _place(self, entry: Entry) -> bool:
        # Return whether it was made.
        self.entry = entry.name
        self._count()
        found = parts(entry.name)
        if not found and entry.kind != tarfile.DIRTYPE:
            raise ArchiveError("not a directory, where the top directory should be", shown(entry.name))
        name = "/".join(found)
        if self._is_ignored(name, is_directory=entry.kind == tarfile.DIRTYPE):
            self._stream.skip(entry.size)
            return False
        odd = self._odd.get(_linked(entry)) if entry.kind == tarfile.LNKTYPE else ODD.get(entry.kind)
        if odd is not None:
            # Remembered, for it may have another name.
            self._keep(name)
            self._odd[name] = odd
            self._skipped.add(odd, name)
            return False
        self._make_parents(found)
        self._make(name, entry)
        return True

    def _make(self, name: str, entry: Entry) -> None:
        match entry.kind:
            case tarfile.DIRTYPE:
                if name not in self._directories:
                    self._keep(name)
                    os.mkdir(self._path(name), 0o700)
                self._directories[name] = (entry.mode, entry.time)
            case tarfile.SYMTYPE:
                self._link(name, entry)
            case tarfile.LNKTYPE:
                self._hard_link(name, entry)
            case _:
                self._file(self._path(name), entry)

    def _is_ignored(self, name: str, *, is_directory: bool) -> bool:
        # A directory that is left out is not entered. The last one is remembered: in most archives all its entries
        # come next.
        ignore = self._ignore
        if not ignore.rules or not name or len(name) > _LONGEST_PATH:
            return False
        if self._ignored is not None and name.startswith(self._ignored):
            return True
        end = name.find("/")
        while end != -1:
            above = name[:end]
            if above not in self._directories and ignore.hides(above, is_directory=True):
                self._ignored = f"{above}/"
                return True
            end = name.find("/", end + 1)
        return name not in self._directories and ignore.hides(name, is_directory=is_directory)

    def _make_parents(self, found: list[str]) -> None:
        if "/".join(found[:-1]) in self._directories:
            return
        for depth in range(1, len(found)):
            name = "/".join(found[:depth])
            if name in self._directories:
                continue
            if os.path.lexists(self._path(name)):
                raise ArchiveError("an entry below a link or a file", shown(self.entry))
            self._count()
            self._keep(name)
            os.mkdir(self._path(name))
            self._directories[name] = None

    def _file(self, path: bytes, entry: Entry) -> None:
        self._spend(entry.size)
        # An object, not a bare number: that would stay open where Ctrl-C comes before it has a name.
        with io.FileIO(path, "xb") as file:
            for piece in self._stream.pieces(entry.size):
                rest = piece
                while rest:
                    rest = rest[file.write(rest) :]
            os.fchmod(file.fileno(), entry.mode)
            os.utime(file.fileno(), ns=(entry.time, entry.time))
        self._stream.pad(entry.size)

    def _link(self, name: str, entry: Entry) -> None:
        if not entry.link or "\0" in entry.link:
            raise ArchiveError("a link to what can be no name", shown(entry.name))
        if self._rule == "refuse" and is_absolute(entry.link):
            raise ArchiveError(way_out(ABSOLUTE), shown(entry.name))
        path = self._path(name)
        self._keep(name, entry.link)
        # Also for an entry that will be skipped: until the end it keeps its name from every other entry.
        os.symlink(encoded(entry.link), path)
        os.utime(path, ns=(entry.time, entry.time), follow_symlinks=False)
        self._links.add(name, entry.link)

    def _hard_link(self, name: str, entry: Entry) -> None:
        known = _linked(entry)
        if self._is_ignored(known, is_directory=False):
            reason = f"another name of {shown(known)}, which ignore leaves out: leave out both, or neither"
            raise ArchiveError(reason, shown(entry.name))
        above = known.rpartition("/")[0]
        if above not in self._directories or known in self._directories:
            raise ArchiveError("a hard link to what is no file of the archive", shown(entry.name))
        if not os.path.lexists(self._path(known)):
            raise ArchiveError("a hard link to what the archive has not had before", shown(entry.name))
        os.link(self._path(known), self._path(name), follow_symlinks=False)
        if known in self._links:
            self._keep(name)
            self._links.repeat(name, known)
        elif os.path.islink(self._path(name)):
            # A disk may treat a and A as one name, here and below.
            raise ArchiveError("a hard link to another spelling of a link", shown(entry.name))


def _linked(entry: Entry) -> str:
    # Return the target of a hard link.
    try:
        return "/".join(parts(entry.link))
    except ArchiveError:
        raise ArchiveError("a hard link that leads outside", shown(entry.name)) from None
