"""A terminal in a sandbox: a real pty, the real command, and the embedded platform."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
import traceback
from collections.abc import Generator, Iterator
from contextlib import ExitStack

import pytest
from returns.result import Failure

from pocketenv_fp import (
    Config,
    DeadlineExceeded,
    InvalidInput,
    NotLoggedIn,
    NotSupported,
    Sandbox,
    TransportError,
    console,
    create,
    exec,
    explain,
    local,
    start,
    stop,
    using,
    wait_until_running,
)
from pocketenv_fp.config import settings
from pocketenv_fp.extras import install_command
from pocketenv_fp.redaction import HiddenText
from pocketenv_fp.runtime.deadline import limited
from pocketenv_fp.terminal.consoles import _connect  # pyright: ignore[reportPrivateUsage]
from pocketenv_fp.terminal.conversation import LEAVE, Conversation
from pocketenv_fp.terminal.keyboard import Terminal
from pocketenv_fp.terminal.links import Link
from tests import servers
from tests.local.wire import eventually
from tests.places import ROOT

pytest.importorskip("websockets")

SECONDS = 60
PROMPT = "[#$] "
COMMAND = [sys.executable, "-m", "pocketenv_fp", "console"]


@pytest.fixture(scope="module")
def place() -> Iterator[local.Platform]:
    with local.platform() as running:
        yield running


@pytest.fixture(scope="module")
def box(place: local.Platform) -> Sandbox:
    with using(Config(api_url=place.url, token=place.token)):
        return (create("my-box") | start).unwrap()


class Window:
    """The terminal of a program: its other end is here. `shown` is what `until` has not read, and `whole` all output."""

    def __init__(self, arguments: list[str], environment: dict[str, str], columns: int = 100, rows: int = 30) -> None:
        self.near, self.far = pty.openpty()
        self._size(columns, rows)
        self.before = termios.tcgetattr(self.far)
        self.shown = self.whole = ""
        self.process = subprocess.Popen(
            arguments,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdin=self.far,
            stdout=self.far,
            stderr=self.far,
            start_new_session=True,
        )

    def _size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.near, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize(self, columns: int, rows: int) -> None:
        """Change the size, as a window does."""
        self._size(columns, rows)
        self.process.send_signal(signal.SIGWINCH)

    def type(self, keys: str | bytes) -> None:
        """Press keys."""
        os.write(self.near, keys.encode() if isinstance(keys, str) else keys)

    def until(self, pattern: str) -> str:
        """Read until the pattern is there. Return the output up to its end, and drop it."""
        end = time.monotonic() + SECONDS
        while not (found := re.search(pattern, self.shown, re.DOTALL)):
            assert time.monotonic() < end, f"no {pattern!r} in {self.shown!r}"
            self._read(0.05)
        seen, self.shown = self.shown[: found.end()], self.shown[found.end() :]
        return seen

    def _read(self, seconds: float) -> None:
        if select.select([self.near], [], [], seconds)[0]:
            with contextlib.suppress(OSError):
                text = os.read(self.near, 65_536).decode(errors="replace")
                self.shown += text
                self.whole += text

    def ended(self) -> int:
        """Read to the end of the program. Return its exit code."""
        end = time.monotonic() + SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < end, self.shown
            self._read(0.05)
        self._read(0)
        return self.process.returncode

    @property
    def is_restored(self) -> bool:
        """Whether the terminal is as it was."""
        return termios.tcgetattr(self.far) == self.before

    @property
    def is_raw(self) -> bool:
        """Whether keys are sent at once."""
        return not int(termios.tcgetattr(self.far)[3]) & termios.ICANON

    def close(self) -> None:
        """End the program."""
        self.process.kill()
        self.process.wait()
        os.close(self.near)
        os.close(self.far)


@contextlib.contextmanager
def window(place: local.Platform, name: str, **more: str) -> Generator[Window]:
    environment = {"POCKETENV_API_URL": place.url, "POCKETENV_TOKEN": place.token, **more}
    opened = Window([*COMMAND, name], environment)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def shell(place: local.Platform, box: Sandbox) -> Iterator[Window]:
    """A window with the shell of the sandbox in it."""
    with window(place, box.name) as opened:
        opened.until(f"Connected to {box.name}. Ctrl-] leaves.\r\n.*{PROMPT}")
        # The prompt may be shown a moment before keys are sent as they are.
        assert eventually(lambda: opened.is_raw)
        yield opened


def test_console_runs_shell(shell: Window) -> None:
    """The shell has the size of the window, and leaving restores the terminal."""
    assert shell.is_raw
    shell.type("stty size; pwd; echo h\u00e9''llo\r")
    seen = shell.until("h\u00e9llo")
    assert "30 100\r\n" in seen
    assert "/workspace\r\n" in seen
    shell.type(LEAVE)
    assert shell.ended() == 0
    assert shell.is_restored


def test_console_ctrl_c(shell: Window) -> None:
    """Ctrl-C interrupts the command in the sandbox, not the console."""
    # Once the command runs it is what the key interrupts.
    shell.type("sh -c 'echo run\"\"ning; exec sleep 600'\r")
    shell.until("running\r\n")
    shell.type(b"\x03")
    shell.until(r"\^C")
    shell.type("echo st''ill\r")
    shell.until("still")
    assert shell.process.poll() is None


def test_console_resize(shell: Window) -> None:
    """The shell gets the new size of the window."""
    shell.resize(72, 20)
    shell.type("sleep 0.2; stty size; echo d''one\r")
    assert "20 72\r\n" in shell.until("done")


def test_console_after_exit(shell: Window) -> None:
    """The platform is silent then, so the library cannot know."""
    shell.type("exit\r")
    shell.until("the shell may have ended: Ctrl-] leaves")
    assert shell.process.poll() is None
    shell.type(LEAVE)
    assert shell.ended() == 0


def test_console_keys_before_leaving(shell: Window, place: local.Platform, box: Sandbox) -> None:
    """Keys before Ctrl-] are sent, later ones are not."""
    shell.type(b"touch pasted\r" + LEAVE + b"touch never\r")
    assert shell.ended() == 0
    with using(Config(api_url=place.url, token=place.token)):
        waiting = "for n in $(seq 100); do test -e pasted && break; sleep 0.1; done; ls pasted never"
        assert exec(box, waiting).unwrap().stdout == "pasted\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_console_after_signal(shell: Window, number: signal.Signals) -> None:
    """A signal ends the console, and the terminal is restored."""
    shell.process.send_signal(number)
    assert shell.ended() in {128 + number, -number}
    assert shell.is_restored


def test_console_platform_closes() -> None:
    """A platform that closes is an error, and the terminal is restored."""
    with local.platform() as own:
        with using(Config(api_url=own.url, token=own.token)):
            mine = (create("box") | start).unwrap()
        with window(own, mine.id) as opened:
            opened.until(PROMPT)
            own.close()
            assert opened.ended() == 1
            assert opened.is_restored
            assert "sandbox.console: the terminal's connection broke" in opened.shown


@pytest.mark.parametrize("provider", ["daytona", "sprites", "modal"])
def test_console_other_providers(place: local.Platform, provider: str) -> None:
    """Each has another form of messages. These end with the shell."""
    with using(Config(api_url=place.url, token=place.token)):
        other = (create(f"box-{provider}", provider=provider) | wait_until_running).unwrap()
    with window(place, other.id) as opened:
        opened.until(PROMPT)
        opened.type("stty size; echo h\u00e9''llo\r")
        assert "30 100\r\n" in opened.until("h\u00e9llo")
        opened.type("exit\r")
        assert opened.ended() == 0
        assert opened.is_restored
    if provider == "daytona":
        assert place.calls[-1][0].startswith("/ssh/disconnect/")


def test_console_large_output(shell: Window) -> None:
    """Fifty thousand lines arrive whole."""
    shell.type("stty -onlcr; PS1=; seq 50000; echo e''nd\r")
    seen = shell.until("end\n")
    assert [line for line in seen.splitlines() if line.isdecimal()] == [str(number) for number in range(1, 50_001)]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no-such-box", "no sandbox"),
        ("stopped", r"is STOPPED: start it"),
    ],
)
def test_console_not_running(place: local.Platform, name: str, reason: str) -> None:
    """A missing or stopped sandbox is an error with its reason."""
    with using(Config(api_url=place.url, token=place.token)):
        if name == "stopped":
            name = (create() | start | stop)("stopped").unwrap().id
    with window(place, name) as opened:
        assert opened.ended() == 1
        assert re.search(reason, opened.shown)
        assert opened.is_restored


def test_console_other_user(place: local.Platform, box: Sandbox) -> None:
    """The platform refuses its terminal token."""
    with window(place, box.id, POCKETENV_TOKEN=place.new_user("bob.test")) as opened:
        assert opened.ended() == 1
        assert (
            "sandbox.console: Unauthorized (403). Check the id or name. The token must be the owner's." in opened.shown
        )


def test_console_url_from_environment(place: local.Platform, box: Sandbox) -> None:
    """The token is sent over https, or to this machine."""
    with window(place, box.id, POCKETENV_CF_URL="http://sbx.example") as opened:
        assert opened.ended() == 1
        assert "POCKETENV_CF_URL: must be an https:// URL" in opened.shown
    with window(place, box.id, POCKETENV_CF_URL=place.url) as opened:
        opened.until(PROMPT)


def test_console_without_terminal(box: Sandbox) -> None:
    """No request is sent: pytest has replaced the standard input."""
    error = console(box, config=Config(api_url="http://127.0.0.1:1", token="x")).failure()
    assert isinstance(error, InvalidInput)
    assert error.field == "stdin"


def test_console_without_login(box: Sandbox) -> None:
    """Without a token no request is sent."""
    address = "http://127.0.0.1:1"
    opened = Window(
        [sys.executable, "-c", f"from pocketenv_fp import *\nprint(console(Sandbox(id={box.id!r}, name='x')))"],
        {"POCKETENV_API_URL": address, "POCKETENV_TOKEN": "", "HOME": "/nowhere"},
    )
    try:
        assert opened.ended() == 0
        assert "not logged in" in opened.shown, opened.shown
    finally:
        opened.close()


@pytest.mark.parametrize("provider", ["blaxel", "a-new-one"])
def test_console_unknown_provider(provider: str) -> None:
    """A provider without a known terminal is not supported."""
    other = Sandbox(id="1", name="box", provider=provider)
    error = console(other).failure()
    assert isinstance(error, NotSupported)
    assert error.provider == provider


def test_console_composes() -> None:
    """A console is a step: it prints, pickles and can be explained."""
    step = create | start | console
    assert repr(step) == "create() | start() | console()"
    assert pickle.loads(pickle.dumps(step)) == step
    assert console(Failure(NotLoggedIn())) == Failure(NotLoggedIn())
    shown = str(explain(step, "my-box"))
    assert "actor.getTerminalToken" in shown


def test_console_without_extra(place: local.Platform, box: Sandbox) -> None:
    """Without websockets the error names the extra to install."""
    code = "import sys; sys.modules['websockets'] = None; from pocketenv_fp.__main__ import main; sys.exit(main())"
    environment = {"POCKETENV_API_URL": place.url, "POCKETENV_TOKEN": place.token}
    opened = Window([sys.executable, "-c", code, "console", box.id], environment)
    try:
        assert opened.ended() == 1
        assert install_command("console") in opened.shown
    finally:
        opened.close()


def python(place: local.Platform, code: str) -> Window:
    """A window in which a program with the names of the library runs."""
    environment = {"POCKETENV_API_URL": place.url, "POCKETENV_TOKEN": place.token}
    return Window([sys.executable, "-c", f"from pocketenv_fp import *\n{code}"], environment)


def test_console_deadline(place: local.Platform, box: Sandbox) -> None:
    """The deadline ends the console, and the terminal is restored."""
    opened = python(place, f"print(get_sandbox({box.id!r}) | within(2, console))")
    try:
        assert opened.ended() == 0
        assert "sandbox.console: not done within 2 s" in opened.shown
        assert opened.is_restored
    finally:
        opened.close()


@contextlib.contextmanager
def silent_terminal() -> Generator[str]:
    """Yield the address of a WebSocket that sends nothing."""
    from websockets.sync.server import ServerConnection, serve

    def listen(line: ServerConnection) -> None:
        for _ in line:
            pass

    with serve(listen, "127.0.0.1", 0) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            serving.join()


@pytest.mark.parametrize(("read_timeout", "seconds"), [(0.05, 600.0), (600.0, 0.05)])
def test_console_never_ready(read_timeout: float, seconds: float) -> None:
    """The setting for the wait, or the deadline, ends a terminal that is never ready."""
    from websockets.sync.client import connect

    near, far = pty.openpty()
    link = Link(HiddenText(""), bytes, bytes, has_ready=True)  # type: ignore[arg-type]  # not used
    try:
        with silent_terminal() as address, connect(address, proxy=None) as line, limited(seconds):
            error = Conversation(line, link, Terminal(far, far), read_timeout).run()
    finally:
        os.close(near)
        os.close(far)
    if read_timeout < seconds:
        assert error == TransportError("timeout", "the terminal was not ready in time", "sandbox.console")
    else:
        assert error == DeadlineExceeded(seconds, "sandbox.console")


def test_console_logs_no_token(place: local.Platform, box: Sandbox) -> None:
    """The package logs each request at DEBUG, and its address has the token in it."""
    with using(Config(api_url=place.url, token=place.token)):
        other = (create("box-logs", provider="modal") | wait_until_running).unwrap()
    for target in (box, other):
        code = f"import logging\nlogging.basicConfig(level=logging.DEBUG)\nget_sandbox({target.id!r}) | console"
        opened = python(place, code)
        try:
            opened.until(PROMPT)
            opened.type("echo d''one\r")
            opened.until("done")
            opened.type(LEAVE)
            opened.ended()
            assert "DEBUG" in opened.whole
            assert place.token not in opened.whole
            assert not re.search(r"[?&](t|token)=", opened.whole)
        finally:
            opened.close()


def test_console_interrupted_shows_no_token() -> None:
    """Ctrl-C while it connects: no frame of the traceback has the address in it."""

    def connect(address: str, **_: object) -> None:
        assert "top-secret" in address
        raise KeyboardInterrupt

    with using(Config(api_url="http://127.0.0.1:1", token="top-secret-token")):
        known = settings().unwrap()
    link = Link(HiddenText("ws://127.0.0.1:1/pty/1/ws?token=top-secret-token"), bytes, bytes)  # type: ignore[arg-type]  # not used
    with pytest.raises(KeyboardInterrupt) as caught, ExitStack() as stack:
        _connect(connect, stack, link, known)
    frames = [frame for frame, _ in traceback.walk_tb(caught.tb)][1:]
    assert frames
    assert "top-secret" not in "".join(
        f"{name}={value!r}" for frame in frames for name, value in frame.f_locals.items()
    )
    assert caught.value.__context__ is None


def test_console_without_service(place: local.Platform, box: Sandbox) -> None:
    """A terminal service that is down or broken is an error with its reason."""
    with window(place, box.id, POCKETENV_CF_URL=f"http://127.0.0.1:{servers.free_port()}") as opened:
        assert opened.ended() == 1
        assert "sandbox.console: no connection: Connection refused" in opened.shown
    for answer, words in (
        (servers.reply(b"<html>"), r"\(200\)"),
        (servers.reply(b"busy", 503), r"busy \(503\)"),
        (servers.Reply(b"nonsense\r\n\r\n", then="close"), "not that of a WebSocket"),
    ):
        with (
            servers.Server(servers.always(answer)) as server,
            window(place, box.id, POCKETENV_CF_URL=server.url) as opened,
        ):
            assert opened.ended() == 1
            assert re.search(f"sandbox.console: .*{words}", opened.shown), opened.shown
            assert opened.is_restored
