"""What importing costs: ``python tests/benchmarks/bench_import.py``.

Each import runs in fresh interpreters, in turns. Printed are medians of the processor time that it took, and the ratio
to ``import requests``.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

from tests.benchmarks.rows import row, shorter

ROUNDS = shorter(25, 11)
IMPORTS = ("import requests", "import pocketenv_fp", "import returns.result", "import msgspec")
PROGRAM = "import time; began = time.process_time(); {}; print(time.process_time() - began)"


def seconds(statement: str) -> float:
    """Import in a fresh interpreter and return the processor seconds that it took there."""
    command = [sys.executable, "-c", PROGRAM.format(statement)]
    return float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def main() -> None:
    """Measure in turns, print."""
    measured: dict[str, list[float]] = {statement: [] for statement in IMPORTS}
    for _ in range(ROUNDS):
        for statement, taken in measured.items():
            taken.append(seconds(statement))
    base = statistics.median(measured[IMPORTS[0]])
    print(f"medians of {ROUNDS} fresh interpreters")
    for statement, taken in measured.items():
        middle = statistics.median(taken)
        print(f"  {middle * 1e3:6.1f} ms  {middle / base:5.2f} ×  {statement}")
    own, floor = (statistics.median(measured[statement]) / base for statement in (IMPORTS[1], IMPORTS[2]))
    row("import pocketenv_fp, to import requests", own, aim=0.65, floor=floor, floor_is="import returns.result")
    lazy = "import sys, pocketenv_fp; print(sorted({'requests', 'nacl', 'toolz', 'urllib3'} & set(sys.modules)))"
    print(
        "  imported along with pocketenv_fp:", subprocess.check_output([sys.executable, "-c", lazy], text=True).strip()
    )


if __name__ == "__main__":
    main()
