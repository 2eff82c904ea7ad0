"""Statuses, errors, body rules and headers that hold for every method."""

import contextlib
import gzip
import json
import logging
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import pytest

from pocketenv_fp import local
from pocketenv_fp.local import secrets
from pocketenv_fp.local.limits import RateWindow
from pocketenv_fp.local.methods import METHODS
from pocketenv_fp.local.vault import open_vault
from tests.local.wire import BASE, Answer, Wire


@pytest.fixture(scope="session")
def place(one_place: local.Platform) -> local.Platform:
    """The level of isolation makes no difference here."""
    return one_place


JSON = {"Content-Type": "application/json"}
PREFIX = "/xrpc/io.pocketenv."
EXEC = PREFIX + "sandbox.exec?id=none"
NO_HANDLER = ["sandbox.getTailscaleToken", "sandbox.putTailscaleToken", "sandbox.updateSandboxSettings"]


def test_json_utf8_without_compression(wire: Wire) -> None:
    """JSON responses name UTF-8 and are not compressed."""
    answer = wire.raw("GET", PREFIX + "sandbox.getSandboxes", headers={"Accept-Encoding": "gzip"})
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("name", NO_HANDLER)
def test_lexicon_without_handler(wire: Wire, name: str) -> None:
    """Lexicon methods without a handler are an HTML 404."""
    verb = METHODS[f"io.pocketenv.{name}"].verb
    answer = wire.raw(verb, PREFIX + name)
    assert answer.status == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert f"Cannot {verb} /xrpc/io.pocketenv.{name}<".encode() in answer.raw


def test_unknown_page_escapes_the_path(wire: Wire) -> None:
    """Unknown pages are an HTML 404 that escapes the path."""
    answer = wire.raw("POST", "/nowhere/%3Cscript%3E", b"x")
    assert answer.status == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert b"<script>" not in answer.raw
    assert answer.headers["x-ratelimit-limit"] == "500"


def test_method_without_lexicon(wire: Wire) -> None:
    """A method without a lexicon is a 501."""
    answer = wire.raw("GET", "/xrpc/io.pocketenv.sandbox.nothing")
    assert answer.error[:2] == (501, "MethodNotImplemented")


def test_method_wrong_verb(wire: Wire) -> None:
    """The message of a wrong verb names both verbs."""
    error = (400, "InvalidRequest", "Incorrect HTTP method (GET) expected POST")
    assert wire.get("sandbox.exec", id="x").error == error
    assert wire.post("sandbox.getSandbox", id="x").error == (
        400,
        "InvalidRequest",
        "Incorrect HTTP method (POST) expected GET",
    )


@pytest.mark.parametrize("name", ["stopSandbox", "deleteSandbox", "exposeVscode"])
def test_body_refused_without_input(wire: Wire, name: str) -> None:
    """A method without input refuses even an empty object."""
    error = wire.post(f"sandbox.{name}", {}, id="x").error
    assert error == (400, "InvalidRequest", "A request body was provided when none was expected")


def test_query_with_body(wire: Wire) -> None:
    """A query with a body is refused."""
    answer = wire.raw("GET", PREFIX + "sandbox.getSandbox?id=x", b"{}", JSON)
    assert answer.error == (400, "InvalidRequest", "A request body was provided when none was expected")


