"""What sealing a secret costs beside bare pynacl: ``python tests/benchmarks/bench_seal.py``.

Both seal the same text with the same key, in turns of many calls each. The time is that of the processor. The key
comes from the surrounding `using` block, as in a program: to make a Config for each secret would cost 25 µs more.
"""

from __future__ import annotations

import base64
import statistics
import time
from collections.abc import Callable

from nacl.public import PrivateKey, PublicKey, SealedBox

import pocketenv_fp
from pocketenv_fp import Config, using
from pocketenv_fp.crypto import seal
from tests.benchmarks.rows import row, shorter

ROUNDS = shorter(200, 50)
CALLS = 50


def contenders(key: str, secret: str) -> dict[str, Callable[[], object]]:
    """The same secret sealed in two ways. The first is the measure of the other."""
    box = SealedBox(PublicKey(bytes.fromhex(key)))

    def bare() -> str:
        return base64.urlsafe_b64encode(box.encrypt(secret.encode())).rstrip(b"=").decode()

    def sealed() -> str:
        return seal(secret).unwrap()

    return {
        "nacl's SealedBox.encrypt and base64": bare,
        "pocketenv_fp's seal": sealed,
    }


def measure(title: str, secret: str) -> None:
    """Take turns, and print medians of the rounds with their ratio to the first contender's."""
    measured: dict[str, list[float]] = {}
    key = bytes(PrivateKey.generate().public_key).hex()
    ways = contenders(key, secret)
    # Without a token, each call would look for the token file.
    with using(Config(public_key=key, token="token")):
        for _ in range(ROUNDS):
            for name, way in ways.items():
                began = time.process_time()
                for _ in range(CALLS):
                    way()
                measured.setdefault(name, []).append((time.process_time() - began) / CALLS)
    base = measured[next(iter(measured))]
    print(f"sealing {title}, medians of {ROUNDS} rounds of {CALLS}, pocketenv_fp {pocketenv_fp.__version__}")
    ratio = 1.0
    for name, seconds in measured.items():
        ratio = statistics.median(own / other for own, other in zip(seconds, base, strict=True))
        print(f"  {statistics.median(seconds) * 1e6:7.1f} µs  {ratio:5.2f} ×  {name}")
    row(f"sealing {title}, to bare pynacl", ratio, aim=1.25, floor=1.0, floor_is="pynacl")


def main() -> None:
    """Measure a token and a file."""
    measure("a token of 40 characters", "sk-" + "a1b2c" * 7 + "de")
    measure("a file of 100 KB", "0123456789abcdef" * 6400)


if __name__ == "__main__":
    main()
