"""Tools that show the locals of a traceback show neither the token nor a secret that was read from the environment."""

from __future__ import annotations

import gc
import io
import socket
import ssl
import threading
import traceback
import warnings
from collections.abc import Callable, Generator, Iterator
from typing import Any

import msgspec
import pytest
import trustme
from rich.console import Console
from rich.traceback import Traceback

from pocketenv_fp import (
    Config,
    Job,
    create,
    ephemeral,
    exec,
    exec_script,
    follow,
    from_env,
    get_sandbox,
    login,
    pocketenv,
    restart,
    run_code,
    sandbox,
    service_logs,
    sh,
    submit,
    sweep,
    upload,
    wait_for_port,
    wait_until_running,
    write_file,
)
from pocketenv_fp import config as config_module
from pocketenv_fp.config import settings
from pocketenv_fp.http import storage
from pocketenv_fp.http.xrpc import procedure, send
from pocketenv_fp.redaction import HiddenBytes, HiddenText
from tests import servers
from tests.servers import BOX, RAN, Reply, Server, reply, under

# As long as a real one, and rich shows the first 80 characters.
PART = "tok-En.For-Frames"
TOKEN = f"{PART}.{'A1b2C3d4' * 30}"
SECRET = "sk-Frames-0123456789"
KEY = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{SECRET}\n-----END OPENSSH PRIVATE KEY-----\n"


class Stopped(BaseException):
    """As KeyboardInterrupt, which pytest takes for its own."""


def stopping(place: tuple[type, str]) -> Callable[..., Any]:
    """What raises in this thread, and works as usual in the server's."""
    usual, mine = getattr(*place), threading.get_ident()

    def stop(*args: Any, **given: Any) -> Any:
        if threading.get_ident() == mine:
            raise Stopped
        return usual(*args, **given)

    return stop


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("THE_SECRET", SECRET)
    monkeypatch.setenv("POCKETENV_APP_PASSWORD", SECRET)
    servers.forget()
    yield
    servers.forget()


def texts(error: BaseException) -> str:
    """All that tools show of a traceback: the standard library's form, and the repr of each local."""
    standard = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    # The test's own frame holds what it was called with.
    reprs = [f"{name}={value!r}" for frame in frames[1:] for name, value in frame.f_locals.items()]
    return "\n".join([*standard.format(), *reprs])


def texts_of_rich(error: BaseException) -> str:
    """What rich shows: it looks into containers and cuts long strings."""
    shown = io.StringIO()
    form = Traceback.from_exception(
        type(error), error, error.__traceback__, show_locals=True, locals_max_length=50, max_frames=200
    )
    Console(file=shown, width=200).print(form)
    return shown.getvalue()


def pieces() -> Generator[bytes]:
    yield b"x" * 99


