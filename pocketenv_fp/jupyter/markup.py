"""Convert any string to HTML that only shows it."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from pocketenv_fp.elements import Html, element, markup

__all__ = ["Clipped", "clipped", "escaped", "linked", "plain", "shortened"]

HEAD_LINES, TAIL_LINES = 200, 800
HEAD_CHARACTERS, TAIL_CHARACTERS = 40_000, 160_000
FIELD_CHARACTERS = 1_000

# Control characters except tab and newline, characters that change the direction of text, and half surrogate pairs.
HARMFUL = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff\\ufffe\\uffff]"
)
# No user name in the URL: it may be misleading.
ADDRESS = re.compile(r"https?://[^\s<>\"'`\\@/?#]+([/?#][^\s<>\"'`\\]*)?", re.IGNORECASE)


def escaped(text: str) -> Html:
    r"""Return ``text`` as HTML. Characters that HTML cannot contain, or that change the order of text, are written out.

    >>> from pocketenv_fp.jupyter.markup import escaped
    >>> escaped("<b> & 'c'\0\u202e")
    '&lt;b&gt; &amp; &#x27;c&#x27;␀\\u202e'
    """
    return markup(plain(text))


def plain(text: str) -> str:
    """Return ``text`` with invisible and harmful characters written out, not as HTML."""
    return HARMFUL.sub(_written_out, text)


def _written_out(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code == 0x7F:
        return "␡"
    return chr(0x2400 + code) if code < 0x20 else f"\\u{code:04x}"


def linked(text: str) -> Html:
    """Return ``text`` as HTML. It is a link if it is only an http or https URL.

    >>> from pocketenv_fp.jupyter.markup import linked
    >>> linked("https://a.example/?b&c")
    '<a href="https://a.example/?b&amp;c" target="_blank" rel="noopener noreferrer">https://a.example/?b&amp;c</a>'
    >>> linked("javascript:alert(1)")
    'javascript:alert(1)'
    """
    if not _is_address(text):
        return shortened(text)
    return element("a", text, href=text, target="_blank", rel="noopener noreferrer")


def _is_address(text: str) -> bool:
    if len(text) > FIELD_CHARACTERS or HARMFUL.search(text) or not ADDRESS.fullmatch(text):
        return False
    try:
        return bool(urlsplit(text).hostname)
    except ValueError:
        return False


def shortened(text: str, most: int = FIELD_CHARACTERS) -> Html:
    """Return ``text`` as HTML, at most ``most`` characters of it, with the number of hidden characters.

    >>> from pocketenv_fp.jupyter.markup import shortened
    >>> shortened("abcdef", 4)
    'abcd… 2 more characters'
    """
    return escaped(text if len(text) <= most else f"{text[:most]}… {len(text) - most:,} more characters")


class Clipped(NamedTuple):
    """The start and the end of a long string, and a note about the part in between. Unused parts are empty."""

    head: str
    hidden: str
    tail: str


def clipped(text: str) -> Clipped:
    r"""Return the visible part of ``text``: all of it, or the first 200 lines and the last 800.

    >>> from pocketenv_fp.jupyter.markup import clipped
    >>> clipped("a\nb\n")
    Clipped(head='a\nb\n', hidden='', tail='')
    >>> clipped("line\n" * 5000).hidden
    '… 4,000 more lines'
    """
    start = min(_after_lines(text, HEAD_LINES), HEAD_CHARACTERS)
    end = max(_before_lines(text, TAIL_LINES), len(text) - TAIL_CHARACTERS)
    if start >= end:
        return Clipped(text, "", "")
    lines = text.count("\n", start, end)
    hidden = f"… {lines:,} more lines" if lines > 1 else f"… {end - start:,} more characters"
    return Clipped(text[:start], hidden, text[end:])


def _after_lines(text: str, lines: int) -> int:
    place = 0
    for _ in range(lines):
        place = text.find("\n", place) + 1
        if not place:
            return len(text)
    return place


def _before_lines(text: str, lines: int) -> int:
    place = len(text) - text.endswith("\n")
    for _ in range(lines):
        place = text.rfind("\n", 0, max(place, 0))
        if place < 0:
            return 0
    return place + 1
