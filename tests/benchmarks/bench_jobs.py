"""What jobs cost: seconds from print to callback, requests a minute, and exec as a job beside a plain one."""

from __future__ import annotations

import statistics
import time
import tracemalloc

from pocketenv_fp import Config, Piece, Sandbox, create, exec, follow, local, start, submit, using, wait_until_running

TIMES = "import time\nfor _ in range(10):\n print(time.time(), flush=True)\n time.sleep(1.3)"


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


def main() -> None:
    """Print the figures of a provider with one shell and of one with many."""
    with local.platform() as platform, using(Config(api_url=platform.url, token=platform.token)):
        for provider in ("cloudflare", "daytona"):
            box = (create(provider, provider=provider) | start | wait_until_running).unwrap()
            print(f"{provider}: exec {median(box, durable=False):.0f} ms, as a job {median(box, durable=True):.0f} ms")
            came = latency(box)
            print(f"  print to callback: median {came[len(came) // 2]:.2f} s, most {came[-1]:.2f} s")
            silent = requests(platform, box, "sleep 20")
            chatty = requests(platform, box, "for n in $(seq 200); do echo $n; sleep 0.1; done")
            print(f"  requests a minute: silent {silent:.0f}, chatty {chatty:.0f}")
        tracemalloc.start()
        began = time.monotonic()
        size = 0

        def count(piece: Piece) -> None:
            nonlocal size
            size += len(piece.text)

        (box | submit("head -c 100000000 /dev/zero | tr '\\0' x") | follow(on_output=count)).unwrap()
        peak = tracemalloc.get_traced_memory()[1]
        print(f"{size:,} characters in {time.monotonic() - began:.0f} s, at most {peak / 2**20:.0f} MiB of memory")


if __name__ == "__main__":
    main()