CALLS: dict[str, Callable[[Config], object]] = {
    "query": lambda config: get_sandbox("3f2a", config=config),
    "command": lambda config: exec(BOX, "make", config=config),
    "large command": lambda config: under(
        config, send, procedure("sandbox.exec", bytes, {"id": "a"}, {"command": "x" * 50_000})
    ),
    "secret": lambda config: sandbox.set_secret(BOX, "NAME", from_env("THE_SECRET"), config=config),
    "low secret": lambda config: pocketenv.add_secret("3f2a", "NAME", from_env("THE_SECRET"), config=config),
    "upload": lambda config: under(config, storage.put, pieces),
    "login": lambda config: login("alice.test", app_password=True, config=config),
}
# What a caller writes into the call itself. The tests look at the library's frames, not at the caller's.
LITERALS: dict[str, Callable[[Config], object]] = {
    "token of an operation": lambda config: exec(BOX, "make", token=TOKEN, config=config),
    "token of a step": lambda config: BOX | exec("make", token=TOKEN, config=config),
    "token of a template": lambda config: sh(BOX, "make {what}", what="all", token=TOKEN, config=config),
    "token of a function": lambda config: get_sandbox("3f2a", token=TOKEN, config=config),
    "token of an account function": lambda config: pocketenv.get_secret("3f2a", token=TOKEN, config=config),
    "token of an iterator": lambda config: next(sandbox.iter_secrets(BOX, token=TOKEN, config=config)),
    "token of an account iterator": lambda config: next(pocketenv.iter_secrets("3f2a", token=TOKEN, config=config)),
    "token of a combinator": lambda config: ephemeral(exec("make"), token=TOKEN, config=config)("my-box"),
    "token of a wait": lambda config: wait_until_running(BOX, token=TOKEN, config=config),
    "token of a copy": lambda config: upload(BOX, __file__, "x", token=TOKEN, config=config),
    "value": lambda config: sandbox.set_secret(BOX, "NAME", SECRET, config=config),
    "value of a step": lambda config: BOX | sandbox.set_secret("NAME", SECRET, config=config),
    "value by name": lambda config: sandbox.set_secret(BOX, "NAME", value=SECRET, config=config),
    "low value": lambda config: pocketenv.add_secret("3f2a", "NAME", SECRET, config=config),
    "new low value": lambda config: pocketenv.update_secret("3f2a", "NAME", SECRET, config=config),
    "content": lambda config: sandbox.set_file(BOX, ".env", SECRET, config=config),
    "low content": lambda config: pocketenv.add_file("3f2a", ".env", SECRET, config=config),
    "new low content": lambda config: pocketenv.update_file("3f2a", ".env", SECRET, config=config),
    "key": lambda config: sandbox.set_ssh_keys(BOX, KEY, "ssh-ed25519 AAAA", config=config),
    "low key": lambda config: pocketenv.put_ssh_keys("3f2a", KEY, "ssh-ed25519 AAAA", config=config),
    "auth key": lambda config: sandbox.set_tailscale_auth_key(BOX, f"tskey-auth-{SECRET}", config=config),
    "low auth key": lambda config: pocketenv.put_tailscale_auth_key("3f2a", f"tskey-auth-{SECRET}", config=config),
    "file": lambda config: write_file(BOX, ".env", SECRET, config=config),
    "file of bytes": lambda config: write_file(BOX, ".env", SECRET.encode(), config=config),
    "file of a step": lambda config: BOX | write_file(".env", SECRET, config=config),
    "file of the environment": lambda config: write_file(BOX, ".env", from_env("THE_SECRET"), config=config),
    "variable": lambda config: sandbox.set_variable(BOX, "NAME", from_env("THE_SECRET"), config=config),
    "low variable": lambda config: pocketenv.add_variable("3f2a", "NAME", from_env("THE_SECRET"), config=config),
    "new low variable": lambda config: pocketenv.update_variable("3f", "NAME", from_env("THE_SECRET"), config=config),
    "token of code": lambda config: run_code(BOX, "1", token=TOKEN, config=config),
    "token of a job": lambda config: follow(Job(BOX, "nightly"), token=TOKEN, config=config),
    "token of a restart": lambda config: restart(BOX, keep="d", token=TOKEN, config=config),
    "token of a sweep": lambda config: sweep(older_than=1, token=TOKEN, config=config),
    "token of a look": lambda config: wait_for_port(BOX, 8080, token=TOKEN, config=config),
    "token of logs": lambda config: service_logs(BOX, "web", token=TOKEN, config=config),
    "secrets": lambda config: create("my-box", secrets={"NAME": SECRET}, config=config),
    "secrets of a combinator": lambda config: ephemeral(exec("make"), secrets={"NAME": SECRET}, config=config)(
        "my-box"
    ),
    "credentials": lambda config: create(
        "my-box", provider="daytona", provider_credentials={"daytona_api_key": SECRET}, config=config
    ),
    "environment": lambda config: exec(BOX, "make", env={"NAME": from_env("THE_SECRET")}, config=config),
    "environment of a job": lambda config: submit(BOX, "make", env={"NAME": from_env("THE_SECRET")}, config=config),
    "environment of code": lambda config: exec_script(BOX, "make", env={"NAME": from_env("THE_SECRET")}, config=config),
}
PLACES: dict[str, tuple[type, str]] = {
    "connecting": (socket.socket, "connect"),
    "sending": (socket.socket, "sendall"),
    "receiving": (socket.socket, "recv_into"),
}
TLS: dict[str, tuple[type, str]] = {
    "shaking hands": (ssl.SSLSocket, "do_handshake"),
    "sending": (ssl.SSLSocket, "send"),
    "receiving": (ssl.SSLSocket, "read"),
}


def answer(request: servers.Request) -> Reply:
    return reply(b'{"secrets": [], "total": 0}' if "getSecrets" in request.path else RAN)


