"""Run commands in the background."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import msgspec
from returns.result import Failure, Result, Success

from pocketenv_fp import pocketenv
from pocketenv_fp.config import Config, FromEnv
from pocketenv_fp.errors import InvalidInput, NotSupported, PocketenvError
from pocketenv_fp.models import Sandbox, Service, Status
from pocketenv_fp.providers import provider_of
from pocketenv_fp.runtime.deadline import brief, limited
from pocketenv_fp.sandbox.commands.exec import exec
from pocketenv_fp.sandbox.commands.service_lines import MARK, MARK_PATTERN, keeping
from pocketenv_fp.sandbox.commands.wire_form import environment, joined, service_form
from pocketenv_fp.sandbox.copying.lines import with_variables
from pocketenv_fp.sandbox.services import get_service
from pocketenv_fp.steps.needs import Need, needed
from pocketenv_fp.steps.operation import operation
from pocketenv_fp.validation import Name, Text

__all__ = ["spawn"]


@operation(Sandbox, reads=Need.STATUS)
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
    """Start a command in the background, as a service, and do not wait for it. Returns its Service.

    The Service's ``command`` is the line that the platform stores: the command with its directory and environment. Its
    repr and its table show the command alone. It runs until it ends or `stop_service` stops it. It starts again at each
    start of the sandbox. Its output is kept in the sandbox: `service_logs` reads it.

    One more request checks the sandbox, so a command that ends within a third of a second is STOPPED in the result. The
    platform itself, and so `get_service`, reports RUNNING until a service is stopped.

    The platform stores the command unencrypted. So a `from_env` in ``env`` is refused: use `set_secret`, and start
    again. Failures: InvalidInput for a `from_env`, a name in ``env`` that is not valid, a NUL character, or a sandbox
    that is not running; NotSupported if the provider runs no services; ServerError for a name that is taken.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        command: Shell line, for instance with pipes, globs and ``&&``.
        args: Further arguments of the command. Each is quoted and stays one argument. Default: none.
        name: Name of the service. Default: a generated name.
        cwd: Working directory. A relative path starts at ``/workspace``. Default: ``/workspace``. If it cannot be
            entered, the command does not run, and the exit code is not zero.
        env: Environment variables of the command: values only. Default: none.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, get_service, spawn, start, stop_service
    >>> box = create("my-box") | start
    >>> box | spawn("sleep", ["60"], name="nap")
    <Success: Service(id='...', name='nap', command='sleep 60', status=Status.RUNNING, ...)>
    >>> [(box | ask("nap")).unwrap().status for ask in (get_service, stop_service)]
    [Status.RUNNING, Status.STOPPED]
    >>> (box | spawn("no-such-command")).unwrap().status
    Status.STOPPED
    """
    provider = provider_of(sandbox.provider)
    if not provider.services:
        return Failure(NotSupported("spawn", provider.name, "Run it as a job, with submit."))
    if sandbox.status is Status.STOPPED:
        return Failure(InvalidInput("sandbox", NOT_RUNNING))
    values = _visible(env)
    if isinstance(values, Failure):
        return values
    mark = f"spawn-{os.urandom(6).hex()}"
    name = name or mark
    line = service_form(joined(command, args), cwd, {**values.unwrap(), MARK: mark}, keeping(name, mark))
    if isinstance(line, Failure):
        return line
    answer = pocketenv.add_service(sandbox.id, name, line.unwrap())
    return answer if isinstance(answer, Failure) else _new_service(sandbox, name, mark)


NOT_RUNNING = "is not running: start it first. set_service stores a command for the next start"
# The check is useful for this many seconds. An earlier command may block the shell for longer.
PATIENCE = 3.0
# A process that was seen this many times, with 0.05 s between, counts as running.
LOOKS = 6
ENDED = 3
# Without /proc the state is unknown. One miss proves nothing: the process may have ended after the list of /proc was
# made, and its child may be new.
_LOOK = f"""[ -e /proc/self/environ ] || exit 0
n=0 missed=0
while [ $n -lt "$most" ] && [ $missed -lt 2 ]; do
    if grep -qsaE "{MARK_PATTERN}$mark" /proc/[0-9]*/cmdline /proc/[0-9]*/environ
    then n=$((n+1)) missed=0
    else missed=$((missed+1))
    fi
    sleep 0.05
done
[ $missed -lt 2 ] || exit {ENDED}"""


def _new_service(sandbox: Sandbox, name: str, mark: str) -> Result[Service, PocketenvError]:
    """Return the service that was just added. Failures: InvalidInput if the platform did not start it. It is deleted."""
    match get_service(sandbox, name):
        case Success(Service(status=Status.STOPPED) as service):
            pocketenv.delete_service(service.id)
            return Failure(InvalidInput("sandbox", NOT_RUNNING))
        case Success(service) if needed() is not Need.NOTHING and _has_ended(sandbox, mark):
            return Success(msgspec.structs.replace(service, status=Status.STOPPED))
        case other:
            return other


def _has_ended(sandbox: Sandbox, mark: str) -> bool:
    with limited(PATIENCE), brief():
        answer = exec(sandbox, with_variables(_LOOK, {"mark": mark, "most": LOOKS}), cwd="/")
    return isinstance(answer, Success) and answer.unwrap().exit_code == ENDED


def _visible(env: Mapping[str, str | FromEnv] | None) -> Result[dict[str, str], PocketenvError]:
    if any(isinstance(value, FromEnv) for value in (env or {}).values()):
        reason = "a service is stored unencrypted, with the value of a from_env: use set_secret, and start again"
        return Failure(InvalidInput("env", reason))
    return environment(env)
