"""From one sandbox into another: through storage where both providers can copy, else through this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any, Concatenate, ParamSpec, TypeVar

from returns.result import Failure, Result, Success

from pocketenv_fp import pocketenv
from pocketenv_fp.config import Config
from pocketenv_fp.errors import PocketenvError, SandboxNotFound
from pocketenv_fp.http import storage
from pocketenv_fp.models import Sandbox
from pocketenv_fp.runtime.signals import opened
from pocketenv_fp.sandbox.copying.delivery import Goal, arrived, deliver
from pocketenv_fp.sandbox.copying.departure import Packed, fetch, look, pack
from pocketenv_fp.sandbox.copying.remote import End, names_directory, place, staging, temporary
from pocketenv_fp.steps.operation import Operation
from pocketenv_fp.validation import Text

__all__ = ["copy_to"]

P = ParamSpec("P")
B = TypeVar("B")

OPERATION = "copy_to"
BLOCK = 256 * 1024


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
    link in the way is replaced, never followed. A file goes to the path ``dst``, or into it where that is a directory or
    ends with ``/``. Relative paths start at ``/workspace``. A large archive does not pass through this machine, unless a
    provider of the two cannot copy.

    Each part of it is asked for once, and nothing else stays in either sandbox. Failures: that of ``destination``, or SandboxNotFound; PathNotFound where there is
    nothing at ``src``; InvalidInput for paths that cannot be, or a directory where a file should go and the other way
    round; CommandFailed for what the destination's shell could not do, and then a part of it may be there; ApiError
    (400) for a sandbox that does not run; TransportError with ``maybe_sent`` where it is open whether it was done.

    >>> from pocketenv_fp import copy_to, create, exec, start
    >>> one, other = create("one") | start, create("other") | start
    >>> _ = one | exec("mkdir output && echo 42 > output/answer")
    >>> (one | copy_to(other, "output", "input") | exec("cat input/answer")).unwrap().stdout
    '42\n'
    """
    places: Result[tuple[str, str, Sandbox], PocketenvError] = Result.do(
        (path, goal, there)
        for path in place("src", src)
        for goal in place("dst", dst)
        for there in _resolved(destination)
    )
    if isinstance(places, Failure):
        return places
    path, goal, there = places.unwrap()
    source, target = End(sandbox, "src"), End(there, "dst")
    into = names_directory(dst)
    if source.provider.copies and target.provider.copies:
        return _through_storage(source, target, path, goal, into=into)
    return _through_this_machine(source, target, path, goal, into=into)


def _through_storage(source: End, target: End, path: str, goal: str, *, into: bool) -> Result[Sandbox, PocketenvError]:
    with staging(source, temporary()) as staged, opened():
        looked = look(source, path, staged, OPERATION)
        if isinstance(looked, Failure):
            return looked
        kind, archive = looked.unwrap()
        if archive is not None:
            return deliver(target, Goal(goal, kind, into), partial(_once, archive), operation=OPERATION)
        packed = pack(source, path, staged.path, operation=OPERATION)
        uuid = packed.bind(lambda _: source.push(f"{staged.path}/."))
        if isinstance(uuid, Failure):
            return uuid
        return arrived(target, Goal(goal, kind, into), uuid.unwrap(), staged.path)


def _once(archive: bytes) -> Generator[bytes]:
    yield archive


def _through_this_machine(
    source: End, target: End, path: str, goal: str, *, into: bool
) -> Result[Sandbox, PocketenvError]:
    from pocketenv_fp.archive.names import broken

    try:
        with tempfile.TemporaryFile() as file:
            kept = fetch(source, path, partial(_kept, file), operation=OPERATION)
            if isinstance(kept, Failure):
                return kept
            return deliver(target, Goal(goal, kept.unwrap(), into), partial(_pieces, file), operation=OPERATION)
    except OSError as error:
        return Failure(broken(error, str(Path(tempfile.gettempdir()))))


def _kept(file: IO[bytes], kind: Packed, archive: storage.Readable) -> Packed:
    file.seek(0)
    file.truncate()
    while piece := archive.read(BLOCK):
        file.write(piece)
    return kind


def _pieces(file: IO[bytes]) -> Generator[bytes]:
    file.seek(0)
    while piece := file.read(BLOCK):
        yield piece


def _resolved(
    destination: Sandbox | str | Result[Sandbox | None, PocketenvError],
) -> Result[Sandbox, PocketenvError]:
    found: Result[Sandbox | None, PocketenvError]
    match destination:
        case str():
            found = pocketenv.get_sandbox(destination)
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
