"""Expose ports of a sandbox, and start VS Code Server."""

from __future__ import annotations

from typing import Annotated

import msgspec
from returns.result import Failure, Result

from pocketenv_fp.config import Config
from pocketenv_fp.errors import InvalidInput, PocketenvError
from pocketenv_fp.http.xrpc import decode, nothing, procedure, query, send
from pocketenv_fp.models import Port, Sandbox
from pocketenv_fp.pocketenv.records import list_of
from pocketenv_fp.providers import CLOUDFLARE, provider_of
from pocketenv_fp.sandbox.support import unsupported
from pocketenv_fp.steps.needs import Need
from pocketenv_fp.steps.operation import operation, step
from pocketenv_fp.validation import CONTROL_PORT, PortNumber, Text

__all__ = ["expose", "list_ports", "unexpose", "vscode"]

ListedPort = Annotated[int, msgspec.Meta(ge=1024, le=65535)]


class _Preview(msgspec.Struct, rename="camel"):
    preview_url: str | None = None


def _url(body: bytes) -> str | None:
    # Providers without previews return `{}`, null or an empty string.
    return decode(body, _Preview).preview_url or None


@operation(Sandbox, reads=Need.ID)
def expose(
    sandbox: Sandbox,
    port: PortNumber,
    *,
    description: str | None = None,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[str | None, PocketenvError]:
    """Expose a port of the sandbox to the internet. Returns its preview URL, or None if it has none.

    On Cloudflare only the first exposed port gets a URL. On other providers no port gets one, but `list_ports` lists
    it.

    Failures: InvalidInput for a port out of range, and on Cloudflare for 3000, which its containers use themselves;
    ServerError for a port that is already exposed; SessionLost.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        port: Port to expose, from 1025 to 65535.
        description: A description. Default: none.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, expose, start
    >>> (create("my-box") | start | expose(8080, description="web")).map(lambda url: url.startswith("http"))
    <Success: True>
    >>> create("my-other-box") | expose(80)
    <Failure: port: Expected `int` >= 1025.>
    """
    if port == CONTROL_PORT and provider_of(sandbox.provider).name == CLOUDFLARE:
        # The platform refuses it too, but then lists the port permanently.
        return Failure(InvalidInput("port", "Cloudflare's containers use port 3000 themselves: choose another port"))
    body = {"port": port, "description": description}
    return send(procedure("sandbox.exposePort", _url, {"id": sandbox.id}, body))


@operation(Sandbox, reads=Need.ID, returns_target=True)
def unexpose(
    sandbox: Sandbox, port: ListedPort, *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox, PocketenvError]:
    """Stop exposing a port. A port that is not exposed stays so. Returns the Sandbox unchanged.

    Failures: InvalidInput for a port out of range.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        port: Exposed port, from 1024, which `vscode` uses, to 65535.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, list_ports, unexpose
    >>> create("my-box") | unexpose(8080) | list_ports
    <Success: []>
    """
    answer = send(procedure("sandbox.unexposePort", nothing, {"id": sandbox.id}, {"port": port}))
    return answer.map(lambda _: sandbox)


@step(Sandbox, safe=True, reads=Need.ID)
def list_ports(
    sandbox: Sandbox, *, token: Text | None = None, config: Config | None = None
) -> Result[list[Port], PocketenvError]:
    """List the exposed ports. Returns a list of Port. Its ``preview_url`` may be None.

    The platform returns an empty list for a deleted sandbox: the result is then a Success without ports. Failures: those
    of every request.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, expose, list_ports, start
    >>> box = create("my-box") | start
    >>> url = box | expose(8080, description="web")
    >>> (box | list_ports).map(lambda ports: [(port.port, port.description) for port in ports])
    <Success: [(8080, 'web')]>
    """
    return send(query("sandbox.getExposedPorts", list_of("ports", Port), {"id": sandbox.id}))


@step(Sandbox, reads=Need.ID)
def vscode(
    sandbox: Sandbox, *, token: Text | None = None, config: Config | None = None
) -> Result[str | None, PocketenvError]:
    """Start VS Code Server in the sandbox, on port 1024. Returns its URL, or None if the platform returns none.

    Failures: NotSupported on every provider except Cloudflare: they have no VS Code Server.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, start, vscode
    >>> (create("my-box") | start | vscode).map(lambda url: url is not None)
    <Success: True>
    """
    if refusal := unsupported(sandbox, "vscode", "vscode"):
        return Failure(refusal)
    return send(procedure("sandbox.exposeVscode", _url, {"id": sandbox.id}))
