"""Stop and start a sandbox, and carry a directory over."""

from __future__ import annotations

import os
from collections.abc import Generator
from functools import partial
from pathlib import Path

from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config
from pocketenv_fp.errors import ArchiveError, NotRestored, PocketenvError
from pocketenv_fp.http import storage
from pocketenv_fp.models import Sandbox, Status
from pocketenv_fp.runtime import rehearsal
from pocketenv_fp.sandbox.copying.delivery import Goal, deliver, unread
from pocketenv_fp.sandbox.copying.departure import Packed, fetch
from pocketenv_fp.sandbox.copying.remote import End, may_have_run, place
from pocketenv_fp.sandbox.lifecycle import start, stop, wait_until_running
from pocketenv_fp.steps.needs import Need, needed
from pocketenv_fp.steps.operation import step
from pocketenv_fp.validation import Text

__all__ = ["restart"]

BLOCK = 256 * 1024
OPERATION = "restart"
END_OF_TAR = bytes(1024)


@step(Sandbox, reads=Need.STATUS)
def restart(
    sandbox: Sandbox, *, keep: Text | None = None, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox, PocketenvError]:
    r"""Stop the sandbox and start it again: **without keep= this deletes its files**. Returns the running Sandbox.

    Stop and start repair a Cloudflare shell that has ended or is blocked only without ``keep``: with it, commands must
    run before the stop. Providers that delete files are those of `stop`.

    With ``keep`` the content of a directory is copied to this machine before the stop, as with `download`. After the
    start it is copied back, as with `upload`. Daytona, sprites and hopx keep all files themselves, so nothing is copied
    there. Modes and symlinks stay. Files that the start itself writes there stay too, unless the content has the same
    name. ``keep`` may also be a file. Other directories and all processes are gone.

    The start runs services again **before the content is back**. A service that needs it may end at once, although its
    status is RUNNING. Use `restart_service` afterwards.

    **The content is whole, or it is still there**: the archive is checked before the stop. If a later request fails, the
    result is Failure(NotRestored), which names the archive on this machine: a tar.gz in the directory for temporary
    files. An exception, such as Ctrl-C, has a note that names it. A program that is killed leaves it there too, as
    ``pocketenv-restart-….tar.gz``.

    Failures before the stop: PathNotFound and others of `download`, and nothing has changed.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        keep: Path of the directory or file to carry over. A relative path starts at ``/workspace``. Default: none.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, read_text, restart, start, write_file
    >>> box = create("my-box") | start | write_file("notes/one.txt", "first")
    >>> box | restart(keep="/workspace") | read_text("notes/one.txt")
    <Success: first>
    >>> (box | restart | read_text("notes/one.txt")).failure().error
    'PathNotFound'
    """
    end = End(sandbox, "keep")
    if keep is None:
        return _started_again(sandbox)
    path = place("keep", keep)
    if isinstance(path, Failure):
        return path
    if end.provider.keeps_files:
        rehearsal.note(lambda: "this provider keeps all files")
        return _started_again(sandbox)
    if rehearsal.is_rehearsed():
        return _rehearsed(end, path.unwrap())
    return _carried(end, path.unwrap())


def _started_again(sandbox: Sandbox) -> Result[Sandbox, PocketenvError]:
    return (stop | start).run_for(_own_need(), sandbox).bind(_running)


def _own_need() -> Need:
    """Return what is read of the started sandbox, here and by the next step."""
    return max(needed(), Need.STATUS)


def _running(sandbox: Sandbox) -> Result[Sandbox, PocketenvError]:
    return Success(sandbox) if sandbox.status is Status.RUNNING else wait_until_running(sandbox)


def _put_back(archive: Path, path: str, kind: Packed, sandbox: Sandbox) -> Result[Sandbox, PocketenvError]:
    goal = Goal(End(sandbox, "keep"), path, kind, into=False)
    return deliver(goal.end, partial(_pieces, archive), goal.place, operation=OPERATION)


def _carried(end: End, path: str) -> Result[Sandbox, PocketenvError]:
    import tempfile

    from pocketenv_fp.archive.names import broken

    is_needed = False
    try:
        descriptor, name = tempfile.mkstemp(prefix="pocketenv-restart-", suffix=".tar.gz")
    except OSError as error:
        # `gettempdir` itself may fail, without a free descriptor.
        return Failure(broken(error, tempfile.tempdir or "the temporary directory"))
    os.close(descriptor)
    archive = Path(name)
    try:
        fetched = fetch(end, path, partial(_saved, archive), operation=OPERATION)
        if isinstance(fetched, Failure):
            return fetched
        is_needed = True
        stopped = stop.run_before(start, Success(end.sandbox))
        if isinstance(stopped, Failure) and not may_have_run(stopped.failure()):
            is_needed = False
            return stopped
        back = (
            start.run_for(_own_need(), stopped).bind(_running).bind(partial(_put_back, archive, path, fetched.unwrap()))
        )
        if isinstance(back, Failure):
            return Failure(NotRestored(path, f"the archive {archive} of this machine", back.failure().summary()))
        is_needed = False
    except OSError as error:
        return Failure(broken(error, name))
    except BaseException as stopped:
        if is_needed:
            stopped.add_note(f"The content of {path} is in the archive {archive} of this machine.")
        raise
    finally:
        if not is_needed:
            archive.unlink(missing_ok=True)
    return back


def _saved(archive: Path, kind: Packed, source: storage.Readable) -> Packed:
    """Write an archive to a file of this machine. Raises ArchiveError if it is not whole, and OSError."""
    with archive.open("wb") as file:
        while piece := source.read(BLOCK):
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    check_archive(archive)
    return kind


def check_archive(archive: Path) -> None:
    """Read an archive to its end. Raises ArchiveError if it is not whole."""
    from pocketenv_fp.archive.compression import expand

    last = b""
    with archive.open("rb") as file:
        for block in expand(file.read):
            last = (last + block)[-len(END_OF_TAR) :]
    # gzip does not know whether tar came to its end.
    if last != END_OF_TAR:
        raise ArchiveError("the archive breaks off: tar did not end it in the sandbox")


def _pieces(archive: Path) -> Generator[bytes]:
    with archive.open("rb") as file:
        while piece := file.read(BLOCK):
            yield piece


def _rehearsed(end: End, path: str) -> Result[Sandbox, PocketenvError]:
    """Explain a restart as for a large directory: its size is unknown."""
    rehearsal.note(lambda: "as for a large directory; a small one comes and goes with one request each")
    with rehearsal.copying("kept"):
        fetched = fetch(end, path, lambda kind, _: kind, operation=OPERATION, most=-1)
        if isinstance(fetched, Failure):
            return fetched
        again = _started_again(end.sandbox)
        if isinstance(again, Failure):
            return again
        goal = Goal(End(again.unwrap(), "keep"), path, "directory", into=False)
        return deliver(goal.end, unread, goal.place, operation=OPERATION)