def test_body_required_as_json(wire: Wire) -> None:
    """A method with input refuses a request without a JSON body."""
    assert wire.post("sandbox.startSandbox", id="x").error[:2] == (400, "InvalidRequest")
    assert wire.raw("POST", EXEC, b"{}", {"Content-Type": "text/plain"}).error[:2] == (400, "InvalidRequest")
    assert wire.raw("POST", EXEC, b"{}").error[:2] == (400, "InvalidRequest")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "Expected property name or '}' in JSON at position 1"),
        (b"nul", "Unexpected token 'n', \"nul\" is not valid JSON"),
        (b'"text"', 'Unexpected token \'"\', ""text"" is not valid JSON'),
        (b" 7", "Unexpected token '7', \" 7\" is not valid JSON"),
        (b"[" * 90_000, "Unexpected end of JSON input"),
        (b"\xff", "Unexpected token '\ufffd', \"\ufffd\" is not valid JSON"),
        (b'{"command":1 "a":2, "more": true}', "Expected ',' or '}' after property value in JSON at position 13"),
        (b'{"command":tru, "more": 1234567}', 'Unexpected token \',\', ..."mmand":tru, "more": "... is not valid JSON'),
        (b'{"command":"a\tb"}', "Bad control character in string literal in JSON at position 13"),
        (b'{"a":[01]}', "Unexpected number in JSON at position 7"),
    ],
)
def test_body_malformed_json(wire: Wire, body: bytes, message: str) -> None:
    assert wire.raw("POST", EXEC, body, JSON).error == (400, "SyntaxError", message)


@pytest.mark.parametrize("body", [b'{"command": "\\ud800"}', b'{"command": "\xff"}', b'{"command": "x", "n": 1e400}'])
def test_body_odd_json(wire: Wire, body: bytes) -> None:
    """The platform accepts unusual but valid JSON."""
    assert wire.raw("POST", EXEC, body, JSON).error[:2] == (404, "SandboxNotFound")


def test_body_key_proto(wire: Wire) -> None:
    """The key `__proto__` is refused at any depth."""
    error = (400, "InvalidRequest", "Invalid key: __proto__")
    assert wire.raw("POST", EXEC, b'{"command": "x", "more": [{"__proto__": 1}]}', JSON).error == error


def test_body_length_0_with_json_type(wire: Wire) -> None:
    """An empty body with a JSON type counts as an empty object."""
    sandbox = wire.create()
    path = f"{PREFIX}sandbox.startSandbox?id={sandbox}"
    assert wire.raw("POST", path, b"", {**JSON, "Content-Length": "0"}).raw == b"{}"
    assert wire.raw("POST", path, None, {"Content-Length": "0"}).error[2].startswith("Request encoding")
    assert wire.post("sandbox.stopSandbox", id=sandbox).raw == b"{}"


def test_body_gzip(wire: Wire) -> None:
    """The limit of a gzip body counts its unpacked bytes."""
    zipped = {**JSON, "Content-Encoding": "gzip"}
    assert wire.raw("POST", EXEC, gzip.compress(b'{"command":"x"}'), zipped).status == 404
    assert wire.raw("POST", EXEC, gzip.compress(b" " * 102_401), zipped).error[:2] == (413, "PayloadTooLargeError")
    assert wire.raw("POST", EXEC, b"{}", zipped).error == (400, "Error", "incorrect header check")
    assert wire.raw("POST", EXEC, b"{}", {**JSON, "Content-Encoding": "zz"}).error[:2] == (
        415,
        "UnsupportedMediaTypeError",
    )


def test_method_any_case_and_slash(wire: Wire) -> None:
    """The name of a method matches in any case and with a slash at the end."""
    sandbox = wire.create()
    for path in ("SANDBOX.getsandbox", "sandbox.getSandbox/"):
        assert wire.raw("GET", f"{PREFIX}{path}?id={sandbox}").json["sandbox"]["id"] == sandbox
    assert wire.raw("GET", "/XRPC/io.pocketenv.sandbox.getSandbox?id=none").raw == b"{}"
    assert wire.platform.calls[-1] == ("io.pocketenv.sandbox.getSandbox", 200)


def test_head_of_query_and_procedure(wire: Wire) -> None:
    """HEAD has the status and length of a GET, without a body."""
    for name, status in (("sandbox.getSandboxes", 200), ("sandbox.exec", 400)):
        answer = wire.raw("HEAD", PREFIX + name)
        assert (answer.status, answer.raw) == (status, b"")
        assert int(answer.headers["content-length"]) > 0


