"""Log in and out over real HTTP: the browser of these tests is a program that follows the pages as a browser does."""

from __future__ import annotations

import contextlib
import contextvars
import fcntl
import getpass
import html
import io
import json
import os
import pwd
import re
import socket
import stat
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
import requests
from returns.result import Failure, Success

from pocketenv_fp import (
    Config,
    DeadlineExceeded,
    DecodeError,
    InvalidInput,
    LoginFailed,
    LoginTimeout,
    NotLoggedIn,
    NotSupported,
    ServerError,
    TransportError,
    identity,
    local,
    login,
    logout,
    me,
    using,
    whoami,
    within,
)
from pocketenv_fp.account import logins, token_file
from pocketenv_fp.account.listener import PORT, Listener
from pocketenv_fp.redaction import HiddenText
from pocketenv_fp.runtime.deadline import limited
from tests import servers
from tests.servers import Server, client, reply

HANDLE = "alice.test"
FOLLOW = Path(__file__).with_name("browser.py")


@pytest.fixture(scope="module")
def place() -> Iterator[local.Platform]:
    with local.platform() as running:
        running.new_user(HANDLE)
        running.new_user("bob.test")
        yield running


@pytest.fixture
def here(place: local.Platform) -> Iterator[local.Platform]:
    """The platform, used without a token."""
    with using(Config(api_url=place.url)):
        yield place


