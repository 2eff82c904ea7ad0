"""Bad requests for every method, over real HTTP: the contract has every answer.

They are made from the lexicons: every known flaw in turn, and more by hypothesis without random input. A generator for
openapi.json would serve worse. That file has no parameters for procedures, so that all its requests fail the first check.
Such a generator reports every status but 200, 400 and 401. Five references of the file are undefined. No such tool can
avoid harmful shell lines.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import logging
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings

from pocketenv_fp import local
from pocketenv_fp.local.methods import METHODS
from tests.conformance import flaws, judge, uploads
from tests.conformance.flaws import Flawed
from tests.conformance.observed import SERVER_ERRORS
from tests.conformance.recorder import Exchange
from tests.examples import examples
from tests.figures import Figures
from tests.local.wire import Wire
from tests.servers import Request

pytestmark = pytest.mark.contract

EXAMPLES = examples(60)
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
WATCHED = ("pocketenv_fp.local", "uvicorn", "asyncio")


class Listener(logging.Handler):
    """A handler that keeps logged errors."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name}: {record.getMessage()} {record.exc_info and record.exc_info[0]}")


class Field:
    """Yield a platform with a record of every kind, and one keep-alive connection to it."""

    def __init__(self, platform: local.Platform, counted: Counter[int], listener: Listener) -> None:
        self.platform = platform
        self.listener = listener
        self.counted = counted
        self._place = urlsplit(platform.url)
        self._connection: http.client.HTTPConnection | None = None
        with Wire(platform, platform.token) as mine, Wire(platform, platform.new_user("them.test")) as theirs:
            running, stopped = mine.create(), mine.create()
            mine.post("sandbox.stopSandbox", id=stopped)
            view = mine.get("sandbox.getSandbox", id=running).json["sandbox"]
            secret = {"sandboxId": running, "name": "KEPT", "value": mine.seal("value")}
            mine.post("secret.addSecret", {"secret": secret})
            mine.post("variable.addVariable", {"variable": {**secret, "value": "plain"}})
            self.marks: Mapping[str, str] = {
                "@running@": running,
                "@stopped@": stopped,
                "@name@": view["name"],
                "@uri@": view["uri"],
                "@did@": view["owner"]["did"],
                "@theirs@": theirs.create(),
                "@secret@": mine.get("secret.getSecrets").json["secrets"][0]["id"],
                "@variable@": mine.get("variable.getVariables").json["variables"][0]["id"],
            }

    def send(self, flawed: Flawed) -> Exchange | None:
        """Return the answer; None where the server hung up, which is allowed only for a request that is not HTTP."""
        query, body = flawed.query, flawed.body
        for mark, meant in self.marks.items():
            query = query.replace(mark, quote(meant))
            body = None if body is None else body.replace(mark.encode(), meant.encode())
        headers = dict(flawed.headers)
        if flawed.kind is not None:
            headers["content-type"] = flawed.kind
        if flawed.login != "none":
            headers["authorization"] = self._login(flawed.login)
        place = flawed.name if flawed.name.startswith("/") else f"/xrpc/{flawed.name}"
        path = f"{place}{'?' if query else ''}{query}"
        request = Request(flawed.verb, path, headers, body or b"", 0, 0.0)
        answer = self._exchange(request, body)
        self.counted[answer.status if answer else 0] += 1
        return answer and answer._replace(name=flawed.name)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _exchange(self, request: Request, body: bytes | None) -> Exchange | None:
        chunked = request.headers.get("transfer-encoding") == "chunked"
        for _ in range(2):
            if self._connection is None:
                self._connection = http.client.HTTPConnection(self._place.hostname or "", self._place.port, timeout=20)
            fresh = self._connection.sock is None
            try:
                parts = iter([body] if body else []) if chunked else body
                self._connection.request(request.verb, request.path, parts, request.headers, encode_chunked=chunked)
                answer = self._connection.getresponse()
                headers = {name.lower(): value for name, value in answer.getheaders()}
                return Exchange("", request, answer.status, headers, answer.read())
            except (ConnectionError, http.client.HTTPException):
                # Dropped while idle, or hung up on. Twice in a row is no coincidence.
                self.close()
                if fresh:
                    return None
        return None

    def _login(self, login: flaws.Login) -> str:
        token = self.platform.token
        return {
            "ours": f"Bearer {token}",
            "forged": "Bearer not.a-token",
            "foreign": f"Bearer {token[:-1]}{'0' if token[-1] != '0' else '1'}",
            "basic": "Basic YTpi",
            "empty": "Bearer ",
            "long": f"Bearer {'x' * 5000}",
            "latin": "Bearer \xe9\xff",
        }[login]


@pytest.fixture(scope="module")
def field(figures: Figures) -> Iterator[Field]:
    listener = Listener()
    loggers = [logging.getLogger(name) for name in WATCHED]
    with local.platform() as platform:
        for logger in loggers:
            logger.addHandler(listener)
        made = Field(platform, Counter(), listener)
        try:
            yield made
        finally:
            made.close()
            for status, number in made.counted.items():
                figures.count("bad requests sent, by status", str(status or "closed"), number)
            for logger in loggers:
                logger.removeHandler(listener)


