"""The recorded requests, sent again to the embedded platform, and their answers compared with the recorded ones.

Ids, names, tokens and times differ on every server. In the recording they are placeholders. Each is bound to the value
that is seen in its place first, and has to be that value from then on.
"""

from __future__ import annotations

import gzip
import http.client
import json
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from itertools import groupby
from typing import Any, NamedTuple, cast
from urllib.parse import quote, urlsplit

from pocketenv_fp import local
from pocketenv_fp.local import Platform
from pocketenv_fp.local.faults import LostSession
from pocketenv_fp.local.limits import PLATFORM_LIMIT
from pocketenv_fp.local.vault import open_vault
from tests.local.wire import eventually
from tests.places import RECORDED

JSON = "application/json"
ALICE = "did:plc:aliceaaaaaaaaaaaaaaaaaaa"
BOB = "did:plc:bobbbbbbbbbbbbbbbbbbbbbb"
NOBODY = "did:plc:nobodynobodynobodynobod"
NAMESPACE = "/xrpc/io.pocketenv."
DETAILS = "io.pocketenv.sandbox.defs#sandboxDetailsPref"

# Headers whose value has to be the recorded one, absent ones included.
SAME = (
    "content-type",
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "vary",
    "keep-alive",
    "location",
    "retry-after",
)
RATE_LIMIT = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
# Lists that the platform does not sort.
UNORDERED = frozenset(["secrets", "variables", "files", "volumes", "ports", "backups"])
TIMES = frozenset(["createdAt", "updatedAt", "startedAt", "expiresAt", "timestamp"])

