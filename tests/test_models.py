"""The platform's records: what is read and refused, what its wire description says of each, and that no look shows a key."""

from __future__ import annotations

import copy
import datetime as dt
import json
import logging
import pickle
import pprint
import re
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import msgspec
import pytest

import pocketenv_fp
from pocketenv_fp import (
    Backup,
    ExecResult,
    Page,
    Port,
    Profile,
    Sandbox,
    Secret,
    Service,
    SshKey,
    Status,
    TailscaleAuthKey,
)
from pocketenv_fp.http.xrpc import decode, procedure
from pocketenv_fp.models import Record
from tests.places import LEXICONS, PLATFORM

WHEN = "2026-04-01T10:20:30.456000Z"
THEN = datetime(2026, 4, 1, 10, 20, 30, 456000, tzinfo=UTC)
OWNER: dict[str, object] = {
    "id": "u1",
    "did": "did:plc:abc",
    "displayName": None,
    "handle": "a.example",
    "avatar": None,
}
SANDBOX: dict[str, object] = {
    "id": "3f", "name": "calm-otter-1a2b", "provider": "cloudflare", "displayName": None, "description": "d",
    "topics": ["a", "b"], "baseSandbox": "openclaw", "status": "RUNNING", "repo": None, "logo": None, "readme": None,
    "installs": 2, "uri": "at://x", "vcpus": 1, "memory": 2, "disk": 3, "createdAt": WHEN, "startedAt": WHEN,
    "owner": OWNER | {"createdAt": WHEN, "updatedAt": WHEN},
}  # fmt: skip

PROFILE: dict[str, object] = OWNER | {"createdAt": WHEN, "updatedAt": WHEN}
VIEWS: dict[type[Record], dict[str, object]] = {
    Sandbox: SANDBOX,
    Profile: PROFILE,
    ExecResult: {"stdout": "a\n", "stderr": "", "exitCode": 3},
    Port: {"port": 8080, "description": "web", "previewUrl": "https://x"},
    Secret: {"id": "s1", "name": "A", "createdAt": WHEN},
    SshKey: {"id": "k1", "privateKey": "***", "publicKey": "ssh-ed25519 AAAA", "createdAt": WHEN},
    TailscaleAuthKey: {"id": "t1", "authKey": "***", "createdAt": WHEN},
    Backup: {"id": "b1", "directory": "/workspace", "description": None, "expiresAt": WHEN, "createdAt": WHEN},
}
EACH = pytest.mark.parametrize(("kind", "view"), VIEWS.items(), ids=[kind.__name__ for kind in VIEWS])


def read(view: object, kind: type[Record]) -> Record:
    return msgspec.json.decode(json.dumps(view), type=kind)


@EACH
def test_read_view(kind: type[Record], view: dict[str, object]) -> None:
    """Each property of a view is read, and unknown ones are ignored."""
    record = read(view, kind)
    assert json.loads(msgspec.json.encode(record)).keys() >= view.keys()
    assert getattr(record, "created_at", THEN) == THEN
    newer: dict[str, object] = view | {"somethingNew": [1, "a"]}
    assert read(newer, kind) == record, "unknown keys are ignored"


@EACH
def test_read_missing_field(kind: type[Record], view: dict[str, object]) -> None:
    """A missing required field is refused by name."""
    required = [field.encode_name for field in msgspec.structs.fields(kind) if field.required]
    assert required
    for name in required:
        with pytest.raises(msgspec.ValidationError, match=name):
            read({key: value for key, value in view.items() if key != name}, kind)


@EACH
def test_read_wrong_type(kind: type[Record], view: dict[str, object]) -> None:
    """A value of a wrong type is refused, and the error does not quote it."""
    for name in view:
        with pytest.raises(msgspec.ValidationError) as refused:
            read(view | {name: {"top": "secret"}}, kind)
        assert "secret" not in str(refused.value)


def test_read_number_in_quotes() -> None:
    """A number in quotes is not a number."""
    with pytest.raises(msgspec.ValidationError):
        read(VIEWS[ExecResult] | {"exitCode": "3"}, ExecResult)


@pytest.mark.parametrize(("said", "status"), [(s.value, s) for s in Status] + [("PAUSED", Status.UNKNOWN)])
def test_status_from_json(said: str, status: Status) -> None:
    """A status is read by its value, and any other string is UNKNOWN."""
    assert msgspec.json.decode(json.dumps(SANDBOX | {"status": said}), type=Sandbox).status is status


@EACH
def test_record_equality_and_hash(kind: type[Record], view: dict[str, object]) -> None:
    """Equal records have one hash, and a pickled record equals the original."""
    record, twin = read(view, kind), read(view, kind)
    assert record == twin
    assert hash(record) == hash(twin)
    assert pickle.loads(pickle.dumps(record)) == record
    with pytest.raises(AttributeError):
        record.id = "other"  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


