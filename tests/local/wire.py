"""A client that knows nothing but HTTP, so that these tests see the platform and not the library."""

import base64
import http.client
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode, urlsplit

from nacl.public import PublicKey, SealedBox

from pocketenv_fp.local import Platform, processes

BASE = "at://did:plc:aturpi2ls3yvsmhc6wybomun/io.pocketenv.sandbox/openclaw"


class Answer(NamedTuple):
    """One answer as it arrived: header names in lower case."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.raw)

    @property
    def error(self) -> tuple[int, str, str]:
        """(status, error, message) of an error answer."""
        body = self.json
        assert set(body) == {"error", "message"}, body
        return self.status, body["error"], body["message"]

    @property
    def empty(self) -> bool:
        """Whether this is the answer of a method without output: 200, zero bytes, no Content-Type."""
        return self.status == 200 and self.raw == b"" and "content-type" not in self.headers


class Place:
    """A platform in another process, with the fields that `Wire` needs."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.url = variables["POCKETENV_API_URL"]
        self.token = variables["POCKETENV_TOKEN"]
        self.public_key = variables["POCKETENV_PUBLIC_KEY"]

    def wire(self) -> "Wire":
        """Return a connection of its first user."""
        return Wire(self, self.token)  # type: ignore[arg-type]  # all that it uses


class Wire:
    """One keep-alive connection to a platform."""

    def __init__(self, platform: Platform, token: str | None) -> None:
        self.platform = platform
        self.token = token
        self.connection = self._connect()

    def _connect(self) -> http.client.HTTPConnection:
        place = urlsplit(self.platform.url)
        return http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def raw(self, verb: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Send exactly this."""
        login = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        sent = {**login, **(headers or {})}
        try:
            self.connection.request(verb, path, body, sent)
            response = self.connection.getresponse()
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            # The idle connection was dropped between two steps of a slow test.
            self.connection.close()
            self.connection = self._connect()
            self.connection.request(verb, path, body, sent)
            response = self.connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def get(self, name: str, **params: object) -> Answer:
        """Send a query."""
        return self.raw("GET", _path(name, params))

    def post(self, name: str, body: Any = None, **params: object) -> Answer:
        """Send a procedure; None sends no body."""
        if body is None:
            return self.raw("POST", _path(name, params))
        headers = {"Content-Type": "application/json"}
        return self.raw("POST", _path(name, params), json.dumps(body).encode(), headers)

    def create(self, **body: object) -> str:
        """Create a sandbox. Return its id."""
        answer = self.post("sandbox.createSandbox", {"base": BASE, **body})
        assert answer.status == 200, answer
        return str(answer.json["id"])

    def start(self, sandbox: str) -> None:
        """Start a sandbox. Assert that the platform accepts it."""
        answer = self.post("sandbox.startSandbox", {}, id=sandbox)
        assert (answer.status, answer.raw) == (200, b"{}"), answer

    def start_and_wait(self, sandbox: str) -> None:
        """Start, and wait for the files and keys. The platform writes them after its answer."""
        # Files are written in the order of their records, after the keys: the marker is the last.
        name = f".marker-{time.monotonic_ns()}"
        marker = f"/workspace/{name}"
        file = {"sandboxId": sandbox, "path": marker, "content": self.seal("")}
        assert self.post("file.addFile", {"file": file}).empty
        self.start(sandbox)
        assert eventually(lambda: self.exec(sandbox, f"test -e {name} && rm {name}")[2] == 0, 30)
        rows = self.get("file.getFiles", sandboxId=sandbox, limit=1000).json["files"]
        (record,) = [row["id"] for row in rows if row["path"] == marker]
        assert self.post("file.deleteFile", id=record).empty

    def backups(self, sandbox: str) -> list[dict[str, str]]:
        """Return the backups of a sandbox."""
        rows: list[dict[str, str]] = self.get("sandbox.getBackups", id=sandbox).json["backups"]
        return rows

    def back_up(self, sandbox: str, directory: str = "/workspace", **more: object) -> dict[str, str]:
        """Create a backup, wait until it is listed, and return it."""
        before = [row["id"] for row in self.backups(sandbox)]
        assert self.post("sandbox.createBackup", {"directory": directory, **more}, id=sandbox).empty
        assert eventually(lambda: len(self.backups(sandbox)) > len(before))
        (row,) = [row for row in self.backups(sandbox) if row["id"] not in before]
        return row

    def say(self, sandbox: str, command: str) -> Answer:
        """Return the answer of exec to exactly this."""
        return self.post("sandbox.exec", {"command": command}, id=sandbox)

    def exec(self, sandbox: str, command: str) -> tuple[str, str, int]:
        """Run a shell line in a child of the sandbox's shell, as the client does. Return (stdout, stderr, exit code)."""
        answer = self.say(sandbox, in_child(command))
        assert answer.status == 200, answer
        # Some providers' answers have no stderr: what was written there is in stdout.
        stdout, stderr = (answer.json.get(name, "").replace(END, "") for name in ("stdout", "stderr"))
        return stdout, stderr, answer.json["exitCode"]

    def out(self, sandbox: str, command: str) -> str:
        """Run a shell line. Return its standard output. Assert that it succeeds."""
        stdout, stderr, code = self.exec(sandbox, command)
        assert code == 0, stderr
        return stdout

    def status(self, sandbox: str) -> str:
        """Return the status of a sandbox."""
        return str(self.get("sandbox.getSandbox", id=sandbox).json["sandbox"]["status"])

    def seal(self, text: str) -> str:
        """Return a sealed box for this platform: base64url without padding."""
        return self.seal_bytes(text.encode())

    def seal_bytes(self, content: bytes) -> str:
        """Return a sealed box for bytes that need not be UTF-8."""
        box = SealedBox(PublicKey(bytes.fromhex(self.platform.public_key))).encrypt(content)
        return base64.urlsafe_b64encode(box).decode().rstrip("=")


END = "\x1e"
_ESCAPES = {ord("\\"): "\\\\", ord("'"): "\\'", ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}


def in_child(command: str) -> str:
    """Return the line that runs another one in a shell of its own in /workspace, with a mark after each output."""
    quoted = command.translate(_ESCAPES)
    return (
        f"set +e; (cd /workspace && bash -c $'{quoted}' </dev/null; e=$?; printf '\\036'; printf '\\036' >&2; exit $e)"
    )


def _path(name: str, params: Mapping[str, object]) -> str:
    query = f"?{urlencode(params)}" if params else ""
    return f"/xrpc/io.pocketenv.{name}{query}"


def commands_alive(folder: Path) -> set[int]:
    """Return the processes of the sandboxes in a folder, without their agents and bubblewrap."""
    return {pid for pid in processes.find_marked(folder) if b"agent.program" not in _command_line(pid)}


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b"agent.program, gone by now"


def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether it becomes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
