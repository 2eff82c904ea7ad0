"""Read the header of a response.

http.client parses it as an e-mail, which takes a third of the time of a small call. Usual headers are split here. All
others, such as those with continued lines, are parsed by http.client.
"""

from __future__ import annotations

import http.client
import io
import re
from typing import Any, BinaryIO

__all__ = ["LONGEST_LINE", "MOST_LINES", "Headers", "read_headers", "skip_headers"]

# http.client's own limits.
MOST_LINES = 100
LONGEST_LINE = 65536
_FIELD = re.compile(r"^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*)\r?\n", re.MULTILINE)


class Headers:
    """The header of a response, in the order of its lines. Names are found in any case."""

    __slots__ = ("_fields", "_first")

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self._fields = fields
        self._first: dict[str, str] = {}
        for name, value in fields:
            self._first.setdefault(name.lower(), value)

    def items(self) -> list[tuple[str, str]]:
        """Return the names and values of all lines."""
        return list(self._fields)

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._first

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of the first line with this name."""
        return self._first.get(name.lower(), default)

    def get_all(self, name: str) -> list[str] | None:
        """Return the values of all lines with this name, or None without one."""
        name = name.lower()
        if name not in self._first:
            return None
        if len(self._first) == len(self._fields):
            return [self._first[name]]
        return [value for other, value in self._fields if other.lower() == name]


def read_headers(reader: BinaryIO) -> Headers:
    """Read a header up to its empty line. Raises http.client's exceptions if it is too long or breaks off."""
    lines: list[bytes] = []
    while (line := _line(reader)) not in {b"\r\n", b"\n"}:
        lines.append(line)
        if len(lines) >= MOST_LINES:
            raise http.client.HTTPException(f"{MOST_LINES} headers or more")
    data = b"".join(lines)
    fields = _FIELD.findall(data.decode("latin-1"))
    if len(fields) != len(lines):
        return Headers(http.client.parse_headers(io.BytesIO(data + b"\r\n")).items())
    return Headers(fields)


def skip_headers(reader: BinaryIO) -> None:
    """Read a header up to its empty line, and drop it."""
    for _ in range(MOST_LINES + 1):
        if _line(reader) in {b"\r\n", b"\n"}:
            return
    raise http.client.HTTPException("too many headers")


def _line(reader: BinaryIO) -> bytes:
    line = reader.readline(LONGEST_LINE + 1)
    if len(line) > LONGEST_LINE:
        raise http.client.LineTooLong("header line")
    if not line.endswith(b"\n"):
        raise http.client.RemoteDisconnected("the connection was closed in the middle of a response")
    return line
