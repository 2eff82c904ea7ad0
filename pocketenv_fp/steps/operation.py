"""Steps and operations: the algebra of ``create("b") | start | exec("ls")``.

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

import inspect
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, update_wrapper
from itertools import chain, repeat
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Self,
    TypeGuard,
    TypeVar,
    cast,
    overload,
)

from returns.result import Failure, Result, Success

from pocketenv_fp.errors import InvalidInput, Place, PocketenvError, SandboxNotFound
from pocketenv_fp.models import Sandbox
from pocketenv_fp.observing import Done, begin, reporting
from pocketenv_fp.plain_types import normalize
from pocketenv_fp.redaction import Source, function_name, is_secret, shown, without_passwords
from pocketenv_fp.steps.signature import readable
from pocketenv_fp.validation import Arguments

__all__ = [
    "Applied",
    "Curried",
    "Operation",
    "Step",
    "StepOperation",
    "demand_step",
    "identity",
    "is_step",
    "operation",
    "step",
]

P = ParamSpec("P")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
E = TypeVar("E")
X = TypeVar("X")
A_contra = TypeVar("A_contra", contravariant=True)
B_co = TypeVar("B_co", covariant=True)

BRIEF = 200


class Step(Source, Generic[A_contra, B_co]):
    """A function from an A, or a Result of one, to a ``Result[B, PocketenvError]``.

    ``step(target)`` and ``target | step`` run it. ``step | step`` composes. A Failure is returned unchanged. None,
    which `get_sandbox` returns for a missing sandbox, becomes Failure(SandboxNotFound) if a Sandbox is needed. A target
    of another type is a mistake in the program and raises TypeError.
    """

    @property
    def _steps(self) -> tuple[Applied, ...]:
        raise NotImplementedError

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

    def _run(self, target: object) -> Result[Any, PocketenvError]:
        result = cast("Result[Any, PocketenvError]", target if isinstance(target, Result) else Success(target))
        if isinstance(result, Failure):
            return result
        began = time.perf_counter()
        for position, applied in enumerate(self._steps, 1):
            result = applied.perform(result)
            if isinstance(result, Failure):
                return self._placed(result.failure(), applied, position, time.perf_counter() - began)
        return result

    def _placed(
        self, error: PocketenvError, applied: Applied, position: int, seconds: float
    ) -> Result[Any, PocketenvError]:
        # With `bind` and `lash`, the error may be the caller's own.
        is_ours = isinstance(cast("object", error), PocketenvError)
        return Failure(error.at(Place(_brief(applied), position, _brief(self), seconds)) if is_ours else error)

    def __or__(self: Step[A, X | None], after: Step[X, C], /) -> Step[A, C]:
        following: object = after
        if isinstance(following, Operation):
            raise TypeError(cast("Operation[Any, ..., Any]", following).needs_arguments())
        steps = getattr(following, "_steps", None)
        if steps is None and callable(following):
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
        return self | _called(_map, function)

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
        return self | (function if is_step(function) else _called(_bind, function))

    def alt(self, function: Callable[[PocketenvError], object], /) -> Step[A_contra, B_co]:
        """Return a step that applies ``function`` to the error of this one.

        >>> from pocketenv_fp import create, exec, start
        >>> ci = start | exec("exit 3", check=True).alt(type)
        >>> (create("my-box") | ci).failure().__name__
        'CommandFailed'
        """
        return _called(_alt, self, function)

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
        return _called(_lash, self, function)

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


def is_step(value: object) -> TypeGuard[Step[Any, Any]]:
    return isinstance(value, Step)


def _brief(step: Step[Any, Any]) -> str:
    # A place is for a human reader: a long script in it would hide the rest.
    text = repr(step)
    return text if len(text) <= BRIEF else f"{text[: BRIEF - 1]}…"


class _Pipeline(Step[A, B]):
    """Steps in sequence, flattened: ``(a | b) | c`` and ``a | (b | c)`` are equal."""

    __slots__ = ("_sequence",)

    def __init__(self, sequence: tuple[Applied, ...]) -> None:
        self._sequence = sequence

    @property
    def _steps(self) -> tuple[Applied, ...]:
        return self._sequence

    def __reduce__(self) -> tuple[Any, ...]:
        return (_Pipeline, (self._sequence,))


class Applied(Step[Any, Any]):
    """An operation with its arguments."""

    __slots__ = ("args", "kwargs", "operation")

    def __init__(self, operation: Curried, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.operation = operation
        self.args = args
        self.kwargs = kwargs

    @property
    def _steps(self) -> tuple[Applied, ...]:
        return (self,)

    def perform(self, target: Result[Any, PocketenvError]) -> Result[Any, PocketenvError]:
        """Run the operation on ``target``, which is not a Failure, and report it to all watchers."""
        ended = begin("step", self.__str__)
        if ended is None:
            return self.operation.run(target, self.args, self.kwargs)
        with reporting(ended, time.perf_counter()) as report:
            result = self.operation.run(target, self.args, self.kwargs)
            if isinstance(result, Failure):
                report(Done(0.0, result.failure()))
        return result

    @property
    def is_method(self) -> bool:
        """Whether it prints as a method call: ``step.map(f)``."""
        return self.operation in {_map, _bind}

    def is_secret(self, name: str, value: object) -> bool:
        """Return whether this argument, or a part of it, must be masked."""
        return is_secret(value, is_secret_by_name=name in self.operation.secret)

    def _shown(self, name: str, value: object) -> str:
        return shown(value, is_secret_by_name=name in self.operation.secret)

    def _positional(self) -> Iterator[tuple[str, Any]]:
        # Arguments without a name of their own belong to `*steps`.
        return zip(chain(self.operation.arguments.names, repeat("")), self.args, strict=False)

    def __str__(self) -> str:
        if isinstance(self.operation, _Method):
            return self.operation.source(self.args)
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


def _stored(value: object) -> object:
    # The type of a path depends on the machine. Lists and dicts are copied by `normalize`.
    if isinstance(value, os.PathLike):
        return normalize(os.fspath(cast("os.PathLike[str]", value)))
    return normalize(cast("Success[object]", value).unwrap()) if isinstance(value, Success) else value


class Curried:
    """A public function of a target and further arguments: the base of `Operation` and `StepOperation`."""

    __name__: str
    __qualname__: str

    def __init__(
        self,
        function: Callable[..., Result[Any, PocketenvError]],
        accepts: type,
        secret: frozenset[str],
        *,
        repeatable: bool = False,
    ) -> None:
        self.function = function
        self.accepts = accepts
        self.secret = secret
        self.repeatable = repeatable
        self.whole = Arguments(function)
        self.arguments = Arguments(function, skip=1)
        update_wrapper(cast("Callable[..., Any]", self), function)

    @cached_property
    def __signature__(self) -> inspect.Signature:
        return readable(inspect.signature(self.function))

    def __get__(self, instance: object, owner: type | None = None) -> Self:
        # pydoc prints the signature of routines only: objects with `__get__` and without `__set__`.
        return self

    def __reduce__(self) -> str:
        return self.__qualname__

    def run(self, target: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Result[Any, PocketenvError]:
        """Run the function on ``target`` now, and return its Result."""
        if isinstance(target, Failure):
            return cast("Result[Any, PocketenvError]", target)
        if isinstance(target, Success):
            target = cast("Success[object]", target).unwrap()
        if target is None and self.accepts is Sandbox:
            return Failure(
                SandboxNotFound(404, "SandboxNotFound", "the step before returned no sandbox", self.__name__)
            )
        if not isinstance(target, self.accepts):
            raise TypeError(
                f"{self.__name__} takes a {self.accepts.__name__} or a Result of one, not {type(target).__name__}"
            )
        arguments = self.whole.read((target, *args), kwargs)
        return (
            Failure(arguments) if isinstance(arguments, InvalidInput) else self.function(*arguments[0], **arguments[1])
        )

    def is_safe(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:  # noqa: ARG002  # for combinators
        """Return whether it is safe to repeat with these arguments."""
        return self.repeatable

    def has_target(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:  # noqa: ARG002  # for subclasses
        """Return whether the first argument is the target, so that the operation runs now."""
        return bool(args) and (args[0] is None or isinstance(args[0], (self.accepts, Result)))

    def _call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if self.has_target(args, kwargs):
            return Applied(self, args[1:], kwargs)(args[0])
        args, kwargs = self.arguments.bind(args, kwargs)
        return Applied(self, tuple(map(_stored, args)), {name: _stored(value) for name, value in kwargs.items()})

    def needs_arguments(self) -> str:
        """Return a message that says how to call the operation."""
        return f"{self.__name__} needs arguments: write `| {self.__name__}(…)`, with {self.__name__}{self.arguments.signature}"


class Operation(Curried, Generic[A, P, B]):
    """An operation with required arguments: ``exec``, ``expose``, ``set_secret``, …

    ``exec(box, "ls")`` runs it, and ``exec("ls")`` is a step. Type checkers refuse ``box | exec``, and at run time it
    raises a TypeError with advice.
    """

    @overload
    def __call__(
        self, target: A | None | Result[A | None, PocketenvError], /, *args: P.args, **kwargs: P.kwargs
    ) -> Result[B, PocketenvError]: ...
    @overload
    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Step[A, B]: ...
    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._call(args, kwargs)

    def __repr__(self) -> str:
        return f"<operation {self.__name__}{self.arguments.signature}>"

    if not TYPE_CHECKING:

        def __ror__(self, target: object) -> Any:
            raise TypeError(self.needs_arguments())

        def _refuse(self, *_: object) -> Any:
            raise TypeError(self.needs_arguments())

        map = bind = alt = lash = _refuse


class StepOperation(Step[A, B], Curried, Generic[A, P, B]):
    """An operation with only optional arguments, so that it is a step itself: ``start``, ``stop``, …

    ``start(box)`` and ``box | start`` run it. ``start(repo="…")`` is a step with arguments.
    """

    @overload
    def __call__(self, target: A | None | Result[A | None, PocketenvError], /) -> Result[B, PocketenvError]: ...
    @overload
    def __call__(
        self, target: A | None | Result[A | None, PocketenvError], /, *args: P.args, **kwargs: P.kwargs
    ) -> Result[B, PocketenvError]: ...
    @overload
    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Step[A, B]: ...
    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._call(args, kwargs)

    def __init__(
        self,
        function: Callable[..., Result[Any, PocketenvError]],
        accepts: type,
        secret: frozenset[str],
        *,
        repeatable: bool = False,
    ) -> None:
        super().__init__(function, accepts, secret, repeatable=repeatable)
        self._alone = (Applied(self, (), {}),)

    @property
    def _steps(self) -> tuple[Applied, ...]:
        return self._alone


def demand_step(value: object, subject: str) -> None:
    """Raise TypeError, with advice, if ``value`` is not a step. An operation without its arguments is not a step."""
    if is_step(value):
        return
    if isinstance(value, Curried):
        raise TypeError(f"{subject}: {value.needs_arguments()}")
    raise TypeError(f"{subject}: expected a step, got {type(value).__name__}")


def operation(
    accepts: type[A], *, secret: tuple[str, ...] = (), safe: bool = False
) -> Callable[[Callable[Concatenate[A, P], Result[B, PocketenvError]]], Operation[A, P, B]]:
    """Decorator for a function of an ``accepts`` and further arguments. The result is an Operation.

    ``secret`` names the arguments to mask. ``safe`` says that the operation is safe to repeat.
    """

    def decorate(function: Callable[Concatenate[A, P], Result[B, PocketenvError]]) -> Operation[A, P, B]:
        return Operation(function, accepts, frozenset({"token", *secret}), repeatable=safe)

    return decorate


def step(
    accepts: type[A], *, secret: tuple[str, ...] = (), safe: bool = False
) -> Callable[[Callable[Concatenate[A, P], Result[B, PocketenvError]]], StepOperation[A, P, B]]:
    """Decorator for a function whose further arguments are all optional. The result is a StepOperation."""

    def decorate(function: Callable[Concatenate[A, P], Result[B, PocketenvError]]) -> StepOperation[A, P, B]:
        return StepOperation(function, accepts, frozenset({"token", *secret}), repeatable=safe)

    return decorate


class _Method(Curried):
    """A method of steps that takes a function of the caller: ``step.map(f)`` and others."""

    def __repr__(self) -> str:
        return f"<method {self.__name__} of steps>"

    def __reduce__(self) -> str:
        return self.__qualname__

    def run(self, target: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Result[Any, PocketenvError]:
        """Call the function. ``alt`` and ``lash`` pass the target to their inner step."""
        if isinstance(target, Failure):
            return cast("Result[Any, PocketenvError]", target)
        value = cast("Success[object]", target).unwrap() if isinstance(target, Success) else target
        return self.function(value, *args, **kwargs)

    def is_safe(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:  # noqa: ARG002  # part of the base's signature
        """Return whether it is safe to repeat. A function that returns a Result may have any effect."""
        return self.repeatable and all(each.safe for each in args if is_step(each))

    def source(self, args: tuple[Any, ...]) -> str:
        """Return the call as source code, without the step before ``map`` and ``bind``."""
        *steps, function = args
        inner = "".join(f"({each})." if " | " in repr(each) else f"{each}." for each in steps)
        return f"{inner}{self.__name__.strip('_')}({function_name(function)})"


def _method(*, safe: bool) -> Callable[[Callable[..., Any]], _Method]:
    def decorate(function: Callable[..., Any]) -> _Method:
        return _Method(function, object, frozenset({"token"}), repeatable=safe)

    return decorate


def _called(method: _Method, *args: Any) -> Step[Any, Any]:
    if not callable(args[-1]):
        name = method.__name__.strip("_")
        raise TypeError(f"{name}: expected a function, got {type(args[-1]).__name__}")
    return _CalledMethod(method, args, {})


class _CalledMethod(Applied):
    """A method with its function, which is pickled by its name."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        function = self.args[-1]
        name = getattr(function, "__qualname__", "")
        # cloudpickle, which Dask uses, pickles lambdas and local functions by value.
        if ("<lambda>" in name or "<locals>" in name) and "cloudpickle" not in sys.modules:
            from pickle import PicklingError

            raise PicklingError(
                f"{self} cannot be pickled: another process cannot import {function_name(function)}: "
                "define a named function at the top level of a module"
            )
        return (_CalledMethod, (self.operation, self.args, {}))


