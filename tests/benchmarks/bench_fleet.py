"""A fleet at the platform's request limit: ``python -m tests.benchmarks.bench_fleet [--pipelines 500]``.

The embedded platform counts as the real one does, 500 requests in 30 seconds, refused ones included, and boots a
sandbox for 2 seconds. The fleet is this library's `fan_out`. The other rows are the bound, which is the time in which
the platform allows as many requests, and clients without a limiter that look every half a second, each by itself.
Those run for as long as the fleet did, at most ``--naive-seconds``. Before them, usual programs run once each, and their
requests are counted: ``python -m tests.benchmarks fleet --against PATH`` shows what another checkout sends.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import requests

from pocketenv_fp import (
    Config,
    Step,
    create,
    ephemeral,
    exec,
    fan_out,
    gather,
    local,
    partition,
    restart_service,
    set_file,
    set_secret,
    set_service,
    set_variable,
    set_volume,
    start,
    submit,
    tap,
    using,
    wait_for_job,
    wait_until_running,
)
from pocketenv_fp.local.request_log import Answered
from pocketenv_fp.sandbox import shared_polling
from tests.benchmarks.rows import row, shorter

LIMIT = 500
WINDOW = 30.0
BOOT = 2.0
BASE = "at://did:plc:aturpi2ls3yvsmhc6wybomun/io.pocketenv.sandbox/openclaw"
PIPELINE = ephemeral(start | wait_until_running | exec("echo hello", check=True), provider="daytona")
VARIABLES = (set_variable("A", "1"), set_variable("B", "2"), set_variable("C", "3"))
PROGRAMS: list[Step[str, Any]] = [
    create | start | wait_until_running | exec("true"),
    create | gather(*VARIABLES, parallel=True),
    create | tap(gather(*VARIABLES)) | gather(*VARIABLES),
    create | gather(set_volume("a", "/a"), set_volume("b", "/b"), set_volume("c", "/c")),
    create | tap(gather(set_secret("A", "1"), set_file("b", "2"))) | start | exec("true"),
    create | tap(gather(set_service("a", "sleep 9"), set_service("b", "sleep 9"))) | tap(restart_service("a")) | start,
    create(repo="file:///no/such/repository") | start | exec("true"),
    create | start | submit("true") | wait_for_job,
]


class Outcome(NamedTuple):
    """What came of one contender."""

    done: int
    failed: int
    seconds: float
    methods: Counter[str]
    refused: int

    @property
    def sent(self) -> int:
        return self.methods.total()


@contextmanager
def counted(limit: int | None) -> Generator[tuple[local.Platform, Counter[str], list[float]]]:
    """A platform of its own, since an address has one window; what it was asked, and when it refused."""
    methods: Counter[str] = Counter()
    refused: list[float] = []
    began = time.monotonic()

    def heard(answered: Answered) -> None:
        methods[answered.title] += 1
        if answered.status == 429:
            refused.append(time.monotonic() - began)

    with local.platform(boot_delay=BOOT, rate_limit=limit) as platform:
        platform.listen(heard)
        yield platform, methods, refused


def fleet(pipelines: int, workers: int, limit: int | None = LIMIT) -> Outcome:
    """This library, as one uses it."""
    with counted(limit) as (platform, methods, refused), using(Config(api_url=platform.url, token=platform.token)):
        began = time.perf_counter()
        results = fan_out(PIPELINE, [f"box-{number}" for number in range(pipelines)], max_workers=workers)
        seconds = time.perf_counter() - began
        done, failed = partition(results)
        for error in failed[:3]:
            print(f"  failed: {error!r}")
        for moment in refused[:3]:
            print(f"  refused after {moment:.1f} s")
        return Outcome(len(done), len(failed), seconds, methods, len(refused))


class Naive:
    """A client of a few lines, with a session of its own. After a 429 it tries again, at once or after Retry-After."""

    def __init__(self, platform: local.Platform, ends: float, *, polite: bool) -> None:
        self._url = f"{platform.url}/xrpc/io.pocketenv.sandbox."
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {platform.token}"
        self._ends, self._polite = ends, polite

    def _ask(self, verb: str, method: str, **given: Any) -> Any:
        while time.perf_counter() < self._ends:
            answer = self._session.request(verb, self._url + method, **given)
            if answer.status_code != 429:
                answer.raise_for_status()
                return answer.json()
            if self._polite:
                left = self._ends - time.perf_counter()
                time.sleep(max(min(float(answer.headers["Retry-After"]), left), 0))
        raise TimeoutError

    def run(self) -> None:
        """One pipeline. It sets no name: one request less than the fleet's."""
        box = self._ask("POST", "createSandbox", json={"base": BASE, "provider": "daytona"})["id"]
        self._ask("POST", "startSandbox", params={"id": box}, json={})
        while self._ask("GET", "getSandbox", params={"id": box})["sandbox"]["status"] != "RUNNING":
            time.sleep(0.5)
        assert self._ask("POST", "exec", params={"id": box}, json={"command": "echo hello"})["exitCode"] == 0
        self._ask("POST", "deleteSandbox", params={"id": box})


