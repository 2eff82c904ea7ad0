"""Users and their profiles."""

import hashlib
from base64 import b32encode
from typing import Any

from pocketenv_fp.local.call import NOTHING, Call, User, iso, new_id, now
from pocketenv_fp.local.store import Store

# A picture that needs no network: profiles always have one.
AVATAR = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E".replace(" ", "%20")


async def get_profile(call: Call) -> Any:
    """The profile of a user; `{}` where there is none, or nobody is logged in."""
    did = call.params.get("did")
    user = call.user if did is None else by_identifier(call.world.store, did)
    return NOTHING if user is None else profile(user)


async def get_terminal_token(call: Call) -> Any:
    """A token of another kind than the API's: this platform has no terminal service that would take it."""
    return {"token": call.world.vault.sign(call.me.id, "terminal")}


def add_user(store: Store, handle: str) -> User:
    """The user with this handle, made where there is none."""
    user = by_identifier(store, handle)
    if user is None:
        moment = now()
        user = User(new_id(), _did(handle), handle, None, moment, moment)
        store.insert("users", **user._asdict())
    return user


def find(store: Store, user_id: str | None) -> User | None:
    """The user with this id."""
    rows = store.select(User._fields, "users", "WHERE id = ?", user_id)
    return User(*rows[0]) if rows else None


def by_identifier(store: Store, identifier: str) -> User | None:
    """The user with this did or handle."""
    rows = store.select(User._fields, "users", "WHERE did = ? OR handle = ?", identifier, identifier)
    return User(*rows[0]) if rows else None


def profile(user: User) -> dict[str, Any]:
    """A user as getProfile shows one."""
    shown = {
        "id": user.id,
        "did": user.did,
        "handle": user.handle,
        "avatar": AVATAR,
        "createdAt": iso(user.created_at),
        "updatedAt": iso(user.updated_at),
    }
    return shown if user.display_name is None else {**shown, "displayName": user.display_name}


def owner(user: User) -> dict[str, Any]:
    """A user as the owner of a sandbox: what is not known is null here."""
    return {**profile(user), "displayName": user.display_name}


def _did(handle: str) -> str:
    # From the handle alone, so that a program that runs again on a new folder finds the same did.
    return "did:plc:" + b32encode(hashlib.sha256(handle.encode()).digest()).decode().lower()[:24]
