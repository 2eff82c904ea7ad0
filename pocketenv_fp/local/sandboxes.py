"""Sandboxes as records: made, found, shown, listed, renamed."""

import json
from typing import Any, Literal, NamedTuple

from pocketenv_fp.local import actors, catalogue
from pocketenv_fp.local.call import (
    EMPTY,
    NOTHING,
    PAGE_ROWS,
    Call,
    Refusal,
    World,
    iso,
    new_id,
    not_found,
    now,
    record_key,
)

CLOUDFLARE = "cloudflare"
DETAILS = "io.pocketenv.sandbox.defs#sandboxDetailsPref"
ECHOED = ("description", "topics", "repo", "vcpus", "memory", "disk", "readme")

# Which of its names a method knows a sandbox by: only its id, also its name, also its at-uri.
By = Literal["id", "name", "uri"]
_KNOWN_BY: dict[By, tuple[str, ...]] = {"id": ("id",), "name": ("id", "name"), "uri": ("id", "name", "uri")}


class Sandbox(NamedTuple):
    """A row of `sandboxes`; times in seconds since 1970, `topics` and `environment` are JSON."""

    id: str
    owner: str | None
    name: str
    uri: str | None
    provider: str
    base: str
    repo: str | None
    description: str | None
    topics: str | None
    keep_alive: int
    stopped: int
    ready_at: float
    environment: str
    created_at: float
    started_at: float | None

    @property
    def status(self) -> str:
        """RUNNING, STOPPED, or INITIALIZING until the boot delay is over."""
        if self.stopped:
            return "STOPPED"
        return "RUNNING" if self.ready_at <= now() else "INITIALIZING"


async def get_sandbox(call: Call) -> Any:
    """A sandbox, whoever owns it; `{}` where there is none."""
    found = find(call.world, call.params["id"], by="uri")
    if found is None:
        return NOTHING
    owner = actors.find(call.world.store, found.owner)
    shown = {
        **view(found),
        "topics": json.loads(found.topics) if found.topics else None,
        "repo": found.repo,
    }
    return {"sandbox": shown if owner is None else {**shown, "owner": actors.owner(owner)}}


async def get_actor_sandboxes(call: Call) -> Any:
    """The sandboxes of a user, newest first."""
    store = call.world.store
    limit, offset = call.window(PAGE_ROWS)
    user = actors.by_identifier(store, call.params["did"])
    if user is None:
        return {"sandboxes": [], "total": 0}
    chosen: tuple[str | float, ...] = (user.id,)
    wanted = "WHERE owner = ?"
    if call.params.get("isRunning"):
        chosen, wanted = (user.id, now()), f"{wanted} AND stopped = 0 AND ready_at <= ?"
    page = f"{wanted} ORDER BY created_at DESC, rowid DESC LIMIT ? OFFSET ?"
    rows = store.select(Sandbox._fields, "sandboxes", page, *chosen, limit, offset)
    total = store.select(["count(*)"], "sandboxes", wanted, *chosen)[0][0]
    return {"sandboxes": [view(Sandbox(*row)) for row in rows], "total": total}


async def get_preferences(call: Call) -> Any:
    """What can be set by putPreferences, as a list."""
    found = find(call.world, call.params["id"], by="uri", owner=call.owner)
    if found is None:
        raise not_found("Sandbox not found")
    details = {
        "$type": DETAILS,
        "name": found.name,
        "description": found.description,
        "topics": json.loads(found.topics) if found.topics else None,
        "repo": found.repo,
    }
    return [{name: value for name, value in details.items() if value is not None}]


async def put_preferences(call: Call) -> Any:
    """Rename and describe; a sandbox that is unknown or somebody else's is passed over in silence."""
    store = call.world.store
    with store.transaction():
        for preference in call.body["preferences"]:
            if preference["$type"] != DETAILS:
                continue
            settings = {name: preference[name] for name in ("name", "description", "repo") if name in preference}
            if "topics" in preference:
                settings["topics"] = json.dumps(preference["topics"]) if preference["topics"] else None
            if settings:
                key = (call.body["sandboxId"], call.me.id)
                store.change("sandboxes", "id = ? AND owner = ?", key, **settings)
    return EMPTY


