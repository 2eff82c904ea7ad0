"""Code that remembers, on every provider that is played, at both isolation levels."""

from __future__ import annotations

import contextvars
import math
import pickle
import random
import shutil
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import msgspec
import pytest
from returns.result import Failure, Result, Success

from pocketenv_fp import (
    CodeFailed,
    CodeResult,
    CodeTimeout,
    Config,
    ContextLost,
    DeadlineExceeded,
    DecodeError,
    InvalidInput,
    NotSupported,
    Piece,
    PocketenvError,
    Sandbox,
    create,
    exec,
    fan_out,
    list_jobs,
    local,
    restart_context,
    run_code,
    set_variable,
    start,
    stop,
    using,
    wait_until_running,
    within,
    write_file,
)
from pocketenv_fp.local.box import bubblewrap
from pocketenv_fp.local.faults import Drop, Fault, Garbage, Refuse, Slow, Truncated
from pocketenv_fp.models import Display
from pocketenv_fp.sandbox.commands import job_requests
from pocketenv_fp.sandbox.commands.code_answer import OutputFilter
from tests.levels import LEVELS

PROVIDERS = ("cloudflare", "daytona", "deno", "vercel", "sprites", "modal", "e2b", "hopx", "runloop")
PNG = b"\x89PNG\r\n\x1a\n"
# A box sees no directory of this machine.
OUTSIDE = pytest.mark.parametrize("played", ["processes"], indirect=True)


@pytest.fixture(scope="module", params=LEVELS)
def played(request: pytest.FixtureRequest) -> Iterator[local.Platform]:
    """A platform of each isolation level."""
    if request.param == "bubblewrap" and bubblewrap() is None:
        pytest.skip("bubblewrap does not run here")
    with local.platform(isolation=request.param) as platform:
        yield platform


@pytest.fixture
def login(played: local.Platform) -> Iterator[local.Platform]:
    with using(Config(api_url=played.url, storage_url=played.url, token=played.token)):
        yield played
    played.faults.clear()
    played.remove_sandboxes()


@pytest.fixture
def box(login: local.Platform) -> Sandbox:  # noqa: ARG001  # it is logged in there
    return (create("box") | start).unwrap()


def with_variable(name: str, value: str) -> Sandbox:
    box = create("box").unwrap()
    (box | set_variable(name, value)).unwrap()
    return (box | start).unwrap()


def ran(box: Sandbox, source: str) -> CodeResult:
    return (box | run_code(source)).unwrap()


@pytest.mark.slow
@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.usefixtures("login")
def test_run_code_each_provider(provider: str) -> None:
    """State, value, both outputs, errors, the time limit and a restart are the same on each provider."""
    box = (create(f"box-{provider}", provider=provider) | start | wait_until_running).unwrap()
    assert ran(box, "import os, sys\nx = {'it\\'s': [1, 2.5, None, True, 'é\"$HOME`\\n']}") == CodeResult()
    pieces: list[Piece] = []
    source = "print('out\\n'); print('err', file=sys.stderr); os.system('echo sh; pwd'); x"
    result = (box | run_code(source, on_output=pieces.append)).unwrap()
    there = (box | exec("pwd")).unwrap().stdout
    assert result.stdout == f"out\n\nsh\n{there}"
    assert (result.stderr, result.number, result.error) == ("err\n", 2, None)
    assert result.value == {"it's": [1, 2.5, None, True, 'é"$HOME`\n']}
    assert result.repr == repr(result.value)
    assert "".join(piece.text for piece in pieces if piece.stream == "stdout") == result.stdout
    late = (box | run_code("print('on', end='')\nwhile True: pass", timeout=0.5)).failure()
    assert late == CodeTimeout(0.5, "on", "")
    failed = (box | run_code("print(x['none'])", check=True)).failure()
    assert isinstance(failed, CodeFailed)
    assert (failed.kind, failed.message) == ("KeyError", "'none'")
    assert (box | restart_context).unwrap() == box
    assert ran(box, "x").number == 1
    assert box | list_jobs == Success([])


