"""The login token: the DID in it, and the headers that send it.

The platform signs a token. No signature is checked here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated

import msgspec

from pocketenv_fp.config import settings
from pocketenv_fp.plain_types import built
from pocketenv_fp.redaction import HiddenText

__all__ = ["is_token", "login_did", "request_headers", "token_did"]


class _Claims(msgspec.Struct):
    did: Annotated[str, msgspec.Meta(min_length=1)]


# Once for each login, and not for each request.
@lru_cache(maxsize=64)
def request_headers(token: str | None) -> Mapping[str, str]:
    """Return the headers of every request, and with a token the one that logs in."""
    headers = {"Accept-Encoding": "identity", "User-Agent": "pocketenv-fp"}
    return headers if token is None else {**headers, "Authorization": HiddenText(f"Bearer {token}")}


def is_token(token: str) -> bool:
    """Return whether a token has a valid form: a JWT with a DID, or a token of an embedded platform."""
    if re.fullmatch(r"[^.]+\.[0-9a-f]{64}", token):
        return True
    return token_did(token) is not None


def token_did(token: str) -> str | None:
    """Return the DID of a JSON Web Token, or None."""
    from base64 import urlsafe_b64decode

    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        body = urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        claims: _Claims = msgspec.json.decode(body, type=built(_Claims))
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return None
    return claims.did


def login_did() -> str | None:
    """Return the DID in the token of the current login, or None. No request is sent."""
    return settings().map(lambda known: token_did(known.token or "")).value_or(None)
