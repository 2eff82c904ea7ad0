"""Directories and files between this machine and sandboxes, and between sandboxes.

They travel as one tar.gz through the storage host, streamed at every turn: memory stays flat whatever their size.
What is copied arrives as it was: contents, permission bits, empty directories, links, names of any length and script.
"""

from __future__ import annotations

import os
import posixpath
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, TypeVar

import msgspec
from returns.result import Failure, Result, Success

from pocketenv_fp import pocketenv
from pocketenv_fp.archive.links import LinkRule
from pocketenv_fp.config import Config
from pocketenv_fp.errors import ArchiveError, InvalidInput, PocketenvError, SandboxNotFound
from pocketenv_fp.http import storage
from pocketenv_fp.models import Sandbox
from pocketenv_fp.runtime.progress import Progress, tracking
from pocketenv_fp.sandbox.copying.delivery import Goal, deliver
from pocketenv_fp.sandbox.copying.departure import Packed, fetch
from pocketenv_fp.sandbox.copying.relay import transfer
from pocketenv_fp.sandbox.copying.remote import HOME, End, names_directory, place
from pocketenv_fp.steps.operation import Operation, operation
from pocketenv_fp.validation import Text

if TYPE_CHECKING:
    from pocketenv_fp.archive.ignore import Ignore

__all__ = ["copy_to", "download", "upload"]

P = ParamSpec("P")
B = TypeVar("B")

Most = Annotated[int, msgspec.Meta(ge=0)]
MAX_BYTES = 32 * 1024**3
MAX_ENTRIES = 1_000_000
_HALF = "is not valid Unicode: it contains half of a surrogate pair"


@operation(Sandbox)
def upload(
    sandbox: Sandbox,
    local: Text | PathLike[str],
    remote: Text = HOME,
    *,
    ignore: bool | Sequence[str] = True,
    links: LinkRule = "keep",
    progress: bool | Progress = False,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Sandbox, PocketenvError]:
    """Copy a directory or a file of this machine into a running sandbox. Returns the Sandbox as it was given.

    What is *in* a directory goes into ``remote``, which is made where it is missing; what is there already stays
    unless it has the same name. A file goes to the path ``remote``, or into it where that is a directory or ends with
    ``/``. A relative ``remote`` starts at ``/workspace``. A ``~`` that ``local`` begins with is the home directory.

    In each directory the patterns of ``.pocketenvignore``, or else of ``.gitignore``, leave out what git would leave
    out, and ``.git`` itself; ``ignore=False`` leaves out nothing, and a list of patterns what they say and no more.
    What git keeps for itself, ``.git/info/exclude`` and ``core.excludesFile``, is not read: a copy must not depend on
    who makes it. Links are copied as links, wherever they lead; ``links="skip"`` leaves out those that lead out of
    ``local``, and ``links="refuse"`` refuses all for one of them. Sockets, pipes and devices are skipped. A warning in
    the log ``pocketenv_fp`` has the number of what was skipped and the first names. ``progress`` is a function of the
    bytes read and their total, or True for a bar.

    A small archive, up to 48 KiB, travels in one command. A large one goes through storage: an upload that breaks off
    is sent again, and unpacking is asked for once. The sandbox's tar unpacks it in ``/tmp`` first, so nothing changes
    where the archive is not whole. On E2B, Blaxel, Runloop, Deno and Vercel, which cannot copy, the bytes go through
    commands, up to 64 MiB compressed. A line that looks or cleans up has ``read_timeout`` for its answer; packing and
    unpacking have the provider's limit for a command (300 s on Cloudflare) and ``read_timeout`` more.

    Failures: ArchiveError for what cannot be read or changes meanwhile, and for an archive that did not arrive;
    InvalidInput for a ``remote`` that cannot be, is a file where a directory should be, and for a sandbox without tar,
    gzip or base64; CommandFailed for what the sandbox's tools could not do, and then a part may be there; NotSupported
    above 64 MiB; ApiError (400) for a sandbox that does not run; TransportError with ``maybe_sent`` where it is open
    whether it was unpacked.

    >>> import pathlib, tempfile
    >>> from pocketenv_fp import create, exec, start, upload
    >>> work = tempfile.TemporaryDirectory()
    >>> _ = pathlib.Path(work.name, "hello.txt").write_text("hello")
    >>> box = create("my-box") | start
    >>> (box | upload(work.name, "src") | exec("cat src/hello.txt")).unwrap().stdout
    'hello'
    >>> upload("./src", "/workspace/src", ignore=["*.log"])
    upload('./src', '/workspace/src', ignore=['*.log'])
    >>> work.cleanup()
    """
    end = End(sandbox, token, config)

    def send(path: str, source: Path, rules: Ignore) -> Result[Sandbox, PocketenvError]:
        from pocketenv_fp.archive.names import shown
        from pocketenv_fp.archive.pack import pack, survey

        try:
            found = survey(source, ignore=rules, links=links)
        except ArchiveError as error:
            return Failure(error)
        with tracking(progress, found.bytes, shown(source.name)) as track:

            def pieces() -> Generator[bytes]:
                track.restart(found.bytes)
                yield from pack(source, ignore=rules.without(found.links_out), count=track.add)
                track.finish()
                # Here, where it is known that all the rest is sent, and not where it is only explained.
                found.skipped.report("upload")

            goal = Goal(path, "directory" if _is_directory(source) else "file", into=names_directory(remote))
            return deliver(end, goal, pieces, operation="upload")

    places = place("remote", remote).bind(lambda path: _local(local).map(lambda source: (path, source)))
    return places.bind(lambda both: _rules(ignore).bind(lambda rules: send(*both, rules)))


