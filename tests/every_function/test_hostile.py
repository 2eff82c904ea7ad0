"""Every public function against servers that say anything: always a Result, never an exception, and nothing secret in it."""

from __future__ import annotations

import gzip
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from returns.result import Result

from pocketenv_fp import Config, PocketenvError, pocketenv, sandbox
from tests.every_function.test_functions import ACCOUNT, KEY, NAMED, OPERATIONS, TAILSCALE, target_of
from tests.examples import examples
from tests.figures import Figures
from tests.http.test_transport import HEADERS
from tests.servers import TOKEN, Reply, Server, client

EXAMPLES = examples(12)
TAKEN = 25
STATUSES = [200] * 12 + [201, 204, 301, 304, 400, 401, 404, 429, 500, 502, 999]
SANDBOX: dict[str, Any] = {
    "id": "3f2a",
    "name": "brave-otter-x1y2",
    "status": "RUNNING",
    "createdAt": "2026-01-01T00:00:00Z",
}
RECORD: dict[str, Any] = {"id": "3f2a", "name": "NAME", "path": "/workspace/a", "value": "v", "content": "c"}
SERVICE: dict[str, Any] = {**RECORD, "command": "true", "ports": [8080], "status": "RUNNING"}
ANSWERS: list[Any] = [
    {"sandbox": SANDBOX},
    SANDBOX,
    {"sandboxes": [SANDBOX, {**SANDBOX, "id": "other"}], "total": 2},
    {"stdout": "hello", "stderr": "", "exitCode": 0},
    {"did": "did:plc:a", "handle": "a.test", "displayName": "A"},
    {"ports": [{"port": 8080, "description": "web", "previewUrl": "https://a.test"}]},
    {"previewUrl": "https://a.test", "url": "https://a.test", "token": "t", "uuid": "3f2a"},
    {"publicKey": "ssh-ed25519 AAAA", "privateKey": "****", "authKey": "tskey-****"},
    {"backups": [{"id": "3f2a", "directory": "/workspace", "createdAt": "2026-01-01T00:00:00Z"}]},
    {"integrations": [{**RECORD, "webhookUrl": "https://a.test"}]},
    *({f"{noun}s": [RECORD, {**RECORD, "id": "x", "name": "OTHER"}], "total": 2} for noun in ("secret", "file")),
    *({f"{noun}s": [RECORD, {**RECORD, "id": "x", "name": "OTHER"}], "total": 3} for noun in ("variable", "volume")),
    *({noun: RECORD} for noun in ("secret", "variable", "file", "volume")),
    {"services": [{**SERVICE, "name": "web"}], "total": 1, "service": SERVICE},
    {"error": "SandboxNotFound", "message": "there is none"},
    {},
    [],
    None,
]
# What is not asked for is passed over: this is a right answer for nearly every function.
ALL_AT_ONCE: dict[str, Any] = {
    key: value for each in ANSWERS if each and "error" not in each for key, value in each.items()
}
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        1.5,
        10**30,
        1e308,
        "",
        "\0",
        "\U0001f600",
        "x" * 5000,
        [],
        {},
        [[]],
        [None],
        {"": {}},
        "../../etc",
    ]
)


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A right answer with a few things in it that are not right."""
    answer = draw(st.sampled_from([ALL_AT_ONCE] * 2 * len(ANSWERS) + ANSWERS))
    for _ in range(draw(st.integers(0, 5))):
        answer = draw(changed(answer))
    return answer


def kind_of(value: Any) -> Any:
    """The type, of which a checker of types is to conclude nothing."""
    return type(cast("object", value))


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """The same with one thing changed, left out or doubled, at any depth."""
    if kind_of(value) not in {dict, list} or not value or draw(st.integers(0, 9)) == 0:
        return draw(ODD)
    copied = value.copy()
    place = draw(st.sampled_from([*copied] if kind_of(copied) is dict else range(len(copied))))
    match draw(st.sampled_from(["change", "change", "drop", "double"])):
        case "drop":
            del copied[place]
        case "double" if kind_of(copied) is list:
            copied += [copied[place]]
        case _:
            copied[place] = draw(changed(copied[place]))
    return copied


def encoded(answer: Any) -> bytes:
    return json.dumps(answer).encode()


BODIES = st.one_of(
    *[mutated().map(encoded)] * 5,
    mutated().map(lambda answer: encoded(answer).replace(b'"', b'"\\ud800', 1)),
    st.binary(max_size=60),
    st.sampled_from([b"", b"[" * 50_000, b'{"sandbox": 1e999}', b"\xff\xfe{}", b"<html>", gzip.compress(b"none" * 99)]),
)
EXTRA = st.one_of(
    HEADERS.filter(lambda header: "Retry-After" not in header and "RateLimit" not in header),
    st.sampled_from(["X: " + "y" * 70_000, *(f"X-{n}: " + "y" * 50 for n in range(3))]),
)


@st.composite
def replies(draw: st.DrawFn) -> Reply:
    """Any answer: in one piece, in chunks, packed, of another length than it says, and cut anywhere."""
    body = draw(BODIES)
    headers = draw(st.just([]) | st.lists(EXTRA, max_size=2))
    match draw(st.sampled_from(["right", "right", "right", "long", "short", "chunks", "bad chunks", "gzip", "bomb"])):
        case "long":
            headers.append(f"Content-Length: {len(body) + 7}")
        case "short":
            headers.append(f"Content-Length: {len(body) // 2}")
        case "chunks":
            headers.append("Transfer-Encoding: chunked")
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        case "bad chunks":
            headers.append("Transfer-Encoding: chunked")
            body = draw(st.sampled_from([b"-5\r\n", b"zz\r\n", b"ffffffff\r\n", b"\r\n\r\n", b"1\r\n{}\r\n"])) + body
        case "gzip":
            body = gzip.compress(body, 1)
            headers += ["Content-Encoding: gzip", f"Content-Length: {len(body)}"]
        case "bomb":
            headers += [f"X-{n}: bomb" for n in range(150)]
        case _:
            headers.append(f"Content-Length: {len(body)}")
    head = "\r\n".join([f"HTTP/1.1 {draw(st.sampled_from(STATUSES))} Said", *headers, "", ""])
    raw = head.encode("latin-1") + body
    if draw(st.integers(0, 4)) == 0:
        raw = raw[: draw(st.integers(0, len(raw)))]
    return Reply(raw, then=draw(st.sampled_from(["close"] * 7 + ["reset"])))


SECRETS = (TOKEN, TAILSCALE, KEY.splitlines()[1])


def results(module: Any, name: str, arguments: tuple[Any, ...], config: Config) -> Iterator[object]:
    """What a function gives: its Result, or those of its iterator, of which a hostile one may have no end."""
    given = getattr(module, name)(*arguments, config=config, **NAMED.get(name, {}))
    if name.startswith("iter_"):
        yield from itertools.islice(given, TAKEN)
    else:
        yield given


class Hostile:
    """One server for all, with the answers that it sends next, and a count of each outcome."""

    def __init__(self) -> None:
        self.answers: list[Reply] = [Reply()]
        self.outcomes = Counter[str]()

    def answer(self, _: object) -> Reply:
        """The next of the answers. The last one repeats."""
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture(scope="module")
def hostile(figures: Figures) -> Iterator[tuple[Hostile, str]]:
    made = Hostile()
    with Server(made.answer) as server:
        yield made, server.url
    for name, number in made.outcomes.items():
        figures.count("hostile servers: results of functions that met one", name, number)


FUNCTIONS = [
    *(pytest.param(pocketenv, name, given, id=f"pocketenv.{name}") for name, given in ACCOUNT.items()),
    *(
        pytest.param(sandbox, name, (target_of(name), *given), id=f"sandbox.{name}")
        for name, given in OPERATIONS.items()
    ),
]


@pytest.mark.parametrize(("module", "name", "arguments"), FUNCTIONS)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(answers=st.lists(replies(), min_size=1, max_size=4))
def test_functions_hostile_server(  # noqa: PLR0917  # pytest names them
    hostile: tuple[Hostile, str],
    tmp_path: Path,
    module: Any,
    name: str,
    arguments: tuple[Any, ...],
    answers: list[Reply],
) -> None:
    """Every function returns a Result for any response of the server."""
    server, url = hostile
    server.answers = list(answers)
    if name == "download":
        arguments = (*arguments[:-1], tmp_path / "here")
    config = client(url, read_timeout=0.3)
    for result in results(module, name, arguments, config):
        assert isinstance(result, Result)
        error: object = result.swap().value_or(None)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        assert error is None or isinstance(error, PocketenvError)
        server.outcomes["Success" if error is None else type(error).__name__] += 1
        shown = f"{result!r} {result}"
        assert not any(secret in shown for secret in SECRETS)
