"""Statuses, errors, body rules and headers that hold for every method."""

import json
import logging
import socket
import time
from typing import Any

import pytest

from pocketenv_fp import local
from pocketenv_fp.local import secrets
from pocketenv_fp.local.limits import RateWindow
from tests.local.wire import BASE, Wire

JSON = {"Content-Type": "application/json"}
PREFIX = "/xrpc/io.pocketenv."
EXEC = PREFIX + "sandbox.exec?id=none"
NO_HANDLER = ["sandbox.getTailscaleToken", "sandbox.putTailscaleToken", "sandbox.updateSandboxSettings"]


def test_json_answers_say_utf8_and_are_not_compressed(wire: Wire) -> None:
    answer = wire.raw("GET", PREFIX + "sandbox.getSandboxes", headers={"Accept-Encoding": "gzip"})
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("name", NO_HANDLER)
def test_lexicon_methods_without_a_handler_are_html_404(wire: Wire, name: str) -> None:
    answer = wire.raw("GET", PREFIX + name)
    assert answer.status == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert b"Cannot GET" in answer.raw


def test_unknown_pages_are_html_404_that_escapes_the_path(wire: Wire) -> None:
    answer = wire.raw("POST", "/nowhere/%3Cscript%3E", b"x")
    assert answer.status == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert b"<script>" not in answer.raw
    assert answer.headers["x-ratelimit-limit"] == "500"


def test_a_method_that_no_lexicon_has_is_501(wire: Wire) -> None:
    answer = wire.raw("GET", "/xrpc/io.pocketenv.sandbox.nothing")
    assert answer.error[:2] == (501, "MethodNotImplemented")


def test_the_wrong_verb_is_named(wire: Wire) -> None:
    told = (400, "InvalidRequest", "Incorrect HTTP method (GET) expected POST")
    assert wire.get("sandbox.exec", id="x").error == told
    assert wire.post("sandbox.getSandbox", id="x").error == (
        400,
        "InvalidRequest",
        "Incorrect HTTP method (POST) expected GET",
    )


@pytest.mark.parametrize("name", ["stopSandbox", "deleteSandbox", "exposeVscode"])
def test_a_method_without_input_refuses_even_an_empty_object(wire: Wire, name: str) -> None:
    told = wire.post(f"sandbox.{name}", {}, id="x").error
    assert told == (400, "InvalidRequest", "A request body was provided when none was expected")


def test_a_query_refuses_a_body(wire: Wire) -> None:
    answer = wire.raw("GET", PREFIX + "sandbox.getSandbox?id=x", b"{}", JSON)
    assert answer.error == (400, "InvalidRequest", "A request body was provided when none was expected")


def test_a_method_with_input_wants_a_body_of_json(wire: Wire) -> None:
    assert wire.post("sandbox.startSandbox", id="x").error[:2] == (400, "InvalidRequest")
    assert wire.raw("POST", EXEC, b"{}", {"Content-Type": "text/plain"}).error[:2] == (400, "InvalidRequest")
    assert wire.raw("POST", EXEC, b"{}").error[:2] == (400, "InvalidRequest")


@pytest.mark.parametrize("body", [b"{", b"nul", b'"text"', b"7", b'{"command": "\\ud800"}', b"[" * 90_000, b"\xff"])
def test_malformed_json_is_a_syntax_error(wire: Wire, body: bytes) -> None:
    assert wire.raw("POST", EXEC, body, JSON).error[:2] == (400, "SyntaxError")


@pytest.mark.parametrize(
    ("charset", "status"), [("utf-8", 404), ("UTF-16", 404), ("iso-8859-1", 415), ("utf-nonsense", 400)]
)
def test_charsets_other_than_utf_are_415(wire: Wire, charset: str, status: int) -> None:
    text = '{"command": "true"}'
    body = text.encode("utf-16" if charset == "UTF-16" else "utf-8")
    answer = wire.raw("POST", EXEC, body, {"Content-Type": f"application/json; charset={charset}"})
    assert answer.status == status
    if status == 415:
        assert answer.error[1] == "UnsupportedMediaTypeError"


@pytest.mark.parametrize(("size", "status"), [(102_400, 404), (102_401, 413)])
def test_bodies_end_at_102400_bytes(wire: Wire, size: int, status: int) -> None:
    frame = len(b'{"command": ""}')
    body = b'{"command": "' + b"x" * (size - frame) + b'"}'
    answer = wire.raw("POST", EXEC, body, JSON)
    assert answer.status == status
    assert answer.error[1] == {404: "SandboxNotFound", 413: "PayloadTooLargeError"}[status]


def test_a_chunked_body_is_read_and_limited_too(wire: Wire) -> None:
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
        ("exec", [], "Input must be an object"),
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
def test_bodies_are_checked_in_the_platforms_words(wire: Wire, name: str, body: Any, message: str) -> None:
    assert wire.post(f"sandbox.{name}", body, id="x").error == (400, "InvalidRequest", message)


