"""Looking at sandboxes, and at the public catalogue."""

from __future__ import annotations

import msgspec
from returns.result import Result

from pocketenv_fp.arguments import Id, Limit, Offset, Text, checked
from pocketenv_fp.config import Config
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.models import Page, Sandbox
from pocketenv_fp.operation import step
from pocketenv_fp.xrpc import decode, query, send

__all__ = ["found", "get_sandbox", "list_sandboxes", "page_of_sandboxes"]


class _Sandboxes(msgspec.Struct):
    sandboxes: tuple[Sandbox, ...]
    total: int


def page_of_sandboxes(body: bytes) -> Page[Sandbox]:
    answer = decode(body, _Sandboxes)
    return Page(answer.sandboxes, answer.total)


class _Found(msgspec.Struct):
    sandbox: Sandbox | None = None


def found(body: bytes) -> Sandbox | None:
    """Read getSandbox's answer."""
    seen = decode(body, _Found).sandbox
    # A missing sandbox is `{}` or `{"sandbox": null}`. An object of other things is an answer to something else.
    if seen is None and not decode(body, dict[str, object]).keys() <= {"sandbox"}:
        raise msgspec.ValidationError("Object missing required field `sandbox`")
    return seen


@step(str)
def get_sandbox(
    id: Id, *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox | None, PocketenvError]:
    """Look at the sandbox with this id, name or at-URI, anybody's. Gives the Sandbox, or None if there is none.

    A step that receives the None gives Failure(SandboxNotFound). Works without a login. Failures: InvalidInput.

    >>> from pocketenv_fp import exec, get_sandbox
    >>> get_sandbox("no-such-box")
    <Success: None>
    >>> get_sandbox("no-such-box") | exec("ls")
    <Failure: exec: no sandbox came from the step before (404 SandboxNotFound). ...>
    """
    return send(query("sandbox.getSandbox", found, {"id": id}, login=False), token=token, config=config)


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
    return send(query("sandbox.getSandboxes", page_of_sandboxes, params, login=False), token=token, config=config)
