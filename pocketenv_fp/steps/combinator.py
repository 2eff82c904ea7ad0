"""Decorator for functions that take steps and return a step."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from functools import cached_property
from itertools import chain, repeat
from typing import Any, Concatenate, ParamSpec, TypeVar, cast, get_origin, get_type_hints

from returns.result import Failure, Result

from pocketenv_fp.errors import InvalidInput, PocketenvError
from pocketenv_fp.plain_types import normalize
from pocketenv_fp.runtime.first_use import unopened_failure
from pocketenv_fp.runtime.rehearsal import Unknown, is_rehearsed
from pocketenv_fp.steps.needs import Need
from pocketenv_fp.steps.operation import Curried, demand_step
from pocketenv_fp.steps.signature import readable
from pocketenv_fp.steps.step import Applied, Step, is_step
from pocketenv_fp.validation import Given, wrong_value

__all__ = ["combinator"]

P = ParamSpec("P")
A = TypeVar("A")
B = TypeVar("B")


class _Combinator(Curried):
    """A function that takes steps and returns a step. The returned step contains the inner steps."""

    def __init__(
        self,
        function: Callable[..., Result[Any, PocketenvError]],
        check: Callable[..., None] | None,
        inner_needs: Callable[[Need], Need] | None,
        *,
        repeatable: bool,
        returns_target: bool,
    ) -> None:
        super().__init__(function, object, repeatable=repeatable, returns_target=returns_target)
        self.refuse = check
        self._inner_needs = inner_needs

    @cached_property
    def __signature__(self) -> inspect.Signature:
        return readable(self.arguments.signature)  # without the target: the returned step takes it

    def __repr__(self) -> str:
        return f"<combinator {self.__name__}{self.arguments.signature}>"

    @cached_property
    def limits(self) -> Mapping[str, tuple[Any, Any]]:
        # Only numbers have limits. msgspec cannot check steps, functions and classes.
        exact, loose = get_type_hints(self.function, include_extras=True), get_type_hints(self.function)
        return {name: (exact[name], kind) for name, kind in loose.items() if kind in {bool, float, int}}

    @cached_property
    def inner(self) -> tuple[frozenset[str], frozenset[str]]:
        origins = {name: get_origin(hint) for name, hint in get_type_hints(self.function).items()}
        return (
            frozenset(name for name, origin in origins.items() if origin is Step),
            frozenset(name for name, origin in origins.items() if origin is Callable),
        )

    @property
    def needs(self) -> type | None:
        """The type in the signature of the function. For a TypeVar or Any, the inner steps say what they need."""
        target = next(iter(inspect.signature(self.function).parameters))
        kind = get_type_hints(self.function).get(target)
        return kind if isinstance(kind, type) and kind is not Any else None

    def _arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        parameters = self.arguments.signature.parameters
        for name, value in self.arguments.signature.bind(*args, **kwargs).arguments.items():
            several = parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
            yield from ((name, each) for each in (value if several else (value,)))

    def _wrong_value(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> InvalidInput | None:
        for name, value in self._arguments(args, kwargs):
            if name in self.limits and (wrong := wrong_value(name, value, *self.limits[name])):
                return wrong
        return None

    def _check(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        steps, functions = self.inner
        order = self._order(args)
        for name, value in self._arguments(args, kwargs):
            if name in steps and order and not is_step(value):
                raise TypeError(f"{name}: expected a step, got {type(value).__name__}{order}")
            if name in steps:
                demand_step(value, name)
            if name in functions and (is_step(value) or not callable(value)):
                raise TypeError(f"{name}: expected a function, got {type(value).__name__}{order}")
        self._wrong_value(args, kwargs)
        if self.refuse is not None:
            self.refuse(*args, **kwargs)

    def _order(self, args: tuple[Any, ...]) -> str:
        """Return the form for a step in the place of another argument, as the end of a message."""
        steps, _ = self.inner
        # One that takes several steps has no other order.
        several = any(
            each.kind is inspect.Parameter.VAR_POSITIONAL for each in self.arguments.signature.parameters.values()
        )
        names = () if several else self.arguments.names
        is_swapped = any(is_step(value) and name not in steps for name, value in zip(names, args, strict=False))
        return f": write {self.__name__}({', '.join(names[: len(args)])})" if is_swapped and len(args) > 1 else ""

    def __call__(self, /, *args: Any, **kwargs: Any) -> Applied:
        args = self.hide(args, kwargs)
        try:
            self._check(args, kwargs)
        except TypeError as error:
            raise TypeError(f"{self.__name__}: {error}") from None
        positional = zip(chain(self.arguments.names, repeat("")), args, strict=False)
        return Applied(
            self,
            tuple(self._kept(name, value) for name, value in positional),
            {name: self._kept(name, value) for name, value in kwargs.items()},
        )

    def _kept(self, name: str, value: object) -> object:
        # The caller may change a list or a dict later. Other values are stored as they are, also a Result.
        return normalize(value) if name in self.limits else _copied(value)

    def checked(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Given | InvalidInput:
        """Return the arguments, or the error of a wrong value."""
        return self._wrong_value(args, kwargs) or (args, dict(kwargs))

    def run(self, value: object, call: Applied) -> Result[Any, PocketenvError]:
        """Run the combinator on ``value``. The inner steps check its type."""
        given = call.checked
        if isinstance(given, InvalidInput):
            return Failure(given)
        args, kwargs = given
        if is_rehearsed():
            args = tuple(
                self._uncalled(*each) for each in zip(chain(self.arguments.names, repeat("")), args, strict=False)
            )
            kwargs = {name: self._uncalled(name, each) for name, each in kwargs.items()}
        try:
            return self.function(value, *args, **kwargs)
        except (OSError, ImportError) as error:
            return unopened_failure(error, self.__name__)

    def _uncalled(self, name: str, value: Any) -> Any:
        # A function of the caller's is not called in a rehearsal.
        return _Uncalled(value) if name in self.inner[1] else value

    def reads_before(self, applied: Applied, last: Need) -> Need:
        """Return what it reads of its target: with ``inner_needs``, that is what its inner steps read."""
        if self._inner_needs is None:
            return self.reads
        need = self._inner_needs(last)
        steps = (each for each in (*applied.args, *applied.kwargs.values()) if is_step(each))
        return max(*(each.reads_first(need) for each in steps), last if self.returns_target else Need.NOTHING)

    def is_safe(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Return whether all inner steps are safe to repeat."""
        return self.repeatable and all(value.safe for value in (*args, *kwargs.values()) if is_step(value))