def test_options_outside_rate_limit() -> None:
    """OPTIONS is a 204 and does not count towards the rate limit."""
    with local.platform(rate_limit=1) as limited, Wire(limited, limited.token) as wire:
        for _ in range(3):
            answer = wire.raw("OPTIONS", EXEC, headers={"Access-Control-Request-Headers": "content-type"})
            assert (answer.status, answer.raw) == (204, b"")
            assert answer.headers["access-control-allow-headers"] == "content-type"
            assert not [name for name in answer.headers if name.startswith("x-ratelimit")]
        assert wire.get("sandbox.getSandboxes").status == 200


@pytest.mark.parametrize("path", [PREFIX + "sandbox.getSandboxes", PREFIX + "sandbox.nothing", "/nope", "/cp/nope"])
def test_cors_on_every_answer(wire: Wire, path: str) -> None:
    """Every response allows other origins."""
    answer = wire.raw("GET", path)
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["keep-alive"] == "timeout=5"


def test_etag_known(wire: Wire) -> None:
    """A known ETag is a 304."""
    path = PREFIX + "sandbox.getSandbox?id=openclaw"
    tag = wire.raw("GET", path).headers["etag"]
    for known in (tag, f'"other", {tag}', tag.removeprefix("W/"), "*"):
        answer = wire.raw("GET", path, headers={"If-None-Match": known})
        assert (answer.status, answer.raw, answer.headers["etag"]) == (304, b"", tag)
    assert wire.raw("GET", path, headers={"If-None-Match": '"other"'}).status == 200
    assert "etag" not in wire.post("file.deleteFile", id="none").headers


@pytest.mark.parametrize("host", ["evil.test", "127.0.0.1.evil.test", "localhost@evil.test", "10.0.0.1", ""])
@pytest.mark.parametrize("path", [PREFIX + "sandbox.getSandboxes", "/cp/nope", "/nope"])
def test_host_of_another_machine(wire: Wire, host: str, path: str) -> None:
    """A request with the host name of another machine is refused."""
    answer = wire.raw("GET", path, headers={"Host": host})
    assert (answer.status, answer.json["error"]) == (403, "Forbidden")


def test_host_of_this_machine(wire: Wire) -> None:
    """A request with a host name of this machine is accepted."""
    for host in ("localhost", "LOCALHOST:1", "[::1]:80", "127.0.0.1"):
        assert wire.raw("GET", PREFIX + "sandbox.getSandboxes", headers={"Host": host}).status == 200


@pytest.mark.parametrize("origin", ["https://evil.test", "null", "http://localhost.evil.test"])
def test_origin_of_web_site(wire: Wire, stranger: Wire, origin: str) -> None:
    """A request from a web site needs a token."""
    sandbox = wire.platform.new_ownerless_sandbox()
    for name, body in (("exec", b'{"command":"touch x"}'), ("stopSandbox", None)):
        headers = {"Origin": origin, **({} if body is None else JSON)}
        assert stranger.raw("POST", f"{PREFIX}sandbox.{name}?id={sandbox}", body, headers).status == 403
    assert stranger.raw("GET", PREFIX + "sandbox.getSandboxes", headers={"Origin": origin}).status == 403
    assert stranger.out(sandbox, "ls") == ""
    assert wire.raw("GET", PREFIX + "sandbox.getSandboxes", headers={"Origin": origin}).status == 200
    here = {"Origin": "http://localhost:3000"}
    assert stranger.raw("GET", PREFIX + "sandbox.getSandboxes", headers=here).status == 200


@pytest.mark.parametrize("ended", [True, False])
def test_request_head_limit(wire: Wire, *, ended: bool) -> None:
    """A request with a head above the limit is a 431."""
    place = urlsplit(wire.platform.url)
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=30) as line:
        with contextlib.suppress(OSError):
            line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 16_384)
            line.sendall(b"\r\n\r\n" if ended else b"x" * 1_000_000)
        with contextlib.suppress(OSError):
            assert line.recv(100).startswith(b"HTTP/1.1 431 ")


