"""Creating a sandbox."""

from __future__ import annotations

from returns.result import Result

from pocketenv_fp.arguments import Name, Text
from pocketenv_fp.config import Config
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.models import Sandbox
from pocketenv_fp.operation import step
from pocketenv_fp.xrpc import decode, procedure, send

__all__ = ["create", "create_sandbox"]

BASE = "at://did:plc:aturpi2ls3yvsmhc6wybomun/io.pocketenv.sandbox/openclaw"
PROVIDER = "cloudflare"


def _sandbox(body: bytes) -> Sandbox:
    return decode(body, Sandbox)


@step(str)
def create(
    name: Name,
    *,
    base: Text = BASE,
    provider: Text = PROVIDER,
    repo: Text | None = None,
    keep_alive: bool | None = None,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Sandbox, PocketenvError]:
    r"""Create a sandbox; also called ``create_sandbox``. Gives the Sandbox, with a status of UNKNOWN until it is asked.

    ``base`` is the at-URI of a base image, ``provider`` the cloud to run on (cloudflare, daytona, vercel, deno,
    sprites, modal, e2b, hopx, runloop), ``repo`` the URL of a git repository to clone, and ``keep_alive`` keeps the
    sandbox from being stopped when idle. The platform chooses the name itself at present: use the ``id`` or the
    ``name`` of what comes back. With a ``repo``, an existing sandbox of yours with the same repo and base comes back.

    Failures: InvalidInput for an empty name; ServerError (502) for an unknown base or a provider that failed. It is
    sent once: after a TransportError with ``maybe_sent`` there may be a new sandbox.

    >>> from pocketenv_fp import create, exec, start
    >>> create("my-box") | start | exec("echo", ["hello"])
    <Success: ExecResult(stdout='hello\n', stderr='', exit_code=0)>
    >>> create(provider="daytona")
    create(provider='daytona')
    >>> create("")
    <Failure: name: Expected `str` of length >= 1.>
    """
    body = {"name": name, "base": base, "provider": provider, "repo": repo, "keepAlive": keep_alive}
    return send(procedure("sandbox.createSandbox", _sandbox, body=body), token=token, config=config)


create_sandbox = create
