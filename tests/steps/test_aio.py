"""Steps in asyncio: the loop goes on, the results are the same, and giving up stops no work half way."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import TypeVar

import pytest
from returns.io import IOSuccess
from returns.result import Failure, Result, Success

from pocketenv_fp import (
    Config,
    ExecResult,
    NotLoggedIn,
    PocketenvError,
    Sandbox,
    aio,
    create,
    ephemeral,
    exec,
    get_sandbox,
    iter_sandboxes_by_actor,
    local,
    me,
    start,
    stdout,
    tracing,
    using,
    wait_until_running,
    within,
)
from pocketenv_fp.steps import aio as asynchronous
from pocketenv_fp.steps.aio import WORKERS, Aio, Pending
from pocketenv_fp.steps.operation import step

pytestmark = pytest.mark.usefixtures("environment")

B = TypeVar("B")
HERE = threading.Barrier(2, timeout=120)


@step(str)
def where(name: str) -> Result[str, PocketenvError]:
    return Success(f"{name} in {threading.current_thread().name}")


@step(str)
def stumble(name: str) -> Result[str, PocketenvError]:
    raise RuntimeError(name)


@step(str)
def meet(name: str) -> Result[str, PocketenvError]:
    HERE.wait()
    return Success(name)


def test_aio_result() -> None:
    """Awaiting returns the Result of the step."""

    async def main() -> object:
        return await aio(create | start | exec("echo hello") | stdout)("my-box")

    assert asyncio.run(main()) == Success("hello\n")
    again = asyncio.run(main())
    assert again == Failure(create("my-box").failure())


def test_aio_loop_runs() -> None:
    """The loop runs on while a step waits for it."""

    # The step ends when it meets the loop: a loop that it blocks never comes.
    async def main() -> object:
        begun = asyncio.ensure_future(aio(meet)("both"))
        while HERE.n_waiting == 0:  # noqa: ASYNC110  # a barrier of threads has no event
            await asyncio.sleep(0.001)
        await asyncio.get_running_loop().run_in_executor(None, HERE.wait)
        return await begun

    assert asyncio.run(main()) == Success("both")


def test_aio_twenty_at_once() -> None:
    """Twenty commands run at once, and the loop still ticks."""

    # Each waits for all the others, and for a file that the loop makes later: in turns, or with the loop blocked, none ends.
    async def main(box: Sandbox) -> tuple[list[object], int]:
        together = "while ! test -e go || test $(ls begun-* | wc -l) -lt 20; do sleep 0.02; done"
        waiting = exec(f"mktemp begun-XXXXXX >/dev/null; {together}; echo done", timeout=120)
        runs = [asyncio.ensure_future(_awaited(aio(waiting)(box))) for _ in range(20)]
        ticks = 0
        while ticks < 50:
            ticks += 1
            await asyncio.sleep(0.005)
            assert not any(run.done() for run in runs)
        await aio(exec("touch go"))(box)
        return list(await asyncio.gather(*runs)), ticks

    # On Cloudflare the commands of a sandbox run one after the other.
    made = (create("my-box", provider="modal") | wait_until_running).unwrap()
    results, ticks = asyncio.run(main(made))
    assert ticks == 50
    assert results == ["done\n"] * 20


def _names() -> list[str]:
    return [box.unwrap().name for box in iter_sandboxes_by_actor(me().unwrap().did)]


async def _awaited(pending: Pending[ExecResult]) -> object:
    return (await pending).unwrap().stdout


async def _result(pending: Pending[B]) -> Result[B, PocketenvError]:
    return await pending


def test_aio_gather_order() -> None:
    """The results of 300 steps are in the order of their targets."""

    async def main() -> list[object]:
        return list(await asyncio.gather(*(aio(where)(f"n{number}") for number in range(300))))

    results = asyncio.run(main())
    assert len(results) == 300
    for number, result in enumerate(results):
        assert str(result).startswith(f"<Success: n{number} in pocketenv-aio")


def test_aio_failure_without_thread() -> None:
    """A Failure as the target starts no thread."""

    async def main() -> object:
        return await aio(where)(Failure(NotLoggedIn()))

    asynchronous._threads.forget()  # pyright: ignore[reportPrivateUsage]
    before = set(threading.enumerate())
    assert asyncio.run(main()) == Failure(NotLoggedIn())
    assert set(threading.enumerate()) <= before


def test_future_composes() -> None:
    """A FutureResult of a step composes as those of returns do, and is awaited as an IOResult."""

    async def both() -> tuple[object, object]:
        made = aio(create).future("my-box").bind_result(start | exec("echo hello") | stdout).map(str.strip)
        missing = aio(get_sandbox).future("no-such-box").bind(aio(exec("ls")).future)
        return await made, await missing

    made, missing = asyncio.run(both())
    assert made == IOSuccess("hello")
    assert "SandboxNotFound" in str(missing)


def test_pending_awaited_twice() -> None:
    """Several awaits of one value run the step once."""

    async def main(name: str) -> list[object]:
        future = aio(create)(name)
        together = await asyncio.gather(*(future for _ in range(3)))
        return [*together, await future, await future]

    first, *others = asyncio.run(main("my-box"))
    assert isinstance(first, Success)
    assert others == [first] * 4


def test_pending_two_loops() -> None:
    """One value can be awaited in two loops."""
    future = aio(create)("my-box")
    assert asyncio.run(_result(future)) == asyncio.run(_result(future)) == Success(get_sandbox("my-box").unwrap())


def test_aio_config() -> None:
    """The configuration around the call applies, wherever the value is awaited."""

    async def main() -> object:
        with using(Config(token="nobody's", api_url="ftp://nowhere")):
            future = aio(create)("my-box")
        return await future

    assert "api_url" in str(asyncio.run(main()))


def test_aio_tracing() -> None:
    """Steps that are awaited in a tracing block are in its trace."""

    async def main() -> list[str]:
        with tracing() as seen:
            await asyncio.gather(aio(create)("a"), aio(create)("b"))
        return [record.step for record in seen.steps]

    assert asyncio.run(main()) == ["create()", "create()"]


def test_aio_timeout_keeps_work() -> None:
    """A timeout of asyncio stops the wait, and the work runs to its end."""

    async def main() -> bool:
        work = ephemeral(start | exec("sleep 1; echo done"))
        running = asyncio.ensure_future(_awaited(aio(work)("given-up")))
        while not await asyncio.to_thread(_names):  # noqa: ASYNC110  # the platform sets no event
            await asyncio.sleep(0.01)
        try:
            await asyncio.wait_for(running, 0.01)
        except TimeoutError:
            return True
        return False

    assert asyncio.run(main())
    assert [name[:8] for name in _names()] == ["given-up"]
    _wait_until_nothing_is_left()


def test_pending_after_timeout() -> None:
    """The result can be awaited again after a timeout."""

    async def main() -> object:
        future = aio(meet)("late")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(future, 0.1)
        waiting = asyncio.ensure_future(future)
        await asyncio.get_running_loop().run_in_executor(None, HERE.wait)
        return await waiting

    assert asyncio.run(main()) == Success("late")


def test_pending_cancelled_in_queue() -> None:
    """A value that is cancelled in the queue does not start, and runs when awaited later."""
    began: list[str] = []
    go = threading.Event()

    @step(str)
    def wait(name: str) -> Result[str, PocketenvError]:
        began.append(name)
        go.wait(120)
        return Success(name)

    async def main() -> tuple[list[str], object]:
        runs = [asyncio.ensure_future(aio(wait)(f"n{number}")) for number in range(WORKERS)]
        while len(began) < WORKERS:  # noqa: ASYNC110  # threads set no event of a loop
            await asyncio.sleep(0.001)
        future = aio(wait)("too-many")
        late = asyncio.ensure_future(future)
        await asyncio.sleep(0)
        late.cancel()
        with pytest.raises(asyncio.CancelledError):
            await late
        go.set()
        await asyncio.gather(*runs)
        return list(began), await future

    before, after = asyncio.run(main())
    assert len(before) == WORKERS
    assert "too-many" not in before
    assert after == Success("too-many")


def test_pending_cancelled_waiter() -> None:
    """Cancelling one of three waiters leaves the others waiting."""
    go = threading.Event()
    began: list[str] = []

    @step(str)
    def wait(name: str) -> Result[str, PocketenvError]:
        began.append(name)
        go.wait(120)
        return Success(name)

    async def main() -> list[object]:
        runs = [asyncio.ensure_future(aio(wait)(f"n{number}")) for number in range(WORKERS)]
        while len(began) < WORKERS:  # noqa: ASYNC110  # threads set no event of a loop
            await asyncio.sleep(0.001)
        future = aio(wait)("shared")
        first, *others = [asyncio.ensure_future(future) for _ in range(3)]
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        assert first.cancelled()
        go.set()
        await asyncio.gather(*runs)
        return list(await asyncio.gather(*others))

    assert asyncio.run(main()) == [Success("shared")] * 2
    assert began.count("shared") == 1


def _wait_until_nothing_is_left() -> None:
    mine = me().unwrap().did
    while any(True for _ in iter_sandboxes_by_actor(mine)):
        threading.Event().wait(0.05)


def test_pending_in_task_group() -> None:
    """A TaskGroup takes awaitables as it takes coroutines. Several tasks may await one."""

    async def main() -> list[Result[str, PocketenvError]]:
        shared = aio(create | start | exec("echo shared") | stdout)("shared")
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in (shared, aio(where)("own"), shared)]
            assert "aio(where())" in repr(tasks[1])
        return [task.result() for task in tasks]

    first, own, second = asyncio.run(main())
    assert first == second == Success("shared\n")
    assert own.unwrap().startswith("own in pocketenv-aio")


def test_pending_in_run() -> None:
    """`asyncio.run` takes it without an async function."""
    assert asyncio.run(aio(create | start | exec("echo hello") | stdout)("my-box")) == Success("hello\n")


def test_pending_task_cancelled() -> None:
    """A task that is cancelled before it starts runs nothing, and the value can be awaited later."""

    async def main() -> object:
        pending = aio(where)("later")
        task = asyncio.create_task(pending)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        return await pending

    assert str(asyncio.run(main())).startswith("<Success: later in")


def test_pending_without_loop() -> None:
    """It has no await of its own without a loop."""
    pending = aio(where)("nowhere")
    with pytest.raises(RuntimeError):
        pending.send(None)
    pending.close()


def test_pending_never_awaited() -> None:
    """A forgotten await is no silence."""
    pending = aio(where)("forgotten")
    with pytest.warns(RuntimeWarning, match=r"aio\(where\(\)\) was never awaited, so it did not run: write await"):
        del pending


def test_aio_within() -> None:
    """A step in within ends its work when the time is over."""

    async def main() -> object:
        return await aio(within(0.2, ephemeral(start | exec("sleep 20"))))("short")

    assert "not done within 0.2 s" in str(asyncio.run(main()))
    _wait_until_nothing_is_left()


def test_aio_exception() -> None:
    """An exception of the step is raised where it is awaited."""

    async def main() -> object:
        return await aio(stumble)("here")

    with pytest.raises(RuntimeError, match="here"):
        asyncio.run(main())


def test_aio_refuses() -> None:
    """Values that are no step raise a TypeError."""
    with pytest.raises(TypeError, match=r"exec needs arguments: write `\| exec"):
        aio(exec)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportUnknownVariableType]
    with pytest.raises(TypeError, match="aio: expected a step, got str"):
        aio("ls")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportUnknownVariableType]


def test_aio_value() -> None:
    """Aio objects print as source, compare, hash and pickle."""
    made = aio(create | start)
    assert repr(made) == "aio(create() | start())"
    assert eval(repr(made)) == made
    assert hash(made) == hash(aio(create | start))
    assert made != aio(create)
    assert made != create | start
    assert pickle.loads(pickle.dumps(made)) == made
    assert isinstance(made, Aio)


PROGRAM = """
import asyncio, signal
from pocketenv_fp import aio, ephemeral, exec, list_sandboxes_by_actor, me, start

