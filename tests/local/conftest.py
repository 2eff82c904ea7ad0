"""A platform for the tests that do not need one of their own, at each level of isolation, and a new user for each test."""

import itertools
from collections.abc import Iterator

import pytest

from pocketenv_fp import local
from pocketenv_fp.local.box import bubblewrap
from tests.levels import LEVELS
from tests.local.wire import Wire

_numbers = itertools.count()


@pytest.fixture(scope="session", params=LEVELS)
def place(request: pytest.FixtureRequest) -> Iterator[local.Platform]:
    """Yield a running platform, shared by the whole session: one with boxes, and one without."""
    if request.param == "bubblewrap" and bubblewrap() is None:
        pytest.skip("no bubblewrap that works here: install it, or allow namespaces")
    with local.platform(isolation=request.param) as platform:
        yield platform


@pytest.fixture(scope="session")
def one_place() -> Iterator[local.Platform]:
    """A running platform for what is the same at each level: requests and answers, and no command."""
    with local.platform() as platform:
        yield platform


@pytest.fixture
def wire(place: local.Platform) -> Iterator[Wire]:
    """Yield a connection of a new user."""
    with Wire(place, place.new_user(f"user{next(_numbers)}.test")) as wire:
        yield wire


@pytest.fixture
def other(place: local.Platform) -> Iterator[Wire]:
    """Yield a connection of another user."""
    with Wire(place, place.new_user(f"other{next(_numbers)}.test")) as other:
        yield other


@pytest.fixture
def stranger(place: local.Platform) -> Iterator[Wire]:
    """Yield a connection without a login."""
    with Wire(place, None) as stranger:
        yield stranger
