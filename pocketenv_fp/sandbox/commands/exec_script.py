"""Run complete scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from returns.result import Result

from pocketenv_fp.config import Config, FromEnv
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.models import ExecResult, Sandbox
from pocketenv_fp.sandbox.commands.exec import OnOutput, finite, ran_or_followed
from pocketenv_fp.sandbox.commands.wire_form import Command, joined
from pocketenv_fp.steps.needs import Need
from pocketenv_fp.steps.operation import operation
from pocketenv_fp.validation import Seconds, Text

__all__ = ["exec_script"]


@operation(Sandbox, reads=Need.STATUS)
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
    r"""Run a script that you pass as a string. Returns an ExecResult. The options are those of `exec`.

    The script is written to a file in the sandbox, unchanged. The file is deleted when the script ends or is killed.
    The script cannot import modules next to it. The script is shown when the step is printed.

    Failures: those of `exec`; InvalidInput for a script above about 100,000 bytes, the limit of one request. In the request, a
    newline, a double quote and a backslash count as two bytes, a single quote as five. Upload a longer script, and run
    it with `exec`. ``timeout`` is in seconds.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        text: The script.
        interpreter: Shell words that run the script, such as ``"bash -eu"``. The file and ``args`` follow them.
            Default: ``"python3"``.
        args: Further arguments of the command. Each is quoted and stays one argument. Default: none.
        cwd: Working directory. A relative path starts at ``/workspace``. Default: ``/workspace``. If it cannot be
            entered, the command does not run, and the exit code is not zero.
        env: Environment variables of the command: values, or `from_env`. Default: none.
        timeout: Seconds until the command is killed. None or infinity: no limit but the provider's.
        check: True to turn a non-zero exit code into Failure(CommandFailed). Default: False.
        on_output: Function that is called with each Piece of the output while the command runs, as a job. True
            prints the output. Default: none.
        durable: True to run the command as a job. Default: False.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, exec_script, start
    >>> box = create("my-box") | start
    >>> box | exec_script("import sys\nprint(sys.argv[1:], \"it's\")\n", args=["a b"])
    <Success: ExecResult(stdout="['a b'] it's\n", stderr='', exit_code=0)>
    >>> (box | exec_script("echo $0 >&2; exit 3", "bash -eu")).unwrap().exit_code
    3
    """
    command = Command(joined(f'{interpreter} "$1"', args), cwd, timeout=finite(timeout), script=text)
    return ran_or_followed(sandbox, command, env=env, check=check, on_output=on_output, durable=durable)
