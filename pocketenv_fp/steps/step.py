"""Steps: the algebra behind ``create("b") | start | exec("ls")``.

A `Step` is a function from A to ``Result[B, PocketenvError]`` that is stored as data: operations with arguments.
So it prints as source code, compares, can be pickled, and composes before a sandbox exists:

>>> from pocketenv_fp import create, exec, start, wait_until_running
>>> ci = create(provider="daytona") | start | wait_until_running(timeout=120) | exec("make", ["test"])
>>> ci
create(provider='daytona') | start() | wait_until_running(timeout=120) | exec('make', ['test'])
>>> ci == eval(repr(ci))
True

An operation runs if it is called with its target. Without a target, it returns a step. A target is an A, or a Result:

>>> box = create("my-box")
>>> exec(box, "echo", ["hello"]) == exec("echo", ["hello"])(box) == (box | exec("echo", ["hello"]))
True

After a Failure, all later steps are skipped, and the Failure is the result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Generic, TypeGuard, TypeVar, cast, overload

from returns.result import Failure, Result, Success

from pocketenv_fp.errors import InvalidInput, Place, PocketenvError
from pocketenv_fp.models import Job, Sandbox
from pocketenv_fp.observing import Done, Ended, begin, reporting
from pocketenv_fp.redaction import Source, function_name, is_secret, shorten, shown, without_passwords
from pocketenv_fp.runtime.rehearsal import rehearsing
from pocketenv_fp.steps.advice import for_method
from pocketenv_fp.steps.needs import Need, current, needs_of, read_before
from pocketenv_fp.validation import Given

if TYPE_CHECKING:
    from pocketenv_fp.steps.operation import Curried

__all__ = ["Applied", "Step", "has_run", "identity", "is_step"]

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
E = TypeVar("E")
X = TypeVar("X")
A_contra = TypeVar("A_contra", contravariant=True)
B_co = TypeVar("B_co", covariant=True)

BRIEF = 200
ALONE = (Need.RECORD,)


class Step(Source, Generic[A_contra, B_co]):
    """A function from an A, or a Result of one, to a ``Result[B, PocketenvError]``.

    ``step(target)`` and ``target | step`` run it. ``step | step`` composes. A Failure is returned unchanged. None,
    which `get_sandbox` returns for a missing sandbox, becomes Failure(SandboxNotFound) if a Sandbox is needed. A target
    of another type is a mistake in the program and raises TypeError.
    """

    @property
    def _steps(self) -> tuple[Applied, ...]:
        raise NotImplementedError

    def _needs(self) -> tuple[Need, ...]:
        return needs_of(self._steps)

    @property
    def safe(self) -> bool:
        """Whether the step is safe to repeat. It is False if this is unknown."""
        return all(applied.operation.is_safe(applied.args, applied.kwargs) for applied in self._steps)

    def __call__(
        self, target: A_contra | None | Result[A_contra | None, PocketenvError], /
    ) -> Result[B_co, PocketenvError]:
        return self._run(target)

    @overload
    def __ror__(
        self, target: A_contra | None | Result[A_contra | None, PocketenvError], /
    ) -> Result[B_co, PocketenvError]: ...
    @overload
    def __ror__(self, target: Result[A_contra | None, E], /) -> Result[B_co, PocketenvError | E]: ...
    def __ror__(self, target: object, /) -> Result[Any, Any]:
        return self._run(target)

    def run_before(self, following: Step[B_co, Any], target: object) -> Result[B_co, PocketenvError]:
        """Run on ``target``, and let the caller run ``following`` on the result. No other code may see that result.

        Its Sandbox may lack what ``following`` does not read, as between two steps of a pipeline.
        """
        all_needs = needs_of((*self._steps, *following._steps))
        return self._run(target, all_needs[: len(self._steps)])

    @property
    def alone(self) -> Applied | None:
        """The operation, if this is one operation and no pipeline."""
        return self._steps[0] if len(self._steps) == 1 else None

    def run_for(self, need: Need, target: object) -> Result[B_co, PocketenvError]:
        """Run on ``target``. The caller, and no other code, reads ``need`` of the result."""
        return self._run(target, needs_of(self._steps, need))

    def reads_first(self, last: Need) -> Need:
        """Return what the first step reads of its target. ``last`` is what is read of the last one's result."""
        return read_before(self._steps, last)

    def _run(self, target: object, needs: tuple[Need, ...] | None = None) -> Result[Any, PocketenvError]:
        steps = self._steps
        needs = needs or (ALONE if len(steps) == 1 else self._needs())
        if (rehearsal := rehearsing()) is not None:
            given = cast("object", target if isinstance(target, Result) else Success(target))
            return cast("Result[Any, PocketenvError]", rehearsal.run(steps, needs, given))
        # isinstance of these abstract classes takes long. Both are final.
        kind: type[object] = type(target)
        if kind is Failure:
            return cast("Failure[PocketenvError]", target)
        value = cast("Success[object]", target).unwrap() if kind is Success else target
        began = time.perf_counter()
        sandbox: Sandbox | None = None
        result: Result[Any, PocketenvError] | None = None
        for position, (applied, need) in enumerate(zip(steps, needs, strict=True), 1):
            sandbox = _sandbox_of(value) or sandbox
            result = applied.perform(value, need)
            if not isinstance(result, Success):
                place = Place(_brief(applied), position, _brief(self), time.perf_counter() - began)
                return _placed(result.failure(), place, sandbox)
            value = result.unwrap()
        return Success(value) if result is None else result

    def __or__(self: Step[A, X | None], after: Step[X, C], /) -> Step[A, C]:
        following: object = after
        steps = getattr(following, "_steps", None)
        if isinstance(following, Result):
            got = has_run(cast("Result[object, object]", following))
            raise TypeError(f"expected a step after |, got {got}")
        if steps is None and callable(following):
            from pocketenv_fp.steps.operation import Operation

            if isinstance(following, Operation):
                raise TypeError(cast("Operation[Any, ..., Any]", following).needs_arguments())
            name = function_name(following)
            raise TypeError(
                f"{name} is a function, not a step: write .map({name}), or .bind({name}) if it returns a Result"
            )
        return NotImplemented if steps is None else _Pipeline(self._steps + steps)

    def map(self, function: Callable[[B_co], C], /) -> Step[A_contra, C]:
        """Return a step that applies ``function`` to the value of this one.

        ``function`` is not called after a Failure. Its exceptions are raised. A named function prints as its dotted
        name and is pickled by reference.

        >>> from pocketenv_fp import create, exec, start, stdout
        >>> ci = create | start | exec("echo 42") | stdout.map(int)
        >>> ci
        create() | start() | exec('echo 42') | stdout().map(int)
        >>> ci("my-box")
        <Success: 42>
        """
        from pocketenv_fp.steps import functions

        return self | functions.called(functions.map, function)

    @overload
    def bind(self, function: Step[B_co, C], /) -> Step[A_contra, C]: ...
    @overload
    def bind(self, function: Callable[[B_co], Result[C, Any]], /) -> Step[A_contra, C]: ...
    @overload
    def bind(self, function: Callable[[B_co], Step[B_co, C]], /) -> Step[A_contra, C]: ...
    def bind(self, function: Callable[[B_co], Any], /) -> Step[A_contra, Any]:
        r"""Return a step that applies ``function``, which returns a Result, to the value of this one.

        ``function`` may also return a step, which then runs on the value. Its Failure may hold an error of your own.
        ``a.bind(b)`` with two steps is ``a | b``.

        >>> from returns.result import safe
        >>> from pocketenv_fp import create, exec, start, stdout
        >>> number = exec("echo none") | stdout.bind(safe(int))
        >>> type((create("my-box") | start | number).failure()).__name__
        'ValueError'
        """
        from pocketenv_fp.steps import functions

        return self | (function if is_step(function) else functions.called(functions.bind, function))

    def alt(self, function: Callable[[PocketenvError], object], /) -> Step[A_contra, B_co]:
        """Return a step that applies ``function`` to the error of this one.

        >>> from pocketenv_fp import create, exec, start
        >>> ci = start | exec("exit 3", check=True).alt(type)
        >>> (create("my-box") | ci).failure().__name__
        'CommandFailed'
        """
        from pocketenv_fp.steps import functions

        return functions.called(functions.alt, self, function)

    def lash(self, function: Callable[[PocketenvError], Result[C, Any]], /) -> Step[A_contra, B_co | C]:
        """Return a step that replaces a Failure of this one with the Result of ``function``, which gets the error.

        `recover` does it with a value, and `or_else` with a step. An earlier Failure is not handled.

        >>> from returns.result import Success
        >>> from pocketenv_fp import create, exec, start
        >>> def code(error):
        ...     return Success(error.exit_code)
        >>> create("my-box") | start | exec("exit 3", check=True).lash(code)
        <Success: 3>
        """
        from pocketenv_fp.steps import functions

        return functions.called(functions.lash, self, function)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(f"a step has no {name!r}{for_method(name)}")

        def __rshift__(self, other: object) -> Any:
            raise TypeError("steps are composed with |: write step | other")

        def __rrshift__(self, other: object) -> Any:
            raise TypeError("a step runs with |: write target | step")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Step):
            return NotImplemented
        mine, its = self._steps, other._steps
        return len(mine) == len(its) and all(
            a.operation is b.operation and a.args == b.args and a.kwargs == b.kwargs
            for a, b in zip(mine, its, strict=True)
        )

    def __hash__(self) -> int:
        # Arguments may be lists, which have no hash. Equal steps have equal operations, which is enough.
        return hash(tuple((applied.operation.__name__, len(applied.args)) for applied in self._steps))

    def __copy__(self) -> Step[A_contra, B_co]:
        return self  # immutable; secrets may stay in it inside this process

    def __deepcopy__(self, memo: dict[int, object]) -> Step[A_contra, B_co]:
        return self

    def __repr__(self) -> str:
        source = ""
        for applied in self._steps:
            if applied.is_method:
                source = f"{source or 'identity'}.{applied}"
            else:
                source = f"{source} | {applied}" if source else str(applied)
        return source or "identity"


