"""Packing and unpacking beside GNU tar with gzip -6: ``python tests/benchmarks/bench_archive.py [engine …]``.

The contenders take turns on the same trees, so that a busy machine slows all of them alike. Each row says how long it
took, its ratio to GNU tar's time, and how much of memory the process had more at its peak than before.
"""

from __future__ import annotations

import multiprocessing
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from unittest import mock

from pocketenv_fp.archive import compression
from pocketenv_fp.archive.ignore import Ignore
from pocketenv_fp.archive.pack import pack
from pocketenv_fp.archive.unpack import Limits, unpack
from tests.benchmarks.rows import row, shorter

ROUNDS = shorter(5, 2)
MEBI = 1024 * 1024


def content(random: random.Random, size: int) -> bytes:
    """Text of made-up words with some noise in it: it shrinks to about a third, as sources do."""
    words = [random.randbytes(random.randint(3, 9)).hex()[: random.randint(2, 9)] for _ in range(2000)]
    made = bytearray()
    while len(made) < size:
        made += " ".join(random.choices(words, k=200)).encode() + b"\n" + random.randbytes(100)
    return bytes(made[:size])


def small_files(top: Path) -> None:
    """About 60 MB in 5,000 files."""
    source = random.Random(4)
    text = content(source, 4 * MEBI)
    for number in range(5000):
        path = top / f"package-{number % 50}" / f"module-{number % 7}" / f"file-{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        start = source.randrange(3 * MEBI)
        path.write_bytes(text[start : start + source.randrange(24 * 1024)])


def large_file(top: Path) -> None:
    """One file of 500 MB."""
    top.mkdir()
    source = random.Random(5)
    with (top / "large.bin").open("wb") as file:
        for _ in range(50):
            file.write(content(source, 10 * MEBI))


def memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(title: str, ways: dict[str, Callable[[], object]], clean: Callable[[], None]) -> None:
    """Take turns, and print medians of the rounds with their ratio to the first contender's."""
    measured: dict[str, list[float]] = {}
    before = memory()
    for _ in range(ROUNDS):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            measured.setdefault(name, []).append(time.perf_counter() - began)
            clean()
    base = measured[next(iter(measured))]
    ratios: list[float] = []
    print(f"{title}, medians of {ROUNDS} rounds; {memory() - before:.0f} MiB of memory more at the peak")
    for name, seconds in measured.items():
        ratio = statistics.median(own / other for own, other in zip(seconds, base, strict=True))
        print(f"  {statistics.median(seconds):6.2f} s  {ratio:5.2f} ×  {name}")
        ratios.append(ratio)
    row(f"{title}, to GNU tar with gzip", min(ratios[1:]), aim=1.0, floor=1.0, floor_is="tar")


def compare(title: str, make: Callable[[Path], None], folder: Path, engines: dict[str, ModuleType]) -> None:
    """Pack and unpack one tree in all ways."""
    tree, archive, out = folder / "tree", folder / "tree.tar.gz", folder / "out"
    # In a process of its own: what it takes must not be in this one's peak.
    maker = multiprocessing.get_context("fork").Process(target=make, args=(tree,))
    maker.start()
    maker.join()

    def by_tar() -> None:
        subprocess.run(["tar", "czf", str(archive), "-C", str(tree), "."], check=True)

    def untar() -> None:
        out.mkdir()
        subprocess.run(["tar", "xzf", str(archive), "-C", str(out)], check=True)

    def packing(engine: ModuleType) -> Callable[[], None]:
        def pack_it() -> None:
            with mock.patch.object(compression, "engine", engine), (folder / "own.tar.gz").open("wb") as file:
                for piece in pack(tree, ignore=Ignore.none()):
                    file.write(piece)

        return pack_it

    def unpacking(engine: ModuleType) -> Callable[[], None]:
        def unpack_it() -> None:
            with mock.patch.object(compression, "engine", engine), archive.open("rb", buffering=0) as file:
                unpack(file.read, out, limits=Limits())

        return unpack_it

    packs = {f"pack, {name}": packing(engine) for name, engine in engines.items()}
    measure(f"packing {title}", {"tar czf": by_tar, **packs}, lambda: None)
    sizes = (folder / "own.tar.gz").stat().st_size / archive.stat().st_size
    print(f"          {sizes:5.2f} × the size of GNU tar's")
    unpacks = {f"unpack, {name}": unpacking(engine) for name, engine in engines.items()}
    measure(f"unpacking {title}", {"tar xzf": untar, **unpacks}, lambda: shutil.rmtree(out, ignore_errors=True))


def main() -> None:
    """Measure with the engines that are named, or with all that are installed."""
    there = compression.engines()
    engines = {name: there[name] for name in sys.argv[1:]} or there
    trees = {"60 MB in 5,000 files": small_files, "one file of 500 MB": large_file}
    for title, make in list(trees.items())[: shorter(2, 1)]:
        with tempfile.TemporaryDirectory() as folder:
            compare(title, make, Path(folder), engines)


if __name__ == "__main__":
    main()
