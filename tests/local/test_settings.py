"""Secrets, variables and keys: kept sealed, opened at a start, never shown."""

import stat

import pytest

from tests.local.wire import Wire


def add_secret(wire: Wire, sandbox: str, name: str, value: str) -> None:
    """Add a secret. Its value is sealed here."""
    assert wire.post(
        "secret.addSecret", {"secret": {"sandboxId": sandbox, "name": name, "value": wire.seal(value)}}
    ).empty


def test_secret_reaches_the_next_start(wire: Wire) -> None:
    """A secret is in the environment from the next start on, not before."""
    sandbox = wire.create()
    add_secret(wire, sandbox, "API_KEY", "s3cret é =x")
    assert wire.out(sandbox, "echo ${API_KEY-unset}") == "unset\n"
    wire.start(sandbox)
    assert wire.out(sandbox, 'printf %s "$API_KEY"') == "s3cret é =x"
    add_secret(wire, sandbox, "LATER", "x")
    assert wire.out(sandbox, "echo ${LATER-unset}") == "unset\n"
    wire.start(sandbox)
    assert wire.out(sandbox, "echo ${LATER-unset}") == "x\n"


def test_secret_list_without_value(wire: Wire) -> None:
    """A secret is listed without its value and deleted by its id."""
    sandbox = wire.create()
    add_secret(wire, sandbox, "A", "1")
    page = wire.get("secret.getSecrets", sandboxId=sandbox).json
    assert page["total"] == 1
    (row,) = page["secrets"]
    assert set(row) == {"id", "name", "createdAt"}
    assert wire.get("secret.getSecret", id=row["id"]).json == {"secret": row}
    assert wire.post("secret.deleteSecret", id=row["id"]).empty
    assert wire.get("secret.getSecret", id=row["id"]).raw == b"{}"
    assert wire.get("secret.getSecrets", sandboxId=sandbox).json == {"secrets": [], "total": 0}


def test_secret_update(wire: Wire) -> None:
    """An update changes the name and the value."""
    sandbox = wire.create()
    add_secret(wire, sandbox, "A", "1")
    (row,) = wire.get("secret.getSecrets", sandboxId=sandbox).json["secrets"]
    changed = {"id": row["id"], "secret": {"name": "B", "value": wire.seal("2")}}
    assert wire.post("secret.updateSecret", changed).empty
    wire.start(sandbox)
    assert wire.out(sandbox, "echo ${A-unset} $B") == "unset 2\n"


def test_secret_list_pages(wire: Wire) -> None:
    """Secrets are listed in pages of 20."""
    sandbox = wire.create()
    for number in range(23):
        add_secret(wire, sandbox, f"S{number}", "x")
    pages = [wire.get("secret.getSecrets", sandboxId=sandbox, offset=offset).json for offset in (0, 20)]
    assert [(len(page["secrets"]), page["total"]) for page in pages] == [(20, 23), (3, 23)]
    assert len(wire.get("secret.getSecrets", sandboxId=sandbox, limit=100).json["secrets"]) == 23


def test_secret_with_a_taken_name(wire: Wire, other: Wire) -> None:
    """A taken name, an unknown sandbox and a name for an id are a 500."""
    sandbox = wire.create()
    name = wire.get("sandbox.getSandbox", id=sandbox).json["sandbox"]["name"]
    add_secret(wire, sandbox, "A", "1")
    for client, where in ((wire, sandbox), (wire, name), (wire, "nobody"), (other, "nobody")):
        secret = {"sandboxId": where, "name": "A", "value": client.seal("x")}
        error = client.post("secret.addSecret", {"secret": secret}).error
        assert error == (500, "InternalServerError", "Internal Server Error")
    assert wire.get("secret.getSecrets", sandboxId=name).json["secrets"] == []


def test_secret_of_another_user(wire: Wire, other: Wire) -> None:
    """No user sees, changes or deletes another user's secret."""
    sandbox = wire.create()
    add_secret(wire, sandbox, "A", "1")
    (row,) = wire.get("secret.getSecrets", sandboxId=sandbox).json["secrets"]
    assert other.get("secret.getSecrets", sandboxId=sandbox).json["total"] == 0
    assert other.get("secret.getSecret", id=row["id"]).raw == b"{}"
    assert other.post("secret.deleteSecret", id=row["id"]).status == 404
    changed = {"id": row["id"], "secret": {"name": "B", "value": other.seal("2")}}
    assert other.post("secret.updateSecret", changed).status == 404
    wire.start(sandbox)
    assert wire.out(sandbox, "echo $A ${B-unset}") == "1 unset\n"


