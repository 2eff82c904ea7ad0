"""Wait for a server inside of a sandbox."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta
from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config
from pocketenv_fp.errors import DeadlineExceeded, DecodeError, InvalidInput, PocketenvError, ServerTimeout
from pocketenv_fp.models import ExecResult, Sandbox
from pocketenv_fp.providers import provider_of
from pocketenv_fp.runtime import rehearsal
from pocketenv_fp.runtime.deadline import ANSWER_SECONDS, exceeded, limited, nap, remaining
from pocketenv_fp.sandbox.commands.exec import ran
from pocketenv_fp.sandbox.commands.wire_form import Command
from pocketenv_fp.sandbox.copying.lines import with_variables
from pocketenv_fp.sandbox.copying.remote import repeated, succeeded
from pocketenv_fp.sandbox.lifecycle import delays
from pocketenv_fp.sandbox.readiness_lines import HTTP, NO_TOOL, PORT
from pocketenv_fp.steps.needs import Need
from pocketenv_fp.steps.operation import operation
from pocketenv_fp.validation import HttpPath, Text, Wait

__all__ = ["wait_for_http", "wait_for_port"]

AnyPort = Annotated[int, Meta(ge=1, le=65535)]
HttpStatus = Annotated[int, Meta(ge=100, le=599)]

SHELL_SECONDS = 0.25
"""How long a request waits in Cloudflare's one shell: other commands wait for it."""
LONGEST_SECONDS = 10.0
"""How long a request waits elsewhere. The shortest limit of a provider is 30 s."""
LOOK_SECONDS = 2
"""How long one look waits for an answer of the server."""
TICK = 0.1


@operation(Sandbox, safe=True, reads=Need.STATUS, returns_target=True)
def wait_for_port(
    sandbox: Sandbox,
    port: AnyPort,
    *,
    timeout: Wait = 60,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Sandbox, PocketenvError]:
    """Wait until a server in the sandbox accepts connections on a port. Returns the Sandbox unchanged.

    It looks from inside, at 127.0.0.1 and ::1, so the port need not be exposed. It needs one of bash, python3, curl and
    nc. A request waits in the sandbox for up to 10 s. On Cloudflare it waits for 0.25 s only, because other commands
    wait for it, and further requests follow, later and later.

    Failures: ServerTimeout after ``timeout`` seconds, with the last answer, or up to 5 s later if the platform does not
    respond; InvalidInput for a sandbox without any of the tools; ApiError (400) for a sandbox that is not running.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        port: Port inside of the sandbox, from 1 to 65535.
        timeout: Seconds to wait. 0 looks once. Default: 60.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, spawn, start, tap, wait_for_port
    >>> box = create("my-box") | start
    >>> server = tap(spawn("python3 -m http.server 18517"))
    >>> (box | server | wait_for_port(18517)).map(lambda box: box.name)
    <Success: my-box>
    >>> box | wait_for_port(18519, timeout=0)
    <Failure: no server was ready on port 18519 after 0 s: the connection was refused. ...>
    """
    return _waited(sandbox, PORT, port, timeout, {})


@operation(Sandbox, safe=True, reads=Need.STATUS, returns_target=True)
def wait_for_http(
    sandbox: Sandbox,
    path: HttpPath = "/",
    *,
    port: AnyPort,
    status: HttpStatus | None = None,
    timeout: Wait = 60,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[Sandbox, PocketenvError]:
    """Wait until a server in the sandbox answers a GET request with a good status. Returns the Sandbox unchanged.

    It needs one of curl, python3 and bash. An answer must come within 2 s, and redirects are not followed. The rest is
    as in `wait_for_port`: Failure(ServerTimeout) after ``timeout`` seconds.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        path: Path and query of the URL, in ASCII, beginning with ``/``. Default: ``"/"``.
        port: Port inside of the sandbox, from 1 to 65535.
        status: The expected status. None: any from 200 to 399. Default: None.
        timeout: Seconds to wait. 0 looks once. Default: 60.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, spawn, start, tap, wait_for_http
    >>> box = create("my-box") | start
    >>> server = tap(spawn("python3 -m http.server 18518"))
    >>> (box | server | wait_for_http("/", port=18518)).map(lambda box: box.name)
    <Success: my-box>
    >>> box | wait_for_http("/health", port=18518, timeout=0)
    <Failure: no server was ready on port 18518 after 0 s: the status was 404. ...>
    """
    return _waited(sandbox, HTTP, port, timeout, {"path": path, "wanted": "" if status is None else status})


def _waited(
    sandbox: Sandbox, line: str, port: int, timeout: float, variables: dict[str, str | int]
) -> Result[Sandbox, PocketenvError]:
    rehearsal.note(lambda: f"is repeated until the server is ready, for {rehearsal.duration(timeout)} at the most")
    is_shared = provider_of(sandbox.provider).persistent
    longest = SHELL_SECONDS if is_shared else LONGEST_SECONDS
    until = time.monotonic() + timeout
    operation = "wait_for_http" if variables else "wait_for_port"
    state: str | None = "the platform did not answer in time"
    for delay in delays():
        seconds = max(0.0, min(until - time.monotonic(), remaining()))
        with limited(seconds + ANSWER_SECONDS):
            answer = _look(sandbox, line, min(seconds, longest), {"port": port, **variables})
        # The deadline of the request alone, and not that of `within`.
        is_own_limit = isinstance(answer, Failure) and isinstance(answer.failure(), DeadlineExceeded)
        if isinstance(answer, Failure) and (not is_own_limit or exceeded(operation)):
            return answer
        state = state if isinstance(answer, Failure) else answer.unwrap()
        if state is None:
            return Success(sandbox)
        if late := exceeded(operation):
            return Failure(late)
        if time.monotonic() >= until:
            return Failure(ServerTimeout(timeout, port, state))
        # Elsewhere the next request waits in the sandbox, and costs others nothing.
        nap(min(delay if is_shared else TICK, max(0.0, until - time.monotonic())))
    raise AssertionError("the delays have no end")


def _look(
    sandbox: Sandbox, line: str, seconds: float, variables: dict[str, str | int]
) -> Result[str | None, PocketenvError]:
    """Return None where the server is ready, else what was seen."""
    script = with_variables(line, {**variables, "waits": int(seconds / TICK), "most": LOOK_SECONDS})
    command = Command(script, cwd="/")
    # Each of the two addresses may take its time, once more after the wait.
    most = seconds + 4 * LOOK_SECONDS
    return repeated(lambda: ran(sandbox, command, env=None, check=False, work_seconds=most)).bind(_seen)


def _seen(done: ExecResult) -> Result[str | None, PocketenvError]:
    if done.exit_code == NO_TOOL:
        reason = "the sandbox has no bash, python3, curl or nc to look for a server: install one there"
        return Failure(InvalidInput("port", reason))
    success = succeeded(done)
    if isinstance(success, Failure):
        return success
    words = done.stdout.strip()
    if match := re.fullmatch(r"waits (\d{3})", words, re.ASCII):
        return Success(f"the status was {match[1]}")
    if words in _WORDS:
        return Success(_WORDS[words])
    return Failure(DecodeError("sandbox.exec", "the output of the shell does not describe a server"))


_WORDS: Mapping[str, str | None] = {
    "ready": None,
    "waits refused": "the connection was refused",
    "waits silent": "it accepts connections, and does not answer with HTTP in time",
}
