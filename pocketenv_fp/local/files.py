"""Files that every start writes into a sandbox. Their contents stay sealed until then."""

import logging

from pocketenv_fp.local import records
from pocketenv_fp.local.call import Call, World
from pocketenv_fp.local.records import Kind

_log = logging.getLogger("pocketenv_fp.local")
FILES = Kind("file", "file", ("id", "path", "created_at", "updated_at"), by_name=True)


async def add(call: Call) -> None:
    """Keep sealed content under a path that is free."""
    sent = call.body["file"]
    sandbox = records.sandbox_of(call, sent.get("sandboxId"))
    FILES.add(call, sandbox, path=sent["path"], content=sent["content"])


async def update(call: Call) -> None:
    """Change the path of a file. Its content stays, whatever the body has: a bug of the platform."""
    FILES.change(call, path=call.body["file"]["path"])


async def delete(call: Call) -> None:
    """Delete a file record. An unknown one is no error. A file that a start wrote stays."""
    FILES.remove(call)


def contents(world: World, sandbox_id: str) -> list[tuple[str, bytes]]:
    """Return the (path, content) of every file of a sandbox that can be written. Others are logged and left out."""
    rows = world.store.rows("SELECT path, content FROM files WHERE sandbox = ? ORDER BY rowid", sandbox_id)
    return [file for path, content in rows if (file := _open(world, path, content)) is not None]


def _open(world: World, path: str, content: str) -> tuple[str, bytes] | None:
    try:
        text = world.vault.open(content)
    except ValueError:
        text = None
    if text is None or not path.strip("/") or "\0" in path:
        _log.warning("a file is not written: its content is no sealed box, or no file can have its path")
        return None
    # The platform ends every file with one more newline.
    return path, text.encode("utf-8", "surrogateescape") + b"\n"
