"""The IPython extension, in a shell of IPython and in a real kernel."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from returns.result import Failure, Success
from traitlets.config import Config as Settings

from pocketenv_fp import (
    CodeFailed,
    CodeTimeout,
    CommandFailed,
    CommandTimeout,
    ExecResult,
    NameTaken,
    NotLoggedIn,
    Page,
    Piece,
    Port,
    Sandbox,
    SandboxNotFound,
    Status,
    check,
    create,
    exec,
    explain,
    get_sandbox,
    local,
    observing,
    set_secret,
    start,
    stop,
    trace,
    when,
)
from pocketenv_fp.jupyter.live import Board
from pocketenv_fp.jupyter.output import CellOutput
from pocketenv_fp.models import Record
from pocketenv_fp.observing import Begun, Done, Ended
from tests.places import ROOT

EXTENSION = "pocketenv_fp.jupyter"
VALUES: dict[str, object] = {
    "success": Success(1),
    "failure": Failure(NotLoggedIn()),
    "error": NotLoggedIn(),
    "sandbox": Sandbox(id="3f", name="calm"),
    "page": Page((Port(1),), 1),
    "command": ExecResult("out", "", 0),
    "port": Port(1),
    "step": create | start,
    "operation": start,
    "traced": trace(start)(Failure(NotLoggedIn())),
    "fleet": [Success(1), Failure(NotLoggedIn())],
    "records": [Port(1), Port(2)],
}


class Shell:
    """A shell of IPython, as a terminal has one."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell: Any = shell

    def run(self, source: str) -> Any:
        ran = self.shell.run_cell(source, store_history=False)
        ran.raise_error()
        return ran.result

    def shown(self, value: object) -> dict[str, str]:
        return cast("dict[str, str]", self.shell.display_formatter.format(value)[0])

    @property
    def printers(self) -> dict[Any, Any]:
        return dict(self.shell.display_formatter.formatters["text/html"].type_printers)

    @property
    def magics(self) -> dict[str, dict[str, Any]]:
        # Those of IPython itself change when they are used for the first time.
        magics = self.shell.magics_manager.magics
        return {kind: {name: found[name] for name in ("sandbox",) if name in found} for kind, found in magics.items()}


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    settings = Settings({"HistoryManager": {"enabled": False}, "InteractiveShell": {"colors": "nocolor"}})
    # With a module of its own, it leaves pytest's __main__ alone.
    made = InteractiveShell.instance(config=settings, user_module=types.ModuleType("a_shell"), user_ns={})
    yield Shell(made)
    cast("Any", InteractiveShell).clear_instance()


@pytest.fixture
def loaded(shell: Shell) -> Iterator[Shell]:
    shell.run(f"%load_ext {EXTENSION}")
    yield shell
    shell.run(f"%unload_ext {EXTENSION}")


# Formats


@pytest.mark.parametrize("name", VALUES)
def test_load_cards(shell: Shell, name: str) -> None:
    """The extension adds a card to a value, and its plain text stays the same."""
    before = shell.shown(VALUES[name])
    shell.run(f"%load_ext {EXTENSION}")
    shown = shell.shown(VALUES[name])
    assert shown["text/html"].startswith('<div class="pe-card">')
    assert shown["text/plain"] == before["text/plain"]
    shell.run(f"%unload_ext {EXTENSION}")
    assert shell.shown(VALUES[name]) == before


@pytest.mark.parametrize("value", [[], [1], {}, "text", 3, (Success(1),), [Success(1), 2], None])
def test_load_other_values(shell: Shell, value: object) -> None:
    """Values of other types are shown as before."""
    before = shell.shown(value)
    shell.run(f"%load_ext {EXTENSION}")
    assert shell.shown(value) == before
    shell.run(f"%unload_ext {EXTENSION}")


RAN = ExecResult("line\n" * 100_000, "", 0)
LONG: dict[str, object] = {
    "command": RAN,
    "result": Success(RAN),
    "text": Success(RAN.stdout),
    "lines": Success(RAN.stdout.split("\n")),
    "failure": Failure(CommandFailed(3, RAN.stdout, RAN.stderr)),
    "error": CommandTimeout(3.0, RAN.stdout, ""),
    "fleet": [Success(RAN)] * 50,
    "nested": [[Success(RAN)], [Success(RAN)]],
    "tuple": (Success(RAN), 1),
    "mapping": {"a": {"b": Success(RAN)}},
    "page": Page(tuple(Sandbox(id=str(number), name="x" * 100) for number in range(10_000)), 10_000),
    "records": [Sandbox(id=str(number), name="x" * 1000) for number in range(1_000)],
    "record": Sandbox(id="3f", name="x" * 1_000_000),
    "step": exec("x" * 1_000_000),
    "traced": trace(check)(Success(RAN)),
    "explanation": {"a": explain(exec("x" * 1_000_000))},
}


