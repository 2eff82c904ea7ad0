"""One pipeline over many targets: what comes back, what runs at once, and what is left when it is stopped."""

from __future__ import annotations

import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pickle import PicklingError
from typing import Any

import pytest
from returns.result import Failure, Result, Success

from pocketenv_fp import (
    Config,
    ExecResult,
    NotLoggedIn,
    PocketenvError,
    Sandbox,
    Step,
    WorkerLost,
    check,
    collect,
    create,
    ephemeral,
    exec,
    fan_out,
    get_sandbox,
    iter_sandboxes_by_actor,
    local,
    me,
    partition,
    start,
    stdout,
    tracing,
    using,
)
from pocketenv_fp.config import in_use
from pocketenv_fp.local.faults import Refuse
from pocketenv_fp.runtime.deadline import limited, remaining
from pocketenv_fp.runtime.progress import Track, tracking
from pocketenv_fp.steps.operation import step
from pocketenv_fp.steps.step import Applied

pytestmark = pytest.mark.usefixtures("environment")

TOGETHER = threading.Barrier(8, timeout=120)


@step(str)
def shout(name: str) -> Result[str, PocketenvError]:
    return Success(name.upper())


@step(str)
def meet(name: str) -> Result[str, PocketenvError]:
    TOGETHER.wait()
    return Success(name)


@step(str)
def stumble(name: str) -> Result[str, PocketenvError]:
    if name == "raises":
        raise ZeroDivisionError
    time.sleep(0.05)
    RAN.append(name)
    return Success(name)


RAN: list[str] = []


def mine() -> list[Sandbox]:
    return [box.unwrap() for box in iter_sandboxes_by_actor(me().unwrap().did)]


def test_fan_out_order() -> None:
    """Results are in the order of the targets, however long each takes."""
    work = ephemeral(start | exec("sleep $(( RANDOM % 3 ))e-1; hostname >/dev/null") | check | stdout)
    assert collect(fan_out(work, [f"box-{number}" for number in range(12)], max_workers=6)).unwrap() == [""] * 12
    assert fan_out(shout, [f"n{number}" for number in range(100)]) == [Success(f"N{number}") for number in range(100)]


def test_fan_out_one_failure(platform: local.Platform) -> None:
    """A failure is the result of its own target only."""
    platform.faults.add("sandbox.exec", Refuse(500), times=1)
    results = fan_out(ephemeral(start | exec("true")), [f"f-{number}" for number in range(6)], max_workers=1)
    good, bad = partition(results)
    assert good == [ExecResult("", "", 0)] * 5
    assert [type(error).__name__ for error in bad] == ["ServerError"]
    assert isinstance(results[0], Failure)
    assert mine() == []


def test_fan_out_result_targets() -> None:
    """Targets may be Results, and a Failure among them is returned as it is."""
    missing: Result[str, PocketenvError] = Failure(NotLoggedIn())
    mixed: list[str | Result[str, PocketenvError]] = ["a", Success("b"), missing]
    assert fan_out(shout, mixed) == [Success("A"), Success("B"), missing]
    boxes = [create("x"), create("y"), get_sandbox("no-such-box")]
    assert [type(result) for result in fan_out(start, boxes)] == [Success, Success, Failure]


def test_fan_out_keeps_targets() -> None:
    """Each Result stands beside its target, its time and its requests."""
    targets: list[str | Result[str, PocketenvError]] = ["c", Success("d"), Failure(NotLoggedIn())]
    kept = fan_out(create | start | exec("echo"), targets)
    assert kept.targets == ("c", Success("d"), Failure(NotLoggedIn()))
    assert [target for target, _ in kept.ok] == ["c", Success("d")]
    assert [type(error) for _, error in kept.failed] == [NotLoggedIn]
    assert kept.requests[0] == kept.requests[1] > 3
    assert kept.requests[2] == 0
    assert min(kept.seconds) >= 0
    assert pickle.loads(pickle.dumps(kept)) == kept
    assert pickle.loads(pickle.dumps(kept)).targets == kept.targets
    with pytest.raises(TypeError, match=r"list\(results\)"):
        kept.clear()


def test_fan_out_to_records() -> None:
    """A record of a failure has its class, its place and its exit code."""
    good, bad = fan_out(_ended, ["0", "3"]).to_records()
    assert (good["target"], good["ok"], good["exit_code"], good["error"]) == ("0", True, 0, None)
    assert good["value"] == ExecResult("", "", 0)
    assert (bad["ok"], bad["value"], bad["exit_code"], bad["error"]) == (False, None, 3, "CommandFailed")
    assert bad["where"] == "exec('exit 3', check=True)"
    assert bad["message"].startswith("the command ended with exit code 3")


