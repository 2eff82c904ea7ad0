"""Faults on demand: the bytes on the wire, the state of the connection, and whether the work was done."""

import contextlib
import json
import logging
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from pocketenv_fp import local
from pocketenv_fp.local.faults import Cut, Drop, Fault, Garbage, Html, LostSession, Played, Refuse, Slow, Truncated
from tests.local.wire import BASE, Wire, eventually


@pytest.fixture(scope="session")
def place(one_place: local.Platform) -> local.Platform:
    """The level of isolation makes no difference here."""
    return one_place


NAMESPACE = "io.pocketenv."
CREATE = f"{NAMESPACE}sandbox.createSandbox"
LIST = f"{NAMESPACE}sandbox.getSandboxes"


class Heard(NamedTuple):
    """Return every byte of a connection, and whether it ended with a break."""

    raw: bytes
    broken: bool

    @property
    def head(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[0]

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]

    @property
    def length(self) -> int:
        """Return the length of the body in the head."""
        (line,) = [line for line in self.head.lower().splitlines() if line.startswith(b"content-length: ")]
        return int(line.partition(b": ")[2])


@pytest.fixture(autouse=True)
def _clear(place: local.Platform) -> Iterator[None]:
    yield
    place.faults.clear()


def dial(wire: Wire) -> socket.socket:
    place = urlsplit(wire.platform.url)
    assert place.hostname
    assert place.port
    return socket.create_connection((place.hostname, place.port), timeout=20)


def request(wire: Wire, verb: str, path: str, body: bytes | None = None, *more: str) -> bytes:
    """Send one request. The connection ends after its answer in any case."""
    lines = [
        f"{verb} {path} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {wire.token}",
        "Connection: close",
        *more,
    ]
    if body is not None:
        lines += [f"Content-Length: {len(body)}", "Content-Type: application/json"]
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def hear(sock: socket.socket) -> Heard:
    raw = b""
    try:
        while part := sock.recv(65536):
            raw += part
    except ConnectionResetError:
        return Heard(raw, broken=True)
    return Heard(raw, broken=False)


def ask(wire: Wire, verb: str, path: str, body: bytes | None = None, *more: str) -> Heard:
    with dial(wire) as sock:
        sock.sendall(request(wire, verb, path, body, *more))
        return hear(sock)


def create(wire: Wire, *, pad: int = 0) -> Heard:
    body = json.dumps({"base": BASE, "description": "x" * pad}).encode()
    return ask(wire, "POST", f"/xrpc/{CREATE}", body)


def look(wire: Wire) -> Heard:
    return ask(wire, "GET", f"/xrpc/{LIST}?limit=1")


def owned(wire: Wire) -> int:
    """Return the number of the user's sandboxes."""
    did = wire.get("actor.getProfile").json["did"]
    return int(wire.get("actor.getActorSandboxes", did=did).json["total"])


def is_json(raw: bytes) -> bool:
    try:
        json.loads(raw)
    except ValueError:
        return False
    return True


# Dropped


@pytest.mark.parametrize(
    "fault", [Drop(), Drop(reset=True), Drop(after_work=True), Drop(after_work=True, reset=True)], ids=repr
)
def test_drop_sends_no_byte(wire: Wire, fault: Drop, caplog: pytest.LogCaptureFixture) -> None:
    """A dropped request gets no byte. Its work is done only with ``after_work``."""
    with wire.platform.faults.on("sandbox.createSandbox", fault) as planned:
        assert create(wire) == Heard(b"", broken=fault.reset)
    assert wire.platform.calls[-1] == (CREATE, 0)
    assert owned(wire) == planned.worked == int(fault.after_work) == int(fault.works)
    assert caplog.record_tuples == []


@pytest.mark.parametrize("fault", [Drop(), Drop(after_work=True)], ids=repr)
def test_drop_reads_a_long_request(wire: Wire, fault: Drop) -> None:
    """A long request is read before an orderly end: the end would be a break otherwise."""
    with wire.platform.faults.on("sandbox.createSandbox", fault):
        assert create(wire, pad=100_000) == Heard(b"", broken=False)
        # Longer than the platform allows: the method itself would not read it to its end.
        assert create(wire, pad=3_000_000) == Heard(b"", broken=False)
    assert owned(wire) == int(fault.works)


