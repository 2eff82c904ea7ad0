"""Types that msgspec builds on their first use."""

from __future__ import annotations

import subprocess
import sys

import pytest

# The threads switch all the time. Each round has types of its own, which nothing has used before.
PROGRAM = """
import sys, threading
import msgspec
from pocketenv_fp.http.xrpc import decode
from pocketenv_fp.plain_types import built

sys.setswitchinterval(1e-6)
way = sys.argv[1]

def use(kind):
    if way == "decode":
        assert decode(b'{"inner": {"text": "a"}, "numbers": [1]}', kind).inner.text == "a"
    else:
        assert msgspec.convert({"inner": {"text": "a"}, "numbers": [1]}, built(kind)).numbers == (1,)

for number in range(100):
    inner = msgspec.defstruct(f"Inner{number}", [(f"text", str)])
    outer = msgspec.defstruct(f"Outer{number}", [("inner", inner), ("numbers", tuple[int, ...])])
    ready = threading.Barrier(6)
    def work():
        ready.wait()
        use(outer)
    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print("done")
"""


@pytest.mark.parametrize("way", ["decode", "convert"])
def test_plain_types_many_threads(way: str) -> None:
    """Without it the process ends with a segmentation fault."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM, way], capture_output=True, text=True, check=False, timeout=300)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "done\n", "")
