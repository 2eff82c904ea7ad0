"""Running whole scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from returns.result import Result

from pocketenv_fp.config import Config, FromEnv
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.models import ExecResult, Sandbox
from pocketenv_fp.sandbox.commands.exec import OnOutput, finite, ran_or_followed
from pocketenv_fp.sandbox.commands.wire_form import Command, joined
from pocketenv_fp.steps.operation import operation
from pocketenv_fp.validation import Seconds, Text

__all__ = ["exec_script"]


@operation(Sandbox)
def exec_script(
    sandbox: Sandbox,
    text: str,
    interpreter: Text = "python3",
    args: Sequence[str] = (),
    *,
    cwd: Text | None = None,
    env: Mapping[str, str | FromEnv] | None = None,
    timeout: Seconds | None = None,
    check: bool = False,
    on_output: OnOutput | None = None,
    durable: bool = False,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[ExecResult, PocketenvError]:
    r"""Run a script that is given as text. Gives an ExecResult, as `exec` does, with the same options and failures.

    The text is written to a file in the sandbox as it is, and removed when the script has ended or its time is over.
    ``interpreter`` is the shell words that run it, such as ``"bash -eu"``; the file and then ``args`` follow them. The
    script may import nothing that lies beside it; it runs in ``/workspace`` or in ``cwd``, and ``timeout`` is in seconds.

    Failures, besides those of `exec`: InvalidInput for a script of more than about 100,000 bytes, which is the most
    that the platform takes in one request; on its way a line break, a double quote and a backslash count twice, and a
    single quote five times. Upload such a one, and run it with `exec`. The text is shown when the step is printed.

    >>> from pocketenv_fp import create, exec_script, start
    >>> box = create("my-box") | start
    >>> box | exec_script("import sys\nprint(sys.argv[1:], \"it's\")\n", args=["a b"])
    <Success: ExecResult(stdout="['a b'] it's\n", stderr='', exit_code=0)>
    >>> (box | exec_script("echo $0 >&2; exit 3", "bash -eu")).unwrap().exit_code
    3
    """

    def made(values: dict[str, str]) -> Command:
        return Command(joined(f'{interpreter} "$1"', args), cwd, values, None, finite(timeout), text)

    return ran_or_followed(
        sandbox,
        made,
        env=env,
        check=check,
        token=token,
        config=config,
        on_output=on_output,
        durable=durable,
    )
