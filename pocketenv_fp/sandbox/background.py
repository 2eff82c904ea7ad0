"""Running commands in the background."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from returns.result import Failure, Result

from pocketenv_fp import pocketenv
from pocketenv_fp.arguments import Name, Text
from pocketenv_fp.config import Config, FromEnv
from pocketenv_fp.errors import InvalidInput, PocketenvError
from pocketenv_fp.models import Sandbox, Service
from pocketenv_fp.operation import operation
from pocketenv_fp.sandbox.services import get_service
from pocketenv_fp.sandbox.wire_form import environment, joined, service_form

__all__ = ["spawn"]


@operation(Sandbox)
def spawn(
    sandbox: Sandbox,
    command: Text,
    args: Sequence[str] = (),
    *,
    name: Name | None = None,
    cwd: Text | None = None,
    env: Mapping[str, str | FromEnv] | None = None,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Service, PocketenvError]:
    """Run a command in the background, as a service, and do not wait for it. Gives its Service.

    ``command`` and ``args`` are those of `exec`, and so are ``cwd`` and ``env``. It runs until it ends or
    `stop_service` stops it, and again after every start of the sandbox; `get_service` tells whether it runs. Both take
    the service's ``name``, which is made up where it is not given. A command that ends at once is STOPPED already.

    The platform keeps the command, in clear. So `from_env` is refused in ``env``: a secret is for `set_secret`, from
    the next start on. Failures: InvalidInput for that, for a name in ``env`` that is none, and for a NUL character;
    ServerError for a name that another service of the sandbox has.

    >>> from pocketenv_fp import create, get_service, spawn, start, stop_service
    >>> box = create("my-box") | start
    >>> box | spawn("sleep", ["60"], name="nap")
    <Success: Service(id='...', name='nap', command='sleep 60', status=Status.RUNNING, ...)>
    >>> [(box | ask("nap")).unwrap().status for ask in (get_service, stop_service)]
    [Status.RUNNING, Status.STOPPED]
    """
    values = _visible(env)
    if isinstance(values, Failure):
        return values
    line = service_form(joined(command, args), cwd, values.unwrap())
    if isinstance(line, Failure):
        return line
    chosen = name or f"spawn-{os.urandom(6).hex()}"

    added = pocketenv.add_service(sandbox.id, chosen, line.unwrap(), token=token, config=config)
    return added.bind(lambda _: get_service(sandbox, chosen, token=token, config=config))


def _visible(env: Mapping[str, str | FromEnv] | None) -> Result[dict[str, str], PocketenvError]:
    if any(isinstance(value, FromEnv) for value in (env or {}).values()):
        reason = "a service is kept in clear, where a from_env would be read: store it with set_secret, and start anew"
        return Failure(InvalidInput("env", reason))
    return environment(env)
