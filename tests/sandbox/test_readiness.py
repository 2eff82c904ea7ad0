"""Servers inside of sandboxes that are waited for."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from msgspec.structs import replace
from returns.result import Failure, Success

from pocketenv_fp import (
    DeadlineExceeded,
    DecodeError,
    InvalidInput,
    Sandbox,
    ServerTimeout,
    Status,
    Step,
    exec,
    explain,
    local,
    stop,
    submit,
    using,
    wait_for_http,
    wait_for_port,
    within,
)
from pocketenv_fp.local.faults import Drop
from pocketenv_fp.sandbox import readiness
from pocketenv_fp.sandbox.readiness_lines import HTTP, PORT
from tests import servers
from tests.servers import BOX, Server, client, reply

SERVER = """\
import http.server, sys, time
time.sleep(float(sys.argv[2]))
begun = time.monotonic()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(self.path[1:]) if self.path[1:].isdecimal() else 404)
        self.end_headers()
class Server(http.server.HTTPServer):
    pass
Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def serve(box: Sandbox, port: int, delay: float) -> None:
    (box | submit("python3 -c", [SERVER, str(port), str(delay)])).unwrap()


def test_wait_each_provider(any_box: Sandbox, login: local.Platform) -> None:
    """A server that starts late is waited for, in few requests."""
    port = servers.free_port()
    assert (any_box | wait_for_port(port, timeout=0)).failure() == ServerTimeout(0, port, "the connection was refused")
    serve(any_box, port, 0.6)
    before = len(login.calls)
    assert any_box | wait_for_port(port) == Success(any_box)
    requests = len(login.calls) - before
    # On Cloudflare a request waits for a moment only.
    assert requests <= 12 if any_box.provider == "cloudflare" else requests == 1
    before = len(login.calls)
    assert any_box | wait_for_http("/204", port=port) == Success(any_box)
    assert any_box | wait_for_http("/503", port=port, status=503) == Success(any_box)
    assert len(login.calls) - before == 2
    late = (any_box | wait_for_http("/503?a=b&c", port=port, timeout=0)).failure()
    assert late == ServerTimeout(0, port, "the status was 404")


@pytest.mark.parametrize(
    ("path", "status", "is_good"),
    [("/200", None, True), ("/301", None, True), ("/404", None, False), ("/404", 404, True), ("/200", 204, False)],
)
def test_wait_for_http_status(box: Sandbox, path: str, status: int | None, is_good: bool) -> None:  # noqa: FBT001
    """By default a status below 400 is ready, else the requested one."""
    port = servers.free_port()
    serve(box, port, 0)
    (box | wait_for_port(port)).unwrap()
    assert isinstance(box | wait_for_http(path, port=port, status=status, timeout=0), Success) is is_good


def test_wait_for_http_silent(box: Sandbox) -> None:
    """A server that accepts connections and says nothing, or no HTTP."""
    port = servers.free_port()
    code = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(600)"
    (box | submit("python3 -c", [code, str(port)])).unwrap()
    box_is_ready = (box | wait_for_port(port)).unwrap()
    late = (box_is_ready | wait_for_http(port=port, timeout=0)).failure()
    assert late == ServerTimeout(0, port, "it accepts connections, and does not answer with HTTP in time")


def test_wait_refuses(box: Sandbox) -> None:
    """Invalid ports, paths and times are refused."""
    for step in (
        wait_for_port(0),
        wait_for_port(65536),
        wait_for_port(1, timeout=-1),
        wait_for_http("health", port=1),
        wait_for_http("/a b", port=1),
        wait_for_http("/a\r\nX: y", port=1),
        wait_for_http("/é", port=1),
        wait_for_http("/", port=1, status=99),
    ):
        assert isinstance((box | step).failure(), InvalidInput), step
    stopped = (box | stop).unwrap()
    assert getattr((stopped | wait_for_port(1)).failure(), "status", None) == 400


def test_wait_hostile_path(box: Sandbox) -> None:
    """A path is a path, whatever it means to a shell."""
    port = servers.free_port()
    serve(box, port, 0)
    path = """/'"$(touch${IFS}made)`touch${IFS}made`;{a,b}[1-2]\\x%0a*?&|<>"""
    (box | wait_for_http(path, port=port, status=404)).unwrap()
    assert (box | exec("ls")).unwrap().stdout == ""


def test_wait_within(box: Sandbox) -> None:
    """A deadline ends the wait."""
    port = servers.free_port()
    assert isinstance((box | within(0.5, wait_for_port(port))).failure(), DeadlineExceeded)


def test_wait_lost_answer(box: Sandbox, login: local.Platform) -> None:
    """A lost answer is requested again."""
    port = servers.free_port()
    serve(box, port, 0)
    with login.faults.on("sandbox.exec", Drop(after_work=True), times=1):
        assert box | wait_for_port(port) == Success(box)


@pytest.mark.parametrize("printed", ["", "waits", "ready x", "waits x", '"OUTPUT"'])
def test_wait_unreadable_answer(printed: str) -> None:
    """Any other output is a DecodeError."""
    body = json.dumps({"stdout": f"{printed}\x1e", "stderr": "\x1e", "exitCode": 0}).encode()
    with Server(servers.always(reply(body))) as server, using(client(server.url)):
        for step in (wait_for_port(80), wait_for_http(port=80)):
            assert isinstance((BOX | step).failure(), DecodeError)


