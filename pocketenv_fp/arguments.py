"""What callers hand in: a wrong type raises TypeError at once, a wrong value is a Failure before anything is sent.

Both are said once, in a function's annotations: ``port: PortNumber`` is an int from 1025 to 65535. msgspec reads them.

>>> from pocketenv_fp import sandbox, create
>>> create("my-box") | sandbox.expose(80)
<Failure: port: Expected `int` >= 1025.>
>>> sandbox.expose("80")
Traceback (most recent call last):
    ...
TypeError: expose: port: Expected `int`, got `str`
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cached_property, wraps
from os import PathLike
from types import UnionType
from typing import Annotated, Any, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta
from returns.result import Failure, Result

from pocketenv_fp.errors import InvalidInput, PocketenvError

__all__ = [
    "Arguments",
    "Id",
    "Limit",
    "Name",
    "Offset",
    "PortNumber",
    "Seconds",
    "Text",
    "Wait",
    "checked",
    "wrong_value",
]

P = ParamSpec("P")
T = TypeVar("T")

Text = Annotated[str, Meta(min_length=1)]
Id = Annotated[str, Meta(min_length=1, pattern=r"^\S+\Z")]
Name = Annotated[str, Meta(min_length=1, pattern=r"^\S(.*\S)?\Z")]
PortNumber = Annotated[int, Meta(ge=1025, le=65535)]
Limit = Annotated[int, Meta(ge=1)]
Offset = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0)]
Wait = Annotated[float, Meta(ge=0)]


def wrong_value(field: str, value: object, exact: Any, loose: Any) -> InvalidInput | None:
    """Compare ``value`` with its two annotations: with its limits, and without them.

    Gives None where it fits, InvalidInput where only a limit is broken, and raises TypeError for another type.
    msgspec's messages name the expected type and limit, never the value.
    """
    try:
        fitting = msgspec.convert(value, exact)
    except msgspec.ValidationError as broken:
        try:
            msgspec.convert(value, loose)
        except msgspec.ValidationError as wrong:
            raise TypeError(f"{field}: {wrong}") from None
        return InvalidInput(field, str(broken))
    kind = type(value).__name__
    if isinstance(value, (set, frozenset)):
        # msgspec takes one for a list, but it has no order.
        raise TypeError(f"{field}: Expected `array`, got `{kind}`")
    if isinstance(fitting, msgspec.Struct) and fitting is not value:
        # msgspec would make one of a dict, but it is the dict that the function gets.
        raise TypeError(f"{field}: Expected `{type(fitting).__name__}`, got `{kind}`")
    return None


# What msgspec does not know inside a union. A value of one of these fits by its type alone.
_FOREIGN: frozenset[Any] = frozenset({Callable, PathLike, Result, bytes})


def _foreign(hint: Any) -> tuple[type, ...]:
    return tuple(kind for member in _members(hint) if (kind := _kind(member)) in _FOREIGN)


def _own(hint: Any) -> Any:
    """The annotation without what msgspec does not know."""
    known = tuple(member for member in _members(hint) if _kind(member) not in _FOREIGN)
    return Union[known] if known else hint  # noqa: UP007  # `|` takes no tuple


def _kind(hint: Any) -> Any:
    return get_origin(hint) or hint


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)


class Arguments:
    """The parameters of ``function`` after the first ``skip``, ready to check and to bind."""

    def __init__(self, function: Callable[..., Any], skip: int = 0) -> None:
        self.function = function
        self.skip = skip

    # Annotations are read on first use: most programs call few of the functions that they import.
    @cached_property
    def signature(self) -> inspect.Signature:
        whole = inspect.signature(self.function)
        return whole.replace(parameters=list(whole.parameters.values())[self.skip :])

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(self.signature.parameters)

    @cached_property
    def exact(self) -> Mapping[str, Any]:
        return {name: _own(hint) for name, hint in get_type_hints(self.function, include_extras=True).items()}

    @cached_property
    def loose(self) -> Mapping[str, Any]:
        return {name: _own(hint) for name, hint in get_type_hints(self.function).items()}

    @cached_property
    def foreign(self) -> Mapping[str, tuple[type, ...]]:
        return {name: kinds for name, hint in get_type_hints(self.function).items() if (kinds := _foreign(hint))}

    def check(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> InvalidInput | None:
        """Give the first wrong value, or None; raise TypeError for a wrong type."""
        exact = self.exact
        given = (*zip(self.names, args, strict=False), *kwargs.items())
        for name, value in given:
            if name in exact and not isinstance(value, self.foreign.get(name, ())):
                try:
                    wrong = wrong_value(name, value, exact[name], self.loose[name])
                except TypeError as error:
                    raise TypeError(f"{self.function.__name__}: {error}") from None
                if wrong:
                    return wrong
        return None

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
        """Put the arguments in their places; raise TypeError for a missing, surplus or wrongly typed one."""
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.function.__name__}: {error}") from None
        self.check(bound.args, bound.kwargs)
        return bound


def checked(function: Callable[P, Result[T, PocketenvError]]) -> Callable[P, Result[T, PocketenvError]]:
    """Check a function's arguments against its annotations before it runs."""
    arguments = Arguments(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Result[T, PocketenvError]:
        wrong = arguments.check(args, kwargs)
        return Failure(wrong) if wrong else function(*args, **kwargs)

    return call