MOVING = frozenset(["x-ratelimit-reset"])
# The last four rows have no request. These are theirs: verb, path and user.
LIMITED = {
    "rate limit: the first refused one": ("GET", f"{NAMESPACE}sandbox.getSandboxes", ""),
    "OPTIONS while limited": ("OPTIONS", f"{NAMESPACE}sandbox.exec", ""),
    "plain path while limited": ("GET", "/nope", ""),
    "storage while limited (another server)": ("GET", "/cp/nope", "ALICE"),
}
_ID = re.compile(r"(?:sandbox|secret|var|file|volume|rec)_0{10}\d{10}|00000000-0000-4000-8000-\d{12}")
_REAL = re.compile(r"(sandbox|secret|var|file|volume|rec)_[0-9a-z]{20}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_KEY = "3n3brbibw622l"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_NAME = re.compile(r"[a-z][a-z-]*-[0-9a-z]{4}")
_TOKEN = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+")
_URI = re.compile(r"at://did:plc:[0-9a-z]{24}/io\.pocketenv\.sandbox/[0-9a-z-]+")

Row = dict[str, Any]


class Answer(NamedTuple):
    """An answer: header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def recorded() -> list[Row]:
    """All requests of the recording, in order."""
    return [json.loads(line) for line in (RECORDED / "wire.jsonl").read_text(encoding="utf-8").splitlines()]


def parts(rows: list[Row]) -> list[list[Row]]:
    """Return the requests of each part, which had a server of its own."""
    return [list(group) for _, group in groupby(rows, key=lambda row: cast("str", row["part"]))]


class Replay:
    """One part of the recording against one platform."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.tags: dict[str, str] = {}
        self.bound: dict[str, str] = {}
        self.installs: dict[str, int] = {}
        self.sent_names = set[str]()
        self._crowded: Replay | None = None
        self._vault = open_vault(platform.data / "key")
        self.tokens = {"ALICE": platform.new_user("alice.test"), "BOB": platform.new_user("bob.test")}
        claims = {name: self._vault.claims(token) for name, token in self.tokens.items()}
        self.dids = {ALICE: str((claims["ALICE"] or {})["did"]), BOB: str((claims["BOB"] or {})["did"])}
        self.tokens["NOBODY"] = self._vault.sign({"did": NOBODY, "iat": 0})

    def run(self, rows: list[Row]) -> Iterator[tuple[Row, str | None]]:
        """Yield each request with the difference of its answer or None."""
        with ExitStack() as stack:
            for row in rows:
                self._before(row, stack)
                different, answer = self._differs(row, stack)
                yield row, different
                self._after(row, answer)

    # Actions on the recorded server besides the recorded requests.

    def _before(self, row: Row, stack: ExitStack) -> None:
        number = row["n"]
        if number == 1:
            self._others()
        elif number == 527:
            self._call("sandbox.exec", {"command": "mkdir -p /workspace/bk"}, id=self.bound[_sandbox(1)])
        elif number == 534:
            # They are made after the answers.
            box = self.bound[_sandbox(1)]
            assert eventually(lambda: len(self._call("sandbox.getBackups", "GET", id=box)["backups"]) == 3, 30)
        elif number == 579:
            stack.enter_context(self.platform.faults.on("*", LostSession()))

    def _after(self, row: Row, answer: Answer) -> None:
        number = row["n"]
        if number == 324:
            # The recorded server had no Daytona. Here there is one, and the recording goes on without it.
            self._call("sandbox.deleteSandbox", None, id=json.loads(answer.body)["id"])
            self.installs = {image: more - 1 if more > 100 else more for image, more in self.installs.items()}
        if number == 1:
            for other in (30, 26):
                self.bound[_sandbox(other)] = self._call("sandbox.createSandbox", {"base": "openclaw"})["id"]
        elif number == 328:
            for other in (27, 28, 29):
                self._call("sandbox.deleteSandbox", None, id=self.bound[_sandbox(other)])
        elif number == 341:
            self._call("sandbox.deleteSandbox", None, id=self.bound[_sandbox(32)])
        elif number == 588:
            self.platform.faults.clear()

    def _others(self) -> None:
        # Make the earlier sandboxes of the first user, oldest first.
        listed: list[Row] = next(row for row in recorded() if row["n"] == 341)["answer"]["sandboxes"]
        for told in reversed([each for each in listed if each["id"] not in map(_sandbox, (1, 26, 30))]):
            with ExitStack() as stack:
                if told["uri"] is None:
                    stack.enter_context(self.platform.faults.on("sandbox.createSandbox", LostSession()))
                self._call("sandbox.createSandbox", {"base": told["baseSandbox"]})
            params: dict[str, object] = {"did": self.dids[ALICE], "limit": 1}
            box = self._call("actor.getActorSandboxes", "GET", **params)["sandboxes"][0]["id"]
            self.bound[told["id"]] = box
            self._describe(box, told)
        box = self.bound[_sandbox(44)]
        sealed = {"sandboxId": box, "name": "K", "value": "c2VhbGVk"}
        self._call("secret.addSecret", {"secret": sealed})
        self._call("variable.addVariable", {"variable": {"sandboxId": box, "name": "A", "value": "1"}})

    def _describe(self, box: str, told: Row) -> None:
        details = {} if told["description"] is None else {"description": told["description"]}
        if _NAME.fullmatch(told["name"]) is None:
            details["name"] = told["name"]
            self.sent_names.add(told["name"])
        if details:
            preference = {"$type": DETAILS, **details}
            self._call("sandbox.putPreferences", {"sandboxId": box, "preferences": [preference]})

    def _call(self, name: str, body: Any, **params: object) -> Any:
        verb = "GET" if body == "GET" else "POST"
        content = None if body in (None, "GET") else json.dumps(body).encode()
        query = "&".join(f"{key}={quote(str(value), safe='')}" for key, value in params.items())
        headers = {"Authorization": f"Bearer {self.tokens['ALICE']}"}
        if content is not None:
            headers["Content-Type"] = JSON
        answer = self.send(verb, f"{NAMESPACE}{name}?{query}", headers, content)
        return json.loads(answer.body or b"{}")

    # One request.

    def send(self, verb: str, target: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        """Send exactly this, on a connection of its own."""
        place = urlsplit(self.platform.url)
        names = {name.lower() for name in headers}
        lines = [f"{verb} {target} HTTP/1.1", f"Host: {place.netloc}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body is not None and not names & {"content-length", "transfer-encoding"}:
            lines.append(f"Content-Length: {len(body)}")
        head = "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")
        with socket.create_connection((place.hostname or "", place.port or 0), timeout=60) as line:
            with suppress(OSError):
                line.sendall(head + (body or b""))
            response = http.client.HTTPResponse(line, method=verb)
            response.begin()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def _differs(self, row: Row, stack: ExitStack) -> tuple[str | None, Answer]:
        if "method" not in row:
            return self._limited(row, stack), Answer(0, {}, b"")
        target = self._put(row["target"])
        body = self._body(row)
        headers = {name: self._header(row, value) for name, value in row["headers"].items()}
        if "If-None-Match" in headers:
            headers["If-None-Match"] = self.tags.get(target, "")
        answer = self.send(row["method"], target, headers, body)
        if "etag" in answer.headers:
            self.tags[target] = answer.headers["etag"]
        if answer.status != row["status"]:
            return f"status {answer.status}: {answer.body[:200].decode(errors='replace')}", answer
        return _headers(row, answer.headers) or self._answer(row, answer), answer

    def _limited(self, row: Row, stack: ExitStack) -> str | None:
        # A server with the platform's own limit, and an address that used it up.
        if self._crowded is None:
            crowded = stack.enter_context(local.platform(rate_limit=PLATFORM_LIMIT))
            self._crowded = Replay(crowded)
            for _ in range(PLATFORM_LIMIT):
                self._crowded.send("GET", "/nope", {}, None)
        verb, target, token = LIMITED[row["case"]]
        headers = {"Authorization": f"Bearer {self._crowded.tokens[token]}"} if token else {}
        answer = self._crowded.send(verb, target, headers, None)
        if answer.status != row["status"]:
            return f"status {answer.status}"
        told: dict[str, str] = row.get("answer_headers", {})
        same = [name for name in told if name not in MOVING and answer.headers.get(name) != told[name]]
        if same or not set(told) <= set(answer.headers):
            return f"headers {answer.headers}"
        return None if row.get("answer_text") in {None, answer.body.decode()} else f"body {answer.body!r}"

    def _header(self, row: Row, value: str) -> str:
        value = re.sub(r"TOKEN_OF_(\w+)", lambda found: self.tokens[found[1]], value)
        return value if "JWT" not in value else value.replace("JWT", self._made_token(row["case"]))

    def _made_token(self, case: str) -> str:
        did = self.dids[ALICE]
        if case.startswith("auth wrong signature"):
            return self._vault.sign({"did": did})[:-4] + "AAAA"
        if case.startswith("auth expired"):
            return self._vault.sign({"did": did, "iat": 0, "exp": 1})
        if case.startswith("auth no exp"):
            return self._vault.sign({"did": did})
        if case.startswith("auth no did"):
            return self._vault.sign({"iat": 0})
        if case.startswith("auth not yet valid"):
            return self._vault.sign({"did": did, "nbf": 2**40})
        raise AssertionError(case)

    def _body(self, row: Row) -> bytes | None:
        if "body_hex" in row:
            raw = bytes.fromhex(row["body_hex"])
            # A body that was cut in the recording: a small one that is too large when it is unpacked.
            return raw if len(raw) == row["body_bytes"] else gzip.compress(b'{"command":"' + b" " * 200_000 + b'"}')
        body: str | None = row.get("body")
        if body is None:
            return None
        size = re.search(r"\.\.\.\((\d+) chars\)$", body)
        if size is not None:
            start, end = ('{"command":"', 'true"}') if "command" in body else ('{"a":"', '"}')
            fill = " " if "command" in body else "x"
            return f"{start}{fill * (int(size[1]) - len(start) - len(end))}{end}".encode()
        found = re.search(r'"name": "([^"]+)"', body)
        if found is not None:
            self.sent_names.add(found[1])
        return self._put(body).encode()

    def _put(self, text: str) -> str:
        text = _ID.sub(lambda found: self.bound.get(found[0], found[0]), text)
        if _KEY in text:
            text = re.sub(r"at%3A[^&]*", quote(self.bound["uri"], safe=""), text)
        for placeholder, did in self.dids.items():
            text = text.replace(placeholder, did)
        for placeholder, name in self.bound.items():
            if _NAME.fullmatch(placeholder):
                text = text.replace(placeholder, name)
        return text.replace("token=JWT", f"token={self.tokens['ALICE']}")

    # One answer.

    def _answer(self, row: Row, answer: Answer) -> str | None:
        told: str | None = row.get("answer_text")
        if told is not None:
            text = answer.body.decode()
            if told == "(a banner in plain text)" or not told.startswith("<!DOCTYPE"):
                return None if text == told else f"text {text[:100]!r}"
            inner = told.removeprefix("<!DOCTYPE html>...").removesuffix("...")
            good = text.startswith("<!DOCTYPE html>") and inner in text and len(answer.body) == row["answer_bytes"]
            return None if good else f"page {text[:300]!r}"
        if row["answer"] is None:
            return None if not answer.body else f"body {answer.body[:200]!r}"
        try:
            return self._unlike(row["answer"], json.loads(answer.body), "")
        except ValueError:
            return f"no JSON: {answer.body[:200]!r}"

    def _unlike(self, told: Any, came: Any, key: str) -> str | None:
        if isinstance(told, dict) and isinstance(came, dict):
            wanted, given = cast("dict[str, Any]", told), cast("dict[str, Any]", came)
            if set(wanted) != set(given):
                return f"{key}: keys {sorted(set(wanted) ^ set(given))}"
            for name in wanted:
                if name == "installs":
                    different = self._installed(wanted["id"], wanted[name], given[name])
                elif name == "name" and str(wanted.get("id", "")).startswith("sandbox_"):
                    different = self._named(wanted[name], given[name])
                else:
                    different = self._unlike(wanted[name], given[name], f"{key}.{name}")
                if different:
                    return different
            return None
        if isinstance(told, list) and isinstance(came, list):
            wanted_items = list[Any](cast("list[Any]", told))  # type: ignore[redundant-cast]  # pyright needs it
            given_items = list[Any](cast("list[Any]", came))  # type: ignore[redundant-cast]
            if len(wanted_items) != len(given_items):
                return f"{key}: {len(given_items)} items, recorded {len(wanted_items)}"
            if key.rpartition(".")[2] in UNORDERED:
                wanted_items, given_items = sorted(wanted_items, key=_look), sorted(given_items, key=_look)
            pairs = zip(wanted_items, given_items, strict=True)
            return next(filter(None, (self._unlike(each, other, f"{key}[]") for each, other in pairs)), None)
        return self._unlike_value(told, came, key)

    def _unlike_value(self, told: Any, came: Any, key: str) -> str | None:
        name = key.rpartition(".")[2]
        wrong = f"{key}: {came!r}, recorded {told!r}"
        if name in TIMES:
            good = isinstance(came, str) and _TIME.fullmatch(came) is not None
        elif name == "duration":
            good = isinstance(came, int) and not isinstance(came, bool)
        elif name in {"avatar", "sessionId"}:
            good = isinstance(came, str) and bool(came)
        elif name == "previewUrl" and isinstance(told, str):
            good = isinstance(came, str) and ":" in came
        elif told == "JWT":
            good = isinstance(came, str) and _TOKEN.fullmatch(came) is not None
        elif isinstance(told, str) and told.endswith("/RKEY"):
            good = isinstance(came, str) and _URI.fullmatch(came) is not None and came.startswith(self._put(told)[:-4])
            self.bound.setdefault("uri", str(came))
        elif isinstance(told, str) and _ID.fullmatch(told):
            good = self._binds(told, came)
        else:
            good = (self._put(told) if isinstance(told, str) else told) == came and type(told) is type(came)
        return None if good else wrong

    def _binds(self, placeholder: str, came: Any) -> bool:
        if not isinstance(came, str) or _REAL.fullmatch(came) is None:
            return False
        if placeholder.partition("_")[0] != came.partition("_")[0] and "_" in placeholder:
            return False
        if placeholder not in self.bound:
            if came in self.bound.values():
                return False
            self.bound[placeholder] = came
        return self.bound[placeholder] == came

    def _named(self, told: str, came: Any) -> str | None:
        if told in self.sent_names or told == came:
            return None if told == came else f"name: {came!r}, recorded {told!r}"
        if not isinstance(came, str) or _NAME.fullmatch(came) is None:
            return f"name: {came!r} is none that the platform makes"
        self.bound[told] = came
        return None

    def _installed(self, image: str, told: int, came: int) -> str | None:
        more = self.installs.setdefault(image, told - came)
        return None if told - came == more else f"installs of {image}: {came}, recorded {told}, {more} of them before"


def _sandbox(number: int) -> str:
    return f"sandbox_{number:020d}"


def _look(item: Any) -> str:
    # Return the form of a list's item, without the values that differ between two servers.
    return json.dumps({name: value for name, value in item.items() if name not in TIMES | {"id", "previewUrl"}})


def _headers(row: Row, came: Mapping[str, str]) -> str | None:
    told: dict[str, str] = row["answer_headers"]
    for name in SAME:
        if told.get(name) != came.get(name):
            return f"header {name}: {came.get(name)!r}, recorded {told.get(name)!r}"
    if ("etag" in told) != ("etag" in came):
        return f"header etag: {came.get('etag')!r}, recorded {told.get('etag')!r}"
    limited = [name for name in RATE_LIMIT if name in came]
    if limited != row.get("ratelimit_headers", []):
        return f"headers of the limiter: {limited}"
    return None
