"""Sandboxes that are gone when the work in them is done, however it ended."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict, TypeVar, Unpack, cast, overload

from returns.result import Failure, Result, Success

from pocketenv_fp.config import Config, FromEnv
from pocketenv_fp.errors import PocketenvError, SandboxNotFound
from pocketenv_fp.models import Sandbox
from pocketenv_fp.pocketenv.creation import create, noting
from pocketenv_fp.runtime import own_sandboxes
from pocketenv_fp.runtime.deadline import unlimited
from pocketenv_fp.runtime.signals import guarded, is_hurried, opened, sealed
from pocketenv_fp.sandbox.lifecycle import delete
from pocketenv_fp.steps.combinator import combinator
from pocketenv_fp.steps.operation import Step
from pocketenv_fp.validation import Text

__all__ = ["ephemeral", "managed"]

A = TypeVar("A")
C = TypeVar("C")


@overload
def managed(use: Step[Sandbox, C], *, release: Step[Sandbox, Any] = delete) -> Step[str, C]: ...
@overload
def managed(
    use: Step[Sandbox, C], *, acquire: Step[A, Sandbox], release: Step[Sandbox, Any] = delete
) -> Step[A, C]: ...
@combinator(safe=False)
def managed(
    target: Any,
    use: Step[Sandbox, Any],
    *,
    acquire: Step[Any, Sandbox] = create,
    release: Step[Sandbox, Any] = delete,
) -> Result[Any, PocketenvError]:
    r"""Create a sandbox, use it, delete it. Gives a step from what ``acquire`` takes to what ``use`` gives.

    ``acquire`` is `create`, or a pipeline with it that ends with the sandbox; ``release`` is run on every sandbox that
    was created there, and on no other: one that was there before, which a create with ``reuse=True`` or a get_sandbox
    may return, stays. A create with ``repo=`` makes a sandbox of its own there (see `create`). It is run when ``use`` is done, when ``acquire`` or ``use`` fails or raises, on Ctrl-C, and when the
    process is asked to stop: by SIGTERM, or by SIGHUP, which a terminal sends that is closed. They become
    SystemExit(143) and SystemExit(129) while this runs in the main thread, where the program has no handler of its own.
    A signal waits for the answer to a create that is under way, and for ``release``, whatever that does. A second
    signal does not wait, and notes on the exception name the sandboxes that may be left. A process that is killed
    releases nothing.

    The Failure is the first one. Where ``release`` fails too, a note on it says so, as on an exception; where only
    ``release`` fails, that is the Failure, with a note that names the sandbox. A sandbox that is gone already is
    released.

    >>> from pocketenv_fp import create, exec, get_sandbox, managed, start
    >>> ci = managed(start | exec("echo hello"), acquire=create(provider="daytona"))
    >>> ci
    managed(start() | exec('echo hello'), acquire=create(provider='daytona'))
    >>> ci("my-box")
    <Success: ExecResult(stdout='hello\n', stderr='', exit_code=0)>
    >>> get_sandbox("my-box")
    <Success: None>
    """
    return _lease(target, use, acquire, release)


def _lease(
    target: Any, use: Step[Sandbox, Any], acquire: Step[Any, Sandbox], release: Step[Sandbox, Any]
) -> Result[Any, PocketenvError]:
    made: list[Sandbox] = []
    with guarded():
        try:
            with noting(made), own_sandboxes.wanted(), opened():
                acquired = Success(target) | acquire
            with opened():
                result = acquired | use
        except BaseException as stopped:
            _release(made, release, stopped.add_note)
            raise
        if isinstance(result, Success):
            return _release(made, release, None).bind(lambda _: result)
        _release(made, release, result.failure().add_note)
        return result


def _release(
    made: Sequence[Sandbox], release: Step[Sandbox, Any], note: Callable[[str], None] | None
) -> Result[None, PocketenvError]:
    first: PocketenvError | None = None
    raised: BaseException | None = None
    waiting = list(made)
    while waiting:
        box = waiting.pop()
        try:
            # What was created is deleted, however late it is, and whatever signal comes once.
            with sealed(), unlimited():
                released = box | release
        except BaseException as error:
            is_last = is_hurried() and isinstance(error, KeyboardInterrupt | SystemExit)
            left = [box, *reversed(waiting)] if is_last else [box]
            add = error.add_note if is_last else note or error.add_note
            for each in left:
                add(f"The sandbox {each.id} may still be there. Releasing it raised {type(error).__name__}")
            if is_last:
                raise
            # A release that raises must not hide what came first, unless it stops the program.
            if note is None or not isinstance(error, Exception):
                raised = raised or error
            continue
        if isinstance(released, Success) or isinstance(released.failure(), SandboxNotFound):
            continue
        failure = released.failure()
        (note or failure.add_note)(f"The sandbox {box.id} may still be there. Releasing it failed: {failure.summary()}")
        first = first or failure
    if raised is not None:
        raise raised
    return Success(None) if first is None else Failure(first)


class Options(TypedDict, total=False):
    """What `create` takes besides the name."""

    base: Text
    provider: Text
    repo: Text | None
    keep_alive: bool | None
    env: Mapping[str, str | FromEnv] | None
    secrets: Mapping[str, str | FromEnv] | None
    description: Text | None
    topics: Sequence[str] | None
    provider_credentials: Mapping[str, str | FromEnv] | None
    reuse: bool
    token: Text | None
    config: Config | None


def _are_options(_: object, **options: Unpack[Options]) -> None:
    create(**options)


@combinator(secret=("secrets", "provider_credentials"), safe=False, check=_are_options)
def ephemeral(target: str, use: Step[Sandbox, C], **options: Unpack[Options]) -> Result[C, PocketenvError]:
    """Use a sandbox of its own, as `managed` does. Gives a step from the beginning of its name to what ``use`` gives.

    Its name is what the step is run on and a random end, so that one pipeline may run many times at once. The options
    are those of `create`. A ``token`` or
    ``config`` among them is for creating and deleting; the steps in ``use`` have their own.

    >>> from pocketenv_fp import create, ephemeral, exec, start
    >>> test = ephemeral(start | exec('echo "$STAGE"'), env={"STAGE": "test"})
    >>> test
    ephemeral(start() | exec('echo "$STAGE"'), env={'STAGE': 'test'})
    >>> test("ci") == test("ci")
    True
    """
    if not isinstance(target, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # whoever does not check types
        raise TypeError(f"ephemeral takes the prefix of a name, not a {type(target).__name__}")
    # A step that shows what was given and no more: it is in traces, and in the places of failures.
    login = {name: value for name, value in options.items() if name in {"token", "config"}}
    name = f"{target}-{os.urandom(4).hex()}"
    return _lease(
        name, use, create(**options) if options else create, delete(**cast("Any", login)) if login else delete
    )
