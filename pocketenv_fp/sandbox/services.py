"""A sandbox's services: commands that run in the background until they are stopped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from returns.result import Failure, Result, Success

from pocketenv_fp import pocketenv
from pocketenv_fp.config import Config
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.models import Sandbox, Service
from pocketenv_fp.sandbox.records import Kind
from pocketenv_fp.sandbox.support import supported
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

Done = Result[None, PocketenvError]


class Change(Protocol):
    """A function of `pocketenv_fp.pocketenv` that does something to one service."""

    def __call__(self, id: str) -> Done: ...


def _each(sandbox_id: str) -> Iterator[Result[Service, PocketenvError]]:
    # The platform lists services without pages.
    listed = pocketenv.list_services(sandbox_id)
    match listed:
        case Success(services):
            yield from map(Success, services)
        case _:
            yield Failure(listed.failure())


_SERVICES = Kind[Service]("service", "name", _each, pocketenv.delete_service)


def _changed(change: Change, sandbox: Sandbox, name_or_id: str) -> Result[Service, PocketenvError]:
    services = _SERVICES.of(sandbox)
    # Found again by its id: somebody may rename it meanwhile.
    return services.find(name_or_id).bind(lambda service: change(service.id).bind(lambda _: services.find(service.id)))


@step(Sandbox, safe=True)
def list_services(
    sandbox: Sandbox, *, token: Text | None = None, config: Config | None = None
) -> Result[list[Service], PocketenvError]:
    """List the sandbox's services. Gives a list of Service: what each runs, and whether it runs now.

    >>> from pocketenv_fp import create, list_services, set_service
    >>> box = create("my-box")
    >>> clock = box | set_service("clock", "sleep 60")
    >>> (box | list_services).map(lambda services: [(service.name, service.status) for service in services])
    <Success: [('clock', Status.RUNNING)]>
    """
    return pocketenv.list_services(sandbox.id)


@operation(Sandbox, safe=True)
def get_service(
    sandbox: Sandbox, name_or_id: Text, *, token: Text | None = None, config: Config | None = None
) -> Result[Service, PocketenvError]:
    """Give the Service with this name, or this id. Failures: RecordNotFound where the sandbox has none such.

    >>> from pocketenv_fp import create, get_service
    >>> create("my-box") | get_service("web")
    <Failure: service.getServices: the sandbox ... has no service 'web' (404 RecordNotFound). ...>
    """
    return _SERVICES.of(sandbox).find(name_or_id)


@operation(Sandbox)
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
    """Add a service, or change what the one of this name runs. Returns the Service as it is afterwards.

    Services run on Cloudflare only: on the nine other providers the platform stores them and never runs them, so this
    is NotSupported there. A new one starts at once where the sandbox runs. **One that is there already goes on as it
    was**: a `restart_service` runs the new command. ``command`` is a shell line. ``ports``, from 1025 to 65535 and
    without 3000, are exposed with the service. ``description`` and ``ports`` of an old one stay as they are where they
    are None; ``""`` and ``()`` take them away.

    Failures: InvalidInput; NotSupported; ServerError where the platform refuses it.

    >>> from pocketenv_fp import create, restart_service, set_service
    >>> box = create("my-box")
    >>> box | set_service("clock", "while true; do date; sleep 1; done", description="tells the time")
    <Success: Service(id='...', name='clock', ... description='tells the time', status=Status.RUNNING, ...)>
    >>> (box | set_service("clock", "sleep 60")).map(lambda service: (service.command, service.description))
    <Success: ('sleep 60', 'tells the time')>
    >>> (box | restart_service("clock")).map(lambda service: service.status)
    <Success: Status.RUNNING>
    """

    def add() -> Done:
        return pocketenv.add_service(sandbox.id, name, command, description=description, ports=ports or ())

    def update(old: Service) -> Done:
        return pocketenv.update_service(old.id, name, command, description=description, ports=ports)

    return supported(sandbox, "services", "set_service").bind(lambda _: _SERVICES.of(sandbox).set(name, add, update))


@operation(Sandbox)
def start_service(
    sandbox: Sandbox, name_or_id: Text, *, token: Text | None = None, config: Config | None = None
) -> Result[Service, PocketenvError]:
    """Start a service, or leave it running. Returns the Service as it is afterwards.

    A command that ends at once may be STOPPED by then. Failures: NotSupported where services never run;
    RecordNotFound where the sandbox has no such service; ApiError (400) while the sandbox does not run.

    >>> from pocketenv_fp import create, set_service, start_service, stop_service
    >>> box = create("my-box")
    >>> clock = box | set_service("clock", "sleep 60")
    >>> [(box | change("clock")).unwrap().status for change in (stop_service, start_service)]
    [Status.STOPPED, Status.RUNNING]
    """
    return supported(sandbox, "services", "start_service").bind(
        lambda _: _changed(pocketenv.start_service, sandbox, name_or_id)
    )


@operation(Sandbox)
def stop_service(
    sandbox: Sandbox, name_or_id: Text, *, token: Text | None = None, config: Config | None = None
) -> Result[Service, PocketenvError]:
    """Stop a service, or leave it stopped: it stays so until it is started again. Gives the Service as it is afterwards.

    Failures: RecordNotFound where the sandbox has no such service.

    >>> from pocketenv_fp import create, set_service, stop_service
    >>> box = create("my-box")
    >>> clock = box | set_service("clock", "sleep 60")
    >>> (box | stop_service("clock")).map(lambda service: service.status)
    <Success: Status.STOPPED>
    """
    return _changed(pocketenv.stop_service, sandbox, name_or_id)


@operation(Sandbox)
def restart_service(
    sandbox: Sandbox, name_or_id: Text, *, token: Text | None = None, config: Config | None = None
) -> Result[Service, PocketenvError]:
    """End a service if it runs, and start it as it is described now. Returns the Service as it is afterwards.

    Failures: NotSupported where services never run; RecordNotFound where the sandbox has no such service; ApiError (400)
    while the sandbox does not run.

    >>> from pocketenv_fp import create, restart_service
    >>> create("my-box") | restart_service("web")
    <Failure: service.getServices: the sandbox ... has no service 'web' (404 RecordNotFound). ...>
    """
    return supported(sandbox, "services", "restart_service").bind(
        lambda _: _changed(pocketenv.restart_service, sandbox, name_or_id)
    )


@operation(Sandbox)
def delete_service(
    sandbox: Sandbox, name_or_id: Text, *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox, PocketenvError]:
    """End a service and delete it, with the ports that it exposed. Gives the Sandbox as it was given.

    Failures: RecordNotFound where the sandbox has no such service.

    >>> from pocketenv_fp import create, delete_service, list_services, set_service
    >>> box = create("my-box")
    >>> clock = box | set_service("clock", "sleep 60")
    >>> box | delete_service("clock") | list_services
    <Success: []>
    """
    return _SERVICES.of(sandbox).delete(name_or_id)
