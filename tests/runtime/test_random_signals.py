"""One signal at a random moment of many programs: no sandbox is left.

A program is interrupted 24 times by default; POCKETENV_MOMENTS=300 does it more often.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pocketenv_fp import iter_sandboxes_by_actor, local, me
from tests.figures import Figures

pytestmark = pytest.mark.slow

MOMENTS = int(os.environ.get("POCKETENV_MOMENTS", "24"))

# Each line that it prints is a moment that is over. A signal that comes just behind a program ends this process, and
# the next one goes on.
PROGRAM = """
import asyncio, os, random, signal, sys, threading, time
from returns.result import Success
from pocketenv_fp.steps.operation import step
from pocketenv_fp import Sandbox, copy_to, create, delete, download, ephemeral, exec, fan_out, managed, recover, start, stop, tap, upload

first, last, folder, seed = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
tree = os.path.join(folder, "tree")
used = start | upload(tree, "in") | exec("cat in/file", check=True)
out = os.path.join(folder, f"out-{os.getpid()}")
kept = tap(recover(download("in", out), None)) | delete
other = step(Sandbox)(lambda box: Success((box, f"{box.name}-2")))
between = step(tuple)(lambda pair: managed(start | upload(tree, "a") | tap(copy_to(pair[0], "a", "a")))(pair[1]))
programs = [
    ("managed", lambda name: managed(used)(name)),
    ("release", lambda name: managed(start | upload(tree, "in"), release=kept)(name)),
    ("acquire", lambda name: managed(upload(tree, "in"), acquire=create | start, release=stop | delete)(name)),
    ("copies", lambda name: managed(start | upload(tree, "in") | tap(download("in", out)))(name)),
    ("between", lambda name: managed(tap(start) | other | between)(name)),
    ("fan_out", lambda name: fan_out(ephemeral(used), [name] * 3, max_workers=3)),
    ("asyncio", lambda name: asyncio.run(in_a_task(name))),
]


async def in_a_task(name):
    managed(used, release=kept)(name)


def strike(number, delay, running, lock):
    time.sleep(delay)
    with lock:
        if running.is_set():
            os.kill(os.getpid(), number)


for moment in range(first, last):
    chance = random.Random(f"{seed}-{moment}")
    name, program = programs[moment % len(programs)]
    number = chance.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    running, lock = threading.Event(), threading.Lock()
    delay = chance.random() ** 2 * float(os.environ.get("LONGEST", "1.5"))
    print(moment, flush=True)
    thread = threading.Thread(target=strike, args=(number, delay, running, lock))
    try:
        running.set()
        thread.start()
        program(f"box-{seed}-{moment}")
    except (KeyboardInterrupt, SystemExit):
        pass
    finally:
        running.clear()
    try:
        thread.join()
    except (KeyboardInterrupt, SystemExit):
        pass
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGHUP")
def test_managed_random_signal(
    environment: dict[str, str], platform: local.Platform, tmp_path: Path, figures: Figures
) -> None:
    """SIGINT, SIGTERM and SIGHUP, over managed, fan_out, copies and releases."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("content")
    (tmp_path / "tree" / "large").write_bytes(os.urandom(200_000))
    moment, processes = 0, 0
    while moment < MOMENTS:
        command = [sys.executable, "-c", PROGRAM, str(moment), str(MOMENTS), str(tmp_path), "1"]
        ran = subprocess.run(command, env=environment | dict(os.environ), capture_output=True, text=True, check=False)
        assert ran.stdout, ran.stderr
        assert ran.returncode in {0, -1, -2, -15}, ran.stderr
        moment, processes = int(ran.stdout.split()[-1]) + 1, processes + 1
        left = [each.unwrap().name for each in iter_sandboxes_by_actor(me().unwrap().did)]
        assert left == [], f"after moment {moment - 1}"
    figures.line("one signal at a random moment", f"{moment} moments in {processes} processes: sandboxes left: 0")
    assert platform
