"""Copy between sandboxes: through storage if both providers can copy, else through this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from pathlib import Path

from returns.result import Failure, Result, Success

from pocketenv_fp.archive.names import broken
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.http import storage
from pocketenv_fp.models import Sandbox
from pocketenv_fp.runtime.signals import guarded, opened
from pocketenv_fp.sandbox.copying.delivery import Goal, arrived, deliver
from pocketenv_fp.sandbox.copying.departure import Look, Packed, fetch, look, pack
from pocketenv_fp.sandbox.copying.remote import End, may_have_run, temporary

__all__ = ["transfer"]

OPERATION = "copy_to"
BLOCK = 256 * 1024


def transfer(source: End, target: End, path: str, goal: str, *, into: bool) -> Result[Sandbox, PocketenvError]:
    """Copy ``path`` of one sandbox to ``goal`` of another. Returns the target's Sandbox."""
    if not (source.provider.copies and target.provider.copies):
        return _through_this_machine(source, target, path, goal, into=into)
    staged = temporary()

    def carry(seen: Look) -> Result[Sandbox, PocketenvError]:
        there = Goal(goal, seen.kind, into)
        if seen.archive is not None:
            archive = seen.archive
            return deliver(target, there, lambda: (piece for piece in [archive]), operation=OPERATION)
        packed = pack(source, path, staged, operation=OPERATION).bind(lambda _: source.push(f"{staged}/."))
        return packed.bind(lambda uuid: arrived(target, there, uuid, staged))

    is_there, is_under_way = True, True
    with guarded():
        try:
            with opened():
                looked = look(source, path, staged, OPERATION)
                is_under_way = isinstance(looked, Failure) and may_have_run(looked.failure())
                is_there = is_under_way or (isinstance(looked, Success) and looked.unwrap().archive is None)
                return looked.bind(carry)
        finally:
            if is_there:
                source.remove(staged, is_under_way=is_under_way)


def _through_this_machine(
    source: End, target: End, path: str, goal: str, *, into: bool
) -> Result[Sandbox, PocketenvError]:
    try:
        with tempfile.TemporaryFile() as file:

            def keep(kind: Packed, archive: storage.Readable) -> Packed:
                file.seek(0)
                file.truncate()
                while piece := archive.read(BLOCK):
                    file.write(piece)
                return kind

            def pieces() -> Generator[bytes]:
                file.seek(0)
                while piece := file.read(BLOCK):
                    yield piece

            kept = fetch(source, path, keep, operation=OPERATION)
            return kept.bind(lambda kind: deliver(target, Goal(goal, kind, into), pieces, operation=OPERATION))
    except OSError as error:
        return Failure(broken(error, str(Path(tempfile.gettempdir()))))
