"""Messages between the platform and an agent: a newline, two lengths, a JSON object, and bytes.

A shell reads the newline where the agent rests: see `rest`.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any

WAKING = b"\n"
_HEAD = struct.Struct("!cII")


def frame(message: Mapping[str, Any], payload: bytes | bytearray = b"") -> bytes:
    """Return the bytes of one message."""
    head = json.dumps(message).encode()
    return b"".join((_HEAD.pack(WAKING, len(head), len(payload)), head, payload))


class Frames:
    """The bytes that have arrived so far. `woken`: the first one was read before."""

    def __init__(self, *, woken: bool = False) -> None:
        self._received = bytearray(WAKING if woken else b"")

    @property
    def has_part(self) -> bool:
        """Whether a message has arrived in part."""
        return bool(self._received)

    def feed(self, data: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Yield every message that is whole by now, with its payload."""
        self._received += data
        while len(self._received) >= _HEAD.size:
            _, head_size, payload_size = _HEAD.unpack_from(self._received)
            whole = _HEAD.size + head_size + payload_size
            if len(self._received) < whole:
                return
            message: dict[str, Any] = json.loads(self._received[_HEAD.size : _HEAD.size + head_size])
            payload = bytes(self._received[_HEAD.size + head_size : whole])
            del self._received[:whole]
            yield message, payload
