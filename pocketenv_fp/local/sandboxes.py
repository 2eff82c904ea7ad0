"""Sandboxes as records: add, find, show, list, rename."""

import json
from typing import Any, Literal, NamedTuple

from pocketenv_fp.local import actors, catalogue
from pocketenv_fp.local.call import (
    NOTHING,
    PAGE_ROWS,
    Call,
    Refusal,
    World,
    agent_lost,
    new_id,
    not_found,
    now,
    record_key,
    server_error,
    show,
)

CLOUDFLARE = "cloudflare"
DETAILS = "io.pocketenv.sandbox.defs#sandboxDetailsPref"
ECHOED = ("description", "topics", "repo", "vcpus", "memory", "disk", "readme")
SETTABLE = ("name", "description", "topics", "repo")
# The size of every Cloudflare sandbox, whatever the body of createSandbox has. Other providers have none.
_SIZE: dict[str, int | None] = {"vcpus": 2, "memory": 8, "disk": 16}
_NO_SIZE: dict[str, int | None] = dict.fromkeys(_SIZE)

# The names by which a method finds a sandbox: only its id, also its name, also its at-uri.
By = Literal["id", "name", "uri"]
_KNOWN_BY: dict[By, tuple[str, ...]] = {"id": ("id",), "name": ("id", "name"), "uri": ("id", "name", "uri")}


class Sandbox(NamedTuple):
    """A row of `sandboxes`; times in seconds since 1970, `topics` and `environment` are JSON.

    `base` is the name of a base image. `shown_port` is the port that has the sandbox's one preview URL.
    """

    id: str
    owner: str | None
    name: str
    uri: str | None
    provider: str
    base: str
    ready_at: float
    created_at: float
    started_at: float | None
    repo: str | None = None
    description: str | None = None
    topics: str | None = None
    keep_alive: int = 0
    stopped: int = 0
    environment: str = "[]"
    shown_port: int | None = None

    @property
    def status(self) -> str:
        """RUNNING, STOPPED, or INITIALIZING until the boot delay is over."""
        if self.stopped:
            return "STOPPED"
        return "RUNNING" if self.ready_at <= now() else "INITIALIZING"


async def get_sandbox(call: Call) -> Any:
    """Return a sandbox or a base image, of any owner; `{}` for an unknown one."""
    sandbox = find(call.world, call.params["id"], by="uri")
    if sandbox is None:
        return _base_image(call.world, call.params["id"])
    owner = actors.find(call.world.store, sandbox.owner)
    shown = {
        **view(sandbox),
        "topics": json.loads(sandbox.topics) if sandbox.topics else None,
        "repo": sandbox.repo,
    }
    return {"sandbox": shown if owner is None else {**shown, "owner": actors.owner(owner)}}


async def get_actor_sandboxes(call: Call) -> Any:
    """Return the sandboxes of a user, newest first."""
    store = call.world.store
    limit, offset = call.window(PAGE_ROWS)
    user = actors.by_identifier(store, call.params["did"])
    if user is None:
        return {"sandboxes": [], "total": 0}
    key: tuple[str | float, ...] = (user.id,)
    condition = "WHERE owner = ?"
    if (running := call.params.get("isRunning")) is not None:
        state = "stopped = 0 AND ready_at <= ?" if running else "NOT (stopped = 0 AND ready_at <= ?)"
        key, condition = (user.id, now()), f"{condition} AND {state}"
    page = f"{condition} ORDER BY created_at DESC, rowid DESC LIMIT ? OFFSET ?"
    rows = store.all(Sandbox, "sandboxes", page, *key, limit, offset)
    total = store.count(f"SELECT count(*) FROM sandboxes {condition}", *key)  # noqa: S608 - none of it is input
    return {"sandboxes": [view(row) for row in rows], "total": total}


async def get_preferences(_call: Call) -> Any:
    """Return an empty list. The platform stores the settings elsewhere and shows them in the sandbox."""
    return []


async def put_preferences(call: Call) -> None:
    """Rename and describe. An unknown sandbox, or another user's, is ignored silently. Raises Refusal."""
    for preference in call.body["preferences"]:
        if preference["$type"] == DETAILS:
            _describe(call, preference)


def _describe(call: Call, details: dict[str, Any]) -> None:
    settings = {name: details[name] for name in SETTABLE if name in details}
    if not settings:
        # An update that sets nothing is an error of the platform's database library.
        raise server_error()
    if "name" in settings:
        call.need_agent()
        if catalogue.has_name(call.world.store, settings["name"]):
            raise server_error()
    if "topics" in settings:
        settings["topics"] = json.dumps(settings["topics"]) if settings["topics"] else None
    key = (call.body["sandboxId"], call.me.id)
    call.world.store.change("sandboxes", "id = ? AND owner = ?", key, **settings)


