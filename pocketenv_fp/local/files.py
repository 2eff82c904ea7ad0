"""Files that every start writes into a sandbox. Their contents stay sealed until then."""

import logging
from typing import Any

from pocketenv_fp.local import records
from pocketenv_fp.local.call import EMPTY, NOTHING, Call, World, iso, new_id, now

_log = logging.getLogger("pocketenv_fp.local")
_VIEW = ("id", "path", "created_at", "updated_at")


async def add(call: Call) -> Any:
    """Keep sealed content under a path that is free."""
    sent, moment = call.body["file"], now()
    call.world.store.insert(
        "files",
        id=new_id("file"),
        sandbox=records.sandbox_of(call, sent.get("sandboxId")),
        path=sent["path"],
        content=sent["content"],
        created_at=moment,
        updated_at=moment,
    )
    return EMPTY


async def update(call: Call) -> Any:
    """Change the path of a file. Its content stays, whatever the body has: a bug of the platform."""
    return records.change(call, "files", "File not found", path=call.body["file"]["path"], updated_at=now())


async def get(call: Call) -> Any:
    """Return one file without its content; `{}` for an unknown one."""
    row = records.one(call, "files", _VIEW, call.params["id"])
    return {"file": _view(*row)} if row else NOTHING


async def get_all(call: Call) -> Any:
    """Return a page of files without their contents."""
    rows, total = records.page(call, "files", _VIEW, records.list_filter(call))
    return {"files": [_view(*row) for row in rows], "total": total}


async def delete(call: Call) -> Any:
    """Delete a file record. An unknown one is no error. A file that a start wrote stays."""
    records.remove(call, "files")
    return EMPTY


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


def _view(record: str, path: str, created_at: float, updated_at: float) -> dict[str, Any]:
    return {"id": record, "path": path, "createdAt": iso(created_at), "updatedAt": iso(updated_at)}
