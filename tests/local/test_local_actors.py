"""Profiles and tokens."""

from tests.local.wire import Wire


def test_the_profile_is_your_own_or_that_of_a_did_or_handle(wire: Wire, other: Wire) -> None:
    mine = wire.get("actor.getProfile").json
    assert set(mine) == {"id", "did", "handle", "avatar", "createdAt", "updatedAt"}
    theirs = other.get("actor.getProfile").json
    assert theirs["did"] != mine["did"]
    for name in (theirs["did"], theirs["handle"]):
        assert wire.get("actor.getProfile", did=name).json == theirs


def test_a_profile_that_cannot_be_had_is_an_empty_object(wire: Wire, stranger: Wire) -> None:
    assert wire.get("actor.getProfile", did="did:plc:nobody").raw == b"{}"
    assert stranger.get("actor.getProfile").raw == b"{}"


def test_an_unknown_actor_has_no_sandboxes(wire: Wire) -> None:
    assert wire.get("actor.getActorSandboxes", did="nobody.test").json == {"sandboxes": [], "total": 0}


def test_the_terminal_token_is_none_for_the_api(wire: Wire) -> None:
    answer = wire.get("actor.getTerminalToken").json
    assert set(answer) == {"token"}
    refused = wire.raw(
        "GET", "/xrpc/io.pocketenv.actor.getProfile", headers={"Authorization": f"Bearer {answer['token']}"}
    )
    assert refused.status == 500


def test_the_same_handle_is_the_same_user(wire: Wire) -> None:
    place = wire.platform
    assert place.new_user("twin.test") == place.new_user("twin.test")
