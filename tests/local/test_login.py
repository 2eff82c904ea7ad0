"""The login of the embedded platform: the browser's way, and the way with an app password."""

from __future__ import annotations

import html
import json
import re
import sqlite3
import time
from collections.abc import Iterator
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from pocketenv_fp import local
from pocketenv_fp.local import actors, app
from tests.local.wire import Answer, Wire

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
HANDLE = "alice.test"


@pytest.fixture(scope="module")
def place() -> Iterator[local.Platform]:
    with local.platform() as running:
        running.new_user(HANDLE)
        yield running


@pytest.fixture
def browser(place: local.Platform) -> Iterator[Wire]:
    with Wire(place, None) as wire:
        yield wire


def post(wire: Wire, **body: object) -> Answer:
    return wire.raw("POST", "/login", json.dumps(body).encode(), JSON)


def path(address: str) -> str:
    """An address without its scheme and host."""
    parts = urlsplit(address)
    return f"{parts.path}?{parts.query}"


def consent(wire: Wire, address: str, decision: str) -> Answer:
    """Open the page of consent, and press one of its buttons."""
    page = wire.raw("GET", path(address)).raw.decode()
    request = html.unescape((re.search(r'name="request_uri" value="([^"]+)"', page) or [""])[1])
    form = urlencode({"request_uri": request, "decision": decision}).encode()
    return wire.raw("POST", "/oauth/authorize", form, FORM)


def logged_in(wire: Wire, address: str) -> dict[str, str]:
    """Allow the login. Return the query of the page on which it ends."""
    callback = consent(wire, address, "allow").headers["location"]
    answer = wire.raw("GET", path(callback))
    assert answer.status == 302
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}


def test_login_of_a_command_line(place: local.Platform, browser: Wire) -> None:
    """The address has `authorize` in it, and ends in a token that can be read once."""
    answer = post(browser, handle=HANDLE, cli=True)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    address = answer.raw.decode()
    assert "authorize" in address
    assert address.startswith(f"{place.url}/oauth/authorize?")
    end = logged_in(browser, address)
    assert end["cli"] == "1"
    headers = {"session-did": end["did"]}
    token = browser.raw("GET", "/token", headers=headers).json["token"]
    with Wire(place, token) as alice:
        assert alice.get("actor.getProfile").json["handle"] == HANDLE
    assert browser.raw("GET", "/token", headers=headers)[::2] == (401, b"Unauthorized")


def test_login_without_cli(browser: Wire) -> None:
    """Without `cli` the last address of the login has `cli=undefined`."""
    assert logged_in(browser, post(browser, handle=HANDLE).raw.decode())["cli"] == "undefined"
    answer = browser.raw("GET", f"/login?handle={HANDLE}")
    assert answer.status == 302
    assert logged_in(browser, answer.headers["location"])["cli"] == "undefined"


def test_login_last_page_without_token(browser: Wire) -> None:
    """The page gets the token with a request of its own."""
    answer = browser.raw("GET", "/projects?did=did:plc:x&cli=1")
    assert answer.status == 200
    assert b"localhost:6997/token" in answer.raw
    assert b"did:plc:x" not in answer.raw


def test_login_denied(place: local.Platform, browser: Wire) -> None:
    answer = consent(browser, post(browser, handle=HANDLE, cli=True).raw.decode(), "deny")
    assert "error=access_denied" in answer.headers["location"]
    answer = browser.raw("GET", path(answer.headers["location"]))
    assert (answer.status, answer.headers["location"]) == (302, f"{place.url}?error=1")


def test_login_code_once_with_state(place: local.Platform, browser: Wire) -> None:
    """A code is valid once, with its state."""
    first = consent(browser, post(browser, handle=HANDLE).raw.decode(), "allow").headers["location"]
    code = parse_qs(urlsplit(first).query)["code"][0]
    assert browser.raw("GET", f"/oauth/callback?code={code}&state=x").headers["location"] == f"{place.url}?error=1"
    other = consent(browser, post(browser, handle=HANDLE).raw.decode(), "allow").headers["location"]
    code = parse_qs(urlsplit(other).query)["code"][0]
    odd = browser.raw("GET", f"/oauth/callback?code={code}&state=%C3%A9%ff")
    assert (odd.status, odd.headers["location"]) == (302, f"{place.url}?error=1")
    assert browser.raw("GET", path(first)).headers["location"] == f"{place.url}?error=1"


