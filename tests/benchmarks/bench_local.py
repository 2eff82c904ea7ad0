"""What the embedded platform costs, as ratios to a plain `subprocess.run(["true"])` measured in the same run.

    python tests/benchmarks/bench_local.py
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from pocketenv_fp import local
from pocketenv_fp.local import processes
from pocketenv_fp.local.box import Isolation, bubblewrap
from tests.local.wire import Wire

ROUNDS = 300
AT_ONCE = 200
BOXES = 50


def main() -> None:
    """Measure, and print a table."""
    floor = typical(lambda: subprocess.run(["true"], check=True), ROUNDS)
    print(f'floor: subprocess.run(["true"]) {floor * 1000:.2f} ms; each figure is a multiple of it\n')
    show("platform started in this process", typical(start_and_close, 10), floor)
    show("python -m pocketenv_fp.local, to its first line", typical(start_command, 5), floor)
    levels: tuple[Isolation, ...] = ("bubblewrap", "processes")
    for level in levels:
        if level == "bubblewrap" and bubblewrap() is None:
            print("\nbubblewrap: not to be had here")
            continue
        print(f"\nisolation {level!r}")
        measure(level, floor)


def measure(level: Isolation, floor: float) -> None:
    """The figures of one level."""
    with local.platform(isolation=level) as platform, Wire(platform, platform.token) as wire:
        wire.out(wire.create(), "true")
        show("first exec in a new sandbox", typical(lambda: wire.exec(wire.create(), "true"), BOXES), floor)
        sandbox = wire.create()
        show("a query (getSandbox)", typical(lambda: wire.status(sandbox), ROUNDS), floor)
        show("one exec of true", typical(lambda: wire.exec(sandbox, "true"), ROUNDS), floor)
        with connections(platform) as many, ThreadPoolExecutor(AT_ONCE) as pool:
            for own in many:
                own.status(sandbox)
            walls: list[float] = []
            for _ in range(5):
                begun = time.perf_counter()
                list(pool.map(lambda own: own.out(sandbox, "true"), many))
                walls.append((time.perf_counter() - begun) / AT_ONCE)
        show(f"{AT_ONCE} execs at once, each", statistics.median(walls), floor)
        # Bubblewrap's own process, and the agent.
        alive = processes.marked(platform.data)
        size = sum(proportional(pid) for pid in alive) / (BOXES + 2)
        print(f"  {'memory of an idle box':<52}{size / 2**20:8.1f} MiB")


@contextlib.contextmanager
def connections(platform: local.Platform) -> Generator[list[Wire]]:
    """As many connections as there are commands at once."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Wire(platform, platform.token)) for _ in range(AT_ONCE)]


def start_and_close() -> None:
    """A platform that does nothing."""
    local.platform().close()


def start_command() -> None:
    """The command, until somebody could use it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "pocketenv_fp.local", "--quiet"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"export")
        process.terminate()


def proportional(pid: int) -> int:
    """Bytes of memory of a process, what it shares counted in part; 0 where the system does not tell."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def typical(work: Callable[[], object], rounds: int) -> float:
    """Median seconds of one round."""
    seconds: list[float] = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def show(what: str, seconds: float, floor: float) -> None:
    """One line."""
    print(f"  {what:<52}{seconds / floor:8.2f} x{seconds * 1000:10.2f} ms")


if __name__ == "__main__":
    main()
