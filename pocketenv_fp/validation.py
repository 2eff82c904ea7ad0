"""Check what callers pass: a wrong type raises TypeError at once, a wrong value is a Failure before anything is sent.

A function's annotations declare both: ``port: PortNumber`` is an int from 1025 to 65535. msgspec reads them. A value of
a subclass of str, int or float is taken as one of the type itself.

>>> from pocketenv_fp import sandbox, create
>>> create("my-box") | sandbox.expose(80)
<Failure: port: Expected `int` >= 1025.>
>>> sandbox.expose("80")
Traceback (most recent call last):
    ...
TypeError: expose: port: expected int, got str: write int(…)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cached_property
from os import PathLike
from types import UnionType
from typing import Annotated, Any, ParamSpec, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta
from returns.result import Result

from pocketenv_fp.errors import InvalidInput
from pocketenv_fp.plain_types import mismatch, normalize

__all__ = [
    "CONTROL_PORT",
    "Arguments",
    "Id",
    "Limit",
    "Name",
    "Offset",
    "PortNumber",
    "SandboxName",
    "Seconds",
    "Text",
    "VariableName",
    "Wait",
    "wrong_value",
    "wrong_variable_name",
]

P = ParamSpec("P")
T = TypeVar("T")

Given: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]

Text = Annotated[str, Meta(min_length=1)]
Id = Annotated[str, Meta(min_length=1, pattern=r"^\S+\Z")]
Name = Annotated[str, Meta(min_length=1, pattern=r"^\S(.*\S)?\Z")]
# A name that looks like an id or an at-URI may find another sandbox. The platform looks a name up in a URL.
_SANDBOX_NAME = r"^(?!sandbox_[0-9A-Za-z]{20}\Z)(?!at://)\S{1,255}\Z"
SandboxName = Annotated[str, Meta(min_length=1, pattern=_SANDBOX_NAME)]
"""The name of a sandbox that `get_sandbox` finds by it."""

# What bash never assigns: in a sandbox's one shell, such an assignment never answers. It sets `_` itself.
_VARIABLE_NAME = r"^(?!(?:BASHOPTS|BASH_VERSINFO|EUID|PPID|SHELLOPTS|UID|_)\Z)[A-Za-z_][A-Za-z0-9_]*\Z"
VariableName = Annotated[str, Meta(min_length=1, pattern=_VARIABLE_NAME)]
"""The name of a variable or secret that every command can see: one rule for records and for ``env=``."""

_WORDS = {
    _SANDBOX_NAME: ("Expected a name without spaces, of at most 255 characters, that is neither an at-URI nor an id"),
    _VARIABLE_NAME: (
        "Expected a name of letters, digits and _, without a digit at its beginning, that bash does not keep for itself"
    ),
}
"""What to say in the place of a regular expression."""

PortNumber = Annotated[int, Meta(ge=1025, le=65535)]
CONTROL_PORT = 3000
"""A port of Cloudflare's containers themselves: the platform refuses it, and lists it for ever all the same."""

Limit = Annotated[int, Meta(ge=1)]
Offset = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0)]
Wait = Annotated[float, Meta(ge=0)]


def wrong_value(field: str, value: Any, exact: Any, loose: Any) -> InvalidInput | None:
    """Compare ``value`` with its two annotations: with its limits, and without them.

    Return None where it fits, InvalidInput where only a limit is broken. Raise TypeError for another type. Neither
    holds the value.
    """
    try:
        plain = normalize(value)
        fitting = msgspec.convert(plain, exact)
    except (msgspec.ValidationError, AttributeError) as broken:  # AttributeError: for a range where a dict is needed
        if wrong := mismatch(field, value, loose):
            raise TypeError(wrong) from None
        return InvalidInput(field, _in_words(str(broken)))
    # msgspec takes a set for a list, and makes a record of a dict: the function would get the set or the dict.
    is_other = isinstance(fitting, msgspec.Struct) and fitting is not plain
    if (is_other or isinstance(plain, (set, frozenset))) and (wrong := mismatch(field, value, loose)):
        raise TypeError(wrong)
    return None


def _in_words(reason: str) -> str:
    for pattern, words in _WORDS.items():
        reason = reason.replace(f"Expected `str` matching regex {pattern!r}", words)
    return reason


def wrong_variable_name(field: str, name: str) -> InvalidInput | None:
    """Return the error of a name that no variable can have, or None.

    >>> wrong_variable_name("env", "STAGE") is None
    True
    >>> wrong_variable_name("env", "A-B")
    InvalidInput(field='env', reason='Expected a name of letters, digits and _, ...')
    """
    return wrong_value(field, name, VariableName, str)


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


def _normalized(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Given:
    return tuple(map(normalize, args)), {name: normalize(value) for name, value in kwargs.items()}


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
    def types(self) -> Mapping[str, Any]:
        return get_type_hints(self.function)

    @cached_property
    def loose(self) -> Mapping[str, Any]:
        return {name: _own(hint) for name, hint in self.types.items()}

    @cached_property
    def foreign(self) -> Mapping[str, tuple[type, ...]]:
        return {name: kinds for name, hint in self.types.items() if (kinds := _foreign(hint))}

    def read(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Given | InvalidInput:
        """Return the arguments as values of plain types, or the first wrong value; raise TypeError for a wrong type."""
        given = _normalized(args, kwargs)
        for name, value in (*zip(self.names, given[0], strict=False), *given[1].items()):
            if name in self.exact and not isinstance(value, self.foreign.get(name, ())):
                try:
                    wrong = wrong_value(name, value, self.exact[name], self.loose[name])
                except TypeError as error:
                    raise TypeError(f"{self.function.__name__}: {self._words(name, args, kwargs) or error}") from None
                if wrong:
                    return wrong
        return given

    def _words(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
        # They name the type that the caller passed, and all the types that fit.
        return mismatch(name, dict(zip(self.names, args, strict=False), **kwargs)[name], self.types[name])

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Given:
        """Put the arguments in their places; raise TypeError for a missing, surplus or wrongly typed one."""
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.function.__name__}: {error}") from None
        given = self.read(bound.args, bound.kwargs)
        # A wrong value is a Failure when the step runs: until then it is kept.
        if isinstance(given, InvalidInput):
            return _normalized(bound.args, bound.kwargs)
        return given
