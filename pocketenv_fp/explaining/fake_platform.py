"""A fake platform: a response for each request of a pipeline that is explained.

It keeps records as the platform does: a secret that was set is in the list, and a sandbox that was started runs. A value
that only the platform knows is a stand-in:

>>> from pocketenv_fp.explaining.fake_platform import FakePlatform
>>> from pocketenv_fp.http.xrpc import procedure, query
>>> platform = FakePlatform()
>>> platform.answer(procedure("sandbox.createSandbox", dict, body={"provider": "e2b"}))
{'id': '‹SANDBOX_ID›', 'name': '‹SANDBOX_NAME›', 'provider': 'e2b'}
>>> platform.answer(query("sandbox.getSandbox", dict, {"id": "‹SANDBOX_ID›"}))["sandbox"]["status"]
'RUNNING'
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

import msgspec
from returns.result import Success

from pocketenv_fp.errors import PocketenvError, SandboxNotFound, ServerError
from pocketenv_fp.http.xrpc import Call
from pocketenv_fp.models import Sandbox, Status
from pocketenv_fp.redaction import HIDDEN
from pocketenv_fp.runtime.rehearsal import stand_in

__all__ = ["FakePlatform"]

Fields = Mapping[str, Any]
Record = dict[str, Any]

# The field with the name of a record, and further fields that a response must have.
KEPT: Mapping[str, tuple[str, Fields]] = {
    "secret": ("name", {}),
    "variable": ("name", {"value": HIDDEN}),
    "file": ("path", {}),
    "volume": ("name", {}),
    "service": ("name", {"command": HIDDEN, "status": "RUNNING"}),
}
Method = Callable[[Any, Fields], Any]
NOT_RETURNED = {("secret", "value"), ("file", "content")}


def _returned(noun: str, fields: Fields) -> Record:
    shown = {
        field for field in ("name", "path", "value", "command", "description") if (noun, field) not in NOT_RETURNED
    }
    return {field: value for field, value in fields.items() if field in shown}


def _no_sandbox() -> PocketenvError:
    return SandboxNotFound(404, "SandboxNotFound", "Sandbox not found")


def _preview(_: Fields) -> Record:
    return {"previewUrl": f"https://{stand_in('PREVIEW')}"}


def _bare(box: Record) -> Record:
    # The platform leaves the status out here.
    return {name: box[name] for name in ("id", "name", "provider") if name in box}


def _always(body: object) -> Method:
    return lambda _, __: body


def _keeping(noun: str) -> dict[str, Method]:
    """Return the methods for records of a sandbox that have names."""
    one = noun.capitalize()

    def page(self: FakePlatform, given: Fields) -> Record:
        records = self.records(noun, given["sandboxId"])
        return {f"{noun}s": records} | ({} if noun == "service" else {"total": len(records)})

    def add(self: FakePlatform, given: Fields) -> PocketenvError | None:
        return self.add(noun, given.get("sandboxId") or given[noun]["sandboxId"], given[noun])

    return {
        f"{noun}.get{one}s": page,
        f"{noun}.get{one}": lambda self, given: {noun: self.find(noun, given["id"])},
        f"{noun}.add{one}": add,
        f"{noun}.update{one}": lambda self, given: self.update(noun, _id(given), given[noun]),
        f"{noun}.delete{one}": lambda self, given: self.remove(noun, _id(given)),
    }


def _id(given: Fields) -> str:
    return str(given.get("serviceId") or given["id"])


def _service_to(status: Status) -> Method:
    def change(self: FakePlatform, given: Fields) -> None:
        self.find("service", given["serviceId"])["status"] = status.value

    return change


_PROFILE = {"id": stand_in("PROFILE_ID"), "did": stand_in("DID"), "handle": stand_in("HANDLE")}


# The output of the lines that copy a large directory, by a string that only they contain.
COPYING = {
    "$kind whole": "directory large\n",
    "$kind $((size))": "directory 1\n",
    # The contents of files are unknown.
    "whole $((size))": "whole 0\n",
    "echo entries": "entries\nAAA=\n",
    "say yes": "yes\n",
    "echo ready": "ready\n",
    # A job or a service has ended.
    "part stdout": "ended 0 0 0 -\n.\n",
}


class FakePlatform:
    """The records of a fake platform. `copy.deepcopy` makes an independent copy."""

    def __init__(self) -> None:
        self.expected: frozenset[tuple[str, str]] = frozenset()
        """The nouns and names of records that are looked up now. They exist, even if the pipeline has not set them."""
        self.is_polled = False
        """Whether a sandbox runs at the next look, whatever its status."""
        self.numbers: dict[str, int] = {}
        """The number of stand-ins of each name."""
        self._boxes: dict[str, Record] = {}
        self._gone: set[str] = set()
        self._kept: dict[tuple[str, str], list[Record]] = {}
        self._ports: dict[str, list[Record]] = {}
        self._public_keys: dict[str, str] = {}

    def answer(self, call: Call[Any]) -> Any:
        """Return the body of the response, None for an empty one, or an error."""
        method = self.methods.get(call.nsid)
        given = {**call.params, **(call.body or {})}
        return {} if method is None else method(self, {name: each for name, each in given.items() if each is not None})

    def know(self, *values: object) -> None:
        """Add each Sandbox among ``values``, and in a Success, to the sandboxes of the platform."""
        for value in values:
            box = cast("Success[object]", value).unwrap() if isinstance(value, Success) else value
            if isinstance(box, Sandbox) and box.id not in self._boxes and box.id not in self._gone:
                self._boxes[box.id] = msgspec.to_builtins(box, str_keys=True)

    def new_box(self, **fields: object) -> Record:
        """Return the record of a new sandbox."""
        box: Record = {"id": self.new("SANDBOX_ID"), "name": stand_in("SANDBOX_NAME"), "installs": 0}
        box |= {"status": Status.RUNNING.value, **fields}
        self._boxes[box["id"]] = box
        return box

    def new(self, name: str) -> str:
        """Return a new stand-in."""
        number = self.numbers[name] = self.numbers.get(name, 0) + 1
        return stand_in(name if number == 1 else f"{name}_{number}")

    # Sandboxes

    def _create(self, given: Fields) -> Record:
        return _bare(self.new_box(**{name: given[name] for name in ("provider", "repo") if name in given}))

    def _find(self, given: Fields) -> Record | None:
        wanted = given["id"]
        if wanted in self._gone:
            return None
        named = next((box for box in self._boxes.values() if box["name"] == wanted), None)
        return self._boxes.get(wanted) or named or self.new_box(name=wanted)

    def _look(self, given: Fields) -> Record:
        box = self._find(given)
        if box is not None and self.is_polled:
            box["status"] = Status.RUNNING.value
        return {} if box is None else {"sandbox": box}

    def _put_to(self, status: Status, given: Fields) -> Any:
        box = self._find(given)
        if box is None:
            return _no_sandbox()
        box["status"] = status.value
        return {}

    def _delete(self, given: Fields) -> Any:
        box = self._find(given)
        if box is None:
            return _no_sandbox()
        self._gone.add(box["id"])
        del self._boxes[box["id"]]
        return {}

    def _exec(self, given: Fields) -> Any:
        if self._find(given) is None:
            return _no_sandbox()
        command = str(given["command"])
        # The output is JSON too, for steps that decode it.
        answers = (answer for mark, answer in COPYING.items() if mark in command)
        printed = next(answers, f'"{stand_in("OUTPUT")}"')
        return {"stdout": printed, "stderr": "", "exitCode": 0}

    def _claim(self, given: Fields) -> Any:
        box = self._find(given)
        if box is None:
            return SandboxNotFound(404, "XRPCNotSupported", "Sandbox not found", "sandbox.claimSandbox")
        return _bare(box)

    def _put_preferences(self, given: Fields) -> None:
        box = self._find({"id": given["sandboxId"]})
        for preference in given["preferences"]:
            if box is not None:
                box |= {name: value or None for name, value in preference.items() if name != "$type"}

    # Ports and keys

    def _expose(self, given: Fields) -> Record:
        self._ports.setdefault(given["id"], []).append({"port": given["port"]})
        return _preview(given)

    def _unexpose(self, given: Fields) -> None:
        ports = self._ports.get(given["id"], [])
        self._ports[given["id"]] = [each for each in ports if each["port"] != given["port"]]

    def _put_ssh_keys(self, given: Fields) -> Record:
        self._public_keys[given["id"]] = given["publicKey"]
        return {}

    def _ssh_keys(self, given: Fields) -> Record:
        public = self._public_keys.get(given["id"], stand_in("PUBLIC_KEY"))
        return {"id": self.new("SSH_KEY_ID"), "publicKey": public, "privateKey": HIDDEN}

    # Records under names

    def records(self, noun: str, sandbox_id: str) -> list[Record]:
        """Return the records of a sandbox, with the expected ones."""
        kept = self._kept.setdefault((noun, sandbox_id), [])
        name, others = KEPT[noun]
        for wanted in sorted(wanted for kind, wanted in self.expected if kind == noun):
            if not any(wanted in {record["id"], record[name]} for record in kept):
                kept.append({"id": self._record_id(noun), name: wanted, **others})
        return kept

    def add(self, noun: str, sandbox_id: str, fields: Fields) -> PocketenvError | None:
        """Add a record. Return the error for a name that is taken: the platform sends a server error."""
        records = self._kept.setdefault((noun, sandbox_id), [])
        name, others = KEPT[noun]
        if any(record[name] == fields[name] for record in records):
            return ServerError(500, "InternalServerError", "Internal Server Error", f"{noun}.add{noun.capitalize()}")
        records.append({"id": self._record_id(noun), **others, **_returned(noun, fields)})
        return None

    def update(self, noun: str, record_id: str, fields: Fields) -> None:
        """Update the fields of a record."""
        self.find(noun, record_id).update(_returned(noun, fields))

    def find(self, noun: str, record_id: str) -> Record:
        """Return the record with this id. An unknown id has a record of stand-ins."""
        of_the_noun = (records for (kind, _), records in self._kept.items() if kind == noun)
        matches = (record for records in of_the_noun for record in records if record["id"] == record_id)
        name, others = KEPT[noun]
        return next(matches, {"id": record_id, name: stand_in(f"{noun.upper()}_{name.upper()}"), **others})

    def remove(self, noun: str, record_id: str) -> None:
        """Delete a record."""
        for (kind, sandbox_id), records in self._kept.items():
            if kind == noun:
                self._kept[kind, sandbox_id] = [record for record in records if record["id"] != record_id]

    def _record_id(self, noun: str) -> str:
        return self.new(f"{noun.upper()}_ID")

    # The methods

    methods: ClassVar[Mapping[str, Method]] = {
        "actor.getActorSandboxes": _always({"sandboxes": [], "total": 0}),
        "actor.getProfile": _always(_PROFILE),
        "actor.getTerminalToken": _always({"token": HIDDEN}),
        "sandbox.claimSandbox": _claim,
        "sandbox.createBackup": _always(None),
        "sandbox.createSandbox": _create,
        "sandbox.deleteSandbox": _delete,
        "sandbox.exec": _exec,
        "sandbox.exposePort": _expose,
        "sandbox.exposeVscode": lambda _, given: _preview(given),
        "sandbox.getBackups": _always({"backups": []}),
        "sandbox.getExposedPorts": lambda self, given: {"ports": self._ports.get(given["id"], [])},
        # The platform's list leaves out the preferences of the owner.
        "sandbox.getPreferences": _always([]),
        "sandbox.getSandbox": _look,
        "sandbox.getSandboxes": _always({"sandboxes": [], "total": 0}),
        "sandbox.getSshKeys": _ssh_keys,
        "sandbox.getTailscaleAuthKey": lambda self, _: {"id": self.new("TAILSCALE_KEY_ID"), "authKey": HIDDEN},
        "sandbox.pullDirectory": _always(None),
        "sandbox.pushDirectory": lambda self, _: {"uuid": self.new("ARCHIVE")},
        "sandbox.putPreferences": _put_preferences,
        "sandbox.putSshKeys": _put_ssh_keys,
        "sandbox.putTailscaleAuthKey": _always({}),
        "sandbox.restoreBackup": _always(None),
        "sandbox.startSandbox": lambda self, given: self._put_to(Status.RUNNING, given),
        "sandbox.stopSandbox": lambda self, given: self._put_to(Status.STOPPED, given),
        "sandbox.unexposePort": _unexpose,
        "service.restartService": _service_to(Status.RUNNING),
        "service.startService": _service_to(Status.RUNNING),
        "service.stopService": _service_to(Status.STOPPED),
        **{
            method: answer
            for noun in KEPT
            for method, answer in _keeping(noun).items()
            if method != "service.getService"
        },
    }
    """The function for each method of the platform."""
