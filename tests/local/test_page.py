"""The page for the user of this machine: its content, and its readers."""

import html
import re
import shutil
import subprocess
import threading
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pocketenv_fp import local
from pocketenv_fp.local.page import HEADERS, Row, View, render
from pocketenv_fp.local.request_log import Answered
from pocketenv_fp.local.sandboxes import Sandbox
from tests.local.wire import Answer, Wire


@pytest.fixture(scope="session")
def place(one_place: local.Platform) -> local.Platform:
    """The level of isolation makes no difference here."""
    return one_place


VOID = {"meta", "link", "br"}
SECRET = "hunter2-in-the-open"
DETAILS = "io.pocketenv.sandbox.defs#sandboxDetailsPref"


class Balanced(HTMLParser):
    """Every open tag: one that was never closed, or that came from a name, is noticed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - the base's
        self.seen.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page(wire: Wire, **headers: str) -> Answer:
    """Return the page for a browser with these headers."""
    return wire.raw("GET", "/", headers=headers)


def section(answer: Answer, name: str) -> str:
    """Return one part of the page as plain text."""
    match = re.search(rf'<section id="{name}">(.*?)</section>', answer.raw.decode(), re.DOTALL)
    assert match is not None
    return html.unescape(re.sub(r"<[^>]+>", " ", match[1]))


def test_page_lists_sandboxes(wire: Wire, other: Wire) -> None:
    """The page lists sandboxes with their owner, status and ports, until they are deleted."""
    here, there = wire.create(), other.create(provider="daytona")
    wire.start(here)
    wire.post("sandbox.exposePort", {"port": 8000}, id=here)
    wire.post("sandbox.exposeVscode", id=here)
    answer = page(wire)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    shown = section(answer, "sandboxes")
    for identifier in (here, there):
        sandbox = wire.get("sandbox.getSandbox", id=identifier).json["sandbox"]
        assert sandbox["name"] in shown
        assert identifier in shown
        assert sandbox["owner"]["handle"] in shown
    assert "daytona" in shown
    assert re.search(rf"{here}\s+RUNNING\s+cloudflare\s+1024\s+8000", shown)
    text = answer.raw.decode()
    assert '<a href="http://127.0.0.1:8000" target="_blank" rel="noopener noreferrer">8000</a>' in text
    assert '<a href="vscode://' in text
    wire.post("sandbox.stopSandbox", id=here)
    assert re.search(rf"{here}\s+STOPPED", section(page(wire), "sandboxes"))
    wire.post("sandbox.deleteSandbox", id=here)
    assert here not in section(page(wire), "sandboxes")


def test_page_shows_services(wire: Wire) -> None:
    """The page shows the status of each service."""
    here = wire.create()
    wire.start(here)
    for name in ("web", "idle"):
        assert wire.post(
            "service.addService", {"service": {"name": name, "command": "sleep 100"}}, sandboxId=here
        ).empty
    services = {each["name"]: each["id"] for each in wire.get("service.getServices", sandboxId=here).json["services"]}
    wire.post("service.stopService", serviceId=services["idle"])
    assert re.search(r"web running\s+idle stopped", section(page(wire), "sandboxes"))


def test_page_lists_newest_requests_first(wire: Wire) -> None:
    """The newest requests come first, and the page's own are not listed."""
    here = wire.create()
    name = wire.get("sandbox.getSandbox", id=here).json["sandbox"]["name"]
    wire.post("sandbox.deleteSandbox", id=here)
    wire.get("sandbox.getSandbox", id="no-such-box")
    wire.get("sandbox.getBackups", id="no-such-box")
    before = list(wire.platform.calls)
    page(wire)
    shown = section(page(wire), "requests")
    assert re.search(
        r"\d\d:\d\d:\d\d\s+sandbox.getBackups\s+404\s+[\d.]+ ms\s+no-such-box"
        r"\s+\d\d:\d\d:\d\d\s+sandbox.getSandbox\s+200\s+[\d.]+ ms\s+no-such-box"
        rf"\s+\d\d:\d\d:\d\d\s+sandbox.deleteSandbox\s+200\s+[\d.]+ ms\s+{name}",
        shown,
    )
    assert re.search(r"GET /\s", shown) is None
    assert list(wire.platform.calls) == before


def test_page_outside_rate_limit() -> None:
    """The page does not count towards the rate limit."""
    with local.platform(rate_limit=2) as platform, Wire(platform, None) as wire:
        assert [page(wire).status for _ in range(5)] == [200] * 5
        assert [wire.get("sandbox.getSandboxes").status for _ in range(3)] == [200, 200, 429]
        assert page(wire).status == 200


def test_page_hides_tokens_and_values(wire: Wire, other: Wire) -> None:
    """The page shows no token and no value of a secret or variable."""
    here = wire.create()
    wire.post("secret.addSecret", {"secret": {"sandboxId": here, "name": "A", "value": wire.seal(SECRET)}})
    wire.post("variable.addVariable", {"variable": {"sandboxId": here, "name": "B", "value": SECRET}})
    wire.start(here)
    wire.exec(here, f"echo {SECRET}")
    assert other.token is not None
    wire.get("sandbox.getSandbox", id=other.token)
    text = page(wire).raw.decode()
    for token in (wire.token, other.token, wire.platform.token):
        assert str(token).rpartition(".")[2] not in text
    assert SECRET not in text
    assert f"export POCKETENV_API_URL={wire.platform.url}\n" in text
    assert f"export POCKETENV_PUBLIC_KEY={wire.platform.public_key}\n" in text
    assert wire.platform.isolation in section(page(wire), "about")


