"""A client that loads a platform until it is killed, and that then knows what must be there."""

import contextlib
import hashlib
import http.client
import io
import random
import tarfile
from collections.abc import Callable, Mapping
from typing import Any

from tests.local.wire import Answer, Wire, eventually, in_child

# (kind, name) of a thing that can be written and read.
Key = tuple[str, str]

MOST = 8
ENTRIES = 120
TREE = ("tree", "b")
BOUNDARY = "b0undary"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
# Where `..` is the sandbox's root, with a box and without one.
SEEN = "files own b p0 p1 p2 ../data/v/ ../root/.ssh/"


class Book:
    """The acknowledged state of a client, and the one change that it waits for."""

    def __init__(self) -> None:
        self.kept: dict[Key, str] = {}
        self.asked: dict[Key, str | None] = {}
        self.loose: set[Key] = set()
        self.acknowledged = 0

    def change(self, wanted: Mapping[Key, str | None], send: Callable[[], Answer]) -> None:
        """Send a change that sets these values (None: deleted), all or none."""
        self.asked = dict(wanted)
        answer = send()
        assert answer.status == 200, answer
        self.kept = {key: value for key, value in {**self.kept, **wanted}.items() if value is not None}
        self.asked = {}
        self.acknowledged += 1

    def lost(self, seen: Mapping[Key, str]) -> list[str]:
        """Return the differences from the acknowledged state. From now on the seen state counts."""
        before = {key: self.kept.get(key) for key in self.asked}
        found = {key: seen.get(key) for key in self.asked}
        wrong = [f"half done: {key}" for key in self.asked if found not in (before, self.asked)]
        settled = (self.kept.keys() | seen.keys()) - self.asked.keys() - self.loose
        changed = [key for key in settled if seen.get(key) != self.kept.get(key)]
        wrong += [f"{'lost' if key in self.kept else 'never written'}: {key}" for key in changed]
        self.kept = dict(seen)
        self.asked = {}
        self.loose = set()
        return wrong


