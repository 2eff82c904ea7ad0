"""What importing costs: ``python tests/benchmarks/bench_import.py``.

Each import runs in fresh interpreters with compiled bytecode, in turns. Printed are minimums of the processor time of a
whole interpreter, and ratios to ``import requests``. The last lines are the result.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.rows import row, shorter

ROUNDS = shorter(15, 9)
GOAL = 0.65
BASE = "import requests"
PACKAGE = "import pocketenv_fp"
PIPELINE = "from pocketenv_fp import create, start, exec, ephemeral"
IMPORTS = ("pass", BASE, PACKAGE, PIPELINE, "import returns.result", "import msgspec")
ROOT = Path(__file__).parents[2]


def seconds(statement: str, bytecode: str) -> float:
    """Import in a fresh interpreter and return the processor seconds that the interpreter took."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode, "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", f"{statement}\nimport time; print(time.process_time())"]
    return float(subprocess.run(command, capture_output=True, check=True, text=True, env=environment).stdout)


def main() -> None:
    """Measure in turns, print."""
    measured: dict[str, list[float]] = {statement: [] for statement in IMPORTS}
    with TemporaryDirectory() as bytecode:
        for turn in range(ROUNDS + 1):
            for statement, taken in measured.items():
                spent = seconds(statement, bytecode)
                # The first turn compiles.
                taken.extend([spent] if turn else [])
    least = {statement: min(taken) for statement, taken in measured.items()}
    print(f"minimums of {ROUNDS} fresh interpreters")
    for statement, spent in least.items():
        print(f"  {spent * 1e3:6.1f} ms  {spent / least[BASE]:5.2f}  {statement}")
    for statement in (PACKAGE, PIPELINE):
        print(f"{statement}: {least[statement] / least[BASE]:.2f} of {BASE}. The goal is at most {GOAL}")
        ratio, floor = (least[each] / least[BASE] for each in (statement, "pass"))
        row(f"{statement}, to {BASE}", ratio, aim=GOAL, floor=floor, floor_is="Python alone")


if __name__ == "__main__":
    main()
