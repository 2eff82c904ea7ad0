"""Waiting for a sandbox: arguments that no program means."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pocketenv_fp import InvalidInput, create, wait_until_running
from pocketenv_fp.models import Status

pytestmark = pytest.mark.usefixtures("environment")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"timeout": 120_000}, "timeout"),
        ({"timeout": 10_000}, "timeout"),
        ({"timeout": 60, "interval": 2000}, "interval"),
        ({"timeout": math.inf, "interval": 500}, "interval"),
    ],
)
def test_wait_until_running_milliseconds(options: dict[str, Any], field: str) -> None:
    """Values that look like milliseconds are refused."""
    error = (create("my-box") | wait_until_running(**options)).failure()
    assert isinstance(error, InvalidInput)
    assert error.field == field
    assert "divide it by 1000" in error.reason


@pytest.mark.parametrize(
    "options", [{"timeout": 9_999}, {"timeout": math.inf}, {"interval": 499}, {"interval": math.inf}]
)
def test_wait_until_running_long_seconds(options: dict[str, Any]) -> None:
    """Long times in seconds are accepted."""
    running = (create("my-box") | wait_until_running(**options)).unwrap()
    assert running.status is Status.RUNNING


@pytest.mark.parametrize(
    ("word", "status"),
    [("running", Status.RUNNING), ("Stopped", Status.STOPPED), ("initializing", Status.INITIALIZING)],
)
def test_status_small_letters(word: str, status: Status) -> None:
    """The case of a status does not matter."""
    assert Status(word) is status


@pytest.mark.parametrize("word", ["paused", "", "unknown", None, 3])
def test_status_other_words(word: object) -> None:
    """An unknown status is UNKNOWN."""
    assert Status(word) is Status.UNKNOWN
