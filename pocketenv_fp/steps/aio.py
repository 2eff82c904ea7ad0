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
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar, cast
from weakref import WeakKeyDictionary

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


class Pending(Coroutine[Any, Any, Result[B, PocketenvError]]):
    """A step on its target, to be awaited for its Result. It runs once, also if it is awaited several times.

    It is a coroutine to asyncio: ``asyncio.run``, ``create_task`` and a TaskGroup take it. Unlike a coroutine, several
    tasks may await it. One that is never awaited runs nothing, and Python shows a RuntimeWarning.
    """

    def __init__(self, step: object, work: Callable[[], Result[B, PocketenvError]]) -> None:
        self._step = step
        self._work = work
        self._future: Future[Result[B, PocketenvError]] | None = None
        self._is_used = False
        # Each task of asyncio drives an await of its own.
        self._awaits: WeakKeyDictionary[asyncio.Task[Any], Generator[Any, Any, Result[B, PocketenvError]]]
        self._awaits = WeakKeyDictionary()

    def answer(self, result: Result[B, PocketenvError]) -> None:
        """Set the Result without running the step."""
        self._future = Future()
        self._future.set_result(result)

    def __await__(self) -> Generator[Any, Any, Result[B, PocketenvError]]:
        self._is_used = True
        return self._awaited()

    def _awaited(self) -> Generator[Any, Any, Result[B, PocketenvError]]:
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

    def send(self, value: Any, /) -> Any:
        """Go on with the await of the current task. asyncio calls this."""
        return self._of_task().send(value)

    def throw(self, typ: Any, val: Any = None, tb: Any = None, /) -> Any:
        """Raise an exception in the await of the current task. asyncio calls this."""
        if isinstance(typ, BaseException) and val is None and tb is None:
            return self._of_task().throw(typ)
        return self._of_task().throw(typ, val, tb)

    def close(self) -> None:
        """End the awaits of tasks. A step that has started runs to its end."""
        self._is_used = True
        for each in list(self._awaits.values()):
            each.close()

    def _of_task(self) -> Generator[Any, Any, Result[B, PocketenvError]]:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError(f"{self!r} is awaited outside of a task: write asyncio.run(…), or await it")
        if task not in self._awaits:
            self._awaits[task] = self.__await__()
        return self._awaits[task]

    @property
    def __name__(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  # nothing sets it
        # asyncio shows it in the repr of a task.
        return repr(self._step)

    def __repr__(self) -> str:
        return f"<awaitable of {self._step!r}>"

    def __del__(self, warn: Callable[..., None] = warnings.warn) -> None:
        if not self._is_used:
            text = f"{self._step!r} was never awaited, so it did not run: write await aio(step)(target)"
            warn(text, RuntimeWarning, stacklevel=2, source=self)


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
        queue: asyncio.Queue[Piece] = asyncio.Queue()
        room = threading.Semaphore(PIECES)

        def work() -> Result[B, PocketenvError]:
            with listening(partial(_put, queue, room, loop, stop)), stoppable(stop):
                return self._work()

        self._future = _threads.pool().submit(self._context.run, work)
        running = asyncio.wrap_future(self._future)
        try:
            while not running.done():
                if (piece := await _next(queue, running)) is not None:
                    room.release()
                    yield piece
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


async def _next(queue: asyncio.Queue[Piece], running: asyncio.Future[Any]) -> Piece | None:
    """Return the next piece, or None if the step has ended before."""
    getting = asyncio.ensure_future(queue.get())
    awaited: set[asyncio.Future[Any]] = {getting, running}
    try:
        await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not getting.done():
            getting.cancel()
    return getting.result() if getting.done() else None


def _put(
    queue: asyncio.Queue[Piece],
    room: threading.Semaphore,
    loop: asyncio.AbstractEventLoop,
    stop: threading.Event,
    piece: Piece,
) -> None:
    """Hand a piece to the loop, from another thread. Wait while the queue has no room."""
    while not stop.is_set():
        if room.acquire(timeout=LOOK_SECONDS):
            break
        if loop.is_closed():
            stop.set()
    else:
        return
    try:
        # Not queue.put in the loop: a loop that closes before it runs would leave a coroutine that is never awaited.
        loop.call_soon_threadsafe(queue.put_nowait, piece)
    except RuntimeError:
        # A closed loop reads no more.
        stop.set()


@dataclass(frozen=True, repr=False)
class Aio(Generic[A, B]):
    """An awaitable form of a step: the result of `aio`."""

    _step: Step[A, B]

    def __call__(self, target: A | None | Result[A | None, PocketenvError], /) -> Pending[B]:
        """Return an awaitable for the Result of the step on ``target``."""
        pending: Pending[B] = Pending(self, partial(copy_context().run, partial(self._step, target)))
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

    def __repr__(self) -> str:
        return f"aio({self._step!r})"


def aio(step: Step[A, B]) -> Aio[A, B]:
    """Make a step or a pipeline awaitable. Returns a function of the target. Await its value for the Result.

    The step starts when it is awaited, in a thread, with the configuration of the `using` blocks around the call. Up to
    256 steps run at once in a process. All awaits of one value yield the same Result. ``asyncio.run``, ``create_task``
    and a TaskGroup take the value as they take a coroutine. For chains of `returns`,
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