def _ended(code: str) -> Step[str, ExecResult]:
    return create | start | exec(f"exit {code}", check=True)


def test_fan_out_to_frame_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table needs pandas, and the error says so."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pandas is not installed: pip install pandas"):
        fan_out(shout, ["a"]).to_frame()


@pytest.mark.parametrize(
    ("pipeline", "targets", "said"),
    [
        (shout, "abc", "fan_out: targets: expected a list of Any, got str"),
        (shout, b"abc", "fan_out: targets: expected a list of Any, got bytes"),
        (exec, ["a"], "exec needs arguments"),
        (3, ["a"], "expected a step, got int"),
        (str.upper, ["a"], "the function of the target: expected a step, got str"),
    ],
)
def test_fan_out_wrong_values(pipeline: Any, targets: Any, said: str) -> None:
    """A mistake is a TypeError before anything runs."""
    with pytest.raises(TypeError, match=said):
        fan_out(pipeline, targets)


def test_fan_out_prints_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The source of a step takes longer than its other work: only a watcher of steps reads it."""
    printed: list[Applied] = []

    def print_step(step: Applied) -> str:
        printed.append(step)
        return "shout()"

    monkeypatch.setattr(Applied, "__str__", print_step)
    assert list(fan_out(shout, ["a", "b"])) == [Success("A"), Success("B")]
    assert printed == []
    with tracing() as seen:
        fan_out(shout, ["a", "b"])
    assert len(printed) == len(seen.steps) == 2


def test_fan_out_no_targets() -> None:
    """Without targets there are no results."""
    assert fan_out(shout, []) == []
    assert collect([]) == Success([])
    assert partition([]) == ([], [])


def test_fan_out_max_workers() -> None:
    """As many targets run at once as max_workers allows."""
    names = [f"n{number}" for number in range(TOGETHER.parties)]
    assert collect(fan_out(meet, names, max_workers=len(names))) == Success(names)


def test_fan_out_config() -> None:
    """The configuration around the call applies in every worker."""
    unreachable = Config(api_url="http://127.0.0.1:1", retries=0, token="somebody")
    with using(unreachable), ThreadPoolExecutor(2) as pool:
        for results in (fan_out(create, ["a"]), fan_out(create, ["a", "b"], executor=pool)):
            assert {type(result.failure()).__name__ for result in results} == {"TransportError"}
    assert fan_out(create | start, ["a"], executor=ThreadPoolExecutor(1))[0].unwrap().name == "a"


def test_fan_out_context() -> None:
    """The threads run in copies of the caller's context, also those of an executor."""
    seen: list[float] = []

    def look(name: str) -> str:
        seen.append(remaining())
        return name

    with limited(600), ThreadPoolExecutor(1) as pool:
        fan_out(shout.map(look), ["a", "b"])
        fan_out(shout.map(look), ["a"], executor=pool)
    assert [0 < left <= 600 for left in seen] == [True] * 3


def test_fan_out_processes() -> None:
    """Processes get the configuration by pickle, and the token from their environment."""
    work = ephemeral(start | exec("echo $PPID >/dev/null; echo here") | check | stdout)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert fan_out(work, ["a", "b", "c"], executor=pool) == [Success("here\n")] * 3
        with using(Config(api_url="http://127.0.0.1:1", retries=0)):
            (refused,) = fan_out(create, ["a"], executor=pool)
        assert type(refused.failure()).__name__ == "TransportError"
        with using(Config(token="a-token")), pytest.raises(PicklingError, match="POCKETENV_TOKEN"):
            fan_out(create, ["a"], executor=pool)
    assert mine() == []


@step(str)
def inside(_: str) -> Result[tuple[int, float], PocketenvError]:
    return Success((len(in_use()), remaining()))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_fan_out_forked_worker() -> None:
    """A forked worker starts without the configuration and deadline of the parent's blocks."""
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        with using(Config(retries=0)), limited(60):
            assert fan_out(inside, ["a"], executor=pool) == [Success((1, math.inf))]
        assert fan_out(inside, ["a"], executor=pool) == [Success((0, math.inf))]


@step(str)
def die(name: str) -> Result[str, PocketenvError]:
    if name == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    return Success(name)


def test_fan_out_worker_lost() -> None:
    """A dead process is WorkerLost for its target and for all later ones."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert fan_out(die, ["a"], executor=pool) == [Success("a")]
        results = fan_out(die, ["b", "dies", "c", "d"], executor=pool)
        assert results[1:] == [Failure(WorkerLost())] * 3
        assert results[0] in {Success("b"), Failure(WorkerLost())}  # it may be done, and not yet reported
        # The pool takes nothing any more.
        assert fan_out(die, ["e"], executor=pool) == [Failure(WorkerLost())]


class Here(Executor):
    """What runs each at once, where it is handed in."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        done = Future[Any]()
        done.set_result(work(*args, **named))
        return done


