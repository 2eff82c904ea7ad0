"""The platform walked once for all tests of its answers, and what the run reports of it."""

from __future__ import annotations

from typing import Literal

import pytest

from pocketenv_fp import local
from pocketenv_fp.local.box import bubblewrap
from tests.conformance.recorder import Exchange, Recorded, Recorder
from tests.conformance.table import rows
from tests.conformance.walk import hammer, repeat_without_login, walk
from tests.figures import Figures


@pytest.fixture(scope="session")
def walked(figures: Figures) -> list[Exchange]:
    """Everything that the platform answered on walks through all of its methods: with a login and without, at each level."""
    exchanges = list[Exchange]()
    levels: list[Literal["bubblewrap", "processes"]] = ["processes"]
    if bubblewrap() is not None:
        levels.append("bubblewrap")
    for level in levels:
        with local.platform(boot_delay=300, isolation=level) as platform:
            recorder = Recorder(platform)
            with Recorded(platform, platform.token, recorder) as wire:
                walk(wire)
                repeat_without_login(wire)
        exchanges += recorder.exchanges
    with local.platform(rate_limit=3) as limited, Recorded(limited, None, Recorder(limited)) as wire:
        hammer(wire)
        exchanges += wire.recorder.exchanges
    figures.line("the embedded platform and the published contract", *rows(exchanges))
    return exchanges