def has_run(result: Result[object, object]) -> str:
    """Return words for a Result in the place of a step: the call has run, and may have created a sandbox."""
    if isinstance(result, Failure):
        error = result.failure()
        kind, box = f"a Failure ({type(error).__name__})", error.sandbox if isinstance(error, PocketenvError) else None
    else:
        kind, box = "a Success", _sandbox_of(result.unwrap())
    there = "" if box is None else f", and the sandbox {box.name} may exist"
    return f"{kind}: the call has run already{there}. For a step, call it without its target: create, not create(name)"


def is_step(value: object) -> TypeGuard[Step[Any, Any]]:
    return isinstance(value, Step)


def _sandbox_of(value: object) -> Sandbox | None:
    if isinstance(value, Sandbox):
        return value
    return value.sandbox if isinstance(value, Job) else None


def _placed(error: PocketenvError, place: Place, sandbox: Sandbox | None) -> Result[Any, PocketenvError]:
    # With `bind` and `lash`, the error may be the caller's own.
    return Failure(error.at(place, sandbox) if isinstance(cast("object", error), PocketenvError) else error)


def _brief(step: Step[Any, Any]) -> str:
    # A place is for a human reader: a long script in it would hide the rest.
    return shorten(repr(step), BRIEF)


class _Pipeline(Step[A, B]):
    """Steps in sequence, flattened: ``(a | b) | c`` and ``a | (b | c)`` are equal."""

    __slots__ = ("_known_needs", "_sequence")

    def __init__(self, sequence: tuple[Applied, ...]) -> None:
        self._sequence = sequence
        self._known_needs: tuple[Need, ...] = ()

    def _needs(self) -> tuple[Need, ...]:
        # A pipeline runs many times.
        self._known_needs = self._known_needs or needs_of(self._sequence)
        return self._known_needs

    @property
    def _steps(self) -> tuple[Applied, ...]:
        return self._sequence

    def __reduce__(self) -> tuple[Any, ...]:
        return (_Pipeline, (self._sequence,))