def test_run_code_value(box: Sandbox) -> None:
    """The last expression has a repr, and a value where it is JSON."""
    for source, value in (("1 + 1", 2), ("[1, {'a': None}]", [1, {"a": None}]), ("'\\0é🐙'", "\0é🐙"), ("1.5", 1.5)):
        result = ran(box, source)
        assert (result.value, type(result.value)) == (value, type(value))
        assert result.repr == repr(value)
    for source in ("(1, 2)", "{1: 2}", "float('nan')", "b'x'", "object", "'\\ud800'", "{1}", "[(1,)]"):
        result = ran(box, source)
        assert result.value is None
        assert result.repr
    for source in ("None", "x = 1", "", "# nothing", "1;", "def f(): pass"):
        assert (ran(box, source).repr, ran(box, source).value) == (None, None)
    assert ran(box, "7") != ran(box, "_ * 6")
    assert ran(box, "a = []; a.append(a); a").repr == "[[...]]"


def reads_deep(levels: int) -> bool:
    """Return whether this Python reads a list of so deep a nesting."""
    try:
        msgspec.json.decode(b"[" * levels + b"1" + b"]" * levels)
    except RecursionError:
        return False
    return True


def depth(value: object) -> int:
    """Return the depth of a list of lists."""
    levels = 0
    while isinstance(value, list):
        levels, value = levels + 1, next(iter(cast("list[object]", value)), None)
    return levels


def test_run_code_deep_value(box: Sandbox) -> None:
    """A value that is too deep for this machine has its repr only. Some versions of Python read deeper ones."""
    deep = "import sys\nsys.setrecursionlimit(10**5)\nvalue = 1\nfor _ in range(4000): value = [value]\nvalue"
    result = ran(box, deep)
    assert result.error is None
    assert depth(result.value) == (4000 if reads_deep(4000) else 0)
    assert (result.repr or "").startswith("[[[[")


def test_run_code_state(box: Sandbox) -> None:
    """Names, imports, the directory and threads stay. Contexts do not see each other."""
    ran(box, "import os, threading\nos.makedirs('d', exist_ok=True); os.chdir('d')\nclass A:\n  x = 1")
    assert ran(box, "os.path.basename(os.getcwd())").value == "d"
    assert ran(box, "import pickle; pickle.loads(pickle.dumps(A())).x").value == 1
    assert ran(box, "__name__").value == "__main__"
    other = (box | run_code("A", "other")).unwrap()
    assert other.error is not None
    assert (other.error.kind, other.number) == ("NameError", 1)
    assert (box | restart_context("other") | run_code("A.x")).unwrap().value == 1