def test_request_without_http(wire: Wire) -> None:
    """Bytes that are not HTTP are a 400 without a body."""
    place = urlsplit(wire.platform.url)
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=30) as line:
        line.sendall(b"what is this?\r\n\r\n")
        assert line.recv(100) == b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("charset", "status"), [("utf-8", 404), ("UTF-16", 404), ("iso-8859-1", 415), ("utf-nonsense", 415)]
)
def test_body_charset(wire: Wire, charset: str, status: int) -> None:
    """A charset other than UTF-8 or UTF-16 is a 415."""
    text = '{"command": "true"}'
    body = text.encode("utf-16" if charset == "UTF-16" else "utf-8")
    answer = wire.raw("POST", EXEC, body, {"Content-Type": f"application/json; charset={charset}"})
    assert answer.status == status
    if status == 415:
        assert answer.error[1] == "UnsupportedMediaTypeError"


@pytest.mark.parametrize(("size", "status"), [(102_400, 404), (102_401, 413)])
def test_body_limit_of_102400_bytes(wire: Wire, size: int, status: int) -> None:
    """A body above 102400 bytes is a 413."""
    frame = len(b'{"command": ""}')
    body = b'{"command": "' + b"x" * (size - frame) + b'"}'
    answer = wire.raw("POST", EXEC, body, JSON)
    assert answer.status == status
    assert answer.error[1] == {404: "SandboxNotFound", 413: "PayloadTooLargeError"}[status]


def test_body_chunked(wire: Wire) -> None:
    """A chunked body is read and has the same limit."""
    wire.connection.request(
        "POST", EXEC, iter([b'{"command"', b': "true"}']), {**JSON, "Authorization": f"Bearer {wire.token}"}
    )
    response = wire.connection.getresponse()
    assert (response.status, json.loads(response.read())["error"]) == (404, "SandboxNotFound")
    wire.connection.request("POST", EXEC, iter([b" " * 60_000] * 2), {**JSON, "Authorization": f"Bearer {wire.token}"})
    response = wire.connection.getresponse()
    assert (response.status, json.loads(response.read())["error"]) == (413, "PayloadTooLargeError")


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("exec", {}, 'Input must have the property "command"'),
        ("exec", [], 'Input must have the property "command"'),
        ("exec", {"command": []}, "Input/command must be a string"),
        ("exec", {"command": 3}, "Input/command must be a string"),
        ("exec", {"command": None}, "Input/command must be a string"),
        ("startSandbox", {"keepAlive": None}, "Input/keepAlive must be a boolean"),
        ("exposePort", {"port": 80}, "Input/port can not be less than 1025"),
        ("exposePort", {"port": 70_000}, "Input/port can not be greater than 65535"),
        ("exposePort", {"port": "8000"}, "Input/port must be an integer"),
        ("exposePort", {"port": True}, "Input/port must be an integer"),
        ("exposePort", {"port": 8000.5}, "Input/port must be an integer"),
        ("exposePort", {"port": 8000, "description": None}, "Input/description must be a string"),
    ],
)
def test_body_errors_in_platform_words(wire: Wire, name: str, body: Any, message: str) -> None:
    """Errors of a body have the words of the platform."""
    assert wire.post(f"sandbox.{name}", body, id="x").error == (400, "InvalidRequest", message)


def test_body_errors_name_the_path(wire: Wire) -> None:
    """Objects inside a body are checked under their path."""
    error = wire.post("secret.addSecret", {"secret": {"sandboxId": "x", "name": "N"}}).error
    assert error == (400, "InvalidRequest", 'Input/secret must have the property "value"')


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("sandbox.getSandbox", {}, 'Error: Params must have the property "id"'),
        ("sandbox.getSandbox", {"id": ""}, 'Error: Params must have the property "id"'),
        ("sandbox.getSandboxes", {"limit": 0}, "Error: limit can not be less than 1"),
        ("sandbox.getSandboxes", {"limit": "many"}, "Error: limit can not be less than 1"),
        ("sandbox.getSandboxes", {"offset": -1}, "Error: offset can not be less than 0"),
        ("actor.getProfile", {"did": "no did"}, "Error: did must be a valid did or a handle"),
    ],
)
def test_params_errors_in_platform_words(wire: Wire, name: str, params: dict[str, object], message: str) -> None:
    """Parameters are checked in the platform's words."""
    assert wire.get(name, **params).error == (400, "InvalidRequest", message)