class _Uncalled(Unknown):
    """A function of the caller's in a rehearsal: calls of it return an Unknown."""

    def __init__(self, function: Any) -> None:
        self.__qualname__ = getattr(function, "__qualname__", type(function).__qualname__)

    def __call__(self, *_: object, **__: object) -> Unknown:
        return Unknown()


def _copied(value: Any) -> Any:
    return copy(value) if type(value) in {dict, list} else value


def combinator(
    *,
    safe: bool = True,
    check: Callable[..., None] | None = None,
    inner_needs: Callable[[Need], Need] | None = None,
    returns_target: bool = False,
) -> Callable[[Callable[Concatenate[A, P], Result[B, PocketenvError]]], Callable[P, Step[A, B]]]:
    """Decorator for a function of a target and steps: the result takes the steps, and returns a step for a target.

    ``check`` gets the arguments at once, and raises TypeError for a mistake. The returned step is safe to repeat if
    ``safe`` is true and all inner steps are safe.

    ``inner_needs`` returns what is read of the inner steps' results, from what is read of the result of the whole. It
    is set if only inner steps read the target. Without it, the target is always a complete record. ``returns_target``
    says that the target is, or is a part of, the result (see `pocketenv_fp.steps.needs`).
    """

    def decorate(function: Callable[Concatenate[A, P], Result[B, PocketenvError]]) -> Callable[P, Step[A, B]]:
        made = _Combinator(function, check, inner_needs, repeatable=safe, returns_target=returns_target)
        return cast("Callable[P, Step[A, B]]", made)

    return decorate
