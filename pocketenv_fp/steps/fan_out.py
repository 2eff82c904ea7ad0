r"""Run one pipeline on many targets, and sort the results.

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
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast, overload

from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config, in_use, using
from pocketenv_fp.errors import PocketenvError, TransportError, WorkerLost
from pocketenv_fp.http.paging import collected
from pocketenv_fp.models import Piece
from pocketenv_fp.observing import Begun, Done, Ended, observing
from pocketenv_fp.plain_types import demand_type
from pocketenv_fp.runtime import own_sandboxes
from pocketenv_fp.runtime.first_use import unopened
from pocketenv_fp.runtime.progress import Progress, tracking
from pocketenv_fp.runtime.signals import guarded, opened
from pocketenv_fp.steps.listening import listening, prefixed
from pocketenv_fp.steps.operation import Curried, demand_step
from pocketenv_fp.steps.results import Outcome, Results
from pocketenv_fp.steps.step import Step, is_step

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

    from pocketenv_fp.steps.trace import Trace

__all__ = ["collect", "fan_out", "partition", "side_by_side"]

A = TypeVar("A")
B = TypeVar("B")
# The Result of a pipeline, its duration, its number of requests, and the trace of another process.
Ran: TypeAlias = "tuple[Result[B, PocketenvError], float, int, Trace | None]"

_Work: TypeAlias = "Callable[[Any], Result[B, PocketenvError]]"
_Submit: TypeAlias = "Callable[[Executor, object, _Work[B], Any], Future[Ran[B]]]"
OnOutput: TypeAlias = bool | Callable[[Any, Piece], object]

WORKERS = 32


@overload
def fan_out(
    pipeline: Step[A, B],
    targets: Iterable[A | None | Result[A | None, PocketenvError]],
    *,
    max_workers: int = WORKERS,
    executor: Executor | None = None,
    progress: bool | Progress = False,
    on_output: OnOutput = False,
) -> Results[B]: ...
@overload
def fan_out(
    pipeline: Callable[[A], Step[A, B]],
    targets: Iterable[A],
    *,
    max_workers: int = WORKERS,
    executor: Executor | None = None,
    progress: bool | Progress = False,
    on_output: OnOutput = False,
) -> Results[B]: ...
def fan_out(
    pipeline: Step[Any, B] | Callable[[Any], Step[Any, B]],
    targets: Iterable[Any],
    *,
    max_workers: int = WORKERS,
    executor: Executor | None = None,
    progress: bool | Progress = False,
    on_output: OnOutput = False,
) -> Results[B]:
    r"""Run ``pipeline`` on each target, many at once. Returns the `Results`, a list in the order of the targets.

    A Failure affects only its own target. A target that is a Failure is its own result. A create with ``repo=`` makes a
    new sandbox for each target (see `create`). By default, pipelines run in threads of this process, which share the
    platform's request limit.

    **Executors.** With ``executor``, pipelines run in any executor of `concurrent.futures`. It is not shut down. Its
    threads use the configuration of the `using` blocks around the call. Other processes get the pipeline, the targets
    and the configurations by pickle. A token is never pickled. Workers of a ``ProcessPoolExecutor`` inherit
    POCKETENV_TOKEN from this program's environment; set it for other workers. Each process has its own request limit.
    To use an embedded platform of this process there, set its ``platform.environment``.

    **Output.** With ``on_output``, each `exec`, `sh`, `exec_script`, `run_code` and `follow` without an ``on_output`` of
    its own reports what it prints. The commands then run as jobs. It works with threads only.

    **Dask.** ``Client.get_executor()`` of Dask is such an executor. The extra ``dask`` brings it. For
    example, ``LocalCluster(env={"POCKETENV_TOKEN": …})``. If a worker dies, Dask repeats its pipelines, also a create or
    a command. Set ``distributed.scheduler.allowed-failures`` to 0 to prevent that. Dask does not report which pipelines
    have started. So after an interrupt this function does not wait: leave the workers time to release their sandboxes.
    Dask can pickle lambdas, as in ``recover(step, lambda error: …)``. Other processes need named functions.

    **Failures.** If a worker process dies, each of its results is Failure(WorkerLost), and its sandbox may still exist.
    In a ``ProcessPoolExecutor`` this affects every unfinished pipeline. On Ctrl-C, on SIGTERM, and if a pipeline
    raises, which is a mistake in the program, pipelines that have not started are cancelled. Started ones are waited
    for, so that `managed` and `ephemeral` release their sandboxes. Then the exception is raised. A second Ctrl-C does
    not wait.

    Args:
        pipeline: A step, or a function from a target to its step.
        targets: The targets: values, or Results.
        max_workers: Number of threads, at least 1. Ignored with ``executor``. Default: 32.
        executor: An executor of `concurrent.futures`. None: threads of this process.
        progress: Function of the finished targets and the total, or True for a bar. Default: False.
        on_output: Function of a target and a Piece, which is called with the output of its commands while they run.
            True prints it in lines, each after the target's name. Default: False.

    >>> from pocketenv_fp import create, delete, exec, fan_out, start, stdout
    >>> names = ["one", "two", "one"]
    >>> results = fan_out(create | start | exec("hostname >/dev/null; echo up") | stdout, names, max_workers=1)
    >>> [result.value_or("failed") for result in results]
    ['up\n', 'up\n', 'failed']
    >>> results.failed[0][0]
    'one'
    >>> boxes = [box.unwrap() for box in fan_out(create | start, ["six", "seven"])]
    >>> _ = fan_out(exec("echo tested"), boxes, max_workers=1, on_output=True)
    six | tested
    seven | tested
    >>> shards = fan_out(lambda name: create(env={"SHARD": name}) | start | exec("echo $SHARD") | stdout, ["a", "b"])
    >>> [record["value"] for record in shards.to_records()]
    ['a\n', 'b\n']
    """
    candidate: object = pipeline
    if isinstance(candidate, Curried) or not callable(candidate):
        if is_step(targets):
            raise TypeError(f"fan_out: expected a step, got {type(pipeline).__name__}: write fan_out(step, targets)")
        demand_step(candidate, "fan_out")
    demand_type("fan_out", "targets", targets, Iterable[Any])
    demand_type("fan_out", "max_workers", max_workers, int)
    demand_type("fan_out", "progress", progress, bool | Progress)
    demand_type("fan_out", "on_output", on_output, bool | Callable[..., Any])
    if max_workers < 1:
        raise ValueError("fan_out: max_workers must be at least 1")
    waiting = list(targets)
    steps = [_step_for(pipeline, target) for target in waiting]
    return side_by_side(
        steps, waiting, max_workers=max_workers, executor=executor, progress=progress, on_output=on_output
    )


def side_by_side(
    steps: Sequence[_Work[B]],
    waiting: Sequence[Any],
    *,
    max_workers: int = WORKERS,
    executor: Executor | None = None,
    progress: bool | Progress = False,
    on_output: OnOutput = False,
) -> Results[B]:
    """Run each step on its target, many at once, as `fan_out` describes. Returns the Results in the order of the steps."""
    # Imported here: concurrent.futures is slow to import, and most programs use one sandbox.
    if reason := unopened("concurrent.futures.thread", "pocketenv_fp.steps.trace"):
        error = TransportError("connect", f"no thread was started: {reason}")
        return Results(Outcome(target, Failure(error), 0.0, 0) for target in waiting)
    from concurrent.futures import ThreadPoolExecutor, as_completed, wait

    if on_output and executor is not None and not isinstance(executor, ThreadPoolExecutor):
        raise ValueError("fan_out: on_output works with threads only: leave out executor=")
    with guarded(), opened(), ExitStack() as stack:
        pool = executor or ThreadPoolExecutor(max(1, min(max_workers, len(waiting))), "pocketenv")
        submit: _Submit[B] = _to_thread if isinstance(pool, ThreadPoolExecutor) else _to_process
        if on_output:
            submit = partial(_to_heard_thread, on_output)
        futures: list[Future[Ran[B]]] = []
        ran: dict[Future[Ran[B]], Ran[B]] = {}
        try:
            track = stack.enter_context(tracking(progress, len(waiting), unit=" targets"))
            run = os.urandom(8)
            for number, (step, target) in enumerate(zip(steps, waiting, strict=True)):
                futures.append(submit(pool, (run, number), step, target))
            for future in as_completed(futures):
                ran[future] = _outcome(future)
                _keep(ran[future][-1])
                track.add(1)
        except BaseException:
            wait([future for future in futures if not future.cancel()])
            raise
        finally:
            if executor is None:
                # All futures are done or cancelled. After a second signal, do not wait.
                pool.shutdown(wait=False, cancel_futures=True)
        return Results(Outcome(target, *ran[future][:-1]) for target, future in zip(waiting, futures, strict=True))


def _to_heard_thread(
    on_output: OnOutput,
    pool: Executor,
    mark: object,
    pipeline: _Work[B],
    target: Any,
) -> Future[Ran[B]]:
    """Submit a pipeline that reports its output."""
    if callable(on_output):
        with listening(partial(on_output, _inside(target))):
            return _to_thread(pool, mark, pipeline, target)
    printed = prefixed(_inside(target))
    with listening(printed):
        future = _to_thread(pool, mark, pipeline, target)
    future.add_done_callback(lambda _: printed.close())
    return future


def _inside(target: object) -> object:
    return cast("Success[object]", target).unwrap() if isinstance(target, Success) else target


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

    # Dask has its own exception for it, and may not be installed.
    kind = type(error)
    return isinstance(error, BrokenExecutor) or (kind.__module__, kind.__name__) == (
        "distributed.scheduler",
        "KilledWorker",
    )


def _keep(seen: Trace | None) -> None:
    """Add the trace of another process to the traces of this one."""
    if seen is None:
        return
    from pocketenv_fp.steps.trace import recording

    for trace in recording():
        trace.add(seen)


def _to_thread(
    pool: Executor,
    mark: object,  # noqa: ARG001  # for processes
    pipeline: _Work[B],
    target: Any,
) -> Future[Ran[B]]:
    # The copied context has the traces around the call.
    return pool.submit(copy_context().run, _run, pipeline, target)


def _to_process(pool: Executor, mark: object, pipeline: _Work[B], target: Any) -> Future[Ran[B]]:
    from concurrent.futures import BrokenExecutor, Future

    from pocketenv_fp.steps.trace import recording

    try:
        return pool.submit(_apart, mark, in_use(), pipeline, target, traced=bool(recording()))
    except BrokenExecutor as error:
        lost: Future[Ran[B]] = Future()
        lost.set_exception(error)
        return lost


def _apart(
    mark: object,  # noqa: ARG001  # Dask runs equal calls only once: the mark makes each call different
    configs: tuple[Config, ...],
    pipeline: _Work[B],
    target: Any,
    *,
    traced: bool,
) -> Ran[B]:
    # A forked worker inherits the parent's context variables: start from an empty Context.
    return Context().run(_run_as, configs, pipeline, target, traced=traced)


def _run_as(
    configs: tuple[Config, ...],
    pipeline: _Work[B],
    target: Any,
    *,
    traced: bool,
) -> Ran[B]:
    from pocketenv_fp.steps.trace import tracing

    with ExitStack() as stack:
        for config in reversed(configs):
            stack.enter_context(using(config))
        seen = stack.enter_context(tracing()) if traced else None
        return (*_run(pipeline, target)[:-1], seen)


def _run(pipeline: _Work[B], target: Any) -> Ran[B]:
    from pocketenv_fp.steps import trace

    counter = _Counter()
    # Targets with the same repository get a sandbox each.
    with own_sandboxes.wanted(), trace.on_lane(target), observing(counter, "call"):
        began = time.perf_counter()
        result = pipeline(target)
        return result, time.perf_counter() - began, counter.requests, None


class _Counter:
    """Counts the requests of one target."""

    def __init__(self) -> None:
        self.requests = 0

    def __call__(self, _: Begun) -> Ended:
        return self._add

    def _add(self, done: Done) -> None:
        self.requests += done.requests


def _results(function: str, results: Iterable[Result[B, PocketenvError]]) -> Iterator[Result[B, PocketenvError]]:
    if isinstance(results, Result):
        # A Result is an iterable itself.
        raise TypeError(f"{function}: results: expected a list of Result, got one Result: write […]")
    demand_type(function, "results", results, Iterable[Result[Any, Any]])
    for number, result in enumerate(results):
        demand_type(function, f"results[{number}]", result, Result)
        yield result


def collect(results: Iterable[Result[B, PocketenvError]]) -> Result[list[B], PocketenvError]:
    """Return the values of all results as one list, or the first Failure.

    Args:
        results: Any iterable of Results, for instance from `fan_out`.

    >>> from returns.result import Failure, Success
    >>> from pocketenv_fp import NotLoggedIn, collect
    >>> collect([Success(1), Success(2)])
    <Success: [1, 2]>
    >>> collect([Success(1), Failure(NotLoggedIn())])
    <Failure: not logged in. ...>
    """
    return collected(_results("collect", results)).map(list)


def partition(results: Iterable[Result[B, PocketenvError]]) -> tuple[list[B], list[PocketenvError]]:
    """Split results into values and errors, each in order. Returns a pair of lists.

    Args:
        results: Any iterable of Results, for instance from `fan_out`.

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
