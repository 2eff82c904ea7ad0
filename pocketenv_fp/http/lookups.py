"""Name lookups with a timeout: `socket.getaddrinfo` has none and cannot be interrupted.

The lookup runs on a daemon thread. Callers that look up the same host share one thread. So a name server that does not
respond blocks one thread for each host, for any number of callers.
"""

from __future__ import annotations

import errno
import socket
import threading

from urllib3.util.connection import allowed_gai_family

from pocketenv_fp.forking import after_fork

__all__ = ["addresses"]


class _Lookup:
    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.is_done = threading.Event()
        self.addresses: list[str] = []
        self.error: OSError | UnicodeError | None = None


_running: dict[tuple[str, int], _Lookup] = {}
_lock = threading.Lock()


def addresses(host: str, port: int, seconds: float | None) -> list[str]:
    """Return the addresses of a host, in the order to try them. ``seconds`` of None means no timeout.

    Raises TimeoutError after ``seconds``, socket.gaierror for a name without an address, and OSError if no thread can
    be started. An invalid host name is returned unchanged: urllib3 raises when it connects.

    >>> from pocketenv_fp.http.lookups import addresses
    >>> addresses("127.0.0.1", 80, seconds=1)
    ['127.0.0.1']
    """
    if _is_address(host):
        return [host]
    lookup = _shared(host, port)
    if not lookup.is_done.wait(seconds):
        raise TimeoutError(errno.ETIMEDOUT, "the name lookup did not end in time")
    if isinstance(lookup.error, UnicodeError):
        return [host]
    if lookup.error is not None:
        # A new exception for each caller: a traceback belongs to one thread.
        raise type(lookup.error)(*lookup.error.args)
    return lookup.addresses


def _is_address(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host.strip("[]"))
        except (OSError, ValueError):
            continue
        return True
    return False


def _shared(host: str, port: int) -> _Lookup:
    with _lock:
        if running := _running.get((host, port)):
            return running
        lookup = _running[host, port] = _Lookup(host, port)
        try:
            threading.Thread(target=_look_up, args=(lookup,), daemon=True, name=f"look up {host}").start()
        except RuntimeError:
            del _running[host, port]
            raise OSError(errno.EAGAIN, "no thread can be started") from None
    return lookup


def _look_up(lookup: _Lookup) -> None:
    try:
        rows = socket.getaddrinfo(lookup.host, lookup.port, allowed_gai_family(), socket.SOCK_STREAM)
        lookup.addresses = list(dict.fromkeys(str(row[4][0]) for row in rows))
    except (OSError, UnicodeError) as error:
        lookup.error = error
    finally:
        if not lookup.addresses and lookup.error is None:
            lookup.error = socket.gaierror(socket.EAI_NONAME, "the name has no address")
        with _lock:
            if _running.get((lookup.host, lookup.port)) is lookup:
                del _running[lookup.host, lookup.port]
        lookup.is_done.set()


def _forget() -> None:
    # A forked child has none of its parent's threads.
    global _lock  # noqa: PLW0603  # one process, one lock
    _lock = threading.Lock()
    _running.clear()


after_fork(_forget)
