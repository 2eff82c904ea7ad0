"""Name look-ups with a time limit: `socket.getaddrinfo` has none of its own and cannot be interrupted.

The look-up runs on a daemon thread. Callers that ask for the same host wait for the same thread, so a name server that
does not answer holds one thread for each host, however many callers give up.
"""

from __future__ import annotations

import errno
import socket
import threading

from urllib3.util.connection import allowed_gai_family

from pocketenv_fp.runtime.forking import after_fork

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
    """Return the addresses of a host, in the order in which to try them. None is no time limit.

    Raises TimeoutError after ``seconds``, socket.gaierror where the name has no address, OSError where no thread can be
    started. A name that is no host name is returned as it is: connecting to it raises what urllib3 raises.

    >>> from pocketenv_fp.http.lookups import addresses
    >>> addresses("127.0.0.1", 80, seconds=1)
    ['127.0.0.1']
    """
    if _is_address(host):
        return [host]
    lookup = _shared(host, port)
    if not lookup.is_done.wait(seconds):
        raise TimeoutError(errno.ETIMEDOUT, "the name look-up did not end in time")
    if isinstance(lookup.error, UnicodeError):
        return [host]
    if lookup.error is not None:
        # Each caller raises an exception of its own: a traceback belongs to one thread.
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
