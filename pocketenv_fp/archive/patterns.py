"""One line of an ignore file, with git's meaning.

A line becomes a regular expression over bytes as characters. An expression that may backtrack takes exponential time for
lines like ``*a*a*a*b``. This one never does: the extent of a star is decided once, in an atomic group. The nearest place
where the next literal part fits is always good enough: the rest fits there if it fits anywhere. The same holds for
``**`` and directories. So a match costs at most the length of the name times that of the line. Lines that can match
nothing are dropped.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

__all__ = ["Pattern", "read"]

_ANY = frozenset(map(chr, range(1, 256))) - {"/"}
_ONE = "[^/]"
_CLASSES: dict[str, str] = {
    "alnum": string.ascii_letters + string.digits,
    "alpha": string.ascii_letters,
    "blank": " \t",
    "cntrl": "".join(map(chr, range(1, 32))) + "\x7f",
    "digit": string.digits,
    "graph": "".join(map(chr, range(33, 127))),
    "lower": string.ascii_lowercase,
    "print": "".join(map(chr, range(32, 127))),
    "punct": string.punctuation,
    "space": " \t\r\n\v\f",
    "upper": string.ascii_uppercase,
    "xdigit": string.hexdigits,
}


class _Stars(Enum):
    """Stars of a line, by their meaning."""

    IN_A_NAME = auto()
    DIRECTORIES = auto()
    """Any number of whole directories, with the slash after each: ``**/``."""
    SOME_DIRECTORIES = auto()
    """At least one of them: git reads ``**`` with an escaped slash after it so."""
    REST = auto()
    """All that follows: ``**`` at the end."""


_SKIPPED = {_Stars.DIRECTORIES: "(?:[^/]*/)*?", _Stars.SOME_DIRECTORIES: "(?:[^/]*/)+?"}
# A character, as an expression, or stars.
_Item = str | _Stars


@dataclass(frozen=True)
class Pattern:
    """A pattern: its expression, whether it is for directories only, and whether it ignores or includes again."""

    expression: re.Pattern[str]
    ignores: bool
    directories: bool
    anywhere: bool
    """It has no slash: only the last component of a name is compared."""

    def matches(self, name: str, *, is_directory: bool) -> bool:
        """Return whether it matches this name, relative to the ignore file, its bytes as characters."""
        if self.directories and not is_directory:
            return False
        start = name.rfind("/") + 1 if self.anywhere else 0
        return self.expression.match(name, start) is not None


class _NeverError(Exception):
    """A line that matches nothing."""


def read(line: bytes) -> Pattern | None:
    """Parse one line. Return None for one that is empty, a comment, or can match nothing."""
    text = _trimmed(line.partition(b"\0")[0].removesuffix(b"\r").decode("latin-1"))
    if text.startswith("#"):
        return None
    ignores = not text.startswith("!")
    text = text if ignores else text[1:]
    directories = text.endswith("/")
    text = text[:-1] if directories else text
    anywhere = "/" not in text
    try:
        items = _items(text.removeprefix("/"), anywhere=anywhere)
        return Pattern(re.compile(_expression(items)), ignores, directories, anywhere)
    except _NeverError:
        return None


def _trimmed(text: str) -> str:
    # Spaces at the end are dropped, unless a backslash stands before them.
    kept = text.rstrip(" ")
    escapes = len(kept) - len(kept.rstrip("\\"))
    return text[: len(kept) + 1] if escapes % 2 else kept


def _items(text: str, *, anywhere: bool) -> list[_Item]:
    if not text:
        raise _NeverError
    # git compares the part before the first special character by itself, and reads the rest as a new beginning.
    begin = next((at for at, character in enumerate(text) if character in "*?[\\"), len(text))
    made, at = list[_Item](), 0
    while at < len(text):
        character = text[at]
        if character == "*":
            end = at + 1
            while text[end : end + 1] == "*":
                end += 1
            is_whole = end - at > 1 and (at == begin or text[at - 1] == "/")
            stars, at = _meaning(text, end) if is_whole and not anywhere else (_Stars.IN_A_NAME, end)
            _append(made, stars)
        elif character == "?":
            made.append(_ONE)
            at += 1
        elif character == "[":
            allowed, at = _bracket(text, at + 1)
            made.append(_spelled(allowed & _ANY))
        else:
            character, at = _one(text, at)
            made.append(re.escape(character))
    return made


def _meaning(text: str, end: int) -> tuple[_Stars, int]:
    # Return the meaning of ``**`` that ends here, at the beginning of a component, and the next position.
    if end == len(text):
        return _Stars.REST, end
    if text[end] == "/":
        return _Stars.DIRECTORIES, end + 1
    if text[end : end + 2] == "\\/":
        return _Stars.SOME_DIRECTORIES, end + 2
    return _Stars.IN_A_NAME, end


def _append(made: list[_Item], stars: _Stars) -> None:
    # Several in a row mean no more than one, and would take longer.
    if stars is _Stars.DIRECTORIES and made[-1:] == [stars]:
        return
    if stars is not _Stars.IN_A_NAME and made[-1:] == [_Stars.DIRECTORIES]:
        made.pop()
    made.append(stars)


def _expression(items: Sequence[_Item]) -> str:
    # Parts begin with stars for directories. Each but the last is an atomic group.
    has_rest = items[-1] is _Stars.REST
    parts: list[list[_Item]] = [[]]
    for item in items[:-1] if has_rest else items:
        if isinstance(item, _Stars) and item in _SKIPPED:
            parts.append([])
        parts[-1].append(item)
    *before, last = [_part(part) for part in parts]
    return "".join(f"(?>{part})" for part in before) + last + ("" if has_rest else r"\Z")


def _part(items: Sequence[_Item]) -> str:
    made, literal, after_star = list[str](), list[str](), False
    for item in (*items, None):
        if isinstance(item, _Stars) and item in _SKIPPED:
            made.append(_SKIPPED[item])
        elif isinstance(item, str) and item != "/":
            literal.append(item)
        else:
            # After a star, the nearest place; but the last literal stands right before the slash or the end.
            text = "".join(literal) + ("/" if item == "/" else "")
            if not after_star:
                made.append(text)
            elif item is None:
                made.append(rf"[^/]*{text}\Z")
            else:
                made.append(f"(?>[^/]*{text})" if item == "/" else f"(?>[^/]*?{text})")
            literal.clear()
            after_star = item is _Stars.IN_A_NAME
    return "".join(made)


def _bracket(text: str, at: int) -> tuple[set[str], int]:
    # Return the characters that a bracket allows, and its end. Its first character is never its end.
    negated = text[at : at + 1] in {"!", "^"}
    at += negated
    allowed, before, first = set[str](), "", True
    while first or text[at : at + 1] != "]":
        first = False
        if text[at : at + 2] == "[:" and (end := text.find("]", at + 2)) > at + 2 and text[end - 1] == ":":
            if (name := text[at + 2 : end - 1]) not in _CLASSES:
                raise _NeverError
            allowed |= set(_CLASSES[name])
            before, at = "", end + 1
        elif text[at : at + 1] == "-" and before and text[at + 1 : at + 2] not in {"", "]"}:
            last, at = _one(text, at + 1)
            allowed |= set(map(chr, range(ord(before), ord(last) + 1)))
            before = ""
        else:
            before, at = _one(text, at)
            allowed.add(before)
    return set(_ANY - allowed) if negated else allowed, at + 1


def _one(text: str, at: int) -> tuple[str, int]:
    # Return the character that stands here, or that is escaped here, and the next position.
    at += text[at : at + 1] == "\\"
    if at >= len(text):
        raise _NeverError
    return text[at], at + 1


def _spelled(allowed: set[str]) -> str:
    if not allowed:
        raise _NeverError
    return f"[{''.join(f'{chr(92)}x{ord(one):02x}' for one in sorted(allowed))}]"