def test_record_repr_known_fields() -> None:
    """The repr has the known fields only."""
    assert repr(Sandbox(id="3f", name="calm")) == "Sandbox(id='3f', name='calm')"
    assert repr(Sandbox(id="3f", name="calm", status=Status.RUNNING)).endswith("status=Status.RUNNING)")


@EACH
def test_html_escapes_fields(kind: type[Record], view: dict[str, object]) -> None:
    """The HTML form is a table of the fields with all strings escaped."""
    evil = "<script>alert('x')</script>"
    texts = {
        name: evil for name, value in view.items() if isinstance(value, str) and value != WHEN and name != "status"
    }
    shown = read(view | texts, kind).html()
    assert "<script>" not in shown
    assert shown.startswith("<table>")
    assert "&lt;script&gt;" in shown


def test_page_sequence_and_total() -> None:
    """A page is a sequence with a total."""
    page = Page((1, 2, 3), total=10)
    assert (list(page), len(page), page[0], page[-1], page[:2]) == ([1, 2, 3], 3, 1, 3, (1, 2))
    assert page == Page((1, 2, 3), 10) != Page((1, 2, 3), 11)
    assert pickle.loads(pickle.dumps(page)) == page
    assert Page((Sandbox(id="<b>", name="n"), "<i>"), 2).__getattribute__("_repr_html_")().count("&lt;") == 2


NULLS: list[tuple[type[Record], str]] = [
    (Sandbox, '{"id": "1", "name": "n", "status": null, "installs": null, "topics": null, "owner": null}'),
    (Service, '{"id": "1", "name": "n", "command": "c", "status": null, "description": null, "createdAt": null}'),
    (SshKey, '{"id": "1", "publicKey": "p", "privateKey": null, "createdAt": null}'),
    (TailscaleAuthKey, '{"id": "1", "authKey": null}'),
]


@pytest.mark.parametrize(("kind", "body"), NULLS, ids=lambda each: getattr(each, "__name__", ""))
def test_decode_null(kind: type[Record], body: str) -> None:
    """A null is read like an absent key."""
    held = {name: value for name, value in json.loads(body).items() if value is not None}
    assert decode(body.encode(), kind) == decode(json.dumps(held).encode(), kind)
    # In a list too, and where a value has the wrong type it stays wrong.
    assert decode(f"[{body}]".encode(), list[kind]) == [decode(body.encode(), kind)]  # type: ignore[valid-type]
    for wrong in (body.replace('"1"', "null"), body.replace('"1"', "1"), body.replace("null", "[3]")):
        with pytest.raises(msgspec.ValidationError):
            decode(wrong.encode(), kind)


# Declared in the lexicons, and in no answer of the platform.
NOT_SENT = {"sandboxViewDetailed": {"website", "timeout", "ports"}, "sshKeysView": {"updatedAt"},
            "tailscaleAuthKeyView": {"redacted", "updatedAt"}}  # fmt: skip
LEXICON: dict[str, tuple[str, type[Record]]] = {
    "sandboxViewDetailed": ("sandbox", Sandbox), "sshKeysView": ("sandbox", SshKey),
    "tailscaleAuthKeyView": ("sandbox", TailscaleAuthKey), "backupViewBasic": ("sandbox", Backup),
    "profileViewDetailed": ("actor", Profile), "secretView": ("secret", Secret), "portView": ("port", Port),
}  # fmt: skip


@pytest.mark.contract
@pytest.mark.parametrize("view", LEXICON)
def test_record_lexicon_properties(view: str) -> None:
    """A record has a field for each property of its lexicon."""
    group, kind = LEXICON[view]
    lexicon = json.loads((LEXICONS / group / "defs.json").read_text(encoding="utf-8"))
    declared = set(lexicon["defs"][view]["properties"]) - NOT_SENT.get(view, set())
    assert declared <= {field.encode_name for field in msgspec.structs.fields(kind)}


SECRET = "top-secret-key"

WIRE = PLATFORM / "wire.md"
# Where the description shows each record: the braces after these words.
SHOWN: dict[str, tuple[str, type[Record]]] = {
    "createSandbox": ("provider credentials?}` → `", Sandbox),
    "getSandbox": ('**getSandbox** `?id` → `{"sandbox": ', Sandbox),
    "getSandbox's owner": ("owner?}}`, owner `", Profile),
    "getSandboxes": ("→ `{sandboxes: [", Sandbox),
    "getExposedPorts": ("→ `{ports: [", Port),
    "getSecrets": ("→ `{secrets: [", Secret),
    "getSshKeys": ("**getSshKeys** `?id` → `", SshKey),
    "getTailscaleAuthKey": ("**getTailscaleAuthKey** `?id` → `", TailscaleAuthKey),
    "getBackups": ("→ `{backups: [", Backup),
    "getProfile": ("**actor.getProfile** `?did` (without it: you) → `", Profile),
}
EACH_SHAPE = pytest.mark.parametrize(("marker", "kind"), SHOWN.values(), ids=list(SHOWN))

