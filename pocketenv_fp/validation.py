"""Check the arguments of callers: a wrong type raises TypeError at once, a wrong value is a Failure.

The annotations of a function declare both, and msgspec reads them: ``port: PortNumber`` is an int from 1025 to 65535.
A Failure is returned before a request is sent. A value of a subclass of str, int or float counts as its base type.

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
from itertools import chain, repeat
from os import PathLike
from types import UnionType
from typing import Annotated, Any, ParamSpec, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta
from returns.result import Result

from pocketenv_fp.errors import InvalidInput
from pocketenv_fp.plain_types import built, mismatch, normalize
from pocketenv_fp.redaction import hidden, secret_names

__all__ = [
    "CONTROL_PORT",
    "Arguments",
    "Given",
    "HttpPath",
    "Id",
    "Identifier",
    "Limit",
    "Name",
    "Offset",
    "PortNumber",
    "SandboxName",
    "Seconds",
    "Text",
    "VariableName",
    "Wait",
    "is_loopback",
    "is_one_word",
    "is_private",
    "not_unicode",
    "unsendable",
    "wrong_value",
    "wrong_variable_name",
]

P = ParamSpec("P")
T = TypeVar("T")

Given: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]

Text = Annotated[str, Meta(min_length=1)]
Id = Annotated[str, Meta(min_length=1, pattern=r"^\S+\Z")]
Name = Annotated[str, Meta(min_length=1, pattern=r"^\S(.*\S)?\Z")]
# A name in the form of an id or an at-URI may find another sandbox. The platform looks a name up in a URL.
_SANDBOX_NAME = r"^(?!sandbox_[0-9A-Za-z]{20}\Z)(?!at://)\S{1,255}\Z"
SandboxName = Annotated[str, Meta(min_length=1, pattern=_SANDBOX_NAME)]
"""The name of a sandbox. `get_sandbox` finds the sandbox by it."""

# Names that bash never assigns. Such an assignment blocks a sandbox's one shell. bash sets `_` itself.
_VARIABLE_NAME = r"^(?!(?:BASHOPTS|BASH_VERSINFO|EUID|PPID|SHELLOPTS|UID|_)\Z)[A-Za-z_][A-Za-z0-9_]*\Z"
VariableName = Annotated[str, Meta(min_length=1, pattern=_VARIABLE_NAME)]
"""The name of a variable or secret. One rule for records and for ``env=``: every command can read the variable."""

_IDENTIFIER = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"
Identifier = Annotated[str, Meta(pattern=_IDENTIFIER)]
"""The id of a job, or the name of a context."""

_HTTP_PATH = r"^/[!-~]*\Z"
HttpPath = Annotated[str, Meta(pattern=_HTTP_PATH)]
"""The path and query of a URL."""

_WORDS = {
    _IDENTIFIER: "Expected up to 64 letters, digits, ., _ and -, that begin with a letter or a digit",
    _HTTP_PATH: "Expected a path in ASCII without spaces, that begins with /",
    r"^\S+\Z": "Expected text without spaces",
    r"^\S(.*\S)?\Z": "Expected a name without spaces at its ends",
    _SANDBOX_NAME: ("Expected a name without spaces, of at most 255 characters, that is not an at-URI or an id"),
    _VARIABLE_NAME: (
        "Expected a name of letters, digits and _, that does not start with a digit and is not reserved by bash"
    ),
}
"""Messages in place of a regular expression."""

PortNumber = Annotated[int, Meta(ge=1025, le=65535)]
CONTROL_PORT = 3000
"""A port that Cloudflare's containers use. The platform refuses it, and then lists it permanently."""

Limit = Annotated[int, Meta(ge=1)]
Offset = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0)]
Wait = Annotated[float, Meta(ge=0)]


def wrong_value(field: str, value: Any, exact: Any, loose: Any) -> InvalidInput | None:
    """Compare ``value`` with two annotations: ``exact`` with limits, ``loose`` without.

    Returns None if the value fits, and InvalidInput if only a limit is broken. Raises TypeError for another type. The
    messages do not contain the value.
    """
    try:
        plain = normalize(value)
        fitting = msgspec.convert(plain, exact)
    except (msgspec.ValidationError, AttributeError) as broken:  # AttributeError: a range in place of a dict
        if wrong := mismatch(field, value, loose):
            raise TypeError(wrong) from None
        return InvalidInput(field, _in_words(str(broken)))
    # msgspec accepts a set as a list, and converts a dict into a record. The function would get the original value.
    is_other = isinstance(fitting, msgspec.Struct) and fitting is not plain
    if (is_other or isinstance(plain, (set, frozenset))) and (wrong := mismatch(field, value, loose)):
        raise TypeError(wrong)
    return None


def _in_words(reason: str) -> str:
    for pattern, words in _WORDS.items():
        reason = reason.replace(f"Expected `str` matching regex {pattern!r}", words)
    return reason.replace("Expected `str` of length >= 1", "must not be empty")


