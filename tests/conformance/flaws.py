"""Requests made from the published contract, most of them with a flaw. hypothesis chooses, without random input.

Values that could harm a machine are never generated: `command`, `repo` and paths come from fixed lists of harmless ones.
Ids of existing things are marks such as `@running@`, which are replaced when the request is sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, cast
from urllib.parse import quote

from hypothesis import strategies as st

from tests.conformance import contract
from tests.local.wire import BASE

Login = Literal["ours", "none", "forged", "foreign", "basic", "empty", "long", "latin"]

MARKS = ("@running@", "@stopped@", "@name@", "@uri@", "@theirs@", "@secret@", "@variable@")
# The arguments of these methods are gone, or another user's, afterwards.
DESTRUCTIVE = {"deleteSandbox", "claimSandbox"}

_COMMANDS = ("true", ":", "echo a", "exit 3", "echo \u00e9\u4e2d", "")
_REPOSITORIES = ("/no/such/repository", "file:///no/such/repository", "")
_PATHS = (
    "/workspace/a",
    "/workspace/a/b",
    "a",
    "",
    "/",
    ".",
    "/workspace/\u00e9 \u4e2d",
    "/data/a\u0000b",
    "/workspace//a/./b",
)
_ODD_TEXTS = ("", "\0", "\u00e9\u4e2d\U0001f600", "' OR 1=1 --", "%s%n", "../..", "x" * 5000, "a\r\nb: c", "null", "{}")
_ODD_NUMBERS = (0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**30, 10**400, 1.5, 1e300, -0.0)
_ODD_VALUES: tuple[object, ...] = (None, True, 0, 10**30, 10**400, 1.5, "", [], {}, [None], {"a": None})
_ODD_QUERIES = (
    "",
    "id",
    "id=",
    "id=%",
    "id=%zz",
    "id=%00",
    "id=%ff",
    "id=%C0%80",
    "id=%ED%A0%80",
    "id=a&id=b",
    "id[]=a",
    "&&=&;",
    "limit=1e3",
    "limit=-1",
    "limit=NaN",
    "limit=%D9%A3",
    "limit=99999999999999999999",
    "offset=9223372036854775808",
    "isRunning=yes",
    "did=did:",
    "did=" + "a." * 2000 + "com",
    "id=" + "x" * 20_000,
    "&".join(f"a{number}=" for number in range(2000)),
)
_ODD_BODIES = (
    b"",
    b" ",
    b"null",
    b"[]",
    b"{}",
    b'"text"',
    b"7",
    b"{",
    b'{"id": }',
    b'{"id": "a",}',
    b"{'id': 'a'}",
    b'{"id": NaN}',
    b'{"id": 1e400}',
    b'{"id": -1e400, "port": 1e400}',
    b'{"id": "\\ud800"}',
    b'{"id": "a", "id": "b"}',
    b'{"id": "\xff"}',
    b'\xef\xbb\xbf{"id": "a"}',
    b'{"id": "a"} more',
    b"[" * 50_000,
    b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    b'{"id": ' + b"9" * 5000 + b"}",
    b" " * 102_401,
    b'{"id": "' + b"x" * 102_380 + b'"}',
)
ODD_TYPES = (
    None,
    "",
    ";",
    "text/plain",
    "application/xml",
    "multipart/form-data; boundary=x",
    "application/json; charset=latin1",
    "application/json; charset=utf-16",
    "application/json; charset=utf-nonsense",
    "application/json; charset=utf-8-sig",
    "application/json; charset=utf-7",
    "application/json; charset=",
    'application/json; charset="utf-8"; charset=ascii',
    "application/json;;;charset",
    "APPLICATION/JSON",
)
_ODD_HEADERS = (
    ("content-encoding", "gzip"),
    ("content-encoding", "identity"),
    ("content-encoding", "nonsense"),
    ("transfer-encoding", "chunked"),
    ("expect", "nothing"),
    ("accept", "text/html"),
    ("x-forwarded-for", "1.2.3.4"),
    ("cookie", "a=b"),
)
VERBS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "PROPFIND")
LOGINS: tuple[Login, ...] = ("none", "forged", "foreign", "basic", "empty", "long", "latin")


class Flawed(NamedTuple):
    """A request before the marks in it and its login are replaced."""

    verb: str
    name: str
    query: str
    body: bytes | None
    kind: str | None
    headers: tuple[tuple[str, str], ...]
    login: Login

    @property
    def method(self) -> str:
        """The last part of the method's name."""
        return self.name.rpartition(".")[2]