def test_params_unknown(wire: Wire) -> None:
    """Unknown parameters and keys are ignored."""
    assert wire.get("sandbox.getSandboxes", colour="red", limit=10**30).status == 200
    sandbox = wire.create(colour="red")
    assert wire.post("sandbox.exec", {"command": "true", "colour": "red"}, id=sandbox).status == 200


def test_body_integer_with_point(wire: Wire) -> None:
    """A whole number with a decimal point is accepted as an integer."""
    assert wire.post("sandbox.exposePort", {"port": 8000.0}, id=wire.create()).status == 200


@pytest.mark.parametrize("header", ["Bearer nonsense", "Bearer a.b", "Bearer undefined", "Basic abc", "Bearer \xff"])
@pytest.mark.parametrize("path", ["sandbox.getSandboxes", "sandbox.getSandbox?id=x", "actor.getProfile"])
def test_login_bad_token(wire: Wire, header: str, path: str) -> None:
    """A bad token is a 500 even where no login is needed."""
    answer = wire.raw("GET", PREFIX + path, headers={"Authorization": header})
    assert answer.error == (500, "InternalServerError", "Internal Server Error")


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Bearer null", "{}", "Bearer  {}", "Bearer\t{}"])
def test_login_anonymous(wire: Wire, header: str) -> None:
    sent = {"Authorization": header.format(wire.token)}
    assert wire.raw("GET", PREFIX + "actor.getTerminalToken", headers=sent).status == 401
    assert wire.raw("GET", PREFIX + "actor.getProfile", headers=sent).raw == b"{}"


@pytest.mark.parametrize("header", ["bearer {}", "Basic {}", "Zz {}", "Bearer {} more"])
def test_login_any_scheme(wire: Wire, header: str) -> None:
    sent = {"Authorization": header.format(wire.token)}
    assert wire.raw("GET", PREFIX + "actor.getTerminalToken", headers=sent).status == 200


def test_login_odd_claims(wire: Wire) -> None:
    vault = open_vault(wire.platform.data / "key")
    mine = dict(vault.claims(wire.token or "") or {})

    def profile(**claims: object) -> Answer:
        return wire.raw("GET", PREFIX + "actor.getProfile", headers={"Authorization": f"Bearer {vault.sign(claims)}"})

    assert profile(**mine, exp=1).json["did"] == mine["did"]
    assert profile(**mine, nbf=2**40).status == 500
    assert profile(iat=1).raw == b"{}"
    assert profile(did="did:plc:unknown").raw == b"{}"


def test_login_of_an_unknown_user(wire: Wire) -> None:
    token = open_vault(wire.platform.data / "key").sign({"did": "did:plc:unknown"})
    with Wire(wire.platform, token) as unknown:
        assert unknown.get("secret.getSecrets").json == {"secrets": [], "total": 0}
        assert unknown.post("sandbox.createSandbox", {"base": BASE}).error[:2] == (500, "AgentCreationError")
        assert unknown.post("sandbox.exec", {"command": "true"}, id=wire.create()).status == 404


def test_login_token_of_another_platform(wire: Wire) -> None:
    """A token of another platform is a 500."""
    with local.platform() as elsewhere:
        answer = wire.raw("GET", PREFIX + "actor.getProfile", headers={"Authorization": f"Bearer {elsewhere.token}"})
    assert answer.status == 500


def test_login_not_required(wire: Wire, stranger: Wire) -> None:
    """Queries of sandboxes and profiles need no login. Commands are a 404."""
    sandbox = wire.create()
    did = wire.get("actor.getProfile").json["did"]
    assert stranger.get("sandbox.getSandboxes").json["total"] >= 1
    assert stranger.get("sandbox.getSandbox", id=sandbox).json["sandbox"]["id"] == sandbox
    assert stranger.get("actor.getActorSandboxes", did=did).json["total"] == 1
    assert stranger.get("actor.getProfile", did=did).json["did"] == did
    for name, body in (("exec", {"command": "true"}), ("startSandbox", {}), ("stopSandbox", None)):
        assert stranger.post(f"sandbox.{name}", body, id=sandbox).error[:2] == (404, "SandboxNotFound")
    assert stranger.post("sandbox.exposeVscode", id=sandbox).error[:2] == (404, "XRPCNotSupported")


