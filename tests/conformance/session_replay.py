"""Recorded sessions of the real platform, played again on the embedded one.

A session is a fresh sandbox and steps in order. Each step's status and answer is compared without the parts that are
named here: ids and times, and the parts that the recording marks as its own machine's.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import re
import tarfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, cast

from pocketenv_fp.local import Platform
from tests.local.wire import Answer, Wire
from tests.places import RECORDED

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

# The patience of a client of these tests where the recorded one gave up. The recorded patience is another.
HANG_SECONDS = 1.0
# Its patience where an answer came.
ANSWER_SECONDS = 120.0
LARGE = 3000

Step = Mapping[str, Any]
Seen = dict[str, Any]


class Difference(NamedTuple):
    """A step with another result: the step, the recorded result, the actual one."""

    step: int
    command: str
    recorded: Any
    seen: Any


def read(name: str) -> list[dict[str, Any]]:
    """Return the lines of a recorded file."""
    return [json.loads(line) for line in (RECORDED / name).read_text(encoding="utf-8").splitlines()]


# Parts that are removed on both sides: the pattern in an output, its replacement, and the reason.
TAKEN_OFF: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (UUID, "UUID", "an id"),
    (re.compile(r"(line \d+: )\s*\d+ (Killed|Aborted|Terminated)"), r"\1PID \2", "a process id, padded to five digits"),
    (re.compile(r"process group \(-?\d+\)"), "process group (PID)", "a process id"),
    (re.compile(r"\b(NODE|TMPDIR|npm_\w+) "), "", "variables of the machine that recorded"),
    (re.compile(r"^PATH=.*$", re.MULTILINE), "PATH=PATH", "the PATH of the machine that recorded"),
    (re.compile(r"root@[\w.-]+:"), "root@HOST:", "the name of the machine that recorded"),
    (re.compile(r"^UUID\nreal$"), "UUID", "a directory in /tmp of the machine that recorded"),
    (re.compile(r"(real|user|sys) \d+\.\d+"), r"\1 TIME", "a time"),
    (re.compile(r"OpenSSH_.*"), "OpenSSH", "the tools are those of the machine that recorded"),
    (re.compile(r"^\d+\.\d+\.\d+\(\d+\)-release$"), "VERSION", "the tools are those of the machine that recorded"),
    (re.compile(r"^(\w+) is (/\S+)$", re.MULTILINE), r"\1 is PATH", "the tools are those of the machine that recorded"),
)
# Commands of which only the status is compared, and why.
NOT_COMPARED: dict[str, str] = {
    "ulimit -u": "a limit of the machine that recorded",
    "less /etc/hostname": "the name of the machine that recorded",
    "sudo -n true; echo $?": "sudo is a stand-in of the machine that recorded",
    "type python3 git base64 timeout tar curl sed awk sudo od xxd perl node 2>&1": "its tools",
}


def normal_text(text: Any) -> Any:
    """Return an output without the parts above. A large one that was recorded by its sum stays as it is."""
    if not isinstance(text, str):
        return text
    for pattern, word, _why in TAKEN_OFF:
        text = pattern.sub(word, text)
    return text


def _summed(text: str) -> Any:
    # The form in which large outputs were recorded.
    if len(text) <= LARGE:
        return text
    return {
        "chars": len(text),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "head": text[:60],
        "tail": text[-60:],
    }


def normal_answer(answer: Any, command: str | None) -> Any:
    """Return an answer with placeholders for values that differ from run to run."""
    if not isinstance(answer, dict):
        return answer
    plain: dict[str, Any] = dict(cast("dict[str, Any]", answer))
    if "sessionId" in plain:
        kinds = {"duration": int, "timestamp": str, "sessionId": str}
        for name, kind in kinds.items():
            assert isinstance(plain[name], kind) or plain[name] in {"MS", "TIMESTAMP"}, plain
        assert plain["sessionId"].startswith("sandbox-")
        plain.update(duration="MS", timestamp="TIMESTAMP", sessionId="sandbox-ID")
        plain["command"] = "=command" if plain["command"] in {command, "=command"} else plain["command"]
        for name in ("stdout", "stderr"):
            plain[name] = normal_text(_summed(plain[name]) if isinstance(plain[name], str) else plain[name])
        if command in NOT_COMPARED:
            return set(plain)
    if "uuid" in plain:
        plain["uuid"] = "UUID"
    return plain


def archive(entries: Iterable[tuple[str, int, bytes | None]]) -> bytes:
    """Return a tar.gz of files (name, mode, content) and directories (content None)."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, mode, content in entries:
            member = tarfile.TarInfo(name)
            member.mode = mode
            if content is None:
                member.type = tarfile.DIRTYPE
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def listing(raw: bytes) -> list[list[Any]]:
    """Return `[name, type, mode, size, link, uid:gid]` of each entry of a tar.gz, sorted, as they were recorded."""
    kinds = {tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "symlink", tarfile.LNKTYPE: "hardlink", tarfile.FIFOTYPE: "fifo"}
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:gz") as tar:
        return ordered(
            [
                member.name,
                kinds.get(member.type, "file"),
                f"{member.mode:o}",
                member.size,
                member.linkname or None,
                f"{member.uid}:{member.gid}",
            ]
            for member in tar.getmembers()
        )


