"""The parts that all cards are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from pocketenv_fp.elements import Html, element, markup, table_row
from pocketenv_fp.jupyter.ansi import ansi_html
from pocketenv_fp.jupyter.markup import clipped, escaped
from pocketenv_fp.jupyter.style import STYLE

__all__ = [
    "NOTHING",
    "ROWS",
    "box",
    "code",
    "exit_badge",
    "framed",
    "heading",
    "hint",
    "listing",
    "output",
    "pane",
    "sentence",
    "sign",
    "wide",
]

ROWS = 100
NOTHING = Html()


def framed(part: Html) -> Html:
    """Return a whole card, with its style sheet."""
    return element("div", STYLE, part, class_="pe-card")


def box(*parts: Html) -> Html:
    """Return one part of a card. A line separates it from the next part."""
    return element("div", *parts, class_="pe-part")


def heading(tone: str, title: str, note: str = "", badge: Html = NOTHING) -> Html:
    """Return the first line of a part. ``tone`` is good, bad, busy or idle."""
    quiet = (" ", element("span", escaped(note), class_="pe-quiet")) if note else ()
    shown = (" ", badge) if badge else ()
    return element("div", _dot(tone), " ", element("b", escaped(title)), *quiet, *shown, class_="pe-head")


def sign(tone: str, word: str) -> Html:
    """Return a word with a coloured dot, for a cell of a table."""
    return element("span", _dot(tone), " ", escaped(word), class_="pe-cell")


def _dot(tone: str) -> Html:
    return element("span", "●", class_=f"pe-dot pe-{tone}", aria_hidden="true")


def exit_badge(code: int) -> Html:
    """Return the exit code in a frame."""
    return element("span", f"exit {code}", class_=f"pe-badge pe-{'bad' if code else 'good'}")


def hint(text: str) -> Html:
    """Return a small line, such as the number of hidden rows."""
    return element("div", text, class_="pe-more")


def sentence(text: Html, kind: str = "pe-text pe-quiet") -> Html:
    """Return a line of text."""
    return element("div", text, class_=kind)


def code(text: Html, kind: str = "pe-code") -> Html:
    """Return a piece of code in a line."""
    return element("span", text, class_=kind)


def wide(part: Html, kind: str = "pe-wide") -> Html:
    """Return a part that scrolls if it is wide."""
    return element("div", part, class_=kind)


def pane(label: str, text: str, *, error: bool = False) -> Html:
    """Return the output of a program, cut if it is long."""
    kind = "pe-out pe-err" if error else "pe-out"
    head, hidden, tail = clipped(text.removesuffix("\n"))
    return markup(
        element("div", label, class_="pe-label") if label else "",
        element("pre", ansi_html(head), class_=kind),
        *([hint(hidden), element("pre", ansi_html(tail), class_=kind)] if hidden else ()),
    )


def output(stdout: str, stderr: str) -> Html:
    """Return the two outputs of a command."""
    shown = markup(
        pane("stdout", stdout) if stdout else "",
        pane("stderr", stderr, error=True) if stderr else "",
    )
    return shown or hint("No output.")


def listing(names: Iterable[str], rows: Iterable[Sequence[str]], count: int) -> Html:
    """Return a table of at most ``ROWS`` rows. ``count`` is the number of all rows."""
    head = element("thead", table_row(names, "th"))
    body = element("tbody", *map(table_row, islice(rows, ROWS)))
    more = hint(f"… {count - ROWS:,} more rows") if count > ROWS else NOTHING
    return markup(wide(element("table", head, body, class_="pe-table pe-list")), more)
