r"""Convert the output of a terminal program to HTML.

rich reads colours and text styles, which become spans. All other sequences are dropped, and the text is escaped. A
carriage return starts the line again, so that only the last state of a progress bar is left. rich's own HTML is made
for a known page: here a colour must be readable on light and dark pages.

>>> from pocketenv_fp.jupyter.ansi import ansi_html
>>> ansi_html("\x1b[1mbold\x1b[0m <b>\x1b[2J 10%\r 20%\n")
' 20%\n'
>>> ansi_html("\x1b[1mbold\x1b[0m <b>")
'<span style="font-weight:bold">bold</span> &lt;b&gt;'
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from rich.ansi import AnsiDecoder
from rich.color import Color
from rich.style import Style
from rich.terminal_theme import TerminalTheme

from pocketenv_fp.elements import Html, element, markup
from pocketenv_fp.jupyter.markup import escaped

__all__ = ["ansi_html"]

Colour = tuple[int, int, int]

TOKEN = re.compile(
    r"""
      (?P<text>    [^\x1b\r\n]+ )
    | (?P<line>    \r*\n )
    | (?P<again>   \r+ )
    | \x1b\[ (?P<sgr> [0-9;:]* ) m
    | \x1b\[ [0-?]* [\x20-/]* [@-~]?                           # other control sequences
    | \x1b[\]PX^_] [^\x07\x1b\n]* (?: \x07 | \x1b\\ )?         # titles, links, and other terminal commands
    | \x1b [\x20-/]* [0-~]?
    """,
    re.VERBOSE,
)

# Black, red, green, yellow, blue, magenta, cyan, white, and their bright forms, in a medium brightness for any page.
BASIC: list[Colour] = [
    (0x6B, 0x72, 0x80), (0xD1, 0x49, 0x5B), (0x2E, 0x96, 0x5C), (0xB0, 0x8D, 0x2F),
    (0x3B, 0x7D, 0xC9), (0xA4, 0x5A, 0xB8), (0x2B, 0x93, 0x9B), (0x8A, 0x8F, 0x98),
    (0x7F, 0x86, 0x93), (0xE5, 0x60, 0x6F), (0x3B, 0xAF, 0x70), (0xC9, 0xA2, 0x3C),
    (0x4F, 0x95, 0xE3), (0xBD, 0x74, 0xD1), (0x3B, 0xAE, 0xB7), (0xA3, 0xA8, 0xB0),
]  # fmt: skip
THEME = TerminalTheme(BASIC[7], BASIC[0], BASIC[:8], BASIC[8:])

NOTHING = "28"  # shows hidden text, and none is hidden here

# The forms that rich does not read: the colour of an underline, an underline of another kind, a colour space.
_UNDERLINE_COLOUR = re.compile(r"(?<![\d:])58[;:](?:5[;:]\d*|2(?:[;:]\d*){3,4})")
_UNDERLINE_KIND = re.compile(r"(?<![\d:])4:(\d)")
_COLOUR_SPACE = re.compile(r"([34]8:2):\d*(?=(?::\d+){3})")


def ansi_html(text: str) -> Html:
    """Return ``text`` as HTML for a ``<pre>``."""
    if "\x1b" not in text and "\r" not in text:
        return escaped(text)
    done: list[Html] = []
    line: list[Html] = []
    decoder, again = AnsiDecoder(), False
    for token in TOKEN.finditer(text):
        if token["text"] is not None:
            if again:
                line.clear()
            again = False
            line.append(_span(token["text"], decoder.style))
        elif token["line"] is not None:
            done += [*line, Html("\n")]
            line.clear()
            again = False
        elif token["again"] is not None:
            again = True
        elif token["sgr"] is not None:
            decoder.decode_line(f"\x1b[{_readable(token['sgr'])}m")
    return markup(*done, *line)


def _span(text: str, style: Style) -> Html:
    css = _css(style)
    return element("span", escaped(text), style=css) if css else escaped(text)


@lru_cache
def _css(style: Style) -> str:
    return ";".join(_declarations(style))


def _readable(codes: str) -> str:
    """Return the codes of a sequence as rich reads them. A number above 255 has no meaning."""
    if any(len(number) > 3 or int(number) > 255 for number in re.findall(r"\d+", codes)):
        return NOTHING
    codes = _COLOUR_SPACE.sub(r"\1", _UNDERLINE_COLOUR.sub(NOTHING, codes))
    return _UNDERLINE_KIND.sub(lambda kind: "24" if kind[1] == "0" else "4", codes).replace(":", ";")


def _declarations(style: Style) -> Iterator[str]:
    colour, behind = _colour(style.color), _colour(style.bgcolor)
    if style.reverse:
        colour, behind = behind, colour
    if behind is not None or style.reverse:
        back = behind or BASIC[0]
        yield f"background:{_hex(back)}"
        yield f"color:{_hex(colour) if colour and _differ(colour, back) else _legible_on(back)}"
    elif colour is not None:
        # Mixed with the page's text colour: darker on a light page, lighter on a dark one.
        yield f"color:{_hex(colour)}"
        yield f"color:color-mix(in srgb,{_hex(colour)} 80%,currentColor)"
    if style.bold:
        yield "font-weight:bold"
    if style.dim:
        yield "opacity:.7"
    if style.italic:
        yield "font-style:italic"
    lines = (("underline", style.underline or style.underline2), ("line-through", style.strike))
    if shown := " ".join(name for name, on in lines if on):
        yield f"text-decoration:{shown}"


def _colour(colour: Color | None) -> Colour | None:
    return None if colour is None or colour.is_default else colour.get_truecolor(THEME)


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _legible_on(back: Colour) -> str:
    return "#000000" if _light(back) > 128 else "#ffffff"


def _differ(colour: Colour, back: Colour) -> bool:
    return abs(_light(colour) - _light(back)) > 80


def _light(colour: Colour) -> float:
    red, green, blue = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue
