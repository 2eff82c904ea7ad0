"""The base images for sandboxes, and the names that sandboxes get."""

import secrets
from typing import Any, NamedTuple

from pocketenv_fp.local.call import PAGE_ROWS, Call, User, new_id, now, show
from pocketenv_fp.local.store import Store

# The account that publishes the base images, and the images. All are this machine itself.
PUBLISHER = "did:plc:aturpi2ls3yvsmhc6wybomun"
HANDLE = "pocketenv.io"
_IMAGES = (
    *("openclaw", "codex", "copilot", "docker", "gemini", "kilo", "kiro"),
    *("mise", "nix", "nullclaw", "amp", "opencrust", "picoclaw", "pkgx"),
    *("zeroclaw", "wasmer", "nanoclaw", "cursor", "opencode", "claude-code"),
)
_ADJECTIVES = (
    *("amber", "brisk", "calm", "clever", "crimson", "eager", "fuzzy", "gentle"),
    *("golden", "jolly", "keen", "lucky", "mellow", "nimble", "quiet", "swift"),
)
_NOUNS = (
    *("badger", "brook", "cedar", "comet", "falcon", "fern", "harbor", "heron"),
    *("lagoon", "maple", "meadow", "otter", "pebble", "raven", "summit", "willow"),
)


class Base(NamedTuple):
    """A row of `bases`."""

    id: str
    name: str
    uri: str
    installs: int
    created_at: float


async def get_sandboxes(call: Call) -> Any:
    """Return the public catalogue: base images, and no sandboxes of users."""
    limit, offset = call.window(PAGE_ROWS)
    store = call.world.store
    bases = store.all(Base, "bases", "ORDER BY rowid LIMIT ? OFFSET ?", limit, offset)
    return {"sandboxes": [view(base) for base in bases], "total": store.count("SELECT count(*) FROM bases")}


def fill(store: Store) -> None:
    """Put the base images and their publisher into a new database."""
    if store.count("SELECT count(*) FROM bases") > 0:
        return
    moment = now()
    # All or none: after a crash half way the rest would be missing for good.
    with store.transaction():
        store.insert("users", **User(new_id("rec"), PUBLISHER, HANDLE, "pocketenv", moment, moment)._asdict())
        for name in _IMAGES:
            uri = f"at://{PUBLISHER}/io.pocketenv.sandbox/{name}"
            store.insert("bases", **Base(new_id("sandbox"), name, uri, 0, moment)._asdict())


def find(store: Store, base: str) -> Base | None:
    """Return the base image with this at-uri, name or id."""
    return store.first(Base, "bases", "WHERE ? IN (uri, name, id)", base)


def has_name(store: Store, name: str) -> bool:
    """Return whether a base image has this name. Sandboxes and base images share their names."""
    return store.row("SELECT 1 FROM bases WHERE name = ?", name) is not None


def new_name() -> str:
    """Make a name as the platform assigns them: adjective-noun-xxxx."""
    return f"{secrets.choice(_ADJECTIVES)}-{secrets.choice(_NOUNS)}-{secrets.token_hex(2)}"


def view(base: Base) -> dict[str, Any]:
    """Return a base image as the catalogue shows it."""
    unset = dict.fromkeys(("description", "logo", "readme"))
    return {**show(base._asdict(), *Base._fields), "displayName": base.name, **unset}
