"""Settings: where they come from, in which order, and what is refused, as people and programs really write it."""

from __future__ import annotations

import json
import math
import os
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from returns.result import Success
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from pocketenv_fp import (
    Config,
    InvalidInput,
    NotLoggedIn,
    create,
    get_profile,
    get_sandbox,
    list_sandboxes,
    list_sandboxes_by_actor,
    local,
    me,
    pocketenv,
    sandbox,
    using,
)
from pocketenv_fp.config import Settings, in_use, logged_in, settings
from pocketenv_fp.validation import is_loopback
from tests.servers import BOX, Server, reply, under


def token_file(text: str) -> Path:
    path = Path(os.environ["HOME"]) / ".pocketenv" / "token.json"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    return path


def found(config: Config | None = None, token: str | None = None) -> Settings:
    return logged_in(settings, (), {"config": config, "token": token}).unwrap()


def refused(config: Config | None = None, token: str | None = None) -> str:
    error = logged_in(settings, (), {"config": config, "token": token}).failure()
    assert isinstance(error, InvalidInput)
    return error.field


def test_settings_defaults() -> None:
    """The defaults are the addresses and the key of the real platform."""
    assert found() == Settings(
        api_url="https://api.pocketenv.io",
        storage_url="https://sandbox.pocketenv.io",
        public_key="2bf96e12d109e6948046a7803ef1696e12c11f04f20a6ce64dbd4bcd93db9341",
    )


def test_settings_token_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first source of a token wins: call, config, block, environment, file."""
    token_file(json.dumps({"token": "from-file"}))
    assert found().token == "from-file"
    monkeypatch.setenv("POCKETENV_TOKEN", "from-environment")
    assert found().token == "from-environment"
    with using(Config(token="from-outer")):
        assert found().token == "from-outer"
        with using(Config(token="from-using")):
            assert found().token == "from-using"
            assert found(Config(token="from-config")).token == "from-config"
            assert found(Config(token="from-config"), "from-call").token == "from-call"
        assert found().token == "from-outer"
    assert found().token == "from-environment"


def test_settings_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each variable is read, and a config wins over it."""
    monkeypatch.setenv("POCKETENV_API_URL", "https://api.example/base/")
    monkeypatch.setenv("POCKETENV_STORAGE_URL", "https://storage.example/")
    monkeypatch.setenv("POCKETENV_PUBLIC_KEY", "ab" * 32)
    seen = found()
    assert (seen.api_url, seen.storage_url) == ("https://api.example/base", "https://storage.example")
    assert seen.public_key == "ab" * 32
    mine = found(Config(api_url="https://other.example", public_key="cd" * 32, read_timeout=3, retries=0))
    assert (mine.api_url, mine.storage_url) == ("https://other.example", "https://storage.example")
    assert (mine.public_key, mine.read_timeout, mine.connect_timeout, mine.retries) == ("cd" * 32, 3, 10, 0)


def test_using_url_order() -> None:
    """The URL and the token of the innermost block win, each for itself."""
    with using(Config(api_url="https://outer.example", token="outer")):
        with using(Config(api_url="https://inner.example")):
            assert (found().api_url, found().token) == ("https://inner.example", "outer")
        with using(Config(token="inner")):
            assert (found().api_url, found().token) == ("https://outer.example", "inner")


def test_using_other_thread() -> None:
    """A `using` block has no effect in another thread."""
    seen: list[str | None] = []
    with using(Config(token="mine")):
        thread = threading.Thread(target=lambda: seen.append(found().token))
        thread.start()
        thread.join()
    assert seen == [None]


@pytest.mark.parametrize("text", ["", "{}", "[]", "token", '{"token": 3}', '{"token": null}', "\0"])
def test_token_file_malformed(text: str) -> None:
    """A token file in a wrong format is a failure that names the token."""
    token_file(text)
    assert refused() == "token"


def test_token_file_unreadable() -> None:
    """A token file that cannot be read is a failure that names the token."""
    (Path(os.environ["HOME"]) / ".pocketenv" / "token.json").mkdir(parents=True)
    assert refused() == "token"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.pocketenv.io",
        "ftp://x",
        "https://",
        "https://x:port",
        "https://me:pass@x",
        "https://x?a=b",
        "http://[::1",
    ],
)
def test_config_invalid_url(url: str) -> None:
    """An invalid URL is a failure that names its field."""
    assert refused(Config(api_url=url)) == "api_url"
    assert refused(Config(storage_url=url)) == "storage_url"


@pytest.mark.parametrize("host", ["example.org", "127.0.0.1.example.org", "127.evil.example", "10.0.0.1", "0.0.0.0"])
def test_config_token_over_plain_http(host: str) -> None:
    """A token is not sent over plain HTTP to another machine."""
    assert refused(Config(api_url=f"http://{host}"), "a-token") == "api_url"
    assert refused(Config(storage_url=f"http://{host}"), "a-token") == "storage_url"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.10", "::1"])