def _result_of(function: Callable[[Any], object], value: object, method: str) -> Result[Any, Any]:
    result = function(value)
    if is_step(result) and method == "bind":
        return result(value)
    if not _is_result(result):
        name = function_name(function)
        kind = type(result).__name__
        other = f"write .map({name})" if method == "bind" else "return Success(…) or Failure(…)"
        advice = "unwrap it, for instance with unsafe_perform_io" if kind.startswith(("IO", "Future")) else other
        raise TypeError(f"{method}: {name} returned a {kind}, not a Result: {advice}")
    return result


def _is_result(value: object) -> TypeGuard[Result[Any, Any]]:
    return isinstance(value, Result)


@_method(safe=True)
def _map(value: Any, function: Callable[[Any], Any]) -> Result[Any, Any]:
    return Success(function(value))


@_method(safe=False)
def _bind(value: Any, function: Callable[[Any], Any]) -> Result[Any, Any]:
    return _result_of(function, value, "bind")


@_method(safe=True)
def _alt(value: Any, step: Step[Any, Any], function: Callable[[Any], Any]) -> Result[Any, Any]:
    return (Success(value) | step).alt(function)


@_method(safe=False)
def _lash(value: Any, step: Step[Any, Any], function: Callable[[Any], Any]) -> Result[Any, Any]:
    return (Success(value) | step).lash(lambda error: _result_of(function, error, "lash"))


identity: Step[Any, Any] = _Pipeline(())
"""The identity step: ``identity | s == s == s | identity``."""