SAMPLES: dict[str, object] = {
    "topics": ["a"],
    "installs": 3,
    "vcpus": 1,
    "memory": 2,
    "disk": 3,
    "port": 8080,
    "exitCode": 0,
    "status": "RUNNING",
    "createdAt": WHEN,
    "updatedAt": WHEN,
    "startedAt": WHEN,
    "expiresAt": WHEN,
    "owner": {"id": "u", "did": "did:plc:a", "handle": "a.example"},
}


def keys(marker: str) -> list[str]:
    """The keys of a shape as the description writes them: ``name``, ``name|null`` or ``name?``, without remarks."""
    text = re.sub(r"\s+", " ", WIRE.read_text(encoding="utf-8"))
    _, found, rest = text.partition(marker)
    assert found, f"{marker} is not in the description any more"
    shape = re.match(r"\{([^{}]*)\}", rest)
    assert shape, f"no shape follows {marker}"
    return [re.match(r"\w+(\|null|\?)?", key.strip())[0] for key in shape[1].split(",")]  # type: ignore[index]  # pyright: ignore[reportOptionalSubscript]


def view(marker: str) -> dict[str, Any]:
    names = (key.removesuffix("|null").removesuffix("?") for key in keys(marker))
    return {name: SAMPLES.get(name, f"a {name}") for name in names}


@pytest.mark.contract
@EACH_SHAPE
def test_read_keeps_observed_values(marker: str, kind: type[Record]) -> None:
    """Each observed value of the platform arrives in a field."""
    shape = view(marker)
    back = json.loads(msgspec.json.encode(read(shape, kind)))
    owner = shape.pop("owner", {})
    assert {name: back[name] for name in shape} == shape
    assert {name: back["owner"][name] for name in owner} == owner


@pytest.mark.contract
@EACH_SHAPE
def test_read_optional_values(marker: str, kind: type[Record]) -> None:
    """An optional value may be absent or null, and the field is then empty."""
    shape = view(marker)
    fields = {field.encode_name: field.name for field in msgspec.structs.fields(kind)}
    for key in keys(marker):
        if key.endswith("|null"):
            name = key.removesuffix("|null")
            assert getattr(read(shape | {name: None}, kind), fields[name]) is None
        if key.endswith("?"):
            name = key.removesuffix("?")
            assert getattr(read({k: v for k, v in shape.items() if k != name}, kind), fields[name]) is None


@pytest.mark.parametrize("said", ["pausing", "", "ERROR", "unknown", "Status.RUNNING"])
def test_status_unknown_string(said: str) -> None:
    """Any other string is read as the default status."""
    assert read({"id": "3f", "name": "n", "status": said}, Sandbox) == Sandbox(id="3f", name="n")


@pytest.mark.parametrize("said", [None, 3, True, ["RUNNING"], {"RUNNING": 1}])
def test_status_not_a_string(said: object) -> None:
    """A status that is no string is refused."""
    with pytest.raises(msgspec.ValidationError, match=r"\$\.status"):
        read({"id": "3f", "name": "n", "status": said}, Sandbox)


def test_read_nested_error_path() -> None:
    """The error for a nested record has the path of the value."""
    with pytest.raises(msgspec.ValidationError, match=r"\$\.owner\.did"):
        read({"id": "3f", "name": "n", "owner": {"id": "u", "did": 3, "handle": "h"}}, Sandbox)


@pytest.mark.parametrize("exit_code", [3.5, "3", None, True, [3]])
def test_exec_result_exit_code_type(exit_code: object) -> None:
    """An exit code must be an integer."""
    with pytest.raises(msgspec.ValidationError, match=r"\$\.exitCode"):
        read({"stdout": "", "stderr": "", "exitCode": exit_code}, ExecResult)


# Records as values


