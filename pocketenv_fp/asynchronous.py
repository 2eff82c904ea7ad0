"""Steps for asyncio: notebooks and servers await them, and their loop goes on meanwhile.

>>> import asyncio
>>> from pocketenv_fp import aio, create, exec, start, stdout
>>> async def main():
...     hello = aio(create | start | exec("echo hello") | stdout)
...     return await asyncio.gather(hello("box-1"), hello("box-2"))
>>> asyncio.run(main())
[<IOResult: <Success: hello
>>, <IOResult: <Success: hello
>>]
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Generic, TypeVar, cast

from returns.future import FutureResult
from returns.primitives.reawaitable import ReAwaitable
from returns.result import Failure, Result

from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.operation import Operation, Step, is_step

__all__ = ["Aio", "aio"]

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


async def _done(work: Callable[[], Result[B, PocketenvError]]) -> Result[B, PocketenvError]:
    return await asyncio.get_running_loop().run_in_executor(_threads.pool(), work)


class Aio(Generic[A, B]):
    """What `aio` gives: a step, to be awaited."""

    def __init__(self, step: Step[A, B]) -> None:
        self._step = step

    def __call__(self, target: A | None | Result[A | None, PocketenvError], /) -> FutureResult[B, PocketenvError]:
        if isinstance(target, Failure):
            return FutureResult.from_failure(cast("Failure[PocketenvError]", target).failure())

        def work() -> Result[B, PocketenvError]:
            return self._step(target)

        # What is configured here counts, wherever it is awaited.
        done = _done(partial(copy_context().run, work))
        return FutureResult(cast("Awaitable[Result[B, PocketenvError]]", ReAwaitable(done)))

    def __eq__(self, other: object) -> bool:
        return self._step == other._step if isinstance(other, Aio) else NotImplemented

    def __hash__(self) -> int:
        return hash((Aio, self._step))

    def __repr__(self) -> str:
        return f"aio({self._step!r})"


def aio(step: Step[A, B]) -> Aio[A, B]:
    """Make a step or a pipeline awaitable. Gives a function of the target, which gives a FutureResult of `returns`.

    It begins when it is awaited, in a thread of its own, up to 256 at once in a process, with the configuration of the
    `using` blocks around the call. Awaited, it is an IOResult with the same value or the same Failure; awaited again,
    the same once more. ``bind_result`` takes further steps, ``bind_async`` coroutines.

    To cancel a task, or to give it up after a time, stops the waiting and not the work: what has begun goes on to its
    end, so that `managed` and `ephemeral` release what they made, and Python waits for it when it ends. `within` limits
    the work itself.

    >>> import asyncio
    >>> from pocketenv_fp import aio, exec, get_sandbox, stdout
    >>> async def main():
    ...     return await aio(get_sandbox)("no-such-box").bind_result(exec("ls") | stdout)
    >>> asyncio.run(main())
    <IOResult: <Failure: exec: no sandbox came from the step before (404 SandboxNotFound). ...>>
    >>> aio(exec("ls") | stdout)
    aio(exec('ls') | stdout())
    """
    if isinstance(step, Operation):
        raise TypeError(step.needs_arguments())
    if not is_step(step):
        raise TypeError(f"aio: a step is needed, not a {type(step).__name__}")
    return Aio(step)
