"""Directories and files between this machine and sandboxes, and between sandboxes.

They travel as one tar.gz through the storage host, streamed at every turn: memory stays flat whatever their size.
What is copied arrives as it was: contents, permission bits, empty directories, links, names of any length and script.
"""

from __future__ import annotations

import os
import posixpath
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, Literal, ParamSpec, TypeVar

import msgspec
from returns.result import Failure, Result, Success

from pocketenv_fp import pocketenv, storage
from pocketenv_fp.archive.links import LinkRule
from pocketenv_fp.arguments import Text
from pocketenv_fp.config import Config, settings
from pocketenv_fp.errors import (
    ApiError,
    ArchiveError,
    InvalidInput,
    PathNotFound,
    PocketenvError,
    SandboxNotFound,
)
from pocketenv_fp.interrupts import guarded, opened
from pocketenv_fp.models import Sandbox
from pocketenv_fp.operation import Operation, operation
from pocketenv_fp.progress import Progress, tracking
from pocketenv_fp.sandbox.transfer import FILE, HOME, STAGED, End, Kind, may_have_run, names_directory, place, temporary

if TYPE_CHECKING:
    from pocketenv_fp.archive.ignore import Ignore

__all__ = ["copy_to", "download", "upload"]

P = ParamSpec("P")
B = TypeVar("B")