@pytest.fixture
def port() -> Iterator[None]:
    """The port of the login. It is one for the machine, and tests run in several processes."""
    # Not in the temporary directory: each run of all tests has its own.
    with Path(f"/tmp/pocketenv-login-{PORT}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Set the program that is opened in place of a browser."""

    def choose(decision: str) -> None:
        monkeypatch.setenv("BROWSER", f"{sys.executable} {FOLLOW} {decision} %s")
        # The standard library reads the variable once.
        monkeypatch.setattr("webbrowser._tryorder", None)
        monkeypatch.setattr("webbrowser._browsers", dict[str, object]())

    return choose


def path() -> Path:
    return Path("~/.pocketenv/token.json").expanduser()


def drafts() -> list[str]:
    return [each.name for each in path().parent.iterdir() if each != path()]


@pytest.fixture
def password(here: local.Platform, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("POCKETENV_APP_PASSWORD", here.app_password(HANDLE))
    return here.app_password(HANDLE)


# The browser.


@pytest.mark.usefixtures("port", "here")
def test_login_in_the_browser(browser: Callable[[str], None], capfd: pytest.CaptureFixture[str]) -> None:
    """The address is opened, the page sends the token, and later calls use it."""
    browser("allow")
    profile = login(HANDLE, timeout=60).unwrap()
    assert profile.handle == HANDLE
    assert whoami() == Success(profile)
    assert "/oauth/authorize?" in capfd.readouterr().err
    assert stat.S_IMODE(path().stat().st_mode) == 0o600
    assert stat.S_IMODE(path().parent.stat().st_mode) == 0o700
    assert drafts() == []


@pytest.mark.usefixtures("port", "here")
def test_login_ignores_case_and_at_sign(browser: Callable[[str], None]) -> None:
    browser("allow")
    assert login(f"@{HANDLE.upper()}", timeout=60).unwrap().handle == HANDLE


@pytest.mark.usefixtures("port", "here")
def test_login_denied(browser: Callable[[str], None]) -> None:
    """The platform says nothing to this machine then."""
    browser("deny")
    assert login(HANDLE, timeout=1) == Failure(LoginTimeout(1))
    assert not path().exists()


@pytest.mark.usefixtures("port", "here")
def test_login_without_browser(capfd: pytest.CaptureFixture[str]) -> None:
    """A browser of another kind, here a thread, gets the printed address."""
    results: list[object] = []
    context = contextvars.copy_context()
    working = threading.Thread(target=lambda: results.append(context.run(login, HANDLE, browser=False, timeout=60)))
    working.start()
    shown = ""
    while not (address := re.search(r"http\S+", shown)):
        time.sleep(0.01)
        shown += capfd.readouterr().err
    follow(address[0])
    working.join(60)
    assert isinstance(results[0], Success)


def follow(address: str) -> requests.Response:
    """Press Allow, and do what the script of the last page does."""
    with requests.Session() as session:
        page = session.get(address, timeout=60).text
        request = html.unescape((re.search(r'name="request_uri" value="([^"]+)"', page) or [""])[1])
        target = urljoin(address, "/oauth/authorize")
        end = session.post(target, {"request_uri": request, "decision": "allow"}, timeout=60).url
        did = parse_qs(urlsplit(end).query)["did"][0]
        token = session.get(urljoin(end, "/token"), headers={"session-did": did}, timeout=60).json()["token"]
        return session.post(f"http://localhost:{PORT}/token", json={"token": token}, timeout=60)


@pytest.mark.usefixtures("port")
def test_login_other_account(here: local.Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """A web page may send its own token to the port. It is not stored."""
    foreign = here.new_user("bob.test")

    def attack(_address: str, **_: object) -> None:
        assert send(json.dumps({"token": foreign}).encode()).status_code == 200

    monkeypatch.setattr(logins, "_show", attack)
    error = login(HANDLE, timeout=60).failure()
    assert error == LoginFailed("the token belongs to bob.test, and not to alice.test")
    assert not path().exists()


@pytest.mark.usefixtures("port", "here")
def test_login_invalid_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """An invalid token is a failure and is not stored."""

    def show(_address: str, **_: object) -> None:
        send(b'{"token": "none.of.theirs"}')

    monkeypatch.setattr(logins, "_show", show)
    assert isinstance(login(HANDLE, timeout=60).failure(), ServerError)
    assert not path().exists()


@pytest.mark.usefixtures("port", "here")
def test_login_deadline() -> None:
    """A deadline ends the login."""
    waiting = identity.map(lambda _: login(HANDLE, browser=False, timeout=60))
    inner = within(1, waiting)(3).unwrap()
    assert isinstance(inner.failure(), DeadlineExceeded)


@pytest.mark.usefixtures("port", "here")
def test_login_waits_until_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The login waits no longer than its deadline."""
    waits: list[float] = []

    def waited(_: Listener, seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(Listener, "wait", waited)
    within(60, identity.map(lambda _: login(HANDLE, browser=False, timeout=3600)))(3).unwrap()
    login(HANDLE, browser=False, timeout=70)
    assert waits[0] <= 60
    assert waits[1] == 70


@pytest.mark.usefixtures("port", "here", "password")
def test_login_after_deadline(place: local.Platform) -> None:
    """No login begins, and no password is sent."""
    before = len(place.calls)
    with limited(0.0):
        for app_password in (False, True):
            error = login(HANDLE, browser=False, app_password=app_password).failure()
            assert isinstance(error, DeadlineExceeded)
            assert not error.maybe_sent
    assert len(place.calls) == before


def test_login_profile_in_capitals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POCKETENV_APP_PASSWORD", "wrong-wrong-wrong")
    known = {"id": "rec_a", "did": "did:plc:a", "handle": "Alice.Test", "avatar": None}
    dates = {"createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z"}
    profile = reply(json.dumps({**known, **dates}).encode())
    with Server(lambda request: reply(b"jwt:a.b.c") if request.path == "/login" else profile) as server:
        config = client(server.url)
        assert login("alice.test", app_password=True, config=config).map(lambda who: who.did) == Success("did:plc:a")


@pytest.mark.usefixtures("port", "here")
def test_login_port_in_use() -> None:
    """A port in use is a failure that names the port."""
    with socket.create_server(("127.0.0.1", PORT)):
        error = login(HANDLE, browser=False, timeout=1).failure()
    assert isinstance(error, LoginFailed)
    assert "port 6997" in error.reason


@pytest.mark.parametrize(("name", "is_opened"), [("lynx", False), ("w3m", False), ("firefox", True)])
def test_login_text_browser(monkeypatch: pytest.MonkeyPatch, name: str, is_opened: bool) -> None:  # noqa: FBT001
    """Such a browser would take over the terminal, and runs no script."""
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.get", lambda: SimpleNamespace(name=name))
    monkeypatch.setattr("webbrowser.open", opened.append)
    logins._show("https://pocketenv.example/", browser=True)  # pyright: ignore[reportPrivateUsage]
    assert opened == (["https://pocketenv.example/"] if is_opened else [])


def test_login_no_browser_at_all(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without any browser, the address is printed."""

    def none() -> None:
        raise webbrowser.Error

    monkeypatch.setattr("webbrowser.get", none)
    logins._show("https://pocketenv.example/", browser=True)  # pyright: ignore[reportPrivateUsage]
    assert "https://pocketenv.example/" in capsys.readouterr().err


# The port of the browser.


def send(body: bytes, method: str = "POST", where: str = "/token", **headers: str) -> requests.Response:
    headers = {"Content-Type": "application/json", **headers}
    return requests.request(method, f"http://localhost:{PORT}{where}", data=body, headers=headers, timeout=60)


@pytest.mark.usefixtures("port")
def test_listener_one_token() -> None:
    """The listener accepts one token."""
    with Listener() as listener:
        answer = send(b'{"token": "a.b.c"}', Origin="https://pocketenv.example")
        assert (answer.status_code, answer.json()) == (200, {"ok": 1})
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        token = listener.wait(60)
        assert (token, repr(token)) == ("a.b.c", "'***'")


@pytest.mark.usefixtures("port")
def test_listener_cors() -> None:
    """Browsers ask first, because the page has another origin and the port is of this machine."""
    asked = {"Origin": "https://pocketenv.example", "Access-Control-Request-Method": "POST"}
    with Listener():
        answer = send(b"", "OPTIONS", **asked)
        assert answer.status_code == 204
        assert answer.headers["Access-Control-Allow-Headers"] == "Content-Type"
        assert answer.headers["Access-Control-Allow-Private-Network"] == "true"


@pytest.mark.usefixtures("port")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[",
        b'{"token": 7}',
        b'{"token": ""}',
        b'{"token": "a b"}',
        b'{"token": "\xff"}',
        b'{"token": "%b"}' % (b"x" * 70_000),
    ],
)
def test_listener_invalid_token(body: bytes) -> None:
    """The listener ignores an invalid token."""
    with Listener() as listener:
        with contextlib.suppress(requests.ConnectionError):
            assert send(body).status_code == 400
        assert listener.wait(0.05) is None
        send(b'{"token": "right"}')
        assert listener.wait(60) == "right"


@pytest.mark.usefixtures("port")
def test_listener_other_hosts_and_paths() -> None:
    """The listener refuses requests with another host, path or method."""
    with Listener() as listener:
        assert send(b'{"token": "x"}', Host="evil.test").status_code == 403
        assert send(b'{"token": "x"}', where="/other").status_code == 404
        assert send(b"", "GET").status_code == 501
        assert listener.wait(0.05) is None


@pytest.mark.usefixtures("port")
def test_listener_silent_client() -> None:
    """A silent client does not block the listener."""
    with Listener() as listener, socket.create_connection(("127.0.0.1", PORT)):
        send(b'{"token": "x"}')
        assert listener.wait(60) == "x"


@pytest.mark.usefixtures("port")
def test_listener_loopback_only() -> None:
    """A server on every address would accept 127.0.0.2 too."""
    with Listener(), pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", PORT), 5)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", PORT))


