"""The keys that a sandbox stores, by its id."""

from __future__ import annotations

import re
from functools import partial

import msgspec
from returns.result import Failure, Result

from pocketenv_fp.config import Config, FromEnv
from pocketenv_fp.crypto import generate_ssh_keys, is_masked, mask_ssh_private_key, mask_tailscale_auth_key, plain, seal
from pocketenv_fp.errors import InvalidInput, PocketenvError
from pocketenv_fp.http.xrpc import decode, nothing, procedure, query, send
from pocketenv_fp.models import SshKey, TailscaleAuthKey
from pocketenv_fp.pocketenv.decorators import checked
from pocketenv_fp.redaction import HIDDEN, SecretText
from pocketenv_fp.validation import Id, Text

__all__ = ["generate_ssh_keys", "get_ssh_keys", "get_tailscale_auth_key", "put_ssh_keys", "put_tailscale_auth_key"]

TAILSCALE_PREFIX = "tskey-auth-"


def _ssh_key(body: bytes) -> SshKey:
    key = decode(body, SshKey)
    # Other clients store some keys unencrypted. Masking at once keeps them out of this process.
    return key if is_masked(key.private_key) else msgspec.structs.replace(key, private_key=HIDDEN)


@checked
def get_ssh_keys(
    sandbox_id: Id, *, token: Text | None = None, config: Config | None = None
) -> Result[SshKey, PocketenvError]:
    """Return a sandbox's SshKey: the public key, and the masked private key.

    Failures: InvalidInput; ApiError (404) if no key is stored.

    Args:
        sandbox_id: Id of the sandbox.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, pocketenv
    >>> pocketenv.get_ssh_keys(create("my-box").unwrap().id).failure().status
    404
    """
    return send(query("sandbox.getSshKeys", _ssh_key, {"id": sandbox_id}))


_PRIVATE_KEY = r"(?s)\s*-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----\s.*-----END [A-Z0-9 ]*PRIVATE KEY-----\s*"
_PUBLIC_KEY = r"(?a)\s*[a-z][\w.@-]* [A-Za-z0-9+/]+={0,2}( [^\r\n]*)?\s*"


def _sealed_ssh_key(public_key: str, private_key: str) -> Result[dict[str, str], PocketenvError]:
    if not re.fullmatch(_PRIVATE_KEY, private_key):
        reason = "is not a private key: it must start with -----BEGIN … PRIVATE KEY-----"
        return Failure(InvalidInput("private_key", reason))
    shown = {"publicKey": public_key.removesuffix("\n"), "redacted": mask_ssh_private_key(private_key)}
    return seal(private_key.removesuffix("\n")).map(lambda sealed: {**shown, "privateKey": sealed})


@checked
def put_ssh_keys(
    sandbox_id: Id,
    private_key: SecretText | FromEnv,
    public_key: str,
    *,
    token: Text | None = None,
    config: Config | None = None,
) -> Result[None, PocketenvError]:
    """Store a key pair, or replace the stored one. Returns None. The private key is sealed on this machine.

    The platform appends one newline to each key that it writes, so a final newline is not sent. Later it shows only the
    header, the footer and 15 characters of an OpenSSH key. It shows nothing of another key format.

    Failures: InvalidInput for a value that is not a key, for swapped keys, or for a wrong public key of the platform;
    EncryptionError.

    Args:
        sandbox_id: Id of the sandbox.
        private_key: The private key in PEM form, or `from_env`.
        public_key: The public key, one line, such as ``ssh-ed25519 AAAA…``.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, pocketenv
    >>> pocketenv.put_ssh_keys("some-id", "ssh-ed25519 AAAA", "ssh-ed25519 AAAA")
    <Failure: private_key: is not a private key: it must start with -----BEGIN … PRIVATE KEY-----.>
    """
    if not re.fullmatch(_PUBLIC_KEY, public_key):
        # A private key in this argument would be stored unencrypted.
        reason = "is not a public key: it must be one line, such as ssh-ed25519 AAAA…"
        return Failure(InvalidInput("public_key", reason))
    # The key is sealed before the request: no frame of the request holds it.
    sealed = plain(private_key, "private_key").bind(partial(_sealed_ssh_key, public_key))
    if isinstance(sealed, Failure):
        return sealed
    return send(procedure("sandbox.putSshKeys", nothing, body={"id": sandbox_id, **sealed.unwrap()}))


def _tailscale(body: bytes) -> TailscaleAuthKey:
    key = decode(body, TailscaleAuthKey)
    return key if is_masked(key.auth_key) else msgspec.structs.replace(key, auth_key=HIDDEN)


@checked
def get_tailscale_auth_key(
    sandbox_id: Id, *, token: Text | None = None, config: Config | None = None
) -> Result[TailscaleAuthKey, PocketenvError]:
    """Return a sandbox's TailscaleAuthKey, masked. Failures: InvalidInput; ApiError (404) if no key is stored.

    Args:
        sandbox_id: Id of the sandbox.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import create, pocketenv
    >>> pocketenv.get_tailscale_auth_key(create("my-box").unwrap().id).failure().status
    404
    """
    return send(query("sandbox.getTailscaleAuthKey", _tailscale, {"id": sandbox_id}))


def _sealed_auth_key(key: str) -> Result[dict[str, str], PocketenvError]:
    if not key.startswith(TAILSCALE_PREFIX) or not key.removeprefix(TAILSCALE_PREFIX).strip():
        return Failure(InvalidInput("auth_key", f"must start with {TAILSCALE_PREFIX}: an auth key, not an API key"))
    shown = {"redacted": mask_tailscale_auth_key(key)}
    return seal(key).map(lambda sealed: {**shown, "authKey": sealed})


@checked
def put_tailscale_auth_key(
    sandbox_id: Id, auth_key: SecretText | FromEnv, *, token: Text | None = None, config: Config | None = None
) -> Result[None, PocketenvError]:
    """Store a Tailscale auth key, or replace the stored one. Returns None. It is sealed on this machine.

    Failures: InvalidInput for a key that does not start with ``tskey-auth-``; EncryptionError.

    Args:
        sandbox_id: Id of the sandbox.
        auth_key: The auth key, which starts with ``tskey-auth-``, or `from_env`.
        token, config: Login token and Config of this call only. Default: see `pocketenv_fp.config`.

    >>> from pocketenv_fp import pocketenv
    >>> pocketenv.put_tailscale_auth_key("some-id", "tskey-api-k123")
    <Failure: auth_key: must start with tskey-auth-: an auth key, not an API key.>
    """
    sealed = plain(auth_key, "auth_key").bind(_sealed_auth_key)
    if isinstance(sealed, Failure):
        return sealed
    return send(procedure("sandbox.putTailscaleAuthKey", nothing, body={"id": sandbox_id, **sealed.unwrap()}))
