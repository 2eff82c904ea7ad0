"""What jobs cost: seconds from print to callback, requests a minute, code, many streams, and memory.

``python -m tests.benchmarks.bench_jobs [BYTES]``: how much output is followed at the end, 100,000,000 by default.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
import tracemalloc
from collections import Counter

from pocketenv_fp import (
    Config,
    Piece,
    Sandbox,
    create,
    exec,
    fan_out,
    follow,
    local,
    run_code,
    start,
    submit,
    using,
    wait_until_running,
)
from tests.benchmarks.rows import row, shorter

TIMES = "import time\nfor _ in range(40):\n print(time.time(), flush=True)\n time.sleep(1.3)"


def latency(box: Sandbox) -> list[float]:
    seconds: list[float] = []

    def came(piece: Piece) -> None:
        seconds.extend(time.time() - float(line) for line in piece.text.split())

    (box | exec("python3", ["-c", TIMES], on_output=came)).unwrap()
    return sorted(seconds)


def requests(platform: local.Platform, box: Sandbox, line: str) -> float:
    before, began = platform.faults.worked("sandbox.exec"), time.monotonic()
    (box | exec(line, durable=True)).unwrap()
    return (platform.faults.worked("sandbox.exec") - before) / (time.monotonic() - began) * 60


def median(box: Sandbox, *, durable: bool) -> float:
    taken: list[float] = []
    for _ in range(9):
        began = time.perf_counter()
        (box | exec("true", durable=durable)).unwrap()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1000


def code(platform: local.Platform, box: Sandbox) -> tuple[float, float, float]:
    """Return the milliseconds of a first and of a later run, and the requests of one."""
    began = time.perf_counter()
    (box | run_code("x = 1")).unwrap()
    first, before = time.perf_counter() - began, platform.faults.worked("sandbox.exec")
    taken: list[float] = []
    for _ in range(9):
        began = time.perf_counter()
        (box | run_code("x")).unwrap()
        taken.append(time.perf_counter() - began)
    return first * 1000, statistics.median(taken) * 1000, (platform.faults.worked("sandbox.exec") - before) / 9


def streams(number: int, seconds: int) -> None:
    """Follow many commands that print all the time, on a platform that limits requests as the real one does."""
    line = f"for n in $(seq {seconds * 10}); do echo $n; sleep 0.1; done"
    with local.platform(rate_limit=500) as platform, using(Config(api_url=platform.url, token=platform.token)):
        boxes = [(create(f"box-{each}") | start).unwrap() for each in range(number)]
        before, began = len(list(platform.calls)), time.monotonic()
        results = fan_out(exec(line, on_output=lambda _: None), boxes, max_workers=number)
        took, calls = time.monotonic() - began, list(platform.calls)[before:]
    whole = sum(len(result.unwrap().stdout.split()) == seconds * 10 for result in results)
    statuses = Counter(status for _, status in calls)
    print(f"{number} streams: {whole} whole, {len(calls)} requests in {took:.0f} s, by status {dict(statuses)}")


def memory(size: int) -> None:
    box = (create("memory") | start).unwrap()
    tracemalloc.start()
    began, came = time.monotonic(), 0

    def count(piece: Piece) -> None:
        nonlocal came
        came += len(piece.text)

    job = (box | submit(f"head -c {size} /dev/zero | tr '\\0' x")).unwrap()
    marks: list[int] = []

    def counted(piece: Piece) -> None:
        count(piece)
        if came * 10 // size > len(marks):
            marks.append(tracemalloc.get_traced_memory()[0] >> 20)

    (job | follow(on_output=counted)).unwrap()
    peak, most = tracemalloc.get_traced_memory()[1] >> 20, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"{came:,} characters in {time.monotonic() - began:.0f} s: at most {peak} MiB traced, {most} MiB resident")
    print(f"  MiB at each tenth: {marks}")


def main(size: int) -> None:
    """Print the figures of a provider with one shell and of one with many."""
    with local.platform() as platform, using(Config(api_url=platform.url, token=platform.token)):
        for provider in ("cloudflare", "daytona")[: shorter(2, 1)]:
            box = (create(provider, provider=provider) | start | wait_until_running).unwrap()
            plain, as_job = median(box, durable=False), median(box, durable=True)
            print(f"{provider}: exec {plain:.0f} ms, as a job {as_job:.0f} ms")
            row(f"exec of true as a job, {provider}", as_job, "ms", aim=200, floor=plain, floor_is="exec")
            first, later, count = code(platform, box)
            print(f"  run_code: first {first:.0f} ms, later {later:.0f} ms, {count:.1f} requests")
            row(f"requests of a later run_code, {provider}", count, "", aim=1, floor=1)
            if shorter(0, 1):
                continue
            came = latency(box)
            high = came[len(came) * 95 // 100]
            print(f"  print to callback: median {came[len(came) // 2]:.2f} s, 95 % {high:.2f} s, most {came[-1]:.2f} s")
            row(f"from print to on_output, {provider}", came[len(came) // 2], "s", aim=0.5)
            silent = requests(platform, box, "sleep 60")
            chatty = requests(platform, box, "for n in $(seq 600); do echo $n; sleep 0.1; done")
            print(f"  requests a minute: silent {silent:.0f}, chatty {chatty:.0f}")
            row(f"requests a minute of a job that prints all the time, {provider}", chatty, "", aim=66, floor=silent)
        if not shorter(0, 1):
            memory(size)
    if not shorter(0, 1):
        streams(16, 60)


if __name__ == "__main__":
    main(int(sys.argv[1].replace("_", "")) if len(sys.argv) > 1 else 100_000_000)
