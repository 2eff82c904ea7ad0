"""Run blocking work outside of the event loop."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def aside(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work` in a thread of its own. Return or raise its result.

    A pool has a limit, and hundreds of commands may sleep at once. Python also joins its threads at exit, before the
    commands that they wait for can be killed. A daemon thread has neither problem and costs less than a tenth of a
    millisecond.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)  # type: ignore[arg-type]
        else:
            future.set_exception(error)

    def body() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = work(*args, **kwargs)
        except BaseException as caught:  # noqa: BLE001 - raised again where the answer is awaited
            error = caught
        # Refused where the loop ended first: the platform is closed and no caller waits for this answer.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=body, name="pocketenv-work", daemon=True).start()
    return await future
