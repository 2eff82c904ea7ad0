"""The exchange of keys and output: a pty for the user's terminal, and a connection whose messages the test sends."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextlib
import json
import os
import pty
import queue
import select
import signal
import sys
import termios
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from pocketenv_fp import DeadlineExceeded, InvalidInput, PocketenvError, TransportError
from pocketenv_fp.redaction import HiddenText
from pocketenv_fp.runtime.deadline import limited
from pocketenv_fp.terminal import conversation, keyboard
from pocketenv_fp.terminal.conversation import LEAVE, Conversation
from pocketenv_fp.terminal.keyboard import Terminal, own_terminal
from pocketenv_fp.terminal.links import Link, _cloudflare_output

pytest.importorskip("websockets")

SECONDS = 60.0
READY = '{"type": "ready"}'


class Line:
    """A connection. `messages` are what it yields, and an exception among them is raised. None is its end."""

    def __init__(self) -> None:
        self.messages: queue.Queue[Any] = queue.Queue()
        self.sent: queue.Queue[str | bytes] = queue.Queue()
        self.is_broken = False

    def __iter__(self) -> Iterator[Any]:
        while (message := self.messages.get()) is not None:
            if isinstance(message, Exception):
                raise message
            yield message

    def send(self, message: str | bytes) -> None:
        if self.is_broken:
            raise closed(None)
        self.sent.put(message)

    def close(self) -> None:
        self.messages.put(None)


def closed(code: int | None, reason: str = "") -> Exception:
    """Return what a connection raises that was closed with a code, or that broke."""
    from websockets.exceptions import ConnectionClosedError
    from websockets.frames import Close

    return ConnectionClosedError(None if code is None else Close(code, reason), None)


class User:
    """The other side of both: a user at the terminal, and the platform."""

    def __init__(self) -> None:
        self.near, self.far = pty.openpty()
        self.line = Line()
        self.seen = b""
        self.before = termios.tcgetattr(self.far)

    def says(self, *messages: Any) -> None:
        """Send messages, as the platform does."""
        for message in messages:
            self.line.messages.put(message)

    def types(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.near, keys)

    def sees(self, text: bytes, times: int = 1) -> None:
        """Wait until the screen has shown a text that often."""
        end = time.monotonic() + SECONDS
        while self.seen.count(text) < times:
            assert time.monotonic() < end, self.seen
            if select.select([self.near], [], [], 0.05)[0]:
                self.seen += os.read(self.near, 65_536)

    def sent(self) -> str | bytes:
        """Return the next message to the platform."""
        return self.line.sent.get(timeout=SECONDS)

    @property
    def is_raw(self) -> bool:
        return not int(termios.tcgetattr(self.far)[3]) & termios.ICANON


@pytest.fixture
def user() -> Generator[User]:
    made = User()
    yield made
    for number in (made.near, made.far):
        with contextlib.suppress(OSError):
            os.close(number)


def converse(
    user: User, act: Callable[[], None], *, has_ready: bool = True, read_timeout: float = SECONDS
) -> PocketenvError | None:
    """Run a conversation here, and the user's side in a thread."""
    link = Link(HiddenText(""), bytes, _cloudflare_output, has_ready=has_ready)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # only their number is needed
    line: Any = user.line
    talk = Conversation(line, link, Terminal(user.far, user.far), read_timeout)
    failed: list[BaseException] = []

    def acts() -> None:
        try:
            act()
        except BaseException as error:  # noqa: BLE001  # it is raised below
            failed.append(error)
            user.says(None)

    acting = threading.Thread(target=acts)
    acting.start()
    error = talk.run()
    acting.join()
    if failed:
        raise failed[0]
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208  # only their number is needed
    assert termios.tcgetattr(user.far) == user.before
    return error


SIZE = json.dumps({"type": "resize", "cols": 80, "rows": 24})


def test_run_keys_and_output(user: User) -> None:
    """The size is sent first, then each key as it is, until the key that leaves."""

    def act() -> None:
        assert not user.is_raw
        user.says(READY, b"hello ")
        assert user.sent() == SIZE
        assert user.is_raw
        user.types(b"a\x03\r")
        assert user.sent() == b"a\x03\r"
        user.sees(b"hello ")
        user.types(b"last" + LEAVE + b"never")
        assert user.sent() == b"last"

    assert converse(user, act) is None
    assert user.line.sent.empty()
    user.sees(keyboard._RESET.strip())


def test_run_leave_alone(user: User) -> None:
    """Ctrl-] alone sends nothing."""

    def act() -> None:
        user.says(READY)
        assert user.sent() == SIZE
        user.types(LEAVE)

    assert converse(user, act) is None
    assert user.line.sent.empty()


