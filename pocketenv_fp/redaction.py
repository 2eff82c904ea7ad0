"""Show a value as source code, with its secrets masked.

A field or an argument with a secret is declared by its type, `SecretText`. Records, steps and `explain` read that.

>>> from pocketenv_fp.redaction import shown, without_passwords
>>> shown({"API_KEY": "sk-12345"}, is_secret_by_name=True)
"{'API_KEY': '***'}"
>>> without_passwords("git clone https://me:ghp_12345@example.com/app.git")
'git clone https://***@example.com/app.git'
>>> without_passwords("git clone https://$TOKEN@example.com/app.git ssh://git@example.com/app.git")
'git clone https://$TOKEN@example.com/app.git ssh://git@example.com/app.git'
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, TypeGuard, Unpack, cast, get_args, get_origin, get_type_hints

from returns.result import Failure

__all__ = [
    "HIDDEN",
    "NOT_PICKLED",
    "NOT_SHOWN",
    "HiddenBytes",
    "HiddenText",
    "MaskedText",
    "SecretText",
    "Source",
    "counted",
    "function_name",
    "hidden",
    "is_secret",
    "printable",
    "secret_names",
    "shorten",
    "shown",
    "without_passwords",
]

HIDDEN = "***"

NOT_SHOWN, NOT_PICKLED = "not shown", "not pickled"
SecretText = Annotated[str, NOT_SHOWN, NOT_PICKLED]
"""A string that is not shown and not pickled."""
MaskedText = Annotated[str, NOT_SHOWN]
"""A string that is not shown. It may be pickled, because the platform masked it."""

# Patterns that few programs need are strings: Python compiles them on first use.
# Everything up to the last @ of a host: a pasted password may contain an @.
_USER = r"""(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<user>[^\s/?#'"\\]+)@"""
# A shell inserts the value later, so it is hidden already.
_VARIABLES = r"(?:[\w.-]+:)?\$(?:\w+|\{\w+\})"


class HiddenText(str):
    """A string with a masked repr, for tools that show the locals of a traceback. ``str()`` returns it unmasked.

    >>> from pocketenv_fp.redaction import HiddenText
    >>> {"Authorization": HiddenText("Bearer top-secret")}
    {'Authorization': '***'}
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(HIDDEN)

    def __getitem__(self, key: Any, /) -> HiddenText:
        # rich shows the first characters of a long string.
        return HiddenText(super().__getitem__(key))

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> HiddenBytes:
        """Return the bytes, with a masked repr too."""
        return HiddenBytes(super().encode(encoding, errors))


class HiddenBytes(bytes):
    """Bytes with a masked repr."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(HIDDEN.encode())

    def __getitem__(self, key: Any, /) -> Any:
        part = cast("int | bytes", super().__getitem__(key))
        return part if isinstance(part, int) else HiddenBytes(part)


def hidden(value: Any) -> Any:
    """Return an equal value with a masked repr: a string, bytes, or a list, tuple or dict of them.

    >>> from pocketenv_fp.redaction import hidden
    >>> hidden({"API_KEY": "sk-12345"}), hidden(None)
    ({'API_KEY': '***'}, None)
    """
    if isinstance(value, str):
        return HiddenText(str.__str__(value))
    if isinstance(value, bytes):
        return HiddenBytes(bytes.__getitem__(value, slice(None)))
    if isinstance(value, Mapping):
        return {key: hidden(each) for key, each in cast("Mapping[object, object]", value).items()}
    if type(value) in {list, tuple}:
        return type(value)(map(hidden, value))
    return value


@cache
def secret_names(annotated: Any, mark: str = NOT_SHOWN) -> frozenset[str]:
    """Return the names of the fields or arguments that are declared with `SecretText` or `MaskedText`.

    >>> from pocketenv_fp.models import TailscaleAuthKey
    >>> secret_names(TailscaleAuthKey), secret_names(TailscaleAuthKey, NOT_PICKLED)
    (frozenset({'auth_key'}), frozenset())
    """
    names: set[str] = set()
    for name, hint in get_type_hints(annotated, include_extras=True).items():
        if get_origin(hint) is Unpack:  # `**options`, with the names of a TypedDict
            names |= secret_names(get_args(hint)[0], mark)
        elif _has(hint, mark):
            names.add(name)
    return frozenset(names)


def _has(hint: Any, mark: str) -> bool:
    return mark in getattr(hint, "__metadata__", ()) or any(_has(each, mark) for each in get_args(hint))


class Source:
    """A value that prints as its own source code, with its secrets masked."""

    __slots__ = ()


def is_secret(value: object, *, is_secret_by_name: bool) -> bool:
    """Return whether a value, or a part of it, must be masked: because of its name, or of its content."""
    if isinstance(value, (list, tuple)):
        return any(is_secret(each, is_secret_by_name=is_secret_by_name) for each in cast("list[object]", value))
    if isinstance(value, Mapping):
        mapping = cast("Mapping[object, object]", value)
        return _has_secret_names(mapping) or is_secret(list(mapping.values()), is_secret_by_name=is_secret_by_name)
    if is_secret_by_name:
        # Also a value of a wrong type: a trace shows it before it is refused.
        return not (value is None or isinstance(value, (bool, Source)))
    # A private key in the wrong argument is still secret.
    return _is_private_key(value)


def shown(value: object, *, is_secret_by_name: bool) -> str:  # noqa: PLR0911  # a kind of value each
    """Return a value as source code, with each secret masked."""
    if isinstance(value, float) and math.isinf(value):
        return f"float({str(value)!r})"  # the repr of infinity is not source code
    if isinstance(value, Source):
        return repr(value)
    if callable(value):
        return _qualified_name(value)  # its contents may be secret
    if isinstance(value, Failure):
        return f"Failure({cast('Failure[object]', value).failure()!r})"
    if isinstance(value, Mapping):
        return _shown_mapping(cast("Mapping[object, object]", value), is_secret_by_name=is_secret_by_name)
    if is_secret(value, is_secret_by_name=is_secret_by_name):
        return repr(HIDDEN)
    if _is_tuple(value):
        items = [shown(each, is_secret_by_name=is_secret_by_name) for each in value]
        return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
    text = repr(value)
    return repr(HIDDEN) if "PRIVATE KEY" in text else text


def _is_private_key(value: object) -> bool:
    if isinstance(value, (bytes, bytearray)):
        return b"PRIVATE KEY" in value
    return isinstance(value, str) and "PRIVATE KEY" in value


def function_name(function: object) -> str:
    """Return a function's dotted name, or the place of a lambda. Its contents may be secret.

    >>> import json
    >>> from pocketenv_fp.redaction import function_name
    >>> function_name(json.loads), function_name(str.strip)
    ('json.loads', 'str.strip')
    """
    name = _qualified_name(function)
    module = str(getattr(function, "__module__", None) or "builtins")
    return name if module in {"builtins", "__main__"} or name.startswith("<") else f"{module}.{name}"


def _qualified_name(function: object) -> str:
    name = str(getattr(function, "__qualname__", type(function).__qualname__))
    code = getattr(function, "__code__", None)
    return name if code is None or "<lambda>" not in name else f"<lambda at {code.co_filename}:{code.co_firstlineno}>"


def _shown_mapping(mapping: Mapping[object, object], *, is_secret_by_name: bool) -> str:
    if _has_secret_names(mapping):
        return repr(HIDDEN)
    items = (
        f"{_shown_key(key, is_secret_by_name=is_secret_by_name)}: {shown(each, is_secret_by_name=is_secret_by_name)}"
        for key, each in mapping.items()
    )
    return f"{{{', '.join(items)}}}"


def _shown_key(key: object, *, is_secret_by_name: bool) -> str:
    # If the values are secret, a key that is not a name may be a secret in the wrong place.
    is_name = not is_secret_by_name or str(key).replace("-", "_").isidentifier()
    return repr(key if is_name else HIDDEN)


def _has_secret_names(mapping: Mapping[object, object]) -> bool:
    return is_secret(list(mapping), is_secret_by_name=False)


def _is_tuple(value: object) -> TypeGuard[tuple[object, ...]]:
    return type(value) is tuple  # not a named tuple, which prints itself


def counted(number: int, noun: str) -> str:
    """Return the number with its noun: ``1 step``, ``1,000 steps``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def shorten(text: str, longest: int) -> str:
    """Return the text, and of a longer one the beginning, with … for the rest.

    >>> shorten("a long text", 7), shorten("a text", 7)
    ('a long…', 'a text')
    """
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def printable(text: str, instead: str = " ") -> str:
    """Return the text with ``instead`` for each character that does not print."""
    return "".join(sign if sign.isprintable() else instead for sign in text)


def without_passwords(text: str) -> str:
    """Return ``text`` with the login in each URL masked. With https the user name alone may be a token."""
    return re.sub(_USER, _masked, text, flags=re.IGNORECASE) if "@" in text else text


def _masked(match: re.Match[str]) -> str:
    scheme, user = match["scheme"], match["user"]
    is_open = ":" not in user and scheme.lower() not in {"http", "https"}
    return match[0] if is_open or re.fullmatch(_VARIABLES, user) else f"{scheme}://{HIDDEN}@"
