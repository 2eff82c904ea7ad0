"""The pauses between attempts."""

from __future__ import annotations

import random

import pytest

from pocketenv_fp.runtime.backoff import pauses


@pytest.mark.parametrize("jitter", [0.0, 0.2])
def test_pauses_grow(jitter: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first repetition comes at once. The others come later and later."""

    def drawn(_low: float, _high: float) -> float:
        return jitter

    monkeypatch.setattr(random, "uniform", drawn)
    expected = [0.0, 0.4 + jitter, 0.8 + jitter, 1.6 + jitter, 3.2 + jitter, 5.0, 5.0]
    assert list(pauses(7)) == pytest.approx(expected)
    assert list(pauses(0)) == []