def add(call: Call) -> Sandbox:
    """Add a record from the body of createSandbox. The name in the body is ignored. Raises Refusal.

    Without an AT Protocol session it has no at-uri, and `view_created` reports that. A caller without a user record leaves a
    sandbox without an owner.
    """
    body, me, moment = call.body, call.me, now()
    provider: str = body.get("provider", CLOUDFLARE)
    if provider == "blaxel":
        raise Refusal(403, "SandboxProviderError", "Braxel sandboxes are only available to designated test accounts")
    base = catalogue.find(call.world.store, body["base"])
    if base is None:
        raise Refusal(502, "SandboxProviderError", "Failed to create sandbox with the provider")
    ready = moment if provider == CLOUDFLARE else moment + call.world.boot_delay
    sandbox = Sandbox(
        id=new_id("sandbox"),
        owner=me.id or None,
        name=free_name(call.world),
        uri=f"at://{me.did}/io.pocketenv.sandbox/{record_key()}" if call.has_agent else None,
        provider=provider,
        base=base.name,
        ready_at=ready,
        created_at=moment,
        started_at=ready,
        repo=body.get("repo"),
        keep_alive=int(body.get("keepAlive", False)),
    )
    with call.world.store.transaction():
        call.world.store.insert("sandboxes", **sandbox._asdict())
        call.world.store.write("UPDATE bases SET installs = installs + 1 WHERE id = ?", base.id)
    return sandbox


def same(call: Call) -> Sandbox | None:
    """Return the user's sandbox with the repository and the base of a createSandbox."""
    repo = call.body.get("repo")
    base = catalogue.find(call.world.store, call.body["base"])
    if repo is None or base is None:
        return None
    key = (call.me.id, repo, base.name)
    return call.world.store.first(Sandbox, "sandboxes", "WHERE owner = ? AND repo = ? AND base = ?", *key)


def view_created(sandbox: Sandbox, body: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of createSandbox: without a status, with an echo of the body. Raises Refusal."""
    if sandbox.uri is None:
        raise agent_lost()
    return view_new(sandbox, {name: body[name] for name in ECHOED if name in body})


def view_existing(sandbox: Sandbox) -> dict[str, Any]:
    """Return the answer of createSandbox for an existing sandbox, with its stored fields."""
    described = {} if sandbox.description is None else {"description": sandbox.description}
    return view_new(sandbox, {**described, "repo": sandbox.repo, **size(sandbox), "readme": None})


def view_new(sandbox: Sandbox, details: dict[str, Any]) -> dict[str, Any]:
    """Return a sandbox as the methods show it that make it the caller's."""
    return {**show(sandbox._asdict(), "id", "name", "provider", "created_at", "uri"), **details}


ANYBODY = object()


def find(world: World, identifier: str, *, by: By, owner: object = ANYBODY) -> Sandbox | None:
    """Return the sandbox with this name, of this owner (None: one without an owner) or of any."""
    # An id wins over a name that looks like it.
    known_by = [f"{column} = ?" for column in _KNOWN_BY[by]]
    rest = f"WHERE {' OR '.join(known_by)} ORDER BY id = ? DESC LIMIT 1"
    sandbox = world.store.first(Sandbox, "sandboxes", rest, *[identifier] * (len(known_by) + 1))
    return sandbox if sandbox is not None and owner in {ANYBODY, sandbox.owner} else None


def find_own(call: Call, identifier: str, *, by: By) -> Sandbox:
    """Return the caller's sandbox with this identifier. Raises Refusal: 401 without a login, 404 for an unknown one."""
    sandbox = find(call.world, identifier, by=by, owner=call.me.id)
    if sandbox is None:
        raise not_found("Sandbox not found")
    return sandbox


def find_usable(call: Call) -> Sandbox:
    """Return the caller's sandbox, or an ownerless one for a caller without a login. Raises Refusal (404).

    This is the rule of exec, start, stop and delete, which have an error name of their own.
    """
    sandbox = find(call.world, call.params["id"], by="name", owner=call.owner)
    if sandbox is None:
        raise not_found("Sandbox not found", "SandboxNotFound")
    return sandbox


def free_name(world: World) -> str:
    """Return a name that is free."""
    while world.store.row("SELECT 1 FROM sandboxes WHERE name = ?", name := catalogue.new_name()):
        pass
    return name


def mark_stopped(world: World, sandbox_id: str) -> None:
    """Mark a sandbox as stopped, and with it its services and its preview URL."""
    world.store.write("UPDATE sandboxes SET stopped = 1, shown_port = NULL WHERE id = ?", sandbox_id)
    world.store.write("UPDATE services SET running = 0 WHERE sandbox = ?", sandbox_id)


def view(sandbox: Sandbox) -> dict[str, Any]:
    """Return a sandbox as a list shows it."""
    has_started = sandbox.started_at is not None and sandbox.started_at <= now()
    times = ("created_at", "started_at") if has_started else ("created_at",)
    return {
        **show(sandbox._asdict(), "id", "name", "provider", "description", "uri", *times),
        **dict.fromkeys(("displayName", "logo", "readme")),
        **size(sandbox),
        "baseSandbox": sandbox.base,
        "status": sandbox.status,
        "installs": 0,
    }


def size(sandbox: Sandbox) -> dict[str, int | None]:
    """Return its processors, memory and disk."""
    return _SIZE if sandbox.provider == CLOUDFLARE else _NO_SIZE


def _base_image(world: World, identifier: str) -> dict[str, Any]:
    base = catalogue.find(world.store, identifier)
    publisher = actors.by_identifier(world.store, catalogue.PUBLISHER)
    if base is None or publisher is None:
        return NOTHING
    shown = {
        **catalogue.view(base),
        **_NO_SIZE,
        "provider": CLOUDFLARE,
        "topics": None,
        "baseSandbox": base.name,
        "status": "STOPPED",
        "repo": None,
        "owner": actors.owner(publisher),
    }
    return {"sandbox": shown}
