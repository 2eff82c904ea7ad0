"""Users and their profiles."""

import hashlib
from base64 import b32encode
from collections.abc import Mapping
from typing import Any

from pocketenv_fp.local.call import NOTHING, UNKNOWN, Call, User, World, new_id, now, show
from pocketenv_fp.local.store import Store

# Profiles always have a picture. This one needs no network.
AVATAR = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E".replace(" ", "%20")


async def get_profile(call: Call) -> Any:
    """Return the profile of a user; `{}` for an unknown user or a caller without a login."""
    if not call.session:
        return NOTHING
    did = call.params.get("did") or (call.me.did if call.user is not None else None)
    user = None if did is None else by_identifier(call.world.store, did)
    return NOTHING if user is None else profile(user)


async def get_terminal_token(call: Call) -> Any:
    """Return a token that names its user as `sub`. The API treats its bearer as a caller without a login."""
    return {"token": call.world.vault.sign({"sub": call.me.did, "iat": int(now())})}


def add_user(store: Store, handle: str) -> User:
    """Return the user with this handle. Add the user where the handle is new."""
    user = by_identifier(store, handle)
    if user is None:
        moment = now()
        user = User(new_id("rec"), _did(handle), handle, handle.partition(".")[0], moment, moment)
        store.insert("users", **user._asdict())
    return user


def token(world: World, user: User) -> str:
    """Return the token of a user. It is the same at every start on the same folder."""
    return world.vault.sign({"did": user.did, "iat": int(user.created_at)})


def token_in(headers: Mapping[bytes, bytes]) -> str | None:
    """Return the token of a request: the second word of Authorization. None means a caller without a login."""
    words = headers.get(b"authorization", b"").decode("latin-1").split(" ")
    token = words[1].strip() if len(words) > 1 else ""
    return None if token in {"", "null"} else token


def bearer(world: World, did: str) -> User:
    """Return the user with this did, or a placeholder for a did without a user record."""
    return world.store.first(User, "users", "WHERE did = ?", did) or User(UNKNOWN, did, "", None, 0.0, 0.0)


def find(store: Store, user_id: str | None) -> User | None:
    """Return the user with this id."""
    return store.first(User, "users", "WHERE id = ?", user_id)


def by_identifier(store: Store, identifier: str) -> User | None:
    """Return the user with this did or handle."""
    return store.first(User, "users", "WHERE ? IN (did, handle)", identifier)


def profile(user: User) -> dict[str, Any]:
    """Return a user as getProfile shows one: without unknown fields."""
    return {name: value for name, value in owner(user).items() if value is not None}


def owner(user: User) -> dict[str, Any]:
    """Return a user as the owner of a sandbox. Unknown fields are null here."""
    return {**show(user._asdict(), *User._fields), "avatar": AVATAR}


def _did(handle: str) -> str:
    # Made from the handle alone: a program that runs again on a new folder gets the same did.
    return "did:plc:" + b32encode(hashlib.sha256(handle.encode()).digest()).decode().lower()[:24]
