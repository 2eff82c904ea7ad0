"""Read the header of a response.

http.client parses it as an e-mail, which takes a third of the time of a small call. Usual headers are split here. All
others, such as those with continued lines, are parsed by http.client.
"""

from __future__ import annotations

import http.client
import io
import re
from typing import Any

__all__ = ["LONGEST_LINE", "MOST_LINES", "Headers", "read_headers"]

# http.client's own limits.
MOST_LINES = 100
LONGEST_LINE = 65536
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*)\r?\n")


class Headers(http.client.HTTPMessage):
    """The header of a response, in the order of its lines. Names are found in any case."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        super().__init__()
        self._fields = fields
        self._first = {name.lower(): value for name, value in reversed(fields)}
        for name, value in fields:
            self.set_raw(name, value)

    def items(self) -> list[tuple[str, Any]]:
        # The inherited one looks for characters that no header of http.client has.
        return list(self._fields)

    def get(self, name: str, failobj: Any = None) -> Any:
        return self._first.get(name.lower(), failobj)


def read_headers(file: Any) -> http.client.HTTPMessage:
    """Read a header from ``file``, up to its empty line. Raises http.client's exceptions if it is too long."""
    lines: list[bytes] = []
    while True:
        line = file.readline(LONGEST_LINE + 1)
        if len(line) > LONGEST_LINE:
            raise http.client.LineTooLong("header line")
        lines.append(line)
        if len(lines) > MOST_LINES:
            raise http.client.HTTPException(f"got more than {MOST_LINES} headers")
        if line in {b"\r\n", b"\n", b""}:
            break
    fields: list[tuple[str, str]] = []
    for line in lines[:-1]:
        field = _FIELD.fullmatch(line)
        if field is None:
            return http.client.parse_headers(io.BytesIO(b"".join(lines)))
        fields.append((field[1].decode("ascii"), field[2].decode("latin-1")))
    return Headers(fields)
