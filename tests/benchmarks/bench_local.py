"""What the embedded platform costs: ``python tests/benchmarks/bench_local.py``.

Every figure is a ratio to a plain ``subprocess.run(["true"])`` of the same run, which is measured between the others
so that a busy machine slows all of them alike. The clients are raw keep-alive connections that do next to nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from pocketenv_fp import local
from pocketenv_fp.local import processes
from pocketenv_fp.local.box import Isolation, bubblewrap
from tests.benchmarks.rows import row, shorter

ROUNDS = shorter(300, 40)
STARTS = shorter(7, 3)
FRESH_STARTS = shorter(10, 3)
WOKEN = shorter(5, 1)
CLIENTS = 200
BOXES = shorter(200, 20)
NEW_SANDBOX = b'{"base": "openclaw"}'
TRUE = b'{"command": "true"}'


class Line:
    """One keep-alive connection."""

    def __init__(self, platform: local.Platform) -> None:
        place = urlsplit(platform.url)
        self._head = f"Host: {place.netloc}\r\nAuthorization: Bearer {platform.token}\r\n"
        self._socket = socket.create_connection((place.hostname, place.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def post(self, name: str, body: bytes | None = None) -> bytes:
        """The body of the answer to a procedure."""
        return self._ask(request(self._head, name, body))

    def get(self, path: str) -> bytes:
        """The body of a page."""
        return self._ask(f"GET {path} HTTP/1.1\r\n{self._head}\r\n".encode())

    def _ask(self, sent: bytes) -> bytes:
        self._socket.sendall(sent)
        status = self._file.readline()
        assert b" 200 " in status, status
        size = 0
        while (line := self._file.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                size = int(line.partition(b":")[2])
        return self._file.read(size)

    def create(self) -> str:
        """The id of a new sandbox."""
        return str(json.loads(self.post("createSandbox", NEW_SANDBOX))["id"])

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def request(head: str, name: str, body: bytes | None) -> bytes:
    kind = "" if body is None else f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"POST /xrpc/io.pocketenv.sandbox.{name} HTTP/1.1\r\n{head}{kind}\r\n".encode() + (body or b"")


def taken(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def plain() -> float:
    """Seconds of the measure of all others."""
    return taken(lambda: subprocess.run(["true"], check=True))


def in_turns(work: Callable[[], float], rounds: int, measures: int = 1) -> tuple[float, float]:
    """The medians of what `work` gives, in seconds and as a ratio to the measure, taken so often in each round."""
    pairs = [(work(), statistics.median(plain() for _ in range(measures))) for _ in range(rounds)]
    own, measure = (statistics.median(column) for column in zip(*pairs, strict=True))
    return own, own / measure


def tell(label: str, seconds: float, ratio: float) -> None:
    print(f"  {seconds * 1e3:9.2f} ms {ratio:8.2f} ×  {label}")


def start_here(isolation: Isolation) -> float:
    """From the call to the moment when it serves, the modules being loaded."""
    began = time.perf_counter()
    platform = local.platform(isolation=isolation)
    seconds = time.perf_counter() - began
    platform.close()
    return seconds


def start_command(isolation: Isolation) -> float:
    """From the start of Python to the first line, which has the platform's address."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "pocketenv_fp.local", "--quiet", "--isolation", isolation]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        seconds = time.perf_counter() - began
        process.terminate()
    return seconds


