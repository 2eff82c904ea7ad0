"""Services: commands of a sandbox that run until they are stopped.

The output of one goes to `/var/log/services/<name>.log` in the sandbox. Its status is the last requested one, as on the
platform: a service that ended by itself is RUNNING all the same. A stop of the sandbox makes all of them STOPPED. A start
runs every service that was not stopped by itself. A start of the platform does so too, after its first answers, in the
sandboxes that were running.

In a stopped sandbox a service is added and described without a start. startService and restartService are refused there
as the provider would: 400. Only Cloudflare runs services at all.
"""

import json
import logging
import re
from typing import Any, NamedTuple

from pocketenv_fp.local import ports, sandboxes, secrets
from pocketenv_fp.local.call import Call, World, new_id, not_found, now, provider_refused, show
from pocketenv_fp.local.machine import Refused
from pocketenv_fp.local.sandboxes import CLOUDFLARE, Sandbox

LOGS = "/var/log/services"
LONGEST_NAME = 100

_log = logging.getLogger("pocketenv_fp.local")


class Service(NamedTuple):
    """A row of `services`: `ports` is JSON, `wanted` whether a start of the sandbox runs it, `running` its status."""

    id: str
    sandbox: str
    name: str
    command: str
    description: str | None
    ports: str
    wanted: int
    running: int
    created_at: float
    updated_at: float

    @property
    def log(self) -> str:
        """The path of its output: a file in one directory, for any name of the service."""
        name = re.sub(r"[^A-Za-z0-9._-]", "_", self.name).lstrip(".")[:LONGEST_NAME]
        return f"{LOGS}/{name or self.id}.log"


async def add(call: Call) -> None:
    """Keep a command under a name that is free. It starts at once where the sandbox runs. Its ports are exposed."""
    sandbox = sandboxes.find_own(call, call.params["sandboxId"], by="uri")
    sent, moment, world = call.body["service"], now(), call.world
    service = Service(
        id=new_id("rec"),
        sandbox=sandbox.id,
        name=sent["name"],
        command=sent["command"],
        description=sent.get("description"),
        ports=json.dumps(sent.get("ports", [])),
        wanted=1,
        running=0,
        created_at=moment,
        updated_at=moment,
    )
    async with world.machine(sandbox.id).turn:
        world.store.insert("services", **service._asdict())
        current = sandboxes.find(world, sandbox.id, by="id")
        if current is not None and current.status == "RUNNING":
            await _run(world, current, service)
        # Exposed last: a port that cannot be exposed leaves the service as it is.
        _expose(world, sandbox, service)


async def get_all(call: Call) -> Any:
    """Return the services of a sandbox, newest first. An unknown sandbox has none."""
    sandbox = sandboxes.find(call.world, call.params["sandboxId"], by="uri", owner=call.me.id)
    services = [] if sandbox is None else _of(call.world, sandbox.id)
    return {"services": [_view(each) for each in reversed(services)]}


async def update(call: Call) -> None:
    """Change the description of a service. Its process goes on until a restart."""
    service, sandbox = _own(call)
    sent, world = call.body["service"], call.world
    values: dict[str, Any] = {"name": sent["name"], "command": sent["command"], "updated_at": now()}
    if "description" in sent:
        values["description"] = sent["description"]
    if "ports" in sent:
        values["ports"] = json.dumps(sent["ports"])
    world.store.change("services", "id = ?", (service.id,), **values)
    if "ports" in sent:
        _unexpose(world, service)
        _expose(world, sandbox, service._replace(**values))


async def start(call: Call, *, restarts: bool = False) -> None:
    """Run a service, unless it runs. With `restarts` it is ended first."""
    world = call.world
    _, sandbox = _own(call)
    machine = world.machine(sandbox.id)
    async with machine.turn:
        # An earlier request may have changed or removed it.
        service, current = _own(call)
        if current.status != "RUNNING":
            raise provider_refused()
        if restarts:
            await machine.end(service.id)
        await _run(world, current, service)
        world.store.change("services", "id = ?", (service.id,), wanted=1)


async def restart(call: Call) -> None:
    """End a service if it runs, and run its current description."""
    await start(call, restarts=True)


async def stop(call: Call) -> None:
    """End a service. It stays ended until it is started again."""
    service, sandbox = _own(call)
    machine = call.world.machine(sandbox.id)
    async with machine.turn:
        call.world.store.change("services", "id = ?", (service.id,), wanted=0, running=0)
        await machine.end(service.id)


async def delete(call: Call) -> None:
    """End a service and delete it, with the ports that it exposed."""
    service, sandbox = _own(call)
    machine = call.world.machine(sandbox.id)
    async with machine.turn:
        current, _ = _own(call)
        with call.world.store.transaction():
            call.world.store.remove("services", "id = ?", service.id)
            _unexpose(call.world, current)
        await machine.end(service.id)


async def resume(world: World, sandbox_id: str) -> None:
    """Run the wanted services that do not run. The caller holds the machine's turn. Never raises Refused."""
    sandbox = sandboxes.find(world, sandbox_id, by="id")
    if sandbox is None or sandbox.stopped or sandbox.provider != CLOUDFLARE:
        return
    ports.show_again(world, sandbox)
    try:
        for service in _of(world, sandbox_id):
            if service.wanted:
                await _launch(world, sandbox, service)
    except (Refused, ValueError) as error:
        # A failed service does not fail the start.
        _log.warning("the services of a sandbox could not be started: %s", type(error).__name__)


async def revive(world: World) -> None:
    """Run the services that ran when the platform ended, in running sandboxes."""
    rows = world.store.rows("SELECT DISTINCT sandbox FROM services WHERE wanted = 1 ORDER BY sandbox")
    for (sandbox_id,) in rows:
        async with world.machine(sandbox_id).turn:
            await resume(world, sandbox_id)


async def _run(world: World, sandbox: Sandbox, service: Service) -> None:
    if sandbox.provider != CLOUDFLARE:
        # The platform calls a page of the provider that does not exist.
        raise not_found("Request failed with status code 404")
    try:
        await _launch(world, sandbox, service)
    except (Refused, ValueError):
        raise provider_refused() from None


async def _launch(world: World, sandbox: Sandbox, service: Service) -> None:
    machine = world.machine(sandbox.id)
    if not machine.runs(service.id):
        await machine.launch(service.id, service.command, secrets.current(world, sandbox), service.log)
    world.store.change("services", "id = ?", (service.id,), running=1)


def _expose(world: World, sandbox: Sandbox, service: Service) -> None:
    for port in json.loads(service.ports):
        ports.add(world, sandbox, port, f"Port {port} for service {service.name}")
        ports.show(world, sandbox, port)


def _unexpose(world: World, service: Service) -> None:
    for port in json.loads(service.ports):
        world.store.remove("ports", "sandbox = ? AND port = ?", service.sandbox, port)


def _of(world: World, sandbox_id: str) -> list[Service]:
    return world.store.all(Service, "services", "WHERE sandbox = ? ORDER BY rowid", sandbox_id)


def _own(call: Call) -> tuple[Service, Sandbox]:
    service = call.world.store.first(Service, "services", "WHERE id = ?", call.params["serviceId"])
    sandbox = sandboxes.find(call.world, service.sandbox, by="id", owner=call.me.id) if service else None
    if service is None or sandbox is None:
        raise not_found("Service not found")
    return service, sandbox


def _view(service: Service) -> dict[str, Any]:
    shown = show(service._asdict(), "id", "name", "description", "command", "created_at")
    return {**shown, "status": "RUNNING" if service.running else "STOPPED"}
