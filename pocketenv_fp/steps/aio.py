"""Steps for asyncio: notebooks and servers await them, and their loop goes on meanwhile.

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
import os
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, Generic, TypeVar, cast

from returns.future import FutureResult
from returns.result import Failure, Result

from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.steps.operation import Step, demand_step

__all__ = ["Aio", "Pending", "aio"]

A = TypeVar("A")
B = TypeVar("B")

# As many as there are pooled connections to one host. A thread that waits costs next to nothing.
WORKERS = 256


class _Threads:
    """The threads that do the work: made when they are needed, and waited for when Python ends."""

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
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.forget)


class Pending(Generic[B]):
    """A step on its target, to be awaited for its Result. It runs once, however often it is awaited."""

    def __init__(self, work: Callable[[], Result[B, PocketenvError]]) -> None:
        self._work = work
        self._begun: Future[Result[B, PocketenvError]] | None = None

    def answer(self, result: Result[B, PocketenvError]) -> None:
        """Set the Result that awaiting it yields."""
        self._begun = Future()
        self._begun.set_result(result)

    def __await__(self) -> Generator[Any, None, Result[B, PocketenvError]]:
        while True:
            # Cancelled is only what had to wait for a thread: nothing of it has been done.
            if self._begun is None or self._begun.cancelled():
                self._begun = _threads.pool().submit(self._work)
            begun = self._begun
            try:
                return (yield from asyncio.wrap_future(begun).__await__())
            except asyncio.CancelledError:
                task = asyncio.current_task()
                # It may have been another one, who awaited it too, that was cancelled.
                if not begun.cancelled() or task is None or task.cancelling():
                    raise


class Aio(Generic[A, B]):
    """What `aio` gives: a step, to be awaited."""

    def __init__(self, step: Step[A, B]) -> None:
        self._step = step

    def __call__(self, target: A | None | Result[A | None, PocketenvError], /) -> Pending[B]:
        """Return what is awaited for the Result of the step on ``target``."""

        def work() -> Result[B, PocketenvError]:
            return self._step(target)

        pending: Pending[B] = Pending(partial(copy_context().run, work))
        if isinstance(target, Failure):
            # No thread is needed to pass it on.
            pending.answer(cast("Failure[PocketenvError]", target))
        return pending

    def future(self, target: A | None | Result[A | None, PocketenvError], /) -> FutureResult[B, PocketenvError]:
        """Return a FutureResult of `returns` for the step on ``target``, which composes and is awaited as an IOResult.

        >>> import asyncio
        >>> from pocketenv_fp import aio, exec, get_sandbox, stdout
        >>> async def main():
        ...     return await aio(get_sandbox).future("no-such-box").bind(aio(exec("ls")).future).bind_result(stdout)
        >>> asyncio.run(main())
        <IOResult: <Failure: exec: the step before returned no sandbox (404 SandboxNotFound). ...>>
        """
        return FutureResult(self(target))

    def __eq__(self, other: object) -> bool:
        return self._step == other._step if isinstance(other, Aio) else NotImplemented

    def __hash__(self) -> int:
        return hash((Aio, self._step))

    def __repr__(self) -> str:
        return f"aio({self._step!r})"


def aio(step: Step[A, B]) -> Aio[A, B]:
    """Make a step or a pipeline awaitable. Return a function of the target, whose value is awaited for the Result.

    It begins when it is awaited, in a thread of its own, up to 256 at once in a process, with the configuration of the
    `using` blocks around the call. Awaited again, or by many at once, it yields the same Result once more. For chains
    of `returns` there is ``aio(step).future(target)``, a FutureResult: ``.bind(aio(…).future)`` goes on with a further
    step.

    To cancel a task, or to give it up after a time, stops the waiting and not the work. What has begun goes on to its
    end, so that `managed` and `ephemeral` release what they made: await it again to have its result. What has not begun
    never does. `within` limits the work itself. When Python ends, after Ctrl-C too, it waits for what has begun.
    SIGTERM waits for nothing, unless the program says so: ``loop.add_signal_handler(signal.SIGTERM, task.cancel)``.

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
