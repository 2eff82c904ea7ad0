"""Sandboxes at each isolation level, for the tests of operations that look the same at each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pocketenv_fp import Config, Sandbox, create, local, start, using, wait_until_running
from pocketenv_fp.local.box import bubblewrap
from tests.levels import LEVELS, each_way

PROVIDERS = each_way("cloudflare", "daytona", "deno", "vercel", "sprites", "modal", "e2b", "hopx", "runloop")


@pytest.fixture(scope="module", params=LEVELS)
def played(request: pytest.FixtureRequest) -> Iterator[local.Platform]:
    """A platform of each isolation level."""
    if request.param == "bubblewrap" and bubblewrap() is None:
        pytest.skip("bubblewrap does not run here")
    with local.platform(isolation=request.param) as platform:
        yield platform


@pytest.fixture
def login(played: local.Platform) -> Iterator[local.Platform]:
    """The platform of the test, with a login to it."""
    login = Config(api_url=played.url, storage_url=played.storage_url, token=played.token, public_key=played.public_key)
    with using(login):
        yield played
    played.remove_sandboxes()


@pytest.fixture
def box(login: local.Platform) -> Sandbox:  # noqa: ARG001  # it is logged in there
    """A running sandbox of the default provider."""
    return (create("box") | start).unwrap()


@pytest.fixture(params=PROVIDERS)
def any_box(login: local.Platform, request: pytest.FixtureRequest) -> Sandbox:  # noqa: ARG001
    """A running sandbox of each provider."""
    made = create("any-box", provider=request.param) | start | wait_until_running
    return made.unwrap()