class Applied(Step[Any, Any]):
    """An operation with its arguments."""

    __slots__ = ("_checked", "args", "kwargs", "operation")

    def __init__(self, operation: Curried, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.operation = operation
        self.args = args
        self.kwargs = kwargs
        self._checked: Given | InvalidInput | None = None

    @property
    def _steps(self) -> tuple[Applied, ...]:
        return (self,)

    @property
    def checked(self) -> Given | InvalidInput:
        """The arguments as plain types, or the error of a wrong value. They are checked at the first run only."""
        if self._checked is None:
            self._checked = self.operation.checked(self.args, self.kwargs)
        return self._checked

    def perform(self, value: object, need: Need) -> Result[Any, PocketenvError]:
        """Run the operation on ``value``, and report it to the watchers. ``need`` is what is read of its result."""
        mark = None if current.get() is need else current.set(need)
        try:
            ended = begin("step", self.__str__)
            return self.operation.run(value, self) if ended is None else self._reported(value, ended)
        finally:
            if mark is not None:
                current.reset(mark)

    def _reported(self, value: object, ended: Ended) -> Result[Any, PocketenvError]:
        with reporting(ended, time.perf_counter()) as report:
            result = self.operation.run(value, self)
            if isinstance(result, Failure):
                report(Done(0.0, result.failure()))
        return result

    def placed(self, error: PocketenvError, target: object, began: float) -> PocketenvError:
        """Return ``error`` with this step as its place, and with ``target`` if that is a Sandbox."""
        place = Place(_brief(self), 1, _brief(self), time.perf_counter() - began)
        return error.at(place, target if isinstance(target, Sandbox) else None)

    @property
    def first(self) -> object:
        """The first argument after the target."""
        return next(iter(self.operation.arguments.signature.bind(*self.args, **self.kwargs).arguments.values()), None)

    @property
    def is_method(self) -> bool:
        """Whether it prints as a method call: ``step.map(f)``."""
        return self.operation.is_method

    def is_secret(self, name: str, value: object) -> bool:
        """Return whether this argument, or a part of it, must be masked."""
        return is_secret(value, is_secret_by_name=name in self.operation.secret)

    def _shown(self, name: str, value: object) -> str:
        return shown(value, is_secret_by_name=name in self.operation.secret)

    def _positional(self) -> Iterator[tuple[str, Any]]:
        # Arguments without a name of their own belong to `*steps`.
        return zip(chain(self.operation.arguments.names, repeat("")), self.args, strict=False)

    def __str__(self) -> str:
        return self.operation.source(self)

    def source(self) -> str:
        """Return the call as source, with its secrets masked."""
        positional = (self._shown(name, value) for name, value in self._positional())
        named = (f"{name}={self._shown(name, value)}" for name, value in self.kwargs.items())
        return without_passwords(f"{self.operation.__name__}({', '.join((*positional, *named))})")

    def __reduce__(self) -> tuple[Any, ...]:
        for name, value in (*self._positional(), *self.kwargs.items()):
            if self.is_secret(name, value):
                alternative = (
                    "{…: from_env('THE_VARIABLE')}" if isinstance(value, Mapping) else "from_env('THE_VARIABLE')"
                )
                reason = f"is a secret: use {name}={alternative}, or POCKETENV_TOKEN for a token"
            elif without_passwords(source := self._shown(name, value)) != source:
                reason = "contains a URL with a password: in a command, write $NAME for it, with env={'NAME': from_env('NAME')}"
            else:
                continue
            from pickle import PicklingError

            raise PicklingError(f"{self} cannot be pickled: {name} {reason}")
        return (Applied, (self.operation, self.args, dict(self.kwargs)))


identity: Step[Any, Any] = _Pipeline(())
"""The identity step: ``identity | s == s == s | identity``."""