@pytest.mark.usefixtures("port")
def test_listener_prints_nothing(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither a request nor a broken one."""

    def broken(_: object) -> None:
        raise ConnectionResetError

    with Listener():
        assert send(b'{"token": "right"}').status_code == 200
        monkeypatch.setattr("pocketenv_fp.account.listener._Handler._token", broken)
        with pytest.raises(requests.ConnectionError):
            send(b'{"token": "right"}')
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
@pytest.mark.usefixtures("port")
def test_listener_both_localhost_addresses() -> None:
    """A browser may try ::1 first: another program there would get the token."""
    other = socket.create_server(("::1", PORT), family=socket.AF_INET6)
    with other, pytest.raises(OSError, match="in use"), Listener():
        pass
    with Listener():
        pass


# The app password.


@pytest.mark.usefixtures("password")
def test_login_app_password(here: local.Platform, capfd: pytest.CaptureFixture[str]) -> None:
    """A login with an app password stores a token."""
    profile = login(HANDLE, app_password=True).unwrap()
    assert profile.handle == HANDLE
    assert whoami() == me() == Success(profile)
    assert capfd.readouterr() == ("", "")
    text = path().read_text()
    # As JSON.stringify writes it with two spaces.
    assert re.fullmatch(r'\{\n  "token": "[\w.-]+"\n\}', text)
    assert json.loads(text)["token"] != here.token


@pytest.mark.usefixtures("here")
def test_login_app_password_prompt(here: local.Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """The app password is asked for in the terminal."""
    asked: list[str] = []

    def answer(prompt: str) -> str:
        asked.append(prompt)
        return here.app_password(HANDLE)

    monkeypatch.setattr(getpass, "getpass", answer)
    assert login(HANDLE, app_password=True).unwrap().handle == HANDLE
    assert asked == [f"App password of {HANDLE}: "]
    monkeypatch.setattr(getpass, "getpass", empty)
    assert login(HANDLE, app_password=True) == Failure(InvalidInput("app_password", "is empty"))


def empty(_prompt: str) -> str:
    return ""


@pytest.mark.usefixtures("here")
def test_login_without_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The password is not read from a pipe, which would show it."""
    monkeypatch.setattr("os.open", refuse)
    monkeypatch.setattr(sys, "stdin", io.StringIO("typed\n"))
    error = login(HANDLE, app_password=True).failure()
    assert isinstance(error, InvalidInput)
    assert "POCKETENV_APP_PASSWORD" in error.reason


def refuse(*given: object, opened: Callable[..., int] = os.open, **named: object) -> int:
    if given[0] == "/dev/tty":
        raise OSError
    return opened(*given, **named)


@pytest.mark.usefixtures("here")
def test_login_wrong_app_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POCKETENV_APP_PASSWORD", "wrong-wrong-wrong")
    error = login(HANDLE, app_password=True).failure()
    assert isinstance(error, LoginFailed)
    assert "wrong app password" in error.reason
    assert "wrong-wrong-wrong" not in str(error)
    assert not path().exists()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("handle", ["alice", "a b.test", "-a.test", "alice.test.", "did:plc:abc", f"{'a.' * 130}test"])
def test_login_invalid_handle(place: local.Platform, handle: str) -> None:
    """An invalid handle is refused before a request."""
    before = len(place.calls)
    error = login(handle, browser=False, timeout=1).failure()
    assert isinstance(error, InvalidInput)
    assert error.field == "handle"
    assert len(place.calls) == before


@pytest.mark.usefixtures("here", "port")
@pytest.mark.parametrize("app_password", [True, False])
def test_login_unknown_handle(monkeypatch: pytest.MonkeyPatch, app_password: bool) -> None:  # noqa: FBT001
    monkeypatch.setenv("POCKETENV_APP_PASSWORD", "x")
    error = login("nobody.test", app_password=app_password, browser=False, timeout=60).failure()
    assert isinstance(error, LoginFailed)
    assert "an unknown handle" in error.reason


@pytest.mark.parametrize("body", [b"", b"jwt:", b"a.b.c", b"jwt:a b", b"jwt:\xff", b'{"token": "x"}', b"<html>"])
def test_login_odd_answer_to_app_password(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    """An answer without a token is a DecodeError."""
    monkeypatch.setenv("POCKETENV_APP_PASSWORD", "x")
    with Server(servers.always(reply(body))) as server:
        error = login(HANDLE, app_password=True, config=client(server.url)).failure()
    assert isinstance(error, DecodeError)
    assert "response" in str(error)
    assert not path().exists()


@pytest.mark.usefixtures("port")
@pytest.mark.parametrize(
    "body", [b"", b"file:///etc/passwd", b"http://evil.test/", b"javascript:1", b"http://[", b"a b"]
)
def test_login_address_scheme(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    """Only web addresses are opened."""
    opened: list[str] = []

    def show(address: str, **_: object) -> None:
        opened.append(address)

    monkeypatch.setattr(logins, "_show", show)
    with Server(servers.always(reply(body))) as server:
        assert isinstance(login(HANDLE, timeout=1, config=client(server.url)).failure(), DecodeError)
    assert opened == []


def test_login_not_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second request would begin a second login."""
    monkeypatch.setenv("POCKETENV_APP_PASSWORD", "x")
    for status, kind in ((500, LoginFailed), (502, ServerError), (503, ServerError)):
        with Server(servers.always(reply(b"<html>", status))) as server:
            error = login(HANDLE, app_password=True, config=client(server.url, retries=3)).failure()
            assert isinstance(error, kind)
            assert len(server.seen) == 1
            assert "authorization" not in server.seen[0].headers


def test_login_platform_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform that cannot be reached is a TransportError."""
    monkeypatch.setenv("POCKETENV_APP_PASSWORD", "x")
    config = client(f"http://127.0.0.1:{servers.free_port()}")
    assert isinstance(login(HANDLE, app_password=True, config=config).failure(), TransportError)


def test_login_plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """No password is sent over plain HTTP."""
    monkeypatch.setenv("POCKETENV_APP_PASSWORD", "x")
    error = login(HANDLE, app_password=True, config=Config(api_url="http://pocketenv.example")).failure()
    assert isinstance(error, InvalidInput)
    assert error.field == "api_url"


def test_login_embedded_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its token would replace the token of the real platform."""
    monkeypatch.setenv("POCKETENV_API_URL", "local")
    assert isinstance(login(HANDLE).failure(), NotSupported)
    monkeypatch.setenv("POCKETENV_API_URL", "https://pocketenv.example")
    assert isinstance(login(HANDLE, config=Config(api_url="local")).failure(), NotSupported)


# The token file.


@pytest.mark.usefixtures("password")
@pytest.mark.parametrize("content", ["not JSON", "{}", '{"token": "two words"}'])
def test_login_broken_token_file(content: str) -> None:
    """A broken token file is replaced."""
    path().parent.mkdir(parents=True)
    path().write_text(content)
    path().chmod(0o644)
    assert isinstance(whoami().failure(), InvalidInput)
    assert login(HANDLE, app_password=True).unwrap() == whoami().unwrap()
    assert stat.S_IMODE(path().stat().st_mode) == 0o600


@pytest.mark.usefixtures("password")
def test_login_token_file_link(tmp_path: Path) -> None:
    """A token file may be a link into a folder of settings."""
    path().parent.mkdir(parents=True)
    target = tmp_path / "settings" / "token.json"
    path().symlink_to(target)
    assert isinstance(login(HANDLE, app_password=True), Success)
    assert path().is_symlink()
    assert target.exists()


@pytest.mark.usefixtures("password")
@pytest.mark.parametrize("app_password", [False, True])
def test_login_without_home(monkeypatch: pytest.MonkeyPatch, app_password: bool) -> None:  # noqa: FBT001
    """A user id of a container may have no home directory."""

    def unknown(_: int) -> None:
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    error = login(HANDLE, app_password=app_password).failure()
    assert isinstance(error, LoginFailed)
    assert "no home directory: set HOME" in str(error)
    assert logout().unwrap() is False


def test_login_folder_as_file(place: local.Platform) -> None:
    """No request is sent for a login that could not be stored."""
    path().parent.parent.mkdir(parents=True)
    path().parent.write_text("")
    before = len(place.calls)
    error = login(HANDLE, app_password=True).failure()
    assert isinstance(error, LoginFailed)
    assert "token.json cannot be written" in error.reason
    assert len(place.calls) == before


@pytest.mark.usefixtures("password")
def test_login_keeps_old_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A login that cannot be stored keeps the old token."""
    token_file.write(HiddenText("old"))

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    error = login(HANDLE, app_password=True).failure()
    assert isinstance(error, LoginFailed)
    assert "No space left" in error.reason
    assert json.loads(path().read_text()) == {"token": "old"}
    assert drafts() == []


@pytest.mark.usefixtures("password")
def test_logout_removes_the_token() -> None:
    assert logout().unwrap() is False
    login(HANDLE, app_password=True).unwrap()
    assert logout().unwrap() is True
    assert whoami() == Failure(NotLoggedIn())
    assert "python -m pocketenv_fp login HANDLE" in str(whoami().failure())


def test_logout_fails() -> None:
    """A token file that cannot be removed is a failure."""
    path().mkdir(parents=True)
    error = logout().failure()
    assert isinstance(error, LoginFailed)
    assert "cannot be removed" in error.reason
