"""Turns: one thread at a time for each key."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from pocketenv_fp import DeadlineExceeded
from pocketenv_fp.runtime.deadline import limited
from pocketenv_fp.runtime.turns import Turns


def test_turns_one_thread_each_key() -> None:
    """One thread at a time has the turn of a key."""
    turns = Turns()
    inside: dict[str, int] = {"a": 0, "b": 0}
    most = dict(inside)
    guard = threading.Lock()

    def work(key: str) -> None:
        with turns.of(key, "work") as late:
            assert late is None
            with guard:
                inside[key] += 1
                most[key] = max(most[key], inside[key])
            time.sleep(0.001)
            with guard:
                inside[key] -= 1

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, "ab" * 40))
    assert most == {"a": 1, "b": 1}
    assert not turns._turns  # pyright: ignore[reportPrivateUsage]


def test_turns_deadline() -> None:
    """A thread waits for its turn until the deadline and no longer."""
    turns = Turns()
    with turns.of("a", "first") as first, limited(0.05):
        with turns.of("b", "other") as other:
            assert first is other is None
        with turns.of("a", "second") as late:
            assert isinstance(late, DeadlineExceeded)
            assert late.operation == "second"
    with turns.of("a", "third") as late:
        assert late is None


def test_turns_forked_child() -> None:
    """A forked child does not inherit its parent's turns."""
    turns = Turns()
    with turns.of("a", "parent"):
        child = os.fork()
        if not child:
            with limited(20), turns.of("a", "child") as late:
                os._exit(0 if late is None else 1)
        assert os.waitpid(child, 0)[1] == 0
    with turns.of("a", "parent again") as late:
        assert late is None