def test_page_escapes_names_and_paths(wire: Wire) -> None:
    """Names and paths from the wire are shown as text only."""
    here = wire.create()
    hostile = '"><script>alert(1)</script><img src=x>'
    preferences = [{"$type": DETAILS, "name": hostile}]
    assert wire.post("sandbox.putPreferences", {"sandboxId": here, "preferences": preferences}).status == 200
    wire.raw("GET", "/%22%3E%3Cscript%3Ealert(2)%3C/script%3E")
    wire.get("sandbox.getSandbox", id="<b>x</b>")
    text = page(wire).raw.decode()
    assert html.escape(hostile) in text
    checked = Balanced()
    checked.feed(text)
    assert checked.open == []
    assert checked.seen.isdisjoint({"img", "b"})
    assert text.count("<script") == 1


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", None])
def test_render_links_only_safe_urls(url: str | None) -> None:
    """Only addresses with a safe scheme are links."""
    sandbox = Sandbox("id", None, "box", None, "deno", "base", ready_at=0.0, created_at=0.0, started_at=None)
    text = render(View("http://127.0.0.1:1", "", "processes", 1, 1, [Row(sandbox, None, [(8000, url)], [])], []))
    assert "<a " not in text
    assert "<span>8000</span>" in text
    assert "no owner" in text


def test_render_request_without_answer() -> None:
    """A request without a response is marked."""
    lost = Answered(0.0, "POST", "io.pocketenv.sandbox.exec", 0, 0.1, "box")
    assert '<span class="bad">no answer</span>' in render(View("", "", "processes", 0, 0, [], [lost]))


def test_page_foreign_host(wire: Wire) -> None:
    """The page is refused under a host name that is not this machine's."""
    port = wire.platform.url.rpartition(":")[2]
    for host in ("127.0.0.1", f"127.0.0.1:{port}", f"localhost:{port}", "LocalHost", f"[::1]:{port}"):
        assert page(wire, Host=host).status == 200, host
    for host in (
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1.evil.example",
        "localhost.evil.example:80",
        "",
        "x@localhost",
    ):
        answer = page(wire, Host=host)
        assert answer.status == 403, host
        assert b"<" not in answer.raw


def test_page_security_headers(wire: Wire) -> None:
    """The headers of the page forbid caches, frames and other origins."""
    headers = page(wire).headers
    assert "access-control-allow-origin" not in headers
    assert headers["cache-control"] == "no-store"
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    text = page(wire).raw.decode()
    assert re.findall(r"(?:src|href)=[\"'](?!data:,|http://127\.0\.0\.1|vscode:)", text) == []


def test_page_other_paths(wire: Wire) -> None:
    """Other pages and other verbs stay unknown."""
    for verb, path in (("GET", "/index.html"), ("GET", "//"), ("POST", "/"), ("DELETE", "/")):
        answer = wire.raw(verb, path)
        assert answer.status == 404, (verb, path)
        assert f"<pre>Cannot {verb} {path}</pre>" in answer.raw.decode()
    head = wire.raw("HEAD", "/")
    assert (head.status, head.raw) == (200, b"")


def test_page_counts_hundreds_of_sandboxes() -> None:
    """The page counts all sandboxes and shows the newest."""
    with local.platform() as platform, Wire(platform, platform.token) as wire:
        store = platform._world.store  # pyright: ignore[reportPrivateUsage]
        wire.create()
        columns = ", ".join(name for name in Sandbox._fields if name not in {"id", "name", "uri", "created_at"})
        store.write(
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 299)"
            f" INSERT INTO sandboxes (id, name, created_at, {columns})"
            f" SELECT 'id-' || i, 'name-' || i || '-', i, {columns} FROM sandboxes, n"
        )
        answer = page(wire)
        assert "300 sandboxes, 300 running" in answer.raw.decode()
        shown = section(answer, "sandboxes")
        assert "The newest 200 of 300." in shown
        assert "name-299-" in shown
        assert "name-1-" not in shown


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
@pytest.mark.parametrize("then", ["goes on", "is gone"])
def test_page_updates_in_browser(tmp_path: Path, then: str) -> None:
    """A browser follows changes and reports a platform that does not answer."""
    asked: list[str] = []

    class Changing(BaseHTTPRequestHandler):
        """The page. Its content differs at the second request."""

        def do_GET(self) -> None:
            asked.append(self.path)
            gone = then == "is gone" and len(asked) > 1
            view = View("http://127.0.0.1:1", "", "processes", len(asked), 7, [], [])
            self.send_response(503 if gone else 200)
            for name, value in {"Content-Type": "text/html", **HEADERS}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(render(view).encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing."""

    options = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
        " --disable-component-update --disable-sync --virtual-time-budget=7000 --dump-dom"
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), Changing) as server:
        threading.Thread(target=server.serve_forever).start()
        command = [
            "chromium",
            *options.split(),
            f"--user-data-dir={tmp_path}",
            f"http://127.0.0.1:{server.server_port}/",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        server.shutdown()
    assert set(asked) == {"/"}
    if then == "goes on":
        assert re.search(r"[2-9] sandboxes, 7 running", done.stdout)
        assert 'class="lost"' not in done.stdout
    else:
        assert "1 sandbox, 7 running" in done.stdout
        assert 'class="lost"' in done.stdout
