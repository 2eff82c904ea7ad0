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


def test_profile_unknown(wire: Wire, stranger: Wire) -> None:
    """An unknown profile is an empty object."""
    assert wire.get("actor.getProfile", did="did:plc:nobody").raw == b"{}"
    assert stranger.get("actor.getProfile").raw == b"{}"


def test_actor_sandboxes_unknown(wire: Wire) -> None:
    """An unknown actor has no sandboxes."""
    assert wire.get("actor.getActorSandboxes", did="nobody.test").json == {"sandboxes": [], "total": 0}


def test_terminal_token_refused_by_api(wire: Wire) -> None:
    """The API refuses the token of a terminal."""
    answer = wire.get("actor.getTerminalToken").json
    assert set(answer) == {"token"}
    head, body, _ = answer["token"].split(".")
    assert json.loads(base64.urlsafe_b64decode(head + "==")) == {"alg": "HS256", "typ": "JWT"}
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    assert set(claims) == {"sub", "iat"}
    assert claims["sub"] == wire.get("actor.getProfile").json["did"]
    headers = {"Authorization": f"Bearer {answer['token']}"}
    assert wire.raw("GET", "/xrpc/io.pocketenv.actor.getTerminalToken", headers=headers).status == 401


def test_profile_display_name() -> None:
    """The first user of a platform has a display name."""
    with local.platform() as platform, Wire(platform, platform.token) as wire:
        assert wire.get("actor.getProfile").json["displayName"] == "you"


def test_new_user_same_handle(wire: Wire) -> None:
    """A repeated handle is the same user."""
    place = wire.platform
    assert place.new_user("twin.test") == place.new_user("twin.test")
