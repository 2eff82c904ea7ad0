"""gather(…, parallel=True): the steps of one target at the same time."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from returns.result import Failure, Success

from pocketenv_fp import create, exec, explain, gather, get_sandbox, identity, start, stdout, trace
from tests.servers import BOX
from tests.steps.test_laws import Count, at_most, plus


def test_gather_parallel_at_once() -> None:
    """Each of three steps waits for the others."""
    barrier = threading.Barrier(3)
    together = identity.map(lambda _: barrier.wait(30))
    values = gather(together, together, together, parallel=True)(BOX).unwrap()
    assert sorted(values) == [0, 1, 2]


def test_gather_parallel_first_failure() -> None:
    """All steps run. The result does not depend on which one ends first."""
    done = threading.Event()

    def late(count: Count) -> Any:
        assert done.wait(30)
        return Failure("late") if count.value else Success(count)

    def early(_: Count) -> Any:
        done.set()
        return Failure("early")

    both = gather(identity.bind(late), identity.bind(early), parallel=True)
    assert both(Count(1)) == Failure("late")
    assert both(Count(0)) == Failure("early")
    assert gather(plus(1), at_most(5), parallel=True)(Count(2)) == Success((Count(3), Count(2)))


def test_gather_parallel_exception() -> None:
    """A mistake in the program comes out."""
    with pytest.raises(ZeroDivisionError):
        gather(identity.map(lambda _: 1 // 0), identity, parallel=True)(BOX)


def test_gather_parallel_repr() -> None:
    """It prints, and compares, as it was written."""
    step = gather(exec("a"), exec("b"), parallel=True)
    assert repr(step) == "gather(exec('a'), exec('b'), parallel=True)"
    assert step == gather(exec("a"), exec("b"), parallel=True) != gather(exec("a"), exec("b"))
    with pytest.raises(TypeError, match="gather: parallel: expected bool"):
        gather(exec("a"), parallel=3)  # type: ignore[call-overload]


@pytest.mark.usefixtures("environment")
def test_gather_parallel_one_sandbox() -> None:
    """Commands of one sandbox give their own output, explain lists both, and a trace has both."""
    box = create("box") | start
    both = gather(exec("echo a") | stdout, exec("echo b") | stdout, parallel=True)
    result, seen = trace(both)(box)
    assert result == Success(("a\n", "b\n"))
    assert sorted(record.step for record in seen.steps if record.step.startswith("exec")) == [
        "exec('echo a')",
        "exec('echo b')",
    ]
    text = str(explain(both, box))
    assert "the steps run at the same time" in text
    assert text.count("sandbox.exec") == 2


@pytest.mark.usefixtures("environment")
def test_gather_parallel_missing_sandbox() -> None:
    """A missing sandbox is the Failure of each step, as it is one after the other."""
    none = get_sandbox | gather(start, exec("ls"), parallel=True)
    assert none("no-such-box") == (get_sandbox | gather(start, exec("ls")))("no-such-box")
