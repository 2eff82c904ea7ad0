"""Files that every start writes into a sandbox. Their contents stay sealed until then."""

from typing import Any

from pocketenv_fp.local import records
from pocketenv_fp.local.call import EMPTY, NOTHING, Call, World, iso, new_id, now, provider_refused

_VIEW = ("id", "path", "created_at", "updated_at")


async def add(call: Call) -> Any:
    """Keep a sealed content under a path that is free."""
    sent, moment = call.body["file"], now()
    call.world.store.insert(
        "files",
        id=new_id(),
        sandbox=records.sandbox_of(call, sent.get("sandboxId")),
        path=_path(sent["path"]),
        content=sent["content"],
        created_at=moment,
        updated_at=moment,
    )
    return EMPTY


async def update(call: Call) -> Any:
    """Another path and another sealed content for a file; what a start wrote at the old path stays there."""
    sent = call.body["file"]
    values = {"path": _path(sent["path"]), "content": sent["content"], "updated_at": now()}
    return records.change(call, "files", "File not found", **values)


async def get(call: Call) -> Any:
    """One file without its content; `{}` where there is none."""
    row = records.one(call, "files", _VIEW, call.params["id"])
    return {"file": _view(*row)} if row else NOTHING


async def get_all(call: Call) -> Any:
    """A page of files without their contents."""
    rows, total = records.page(call, "files", _VIEW, records.listed(call))
    return {"files": [_view(*row) for row in rows], "total": total}


async def delete(call: Call) -> Any:
    """Forget a file, also one that is unknown; what a start wrote stays where it is."""
    records.remove(call, "files")
    return EMPTY


def opened(world: World, sandbox_id: str) -> list[tuple[str, bytes]]:
    """The (path, content) of every file of a sandbox; ValueError where a content is no box for this key."""
    rows = world.store.rows("SELECT path, content FROM files WHERE sandbox = ? ORDER BY rowid", sandbox_id)
    return [(path, world.vault.open(content).encode("utf-8", "surrogateescape")) for path, content in rows]


def _path(path: str) -> str:
    # Refused now, for nobody would be told when a start cannot write it.
    if not path.strip("/") or "\0" in path:
        raise provider_refused()
    return path


def _view(record: str, path: str, created_at: float, updated_at: float) -> dict[str, Any]:
    return {"id": record, "path": path, "createdAt": iso(created_at), "updatedAt": iso(updated_at)}