def test_drop_during_expect_continue(wire: Wire) -> None:
    """A client that waits for "100 Continue" gets no byte."""
    with wire.platform.faults.on("sandbox.createSandbox", Drop()), dial(wire) as sock:
        head, _, _ = request(wire, "POST", f"/xrpc/{CREATE}", b"{}", "Expect: 100-continue").partition(b"{}")
        sock.sendall(head)
        assert hear(sock) == Heard(b"", broken=False)


def test_fault_disconnected_client(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    """A fault for a disconnected client logs nothing."""
    for fault in (Drop(), Drop(reset=True), Drop(after_work=True), Cut(), Slow(0.1), Truncated(), Refuse(500)):
        with wire.platform.faults.on("sandbox.getSandboxes", fault, times=1) as planned:
            with dial(wire) as sock:
                sock.sendall(request(wire, "GET", f"/xrpc/{LIST}"))
            assert eventually(lambda planned=planned: planned.played == 1)  # type: ignore[misc]
    assert wire.get("sandbox.getSandboxes").status == 200
    assert caplog.record_tuples == []


# In part


PARTS: dict[Cut, Callable[[int], int]] = {
    Cut(bytes=0): lambda _: 0,
    Cut(bytes=0, reset=True): lambda _: 0,
    Cut(bytes=7): lambda _: 7,
    Cut(): lambda size: size // 2,
    Cut(reset=True): lambda size: size // 2,
    Cut(fraction=0): lambda _: 0,
    Cut(fraction=0.9): lambda size: int(size * 0.9),
    Cut(bytes=10**9): lambda size: size - 1,
}


@pytest.mark.parametrize(("fault", "part"), PARTS.items(), ids=map(repr, PARTS))
def test_cut_keeps_head(wire: Wire, fault: Cut, part: Callable[[int], int]) -> None:
    """A cut answer has the true head and a part of the true body."""
    whole = look(wire)
    with wire.platform.faults.on("sandbox.getSandboxes", fault):
        heard = look(wire)
    assert heard.broken == fault.reset
    assert heard.head.splitlines()[0] == b"HTTP/1.1 200 OK"
    assert heard.length == whole.length == len(whole.body)
    assert heard.body == whole.body[: part(len(whole.body))]


def test_cut_and_truncated_work(wire: Wire) -> None:
    """The work of a cut or truncated answer is done."""
    faults: list[Fault] = [Cut(), Cut(bytes=0, reset=True), Truncated()]
    for number, fault in enumerate(faults, 1):
        with wire.platform.faults.on("sandbox.createSandbox", fault) as planned:
            heard = create(wire)
        assert not heard.body.endswith(b"}")
        assert planned.worked == 1 == int(fault.works)
        assert owned(wire) == number
        assert wire.platform.calls[-3] == (CREATE, 200)


def test_truncated_length_and_body(wire: Wire) -> None:
    """A truncated response has a correct length and a body that is not JSON."""
    whole = look(wire)
    with wire.platform.faults.on("sandbox.getSandboxes", Truncated()):
        answer = wire.get("sandbox.getSandboxes", limit=1)
        assert wire.get("sandbox.getSandboxes", limit=1) == answer
    assert answer.status == 200
    assert answer.raw == whole.body[: len(whole.body) // 2]
    assert int(answer.headers["content-length"]) == len(answer.raw)
    assert not is_json(answer.raw)


def test_cut_and_truncated_without_a_body(wire: Wire) -> None:
    """An answer without a body can be cut and truncated."""
    sandbox = wire.create()
    path, body = f"/xrpc/{NAMESPACE}sandbox.unexposePort?id={sandbox}", b'{"port": 8000}'
    with wire.platform.faults.on("sandbox.unexposePort", Cut(), times=1):
        heard = ask(wire, "POST", path, body)
        assert (heard.length, heard.body) == (2, b"{")
    with wire.platform.faults.on("sandbox.unexposePort", Truncated()):
        heard = ask(wire, "POST", path, body)
        assert (heard.length, heard.body) == (1, b"{")
    assert wire.post("sandbox.unexposePort", {"port": 8000}, id=sandbox).empty


def test_cut_of_error_answer(wire: Wire) -> None:
    """The response of an error can be cut too."""
    with wire.platform.faults.on("sandbox.exec", Cut(bytes=5)) as planned:
        heard = ask(wire, "POST", f"/xrpc/{NAMESPACE}sandbox.exec?id=none", b'{"command": "true"}')
    assert heard.head.startswith(b"HTTP/1.1 404 ")
    assert heard.body == b'{"err'
    assert (planned.played, planned.worked) == (1, 0)


# Instead of the work


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (400, "InvalidRequest", "Bad Request"),
        (401, "AuthenticationRequired", "Unauthorized"),
        (500, "InternalServerError", "Internal Server Error"),
        (501, "MethodNotImplemented", "Method Not Implemented"),
        (502, "SandboxProviderError", "Bad Gateway"),
        (503, "ServiceUnavailable", "Service Unavailable"),
        (504, "GatewayTimeout", "Gateway Timeout"),
        (599, "Error", "Error"),
    ],
)
def test_refuse_in_platform_words(wire: Wire, status: int, error: str, message: str) -> None:
    """A refusal has the platform's words and shape."""
    with wire.platform.faults.on("sandbox.createSandbox", Refuse(status)) as planned:
        answer = wire.post("sandbox.createSandbox", {"base": BASE})
    assert answer.error == (status, error, message)
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.headers["x-ratelimit-remaining"] == "499"
    assert "retry-after" not in answer.headers
    assert wire.platform.calls[-1] == (CREATE, status)
    assert (planned.worked, owned(wire)) == (0, 0)