def test_fan_out_trace_same_thread() -> None:
    """An executor that runs in the caller's thread is traced once."""
    with tracing() as seen:
        assert fan_out(shout, ["a", "b"], executor=Here()) == [Success("A"), Success("B")]
    assert [(record.step, record.lane) for record in seen.steps] == [("shout()", "a"), ("shout()", "b")]


class Interrupted(ThreadPoolExecutor):
    """Threads that are interrupted when the third target is handed in."""

    number = 0

    def submit(self, work: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        self.number += 1
        if self.number == 3:
            signal.raise_signal(signal.SIGINT)
        return super().submit(work, *args, **named)


def test_fan_out_interrupted_submit() -> None:
    """After an interrupt during submission, fan_out waits for targets that have begun."""
    RAN.clear()
    with Interrupted(1) as pool:
        with pytest.raises(KeyboardInterrupt):
            fan_out(stumble, ["first", "second", "third", "fourth"], executor=pool)
        assert RAN == ["first"]
    assert RAN == ["first"]


CANCELLED = threading.Event()


@step(str)
def stay(name: str) -> Result[str, PocketenvError]:
    if name == "raises":
        raise ZeroDivisionError
    assert CANCELLED.wait(60)
    RAN.append(name)
    return Success(name)


class Watched(ThreadPoolExecutor):
    """Sets CANCELLED once each future has begun or is cancelled."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.futures: list[Future[Any]] = []

    def submit(self, *args: Any, **named: Any) -> Future[Any]:
        future = super().submit(*args, **named)
        self.futures.append(future)
        future.add_done_callback(self.ended)
        return future

    def ended(self, future: Future[Any]) -> None:
        if future.cancelled() and all(each.done() or each.running() for each in self.futures):
            CANCELLED.set()


def test_fan_out_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception of a pipeline is raised, and targets that have not begun are cancelled."""
    RAN.clear()
    CANCELLED.clear()
    monkeypatch.setattr("concurrent.futures.ThreadPoolExecutor", Watched)
    with pytest.raises(ZeroDivisionError):
        fan_out(stay, ["raises", *(f"n{number}" for number in range(50))], max_workers=2)
    done = len(RAN)
    assert done <= 2
    time.sleep(0.2)
    assert len(RAN) == done


def test_fan_out_progress() -> None:
    """The progress function gets the number of finished targets and their total."""
    progress_calls: list[tuple[int, int | None]] = []
    fan_out(shout, ["a", "b", "c"], progress=lambda done, total: progress_calls.append((done, total)))
    assert progress_calls[0] == (0, 3)
    assert progress_calls[-1] == (3, 3)


def test_fan_out_progress_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without progress there is no bar."""
    asked: list[object] = []

    @contextmanager
    def watched(progress: Any, total: int, *, unit: str) -> Generator[Track]:
        asked.append(progress)
        with tracking(progress, total, unit=unit) as track:
            yield track

    monkeypatch.setattr("pocketenv_fp.steps.fan_out.tracking", watched)
    fan_out(shout, ["a", "b"])
    fan_out(shout, ["a", "b"], progress=True)
    assert asked == [False, True]


def test_fan_out_refuses() -> None:
    """A mistake raises before any target runs."""
    wrong: Any = fan_out
    with pytest.raises(TypeError, match="exec needs arguments"):
        wrong(exec, ["a"])
    with pytest.raises(ValueError, match="at least 1"):
        fan_out(shout, ["a"], max_workers=0)


PROGRAM = """
from pocketenv_fp import ephemeral, exec, fan_out, start
print("begun", flush=True)
fan_out(ephemeral(start | exec("sleep 0.3")), [f"s-{number}" for number in range(200)], max_workers=8)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)])
def test_fan_out_stopped(number: signal.Signals, code: int, platform: local.Platform) -> None:
    """A fleet that a signal stops leaves no sandbox."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as program:
        assert program.stdout is not None
        before = platform.faults.worked("sandbox.createSandbox")
        program.stdout.readline()
        deadline = time.monotonic() + 30
        while not mine() and time.monotonic() < deadline:
            time.sleep(0.05)
        program.send_signal(number)
        _, errors = program.communicate(timeout=60)
    assert program.returncode == code, errors
    assert mine() == []
    assert 0 < platform.faults.worked("sandbox.createSandbox") - before < 100
