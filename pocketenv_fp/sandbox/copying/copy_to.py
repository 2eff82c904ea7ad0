"""Copy between sandboxes: through storage if both providers can copy, else through this machine."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import IO, Any, Concatenate, ParamSpec, TypeVar

from returns.result import Failure, Result, Success

from pocketenv_fp import pocketenv
from pocketenv_fp.archive.names import broken
from pocketenv_fp.config import Config
from pocketenv_fp.errors import PocketenvError, SandboxNotFound
from pocketenv_fp.http import storage
from pocketenv_fp.models import Sandbox
from pocketenv_fp.runtime.signals import opened
from pocketenv_fp.sandbox.copying.delivery import Goal, arrive, deliver
from pocketenv_fp.sandbox.copying.departure import Packed, fetch, look, pack
from pocketenv_fp.sandbox.copying.remote import End, names_directory, place, staging, temporary
from pocketenv_fp.steps.needs import Need
from pocketenv_fp.steps.operation import Operation
from pocketenv_fp.validation import Text

__all__ = ["copy_to"]

P = ParamSpec("P")
B = TypeVar("B")

OPERATION = "copy_to"
BLOCK = 256 * 1024


class _Between(Operation[Sandbox, P, B]):
    """An operation whose first argument may be a Sandbox too. It is the target only in a complete call."""

    def has_target(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        try:
            self.whole.signature.bind(*args, **kwargs)
        except TypeError:
            return False
        return bool(args)


def _between(function: Callable[Concatenate[Sandbox, P], Result[B, PocketenvError]]) -> Operation[Sandbox, P, B]:
    return _Between(function, Sandbox, reads=Need.STATUS)


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
    path, there = place("src", src), place("dst", dst)
    if isinstance(path, Failure):
        return path
    if isinstance(there, Failure):
        return there
    other = _resolved(destination)
    if isinstance(other, Failure):
        return other
    source, target = End(sandbox, "src"), End(other.unwrap(), "dst")
    # The look at the source shows which kind it is.
    goal = Goal(target, there.unwrap(), "directory", names_directory(dst))
    if source.provider.copies and target.provider.copies:
        return _through_storage(source, path.unwrap(), goal)
    return _through_this_machine(source, path.unwrap(), goal)


def _through_storage(source: End, path: str, goal: Goal) -> Result[Sandbox, PocketenvError]:
    with staging(source, temporary()) as staged, opened():
        looked = look(source, path, staged, OPERATION)
        if isinstance(looked, Failure):
            return looked
        kind, archive = looked.unwrap()
        goal = goal._replace(kind=kind)
        if archive is not None:
            return deliver(goal.end, lambda: _once(archive), goal.place, operation=OPERATION)
        packed = pack(source, path, staged.path, operation=OPERATION)
        uuid = packed if isinstance(packed, Failure) else source.push(f"{staged.path}/.")
        if isinstance(uuid, Failure):
            return uuid
        return arrive(goal.end, goal.place, staged.path, partial(goal.end.pull, uuid.unwrap(), staged.path))


def _once(archive: bytes) -> Generator[bytes]:
    yield archive


def _through_this_machine(source: End, path: str, goal: Goal) -> Result[Sandbox, PocketenvError]:
    import tempfile  # most programs copy nothing between sandboxes

    try:
        with tempfile.TemporaryFile() as file:
            kept = fetch(source, path, partial(_kept, file), operation=OPERATION)
            if isinstance(kept, Failure):
                return kept
            goal = goal._replace(kind=kept.unwrap())
            return deliver(goal.end, partial(_pieces, file), goal.place, operation=OPERATION)
    except OSError as error:
        # `gettempdir` itself may fail, without a free descriptor.
        return Failure(broken(error, tempfile.tempdir or "the temporary directory"))


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


def _resolved(destination: Sandbox | str | Result[Sandbox | None, PocketenvError]) -> Result[Sandbox, PocketenvError]:
    if isinstance(destination, Sandbox):
        return Success(destination)
    found = pocketenv.get_sandbox(destination) if isinstance(destination, str) else destination
    return found.bind(_is_sandbox)


def _is_sandbox(value: object) -> Result[Sandbox, PocketenvError]:
    if value is None:
        return Failure(SandboxNotFound(message="the destination does not exist", operation="copy_to"))
    if not isinstance(value, Sandbox):
        raise TypeError(f"copy_to: destination: expected a Result of a Sandbox, got one of {type(value).__name__}")
    return Success(value)
