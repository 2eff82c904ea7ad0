"""Run all benchmarks, and print one table: ``python -m tests.benchmarks [NAME …] [--quick] [--page | --against PATH]``.

Each row has a figure, the floor of the same run where there is one, the aim, and the ratio of figure and aim. A figure
with ``×`` is a ratio to another program in the same run, so that a busy machine slows both. A name is that of a module
without ``bench_``. What the benchmarks print themselves comes first.

``--quick`` takes less than five minutes on two processors: fewer rounds, and no files of 500 MB. ``--page`` also writes
the table and the machine to ``.docs/benchmarks.md``.

``--against PATH`` compares with the package of another checkout, such as one that ``git worktree add PATH COMMIT`` makes.
These benchmarks run with both packages in turns, so that a busy machine slows both. The table has the medians of both, and
their ratio. A benchmark fails where it calls what the other package does not have.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks import rows

# From the quickest to the slowest. The last ones copy large files, or wait for the request limit.
ALL = ("import", "call", "seal", "exec", "latency", "local", "jobs", "archive", "copy", "fleet")
TITLES = ("benchmark", "measure", "figure", "floor", "aim", "to the aim")
COMPARED = ("benchmark", "measure", "before", "now", "now ÷ before")
TOP = Path(__file__).parents[2]
PAGE = TOP / ".docs" / "benchmarks.md"
WORDS = """\
# Benchmarks

`python -m tests.benchmarks --page` has written this page. `--quick` takes less than five minutes. A figure with × is a
ratio to another program in the same run: `requests`, GNU tar, or the time that the network takes. The floor is what a
program needs that does nothing else. The last column is figure ÷ aim: up to 1.00, the aim is met.

"""


def main() -> int:
    """Run the benchmarks in processes of their own, and print the table. Returns an exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(ALL)}")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and no large files")
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.relative_to(TOP)}")
    parser.add_argument("--against", type=Path, metavar="PATH", help="compare with another checkout")
    parser.add_argument("--turns", type=int, default=3, help="how often each package runs, with --against")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(ALL)):
        parser.error(f"unknown: {', '.join(unknown)}; known are {', '.join(ALL)}")
    about = machine(quick=options.quick)
    print(about, flush=True)
    if options.against:
        return compare(options.names or ALL, options.against.resolve(), options.turns, quick=options.quick)
    found, failed = run(options.names or ALL, quick=options.quick)
    table = lines(TITLES, [(name, *row.cells()) for name, row in found])
    print("\n" + "\n".join(table))
    missed = [row.measure for _, row in found if not row.is_met]
    print(f"\n{len(found) - len(missed)} of {len(found)} aims are met" + "".join(f"\n  not: {each}" for each in missed))
    if failed:
        print(f"failed: {', '.join(failed)}")
    if options.page:
        PAGE.write_text(f"{WORDS}{about}.\n\n" + "\n".join(table) + "\n", encoding="utf-8")
    return 1 if failed else 0


def run(names: Sequence[str], *, quick: bool) -> tuple[list[tuple[str, rows.Row]], list[str]]:
    """Run benchmarks one after the other. Returns their rows, and the names of those that failed."""
    found: list[tuple[str, rows.Row]] = []
    failed: list[str] = []
    for name in names:
        measured, is_good = measure(name, TOP, quick=quick)
        found += [(name, each) for each in measured]
        failed += [] if is_good else [name]
    return found, failed


def compare(names: Sequence[str], other: Path, turns: int, *, quick: bool) -> int:
    """Run benchmarks with the package of another checkout and with this one, in turns. Returns an exit status."""
    print(f"before is {revision(other)} in {other}, {turns} turns", flush=True)
    figures: dict[tuple[str, str, str], tuple[list[float], list[float]]] = {}
    failed = set[str]()
    for name in names:
        for _ in range(turns):
            for side, top in enumerate((other, TOP)):
                measured, is_good = measure(name, top, quick=quick)
                failed |= set[str]() if is_good else {f"{name} of {top}"}
                for each in measured:
                    figures.setdefault((name, each.measure, each.unit), ([], []))[side].append(each.figure)
    table = [
        (name, measure, *(f"{statistics.median(side):.3g} {unit}" for side in sides), ratio(*sides))
        for (name, measure, unit), sides in figures.items()
        if all(sides)  # one of them may have failed
    ]
    print("\n" + "\n".join(lines(COMPARED, table)))
    if failed:
        print(f"failed: {', '.join(sorted(failed))}")
    return 1 if failed else 0


def ratio(before: list[float], now: list[float]) -> str:
    """Return the ratio of two figures, the median of all turns."""
    ratios = [one / other for other, one in zip(before, now, strict=False) if other]
    return f"{statistics.median(ratios):.2f}" if ratios else ""


def measure(name: str, top: Path, *, quick: bool) -> tuple[list[rows.Row], bool]:
    """Run a benchmark with the package of a checkout. Returns its rows, and whether it ended well."""
    print(f"\n{name}{'' if top == TOP else f' with {top}'}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "rows")
        # Both are found here, before what is installed.
        Path(folder, "pocketenv_fp").symlink_to(top / "pocketenv_fp")
        Path(folder, "tests").symlink_to(TOP / "tests")
        environment = os.environ | {rows.FILE: str(file), "PYTHONPATH": folder} | ({rows.QUICK: "1"} if quick else {})
        command = [sys.executable, "-m", f"tests.benchmarks.bench_{name}"]
        done = subprocess.run(command, env=environment, cwd=folder, check=False)
        print(f"  ({time.monotonic() - began:.0f} s)", flush=True)
        return rows.read(file), not done.returncode


def machine(*, quick: bool) -> str:
    """Return words about this machine, and how busy it is."""
    load = os.getloadavg()[0]
    kind = " with --quick" if quick else ""
    when = f"{datetime.now(UTC):%Y-%m-%d}, {revision()}{kind}"
    return f"{when}: Python {platform.python_version()} on {platform.system()}, {processor()}, load {load:.1f}"


def processor() -> str:
    """Return the number and the model of the processors."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    models = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return f"{os.cpu_count()} processors ({models[0] if models else platform.machine()})"


def revision(top: Path = TOP) -> str:
    """Return the commit of a clone."""
    asked = ["git", "-C", str(top), "describe", "--always", "--dirty"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "no clone"


def lines(titles: tuple[str, ...], cells: list[tuple[str, ...]]) -> list[str]:
    """Return the lines of a Markdown table."""
    whole = [titles, *cells]
    widths = [max(len(row[column]) for row in whole) for column in range(len(titles))]
    drawn = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in whole]
    return [drawn[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *drawn[1:]]


if __name__ == "__main__":
    sys.exit(main())
