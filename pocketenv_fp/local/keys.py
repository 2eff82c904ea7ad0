"""SSH keys and Tailscale keys of a sandbox."""

from typing import Any, NamedTuple

from pocketenv_fp.local import sandboxes
from pocketenv_fp.local.call import NOTHING, Call, World, iso, new_id, not_found, now
from pocketenv_fp.local.machine import Machine

_ONE = "SELECT {} FROM {} WHERE sandbox = ?"
_FILES = {"ssh-rsa": "id_rsa", "ecdsa-sha2-nistp256": "id_ecdsa"}


class Pair(NamedTuple):
    """An SSH key pair in plain text."""

    private: str
    public: str

    def __repr__(self) -> str:
        return f"Pair(private=<hidden>, public={self.public!r})"


async def get_ssh_keys(call: Call) -> Any:
    """Return the redacted private key as it was sent, and the public one."""
    row = _kept(call, "ssh_keys", "id, redacted, public_key, created_at")
    return {"id": row[0], "privateKey": row[1] or "", "publicKey": row[2], "createdAt": iso(row[3])}


async def put_ssh_keys(call: Call) -> Any:
    """Keep a key pair. The next start writes it into the sandbox."""
    _keep(call, "ssh_keys", private_key=call.body["privateKey"], public_key=call.body["publicKey"])
    return NOTHING


async def get_tailscale_auth_key(call: Call) -> Any:
    """Return the redacted key as it was sent."""
    row = _kept(call, "tailscale_keys", "id, redacted, created_at")
    return {"id": row[0], "authKey": row[1] or "", "createdAt": iso(row[2])}


async def put_tailscale_auth_key(call: Call) -> Any:
    """Keep a key. It has no effect here: there is no Tailscale network."""
    _keep(call, "tailscale_keys", auth_key=call.body["authKey"])
    return NOTHING


def open_pair(world: World, sandbox_id: str) -> Pair | None:
    """Return the key pair of a sandbox, if it has one. Raises ValueError where the private key cannot be opened."""
    row = world.store.row("SELECT private_key, public_key FROM ssh_keys WHERE sandbox = ?", sandbox_id)
    return Pair(world.vault.open(row[0]), row[1]) if row else None


async def install(machine: Machine, pair: Pair) -> None:
    """Write the pair where ssh looks for it. Raises Refused."""
    name = _FILES.get(pair.public.partition(" ")[0], "id_ed25519")
    await machine.write(f"/root/.ssh/{name}", _lines(pair.private), 0o600)
    await machine.write(f"/root/.ssh/{name}.pub", _lines(pair.public), 0o644)


def _lines(text: str) -> bytes:
    # The platform ends a key with one more newline, as it does with files.
    return f"{text}\n".encode("utf-8", "surrogateescape")


def _kept(call: Call, table: str, columns: str) -> tuple[Any, ...]:
    sandbox = sandboxes.find(call.world, call.params["id"], by="id", owner=call.me.id)
    row = None if sandbox is None else call.world.store.row(_ONE.format(columns, table), sandbox.id)
    if row is None:
        raise not_found("Not found")
    return row


def _keep(call: Call, table: str, **values: str) -> None:
    sandbox = sandboxes.find_own(call, call.body["id"], by="id")
    store = call.world.store
    with store.transaction():
        # Each put makes a new record.
        store.remove(table, "sandbox = ?", sandbox.id)
        redacted: str | None = call.body.get("redacted")
        store.insert(table, sandbox=sandbox.id, id=new_id("rec"), redacted=redacted, created_at=now(), **values)
