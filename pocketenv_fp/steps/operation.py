"""Steps, and the operations that they are made of: the algebra behind ``create("b") | start | exec("ls")``.

A `Step` is an arrow from A to ``Result[B, PocketenvError]``, held as data: which operations with which arguments.
So it prints as the source that makes it, compares, pickles, and composes before there is a sandbox:

>>> from pocketenv_fp import create, exec, start, wait_until_running
>>> ci = create(provider="daytona") | start | wait_until_running(timeout=120) | exec("make", ["test"])
>>> ci
create(provider='daytona') | start() | wait_until_running(timeout=120) | exec('make', ['test'])
>>> ci == eval(repr(ci))
True

An operation called with its target runs; called without, it becomes a step. Its target is an A or a Result of one:

>>> box = create("my-box")
>>> exec(box, "echo", ["hello"]) == exec("echo", ["hello"])(box) == (box | exec("echo", ["hello"]))
True

A Failure passes every step by, and comes out as it went in.
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
    TypeGuard,
    TypeVar,
    cast,
    overload,
)

from returns.result import Failure, Result, Success

from pocketenv_fp.errors import InvalidInput, Place, PocketenvError, SandboxNotFound
from pocketenv_fp.models import Sandbox
from pocketenv_fp.observing import Done, begin, told
from pocketenv_fp.plain_types import normalize
from pocketenv_fp.redaction import Source, function_name, is_secret, shown, without_passwords
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
    """What turns an A, or a Result of one, into a ``Result[B, PocketenvError]``.

    ``step(target)`` and ``target | step`` run it, ``step | step`` composes. A Failure comes back as it is. None, which
    `get_sandbox` gives for a missing sandbox, is Failure(SandboxNotFound) where a Sandbox is needed. A target of
    another type raises TypeError: that is a mistake in the program.
    """

    @property
    def _steps(self) -> tuple[Applied, ...]:
        raise NotImplementedError

    @property
    def safe(self) -> bool:
        """Whether to run it again does no harm, as far as this library knows: what is not known to be safe is not."""
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
        # `bind` and `lash` let errors of the caller's own through.
        known = isinstance(cast("object", error), PocketenvError)
        return Failure(error.at(Place(_brief(applied), position, _brief(self), seconds)) if known else error)

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
        """Return the step that calls ``function`` with the value of this one, and yields what it returns.

        ``function`` is not called after a Failure. What it raises is raised. A named function prints as its dotted
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
        r"""Return the step that calls ``function`` with the value of this one, and yields the Result that it returns.

        ``function`` may return a step instead, which is then run on the value. Its Failure may hold an error of your
        own. ``a.bind(b)`` with two steps is ``a | b``.

        >>> from returns.result import safe
        >>> from pocketenv_fp import create, exec, start, stdout
        >>> number = exec("echo none") | stdout.bind(safe(int))
        >>> type((create("my-box") | start | number).failure()).__name__
        'ValueError'
        """
        return self | (function if is_step(function) else _called(_bind, function))

    def alt(self, function: Callable[[PocketenvError], object], /) -> Step[A_contra, B_co]:
        """Return the step whose Failure holds what ``function`` makes of this one's error.

        >>> from pocketenv_fp import create, exec, start
        >>> ci = start | exec("exit 3", check=True).alt(type)
        >>> (create("my-box") | ci).failure().__name__
        'CommandFailed'
        """
        return _called(_alt, self, function)

    def lash(self, function: Callable[[PocketenvError], Result[C, Any]], /) -> Step[A_contra, B_co | C]:
        """Return the step that answers a Failure of this one with the Result that ``function`` returns for the error.

        `recover` and `or_else` do it for a value and for a step. A Failure from before this step passes by.

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
        # Arguments may be lists. Equal steps call the same operations; that is enough of a hash.
        return hash(tuple((applied.operation.__name__, len(applied.args)) for applied in self._steps))

    def __copy__(self) -> Step[A_contra, B_co]:
        return self  # a value, and inside this process its secrets may stay in it

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
    # A place is for a person to find. A script of pages in it would hide the rest.
    text = repr(step)
    return text if len(text) <= BRIEF else f"{text[: BRIEF - 1]}…"


class _Pipeline(Step[A, B]):
    """Steps one after the other, flattened: ``(a | b) | c`` and ``a | (b | c)`` are the same value."""

    __slots__ = ("_sequence",)

    def __init__(self, sequence: tuple[Applied, ...]) -> None:
        self._sequence = sequence

    @property
    def _steps(self) -> tuple[Applied, ...]:
        return self._sequence

    def __reduce__(self) -> tuple[Any, ...]:
        return (_Pipeline, (self._sequence,))


class Applied(Step[Any, Any]):
    """One operation with its arguments."""

    __slots__ = ("args", "kwargs", "operation")

    def __init__(self, operation: Curried, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.operation = operation
        self.args = args
        self.kwargs = kwargs

    @property
    def _steps(self) -> tuple[Applied, ...]:
        return (self,)

    def perform(self, target: Result[Any, PocketenvError]) -> Result[Any, PocketenvError]:
        """Do it to ``target``, which is no Failure, with everyone told who watches."""
        ended = begin("step", self.__str__)
        if ended is None:
            return self.operation.run(target, self.args, self.kwargs)
        with told(ended, time.perf_counter()) as tell:
            result = self.operation.run(target, self.args, self.kwargs)
            if isinstance(result, Failure):
                tell(Done(0.0, result.failure()))
        return result

    @property
    def is_method(self) -> bool:
        """Whether it is written behind a dot: ``step.map(f)``."""
        return self.operation in {_map, _bind}

    def is_secret(self, name: str, value: object) -> bool:
        """Tell whether this argument, or something in it, is not to be shown."""
        return is_secret(value, is_secret_by_name=name in self.operation.secret)

    def _shown(self, name: str, value: object) -> str:
        return shown(value, is_secret_by_name=name in self.operation.secret)

    def _positional(self) -> Iterator[tuple[str, Any]]:
        # More arguments than names are those of `*steps`.
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
                instead = "{…: from_env('THE_VARIABLE')}" if isinstance(value, Mapping) else "from_env('THE_VARIABLE')"
                reason = f"is a secret: use {name}={instead}, or POCKETENV_TOKEN for a token"
            elif without_passwords(source := self._shown(name, value)) != source:
                reason = (
                    "holds a URL with a password: in a command, write $NAME for it, with env={'NAME': from_env('NAME')}"
                )
            else:
                continue
            from pickle import PicklingError

            raise PicklingError(f"{self} cannot be pickled: {name} {reason}")
        return (Applied, (self.operation, self.args, dict(self.kwargs)))


def _own(value: object) -> object:
    # Which kind of path it is depends on the machine. A list and a dict are copies already: see `normalize`.
    if isinstance(value, os.PathLike):
        return normalize(os.fspath(cast("os.PathLike[str]", value)))
    return normalize(cast("Success[object]", value).unwrap()) if isinstance(value, Success) else value


class Curried:
    """A public function of a target and more: what `Operation` and `StepOperation` share."""

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
        return inspect.signature(self.function)

    def __reduce__(self) -> str:
        return self.__qualname__

    def run(self, target: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Result[Any, PocketenvError]:
        """Do it to ``target`` now, and give what the function gives."""
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
        given = self.whole.read((target, *args), kwargs)
        return Failure(given) if isinstance(given, InvalidInput) else self.function(*given[0], **given[1])

    def is_safe(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:  # noqa: ARG002  # for combinators
        """Tell whether doing it twice with these arguments does no harm."""
        return self.repeatable

    def has_target(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:  # noqa: ARG002  # for who needs it
        """Tell whether the first argument is what to do it to, and not one for later."""
        return bool(args) and (args[0] is None or isinstance(args[0], (self.accepts, Result)))

    def _call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if self.has_target(args, kwargs):
            return Applied(self, args[1:], kwargs)(args[0])
        args, kwargs = self.arguments.bind(args, kwargs)
        return Applied(self, tuple(map(_own, args)), {name: _own(value) for name, value in kwargs.items()})

    def needs_arguments(self) -> str:
        """Say what to write in the place of the bare operation."""
        return f"{self.__name__} needs arguments: write `| {self.__name__}(…)`, with {self.__name__}{self.arguments.signature}"


class Operation(Curried, Generic[A, P, B]):
    """A function that needs more than its target before it is a step: ``exec``, ``expose``, ``set_secret``, …

    ``exec(box, "ls")`` runs it, ``exec("ls")`` is a step. A bare ``box | exec`` is an error to type checkers, and a
    TypeError that says what to write.
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
    """A function whose other arguments are all optional, so it is a step as it stands: ``start``, ``stop``, …

    ``start(box)`` runs it, and so does ``box | start``; ``start(repo="…")`` is a step with arguments.
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


def demand_step(value: object, who: str) -> None:
    """Raise TypeError, which says what to write, for what is no step but an operation without its arguments, or else."""
    if is_step(value):
        return
    if isinstance(value, Curried):
        raise TypeError(f"{who}: {value.needs_arguments()}")
    raise TypeError(f"{who}: expected a step, got {type(value).__name__}")


def operation(
    accepts: type[A], *, secret: tuple[str, ...] = (), safe: bool = False
) -> Callable[[Callable[Concatenate[A, P], Result[B, PocketenvError]]], Operation[A, P, B]]:
    """Make a function of an ``accepts`` and further arguments an Operation.

    ``secret`` names those never to show; ``safe`` says that it is a query, or does the same when it is done twice.
    """

    def decorate(function: Callable[Concatenate[A, P], Result[B, PocketenvError]]) -> Operation[A, P, B]:
        return Operation(function, accepts, frozenset({"token", *secret}), repeatable=safe)

    return decorate


def step(
    accepts: type[A], *, secret: tuple[str, ...] = (), safe: bool = False
) -> Callable[[Callable[Concatenate[A, P], Result[B, PocketenvError]]], StepOperation[A, P, B]]:
    """Make a function whose further arguments are all optional a StepOperation."""

    def decorate(function: Callable[Concatenate[A, P], Result[B, PocketenvError]]) -> StepOperation[A, P, B]:
        return StepOperation(function, accepts, frozenset({"token", *secret}), repeatable=safe)

    return decorate


class _Method(Curried):
    """A method of steps that takes a function of the caller's: ``step.map(f)`` and its like."""

    def __repr__(self) -> str:
        return f"<method {self.__name__} of steps>"

    def __reduce__(self) -> str:
        return self.__qualname__

    def run(self, target: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Result[Any, PocketenvError]:
        """Call the function. The target of ``alt`` and ``lash`` is that of the step in them."""
        if isinstance(target, Failure):
            return cast("Result[Any, PocketenvError]", target)
        value = cast("Success[object]", target).unwrap() if isinstance(target, Success) else target
        return self.function(value, *args, **kwargs)

    def is_safe(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:  # noqa: ARG002  # the base's own
        """Return whether repeating it does no harm: a function that returns a Result may do anything."""
        return self.repeatable and all(each.safe for each in args if is_step(each))

    def source(self, args: tuple[Any, ...]) -> str:
        """Return the call as source, without the step before it for ``map`` and ``bind``."""
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
    """A method with its function, pickled by the function's name."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        function = self.args[-1]
        name = getattr(function, "__qualname__", "")
        # cloudpickle, which Dask uses, pickles functions without a name by value.
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
        wrapped = "unwrap it, for instance with unsafe_perform_io" if kind.startswith(("IO", "Future")) else other
        raise TypeError(f"{method}: {name} returned a {kind}, and a Result is needed: {wrapped}")
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
"""The step that does nothing: ``identity | s == s == s | identity``."""
