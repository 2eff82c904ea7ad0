r"""Fill command lines that have fields for values, which are quoted for a POSIX shell.

A value is put in single quotes, where a shell expands nothing. That is safe only where a word may stand. So the quotes,
comments and parentheses of the template are followed, and a field inside quotes or a comment is refused. After each
construct that would need a parser of the shell's whole grammar, all fields are refused.

>>> from pocketenv_fp.sandbox.commands.template import fill
>>> print(fill("grep -e {pattern} {files}", {"pattern": "it's", "files": ["a b", "c"]}))
grep -e 'it'\''s' 'a b' 'c'
>>> fill("echo '{name}'", {"name": "x"})
Traceback (most recent call last):
    ...
TypeError: {name} is inside single quotes: remove them, the value is quoted already
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import TypeGuard

from pocketenv_fp.config import FromEnv
from pocketenv_fp.sandbox.commands.quoting import quote

__all__ = ["Value", "Word", "fill"]

Word = str | int | float | PurePath
Value = Word | Sequence[Word]


def fill(template: str, values: Mapping[str, object], options: Collection[str] = ()) -> str:
    """Return ``template`` with each ``{field}`` replaced by its quoted value. No field may have the name of an option.

    Raises TypeError for a wrong field or value. The message has the name of the field, and never its value.
    """
    parts = list(_parts(template))
    names = {name for _, name in parts if name is not None}
    if reserved := sorted(names.intersection(options)):
        raise TypeError(f"{{{reserved[0]}}} has the name of an option: rename the field")
    missing, surplus = sorted(names - values.keys()), sorted(values.keys() - names)
    refused, where = _refusal(VALUE.join(text.replace(VALUE, "x") for text, _ in parts))
    if where:
        raise TypeError(f"{{{parts[refused][1]}}} is {where}")
    if missing:
        raise TypeError(f"{{{missing[0]}}} has no value: pass {missing[0]}=…")
    line = "".join(text if name is None else text + _quoted(name, values[name]) for text, name in parts)
    if surplus:
        raise TypeError(f"there is no field {{{surplus[0]}}} for {surplus[0]}=")
    return line


_PIECES = re.compile(r"(?P<double>\{\{|\}\})|\{(?P<name>[^\W\d]\w*)\}|(?P<single>[{}])|[^{}]+")


def _parts(template: str) -> Iterator[tuple[str, str | None]]:
    text = ""
    for piece in _PIECES.finditer(template):
        if piece["single"]:
            raise TypeError("a brace without a {name}: for a brace of the shell, write {{ or }}")
        if piece["name"]:
            yield text, piece["name"]
            text = ""
        else:
            text += piece[0][0] if piece["double"] else piece[0]
    yield text, None


def _quoted(name: str, value: object) -> str:
    return " ".join(quote(_word(name, each)) for each in (value if _is_list(value) else (value,)))


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray, memoryview))


def _word(name: str, value: object) -> str:
    if isinstance(value, FromEnv):
        raise TypeError(
            f"{{{name}}} is a from_env, and its value would be visible in the command: "
            f'pass it with env={{"NAME": from_env(…)}} and write "$NAME"'
        )
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(
            f"{{{name}}} takes a str, int, float, path, or a sequence of these, not {type(value).__name__}: write str(…)"
        )
    return int.__repr__(value) if isinstance(value, int) else float.__repr__(value)


VALUE = "\0"  # stands for a value while the template is read
USE_ENV = 'pass the value with env= and write "$NAME"'

_INSIDE = {
    "'": "inside single quotes: remove them, the value is quoted already",
    '"': "inside double quotes: remove them, the value is quoted already",
    "#": "in a comment: remove it, or the field",
}

# Constructs that shells read in different ways, or that only a complete parser finds the end of.
_IN_QUOTES = {
    "backtick": (r"`", "a backtick, which shells read twice (write $( ) for it)"),
    "arithmetic": (r"\$\(\(", "arithmetic, which evaluates its words (for a command, write a space after $( )"),
    "old_arithmetic": (r"\$\[", "$[ ], which some shells read as arithmetic"),
    "parameter": (r"\$\{", "a ${…} that shells read in different ways"),
    "continued": (
        r"(?<![ \t\n])\\\n",
        "a line that is continued inside a word (put a space before the backslash)",
    ),
}
_UNSURE = _IN_QUOTES | {
    "parentheses": (r"\(\(", "(( that may begin arithmetic (for a command, write a space between them)"),
    "ansi": (r"\$['\"]", "$'…' or $\"…\" quotes, which shells read in different ways"),
    "comment": (r"(?<=[)<>])\#|(?<=\\[\s\S])\#", "a # that may begin a comment (put a space before it)"),
    "document": (r"<<", "a here-document, whose lines are not read as words"),
    "array": (r"=\(", 'an array (write set -- {…} for it, and use "$@")'),
    "pattern": (r"[?*+@!]\(", "text that may be a bash pattern"),
    "brackets": (r"\[", "a [ that may begin a subscript or [[ … ]], whose words are evaluated (write [ … ])"),
    "case": (r"(?<![^\s;&|()])case(?=\s)", "a case inside parentheses, which needs a complete parser"),
}


def _pattern(unsure: Mapping[str, tuple[str, str]], *others: str) -> re.Pattern[str]:
    groups = (f"(?P<{name}>{pattern})" for name, (pattern, _) in unsure.items())
    return re.compile("|".join((*others, *groups, rf"(?P<value>{VALUE})", r"[\w./,:-]+", r"[\s\S]")))


_PARAMETER = r"\$\{\w[\w:=?+./%#*,-]*\}"
_CODE = _pattern(
    _UNSURE,
    _PARAMETER,
    rf"(?P<dollar>\${VALUE})|(?P<escape>\\{VALUE})",
    r"(?<=[ \t\n])\\\n|\\[^\n]",
    r"<<<|\[[!^\w-]+\]|(?<![^ \t\n;&|()])\[(?=[ \t\n])",  # here-string, glob, the command [
    r"""(?P<open>\$?\((?!\()|['"]|(?<![^ \t\n;&|(])(?<!\\[\s\S])\#)|(?P<close>\))""",
)
_READERS = {
    "(": _CODE,
    "'": _pattern({}, "(?P<close>')"),
    '"': _pattern(_IN_QUOTES, _PARAMETER, r'(?P<open>\$\((?!\())|(?P<close>")', rf"\\[^\n{VALUE}]"),
    "#": _pattern({}, r"(?P<close>\n)"),
}


def _refusal(line: str) -> tuple[int, str]:
    """Return the number of the first value that a shell would not read as a word, and its place. Else return "" for it."""
    line = line[: line.rfind(VALUE) + 1]
    inside, number, place = ["("], 0, 0
    while token := _READERS[inside[-1]].match(line, place):
        place = token.end()
        match token.lastgroup:
            case None:
                pass
            case "open":
                inside.append(token[0][-1])
            case "close":
                # At the top, it ends a pattern of `case`.
                del inside[max(1, len(inside) - 1) :]
            case "value":
                if inside[-1] != "(":
                    return number, _INSIDE[inside[-1]]
                number += 1
            case "escape":
                return number, "after a backslash, which would escape its quote: remove it"
            case "dollar":
                return number, "after a $: for the shell's own ${NAME}, write ${{NAME}}"
            case "case" if len(inside) == 1:
                pass
            case construct:
                return number, f"after {_UNSURE[construct][1]}: {USE_ENV}, or put the field before it"
    return number, ""
