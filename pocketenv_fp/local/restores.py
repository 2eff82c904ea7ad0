"""Unfinished restores of backups. Each is recorded before the first file changes, so that a crash leaves none half done.

The platform repeats the recorded ones when it starts. The result is the same as without the crash: every process that
could have changed the directory in between ended with the platform.
"""

from pathlib import Path
from typing import NamedTuple

from pocketenv_fp.local.call import World


class Restore(NamedTuple):
    """A row of `restores`; `archive` is a path in the platform's folder."""

    archive: str
    sandbox: str
    directory: str


def record(world: World, archive: Path, sandbox_id: str, directory: str) -> Restore:
    """Record a restore, for the next start if this platform ends. The caller holds the machine's turn."""
    restore = Restore(str(archive.relative_to(world.data)), sandbox_id, directory)
    world.store.insert("restores", **restore._asdict())
    return restore


async def carry_out(world: World, restore: Restore) -> None:
    """Unpack the archive, and remove all other entries of the directory. Raises Refused, OSError."""
    archive = world.data / restore.archive
    await world.machine(restore.sandbox).unpack(restore.directory, archive, exact=True)


def forget(world: World, restore: Restore) -> None:
    """Remove the record of a restore that is done or refused. A closing platform leaves it to the next start."""
    if not world.closed.is_set():
        world.store.remove("restores", "archive = ?", restore.archive)


def unfinished(world: World) -> list[Restore]:
    """Return the restores that a crash interrupted."""
    return world.store.all(Restore, "restores", "ORDER BY rowid")


def archives(world: World) -> set[Path]:
    """Return the archives of unfinished restores."""
    return {world.data / restore.archive for restore in unfinished(world)}
