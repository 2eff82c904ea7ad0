"""Steps, Results and records in ordinary programs, with the types that both checkers find. Checked, and never run.

Where a checker sees less than it could, that is said beside the line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from functools import partial
from typing import assert_type

from returns.result import Failure, Result, Success

from pocketenv_fp import (
    ApiError,
    Config,
    ExecResult,
    FromEnv,
    NotLoggedIn,
    Page,
    PocketenvError,
    Profile,
    Sandbox,
    Secret,
    Status,
    Step,
    WaitTimeout,
    create,
    exec,
    expose,
    fan_out,
    from_env,
    from_map,
    gather,
    get_sandbox,
    list_sandboxes,
    pocketenv,
    raise_for,
    sandbox,
    set_secret,
    start,
    stop,
    to_map,
    using,
    wait_until_running,
)
from pocketenv_fp.errors.maps import ErrorMap, OkMap
from pocketenv_fp.steps.results import Results

Ran = Result[ExecResult, PocketenvError]


def six_forms_save_flow(name: str) -> str:
    # flow, with and without bind, is in flow.py: mypy sees it through a plugin, pyright does not.
    assert_type(create(name) | start | wait_until_running | exec("echo", ["hello"]), Ran)
    assert_type(sandbox.exec(sandbox.start(pocketenv.create_sandbox(name)), "echo", ["hello"]), Ran)
    ci = create(provider="daytona") | start(repo="…") | wait_until_running | exec("make", ["test"])
    assert_type(ci, Step[str, ExecResult])
    assert_type(ci(name), Ran)
    assert_type(name | ci, Ran)
    match ci(name):
        case Success(ExecResult(exit_code=0, stdout=out)):
            return assert_type(out, str)
        case Failure(ApiError(status=status)):
            return str(assert_type(status, int))
        case Failure(NotLoggedIn() | WaitTimeout() as error):
            return str(assert_type(error, NotLoggedIn | WaitTimeout))
        case _:
            return ""


def results(box: Sandbox) -> None:
    assert_type((box | exec("ls")).map(lambda ran: ran.exit_code), Result[int, PocketenvError])
    assert_type((box | exec("ls")).bind(lambda ran: box | exec(ran.stdout)), Ran)
    assert_type((box | exec("ls")).value_or(None), ExecResult | None)
    assert_type(raise_for(box | exec("ls")), ExecResult)
    assert_type((box | start).failure(), PocketenvError)
    assert_type(to_map(box | stop), OkMap | ErrorMap)
    assert_type(raise_for(from_map({"ok": 3})) is None, bool)
    assert_type(from_map({"ok": {}}, ExecResult), Ran)
    assert_type(from_map({"ok": []}, Page[Secret]), Result[Page[Secret], PocketenvError])
    assert_type(from_map({"ok": []}, list[str]), Result[list[str], PocketenvError])
    done: Result[int, PocketenvError] = Result.do(
        ran.exit_code + again.exit_code for ran in exec(box, "a") for again in exec(box, "b")
    )
    assert_type(done, Result[int, PocketenvError])


def functions(box: Sandbox, names: list[str], pool: Executor) -> None:
    run: Callable[[Sandbox], Ran] = exec("ls")
    chained: Callable[[Result[Sandbox | None, PocketenvError]], Ran] = start | exec("ls")
    data_first: Callable[[Sandbox, str], Ran] = exec
    assert_type(run(box), Ran)
    assert_type(chained(get_sandbox("x")), Ran)
    assert_type(data_first(box, "ls"), Ran)
    assert_type(list(map(create | start | exec("ls"), names)), list[Ran])
    assert_type([step(box) for step in (exec("a"), exec("b"))], list[Ran])
    assert_type(pool.map(create | exec("ls"), names), Iterator[Ran])
    # Both checkers solve partial of an overloaded object by its first overload: the call is right, and checked less.
    bound: Callable[[str], Ran] = partial(exec, box)
    assert_type(bound("ls"), Ran)


def parse(ran: ExecResult) -> int:
    return int(ran.stdout)


def passed(count: int) -> Result[bool, str]:
    return Success(count == 0) if count >= 0 else Failure("no count")


def own_functions(box: Sandbox, names: list[str], other: Result[Sandbox, ValueError]) -> None:
    ci = create | start | exec("make test").map(parse)
    assert_type(ci, Step[str, int])
    assert_type(ci("box"), Result[int, PocketenvError])
    assert_type(start.map(lambda found: found.name), Step[Sandbox, str])
    assert_type(exec("ls").map(parse).map(str), Step[Sandbox, str])
    assert_type(exec("ls").map(parse).bind(passed), Step[Sandbox, bool])
    assert_type(start.bind(exec("ls")), Step[Sandbox, ExecResult])
    assert_type(exec("ls").alt(str), Step[Sandbox, ExecResult])
    assert_type(exec("ls").map(parse).lash(lambda error: Success(str(error))), Step[Sandbox, int | str])
    results = fan_out(ci, names)
    assert_type(results, Results[int])
    assert_type(results[0], Result[int, PocketenvError])
    assert_type(results.ok, list[tuple[object, int]])
    assert_type(fan_out(lambda name: create(env={"A": name}) | start, names), Results[Sandbox])
    assert_type(box | gather(exec("a").map(parse), start), Result[tuple[int, Sandbox], PocketenvError])
    # A Failure of another type widens the error. The error type of a step itself stays PocketenvError: a third type
    # parameter would stand in every signature and every hover, for the sake of few programs.
    assert_type(other | exec("ls"), Result[ExecResult, PocketenvError | ValueError])


def variance(step: Step[Sandbox, ExecResult], either: Step[Sandbox | str, ExecResult]) -> None:
    # What takes more and gives less will do wherever a step is wanted.
    wider: Step[Sandbox, object] = step
    narrower: Step[Sandbox, ExecResult] = either
    # pyright narrows a variable to what was put in it, mypy keeps what was declared: both are asked for the declared.
    after: Step[Sandbox, object] = start | wider
    assert_type(start | narrower, Step[Sandbox, ExecResult])
    assert_type(start | either, Step[Sandbox, ExecResult])
    assert callable(after)


def records(page: Page[Sandbox], box: Sandbox) -> str:
    assert_type(page[0], Sandbox)
    assert_type(page[1:], tuple[Sandbox, ...])
    assert_type([image.name for image in page], list[str])
    assert_type(list_sandboxes().map(len), Result[int, PocketenvError])
    assert_type(box.owner, Profile | None)
    assert_type(box.topics, tuple[str, ...] | None)
    match box.status:
        case Status.RUNNING | Status.STOPPED:
            return "known"
        case Status.INITIALIZING:
            return "soon"
        case Status.UNKNOWN:
            return "unknown"


def settings(box: Sandbox) -> None:
    with using(Config(read_timeout=5, retries=0)):
        assert_type(box | exec("ls", timeout=3), Ran)
    assert_type(from_env("A"), FromEnv)
    assert_type(box | set_secret("A", from_env("B"), config=Config(api_url="local")), Result[Secret, PocketenvError])
    assert_type(box | start | expose(8080), Result[str | None, PocketenvError])
