"""Messages between the platform and an agent: two lengths, a JSON object, and bytes."""

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any

_HEAD = struct.Struct("!II")


def frame(message: Mapping[str, Any], payload: bytes | bytearray = b"") -> bytes:
    """Return the bytes of one message."""
    head = json.dumps(message).encode()
    return b"".join((_HEAD.pack(len(head), len(payload)), head, payload))


class Frames:
    """The bytes that have arrived so far."""

    def __init__(self) -> None:
        self._received = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Yield every message that is whole by now, with its payload."""
        self._received += data
        while len(self._received) >= _HEAD.size:
            head_size, payload_size = _HEAD.unpack_from(self._received)
            whole = _HEAD.size + head_size + payload_size
            if len(self._received) < whole:
                return
            message: dict[str, Any] = json.loads(self._received[_HEAD.size : _HEAD.size + head_size])
            payload = bytes(self._received[_HEAD.size + head_size : whole])
            del self._received[:whole]
            yield message, payload
