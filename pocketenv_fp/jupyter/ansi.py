r"""Convert the output of a terminal program to HTML.

Colours and text styles become spans. All other sequences are dropped, and the text is escaped. A carriage return starts
the line again, so that only the last state of a progress bar is left.

Libraries for this use classes with a style sheet and pass on unknown sequences, or emulate a whole terminal. A colour
must also be readable on light and dark pages.

>>> from pocketenv_fp.jupyter.ansi import ansi_html
>>> ansi_html("\x1b[1mbold\x1b[0m <b>\x1b[2J 10%\r 20%\n")
' 20%\n'
>>> ansi_html("\x1b[1mbold\x1b[0m <b>")
'<span style="font-weight:bold">bold</span> &lt;b&gt;'
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

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
BASIC: tuple[Colour, ...] = (
    (0x6B, 0x72, 0x80), (0xD1, 0x49, 0x5B), (0x2E, 0x96, 0x5C), (0xB0, 0x8D, 0x2F),
    (0x3B, 0x7D, 0xC9), (0xA4, 0x5A, 0xB8), (0x2B, 0x93, 0x9B), (0x8A, 0x8F, 0x98),
    (0x7F, 0x86, 0x93), (0xE5, 0x60, 0x6F), (0x3B, 0xAF, 0x70), (0xC9, 0xA2, 0x3C),
    (0x4F, 0x95, 0xE3), (0xBD, 0x74, 0xD1), (0x3B, 0xAE, 0xB7), (0xA3, 0xA8, 0xB0),
)  # fmt: skip
CUBE = (0, 95, 135, 175, 215, 255)


class _Style(NamedTuple):
    bold: bool = False
    dim: bool = False
    italic: bool = False
    underline: bool = False
    inverse: bool = False
    strike: bool = False
    colour: Colour | None = None
    behind: Colour | None = None


PLAIN = _Style()
SWITCHES: dict[int, Callable[[_Style], _Style]] = {
    0: lambda _: PLAIN,
    1: lambda style: style._replace(bold=True),
    2: lambda style: style._replace(dim=True),
    3: lambda style: style._replace(italic=True),
    4: lambda style: style._replace(underline=True),
    7: lambda style: style._replace(inverse=True),
    9: lambda style: style._replace(strike=True),
    21: lambda style: style._replace(underline=True),
    22: lambda style: style._replace(bold=False, dim=False),
    23: lambda style: style._replace(italic=False),
    24: lambda style: style._replace(underline=False),
    27: lambda style: style._replace(inverse=False),
    29: lambda style: style._replace(strike=False),
    39: lambda style: style._replace(colour=None),
    49: lambda style: style._replace(behind=None),
}
EXTENDED: dict[int, Callable[[_Style, Colour], _Style]] = {
    38: lambda style, colour: style._replace(colour=colour),
    48: lambda style, colour: style._replace(behind=colour),
    58: lambda style, _: style,  # colour of an underline
}


def ansi_html(text: str) -> str:
    """Return ``text`` as HTML for a ``<pre>``."""
    if "\x1b" not in text and "\r" not in text:
        return escaped(text)
    done: list[str] = []
    line: list[str] = []
    style, again = PLAIN, False
    for token in TOKEN.finditer(text):
        if token["text"] is not None:
            if again:
                line.clear()
            again = False
            line.append(_span(token["text"], style))
        elif token["line"] is not None:
            done += [*line, "\n"]
            line.clear()
            again = False
        elif token["again"] is not None:
            again = True
        elif token["sgr"] is not None:
            style = _styled(style, token["sgr"])
    return "".join((*done, *line))


def _span(text: str, style: _Style) -> str:
    css = ";".join(_css(style))
    return f'<span style="{css}">{escaped(text)}</span>' if css else escaped(text)


def _css(style: _Style) -> Iterator[str]:
    colour, behind = (style.behind, style.colour) if style.inverse else (style.colour, style.behind)
    if behind is not None or style.inverse:
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
    if lines := " ".join(name for name, on in (("underline", style.underline), ("line-through", style.strike)) if on):
        yield f"text-decoration:{lines}"


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _legible_on(back: Colour) -> str:
    return "#000000" if _light(back) > 128 else "#ffffff"


def _differ(colour: Colour, back: Colour) -> bool:
    return abs(_light(colour) - _light(back)) > 80


def _light(colour: Colour) -> float:
    red, green, blue = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _styled(style: _Style, parameters: str) -> _Style:
    """Return the style after a sequence. Unknown codes are ignored."""
    codes = iter(parameters.split(";"))
    for code in codes:
        # The parameters of these codes follow after semicolons or, as in the standard, after colons.
        parts = code.split(":")
        number = _number(parts[0])
        if number in EXTENDED:
            colour = _extended(iter(parts[1:]) if len(parts) > 1 else codes, standard=len(parts) > 5)
            if colour is not None:
                style = EXTENDED[number](style, colour)
        elif parts == ["4", "0"]:
            style = style._replace(underline=False)
        elif number in SWITCHES:
            style = SWITCHES[number](style)
        else:
            style = _basic(style, number)
    return style


def _basic(style: _Style, number: int) -> _Style:
    for first, bright in ((30, 0), (90, 8)):
        if first <= number < first + 8:
            return style._replace(colour=BASIC[number - first + bright])
        if first + 10 <= number < first + 18:
            return style._replace(behind=BASIC[number - first - 10 + bright])
    return style


def _extended(parts: Iterator[str], *, standard: bool) -> Colour | None:
    kind = _number(next(parts, ""))
    if kind == 5:
        return _indexed(_number(next(parts, "")))
    if kind == 2:
        if standard:
            next(parts)  # the colour space
        red, green, blue = (_number(next(parts, "0")) for _ in range(3))
        return (red, green, blue) if all(0 <= each <= 255 for each in (red, green, blue)) else None
    return None


def _indexed(number: int) -> Colour | None:
    if 0 <= number < 16:
        return BASIC[number]
    if 16 <= number < 232:
        red, rest = divmod(number - 16, 36)
        green, blue = divmod(rest, 6)
        return CUBE[red], CUBE[green], CUBE[blue]
    grey = 8 + 10 * (number - 232)
    return (grey, grey, grey) if 232 <= number < 256 else None


def _number(text: str) -> int:
    # A missing number is 0. A number of more than three digits has no meaning.
    return int(text or 0) if len(text) <= 3 else -1
