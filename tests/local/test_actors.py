"""Profiles and tokens."""

import base64
import json

import pytest

from pocketenv_fp import local
from tests.local.wire import Wire


@pytest.fixture(scope="session")
def place(one_place: local.Platform) -> local.Platform:
    """The level of isolation makes no difference here."""
    return one_place


def test_profile_by_did_or_handle(wire: Wire, other: Wire) -> None:
    """A profile is the caller's own or that of a did or handle."""
    mine = wire.get("actor.getProfile").json
    assert set(mine) == {"id", "did", "handle", "displayName", "avatar", "createdAt", "updatedAt"}
    theirs = other.get("actor.getProfile").json
    assert theirs["did"] != mine["did"]
    for name in (theirs["did"], theirs["handle"]):
        assert wire.get("actor.getProfile", did=name).json == theirs


def test_profile_that_is_unknown(wire: Wire, stranger: Wire) -> None:
    """An unknown profile is an empty object."""
    assert wire.get("actor.getProfile", did="did:plc:nobody").raw == b"{}"
    assert stranger.get("actor.getProfile").raw == b"{}"


def test_an_unknown_actor_has_no_sandboxes(wire: Wire) -> None:
    assert wire.get("actor.getActorSandboxes", did="nobody.test").json == {"sandboxes": [], "total": 0}


def test_the_terminal_token_is_none_for_the_api(wire: Wire) -> None:
    answer = wire.get("actor.getTerminalToken").json
    assert set(answer) == {"token"}
    head, body, _ = answer["token"].split(".")
    assert json.loads(base64.urlsafe_b64decode(head + "==")) == {"alg": "HS256", "typ": "JWT"}
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    assert set(claims) == {"sub", "iat"}
    assert claims["sub"] == wire.get("actor.getProfile").json["did"]
    headers = {"Authorization": f"Bearer {answer['token']}"}
    assert wire.raw("GET", "/xrpc/io.pocketenv.actor.getTerminalToken", headers=headers).status == 401


def test_the_first_user_has_a_display_name() -> None:
    with local.platform() as platform, Wire(platform, platform.token) as wire:
        assert wire.get("actor.getProfile").json["displayName"] == "you"


def test_the_same_handle_is_the_same_user(wire: Wire) -> None:
    place = wire.platform
    assert place.new_user("twin.test") == place.new_user("twin.test")
