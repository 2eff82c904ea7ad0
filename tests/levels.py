"""The levels of isolation and the providers, as parameters of tests and fixtures: some always, all with what is slow."""

from __future__ import annotations

from typing import Any

import pytest

from pocketenv_fp.local.box import bubblewrap

# Plain processes have the disk, tar and shell of boxes. Where there are no boxes, they are what an ordinary run tries.
PLAIN = [pytest.mark.slow] if bubblewrap() is not None else []
LEVELS = ["bubblewrap", pytest.param("processes", marks=PLAIN)]

# One provider for each way to hand a line to a shell. The others do it as one of these, and are tried with what is slow.
WAYS = {"cloudflare", "daytona", "e2b", "runloop"}


def each_way(*providers: str) -> list[Any]:
    """Return the providers as parameters, one of each way in an ordinary run."""
    return [pytest.param(name, marks=[] if name in WAYS else pytest.mark.slow) for name in providers]
