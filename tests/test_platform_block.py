"""``with local.platform():`` is the platform that the calls of its block use."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import copy_context

import pytest
from returns.result import Failure, Success

from pocketenv_fp import (
    Config,
    NotLoggedIn,
    Sandbox,
    create,
    exec,
    fan_out,
    get_sandbox,
    local,
    me,
    start,
    stdout,
    using,
)
from pocketenv_fp.config import settings


def test_platform_block_nested(monkeypatch: pytest.MonkeyPatch) -> None:
    """The block comes before the environment, and the inner one before the outer one."""
    monkeypatch.setenv("POCKETENV_API_URL", "https://pocketenv.example")
    with local.platform() as outer:
        create("box").unwrap()
        with local.platform() as inner:
            assert get_sandbox("box") == Success(None)
            assert (create("box") | start | exec("echo hello") | stdout) == Success("hello\n")
            assert (len(inner.calls), len(outer.calls)) == (7, 3)
        assert isinstance(get_sandbox("box").unwrap(), Sandbox)
        assert settings().unwrap().api_url == outer.url
    assert settings().unwrap().api_url == "https://pocketenv.example"


def test_platform_block_and_config() -> None:
    """A config with an address is another platform, and gets no token of the block."""
    with local.platform() as block, local.platform() as other:
        other_url = Config(api_url=block.url)
        assert create("box", config=other_url) == Failure(NotLoggedIn())
        with using(Config(read_timeout=5)):
            known = settings().unwrap()
            assert (known.api_url, known.read_timeout, known.storage_url) == (other.url, 5, other.storage_url)
        assert me(token=other.new_user("somebody.test")).map(lambda my: my.handle) == Success("somebody.test")


def test_platform_block_in_fan_out() -> None:
    """Threads of fan_out use it too."""
    with local.platform():
        assert fan_out(create | start | exec("echo a") | stdout, ["one", "two"]) == [Success("a\n")] * 2


def test_platform_block_closed_elsewhere() -> None:
    """A generator may be closed elsewhere: the platform closes all the same."""

    def blocks() -> Iterator[local.Platform]:
        with local.platform() as platform:
            yield platform

    generator = blocks()
    platform = copy_context().run(next, generator)
    for _ in generator:
        pytest.fail("one platform")
    assert "closed" in repr(platform)