@pytest.mark.parametrize(("provider", "looks"), [("cloudflare", 2), ("daytona", 100)])
def test_wait_held_request(provider: str, looks: int) -> None:
    """A request waits in the sandbox: for a moment where it blocks the one shell, elsewhere for less than a limit."""
    box = replace(BOX, provider=provider, status=Status.RUNNING)
    bodies = [b"waits refused", b"ready"]

    def answer(_: servers.Request) -> servers.Reply:
        printed = bodies.pop(0).decode()
        # The marks are those of Cloudflare.
        marks = ("\x1e", "\x1e") if provider == "cloudflare" else ("", "")
        return reply(json.dumps({"stdout": printed + marks[0], "stderr": marks[1], "exitCode": 0}).encode())

    with Server(answer) as server, using(client(server.url)):
        assert box | wait_for_port(8080) == Success(box)
        lines = [json.loads(request.body)["command"] for request in server.seen]
    assert [re.findall(r"waits=\W*(\d+)", line) for line in lines] == [[str(looks)]] * 2


def test_wait_explained() -> None:
    """An explanation has one request, and says that it is repeated."""
    for step in (wait_for_port(8080, timeout=7), wait_for_http("/health", port=8080)):
        explanation = explain(step | exec("ls"))
        assert len(explanation.requests) == 2
        assert "is repeated until the server is ready" in str(explanation)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(int(self.path[1:]))
        self.end_headers()

    def log_message(self, format: str, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a server of this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,)).start()
        yield server.server_port
        server.shutdown()


@contextmanager
def other_protocol(host: str) -> Generator[int]:
    """Yield the port of a server that answers with another protocol than HTTP."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip(f"no address {host} here")

    def answer() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    connection.sendall(b"SSH 200 hello\r\n")
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(1000):
                        pass

    thread = Thread(target=answer)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@pytest.mark.parametrize("tools", ["curl", "python3", "bash", "curl timeout", "python3 timeout", "bash timeout"])
def test_wait_each_tool(tools: str, port: int, tmp_path: Path) -> None:
    """Whichever tool is there, the line says the same."""
    shell = "bash" if "bash" in tools else "dash"
    for name in (*tools.split(), shell, "sleep"):
        found = shutil.which(name)
        if found is None:
            pytest.skip(f"no {name} here")
        if name == "python3":
            # What is first in the PATH here may be a script that needs other tools.
            (tmp_path / name).write_text(f'#!{tmp_path / shell}\nexec {sys.executable} "$@"\n')
            (tmp_path / name).chmod(0o755)
        elif not (tmp_path / name).exists():
            (tmp_path / name).symlink_to(found)

    free = servers.free_port()

    def said(line: str, port: int, path: str = "/200", wanted: str = "") -> str:
        script = f"port={port} waits=0 most=2 path={path} wanted={wanted}\n{line}"
        argv = [str(tmp_path / shell), "-c", script]
        # A proxy is not asked for a server of the sandbox.
        env = {"PATH": str(tmp_path), "http_proxy": f"http://127.0.0.1:{free}"}
        ran = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=True)
        assert ran.stderr == ""
        return ran.stdout.strip()

    assert [said(PORT, port), said(PORT, free)] == ["ready", "waits refused"]
    assert [said(HTTP, port), said(HTTP, port, "/503"), said(HTTP, port, "/503", "503")] == [
        "ready",
        "waits 503",
        "ready",
    ]
    assert said(HTTP, free) == "waits refused"
    for host in ("127.0.0.1", "::1"):
        with other_protocol(host) as strange:
            assert [said(PORT, strange), said(HTTP, strange)] == ["ready", "waits silent"]


def test_wait_without_tools(tmp_path: Path) -> None:
    """A sandbox without any of the tools has its own exit code."""
    found = shutil.which("dash")
    if found is None:
        pytest.skip("no dash here")
    for line in (PORT, HTTP):
        script = f"port=1 waits=0 most=2 path=/ wanted=\n{line}"
        ran = subprocess.run([found, "-c", script], env={"PATH": str(tmp_path)}, timeout=60, check=False)
        assert ran.returncode == 95


def test_wait_no_sandbox() -> None:
    """A Failure is passed through."""
    failed: Failure[Any] = Failure(InvalidInput("a", "b"))
    assert (failed | wait_for_port(1)) is failed


@pytest.mark.parametrize("wait", [wait_for_port(80, timeout=0.1), wait_for_http(port=80, timeout=0.1)])
def test_wait_frozen_platform(wait: Step[Sandbox, Sandbox], monkeypatch: pytest.MonkeyPatch) -> None:
    """The timeout of the wait limits the request too, and not the read timeout alone."""
    monkeypatch.setattr(readiness, "ANSWER_SECONDS", 0.2)
    with Server(servers.always(reply(wait=30))) as server, using(client(server.url, read_timeout=2, retries=0)):
        error = (BOX | wait).failure()
        assert isinstance((BOX | within(0.1, wait)).failure(), DeadlineExceeded)
    assert error == ServerTimeout(0.1, 80, "the platform did not answer in time")
