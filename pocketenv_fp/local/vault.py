"""The platform's own keys: one opens sealed boxes, the other signs tokens and makes app passwords."""

import base64
import binascii
import hashlib
import hmac
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, SealedBox

Claims = Mapping[str, Any]


class Vault:
    """An X25519 key pair, and JSON web tokens (HS256) signed with a key derived from it."""

    def __init__(self, key: PrivateKey) -> None:
        self._box = SealedBox(key)
        self._signing = hashlib.blake2b(bytes(key), person=b"pocketenv-tokens").digest()
        self.public_key = bytes(key.public_key).hex()

    def open(self, sealed: str) -> str:
        """Return the string in a base64url box (padding optional). Raises ValueError where it cannot be opened."""
        try:
            raw = base64.b64decode(sealed + "=" * (-len(sealed) % 4), altchars=b"-_", validate=True)
            return self._box.decrypt(raw).decode("utf-8", "surrogateescape")
        except (binascii.Error, CryptoError, ValueError, TypeError):
            # The original error is left out: its traceback holds the box.
            raise ValueError("not a sealed box for this platform's key") from None

    def sign(self, claims: Claims) -> str:
        """Sign a token. Equal claims have equal tokens, at every start on the same folder."""
        head = _encode(json.dumps({"alg": "HS256", "typ": "JWT"}, separators=(",", ":")).encode())
        body = _encode(json.dumps(dict(claims), separators=(",", ":")).encode())
        return f"{head}.{body}.{self._mac(f'{head}.{body}')}"

    def claims(self, token: str) -> Claims | None:
        """Read a token. Return None for one that this platform did not sign, or that is not valid yet.

        An `exp` in the past is allowed here: the API ignores it, and the storage checks it itself.
        """
        signed, _, mac = token.rpartition(".")
        if not hmac.compare_digest(self._mac(signed).encode(), mac.encode("utf-8", "replace")):
            return None
        try:
            claims = json.loads(_decode(signed.partition(".")[2]))
        except ValueError:
            return None
        if not isinstance(claims, dict):
            return None
        valid = cast("dict[str, Any]", claims)
        start = valid.get("nbf", 0)
        return valid if isinstance(start, int | float) and start <= time.time() else None

    def app_password(self, did: str) -> str:
        """Return the app password of a user, four groups of four letters. It is the same at every start on a folder."""
        digest = hashlib.blake2b(did.encode("utf-8", "replace"), key=self._signing, person=b"pocketenv-app-pw").digest()
        letters = base64.b32encode(digest).decode().lower()
        return "-".join(letters[start : start + 4] for start in range(0, 16, 4))

    def _mac(self, signed: str) -> str:
        return _encode(hmac.new(self._signing, signed.encode("utf-8", "replace"), hashlib.sha256).digest())

    def __repr__(self) -> str:
        return f"Vault(public_key={self.public_key!r})"


def open_vault(path: Path) -> Vault:
    """Return the vault in a file (mode 0600). The first use makes the file."""
    if not path.exists():
        _write_once(path, bytes(PrivateKey.generate()).hex())
    return Vault(PrivateKey(bytes.fromhex(path.read_text().strip())))


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _write_once(path: Path, text: str) -> None:
    # A rename shows the whole key or none. Half a key after a crash would lock the folder's secrets for good.
    draft = path.with_name(path.name + ".draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    draft.replace(path)
