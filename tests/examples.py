"""How many examples a property is tried with: few in an ordinary run, all of them with ``--hypothesis-profile=many``.

The same ones each time, so that no run fails by chance, and no machine is too slow for one.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings

_SAME: dict[str, Any] = {
    "derandomize": True,
    "database": None,
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow],
}
FEW, MANY = "few", "many"
# An ordinary run tries one of this many, and no fewer than the least.
SHARE, LEAST = 6, 5


def register() -> None:
    """Make both profiles known, and take the one of an ordinary run."""
    settings.register_profile(FEW, max_examples=LEAST * 2, **_SAME)
    settings.register_profile(MANY, max_examples=100, **_SAME)
    settings.load_profile(FEW)


def examples(many: int) -> int:
    """Return the number of examples to try in this run, of ``many`` in a whole one."""
    return many if settings.get_current_profile_name() == MANY else max(LEAST, many // SHARE)
