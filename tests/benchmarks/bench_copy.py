"""Upload and download beside ``tar czf | curl`` and ``curl | tar xz``: ``python -m tests.benchmarks.bench_copy``.

Both sides talk to the same embedded platform, which runs in a process of its own, and take turns. This library's side
is a new process for each measurement, so that its peak of memory is its own: it times the call and not its imports.

The rows measure this machine's side: to storage and from it. With ``--whole`` there are two rows more, in which the
sandbox unpacks and packs as well; that takes each side the same time. It needs bash, GNU tar, gzip and curl.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pocketenv_fp
from pocketenv_fp import Config, create, local, start
from pocketenv_fp.sandbox.copying.remote import End
from tests.benchmarks.bench_archive import large_file, small_files
from tests.benchmarks.rows import row, shorter

ROUNDS = shorter(5, 2)
# What the process of one measurement does: which of the two, whether the sandbox takes part, and its arguments.
CHILD = r"""
import pathlib, re, sys, time
from returns.result import Success
from pocketenv_fp import download, get_sandbox, upload
from pocketenv_fp.models import ExecResult
from pocketenv_fp.sandbox.copying.remote import End
what, id, here, there, uuid = sys.argv[1:]
if what in {"put", "take"}:
    End.pull = lambda *_: Success(None)
    End.push = lambda *_: Success(uuid)
    End.run = lambda *_, **__: Success(ExecResult("directory large\n", "", 0))
box = get_sandbox(id)
began = time.perf_counter()
done = upload(box, here, there) if what in {"put", "upload"} else download(box, there, here)
seconds = time.perf_counter() - began
done.unwrap()
print(seconds, re.search(r"VmHWM:\s*(\d+)", pathlib.Path("/proc/self/status").read_text())[1])
"""


def serve(tell: multiprocessing.Queue[dict[str, str]]) -> None:
    with local.platform() as platform:
        tell.put(platform.environment)
        while os.getppid() == PARENT:
            time.sleep(0.2)


PARENT = os.getpid()


class Bench:
    """A platform, a sandbox on it, and a tree to copy."""

    def __init__(self, environment: dict[str, str], folder: Path, title: str) -> None:
        self.environment = environment
        self.folder = folder
        self.title = title
        self.tree = folder / "tree"
        self.out = folder / "out"
        self.peak = 0
        self.config = Config(
            api_url=environment["POCKETENV_API_URL"],
            storage_url=environment["POCKETENV_STORAGE_URL"],
            token=environment["POCKETENV_TOKEN"],
        )
        self.box = (create(f"bench-{folder.name}", config=self.config) | start(config=self.config)).unwrap()
        self.end = End(self.box)
        self.curl = f"curl -sSf -H 'Authorization: Bearer {self.config.token}'"
        self.place = f"{self.config.storage_url}/cp"

    def shell(self, line: str) -> str:
        """What a shell line prints; it has to end well."""
        done = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, check=True)
        return done.stdout

    def child(self, what: str, here: Path, there: str, uuid: str = "") -> float:
        """Seconds of one call in a process of its own."""
        command = [sys.executable, "-c", CHILD, what, self.box.id, str(here), there, uuid]
        environment = os.environ | self.environment
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        seconds, peak = done.stdout.split()
        self.peak = max(self.peak, int(peak) // 1024)
        return float(seconds)

    def stored(self) -> str:
        """The uuid of the tree in storage, packed by GNU tar as the platform packs it."""
        told = self.shell(f"tar czf - -C {self.tree} . | {self.curl} -F 'file=@-;filename=a.tar.gz' {self.place}")
        return told.split('"')[3]

    def forget(self, uuid: str) -> None:
        self.shell(f"{self.curl} -o /dev/null {self.place}/{uuid}")

    def curl_up(self) -> str:
        told = self.shell(f"tar czf - -C {self.tree} . | {self.curl} -F 'file=@-;filename=a.tar.gz' {self.place}")
        return told.split('"')[3]

    def curl_down(self, uuid: str) -> None:
        self.out.mkdir()
        self.shell(f"{self.curl} {self.place}/{uuid} | tar xz --strip-components=1 -C {self.out}")

    def clean(self) -> None:
        shutil.rmtree(self.out, ignore_errors=True)
        self.shell(f"rm -rf {self.out}")


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def compare(bench: Bench, title: str, ours: Callable[[], float], theirs: Callable[[], float]) -> None:
    """Take turns, and print the medians and their ratio."""
    bench.peak = 0
    pairs = [(ours(), theirs()) for _ in range(ROUNDS)]
    own, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(one / two for one, two in zip(*zip(*pairs, strict=True), strict=True))
    way, _, _ = title.partition(" against")
    row(f"{way}, {bench.title}", ratio, aim=1.8 if "from" in way else 0.8, floor=1.0, floor_is="tar and curl")
    row(f"memory of the {way}", bench.peak, "MiB", aim=64)
    print(f"  {own:6.2f} s against {other:6.2f} s  {ratio:5.2f} ×  peak {bench.peak:3d} MiB  {title}", flush=True)


def to_storage(bench: Bench) -> None:
    uuids: list[str] = []

    def theirs() -> float:
        seconds = timed(lambda: uuids.append(bench.curl_up()))
        bench.forget(uuids.pop())
        return seconds

    compare(bench, "upload to storage against tar czf | curl", lambda: bench.child("put", bench.tree, "tree"), theirs)


def from_storage(bench: Bench) -> None:
    def ours() -> float:
        seconds = bench.child("take", bench.out, "tree", bench.stored())
        bench.clean()
        return seconds

    def theirs() -> float:
        uuid = bench.stored()
        seconds = timed(lambda: bench.curl_down(uuid))
        bench.clean()
        return seconds

    compare(bench, "download from storage against curl | tar xz", ours, theirs)


def through_a_sandbox(bench: Bench) -> None:
    def up() -> None:
        bench.end.pull(bench.curl_up(), "/workspace/by-tar").unwrap()

    def down() -> None:
        bench.curl_down(bench.end.push("/workspace/by-tar").unwrap())

    def ours() -> float:
        seconds = bench.child("download", bench.out, "by-us")
        bench.clean()
        return seconds

    def theirs() -> float:
        seconds = timed(down)
        bench.clean()
        return seconds

    compare(bench, "upload, unpacked there", lambda: bench.child("upload", bench.tree, "by-us"), lambda: timed(up))
    compare(bench, "download, packed there", ours, theirs)


def main() -> None:
    """Measure a tree of many files and one large file."""
    if shutil.which("curl") is None:
        sys.exit("curl is missing: install it")
    fork = multiprocessing.get_context("fork")
    tell: multiprocessing.Queue[dict[str, str]] = fork.Queue()
    process = fork.Process(target=serve, args=(tell,))
    process.start()
    try:
        environment = tell.get(timeout=30)
        print(f"medians of {ROUNDS} rounds, pocketenv_fp {pocketenv_fp.__version__}")
        kinds: tuple[tuple[str, Callable[[Path], None]], ...] = (
            ("5,000 files of 60 MB together", small_files),
            ("one file of 500 MB", large_file),
        )
        for title, make in kinds[: shorter(2, 1)]:
            with tempfile.TemporaryDirectory() as folder:
                make(Path(folder, "tree"))
                print(title)
                bench = Bench(environment, Path(folder), title)
                to_storage(bench)
                from_storage(bench)
                if "--whole" in sys.argv:
                    through_a_sandbox(bench)
    finally:
        process.terminate()
        process.join()


if __name__ == "__main__":
    main()