async def main():
    work = asyncio.ensure_future(aio(ephemeral(start | exec("sleep 1")))("left-behind"))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)
    mine = me().unwrap().did
    while not await asyncio.to_thread(lambda: list_sandboxes_by_actor(mine).unwrap()):
        await asyncio.sleep(0.01)
    print("begun", flush=True)
    await asyncio.sleep(SECONDS)

try:
    asyncio.run(main())
finally:
    print("the loop is over")
"""


@pytest.mark.parametrize(
    ("number", "code"), [(None, 0), (signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 1)], ids=["end", "INT", "TERM"]
)
def test_aio_exit_waits(
    environment: dict[str, str], platform: local.Platform, number: signal.Signals | None, code: int
) -> None:
    """Python waits at exit for steps that have begun, also after a signal."""
    seconds = "0" if number is None else "60"
    before = platform.faults.worked("sandbox.createSandbox")
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM.replace("SECONDS", seconds)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        assert program.stdout.readline() == "begun\n"
        if number is not None:
            program.send_signal(number)
        # Not by communicate(), which does not know what was read together with the first line.
        output, errors = program.stdout.read(), program.stderr.read()
    assert (program.returncode, output) == (code, "the loop is over\n")
    assert "pocketenv_fp" not in errors
    assert bool(errors) == (number is not None)
    assert platform.faults.worked("sandbox.createSandbox") == before + 1
    assert not list(iter_sandboxes_by_actor(me().unwrap().did))


def test_aio_lazy_import() -> None:
    """Importing the library does not import asyncio."""
    code = "import sys, pocketenv_fp; pocketenv_fp.fan_out; print('asyncio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "False\n"


@pytest.fixture(autouse=True)
def _nothing_is_left(platform: local.Platform) -> Iterator[None]:
    """A coroutine that is never awaited causes a warning when it is collected: here, and not in another test."""
    del platform
    yield
    gc.collect()
