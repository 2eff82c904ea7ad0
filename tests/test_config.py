"""Settings that come from outside: files and URLs as people and programs really write them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from returns.result import Success
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from pocketenv_fp import Config, InvalidInput, get_sandbox
from pocketenv_fp.config import is_loopback, settings


def token_file(text: str) -> None:
    path = Path(os.environ["HOME"]) / ".pocketenv" / "token.json"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")


def test_a_token_file_may_hold_more_than_the_token() -> None:
    token_file(json.dumps({"token": "mine", "expiresAt": 1_800_000_000, "user": {"handle": "a.test"}}))
    assert settings().unwrap().token == "mine"


@pytest.mark.parametrize("text", ['{"token": ""}', '{"x": ' + "[" * 60_000, '{"token": "a b"}', '{"token": "a\\n"}'])
def test_a_token_file_without_a_token_that_can_be_sent_is_told(text: str) -> None:
    token_file(text)
    error = settings().failure()
    assert isinstance(error, InvalidInput)
    assert error.field == "token"


def test_a_token_file_is_not_read_where_the_token_comes_from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    token_file("not json")
    assert settings(token="mine").unwrap().token == "mine"
    assert settings(Config(token="mine")).unwrap().token == "mine"
    monkeypatch.setenv("POCKETENV_TOKEN", "mine")
    assert settings().unwrap().token == "mine"


def test_a_new_token_in_the_file_or_the_environment_is_seen_at_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_a_url_with_what_does_not_belong_in_one_is_refused(url: str) -> None:
    error = settings(Config(api_url=url)).failure()
    assert isinstance(error, InvalidInput)
    assert error.field == "api_url"


def test_white_space_around_a_url_is_a_slip_and_not_a_mistake() -> None:
    assert settings(Config(api_url=" https://api.example/ \n")).unwrap().api_url == "https://api.example"


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
def test_no_spelling_of_a_url_gets_a_token_over_plain_http_to_another_machine(scheme: str, parts: list[str]) -> None:
    # What counts is the host that urllib3 would connect to.
    found = settings(Config(api_url=scheme + "".join(parts), token="a-token"))
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
def test_any_text_for_a_url_is_a_result(text: str) -> None:
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
def test_what_has_no_place_in_a_url_is_not_shown(url: str, shown: str) -> None:
    assert repr(Config(api_url=url)) == f"Config(api_url={shown!r})"