Most = Annotated[int, msgspec.Meta(ge=0)]
MAX_BYTES = 32 * 1024**3
MAX_ENTRIES = 1_000_000
_HALF = "is not valid Unicode: it holds half of a surrogate pair"


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
    """Copy a directory or a file of this machine into a running sandbox. Gives the Sandbox as it was given.

    What is *in* a directory goes into ``remote``, which is made where it is missing; what is there already stays
    unless it has the same name. A file goes to the path ``remote``, or into it where that is a directory or ends with
    ``/``. A relative ``remote`` starts at ``/workspace``.

    In each directory the patterns of ``.pocketenvignore``, or else of ``.gitignore``, leave out what git would leave
    out, and ``.git`` itself; ``ignore=False`` leaves out nothing, and a list of patterns what they say and no more.
    What git keeps for itself, ``.git/info/exclude`` and ``core.excludesFile``, is not read: a copy must not depend on
    who makes it. Links are copied as links, wherever they lead; ``links="skip"`` leaves out those that lead out of
    ``local``, and ``links="refuse"`` refuses all for one of them. Sockets, pipes and devices are skipped. A warning in
    the log ``pocketenv_fp`` has the number of what was skipped and the first names. ``progress`` is a function of the
    bytes read and their total, or True for a bar.

    An upload that breaks off is sent again; unpacking it is asked for once. The sandbox unpacks it right where it
    goes: while it does, and where it fails, a part of it may be there. Failures: ArchiveError for what cannot be read
    or changes meanwhile, before anything is sent where that shows; InvalidInput for a ``remote`` that cannot be, or is
    a file where a directory should be; ApiError (400) for a sandbox that does not run, or that could not unpack it;
    TransportError with ``maybe_sent`` where it is open whether it was unpacked.

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

        def carry(goal: tuple[str, str | None]) -> Result[Sandbox, PocketenvError]:
            directory, name = goal

            def unpacked(uuid: str) -> Result[None, PocketenvError]:
                return end.pull(uuid, directory).lash(lambda error: _in_the_way(end, directory, error))

            with tracking(progress, found.bytes, shown(source.name)) as track:

                def pieces() -> Generator[bytes]:
                    track.restart(found.bytes)
                    yield from pack(source, ignore=rules.without(found.links_out), name=name, count=track.add)
                    track.finish()
                    # Here, where it is known that all the rest is sent, and not where it is only explained.
                    found.skipped.report("upload")

                stored = storage.put(pieces, token=token, config=config)
                return stored.bind(unpacked).map(lambda _: sandbox)

        return _goal(end, source, path, is_directory=names_directory(remote)).bind(carry)

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
    """Copy a directory or a file of a running sandbox to this machine. Gives the Path where it is now.

    What is *in* a directory goes into ``local``, which is made where it is missing; what is there already stays unless
    it has the same name, and a link in the way is replaced, never followed. A file goes to the path ``local``, or into
    it where that is a directory or ends with ``/``. A relative ``remote`` starts at ``/workspace``. It arrives whole or
    not at all, also at Ctrl-C. Only a program that is killed leaves a directory ``.pocketenv-…`` beside ``local``, or in
    it where that is a mount: delete it.

    An archive with anything in it that would be written elsewhere, a link that leads out of it, or with more than
    ``max_bytes`` in ``max_entries`` entries is refused as a whole: ArchiveError names the entry. A virtual environment
    of Python has such links. ``links="skip"`` leaves them out. ``links="keep"`` keeps them with their text: nothing is
    written through one, but a program that opens it later is led out. ``ignore`` is a list of patterns as those of
    ``.gitignore``; what it leaves out counts as entries, not as bytes. Pipes and devices are skipped. A warning in the
    log ``pocketenv_fp`` has the number of what was skipped and the first names. ``progress`` is a function of the bytes of the compressed archive that have come and their total, or True for a bar.

    A download that breaks off begins anew, with an archive of what is there then. Failures: PathNotFound where there is
    nothing at ``remote``; ArchiveError for what was refused and what this machine's disk did; InvalidInput;
    CommandFailed for a file that the sandbox's shell could not read; ApiError (400) for a sandbox that does not run, or
    a directory that it could not read; TransportError.

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
    from pocketenv_fp.sandbox.arrival import arriving, landed, landed_file

    end, limits = End(sandbox, token, config), Limits(max_bytes, max_entries)

    def fetch(path: str, target: Path, rules: Ignore) -> Result[Path, PocketenvError]:
        into = os.path.isdir(target)  # noqa: PTH112  # pathlib's raises
        file = target / on_disk(posixpath.basename(path)) if into or names_directory(os.fspath(local)) else target
        beside = target if into else file
        with tracking(progress, None, shown(posixpath.basename(path))) as track:

            def take(
                uuid: str, use: Callable[[Path], Path], beside: Path, rules: Ignore
            ) -> Result[Path, PocketenvError]:
                arrive = arriving(beside, limits, track, use, ignore=rules, links=links)
                return storage.take(uuid, arrive, token=token, config=config)

            def attempt() -> Result[Path, PocketenvError]:
                got = end.push(path).bind(lambda uuid: take(uuid, lambda made: landed(made, target), target, rules))
                if isinstance(got, Failure) and _is_missing(error := got.failure()):
                    return end.kind(path).bind(lambda kind: instead(kind, error))
                return got

            def instead(kind: Kind, error: PocketenvError) -> Result[Path, PocketenvError]:
                if kind == "file":
                    return (
                        end.push_file(path)
                        .bind(lambda uuid: take(uuid, file_landed, beside, Ignore.none()))
                        .lash(named)
                    )
                return Failure(error if kind == "directory" else _no_copy(path, kind, "download"))

            def file_landed(made: Path) -> Path:
                return landed_file(made / FILE, file, into=into)

            def named(error: PocketenvError) -> Result[Path, PocketenvError]:
                # Where it was packed is nobody's affair.
                if isinstance(error, ArchiveError) and error.entry.startswith(STAGED):
                    return Failure(ArchiveError(error.reason, shown(path)))
                return Failure(error)

            return settings(config, token=token).bind(lambda found: storage.again(attempt, found))

    return place("remote", remote).bind(
        lambda path: _local(local).bind(lambda target: _rules(ignore).bind(lambda rules: fetch(path, target, rules)))
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
    r"""Copy a directory or a file of one running sandbox into another. Gives the Sandbox of the destination.

    ``destination`` is a Sandbox, a Result of one, or an id. ``copy_to(box, other, "a", "b")`` copies from box to other,
    and so does ``box | copy_to(other, "a", "b")``; the next step is done to other. What is *in* a directory ``src``
    goes into ``dst``, which is made where it is missing; what is there already stays unless it has the same name, and a
    link in the way is replaced, never followed. A file goes to the path ``dst``, or into it where that is a directory or
    ends with ``/``. Relative paths start at ``/workspace``. Nothing of it passes through this machine.

    Each part of it is asked for once. Failures: that of ``destination``, or SandboxNotFound; PathNotFound where there is
    nothing at ``src``; InvalidInput for paths that cannot be, or a directory where a file should go and the other way
    round; CommandFailed for what the destination's shell could not do, and then a part of it may be there; ApiError
    (400) for a sandbox that does not run; TransportError with ``maybe_sent`` where it is open whether it was done.

    >>> from pocketenv_fp import copy_to, create, exec, start
    >>> one, other = create("one") | start, create("other") | start
    >>> _ = one | exec("mkdir output && echo 42 > output/answer")
    >>> (one | copy_to(other, "output", "input") | exec("cat input/answer")).unwrap().stdout
    '42\n'
    """
    source = End(sandbox, token, config)

    def copy(there: Sandbox, path: str, goal: str) -> Result[Sandbox, PocketenvError]:
        target = End(there, token, config)

        def settle(kind: Kind) -> Result[Sandbox, PocketenvError]:
            staging = temporary(goal if kind == "directory" else posixpath.dirname(goal))
            tree = source.push(path).bind(lambda uuid: _carry(target, uuid, staging, goal, "directory"))
            if not isinstance(tree, Failure) or not isinstance(tree.failure(), PathNotFound):
                return tree
            return source.kind(path).bind(lambda found: instead(found, kind))

        def instead(found: Kind, kind: Kind) -> Result[Sandbox, PocketenvError]:
            if found != "file":
                return Failure(_no_copy(path, found, "copy_to"))
            below = kind == "directory" or names_directory(dst)
            file = posixpath.join(goal, posixpath.basename(path)) if below else goal
            staging = temporary(posixpath.dirname(file))
            return source.push_file(path).bind(lambda uuid: _carry(target, uuid, staging, file, "file"))

        return target.kind(goal).bind(settle)

    places = place("src", src).bind(lambda path: place("dst", dst).map(lambda goal: (path, goal)))
    return places.bind(
        lambda both: _resolved(destination, token, config).bind(lambda there: copy(there, both[0], both[1]))
    )


def _local(path: str | PathLike[str]) -> Result[Path, PocketenvError]:
    text = os.fspath(path)
    if "\0" in text:
        return Failure(InvalidInput("local", "holds a NUL, and no path does"))
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        encoding = sys.getfilesystemencoding()
        reason = (
            _HALF if encoding == "utf-8" else f"cannot be written in the encoding of this machine's names, {encoding}"
        )
        return Failure(InvalidInput("local", reason))
    return Success(Path(text))


def _rules(ignore: bool | Sequence[str]) -> Result[Ignore, PocketenvError]:  # noqa: FBT001  # as the caller gave it
    from pocketenv_fp.archive.ignore import Ignore

    if isinstance(ignore, bool):
        return Success(Ignore.files() if ignore else Ignore.none())
    lines = list(ignore)
    try:
        return Success(Ignore.patterns(lines))
    except UnicodeEncodeError:
        return Failure(InvalidInput("ignore", _HALF))


def _goal(end: End, source: Path, path: str, *, is_directory: bool) -> Result[tuple[str, str | None], PocketenvError]:
    """The directory to unpack into, and the name that a single file has there."""
    from pocketenv_fp.archive.names import from_disk

    if os.path.isdir(source):  # noqa: PTH112  # pathlib's raises
        return Success((path, None))
    kind: Result[Kind, PocketenvError] = Success("directory") if is_directory else end.kind(path)
    return kind.map(
        lambda found: (
            (path, from_disk(source.name))
            if found == "directory"
            else (posixpath.dirname(path), posixpath.basename(path))
        )
    )


def _in_the_way(end: End, directory: str, error: PocketenvError) -> Result[None, PocketenvError]:
    # The platform hides why it could not unpack. Only a sandbox that runs tells what is there.
    if not isinstance(error, ApiError) or error.status not in {400, 500}:
        return Failure(error)
    match end.kind(directory).value_or(None):
        case None:
            return Failure(error)
        case "file":
            return Failure(InvalidInput("remote", "leads to a file in the sandbox, where a directory should be"))
        case _:
            said = f"it could not be unpacked, the platform hides why, and a part of it may be in {directory}"
            return Failure(type(error)(error.status, error.error, said, error.operation))


def _is_missing(error: PocketenvError) -> bool:
    return isinstance(error, ApiError) and (error.status, error.operation) == (404, storage.TAKE)


def _no_copy(path: str, kind: Kind, operation: str) -> PocketenvError:
    match kind:
        case "nothing":
            return PathNotFound(message=f"there is no {path}", operation=operation)
        case "other":
            return ArchiveError("it is neither a file nor a directory", path)
        case _:
            return PathNotFound(message=f"{path} was not there when it was packed", operation=operation)


def _carry(
    target: End, uuid: str, staging: str, goal: str, kind: Literal["directory", "file"]
) -> Result[Sandbox, PocketenvError]:
    is_there = True
    with guarded():
        try:
            with opened():
                pulled = target.pull(uuid, staging)
            if isinstance(pulled, Failure):
                is_there = may_have_run(pulled.failure())
                return Failure(pulled.failure())
            is_there = False  # from here on it is the shell's to remove, whatever comes between
        finally:
            if is_there:
                target.remove(staging, is_under_way=True)
        # The shell does not stop where who waits for it does: what it moves is moved before Ctrl-C comes out.
        return target.settle(staging, goal, kind)


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
