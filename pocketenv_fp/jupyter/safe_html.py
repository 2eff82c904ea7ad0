r"""Keep of HTML from a sandbox what only shows text: tables, lists and emphasis.

The code in a sandbox may be anyone's, and HTML in a notebook can run the kernel of its reader. So the result
has only tags of a list, without scripts, styles, links, images and event handlers.

>>> from pocketenv_fp.jupyter.safe_html import safe_html
>>> safe_html('<table onclick="x()"><tr><td colspan="2">a & b<script>alert(1)</script></table>')
'<table class="pe-table pe-list"><tr><td colspan="2">a &amp; b</td></tr></table>'
"""

from __future__ import annotations

from html.parser import HTMLParser

from pocketenv_fp.elements import Html
from pocketenv_fp.jupyter.markup import escaped

__all__ = ["safe_html"]

TAGS = frozenset(
    {
        *("table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td", "ul", "ol", "li", "dl", "dt", "dd"),
        *("div", "p", "span", "b", "strong", "i", "em", "u", "s", "sub", "sup", "small", "code", "pre", "blockquote"),
        *("h1", "h2", "h3", "h4", "h5", "h6", "details", "summary", "br", "hr"),
    }
)
VOID = frozenset({"br", "hr"})
DROPPED = frozenset(
    {"script", "style", "template", "svg", "math", "iframe", "object", "head", "title", "textarea", "select"}
)
NUMBERS = frozenset({"colspan", "rowspan"})
MOST_CHARACTERS = 1_000_000


def safe_html(text: str) -> Html:
    """Return ``text`` as HTML of few tags. Unclosed tags are closed, and what follows a million characters is cut."""
    parser = _Rewriter()
    parser.feed(text[:MOST_CHARACTERS])
    parser.close()
    return parser.finish()


class _Rewriter(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: list[str] = []
        self._open: list[str] = []
        self._dropped: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in DROPPED:
            self._dropped.append(tag)
        if self._dropped or tag not in TAGS:
            return
        sizes = "".join(
            f' {name}="{int(value)}"'
            for name, value in attrs
            if name in NUMBERS and value is not None and value.isascii() and value.isdigit() and len(value) < 5
        )
        look = ' class="pe-table pe-list"' if tag == "table" else ""
        self._parts.append(f"<{tag}{look}{sizes}>")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._dropped:
            if tag in self._dropped:
                while self._dropped.pop() != tag:
                    pass
            return
        if tag in self._open:
            while (last := self._open.pop()) != tag:
                self._parts.append(f"</{last}>")
            self._parts.append(f"</{tag}>")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in VOID:
            self.handle_starttag(tag, attrs)

    def handle_data(self, data: str) -> None:
        if not self._dropped:
            self._parts.append(escaped(data))

    def finish(self) -> Html:
        return Html("".join((*self._parts, *(f"</{tag}>" for tag in reversed(self._open)))))
