"""A fleet on a Dask cluster: real worker processes, and everything that crosses between them."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
from returns.result import Failure, Result, Success

from pocketenv_fp import (
    CommandFailed,
    Config,
    PocketenvError,
    Sandbox,
    WorkerLost,
    check,
    collect,
    create,
    ephemeral,
    exec,
    fan_out,
    from_env,
    iter_sandboxes_by_actor,
    local,
    managed,
    me,
    partition,
    recover,
    set_secret,
    start,
    stdout,
    tap,
    tracing,
    using,
)
from pocketenv_fp.errors import Place
from pocketenv_fp.local.faults import Refuse
from pocketenv_fp.steps.operation import step
from pocketenv_fp.steps.step import Step
from tests.places import ROOT

pytestmark = pytest.mark.slow

T = TypeVar("T")

CREATE = "sandbox.createSandbox"
SECRET = "sk-Very.Secret-0123456789"  # what must not be seen


@step(str)
def process(name: str) -> Result[int, PocketenvError]:
    del name
    return Success(os.getpid())


@step(str)
def stumble(name: str) -> Result[str, PocketenvError]:
    if name == "raises":
        deadline = time.monotonic() + 30
        while not mine() and time.monotonic() < deadline:  # until others have begun
            time.sleep(0.05)
        raise ZeroDivisionError
    return Success(name)


def message(error: PocketenvError) -> str:
    return f"recovered from {type(error).__name__}"


class Customs(Executor):
    """Hands on what is submitted, and keeps what it is on the wire."""

    def __init__(self, beyond: Executor) -> None:
        self._beyond = beyond
        self.crossed: list[bytes] = []

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        self.crossed.append(pickle.dumps((fn, args, kwargs)))
        future = self._beyond.submit(fn, *args, **kwargs)
        future.add_done_callback(lambda done: self.crossed.append(pickle.dumps(done.result())))
        return future


@pytest.fixture(scope="module")
def cluster(platform: local.Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two worker processes on this machine, logged in to the platform, with all that they write in a folder of the tests."""
    folder = tmp_path_factory.mktemp("dask")
    environment = {
        **platform.environment,
        "HOME": str(folder / "nobody"),
        "THE_SECRET": SECRET,
        "PYTHONPATH": str(ROOT),  # this file's steps cross by their names
    }
    # Imported here: a run without the slow tests would take a third of a second for it in each process.
    import dask.config
    import distributed

    # Half of Dask is typed, and half of that as it is.
    start_cluster, connect = cast("Any", distributed.LocalCluster), cast("Any", distributed.Client)
    with warnings.catch_warnings(), dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        # Dask's own: what it and its event loop leave to the collector, and old names that it uses itself.
        warnings.simplefilter("ignore")
        with (
            start_cluster(
                n_workers=2,
                threads_per_worker=4,
                processes=True,
                host="127.0.0.1",
                dashboard_address=None,
                local_directory=str(folder),
                env=environment,
                silence_logs=50,
            ) as running,
            connect(running) as client,
        ):
            yield client


@pytest.fixture
def pool(cluster: Any, environment: dict[str, str]) -> Executor:
    del environment
    executor: Executor = cluster.get_executor()
    return executor


def mine() -> list[str]:
    return [box.unwrap().name for box in iter_sandboxes_by_actor(me().unwrap().did)]


def test_dask_results_in_order(pool: Executor) -> None:
    """Pipelines run in the workers, and the results are in the order of the targets."""
    work = ephemeral(start | exec("echo hello") | check | stdout)
    names = [f"box-{number}" for number in range(12)]
    assert collect(fan_out(work, names, executor=pool)) == Success(["hello\n"] * 12)
    assert mine() == []
    workers = set(collect(fan_out(process, names, executor=pool)).unwrap())
    assert os.getpid() not in workers


def double(text: str) -> int:
    """A function of this module."""
    return 2 * int(text)


def test_dask_runs_named_functions(pool: Executor) -> None:
    """A pipeline with .map and .bind of named functions crosses to the workers."""
    parsed = create | start | exec("echo 21") | stdout.map(double).map(str)
    assert fan_out(parsed, ["a", "b"], executor=pool) == [Success("42")] * 2
    failed = create | start | exec("exit 3", check=True)
    (error,) = [error for _, error in fan_out(failed, ["c"], executor=pool).failed]
    assert error.sandbox is not None
    assert error.sandbox.name == "c"