def test_run_without_ready(user: User) -> None:
    """Where the provider has no such message, the keys are sent at once."""

    def act() -> None:
        assert user.sent() == SIZE
        user.types(LEAVE)

    assert converse(user, act, has_ready=False, read_timeout=0) is None


def test_run_new_size(user: User) -> None:
    """A changed size is sent once."""

    def act() -> None:
        user.says(READY)
        assert user.sent() == SIZE
        user.types(b"y")
        assert user.sent() == b"y"
        # Now it waits for a key.
        time.sleep(0.2)
        termios.tcsetwinsize(user.far, (20, 72))
        os.kill(os.getpid(), signal.SIGWINCH)
        assert user.sent() == json.dumps({"type": "resize", "cols": 72, "rows": 20})
        user.types(b"x")
        assert user.sent() == b"x"
        user.types(LEAVE)

    before = signal.getsignal(signal.SIGWINCH)
    assert converse(user, act) is None
    assert signal.getsignal(signal.SIGWINCH) is before
    assert user.line.sent.empty()


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (closed(None), "the terminal's connection broke"),
        (closed(1011, "busy\x1b[2J"), "the terminal's connection broke: busy [2J"),
        (closed(1006), "the terminal's connection broke"),
    ],
)
def test_run_broken_connection(user: User, end: Exception, reason: str) -> None:
    """A broken connection is an error with the reason of the platform."""

    def act() -> None:
        user.says(READY)
        assert user.sent() == SIZE
        user.says(end)

    assert converse(user, act) == TransportError("dropped", reason, "sandbox.console", maybe_sent=True)


def test_run_broken_before_ready(user: User) -> None:
    """The error of a connection that breaks early is the same, and the terminal was never raw."""
    user.says(closed(None))
    error = converse(user, lambda: None)
    assert isinstance(error, TransportError)
    assert error.kind == "dropped"
    os.write(user.far, b"after it")
    user.sees(b"after it")
    assert user.seen == b"after it"


def test_run_interrupted_before_ready(user: User) -> None:
    """Ctrl-C ends the wait for the terminal, which was never raw."""

    def act() -> None:
        while signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
        user.says(READY)

    with pytest.raises(KeyboardInterrupt):
        converse(user, act)
    os.write(user.far, b"after it")
    user.sees(b"after it")
    assert user.seen == b"after it"


def test_wake_full_pipe(user: User) -> None:
    """The thread that shows output never waits for the other one."""
    line: Any = user.line
    talk = Conversation(line, Link(HiddenText(""), bytes, _cloudflare_output), Terminal(user.far, user.far), SECONDS)
    for _ in range(70_000):
        talk._wake()
    os.close(talk._woken)
    os.close(talk._waker)


def test_run_closed_connection(user: User) -> None:
    """A close without a reason is the end of the shell, and so is the message `exit`."""
    for end in (closed(1005), '{"type": "exit"}', None):
        user.line = Line()
        user.says(READY, b"bye", end)
        assert converse(user, lambda: None) is None
        user.sees(b"bye")
        user.seen = b""


def test_run_output_after_exit(user: User) -> None:
    """Nothing is shown after the message `exit`, and a close after it is no error."""

    def act() -> None:
        user.says(READY)
        assert user.sent() == SIZE
        user.says('{"type": "exit"}', b"late", closed(None))

    assert converse(user, act) is None
    user.sees(keyboard._RESET.strip())
    assert b"late" not in user.seen


def test_run_remarks(user: User) -> None:
    """A message of the platform is shown with its name, and other ones are ignored."""

    def act() -> None:
        user.says(READY, '{"type": "error", "message": "no \\u001b shell"}', '{"type": "new"}', "no JSON")
        user.sees(b"\n[pocketenv: no   shell]\r")
        user.types(LEAVE)

    assert converse(user, act) is None


