"""Running commands in the background."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
from returns.result import Failure, Result, Success

from pocketenv_fp import pocketenv
from pocketenv_fp.config import Config, FromEnv
from pocketenv_fp.errors import InvalidInput, NotSupported, PocketenvError
from pocketenv_fp.models import Sandbox, Service, Status
from pocketenv_fp.providers import provider_of
from pocketenv_fp.runtime.deadline import limited
from pocketenv_fp.sandbox.commands.exec import exec
from pocketenv_fp.sandbox.commands.wire_form import environment, joined, service_form
from pocketenv_fp.sandbox.services import get_service
from pocketenv_fp.steps.operation import operation
from pocketenv_fp.validation import Name, Text

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
    """Run a command in the background, as a service, and do not wait for it. Returns its Service.

    ``command`` and ``args`` are those of `exec`, and so are ``cwd`` and ``env``. The Service's ``command`` is the line
    that the platform keeps: the command in its directory and with its environment. It runs until it ends or
    `stop_service` stops it, and again after every start of the sandbox. `stop_service` and `get_service` take the
    service's ``name``, which is made up where it is not given.

    A command that ends within a third of a second is STOPPED in the result: one more request asks the sandbox. The
    platform itself says RUNNING of each service until it is stopped, and so does `get_service`.

    The platform keeps the command, in clear. So `from_env` is refused in ``env``: use `set_secret` for a secret, from
    the next start on. Failures: InvalidInput for that, for a name in ``env`` that is none, for a NUL character, and
    for a sandbox that does not run; NotSupported where the provider runs no services; ServerError for a name that
    another service of the sandbox has.

    >>> from pocketenv_fp import create, get_service, spawn, start, stop_service
    >>> box = create("my-box") | start
    >>> box | spawn("sleep", ["60"], name="nap")
    <Success: Service(id='...', name='nap', command="(cd /workspace && exec ... 'sleep 60')", status=Status.RUNNING, ...)>
    >>> [(box | ask("nap")).unwrap().status for ask in (get_service, stop_service)]
    [Status.RUNNING, Status.STOPPED]
    >>> (box | spawn("no-such-command")).unwrap().status
    Status.STOPPED
    """
    provider = provider_of(sandbox.provider)
    if not provider.services:
        instead = "Run it as a job, with submit."
        return Failure(NotSupported("spawn", provider.name, instead))
    if sandbox.status is Status.STOPPED:
        return Failure(InvalidInput("sandbox", NOT_RUNNING))
    values = _visible(env)
    if isinstance(values, Failure):
        return values
    mark = f"spawn-{os.urandom(6).hex()}"
    line = service_form(joined(command, args), cwd, {**values.unwrap(), MARK: mark})
    if isinstance(line, Failure):
        return line
    started = _Spawned(sandbox, name or mark, mark, token, config)
    added = pocketenv.add_service(sandbox.id, started.name, line.unwrap(), token=token, config=config)
    return added.bind(lambda _: started.service())


# In the environment of a service and all that it starts, so that they are found.
MARK = "POCKETENV_SPAWNED"
NOT_RUNNING = "does not run: start it first. set_service keeps a command for the next start"
# The answer is of use for so long. An earlier command may hold the shell for longer.
PATIENCE = 3.0
ENDED = 3
# The brackets keep the line from finding itself: the mark stands in the environment, and before that in the arguments
# of the shell that the platform starts. Without /proc nothing is known.
_LOOK = """[ -e /proc/self/environ ] || exit 0
n=0
while grep -qsaE "{name}='?{mark}" /proc/[0-9]*/cmdline /proc/[0-9]*/environ; do
    n=$((n+1)); [ $n -lt 7 ] || exit 0; sleep 0.05
done
exit {ended}"""


class _Spawned(NamedTuple):
    """A service that was added just now."""

    sandbox: Sandbox
    name: str
    mark: str
    token: str | None
    config: Config | None

    def service(self) -> Result[Service, PocketenvError]:
        """Return it as it is. Failures: InvalidInput where the platform did not start it: then it is deleted again."""
        match get_service(self.sandbox, self.name, token=self.token, config=self.config):
            case Success(Service(status=Status.STOPPED) as service):
                pocketenv.delete_service(service.id, token=self.token, config=self.config)
                return Failure(InvalidInput("sandbox", NOT_RUNNING))
            case Success(service) if self._has_ended():
                return Success(msgspec.structs.replace(service, status=Status.STOPPED))
            case other:
                return other

    def _has_ended(self) -> bool:
        line = _LOOK.format(name=f"{MARK[:-1]}[{MARK[-1]}]", mark=self.mark, ended=ENDED)
        with limited(PATIENCE):
            looked = exec(self.sandbox, line, cwd="/", token=self.token, config=self.config)
        return isinstance(looked, Success) and looked.unwrap().exit_code == ENDED


def _visible(env: Mapping[str, str | FromEnv] | None) -> Result[dict[str, str], PocketenvError]:
    if any(isinstance(value, FromEnv) for value in (env or {}).values()):
        reason = "a service is kept in clear, where a from_env would be read: store it with set_secret, and start again"
        return Failure(InvalidInput("env", reason))
    return environment(env)