class Client:
    """The program of one user, with a sandbox of its own."""

    def __init__(self, number: int, seed: str) -> None:
        self.book = Book()
        self.sandbox = ""
        # A sandbox may have been created although its id never arrived.
        self.creating = False
        self._random = random.Random(f"{seed}/{number}")
        self._number = number
        self._count = 0
        self._restored: set[str] = set()
        self._uploads: dict[str, str] = {}

    def prepare(self, wire: Wire) -> None:
        """Make the sandbox and the volume, before any kill."""
        with wire:
            self.sandbox = wire.create()
            self.book.kept["sandbox", self.sandbox] = "there"
            volume = {"sandboxId": self.sandbox, "name": "v", "path": "/data/v"}
            self.book.change({("volume", "v"): "/data/v"}, lambda: wire.post("volume.addVolume", {"volume": volume}))
            wire.start(self.sandbox)
            wire.out(self.sandbox, "mkdir -p own")

    def load(self, wire: Wire) -> None:
        """Write one thing after the other until the platform stops answering."""
        ways = [
            *(self.secret, self.variable, self.file, self.volume, self.key, self.rename, self.service, self.box),
            *(self.content, self.content, self.upload, self.pull, self.pull, self.backup, self.restore, self.restore),
        ]
        with wire, contextlib.suppress(OSError, http.client.HTTPException):
            wire.exec(self.sandbox, "setsid sleep 1000 & (sleep 1000; :) &")
            while True:
                self._random.choice(ways)(wire)

    # Ways to write.

    def secret(self, wire: Wire) -> None:
        """Add a secret, or change the value of one."""
        name, value = self._name("S_"), self._text(150)
        sealed = {"sandboxId": self.sandbox, "name": name, "value": wire.seal(value)}
        self._record(wire, "secret", name, value, {"secret": sealed})

    def variable(self, wire: Wire) -> None:
        """Add a variable, change the value of one, or delete one."""
        name, value = self._name("V_"), self._text(150)
        if (found := self._ids(wire, "variable").get(name)) and self._random.random() < 0.3:
            self.book.change({("variable", name): None}, lambda: wire.post("variable.deleteVariable", id=found))
            return
        given = {"sandboxId": self.sandbox, "name": name, "value": value}
        self._record(wire, "variable", name, value, {"variable": given})

    def file(self, wire: Wire) -> None:
        """Add a file. The platform keeps the content of an updated one: such a name is passed over."""
        name, value = self._name("f", 10 * MOST), self._text(20_000)
        if name in self._ids(wire, "file"):
            return
        sealed = {"sandboxId": self.sandbox, "path": f"/workspace/files/{name}", "content": wire.seal(value)}
        self._record(wire, "file", name, value, {"file": sealed})

    def volume(self, wire: Wire) -> None:
        """Add or delete a volume."""
        name = self._name("w")
        if found := self._ids(wire, "volume").get(name):
            self.book.change({("volume", name): None}, lambda: wire.post("volume.deleteVolume", id=found))
            return
        volume = {"sandboxId": self.sandbox, "name": name, "path": f"/srv/{name}"}
        self.book.change({("volume", name): f"/srv/{name}"}, lambda: wire.post("volume.addVolume", {"volume": volume}))

    def content(self, wire: Wire) -> None:
        """Write with a command into the volume or into its workspace."""
        kind, folder = self._random.choice([("own", "own"), ("content", "../data/v")])
        name, value = self._name("c"), self._text(20_000)
        line = f"printf %s {value} > {folder}/.new && sync {folder}/.new && mv {folder}/.new {folder}/{name}"
        self.book.change({(kind, name): value}, lambda: wire.say(self.sandbox, in_child(line)))

    def key(self, wire: Wire) -> None:
        """Put a key pair."""
        value = self._text(1000)
        pair = {"id": self.sandbox, "privateKey": wire.seal(value), "publicKey": f"ssh-ed25519 {value}"}
        self.book.change({("key", ""): value}, lambda: wire.post("sandbox.putSshKeys", pair))

    def rename(self, wire: Wire) -> None:
        """Rename the sandbox."""
        name = self._text(30)
        wanted = [{"$type": "io.pocketenv.sandbox.defs#sandboxDetailsPref", "name": name}]
        body = {"sandboxId": self.sandbox, "preferences": wanted}
        self.book.change({("name", ""): name}, lambda: wire.post("sandbox.putPreferences", body))

    def service(self, wire: Wire) -> None:
        """Add or delete a service."""
        name = self._name("s", most=3)
        if found := {row["name"]: row["id"] for row in self._services(wire)}.get(name):
            self.book.change({("service", name): None}, lambda: wire.post("service.deleteService", serviceId=found))
            return
        made = {"service": {"name": name, "command": "exec sleep 1000"}}
        wanted = {("service", name): "exec sleep 1000"}
        self.book.change(wanted, lambda: wire.post("service.addService", made, sandboxId=self.sandbox))

    def box(self, wire: Wire) -> None:
        """Create or delete a sandbox."""
        others = [key for key in self.book.kept if key[0] == "sandbox" and key[1] != self.sandbox]
        if len(others) > 2:
            gone = self._random.choice(others)
            self.book.change({gone: None}, lambda: wire.post("sandbox.deleteSandbox", id=gone[1]))
            return
        self.creating = True
        made = wire.create()
        self.book.kept["sandbox", made] = "there"
        self.book.acknowledged += 1
        self.creating = False
        wire.exec(made, "echo text > file; sleep 1000 &")

    def upload(self, wire: Wire) -> str:
        """Upload an archive. Return its name."""
        text = self._text(50)
        with io.BytesIO() as buffer:
            with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
                for number in range(ENTRIES):
                    entry = tarfile.TarInfo(str(number))
                    entry.size = len(text)
                    tar.addfile(entry, io.BytesIO(text.encode()))
            archive = buffer.getvalue()
        name = f"{self._number}-{self._next()}"
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        body = head.encode() + archive + f"\r\n--{BOUNDARY}--\r\n".encode()
        self._uploads[name] = text
        wanted = {("upload", name): hashlib.sha256(archive).hexdigest()}
        self.book.change(wanted, lambda: wire.raw("POST", f"/cp?uuid={name}", body, FORM))
        return name

    def pull(self, wire: Wire) -> None:
        """Pull an archive into a directory."""
        name, folder = self.upload(wire), self._random.choice(["p0", "p1", "p2"])
        body = {"sandboxId": self.sandbox, "uuid": name, "directoryPath": f"/workspace/{folder}"}
        # It arrives file by file: killed half way, the directory may have any content.
        key = ("tree", folder)
        self.book.loose.add(key)
        self.book.change({("upload", name): None}, lambda: wire.post("sandbox.pullDirectory", body))
        self.book.kept[key] = tree(self._uploads[name])
        self.book.loose.discard(key)

    def backup(self, wire: Wire) -> None:
        """Back up a directory with new contents."""
        text = self._fill(wire)
        body = {"directory": "/workspace/b", "description": text}

        def send() -> Answer:
            answer = wire.post("sandbox.createBackup", body, id=self.sandbox)
            # It is made after the answer: until it is listed, it may be there or not.
            assert eventually(lambda: text in self._backups(wire), 30)
            return answer

        self.book.change({("backup", text): "there"}, send)

    def restore(self, wire: Wire) -> None:
        """Restore a directory from one of the backups."""
        kept = self._backups(wire)
        if not kept:
            return
        self._fill(wire)
        text = self._random.choice(sorted(kept))
        body = {"backupId": kept[text]}
        self.book.change({TREE: tree(text)}, lambda: wire.post("sandbox.restoreBackup", body))

    # Looking.

    def check(self, wire: Wire, living: set[str]) -> list[str]:
        """Return the faults of the present state; `living` are the ids of all sandboxes."""
        with wire:
            known = {key for key in self.book.kept.keys() | self.book.asked.keys() if key[0] == "sandbox"}
            seen = {key: "there" for key in known if key[1] in living}
            seen.update(self._records(wire))
            seen.update(self._uploaded(wire))
            wire.start_and_wait(self.sandbox)
            seen.update(self._inside(wire))
            wrong = self.book.lost(seen)
            self.book.kept = {key: value for key, value in self.book.kept.items() if key[0] != "upload"}
            return wrong + self._broken(wire)

    def _records(self, wire: Wire) -> dict[Key, str]:
        volumes = wire.get("volume.getVolumes", sandboxId=self.sandbox, limit=100).json["volumes"]
        name = wire.get("sandbox.getSandbox", id=self.sandbox).json["sandbox"]["name"]
        return {
            **{("volume", row["name"]): row.get("path", "") for row in volumes},
            **{("service", row["name"]): row["command"] for row in self._services(wire)},
            **{("backup", text): "there" for text in self._backups(wire)},
            **({("name", ""): name} if name.startswith(f"{self._number}-") else {}),
        }

    def _uploaded(self, wire: Wire) -> dict[Key, str]:
        names = {name for kind, name in self.book.kept.keys() | self.book.asked.keys() if kind == "upload"}
        answers = {name: wire.raw("GET", f"/cp/{name}") for name in names}
        return {
            ("upload", name): hashlib.sha256(answer.raw).hexdigest()
            for name, answer in answers.items()
            if answer.status == 200
        }

    def _inside(self, wire: Wire) -> dict[Key, str]:
        # An empty file has no line that grep could show.
        show = f"grep -rs '' {SEEN}; find {SEEN} -type f -size 0 -exec printf '%s:\\n' {{}} +"
        text, _, _ = wire.exec(self.sandbox, f"env | grep '^[SV]_[0-9]'; {show} 2>/dev/null")
        seen: dict[Key, str] = {}
        trees: dict[str, list[str]] = {}
        kinds = {"files": "file", "own": "own", "../data/v": "content"}
        for line in text.splitlines():
            if line[:2] in {"S_", "V_"}:
                name, _, value = line.partition("=")
                seen["secret" if line[0] == "S" else "variable", name] = value
                continue
            path, _, value = line.partition(":")
            folder, _, name = path.replace("//", "/").rpartition("/")
            if folder in kinds and not name.startswith(".new"):
                seen[kinds[folder], name] = value
            elif folder == "../root/.ssh":
                value = value.removeprefix("ssh-ed25519 ")
                assert seen.setdefault(("key", ""), value) == value, "half a key pair"
            elif folder in {"b", "p0", "p1", "p2"}:
                trees.setdefault(folder, []).append(f"{name}={value}")
        return {**seen, **{("tree", folder): " ".join(sorted(entries)) for folder, entries in trees.items()}}

    def _broken(self, wire: Wire) -> list[str]:
        """Return the backups that restore other contents: of all new ones, and of an old one."""
        kept = self._backups(wire)
        old = sorted(self._restored & kept.keys())
        wrong: list[str] = []
        for text in [*(kept.keys() - self._restored), *self._random.sample(old, min(1, len(old)))]:
            answer = wire.post("sandbox.restoreBackup", {"backupId": kept[text]})
            if answer.status != 200 or self._inside(wire).get(TREE) != tree(text):
                wrong.append(f"a broken backup: {text}")
            self.book.kept[TREE] = tree(text)
            self._restored.add(text)
        return wrong

    def _backups(self, wire: Wire) -> dict[str, str]:
        rows = wire.get("sandbox.getBackups", id=self.sandbox).json["backups"]
        return {row["description"]: row["id"] for row in rows}

    def _services(self, wire: Wire) -> list[dict[str, str]]:
        rows: list[dict[str, str]] = wire.get("service.getServices", sandboxId=self.sandbox).json["services"]
        return rows

    def rest(self, wire: Wire) -> set[str]:
        """Return the services that exist and do not run."""
        return {row["name"] for row in self._services(wire) if row["status"] != "RUNNING"}

    # Making.

    def _fill(self, wire: Wire) -> str:
        """Write a new string into every file of a directory. Return it."""
        text = self._text(50)
        # Killed half way, the directory may have any content: the platform does not write it.
        self.book.loose.add(TREE)
        wire.out(
            self.sandbox,
            f"rm -rf b; mkdir b; i=0; while [ $i -lt {ENTRIES} ]; do printf %s {text} > b/$i; i=$((i+1)); done",
        )
        self.book.kept[TREE] = tree(text)
        self.book.loose.discard(TREE)
        return text

    def _record(self, wire: Wire, kind: str, name: str, value: str, body: dict[str, Any]) -> None:
        ids, title = self._ids(wire, kind), kind.capitalize()
        if name in ids:
            self.book.change(
                {(kind, name): value}, lambda: wire.post(f"{kind}.update{title}", {"id": ids[name], **body})
            )
        else:
            self.book.change({(kind, name): value}, lambda: wire.post(f"{kind}.add{title}", body))

    def _ids(self, wire: Wire, kind: str) -> dict[str, str]:
        rows = wire.get(f"{kind}.get{kind.capitalize()}s", sandboxId=self.sandbox, limit=100).json[f"{kind}s"]
        return {row["path"].rpartition("/")[2] if kind == "file" else row["name"]: row["id"] for row in rows}

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _name(self, start: str, most: int = MOST) -> str:
        return f"{start}{self._random.randrange(most)}"

    def _text(self, most: int) -> str:
        """Return a string that was never written before."""
        return f"{self._number}-{self._next()}-{self._random.randbytes(self._random.randrange(most) // 2).hex()}"


def tree(text: str) -> str:
    """Return the listing of a directory whose every entry has this content."""
    return " ".join(sorted(f"{number}={text}" for number in range(ENTRIES)))
