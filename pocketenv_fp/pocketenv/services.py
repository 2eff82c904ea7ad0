"""Services of a sandbox, by ids: commands that run in the background until they are stopped."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from returns.result import Failure, Result

from pocketenv_fp.config import Config
from pocketenv_fp.errors import InvalidInput, PocketenvError
from pocketenv_fp.http.xrpc import decode, nothing, procedure, query, send
from pocketenv_fp.models import Service
from pocketenv_fp.pocketenv.decorators import checked
from pocketenv_fp.validation import CONTROL_PORT, Id, Name, PortNumber, Text

__all__ = [
    "add_service",
    "delete_service",
    "list_services",
    "restart_service",
    "start_service",
    "stop_service",
    "update_service",
]


class _Services(msgspec.Struct):
    services: list[Service]


def _services(body: bytes) -> list[Service]:
    return decode(body, _Services).services


@checked
def list_services(
    sandbox_id: Id, *, token: Text | None = None, config: Config | None = None
) -> Result[list[Service], PocketenvError]:
    """List a sandbox's services, all of them at once. Returns a list of Service.

    It is empty where you have no such sandbox. Failures: InvalidInput.

    >>> from pocketenv_fp import create, pocketenv
    >>> box = create("my-box").unwrap()
    >>> pocketenv.add_service(box.id, "clock", "sleep 60")
    <Success: None>
    >>> pocketenv.list_services(box.id).map(lambda services: [service.name for service in services])
    <Success: ['clock']>
    """
    return send(query("service.getServices", _services, {"sandboxId": sandbox_id}))


def _of_the_container() -> InvalidInput:
    # The platform answers a 400, and the service exists and runs all the same.
    return InvalidInput("ports", "3000 is used by Cloudflare's containers themselves: choose another")


def _described(name: str, command: str, description: str | None, ports: Sequence[int] | None) -> dict[str, object]:
    told: dict[str, object] = {"name": name, "command": command}
    if description is not None:
        told["description"] = description
    if ports is not None:
        told["ports"] = list(ports)
    return {"service": told}


@checked
def add_service(
    sandbox_id: Id,
    name: Name,
    command: Text,
    *,
    description: str | None = None,
    ports: Sequence[PortNumber] = (),
    token: Text | None = None,
    config: Config | None = None,
) -> Result[None, PocketenvError]:
    """Add a service, which starts at once where the sandbox runs. Returns None: the platform answers no id.

    **Services run on Cloudflare only.** On the nine other providers they are stored and never run; only the id is known
    here, so that is not checked, as `set_service` does. ``command`` is a shell line. ``ports``, from 1025 to 65535 and
    without 3000, are exposed with it.

    Failures: InvalidInput; ApiError (404) where you have no such sandbox; ServerError for a name that the sandbox has
    already.

    >>> from pocketenv_fp import create, pocketenv
    >>> pocketenv.add_service(create("my-box").unwrap().id, "web", "python3 -m http.server 80", ports=[80])
    <Failure: ports: Expected `int` >= 1025 - at `$[...]`.>
    """
    if CONTROL_PORT in ports:
        return Failure(_of_the_container())
    body = _described(name, command, description, ports or None)
    asked = procedure("service.addService", nothing, {"sandboxId": sandbox_id}, body)
    return send(asked)


@checked
def update_service(
    id: Id,
    name: Name,
    command: Text,
    *,
    description: str | None = None,
    ports: Sequence[PortNumber] | None = None,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[None, PocketenvError]:
    """Describe the service with this id anew. Gives None. What runs goes on as it was until a `restart_service`.

    ``description`` and ``ports`` stay as they are where they are None; ``""`` and ``()`` take them away. Failures:
    InvalidInput; ApiError (404) for an id that nothing has; ServerError for a name or a port that is taken.

    >>> from pocketenv_fp import pocketenv
    >>> pocketenv.update_service("no-such-id", "web", "python3 -m http.server 8000").failure().status
    404
    """
    if CONTROL_PORT in (ports or ()):
        return Failure(_of_the_container())
    body = _described(name, command, description, ports)
    return send(procedure("service.updateService", nothing, {"serviceId": id}, body))


@checked
def start_service(id: Id, *, token: Text | None = None, config: Config | None = None) -> Result[None, PocketenvError]:
    """Start the service with this id, or leave it running. Gives None.

    Failures: InvalidInput; ApiError (404) for an id that nothing has, (400) while the sandbox does not run.

    >>> from pocketenv_fp import pocketenv
    >>> pocketenv.start_service("no-such-id").failure().status
    404
    """
    return send(procedure("service.startService", nothing, {"serviceId": id}))


@checked
def stop_service(id: Id, *, token: Text | None = None, config: Config | None = None) -> Result[None, PocketenvError]:
    """Stop the service with this id, or leave it stopped: it stays so until it is started again. Gives None.

    Failures: InvalidInput; ApiError (404) for an id that nothing has.

    >>> from pocketenv_fp import pocketenv
    >>> pocketenv.stop_service("no-such-id").failure().status
    404
    """
    return send(procedure("service.stopService", nothing, {"serviceId": id}))


@checked
def restart_service(id: Id, *, token: Text | None = None, config: Config | None = None) -> Result[None, PocketenvError]:
    """End the service with this id if it runs, and start it as it is described now. Gives None.

    Failures: InvalidInput; ApiError (404) for an id that nothing has, (400) while the sandbox does not run.

    >>> from pocketenv_fp import pocketenv
    >>> pocketenv.restart_service("no-such-id").failure().status
    404
    """
    return send(procedure("service.restartService", nothing, {"serviceId": id}))


@checked
def delete_service(id: Id, *, token: Text | None = None, config: Config | None = None) -> Result[None, PocketenvError]:
    """End the service with this id and delete it. Gives None.

    Failures: InvalidInput; ApiError (404) for an id that nothing has.

    >>> from pocketenv_fp import pocketenv
    >>> pocketenv.delete_service("no-such-id").failure().status
    404
    """
    return send(procedure("service.deleteService", nothing, {"serviceId": id}))
