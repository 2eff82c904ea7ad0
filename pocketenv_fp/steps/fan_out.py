r"""One pipeline over many targets, and what to do with the results.

>>> from pocketenv_fp import check, collect, ephemeral, exec, fan_out, lines, partition, start
>>> tests = ephemeral(start | exec("echo tested") | check | lines)
>>> collect(fan_out(tests, ["a", "b", "c"]))
<Success: [['tested'], ['tested'], ['tested']]>
>>> partition(fan_out(tests, ["d", "e"]))
([['tested'], ['tested']], [])
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast, overload

from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config, in_use, using
from pocketenv_fp.errors import PocketenvError, WorkerLost
from pocketenv_fp.observing import Begun, Done, Ended, observing
from pocketenv_fp.plain_types import demand_type
from pocketenv_fp.runtime import own_sandboxes
from pocketenv_fp.runtime.progress import Progress, tracking
from pocketenv_fp.runtime.signals import guarded, opened
from pocketenv_fp.steps.operation import Curried, Step, demand_step, is_step
from pocketenv_fp.steps.results import Outcome, Results

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

    from pocketenv_fp.steps.trace import Trace

__all__ = ["collect", "fan_out", "partition"]

A = TypeVar("A")
B = TypeVar("B")
# The Result of a pipeline with its time and requests, and the trace that another process made of it.
Ran: TypeAlias = "tuple[Result[B, PocketenvError], float, int, Trace | None]"

WORKERS = 32


@overload
def fan_out(
    pipeline: Step[A, B],
    targets: Iterable[A | None | Result[A | None, PocketenvError]],
    *,
    max_workers: int = WORKERS,
    executor: Executor | None = None,
    progress: bool | Progress = False,
) -> Results[B]: ...
@overload
def fan_out(
    pipeline: Callable[[A], Step[A, B]],
    targets: Iterable[A],
    *,
    max_workers: int = WORKERS,
    executor: Executor | None = None,
    progress: bool | Progress = False,
) -> Results[B]: ...
def fan_out(
    pipeline: Step[Any, B] | Callable[[Any], Step[Any, B]],
    targets: Iterable[Any],
    *,
    max_workers: int = WORKERS,
    executor: Executor | None = None,
    progress: bool | Progress = False,
) -> Results[B]:
    r"""Run ``pipeline`` on each target, many at once. Return the `Results`, a list in the order of the targets.

    ``pipeline`` is a step, or a function from a target to the step for it, where targets need arguments of their own.
    A Failure is the result of its target and of no other; a target that is a Failure stays one. ``max_workers`` is how
    many run at once, in threads of this process, all of which stay below the platform's request limit together.
    ``progress`` is a function of how many are done and of how many, or True for a bar. A create with ``repo=`` makes a
    sandbox of its own for each target (see `create`).

    Or they run where ``executor`` says, any of `concurrent.futures`, which is left open. Its threads have the
    configuration of `using` blocks here, as those of ``max_workers`` have. To other processes the pipeline, the targets
    and the results cross by pickle, and so do the configurations. A token never does: the workers of a
    ``ProcessPoolExecutor`` have POCKETENV_TOKEN from this program's environment, elsewhere it has to be set. Each
    process counts its requests for itself, and an embedded platform that was started here is found there by its
    ``platform.environment`` only.

    ``Client.get_executor()`` of Dask is such an executor: ``pip install 'pocketenv-fp[dask]'``, and
    ``LocalCluster(env={"POCKETENV_TOKEN": …})`` or the like. Dask runs again what was running on a worker that died, a
    create or a command too: its setting ``distributed.scheduler.allowed-failures`` of 0 forbids that. It does not tell
    what has begun, so after an interrupt that is not waited for: it goes on, so leave the workers the time to release.
    Lambdas cross to Dask, as in ``recover(step, lambda error: …)``; to other processes functions with a name do.

    A process that dies, killed or out of memory, takes its results along: each is Failure(WorkerLost), and a sandbox of
    such a pipeline may be left. Of a ``ProcessPoolExecutor`` that is every pipeline that was not done by then.

    On Ctrl-C, on SIGTERM and when a pipeline raises, which is a mistake in the program, what has not begun is
    cancelled, and what has begun is waited for, so that `managed` and `ephemeral` release what they made; then it comes
    out here. A second Ctrl-C does not wait.

    >>> from pocketenv_fp import create, delete, exec, fan_out, start, stdout
    >>> names = ["one", "two", "one"]
    >>> results = fan_out(create | start | exec("hostname >/dev/null; echo up") | stdout, names, max_workers=1)
    >>> [result.value_or("failed") for result in results]
    ['up\n', 'up\n', 'failed']
    >>> results.failed[0][0]
    'one'
    >>> shards = fan_out(lambda name: create(env={"SHARD": name}) | start | exec("echo $SHARD") | stdout, ["a", "b"])
    >>> [record["value"] for record in shards.to_records()]
    ['a\n', 'b\n']
    """
    # Imported here: it is a good part of this library's import time, and most programs have one sandbox.
    from concurrent.futures import ThreadPoolExecutor, as_completed, wait

    given: object = pipeline
    if isinstance(given, Curried) or not callable(given):
        demand_step(given, "fan_out")
    demand_type("fan_out", "targets", targets, Iterable[Any])
    demand_type("fan_out", "max_workers", max_workers, int)
    demand_type("fan_out", "progress", progress, bool | Progress)
    if max_workers < 1:
        raise ValueError("fan_out: max_workers must be at least 1")
    waiting = list(targets)
    steps = [_step_for(pipeline, target) for target in waiting]
    with guarded(), opened(), ExitStack() as stack:
        pool = executor or ThreadPoolExecutor(max(1, min(max_workers, len(waiting))), "pocketenv")
        futures: list[Future[Ran[B]]] = []
        try:
            track = stack.enter_context(tracking(progress, len(waiting), unit=" targets"))
            run = os.urandom(8)
            for number, (step, target) in enumerate(zip(steps, waiting, strict=True)):
                futures.append(_submit(pool, (run, number), step, target))
            for future in as_completed(futures):
                _keep(_outcome(future)[-1])
                track.add(1)
        except BaseException:
            wait([future for future in futures if not future.cancel()])
            raise
        finally:
            if executor is None:
                # They are done or cancelled; or who asked twice does not want to wait.
                pool.shutdown(wait=False, cancel_futures=True)
        return Results(Outcome(target, *_outcome(future)[:-1]) for target, future in zip(waiting, futures, strict=True))


def _step_for(pipeline: Step[Any, B] | Callable[[Any], Step[Any, B]], target: object) -> Step[Any, B]:
    if is_step(pipeline):
        return pipeline
    step: object = pipeline(target)
    demand_step(step, "fan_out: the function of the target")
    return cast("Step[Any, B]", step)


def _outcome(future: Future[Ran[B]]) -> Ran[B]:
    try:
        return future.result()
    except Exception as error:
        if _is_lost(error):
            return Failure(WorkerLost()), 0.0, 0, None
        raise


def _is_lost(error: Exception) -> bool:
    from concurrent.futures import BrokenExecutor

    # Dask has a name of its own for it, and may not be installed.
    kind = type(error)
    return isinstance(error, BrokenExecutor) or (kind.__module__, kind.__name__) == (
        "distributed.scheduler",
        "KilledWorker",
    )


def _keep(seen: Trace | None) -> None:
    from pocketenv_fp.steps.trace import recording

    # What another process saw is what was seen here.
    if seen is not None:
        for trace in recording():
            trace.add(seen)


def _submit(
    pool: Executor, mark: object, pipeline: Step[A, B], target: A | None | Result[A | None, PocketenvError]
) -> Future[Ran[B]]:
    from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor

    if isinstance(pool, ThreadPoolExecutor):
        # Its traces are those around here: the context has them.
        return pool.submit(copy_context().run, _run, mark, (), pipeline, target)
    from pocketenv_fp.steps.trace import recording

    try:
        return pool.submit(_apart, mark, in_use(), pipeline, target, traced=bool(recording()))
    except BrokenExecutor as error:
        lost: Future[Ran[B]] = Future()
        lost.set_exception(error)
        return lost


def _apart(
    mark: object,
    configs: tuple[Config, ...],
    pipeline: Step[A, B],
    target: A | None | Result[A | None, PocketenvError],
    *,
    traced: bool,
) -> Ran[B]:
    # A forked worker stands for ever in the blocks in which it was forked.
    return Context().run(_run, mark, configs, pipeline, target, traced=traced)


def _run(
    mark: object,  # noqa: ARG001  # Dask takes equal calls for one and runs that once: no two are equal
    configs: tuple[Config, ...],
    pipeline: Step[A, B],
    target: A | None | Result[A | None, PocketenvError],
    *,
    traced: bool = False,
) -> Ran[B]:
    from pocketenv_fp.steps.trace import on_lane, tracing

    with ExitStack() as stack:
        for config in reversed(configs):
            stack.enter_context(using(config))
        # Targets that are to have one repository have a sandbox each.
        stack.enter_context(own_sandboxes.wanted())
        stack.enter_context(on_lane(target))
        seen = stack.enter_context(tracing()) if traced else None
        counter = _Counter()
        stack.enter_context(observing(counter))
        began = time.perf_counter()
        result = pipeline(target)
        return result, time.perf_counter() - began, counter.requests, seen


class _Counter:
    """Counts the requests of one target."""

    def __init__(self) -> None:
        self.requests = 0

    def __call__(self, begun: Begun) -> Ended | None:
        return self._add if begun.kind == "call" else None

    def _add(self, done: Done) -> None:
        self.requests += done.requests


def _results(function: str, results: Iterable[Result[B, PocketenvError]]) -> Iterator[Result[B, PocketenvError]]:
    demand_type(function, "results", results, Iterable[Result[Any, Any]])
    for number, result in enumerate(results):
        demand_type(function, f"results[{number}]", result, Result)
        yield result


def collect(results: Iterable[Result[B, PocketenvError]]) -> Result[list[B], PocketenvError]:
    """Give the values of all results as one list, or the first Failure among them.

    >>> from returns.result import Failure, Success
    >>> from pocketenv_fp import NotLoggedIn, collect
    >>> collect([Success(1), Success(2)])
    <Success: [1, 2]>
    >>> collect([Success(1), Failure(NotLoggedIn())])
    <Failure: not logged in. ...>
    """
    values: list[B] = []
    for result in _results("collect", results):
        if isinstance(result, Failure):
            return Failure(result.failure())
        values.append(result.unwrap())
    return Success(values)


def partition(results: Iterable[Result[B, PocketenvError]]) -> tuple[list[B], list[PocketenvError]]:
    """Give the values of the results that are a Success, and the errors of those that are not, each in order.

    >>> from returns.result import Failure, Success
    >>> from pocketenv_fp import NotLoggedIn, partition
    >>> partition([Success(1), Failure(NotLoggedIn()), Success(2)])
    ([1, 2], [NotLoggedIn()])
    """
    values: list[B] = []
    errors: list[PocketenvError] = []
    for result in _results("partition", results):
        if isinstance(result, Failure):
            errors.append(result.failure())
        else:
            values.append(result.unwrap())
    return values, errors
