"""Run Python code in a process of the sandbox that keeps its variables from one run to the next."""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import cache, partial
from importlib.resources import files

from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config
from pocketenv_fp.errors import CodeFailed, CommandFailed, InvalidInput, NotSupported, PocketenvError, TransportError
from pocketenv_fp.models import CodeResult, ExecResult, Job, Piece, Sandbox
from pocketenv_fp.sandbox import inside
from pocketenv_fp.sandbox.commands.code_answer import INSTALL, NO_PYTHON, CodeRequest, OutputFilter, code_result
from pocketenv_fp.sandbox.commands.durable import delete, new_id, run_to_the_end
from pocketenv_fp.sandbox.commands.exec import OnOutput, finite
from pocketenv_fp.sandbox.commands.job_follow import ended
from pocketenv_fp.sandbox.commands.job_output import Output, printer
from pocketenv_fp.sandbox.commands.job_requests import LONGEST_SECONDS, PIECE_BYTES, Asking, Place, Work
from pocketenv_fp.sandbox.commands.wire_form import Command
from pocketenv_fp.steps.needs import Need
from pocketenv_fp.steps.operation import operation, step
from pocketenv_fp.validation import Identifier, Seconds, Text, unsendable

__all__ = ["restart_context", "run_code"]

_LINE = f'command -v python3 >/dev/null 2>&1 || exit {NO_PYTHON}\nexec python3 "$1" {{}}'