def test_formats_long_value(loaded: Shell) -> None:
    """A long value has a short plain text beside its card."""
    display = loaded.shell.display_formatter
    before = display.active_types
    display.active_types = display.format_types
    try:
        sizes = {
            name: {kind: len(str(form)) for kind, form in loaded.shown(value).items()} for name, value in LONG.items()
        }
    finally:
        display.active_types = before
    assert {name: size for name, size in sizes.items() if size["text/plain"] > 20_100} == {}
    assert set().union(*sizes.values()) == {"text/plain", "text/html"}


def test_formats_terminal(loaded: Shell) -> None:
    """A terminal shows the whole repr of a long value."""
    display = loaded.shell.display_formatter
    before = display.active_types
    display.active_types = ["text/plain"]
    try:
        assert loaded.shown(RAN) == {"text/plain": repr(RAN)}
        assert loaded.shown([Success(RAN)]) == {"text/plain": repr([Success(RAN)])}
    finally:
        display.active_types = before


def test_formats_list_subclass(loaded: Shell) -> None:
    """A subclass of list keeps its own HTML."""

    class Picture(list[int]):
        def _repr_html_(self) -> str:
            return "a picture"

    assert loaded.shown(Picture([1]))["text/html"] == "a picture"
    assert "text/html" not in loaded.shown(list[int])


def test_unload_restores(shell: Shell) -> None:
    """Unloading restores the printers, the magics and the threads."""

    def mine(_: object) -> str:
        return "mine"

    formatter = shell.shell.display_formatter.formatters["text/html"]
    for kind in (list, Record):
        formatter.for_type(kind, mine)
    shell.shell.register_magic_function(mine, "line", "sandbox")
    printers, magics, threads = shell.printers, shell.magics, threading.active_count()
    for _ in range(2):
        shell.run(f"%load_ext {EXTENSION}")
        assert shell.shown(Port(1))["text/html"] != "mine"
        assert shell.shown([1])["text/html"] == "mine"
        assert shell.printers != printers
        assert shell.magics != magics
        shell.run(f"%reload_ext {EXTENSION}")
        shell.run(f"%unload_ext {EXTENSION}")
        assert shell.printers == printers
        assert shell.magics == magics
        assert threading.active_count() == threads


def test_unload_keeps_replacements(shell: Shell) -> None:
    """Unloading keeps a printer and a magic that the user registered later."""

    def mine(_: object) -> str:
        return "mine"

    shell.run(f"%load_ext {EXTENSION}")
    shell.shell.display_formatter.formatters["text/html"].for_type(Record, mine)
    shell.shell.register_magic_function(mine, "cell", "sandbox")
    shell.run(f"%unload_ext {EXTENSION}")
    assert shell.shown(Port(1))["text/html"] == "mine"
    assert shell.magics["cell"]["sandbox"] is mine
    assert "sandbox" not in shell.magics["line"]


def test_import_without_ipython() -> None:
    """Importing the library and its cards does not import IPython."""
    code = "import sys, pocketenv_fp, pocketenv_fp.jupyter.cards; print([n for n in sys.modules if 'IPython' in n])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout == "[]\n"


def test_load_without_rich_names_the_extra() -> None:
    code = "import sys; sys.modules['rich'] = None; import pocketenv_fp.jupyter as j; j.load_ipython_extension(None)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert re.search(r"ImportError: rich is not installed: pip install (-e )?'.*\[jupyter\].*'\n$", ran.stderr)


# %%sandbox


