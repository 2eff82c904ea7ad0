"""Recorded copies of the real platform, played again on the embedded one.

Each line of the recording is one call. Lines of one series were recorded in one sandbox. Its files are made here as the
calls show them. The calls of a series are played in order.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pocketenv_fp.local import Platform
from tests.conformance.session_replay import (
    ANSWER_SECONDS,
    HANG_SECONDS,
    UUID,
    Client,
    Seen,
    archive,
    listing,
    multipart,
    normal_answer,
    ordered,
)
from tests.local.wire import Answer

Row = Mapping[str, Any]

DEAD = "(shell dead or blocked)"
# The size of a directory is its file system's.
DIRECTORY_BYTES = "4096"
# The commands that made the files of the recorded sandboxes, by series, after `cd /workspace`.
FIXTURES: dict[str, str] = {
    "push 0.7.8": (
        "mkdir -p noperm one e d/sub/deep d/emptydir; echo 1 > one/1; chmod 500 noperm; echo f > f.txt; : > empty.txt;"
        " ln -s d dl; echo a > d/hard; ln d/hard d/a.txt; echo h > d/.hid; chmod 600 d/.hid; echo x > d/sub/x.sh;"
        " chmod 755 d/sub/x.sh; ln -s a.txt d/ln; ln -s nope d/dangling; ln -s /etc/hostname d/abs; mkfifo d/fifo"
    ),
    "relative push 0.7.18": "mkdir -p d /tmp/d /root/h; echo a > d/a; echo t > /tmp/d/t; echo 1 > /root/h/1; echo r > /root/r.txt",
    "quoted push 0.7.18": "mkdir 'a b'; echo xy > 'a b/f'",
}
_BEFORE_CASE: dict[str, str] = {
    "3 MB": "mkdir big; head -c 3000000 /dev/urandom > big/r",
    "missing with set -e in the shell": "set -e",
    "shell dead after exit 3": "exit 3",
}
_AFTER_CASE = {"3 MB": "rm -rf /workspace/big"}
_INPUTS = "input "


def series(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Return the calls by series, in order. A call that stands alone is a series of its own."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if "container" in row:
            found.setdefault(_series(row), []).append(row)
    return found


def _series(row: Row) -> str:
    case, container = row["case"].removeprefix("after push of ").removeprefix("after pull of "), row["container"]
    pulls = row["call"] == "pullDirectory" or row["case"].startswith("after pull")
    if case.startswith(("name ", "missing with set -e", "shell dead", "stopped", "after missing")):
        alone = case.removeprefix("after ").removesuffix(" in the shell")
        return f"{'pull' if pulls else 'push'} {alone} {container}"
    if case.startswith(_INPUTS):
        return f"inputs {container}"
    if container == "0.7.8":
        pulled = pulls or row["call"] == "exec"
        return "pull 0.7.8" if pulled else "push 0.7.8"
    if pulls:
        return f"quoted pull {container}" if case.startswith("client puts") else f"pull {container}"
    return f"quoted push {container}" if _quoted(case) else f"relative push {container}"


def _quoted(case: str) -> bool:
    return case.startswith("client ") or "injection" in case


class Copies:
    """One sandbox and the calls of a series on it."""

    def __init__(self, platform: Platform, token: str, name: str) -> None:
        self.client = Client(platform, token)
        self.sandbox = self.client.create()
        self.folder = platform.data / "sandboxes" / self.sandbox
        self._exec("cd /workspace; " + FIXTURES.get(name, ":"))
        self._dead = False
        self._uuid = ""

    def replay(self, rows: Iterable[Row]) -> Iterator[tuple[Row, Any, Any]]:
        """Play all calls. Yield each with the recorded and the actual result, made comparable."""
        for row in rows:
            yield row, wanted(row), self.play(row)

    def play(self, row: Row) -> Seen:
        """Play one call and return its result."""
        if row["call"] == "exec":
            return self._command(row)
        self._prepare(row)
        before = self._marks()
        if "setup" in row:
            self._exec(row["setup"])
        answer = self._pull(row) if row["call"] == "pullDirectory" else self._push(row)
        if row["case"] in _AFTER_CASE:
            self._exec(_AFTER_CASE[row["case"]])
        seen = self._seen(row, answer)
        if "cwd_after" in row:
            seen["cwd_after"] = self._where()
        if "new_or_changed" in row:
            seen["new_or_changed"] = self._changed(before)
        if "tree_of" in row:
            seen["tree"] = self._tree(row["tree_of"])
        if "left_in_tmp" in row:
            seen["left_in_tmp"] = _left(entry.name for entry in (self.folder / "tmp").iterdir())
        return _without_look(seen)

    def _prepare(self, row: Row) -> None:
        if row["case"].startswith("stopped"):
            self.client.call("sandbox.stopSandbox", id=self.sandbox)
            return
        name = _name(row)
        if name is not None and row["call"] == "pushDirectory":
            folder = self.folder / "workspace" / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "f").write_text("xy\n")
        if row["case"] in _BEFORE_CASE:
            self._exec("cd /workspace; " + _BEFORE_CASE[row["case"]])
        # The recording machine removed the files of earlier pulls.
        if row["call"] == "pullDirectory":
            self._exec("cd /workspace; rm -rf /tmp/*-*-*-*-*")
        self._exec(f"cd {row.get('cwd_before', '/workspace')}")

    def _pull(self, row: Row) -> Answer | None:
        if row["case"].startswith(_INPUTS):
            return self._input(row)
        case = row["case"]
        if case.startswith("the same uuid again"):
            uuid = self._uuid
        elif case.startswith("unknown uuid"):
            uuid = "11111111-2222-4333-8444-555555555555"
        elif "through uuid" in case:
            uuid = "x; touch /tmp/inj2; true"
        else:
            uuid = self._uuid = self.client.upload(_archive(row))
        body = {"sandboxId": self.sandbox, "uuid": uuid, "directoryPath": row.get("directoryPath", "/x")}
        return self.client.call("sandbox.pullDirectory", body, self._patience(row))

    def _push(self, row: Row) -> Answer | None:
        if row["case"].startswith(_INPUTS):
            return self._input(row)
        body = {"sandboxId": self._identifier(row), "directoryPath": row.get("directoryPath", "/x")}
        client = self.client
        if "another user" in row["case"]:
            client = Client(client.platform, client.platform.new_user("another.test"))
        return client.call("sandbox.pushDirectory", body, self._patience(row))

    def _identifier(self, row: Row) -> str:
        record = self.client.ask(
            "GET", f"/xrpc/io.pocketenv.sandbox.getSandbox?id={self.sandbox}", None, {}, ANSWER_SECONDS
        )
        assert record is not None
        if row["case"] == "unknown sandbox":
            return "nope"
        if row["case"].startswith("sandboxId given as the "):
            return str(record.json["sandbox"]["name" if "name" in row["case"] else "uri"])
        return self.sandbox

    def _input(self, row: Row) -> Answer | None:
        sent = json.loads(row["case"].removeprefix(_INPUTS).replace("SANDBOXID", self.sandbox))
        return self.client.call(f"sandbox.{row['call']}", sent)

    def _patience(self, row: Row) -> float:
        return HANG_SECONDS if "hang" in row else ANSWER_SECONDS

    def _seen(self, row: Row, answer: Answer | None) -> Seen:
        if answer is None:
            self._dead = True
            return {"hang": True}
        seen: Seen = {
            "status": answer.status,
            "answer": normal_answer(answer.json if answer.raw else None, None),
        }
        if row["call"] == "pushDirectory" and answer.status == 200:
            path = f"/cp/{answer.json['uuid']}"
            seen["storage_get"] = _stored(self.client.ask("GET", path, None, {}, ANSWER_SECONDS))
            if "storage_get_again" in row:
                again = self.client.ask("GET", path, None, {}, ANSWER_SECONDS)
                assert again is not None
                seen["storage_get_again"] = {"status": again.status, "body": again.raw.decode()}
        return seen

    def _command(self, row: Row) -> Seen:
        hang = "hang" in row["answer"]
        answer = self.client.call(
            "sandbox.exec", {"command": row["command"]}, HANG_SECONDS if hang else ANSWER_SECONDS, id=self.sandbox
        )
        if answer is None:
            return {"answer": {"hang": True}}
        if answer.status != 200:
            return {"answer": answer.json}
        told = {name: answer.json[name] for name in ("exitCode", "stdout", "stderr")}
        told["stdout"] = UUID.sub("UUID", told["stdout"])
        if row["command"].startswith("ls -l"):
            # Recorded as its mode and size.
            fields = told["stdout"].split()
            mode = "".join(str(sum(1 << (2 - n) for n in range(3) if fields[0][i + n] != "-")) for i in (1, 4, 7))
            told["stdout"] = f"{mode} {fields[4]}"
        return {"answer": told}

    def _exec(self, command: str) -> Answer | None:
        return (
            None
            if getattr(self, "_dead", False)
            else self.client.call("sandbox.exec", {"command": command}, id=self.sandbox)
        )

    def _where(self) -> str:
        answer = self._exec("pwd")
        if answer is None or answer.status != 200:
            self._dead = True
            return DEAD
        return UUID.sub("UUID", answer.json["stdout"])

    # The file system is read from outside: a dead shell cannot list it.

    def _walk(self) -> Iterator[Path]:
        for top in ("workspace", "root"):
            folder = self.folder / top
            if folder.is_dir():
                yield folder
            for inner, names, files in os.walk(folder):
                for name in [*names, *files]:
                    yield Path(inner) / name

    def _marks(self) -> dict[Path, tuple[int, int]]:
        return {path: _mark(path) for path in self._walk()}

    def _changed(self, before: Mapping[Path, tuple[int, int]]) -> list[str]:
        found: list[str] = []
        for path in self._walk():
            if before.get(path) != _mark(path):
                shown = f"/{path.relative_to(self.folder)}"
                found.append(_line(path, UUID.sub("UUID", shown), size=False))
        return sorted(found)

    def _tree(self, top: str) -> list[str]:
        folder = self.folder / top.lstrip("/")
        if not folder.is_dir():
            return []
        inside = [Path(inner) / name for inner, names, files in os.walk(folder) for name in [*names, *files]]
        return sorted(
            [
                _line(folder, ".", size=True),
                *(_line(path, f"./{path.relative_to(folder)}", size=True) for path in inside),
            ]
        )


def wanted(row: Row) -> Seen:
    """Return the recorded result, made comparable."""
    if row["call"] == "exec":
        return {"answer": {"hang": True} if "hang" in row["answer"] else row["answer"]}
    found: Seen = {"hang": True}
    if "hang" not in row:
        found = {"status": row["status"], "answer": normal_answer(row["answer"], None)}
    return _without_look({**found, **_wanted_files(row)})


def _wanted_files(row: Row) -> Seen:
    found: Seen = {}
    if "storage_get" in row:
        kept = dict(row["storage_get"])
        if "entries" in kept:
            kept["entries"] = ordered(kept["entries"])
        found["storage_get"] = kept
    for name in ("storage_get_again", "cwd_after"):
        if name in row:
            found[name] = row[name]
    if "new_or_changed" in row:
        found["new_or_changed"] = sorted(line for line in row["new_or_changed"] if line)
    if "tree_of" in row:
        # It has a mark of the recording machine.
        found["tree"] = sorted(line for line in row["tree"] if line and "/.mark" not in line)
    if "left_in_tmp" in row:
        found["left_in_tmp"] = _left(row["left_in_tmp"])
    return found


def _without_look(found: Seen) -> Seen:
    # The recording machine listed the files through the shell: with a dead shell it saw none.
    if found.get("cwd_after") != DEAD:
        return found
    return {name: value for name, value in found.items() if name not in {"new_or_changed", "tree", "left_in_tmp"}}


def _left(names: Iterable[str]) -> list[str]:
    # The number of archives and directories of earlier calls does not belong to this call.
    return sorted({UUID.sub("UUID", name) for name in names if name})


def _name(row: Row) -> str | None:
    case = str(row["case"])
    return row["directoryPath"].removeprefix("/workspace/") if case.startswith("name ") else None


def _mark(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_mtime_ns, found.st_mode


def _line(path: Path, shown: str, *, size: bool) -> str:
    found = path.lstat()
    kind = "d" if stat.S_ISDIR(found.st_mode) else "l" if stat.S_ISLNK(found.st_mode) else "f"
    link = str(path.readlink()) if kind == "l" else ""
    counted = f" {DIRECTORY_BYTES if kind == 'd' else found.st_size}" if size else ""
    return f"{kind} {stat.S_IMODE(found.st_mode):o}{counted} {shown} {link}"


def _stored(answer: Answer | None) -> Seen:
    assert answer is not None
    kept: Seen = {"status": answer.status, "content-type": answer.headers["content-type"]}
    if answer.status == 200:
        return {**kept, "entries": listing(answer.raw)}
    return {**kept, "body": answer.raw.decode()}


def _archive(row: Row) -> bytes:
    if row["case"] == "not a tar.gz":
        return b"this is not a tar.gz"
    if row["case"] == "truncated tar.gz":
        return _truncated()
    if "archive" not in row:
        return archive([("f", 0o644, b"x\n")])
    return _of(row["archive"])


def _of(entries: Iterable[list[Any]]) -> bytes:
    kinds = {"dir": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, kind, mode, size, link, _owner in entries:
            member = tarfile.TarInfo(name)
            member.type = kinds.get(kind, tarfile.REGTYPE)
            member.mode, member.size, member.linkname = int(mode, 8), size, link or ""
            tar.addfile(member, io.BytesIO(b"x" * size) if size else None)
    return packed.getvalue()


def _truncated() -> bytes:
    # It ends in the middle of the second entry: tar has made that file by then, empty.
    whole = gzip.decompress(archive([("a.txt", 0o644, b"a\n"), (".hid", 0o600, b"h\n")]))
    packed = gzip.compress(whole[: 512 * 3])
    return packed[:-8]


def typed(answer: Seen) -> Seen:
    """Return an answer with its type in lower case: capitals mean nothing there."""
    kind = answer["content-type"]
    return {**answer, "content-type": kind and kind.lower()}


STORAGE_UUID = "0b7b5b3a-3f0c-4d6a-9d3c-1f5f0e1a2b3c"


class Storage:
    """Return the calls of the storage, in order."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._user = platform.token
        self._other = platform.new_user("storage-other.test")
        claims = platform.token.split(".")[1]
        did = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        self._expired = platform._world.vault.sign({**did, "exp": 1})  # pyright: ignore[reportPrivateUsage]
        self._uuid = STORAGE_UUID

    def play(self, row: Row) -> Seen:
        """Play one call and return its status, type and body."""
        case, headers = row["case"], dict(row["headers"])
        token = self._token(case, headers)
        if token is None:
            headers.pop("Authorization", None)
        else:
            scheme = "Basic" if case == "other scheme" else "Bearer"
            headers["Authorization"] = f"{scheme} {token}"
        target = row["target"].replace("UUID", self._uuid)
        answer = Client(self._platform, self._user).ask_exactly(row["method"], target, _body(case, headers), headers)
        body = answer.raw.decode("utf-8", "replace")
        if case == "empty file":
            self._uuid = answer.json["uuid"]
        return {
            "status": answer.status,
            "content-type": answer.headers.get("content-type"),
            "body": UUID.sub("UUID", body),
        }

    def _token(self, case: str, headers: Mapping[str, str]) -> str | None:
        if "Authorization" not in headers:
            return None
        if case == "garbage token":
            return "garbage"
        if case == "expired token":
            return self._expired
        return self._other if case.endswith("another user") else self._user


def _body(case: str, headers: Mapping[str, str]) -> bytes | None:
    if case == "json body":
        return b"{}"
    if case == "raw gzip body":
        return gzip.compress(b"x")
    if "multipart" not in headers.get("Content-Type", ""):
        return None
    name = "other" if case == "field with another name" else "file"
    content = {"same uuid again": b"DATB", "empty file": b""}.get(case, b"DATA")
    body, _ = multipart(content)
    if case == "file field that is text":
        return body.replace(b'; filename="archive.tar.gz"', b"")
    return body.replace(b'name="file"', f'name="{name}"'.encode())
