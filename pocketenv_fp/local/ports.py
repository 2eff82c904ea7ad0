"""Exposed ports of a sandbox, and its VS Code.

On Cloudflare the ports of a sandbox share the token of one preview URL. The first exposed port has it, until that port
is unexposed or the sandbox stops. The URL of every other port is null. A start assigns it to the first port of the list.
"""

from typing import Any
from urllib.parse import quote

from pocketenv_fp.local import sandboxes
from pocketenv_fp.local.call import Call, World, not_found, provider_refused
from pocketenv_fp.local.sandboxes import CLOUDFLARE, Sandbox

# Cloudflare keeps this one for itself. The platform notices after it wrote the record.
RESERVED_PORT = 3000
LOWEST_PORT = 1024
VSCODE_PORT = 1024
HIGHEST_PORT = 65_535


async def expose(call: Call) -> Any:
    """Return the URL of a port, or null. Sandboxes share this machine's network, so it is the port itself. Raises Refusal."""
    sandbox, port = sandboxes.find_own(call, call.params["id"], by="uri"), int(call.body["port"])
    call.need_agent()
    add(call.world, sandbox, port, call.body.get("description"))
    if sandbox.provider != CLOUDFLARE:
        return {}
    return {"previewUrl": show(call.world, sandbox, port)}


async def unexpose(call: Call) -> None:
    """Delete the record of a port. A port that was not exposed is no error. Raises Refusal where the provider refuses."""
    sandbox, port = sandboxes.find_own(call, call.params["id"], by="uri"), int(call.body["port"])
    if _reserved(sandbox, port):
        raise provider_refused()
    call.world.store.remove("ports", "sandbox = ? AND port = ?", sandbox.id, port)
    call.world.store.change("sandboxes", "id = ? AND shown_port = ?", (sandbox.id, port), shown_port=None)


async def get_exposed(call: Call) -> Any:
    """Return the ports of a sandbox. An unknown sandbox has none."""
    sandbox = sandboxes.find(call.world, call.params["id"], by="name", owner=call.me.id)
    rows = call.world.store.rows(
        "SELECT port, description, preview_url FROM ports WHERE sandbox = ? ORDER BY rowid",
        sandbox.id if sandbox else None,
    )
    return {"ports": [_view(*row) for row in rows]}


async def expose_vscode(call: Call) -> Any:
    """Return a URL that opens the workspace in the VS Code of this machine. Other providers than Cloudflare refuse."""
    sandbox = sandboxes.find(call.world, call.params["id"], by="uri", owner=call.owner)
    if sandbox is None:
        raise not_found("Sandbox not found")
    link = "vscode://file" + quote(str(call.world.machine(sandbox.id).folder / "workspace"))
    there = sandbox.provider == CLOUDFLARE
    new = call.world.store.write(
        "INSERT INTO ports (sandbox, port, description, preview_url) VALUES (?, ?, 'VS Code Server', ?)"
        " ON CONFLICT DO NOTHING",
        sandbox.id,
        VSCODE_PORT,
        link if there else None,
    )
    if new and not there:
        # The platform writes the record before it calls the provider, and the provider has no such page.
        raise not_found("Request failed with status code 404")
    return {"previewUrl": link if there else ""}


def add(world: World, sandbox: Sandbox, port: int, description: str | None) -> None:
    """Add the record of a port. Raises sqlite3.IntegrityError where it exists."""
    world.store.insert("ports", sandbox=sandbox.id, port=port, description=description, preview_url=None)


def show(world: World, sandbox: Sandbox, port: int) -> str | None:
    """Assign the preview URL to a recorded port, if no other has it. Raises Refusal for a port that cannot have it."""
    if sandbox.provider != CLOUDFLARE:
        return None
    if _reserved(sandbox, port) or not LOWEST_PORT < port <= HIGHEST_PORT:
        raise provider_refused()
    store = world.store
    holder = store.row("SELECT shown_port FROM sandboxes WHERE id = ?", sandbox.id)
    if world.kind.network != "shared" or holder is None or holder[0] not in {None, port}:
        return None
    url = f"http://127.0.0.1:{port}"
    store.change("sandboxes", "id = ?", (sandbox.id,), shown_port=port)
    store.change("ports", "sandbox = ? AND port = ?", (sandbox.id, port), preview_url=url)
    return url


def show_again(world: World, sandbox: Sandbox) -> None:
    """Assign the preview URL at a start, to the first listed port that can have it."""
    rows = world.store.rows(
        "SELECT port FROM ports WHERE sandbox = ? AND port > ? AND port <> ? ORDER BY rowid LIMIT 1",
        sandbox.id,
        LOWEST_PORT,
        RESERVED_PORT,
    )
    for (port,) in rows:
        show(world, sandbox, port)


def _reserved(sandbox: Sandbox, port: int) -> bool:
    return port == RESERVED_PORT and sandbox.provider == CLOUDFLARE


def _view(port: int, description: str | None, preview_url: str | None) -> dict[str, Any]:
    shown = {"port": port, "description": description, "previewUrl": preview_url}
    return {name: value for name, value in shown.items() if value is not None}