@pytest.mark.usefixtures("environment")
def test_magic_cell_script(loaded: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    """The lines of a cell run as one script."""
    create("my-box").bind(start).unwrap()
    result = loaded.run('%%sandbox my-box\ncd /tmp\nA="it\'s"\npwd\n\necho $A; echo warn >&2\nexit 3\n')
    assert result == Success(ExecResult("/tmp\nit's\n", "warn\n", 3))
    assert "There is no sandbox" not in capsys.readouterr().out


@pytest.mark.usefixtures("environment")
def test_magic_creates_or_reuses(loaded: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing sandbox is created with a message, and an existing one is used."""
    assert loaded.run("%%sandbox my-box --provider daytona\necho a > kept").unwrap().exit_code == 0
    assert "There is no sandbox my-box: creating it.\n" in capsys.readouterr().out
    assert cast("Sandbox", get_sandbox("my-box").unwrap()).provider == "daytona"
    assert loaded.run("%%sandbox my-box --provider e2b --rm\ncat kept").unwrap().stdout == "a\n"
    assert "There is no sandbox" not in capsys.readouterr().out
    assert get_sandbox("my-box").unwrap() is not None


@pytest.mark.usefixtures("environment")
def test_magic_one_lookup(loaded: Shell, platform: local.Platform) -> None:
    """A cell looks its sandbox up once, by name and in a variable."""
    loaded.shell.user_ns["box"] = create("my-box").bind(start)
    for name in ("my-box", "box"):
        platform.calls.clear()
        assert loaded.run(f"%%sandbox {name}\necho a").unwrap().stdout == "a\n"
        asked = [name.rpartition(".")[2] for name, _ in platform.calls]
        assert (asked[0], asked.count("getSandbox")) == ("getSandbox", 1)


@pytest.mark.usefixtures("environment")
def test_magic_starts(loaded: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    """A stopped sandbox is started, with a message."""
    loaded.shell.user_ns["box"] = running = create("my-box").bind(start)
    running.bind(stop).unwrap()
    for name in ("my-box", "box"):
        assert loaded.run(f"%%sandbox {name}\necho up").unwrap().stdout == "up\n"
        assert "The sandbox my-box is not running: starting it.\n" in capsys.readouterr().out
        running.bind(stop).unwrap()


@pytest.mark.usefixtures("environment")
def test_magic_rm(loaded: Shell) -> None:
    """With --rm the sandbox is deleted afterwards, also after a failure."""
    assert loaded.run("%%sandbox my-box --rm\necho a").unwrap().stdout == "a\n"
    assert get_sandbox("my-box") == Success(None)
    assert isinstance(loaded.run("%%sandbox my-box --rm --check\nexit 3").failure(), CommandFailed)
    assert get_sandbox("my-box") == Success(None)


@pytest.mark.usefixtures("environment")
def test_magic_variable(loaded: Shell) -> None:
    """The name of a variable stands for its sandbox. Variables with other values are ignored."""
    made = create("my-box").bind(start)
    loaded.shell.user_ns |= {"result": made, "box": made.unwrap(), "number": 3, "other": Success(3)}
    for name in ("result", "box"):
        assert loaded.run(f"%%sandbox {name}\necho a").unwrap().stdout == "a\n"
        assert loaded.run(f"%sandbox {name}").unwrap().name == "my-box"
        assert get_sandbox(name) == Success(None)
    for name in ("number", "other"):
        assert loaded.run(f"%%sandbox {name}\necho a").unwrap().stdout == "a\n"
        assert get_sandbox(name).unwrap() is not None


@pytest.mark.usefixtures("environment")
def test_magic_variable_failure(loaded: Shell) -> None:
    """A variable with a Failure or with None creates no sandbox."""
    loaded.shell.user_ns |= {"failed": Failure(NameTaken()), "none": get_sandbox("no-such-box")}
    assert loaded.run("%%sandbox failed\necho a") == Failure(NameTaken())
    assert isinstance(loaded.run("%%sandbox none\necho a").failure(), SandboxNotFound)
    assert isinstance(loaded.run("%sandbox none").failure(), SandboxNotFound)
    assert get_sandbox("failed") == get_sandbox("none") == Success(None)


@pytest.mark.usefixtures("environment")
def test_magic_line(loaded: Shell) -> None:
    """The line magic looks the sandbox up and shows its present state."""
    loaded.shell.user_ns["box"] = create("my-box").bind(start)
    assert loaded.run("%sandbox my-box").unwrap().status is Status.RUNNING
    stop(get_sandbox("my-box")).unwrap()
    assert loaded.run("%sandbox box").unwrap().status is Status.STOPPED
    missing = loaded.run("%sandbox no-such-box").failure()
    assert isinstance(missing, SandboxNotFound)
    assert "there is no sandbox no-such-box" in str(missing)


@pytest.mark.usefixtures("environment")
def test_magic_options(loaded: Shell) -> None:
    """The options set the directory, the timeout, the check and the variable for the result."""
    loaded.shell.user_ns["box"] = create("my-box").bind(start)
    assert loaded.run("%%sandbox box --cwd /tmp\npwd").unwrap().stdout == "/tmp\n"
    assert loaded.run("%%sandbox box --cwd '/a b'\npwd").unwrap().exit_code != 0
    ended = loaded.run("%%sandbox box --timeout 0.3\necho begun\nsleep 60").failure()
    assert (type(ended), ended.stdout) == (CommandTimeout, "begun\n")
    assert isinstance(loaded.run("%%sandbox box --check\nexit 3").failure(), CommandFailed)
    loaded.run("%%sandbox box --out kept\necho a")
    assert loaded.shell.user_ns["kept"].unwrap().stdout == "a\n"
    loaded.run("%%sandbox box --out kept --check\nfalse")
    assert isinstance(loaded.shell.user_ns["kept"].failure(), CommandFailed)


@pytest.mark.usefixtures("environment")
def test_magic_python(loaded: Shell) -> None:
    """Cells with --python share their variables."""
    loaded.shell.user_ns["box"] = create("my-box").bind(start)
    assert loaded.run("%%sandbox box --python\nx = 6\nprint('set')").unwrap().stdout == "set\n"
    assert loaded.run("%%sandbox my-box --python --out kept\nx * 7").unwrap().value == 42
    assert loaded.shell.user_ns["kept"].unwrap().repr == "42"
    assert isinstance(loaded.run("%%sandbox box --python --check\n1 / 0").failure(), CodeFailed)
    assert isinstance(loaded.run("%%sandbox box --python --timeout 0.3\nwhile True: pass").failure(), CodeTimeout)


@pytest.mark.usefixtures("environment")
def test_magic_keep(loaded: Shell) -> None:
    """What a cell exports and where it goes is there in the next one, however it ends."""
    loaded.shell.user_ns["box"] = create("my-box").bind(start)
    first = loaded.run("%%sandbox box --keep --cwd /tmp\nmkdir -p 'a b'; cd 'a b'; export A=\"it's\n2\"; B=3; exit 4")
    assert first.unwrap().exit_code == 4
    second = loaded.run('%%sandbox box --keep\nprintf %s "$A$B"; basename "$PWD"; cd ..')
    assert second == Success(ExecResult("it's\n2a b\n", "", 0))
    assert loaded.run('%%sandbox box --keep\nbasename "$PWD"').unwrap().stdout == "tmp\n"
    assert loaded.run('%%sandbox box\nbasename "$PWD"; printf %s "$A"').unwrap().stdout == "workspace\n"


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("%%sandbox\nls", "NAME"),
        ("%%sandbox a --force\nls", "--force"),
        ("%%sandbox a b\nls", "b"),
        ("%%sandbox a --tim 3\nls", "--tim"),
        ("%%sandbox a --timeout soon\nls", "--timeout: 'soon' is not a number of seconds, such as 60 or 0.5"),
        ("%%sandbox a --timeout 0\nls", "'0' is not a number of seconds"),
        ("%%sandbox a --timeout nan\nls", "'nan' is not a number of seconds"),
        ("%%sandbox a --timeout inf\nls", "'inf' is not a number of seconds"),
        ("%%sandbox a --out 1x\nls", "--out: '1x' is not the name of a variable"),
        ("%%sandbox a --out class\nls", "--out: 'class' is not the name of a variable"),
        ("%%sandbox {missing}\nls", "there is no variable for '{missing}'"),
        ("%%sandbox $missing\nls", "there is no variable for '$missing'"),
        ("%sandbox $missing", "there is no variable for '$missing'"),
        ("%%sandbox a --rm --keep\nls", "not allowed with"),
        ("%%sandbox a --python --keep\n1", "leave out --keep and --cwd"),
        ("%%sandbox a --python --cwd /\n1", "leave out --keep and --cwd"),
        ("%%sandbox 'a\nls", "a quotation mark is not closed"),
        ("%%sandbox a\n  \n", "there is nothing to run: write shell lines below the first one"),
        ("%sandbox", "NAME"),
        ("%sandbox a --timeout 3", "--timeout"),
    ],
)
def test_magic_usage_error(loaded: Shell, cell: str, said: str) -> None:
    """A mistake is a UsageError with the form to write, and creates no sandbox."""
    with pytest.raises(UsageError) as raised:
        loaded.run(cell)
    assert said in str(raised.value)
    if "nothing to run" not in said and "leave out" not in said:
        usage = "%%sandbox NAME [--provider P] [--rm | --keep]" if cell.startswith("%%") else "%sandbox NAME"
        assert f"Write: {usage}" in str(raised.value)
    assert [get_sandbox(name) for name in ("a", "{missing}", "$missing")] == [Success(None)] * 3


def test_magic_help(loaded: Shell) -> None:
    """The help of the magic explains its names and options."""
    usage_text = loaded.magics["cell"]["sandbox"].__doc__
    for part in (
        "usage: %%sandbox NAME",
        "a variable with a Sandbox",
        "--timeout S",
        "started if it is not running",
    ):
        assert part in usage_text


@pytest.mark.usefixtures("environment")
def test_magic_escapes_name(loaded: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    """Messages about a sandbox hold no escape sequence from its name."""
    loaded.run("%%sandbox '\x1b[2Ja' --timeout 5\necho a")
    assert "\x1b" not in capsys.readouterr().out


# The line with the running steps


def begun(board: Board, name: str) -> Ended:
    ended = board.watch(Begun("step", name))
    assert ended is not None
    return ended


def asked(board: Board, requests: int = 1) -> None:
    answered = board.watch(Begun("call", "sandbox.exec"))
    assert answered is not None
    answered(Done(0.1, status=200, requests=requests))


def test_board_innermost_step() -> None:
    """The board shows the innermost step and the number of requests."""
    board = Board()
    outer = begun(board, "tap(start())")
    inner = begun(board, "start()")
    assert board.line().startswith("▸ start() 0.0 s · 0 requests")
    asked(board, 2)
    inner(Done(0.1))
    assert board.line().startswith("▸ tap(start()) 0.0 s · 2 requests")
    outer(Done(0.1))
    assert board.line() == board.summary() == "✓ 2 steps, 2 requests, 0.0 s"


def test_board_many_threads() -> None:
    """The board counts the steps of several threads by name."""
    board = Board()
    names = ["start()", "exec('a')", "exec('b')", "stop()", "sh('c')", "check()"]
    together = threading.Barrier(len(names) + 1)

    def work(name: str) -> None:
        ended = begun(board, name)
        together.wait()
        together.wait()
        ended(Done(0.1))

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    together.wait()
    line = board.line()
    together.wait()
    for thread in threads:
        thread.join()
    assert line.startswith("▸ 2 × exec, 1 × ")
    assert ", 1 more, up to 0.0 s · 0 requests" in line
    assert board.is_idle


def test_board_failures() -> None:
    """The summary counts the failures of the outermost steps."""
    board = Board()
    outer, inner = begun(board, "tap(start())"), begun(board, "start()")
    inner(Done(0.1, NotLoggedIn()))
    outer(Done(0.1, NotLoggedIn()))
    begun(board, "stop()")(Done(0.1, raised="KeyboardInterrupt"))
    assert board.summary() == "✕ 3 steps, 2 failed, 0 requests, 0.0 s"
    board.clear()
    assert board.summary() == "✓ 0 steps, 0 requests, 0.0 s"
    assert not board.has_begun.is_set()


def test_board_long_step() -> None:
    """The line of a long step is cut."""
    board = Board()
    begun(board, f"exec('{'x' * 500}')")
    assert len(board.line()) < 120


def test_load_terminal(loaded: Shell, environment: dict[str, str]) -> None:
    """In a terminal the extension watches no steps."""
    assert environment
    assert observing.begin("step", lambda: "start()") is None
    loaded.run("from pocketenv_fp import create\ncreate('my-box')")


class Kernel:
    """A real kernel, in a process of its own."""

    def __init__(self, manager: KernelManager) -> None:
        self.manager: Any = manager
        self.client: BlockingKernelClient = cast("Any", manager).client()

    def run(self, source: str, listen: Callable[[dict[str, Any]], None] | None = None) -> list[dict[str, Any]]:
        """Run a cell and return its messages. ``listen`` is called with each message when it comes."""
        sent: list[dict[str, Any]] = []

        def hear(message: dict[str, Any]) -> None:
            sent.append(message)
            if listen is not None:
                listen(message)

        # pyright does not see through the client's wrapping of coroutines.
        cast("Any", self.client).execute_interactive(source, store_history=True, timeout=60, output_hook=hear)
        return sent


def of_kind(sent: list[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    return [message["content"] for message in sent if message["msg_type"] in kinds]


def lines(sent: list[dict[str, Any]]) -> list[str]:
    """The texts of the line with the running steps."""
    shown = of_kind(sent, "display_data", "update_display_data")
    assert len({content["transient"]["display_id"] for content in shown}) <= 1
    assert len(of_kind(sent, "display_data")) <= 1
    return [content["data"]["text/plain"] for content in shown]


@pytest.fixture(scope="module")
def kernel(platform: local.Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    home = str(tmp_path_factory.mktemp("home"))
    path = str(Path(sys.executable).parent)
    manager = KernelManager(kernel_name="python3", transport="ipc", ip=str(tmp_path_factory.mktemp("k") / "k"))
    manager_any = cast("Any", manager)
    variables = {"HOME": home, "PATH": f"{path}:/usr/bin:/bin", **platform.environment}
    with pytest.MonkeyPatch.context() as surroundings:
        # The search for kernels makes this directory, and a module's fixture comes before each test's own home.
        surroundings.setenv("IPYTHONDIR", home)
        manager_any.start_kernel(env=variables, cwd=str(ROOT))
    running = Kernel(manager)
    running.client.start_channels()
    try:
        running.client.wait_for_ready(timeout=60)
        running.run(f"%load_ext {EXTENSION}\nfrom pocketenv_fp import *")
        yield running
    finally:
        running.client.stop_channels()
        manager_any.shutdown_kernel(now=True)


@pytest.mark.usefixtures("environment")
def test_live_long_cell(kernel: Kernel) -> None:
    """A slow cell shows its running step, in one line that is updated."""
    sent = kernel.run("create('my-box') | start | exec('sleep 1; echo \"<b>\"')")
    shown_lines = lines(sent)
    assert len(shown_lines) >= 3
    assert any(line.startswith("▸ exec('sleep 1; echo \"<b>\"') ") for line in shown_lines)
    assert shown_lines[-1].startswith("✓ 3 steps, 6 requests, ")
    pictures = [content["data"]["text/html"] for content in of_kind(sent, "display_data", "update_display_data")]
    assert any("&lt;b&gt;" in picture for picture in pictures)
    assert not any("<b>" in picture for picture in pictures)
    (result,) = of_kind(sent, "execute_result")
    assert "&lt;b&gt;" in result["data"]["text/html"]
    assert result["data"]["text/plain"].startswith("<Success: ExecResult(")
    cell = next(message["parent_header"]["msg_id"] for message in sent if message["msg_type"] == "execute_input")
    shown = [message for message in sent if message["msg_type"] in {"display_data", "update_display_data"}]
    assert {message["parent_header"]["msg_id"] for message in shown} == {cell}


@pytest.mark.parametrize(
    "value", ["ran", "Success(ran)", "[Success(ran), Success(ran)]", "Traced(Success(ran), Trace())"]
)
def test_formats_message_size(kernel: Kernel, value: str) -> None:
    """A long output has a small kernel message."""
    made = "from returns.result import Success\nfrom pocketenv_fp.steps.trace import Traced\nran = ExecResult('line\\n' * 2_000_000, '', 0)\n"
    (shown,) = of_kind(kernel.run(made + value), "execute_result")
    assert sum(map(len, shown["data"].values())) < 100_000
    assert "more characters" in shown["data"]["text/plain"]
    (short,) = of_kind(kernel.run("[Success(ExecResult('a', '', 0))]"), "execute_result")
    assert short["data"]["text/plain"] == "[<Success: ExecResult(stdout='a', stderr='', exit_code=0)>]"


@pytest.mark.usefixtures("environment")
def test_live_fleet(kernel: Kernel) -> None:
    """The line of a fleet counts its running steps by name."""
    kernel.run("create('taken')")
    sent = kernel.run("fan_out(create | start | exec('sleep 1'), ['a', 'b', 'taken'])")
    shown_lines = lines(sent)
    assert any(line.startswith("▸ 2 × exec, up to ") for line in shown_lines)
    assert re.match(r"✕ \d steps, 1 failed, \d+ requests, ", shown_lines[-1])
    assert "3 results" in of_kind(sent, "execute_result")[0]["data"]["text/html"]


@pytest.mark.usefixtures("environment")
def test_live_no_steps(kernel: Kernel) -> None:
    """A cell without slow steps shows no line."""
    assert lines(kernel.run("import time; time.sleep(0.6)")) == []
    assert lines(kernel.run("start(None); when(bool, start)(0); time.sleep(0.6)")) == []


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("cell", ["%%sandbox my-box\n", "create('my-box') | start | exec(on_output=True, command="])
def test_output_live(kernel: Kernel, cell: str) -> None:
    """It is coloured and escaped. A cell with a card ends with the card alone."""
    code = r"printf '\033[31m<b>one</b>\033[0m\n'; sleep 1.5; seq 3000"
    sent = kernel.run(f"{cell}{code}" if cell.startswith("%%") else f"{cell}{code!r})")
    shown = [content["data"] for content in of_kind(sent, "display_data", "update_display_data")]
    panes = [data["text/html"] for data in shown if "pe-card" in data["text/html"] or not data["text/html"]]
    assert 'style="color:#d1495b' in panes[0]
    assert "&lt;b&gt;one&lt;/b&gt;" in panes[0]
    assert "3000" not in panes[0]
    if cell.startswith("%%"):
        assert panes[-1] == ""
    else:
        assert "more lines" in panes[-1]
        assert "3000" in panes[-1]
    assert max(map(len, panes)) < 100_000
    (result,) = of_kind(sent, "execute_result")
    assert "3000" in result["data"]["text/html"]


@pytest.mark.usefixtures("environment")
def test_magic_python_displays(kernel: Kernel) -> None:
    """HTML of the sandbox is shown without its scripts."""
    code = (
        "class T:\n  def _repr_html_(self): return '<table><tr><td>cell<script>x</script></table>'\n"
        "class P:\n  def _repr_png_(self): return b'PNG'\ndisplay(P())\nprint('out')\nT()"
    )
    (result,) = of_kind(kernel.run(f"%%sandbox my-box --python\n{code}"), "execute_result")
    html = result["data"]["text/html"]
    assert 'src="data:image/png;base64,UE5H"' in html
    assert "<td>cell</td>" in html
    assert "script" not in html
    assert "out" in html


def test_cell_output_bounded() -> None:
    """However much comes, few characters are kept and shown."""
    shown: list[str] = []
    output = CellOutput(lambda html, _: shown.append(html))
    for _ in range(200):
        output(Piece("stdout", "x" * 99 + "\n", 0) if _ else Piece("stdout", "first\n", 0))
        output(Piece("stderr", "y" * 9_999 + "\n", 0))
    output(Piece("stdout", "last\n", 0))
    output.close(keeps=True)
    assert max(map(len, shown)) < 300_000
    assert "first" in shown[-1]
    assert "last" in shown[-1]
    assert "characters are left out" in shown[-1]


def interrupt_a_command(kernel: Kernel) -> Callable[[dict[str, Any]], None]:
    """Interrupt the kernel once the line of its cell shows that a command runs."""
    interrupted = threading.Event()

    def hear(message: dict[str, Any]) -> None:
        if "exec" in str(message["content"].get("data", "")) and not interrupted.is_set():
            interrupted.set()
            kernel.manager.interrupt_kernel()

    return hear


@pytest.mark.usefixtures("environment")
def test_interruption_cell(kernel: Kernel) -> None:
    """Ctrl-C ends the cell and its line, and --rm deletes the sandbox."""
    sent = kernel.run("%%sandbox my-box --rm --timeout 60\nsleep 60", interrupt_a_command(kernel))
    (error,) = of_kind(sent, "error")
    assert error["ename"] == "KeyboardInterrupt"
    (line,) = error["traceback"]
    assert line.startswith("KeyboardInterrupt: interrupted in exec")
    assert line.endswith(")."), "the sandbox is deleted, and the command with it"
    assert lines(sent)[-1].startswith("✕ ")
    assert get_sandbox("my-box") == Success(None)
    assert of_kind(kernel.run("get_sandbox('my-box')"), "execute_result")[0]["data"]["text/plain"] == "<Success: None>"


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("cell", "end"),
    [
        (
            "create('a') | start | exec('sleep 60')",
            "The command may still run in the sandbox: exec(timeout=…) kills a command after a time.",
        ),
        (
            "%%sandbox a\nsleep 60",
            "The command in the sandbox was killed. Use submit for a command that runs on.",
        ),
        (
            "%%sandbox a --python\n'exec'; import time; time.sleep(60)",
            "The code in the sandbox was interrupted, and its context keeps its variables.",
        ),
    ],
)
def test_interruption_one_line(kernel: Kernel, cell: str, end: str) -> None:
    """An interrupted command shows one line, which says what happens to the command."""
    (error,) = of_kind(kernel.run(cell, interrupt_a_command(kernel)), "error")
    (line,) = error["traceback"]
    assert line.startswith(("KeyboardInterrupt: interrupted in exec", "KeyboardInterrupt: interrupted in run_code"))
    assert line.endswith(end)
    assert "\n" not in line


def interrupt(_: object) -> bool:
    raise KeyboardInterrupt


def test_interruption_no_traceback(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    """An interrupt inside a step shows no traceback. One outside shows it as usual."""
    shell.shell.push({"interrupt": interrupt, "step": when(interrupt, set_secret("A", "sk-1"))})
    inside, outside = "step(0)", "interrupt(0)"
    shell.shell.run_cell(inside)
    before = shell.shell.CustomTB, shell.shell.custom_exceptions
    assert len(capsys.readouterr().out.splitlines()) > 5
    shell.run(f"%load_ext {EXTENSION}")
    shell.shell.run_cell(inside)
    assert capsys.readouterr().out == (
        "KeyboardInterrupt: interrupted in when(interrupt, set_secret('A', '***')). The platform may have executed it already.\n"
    )
    shell.shell.run_cell(outside)
    assert len(capsys.readouterr().out.splitlines()) > 5
    shell.run(f"%unload_ext {EXTENSION}")
    assert (shell.shell.CustomTB, shell.shell.custom_exceptions) == before


def test_interruption_other_handler(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    """A user's own exception handler still runs for other interrupts."""

    def mine(*_: object, **__: object) -> None:
        print("mine")

    shell.shell.set_custom_exc((KeyboardInterrupt, ZeroDivisionError), mine)
    shell.run(f"%load_ext {EXTENSION}")
    shell.shell.push({"interrupt": interrupt, "step": when(interrupt, start)})
    for cell in ("interrupt(0)", "1 / 0", "step(0)"):
        shell.shell.run_cell(cell)
    assert capsys.readouterr().out.splitlines() == [
        "mine",
        "mine",
        "KeyboardInterrupt: interrupted in when(interrupt, start()).",
    ]
    shell.run(f"%unload_ext {EXTENSION}")


@pytest.mark.usefixtures("environment")
def test_unload_kernel(kernel: Kernel) -> None:
    """After unloading, the kernel shows no line and no card, and has no thread."""
    kernel.run(f"%unload_ext {EXTENSION}")
    try:
        sent = kernel.run("create('my-box') | start | exec('sleep 0.7')")
        assert lines(sent) == []
        assert set(of_kind(sent, "execute_result")[0]["data"]) == {"text/plain"}
        watched = kernel.run("from pocketenv_fp.observing import begin; begin('step', lambda: 'x') is None")
        assert of_kind(watched, "execute_result")[0]["data"]["text/plain"] == "True"
        threads = kernel.run("import threading; [t.name for t in threading.enumerate() if 'live' in t.name]")
        assert of_kind(threads, "execute_result")[0]["data"]["text/plain"] == "[]"
    finally:
        kernel.run(f"%load_ext {EXTENSION}")


@pytest.mark.usefixtures("environment")
def test_load_same_cell(kernel: Kernel) -> None:
    """The cell that loads the extension shows its line too."""
    kernel.run(f"%unload_ext {EXTENSION}")
    sent = kernel.run(f"%load_ext {EXTENSION}\ncreate('my-box') | start | exec('sleep 0.7')")
    assert lines(sent)[-1].startswith("✓ 3 steps, ")


def test_load_raised_error(kernel: Kernel) -> None:
    """A raised error has the usual traceback."""
    sent = kernel.run("raise_for(create('b', token='not one word'))")
    assert [content["ename"] for content in of_kind(sent, "error")] == ["InvalidInput"]


def test_board_wait_status() -> None:
    """The line shows the last status that a wait saw, until the wait ends."""
    board = Board()
    ended = board.watch(Begun("step", "wait_until_running()"))
    board.watch(Begun("status", "my-box UNKNOWN"))
    board.watch(Begun("status", "my-box INITIALIZING"))
    assert re.fullmatch(r"▸ wait_until_running\(\) 0\.\d s · my-box INITIALIZING · 0 requests", board.line())
    assert ended is not None
    ended(Done(0.1))
    board.watch(Begun("step", "start()"))
    assert "INITIALIZING" not in board.line()
