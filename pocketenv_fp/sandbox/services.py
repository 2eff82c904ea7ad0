"""The services of a sandbox: commands that run in the background."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.models import Sandbox, Service
from pocketenv_fp.pocketenv import services as pocketenv
from pocketenv_fp.pocketenv.records import Unit
from pocketenv_fp.sandbox.records import RecordKind
from pocketenv_fp.sandbox.support import unsupported
from pocketenv_fp.steps.needs import Need
from pocketenv_fp.steps.operation import operation, step
from pocketenv_fp.validation import Name, PortNumber, Text

__all__ = [
    "delete_service",
    "get_service",
    "list_services",
    "restart_service",
    "set_service",
    "start_service",
    "stop_service",
]


def _each(sandbox_id: str) -> Iterator[Result[Service, PocketenvError]]:
    # The platform lists services without pages.
    services = pocketenv.list_services(sandbox_id)
    return iter((services,)) if isinstance(services, Failure) else map(Success, services.unwrap())


_SERVICES = RecordKind[Service]("service", "name", _each, pocketenv.delete_service)


def _changed(change: Callable[[str], Unit], sandbox: Sandbox, name_or_id: str) -> Result[Service, PocketenvError]:
    services = _SERVICES.of(sandbox)
    service = services.take(name_or_id)
    if isinstance(service, Failure):
        return service
    id = service.unwrap().id
    changed = change(id)
    if isinstance(changed, Failure):
        return changed
    # Look it up by id afterwards: another program may have renamed it.
    return services.looked_up(partial(services.found_again, id), partial(services.listing.seen, id=id), name_or_id)


@step(Sandbox, safe=True, reads=Need.ID)
def list_services(
    sandbox: Sandbox, *, token: Text | None = None, config: Config | None = None
) -> Result[list[Service], PocketenvError]:
    """List the sandbox's services. Returns a list of Service, with the command and the status of each.

    The platform returns an empty list for a deleted sandbox: the result is then a Success without services. Failures:
    those of every request.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, list_services, set_service
    >>> box = create("my-box")
    >>> clock = box | set_service("clock", "sleep 60")
    >>> (box | list_services).map(lambda services: [(service.name, service.status) for service in services])
    <Success: [('clock', Status.RUNNING)]>
    """
    return pocketenv.list_services(sandbox.id)


@operation(Sandbox, safe=True, reads=Need.ID, record="service")
def get_service(
    sandbox: Sandbox, name_or_id: Text, *, token: Text | None = None, config: Config | None = None
) -> Result[Service, PocketenvError]:
    """Find a service of the sandbox by name or id. Returns a Service. Failures: RecordNotFound.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        name_or_id: Name or id. An id comes first.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, get_service
    >>> create("my-box") | get_service("web")
    <Failure: service.getServices: the sandbox ... has no service 'web' (404 RecordNotFound). ...>
    """
    return _SERVICES.of(sandbox).find(name_or_id)


@operation(Sandbox, reads=Need.ID, record="service", looks_up_record=True)
def set_service(
    sandbox: Sandbox,
    name: Name,
    command: Text,
    *,
    description: str | None = None,
    ports: Sequence[PortNumber] | None = None,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Service, PocketenvError]:
    """Add a service, or change an existing one. Returns the Service afterwards.

    A new service starts at once if the sandbox is running. **An existing one keeps running its old command** until
    `restart_service`. Services run on Cloudflare only. Other providers store them and never run them: there the result
    is Failure(NotSupported).

    Failures: InvalidInput; NotSupported; ServerError if the platform refuses it.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        name: Name of the service.
        command: Shell line to run.
        description: The description. None: unchanged. ``""`` deletes it.
        ports: Ports to expose, from 1025 to 65535 except 3000. None: unchanged. ``()`` deletes them.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, restart_service, set_service
    >>> box = create("my-box")
    >>> box | set_service("clock", "while true; do date; sleep 1; done", description="prints the time")
    <Success: Service(id='...', name='clock', ... description='prints the time', status=Status.RUNNING, ...)>
    >>> (box | set_service("clock", "sleep 60")).map(lambda service: (service.command, service.description))
    <Success: ('sleep 60', 'prints the time')>
    >>> (box | restart_service("clock")).map(lambda service: service.status)
    <Success: Status.RUNNING>
    """
    if refusal := unsupported(sandbox, "services", "set_service"):
        return Failure(refusal)
    return _SERVICES.of(sandbox).set(
        name,
        add=lambda: pocketenv.add_service(sandbox.id, name, command, description=description, ports=ports or ()),
        update=lambda old: pocketenv.update_service(old.id, name, command, description=description, ports=ports),
    )


@operation(Sandbox, reads=Need.ID, record="service", looks_up_record=True)
def start_service(
    sandbox: Sandbox, name_or_id: Text, *, token: Text | None = None, config: Config | None = None
) -> Result[Service, PocketenvError]:
    """Start a service. A running service keeps running. Returns the Service afterwards.

    A short command may have ended by then, with the status STOPPED. Failures: NotSupported on every provider except
    Cloudflare; RecordNotFound; ApiError (400) if the sandbox is not running.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        name_or_id: Name or id. An id comes first.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, set_service, start_service, stop_service
    >>> box = create("my-box")
    >>> clock = box | set_service("clock", "sleep 60")
    >>> [(box | change("clock")).unwrap().status for change in (stop_service, start_service)]
    [Status.STOPPED, Status.RUNNING]
    """
    if refusal := unsupported(sandbox, "services", "start_service"):
        return Failure(refusal)
    return _changed(pocketenv.start_service, sandbox, name_or_id)


@operation(Sandbox, reads=Need.ID, record="service", looks_up_record=True)
def stop_service(
    sandbox: Sandbox, name_or_id: Text, *, token: Text | None = None, config: Config | None = None
) -> Result[Service, PocketenvError]:
    """Stop a service. It stays stopped until it is started again. Returns the Service afterwards.

    Failures: RecordNotFound.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        name_or_id: Name or id. An id comes first.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, set_service, stop_service
    >>> box = create("my-box")
    >>> clock = box | set_service("clock", "sleep 60")
    >>> (box | stop_service("clock")).map(lambda service: service.status)
    <Success: Status.STOPPED>
    """
    return _changed(pocketenv.stop_service, sandbox, name_or_id)


@operation(Sandbox, reads=Need.ID, record="service", looks_up_record=True)
def restart_service(
    sandbox: Sandbox, name_or_id: Text, *, token: Text | None = None, config: Config | None = None
) -> Result[Service, PocketenvError]:
    """Stop a service if it is running, and start it with its current settings. Returns the Service afterwards.

    Failures: NotSupported on every provider except Cloudflare; RecordNotFound; ApiError (400) if the sandbox is not
    running.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        name_or_id: Name or id. An id comes first.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, restart_service
    >>> create("my-box") | restart_service("web")
    <Failure: service.getServices: the sandbox ... has no service 'web' (404 RecordNotFound). ...>
    """
    if refusal := unsupported(sandbox, "services", "restart_service"):
        return Failure(refusal)
    return _changed(pocketenv.restart_service, sandbox, name_or_id)


@operation(Sandbox, reads=Need.ID, returns_target=True, record="service")
def delete_service(
    sandbox: Sandbox, name_or_id: Text, *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox, PocketenvError]:
    """Stop a service and delete it, with its exposed ports. Returns the Sandbox unchanged.

    Failures: RecordNotFound.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        name_or_id: Name or id. An id comes first.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, delete_service, list_services, set_service
    >>> box = create("my-box")
    >>> clock = box | set_service("clock", "sleep 60")
    >>> box | delete_service("clock") | list_services
    <Success: []>
    """
    return _SERVICES.of(sandbox).delete(name_or_id)
