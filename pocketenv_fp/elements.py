r"""Build HTML and SVG from elements. Every string is escaped, except markup that came from here.

>>> from pocketenv_fp.elements import element, markup
>>> element("p", "a < b, ", element("b", "c & d"), class_="note", aria_hidden="true")
'<p class="note" aria-hidden="true">a &lt; b, <b>c &amp; d</b></p>'
>>> element("a", "a page", href='"><script>')
'<a href="&quot;&gt;&lt;script&gt;">a page</a>'
>>> markup("<", element("br"), "\n")
'&lt;<br>\n'
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Html", "element", "markup", "table_row"]

# Elements without an end tag, and the end of their start tag, which differs between SVG and HTML.
_EMPTY = {"br": ">", "img": ">", "line": "/>"}


class Html(str):
    """Markup. It is inserted as it is, so make it only of a constant or of what is escaped already."""

    __slots__ = ()


def markup(*parts: str, between: str = "") -> Html:
    """Join parts, with the constant ``between`` between them. Strings are escaped, and markup stays as it is."""
    from html import escape

    return Html(between.join(part if isinstance(part, Html) else escape(part) for part in parts))


def element(tag: str, /, *parts: str, **attributes: str) -> Html:
    """Return an element with these parts and attributes.

    In the name of an attribute, _ stands for -. A final _ is left out: ``class_``.
    """
    from html import escape

    named = (f' {name.rstrip("_").replace("_", "-")}="{escape(value)}"' for name, value in attributes.items())
    start = f"<{tag}{''.join(named)}"
    if tag in _EMPTY:
        return Html(f"{start}{_EMPTY[tag]}")
    return Html(f"{start}>{markup(*parts)}</{tag}>")


def table_row(cells: Iterable[str], tag: str = "td", **attributes: str) -> Html:
    """Return a row of a table. The attributes are those of each cell, and ``tag`` is td or th."""
    return element("tr", *(element(tag, cell, **attributes) for cell in cells))
