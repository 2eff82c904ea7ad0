"""Convert values of subclasses to Python's own types, write the message of a TypeError, and build types of msgspec.

>>> from pocketenv_fp.plain_types import mismatch, normalize
>>> class Label(str):
...     pass
>>> type(normalize({Label("A"): [Label("b")]})["A"][0])
<class 'str'>
>>> mismatch("args", ["-l", 3], list[str])
'args[1]: expected str, got int: write str(…)'
"""

from __future__ import annotations

import numbers
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from os import PathLike
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, SupportsFloat, Union, cast, get_args, get_origin

import msgspec
from returns.result import Result

from pocketenv_fp.forking import after_fork
from pocketenv_fp.redaction import HiddenBytes, HiddenText

__all__ = ["UNDECODABLE", "built", "demand_type", "mismatch", "normalize"]

UNDECODABLE: tuple[type[Exception], ...] = (msgspec.MsgspecError, UnicodeError, RecursionError)
"""The exceptions of a decoder of JSON, for bytes that it cannot decode."""

# A caller gave a str or bytes.
_HIDDEN: Mapping[type, str] = {HiddenText: "str", HiddenBytes: "bytes"}
_building = threading.RLock()
# Arguments that are the content of a file, and not its path.
_TEXTS = frozenset({"source", "text"})
_PLAIN = frozenset({str, int, float, bool, NoneType, bytes})


def _forget_builders() -> None:
    # The thread that holds the lock is the parent's.
    global _building  # noqa: PLW0603  # replaced in a forked child only
    _building = threading.RLock()


after_fork(_forget_builders)


def built(kind: Any) -> Any:
    """Let msgspec build what it needs for ``kind``, in one thread at a time. Returns ``kind``.

    On its first use, msgspec stores an unfinished description on a Struct's class. A second thread that uses the class at
    that moment crashes the process. So each type of this library is built here before its first use.

    >>> from pocketenv_fp.plain_types import built
    >>> built(list[int])
    list[int]
    """
    with _building, suppress(TypeError):  # the use of the type raises the same
        msgspec.json.Decoder(kind)
    return kind