def test_run_hint(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """A silence after the last words of a shell has a hint, once each time."""
    monkeypatch.setattr(conversation, "SILENCE_SECONDS", 0.05)

    def act() -> None:
        user.says(READY, b"ex")
        user.sees(b"ex")
        time.sleep(0.1)
        user.says(b"it\r\n")
        user.sees(b"the shell may have ended")
        user.says(b"no end", b"logout\r\n")
        user.sees(b"the shell may have ended", 2)
        user.types(b"x")
        assert user.sent() == SIZE
        assert user.sent() == b"x"
        user.types(LEAVE)

    assert converse(user, act) is None
    assert user.seen.count(b"the shell may have ended") == 2


def test_run_no_hint(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Output after the words is no silence, and other words are no end."""
    monkeypatch.setattr(conversation, "SILENCE_SECONDS", 20.0)

    def act() -> None:
        user.says(READY, b"exit\r\n")
        user.sees(b"exit\r")
        time.sleep(0.2)
        user.says(b"$ ")
        user.sees(b"$ ")
        monkeypatch.setattr(conversation, "SILENCE_SECONDS", 0.0)
        user.types(b"x")
        user.sees(b"$ ")
        user.types(LEAVE)

    assert converse(user, act) is None
    assert b"the shell may have ended" not in user.seen


def test_run_never_ready(user: User) -> None:
    """The terminal must be ready in time, and before the deadline."""
    assert converse(user, lambda: None, read_timeout=0.05) == TransportError(
        "timeout", "the terminal was not ready in time", "sandbox.console"
    )
    user.line = Line()
    with limited(0.05):
        assert converse(user, lambda: None) == DeadlineExceeded(0.05, "sandbox.console")


def test_run_deadline(user: User) -> None:
    """A deadline ends a terminal that is open."""
    user.says(READY)
    with limited(0.5):
        assert converse(user, lambda: None) == DeadlineExceeded(0.5, "sandbox.console")
    assert user.sent() == SIZE


def test_run_lost_keys(user: User) -> None:
    """A key that cannot be sent raises nothing: the other thread reports the broken connection."""

    def act() -> None:
        user.says(READY)
        assert user.sent() == SIZE
        user.line.is_broken = True
        user.types(b"x")
        user.says(closed(None))

    error = converse(user, act)
    assert isinstance(error, TransportError)
    assert error.kind == "dropped"


def test_run_terminal_gone(user: User) -> None:
    """A terminal whose window was closed ends the conversation without an error."""
    link = Link(HiddenText(""), bytes, _cloudflare_output)
    line: Any = user.line

    def closes() -> None:
        assert user.sent() == SIZE
        os.close(user.near)
        # A conversation that does not notice it ends with an error.
        time.sleep(1)
        user.says(closed(None))

    closing = threading.Thread(target=closes)
    closing.start()
    assert Conversation(line, link, Terminal(user.far, user.far), SECONDS).run() is None
    closing.join()


def test_run_screen_gone(user: User) -> None:
    """A screen that takes no output ends the conversation."""
    near, far = os.pipe()
    os.close(near)
    link = Link(HiddenText(""), bytes, _cloudflare_output)
    line: Any = user.line
    user.says(b"output")
    assert Conversation(line, link, Terminal(user.far, far), SECONDS).run() is None
    os.close(far)
    assert termios.tcgetattr(user.far) == user.before


# The terminal itself.


@pytest.mark.parametrize("gone", ["stdin", "stdout"])
def test_own_terminal_of_a_pipe(user: User, gone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Input and output must both be a terminal."""
    near, far = os.pipe()
    with open(user.far, "rb", closefd=False) as terminal, open(near, "rb") as pipe:  # noqa: PTH123  # descriptors
        for name in ("stdin", "stdout"):
            monkeypatch.setattr(sys, name, terminal)
        assert own_terminal().unwrap().size() == (80, 24)
        monkeypatch.setattr(sys, gone, pipe)
        assert isinstance(own_terminal().failure(), InvalidInput)
        monkeypatch.undo()
    os.close(far)


def test_size_of_no_terminal(user: User) -> None:
    """A terminal without a size has the usual one."""
    assert Terminal(user.far, user.far).size() == (80, 24)
    termios.tcsetwinsize(user.far, (20, 72))
    assert Terminal(user.far, user.far).size() == (72, 20)
    near, far = os.pipe()
    assert Terminal(far, far).size() == (80, 24)
    os.close(near)
    os.close(far)


def test_raw_of_no_terminal() -> None:
    """A descriptor that is no terminal raises OSError."""
    near, far = os.pipe()
    with pytest.raises(OSError, match="ioctl"), Terminal(near, far).raw():
        pass
    os.close(near)
    os.close(far)


def test_write_in_parts(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is written, also where the system takes a part at a time."""
    whole, write = bytes(range(65, 91)), os.write

    def part(number: int, data: bytes) -> int:
        return write(number, bytes(data)[:7])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", part)
        Terminal(user.far, user.far).write(whole)
    user.sees(whole)


def test_resized_in_a_thread(user: User) -> None:
    """In another thread no handler is set, since Python refuses it."""
    calls: list[str] = []

    def block() -> None:
        with Terminal(user.far, user.far).resized(lambda: calls.append("size")):
            calls.append("block")

    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert calls == ["block"]