def requests(name: str) -> st.SearchStrategy[Flawed]:
    """Return requests for one method: valid ones, ones with one flaw, and ones with all."""
    verb = {"query": "GET", "procedure": "POST"}[contract.methods()[name]["type"]]
    taken = contract.taken(name)
    kind = None if taken is None else "application/json"
    marks = MARKS[4:5] if name.rpartition(".")[2] in DESTRUCTIVE else MARKS
    query = _queries(contract.parameters(name), marks)
    body = st.none() if taken is None else _bodies(taken, marks)
    bent = st.sampled_from(_ODD_BODIES) if taken is None else st.one_of(_bent_bodies(taken, marks), _odd_bodies())
    sound = st.builds(Flawed, st.just(verb), st.just(name), query, body, st.just(kind), st.just(()), st.just("ours"))
    extra = st.sampled_from(_ODD_HEADERS).map(lambda header: (header,))
    return st.one_of(
        sound,
        sound,
        with_flaws(
            sound, query=st.one_of(st.sampled_from(_ODD_QUERIES), _bent_queries(contract.parameters(name), marks))
        ),
        with_flaws(sound, body=bent, kind=st.just("application/json")),
        with_flaws(sound, body=bent, kind=st.just("application/json")),
        with_flaws(sound, verb=st.sampled_from(VERBS)),
        with_flaws(sound, kind=st.sampled_from(ODD_TYPES)),
        with_flaws(sound, headers=extra),
        with_flaws(sound, login=st.sampled_from(LOGINS)),
        with_flaws(
            sound,
            verb=st.sampled_from(VERBS),
            query=st.sampled_from(_ODD_QUERIES),
            body=st.one_of(st.none(), _odd_bodies()),
            kind=st.sampled_from(ODD_TYPES),
            headers=extra,
            login=st.sampled_from(LOGINS),
        ),
    )


def each_flaw(name: str) -> Iterator[Flawed]:
    """Yield the smallest valid request for one method with every flaw of the lists, one at a time."""
    verb = {"query": "GET", "procedure": "POST"}[contract.methods()[name]["type"]]
    taken = contract.taken(name)
    kind = None if taken is None else "application/json"
    mark = "@theirs@" if name.rpartition(".")[2] in DESTRUCTIVE else "@running@"
    query = _query(_least("", contract.parameters(name), mark))
    least = None if taken is None else _least("", taken, mark)
    body = None if least is None else _encode(least)
    sound = Flawed(verb, name, query, body, kind, (), "ours")
    yield sound
    yield from (sound._replace(query=odd) for odd in _ODD_QUERIES)
    yield from (sound._replace(query=f"{query}&{odd}") for odd in _ODD_QUERIES)
    yield from (sound._replace(body=odd, kind="application/json") for odd in (None, *_ODD_BODIES))
    yield from (sound._replace(kind=odd) for odd in ODD_TYPES)
    yield from (sound._replace(headers=(odd,)) for odd in _ODD_HEADERS)
    yield from (sound._replace(verb=odd) for odd in VERBS)
    yield from (sound._replace(login=odd) for odd in LOGINS)
    if taken is not None and least is not None:
        for key in taken["properties"]:
            yield sound._replace(body=_encode({part: value for part, value in least.items() if part != key}))
            yield from (sound._replace(body=_encode({**least, key: odd})) for odd in _ODD_VALUES)


def _least(name: str, declared: contract.Schema, mark: str) -> Any:
    match declared.get("type"):
        case "object":
            return {key: _least(key, declared["properties"][key], mark) for key in declared["required"]}
        case "array":
            return []
        case "integer":
            return declared.get("minimum", 0)
        case _:
            low = name.lower()
            if declared.get("format") == "at-identifier":
                return "@did@"
            return mark if low.endswith("id") else _SAFE.get(low, ("A",))[0]


def with_flaws(sound: st.SearchStrategy[Flawed], **flaws: st.SearchStrategy[Any]) -> st.SearchStrategy[Flawed]:
    """Return the same requests with some of their parts replaced."""
    return st.builds(_changed, sound, st.fixed_dictionaries(flaws))


def _changed(request: Flawed, flaws: dict[str, Any]) -> Flawed:
    return request._replace(**flaws)


def _odd_bodies() -> st.SearchStrategy[bytes | None]:
    return st.one_of(st.none(), st.sampled_from(_ODD_BODIES), st.binary(min_size=1, max_size=40))


# Keys of generated objects are letters, so that none of them is ever a word that a machine would act on.
_anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.sampled_from(_ODD_NUMBERS), st.sampled_from(_ODD_TEXTS)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)),
    max_leaves=6,
)
_not_a_text = _anything.filter(lambda value: not isinstance(value, str))