@operation(Sandbox)
def download(
    sandbox: Sandbox,
    remote: Text,
    local: Text | PathLike[str],
    *,
    ignore: Sequence[str] = (),
    links: LinkRule = "refuse",
    max_bytes: Most = MAX_BYTES,
    max_entries: Most = MAX_ENTRIES,
    progress: bool | Progress = False,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Path, PocketenvError]:
    """Copy a directory or a file of a running sandbox to this machine. Returns the Path where it is now.

    What is *in* a directory goes into ``local``, which is made where it is missing; what is there already stays unless
    it has the same name, and a link in the way is replaced, never followed. A file goes to the path ``local``, or into
    it where that is a directory or ends with ``/``. A relative ``remote`` starts at ``/workspace``, and a ``~`` that
    ``local`` begins with is the home directory. It arrives whole or not at all, also at Ctrl-C. Only a program that is
    killed leaves a directory ``.pocketenv-…`` beside ``local``, or in it where that is a mount: delete it.

    An archive with anything in it that would be written elsewhere, a link that leads out of it, or with more than
    ``max_bytes`` in ``max_entries`` entries is refused as a whole: ArchiveError names the entry. A virtual environment
    of Python has such links. ``links="skip"`` leaves them out. ``links="keep"`` keeps them with their text: nothing is
    written through one, but a program that opens it later is led out. ``ignore`` is a list of patterns as those of
    ``.gitignore``; what it leaves out counts as entries, not as bytes. Pipes and devices are skipped. A warning in the
    log ``pocketenv_fp`` has the number of what was skipped and the first names. ``progress`` is a function of the bytes
    of the compressed archive that have come and their total, or True for a bar.

    An archive of up to 512 KiB comes with the answer of one command. A larger one comes through storage, where a
    download that breaks off begins again, with an archive of what is there then; or through commands, as for `upload`.
    Nothing stays in the sandbox.

    Failures: PathNotFound where there is nothing at ``remote``; ArchiveError for what was refused and what this
    machine's disk did; InvalidInput; CommandFailed for what the sandbox could not read; NotSupported as for `upload`;
    ApiError (400) for a sandbox that does not run; TransportError.

    >>> import pathlib, tempfile
    >>> from pocketenv_fp import create, download, exec, start
    >>> work = tempfile.TemporaryDirectory()
    >>> box = create("my-box") | start
    >>> _ = box | exec("mkdir output && echo 42 > output/answer")
    >>> (box | download("output", pathlib.Path(work.name, "out"))).map(lambda path: (path / "answer").read_text())
    <Success: 42
    >
    >>> (box | download("no-such-directory", work.name)).failure().error
    'PathNotFound'
    >>> work.cleanup()
    """
    from pocketenv_fp.archive.ignore import Ignore
    from pocketenv_fp.archive.names import on_disk, shown
    from pocketenv_fp.archive.unpack import Limits
    from pocketenv_fp.sandbox.copying.local import arriving, landed, landed_file

    end, limits = End(sandbox, token, config), Limits(max_bytes, max_entries)

    def fetched(path: str, target: Path, rules: Ignore) -> Result[Path, PocketenvError]:
        into = _is_directory(target)
        file = target / on_disk(posixpath.basename(path)) if into or names_directory(os.fspath(local)) else target

        with tracking(progress, None, shown(posixpath.basename(path))) as track:

            def arrive(kind: Packed, source: storage.Readable) -> Path:
                try:
                    if kind == "directory":
                        land = partial(landed, target=target)
                        return arriving(target, limits, track, land, ignore=rules, links=links)(source)
                    beside, land = (target if into else file), partial(landed_file, file=file, into=into)
                    return arriving(beside, limits, track, land, ignore=Ignore.none(), links=links)(source)
                except ArchiveError as error:
                    entry = error.entry.removeprefix("./")
                    # The name of the one entry of a file's archive was not chosen by the caller.
                    own = kind == "file" and entry in {"file", posixpath.basename(path)}
                    raise ArchiveError(error.reason, shown(path) if own else entry) from None

            return fetch(end, path, arrive, operation="download")

    return place("remote", remote).bind(
        lambda path: _local(local).bind(lambda target: _rules(ignore).bind(lambda rules: fetched(path, target, rules)))
    )


