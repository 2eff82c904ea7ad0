"""Messages between the platform and an agent: two lengths, a JSON object, and bytes."""

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any

_HEAD = struct.Struct("!II")


def frame(message: Mapping[str, Any], payload: bytes | bytearray = b"") -> bytes:
    """Return the bytes of one message."""
    told = json.dumps(message).encode()
    return b"".join((_HEAD.pack(len(told), len(payload)), told, payload))


class Frames:
    """The bytes that have arrived so far."""

    def __init__(self) -> None:
        self._received = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Yield every message that is whole by now, with its payload."""
        self._received += data
        while len(self._received) >= _HEAD.size:
            told, carried = _HEAD.unpack_from(self._received)
            whole = _HEAD.size + told + carried
            if len(self._received) < whole:
                return
            message: dict[str, Any] = json.loads(self._received[_HEAD.size : _HEAD.size + told])
            payload = bytes(self._received[_HEAD.size + told : whole])
            del self._received[:whole]
            yield message, payload
