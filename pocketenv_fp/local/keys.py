"""SSH keys and Tailscale keys of a sandbox."""

from typing import Any, NamedTuple

from pocketenv_fp.local import sandboxes
from pocketenv_fp.local.call import NOTHING, Call, World, iso, new_id, not_found, now
from pocketenv_fp.local.machine import Machine
from pocketenv_fp.local.sandboxes import Sandbox

_FILES = {"ssh-rsa": "id_rsa", "ecdsa-sha2-nistp256": "id_ecdsa"}


class Pair(NamedTuple):
    """An SSH key pair in the clear."""

    private: str
    public: str

    def __repr__(self) -> str:
        return f"Pair(private=<hidden>, public={self.public!r})"


async def get_ssh_keys(call: Call) -> Any:
    """The redacted private key as it was sent, and the public one."""
    row = call.world.store.row(
        "SELECT id, redacted, public_key, created_at FROM ssh_keys WHERE sandbox = ?", _own(call, call.params["id"]).id
    )
    if row is None:
        raise not_found("SSH keys not found")
    return {"id": row[0], "privateKey": row[1] or "", "publicKey": row[2], "createdAt": iso(row[3])}


async def put_ssh_keys(call: Call) -> Any:
    """Keep a key pair; the next start writes it into the sandbox."""
    call.world.store.write(
        "INSERT INTO ssh_keys (sandbox, id, private_key, public_key, redacted, created_at) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (sandbox) DO UPDATE SET private_key = excluded.private_key, public_key = excluded.public_key,"
        " redacted = excluded.redacted",
        _own(call, call.body["id"]).id,
        new_id(),
        call.body["privateKey"],
        call.body["publicKey"],
        call.body.get("redacted"),
        now(),
    )
    return NOTHING


async def get_tailscale_auth_key(call: Call) -> Any:
    """The redacted key as it was sent."""
    row = call.world.store.row(
        "SELECT id, redacted, created_at FROM tailscale_keys WHERE sandbox = ?", _own(call, call.params["id"]).id
    )
    if row is None:
        raise not_found("Tailscale auth key not found")
    return {"id": row[0], "authKey": row[1] or "", "createdAt": iso(row[2])}


async def put_tailscale_auth_key(call: Call) -> Any:
    """Keep a key; nothing here joins a Tailscale network with it."""
    call.world.store.write(
        "INSERT INTO tailscale_keys (sandbox, id, auth_key, redacted, created_at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (sandbox) DO UPDATE SET auth_key = excluded.auth_key, redacted = excluded.redacted",
        _own(call, call.body["id"]).id,
        new_id(),
        call.body["authKey"],
        call.body.get("redacted"),
        now(),
    )
    return NOTHING


def opened(world: World, sandbox_id: str) -> Pair | None:
    """The key pair of a sandbox, if it has one; ValueError where the private key is no box for this key."""
    row = world.store.row("SELECT private_key, public_key FROM ssh_keys WHERE sandbox = ?", sandbox_id)
    return Pair(world.vault.open(row[0]), row[1]) if row else None


async def install(machine: Machine, pair: Pair) -> None:
    """Write the pair where ssh looks for it. Raises Refused."""
    name = _FILES.get(pair.public.partition(" ")[0], "id_ed25519")
    await machine.write(f"/root/.ssh/{name}", _lines(pair.private), 0o600)
    await machine.write(f"/root/.ssh/{name}.pub", _lines(pair.public), 0o644)


def _lines(text: str) -> bytes:
    # ssh does not read a private key whose last line is not ended.
    return (text if text.endswith("\n") else text + "\n").encode("utf-8", "surrogateescape")


def _own(call: Call, sandbox_id: str) -> Sandbox:
    found = sandboxes.find(call.world, sandbox_id, by="id", owner=call.me.id)
    if found is None:
        raise not_found("Sandbox not found")
    return found