def stopped(call: Callable[[Config], object], config: Config, show: Callable[[BaseException], str] = texts) -> str:
    with pytest.raises(Stopped) as caught:
        call(config)
    text = show(caught.value)
    # urllib3 leaves a socket to the garbage collector where connecting is interrupted.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        traceback.clear_frames(caught.tb)
        caught.value.__traceback__ = None
        del caught
        gc.collect()
    return text


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_frame_locals_hide_token(
    call: Callable[[Config], object], place: tuple[type, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No frame of a traceback shows the token."""
    with Server(answer) as server:
        config = Config(api_url=server.url, storage_url=server.url, token=TOKEN, retries=0)
        with monkeypatch.context() as patched:
            patched.setattr(*place, stopping(place), raising=False)
            shown = stopped(call, config)
    assert PART not in shown
    assert SECRET not in shown
    # A login has no token yet: it has a password, in the body.
    assert ("_by_password" if call is CALLS["login"] else "Authorization") in shown


@pytest.mark.parametrize("call", LITERALS.values(), ids=LITERALS)
def test_frame_locals_hide_literal_secret(call: Callable[[Config], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """No frame of a traceback shows a secret that is in the call as a literal."""
    with Server(answer) as server:
        config = Config(api_url=server.url, storage_url=server.url, token="another", retries=0)
        with monkeypatch.context() as patched:
            patched.setattr(socket.socket, "recv_into", stopping(PLACES["receiving"]), raising=False)
            patched.setattr(socket.socket, "sendall", stopping(PLACES["sending"]), raising=False)
            shown = stopped(call, config)
    assert PART not in shown
    assert SECRET not in shown


WRONG: dict[str, Callable[[], object]] = {
    "token": lambda: exec(BOX, "make", token=TOKEN, timeout="9"),  # type: ignore[call-overload]
    "token of a step": lambda: exec("make", token=TOKEN, wrong=9),  # type: ignore[call-overload]
    "token of a function": lambda: pocketenv.get_secret(9, token=TOKEN),  # type: ignore[arg-type]
    "value": lambda: sandbox.set_secret("NAME", SECRET, wrong=9),  # type: ignore[call-overload]
    "value of a wrong type": lambda: sandbox.set_secret(BOX, "NAME", SECRET.encode()),  # type: ignore[call-overload]
    "value in place of several": lambda: create("my-box", secrets=SECRET),  # type: ignore[call-overload]
    "value of a combinator": lambda: ephemeral(exec("make"), secrets={"NAME": SECRET}, wrong=9),  # type: ignore[call-arg]
}


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_frame_locals_of_type_error(call: Callable[[], object]) -> None:
    """A TypeError is raised before the function runs."""
    with pytest.raises(TypeError) as caught:
        call()
    shown = texts(caught.value)
    assert PART not in shown
    assert SECRET not in shown
    assert "Hidden" not in str(caught.value)


def test_rich_shows_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(answer) as server:
        config = Config(api_url=server.url, token=TOKEN, retries=0)
        with monkeypatch.context() as patched:
            patched.setattr(socket.socket, "recv_into", stopping(PLACES["receiving"]), raising=False)
            shown = stopped(CALLS["query"], config, texts_of_rich)
    assert PART[:8] not in shown
    assert "Authorization" in shown


@pytest.mark.slow
@pytest.mark.parametrize("call", [CALLS["query"], CALLS["secret"]], ids=["query", "secret"])
@pytest.mark.parametrize("place", TLS.values(), ids=TLS)
def test_frame_locals_hide_token_over_tls(
    call: Callable[[Config], object],
    place: tuple[type, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """No frame of a TLS connection shows the token."""
    authority = trustme.CA()
    bundle = tmp_path_factory.mktemp("bundle") / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Server(answer, tls=context) as server:
        config = Config(api_url=server.url, token=TOKEN, retries=0, verify=str(bundle))
        with monkeypatch.context() as patched:
            patched.setattr(*place, stopping(place))
            shown = stopped(call, config)
    assert PART not in shown
    assert SECRET not in shown


@pytest.mark.parametrize("source", ["environment", "file", "config"])
def test_frame_locals_hide_token_from_source(
    source: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No frame shows a token from the file, the environment or the configuration."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("POCKETENV_TOKEN", raising=False)
    if source == "file":
        (home / ".pocketenv").mkdir()
        (home / ".pocketenv" / "token.json").write_bytes(msgspec.json.encode({"token": TOKEN}))
    if source == "environment":
        monkeypatch.setenv("POCKETENV_TOKEN", TOKEN)
    with Server(answer) as server:
        config = Config(api_url=server.url, storage_url=server.url, token=TOKEN if source == "config" else None)
        resolved = under(config, settings).unwrap()
        assert (str(resolved.token), type(resolved.token)) == (TOKEN, HiddenText)
        monkeypatch.setattr(config_module, "_wrong_token", stopping((object, "__init__")))
        shown = stopped(lambda config: under(msgspec.structs.replace(config, read_timeout=77), settings), config)
    assert PART not in shown


def test_hidden_text_equals_its_string() -> None:
    """HiddenText is equal to its string, and its repr hides it."""
    hidden = HiddenText(TOKEN)
    assert (hidden, hash(hidden), f"{hidden}", str(hidden)) == (TOKEN, hash(TOKEN), TOKEN, TOKEN)
    for each in (hidden, hidden[:80], hidden[0], hidden.encode(), hidden.encode()[:80], [hidden], {"x": hidden}):
        assert PART not in repr(each)
        assert PART[0] + "o" not in repr(each)
    assert hidden[3] == TOKEN[3]
    assert hidden.encode() == TOKEN.encode()
    assert type(hidden.encode()) is HiddenBytes
    assert hidden.encode()[0] == ord(TOKEN[0])


def test_hidden_text_on_the_wire() -> None:
    """A request has the plain string of a HiddenText."""
    with Server(servers.ordinary) as server:
        config = Config(api_url=server.url, token=TOKEN)
        asked = procedure("sandbox.exec", bytes, {"id": HiddenText("3f")}, {"command": HiddenText("make")})
        under(config, send, asked).unwrap()
        (seen,) = server.seen
        assert (seen.headers["authorization"], seen.body) == (f"Bearer {TOKEN}", b'{"command":"make"}')
        assert seen.path.endswith("?id=3f")
