"""An account that the tests of behaviour use: on the embedded platform, or on the API of the environment."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator

import pytest
from returns.result import Success

from pocketenv_fp import Config, Sandbox, create, delete, iter_sandboxes_by_actor, local, me, start, using
from pocketenv_fp.pocketenv.new_sandbox import noting
from tests.figures import Figures

VARIABLES = ("POCKETENV_API_URL", "POCKETENV_STORAGE_URL", "POCKETENV_TOKEN", "POCKETENV_PUBLIC_KEY")
# The fixtures of other tests take these away.
SURROUNDINGS = {name: os.environ[name] for name in VARIABLES if name in os.environ}


@pytest.fixture(scope="session")
def account(pytestconfig: pytest.Config, request: pytest.FixtureRequest) -> Config:
    """Where the tests run, and with which login."""
    if pytestconfig.getoption("pocketenv_live"):
        if "POCKETENV_TOKEN" not in SURROUNDINGS:
            pytest.exit("--pocketenv-live needs POCKETENV_TOKEN, and POCKETENV_API_URL for another platform", 4)
        return Config(
            api_url=SURROUNDINGS.get("POCKETENV_API_URL"),
            storage_url=SURROUNDINGS.get("POCKETENV_STORAGE_URL"),
            token=SURROUNDINGS["POCKETENV_TOKEN"],
            public_key=SURROUNDINGS.get("POCKETENV_PUBLIC_KEY"),
        )
    platform: local.Platform = request.getfixturevalue("platform")
    return Config(
        api_url=platform.url,
        storage_url=platform.storage_url,
        token=platform.new_user("live.localhost"),
        public_key=platform.public_key,
    )


def own(config: Config) -> set[str]:
    """The ids of the account's sandboxes."""
    with using(config):
        profile = me()
        if not isinstance(profile, Success):
            return set()
        return {box.unwrap().id for box in iter_sandboxes_by_actor(profile.unwrap().did)}


@pytest.fixture(scope="session", autouse=True)
def _nothing_left(account: Config, figures: Figures) -> Iterator[None]:
    before = own(account)
    yield
    left = own(account) - before
    with using(account):
        for identifier in left:
            delete(Sandbox(id=identifier, name=identifier))
    figures.line("tests of behaviour", f"{account.api_url}: sandboxes left behind: {len(left)}")
    assert not left


@pytest.fixture(autouse=True)
def _live(account: Config) -> Iterator[None]:
    made: list[Sandbox] = []
    with using(account), noting(made):
        yield
    with using(account):
        for box in made:
            delete(box)


@pytest.fixture
def new_name() -> Callable[[], str]:
    """Names that no sandbox has: those of a real platform are shared by all of its users."""
    return lambda: f"fp-live-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="module")
def shared_box(account: Config) -> Iterator[Sandbox]:
    """A running sandbox for the tests of one module that leave it as it was."""
    with using(account):
        box = (create(f"fp-live-{uuid.uuid4().hex[:12]}") | start).unwrap()
        yield box
        delete(box)


@pytest.fixture
def box(new_name: Callable[[], str]) -> Sandbox:
    """A running sandbox of this test's own."""
    return (create(new_name()) | start).unwrap()