_IDS = ("no-such-thing", *_ODD_TEXTS)
_SAFE: dict[str, tuple[str, ...]] = {
    "command": _COMMANDS,
    "repo": _REPOSITORIES,
    "path": _PATHS,
    "directory": ("/workspace", *_PATHS),
    "directorypath": ("/workspace", *_PATHS),
    "base": (BASE, "openclaw", "no-such-base", ""),
}
_FORMED = {
    "at-identifier": ("@did@", "nobody.example", "did:plc:nobody", "no did"),
    "uri": ("https://example.com/", "no uri", "a:b"),
}


def _texts(name: str, declared: contract.Schema, marks: tuple[str, ...]) -> st.SearchStrategy[str]:
    """Return strings for one property that are safe to act on."""
    low = name.lower()
    free = st.text(max_size=20).filter(_encodable)
    if (known := _SAFE.get(low) or _FORMED.get(declared.get("format", "")) or declared.get("enum")) is not None:
        return st.sampled_from(cast("tuple[str, ...]", known))
    if low.endswith("id"):
        return st.sampled_from((*marks, *_IDS))
    return st.one_of(st.sampled_from(("A", "B", *_ODD_TEXTS)), free)


def _encodable(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _values(name: str, declared: contract.Schema, marks: tuple[str, ...]) -> st.SearchStrategy[Any]:
    """Return values that are as declared."""
    found: st.SearchStrategy[Any]
    match declared.get("type"):
        case None:
            found = st.one_of([_values(name, each, marks) for each in declared["anyOf"]])
        case [kind, "null"]:
            found = st.one_of(st.none(), _values(name, {**declared, "type": kind}, marks))
        case "object":
            needed = set(declared["required"])
            parts = {key: _values(key, each, marks) for key, each in declared["properties"].items()}
            found = st.fixed_dictionaries(
                {key: each for key, each in parts.items() if key in needed},
                optional={key: each for key, each in parts.items() if key not in needed},
            )
        case "array":
            found = st.lists(_values(name, declared["items"], marks), max_size=3)
        case "integer":
            least, most = declared.get("minimum", 0), declared.get("maximum", 2**53)
            found = st.one_of(st.sampled_from((least, most)), st.integers(least, most))
        case "boolean":
            found = st.booleans()
        case _:
            found = _texts(name, declared, marks)
    return found


def _bodies(taken: contract.Schema, marks: tuple[str, ...]) -> st.SearchStrategy[bytes]:
    return _values("", taken, marks).map(_encode)


# Defined once: hypothesis reads and parses the source of each composite.
@st.composite
def _bent_bodies(draw: st.DrawFn, taken: contract.Schema, marks: tuple[str, ...]) -> bytes:
    """Return bodies with one property that is not as declared: absent, null, of another type, or one too many."""
    value = draw(_values("", taken, marks))
    inside = [part for part in _objects(value) if part]
    if not inside:
        return _encode(draw(_not_a_text))
    part = draw(st.sampled_from(inside))
    key = draw(st.sampled_from(sorted(part)))
    match draw(st.sampled_from(("absent", "null", "other", "more"))):
        case "absent":
            del part[key]
        case "null":
            part[key] = None
        case "other":
            part[key] = draw(_not_a_text)
        case _:
            part["undeclared"] = draw(_anything)
    return _encode(value)


def _objects(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        held = cast("dict[str, Any]", value)
        return [held, *(part for each in held.values() for part in _objects(each))]
    return [part for each in cast("list[object]", value) for part in _objects(each)] if isinstance(value, list) else []


def _encode(value: object) -> bytes:
    return json.dumps(value).encode()


def _queries(declared: contract.Schema, marks: tuple[str, ...]) -> st.SearchStrategy[str]:
    return _values("", declared, marks).map(_query)


def _bent_queries(declared: contract.Schema, marks: tuple[str, ...]) -> st.SearchStrategy[str]:
    names = [*declared["properties"], "undeclared"]
    odd = st.one_of(st.sampled_from(_ODD_TEXTS), st.sampled_from(_ODD_NUMBERS), st.text(max_size=20).filter(_encodable))
    return st.builds(_bent, _values("", declared, marks), st.sampled_from(names), odd)


def _bent(sound: dict[str, object], key: str, value: object) -> str:
    return _query({**sound, key: value})


def _query(values: dict[str, object]) -> str:
    told = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in values.items()}
    return "&".join(f"{quote(name)}={quote(value, safe='@')}" for name, value in told.items())
