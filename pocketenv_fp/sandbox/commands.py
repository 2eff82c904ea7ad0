"""Running commands."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

from returns.result import Result

from pocketenv_fp.arguments import Seconds, Text
from pocketenv_fp.config import Config
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.models import ExecResult, Sandbox
from pocketenv_fp.operation import operation
from pocketenv_fp.xrpc import decode, procedure, send

__all__ = ["exec"]


def _result(body: bytes) -> ExecResult:
    return decode(body, ExecResult)


@operation(Sandbox)
def exec(
    sandbox: Sandbox,
    command: Text,
    args: Sequence[str] = (),
    *,
    timeout: Seconds | None = None,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[ExecResult, PocketenvError]:
    r"""Run a command and wait for its end. Gives an ExecResult; an exit code that is not zero is data, not a Failure.

    ``command`` is a shell line and is sent as it is, so that pipes, globs and ``&&`` work; each of ``args`` is quoted
    and stays one argument, whatever is in it. It runs in ``/workspace``. ``timeout`` is how many seconds to wait for
    the answer, without end if it is not given; the command itself goes on.

    It is sent once. Failures: TransportError with ``maybe_sent`` where the answer did not come, in time or at all: the
    command may have run; ApiError (400) for a stopped sandbox on Cloudflare.

    >>> from pocketenv_fp import create, exec, start
    >>> box = create("my-box") | start
    >>> box | exec("echo a b | tr a-z A-Z")
    <Success: ExecResult(stdout='A B\n', stderr='', exit_code=0)>
    >>> box | exec("printf '%s|'", ["one argument", "$HOME", "it's"])
    <Success: ExecResult(stdout="one argument|$HOME|it's|", stderr='', exit_code=0)>
    >>> (box | exec("exit 3")).unwrap().exit_code
    3
    """
    line = " ".join((command, *map(shlex.quote, args)))
    limit = math.inf if timeout is None else timeout
    asked = procedure("sandbox.exec", _result, {"id": sandbox.id}, {"command": line}, read_timeout=limit)
    return send(asked, token=token, config=config)