def test_is_loopback_names(host: str) -> None:
    """The names and addresses of this machine are recognized."""
    assert is_loopback(host)


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "tökén", "\x00", ""])
def test_config_token_invalid_header(token: str) -> None:
    """A token that no header can hold is refused, and the error does not quote it."""
    error = under(Config(token=token), settings).failure()
    assert isinstance(error, InvalidInput)
    assert error.field == "token"
    assert not token or token not in str(error)


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (Config(read_timeout=0), "read_timeout"),
        (Config(connect_timeout=-1), "connect_timeout"),
        (Config(read_timeout=float("nan")), "read_timeout"),
        (Config(retries=-1), "retries"),
        (Config(public_key=""), "public_key"),
        (Config(verify=""), "verify"),
    ],
)
def test_config_invalid_value(config: Config, field: str) -> None:
    """An invalid value is a failure that names its field, at the first use."""
    assert refused(config) == field
    assert list_sandboxes(config=config).failure() == under(config, settings).failure()


def test_config_wrong_type() -> None:
    """A value of a wrong type raises in the constructor."""
    with pytest.raises(TypeError, match="read_timeout"):
        Config(read_timeout="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="token"):
        Config(token=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_config_hides_the_token() -> None:
    """The repr masks the token, and a config with a token is not pickled."""
    config = Config(token="top-secret", api_url="https://me:top-secret@x")
    assert "top-secret" not in f"{config}{config!r}{found(token='top-secret')}{config.__rich_repr__()}"
    for holder in (config, found(token="top-secret")):
        with pytest.raises(pickle.PicklingError) as refusal:
            pickle.dumps(holder)
        assert "top-secret" not in str(refusal.value)
    assert pickle.loads(pickle.dumps(Config(read_timeout=3))) == Config(read_timeout=3)


def test_settings_local_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded platform gets its own token, never the one of the environment."""
    monkeypatch.setenv("POCKETENV_API_URL", "local")
    monkeypatch.setenv("POCKETENV_TOKEN", "the-real-platforms-token")
    monkeypatch.setenv("POCKETENV_STORAGE_URL", "https://storage.example")
    seen, shared = found(), local.shared()
    assert (seen.api_url, seen.storage_url, seen.token) == (shared.url, shared.storage_url, shared.token)
    assert me().unwrap().handle.endswith("localhost")
    other = shared.new_user("other.test")
    assert me(token=other).map(lambda profile: profile.handle) == Success("other.test")


def test_call_without_a_token(platform: local.Platform) -> None:
    """Without a token, only the four public queries are sent."""
    nobody = Config(api_url=platform.url)
    before = len(platform.calls)
    for refusal in (create("x", config=nobody), me(config=nobody), pocketenv.list_secrets("x", config=nobody)):
        assert refusal.failure() == NotLoggedIn()
    assert len(platform.calls) == before
    assert list_sandboxes(config=nobody).unwrap().total > 0
    assert get_sandbox("no-such-box", config=nobody) == Success(None)
    assert list_sandboxes_by_actor("did:plc:nobody", config=nobody).unwrap().total == 0
    get_profile("nobody.example", config=nobody)
    assert len(platform.calls) == before + 4


def test_token_file_other_keys() -> None:
    """A token file may have other keys."""
    token_file(json.dumps({"token": "mine", "expiresAt": 1_800_000_000, "user": {"handle": "a.test"}}))
    assert settings().unwrap().token == "mine"


@pytest.mark.parametrize("text", ['{"token": ""}', '{"x": ' + "[" * 60_000, '{"token": "a b"}', '{"token": "a\\n"}'])
def test_token_file_unusable_token(text: str) -> None:
    """A token file without a usable token is a failure that names the token."""
    token_file(text)
    error = settings().failure()
    assert isinstance(error, InvalidInput)
    assert error.field == "token"


def test_token_file_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The token file is not read if a config or the environment has a token."""
    token_file("not json")
    assert under(Config(token="mine"), settings).unwrap().token == "mine"
    assert isinstance(under(Config(read_timeout=5), settings).failure(), InvalidInput)
    for configs in (Config(token="mine"), Config()), (Config(), Config(token="mine")):
        with using(configs[0]), using(configs[1]):
            assert settings().unwrap().token == "mine"
    monkeypatch.setenv("POCKETENV_TOKEN", "mine")
    assert settings().unwrap().token == "mine"


def test_settings_new_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new token in the file or the environment is used from the next call on."""
    token_file('{"token": "first"}')
    assert settings().unwrap().token == "first"
    (Path(os.environ["HOME"]) / ".pocketenv" / "token.json").write_text('{"token": "second"}')
    assert settings().unwrap().token == "second"
    monkeypatch.setenv("POCKETENV_TOKEN", "third")
    assert settings().unwrap().token == "third"
    monkeypatch.setenv("POCKETENV_TOKEN", "")
    assert settings().unwrap().token == "second"


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example?",
        "https://api.example#",
        "https://api.example/a b",
        "https://api.exam\nple",
        "https://api.example\\@evil.example",
        "https://api.example/\x00",
        "https://api.example/\u202e",
        "https://api.example/\ud800",
    ],
)
def test_config_url_extra_parts(url: str) -> None:
    """An API URL with an invalid character, an empty query or an empty fragment is refused."""
    error = under(Config(api_url=url), settings).failure()
    assert isinstance(error, InvalidInput)
    assert error.field == "api_url"


def test_config_url_white_space() -> None:
    """White space around a URL is removed."""
    assert under(Config(api_url=" https://api.example/ \n"), settings).unwrap().api_url == "https://api.example"


HOSTS = [
    "127.0.0.1",
    "localhost",
    "evil.example",
    "[::1]",
    "user:pass@",
    "\\",
    "@",
    "#",
    "?",
    "/",
    ":80",
    "%",
    "\n",
    "\t",
    ".",
]


@given(st.sampled_from(["http:", "HTTP:", "https:", ""]), st.lists(st.sampled_from([*HOSTS, "//"]), max_size=6))
@example("http:", ["//", "[::1]", "evil.example"])
@example("http:", ["//", "127.0.0.1", "\\", "@", "evil.example"])
@example("http:", ["//", "evil.example", "\\", "@", "127.0.0.1"])
def test_config_url_spellings(scheme: str, parts: list[str]) -> None:
    """No spelling of a URL sends a token over plain HTTP to another machine."""
    # What counts is the host that urllib3 would connect to.
    found = under(Config(api_url=scheme + "".join(parts), token="a-token"), settings)
    if not isinstance(found, Success):
        assert isinstance(found.failure(), InvalidInput)
        return
    try:
        where = parse_url(found.unwrap().api_url)
    except LocationParseError:
        return
    assert where.auth is None
    assert where.scheme == "https" or is_loopback((where.host or "").strip("[]"))


@given(st.text(max_size=40))
def test_config_any_url(text: str) -> None:
    """Any string as a URL leads to a Failure, not to an exception."""
    assert get_sandbox("x", config=Config(api_url=f"{text}://", retries=0)).failure()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pass@host.example/a", "https://***@host.example/a"),
        ("https://host.example?token=abc", "https://host.example?***"),
        ("https://user:p@ss@host.example?token=abc", "https://***@host.example?***"),
        ("user:pass@host.example", "***@host.example"),
        ("https://host.example", "https://host.example"),
    ],
)
def test_config_repr_masks_url_parts(url: str, shown: str) -> None:
    """The repr masks the login and the query of a URL."""
    assert repr(Config(api_url=url)) == f"Config(api_url={shown!r})"


def test_config_repr_fields() -> None:
    """The repr shows all other fields unchanged."""
    odd = "/etc/ca?bundle@home.pem"
    config = Config(
        api_url="https://a.example",
        public_key="ab?c@d",
        connect_timeout=math.inf,
        read_timeout=5,
        retries=0,
        verify=odd,
    )
    shown = (
        "Config(api_url='https://a.example', public_key='ab?c@d', connect_timeout=float('inf'), read_timeout=5, "
        f"retries=0, verify={odd!r})"
    )
    assert repr(config) == shown
    assert eval(shown, {"Config": Config}) == config  # what is shown is source
    assert dict(config.__rich_repr__())["verify"] == odd
    assert repr(Config(token="top-secret", retries=2)) == "Config(token='***', retries=2)"


@pytest.mark.parametrize("kind", [Config, Settings])
def test_config_positional_argument(kind: Any) -> None:
    """A positional argument raises a TypeError."""
    with pytest.raises(TypeError):
        kind("top-secret")


def test_iterator_keeps_login() -> None:
    """An iterator keeps the login of its call in every request."""
    page = b'{"secrets": [], "total": 0}'
    with Server(lambda _: reply(page)) as server:
        login = Config(api_url=server.url, token="a-token", retries=0)
        plain = pocketenv.iter_secrets("3f2a", config=login)
        of_the_box = sandbox.iter_secrets(BOX, token="another-token", config=login)
        with using(Config(api_url="http://127.0.0.1:9", token="wrong")):
            assert [*plain, *of_the_box] == []
        assert [seen.headers["authorization"] for seen in server.seen] == ["Bearer a-token", "Bearer another-token"]


def test_login_after_the_call() -> None:
    """The login of one call has no effect on the next."""
    with Server(lambda _: reply(b'{"secrets": [], "total": 0}')) as server:
        pocketenv.list_secrets("3f2a", config=Config(api_url=server.url, token="a-token")).unwrap()
    assert settings().unwrap().token is None


def test_logged_in_scope() -> None:
    """The function runs with its own login, merged into that of the block."""
    outer = Config(token="outer", read_timeout=7)
    with using(outer):
        assert logged_in(in_use, (), {}) == (outer,)
        inner = logged_in(settings, (), {"token": "inner", "config": Config(token="config", retries=1)}).unwrap()
    assert (inner.token, inner.retries, inner.read_timeout) == ("inner", 1, 7)
