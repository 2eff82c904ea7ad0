"""Operations: functions of a target that become steps when they are called without it."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from functools import cached_property, update_wrapper
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from returns.result import Failure, Result, Success

from pocketenv_fp.config import logged_in
from pocketenv_fp.errors import InvalidInput, PocketenvError, SandboxNotFound
from pocketenv_fp.models import Sandbox
from pocketenv_fp.plain_types import normalize
from pocketenv_fp.steps.step import Applied, Step, identity, is_step
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
                SandboxNotFound(404, "SandboxNotFound", "no sandbox came from the step before", self.__name__)
            )
        if not isinstance(target, self.accepts):
            raise TypeError(
                f"{self.__name__} takes a {self.accepts.__name__} or a Result of one, not {type(target).__name__}"
            )
        given = self.whole.read((target, *args), kwargs)
        return Failure(given) if isinstance(given, InvalidInput) else logged_in(self.function, *given)

    @property
    def needs(self) -> type | None:
        """The type of target that it needs itself, None where it only passes its target on."""
        return self.accepts

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

    @property
    def is_method(self) -> bool:
        """Whether it is written behind a dot: ``step.map(f)``."""
        return False

    def source(self, applied: Applied) -> str:
        """Return its call with these arguments as source."""
        return applied.source()

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
    raise TypeError(f"{who}: a step is needed, not a {type(value).__name__}")


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