def ordered(entries: Iterable[list[Any]]) -> list[list[Any]]:
    """Sort entries: their order is the directory's, and so is the choice of the first of two hard links."""
    rows = [list(entry) for entry in entries]
    by_name = {row[0]: row for row in rows}
    for row in [row for row in rows if row[1] == "hardlink" and row[4] in by_name]:
        target = by_name[row[4]]
        # Both are one file: the first name of the two has the content.
        if row[0] < target[0]:
            row[0], target[0] = target[0], row[0]
            row[4] = target[0] if row[1] == "file" else row[4]
        first, second = sorted((row[0], target[0]))
        content = target if target[1] == "file" else row
        size, mode = content[3], content[2]
        row[:] = [second, "hardlink", mode, 0, first, row[5]]
        target[:] = [first, "file", mode, size, None, target[5]]
    return sorted(rows, key=lambda row: row[0])


UPLOADED = archive(
    [
        ("a.txt", 0o644, b"a\n"),
        (".hid", 0o600, b"h\n"),
        ("sub", 0o755, None),
        ("sub/x.sh", 0o755, b"#!/bin/sh\n"),
    ]
)


def multipart(content: bytes) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of an upload."""
    head = b'--BB\r\nContent-Disposition: form-data; name="file"; filename="archive.tar.gz"\r\n\r\n'
    return head + content + b"\r\n--BB--\r\n", {"Content-Type": "multipart/form-data; boundary=BB"}


class Client:
    """One user of a platform whose requests can be given up."""

    def __init__(self, platform: Platform, token: str) -> None:
        self.platform = platform
        self.token = token

    def ask(
        self, verb: str, path: str, body: bytes | None, headers: Mapping[str, str], seconds: float
    ) -> Answer | None:
        """Return an answer, or None where none came in time. The connection is closed then."""
        with Wire(self.platform, self.token) as wire:
            wire.connection.timeout = seconds
            try:
                wire.connection.request(verb, path, body, {"Authorization": f"Bearer {self.token}", **headers})
                response = wire.connection.getresponse()
                return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
            except TimeoutError:
                return None
            except http.client.RemoteDisconnected:
                return None

    def ask_exactly(self, verb: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """Return the answer to a request with these headers and no other login."""
        with Wire(self.platform, None) as wire:
            wire.connection.request(verb, path, body, dict(headers))
            response = wire.connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def call(self, name: str, body: Any = None, seconds: float = ANSWER_SECONDS, **params: str) -> Answer | None:
        """Call a procedure; a body that is bytes is sent as it is."""
        query = "&".join(f"{key}={value}" for key, value in params.items())
        if body is None:
            return self.ask("POST", f"/xrpc/io.pocketenv.{name}?{query}", None, {}, seconds)
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask(
            "POST", f"/xrpc/io.pocketenv.{name}?{query}", sent, {"Content-Type": "application/json"}, seconds
        )

    def upload(self, content: bytes) -> str:
        """Put an archive into the storage and return its uuid."""
        answer = self.ask("POST", "/cp", *multipart(content), ANSWER_SECONDS)
        assert answer is not None
        return str(answer.json["uuid"])

    def create(self) -> str:
        """Return the id of a new sandbox."""
        with Wire(self.platform, self.token) as wire:
            return wire.create()


class Session:
    """One sandbox, and the steps of a recorded session on it."""

    def __init__(self, platform: Platform, token: str) -> None:
        self.client = Client(platform, token)
        self.sandbox = self.client.create()
        self._running: threading.Thread | None = None
        self._came: Seen = {}

    def replay(self, steps: Iterable[Step]) -> list[Difference]:
        """Play all steps and return those with another result."""
        found: list[Difference] = []
        for number, step in enumerate(steps):
            recorded, seen = self.wanted(step), self.play(step)
            if recorded != seen:
                found.append(Difference(number, str(step.get("command", step["op"])), recorded, seen))
        return found

    def wanted(self, step: Step) -> Any:
        """Return the recorded result, made comparable."""
        if step.get("hang"):
            return "HANG"
        if step["op"] == "parallel":
            return [self.wanted(each) for each in step["started_0.1s_apart"]]
        if step["op"] == "await":
            return self.wanted(step["answer_of_async"])
        if step["op"] in {"async", "state"}:
            return None
        wanted: Seen = {"status": step["status"], "answer": normal_answer(step.get("answer"), _command(step))}
        if "sandbox_status" in step:
            wanted["answer"] = step["sandbox_status"]
        if "archive" in step:
            kept = step["archive"]
            found = kept["status"] == 200
            wanted["archive"] = [kept["status"], ordered(kept["entries"]) if found else kept["entries"]]
        return wanted

    def play(self, step: Step) -> Any:
        """Play a step and return its result, made comparable."""
        plays: dict[str, Callable[[Step], Any]] = {
            "exec": self._exec,
            "state": lambda step: self._exec(step) and None,
            "upload": self._upload,
            "download": self._download,
            "start": lambda _: self._seen(self.client.call("sandbox.startSandbox", {}, id=self.sandbox)),
            "stop": lambda _: self._seen(self.client.call("sandbox.stopSandbox", id=self.sandbox)),
            "delete": lambda _: self._seen(self.client.call("sandbox.deleteSandbox", id=self.sandbox)),
            "get": lambda _: self._get(),
            "addvar": self._add_variable,
            "parallel": lambda step: self._parallel(step["started_0.1s_apart"]),
            "async": self._start_async,
            "await": lambda _: self._await(),
        }
        return plays[step["op"]](step)

    def _upload(self, step: Step) -> Any:
        body = {"sandboxId": self.sandbox, "uuid": self.client.upload(UPLOADED), "directoryPath": step["path"]}
        return self._seen(self.client.call("sandbox.pullDirectory", body))

    def _add_variable(self, step: Step) -> Any:
        variable = {"sandboxId": self.sandbox, "name": step["name"], "value": step["value"]}
        return self._seen(self.client.call("variable.addVariable", {"variable": variable}))

    def _start_async(self, step: Step) -> None:
        self._running = self._begin({"op": "exec", "command": step["command"]}, self._came)
        time.sleep(0.4)

    def _await(self) -> Any:
        assert self._running is not None
        self._running.join()
        return self._came["seen"]

    def _exec(self, step: Step) -> Any:
        # A raw body was recorded byte for byte.
        body: Any = {"command": step["command"]} if "command" in step else step["raw_json"].encode("latin-1")
        seconds = min(step["client_timeout"], HANG_SECONDS) if step.get("hang") else ANSWER_SECONDS
        answer = self.client.call("sandbox.exec", body, seconds, id=self.sandbox)
        return "HANG" if answer is None else self._seen(answer, _command(step))

    def _download(self, step: Step) -> Any:
        body = {"sandboxId": self.sandbox, "directoryPath": step["path"]}
        answer = self.client.call("sandbox.pushDirectory", body)
        seen = self._seen(answer)
        if answer is not None and answer.status == 200:
            kept = self.client.ask("GET", f"/cp/{answer.json['uuid']}", None, {}, ANSWER_SECONDS)
            assert kept is not None
            seen["archive"] = [kept.status, listing(kept.raw) if kept.status == 200 else kept.json]
        return seen

    def _get(self) -> Any:
        answer = self.client.ask(
            "GET", f"/xrpc/io.pocketenv.sandbox.getSandbox?id={self.sandbox}", None, {}, ANSWER_SECONDS
        )
        assert answer is not None
        return {"status": answer.status, "answer": answer.json["sandbox"]["status"]}

    def _parallel(self, steps: Iterable[Step]) -> list[Any]:
        threads, slots = list[threading.Thread](), list[Seen]()
        for step in steps:
            slots.append({})
            threads.append(self._begin(step, slots[-1]))
            time.sleep(0.1)
        for thread in threads:
            thread.join()
        return [slot["seen"] for slot in slots]

    def _begin(self, step: Step, into: Seen) -> threading.Thread:
        def run() -> None:
            into["seen"] = self._exec(step)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def _seen(self, answer: Answer | None, command: str | None = None) -> Seen:
        if answer is None:
            return {"status": "no answer"}
        return {"status": answer.status, "answer": normal_answer(answer.json if answer.raw else None, command)}


def _command(step: Step) -> str | None:
    if "command" in step:
        return str(step["command"])
    return None


def robustness(row: Mapping[str, Any]) -> list[Step]:
    """Return a line of wire-form-robustness.jsonl as the steps of a session: a state, and two lines in a wire form."""
    # The answer to the state's line was not recorded.
    state = {"op": "state", "command": row["state"]} if row["state"] else None
    lines = ('pwd; echo "[$A]"; exit 3', "echo ok")
    steps: list[Step] = []
    for line, came in zip(lines, (row["first"], row["second"]), strict=True):
        form = f"(cd /workspace && exec bash -c $'{line}' </dev/null)"
        command = form if row["form"] == "R" else f"set +eux; {form}"
        steps.append({"op": "exec", "command": command, "status": came[0], "answer": _expected(came)})
    return steps if state is None else [state, *steps]


def _expected(came: list[Any]) -> dict[str, Any]:
    if came[0] == 500:
        return {"error": "InternalServerError", "message": "Internal Server Error"}
    _, code, stdout, stderr = came
    return {
        "success": code == 0,
        "exitCode": code,
        "stdout": stdout,
        "stderr": stderr,
        "command": "=command",
        "duration": "MS",
        "timestamp": "TIMESTAMP",
        "sessionId": "sandbox-ID",
    }