def add(call: Call) -> Sandbox:
    """A new record from the body of createSandbox: the name asked for is ignored. Raises Refusal."""
    body, me, moment = call.body, call.me, now()
    base = catalogue.find(call.world.store, body["base"])
    if base is None:
        raise Refusal(502, "SandboxProviderError", "Base sandbox not found")
    provider: str = body.get("provider", CLOUDFLARE)
    if provider == "blaxel":
        raise Refusal(403, "SandboxProviderError", "Provider blaxel is not available")
    ready = moment if provider == CLOUDFLARE else moment + call.world.boot_delay
    made = Sandbox(
        id=new_id(),
        owner=me.id,
        name=free_name(call.world),
        uri=f"at://{me.did}/io.pocketenv.sandbox/{record_key()}",
        provider=provider,
        base=base.uri,
        repo=body.get("repo"),
        description=None,
        topics=None,
        keep_alive=int(body.get("keepAlive", False)),
        stopped=0,
        ready_at=ready,
        environment="[]",
        created_at=moment,
        started_at=ready,
    )
    with call.world.store.transaction():
        call.world.store.insert("sandboxes", **made._asdict())
        call.world.store.write("UPDATE bases SET installs = installs + 1 WHERE id = ?", base.id)
    return made


def same(call: Call) -> Sandbox | None:
    """The user's sandbox that has the repository and the base asked for already."""
    repo = call.body.get("repo")
    base = catalogue.find(call.world.store, call.body["base"])
    if repo is None or base is None:
        return None
    key = (call.me.id, repo, base.uri)
    rows = call.world.store.select(Sandbox._fields, "sandboxes", "WHERE owner = ? AND repo = ? AND base = ?", *key)
    return Sandbox(*rows[0]) if rows else None


def created(sandbox: Sandbox, body: dict[str, Any]) -> dict[str, Any]:
    """A sandbox as createSandbox answers: without a status, with an echo of what was sent."""
    return {
        "id": sandbox.id,
        "name": sandbox.name,
        "provider": sandbox.provider,
        "createdAt": iso(sandbox.created_at),
        "uri": sandbox.uri,
        **{name: body[name] for name in ECHOED if name in body},
    }


ANYBODY = object()


def find(world: World, identifier: str, *, by: By, owner: object = ANYBODY) -> Sandbox | None:
    """The sandbox with this name, of this owner (None: nobody's) or of anybody."""
    # An id wins over a name that looks like it.
    known_by = [f"{column} = ?" for column in _KNOWN_BY[by]]
    rest = f"WHERE {' OR '.join(known_by)} ORDER BY id = ? DESC LIMIT 1"
    rows = world.store.select(Sandbox._fields, "sandboxes", rest, *[identifier] * (len(known_by) + 1))
    if not rows:
        return None
    found = Sandbox(*rows[0])
    return found if owner is ANYBODY or found.owner == owner else None


def free_name(world: World) -> str:
    """A name that no sandbox has."""
    while world.store.row("SELECT 1 FROM sandboxes WHERE name = ?", name := catalogue.new_name()):
        pass
    return name


def view(sandbox: Sandbox) -> dict[str, Any]:
    """A sandbox as a list shows it."""
    shown = {
        "id": sandbox.id,
        "name": sandbox.name,
        "provider": sandbox.provider,
        "displayName": None,
        "description": sandbox.description,
        "baseSandbox": sandbox.base,
        "status": sandbox.status,
        "logo": None,
        "readme": None,
        "installs": 0,
        "uri": sandbox.uri,
        "vcpus": None,
        "memory": None,
        "disk": None,
        "createdAt": iso(sandbox.created_at),
    }
    if sandbox.started_at is None or sandbox.started_at > now():
        return shown
    return {**shown, "startedAt": iso(sandbox.started_at)}