def test_refuse_429_headers(wire: Wire) -> None:
    """A planned 429 has the body and headers of the rate limit."""
    with wire.platform.faults.on("sandbox.getSandboxes", Refuse(429)):
        answer = wire.get("sandbox.getSandboxes")
    with local.platform(rate_limit=0) as limited, Wire(limited, limited.token) as other:
        true = other.get("sandbox.getSandboxes")
    assert (answer.status, answer.raw) == (true.status, true.raw)
    assert answer.headers.keys() == true.headers.keys()
    for name in ("retry-after", "x-ratelimit-remaining", "content-type"):
        assert answer.headers[name] == true.headers[name]
    assert 28 <= int(answer.headers["x-ratelimit-reset"]) - time.time() <= 32


@pytest.mark.parametrize(("retry_after", "header"), [(0, "0"), (7, "7"), ("soon", "soon"), (None, None)])
def test_refuse_retry_after(wire: Wire, retry_after: int | str | None, header: str | None) -> None:
    """`retry_after` is the value of the Retry-After header."""
    for status in (429, 503):
        with wire.platform.faults.on("sandbox.getSandboxes", Refuse(status, retry_after=retry_after)):
            answer = wire.get("sandbox.getSandboxes")
        assert answer.status == status
        assert answer.headers.get("retry-after") == header
    with wire.platform.faults.on("sandbox.getSandboxes", Refuse(429, retry_after=7)):
        answer = wire.get("sandbox.getSandboxes")
        assert int(answer.headers["x-ratelimit-reset"]) - time.time() <= 9


def test_refuse_own_words(wire: Wire) -> None:
    """A refusal may have its own error name and message."""
    with wire.platform.faults.on("sandbox.getSandboxes", Refuse(403, error="Nope", message="not today")):
        assert wire.get("sandbox.getSandboxes").error == (403, "Nope", "not today")


@pytest.mark.parametrize("status", [200, 502, 503, 504])
def test_html_page(wire: Wire, status: int) -> None:
    """`Html` is a page of a proxy, without the headers of the platform."""
    with wire.platform.faults.on("sandbox.createSandbox", Html(status)) as planned:
        answer = wire.post("sandbox.createSandbox", {"base": BASE})
    assert answer.status == status
    assert answer.headers["content-type"] == "text/html"
    assert answer.raw.startswith(b"<!doctype html>")
    assert not [name for name in answer.headers if name.startswith("x-ratelimit")]
    assert (planned.worked, owned(wire)) == (0, 0)


