"""The platform's own keys: what opens sealed boxes and what signs tokens."""

import base64
import binascii
import hashlib
import hmac
import os
from pathlib import Path

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, SealedBox


class Vault:
    """An X25519 key pair, and tokens signed with a key derived from it."""

    def __init__(self, key: PrivateKey) -> None:
        self._box = SealedBox(key)
        self._signing = hashlib.blake2b(bytes(key), person=b"pocketenv-tokens").digest()
        self.public_key = bytes(key.public_key).hex()

    def open(self, sealed: str) -> str:
        """The text in a base64url box (padding optional); ValueError where there is no such box for this key."""
        try:
            raw = base64.b64decode(sealed + "=" * (-len(sealed) % 4), altchars=b"-_", validate=True)
            return self._box.decrypt(raw).decode("utf-8", "surrogateescape")
        except (binascii.Error, CryptoError, ValueError, TypeError):
            # The original error is left behind: its traceback holds the box.
            raise ValueError("not a sealed box for this platform's key") from None

    def sign(self, user: str, purpose: str = "api") -> str:
        """The token that stands for a user id; the same one at every start on the same folder."""
        mac = hmac.new(self._signing, f"{purpose}:{user}".encode(), hashlib.sha256).hexdigest()
        return f"{user}.{mac}"

    def signer(self, token: str) -> str | None:
        """The user id that a token stands for; None for one that this platform did not sign."""
        user, _, _ = token.partition(".")
        return user if hmac.compare_digest(self.sign(user).encode(), token.encode()) else None

    def __repr__(self) -> str:
        return f"Vault(public_key={self.public_key!r})"


def open_vault(path: Path) -> Vault:
    """The vault kept in a file (mode 0600), made there on first use."""
    if not path.exists():
        _write_once(path, bytes(PrivateKey.generate()).hex())
    return Vault(PrivateKey(bytes.fromhex(path.read_text().strip())))


def _write_once(path: Path, text: str) -> None:
    # A rename shows the whole key or none: half a key after a crash would lock the folder's secrets for ever.
    draft = path.with_name(path.name + ".draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    draft.replace(path)
