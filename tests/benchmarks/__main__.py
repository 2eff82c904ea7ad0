"""Run all benchmarks, one after the other: ``python -m tests.benchmarks [NAME …] [--quick]``.

Each line with a ratio is printed under the name of its benchmark, beside a floor of the same run. A name is that of a
module without ``bench_``. ``--quick`` runs those that take less than two minutes on two processors.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time

# From the quickest to the slowest. The last ones copy large files, or wait for the request limit.
ALL = ("import", "call", "seal", "exec", "latency", "local", "jobs", "archive", "copy", "fleet")
QUICK = ALL[:5]


def main() -> int:
    """Run the benchmarks in processes of their own, and print what they print. Returns an exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(ALL)}")
    parser.add_argument("--quick", action="store_true", help=f"run {', '.join(QUICK)}")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(ALL)):
        parser.error(f"unknown: {', '.join(unknown)}; known are {', '.join(ALL)}")
    load = os.getloadavg()[0]
    print(f"Python {platform.python_version()}, {os.cpu_count()} processors, load {load:.1f}", flush=True)
    failed: list[str] = []
    for name in options.names or (QUICK if options.quick else ALL):
        print(f"\n{name}", flush=True)
        began = time.monotonic()
        if subprocess.run([sys.executable, "-m", f"tests.benchmarks.bench_{name}"], check=False).returncode:
            failed.append(name)
        print(f"  ({time.monotonic() - began:.0f} s)", flush=True)
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
