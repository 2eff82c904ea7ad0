"""Look up sandboxes, and the public catalogue."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace
from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config
from pocketenv_fp.errors import PocketenvError, SandboxNotFound
from pocketenv_fp.http.paging import walk
from pocketenv_fp.http.tokens import login_did
from pocketenv_fp.http.xrpc import decode, nothing, procedure, query, send
from pocketenv_fp.models import Page, Sandbox, Status
from pocketenv_fp.pocketenv.decorators import checked, iterates
from pocketenv_fp.pocketenv.records import one_of, page_of
from pocketenv_fp.providers import provider_of
from pocketenv_fp.steps.needs import Need, needed
from pocketenv_fp.steps.operation import step
from pocketenv_fp.validation import Id, Limit, Name, Offset, Text

__all__ = ["claim_sandbox", "get_sandbox", "iter_sandboxes", "list_sandboxes"]


page_of_sandboxes = page_of("sandboxes", Sandbox)
_sandbox = one_of("sandbox", Sandbox)


def shown(body: bytes) -> Sandbox:
    """Decode a response that is a sandbox without a status."""
    return decode(body, Sandbox)


@step(str, safe=True)
def get_sandbox(
    id: Name, *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox | None, PocketenvError]:
    """Look up a sandbox by id, name or at-URI. Returns the Sandbox, or None if it does not exist.

    **A name may find a sandbox of another owner, or a base image.** Compare ``owner``. Or keep the Sandbox from
    `create` and use `refresh`, which looks up the id. A step that receives None is Failure(SandboxNotFound). Works
    without a login. Failures: InvalidInput.

    Args:
        id: Id, name or at-URI.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import exec, get_sandbox
    >>> get_sandbox("no-such-box")
    <Success: None>
    >>> get_sandbox("no-such-box") | exec("ls")
    <Failure: exec: the step before returned no sandbox (404 SandboxNotFound). ...>
    """
    return send(query("sandbox.getSandbox", _sandbox, {"id": id}, login=False))


def is_yours(sandbox: Sandbox) -> bool | None:
    """Return whether the current login owns the sandbox. None means that the answer or the token does not say it."""
    did = login_did()
    return None if did is None or sandbox.owner is None else sandbox.owner.did == did


def look(
    sandbox: Sandbox, read_timeout: float | None = None, *, login: bool = False
) -> Result[Sandbox, PocketenvError]:
    """Return the current state of the sandbox, by id. ``read_timeout`` is in seconds.

    Failures: SandboxNotFound, and NotLoggedIn with ``login``.
    """
    call = query("sandbox.getSandbox", _sandbox, {"id": sandbox.id}, login=login, read_timeout=read_timeout)
    answer = send(call)
    if isinstance(answer, Failure):
        return answer
    current = answer.unwrap()
    # A sandbox that has the id as its name is another sandbox.
    if current is None or current.id != sandbox.id:
        return Failure(SandboxNotFound(message=f"{sandbox.name} is gone", operation="sandbox.getSandbox"))
    return Success(current)


def look_if_needed(sandbox: Sandbox) -> Result[Sandbox, PocketenvError]:
    """Return the current state of the sandbox, or ``sandbox`` itself if the next step reads no more of it.

    The status of ``sandbox`` must be RUNNING where that is sure, and UNKNOWN otherwise.
    """
    need = needed()
    is_enough = need <= Need.ID or (need is Need.STATUS and sandbox.status is Status.RUNNING)
    return Success(sandbox) if is_enough else look(sandbox)


def started(sandbox: Sandbox) -> Sandbox:
    """Return ``sandbox`` as it is known to be after a start or a create, without a lookup."""
    runs = provider_of(sandbox.provider).running_on_create
    return replace(sandbox, status=Status.RUNNING if runs else Status.UNKNOWN)


def remove(sandbox: Sandbox) -> Result[None, PocketenvError]:
    """Delete the sandbox by id. Failures: SandboxNotFound."""
    return send(procedure("sandbox.deleteSandbox", nothing, {"id": sandbox.id}))


@checked
def claim_sandbox(
    id: Id, *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox, PocketenvError]:
    """Take ownership of an unowned sandbox, by id. Returns the Sandbox. Its status is UNKNOWN until the next lookup.

    Failures: InvalidInput; SandboxNotFound if the sandbox does not exist or has an owner.

    Args:
        id: Id of the sandbox.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import Config, local, pocketenv, using
    >>> with local.platform() as platform, using(Config(api_url=platform.url, token=platform.token)):
    ...     unowned = platform.new_ownerless_sandbox()
    ...     pocketenv.claim_sandbox(unowned).map(lambda box: box.id == unowned)
    ...     pocketenv.claim_sandbox(unowned)
    <Success: True>
    <Failure: sandbox.claimSandbox: ... (404 XRPCNotSupported). ...>
    """
    return send(procedure("sandbox.claimSandbox", shown, {"id": id}))


@checked
def list_sandboxes(
    *, limit: Limit = 30, offset: Offset = 0, token: Text | None = None, config: Config | None = None
) -> Result[Page[Sandbox], PocketenvError]:
    """List the public catalogue of base images, never your own sandboxes. Returns a Page of Sandbox.

    Works without a login. Failures: InvalidInput for a limit below 1 or an offset below 0.

    Args:
        limit: Maximal number of records, at least 1. Default: 30.
        offset: Number of records to skip, at least 0. Default: 0.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import list_sandboxes
    >>> page = list_sandboxes(limit=1).unwrap()
    >>> [image.name for image in page], page.total >= 1
    (['openclaw'], True)
    """
    params = {"limit": limit, "offset": offset}
    return send(query("sandbox.getSandboxes", page_of_sandboxes, params, login=False))


@iterates
def iter_sandboxes(
    *, limit: Limit = 1000, token: Text | None = None, config: Config | None = None
) -> Iterator[Result[Sandbox, PocketenvError]]:
    """Iterate over the public catalogue. Returns an iterator of Results, and requests pages when needed.

    If a page fails, its Failure is the last item. An inconsistent list ends with a DecodeError. Works without a login.

    Args:
        limit: Records per request, at least 1. Default: 1000.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import iter_sandboxes
    >>> "openclaw" in [image.unwrap().name for image in iter_sandboxes(limit=1)]
    True
    """
    return walk("sandbox.getSandboxes", list_sandboxes, limit=limit)
