"""The levels of isolation, as parameters of tests and fixtures: boxes always, plain processes with what is slow."""

from __future__ import annotations

import pytest

from pocketenv_fp.local.box import bubblewrap

# Plain processes have the disk, tar and shell of boxes. Where there are no boxes, they are what an ordinary run tries.
PLAIN = [pytest.mark.slow] if bubblewrap() is not None else []
LEVELS = ["bubblewrap", pytest.param("processes", marks=PLAIN)]
