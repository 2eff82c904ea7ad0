"""Quote strings for a POSIX shell."""

from __future__ import annotations

__all__ = ["quote"]


def quote(text: str) -> str:
    r"""Put ``text`` in single quotes, always: a bare ``if`` or ``2`` may have a meaning in its place.

    >>> from pocketenv_fp.sandbox.commands.quoting import quote
    >>> print(quote("it's"))
    'it'\''s'
    """
    return "'" + text.replace("'", r"'\''") + "'"
