r"""Quote strings for a POSIX shell, and fill command lines that have fields for values.

A value is put in single quotes, where a shell expands nothing. That is safe only in certain places. Inside quotes,
arithmetic or a here-document of the template, the shell would interpret the value. So the template is scanned as a
shell reads it, and a field in such a place is refused. If the scanner is not sure, it refuses too.

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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import TypeGuard

from pocketenv_fp.config import FromEnv

__all__ = ["Value", "Word", "fields", "fill", "quote"]

Word = str | int | float | PurePath
Value = Word | Sequence[Word]


def quote(text: str) -> str:
    """Put ``text`` in single quotes, always: a bare ``if`` or ``2`` may have a meaning in its place."""
    return "'" + text.replace("'", r"'\''") + "'"


def fill(template: str, values: Mapping[str, object]) -> str:
    """Return ``template`` with each ``{field}`` replaced by its quoted value.

    Raises TypeError for a wrong field or value. The message has the name of the field, and never its value.
    """
    named = set(fields(template))
    missing, surplus = sorted(named - values.keys()), sorted(values.keys() - named)
    scanner = _Scanner()
    line: list[str] = []
    for text, name in _parts(template):
        scanner.read(text)
        line.append(text)
        if name is None:
            continue
        if problem := scanner.problem():
            raise TypeError(f"{{{name}}} is {problem}")
        if name not in missing:
            line.append(_quoted(name, values[name]))
        scanner.skip_value()
    if missing:
        raise TypeError(f"{{{missing[0]}}} has no value: pass {missing[0]}=…")
    if surplus:
        raise TypeError(f"there is no field {{{surplus[0]}}} for {surplus[0]}=")
    return "".join(line)


def fields(template: str) -> Iterator[str]:
    """Return the names of the fields of ``template``, in their order."""
    return (name for _, name in _parts(template) if name is not None)


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


BLANKS = " \t\n"
OPERATORS = ";&|()<>"
USE_ENV = 'pass the value with env= and write "$NAME"'

_INSIDE = {
    "single": "inside single quotes: remove them, the value is quoted already",
    "double": "inside double quotes: remove them, the value is quoted already",
    "ansi": "inside $'…' quotes: remove them, the value is quoted already",
    "comment": "in a comment: remove it, or the field",
    "array": 'inside the parentheses of an array: write set -- {…}, and use "$@"',
    "parameter": f"inside ${{…}}, where quotes have another meaning: {USE_ENV}",
    "arithmetic": f"inside arithmetic, which would evaluate it: {USE_ENV}",
}


class _Frame:
    """One level of nesting: a construct that is still open."""

    def __init__(self, kind: str, *, tests: bool = False, brackets: bool = False) -> None:
        self.kind = kind  # group: (…); code: $(…) and everything else
        self.tests = tests  # inside [[ … ]]
        self.brackets = brackets  # inside […], which may be a subscript
        self.depth = 0  # open parentheses in arithmetic


class _Scanner:
    """A scanner that knows the place in a shell's syntax after each string.

    It errs on the safe side. After constructs that shells read in different ways, or that need a complete parser, it is
    ``lost``: then it refuses every later field, with that reason.
    """

    def __init__(self) -> None:
        self.frames = [_Frame("code")]
        self.lost = ""
        self.before = ""  # the character before, "" where a word may begin
        self.word = ""
        self.escapes = False

    def read(self, text: str) -> None:
        """Scan ``text``, which is not part of a value."""
        place = 0
        while place < len(text):
            self.escapes = False
            place += getattr(self, f"_{self.frames[-1].kind}")(text, place)

    def skip_value(self) -> None:
        """Continue after a quoted value."""
        self.before, self.escapes = "x", False
        self.word += "''"

    def problem(self) -> str:
        """Return the place, and a remedy, if a quoted value would be split here. Else return an empty string."""
        top = self.frames[-1]
        around = {frame.kind for frame in self.frames} & {"parameter", "arithmetic"}
        candidates = (
            (bool(self.lost), self.lost),
            (top.kind in _INSIDE, _INSIDE.get(top.kind, "")),
            (bool(around), _INSIDE[max(around, default="comment")]),
            (self.escapes, "after a backslash, which would escape its quote: remove it"),
            (self.before == "$", "after a $: for the shell's own ${NAME}, write ${{NAME}}"),
            (top.tests, "inside [[ … ]], which evaluates some of its words: write [ … ]"),
            (top.brackets, f"inside [ ], which may be a subscript and evaluated: {USE_ENV}"),
        )
        return next((where for applies, where in candidates if applies), "")

    def _lose(self, where: str) -> None:
        self.lost = self.lost or f"{where}: {USE_ENV}, or put the field before it"

    def _push(self, kind: str, *, tests: bool = False, brackets: bool = False) -> None:
        self.frames.append(_Frame(kind, tests=tests, brackets=brackets))
        # Two parentheses together have another meaning.
        self.before = "(" if kind in {"code", "group", "array"} else ""
        self.word = ""

    def _pop(self, before: str) -> None:
        self.frames.pop()
        self.before = before
        self.word = "" if before in BLANKS + OPERATORS else "''"

    # Each method reads the construct at a place, and returns its number of characters.

    def _single(self, text: str, place: int) -> int:
        if text[place] == "'":
            self._pop("x")
        return 1

    def _ansi(self, text: str, place: int) -> int:
        if text[place] == "\\":
            self._lose("after a $'…' with a backslash, which shells end in different places")
        return self._single(text, place)

    def _comment(self, text: str, place: int) -> int:
        if text[place] == "\n":
            self._pop("\n")
        return 1

    def _double(self, text: str, place: int) -> int:
        match text[place]:
            case '"':
                self._pop("x")
            case "\\":
                return self._backslash(text, place)
            case "`":
                self._lose("after a backtick, which shells read twice (write $( ) for it)")
            case "$":
                return self._dollar(text, place, quoted=True)
            case other:
                self.before = other
        return 1

    def _parameter(self, text: str, place: int) -> int:
        c = text[place]
        if c == "}":
            self._pop("x")
        elif c == "$" and text[place + 1 : place + 2] not in {"'", '"'}:
            return self._dollar(text, place, quoted=True)
        elif c in "'\"\\`({$" or (c in BLANKS and text[place - 1 : place] == "{"):
            self._lose("after a ${…} that shells read in different ways")
        return 1

    def _arithmetic(self, text: str, place: int) -> int:
        frame, c = self.frames[-1], text[place]
        if c == "(":
            frame.depth += 1
        elif c == ")" and frame.depth:
            frame.depth -= 1
        elif c == ")":
            if text.startswith("))", place):
                self._pop("x")
                return 2
            self._lose("after text that may be arithmetic or a command (write a space between the parentheses)")
            self._pop("x")
        elif c == "$" and text[place + 1 : place + 2] not in {"'", '"'}:
            return self._dollar(text, place, quoted=True)
        elif c in "'\"\\`#$" or text.startswith("<<", place):
            self._lose("after arithmetic that shells read in different ways")
        return 1

    def _dollar(self, text: str, place: int, *, quoted: bool) -> int:
        for start, kind in (("$((", "arithmetic"), ("$(", "code"), ("${", "parameter")):
            if text.startswith(start, place):
                self._push(kind)
                return len(start)
        if text.startswith("$[", place):
            self._lose("after $[ ], which some shells read as arithmetic")
        if not quoted and text[place + 1 : place + 2] in {"'", '"'}:
            self._push("ansi" if text[place + 1] == "'" else "double")
            return 2
        self.before = "$"
        self.word += "$"
        return 1

    def _backslash(self, text: str, place: int) -> int:
        if place + 1 == len(text):
            self.escapes = True
        if text.startswith("\\\n", place):
            # A shell removes it. The two parts would be read as one word.
            if (self.before and self.before not in BLANKS) or text.startswith("#", place + 2):
                self._lose("after a line that is continued inside a word (put a space before the backslash)")
            return 2
        self.before = "x"
        self.word += "\\"
        return 2

    def _code(self, text: str, place: int) -> int:
        c = text[place]
        if c in BLANKS or c in OPERATORS:
            return self._between_words(text, place)
        if c == "\\":
            return self._backslash(text, place)
        if c == "$":
            return self._dollar(text, place, quoted=False)
        if c in "'\"":
            self._push("single" if c == "'" else "double")
        elif c == "#" and (not self.before or self.before in BLANKS + OPERATORS):
            if self.frames[-1].brackets or self.before in set(")<>"):
                self._lose("after a # that may begin a comment (put a space before it)")
            self._push("comment")
        elif c == "`":
            self._lose("after a backtick, which shells read twice (write $( ) for it)")
        else:
            self._bracket(text, place)
            self.before = c
            self.word += c
        return 1

    def _bracket(self, text: str, place: int) -> None:
        frame = self.frames[-1]
        if text[place] == "]":
            frame.brackets = False
        if text[place] == "[" and self.word != "[":
            # `[` and `[[` as separate words are commands.
            alone = re.compile(r"\[\[?[ \t\n]").match(text, place) if not self.word else None
            frame.tests = frame.tests or (alone is not None and len(alone[0]) == 3)
            frame.brackets = frame.brackets or alone is None

    def _between_words(self, text: str, place: int) -> int:
        frame, c = self.frames[-1], text[place]
        if self.word == "]]":
            frame.tests = False
        if self.word == "case" and len(self.frames) > 1:
            self._lose("after a case inside parentheses, which needs a complete parser")
        if frame.kind == "array" and c in ";&|<>(":
            self._lose("after an array with an operator in it, which is an error that does not stop bash")
        self.before, self.word = c, ""
        if text.startswith("<<<", place):
            return 3
        if text.startswith("<<", place):
            self._lose("after a here-document, whose lines are not read as words")
            return 2
        if text.startswith("((", place):
            self._push("arithmetic")
            return 2
        if c == "(":
            if text[place - 1 : place] in set("?*+@!"):
                self._lose("after text that may be a bash pattern")
            kind = "array" if text[place - 1 : place] == "=" else "group"
            self._push(kind, tests=frame.tests, brackets=frame.brackets)
        if c == ")" and len(self.frames) > 1:
            # The word continues after $(…).
            self._pop("x" if frame.kind == "code" else ")")
        return 1

    _group = _array = _code
