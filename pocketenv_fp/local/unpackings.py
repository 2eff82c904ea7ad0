"""Backups on their way back into a sandbox: noted before the first file changes, so that a crash leaves none half done.

What is noted when the platform starts is unpacked again. That leaves what an undisturbed unpacking would have left,
for whatever could have changed the directory since ended with the platform.
"""

from pathlib import Path
from typing import NamedTuple

from pocketenv_fp.local.call import World


class Unpacking(NamedTuple):
    """A row of `unpackings`; `archive` is a path in the platform's folder."""

    archive: str
    sandbox: str
    directory: str


def note(world: World, archive: Path, sandbox_id: str, directory: str) -> Unpacking:
    """Have an archive unpacked, if need be by the next start. The caller holds the machine's turn."""
    noted = Unpacking(str(archive.relative_to(world.data)), sandbox_id, directory)
    world.store.insert("unpackings", **noted._asdict(), exact=1)
    return noted


async def carry(world: World, noted: Unpacking) -> None:
    """Unpack what is noted. Raises Refused, OSError."""
    archive = world.data / noted.archive
    await world.machine(noted.sandbox).unpack(noted.directory, archive, exact=True)


def forget(world: World, noted: Unpacking) -> None:
    """Remove a note: it was carried out, or refused. What a closing platform broke off is left to the next start."""
    if not world.closed.is_set():
        world.store.remove("unpackings", "archive = ?", noted.archive)


def left(world: World) -> list[Unpacking]:
    """Return what a crash interrupted."""
    return [Unpacking(*row) for row in world.store.select(Unpacking._fields, "unpackings", "ORDER BY rowid")]


def archives(world: World) -> set[Path]:
    """Return the archives that are still wanted."""
    return {world.data / noted.archive for noted in left(world)}
