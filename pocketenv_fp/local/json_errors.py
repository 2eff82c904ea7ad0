"""Errors for a body that is not JSON, in the words of JavaScript's `JSON.parse` in Node 20."""

import sys
from collections.abc import Callable, Iterator

_CONTEXT = 10
_SPACE = " \t\n\r"
_ESCAPES = '"\\/bfnrt'
_HEX = "0123456789abcdefABCDEF"
_DIGITS = "0123456789"
_LITERALS = {"t": "true", "f": "false", "n": "null"}
_AFTER = {"{": "Expected ',' or '}' after property value", "[": "Expected ',' or ']' after array element"}
_END = "Unexpected end of JSON input"


class _Broken(Exception):
    """The message for the first wrong place."""


def syntax_error(text: str) -> str | None:
    """Return the message of the SyntaxError for a string; None where it is JSON.

    >>> syntax_error('{"a":1,}')
    'Expected double-quoted property name in JSON at position 7'
    """
    message = _first_error(_split(text))
    return None if message is None else _join(message)


def not_a_container(text: str) -> str:
    r"""Return the message for a string whose first letter opens neither an object nor an array.

    >>> not_a_container("null")
    'Unexpected token \'n\', "null" is not valid JSON'
    """
    units = _split(text)
    start = len(units) - len(units.lstrip(_SPACE))
    # The real parser sees a string that is all marks from there on. The marks are replaced afterwards.
    message = _first_error(units[:start] + "#" * (len(units) - start)) or _END
    return _join("".join(_put_back(message, units, start)))


def _first_error(units: str) -> str | None:
    try:
        _Reader(units).document()
    except _Broken as broken:
        return str(broken)
    return None


def _put_back(message: str, units: str, start: int) -> Iterator[str]:
    at = 0
    while at < len(message):
        size = len(message) - at - len(message[at:].lstrip("#"))
        yield units[start : start + size] if size else message[at]
        at += max(size, 1)


def _split(text: str) -> str:
    # JavaScript counts UTF-16 units: each becomes a letter of its own.
    raw = text.encode("utf-16-le", "surrogatepass")
    return "".join(map(chr, memoryview(raw).cast("H"))) if sys.byteorder == "little" else text


def _join(units: str) -> str:
    return units.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


class _Reader:
    """One pass over a string in UTF-16 units, without recursion: a body may be nested 50,000 deep."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def document(self) -> None:
        inside: list[str] = []
        while True:
            self._value(inside)
            while inside and self._peek() == ("}" if inside[-1] == "{" else "]"):
                self._at += 1
                inside.pop()
            if not inside:
                break
            if self._peek() != ",":
                raise self._expected(_AFTER[inside[-1]])
            self._at += 1
            if inside[-1] == "{":
                self._name("Expected double-quoted property name")
                self._colon(self._unexpected)
        if self._peek():
            raise _Broken(f"Unexpected non-whitespace character after JSON at position {self._at}")

    def _value(self, inside: list[str]) -> None:
        # It enters every value that opens, and returns after one that is whole.
        while True:
            first = self._peek()
            if first == "{":
                self._at += 1
                if self._peek() == "}":
                    break
                self._name("Expected property name or '}'")
                self._colon(lambda: self._expected("Expected ':' after property name"))
            elif first == "[":
                self._at += 1
                if self._peek() == "]":
                    break
            elif first == '"':
                self._string()
                return
            elif first in _LITERALS:
                self._literal(_LITERALS[first])
                return
            elif first == "-" or (first and first in _DIGITS):
                self._number()
                return
            else:
                raise self._unexpected()
            inside.append(first)
        self._at += 1

    def _name(self, missing: str) -> None:
        if self._peek() != '"':
            raise self._expected(missing)
        self._string()

    def _colon(self, wrong: Callable[[], _Broken]) -> None:
        # Only the first property of an object has a message of its own for this.
        if self._peek() != ":":
            raise wrong()
        self._at += 1

    def _string(self) -> None:
        self._at += 1
        while (letter := self._here()) != '"':
            if not letter:
                raise self._expected("Unterminated string")
            if letter < " ":
                raise self._expected("Bad control character in string literal")
            self._at += 1
            if letter == "\\":
                self._escape()
        self._at += 1

    def _escape(self) -> None:
        kind = self._here()
        if kind == "u":
            for _ in range(4):
                self._at += 1
                if not self._is_one_of(_HEX):
                    raise self._expected("Bad Unicode escape")
        elif not kind or kind > "\xff":
            raise self._unexpected()
        elif kind not in _ESCAPES:
            raise self._expected("Bad escaped character")
        self._at += 1

    def _literal(self, word: str) -> None:
        for letter in word:
            if self._here() != letter:
                raise self._unexpected()
            self._at += 1

    def _number(self) -> None:
        if self._skip("-") and not self._is_one_of(_DIGITS):
            raise self._expected("No number after minus sign")
        if self._skip("0") and self._is_one_of(_DIGITS):
            raise self._expected("Unexpected number")
        while self._skip(_DIGITS):
            pass
        if self._skip("."):
            self._digits("Unterminated fractional number")
        if self._skip("eE"):
            self._skip("+-")
            self._digits("Exponent part is missing a number")

    def _digits(self, missing: str) -> None:
        if not self._is_one_of(_DIGITS):
            raise self._expected(missing)
        while self._skip(_DIGITS):
            pass

    def _is_one_of(self, letters: str) -> bool:
        return bool(self._here()) and self._here() in letters

    def _skip(self, letters: str) -> bool:
        """Skip the letter here if it is one of these. Return whether it is."""
        is_one = self._is_one_of(letters)
        self._at += is_one
        return is_one

    def _here(self) -> str:
        return self._text[self._at : self._at + 1]

    def _peek(self) -> str:
        while self._skip(_SPACE):
            pass
        return self._here()

    def _expected(self, missing: str) -> _Broken:
        return _Broken(f"{missing} in JSON at position {self._at}")

    def _unexpected(self) -> _Broken:
        letter, at, size = self._here(), self._at, len(self._text)
        if not letter:
            return _Broken(_END)
        if letter == '"':
            return _Broken(f"Unexpected string in JSON at position {at}")
        if letter == "-" or letter in _DIGITS:
            return _Broken(f"Unexpected number in JSON at position {at}")
        is_long = size > 2 * _CONTEXT
        start, end = (max(at - _CONTEXT, 0), min(at + _CONTEXT, size)) if is_long else (0, size)
        before, after = "..." if is_long and at >= _CONTEXT else "", "..." if end < size else ""
        return _Broken(f"Unexpected token '{letter}', {before}\"{self._text[start:end]}\"{after} is not valid JSON")