def test_garbage_claims_json(wire: Wire) -> None:
    """`Garbage` has the content type of JSON, and its body is not JSON."""
    with wire.platform.faults.on("sandbox.createSandbox", Garbage()) as planned:
        answer = wire.post("sandbox.createSandbox", {"base": BASE})
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json; charset=utf-8")
    assert not is_json(answer.raw)
    assert (planned.worked, owned(wire)) == (0, 0)
    with wire.platform.faults.on("sandbox.getSandboxes", Garbage(body=b"")):
        assert wire.get("sandbox.getSandboxes").raw == b""


@pytest.mark.parametrize(
    "fault", [Refuse(502, after_work=True), Html(504, after_work=True), Garbage(after_work=True)], ids=repr
)
def test_fault_after_the_work(wire: Wire, fault: Fault) -> None:
    """Every fault that replaces the answer can come after the work."""
    with wire.platform.faults.on("sandbox.createSandbox", fault, times=1) as planned:
        answer = wire.post("sandbox.createSandbox", {"base": BASE})
    assert b'"id"' not in answer.raw
    assert wire.platform.calls[-1] == (CREATE, answer.status)
    assert planned.worked == owned(wire) == 1 == int(fault.works)


def test_refuse_keeps_the_connection(wire: Wire) -> None:
    """A refused request is read, and its connection serves the next one."""
    wire.get("sandbox.getSandboxes")
    sock = wire.connection.sock
    for fault in (Refuse(503), Html(), Garbage()):
        with wire.platform.faults.on("sandbox.createSandbox", fault):
            wire.post("sandbox.createSandbox", {"base": BASE, "description": "x" * 3_000_000})
        assert wire.get("sandbox.getSandboxes").status == 200
    assert wire.connection.sock is sock


@pytest.mark.parametrize("fault", [Refuse(503), Html(502), Garbage()], ids=repr)
def test_refuse_reads_a_long_request(wire: Wire, fault: Fault) -> None:
    """A long request is read before it is refused: the answer could be lost otherwise."""
    with wire.platform.faults.on("sandbox.createSandbox", fault):
        heard = create(wire, pad=8_000_000)
    assert len(heard.body) == heard.length > 0
    assert not heard.broken


# Late


@pytest.mark.parametrize("fault", [Slow(0.4), Slow(0.4, before_work=True)], ids=repr)
def test_slow_before_or_after_the_work(wire: Wire, fault: Slow) -> None:
    """A slow answer is the true one. Its work is done before or after the wait."""
    with wire.platform.faults.on("sandbox.createSandbox", fault) as planned:
        begun = time.monotonic()
        with dial(wire) as sock:
            sock.sendall(request(wire, "POST", f"/xrpc/{CREATE}", json.dumps({"base": BASE}).encode()))
            if not fault.before_work:
                assert eventually(lambda: planned.worked == 1)
                early = time.monotonic() - begun
                sock.setblocking(False)  # noqa: FBT003 - the socket's own signature
                if early < 0.3:
                    with pytest.raises(BlockingIOError):
                        sock.recv(1)
                sock.settimeout(20)
            heard = hear(sock)
        assert time.monotonic() - begun >= 0.4
    assert heard.head.startswith(b"HTTP/1.1 200 OK")
    assert len(heard.body) == heard.length
    assert owned(wire) == planned.worked == 1


@pytest.mark.parametrize("fault", [Slow(0.3), Slow(0.3, before_work=True)], ids=repr)
def test_slow_work_of_disconnected_client(wire: Wire, fault: Slow) -> None:
    """Slow work is done even for a client that has given up."""
    with wire.platform.faults.on("sandbox.createSandbox", fault) as planned:
        with dial(wire) as sock:
            sock.sendall(request(wire, "POST", f"/xrpc/{CREATE}", json.dumps({"base": BASE}).encode()))
            assert eventually(lambda: planned.played == 1)
        assert eventually(lambda: planned.worked == 1)
    assert owned(wire) == 1


def test_slow_delays_no_other_answer(wire: Wire, other: Wire) -> None:
    """A slow response does not delay others."""
    with wire.platform.faults.on("sandbox.getSandboxes", Slow(4), times=1) as planned:
        slow = threading.Thread(target=lambda: wire.get("sandbox.getSandboxes"))
        slow.start()
        assert eventually(lambda: planned.played == 1)
        assert other.get("sandbox.getSandboxes").status == 200
        assert slow.is_alive()
    slow.join()


