"""One line of an ignore file, read as git reads it.

pathspec knows what the stars and slashes mean. It reads brackets, spaces and escapes in ways of its own, and text
where git sees bytes. So each line is first put into a form in which the two agree: bytes as characters, brackets and
blanks replaced by letters that stand for them, a slash at the end taken off and remembered. Lines that can match
nothing are dropped.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass

from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

__all__ = ["Pattern", "read"]

# A name may hold a line break, which no pattern can, and never a NUL. For pathspec's expressions a line break is
# special and a NUL is not: the one stands for the other.
_BREAK, _STAND_IN = "\n", "\0"
_ANY = frozenset(map(chr, range(256))) - {_BREAK, "/"}
# Stars behind the beginning of a name, in a pattern with a slash.
_TIED_STARS = re.compile(
    r"(?=.*/)(?P<before>/?[^*?\[\\/](?:[^*?\[\\]*[^*?\[\\/])?)\*\*+(?:(?:/\*\*+)*(?P<end>$|(?=\\/))|(?:/\*\*+(?=/))*/)",
    re.DOTALL,
)
# Stars before a slash with a backslash: they stand for something, which a plain slash lets be nothing.
_ESCAPED_END = re.compile(r"\*\*+(?=\\/)")
_CLASSES: dict[str, str] = {
    "alnum": string.ascii_letters + string.digits,
    "alpha": string.ascii_letters,
    "blank": " \t",
    "cntrl": "".join(map(chr, range(32))).replace(_BREAK, "") + "\x7f" + _STAND_IN,
    "digit": string.digits,
    "graph": "".join(map(chr, range(33, 127))),
    "lower": string.ascii_lowercase,
    "print": "".join(map(chr, range(32, 127))),
    "punct": string.punctuation,
    "space": " \t\r\v\f" + _STAND_IN,
    "upper": string.ascii_uppercase,
    "xdigit": string.hexdigits,
}


@dataclass(frozen=True)
class Pattern:
    """A pattern: what it matches, only directories or anything, and whether that is ignored or included again."""

    expression: re.Pattern[str]
    ignores: bool
    directories: bool

    def matches(self, name: str, *, is_directory: bool) -> bool:
        """Tell whether it matches this name, relative to the ignore file, its bytes as characters.

        What only matches because a directory above does is left out: git does not look below that one.
        """
        if self.directories and not is_directory:
            return False
        found = self.expression.search(name.replace(_BREAK, _STAND_IN))
        return found is not None and not found.groupdict().get("ps_d")


class _NeverError(Exception):
    """A line that matches nothing."""


def read(line: bytes) -> Pattern | None:
    """Read one line; nothing for one that is empty, a comment, or can match nothing."""
    text = _trimmed(line.partition(b"\0")[0].removesuffix(b"\r").decode("latin-1"))
    if text.startswith("#"):
        return None
    ignores = not text.startswith("!")
    text = text if ignores else text[1:]
    directories = text.endswith("/")
    try:
        plain, sets = _plain(text[:-1] if directories else text)
        expression, _ = GitIgnoreSpecPattern.pattern_to_regex(plain)
    except (_NeverError, ValueError):
        return None
    if expression is None:
        return None
    spelled = "".join(sets.get(character, character) for character in expression)
    return Pattern(re.compile(spelled), ignores, directories)


def _trimmed(text: str) -> str:
    # Spaces at the end go, unless a backslash stands before them.
    kept = text.rstrip(" ")
    escapes = len(kept) - len(kept.rstrip("\\"))
    return text[: len(kept) + 1] if escapes % 2 else kept


def _plain(text: str) -> tuple[str, dict[str, str]]:
    # The same pattern in a form in which pathspec and git agree, and the sets that its foreign letters stand for.
    if not text:
        raise _NeverError
    if text.startswith("\\/"):
        raise _NeverError
    made, sets, at = list[str](), dict[str, str](), 0
    if tied := _TIED_STARS.match(text):
        # git compares what stands before the first star, takes it off, and sees the stars at a beginning.
        for character in tied["before"].removeprefix("/"):
            made.append(_letter({character}, sets))
        made.append(_letter(".*" if tied["end"] is not None else "(?:.*/)?", sets))
        at = tied.end()
    while at < len(text):
        if (stars := _ESCAPED_END.match(text, at)) and (not made or made[-1] == "/"):
            made.append(_letter(".*", sets))
            at = stars.end()
            continue
        character = text[at]
        at += 1
        if character in "*?/":
            made.append(character)
            continue
        if character == "[":
            allowed, at = _bracket(text, at)
        else:
            character, at = _one(text, at - 1)
            allowed = {character}
        made.append(_letter(allowed, sets))
    segments = ["**" if set(segment) == {"*"} and len(segment) > 1 else segment for segment in "".join(made).split("/")]
    # Slashes may have stood in brackets alone: git ties such a pattern to its directory as well.
    return ("/" if "/" in text and len(segments) == 1 else "") + "/".join(segments), sets


def _letter(meant: set[str] | str, sets: dict[str, str]) -> str:
    # One letter for one of these characters, or for an expression.
    if meant == {"/"}:
        return "/"
    if not isinstance(meant, str) and len(meant) == 1 and (one := min(meant)).isascii() and one.isalnum():
        return one
    stand_in = chr(0x100 + len(sets))
    sets[stand_in] = meant if isinstance(meant, str) else _spelled(meant & _ANY)
    return stand_in


def _bracket(text: str, at: int) -> tuple[set[str], int]:
    # The characters that a bracket allows, and where it ends. What stands first is never its end.
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
    if _BREAK in allowed:
        allowed.add(_STAND_IN)
    return set(_ANY - allowed) if negated else allowed & _ANY, at + 1


def _one(text: str, at: int) -> tuple[str, int]:
    # The character that stands here, or that is escaped here, and where the next is.
    at += text[at : at + 1] == "\\"
    if at >= len(text):
        raise _NeverError
    return text[at], at + 1


def _spelled(allowed: set[str]) -> str:
    if not allowed:
        raise _NeverError
    return f"[{''.join(f'{chr(92)}x{ord(one):02x}' for one in sorted(allowed))}]"