def normalize(value: Any) -> Any:  # noqa: PLR0911  # a kind of type each
    """Return ``value`` with each subclass of str, bytes, int and float replaced by its base type.

    Integers and real numbers of other types (numpy's, Fraction, Decimal) become int and float. A list, a tuple or a
    mapping is copied to a list, a tuple or a dict. Any other value is returned unchanged.
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, str):
        return value if isinstance(value, HiddenText) else str.__str__(value)
    if isinstance(value, bytes):
        return value if isinstance(value, HiddenBytes) else bytes.__getitem__(value, slice(None))
    if isinstance(value, msgspec.Struct):
        return value
    if isinstance(value, (list, tuple)):
        items = map(normalize, cast("Sequence[object]", value))
        return list(items) if isinstance(value, list) else tuple(items)
    if isinstance(value, Mapping):
        return {normalize(key): normalize(each) for key, each in cast("Mapping[object, object]", value).items()}
    return _number(value)


def _number(value: Any) -> Any:
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if not isinstance(value, numbers.Number):
        return value
    try:
        return float(cast("SupportsFloat", value))
    except (OverflowError, TypeError, ValueError):  # a Fraction above the largest float, a complex, a signalling NaN
        return value


def demand_type(function: str, name: str, value: object, hint: Any) -> None:
    """Raise TypeError, with the function and the argument, if ``value`` does not have the type ``hint``."""
    if wrong := mismatch(name, value, hint):
        raise TypeError(f"{function}: {wrong}")


def mismatch(place: str, value: object, hint: Any) -> str | None:
    """Return a message with the place of a wrong type and advice, or None if ``value`` has the type ``hint``.

    The message contains only the type of the value.
    """
    members = _members(hint)
    if any(_fits(value, member) for member in members):
        return None
    for member in members:
        if inner := _inside(place, value, member):
            return inner
    kind = "None" if value is None else _HIDDEN.get(type(value), type(value).__name__)
    return f"{place}: expected {_words(members)}, got {kind}{_advice(value, members, place)}"


def _members(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) is Annotated:
        return _members(get_args(hint)[0])
    if get_origin(hint) in {Union, UnionType}:
        return tuple(inner for member in get_args(hint) for inner in _members(member))
    return (hint,)


def _kind(member: Any) -> Any:
    return get_origin(member) or member


def _is_sequence(member: Any) -> bool:
    return _kind(member) in {Sequence, list, tuple}


def _fits(value: Any, member: Any) -> bool:  # noqa: PLR0911  # a kind of type each
    kind = _kind(member)
    if kind is Literal:
        return normalize(value) in get_args(member)
    if kind in {Sequence, list, tuple}:
        return isinstance(value, (list, tuple)) and _inside("", value, member) is None
    if kind in {Mapping, dict}:
        return isinstance(value, Mapping) and _inside("", value, member) is None
    if kind in {float, int}:
        number = normalize(value)
        return isinstance(number, (int, kind)) and not isinstance(number, bool)
    if kind is Callable:
        return callable(value)
    if kind is Iterable:
        return isinstance(value, Iterable) and not isinstance(value, (str, bytes, bytearray))
    return kind is Any or not isinstance(kind, type) or isinstance(value, kind)


def _inside(place: str, value: Any, member: Any) -> str | None:
    """Return the message for the first wrong item of a list or a dict, or None."""
    hints = get_args(member)
    if _is_sequence(member) and isinstance(value, (list, tuple)) and hints:
        items = enumerate(cast("Sequence[object]", value))
        return next(filter(None, (mismatch(f"{place}[{number}]", item, hints[0]) for number, item in items)), None)
    if _kind(member) not in {Mapping, dict} or not isinstance(value, Mapping) or not hints:
        return None
    for key, item in cast("Mapping[object, object]", value).items():
        if wrong := mismatch(f"a key of {place}", key, hints[0]):
            return wrong
        # A key that is not a name may be a secret in the wrong place.
        name = repr(normalize(key)) if str(key).isidentifier() else "…"
        if wrong := mismatch(f"{place}[{name}]", item, hints[1]):
            return wrong
    return None


def _words(members: tuple[Any, ...]) -> str:
    words = [_word(member) for member in members if member is not NoneType]
    words += ["None"] if NoneType in members else []
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]


def _word(member: Any) -> str:  # noqa: PLR0911  # a kind of type each
    kind, hints = _kind(member), get_args(member)
    if kind is Literal:
        return " or ".join(map(repr, hints))
    if _is_sequence(member) or kind is Iterable:
        return f"a list of {_words(_members(hints[0]))}" if hints else "a list"
    if kind in {Mapping, dict}:
        return f"a dict of {_words(_members(hints[0]))} to {_words(_members(hints[1]))}" if hints else "a dict"
    if kind is PathLike:
        return "a path"
    if kind is Callable:
        return "a function"
    name = str(getattr(kind, "__name__", kind))
    if name == "FromEnv":
        return "from_env(…)"
    return f"a {name} of {_words(_members(hints[0]))}" if hints and name == "Result" else name


def _advice(value: object, members: tuple[Any, ...], place: str) -> str:  # noqa: PLR0911  # a kind of type each
    kinds = {_kind(member) for member in members}
    # Only a Step has this method, and its module is on a higher floor.
    if hasattr(value, "run_before"):
        return ": write step(target)" if Result in kinds else ""
    if form := _place_advice(value, place):
        return form
    if bytes in kinds and (form := _bytes_advice(value)):
        return form
    if any(map(_is_sequence, members)) or Iterable in kinds:
        return _list_advice(value)
    if bytes in kinds and isinstance(value, (bytearray, memoryview)):
        return ": write bytes(…)"
    if str in kinds:
        return _str_advice(value)
    if float in kinds and hasattr(value, "total_seconds"):
        return ": write ….total_seconds()"
    number = next((kind for kind in (int, float) if kind in kinds), None)
    if number and type(value) is not bool and isinstance(value, (str, numbers.Number)):
        return f": write {number.__name__}(…)"
    return ""


def _place_advice(value: object, place: str) -> str:
    """Return the advice for the name of an argument."""
    if isinstance(value, Result):
        return ": write raise_for(…)"
    if place == "config":
        return ": write Config(…)"
    if place == "mode" and isinstance(value, str):
        return ": write an octal number, such as 0o755"
    if place == "env" and isinstance(value, (list, tuple)):
        return ": write {'NAME': 'value'}"
    return ": write ….read_text()" if place in _TEXTS and isinstance(value, PathLike) else ""


def _list_advice(value: object) -> str:
    if isinstance(value, (str, PathLike)):
        return ": write […]"
    if isinstance(value, (set, frozenset)):
        return ": it has no order: write sorted(…)"
    return (
        ": write list(…)" if hasattr(value, "__iter__") and not isinstance(value, (bytes, bytearray, Mapping)) else ""
    )


def _bytes_advice(value: object) -> str:
    if isinstance(value, (bytearray, memoryview)):
        return ": write bytes(…)"
    if isinstance(value, PathLike):
        return ": write ….read_bytes()"
    return ": write ….read()" if hasattr(value, "read") else ""


def _str_advice(value: object) -> str:
    if isinstance(value, (bytes, bytearray)):
        return ": write ….decode()"
    return ": write str(…)" if type(value) is not bool and isinstance(value, (numbers.Number, PathLike)) else ""
