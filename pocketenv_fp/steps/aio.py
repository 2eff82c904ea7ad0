"""Run steps from asyncio: notebooks and servers await them without blocking the event loop.

>>> import asyncio
>>> from pocketenv_fp import aio, create, exec, start, stdout
>>> async def main():
...     hello = aio(create | start | exec("echo hello") | stdout)
...     return await asyncio.gather(hello("box-1"), hello("box-2"))
>>> asyncio.run(main())
[<Success: hello
>, <Success: hello
>]
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, Generic, TypeVar, cast

from returns.future import FutureResult
from returns.result import Failure, Result

from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.forking import after_fork
from pocketenv_fp.models import Piece
from pocketenv_fp.runtime.deadline import stoppable
from pocketenv_fp.steps.listening import listening
from pocketenv_fp.steps.operation import demand_step
from pocketenv_fp.steps.step import Step

__all__ = ["Aio", "Pending", "Pieces", "aio"]

A = TypeVar("A")
B = TypeVar("B")

# Equal to the number of pooled connections to one host. A waiting thread costs very little.
WORKERS = 256
LOOK_SECONDS = 0.1


class _Threads:
    """The worker threads. They are created when needed, and joined when Python exits."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        # A forked child has none of its parent's threads.
        self._guard = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def pool(self) -> ThreadPoolExecutor:
        with self._guard:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(WORKERS, "pocketenv-aio")
            return self._pool


_threads = _Threads()
after_fork(_threads.forget)


class Pending(Generic[B]):
    """A step on its target, to be awaited for its Result. It runs once, also if it is awaited several times."""

    def __init__(self, work: Callable[[], Result[B, PocketenvError]]) -> None:
        self._work = work
        self._future: Future[Result[B, PocketenvError]] | None = None

    def answer(self, result: Result[B, PocketenvError]) -> None:
        """Set the Result without running the step."""
        self._future = Future()
        self._future.set_result(result)

    def __await__(self) -> Generator[Any, None, Result[B, PocketenvError]]:
        while True:
            # Only a future that still waits for a thread can be cancelled: its work has not started.
            if self._future is None or self._future.cancelled():
                self._future = _threads.pool().submit(self._work)
            future = self._future
            try:
                return (yield from asyncio.wrap_future(future).__await__())
            except asyncio.CancelledError:
                task = asyncio.current_task()
                # Another task that awaits the same future may have been cancelled.
                if not future.cancelled() or task is None or task.cancelling():
                    raise


PIECES = 16


class Pieces(Generic[B]):
    """The output of a step while it runs, as an async iterator. Await it for the Result. It is read once."""

    def __init__(self, work: Callable[[], Result[B, PocketenvError]]) -> None:
        self._work = work
        self._context = copy_context()
        self._future: Future[Result[B, PocketenvError]] | None = None

    async def __aiter__(self) -> AsyncIterator[Piece]:
        if self._future is not None:
            raise RuntimeError("the pieces of a step are read once: call .pieces(…) again to run it again")
        loop, stop = asyncio.get_running_loop(), threading.Event()
        queue: asyncio.Queue[Piece] = asyncio.Queue(PIECES)

        def work() -> Result[B, PocketenvError]:
            with listening(partial(_put, queue, loop, stop)), stoppable(stop):
                return self._work()

        self._future = _threads.pool().submit(self._context.run, work)
        running = asyncio.wrap_future(self._future)
        try:
            while not running.done():
                getting = asyncio.ensure_future(queue.get())
                awaited: set[asyncio.Future[Any]] = {getting, running}
                try:
                    await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if not getting.done():
                        getting.cancel()
                if getting.done() and not getting.cancelled():
                    yield getting.result()
            while not queue.empty():
                yield queue.get_nowait()
        finally:
            stop.set()

    def __await__(self) -> Generator[Any, None, Result[B, PocketenvError]]:
        return self._result().__await__()

    async def _result(self) -> Result[B, PocketenvError]:
        if self._future is None:
            async for _ in self:
                pass
        return await asyncio.wrap_future(cast("Future[Result[B, PocketenvError]]", self._future))


