"""Decorator for functions that return an iterator of Results, and take their target as an operation does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from returns.result import Failure, Result, Success

from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.steps.operation import step
from pocketenv_fp.steps.step import Applied

__all__ = ["iterates_over"]

A = TypeVar("A")
B = TypeVar("B")
P = ParamSpec("P")


def iterates_over(
    accepts: type[A],
) -> Callable[
    [Callable[Concatenate[A, P], Iterator[Result[B, PocketenvError]]]],
    Callable[Concatenate[A | None | Result[A | None, PocketenvError], P], Iterator[Result[B, PocketenvError]]],
]:
    """Let a function that returns an iterator take its target as an operation does: a value, or a Result of one.

    If the target is a Failure, it is the only item. It cannot be a step, because it returns many Results.
    """

    def decorate(
        function: Callable[Concatenate[A, P], Iterator[Result[B, PocketenvError]]],
    ) -> Callable[Concatenate[A | None | Result[A | None, PocketenvError], P], Iterator[Result[B, PocketenvError]]]:
        @wraps(function)
        def begin(*args: Any, **kwargs: Any) -> Result[Iterator[Result[B, PocketenvError]], PocketenvError]:
            return Success(function(*args, **kwargs))

        begun = step(cast("type[Any]", accepts))(begin)

        @wraps(function)
        def call(
            target: A | None | Result[A | None, PocketenvError], /, *args: P.args, **kwargs: P.kwargs
        ) -> Iterator[Result[B, PocketenvError]]:
            begun.hide(args, kwargs)
            if isinstance(target, Failure):
                return iter((cast("Result[B, PocketenvError]", target),))
            value = cast("Success[object]", target).unwrap() if isinstance(target, Success) else target
            result = begun.run(value, Applied(begun, args, kwargs))
            return cast(
                "Iterator[Result[B, PocketenvError]]",
                iter((result,)) if isinstance(result, Failure) else result.unwrap(),
            )

        return call

    return decorate
