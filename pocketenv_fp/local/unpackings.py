"""Archives on their way into a sandbox: noted before the first file changes, so that a crash leaves none half done.

What is noted when the platform starts is unpacked again. That gives what an undisturbed unpacking would have given,
for whatever could have changed the directory since ended with the platform.
"""

from pathlib import Path
from typing import NamedTuple

from pocketenv_fp.local.call import World


class Unpacking(NamedTuple):
    """A row of `unpackings`; `archive` is a path in the platform's folder.

    `exact`: a backup, which is kept, and beside whose entries nothing stays. What is not exact is used up.
    """

    archive: str
    sandbox: str
    directory: str
    exact: int


def note(world: World, archive: Path, sandbox_id: str, directory: str, *, exact: bool = False) -> Unpacking:
    """Have an archive unpacked, if need be by the next start. For who holds the machine's turn."""
    noted = Unpacking(str(archive.relative_to(world.data)), sandbox_id, directory, int(exact))
    world.store.insert("unpackings", **noted._asdict())
    return noted


async def carry(world: World, noted: Unpacking) -> None:
    """Unpack what is noted. Raises Refused, OSError."""
    archive = world.data / noted.archive
    await world.machine(noted.sandbox).unpack(noted.directory, archive, exact=bool(noted.exact))


def forget(world: World, noted: Unpacking) -> None:
    """It was carried out, or refused; but what a closing platform broke off is left to the next start."""
    if world.closed.is_set():
        return
    world.store.remove("unpackings", "archive = ?", noted.archive)
    if not noted.exact:
        (world.data / noted.archive).unlink(missing_ok=True)


def left(world: World) -> list[Unpacking]:
    """What a crash interrupted."""
    return [Unpacking(*row) for row in world.store.select(Unpacking._fields, "unpackings", "ORDER BY rowid")]


def archives(world: World) -> set[Path]:
    """The archives that are still wanted."""
    return {world.data / noted.archive for noted in left(world)}