@operation(Sandbox, reads=Need.STATUS)
def run_code(
    sandbox: Sandbox,
    source: str,
    context: Identifier = "main",
    language: Text = "python",
    *,
    timeout: Seconds | None = None,
    check: bool = False,
    on_output: OnOutput | None = None,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[CodeResult, PocketenvError]:
    r"""Run Python code in a process of the sandbox that keeps its variables. Returns a CodeResult.

    The result has the value of a last expression, as at Python's prompt: its ``repr``, and the ``value`` itself if it
    is JSON. It has stdout and stderr, the ``error`` that the code raised, with its traceback, and ``displays``: open
    figures of matplotlib as PNG, the rich forms of the value (HTML of a table), and the arguments of
    ``display``. An error of the code is not a Failure.

    **Contexts.** Each ``context`` is a process with its own variables. The first run starts it, in ``/workspace``. It
    ends with the sandbox, or by `restart_context`. Runs in one context wait for each other. The process uses IPython if
    the sandbox has it, so that magics work. Otherwise it needs python3 only, 3.9 or newer. ``input()`` gets EOFError.
    ``await`` works at the top level.

    **Timeout.** After ``timeout`` seconds the code gets KeyboardInterrupt, and the result is Failure(CodeTimeout) with
    the output so far. The context keeps its state. Code that ignores the interrupt for three seconds is killed with its
    context (``is_lost``). The time starts when the code does. Ctrl-C and `within` interrupt the code too.

    The code runs as a job, once: a request whose response is lost is sent again. It may run for any time. A short run is
    one request. ``on_output`` gets the output while the code runs. repr and tracebacks are cut at 100,000 characters,
    and displays at 16 MB.

    Failures: NotSupported in a sandbox without python3, and for another ``language``; CodeFailed with ``check``;
    CodeTimeout; ContextLost if the process ended while the code ran; InvalidInput for code above about 70,000 bytes.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        source: Python code. It is shown when the step is printed.
        context: Name of the process: up to 64 letters, digits, ``.``, ``_`` and ``-``. Default: ``"main"``.
        language: Language of the code: ``"python"`` only. Default: ``"python"``.
        timeout: Seconds until the code is interrupted. Default: no limit.
        check: True to turn an error of the code into Failure(CodeFailed). Default: False.
        on_output: Function that is called with each Piece of the output while the code runs. True prints the output.
            Default: none.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, run_code, start
    >>> box = create("my-box") | start
    >>> (box | run_code("x = 6\nprint('set')")).unwrap().stdout
    'set\n'
    >>> (box | run_code("x * 7")).unwrap().value
    42
    >>> (box | run_code("{x}")).unwrap().repr
    '{6}'
    >>> (box | run_code("1 / 0")).unwrap().error.kind
    'ZeroDivisionError'
    >>> box | run_code("while True: pass", timeout=0.5)
    <Failure: the code was interrupted after 0.5 s. Its context keeps its state. ...>
    >>> (box | run_code("x", check=True)).map(lambda result: result.value)
    <Success: 6>
    """
    if language != "python":
        return Failure(NotSupported(f"run_code in {language}", instead="Run another language with exec_script."))
    if wrong := unsendable("source", source):
        return Failure(wrong)
    run = new_id()
    request = CodeRequest(context, f"\x1e{run}\x1e", finite(timeout))
    seconds = "" if request.timeout is None else min(request.timeout, LONGEST_SECONDS)
    asking, output = _asking(sandbox, run), Output(Place())
    listener = printer(on_output)
    on_piece = None if listener is None else OutputFilter(request.mark, listener).take
    job_result = _ran(asking, output, f"run {context} {seconds}", source.encode(), on_piece).alt(_named)
    if isinstance(job_result, Failure):
        return job_result
    if asking.repeats or output.place.stdout > PIECE_BYTES or output.place.stderr > PIECE_BYTES:
        # A smaller one is deleted by a later run.
        delete(asking)
    result = code_result(request, job_result.unwrap())
    return result.bind(_without_error) if check else result


@step(Sandbox, reads=Need.STATUS, returns_target=True)
def restart_context(
    sandbox: Sandbox, context: Identifier = "main", *, token: Text | None = None, config: Config | None = None
) -> Result[Sandbox, PocketenvError]:
    r"""Kill the process of a context of `run_code`, with its variables. Returns the Sandbox.

    The processes that its code started in its process group are killed too. Code that runs there is
    Failure(ContextLost). Code that waits for it runs in a new process, as does the next `run_code`. A context that does
    not run is no failure. Failures: NotSupported in a sandbox without python3.

    Args:
        sandbox: The Sandbox, or a Result of one. Without it, the call returns a step.
        context: Name of the process. Default: ``"main"``.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, restart_context, run_code, start
    >>> box = create("my-box") | start
    >>> (box | run_code("x = 6")).unwrap().number
    1
    >>> result = (box | restart_context | run_code("x")).unwrap()
    >>> result.number, result.error.message
    (1, "name 'x' is not defined")
    """
    done = _ran(_asking(sandbox, new_id()), Output(Place()), f"restart {context}")
    return done.bind(partial(_restarted, sandbox))


def _ran(
    asking: Asking,
    output: Output,
    arguments: str,
    stdin: bytes | None = None,
    on_piece: Callable[[Piece], object] | None = None,
) -> Result[ExecResult, PocketenvError]:
    """Run the program as a job. Returns the result of the program itself."""
    program = _program()
    if isinstance(program, Failure):
        return program
    work = Work(Command(_LINE.format(arguments), stdin=stdin, script=program.unwrap()))
    return run_to_the_end(asking, work, output, on_piece).bind(partial(ended, output=output))


def _asking(sandbox: Sandbox, run: str) -> Asking:
    # `list_jobs` does not show an id with a dot.
    return Asking(Job(sandbox, f".{run}"))


def _program() -> Result[str, PocketenvError]:
    try:
        return Success(_packed())
    except OSError as error:
        # With too many open files, a program goes on with Failures.
        return Failure(TransportError("connect", f"the program for the sandbox was not read: {error.strerror}"))


@cache
def _packed() -> str:
    """Return the modules of the program as one file, a third as long by compression."""
    # Imported here: they are slow to import, and most programs run no code.
    import ast
    import zlib

    kept: list[ast.stmt] = []
    for name in ("displays", "engines", "server", "client"):
        tree = ast.parse(files(inside).joinpath(f"{name}.py").read_text(encoding="utf-8"))
        kept += [each for each in tree.body if not isinstance(each, ast.ImportFrom) or _is_needed(each.module)]
    text = f"from __future__ import annotations\n{ast.unparse(ast.Module(kept, []))}\n"
    packed = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    return f"import base64, zlib\nexec(zlib.decompress(base64.b64decode('{packed}')))\n"


def _is_needed(module: str | None) -> bool:
    return module != "__future__" and module is not None and not module.startswith(inside.__name__)


def _named(error: PocketenvError) -> PocketenvError:
    """Return the error with the caller's name for what was sent."""
    if isinstance(error, InvalidInput) and error.field in {"stdin", "text", "command"}:
        return InvalidInput("source", "is too long for one request: upload it as a file, and import it, or use exec")
    return error


def _without_error(result: CodeResult) -> Result[CodeResult, PocketenvError]:
    error = result.error
    if error is None:
        return Success(result)
    return Failure(CodeFailed(error.kind, error.message, error.traceback, result.stdout, result.stderr))


def _restarted(sandbox: Sandbox, done: ExecResult) -> Result[Sandbox, PocketenvError]:
    if done.exit_code == NO_PYTHON:
        return Failure(NotSupported("restart_context", instead=INSTALL))
    if done.exit_code:
        return Failure(CommandFailed(done.exit_code, done.stdout, done.stderr))
    return Success(sandbox)