def naive(pipelines: int, workers: int, seconds: float, *, polite: bool) -> Outcome:
    """Threads that know nothing of each other."""
    done: list[int] = []
    left = iter(range(pipelines))
    guard = threading.Lock()
    with counted(LIMIT) as (platform, methods, refused):
        began = time.perf_counter()
        ends = began + seconds

        def work(_: int) -> None:
            client = Naive(platform, ends, polite=polite)
            while time.perf_counter() < ends:
                with guard:
                    number = next(left, None)
                if number is None:
                    return
                try:
                    client.run()
                except TimeoutError:
                    return
                done.append(number)

        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(work, range(workers)))
        return Outcome(len(done), pipelines - len(done), time.perf_counter() - began, methods, len(refused))


def alone(work: Callable[[], Outcome]) -> Outcome:
    """The same with every waiter looking for itself."""
    usual, shared_polling.CROWD = shared_polling.CROWD, 1_000_000
    try:
        return work()
    finally:
        shared_polling.CROWD = usual


def programs() -> int:
    """Run usual programs, and return how many requests they sent together."""
    total = 0
    with local.platform() as platform:
        for number, program in enumerate(PROGRAMS):
            platform.calls.clear()
            program(f"program-{number}").unwrap()
            print(f"  {len(platform.calls):3d} requests  {program}")
            total += len(platform.calls)
    return total


def tell(name: str, found: Outcome) -> None:
    each = f"{found.sent / found.done:7.2f}" if found.done else "      -"
    rate = found.done / found.seconds * WINDOW
    print(
        f"  {name:<34} {found.done:5d} done {found.failed:4d} not {found.seconds:6.1f} s {rate:6.1f} in 30 s"
        f" {found.sent:7d} requests {each} a pipeline {found.refused:6d} × 429"
    )


def main() -> None:
    """Run them one after the other."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--pipelines", type=int, default=shorter(500, 150))
    asked.add_argument("--workers", type=int, default=32)
    asked.add_argument("--naive-seconds", type=float, default=120)
    given = asked.parse_args()
    workers: int = given.workers
    row(f"requests of {len(PROGRAMS)} usual programs", programs(), "", aim=53)
    print(f"{given.pipelines} pipelines of create, start, wait, exec and delete, {workers} at once, boot {BOOT:g} s")
    ours = fleet(given.pipelines, workers)
    tell("fan_out", ours)
    bound = ours.sent / LIMIT * WINDOW
    print(f"    {ours.seconds / bound:5.2f} × the bound: {ours.sent} requests / {LIMIT} × {WINDOW:g} s = {bound:.1f} s")
    row("requests of a pipeline: create, start, wait, exec, delete", ours.sent / max(ours.done, 1), "", aim=6.1)
    row("requests that are refused with 429", ours.refused, "", aim=0)
    row("pipelines that failed", ours.failed, "", aim=0)
    if ours.sent > 4 * LIMIT:
        # In fewer windows, the first one, which is free, counts for too much.
        row("a fleet, to the time that the request limit takes", ours.seconds / bound, aim=1.03, floor=1.0)
    for method, times in ours.methods.most_common():
        print(f"    {times / max(ours.done, 1):5.2f} a pipeline  {method}")
    if shorter(0, 1):
        return
    seconds = min(ours.seconds, given.naive_seconds)
    pace = ours.done / ours.seconds
    for name, polite in (("naive, again at once after a 429", False), ("naive, again after Retry-After", True)):
        other = naive(given.pipelines, workers, seconds, polite=polite)
        tell(name, other)
        print(f"    {other.done / other.seconds / pace:5.2f} × the pace of fan_out")
    few = min(given.pipelines, 2 * workers)
    print(f"without a limit, {few} pipelines: what waiting together saves")
    tell("fan_out", fleet(few, workers, None))
    tell("fan_out, each looking for itself", alone(lambda: fleet(few, workers, None)))


if __name__ == "__main__":
    main()