RECORDS: list[Record] = [
    Sandbox(id="3f", name="n", status=Status.RUNNING, topics=("a",), created_at=dt.datetime(2026, 4, 1, tzinfo=dt.UTC)),
    Sandbox(id="3f", name="n", owner=Profile(id="u", did="did:plc:a", handle="a.example")),
    Profile(id="u", did="did:plc:a", handle="a.example", display_name="A"),
    ExecResult("it's\n", '"', 3),
    Port(8080, "web", "https://x"),
    Secret("s", "A"),
    Backup("b", "/workspace", expires_at=dt.datetime(2026, 4, 1, tzinfo=dt.UTC)),
]  # fmt: skip


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_record_repr_evaluates(record: Record) -> None:
    """The repr is source code of an equal record, without unknown fields."""
    assert eval(repr(record), {"datetime": dt, **vars(pocketenv_fp)}) == record
    assert "None" not in repr(record)
    assert "UNKNOWN" not in repr(record)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_record_pickle_protocols(record: Record) -> None:
    """Every pickle protocol restores an equal record."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        twin = pickle.loads(pickle.dumps(record, protocol))
        assert twin == record
        assert hash(twin) == hash(record)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_record_frozen(record: Record) -> None:
    """A field cannot be set or deleted."""
    name = record.__struct_fields__[0]
    with pytest.raises(AttributeError):
        setattr(record, name, "another")
    with pytest.raises(AttributeError):
        delattr(record, name)


def test_status_pickle() -> None:
    """A pickled or copied status is the same object."""
    assert all(pickle.loads(pickle.dumps(status)) is copy.deepcopy(status) is status for status in Status)


def test_exec_result_match() -> None:
    """An ExecResult matches by position."""
    match ExecResult("out", "err", 3):
        case ExecResult("out", "err", code):
            assert code == 3
        case _:
            pytest.fail("no match")


def test_sandbox_match() -> None:
    """A Sandbox matches by its status and its owner."""
    match Sandbox(id="3f", name="n", status=Status.STOPPED, owner=Profile(id="u", did="d", handle="a.example")):
        case Sandbox(status=Status.RUNNING):
            pytest.fail("it is stopped")
        case Sandbox(status=Status.STOPPED, owner=Profile(handle=handle)):
            assert handle == "a.example"
        case _:
            pytest.fail("no match")


def test_page_iteration() -> None:
    """A page can be iterated, searched and unpacked."""
    page = Page(("a", "b", "c"), total=10)
    first, *rest = page
    assert (first, rest) == ("a", ["b", "c"])
    assert list(reversed(page)) == ["c", "b", "a"]
    assert "b" in page
    assert [*pairwise(page)] == [("a", "b"), ("b", "c")]
    with pytest.raises(IndexError):
        page[3]
    assert not Page((), total=10), "an empty part of a list is empty, however long the list"


# What is seen


KEYS: list[Record] = [
    SshKey(
        id="k1", public_key="ssh-ed25519 AAAA", private_key=SECRET, created_at=dt.datetime(2026, 4, 1, tzinfo=dt.UTC)
    ),
    SshKey(id="k1", public_key="ssh-ed25519 AAAA", private_key=SECRET),
    TailscaleAuthKey("t1", SECRET),
]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: type(key).__name__)
def test_key_hidden_in_text(key: Record, caplog: pytest.LogCaptureFixture) -> None:
    """No repr, log, table or page of a key shows the key."""
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("program").debug("%s %r", key, [key])
    table = key.html()
    page = Page((key,), 1)
    shown = [repr(key), str(key), f"{key}", pprint.pformat({"key": [key]}), caplog.text, repr(page), table]
    shown += [repr_html(key), repr_html(page), repr_html(Page(([key],), 1))]
    assert not [text for text in shown if SECRET in text]
    assert all("***" in text for text in shown)


def repr_html(value: object) -> str:
    text: str = getattr(value, "_repr_html_")()  # noqa: B009  # what a notebook calls, by its name
    return text


HOLDERS: list[object] = [
    *KEYS,
    pocketenv_fp.Config(token=SECRET),
    procedure("secret.addSecret", bytes.decode, body={"value": SECRET}),
]


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda holder: type(holder).__name__)
def test_rich_repr_hides_secrets(holder: object) -> None:
    """The values for rich have no secret."""
    # msgspec gives every struct the hook by which rich prints it, in tracebacks with locals too. It is not the repr.
    hook = getattr(holder, "__rich_repr__", None)
    shown = repr(list(hook())) if hook else repr(holder)
    assert SECRET not in shown


@pytest.mark.parametrize("kind", [Sandbox, Profile])
def test_html_escapes_names(kind: type[Record]) -> None:
    """Markup in the names of users and sandboxes is escaped."""
    evil = "<script>alert(1)</script>"
    owner = Profile(id="u", did="did:plc:a", handle=evil, display_name=evil)
    record = owner if kind is Profile else Sandbox(id="3f", name=evil, topics=(evil,), readme=evil, owner=owner)
    for shown in (repr_html(record), repr_html(Page((record, evil), 2))):
        assert "<script" not in shown
        assert "&lt;script&gt;" in shown


def test_html_known_fields() -> None:
    """The table has a row for each known field and for no other."""
    shown = repr_html(Sandbox(id="3f", name="calm", memory=2))
    assert re.findall(r"<th[^>]*>(\w+)</th>", shown) == ["id", "name", "memory", "installs", "status"]
    assert "None" not in shown
