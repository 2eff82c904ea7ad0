"""Decorators for account functions: check the arguments, then run the function with its ``token=`` and ``config=``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import ParamSpec, TypeVar

from returns.result import Failure, Result

from pocketenv_fp.config import logged_in
from pocketenv_fp.errors import InvalidInput, PocketenvError
from pocketenv_fp.runtime.first_use import unopened_failure
from pocketenv_fp.validation import Arguments

__all__ = ["checked", "iterates"]

P = ParamSpec("P")
T = TypeVar("T")


def checked(function: Callable[P, Result[T, PocketenvError]]) -> Callable[P, Result[T, PocketenvError]]:
    """Check a function's arguments against its annotations before it runs."""
    arguments = Arguments(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Result[T, PocketenvError]:
        # Assigned to the same name: tools that show locals would show the secrets of another.
        args = arguments.hide(args, kwargs)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
        values = arguments.read(args, kwargs)
        if isinstance(values, InvalidInput):
            return Failure(values)
        try:
            return logged_in(function, *values)
        except (OSError, ImportError) as error:
            return unopened_failure(error, function.__name__)

    return call


def iterates(
    function: Callable[P, Iterator[Result[T, PocketenvError]]],
) -> Callable[P, Iterator[Result[T, PocketenvError]]]:
    """Check the arguments of a function that returns an iterator at once: a wrong value is its one Failure."""
    arguments = Arguments(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Iterator[Result[T, PocketenvError]]:
        arguments.hide(args, kwargs)
        values = arguments.read(args, kwargs)
        return iter((Failure(values),)) if isinstance(values, InvalidInput) else logged_in(function, *values)

    return call
