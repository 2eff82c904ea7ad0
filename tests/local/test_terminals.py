"""The terminals of the embedded platform, by a WebSocket client that knows nothing of the library."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import socket
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from pocketenv_fp import local
from pocketenv_fp.local.terminal_session import MOST_WAITING
from tests.local.wire import Wire, eventually

pytest.importorskip("websockets")

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

SECONDS = 60
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def place() -> Iterator[local.Platform]:
    with local.platform() as running:
        yield running


@pytest.fixture(scope="module")
def wire(place: local.Platform) -> Iterator[Wire]:
    with Wire(place, place.token) as one:
        yield one


@pytest.fixture(scope="module")
def box(wire: Wire) -> str:
    sandbox = wire.create()
    wire.start(sandbox)
    return sandbox


@contextlib.contextmanager
def opened(place: local.Platform, path: str, host: str = "localhost", **headers: str) -> Generator[ClientConnection]:
    port = urlsplit(place.url).port
    with (
        socket.create_connection(("127.0.0.1", port)) as near,
        connect(
            f"ws://{host}:{port}{path}", sock=near, additional_headers=headers, close_timeout=5, compression=None
        ) as line,
    ):
        yield line


def terminal_token(wire: Wire) -> str:
    return str(wire.get("actor.getTerminalToken").json["token"])


def path_of(wire: Wire, box: str, session: str = "a", more: str = "") -> str:
    return f"/v1/sandboxes/{box}/ws/terminal?t={quote(terminal_token(wire))}&session={session}{more}"


def until(line: ClientConnection, wanted: str, text_of: Callable[[Any], str] = bytes.decode) -> str:
    """Read until the output has these words. Control messages are not output."""
    seen = ""
    while wanted not in seen:
        message = line.recv(timeout=SECONDS)
        if not (isinstance(message, str) and text_of is bytes.decode):
            seen += text_of(message)
    return seen


def control(line: ClientConnection) -> dict[str, Any]:
    """Read until the next control message."""
    while not isinstance(message := line.recv(timeout=SECONDS), str):
        pass
    parsed: dict[str, Any] = json.loads(message)
    return parsed


def resize(line: ClientConnection, columns: int, rows: int) -> None:
    line.send(json.dumps({"type": "resize", "cols": columns, "rows": rows}))


def test_terminal_of_cloudflare(place: local.Platform, wire: Wire, box: str) -> None:
    """Ready comes first. The terminal has a size, a name and job control, in /workspace."""
    with opened(place, path_of(wire, box, more="&cols=100&rows=30")) as line:
        assert line.recv(timeout=SECONDS) == '{"type":"ready"}'
        line.send(b"stty size; pwd; echo $TERM; tty; echo d''one\r")
        shown = until(line, "done")
        assert "30 100\r\n" in shown
        assert "/workspace\r\n" in shown
        assert "xterm-256color\r\n" in shown
        assert "/dev/pts/" in shown
        resize(line, 40, 10)
        line.send(b"stty size; echo again''\r")
        assert "10 40\r\n" in until(line, "again\r\n")
        line.send(b"sh -c 'echo run\"\"ning; exec sleep 600'\r")
        until(line, "running\r\n")
        line.send(b"\x03")
        line.send("echo h\u00e9''llo\r".encode())
        until(line, "h\u00e9llo")


def test_terminal_own_shell(place: local.Platform, wire: Wire, box: str) -> None:
    """A terminal has its own shell, separate from that of exec."""
    with opened(place, path_of(wire, box, "own")) as line:
        line.send(b"cd /tmp; export X=1; exec 9>&1; touch made; echo d''one\r")
        until(line, "done")
        assert wire.exec(box, "pwd; echo ${X-unset}; ls /tmp/made")[0].splitlines()[1] == "unset"


def test_terminal_session_without_client(place: local.Platform, wire: Wire, box: str) -> None:
    """Earlier output comes first, and the shell goes on without a client."""
    with opened(place, path_of(wire, box, "kept")) as line:
        line.send(b"word=spoken; echo f''irst\r")
        until(line, "first")
    with opened(place, path_of(wire, box, "kept")) as line:
        assert b"first" in bytes(line.recv(timeout=SECONDS, decode=False))
        assert line.recv(timeout=SECONDS) == '{"type":"ready"}'
        line.send(b"echo $word''again\r")
        until(line, "spokenagain")


def test_terminal_after_exit(place: local.Platform, wire: Wire, box: str) -> None:
    """No message and no close. The same session then has a new shell."""
    with opened(place, path_of(wire, box, "ended")) as line:
        line.send(b"exit 3\r")
        until(line, "exit\r\n")
        # Until the shell has ended, its terminal shows what is typed.
        assert eventually(lambda: (box, "ended") not in place._app.terminals._named, SECONDS)  # pyright: ignore[reportPrivateUsage]
        line.send(b"echo x\r")
        with pytest.raises(TimeoutError):
            line.recv(timeout=0.3)
    with opened(place, path_of(wire, box, "ended")) as line:
        assert line.recv(timeout=SECONDS) == '{"type":"ready"}'


def test_terminal_bad_control_messages(place: local.Platform, wire: Wire, box: str) -> None:
    wrong = {"type": "error", "message": "Invalid dimensions: cols and rows must be positive"}
    with opened(place, path_of(wire, box, "bad")) as line:
        assert control(line) == {"type": "ready"}
        for text in ("not json", "ls\n", "[" * 100_000):
            line.send(text)
            assert control(line) == {"type": "error", "message": "Invalid control message"}
        for columns, rows in ((0, 10), (10, -1), ("a", 2), (1.5, 2)):
            line.send(json.dumps({"type": "resize", "cols": columns, "rows": rows}))
            assert control(line) == wrong
        for text in ('{"type": "zz"}', "7", "[]"):
            line.send(text)
        resize(line, 10**9, 10**9)
        line.send(b"echo st''ill\r")
        assert "Invalid" not in until(line, "still")


def test_terminal_much_output_arrives_whole(place: local.Platform, wire: Wire, box: str) -> None:
    """A client that reads slowly holds the shell up, and loses nothing."""
    with opened(place, path_of(wire, box, "much")) as line:
        line.send(b"stty -onlcr; PS1=; seq 200000; echo e''nd\r")
        shown = until(line, "end\n")
    assert [each for each in shown.splitlines() if each.isdecimal()] == [str(number) for number in range(1, 200_001)]


def test_terminal_slow_client(place: local.Platform, wire: Wire, box: str) -> None:
    """Output without an end does not fill the memory of the platform."""
    with opened(place, path_of(wire, box, "slow")) as line:
        assert control(line) == {"type": "ready"}
        line.send(b"yes\r")
        session = place._app.terminals._named[(box, "slow")]  # pyright: ignore[reportPrivateUsage]

        def waiting() -> int:
            return max(listener.qsize() for listener in session._listeners)  # pyright: ignore[reportPrivateUsage]

        assert eventually(lambda: waiting() > MOST_WAITING, SECONDS)
        time.sleep(0.5)
        assert waiting() <= MOST_WAITING + 1


def test_terminal_refusals(place: local.Platform, wire: Wire, box: str) -> None:
    other = place.new_user("bob.test")
    with Wire(place, other) as bob:
        foreign = terminal_token(bob)
    stopped = wire.create()
    assert wire.post("sandbox.stopSandbox", id=stopped).status == 200
    mine = terminal_token(wire)
    daytona = wire.create(provider="daytona")
    cases = [
        ("/v1/sandboxes/none/ws/terminal", 404, b"Sandbox not found"),
        (f"/v1/sandboxes/{daytona}/ws/terminal?t={mine}", 404, b"Sandbox not found"),
        (f"/v1/sandboxes/{box}/ws/terminal?t={foreign}", 403, b"Unauthorized"),
        (f"/v1/sandboxes/{box}/ws/terminal?t={place.token}", 403, b"Unauthorized"),
        (f"/v1/sandboxes/{box}/ws/terminal?t=x", 403, b"Unauthorized"),
        (f"/v1/sandboxes/{stopped}/ws/terminal?t={mine}", 400, b"Sandbox not started"),
        (f"/pty/{box}/ws?token={place.token}", 404, b"Sandbox not found"),
        (f"/pty/{daytona}/ws?token={place.token}", 404, b"Sandbox not found"),
        (f"/ssh/{daytona}/ws?token={place.token}", 404, b"Session not found"),
        ("/other", 404, b"Not Found"),
    ]
    for path, status, body in cases:
        with pytest.raises(InvalidStatus) as refused, opened(place, path):
            pass
        assert (refused.value.response.status_code, refused.value.response.body) == (status, body), path


def test_terminal_without_upgrade(wire: Wire, box: str) -> None:
    """A terminal without a WebSocket upgrade is a 426."""
    answer = wire.raw("GET", f"/v1/sandboxes/{box}/ws/terminal")
    assert (answer.status, answer.raw) == (426, b"Expected WebSocket connection")


def test_terminal_without_token(place: local.Platform, box: str) -> None:
    """A terminal of Cloudflare needs no token."""
    with opened(place, f"/v1/sandboxes/{box}/ws/terminal") as line:
        assert control(line) == {"type": "ready"}


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.test"}, {"Origin": "null"}, {"host": "evil.test"}])
def test_terminal_of_web_site(place: local.Platform, box: str, headers: dict[str, str]) -> None:
    """A browser lets the script of any web site open a WebSocket, and the token may be missing."""
    with pytest.raises(InvalidStatus) as refused, opened(place, f"/v1/sandboxes/{box}/ws/terminal", **headers):
        pass
    assert refused.value.response.status_code == 403


def plain(message: Any) -> str:
    return str(message)


def decoded(message: Any) -> str:
    return base64.b64decode(message).decode()


@pytest.mark.parametrize("provider", ["daytona", "deno", "sprites", "vercel", "modal", "e2b", "hopx", "runloop"])
def test_terminal_of_the_others(place: local.Platform, wire: Wire, provider: str) -> None:
    """Output is text, or base64 in text. The WebSocket ends with the shell."""
    box = wire.create(provider=provider)
    path = f"/pty/{box}/ws"
    text_of = plain
    if provider == "sprites":
        path = f"/tty/{box}/ws"
    if provider in {"daytona", "deno"}:
        headers = {**JSON, "X-Sandbox-Id": box}
        answer = wire.raw("POST", "/ssh/connect", b'{"cols": 100, "rows": 30}', headers)
        path = f"/ssh/{answer.json['sessionId']}/ws"
        text_of = decoded

    with opened(place, f"{path}?token={place.token}") as line:
        resize(line, 90, 20)
        line.send("stty size; echo h\u00e9''llo\r")
        shown = until(line, "h\u00e9llo", text_of)
        assert "20 90\r\n" in shown
        line.send("exit\r")
        with pytest.raises(ConnectionClosed) as ended:
            until(line, "never", text_of)
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == 1000


def test_terminal_closed_connection(place: local.Platform, wire: Wire) -> None:
    """Unlike on Cloudflare, the shell gets a SIGHUP."""
    box = wire.create(provider="modal")
    with opened(place, f"/pty/{box}/ws?token={place.token}") as line:
        line.send("echo $$ >/tmp/shell; echo re''ady\r")
        until(line, "ready", str)
    assert eventually(lambda: wire.exec(box, "kill -0 $(cat /tmp/shell)")[2] != 0, SECONDS)


def test_ssh_failures(place: local.Platform, wire: Wire) -> None:
    for headers in ({**JSON, "X-Sandbox-Id": "none"}, JSON):
        answer = wire.raw("POST", "/ssh/connect", b"{}", headers)
        assert (answer.status, answer.raw[:15]) == (500, b"<!DOCTYPE html>")
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
    answer = wire.raw("DELETE", "/ssh/disconnect/none")
    assert (answer.status, answer.json) == (404, {"error": "Session not found"})
    headers = {**JSON, "X-Sandbox-Id": wire.create(provider="deno")}
    with Wire(place, place.new_user("bob.test")) as bob:
        assert bob.raw("POST", "/ssh/connect", b"{}", headers).status == 500
    session = wire.raw("POST", "/ssh/connect", b"{}", headers).json["sessionId"]
    assert wire.raw("DELETE", f"/ssh/disconnect/{session}").status == 200
    with pytest.raises(InvalidStatus), opened(place, f"/ssh/{session}/ws?token={place.token}"):
        pass


def test_terminal_deleted_sandbox(place: local.Platform, wire: Wire) -> None:
    """Deleting the sandbox closes its terminal."""
    box = wire.create(provider="modal")
    with opened(place, f"/pty/{box}/ws?token={place.token}") as line:
        line.send("echo re''ady\r")
        until(line, "ready", str)
        assert wire.post("sandbox.deleteSandbox", id=box).status == 200
        with pytest.raises(ConnectionClosed):
            until(line, "never", str)


@pytest.mark.parametrize("isolation", ["bubblewrap", "processes"])
def test_terminal_at_each_isolation(isolation: Any) -> None:
    """The directory is the sandbox's, and `cd` prefers it. The platform ends with open terminals."""
    if isolation == "bubblewrap" and local.shared().isolation != "bubblewrap":
        pytest.skip("no bubblewrap here")
    with contextlib.ExitStack() as clients:
        with local.platform(isolation=isolation) as place, Wire(place, place.token) as wire:
            box = wire.create()
            wire.start(box)
            line = clients.enter_context(opened(place, path_of(wire, box)))
            line.send(b"touch here; cd /tmp; cd /workspace; ls; echo d''one\r")
            assert "here\r\n" in until(line, "done")
        with pytest.raises(ConnectionClosed):
            until(line, "never")


def test_terminal_leaves_no_token_in_logs(
    place: local.Platform, wire: Wire, box: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The address of a WebSocket has the token in it."""
    token = terminal_token(wire)
    with caplog.at_level(logging.DEBUG, "uvicorn.error"), caplog.at_level(logging.DEBUG, "pocketenv_fp"):
        with opened(place, f"/v1/sandboxes/{box}/ws/terminal?t={token}") as line:
            assert control(line) == {"type": "ready"}
        with pytest.raises(InvalidStatus), opened(place, f"/v1/sandboxes/none/ws/terminal?t={token}"):
            pass
    shown = [record.getMessage() for record in caplog.records if not record.name.startswith("websockets")]
    assert token not in f"{shown} {list(place.calls)} {list(place._app.recent)}"  # pyright: ignore[reportPrivateUsage]
    assert place.calls[-1][1] == 404
