"""Create a sandbox for one piece of work, and always release it afterwards."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar, Unpack, cast, overload

from returns.result import Failure, Result, Success

from pocketenv_fp.errors import InvalidInput, PocketenvError, SandboxNotFound
from pocketenv_fp.models import Sandbox
from pocketenv_fp.plain_types import demand_type, normalize
from pocketenv_fp.pocketenv.creation import create
from pocketenv_fp.pocketenv.new_sandbox import noting
from pocketenv_fp.pocketenv.options import Options
from pocketenv_fp.runtime import marks, own_sandboxes
from pocketenv_fp.runtime.deadline import unlimited
from pocketenv_fp.runtime.rehearsal import is_rehearsed, only, stand_in
from pocketenv_fp.runtime.signals import guarded, is_hurried, opened, sealed
from pocketenv_fp.sandbox.lifecycle import delete
from pocketenv_fp.steps.combinator import combinator
from pocketenv_fp.steps.step import Step
from pocketenv_fp.validation import Seconds, wrong_value

__all__ = ["ephemeral", "managed", "sandbox_of", "topics_for"]

A = TypeVar("A")
C = TypeVar("C")
E = TypeVar("E")


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
    r"""Create a sandbox, use it, delete it. Returns a step from the input of ``acquire`` to the output of ``use``.

    ``release`` runs for every sandbox that was created in ``acquire`` or ``use``. It does not run for older sandboxes,
    for instance from get_sandbox or from a create with ``reuse=True``. A create with ``repo=`` always makes a new
    sandbox here (see `create`). With the default ``release`` a new sandbox gets the topic ``pocketenv-fp-ephemeral``, by
    which `sweep` finds what a killed program left.

    ``release`` runs after ``use``, when ``acquire`` or ``use`` fails or raises, on Ctrl-C, and on SIGTERM and SIGHUP (a
    terminal sends SIGHUP when it is closed). In the main thread, and without a handler of the program, these signals
    become SystemExit(143) and SystemExit(129). A signal waits for the response of a running create, and for
    ``release``. A second signal does not wait: notes on the exception name the sandboxes that may exist. Python prints
    no notes of SystemExit, so a line on stderr names them too. A process that is killed releases nothing.

    The result is the first Failure. If ``release`` fails too, a note on that error, or on the exception, says so. If
    only ``release`` fails, that is the Failure, with a note that names the sandbox. SandboxNotFound counts as released.

    Args:
        use: Step that uses the sandbox.
        acquire: `create`, or a pipeline with it that returns the Sandbox. Default: `create`.
        release: Step that runs for each created sandbox. Default: `delete`.

    >>> from pocketenv_fp import create, exec, get_sandbox, managed, start
    >>> ci = managed(start | exec("echo hello"), acquire=create(provider="daytona"))
    >>> ci
    managed(start() | exec('echo hello'), acquire=create(provider='daytona'))
    >>> ci("my-box")
    <Success: ExecResult(stdout='hello\n', stderr='', exit_code=0)>
    >>> get_sandbox("my-box")
    <Success: None>
    """
    # Another release may keep the sandbox on purpose.
    topics = (marks.EPHEMERAL,) if release == delete else ()
    return _lease(target, use, acquire, release, topics)


def _lease(
    target: Any,
    use: Step[Sandbox, Any],
    acquire: Step[Any, Sandbox],
    release: Step[Sandbox, Any],
    topics: tuple[str, ...],
) -> Result[Any, PocketenvError]:
    made: list[Sandbox] = []
    with guarded():
        try:
            with noting(made), marks.marking(topics), own_sandboxes.wanted(), opened():
                acquired = acquire.run_before(use, Success(target))
            with opened():
                result = acquired | use
        except BaseException as stopped:
            _release(made, release, stopped.add_note)
            raise
        if isinstance(result, Success):
            released = _release(made, release, None)
            return released if isinstance(released, Failure) else result
        _release(made, release, result.failure().add_note)
        return result


def _release(
    made: Sequence[Sandbox], release: Step[Sandbox, Any], note: Callable[[str], None] | None
) -> Result[None, PocketenvError]:
    """Release each sandbox, the newest first. ``note`` adds to the error that came before, if there is one."""
    first: PocketenvError | None = None
    raised: BaseException | None = None
    newest_first = made[::-1]
    for number, box in enumerate(newest_first):
        try:
            # Ignore the deadline and the first signal: the sandbox must be deleted.
            with sealed(), unlimited(), only(lambda: "in the end, however the rest goes"):
                released = box | release
        except BaseException as error:
            if is_hurried() and isinstance(error, KeyboardInterrupt | SystemExit):
                _name_left(newest_first[number:], error)
                raise
            (note or error.add_note)(_may_exist(box, error))
            # An exception from a release must not hide the first error, unless it stops the program.
            if note is None or not isinstance(error, Exception):
                raised = raised or error
            continue
        if isinstance(released, Success) or isinstance(released.failure(), SandboxNotFound):
            continue
        failure = released.failure()
        (note or failure.add_note)(f"The sandbox {box.id} may still exist. Its release failed: {failure.summary()}")
        first = first or failure
    if raised is not None:
        raise raised
    return Success(None) if first is None else Failure(first)


def _may_exist(box: Sandbox, error: BaseException) -> str:
    return f"The sandbox {box.id} may still exist. Its release raised {type(error).__name__}"


def _name_left(left: Sequence[Sandbox], error: BaseException) -> None:
    """Add a note for each sandbox that was not released. Python prints no notes of a SystemExit: print a line for it."""
    for box in left:
        error.add_note(_may_exist(box, error))
    if not isinstance(error, SystemExit):
        return
    # By their ids: a new sandbox gets its name later.
    ids = ", ".join(box.id for box in left)
    # The program may have closed it, or have none.
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"pocketenv: sandboxes that may still exist: {ids}. Use get_sandbox(id) | delete, or sweep.\n")


def _are_options(_: object, *, ttl: Seconds | None = None, **options: Unpack[Options]) -> None:
    _wrong_ttl(ttl)
    create(**options)


@combinator(safe=False, check=_are_options)
def ephemeral(
    target: str, use: Step[Sandbox, C], *, ttl: Seconds | None = None, **options: Unpack[Options]
) -> Result[C, PocketenvError]:
    """Create a sandbox with a random name, use it, delete it. Returns a step from a prefix to the output of ``use``.

    The step runs on a string, the prefix. A random suffix is added, so one pipeline can run many times at once. The
    rest is as in `managed`. ``token`` and ``config`` are used for the create and the delete only: the steps in ``use``
    have their own.

    Each sandbox gets the topic ``pocketenv-fp-ephemeral``. **A program that is killed leaves its sandbox**: the platform
    has no lifetime for one, and nothing in a sandbox could delete it. `sweep` deletes it later, after ``ttl`` seconds,
    or by its age.

    Args:
        use: Step that uses the sandbox.
        ttl: Seconds after which `sweep` deletes a sandbox that is left. Default: its ``older_than``.
        **options: The options of `create`.

    >>> from pocketenv_fp import create, ephemeral, exec, start
    >>> test = ephemeral(start | exec('echo "$STAGE"'), env={"STAGE": "test"})
    >>> test
    ephemeral(start() | exec('echo "$STAGE"'), env={'STAGE': 'test'})
    >>> test("ci") == test("ci")
    True
    """
    if not isinstance(target, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
        existing = ": write sandbox | step for a sandbox that exists" if isinstance(target, Sandbox) else ""
        raise TypeError(f"ephemeral takes the prefix of a name, not a {type(target).__name__}{existing}")
    if wrong := _wrong_ttl(ttl):
        return Failure(wrong)
    ttl = normalize(ttl)
    # This step appears in traces and in the places of failures, so it has only the options that were passed.
    login = {name: value for name, value in options.items() if name in {"token", "config"}}
    name = f"{target}-{stand_in('RANDOM_HEX') if is_rehearsed() else os.urandom(4).hex()}"
    acquire = create(**options) if options else create
    return _lease(name, use, acquire, delete(**cast("Any", login)) if login else delete, topics_for(ttl))


def _wrong_ttl(ttl: float | None) -> InvalidInput | None:
    """Return the error of a wrong value. Raises TypeError for a wrong type."""
    return wrong_value("ttl", ttl, Seconds | None, float | None)


def topics_for(ttl: float | None) -> tuple[str, ...]:
    """Return the topics of a sandbox that its program deletes, and that may be deleted after ``ttl`` seconds."""
    if ttl is None:
        return (marks.EPHEMERAL,)
    expiry = stand_in("EXPIRY_TOPIC") if is_rehearsed() else marks.expiry_topic(time.time() + ttl)
    return (marks.EPHEMERAL, expiry)


def sandbox_of(result: Result[Sandbox, E]) -> Result[Sandbox, E]:
    """Return the Sandbox of a Success, or that of the step that failed. Use it to clean up after either.

    A step skips a Failure, so ``box | delete`` deletes nothing after a start that failed. `managed` and `ephemeral` need
    no such care: they also delete after an exception. Of a Failure, the Sandbox has its id, name and provider. The rest may
    be older: use `refresh` before a command. Failures: the Failure itself, if no step on a sandbox failed, for
    instance the create.

    Args:
        result: The Result of a pipeline to a Sandbox.

    >>> from pocketenv_fp import create, delete, get_sandbox, sandbox_of, wait_until_running
    >>> box = create("my-box", provider="daytona") | wait_until_running(timeout=0) | delete | wait_until_running
    >>> box | delete
    <Failure: sandbox.getSandbox: my-box is gone (404 SandboxNotFound). ...>
    >>> sandbox_of(box).map(lambda box: box.name)
    <Success: my-box>
    """
    demand_type("sandbox_of", "result", result, Result)
    if isinstance(result, Success):
        demand_type("sandbox_of", "the value of result", result.unwrap(), Sandbox)
        return result
    box = getattr(result.failure(), "sandbox", None)
    return Success(box) if isinstance(box, Sandbox) else result
