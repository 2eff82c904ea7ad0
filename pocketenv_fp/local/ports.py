"""Ports that a sandbox shows to the world, and its VS Code."""

from typing import Any
from urllib.parse import quote

from pocketenv_fp.local import sandboxes
from pocketenv_fp.local.call import EMPTY, Call, World, not_found, provider_refused
from pocketenv_fp.local.sandboxes import CLOUDFLARE, Sandbox

# Cloudflare keeps this one for itself; the platform notices after it wrote the port down.
RESERVED_PORT = 3000
VSCODE_PORT = 1024


async def expose(call: Call) -> Any:
    """The URL under which a port is reached: sandboxes share this machine's network, so it is the port itself."""
    found, port = _own(call), int(call.body["port"])
    shown = url(call.world, found, port)
    call.world.store.insert(
        "ports", sandbox=found.id, port=port, description=call.body.get("description"), preview_url=shown
    )
    if _reserved(found, port):
        raise provider_refused()
    return {"previewUrl": shown}


async def unexpose(call: Call) -> Any:
    """Forget a port, also one that was not exposed."""
    sql = "DELETE FROM ports WHERE sandbox = ? AND port = ?"
    call.world.store.write(sql, _own(call).id, int(call.body["port"]))
    return EMPTY


async def get_exposed(call: Call) -> Any:
    """The ports of a sandbox; none for one that is unknown."""
    found = sandboxes.find(call.world, call.params["id"], by="name", owner=call.me.id)
    rows = call.world.store.rows(
        "SELECT port, description, preview_url FROM ports WHERE sandbox = ? ORDER BY rowid", found.id if found else None
    )
    return {"ports": [_view(*row) for row in rows]}


async def expose_vscode(call: Call) -> Any:
    """A URL that opens the workspace in the VS Code of this machine; empty on all providers but Cloudflare."""
    found = sandboxes.find(call.world, call.params["id"], by="uri", owner=call.owner)
    if found is None:
        raise not_found("Sandbox not found")
    if found.provider != CLOUDFLARE:
        return {"previewUrl": ""}
    link = "vscode://file" + quote(str(call.world.machine(found.id).folder / "workspace"))
    call.world.store.write(
        "INSERT INTO ports (sandbox, port, description, preview_url) VALUES (?, ?, 'VS Code', ?)"
        " ON CONFLICT DO NOTHING",
        found.id,
        VSCODE_PORT,
        link,
    )
    return {"previewUrl": link}


def url(world: World, sandbox: Sandbox, port: int) -> str | None:
    """Where a port of a sandbox is reached; None where it is not, or the provider keeps it for itself."""
    reached = world.kind.network == "shared" and not _reserved(sandbox, port)
    return f"http://127.0.0.1:{port}" if reached else None


def _reserved(sandbox: Sandbox, port: int) -> bool:
    return port == RESERVED_PORT and sandbox.provider == CLOUDFLARE


def _own(call: Call) -> Sandbox:
    found = sandboxes.find(call.world, call.params["id"], by="uri", owner=call.me.id)
    if found is None:
        raise not_found("Sandbox not found")
    return found


def _view(port: int, description: str | None, preview_url: str | None) -> dict[str, Any]:
    shown = {"port": port, "description": description, "previewUrl": preview_url}
    return {name: value for name, value in shown.items() if value is not None}
