"""List a directory of a sandbox."""

from __future__ import annotations

import re
import stat
from datetime import UTC, datetime, timedelta

from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config
from pocketenv_fp.errors import DecodeError, PocketenvError
from pocketenv_fp.models import DirectoryEntry, EntryKind, Sandbox
from pocketenv_fp.sandbox.copying.departure import bytes_of
from pocketenv_fp.sandbox.copying.remote import HOME, repeated
from pocketenv_fp.sandbox.file_system.lines import LIST
from pocketenv_fp.sandbox.file_system.requests import Location, location
from pocketenv_fp.steps.needs import Need
from pocketenv_fp.steps.operation import step
from pocketenv_fp.validation import Text

__all__ = ["list_directory"]


@step(Sandbox, safe=True, reads=Need.STATUS)
def list_directory(
    sandbox: Sandbox, path: Text = HOME, *, token: Text | None = None, config: Config | None = None
) -> Result[list[DirectoryEntry], PocketenvError]:
    r"""List a directory of the running sandbox now. Returns a list of DirectoryEntry, sorted by name.

    Hidden entries are listed too. Each entry has its name, kind, size, mode, time of change and, for a symlink, its
    target. A byte of a name that is not UTF-8 is half of a surrogate pair, as in Python's own functions (PEP 383).
    `read_bytes`, `write_file`, `exists` and `list_directory` take such names. One request is sent.

    The sandbox needs base64, find, readlink and stat. Failures: PathNotFound; InvalidInput for a file, or for a
    directory that the sandbox's user may not read; ApiError (400) for a sandbox that is not running.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        path: Path in the sandbox. A relative path starts at ``/workspace``. Default: ``"/workspace"``.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, list_directory, start, write_file
    >>> box = create("my-box") | start | write_file("notes/one.txt", "first\n") | write_file("run", "", mode=0o755)
    >>> for entry in (box | list_directory).unwrap():
    ...     print(entry.name, entry.kind, oct(entry.mode))
    notes directory 0o755
    run file 0o755
    >>> (box | list_directory("notes")).map(lambda entries: [(entry.name, entry.size) for entry in entries])
    <Success: [('one.txt', 6)]>
    """
    return location(sandbox, path, "list_directory").bind(_listed)


def _listed(at: Location) -> Result[list[DirectoryEntry], PocketenvError]:
    answer = repeated(lambda: at.end.run(LIST, p=at.path)).bind(at.judged)
    if isinstance(answer, Failure):
        return answer
    if answer.unwrap().words != ("entries",):
        return Failure(at.unclear())
    return bytes_of(answer.unwrap().rest).bind(read_entries)


_ENTRY = re.compile(rb"([0-9a-f]{1,8}) ([0-9]{1,20}) (-?[0-9]{1,20}) \./([^/\0]+)/\n")
_KINDS: dict[int, EntryKind] = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}
_EPOCH = datetime.fromtimestamp(0, UTC)


def read_entries(printed: bytes) -> Result[list[DirectoryEntry], PocketenvError]:
    """Parse the output of the line. Failures: DecodeError for incomplete output."""
    listed, _, rest = printed.partition(b"\0")
    links = rest.split(b"\0")
    matches = list(_ENTRY.finditer(listed))
    if links[-2:] != [b"", b""] or sum(len(match[0]) for match in matches) != len(listed):
        return Failure(DecodeError("sandbox.exec", "the output of the shell does not describe the directory"))
    named = (link.removeprefix(b"./").partition(b"/") for link in links[:-2])
    targets = {name: target for name, _, target in named}
    try:
        entries = [_entry(match, targets) for match in matches]
    except OverflowError:
        return Failure(DecodeError("sandbox.exec", "an entry has a time that Python cannot represent"))
    return Success(sorted(entries, key=lambda entry: entry.name))


def _entry(match: re.Match[bytes], targets: dict[bytes, bytes]) -> DirectoryEntry:
    mode, target = int(match[1], 16), targets.get(match[4])
    return DirectoryEntry(
        name=_decoded(match[4]),
        kind=_KINDS.get(stat.S_IFMT(mode), "other"),
        size=int(match[2]),
        mode=stat.S_IMODE(mode),
        modified=_EPOCH + timedelta(seconds=int(match[3])),
        target=_decoded(target) if target else None,
    )


def _decoded(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
