"""The result of `explain`: the steps of a pipeline with their requests, as text and as a table."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, cast

import msgspec

from pocketenv_fp.elements import Html, element
from pocketenv_fp.redaction import counted, shorten

__all__ = ["API", "FALLBACK", "LOGIN", "STORAGE", "Explanation", "Part", "Request", "as_json", "stand_ins"]

API, STORAGE = "api", "storage"
LOGIN = "Authorization: Bearer $POCKETENV_TOKEN"
FALLBACK = "only if that fails"
LONG = 200
# A command begins with the wire form around its line.
LONG_COMMAND = 400
# Characters that move the cursor of a terminal or change the direction of text. JSON may contain them.
_UNSEEN = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_STAND_IN = re.compile(r"‹([A-Za-z_][A-Za-z0-9_]*)›")


def stand_ins(text: str) -> Iterator[tuple[str, str | None]]:
    """Yield pairs of the text before a stand-in and its name. The last pair has no name.

    >>> from pocketenv_fp.explaining.explanation import stand_ins
    >>> list(stand_ins("id=‹SANDBOX_ID›&limit=3"))
    [('id=', 'SANDBOX_ID'), ('&limit=3', None)]
    """
    pieces = _STAND_IN.split(text)
    yield from zip(pieces[::2], (*pieces[1::2], None), strict=True)


def as_json(value: object) -> str:
    r"""Return a value as readable JSON. Only invisible characters and changes of direction are escaped.

    >>> from pocketenv_fp.explaining.explanation import as_json
    >>> print(as_json({"name": "é\u202e"}))
    {"name": "é\u202e"}
    """
    return _UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))


class Request(msgspec.Struct, frozen=True):
    """A request that a step would send.

    ``path`` includes the query. ``body`` is JSON, or None. ``notes`` are the conditions on which it is sent. A value
    that only a response or the environment has is a stand-in, ``‹SANDBOX_ID›``. A secret is ``‹SEALED_…›`` or ``***``.
    """

    verb: str
    path: str
    body: str | None = None
    notes: tuple[str, ...] = ()
    host: str = API
    gives: tuple[tuple[str, ...], ...] = ()
    """The stand-ins that its response is the first to contain, each with the keys to it."""
    local: str | None = None
    """The directory of this machine that is sent or received."""
    seconds: float | None = None
    """The longest time for which it is repeated until the sandbox runs."""

    def __str__(self) -> str:
        return f"{self.verb} {'' if self.host == API else '‹storage›'}{self.path}"

    def brief(self) -> str | None:
        """Return the body with long strings cut."""
        return None if self.body is None else as_json(_brief(json.loads(self.body)))


class Part(msgspec.Struct, frozen=True):
    """A step of the pipeline: its source and its own requests. ``depth`` is the number of steps around it."""

    source: str
    depth: int
    notes: tuple[str, ...] = ()
    requests: tuple[Request, ...] = ()

    def lines(self) -> Iterator[str]:
        """Yield the printed lines."""
        edge = "    " * self.depth
        yield edge + self.source
        yield from (f"{edge}    # {note}" for note in self.notes)
        for request in self.requests:
            yield f"{edge}    {request}"
            if (body := request.brief()) is not None:
                yield f"{edge}        {body}"


class Explanation(msgspec.Struct, frozen=True):
    """The requests that a step would send, in order. It prints as text, and is a table in notebooks.

    ``parts`` are the steps, ``requests`` are all requests, and ``len`` is the number of requests.
    """

    source: str
    parts: tuple[Part, ...]

    @property
    def requests(self) -> tuple[Request, ...]:
        """All requests, in the order of sending."""
        return tuple(request for part in self.parts for request in part.requests)

    def __len__(self) -> int:
        return len(self.requests)

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        lines = [line for part in self.parts for line in part.lines()]
        return "\n".join((*lines, self._count()))

    def __repr__(self) -> str:
        return f"<Explanation of {shorten(self.source, LONG)}: {_several(len(self))}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("source", self.source), ("requests", [str(request) for request in self.requests])]

    def _count(self) -> str:
        with_login = f", each with {LOGIN}" if self.requests else ""
        return f"{_several(len(self))}{with_login}; nothing was sent."

    def _repr_html_(self) -> str:
        count = element("caption", self._count(), style="text-align:left;caption-side:bottom;opacity:.75")
        return element("table", count, *map(_row, self.parts), style="border-collapse:collapse;color:inherit")


def _row(part: Part) -> Html:
    notes = (element("div", note, style="opacity:.75") for note in part.notes)
    requests = (element("div", _code(str(request)), *_body(request)) for request in part.requests)
    cell = "text-align:left;vertical-align:top;border-top:1px solid currentColor;padding:.3em"
    indented = f"{cell};padding-left:{0.3 + 1.2 * part.depth:.1f}em"
    source = element("td", _code(part.source), *notes, style=indented)
    return element("tr", source, element("td", *requests, style=cell))


def _body(request: Request) -> Iterator[Html]:
    body = request.brief()
    if body is not None:
        yield element("div", _code(body), style="padding-left:1.2em")


def _code(text: str) -> Html:
    return element(
        "code", text, style="white-space:pre-wrap;word-break:break-word;background:transparent;color:inherit"
    )


def _brief(value: object) -> object:
    if isinstance(value, dict):
        return {
            name: _cut(each, LONG_COMMAND) if name == "command" and isinstance(each, str) else _brief(each)
            for name, each in cast("dict[str, object]", value).items()
        }
    if isinstance(value, list):
        return [_brief(each) for each in cast("list[object]", value)]
    return _cut(value, LONG, LONG // 4) if isinstance(value, str) else value


def _cut(text: str, longest: int, length: int | None = None) -> str:
    return text if len(text) <= longest else f"{text[: length or longest]}… ‹{len(text):,} characters›"


def _several(number: int) -> str:
    return counted(number, "request") if number else "no requests"
