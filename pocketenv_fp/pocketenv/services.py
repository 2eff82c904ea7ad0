"""Services of a sandbox, by id: commands that run in the background."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config
from pocketenv_fp.errors import InvalidInput, PocketenvError
from pocketenv_fp.http.xrpc import nothing, procedure, query, send
from pocketenv_fp.models import Service
from pocketenv_fp.pocketenv.decorators import checked
from pocketenv_fp.pocketenv.records import list_of, present
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


@checked
def list_services(
    sandbox_id: Id, *, token: Text | None = None, config: Config | None = None
) -> Result[list[Service], PocketenvError]:
    """List all services of a sandbox. Returns a list of Service.

    The list is empty for an unknown sandbox. Failures: InvalidInput.

    Args:
        sandbox_id: Id of the sandbox.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, pocketenv
    >>> box = create("my-box").unwrap()
    >>> pocketenv.add_service(box.id, "clock", "sleep 60")
    <Success: None>
    >>> pocketenv.list_services(box.id).map(lambda services: [service.name for service in services])
    <Success: ['clock']>
    """
    return send(query("service.getServices", list_of("services", Service), {"sandboxId": sandbox_id}))


def _body(
    name: str, command: str, description: str | None, ports: Sequence[int] | None
) -> Result[dict[str, object], PocketenvError]:
    if CONTROL_PORT in (ports or ()):
        # The platform returns a 400, but creates and runs the service.
        reason = "Cloudflare's containers use port 3000 themselves: choose another port"
        return Failure(InvalidInput("ports", reason))
    fields = {"name": name, "command": command, "description": description, "ports": ports}
    return Success({"service": present(fields)})


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
    """Add a service. It starts at once if the sandbox is running. Returns None: the platform returns no id.

    **Services run on Cloudflare only.** Other providers store them and never run them. This function knows only the id,
    so it does not check the provider: `set_service` does.

    Failures: InvalidInput; ApiError (404) for an unknown sandbox; ServerError for a name that is taken.

    Args:
        sandbox_id: Id of the sandbox.
        name: Name of the service.
        command: Shell line to run.
        description: A description. Default: none.
        ports: Ports to expose, from 1025 to 65535 except 3000. Default: none.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, pocketenv
    >>> pocketenv.add_service(create("my-box").unwrap().id, "web", "python3 -m http.server 80", ports=[80])
    <Failure: ports: Expected `int` >= 1025 - at `$[...]`.>
    """
    body = _body(name, command, description, ports or None)
    call = body.map(partial(procedure, "service.addService", nothing, {"sandboxId": sandbox_id}))
    return call.bind(send)


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
    """Change the service with this id. Returns None. A running service does not change until `restart_service`.

    Failures: InvalidInput; ApiError (404) for an unknown id; ServerError for a name or a port that is taken.

    Args:
        id: Id of the service.
        name: New name of the service.
        command: New shell line.
        description: The description. None: unchanged. ``""`` deletes it.
        ports: Ports to expose, from 1025 to 65535 except 3000. None: unchanged. ``()`` deletes them.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import pocketenv
    >>> pocketenv.update_service("no-such-id", "web", "python3 -m http.server 8000").failure().status
    404
    """
    body = _body(name, command, description, ports)
    call = body.map(partial(procedure, "service.updateService", nothing, {"serviceId": id}))
    return call.bind(send)


@checked
def start_service(id: Id, *, token: Text | None = None, config: Config | None = None) -> Result[None, PocketenvError]:
    """Start the service with this id. A running service keeps running. Returns None.

    Failures: InvalidInput; ApiError (404) for an unknown id, (400) if the sandbox is not running.

    Args:
        id: Id of the service.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import pocketenv
    >>> pocketenv.start_service("no-such-id").failure().status
    404
    """
    return send(procedure("service.startService", nothing, {"serviceId": id}))


@checked
def stop_service(id: Id, *, token: Text | None = None, config: Config | None = None) -> Result[None, PocketenvError]:
    """Stop the service with this id. It stays stopped until it is started again. Returns None.

    Failures: InvalidInput; ApiError (404) for an unknown id.

    Args:
        id: Id of the service.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import pocketenv
    >>> pocketenv.stop_service("no-such-id").failure().status
    404
    """
    return send(procedure("service.stopService", nothing, {"serviceId": id}))


@checked
def restart_service(id: Id, *, token: Text | None = None, config: Config | None = None) -> Result[None, PocketenvError]:
    """Stop the service with this id if it is running, and start it with its current settings. Returns None.

    Failures: InvalidInput; ApiError (404) for an unknown id, (400) if the sandbox is not running.

    Args:
        id: Id of the service.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import pocketenv
    >>> pocketenv.restart_service("no-such-id").failure().status
    404
    """
    return send(procedure("service.restartService", nothing, {"serviceId": id}))


@checked
def delete_service(id: Id, *, token: Text | None = None, config: Config | None = None) -> Result[None, PocketenvError]:
    """Stop the service with this id and delete it. Returns None.

    Failures: InvalidInput; ApiError (404) for an unknown id.

    Args:
        id: Id of the service.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import pocketenv
    >>> pocketenv.delete_service("no-such-id").failure().status
    404
    """
    return send(procedure("service.deleteService", nothing, {"serviceId": id}))
