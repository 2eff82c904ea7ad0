"""Answers outside of the methods: those of the login, of the terminals, and the platform's error page."""

from typing import Any, NamedTuple

from pocketenv_fp.local import bodies

Header = tuple[bytes, bytes]

HTML: Header = (b"content-type", b"text/html; charset=utf-8")
JSON: Header = (b"content-type", b"application/json; charset=utf-8")
TEXT: Header = (b"content-type", b"text/plain; charset=utf-8")


class Reply(NamedTuple):
    """An answer. With `is_error` the text is for the platform's error page."""

    status: int
    text: str
    headers: tuple[Header, ...] = (HTML,)
    is_error: bool = False


def json_reply(status: int, value: Any) -> Reply:
    """Return an answer in JSON."""
    return Reply(status, bodies.encode(value).decode(), (JSON,))


def error_reply(text: str, status: int = 500) -> Reply:
    """Return the platform's error page with this text."""
    return Reply(status, text, is_error=True)
