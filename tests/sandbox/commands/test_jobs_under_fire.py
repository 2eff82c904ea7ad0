"""Jobs whose followers are killed, whose answers are lost, and many of them at once.

The random ones run a few times, and often with what is slow: ``POCKETENV_JOB_RUNS`` says how often, 20 by default.
"""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from returns.result import Success

from pocketenv_fp import (
    Config,
    ExecResult,
    Job,
    Piece,
    Sandbox,
    create,
    exec,
    fan_out,
    follow,
    get_job,
    get_sandbox,
    list_jobs,
    local,
    start,
    submit,
    using,
    wait_until_running,
)
from pocketenv_fp.local.faults import Cut, Drop, Fault, Garbage, Html, Refuse, Slow, Truncated
from pocketenv_fp.sandbox.commands import job_requests
from tests.figures import Figures

KILLS = 4
RUNS = max(int(os.environ.get("POCKETENV_JOB_RUNS", "20")) // 2, 1)
EACH = pytest.mark.parametrize(
    ("provider", "runs"),
    [
        *(pytest.param(name, 2, id=f"{name}, few") for name in ("cloudflare", "daytona")),
        *(pytest.param(name, RUNS, id=name, marks=pytest.mark.slow) for name in ("cloudflare", "daytona")),
    ],
)
EXACT = Slow(0)
"""The true answer."""
LOST: tuple[Fault, ...] = (
    *(Drop(), Drop(after_work=True), Drop(after_work=True, reset=True), Garbage(after_work=True), Cut(fraction=0.5)),
    *(Cut(bytes=3, reset=True), Truncated(), Html(502, after_work=True), Refuse(503), Refuse(503, after_work=True)),
)


@pytest.fixture
def login(platform: local.Platform) -> Iterator[local.Platform]:
    """A login whose requests are sent again without a pause."""
    platform.remove_sandboxes()
    config = Config(api_url=platform.url, storage_url=platform.url, token=platform.token, retries=3)
    with using(config):
        yield platform
    platform.faults.clear()
    platform.remove_sandboxes()


def made(provider: str = "cloudflare") -> Sandbox:
    return (create(f"box-{provider}", provider=provider) | start | wait_until_running).unwrap()


def no_pause(_: float) -> None:
    pass


# It imports once, and forks a follower for each line that it reads: the sandbox, the job, a file for what came, and where
# to go on. It prints the follower's number, and how it ended.
FOLLOWERS = """
import json, os, sys
import pocketenv_fp.http.transport
from pocketenv_fp import follow, get_job, get_sandbox
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        box, job, path, out, err = json.loads(line)
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        def keep(piece):
            os.write(file, b"\\n" + json.dumps([piece.stream, piece.text, piece.end]).encode())
        try:
            seen = get_sandbox(box) | get_job(job)
            (seen | follow(on_output=keep, stdout_from=int(out), stderr_from=int(err))).unwrap()
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
PRINTER = """
import os, random, sys, time
random.seed(int(sys.argv[1]))
for number in range(30):
    text = "".join(random.choice("aé名🐙\\n") for _ in range(random.choice((1, 5, 3000))))
    data = text.encode()
    cut = random.randrange(len(data) + 1)
    for part in (data[:cut], data[cut:]):
        os.write(1 + number % 2, part)
        time.sleep(random.random() * 0.04)
"""


def printed(seed: int) -> dict[str, str]:
    random.seed(seed)
    texts = {"stdout": "", "stderr": ""}
    for number in range(30):
        text = "".join(random.choice("aé名🐙\n") for _ in range(random.choice((1, 5, 3000))))
        random.randrange(len(text.encode()) + 1)
        texts[("stdout", "stderr")[number % 2]] += text
        for _ in range(2):
            random.random()
    return texts


def kept(path: Path) -> list[tuple[str, str, int]]:
    """Return the pieces that were written whole: a follower may be killed while it writes one."""
    pieces: list[tuple[str, str, int]] = []
    for line in path.read_text().splitlines() if path.exists() else []:
        with contextlib.suppress(json.JSONDecodeError):
            pieces.append(tuple(json.loads(line)))
    return pieces


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@EACH
def test_follow_killed(provider: str, runs: int, login: local.Platform, tmp_path: Path) -> None:
    """A follower is killed with -9 at any moment, and another goes on: no character is lost, and none comes twice."""
    box = made(provider)
    env = {**os.environ, **login.environment, "HOME": str(tmp_path)}
    choose, kills = random.Random(7), 0
    command = [sys.executable, "-c", FOLLOWERS]
    with (
        subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as followers,
        ThreadPoolExecutor(1) as pool,
    ):
        assert followers.stdin is not None
        assert followers.stdout is not None
        for run in range(runs):
            path = tmp_path / f"{run}"
            job = (box | submit('python3 -c "$PRINTER"', [str(run)], env={"PRINTER": PRINTER})).unwrap()
            for number in itertools.count():
                ends = {stream: end for stream, _, end in kept(path)}
                places = [str(ends.get(name, 0)) for name in ("stdout", "stderr")]
                print(json.dumps([box.id, job.id, str(path), *places]), file=followers.stdin, flush=True)
                pid = int(followers.stdout.readline())
                ended, before = pool.submit(followers.stdout.readline), size(path)
                if number < KILLS:
                    # One before anything came, perhaps, and the next one in the midst of it.
                    while number % 2 and size(path) == before and not ended.done():
                        time.sleep(0.01)
                    time.sleep(choose.uniform(0, 0.1))
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                code = int(ended.result())
                assert code in {0, -signal.SIGKILL}
                if code == 0:
                    break
                kills += 1
            texts = {
                name: "".join(text for stream, text, _ in kept(path) if stream == name) for name in ("stdout", "stderr")
            }
            assert texts == printed(run)
        followers.stdin.close()
    assert kills > 0


@EACH
def test_follow_lost_answers(provider: str, runs: int, login: local.Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are lost at random, of starts and of looks: every command ran once, and its whole output came."""
    monkeypatch.setattr(job_requests, "nap", no_pause)
    box = made(provider)
    choose, played = random.Random(11), 0
    expected = ExecResult("".join(f"{number}\n" for number in range(1, 2001)), "é\n", 4)
    for run in range(runs):
        plans = [
            login.faults.add("sandbox.exec", fault)
            for fault in (choose.choice((EXACT, *LOST)) for _ in range(choose.randrange(2, 8)))
        ]
        line = f"echo {run} >>ran; seq 1000; sleep 0.2; echo é >&2; seq 1001 2000; exit 4"
        if run % 2:
            job = (box | submit(line)).unwrap()
            assert job | follow == Success(expected)
        else:
            assert box | exec(line, durable=True) == Success(expected)
        played += sum(plan.played for plan in plans)
        login.faults.clear()
        assert (box | exec("cat ran; rm ran")).unwrap().stdout == f"{run}\n"
    assert played >= runs


def test_exec_late_start(login: local.Platform) -> None:
    """A start that arrives after its command has ended, and was deleted, starts nothing."""
    box = made("daytona")
    with login.faults.on("sandbox.exec", Slow(3, before_work=True), times=1), using(Config(read_timeout=0.5)):
        assert (box | exec("echo ran >>ran", durable=True)).unwrap().exit_code == 0
    time.sleep(3)
    while login.faults.worked("sandbox.exec") < 3:
        time.sleep(0.1)
    assert (box | exec("sleep 0.5; cat ran")).unwrap().stdout == "ran\n"
    assert (box | list_jobs).unwrap() == []


def test_follow_many_followers(login: local.Platform) -> None:
    """Every follower gets all of it."""
    job = (made() | submit("for n in 1 2 3 4 5; do echo $n; sleep 0.1; done")).unwrap()
    came: list[list[Piece]] = [[] for _ in range(4)]

    def follows(pair: tuple[contextvars.Context, list[Piece]]) -> None:
        context, pieces = pair
        context.run(follow, job, on_output=pieces.append).unwrap()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(follows, [(contextvars.copy_context(), each) for each in came]))
    assert ["".join(map(str, each)) for each in came] == ["1\n2\n3\n4\n5\n"] * 4
    assert login.faults.worked("sandbox.exec") > 0


def test_exec_many_streams(figures: Figures) -> None:
    """Sixteen commands that print all the time stay below the platform's limit of requests."""
    line = "for n in $(seq 20); do echo $n; sleep 0.1; done"
    with local.platform(rate_limit=500) as platform, using(Config(api_url=platform.url, token=platform.token)):
        boxes = [(create(f"box-{number}") | start).unwrap() for number in range(16)]
        before, began = len(list(platform.calls)), time.monotonic()
        results = fan_out(exec(line, on_output=lambda _: None), boxes, max_workers=16)
        seconds, calls = time.monotonic() - began, list(platform.calls)[before:]
    assert [len(result.unwrap().stdout.split()) for result in results] == [20] * 16
    assert [call for call in calls if 429 in call] == []
    figures.line(
        "jobs",
        f"16 streams: {len(calls)} requests in {seconds:.1f} s, {len(calls) / seconds / 16:.2f} a second and stream",
    )


def test_get_job_elsewhere(login: local.Platform) -> None:
    """A job is found by its id alone."""
    box = made()
    job = (box | submit("echo x", id="mine")).unwrap()
    assert get_sandbox(box.id) | get_job("mine") | follow == Success(ExecResult("x\n", "", 0))
    assert isinstance(job, Job)
    assert login.url
