"""The header of a response is the one that http.client reads."""

from __future__ import annotations

import http.client
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pocketenv_fp.http.headers import LONGEST_LINE, MOST_LINES, read_headers

NAMES = st.sampled_from(["A", "Content-Type", "content-type", "X-RateLimit-Limit", "Set-Cookie", "b c", "", "é"])
TEXTS = st.text(st.characters(max_codepoint=255), max_size=12)
SEPARATORS = st.sampled_from([":", ": ", ":\t ", " : ", ""])
ENDS = st.sampled_from(["\r\n", "\r\n", "\r\n", "\n", "\r\n folded\r\n"])
LINES = st.builds(lambda *parts: "".join(parts), NAMES, SEPARATORS, TEXTS, ENDS)


@given(st.lists(LINES, max_size=5))
def test_read_headers_equals_http_client(lines: list[str]) -> None:
    """Any header is read as http.client reads it."""
    data = ("".join(lines) + "\r\n").encode("latin-1")
    own, other = read_headers(file := io.BytesIO(data)), http.client.parse_headers(rest := io.BytesIO(data))
    assert own.items() == other.items()
    assert file.read() == rest.read()
    for name in {name for name, _ in other.items()} | {"missing"}:
        assert own.get(name.upper()) == other.get(name.upper())
        assert own.get_all(name) == other.get_all(name)
    assert own.get("missing", "another") == "another"


def test_read_headers_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual headers of the platform are read without http.client."""
    monkeypatch.delattr(http.client, "parse_headers")
    headers = read_headers(io.BytesIO(b'Content-Type: application/json\r\nETag: W/"1"\r\nX: \r\n\r\nbody'))
    assert headers.items() == [("Content-Type", "application/json"), ("ETag", 'W/"1"'), ("X", "")]
    assert headers.get("etag") == 'W/"1"'
    assert "eTag" in headers
    assert "E" not in headers


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"A: " + b"a" * LONGEST_LINE + b"\r\n\r\n", http.client.LineTooLong),
        (b"A: a\r\n" * (MOST_LINES + 1) + b"\r\n", http.client.HTTPException),
    ],
)
def test_read_headers_too_long(data: bytes, error: type[Exception]) -> None:
    """A header with a long line or many lines raises the exception of http.client."""
    with pytest.raises(error):
        read_headers(io.BytesIO(data))


def test_read_headers_repeated_name() -> None:
    """The first of two lines with one name counts, as in http.client."""
    assert read_headers(io.BytesIO(b"A: 1\r\na: 2\r\n\r\n")).get("A") == "1"


def test_read_headers_long_line() -> None:
    """A line above the limit raises http.client's exception."""
    with pytest.raises(http.client.LineTooLong):
        read_headers(io.BytesIO(b"A: " + b"x" * LONGEST_LINE + b"\r\n\r\n"))