def test_dask_failure(pool: Executor, platform: local.Platform) -> None:
    """A failure keeps its notes and its places when it crosses processes."""
    fails: Step[Sandbox, object] = tap(exec("test $NAME != b", env={"NAME": "b"}, check=True))
    with platform.faults.on("sandbox.deleteSandbox", Refuse(502)):
        (result,) = fan_out(managed(start | fails), ["a"], executor=pool)
    error = result.failure()
    assert error == CommandFailed(1)
    assert [type(place) for place in error.where] == [Place] * 3
    assert error.where[0].step == "exec('test $NAME != b', env={'NAME': 'b'}, check=True)"
    (note,) = error.__notes__
    assert "may still exist. Its release failed: sandbox.deleteSandbox" in note
    assert mine() == ["a"]


def test_dask_one_failure(pool: Executor) -> None:
    """One failure does not change the other results."""
    taken = create("taken").unwrap()
    good, bad = partition(fan_out(create | start, ["one", "taken", "two"], executor=pool))
    assert [box.name for box in good] == ["one", "two"]
    assert [type(error).__name__ for error in bad] == ["NameTaken"]
    assert taken.name in mine()


def test_dask_same_target_twice(pool: Executor) -> None:
    """The same target twice is two runs."""
    box = (create("my-box") | start).unwrap()
    run = exec("echo run >> runs", check=True)
    for _ in range(2):
        assert len(collect(fan_out(run, [box, box], executor=pool)).unwrap()) == 2
    assert (box | exec("wc -l < runs") | stdout) == Success("4\n")


def test_dask_targets(pool: Executor) -> None:
    """Sandboxes and Results can be targets."""
    failed: Result[Sandbox, PocketenvError] = Failure(CommandFailed(3))
    boxes = [create("a"), create("b"), failed]
    results = fan_out(start | exec("echo up") | stdout, boxes, executor=pool)
    assert results[:2] == [Success("up\n")] * 2
    assert results[2] == Failure(CommandFailed(3))


def test_dask_module_function(pool: Executor) -> None:
    """A function of a module crosses with its step."""
    work = create | recover(exec("exit 3", check=True) | stdout, message)
    assert fan_out(work, ["my-box"], executor=pool) == [Success("recovered from CommandFailed")]


def test_dask_lambda(pool: Executor) -> None:
    """Dask sends lambdas too, although pickle refuses them."""
    work = create | recover(exec("exit 3", check=True) | stdout, lambda error: type(error).__name__)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(work)
    assert fan_out(work, ["my-box"], executor=pool) == [Success("CommandFailed")]


def test_dask_config(pool: Executor) -> None:
    """The configuration crosses to the workers, and a token is refused."""
    with using(Config(api_url="http://127.0.0.1:1", retries=0)):
        (refused,) = fan_out(create, ["a"], executor=pool)
    assert type(refused.failure()).__name__ == "TransportError"
    with using(Config(token="a-token")), pytest.raises((pickle.PicklingError, TypeError)) as raised:
        fan_out(create, ["a"], executor=pool)
    assert "a-token" not in "".join(traceback.format_exception(raised.value))


def test_dask_sends_no_secrets(pool: Executor, platform: local.Platform) -> None:
    """No bytes that cross hold a token or a secret."""
    stored = tap(set_secret("API_KEY", from_env("THE_SECRET")))
    fine: Step[str, Any] = ephemeral(stored | start | exec("test $API_KEY", check=True))
    fails: Step[str, Any] = ephemeral(stored | exec("exit 3", check=True))
    customs = Customs(pool)
    with using(Config(read_timeout=20)), tracing():
        results = fan_out(fine, ["a", "b"], executor=customs) + fan_out(fails, ["c"], executor=customs)
    assert [type(result) for result in results] == [Success, Success, Failure]
    assert len(customs.crossed) == 6
    for seen in customs.crossed:
        assert b"pocketenv_fp" in seen
        assert platform.token.encode() not in seen
        assert SECRET.encode() not in seen


