"""The base images that a sandbox can be made from, and the names that sandboxes are given."""

import secrets
from typing import Any, NamedTuple

from pocketenv_fp.local.call import PAGE_ROWS, Call, iso, new_id, now
from pocketenv_fp.local.store import Store

# Two names that the platform's own catalogue has as well, so that a program naming its base runs on both.
PUBLISHER = "did:plc:aturpi2ls3yvsmhc6wybomun"
_IMAGES = (
    ("openclaw", "OpenClaw", "The default base."),
    ("claude-code", "Claude Code", "For programs that ask for this base: the machine's own tools are what is in it."),
    ("codex", "Codex", "For programs that ask for this base: the machine's own tools are what is in it."),
    ("opencode", "OpenCode", "For programs that ask for this base: the machine's own tools are what is in it."),
)
_ADJECTIVES = (
    "amber",
    "brisk",
    "calm",
    "clever",
    "crimson",
    "eager",
    "fuzzy",
    "gentle",
    "golden",
    "jolly",
    "keen",
    "lucky",
    "mellow",
    "nimble",
    "quiet",
    "swift",
)
_NOUNS = (
    "badger",
    "brook",
    "cedar",
    "comet",
    "falcon",
    "fern",
    "harbor",
    "heron",
    "lagoon",
    "maple",
    "meadow",
    "otter",
    "pebble",
    "raven",
    "summit",
    "willow",
)


class Base(NamedTuple):
    """A row of `bases`."""

    id: str
    name: str
    uri: str
    display_name: str
    description: str
    installs: int
    created_at: float


async def get_sandboxes(call: Call) -> Any:
    """The public catalogue: never anybody's own sandboxes."""
    limit, offset = call.window(PAGE_ROWS)
    store = call.world.store
    rows = store.select(Base._fields, "bases", "ORDER BY rowid LIMIT ? OFFSET ?", limit, offset)
    return {"sandboxes": [_view(Base(*row)) for row in rows], "total": store.count("SELECT count(*) FROM bases")}


def fill(store: Store) -> None:
    """Put the base images into a new database."""
    if store.count("SELECT count(*) FROM bases") > 0:
        return
    # All or none: a crash half way would leave a part of them for ever.
    with store.transaction():
        for name, display_name, description in _IMAGES:
            uri = f"at://{PUBLISHER}/io.pocketenv.sandbox/{name}"
            store.insert("bases", **Base(new_id(), name, uri, display_name, description, 0, now())._asdict())


def find(store: Store, base: str) -> Base | None:
    """The base image with this at-uri, name or id."""
    rows = store.select(Base._fields, "bases", "WHERE ? IN (uri, name, id)", base)
    return Base(*rows[0]) if rows else None


def new_name() -> str:
    """A name as the platform assigns them: adjective-noun-xxxx."""
    return f"{secrets.choice(_ADJECTIVES)}-{secrets.choice(_NOUNS)}-{secrets.token_hex(2)}"


def _view(base: Base) -> dict[str, Any]:
    return {
        "id": base.id,
        "name": base.name,
        "displayName": base.display_name,
        "description": base.description,
        "logo": None,
        "readme": None,
        "installs": base.installs,
        "uri": base.uri,
        "createdAt": iso(base.created_at),
    }