class _Between(Operation[Sandbox, P, B]):
    """An operation whose first argument may be a Sandbox as well: only with all arguments is the first the target."""

    def has_target(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        try:
            self.whole.signature.bind(*args, **kwargs)
        except TypeError:
            return False
        return bool(args)


def _between(function: Callable[Concatenate[Sandbox, P], Result[B, PocketenvError]]) -> Operation[Sandbox, P, B]:
    return _Between(function, Sandbox, frozenset({"token"}))


@_between
def copy_to(
    sandbox: Sandbox,
    destination: Sandbox | Text | Result[Sandbox | None, PocketenvError],
    src: Text,
    dst: Text,
    *,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Sandbox, PocketenvError]:
    r"""Copy a directory or a file of one running sandbox into another. Returns the Sandbox of the destination.

    ``destination`` is a Sandbox, a Result of one, or an id. ``copy_to(box, other, "a", "b")`` copies from box to other,
    and so does ``box | copy_to(other, "a", "b")``; the next step is done to other. What is *in* a directory ``src``
    goes into ``dst``, which is made where it is missing; what is there already stays unless it has the same name, and a
    link in the way is replaced, never followed. A file goes to the path ``dst``, or into it where that is a directory
    or ends with ``/``. Relative paths start at ``/workspace``. A large archive does not pass through this machine,
    unless a provider of the two cannot copy.

    Each part of it is asked for once, and nothing else stays in either sandbox. Failures: that of ``destination``, or
    SandboxNotFound; PathNotFound where there is nothing at ``src``; InvalidInput for paths that cannot be, or a
    directory where a file should go and the other way round; CommandFailed for what the destination's shell could not
    do, and then a part of it may be there; ApiError (400) for a sandbox that does not run; TransportError with
    ``maybe_sent`` where it is open whether it was done.

    >>> from pocketenv_fp import copy_to, create, exec, start
    >>> one, other = create("one") | start, create("other") | start
    >>> _ = one | exec("mkdir output && echo 42 > output/answer")
    >>> (one | copy_to(other, "output", "input") | exec("cat input/answer")).unwrap().stdout
    '42\n'
    """
    source = End(sandbox, token, config, "src")

    def copy(there: Sandbox, path: str, goal: str) -> Result[Sandbox, PocketenvError]:
        return transfer(source, End(there, token, config, "dst"), path, goal, into=names_directory(dst))

    places = place("src", src).bind(lambda path: place("dst", dst).map(lambda goal: (path, goal)))
    return places.bind(
        lambda both: _resolved(destination, token, config).bind(lambda there: copy(there, both[0], both[1]))
    )


def _local(path: str | PathLike[str]) -> Result[Path, PocketenvError]:
    text = os.fspath(path)
    if "\0" in text:
        return Failure(InvalidInput("local", "contains a NUL character"))
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        encoding = sys.getfilesystemencoding()
        reason = (
            _HALF if encoding == "utf-8" else f"cannot be written in the encoding of this machine's names, {encoding}"
        )
        return Failure(InvalidInput("local", reason))
    whole = os.path.expanduser(text)  # noqa: PTH111  # pathlib's raises
    if whole.startswith("~"):
        return Failure(
            InvalidInput("local", "starts with ~ but is not a user's home directory: write ./~ for that name")
        )
    return Success(Path(whole))


def _rules(ignore: bool | Sequence[str]) -> Result[Ignore, PocketenvError]:  # noqa: FBT001  # as the caller gave it
    from pocketenv_fp.archive.ignore import Ignore

    if isinstance(ignore, bool):
        return Success(Ignore.files() if ignore else Ignore.none())
    lines = list(ignore)
    try:
        return Success(Ignore.patterns(lines))
    except UnicodeEncodeError:
        return Failure(InvalidInput("ignore", _HALF))


def _is_directory(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112  # pathlib's raises


def _resolved(
    destination: Sandbox | str | Result[Sandbox | None, PocketenvError], token: str | None, config: Config | None
) -> Result[Sandbox, PocketenvError]:
    found: Result[Sandbox | None, PocketenvError]
    match destination:
        case str():
            found = pocketenv.get_sandbox(destination, token=token, config=config)
        case Sandbox():
            found = Success(destination)
        case _:
            found = destination
    return found.bind(_is_sandbox)


def _is_sandbox(found: object) -> Result[Sandbox, PocketenvError]:
    if found is None:
        return Failure(SandboxNotFound(message="there is no such destination", operation="copy_to"))
    if not isinstance(found, Sandbox):
        raise TypeError(f"copy_to: destination: expected a Result of a Sandbox, got one of {type(found).__name__}")
    return Success(found)