def test_dask_from_env(pool: Executor) -> None:
    """A from_env secret is read in the worker."""
    stored = tap(set_secret("API_KEY", from_env("THE_SECRET")))
    work: Step[str, Any] = ephemeral(stored | start | exec("printenv API_KEY | md5sum; printenv API_KEY >&2") | check)
    assert SECRET.encode() not in pickle.dumps(work)
    (result,) = fan_out(work, ["my-box"], executor=pool)
    assert result.unwrap().stderr == f"{SECRET}\n"


def test_dask_progress_and_trace(pool: Executor) -> None:
    """Progress is reported, and the trace has the steps of the workers."""
    progress_calls: list[tuple[int, int | None]] = []
    with tracing() as seen:
        fan_out(
            ephemeral(start | exec("true")),
            ["a", "b"],
            executor=pool,
            progress=lambda done, total: progress_calls.append((done, total)),
        )
    assert progress_calls[0] == (0, 2)
    assert progress_calls[-1] == (2, 2)
    assert {record.lane for record in seen.steps} == {"a", "b"}
    assert seen.requests == 10


def test_dask_exception(pool: Executor) -> None:
    """A TypeError in a worker is raised by fan_out."""
    with pytest.raises(TypeError, match="exec takes a Sandbox"):
        fan_out(cast("Any", exec("ls")), ["not a sandbox"], executor=pool)


def until_nothing_is_left() -> None:
    deadline = time.monotonic() + 30
    while mine() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert mine() == []


def test_dask_exception_cancels(pool: Executor, platform: local.Platform) -> None:
    """After an exception no further targets start, and those that have begun release their sandboxes."""
    before = platform.faults.worked(CREATE)
    work = stumble | ephemeral(start | exec("sleep 0.3"))
    with pytest.raises(ZeroDivisionError):
        fan_out(work, ["raises", *(f"box-{number}" for number in range(60))], executor=pool)
    until_nothing_is_left()
    begun = platform.faults.worked(CREATE) - before
    assert 0 < begun < 50
    time.sleep(0.5)
    assert platform.faults.worked(CREATE) - before == begun


PROGRAM = """
import sys
from distributed import Client
from pocketenv_fp import ephemeral, exec, fan_out, start

with Client(sys.argv[1]) as client:
    print("begun", flush=True)
    work = ephemeral(start | exec("sleep 0.3"))
    fan_out(work, [f"box-{number}" for number in range(60)], executor=client.get_executor())
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)])
def test_dask_program_stopped(
    cluster: Any, environment: dict[str, str], platform: local.Platform, number: signal.Signals, code: int
) -> None:
    """A stopped program leaves no sandboxes, and its queued targets do not start."""
    before = platform.faults.worked(CREATE)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, cluster.scheduler.address],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "begun\n"
        deadline = time.monotonic() + 30
        while not mine() and time.monotonic() < deadline:
            time.sleep(0.02)
        program.send_signal(number)
        _, wrong = program.communicate(timeout=240)
    assert program.returncode == code, wrong
    until_nothing_is_left()
    assert 0 < platform.faults.worked(CREATE) - before < 50


@step(str)
def die(name: str) -> Result[str, PocketenvError]:
    if name == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    return Success(name)


def test_dask_worker_lost(pool: Executor) -> None:
    """A dead worker is the Failure WorkerLost, and the cluster still works."""
    results = fan_out(die, ["a", "dies", "b"], executor=pool)
    assert results[1] == Failure(WorkerLost())
    # Either may have been on that worker.
    assert all(
        result in {Success(name), Failure(WorkerLost())} for result, name in zip(results[::2], "ab", strict=True)
    )
    assert fan_out(die, ["c", "d"], executor=pool) == [Success("c"), Success("d")]


def test_dask_leaves_no_files(cluster: Any, environment: dict[str, str]) -> None:
    """The cluster leaves no files in the home or working directories."""
    del environment
    homes, folders = (set(cluster.run(place).values()) for place in (Path.home, Path.cwd))
    assert [home.name for home in homes] == ["nobody"]
    assert [home for home in homes if home.exists()] == []
    assert [found for folder in {Path.cwd(), *folders} for found in folder.glob("*dask*")] == []
