"""Passwords that stand in URLs, as git takes them: masked wherever a text is shown.

>>> from pocketenv_fp.passwords import without_passwords
>>> without_passwords("git clone https://me:ghp_12345@example.com/app.git")
'git clone https://***@example.com/app.git'
>>> without_passwords("git clone https://$TOKEN@example.com/app.git ssh://git@example.com/app.git")
'git clone https://$TOKEN@example.com/app.git ssh://git@example.com/app.git'
"""

from __future__ import annotations

import re

__all__ = ["HIDDEN", "without_passwords"]

HIDDEN = "***"

# What is before the last @ of a host: some paste passwords that have one in them.
_USER = re.compile(r"""(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<user>[^\s/?#'"\\]+)@""", re.IGNORECASE)
# A shell puts the value in later, and who writes it so has hidden it already.
_VARIABLES = re.compile(r"(?:[\w.-]+:)?\$(?:\w+|\{\w+\})")


def without_passwords(text: str) -> str:
    """Give the text with a mask for who logs in with each URL. With https the name alone may be a token."""
    return _USER.sub(_masked, text) if "@" in text else text


def _masked(found: re.Match[str]) -> str:
    scheme, user = found["scheme"], found["user"]
    is_open = ":" not in user and scheme.lower() not in {"http", "https"}
    return found[0] if is_open or _VARIABLES.fullmatch(user) else f"{scheme}://{HIDDEN}@"
