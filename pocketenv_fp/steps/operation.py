"""Operations: functions of a target that become steps when they are called without it."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from functools import cached_property, update_wrapper
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar, cast, overload

import msgspec
from returns.result import Failure, Result, Success

from pocketenv_fp.config import logged_in
from pocketenv_fp.errors import InvalidInput, PocketenvError, SandboxNotFound
from pocketenv_fp.models import Sandbox
from pocketenv_fp.plain_types import normalize
from pocketenv_fp.runtime.first_use import unopened_failure
from pocketenv_fp.steps.advice import a_kind, for_arguments, for_no_step, for_value, for_words
from pocketenv_fp.steps.needs import Need
from pocketenv_fp.steps.signature import readable
from pocketenv_fp.steps.step import Applied, Step, has_run, is_step
from pocketenv_fp.validation import Arguments, Given

__all__ = [
    "Curried",
    "Operation",
    "StepOperation",
    "demand_step",
    "operation",
    "step",
]

P = ParamSpec("P")
A = TypeVar("A")
B = TypeVar("B")


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
        *,
        repeatable: bool = False,
        reads: Need = Need.RECORD,
        returns_target: bool = False,
        record: str = "",
        looks_up_record: bool = False,
    ) -> None:
        self.function = function
        self.accepts = accepts
        self.repeatable = repeatable
        self.reads = reads
        self.returns_target = returns_target
        self.record = record
        self.looks_up_record = looks_up_record
        # A record comes from the platform. Other targets, such as a name, are the caller's.
        self._takes_record = issubclass(accepts, msgspec.Struct)
        self.whole = Arguments(function)
        self.arguments = Arguments(function, skip=1)
        update_wrapper(cast("Callable[..., Any]", self), function)

    @cached_property
    def secret(self) -> frozenset[str]:
        """The names of the arguments that are masked."""
        return self.whole.secret

    @cached_property
    def __signature__(self) -> inspect.Signature:
        return readable(inspect.signature(self.function))

    def __get__(self, instance: object, owner: type | None = None) -> Self:
        # pydoc prints the signature of routines only: objects with `__get__` and without `__set__`.
        return self

    def __reduce__(self) -> str:
        return self.__qualname__

    def run(self, value: object, call: Applied) -> Result[Any, PocketenvError]:
        """Run the function on ``value``, with the arguments of ``call``, and return its Result."""
        if not isinstance(value, self.accepts):
            return self._refused(value)
        given = call.checked
        if isinstance(given, InvalidInput):
            return Failure(given)
        if not self._takes_record:
            target = self.whole.read((value,), {})
            if isinstance(target, InvalidInput):
                return Failure(target)
            ((value,), _) = target
        args, kwargs = given
        try:
            if "token" in kwargs or "config" in kwargs:
                return logged_in(self.function, (value, *args), kwargs)
            return self.function(value, *args, **kwargs)
        except (OSError, ImportError) as error:
            return unopened_failure(error, self.__name__)

    def _refused(self, value: object) -> Result[Any, PocketenvError]:
        if value is None and self.accepts is Sandbox:
            return Failure(
                SandboxNotFound(404, "SandboxNotFound", "the step before returned no sandbox", self.__name__)
            )
        raise TypeError(
            f"{self.__name__} takes {a_kind(self.accepts)} or a Result of one, not {type(value).__name__}"
            f"{for_value(value, self.accepts, self.__name__)}"
        )

    def checked(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Given | InvalidInput:
        """Return the arguments as plain types, or the error of a wrong value. Raise TypeError for a wrong type."""
        if not args and not kwargs and isinstance(self, Operation) and self._has_required:
            raise TypeError(self.needs_arguments())
        return self.arguments.read(args, kwargs)

    @cached_property
    def _has_required(self) -> bool:
        return any(each.default is each.empty for each in self.arguments.signature.parameters.values())

    @property
    def needs(self) -> type | None:
        """The type of target that it needs itself, None where it only passes its target on."""
        return self.accepts

    def reads_before(self, applied: Applied, last: Need) -> Need:  # noqa: ARG002  # for combinators
        """Return what it reads of its target. ``last`` is what is read of its result."""
        return max(self.reads, last) if self.returns_target else self.reads

    def is_safe(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:  # noqa: ARG002  # for combinators
        """Return whether it is safe to repeat with these arguments."""
        return self.repeatable

    def has_target(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:  # noqa: ARG002  # for subclasses
        """Return whether the first argument is the target, so that the operation runs now."""
        return bool(args) and (args[0] is None or isinstance(args[0], (self.accepts, Result)))

    def hide(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """Return ``args`` with its secrets masked in their repr, and replace those in ``kwargs``."""
        # Most calls have no secret.
        if len(self.secret) == 1 and "token" not in kwargs:
            return args
        arguments = self.whole if self.has_target(args, kwargs) else self.arguments
        return arguments.hide(args, kwargs)

    def _call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if self.has_target(args, kwargs):
            return Applied(self, args[1:], kwargs)(args[0])
        try:
            args, kwargs = self.arguments.bind(args, kwargs)
        except TypeError as error:
            if form := for_arguments(self, args, str(error)):
                raise TypeError(form) from None
            if self._begins_with_id(args, kwargs):
                raise TypeError(f"{error}. {self._needs_target()}") from None
            raise TypeError(f"{error}{for_words(self, args)}") from None
        return Applied(self, tuple(map(_stored, args)), {name: _stored(value) for name, value in kwargs.items()})

    def _begins_with_id(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        # Without the string, the rest is a call with a target.
        if self.accepts is not Sandbox or not args or not isinstance(args[0], str):
            return False
        try:
            self.arguments.bind(args[1:], kwargs)
        except TypeError:
            return False
        return True

    def _needs_target(self) -> str:
        call = f"{self.__name__}(…)" if isinstance(self, Operation) else self.__name__
        return f"If the first argument is the id or name of a sandbox, write get_sandbox(…) | {call}"

    @property
    def is_method(self) -> bool:
        """Whether it prints as a method call: ``step.map(f)``."""
        return False

    def source(self, applied: Applied) -> str:
        """Return its call with these arguments as source."""
        return applied.source()

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
        args = self.hide(args, kwargs)
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
        args = self.hide(args, kwargs)
        return self._call(args, kwargs)

    def __init__(
        self,
        function: Callable[..., Result[Any, PocketenvError]],
        accepts: type,
        *,
        repeatable: bool = False,
        reads: Need = Need.RECORD,
        returns_target: bool = False,
    ) -> None:
        super().__init__(function, accepts, repeatable=repeatable, reads=reads, returns_target=returns_target)
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
    advice = for_no_step(value)
    got = has_run(cast("Result[object, object]", value)) if isinstance(value, Result) else type(value).__name__
    raise TypeError(f"{subject}: expected a step, got {got}{advice}")


def operation(
    accepts: type[A],
    *,
    safe: bool = False,
    reads: Need = Need.RECORD,
    returns_target: bool = False,
    record: str = "",
    looks_up_record: bool = False,
) -> Callable[[Callable[Concatenate[A, P], Result[B, PocketenvError]]], Operation[A, P, B]]:
    """Decorator for a function of an ``accepts`` and further arguments. The result is an Operation.

    An argument with a secret has the type `SecretText`. ``safe`` says that the operation is safe to repeat. ``reads`` is what it reads
    of a Sandbox, and ``returns_target`` says that its result is, or contains, its target (see `pocketenv_fp.steps.needs`).
    ``record`` is the noun of the record that its first argument names, such as "secret". ``looks_up_record`` says that it
    ends with a lookup of that record (see `pocketenv_fp.steps.later`).
    """

    def decorate(function: Callable[Concatenate[A, P], Result[B, PocketenvError]]) -> Operation[A, P, B]:
        return Operation(
            function,
            accepts,
            repeatable=safe,
            reads=reads,
            returns_target=returns_target,
            record=record,
            looks_up_record=looks_up_record,
        )

    return decorate


def step(
    accepts: type[A],
    *,
    safe: bool = False,
    reads: Need = Need.RECORD,
    returns_target: bool = False,
) -> Callable[[Callable[Concatenate[A, P], Result[B, PocketenvError]]], StepOperation[A, P, B]]:
    """Decorator for a function whose further arguments are all optional. The result is a StepOperation."""

    def decorate(function: Callable[Concatenate[A, P], Result[B, PocketenvError]]) -> StepOperation[A, P, B]:
        return StepOperation(function, accepts, repeatable=safe, reads=reads, returns_target=returns_target)

    return decorate
