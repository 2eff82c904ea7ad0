"""The methods of steps that take a function of the caller's: ``map``, ``bind``, ``alt`` and ``lash``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, TypeGuard, cast

from returns.result import Failure, Result, Success

from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.redaction import function_name
from pocketenv_fp.runtime.rehearsal import Unknown, note, rehearsing
from pocketenv_fp.steps.operation import Curried
from pocketenv_fp.steps.step import Applied, Step, has_run, is_step

__all__ = ["alt", "bind", "called", "lash", "map"]

AWAITED = "a step awaits nothing. Write await aio(step)(target), and await the function with its value"


class _Method(Curried):
    """A method of steps that takes a function of the caller: ``step.map(f)`` and others."""

    def __init__(self, function: Callable[..., Any], *, rehearsed: str, safe: bool) -> None:
        super().__init__(function, object, repeatable=safe)
        self._rehearsed = rehearsed

    @property
    def needs(self) -> type | None:
        """The step before it, or in it, says what it needs."""
        return None

    @property
    def is_method(self) -> bool:
        return self in {map, bind}

    def __repr__(self) -> str:
        return f"<method {self.__name__} of steps>"

    def __reduce__(self) -> str:
        return self.__qualname__

    def run(self, value: object, call: Applied) -> Result[Any, PocketenvError]:
        """Call the function. ``alt`` and ``lash`` pass the value to their inner step."""
        if rehearsing() is not None:
            note(lambda: self._rehearsed)
            return Success(value) | call.args[0] if is_step(call.args[0]) else Success(Unknown())
        return self.function(value, *call.args)

    def is_safe(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:  # noqa: ARG002  # part of the base's signature
        """Return whether it is safe to repeat. A function that returns a Result may have any effect."""
        return self.repeatable and all(each.safe for each in args if is_step(each))

    def source(self, applied: Applied) -> str:
        """Return the call as source code, without the step before ``map`` and ``bind``."""
        *steps, function = applied.args
        inner = "".join(f"({each})." if " | " in repr(each) else f"{each}." for each in steps)
        return f"{inner}{self.__name__}({function_name(function)})"


def called(method: _Method, *args: Any) -> Step[Any, Any]:
    if not callable(args[-1]):
        word = (
            has_run(cast("Result[object, object]", args[-1]))
            if isinstance(args[-1], Result)
            else type(args[-1]).__name__
        )
        raise TypeError(f"{method.__name__}: expected a function, got {word}")
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
        if isinstance(result, Coroutine):
            result.close()
            raise TypeError(f"{method}: {name} returned a {kind}: {AWAITED}")
        other = f"write .map({name})" if method == "bind" else "return Success(…) or Failure(…)"
        advice = "unwrap it, for instance with unsafe_perform_io" if kind.startswith(("IO", "Future")) else other
        raise TypeError(f"{method}: {name} returned a {kind}, not a Result: {advice}")
    return result


def _is_result(value: object) -> TypeGuard[Result[Any, Any]]:
    return isinstance(value, Result)


@partial(_Method, rehearsed="is a function of yours, and is not called here", safe=True)
def map(value: Any, function: Callable[[Any], Any]) -> Result[Any, Any]:
    return Success(function(value))


@partial(_Method, rehearsed="is a function of yours, and is not called here", safe=False)
def bind(value: Any, function: Callable[[Any], Any]) -> Result[Any, Any]:
    return _result_of(function, value, "bind")


@partial(_Method, rehearsed="where the step fails, a function of yours replaces the error", safe=True)
def alt(value: Any, step: Step[Any, Any], function: Callable[[Any], Any]) -> Result[Any, Any]:
    return (Success(value) | step).alt(function)


@partial(_Method, rehearsed="where the step fails, the Result of a function of yours replaces the Failure", safe=False)
def lash(value: Any, step: Step[Any, Any], function: Callable[[Any], Any]) -> Result[Any, Any]:
    result = Success(value) | step
    return _result_of(function, result.failure(), "lash") if isinstance(result, Failure) else result