@pytest.mark.parametrize("value", ["plain text", "", "AAAA", "not base64 !", "é"])
def test_start_with_an_unsealed_secret(wire: Wire, value: str) -> None:
    """A secret that is no sealed box makes every start a 500."""
    sandbox = wire.create()
    assert wire.post("secret.addSecret", {"secret": {"sandboxId": sandbox, "name": "A", "value": value}}).empty
    for _ in range(2):
        assert wire.post("sandbox.startSandbox", {}, id=sandbox).status == 500
    (row,) = wire.get("secret.getSecrets", sandboxId=sandbox).json["secrets"]
    wire.post("secret.deleteSecret", id=row["id"])
    wire.start(sandbox)


def test_start_leaves_out_impossible_names(wire: Wire) -> None:
    """Names and values that no environment can hold are left out."""
    sandbox = wire.create()
    for name, value in (("A=B", "1"), ("", "2"), ("N", "a\0b"), ("OK", "3")):
        add_secret(wire, sandbox, name, value)
    wire.start(sandbox)
    assert wire.out(sandbox, "echo ${A-unset} ${N-unset} $OK") == "unset unset 3\n"


def test_secret_reserved_name(wire: Wire) -> None:
    """A secret cannot replace the variable by which a stop finds the processes."""
    sandbox = wire.create()
    add_secret(wire, sandbox, "POCKETENV_SANDBOX_DIR", "/elsewhere")
    wire.start(sandbox)
    assert "/elsewhere" not in wire.out(sandbox, "env")


def test_add_secret_by_another_user(wire: Wire, other: Wire) -> None:
    """The platform does not check the owner of the sandbox of a new secret."""
    sandbox = wire.create()
    add_secret(other, sandbox, "FOREIGN", "1")
    assert other.get("secret.getSecrets", sandboxId=sandbox).json["total"] == 0
    assert [row["name"] for row in wire.get("secret.getSecrets", sandboxId=sandbox).json["secrets"]] == ["FOREIGN"]


def test_update_variable_by_another_user(wire: Wire, other: Wire) -> None:
    """The platform does not check the owner of an updated variable."""
    sandbox = wire.create()
    variable = {"sandboxId": sandbox, "name": "A", "value": "1"}
    assert other.post("variable.addVariable", {"variable": variable}).empty
    (row,) = wire.get("variable.getVariables").json["variables"]
    assert other.post("variable.updateVariable", {"id": row["id"], "variable": {"name": "B", "value": "2"}}).empty
    assert wire.get("variable.getVariable", id=row["id"]).json["variable"]["name"] == "B"
    assert other.post("variable.deleteVariable", id=row["id"]).status == 404


def test_add_secret_without_sandbox(wire: Wire) -> None:
    """A secret without a sandbox is accepted and not listed."""
    for _ in range(2):
        assert wire.post("secret.addSecret", {"secret": {"name": "A", "value": wire.seal("1")}}).empty
    assert wire.get("secret.getSecrets").json == {"secrets": [], "total": 0}


def test_add_variable_with_nul(wire: Wire) -> None:
    """A value with a NUL is a 500."""
    variable = {"sandboxId": wire.create(), "name": "A", "value": "a\0b"}
    assert wire.post("variable.addVariable", {"variable": variable}).status == 500


def test_start_status_with_unsealed_secret(wire: Wire) -> None:
    """A start with a secret that cannot be opened is a 500, and RUNNING."""
    sandbox = wire.create()
    wire.post("secret.addSecret", {"secret": {"sandboxId": sandbox, "name": "A", "value": "plain"}})
    wire.post("sandbox.stopSandbox", id=sandbox)
    assert wire.post("sandbox.startSandbox", {}, id=sandbox).status == 500
    assert wire.status(sandbox) == "RUNNING"
    assert wire.out(sandbox, "echo ok") == "ok\n"


def test_variables_follow_the_rules_of_secrets(wire: Wire) -> None:
    """Variables are plain and follow the rules of secrets."""
    sandbox = wire.create()
    variable = {"sandboxId": sandbox, "name": "MODE", "value": "test"}
    assert wire.post("variable.addVariable", {"variable": variable}).empty
    assert wire.post("variable.addVariable", {"variable": variable}).status == 500
    (row,) = wire.get("variable.getVariables", sandboxId=sandbox).json["variables"]
    assert set(row) == {"id", "name", "value", "createdAt", "updatedAt"}
    assert row["value"] == "test"
    changed = {"id": row["id"], "variable": {"name": "MODE", "value": "live"}}
    assert wire.post("variable.updateVariable", changed).empty
    assert wire.get("variable.getVariable", id=row["id"]).json["variable"]["value"] == "live"
    wire.start(sandbox)
    assert wire.out(sandbox, "echo $MODE") == "live\n"
    assert wire.post("variable.deleteVariable", id=row["id"]).empty
    assert wire.get("variable.getVariable", id=row["id"]).raw == b"{}"