@pytest.mark.parametrize("fault", [Slow(600), Slow(600, before_work=True)], ids=repr)
def test_close_waits_for_no_slow_answer(fault: Slow, caplog: pytest.LogCaptureFixture) -> None:
    """A platform that closes does not wait for a slow answer."""
    platform = local.platform()
    with Wire(platform, platform.token) as wire, dial(wire) as sock:
        planned = platform.faults.add("*", fault)
        sock.sendall(request(wire, "GET", f"/xrpc/{LIST}"))
        assert eventually(lambda: planned.played == 1)
        # That it waits for none shows in that this test ends.
        platform.close()
    assert caplog.record_tuples == []


# Which requests, and how many


def statuses(wire: Wire, count: int) -> list[int]:
    return [wire.get("sandbox.getSandboxes", limit=1).status for _ in range(count)]


def test_fault_times(wire: Wire) -> None:
    """A fault meets as many requests as it was planned for."""
    once = wire.platform.faults.add("sandbox.getSandboxes", Refuse(500))
    assert statuses(wire, 3) == [500, 200, 200]
    wire.platform.faults.add("sandbox.getSandboxes", Refuse(500), times=2)
    assert statuses(wire, 3) == [500, 500, 200]
    always = wire.platform.faults.add("sandbox.getSandboxes", Refuse(500), times=None)
    assert statuses(wire, 5) == [500] * 5
    assert (once.played, once.left, always.played, always.left) == (1, 0, 5, None)
    assert wire.platform.faults.pending == (always,)
    wire.platform.faults.remove(always)
    wire.platform.faults.remove(always)
    assert statuses(wire, 1) == [200]


def test_on_removes_own_plan(wire: Wire) -> None:
    """A block removes its own plan and no other."""
    faults = wire.platform.faults
    outer = faults.add("sandbox.getSandboxes", Refuse(502), times=2)
    with contextlib.suppress(KeyError), faults.on("sandbox.getSandboxes", Refuse(500), times=3) as inner:
        assert statuses(wire, 3) == [502, 502, 500]
        raise KeyError
    assert (inner.played, inner.left, outer.left) == (1, 2, 0)
    assert statuses(wire, 1) == [200]
    assert faults.pending == ()
    assert not faults.armed


def test_faults_in_the_order_of_planning(wire: Wire) -> None:
    """Requests meet faults in the order of planning, one at a time."""
    for status in (500, 502, 503):
        wire.platform.faults.add("*" if status == 502 else "sandbox.getSandboxes", Refuse(status))
    assert statuses(wire, 4) == [500, 502, 503, 200]


@pytest.mark.parametrize("method", ["sandbox.getSandboxes", LIST])
def test_fault_only_its_method(wire: Wire, method: str) -> None:
    """A fault meets only requests of its method."""
    with wire.platform.faults.on(method, Drop()) as planned:
        assert wire.get("actor.getProfile").status == 200
        assert wire.get("sandbox.getSandbox", id="x").status == 200
        assert wire.raw("GET", "/cp/x").status in {401, 404}
        assert wire.raw("GET", f"/{LIST}").status == 404
        assert planned.played == 0
        assert look(wire).raw == b""
    assert planned.played == 1


def test_fault_star(wire: Wire) -> None:
    """A star is every method and the storage, and no other page."""
    with wire.platform.faults.on("*", Refuse(503)) as planned:
        assert wire.get("sandbox.getSandboxes").status == 503
        assert wire.post("sandbox.createSandbox", {"base": BASE}).status == 503
        assert wire.get("sandbox.getTailscaleToken").status == 503
        assert wire.raw("GET", "/cp/x").status == wire.raw("POST", "/cp", b"x").status == 503
        assert wire.raw("GET", "/nowhere").status == 404
        assert wire.get("sandbox.nothing").status == 501
        assert planned.played == 5


