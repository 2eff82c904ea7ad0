"""From where a request came: by which name of this machine, and from which web site.

A web site can point a name of its own at 127.0.0.1, and its scripts then read every answer: DNS rebinding. A name that is
not this machine's is refused for that reason. A script of another web site may send requests here as well. It gets
through with a token, and not in the name of a caller without a login.
"""

import re
from collections.abc import Mapping

Headers = Mapping[bytes, bytes]

_LOOPBACK = re.compile(rb"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)
_WHY = "This platform answers to 127.0.0.1 and localhost only."
REFUSED = {"error": "Forbidden", "message": _WHY}
FOREIGN = ("Forbidden", "Another web site asks, and without a token.")


def is_here(headers: Headers) -> bool:
    """Whether the Host header names this machine."""
    return _LOOPBACK.fullmatch(headers.get(b"host", b"")) is not None


def is_foreign(headers: Headers) -> bool:
    """Whether a script of a web site asks that is not served on this machine."""
    origin = headers.get(b"origin")
    if origin is None:
        return False
    _, _, place = origin.partition(b"://")
    return _LOOPBACK.fullmatch(place) is None
