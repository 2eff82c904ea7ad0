"""What one small call costs, beside the floor that it stands on: ``python tests/benchmarks/bench_call.py``.

All contenders ask the same keep-alive server the same question, in turns of a few calls each, so that a busy machine
slows all of them alike. It runs in a process of its own and answers at once with fixed bytes, which leaves little but
the client's own time to measure; the second table asks the embedded platform, whose own work is in every row.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from urllib.parse import urlsplit

import msgspec
import requests

import pocketenv_fp
from pocketenv_fp import Config, create, get_sandbox, local, using
from tests.benchmarks.rows import row, shorter

ROUNDS = shorter(200, 60)
CALLS = 10
NSID = "io.pocketenv.sandbox.getSandbox"
BODY = json.dumps(
    {
        "sandbox": {
            "id": "b6586b77-3e79-40c5-b65f-1bf91989052e",
            "name": "swift-badger-aed6",
            "provider": "cloudflare",
            "displayName": None,
            "description": None,
            "topics": None,
            "baseSandbox": "openclaw",
            "status": "RUNNING",
            "installs": 0,
            "uri": "at://did:plc:6wh6ppaf4v7tto6a72nbchva/io.pocketenv.sandbox/aaiks2ifqczqh",
            "createdAt": "2026-01-23T00:05:58.735Z",
            "startedAt": "2026-01-23T00:05:59.001Z",
        }
    }
).encode()
HEAD = (
    "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nX-RateLimit-Limit: 500\r\n"
    "X-RateLimit-Remaining: 499\r\nX-RateLimit-Reset: 30\r\nConnection: keep-alive\r\n"
    f"Date: Mon, 23 Nov 2026 00:05:58 GMT\r\nContent-Length: {len(BODY)}\r\n\r\n"
).encode()


class FixedAnswer(asyncio.Protocol):
    """Says the same to every request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"\r\n\r\n"):
            assert isinstance(self.transport, asyncio.Transport)
            self.transport.write(HEAD + BODY)


def serve_fixed_answers(tell: multiprocessing.Queue[tuple[str, str]]) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(FixedAnswer, "127.0.0.1", 0)
        tell.put((f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "token"))
        await server.serve_forever()

    asyncio.run(serve())


def serve_platform(tell: multiprocessing.Queue[tuple[str, str]]) -> None:
    with local.platform() as platform:
        tell.put((platform.url, platform.token))
        while os.getppid() == PARENT:
            time.sleep(0.2)


PARENT = os.getpid()


@contextmanager
def running(serve: Callable[[multiprocessing.Queue[tuple[str, str]]], None]) -> Generator[tuple[str, str]]:
    """Run a server in a process of its own; give its URL and a token."""
    fork = multiprocessing.get_context("fork")
    tell: multiprocessing.Queue[tuple[str, str]] = fork.Queue()
    process = fork.Process(target=serve, args=(tell,))
    process.start()
    try:
        yield tell.get(timeout=30)
    finally:
        process.terminate()
        process.join()


def contenders(url: str, token: str, id: str) -> dict[str, Callable[[], object]]:
    """The same question in several ways. The first is the measure of the others."""
    address = f"{url}/xrpc/{NSID}"
    headers = {"Authorization": f"Bearer {token}"}
    session = requests.Session()
    prepared = session.prepare_request(requests.Request("GET", address, params={"id": id}, headers=headers))
    bare = http.client.HTTPConnection(urlsplit(url).netloc)

    def by_http_client() -> object:
        bare.request("GET", f"/xrpc/{NSID}?id={id}", headers=headers)
        return json.loads(bare.getresponse().read())

    return {
        "requests.Session.get(…).json()": lambda: session.get(address, params={"id": id}, headers=headers).json(),
        "Session.send of one prepared request, msgspec": lambda: msgspec.json.decode(session.send(prepared).content),
        "http.client and json: the floor": by_http_client,
        "pocketenv_fp.get_sandbox": lambda: get_sandbox(id).unwrap(),
    }


def measure(title: str, url: str, token: str, id: str, aim: float) -> None:
    """Take turns, and print medians of the rounds with their ratio to the first contender's."""
    measured: dict[str, list[float]] = {}
    ratios: dict[str, float] = {}
    ways = contenders(url, token, id)
    with using(Config(api_url=url, token=token)):
        for _ in range(ROUNDS):
            for name, ask in ways.items():
                began = time.perf_counter()
                for _ in range(CALLS):
                    ask()
                measured.setdefault(name, []).append((time.perf_counter() - began) / CALLS)
    base = measured[next(iter(measured))]
    print(f"one call of {title}, medians of {ROUNDS} rounds of {CALLS}, pocketenv_fp {pocketenv_fp.__version__}")
    for name, seconds in measured.items():
        ratio = statistics.median(own / other for own, other in zip(seconds, base, strict=True))
        print(f"  {statistics.median(seconds) * 1e6:7.0f} µs  {ratio:5.2f} ×  {name}")
        ratios[name] = ratio
    own, bare = ratios["pocketenv_fp.get_sandbox"], ratios["http.client and json: the floor"]
    row(f"get_sandbox of {title}, to requests.Session.get", own, aim=aim, floor=bare, floor_is="http.client")


def main() -> None:
    """Measure against fixed answers, then against the embedded platform."""
    with running(serve_fixed_answers) as (url, token):
        measure("a server with a fixed answer", url, token, "b6586b77-3e79-40c5-b65f-1bf91989052e", aim=0.5)
    with running(serve_platform) as (url, token):
        box = create("bench", config=Config(api_url=url, token=token)).unwrap()
        measure("the embedded platform", url, token, box.id, aim=0.6)


if __name__ == "__main__":
    main()
