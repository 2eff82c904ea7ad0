"""A fleet against the time that the network takes: ``python -m tests.benchmarks.bench_latency``.

200 pipelines of five calls each, on 200 workers, against a server that answers each request 50 ms after it came. With
nothing but the network to wait for, all of it takes 250 ms: that is the ideal. Bare pools of 200 threads do the same
five requests in the same run, in turns, so that a busy machine slows all alike; the one with http.client and nothing
else is the floor that Python's threads stand on. Warm, the connections are there, as in a fleet that has been running.
Cold, a new process makes them and all else, and prints by how much its memory grew. Warnings of full pools are counted.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import logging
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import LifoQueue
from typing import NamedTuple
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from pocketenv_fp import Config, Sandbox, collect, exec, fan_out, refresh, tap, using
from tests.benchmarks.bench_call import BODY, running
from tests.benchmarks.rows import row, shorter

PIPELINES = WORKERS = 200
LATENCY = 0.05
CALLS = 5
IDEAL = LATENCY * CALLS
BOX = Sandbox(id="b6586b77-3e79-40c5-b65f-1bf91989052e", name="swift-badger-aed6")
RAN = json.dumps({"stdout": "", "stderr": "", "exitCode": 0}).encode()
# Three queries and two commands.
PIPELINE = refresh | tap(exec("make")) | refresh | tap(exec("make test")) | refresh


def answer(body: bytes) -> bytes:
    """The whole answer, as the platform frames it."""
    return (
        "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nConnection: keep-alive\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


LOOKED, DONE = answer(BODY), answer(RAN)


class Distant(asyncio.Protocol):
    """Answers a request 50 ms after its last byte has come."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.came = b""

    def data_received(self, data: bytes) -> None:
        # A head and its body come apart where the sender is busy.
        self.came += data
        head, end, body = self.came.partition(b"\r\n\r\n")
        _, _, length = head.lower().partition(b"content-length:")
        if end and len(body) >= int(length.split(b"\r\n", 1)[0] or 0):
            self.came = b""
            assert isinstance(self.transport, asyncio.Transport)
            found = LOOKED if head.startswith(b"GET") else DONE
            asyncio.get_running_loop().call_later(LATENCY, self.transport.write, found)


def serve(tell: multiprocessing.Queue[tuple[str, str]]) -> None:
    async def forever() -> None:
        server = await asyncio.get_running_loop().create_server(Distant, "127.0.0.1", 0, backlog=1024)
        tell.put((f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "token"))
        await server.serve_forever()

    asyncio.run(forever())


