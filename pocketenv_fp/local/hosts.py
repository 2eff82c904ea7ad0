"""The origin of a request: the name that it has for this machine, and the web site that sent it.

A web site can point a name of its own at 127.0.0.1, and its scripts then read every answer: DNS rebinding. So a Host that
does not name this machine is refused. A script of another web site may send requests here as well. They pass with a
token, and not as a caller without a login.
"""

import re
from collections.abc import Mapping

Headers = Mapping[bytes, bytes]

_LOOPBACK = re.compile(rb"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)
_WHY = "This platform answers to 127.0.0.1 and localhost only."
REFUSED = {"error": "Forbidden", "message": _WHY}
FOREIGN = ("Forbidden", "Another web site asks, and without a token.")


def is_loopback(place: bytes) -> bool:
    """Return whether a host, with or without a port, is a name of this machine."""
    return _LOOPBACK.fullmatch(place) is not None


def is_here(headers: Headers) -> bool:
    """Return whether the Host header names this machine."""
    return is_loopback(headers.get(b"host", b""))


def is_foreign(headers: Headers) -> bool:
    """Return whether the request is from a script of a web site that is not served on this machine."""
    origin = headers.get(b"origin")
    return origin is not None and not is_loopback(origin.partition(b"://")[2])