def test_ssh_keys_redacted_and_installed(wire: Wire) -> None:
    """SSH keys are shown redacted and installed after a start."""
    sandbox = wire.create()
    assert wire.get("sandbox.getSshKeys", id=sandbox).error[:2] == (404, "XRPCNotSupported")
    sent = {"id": sandbox, "privateKey": wire.seal("PRIVATE"), "publicKey": "ssh-ed25519 AAAA me", "redacted": "P***E"}
    assert wire.post("sandbox.putSshKeys", sent).raw == b"{}"
    shown = wire.get("sandbox.getSshKeys", id=sandbox).json
    assert set(shown) == {"id", "privateKey", "publicKey", "createdAt"}
    assert (shown["privateKey"], shown["publicKey"]) == ("P***E", "ssh-ed25519 AAAA me")

    assert wire.exec(sandbox, "ls ~/.ssh")[2] != 0
    for _ in range(2):
        wire.start_and_wait(sandbox)
    assert wire.out(sandbox, "cat ~/.ssh/id_ed25519 ~/.ssh/id_ed25519.pub") == "PRIVATE\nssh-ed25519 AAAA me\n"
    folder = wire.platform.data / "sandboxes" / sandbox / "root" / ".ssh"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "id_ed25519").stat().st_mode) == 0o600


def test_ssh_keys_without_a_redacted_copy(wire: Wire) -> None:
    """SSH keys without a redacted copy show an empty private key."""
    sandbox = wire.create()
    for public in ("ssh-rsa one", "ssh-rsa two"):
        body = {"id": sandbox, "privateKey": wire.seal("x"), "publicKey": public}
        assert wire.post("sandbox.putSshKeys", body).raw == b"{}"
    shown = wire.get("sandbox.getSshKeys", id=sandbox).json
    assert (shown["privateKey"], shown["publicKey"]) == ("", "ssh-rsa two")
    wire.start_and_wait(sandbox)
    assert wire.out(sandbox, "ls ~/.ssh") == "id_rsa\nid_rsa.pub\n"


def test_tailscale_key_redacted(wire: Wire) -> None:
    """The Tailscale key is shown redacted."""
    sandbox = wire.create()
    assert wire.get("sandbox.getTailscaleAuthKey", id=sandbox).error[:2] == (404, "XRPCNotSupported")
    sent = {"id": sandbox, "authKey": wire.seal("tskey-auth-secret"), "redacted": "tskey-auth-***"}
    assert wire.post("sandbox.putTailscaleAuthKey", sent).raw == b"{}"
    shown = wire.get("sandbox.getTailscaleAuthKey", id=sandbox).json
    assert set(shown) == {"id", "authKey", "createdAt"}
    assert shown["authKey"] == "tskey-auth-***"


def test_ssh_keys_by_owner_and_id(wire: Wire, other: Wire) -> None:
    """SSH keys are for the owner, and take only the id of a sandbox."""
    sandbox = wire.create()
    name = wire.get("sandbox.getSandbox", id=sandbox).json["sandbox"]["name"]
    sent = {"privateKey": wire.seal("x"), "publicKey": "ssh-ed25519 A"}
    for client, where in ((wire, sandbox), (other, sandbox), (wire, "nobody")):
        assert client.get("sandbox.getSshKeys", id=where).error == (404, "XRPCNotSupported", "Not found")
    assert other.post("sandbox.putSshKeys", {"id": sandbox, **sent}).status == 404
    assert wire.post("sandbox.putSshKeys", {"id": name, **sent}).status == 404
    wire.post("sandbox.putSshKeys", {"id": sandbox, **sent})
    assert other.get("sandbox.getSshKeys", id=sandbox).status == 404


def test_secret_sealed_on_disk(wire: Wire) -> None:
    """The disk has no plain value of a secret."""
    sandbox = wire.create()
    add_secret(wire, sandbox, "A", "value-never-on-disk")
    wire.start(sandbox)
    assert wire.out(sandbox, "echo $A") == "value-never-on-disk\n"
    files = [path for path in wire.platform.data.rglob("*") if path.is_file()]
    assert not [path for path in files if b"value-never-on-disk" in path.read_bytes()]