def _put(queue: asyncio.Queue[Piece], loop: asyncio.AbstractEventLoop, stop: threading.Event, piece: Piece) -> None:
    """Hand a piece to the loop, from another thread. Wait while the queue is full."""
    coming = queue.put(piece)
    try:
        putting = asyncio.run_coroutine_threadsafe(coming, loop)
    except RuntimeError:
        # The loop is closed: nothing reads any more.
        coming.close()
        stop.set()
        return
    while not (stop.is_set() or loop.is_closed()):
        try:
            putting.result(LOOK_SECONDS)
        except TimeoutError:
            continue
        return
    if not loop.is_closed():
        putting.cancel()


class Aio(Generic[A, B]):
    """An awaitable form of a step: the result of `aio`."""

    def __init__(self, step: Step[A, B]) -> None:
        self._step = step

    def __call__(self, target: A | None | Result[A | None, PocketenvError], /) -> Pending[B]:
        """Return an awaitable for the Result of the step on ``target``."""

        def work() -> Result[B, PocketenvError]:
            return self._step(target)

        pending: Pending[B] = Pending(partial(copy_context().run, work))
        if isinstance(target, Failure):
            # A Failure is passed on without a thread.
            pending.answer(cast("Failure[PocketenvError]", target))
        return pending

    def future(self, target: A | None | Result[A | None, PocketenvError], /) -> FutureResult[B, PocketenvError]:
        """Return a composable FutureResult of `returns` for the step on ``target``. Awaiting it yields an IOResult.

        >>> import asyncio
        >>> from pocketenv_fp import aio, exec, get_sandbox, stdout
        >>> async def main():
        ...     return await aio(get_sandbox).future("no-such-box").bind(aio(exec("ls")).future).bind_result(stdout)
        >>> asyncio.run(main())
        <IOResult: <Failure: exec: the step before returned no sandbox (404 SandboxNotFound). ...>>
        """
        return FutureResult(self(target))

    def pieces(self, target: A | None | Result[A | None, PocketenvError], /) -> Pieces[B]:
        r"""Return an async iterator over what the commands of the step print on ``target``. Await it for the Result.

        Commands with an ``on_output`` of their own are left out. A loop that is slow slows down the reading. Leaving the
        loop early, or cancelling its task, ends the step as `within` does: a command is killed, and the job of a
        `follow` runs on.

        >>> import asyncio
        >>> from pocketenv_fp import aio, create, exec, start
        >>> async def main():
        ...     pieces = aio(create | start | exec("echo begun; sleep 0.3; echo done")).pieces("my-box")
        ...     async for piece in pieces:
        ...         print(piece, end="")
        ...     return await pieces
        >>> asyncio.run(main())
        begun
        done
        <Success: ExecResult(stdout='begun\ndone\n', stderr='', exit_code=0)>
        """
        return Pieces(partial(self._step, target))

    def __eq__(self, other: object) -> bool:
        return self._step == other._step if isinstance(other, Aio) else NotImplemented

    def __hash__(self) -> int:
        return hash((Aio, self._step))

    def __repr__(self) -> str:
        return f"aio({self._step!r})"


def aio(step: Step[A, B]) -> Aio[A, B]:
    """Make a step or a pipeline awaitable. Returns a function of the target. Await its value for the Result.

    The step starts when it is awaited, in a thread, with the configuration of the `using` blocks around the call. Up to
    256 steps run at once in a process. All awaits of one value yield the same Result. For chains of `returns`,
    ``aio(step).future(target)`` returns a FutureResult: continue with ``.bind(aio(…).future)``.

    Cancelling a task, or a timeout of asyncio, stops the waiting and not the work. A step that has started runs to its
    end, so that `managed` and `ephemeral` release their sandboxes. Await the value again for its Result. A step that
    has not started is never run. `within` limits the work itself. When Python exits, also after Ctrl-C, it waits for
    started steps. SIGTERM and SIGHUP do not wait, unless the program handles it: ``loop.add_signal_handler(signal.SIGTERM,
    task.cancel)``.

    Args:
        step: The step or pipeline.

    >>> import asyncio
    >>> from pocketenv_fp import aio, exec, get_sandbox, stdout
    >>> async def main():
    ...     return await aio(get_sandbox | exec("ls"))("no-such-box")
    >>> asyncio.run(main())
    <Failure: exec: the step before returned no sandbox (404 SandboxNotFound). ...>
    >>> aio(exec("ls") | stdout)
    aio(exec('ls') | stdout())
    """
    demand_step(step, "aio")
    return Aio(step)
