"""Copy directories and files between this machine and sandboxes, and between sandboxes.

They are sent as one tar.gz, as a stream, so memory use does not depend on their size. Contents, permission bits, empty
directories, symlinks and names of any length and script are preserved.
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
    """Copy a directory or a file from this machine into a running sandbox. Returns the Sandbox unchanged.

    The *content* of a directory goes into ``remote``, which is created if it does not exist. Existing files stay,
    unless they have the same name. A file goes to the path ``remote``, or into it if that is a directory or ends with
    ``/``.

    **Ignored files.** In each directory, the patterns of ``.pocketenvignore``, or else of ``.gitignore``, exclude what
    git would exclude, and also ``.git``. ``.git/info/exclude`` and ``core.excludesFile`` are not read, so that a copy
    is the same for every user. Sockets, pipes and devices are skipped. A warning in the log ``pocketenv_fp`` has the
    number of skipped entries and their first names.

    **Transfer.** A small archive, up to 48 KiB, is sent in one command. A larger one goes through storage. An
    interrupted transfer is retried, and the unpack request is sent once. tar in the sandbox unpacks it in ``/tmp``
    first, so an incomplete archive changes nothing. E2B, Blaxel, Runloop, Deno and Vercel cannot copy: there the bytes
    go through commands, up to 64 MiB compressed. Short requests have ``read_timeout``. Packing and unpacking have the
    provider's limit for a command (300 s on Cloudflare) plus ``read_timeout``.

    Failures: ArchiveError for a file that cannot be read or that changes during the copy, and for an archive that did
    not arrive; InvalidInput for a ``remote`` that is not valid or is a file in the place of a directory, and for a
    sandbox without tar, gzip or base64; CommandFailed if a tool in the sandbox fails, and then a part may have been
    copied; NotSupported above 64 MiB; ApiError (400) for a sandbox that is not running; TransportError, with
    ``maybe_sent`` if the archive may have been unpacked.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        local: Path of a directory or file on this machine. ``~`` is the home directory.
        remote: Path in the sandbox. A relative path starts at ``/workspace``. Default: ``"/workspace"``.
        ignore: True: exclude by ignore files. False: exclude nothing. A list of patterns: exclude by these only.
            Default: True.
        links: ``"keep"``: copy all symlinks. ``"skip"``: skip symlinks that lead out of ``local``. ``"refuse"``: fail
            if there is one. Default: ``"keep"``.
        progress: Function of the bytes read and the total, or True for a bar. Default: False.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

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
            contents = survey(source, ignore=rules, links=links)
        except ArchiveError as error:
            return Failure(error)
        with tracking(progress, contents.bytes, shown(source.name)) as track:

            def pieces() -> Generator[bytes]:
                track.restart(contents.bytes)
                yield from pack(source, ignore=rules.without(contents.links_out), count=track.add)
                track.finish()
                # Only after everything is sent, so that `explain` does not log it.
                contents.skipped.report("upload")

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
    """Copy a directory or a file of a running sandbox to this machine. Returns its local Path.

    The *content* of a directory goes into ``local``, which is created if it does not exist. Existing files stay, unless
    they have the same name. A symlink in the way is replaced, never followed. A file goes to the path ``local``, or
    into it if that is a directory or ends with ``/``. The copy arrives completely or not at all, also after Ctrl-C.
    Only a program that is killed leaves a directory ``.pocketenv-…`` next to ``local``, or in it if that is a mount:
    delete it.

    **Refused archives.** An archive is refused if an entry would be written outside of ``local``, if a symlink leads
    outside, or if it exceeds ``max_bytes`` or ``max_entries``. The ArchiveError names the entry. A virtual environment
    of Python has such symlinks. With ``links="keep"`` nothing is written through a symlink, but a program that opens it
    later leaves the directory. Pipes and devices are skipped. A warning in the log ``pocketenv_fp`` has the number of
    skipped entries and their first names.

    **Transfer.** An archive of up to 512 KiB comes with the response of one command. A larger one comes through
    storage. An interrupted transfer starts again with a new archive. If the provider cannot copy, it comes through
    commands, as for `upload`. The sandbox is left clean.

    Failures: PathNotFound if ``remote`` does not exist; ArchiveError for a refused archive or an error of this
    machine's disk; InvalidInput; CommandFailed for a file that the sandbox could not read; NotSupported as for
    `upload`; ApiError (400) for a sandbox that is not running; TransportError.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        remote: Path in the sandbox. A relative path starts at ``/workspace``.
        local: Path on this machine. ``~`` is the home directory.
        ignore: Patterns to exclude, as in ``.gitignore``. Excluded entries count for ``max_entries``, not for
            ``max_bytes``. Default: none.
        links: ``"refuse"``: fail if a symlink leads out of ``local``. ``"skip"``: skip such symlinks. ``"keep"``: keep
            them. Default: ``"refuse"``.
        max_bytes: Limit for the unpacked size, in bytes. Default: 32 GiB.
        max_entries: Limit for the number of entries. Default: 1000000.
        progress: Function of the received bytes of the compressed archive and the total, or True for a bar. Default:
            False.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

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
                    # The caller did not choose the name of the single entry in a file's archive.
                    is_internal = kind == "file" and entry in {"file", posixpath.basename(path)}
                    raise ArchiveError(error.reason, shown(path) if is_internal else entry) from None

            return fetch(end, path, arrive, operation="download")

    return place("remote", remote).bind(
        lambda path: _local(local).bind(lambda target: _rules(ignore).bind(lambda rules: fetched(path, target, rules)))
    )


class _Between(Operation[Sandbox, P, B]):
    """An operation whose first argument may be a Sandbox too. It is the target only in a complete call."""

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

    ``copy_to(box, other, "a", "b")`` copies from box to other, and so does ``box | copy_to(other, "a", "b")``. The next
    step then runs on other. The *content* of a directory ``src`` goes into ``dst``, which is created if it does not
    exist. Existing files stay, unless they have the same name. A symlink in the way is replaced, never followed. A file
    goes to the path ``dst``, or into it if that is a directory or ends with ``/``. A large archive passes through this
    machine only if one of the providers cannot copy.

    Each request that changes something is sent once, and both sandboxes are left clean. Failures: that of
    ``destination``, or SandboxNotFound; PathNotFound if ``src`` does not exist; InvalidInput for a path that is not
    valid, or a directory in the place of a file, or the reverse; CommandFailed if the destination's shell fails, and
    then a part may have been copied; ApiError (400) for a sandbox that is not running; TransportError, with
    ``maybe_sent`` if the copy may have been done.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        destination: The other Sandbox, a Result of one, or an id.
        src: Path of a directory or file in the first sandbox. A relative path starts at ``/workspace``.
        dst: Path in the destination. A relative path starts at ``/workspace``.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

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
        reason = _HALF if encoding == "utf-8" else f"cannot be encoded in {encoding}, this machine's encoding of names"
        return Failure(InvalidInput("local", reason))
    whole = os.path.expanduser(text)  # noqa: PTH111  # pathlib's raises
    if whole.startswith("~"):
        return Failure(
            InvalidInput("local", "starts with ~ but is not a user's home directory: write ./~ for that name")
        )
    return Success(Path(whole))


def _rules(ignore: bool | Sequence[str]) -> Result[Ignore, PocketenvError]:  # noqa: FBT001  # the caller's argument
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
    result: Result[Sandbox | None, PocketenvError]
    match destination:
        case str():
            result = pocketenv.get_sandbox(destination, token=token, config=config)
        case Sandbox():
            result = Success(destination)
        case _:
            result = destination
    return result.bind(_is_sandbox)


def _is_sandbox(value: object) -> Result[Sandbox, PocketenvError]:
    if value is None:
        return Failure(SandboxNotFound(message="the destination does not exist", operation="copy_to"))
    if not isinstance(value, Sandbox):
        raise TypeError(f"copy_to: destination: expected a Result of a Sandbox, got one of {type(value).__name__}")
    return Success(value)