@pytest.mark.parametrize(
    ("method", "met"),
    [("/cp", {"GET", "POST"}), ("GET /cp", {"GET"}), ("POST /cp", {"POST"})],
    ids=["both", "get", "post"],
)
def test_fault_of_storage_by_its_path(wire: Wire, method: str, met: set[str]) -> None:
    """The storage has faults by its path, in its own shape."""
    with wire.platform.faults.on(method, Refuse(503)):
        for verb, path in (("GET", "/cp/x"), ("POST", "/cp?uuid=x")):
            answer = wire.raw(verb, path, b"x" if verb == "POST" else None)
            if verb in met:
                assert (answer.status, answer.json) == (503, {"error": "Service Unavailable"})
            else:
                assert answer.status != 503
        assert wire.get("sandbox.getSandboxes").status == 200


def test_fault_of_storage_kinds(wire: Wire) -> None:
    """A response of the storage can be dropped, cut and truncated."""
    whole = ask(wire, "GET", "/cp/x")
    with wire.platform.faults.on("/cp", Cut(bytes=3)) as planned:
        heard = ask(wire, "GET", "/cp/x")
        assert (heard.head.splitlines()[0], heard.length, heard.body) == (
            whole.head.splitlines()[0], whole.length, whole.body[:3],
        )  # fmt: skip
    with wire.platform.faults.on("GET /cp", Truncated()):
        heard = ask(wire, "GET", "/cp/x")
        assert heard.length == len(heard.body) == whole.length // 2
    with wire.platform.faults.on("GET /cp", Drop(after_work=True)):
        assert ask(wire, "GET", "/cp/x") == Heard(b"", broken=False)
    assert wire.platform.calls[-1] == ("/cp/x", 0)
    assert planned.worked == 0


def upload(wire: Wire, uuid: str, content: bytes) -> Heard:
    part = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + content + b"\r\n--B--\r\n"
    head = request(wire, "POST", f"/cp?uuid={uuid}", None, "Content-Type: multipart/form-data; boundary=B")
    with dial(wire) as sock:
        sock.sendall(head[:-2] + f"Content-Length: {len(part)}\r\n\r\n".encode() + part)
        return hear(sock)


@pytest.mark.parametrize("fault", [Drop(), Drop(after_work=True), Refuse(502), Refuse(502, after_work=True)], ids=repr)
def test_fault_of_upload(wire: Wire, fault: Fault) -> None:
    """An upload is stored only where the fault does the work."""
    uuid, content = f"u-{time.monotonic_ns()}", b"x" * 2_000_000
    with wire.platform.faults.on("POST /cp", fault) as planned:
        heard = upload(wire, uuid, content)
    assert heard == Heard(b"", broken=False) if isinstance(fault, Drop) else heard.head.startswith(b"HTTP/1.1 502 ")
    assert planned.worked == int(fault.works)
    stored = wire.raw("GET", f"/cp/{uuid}")
    assert (stored.status, stored.raw) == (200, content) if fault.works else stored.status == 404


@pytest.mark.parametrize("reset", [False, True], ids=["ended", "broken"])
def test_cut_download_consumes_the_archive(wire: Wire, reset: Any) -> None:
    """A download that breaks off has consumed the archive."""
    uuid, content = f"d-{time.monotonic_ns()}", b"0123456789" * 300_000
    assert upload(wire, uuid, content).head.startswith(b"HTTP/1.1 200 ")
    with wire.platform.faults.on("/cp", Drop()) as planned:
        assert ask(wire, "GET", f"/cp/{uuid}") == Heard(b"", broken=False)
        assert planned.worked == 0
    with wire.platform.faults.on("/cp", Cut(fraction=0.3, reset=reset)) as planned:
        heard = ask(wire, "GET", f"/cp/{uuid}")
        assert planned.worked == 1
    assert (heard.length, heard.broken) == (len(content), reset)
    # A break also loses the bytes that are on their way.
    part = content[: int(len(content) * 0.3)]
    assert part.startswith(heard.body) if reset else heard.body == part
    assert wire.raw("GET", f"/cp/{uuid}").status == 404


def test_fault_after_rate_limit() -> None:
    """A request above the rate limit meets no fault."""
    with local.platform(rate_limit=2) as limited, Wire(limited, limited.token) as wire:
        planned = limited.faults.add("*", Refuse(500), times=None)
        assert statuses(wire, 4) == [500, 500, 429, 429]
        assert planned.played == 2