def test_login_required(stranger: Wire) -> None:
    """All other methods without a login are a 401."""
    error = (401, "AuthenticationRequired", "Unauthorized")
    assert stranger.get("sandbox.getExposedPorts", id="x").error == error
    assert stranger.get("secret.getSecrets").error == error
    assert stranger.get("actor.getTerminalToken").error == error
    assert stranger.post("sandbox.deleteSandbox", id="x").error == error
    assert stranger.post("sandbox.createSandbox", {"base": BASE}).error == (
        401,
        "AuthenticationError",
        "Authentication failed, invalid challenge",
    )


def test_rate_limit_none(wire: Wire) -> None:
    """Without a limit the window is the platform's and never fills."""
    left = {wire.get("sandbox.getSandboxes", limit=1).headers["x-ratelimit-remaining"] for _ in range(20)}
    answer = wire.get("sandbox.getSandboxes", limit=1)
    assert left == {"499"}
    assert answer.headers["x-ratelimit-limit"] == "500"
    assert 28 <= int(answer.headers["x-ratelimit-reset"]) - time.time() <= 32


def test_rate_limit_counts_refused_requests() -> None:
    """A rate limit refuses in prose and counts refused requests."""
    with local.platform(rate_limit=3) as limited, Wire(limited, limited.token) as wire:
        answers = [wire.get("sandbox.getSandboxes") for _ in range(5)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0", "0"]
    assert answers[3].json == {"error": "Too many requests, please try again later."}
    assert answers[3].headers["retry-after"] == "30"
    assert "retry-after" not in answers[0].headers
    # Each refused request moved the end of the window on.
    assert int(answers[4].headers["x-ratelimit-reset"]) >= int(answers[0].headers["x-ratelimit-reset"])
    assert limited.calls[-1] == ("io.pocketenv.sandbox.getSandboxes", 429)


def test_handler_error(wire: Wire, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """An error in a handler is a 500 that hides its text, and it is logged."""

    def broken(*_: object) -> object:
        raise RuntimeError("the details")

    sandbox = wire.create()
    monkeypatch.setattr(secrets, "snapshot", broken)
    with caplog.at_level(logging.DEBUG):
        answer = wire.post("sandbox.startSandbox", {"repo": "body-of-the-request"}, id=sandbox)
    assert answer.error == (500, "InternalServerError", "Internal Server Error")
    assert "io.pocketenv.sandbox.startSandbox failed" in caplog.text
    assert "the details" in caplog.text
    assert "body-of-the-request" not in caplog.text


@pytest.mark.slow
def test_idle_connection(wire: Wire) -> None:
    """An idle connection is dropped after 5 seconds."""
    assert wire.get("sandbox.getSandboxes").status == 200
    sock: socket.socket = wire.connection.sock
    sock.settimeout(60)
    begun = time.monotonic()
    assert sock.recv(1) == b""
    assert time.monotonic() - begun >= 4.0


def test_connection_nodelay(wire: Wire) -> None:
    """Connections have TCP_NODELAY, which turns Nagle's algorithm off."""
    wire.get("sandbox.getSandboxes")
    served = wire.platform._server.server_state.connections  # pyright: ignore[reportPrivateUsage]
    sockets = [connection.transport.get_extra_info("socket") for connection in list(served)]
    assert sockets
    assert all(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for sock in sockets)


def test_rate_limit_after_pause() -> None:
    """A client that keeps asking stays refused, and one that waits does not."""
    window = RateWindow(3)
    admitted = [window.admit("here", second)[0] for second in range(100)]
    assert admitted == [True] * 3 + [False] * 97
    assert window.admit("there", 99.0)[0]
    assert not window.admit("here", 99.0 + 27)[0]
    assert window.admit("here", 99.0 + 27 + 30)[0]
