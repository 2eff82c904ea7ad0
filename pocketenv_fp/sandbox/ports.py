"""Making ports reachable from outside, and the editor that comes with one."""

from __future__ import annotations

from typing import Annotated

import msgspec
from returns.result import Failure, Result

from pocketenv_fp.config import Config
from pocketenv_fp.errors import InvalidInput, PocketenvError
from pocketenv_fp.http.xrpc import decode, nothing, procedure, query, send
from pocketenv_fp.models import Port, Sandbox
from pocketenv_fp.providers import CLOUDFLARE, provider_of
from pocketenv_fp.sandbox.support import supported
from pocketenv_fp.steps.operation import operation, step
from pocketenv_fp.validation import CONTROL_PORT, PortNumber, Text

__all__ = ["expose", "list_ports", "unexpose", "vscode"]

ListedPort = Annotated[int, msgspec.Meta(ge=1024, le=65535)]


class _Preview(msgspec.Struct, rename="camel"):
    preview_url: str | None = None


def _url(body: bytes) -> str | None:
    # Providers without previews answer `{}`, null or an empty text.
    return decode(body, _Preview).preview_url or None


class _Ports(msgspec.Struct):
    ports: list[Port]


def _ports(body: bytes) -> list[Port]:
    return decode(body, _Ports).ports


@operation(Sandbox)
def expose(
    sandbox: Sandbox,
    port: PortNumber,
    *,
    description: str | None = None,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[str | None, PocketenvError]:
    """Make a port of the sandbox reachable from outside. Returns its preview URL, or None where it gets none.

    On Cloudflare, the first exposed port gets a URL, and each further one None. On the nine other providers every port
    gets None, and `list_ports` lists it all the same. ``port`` is from 1025 to 65535.

    Failures: InvalidInput for another port, and on Cloudflare for 3000, which its containers use themselves;
    ServerError for a port that is exposed already; SessionLost.

    >>> from pocketenv_fp import create, expose, start
    >>> (create("my-box") | start | expose(8080, description="web")).map(lambda url: url.startswith("http"))
    <Success: True>
    >>> create("my-other-box") | expose(80)
    <Failure: port: Expected `int` >= 1025.>
    """
    if port == CONTROL_PORT and provider_of(sandbox.provider).name == CLOUDFLARE:
        # Refused by the platform too, but it would stay listed for ever.
        return Failure(InvalidInput("port", "Cloudflare's containers use port 3000 themselves: choose another port"))
    asked = procedure("sandbox.exposePort", _url, {"id": sandbox.id}, {"port": port, "description": description})
    return send(asked, token=token, config=config)


@operation(Sandbox)
def unexpose(
    sandbox: Sandbox, port: ListedPort, *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox, PocketenvError]:
    """Close a port to the outside; one that was not exposed stays closed. Returns the Sandbox as it was given.

    ``port`` is from 1024, which `vscode` uses, to 65535. Failures: InvalidInput for another.

    >>> from pocketenv_fp import create, list_ports, unexpose
    >>> create("my-box") | unexpose(8080) | list_ports
    <Success: []>
    """
    asked = procedure("sandbox.unexposePort", nothing, {"id": sandbox.id}, {"port": port})
    return send(asked, token=token, config=config).map(lambda _: sandbox)


@step(Sandbox, safe=True)
def list_ports(
    sandbox: Sandbox, *, token: Text | None = None, config: Config | None = None
) -> Result[list[Port], PocketenvError]:
    """List the ports that are exposed. Returns a list of Port, whose ``preview_url`` may be None.

    >>> from pocketenv_fp import create, expose, list_ports, start
    >>> box = create("my-box") | start
    >>> url = box | expose(8080, description="web")
    >>> (box | list_ports).map(lambda ports: [(port.port, port.description) for port in ports])
    <Success: [(8080, 'web')]>
    """
    return send(query("sandbox.getExposedPorts", _ports, {"id": sandbox.id}), token=token, config=config)


@step(Sandbox)
def vscode(
    sandbox: Sandbox, *, token: Text | None = None, config: Config | None = None
) -> Result[str | None, PocketenvError]:
    """Start VS Code Server in the sandbox. Returns its URL, or None where the platform answers none. It uses port 1024.

    Failures: NotSupported on the nine providers besides Cloudflare: they have no VS Code Server.

    >>> from pocketenv_fp import create, start, vscode
    >>> (create("my-box") | start | vscode).map(lambda url: url is not None)
    <Success: True>
    """
    asked = procedure("sandbox.exposeVscode", _url, {"id": sandbox.id})
    return supported(sandbox, "vscode", "vscode").bind(lambda _: send(asked, token=token, config=config))