def test_login_broken_store(browser: Wire, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A machine without descriptors fails every request. The log does not grow with each."""

    def broken(*_: object) -> None:
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(actors, "by_identifier", broken)
    monkeypatch.setattr(app, "LOG_SECONDS", 3600.0)
    for _ in range(3):
        answer = browser.raw("GET", f"/login?handle={HANDLE}")
        assert (answer.status, answer.headers["content-type"]) == (500, "text/html; charset=utf-8")
    assert [record.name for record in caplog.records] == ["pocketenv_fp.local"]


def test_login_consent_once(browser: Wire) -> None:
    """The page of the consent is valid once."""
    address = post(browser, handle=HANDLE).raw.decode()
    page = browser.raw("GET", path(address)).raw.decode()
    assert HANDLE in page
    # With "no-referrer" a browser sends the origin of the form as null, and the platform refuses it.
    assert 'name="referrer" content="same-origin"' in page
    consent(browser, address, "deny")
    assert browser.raw("GET", path(address)).status == 400
    assert browser.raw("POST", "/oauth/authorize", b"request_uri=none&decision=allow", FORM).status == 400
    assert browser.raw("POST", "/oauth/authorize", b"x" * 20_000, FORM).status == 400


def test_login_app_password(place: local.Platform, browser: Wire) -> None:
    password = place.app_password(HANDLE)
    assert re.fullmatch(r"([a-z2-7]{4}-){3}[a-z2-7]{4}", password)
    answer = post(browser, handle=HANDLE, password=password)
    kind, _, token = answer.raw.decode().partition(":")
    assert (answer.status, kind) == (200, "jwt")
    claims = place._world.vault.claims(token)  # pyright: ignore[reportPrivateUsage]
    assert claims is not None
    assert abs(claims["exp"] - time.time() - 7 * 24 * 3600) < 60
    with Wire(place, token) as alice:
        assert alice.get("actor.getProfile").json["handle"] == HANDLE


def test_login_app_password_of_another(place: local.Platform, browser: Wire) -> None:
    other = place.app_password("you.localhost")
    for password in (other, "", "é", 7):
        answer = post(browser, handle=HANDLE, password=password)
        assert b"jwt:" not in answer.raw
        assert answer.status == (500 if password else 200)
    assert b"Invalid identifier or password" in post(browser, handle=HANDLE, password=other).raw
    with pytest.raises(ValueError, match=r"nobody\.test"):
        place.app_password("nobody.test")


@pytest.mark.parametrize("handle", ["", "nope", "not a handle", "a.b..c", 7, None, f"{'a' * 250}.test"])
def test_login_invalid_handle(browser: Wire, handle: object) -> None:
    assert post(browser, handle=handle)[::2] == (400, b"Invalid handle")


def test_login_unknown_handle(browser: Wire) -> None:
    for body in ({"cli": True}, {"password": "x"}):
        answer = post(browser, handle="nobody.test", **body)
        assert answer.status == 500
        assert answer.raw.startswith(b"<!DOCTYPE html>")
        assert b"nobody.test" in answer.raw


@pytest.mark.parametrize("body", [b"", b"[", b'"x"', b"[]"])
def test_login_odd_body(browser: Wire, body: bytes) -> None:
    assert browser.raw("POST", "/login", body, JSON).status in {400, 500}


@pytest.mark.parametrize("origin", ["https://evil.test", "null"])
def test_login_of_another_web_site(browser: Wire, origin: str) -> None:
    """A script of a web site can neither begin a login, nor consent, nor read a token."""
    headers = {"Origin": origin}
    body = json.dumps({"handle": HANDLE, "cli": True}).encode()
    assert browser.raw("POST", "/login", body, {**JSON, **headers}).status == 403
    did = logged_in(browser, post(browser, handle=HANDLE, cli=True).raw.decode())["did"]
    assert browser.raw("GET", "/token", headers={**headers, "session-did": did}).status == 403
    assert browser.raw("GET", "/token", headers={"session-did": did}).status == 200
    address = post(browser, handle=HANDLE).raw.decode()
    form = urlencode({"request_uri": parse_qs(urlsplit(address).query)["request_uri"][0], "decision": "allow"})
    assert browser.raw("POST", "/oauth/authorize", form.encode(), {**FORM, **headers}).status == 403


def test_login_hides_token_in_lists(place: local.Platform, browser: Wire) -> None:
    """The list of requests shows neither the token nor the password."""
    password = place.app_password(HANDLE)
    token = post(browser, handle=HANDLE, password=password).raw.decode()[4:]
    shown = f"{list(place.calls)} {list(place._app.recent)} {browser.raw('GET', '/').raw.decode()}"  # pyright: ignore[reportPrivateUsage]
    assert token not in shown
    assert password not in shown


def test_login_forgets_old_ones(browser: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit of pending logins the oldest one is dropped."""
    monkeypatch.setattr("pocketenv_fp.local.login.MOST_PENDING", 2)
    first, second, third = (post(browser, handle=HANDLE).raw.decode() for _ in range(3))
    assert [browser.raw("GET", path(each)).status for each in (first, second, third)] == [400, 200, 200]


def test_login_denied_in_words(browser: Wire) -> None:
    """The page after Deny says so, and the same page without the mark does not."""
    answer = consent(browser, post(browser, handle=HANDLE, cli=True).raw.decode(), "deny")
    answer = browser.raw("GET", path(answer.headers["location"]))
    page = browser.raw("GET", "/?" + urlsplit(answer.headers["location"]).query)
    assert b"The login was denied" in page.raw
    assert b"The login was denied" not in browser.raw("GET", "/").raw
