"""Claiming: a user becomes the owner of an ownerless sandbox, once."""

import pytest

from pocketenv_fp import local
from tests.local.wire import Wire


@pytest.fixture(scope="session")
def place(one_place: local.Platform) -> local.Platform:
    """The level of isolation makes no difference here."""
    return one_place


def test_claim_keeps_the_content(place: local.Platform, wire: Wire) -> None:
    """The caller becomes the owner, and the content stays."""
    sandbox = place.new_ownerless_sandbox()
    with Wire(place, None) as stranger:
        stranger.out(sandbox, "echo kept > x")
        assert "owner" not in stranger.get("sandbox.getSandbox", id=sandbox).json["sandbox"]
    claimed = wire.post("sandbox.claimSandbox", id=sandbox).json
    assert set(claimed) == {
        *("id", "name", "provider", "description", "vcpus", "memory", "disk", "readme", "createdAt", "uri")
    }
    assert (claimed["id"], claimed["provider"]) == (sandbox, "cloudflare")
    shown = wire.get("sandbox.getSandbox", id=sandbox).json["sandbox"]
    profile = wire.get("actor.getProfile").json
    assert shown["owner"]["did"] == profile["did"]
    assert (shown["uri"], shown["name"]) == (claimed["uri"], claimed["name"])
    assert claimed["uri"].startswith(f"at://{profile['did']}/")
    assert wire.out(sandbox, "cat x") == "kept\n"


def test_claim_lists_for_owner_only(place: local.Platform, wire: Wire, stranger: Wire) -> None:
    """A claimed sandbox is in its owner's list and in no other."""
    sandbox = place.new_ownerless_sandbox()
    wire.post("sandbox.claimSandbox", id=sandbox)
    handle = wire.get("actor.getProfile").json["handle"]
    listed = wire.get("actor.getActorSandboxes", did=handle, isRunning="true").json
    assert [row["id"] for row in listed["sandboxes"]] == [sandbox]
    assert stranger.post("sandbox.exec", {"command": "true"}, id=sandbox).status == 404


def test_claim_of_owned_sandbox(place: local.Platform, wire: Wire, other: Wire) -> None:
    """A sandbox with an owner cannot be claimed."""
    sandbox = place.new_ownerless_sandbox()
    assert wire.post("sandbox.claimSandbox", id=sandbox).status == 200
    for client, where in ((wire, sandbox), (other, sandbox), (other, wire.create()), (wire, "unknown")):
        error = client.post("sandbox.claimSandbox", id=where).error
        assert error == (404, "XRPCNotSupported", "Sandbox not found")
    assert wire.out(sandbox, "echo mine") == "mine\n"


def test_claim_takes_an_id_and_a_login(place: local.Platform, wire: Wire, stranger: Wire) -> None:
    """A claim takes only an id and needs a login."""
    sandbox = place.new_ownerless_sandbox()
    name = wire.get("sandbox.getSandbox", id=sandbox).json["sandbox"]["name"]
    assert wire.post("sandbox.claimSandbox", id=name).status == 404
    assert stranger.post("sandbox.claimSandbox", id=sandbox).error == (
        *(401, "AuthenticationRequired", "Unauthorized"),
    )
    assert wire.post("sandbox.claimSandbox", {}, id=sandbox).error[0] == 400
    assert wire.post("sandbox.claimSandbox", id=sandbox).status == 200


def test_new_ownerless_sandbox_after_close() -> None:
    """A closed platform creates no sandbox."""
    with local.platform() as platform:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        platform.new_ownerless_sandbox()