def test_objects_inside_a_body_are_checked_under_their_path(wire: Wire) -> None:
    told = wire.post("secret.addSecret", {"secret": {"sandboxId": "x", "name": "N"}}).error
    assert told == (400, "InvalidRequest", 'Input/secret must have the property "value"')


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
def test_parameters_are_checked_in_the_platforms_words(
    wire: Wire, name: str, params: dict[str, object], message: str
) -> None:
    assert wire.get(name, **params).error == (400, "InvalidRequest", message)


def test_unknown_parameters_and_keys_are_ignored(wire: Wire) -> None:
    assert wire.get("sandbox.getSandboxes", colour="red", limit=10**30).status == 200
    sandbox = wire.create(colour="red")
    assert wire.post("sandbox.exec", {"command": "true", "colour": "red"}, id=sandbox).status == 200


def test_a_whole_number_with_a_point_is_an_integer(wire: Wire) -> None:
    assert wire.post("sandbox.exposePort", {"port": 8000.0}, id=wire.create()).status == 200


@pytest.mark.parametrize("header", ["Bearer nonsense", "Bearer a.b", "Bearer ", "Basic abc", "Bearer \xff"])
@pytest.mark.parametrize("path", ["sandbox.getSandboxes", "sandbox.getSandbox?id=x", "actor.getProfile"])
def test_a_bad_token_is_a_500_even_where_no_login_is_needed(wire: Wire, header: str, path: str) -> None:
    answer = wire.raw("GET", PREFIX + path, headers={"Authorization": header})
    assert answer.error == (500, "InternalServerError", "Internal Server Error")


def test_a_token_of_another_platform_is_a_500(wire: Wire) -> None:
    with local.platform() as elsewhere:
        answer = wire.raw("GET", PREFIX + "actor.getProfile", headers={"Authorization": f"Bearer {elsewhere.token}"})
    assert answer.status == 500


def test_what_works_without_a_login(wire: Wire, stranger: Wire) -> None:
    sandbox = wire.create()
    did = wire.get("actor.getProfile").json["did"]
    assert stranger.get("sandbox.getSandboxes").json["total"] >= 1
    assert stranger.get("sandbox.getSandbox", id=sandbox).json["sandbox"]["id"] == sandbox
    assert stranger.get("actor.getActorSandboxes", did=did).json["total"] == 1
    assert stranger.get("actor.getProfile", did=did).json["did"] == did
    for name, body in (("exec", {"command": "true"}), ("startSandbox", {}), ("stopSandbox", None)):
        assert stranger.post(f"sandbox.{name}", body, id=sandbox).error[:2] == (404, "SandboxNotFound")
    assert stranger.post("sandbox.exposeVscode", id=sandbox).error[:2] == (404, "XRPCNotSupported")


def test_everything_else_without_a_login_is_401(stranger: Wire) -> None:
    told = (401, "AuthenticationRequired", "Unauthorized")
    assert stranger.get("sandbox.getExposedPorts", id="x").error == told
    assert stranger.get("secret.getSecrets").error == told
    assert stranger.get("actor.getTerminalToken").error == told
    assert stranger.post("sandbox.deleteSandbox", id="x").error == told
    assert stranger.post("sandbox.createSandbox", {"base": BASE}).error == (401, "AuthenticationError", "Unauthorized")


def test_without_a_limit_the_window_is_the_platforms_and_never_fills(wire: Wire) -> None:
    left = {wire.get("sandbox.getSandboxes", limit=1).headers["x-ratelimit-remaining"] for _ in range(20)}
    answer = wire.get("sandbox.getSandboxes", limit=1)
    assert left == {"499"}
    assert answer.headers["x-ratelimit-limit"] == "500"
    assert 28 <= int(answer.headers["x-ratelimit-reset"]) - time.time() <= 32


def test_a_rate_limit_refuses_in_prose_and_counts_what_it_refused() -> None:
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


def test_an_error_in_a_handler_is_a_500_that_hides_its_text_and_is_logged(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
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


def test_an_idle_connection_is_dropped_after_5_seconds(wire: Wire) -> None:
    assert wire.get("sandbox.getSandboxes").status == 200
    held: socket.socket = wire.connection.sock
    held.settimeout(9)
    begun = time.monotonic()
    assert held.recv(1) == b""
    assert 4.0 <= time.monotonic() - begun <= 7.0


def test_answers_are_not_delayed_by_nagles_algorithm(wire: Wire) -> None:
    wire.get("sandbox.getSandboxes")
    served = wire.platform._server.server_state.connections  # pyright: ignore[reportPrivateUsage]
    sockets = [connection.transport.get_extra_info("socket") for connection in list(served)]
    assert sockets
    assert all(held.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for held in sockets)


def test_who_hammers_at_the_limit_never_gets_out_and_who_waits_does() -> None:
    window = RateWindow(3)
    admitted = [window.admit("here", second)[0] for second in range(100)]
    assert admitted == [True] * 3 + [False] * 97
    assert window.admit("there", 99.0)[0]
    assert not window.admit("here", 99.0 + 27)[0]
    assert window.admit("here", 99.0 + 27 + 30)[0]