def test_run_code_errors(box: Sandbox) -> None:
    """An error has its class, message and traceback, with the lines of this run and of earlier ones."""
    ran(box, "def f(x):\n    return 1 / x")
    error = ran(box, "print('before')\nf(0)").error
    assert error is not None
    assert (error.kind, error.message) == ("ZeroDivisionError", "division by zero")
    assert "    return 1 / x\n" in error.traceback
    assert "    f(0)\n" in error.traceback
    assert "script" not in error.traceback
    for source, kind in (
        ("1 +", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("exit()", "SystemExit"),
        ("input()", "EOFError"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("def r(): r()\nr()", "RecursionError"),
        ("class E(Exception):\n  def __str__(self): 1/0\nraise E", "E"),
        ("class R:\n  def __repr__(self): raise ValueError\nR()", "ValueError"),
        ("raise BaseException('é\\ud800')", "BaseException"),
        ("import signal, os\nos.kill(os.getpid(), signal.SIGINT)\nimport time; time.sleep(9)", "KeyboardInterrupt"),
    ):
        error = ran(box, source).error
        assert error is not None, source
        assert error.kind == kind
    assert ran(box, "f(1)").value == 1


def test_run_code_outputs(box: Sandbox) -> None:
    """Bytes that are not UTF-8, half characters, and prints without a newline come through."""
    result = ran(box, "import os, sys\nos.write(1, b'\\xff\\n'); print('\\ud800é', end=''); sys.stderr.write('x')")
    assert (result.stdout, result.stderr) == ("�\n\\ud800é", "x")
    assert ran(box, "sys.stdout.close()").error is None
    assert ran(box, "1").value == 1


def test_run_code_await(box: Sandbox) -> None:
    """Code may use await at its top level."""
    assert ran(box, "import asyncio\nasync def f(): return 3\nawait f()").value == 3
    assert (box | run_code("await asyncio.sleep(60)", timeout=0.3)).failure() == CodeTimeout(0.3)
    assert ran(box, "asyncio.run(f())").value == 3


def test_run_code_displays(box: Sandbox) -> None:
    """Rich forms of the value, and what display gets, are displays."""
    ran(
        box,
        "class Table:\n  def _repr_html_(self): return '<table>é</table>'\n"
        "class Picture:\n  def _repr_png_(self): return b'\\x89PNG'\n"
        "class Both:\n  def _repr_mimebundle_(self, **_): return {'application/json': {'a': [1]}, 'text/plain': 'both'}\n"
        "class Broken:\n  def _repr_html_(self): raise ValueError\n",
    )
    result = ran(box, "display(Picture(), Both(), 1)\nTable()")
    picture, both, one, table = result.displays
    assert picture.png == b"\x89PNG"
    assert both.forms == {"application/json": {"a": [1]}, "text/plain": "both"}
    assert one.forms == {"text/plain": "1"}
    assert table.html() == "<table>é</table>"
    assert (result.value, (result.repr or "")[:10]) == (None, "<__main__.")
    assert ran(box, "Broken()").displays == ()
    assert ran(box, "Table").displays == ()
    assert repr(table) == "Display(text/html, text/plain)"
    assert pickle.loads(pickle.dumps(result)) == result


SITE = str(Path(str(pytest.__file__)).parents[1])


# Looked for and not imported: each process of a run would take half a second for it.
@pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib is not installed")
@OUTSIDE
def test_run_code_figures(box: Sandbox) -> None:
    """Open figures are PNGs, at show and at the end, and are closed."""
    first = ran(box, f"import sys; sys.path.append({SITE!r})\nimport matplotlib.pyplot as plt")
    if first.error is not None:
        pytest.skip(f"the sandbox's Python does not run it: {first.error.message}")
    result = ran(box, "plt.plot([1, 2])\nplt.show()\nprint('shown')\nplt.figure(); plt.plot([2, 1]);")
    assert [(each.png or b"")[:8] for each in result.displays] == [PNG, PNG]
    assert (result.stdout, result.stderr) == ("shown\n", "")
    assert ran(box, "plt.get_fignums()").value == []
    figure = ran(box, "fig, axes = plt.subplots()\nfig")
    assert [(each.png or b"")[:8] for each in figure.displays] == [PNG]
    broken = ran(box, "plt.plot([1]); 1 / 0")
    assert len(broken.displays) == 1
    assert broken.error is not None


@OUTSIDE
def test_run_code_ipython(login: local.Platform) -> None:
    """A sandbox with IPython runs magics, and shows what its display gets."""
    pytest.importorskip("IPython")
    box = with_variable("PYTHONPATH", SITE)
    if (box | exec("python3 -c 'import IPython, matplotlib.pyplot'")).unwrap().exit_code:
        pytest.skip("the sandbox's Python does not run it")
    result = ran(box, "from IPython.display import HTML, display\ndisplay(HTML('<i>'))\nprint('out')\nHTML('<b>')")
    assert [each.html() for each in result.displays] == ["<i>", "<b>"]
    assert result.displays[-1].forms["text/plain"] == result.repr
    assert (result.stdout, result.stderr, result.error) == ("out\n", "", None)
    assert ran(box, "x = !echo shell\nlist(x)").value == ["shell"]
    assert ran(box, "import asyncio\nawait asyncio.sleep(0, 3)").value == 3
    for source, kind in (("1 +", "SyntaxError"), ("1 / 0", "ZeroDivisionError"), ("input()", "EOFError")):
        error = ran(box, source).error
        assert error is not None
        assert error.kind == kind
        assert kind in error.traceback
        assert "\x1b" not in error.traceback
    assert (box | run_code("print('on')\nimport time; time.sleep(60)", timeout=1)).failure() == CodeTimeout(1, "on\n")
    figure = ran(box, "import matplotlib.pyplot as plt\nplt.plot([1, 2]);")
    assert [(each.png or b"")[:8] for each in figure.displays] == [PNG]
    assert ran(box, "list(x)").value == ["shell"]
    assert login.url


def test_run_code_huge(box: Sandbox) -> None:
    """Much output comes whole. A long repr and large displays are cut."""
    pieces: list[Piece] = []
    result = (box | run_code("for n in range(200_000): print(n)", on_output=pieces.append)).unwrap()
    assert result.stdout == "".join(f"{number}\n" for number in range(200_000))
    assert "".join(map(str, pieces)) == result.stdout
    cut = ran(box, "'x' * 3_000_000")
    assert len(cut.repr or "") < 101_000
    assert "2,900,002 characters" in (cut.repr or "")
    assert cut.value is None
    big = ran(box, "class B:\n  def _repr_html_(self): return 'x' * 9_000_000\ndisplay(B())\ndisplay(B())")
    assert [list(each.forms) for each in big.displays] == [["text/html", "text/plain"], ["text/plain"]]
    assert (box | run_code("#" + "x" * 150_000)).failure() == InvalidInput(
        "source", "is too long for one request: upload it as a file, and import it, or use exec"
    )


DEEP = "import sys\nsys.setrecursionlimit(10**6)\nx = []\nfor _ in range(3000): x = [x]"


def test_run_code_value_too_deep(box: Sandbox) -> None:
    """A value that this machine cannot read has its repr only."""
    result = ran(box, f"{DEEP}\nx")
    assert (depth(result.value), result.error) == (3001 if reads_deep(4000) else 0, None)
    assert (result.repr or "").startswith("[[")
    result = ran(box, "import sys; sys.set_int_max_str_digits(0); 10**5000")
    assert (result.value, result.error, (result.repr or "")[:2]) == (None, None, "10")
    assert ran(box, "10**30").value == 10**30
    shown = "class A:\n  def _repr_mimebundle_(self, **_): return {'application/json': x}\nA()"
    deep = box | run_code(f"{DEEP}\n{shown}")
    assert reads_deep(4000) is isinstance(deep, Success)
    assert isinstance(deep, Success) or isinstance(deep.failure(), DecodeError)


@pytest.mark.parametrize(
    ("bundle", "kinds"),
    [
        ("{'application/json': {'x': [float('nan'), 1.5, float('-inf')]}}", ["application/json", "text/plain"]),
        ("{1: 'x', 'text/html': '<b>', 'application/json': object()}", ["1", "text/html", "text/plain"]),
        ("[1]", []),
    ],
)
def test_run_code_odd_bundles(box: Sandbox, bundle: str, kinds: list[str]) -> None:
    """A form that cannot be sent does not lose the result."""
    result = ran(box, f"class A:\n  def _repr_mimebundle_(self, **_): return {bundle}\nA()")
    assert result.error is None
    assert [sorted(each.forms) for each in result.displays] == ([kinds] if kinds else [])
    data = [each.forms["application/json"] for each in result.displays if "application/json" in each.forms]
    assert data in ([], [{"x": [None, 1.5, None]}])


def test_run_code_odd_errors(box: Sandbox) -> None:
    """Methods of an error may raise anything, and its context goes on."""
    ran(box, "kept = 1")
    error = ran(box, "class E(Exception):\n  def __str__(self): raise SystemExit\nraise E").error
    assert (error and (error.kind, error.message)) == ("E", "its message cannot be read")
    named = "class M(type):\n  @property\n  def __name__(cls): {}\nclass E(Exception, metaclass=M): pass\nraise E"
    for body, kind in (("return 3", "3"), ("raise SystemExit", "Exception")):
        error = ran(box, named.format(body)).error
        assert (error and error.kind) == kind
    assert ran(box, "kept").value == 1


def test_run_code_closed_streams(box: Sandbox) -> None:
    """A context whose code closes its outputs goes on."""
    ran(box, "import os\nkept = 1")
    for numbers in ((1, 2), (1,), (0, 1, 2)):
        ran(box, f"for number in {numbers}: os.close(number)")
        result = ran(box, "print('on'); kept")
        assert (result.stdout, result.value) == ("on\n", 1)


def test_run_code_timeout(box: Sandbox) -> None:
    """Code is interrupted with its commands, and its context goes on. Code that ignores it is killed."""
    ran(box, "import subprocess, time, os; x = 1")
    began = time.monotonic()
    assert (box | run_code("os.system('sleep 600')", timeout=0.3)).failure() == CodeTimeout(0.3)
    assert (box | run_code("print(1); subprocess.run(['sleep', '600'])", timeout=0.3)).failure() == CodeTimeout(
        0.3, "1\n"
    )
    assert time.monotonic() - began < 300
    for seconds in (math.inf, 1e300):
        assert (box | run_code("x", timeout=seconds)).unwrap().value == 1
    deaf = "while True:\n  try:\n    while True: time.sleep(1)\n  except KeyboardInterrupt: pass"
    assert (box | run_code(deaf, timeout=0.3)).failure() == CodeTimeout(0.3, is_lost=True)
    assert ran(box, "x").number == 1


def test_run_code_lost(box: Sandbox) -> None:
    """Code that ends its process loses the context."""
    assert (box | run_code("print('x')\nimport os; os._exit(3)")).failure() == ContextLost("main", "x\n")
    assert ran(box, "1").number == 1
    assert ran(box, "import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)\nelse: print('child')").stdout == "child\n"
    assert ran(box, "1").number == 3


def test_run_code_lost_with_children(box: Sandbox) -> None:
    """A child that the code forked outlives the context, and keeps no later run waiting."""
    forked = "import os, time\nif os.fork() == 0:\n    time.sleep(150)\n    os._exit(0)\nos._exit(1)"
    assert isinstance((box | within(60, run_code(forked))).failure(), ContextLost)
    assert (box | within(60, run_code("6 * 7"))).unwrap().value == 42


def test_run_code_serialized(box: Sandbox) -> None:
    """Two callers of one context wait for each other, the first use too."""
    source = "import time\nn = globals().get('n', 0)\nm = n\ntime.sleep(0.05)\nn = m + 1\nn"
    results = fan_out(run_code(source), [box] * 8)
    assert sorted(result.unwrap().value for result in results) == list(range(1, 9))
    assert sorted(result.unwrap().number for result in results) == list(range(1, 9))


def test_run_code_interrupted(box: Sandbox) -> None:
    """Ctrl-C, `within` and an exception of on_output interrupt the code, and its context keeps its state."""

    def broken(_: Piece) -> None:
        raise KeyboardInterrupt

    ran(box, "x, seen = 1, []")
    loop = "import time\nprint('on')\ntry:\n  time.sleep(60)\nexcept BaseException as e: seen.append(type(e).__name__); raise"
    with pytest.raises(KeyboardInterrupt):
        run_code(box, loop, on_output=broken)
    assert ran(box, "seen").value == ["KeyboardInterrupt"]
    assert isinstance((box | within(1.5, run_code(loop))).failure(), DeadlineExceeded)
    assert ran(box, "x, len(seen)").repr == "(1, 2)"


@contextmanager
def busy_with(box: Sandbox, source: str) -> Generator[list[Result[CodeResult, PocketenvError]]]:
    """Have a thread run code that prints something, and wait for that. Its result is there after the block."""
    begun, context = threading.Event(), contextvars.copy_context()
    results: list[Result[CodeResult, PocketenvError]] = []

    def work() -> None:
        results.append(run_code(box, source, on_output=lambda _: begun.set()))

    busy = threading.Thread(target=context.run, args=(work,))
    busy.start()
    assert begun.wait(60)
    yield results
    busy.join()


def test_run_code_revoked_while_waiting(box: Sandbox) -> None:
    """Code that is revoked before its turn never runs."""
    ran(box, "import os, time; x = 0")
    held = "print('on', flush=True)\nwhile not os.path.exists('go'): time.sleep(0.02)"
    with busy_with(box, held):
        assert isinstance((box | within(1, run_code("x += 1"))).failure(), DeadlineExceeded)
        (box | write_file("go", "")).unwrap()
    assert ran(box, "x").value == 0


def test_restart_context_while_running(box: Sandbox) -> None:
    """A restart ends the running code with ContextLost."""
    ran(box, "import time")
    with busy_with(box, "print('on', flush=True); time.sleep(600)") as results:
        assert (box | restart_context).unwrap() == box
    assert results == [Failure(ContextLost("main", "on\n"))]
    assert (box | restart_context("none")).unwrap() == box


def test_run_code_refuses(box: Sandbox) -> None:
    """Invalid languages, contexts and sources are refused."""
    assert isinstance((box | run_code("1", language="r")).failure(), NotSupported)
    for wrong in ("", "a/b", "..", "-a", "a b", "x" * 65):
        assert isinstance((box | run_code("1", wrong)).failure(), InvalidInput)
    for source in ("a\0", "\ud800"):
        assert isinstance((box | run_code(source)).failure(), InvalidInput)
    with pytest.raises(TypeError, match="source"):
        run_code(box, b"1")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]


@OUTSIDE
@pytest.mark.usefixtures("login")
def test_run_code_without_python(tmp_path: Path) -> None:
    """A sandbox without python3 says so."""
    for tool in ("base64", "bash", "cat", "env", "grep", "head", "mkdir", "mv", "rm", "setsid", "sleep", "tail", "wc"):
        if path := shutil.which(tool):
            (tmp_path / tool).symlink_to(path)
    box = with_variable("PATH", str(tmp_path))
    for step in (run_code("1"), restart_context):
        failure = (box | step).failure()
        assert isinstance(failure, NotSupported)
        assert "python3" in str(failure)


def test_run_code_stopped(box: Sandbox) -> None:
    """A context ends with its sandbox."""
    ran(box, "x = 1")
    again = (box | stop | start).unwrap()
    assert ran(again, "1").number == 1
    stopped = (again | stop).unwrap()
    # The error is that of a command: the caller knows of no job.
    for step in (run_code("1"), exec("ls", durable=True)):
        assert "If the sandbox is stopped, start it." in str((stopped | step).failure())


def no_pause(_: float) -> None:
    pass


LOST: tuple[Fault, ...] = (Drop(), Drop(after_work=True), Garbage(after_work=True), Truncated(), Refuse(503), Slow(0))


@pytest.mark.parametrize("provider", ["cloudflare", "daytona"])
def test_run_code_lost_answers(provider: str, login: local.Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are lost at random: each code ran once, and its output and value came."""
    monkeypatch.setattr(job_requests, "nap", no_pause)
    box = (create(f"box-{provider}", provider=provider) | start | wait_until_running).unwrap()
    ran(box, "n = 0")
    choose = random.Random(3)
    for run in range(1, 7):
        for fault in (choose.choice(LOST) for _ in range(choose.randrange(1, 5))):
            login.faults.add("sandbox.exec", fault)
        result = ran(box, "n += 1\nprint('é' * 1000)\nn")
        login.faults.clear()
        assert (result.value, result.stdout) == (run, "é" * 1000 + "\n")


def test_run_code_one_request(box: Sandbox, played: local.Platform) -> None:
    """A run needs one request."""
    ran(box, "1")
    before = played.faults.worked("sandbox.exec")
    count = 5
    for _ in range(count):
        ran(box, "1")
    # A slow machine may need a second look.
    assert count <= played.faults.worked("sandbox.exec") - before <= 3 * count


def test_without_answer_any_cut() -> None:
    """The mark and the answer do not reach on_output, wherever they are cut."""
    whole = "out\x1e no\x1emark\x1e{}"
    for size in range(1, len(whole)):
        pieces: list[Piece] = []
        parts = OutputFilter("\x1emark\x1e", pieces.append)
        for at in range(0, len(whole), size):
            text = whole[at : at + size]
            parts.take(Piece("stdout", text, at + len(text)))
        assert "".join(map(str, pieces)) == "out\x1e no"
        assert pieces[-1].end == 7


def test_display_values() -> None:
    """A display without a form has no PNG and no HTML."""
    assert (Display({}).png, Display({}).html()) == (None, "")
    assert hash(Display({"a": []})) == hash(Display({"a": [1]}))