def test_fault_many_threads(wire: Wire) -> None:
    """Each of many threads' faults is met once."""
    faults, planners, askers, each = wire.platform.faults, 8, 4, 25
    refused: list[int] = []
    begun = threading.Barrier(planners + askers)
    planned = threading.Event()

    def plan() -> None:
        begun.wait()
        for _ in range(each):
            faults.add("sandbox.getSandboxes", Refuse(503))
            assert isinstance(faults.pending, tuple)

    def ask() -> None:
        with Wire(wire.platform, wire.token) as own:
            begun.wait()
            while not planned.is_set() or faults.pending:
                refused.extend(status for status in statuses(own, 5) if status == 503)

    planning = [threading.Thread(target=plan) for _ in range(planners)]
    asking = [threading.Thread(target=ask) for _ in range(askers)]
    for thread in planning + asking:
        thread.start()
    for thread in planning:
        thread.join()
    planned.set()
    for thread in asking:
        thread.join()
    assert len(refused) == planners * each == len(faults.seen)
    assert statuses(wire, 1) == [200]


# What can be asked of them


def test_seen_and_clear(wire: Wire) -> None:
    """`seen` lists the requests and their faults, and `clear` forgets all but the work."""
    faults = wire.platform.faults
    faults.add("sandbox.getSandboxes", Refuse(500))
    faults.add("/cp", Html())
    faults.add("sandbox.exec", Drop())
    wire.get("sandbox.getSandboxes")
    wire.raw("POST", "/cp", b"x")
    assert faults.seen == (Played(LIST, Refuse(500)), Played("POST /cp", Html()))
    assert [plan.method for plan in faults.pending] == ["sandbox.exec"]
    wire.create()
    before = faults.worked("sandbox.createSandbox")
    faults.clear()
    assert not faults.seen
    assert not faults.pending
    assert not faults.armed
    assert faults.worked("sandbox.createSandbox") == before > 0


def test_worked_counts_done_work(wire: Wire, stranger: Wire) -> None:
    """Work is counted by method where it was done, not where it was refused."""
    faults = wire.platform.faults
    names = ("sandbox.exec", "sandbox.createSandbox", "*")
    before = [faults.worked(name) for name in names]
    sandbox = wire.create()
    wire.exec(sandbox, "exit 3")
    stranger.post("sandbox.createSandbox", {"base": BASE})
    wire.post("sandbox.createSandbox", {})
    wire.post("sandbox.exec", {"command": "true"}, id="none")
    wire.get("sandbox.exec", id=sandbox)
    wire.get("sandbox.nothing")
    assert [faults.worked(name) - then for name, then in zip(names, before, strict=True)] == [1, 1, 2]
    assert faults.worked(f"{NAMESPACE}sandbox.exec") == faults.worked("sandbox.exec")


@pytest.mark.parametrize("method", ["sandbox.exce", "exec", "", "/xrpc", "io.pocketenv.sandbox", "DELETE /cp"])
def test_add_unknown_method(place: local.Platform, method: str) -> None:
    """A plan for an unknown method is a ValueError."""
    with pytest.raises(ValueError, match="there is no"):
        place.faults.add(method, Drop())
    with pytest.raises(ValueError, match="there is no"):
        place.faults.worked(method)
    assert not place.faults.armed


def test_add_misspelled_method(place: local.Platform) -> None:
    """The error of a misspelled method names the nearest one."""
    with pytest.raises(ValueError, match=r"'sandbox\.exec' is one"):
        place.faults.add("sandbox.exce", Drop())


def test_add_invalid_fault(place: local.Platform) -> None:
    """A plan with an invalid fault or number of times is refused."""
    with pytest.raises(TypeError, match="is not a fault"):
        place.faults.add("*", Drop)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    for times in (0, -1):
        with pytest.raises(ValueError, match="times"):
            place.faults.add("*", Drop(), times=times)
    assert not place.faults.armed


def test_fault_invalid_values() -> None:
    """The error of an invalid value names the parameter."""
    with pytest.raises(ValueError, match="seconds"):
        Slow(-1)
    with pytest.raises(ValueError, match="seconds"):
        Slow(float("nan"))
    with pytest.raises(ValueError, match="bytes"):
        Cut(bytes=-1)
    with pytest.raises(ValueError, match="fraction"):
        Cut(fraction=1)
    for status in (200, 399, 600):
        with pytest.raises(ValueError, match="status"):
            Refuse(status)
    for status in (199, 204, 304, 600):
        with pytest.raises(ValueError, match="status"):
            Html(status)
    with pytest.raises(ValueError, match="retry_after"):
        Refuse(429, retry_after="1\r\nX: y")


