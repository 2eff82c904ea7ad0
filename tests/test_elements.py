"""HTML from elements: strings are escaped in every place, and markup is inserted as it is."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pocketenv_fp.elements import Html, element, markup, table_row

TEXTS = st.text(st.characters(exclude_characters="\r\x00", exclude_categories=["Cs"]))


class Reader(HTMLParser):
    """Collects what a browser would read."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    return reader


@given(TEXTS, TEXTS)
def test_element_escapes(text: str, attribute: str) -> None:
    """Each string comes back as it was, from one element."""
    shown = read(element("p", text, title=attribute))
    assert (shown.tags, shown.text) == ([("p", {"title": attribute})], text)


@given(TEXTS)
def test_element_escapes_once(text: str) -> None:
    """Markup of an inner element is not escaped a second time."""
    assert markup(markup(text)) == markup(text)
    assert read(element("b", element("i", text))).text == text


def test_element_escapes_attribute_markup() -> None:
    """Markup in an attribute is escaped."""
    assert element("a", title=element("b", class_="x")) == '<a title="&lt;b class=&quot;x&quot;&gt;&lt;/b&gt;"></a>'


def test_element_escapes_joined_markup() -> None:
    """A string that was put together from markup is no markup: it is shown, and does nothing."""
    joined = f"{element('b', 'x')}"
    assert markup(joined) == "&lt;b&gt;x&lt;/b&gt;"
    assert markup(element("b", "x") + "<script>") == "&lt;b&gt;x&lt;/b&gt;&lt;script&gt;"


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        (element("div", class_="a", aria_hidden="true"), '<div class="a" aria-hidden="true"></div>'),
        (element("br"), "<br>"),
        (element("img", alt="a"), '<img alt="a">'),
        (element("line", x1="0"), '<line x1="0"/>'),
        (markup(), ""),
        (markup("a", element("b"), "c", between=" | "), "a | <b></b> | c"),
        (
            table_row(["<", Html("<b>")], "th", scope="col"),
            '<tr><th scope="col">&lt;</th><th scope="col"><b></th></tr>',
        ),
    ],
)
def test_element_forms(html: Html, expected: str) -> None:
    assert html == expected
    assert isinstance(html, Html)