def first_answer(isolation: Isolation) -> float:
    """From the start of Python to the answer of a query."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "pocketenv_fp.local", "--quiet", "--isolation", isolation]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        address = urlsplit(shlex.split(process.stdout.readline())[1].partition("=")[2])
        query = f"GET /xrpc/io.pocketenv.sandbox.getSandboxes HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n"
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(query.encode())
            assert connection.recv(1024).startswith(b"HTTP/1.1 200 ")
        seconds = time.perf_counter() - began
        process.terminate()
    return seconds


def floor() -> float:
    """A bare Python that imports the web server of the standard library."""
    return taken(lambda: subprocess.run([sys.executable, "-c", "import http.server"], check=True))


def fresh_starts(isolation: Isolation) -> str:
    """The shortest and the median of fresh starts to the first answer, and the same of the floor."""
    answers, floors = zip(*((first_answer(isolation), floor()) for _ in range(FRESH_STARTS)), strict=True)
    own, floor_of_it = min(answers), min(floors)
    title = f"python -m pocketenv_fp.local, to its first answer, {isolation}"
    row(title, own, "s", aim=0.5, floor=floor_of_it, floor_is="http.server")
    both = (answers, floors)
    texts = [f"min {min(each) * 1e3:.0f} ms, median {statistics.median(each) * 1e3:.0f} ms" for each in both]
    return f"{texts[0]} ({texts[1]} for Python with http.server alone)"


def woken_exec(platform: local.Platform, sandbox: str) -> float:
    """One command in a sandbox whose agent rests."""
    while not agents_rest(platform, [sandbox]):
        time.sleep(0.1)
    # The platform has closed an older connection.
    line = Line(platform)
    seconds = taken(lambda: line.post(f"exec?id={sandbox}", TRUE))
    line.close()
    return seconds


def first_exec(line: Line) -> float:
    """One command in a sandbox whose box is not built yet."""
    sandbox = line.create()
    seconds = taken(lambda: line.post(f"exec?id={sandbox}", TRUE))
    line.post(f"deleteSandbox?id={sandbox}")
    return seconds


def whole_life(line: Line) -> None:
    sandbox = line.create()
    line.post(f"exec?id={sandbox}", TRUE)
    line.post(f"deleteSandbox?id={sandbox}")


def at_once(platform: local.Platform, sandbox: str) -> float:
    """Seconds of as many commands as there are clients, all sent before the first is answered."""
    place = urlsplit(platform.url)
    head = f"Host: {place.netloc}\r\nAuthorization: Bearer {platform.token}\r\n"
    sent = request(head, f"exec?id={sandbox}", TRUE)

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in answer, answer
        await reader.readuntil(b"}")

    async def all_of_them() -> float:
        lines = [await asyncio.open_connection(place.hostname, place.port) for _ in range(CLIENTS)]
        began = time.perf_counter()
        await asyncio.gather(*(ask(*line) for line in lines))
        seconds = time.perf_counter() - began
        for _, writer in lines:
            writer.close()
            await writer.wait_closed()
        return seconds

    return asyncio.run(all_of_them())


def agents_rest(platform: local.Platform, sandboxes: list[str]) -> bool:
    """Whether no agent of these sandboxes is a Python program."""
    pids = [pid for each in sandboxes for pid in processes.find_marked(platform.data / "sandboxes" / each)]
    return not any(program_of(pid).startswith("python") for pid in pids)


def program_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def proportional(pids: set[int]) -> float:
    """The sum of the proportional set sizes (PSS) of processes, in MB."""
    rows = (row for pid in pids for row in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines())
    return sum(int(row.split()[1]) for row in rows if row.startswith("Pss:")) / 1024


def memory(platform: local.Platform) -> str:
    """The memory of the platform and of its sandboxes, whose agents rest after one command in each."""
    line = Line(platform)
    boxes = [line.create() for _ in range(BOXES)]
    for box in boxes:
        line.post(f"exec?id={box}", TRUE)
    line.close()
    while not agents_rest(platform, boxes):
        time.sleep(1)
    pids = processes.find_marked(platform.data)
    size, whole = proportional(pids), proportional(pids | {os.getpid()})
    platform.remove_sandboxes()
    many = whole - size + size / BOXES * CLIENTS
    row(f"memory of {CLIENTS} resting sandboxes and their platform, {platform.isolation}", many, "MB", aim=400)
    return f"PSS {whole:.0f} MB, {size / BOXES:.2f} MB each and the rest the platform's, {len(pids)} processes"


def measure(isolation: Isolation) -> None:
    print(f"\nisolation {isolation!r}")
    start_here(isolation)
    tell("start-up in a process that has loaded it", *in_turns(lambda: start_here(isolation), STARTS))
    tell("start-up of the command, to its first export", *in_turns(lambda: start_command(isolation), STARTS))
    print(f"  {FRESH_STARTS} fresh starts of the command, to its first answer: {fresh_starts(isolation)}")
    with local.platform(isolation=isolation) as platform:
        line = Line(platform)
        sandbox = line.create()
        query = f"/xrpc/io.pocketenv.sandbox.getSandbox?id={sandbox}"
        tell("a query, for comparison: getSandbox", *in_turns(lambda: taken(lambda: line.get(query)), ROUNDS))
        tell("first exec of true in a new sandbox", *in_turns(lambda: first_exec(line), shorter(30, 10)))
        line.post(f"exec?id={sandbox}", TRUE)
        one = in_turns(lambda: taken(lambda: line.post(f"exec?id={sandbox}", TRUE)), ROUNDS)
        tell(f"one exec of true, median of {ROUNDS}", *one)
        together = in_turns(lambda: at_once(platform, sandbox) / CLIENTS, shorter(15, 3), 50)
        tell(f"one of {CLIENTS} execs of true at once, wall time of all / {CLIENTS}", *together)
        # The platform closes connections that were idle for some seconds.
        line.close()
        line = Line(platform)
        life = in_turns(lambda: taken(lambda: whole_life(line)), BOXES)
        tell(f"one of {BOXES} sandboxes created, used once and deleted in turn", *life)
        line.close()
        if Path("/proc/self/smaps_rollup").exists():
            tell("one exec of true after a pause", *in_turns(lambda: woken_exec(platform, sandbox), WOKEN))
            print(f"  {BOXES} sandboxes that were used once: {memory(platform)}")


def main() -> None:
    """Measure at each level that can be had here."""
    seconds = statistics.median(plain() for _ in range(100))
    print(f'subprocess.run(["true"]): {seconds * 1e3:.2f} ms here, {os.cpu_count()} processors')
    levels: list[Isolation] = ["processes"] if bubblewrap() is None else ["bubblewrap", "processes"]
    for isolation in levels[: shorter(2, 1)]:
        measure(isolation)


if __name__ == "__main__":
    main()