def complaints(flawed: Flawed, answer: Exchange | None) -> set[str]:
    """Return the faults that the contract does not have."""
    if answer is None:
        return {"hung up"}
    found = judge.faults(answer)
    # An empty token stands for a caller without a login.
    bad_login = flawed.login not in {"ours", "none", "empty"}
    # The storage's answer to a body that is no form is a 500 as well.
    storage = flawed.name.startswith("/cp")
    if answer.status == 500 and not bad_login and not storage and flawed.method not in SERVER_ERRORS:
        found.add("a server error that the contract does not have")
    if answer.status == 429:
        found.add("refused by a limit that is not on")
    if bad_login and answer.status == 200:
        found.add("let in with a bad login")
    return found


def attempt(field: Field, flawed: Flawed) -> None:
    field.listener.lines.clear()
    answer = field.send(flawed)
    assert not complaints(flawed, answer), answer and (flawed, answer.status, answer.body[:300])
    assert not field.listener.lines


def serves(field: Field) -> bool:
    with Wire(field.platform, field.platform.token) as wire:
        return bool(wire.get("sandbox.getSandboxes").json["total"])


@pytest.mark.parametrize("share", [3, pytest.param(1, marks=pytest.mark.slow)], ids=["one of three", "all"])
@pytest.mark.parametrize("name", sorted(METHODS))
def test_bad_request_known_flaws(field: Field, name: str, share: int) -> None:
    """Every known flaw gets an answer that the contract has. Of three methods, each gets another third of them."""
    before = Counter(field.counted)
    for flawed in itertools.islice(flaws.each_flaw(name), sorted(METHODS).index(name) % share, None, share):
        attempt(field, flawed)
    found = set(field.counted - before)
    assert found >= ({400, 500} if METHODS[name].handler else {400, 404})
    assert serves(field)


@pytest.mark.hypothesis
@pytest.mark.parametrize("name", sorted(METHODS))
def test_bad_request_generated_flaws(field: Field, name: str) -> None:
    """Bad requests get answers that the contract has."""
    before = Counter(field.counted)

    @settings(max_examples=EXAMPLES, derandomize=True, deadline=None, suppress_health_check=SLOW)
    @given(flaws.requests(name))
    def every(flawed: Flawed) -> None:
        attempt(field, flawed)

    every()
    assert (field.counted - before).total() >= EXAMPLES // 2
    assert serves(field)


@pytest.mark.hypothesis
def test_bad_request_to_storage(field: Field) -> None:
    """Bad uploads and reads get answers that the storage has."""
    before = Counter(field.counted)

    @settings(max_examples=300, derandomize=True, deadline=None, suppress_health_check=SLOW)
    @given(uploads.requests())
    def every(flawed: Flawed) -> None:
        attempt(field, flawed)

    every()
    assert set(field.counted - before) == {200, 204, 400, 401, 404, 500}
    assert not list((field.platform.data / "storage" / ".drafts").iterdir())


NO_HTTP = {
    "no request line": b"\r\n\r\n",
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a verb that nobody has": b"FETCH / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a header without a colon": b"GET / HTTP/1.1\r\nHost a\r\n\r\n",
    "bytes above ASCII in the path": b"GET /xrpc/\xff\xfe?id=\xc3\xa9 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a NUL in the path": b"GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a length that is no number": b"POST /xrpc/io.pocketenv.sandbox.exec HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
    "a length below zero": b"POST /xrpc/io.pocketenv.sandbox.exec HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    "a length beyond all bounds": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    "chunks that are none": b"POST /cp HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a body that breaks off": (
        b"POST /xrpc/io.pocketenv.sandbox.exec?id=a HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b'Content-Length: 100\r\n\r\n{"command"'
    ),
    "a head that never ends": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 200_000,
    "an upgrade": b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a\r\n\r\n",
}


@pytest.mark.parametrize("what", NO_HTTP)
def test_bad_request_hardly_http(field: Field, what: str) -> None:
    """Bytes that are hardly HTTP do no harm."""
    place = urlsplit(field.platform.url)
    field.listener.lines.clear()
    with socket.create_connection((place.hostname, place.port), timeout=10) as raw:
        received = b""
        with contextlib.suppress(OSError):
            raw.sendall(NO_HTTP[what])
            raw.shutdown(socket.SHUT_WR)
            while part := raw.recv(65536):
                received += part
    field.counted[int(received[9:12]) if received else 0] += 1
    assert not received or received.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404", b"HTTP/1.1 431", b"HTTP/1.1 501")), (
        received[:200]
    )
    assert not field.listener.lines
    assert serves(field)


def test_bad_request_keeps_sandboxes(field: Field) -> None:
    """All sandboxes still exist after the bad requests."""
    with Wire(field.platform, field.platform.token) as wire:
        for mark in ("@running@", "@stopped@", "@theirs@"):
            found = wire.get("sandbox.getSandbox", id=field.marks[mark]).json
            assert found["sandbox"]["id"] == field.marks[mark]
        wire.create()


def test_complaints() -> None:
    """A complaint names each answer that the contract does not have."""
    headers = {"content-type": judge.JSON, "x-ratelimit-limit": "500", "access-control-allow-origin": "*"}
    sound = Flawed("GET", "io.pocketenv.sandbox.getSandbox", "id=a", None, None, (), "ours")
    request = Request("GET", "", {}, b"", 0, 0.0)
    broken = b'{"error": "InternalServerError", "message": "Internal Server Error"}'
    answer = Exchange(sound.name, request, 500, headers, broken)
    assert complaints(sound, answer) == {"a server error that the contract does not have"}
    assert not complaints(sound._replace(login="forged"), answer)
    assert complaints(sound._replace(login="forged"), answer._replace(status=200, body=b"{}"))
    assert complaints(sound, None)