def wrong_variable_name(field: str, name: str) -> InvalidInput | None:
    """Return an error if ``name`` cannot be the name of a variable, else None.

    >>> print(wrong_variable_name("env", "STAGE"))
    None
    >>> wrong_variable_name("env", "A-B")
    InvalidInput(field='env', reason='Expected a name of letters, digits and _, ...')
    """
    wrong = wrong_value(field, name, VariableName, str)
    # Text that is not a name may be a secret in the wrong place.
    return InvalidInput(field, f"{wrong.reason}: not {name}") if wrong and name.isidentifier() else wrong


def unsendable(field: str, text: str) -> InvalidInput | None:
    r"""Return the error of a string that no request can hold, or None.

    >>> unsendable("text", "plain")
    >>> unsendable("text", "a\0b")
    InvalidInput(field='text', reason='holds a NUL character')
    """
    if "\0" in text:
        return InvalidInput(field, "holds a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        return not_unicode(field)
    return None


def not_unicode(field: str) -> InvalidInput:
    """Return the error of a string with half of a surrogate pair."""
    return InvalidInput(field, "is not valid Unicode: it holds half of a surrogate pair")


def is_loopback(host: str) -> bool:
    """Return whether a host name or address means this machine, without a lookup."""
    import ipaddress

    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_private(url: str) -> bool:
    """Return whether others cannot read what is sent to a URL: it is https, or http to this machine."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
    except ValueError:
        return False


def is_one_word(text: str) -> bool:
    """Return whether a string is printable ASCII without a space, as a token must be."""
    return text.isascii() and text.isprintable() and " " not in text


# Types that msgspec does not support inside a union. A value of these types is accepted without another check.
_FOREIGN: frozenset[Any] = frozenset({Callable, PathLike, Result, bytes})


def _foreign(hint: Any) -> tuple[type, ...]:
    return tuple(kind for member in _members(hint) if (kind := _kind(member)) in _FOREIGN)


def _supported(hint: Any) -> Any:
    """Return the annotation without the types that msgspec does not support."""
    known = tuple(member for member in _members(hint) if _kind(member) not in _FOREIGN)
    return Union[known] if known else hint  # noqa: UP007  # `|` takes no tuple


def _kind(hint: Any) -> Any:
    return get_origin(hint) or hint


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)


def _normalized(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Given:
    return tuple(map(normalize, args)), {name: normalize(value) for name, value in kwargs.items()}


class Arguments:
    """The parameters of ``function`` after the first ``skip``. They check and bind arguments."""

    def __init__(self, function: Callable[..., Any], skip: int = 0) -> None:
        self.function = function
        self.skip = skip

    # Annotations are read on first use: most programs call few of the imported functions.
    @cached_property
    def signature(self) -> inspect.Signature:
        whole = inspect.signature(self.function)
        return whole.replace(parameters=list(whole.parameters.values())[self.skip :])

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(self.signature.parameters)

    @cached_property
    def exact(self) -> Mapping[str, Any]:
        return {
            name: built(_supported(hint)) for name, hint in get_type_hints(self.function, include_extras=True).items()
        }

    @cached_property
    def types(self) -> Mapping[str, Any]:
        return get_type_hints(self.function)

    @cached_property
    def loose(self) -> Mapping[str, Any]:
        return {name: _supported(hint) for name, hint in self.types.items()}

    @cached_property
    def foreign(self) -> Mapping[str, tuple[type, ...]]:
        return {name: kinds for name, hint in self.types.items() if (kinds := _foreign(hint))}

    @cached_property
    def secret(self) -> frozenset[str]:
        """The names of the arguments that are masked. ``token`` has no position."""
        return secret_names(self.function) | {"token"}

    def read(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Given | InvalidInput:
        """Return the arguments as plain types, or an error for a wrong value. Raise TypeError for a wrong type."""
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
        # The message names the type of the caller's value, and every accepted type.
        return mismatch(name, dict(zip(self.names, args, strict=False), **kwargs)[name], self.types[name])

    def _closest(self, kwargs: Mapping[str, Any]) -> str:
        """Return the form for the first unknown option, as the end of a message."""
        from difflib import get_close_matches

        unknown = next((name for name in kwargs if name not in self.names), "")
        close = get_close_matches(unknown, self.names, 1)
        return f": write {close[0]}=" if close else ""

    def hide(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """Return ``args`` with a masked repr of each secret argument. In ``kwargs``, it replaces them.

        A caller assigns the result to its own ``args``: no frame then shows a secret to tools that show locals.
        """
        for name in self.secret.intersection(kwargs):
            kwargs[name] = hidden(kwargs[name])
        if args and len(self.secret) > 1:
            names = chain(self.names, repeat(""))
            return tuple(
                hidden(value) if name in self.secret else value for name, value in zip(names, args, strict=False)
            )
        return args

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Given:
        """Assign the arguments to parameters. Raise TypeError for a missing, unknown or wrongly typed argument."""
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.function.__name__}: {error}{self._closest(kwargs)}") from None
        given = self.read(bound.args, bound.kwargs)
        # A wrong value is a Failure when the step runs, so the step keeps it.
        if isinstance(given, InvalidInput):
            return _normalized(bound.args, bound.kwargs)
        return given