class Full(logging.Handler):
    """Counts what urllib3 says of pools that are full."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.said += "pool is full" in record.getMessage()


FULL = Full()


def bare(url: str, token: str, *, prepared: bool) -> Callable[[], object]:
    """The same requests by requests: each made for its call, or all prepared once."""
    session = requests.Session()
    session.mount("http://", HTTPAdapter(pool_maxsize=WORKERS))
    headers = {"Authorization": f"Bearer {token}"}
    look, run = (f"{url}/xrpc/io.pocketenv.sandbox.{name}" for name in ("getSandbox", "exec"))
    query = session.prepare_request(requests.Request("GET", look, params={"id": BOX.id}, headers=headers))
    command = {"command": "make"}
    procedure = session.prepare_request(
        requests.Request("POST", run, params={"id": BOX.id}, headers=headers, json=command)
    )

    def made() -> None:
        for number in range(CALLS):
            if number % 2:
                session.post(run, params={"id": BOX.id}, headers=headers, json=command).json()
            else:
                session.get(look, params={"id": BOX.id}, headers=headers).json()

    def sent() -> None:
        for number in range(CALLS):
            session.send(procedure if number % 2 else query).json()

    def fleet() -> None:
        with ThreadPoolExecutor(WORKERS) as pool:
            for future in [pool.submit(sent if prepared else made) for _ in range(PIPELINES)]:
                future.result()

    return fleet


def floor(url: str, token: str) -> Callable[[], object]:
    """The same requests with nothing between them and their sockets, on connections that are kept."""
    netloc = urlsplit(url).netloc
    idle: LifoQueue[http.client.HTTPConnection] = LifoQueue()
    for _ in range(WORKERS):
        idle.put(http.client.HTTPConnection(netloc, timeout=30))
    headers = {"Authorization": f"Bearer {token}"}

    def asked() -> None:
        for number in range(CALLS):
            connection = idle.get()
            if number % 2:
                connection.request("POST", f"/exec?id={BOX.id}", body=b'{"command":"make"}', headers=headers)
            else:
                connection.request("GET", f"/getSandbox?id={BOX.id}", headers=headers)
            json.loads(connection.getresponse().read())
            idle.put(connection)

    def fleet() -> None:
        with ThreadPoolExecutor(WORKERS) as pool:
            for future in [pool.submit(asked) for _ in range(PIPELINES)]:
                future.result()

    return fleet


def ours() -> None:
    collect(fan_out(PIPELINE, [BOX] * PIPELINES, max_workers=WORKERS)).unwrap()


class Cold(NamedTuple):
    """What the first run in a new process cost."""

    seconds: float
    grown: float
    warned: int


def cold(run: Callable[[], object]) -> Cold:
    """Run once in a process of its own. Its memory is in MiB."""
    fork = multiprocessing.get_context("fork")
    told: multiprocessing.Queue[Cold] = fork.Queue()

    def child() -> None:
        before = _peak()
        began = time.perf_counter()
        run()
        told.put(Cold(time.perf_counter() - began, _peak() - before, FULL.said))

    process = fork.Process(target=child)
    process.start()
    found = told.get(timeout=60)
    process.join()
    return found


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Take turns, and print the medians over the ideal."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rounds", type=int, default=shorter(9, 4))
    rounds: int = asked.parse_args().rounds
    logging.getLogger("urllib3.connectionpool").addHandler(FULL)
    with running(serve) as (url, token), using(Config(api_url=url, token=token)):
        ways = {
            "requests.Session.get and .post": bare(url, token, prepared=False),
            "Session.send of prepared requests": bare(url, token, prepared=True),
            "http.client and json: the floor": floor(url, token),
            "pocketenv_fp.fan_out": ours,
        }
        new: dict[str, list[Cold]] = {name: [] for name in ways}
        warm: dict[str, list[float]] = {name: [] for name in ways}
        warned = dict.fromkeys(ways, 0)
        for _ in range(rounds):
            for name, run in ways.items():
                new[name].append(cold(run))
        for turn in range(rounds + 1):
            for name, run in ways.items():
                before = FULL.said
                began = time.perf_counter()
                run()
                if turn:  # the first makes the connections
                    warm[name].append(time.perf_counter() - began)
                warned[name] += FULL.said - before
    print(f"{PIPELINES} pipelines of {CALLS} calls at {LATENCY * 1000:.0f} ms, {WORKERS} workers, medians of {rounds}")
    print(f"  {IDEAL * 1000:6.0f} ms   1.00 ×  the ideal: nothing but the network")
    figures: dict[str, tuple[float, float]] = {}
    for name, seconds in warm.items():
        took, best = statistics.median(seconds) / IDEAL, min(seconds) / IDEAL
        first = statistics.median(each.seconds for each in new[name]) / IDEAL
        grown = statistics.median(each.grown for each in new[name])
        print(
            f"  {took * IDEAL * 1000:6.0f} ms  {took:5.2f} ×  {name} (best {best:.2f} ×, cold {first:.2f} ×, memory + "
            f"{grown:.0f} MiB, {warned[name] + sum(each.warned for each in new[name])} warnings of full pools)"
        )
        figures[name] = took, first
    (own, own_cold), (bare_warm, bare_cold) = (
        figures["pocketenv_fp.fan_out"],
        figures["http.client and json: the floor"],
    )
    title = f"{PIPELINES} pipelines of {CALLS} calls, to the time of the network"
    row(f"{title}, warm", own, aim=1.3, floor=bare_warm, floor_is="http.client")
    row(f"{title}, cold", own_cold, aim=1.6, floor=bare_cold, floor_is="http.client")


if __name__ == "__main__":
    main()
