"""Looking at sandboxes, and at the public catalogue."""

from __future__ import annotations

from collections.abc import Iterator

from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config
from pocketenv_fp.errors import PocketenvError, SandboxNotFound
from pocketenv_fp.http.paging import walk
from pocketenv_fp.http.xrpc import decode, nothing, procedure, query, send
from pocketenv_fp.models import Page, Sandbox
from pocketenv_fp.pocketenv.decorators import checked, iterates
from pocketenv_fp.pocketenv.records import one_of, page_of
from pocketenv_fp.steps.operation import step
from pocketenv_fp.validation import Id, Limit, Name, Offset, Text

__all__ = [
    "claim_sandbox",
    "get_sandbox",
    "iter_sandboxes",
    "list_sandboxes",
    "look",
    "page_of_sandboxes",
    "remove",
    "shown",
]


page_of_sandboxes = page_of("sandboxes", Sandbox)
_found = one_of("sandbox", Sandbox)


def shown(body: bytes) -> Sandbox:
    """Read an answer that is a sandbox itself, without a status."""
    return decode(body, Sandbox)


@step(str, safe=True)
def get_sandbox(
    id: Name, *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox | None, PocketenvError]:
    """Look at the sandbox with this id, name or at-URI. Returns the Sandbox, or None if there is none.

    **A name may find a sandbox of another owner, or a base image**: compare ``owner``, or keep the Sandbox that `create`
    returned and `refresh` it, which looks by its id. A step that receives the None is Failure(SandboxNotFound). It works
    without a login. Failures: InvalidInput.

    >>> from pocketenv_fp import exec, get_sandbox
    >>> get_sandbox("no-such-box")
    <Success: None>
    >>> get_sandbox("no-such-box") | exec("ls")
    <Failure: exec: no sandbox came from the step before (404 SandboxNotFound). ...>
    """
    return send(query("sandbox.getSandbox", _found, {"id": id}, login=False))


def look(
    sandbox: Sandbox,
    read_timeout: float | None = None,
    *,
    login: bool = False,
) -> Result[Sandbox, PocketenvError]:
    """Give the sandbox as it is now, by its id. Failures: SandboxNotFound, and NotLoggedIn with ``login``."""

    def still_there(seen: Sandbox | None) -> Result[Sandbox, PocketenvError]:
        # What has the id for its name is another sandbox.
        if seen is None or seen.id != sandbox.id:
            return Failure(SandboxNotFound(message=f"{sandbox.name} is gone", operation="sandbox.getSandbox"))
        return Success(seen)

    asked = query("sandbox.getSandbox", _found, {"id": sandbox.id}, login=login, read_timeout=read_timeout)
    return send(asked).bind(still_there)


def remove(sandbox: Sandbox) -> Result[None, PocketenvError]:
    """Delete the sandbox, by its id. Failures: SandboxNotFound."""
    return send(procedure("sandbox.deleteSandbox", nothing, {"id": sandbox.id}))


@checked
def claim_sandbox(
    id: Id, *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox, PocketenvError]:
    """Make a sandbox that nobody owns yours, by its id. Gives the Sandbox, with a status of UNKNOWN until it is asked.

    Failures: InvalidInput; ApiError (404) where there is none, or somebody has it already.

    >>> from pocketenv_fp import Config, local, pocketenv, using
    >>> with local.platform() as platform, using(Config(api_url=platform.url, token=platform.token)):
    ...     nobodys = platform.new_ownerless_sandbox()
    ...     pocketenv.claim_sandbox(nobodys).map(lambda box: box.id == nobodys)
    ...     pocketenv.claim_sandbox(nobodys)
    <Success: True>
    <Failure: sandbox.claimSandbox: ... (404 XRPCNotSupported).>
    """
    return send(procedure("sandbox.claimSandbox", shown, {"id": id}))


@checked
def list_sandboxes(
    *, limit: Limit = 30, offset: Offset = 0, token: Text | None = None, config: Config | None = None
) -> Result[Page[Sandbox], PocketenvError]:
    """List the public catalogue of base images, never your own sandboxes. Gives a Page of Sandbox.

    Works without a login. Failures: InvalidInput for a limit below 1 or an offset below 0.

    >>> from pocketenv_fp import list_sandboxes
    >>> page = list_sandboxes(limit=1).unwrap()
    >>> [image.name for image in page], page.total >= 1
    (['openclaw'], True)
    """
    params = {"limit": limit, "offset": offset}
    return send(query("sandbox.getSandboxes", page_of_sandboxes, params, login=False))


@iterates
def iter_sandboxes(
    *, limit: Limit = 100, token: Text | None = None, config: Config | None = None
) -> Iterator[Result[Sandbox, PocketenvError]]:
    """Give an iterator of the whole public catalogue, each a Success, asked for ``limit`` at a time when needed.

    A page that fails is the last item, as its Failure; so is a list that does not add up, as a DecodeError. Works
    without a login.

    >>> from pocketenv_fp import iter_sandboxes
    >>> "openclaw" in [image.unwrap().name for image in iter_sandboxes(limit=1)]
    True
    """

    def fetch(limit: int, offset: int) -> Result[Page[Sandbox], PocketenvError]:
        return list_sandboxes(limit=limit, offset=offset)

    return walk("sandbox.getSandboxes", fetch, limit=limit)
