"""The platform's records: what is read, what is refused, what is shown."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from pocketenv_fp import Backup, ExecResult, Page, Port, Profile, Sandbox, Secret, SshKey, Status, TailscaleAuthKey
from pocketenv_fp.models import Record

WHEN = "2026-04-01T10:20:30.456Z"
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
def test_a_view_of_the_platform_is_read_whole(kind: type[Record], view: dict[str, object]) -> None:
    record = read(view, kind)
    assert json.loads(msgspec.json.encode(record)).keys() >= view.keys()
    assert getattr(record, "created_at", THEN) == THEN
    newer: dict[str, object] = view | {"somethingNew": [1, "a"]}
    assert read(newer, kind) == record, "unknown keys are ignored"


@EACH
def test_a_missing_required_field_is_refused(kind: type[Record], view: dict[str, object]) -> None:
    required = [field.encode_name for field in msgspec.structs.fields(kind) if field.required]
    assert required
    for name in required:
        with pytest.raises(msgspec.ValidationError, match=name):
            read({key: value for key, value in view.items() if key != name}, kind)


@EACH
def test_a_value_of_another_type_is_refused_and_not_quoted(kind: type[Record], view: dict[str, object]) -> None:
    for name in view:
        with pytest.raises(msgspec.ValidationError) as refused:
            read(view | {name: {"top": "secret"}}, kind)
        assert "secret" not in str(refused.value)


def test_a_number_in_quotes_is_not_a_number() -> None:
    with pytest.raises(msgspec.ValidationError):
        read(VIEWS[ExecResult] | {"exitCode": "3"}, ExecResult)


@pytest.mark.parametrize(("said", "status"), [(s.value, s) for s in Status] + [("PAUSED", Status.UNKNOWN)])
def test_a_status_that_is_not_known_is_unknown(said: str, status: Status) -> None:
    assert msgspec.json.decode(json.dumps(SANDBOX | {"status": said}), type=Sandbox).status is status


@EACH
def test_records_pickle_hash_and_compare_by_value(kind: type[Record], view: dict[str, object]) -> None:
    record, twin = read(view, kind), read(view, kind)
    assert record == twin
    assert hash(record) == hash(twin)
    assert pickle.loads(pickle.dumps(record)) == record
    with pytest.raises(AttributeError):
        record.id = "other"  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


def test_records_match() -> None:
    match ExecResult("out", "", 0):
        case ExecResult(exit_code=0, stdout=out):
            assert out == "out"
        case _:
            pytest.fail("no match")


def test_the_repr_leaves_out_what_is_not_known() -> None:
    assert repr(Sandbox(id="3f", name="calm")) == "Sandbox(id='3f', name='calm')"
    assert repr(Sandbox(id="3f", name="calm", status=Status.RUNNING)).endswith("status=Status.RUNNING)")


@pytest.mark.parametrize("key", [SshKey("k1", "ssh-ed25519 AAAA", "top-secret"), TailscaleAuthKey("t1", "top-secret")])
def test_a_key_is_never_shown(key: SshKey | TailscaleAuthKey) -> None:
    for shown in (repr(key), str(key), f"{key}", key.html(), repr([key]), Page((key,), 1).__repr__()):
        assert "top-secret" not in shown
    assert "***" in repr(key)


@EACH
def test_html_is_a_table_of_the_fields_with_everything_escaped(kind: type[Record], view: dict[str, object]) -> None:
    evil = "<script>alert('x')</script>"
    texts = {
        name: evil for name, value in view.items() if isinstance(value, str) and value != WHEN and name != "status"
    }
    shown = read(view | texts, kind).html()
    assert "<script>" not in shown
    assert shown.startswith("<table>")
    assert "&lt;script&gt;" in shown


def test_a_page_is_a_sequence_with_a_total() -> None:
    page = Page((1, 2, 3), total=10)
    assert (list(page), len(page), page[0], page[-1], page[:2]) == ([1, 2, 3], 3, 1, 3, (1, 2))
    assert page == Page((1, 2, 3), 10) != Page((1, 2, 3), 11)
    assert pickle.loads(pickle.dumps(page)) == page
    assert Page((Sandbox(id="<b>", name="n"), "<i>"), 2).__getattribute__("_repr_html_")().count("&lt;") == 2


SHARED = Path(__file__).parents[2] / "shared" / "platform" / "lexicons"
# Declared in the lexicons, and in no answer of the platform.
NOT_SENT = {"sandboxViewDetailed": {"website", "timeout", "ports"}, "sshKeysView": {"updatedAt"},
            "tailscaleAuthKeyView": {"redacted", "updatedAt"}}  # fmt: skip
LEXICON: dict[str, tuple[str, type[Record]]] = {
    "sandboxViewDetailed": ("sandbox", Sandbox), "sshKeysView": ("sandbox", SshKey),
    "tailscaleAuthKeyView": ("sandbox", TailscaleAuthKey), "backupViewBasic": ("sandbox", Backup),
    "profileViewDetailed": ("actor", Profile), "secretView": ("secret", Secret), "portView": ("port", Port),
}  # fmt: skip


@pytest.mark.skipif(not SHARED.exists(), reason="the platform's lexicons are not beside this checkout (../shared)")
@pytest.mark.parametrize("view", LEXICON)
def test_a_record_has_a_field_for_each_property_that_the_platform_sends(view: str) -> None:
    group, kind = LEXICON[view]
    lexicon = json.loads((SHARED / group / "defs.json").read_text(encoding="utf-8"))
    declared = set(lexicon["defs"][view]["properties"]) - NOT_SENT.get(view, set())
    assert declared <= {field.encode_name for field in msgspec.structs.fields(kind)}