FAULTS: list[Fault] = [
    Slow(0.5), Slow(2, before_work=True), Drop(), Drop(after_work=True, reset=True), Cut(), Cut(bytes=3, reset=True),
    Truncated(), Refuse(429, retry_after=1), Refuse(502, after_work=True), Html(), Html(502), Garbage(body=b"x"),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_fault_repr_and_equality(fault: Fault) -> None:
    """A fault is a value, and its repr is its source code."""
    kinds = {kind.__name__: kind for kind in (Slow, Drop, Cut, Truncated, Refuse, Html, Garbage)}
    assert eval(repr(fault), kinds) == fault
    assert pickle.loads(pickle.dumps(fault)) == fault
    assert len({fault, *FAULTS}) == len(FAULTS)


def test_plan_repr(place: local.Platform) -> None:
    """The repr of a plan shows its method, fault and counts."""
    planned = place.faults.add("sandbox.exec", Drop(after_work=True), times=3)
    assert repr(planned) == "<Plan sandbox.exec Drop(after_work=True) played=0 left=3>"
    assert repr(place.faults) == f"<Faults pending=[{planned!r}]>"


def test_fault_with_failing_work(wire: Wire, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Work that fails during a fault is logged once and not counted."""

    async def broken(_call: object) -> object:
        raise RuntimeError("the details")

    methods: Any = wire.platform._app._methods  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setitem(methods, LIST, methods[LIST]._replace(handler=broken))
    with caplog.at_level(logging.ERROR), wire.platform.faults.on("sandbox.getSandboxes", Cut(bytes=1)) as planned:
        assert look(wire).head.startswith(b"HTTP/1.1 500 ")
    assert [record.name for record in caplog.records] == ["pocketenv_fp.local"]
    assert planned.worked == 0


def preference(sandbox: str, **details: object) -> dict[str, object]:
    """Return the body of a putPreferences."""
    tag = "io.pocketenv.sandbox.defs#sandboxDetailsPref"
    return {"sandboxId": sandbox, "preferences": [{"$type": tag, **details}]}


def test_lost_session_create(wire: Wire) -> None:
    """Create in a lost session is a 500 and leaves a running sandbox."""
    did = wire.get("actor.getProfile").json["did"]
    with wire.platform.faults.on("sandbox.createSandbox", LostSession()) as planned:
        answer = wire.post("sandbox.createSandbox", {"base": BASE, "name": "mine"})
    assert answer.error == (500, "AgentCreationError", "Internal Server Error")
    (made,) = wire.get("actor.getActorSandboxes", did=did).json["sandboxes"]
    assert (made["status"], made["uri"]) == ("RUNNING", None)
    assert wire.out(made["id"], "echo works") == "works\n"
    assert (planned.played, planned.worked) == (1, 0)


def test_lost_session_other_methods(wire: Wire) -> None:
    """After a lost session some methods fail and the others work."""
    box = wire.create()
    volume = {"sandboxId": box, "name": "v", "path": "/v"}
    secret = {"sandboxId": box, "name": "S", "value": wire.seal("x")}
    with wire.platform.faults.on("*", LostSession()):
        for answer in (
            wire.post("sandbox.exposePort", {"port": 8080}, id=box),
            wire.post("volume.addVolume", {"volume": volume}),
            wire.post("secret.addSecret", {"secret": secret}),
            wire.post("sandbox.putPreferences", preference(box, name="renamed")),
        ):
            assert answer.error[:2] == (500, "AgentCreationError")
        assert wire.get("actor.getProfile").raw == b"{}"
        assert wire.post("sandbox.putPreferences", preference(box, description="d")).empty
        assert wire.post("sandbox.exposeVscode", id=box).status == 200
        assert wire.out(box, "echo ok") == "ok\n"
        assert wire.post("sandbox.stopSandbox", id=box).status == 200
        wire.start(box)
        assert wire.post("sandbox.deleteSandbox", id=box).status == 200
