"""Text from anywhere, as HTML that shows it and does nothing else."""

from __future__ import annotations

import re
from html import escape
from typing import NamedTuple
from urllib.parse import urlsplit

__all__ = ["Clipped", "clipped", "escaped", "linked", "plain", "shortened"]

HEAD_LINES, TAIL_LINES = 200, 800
HEAD_CHARACTERS, TAIL_CHARACTERS = 40_000, 160_000
FIELD_CHARACTERS = 1_000

# Control characters save tab and line break, marks that turn the direction of writing, half characters.
HARMFUL = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff\\ufffe\\uffff]"
)
# No userinfo, which is there to mislead.
ADDRESS = re.compile(r"https?://[^\s<>\"'`\\@/?#]+([/?#][^\s<>\"'`\\]*)?", re.IGNORECASE)


def escaped(text: str) -> str:
    r"""Give ``text`` as HTML. What a page cannot hold, or what would turn its order round, is written out.

    >>> from pocketenv_fp.jupyter.markup import escaped
    >>> escaped("<b> & 'c'\0\u202e")
    '&lt;b&gt; &amp; &#x27;c&#x27;␀\\u202e'
    """
    return escape(plain(text))


def plain(text: str) -> str:
    """Give ``text`` with what does not stand for itself written out, as a text and not as HTML."""
    return HARMFUL.sub(_written_out, text)


def _written_out(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code == 0x7F:
        return "␡"
    return chr(0x2400 + code) if code < 0x20 else f"\\u{code:04x}"


def linked(text: str) -> str:
    """Give ``text`` as HTML: a link where it is an http or https address and nothing else.

    >>> from pocketenv_fp.jupyter.markup import linked
    >>> linked("https://a.example/?b&c")
    '<a href="https://a.example/?b&amp;c" target="_blank" rel="noopener noreferrer">https://a.example/?b&amp;c</a>'
    >>> linked("javascript:alert(1)")
    'javascript:alert(1)'
    """
    shown = escaped(text)
    if not _is_address(text):
        return shortened(text)
    return f'<a href="{shown}" target="_blank" rel="noopener noreferrer">{shown}</a>'


def _is_address(text: str) -> bool:
    if len(text) > FIELD_CHARACTERS or HARMFUL.search(text) or not ADDRESS.fullmatch(text):
        return False
    try:
        return bool(urlsplit(text).hostname)
    except ValueError:
        return False


def shortened(text: str, most: int = FIELD_CHARACTERS) -> str:
    """Give ``text`` as HTML, no more than ``most`` characters of it, and say how many more there are.

    >>> from pocketenv_fp.jupyter.markup import shortened
    >>> shortened("abcdef", 4)
    'abcd… 2 more characters'
    """
    return escaped(text) if len(text) <= most else f"{escaped(text[:most])}… {len(text) - most:,} more characters"


class Clipped(NamedTuple):
    """The beginning and the end of a long text, and what is said of the part between; empty where nothing is."""

    head: str
    hidden: str
    tail: str


def clipped(text: str) -> Clipped:
    r"""Give what is shown of ``text``: the whole, or the first 200 lines and the last 800.

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
