"""The programs of the page of recipes, each run as it stands on the page.

``POCKETENV_RECIPE_MEGABYTES`` is the size of the copy, 3 by default.
"""

from __future__ import annotations

import asyncio
import builtins
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import uvicorn
from returns.result import Success

from pocketenv_fp import Sandbox, create, exec, list_jobs, local, start, wait_for_job
from pocketenv_fp.local.faults import Drop, Fault, Refuse
from tests.places import NO_PLUGINS, PYTEST, ROOT

TEXT = (ROOT / ".docs" / "recipes.md").read_text(encoding="utf-8")
RECIPES = dict(
    re.findall(r"^## ([^(\n]*) \(\d+ lines?[^\n]*\n.*?^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
)
SITE = Path(str(pytest.__file__)).parents[1]

pytestmark = pytest.mark.usefixtures("environment")


def recipe(word: str) -> str:
    (body,) = [body for title, body in RECIPES.items() if word in title]
    return str(body)


def run(word: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "recipe"}
    builtins.exec(compile(recipe(word), "recipes.md", "exec"), names)
    return names


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def made(name: str = "box") -> Sandbox:
    return (create(name) | start).unwrap()


def test_recipes_line_counts() -> None:
    """The number in a title is that of the program's lines with code."""
    titles = re.findall(r"^## ([^(\n]*) \((\d+) lines?", TEXT, re.MULTILINE)
    counted = {title: sum(bool(line.strip()) for line in RECIPES[title].splitlines()) for title, _ in titles}
    assert {title: int(number) for title, number in titles} == counted
    assert len(titles) == 7


@pytest.mark.slow
def test_recipe_ci(capsys: pytest.CaptureFixture[str]) -> None:
    """Five JUnit files and five files of coverage come back, with one test that fails."""
    for name in ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments", "coverage"):
        shutil.copytree(SITE / name, Path("vendor") / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(SITE / "py.py", "vendor")
    for name in ("pluggy", "pytest", "coverage"):
        (info,) = SITE.glob(f"{name}-*.dist-info")
        shutil.copytree(info, Path("vendor") / info.name)
    Path("tests").mkdir()
    Path("doubling.py").write_text("def double(n):\n    return 2 * n\n")
    for number in range(7):
        test = f"from doubling import double\n\n\ndef test_it():\n    assert double({number}) == {2 * number + (number == 6)}\n"
        Path(f"tests/test_{number}.py").write_text(test)
    Path("conftest.py").write_text("")
    results = run("CI")["results"]
    assert results.failed == [], capsys.readouterr()
    cases = [ET.parse(path).getroot() for path in sorted(Path("reports").glob("*/junit.xml"))]
    counts = [int(suite.get("tests", 0)) for root in cases for suite in root.iter("testsuite")]
    failures = [int(suite.get("failures", 0)) for root in cases for suite in root.iter("testsuite")]
    assert (sorted(counts), sum(failures)) == ([1, 1, 1, 2, 2], 1)
    data = [*Path("reports").glob("*/.coverage.*")]
    assert len(data) == 5
    subprocess.run([sys.executable, "-m", "coverage", "combine", "-q", *map(str, data)], check=True)
    assert "ci-0 | " in capsys.readouterr().out


def test_recipe_agent(capsys: pytest.CaptureFixture[str]) -> None:
    """State lasts, errors go back to the model, and plots and files come."""
    box = made()
    steps = iter(
        [
            "import os\nrows = [1, 2]\nprint('read')",
            "rows.append(none)",
            "rows.append(3)\nclass Plot:\n  def _repr_png_(self): return b'plot'\ndisplay(Plot())\nsum(rows)",
            "os.makedirs('results', exist_ok=True)\nopen('results/sum', 'w').write(str(sum(rows)))",
            None,
        ]
    )
    seen: list[list[str]] = []

    def ask(history: list[str]) -> str | None:
        seen.append(list(history))
        return next(steps)

    path = run("agent")["work"](box, "add", ask).unwrap()
    assert (path / "sum").read_text() == "6"
    assert Path("plot-3-0.png").read_bytes() == b"plot"
    task, first, second, third, _ = seen[-1]
    assert (task, first, third) == ("add", "read\n", "6")
    assert "NameError" in second
    assert "read\n" in capsys.readouterr().out


def free_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_recipe_service(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The service starts and answers."""
    monkeypatch.setenv("PORT", str(free_port()))
    Path("service").mkdir()
    Path("service/app.py").write_text(
        "import os\nfrom http.server import *\nclass H(BaseHTTPRequestHandler):\n  def do_GET(self):\n"
        "    self.send_response(200); self.end_headers(); self.wfile.write(b'well')\n"
        "print('listening')\nHTTPServer(('127.0.0.1', int(os.environ['PORT'])), H).serve_forever()\n"
    )
    run("web service")
    printed = capsys.readouterr().out
    assert "address: <Success: " in printed
    assert "listening" in printed.partition("logs:")[2]
    assert "GET /health" in printed.partition("logs:")[2]


def test_recipe_copy(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The copy shows its progress and arrives."""
    monkeypatch.setenv("MEGABYTES", os.environ.get("POCKETENV_RECIPE_MEGABYTES", "3"))
    run("300 MB")
    printed = capsys.readouterr().out
    assert printed.endswith("<Success: True>\n")
    assert " MB\r" in printed


def test_recipe_deploy(platform: local.Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind of error has its answer."""
    Path("site").mkdir()
    deploy = run("deploy")["deploy"]

    def with_script(text: str, name: str) -> str:
        Path("site/deploy.sh").write_text(text)
        return str(deploy(name))

    assert with_script("echo up", "one") == "deployed: up\n"
    assert with_script("echo no >&2; exit 3", "two") == "deploy.sh ended with 3: no\n"
    assert with_script("echo up", "one") == "one is taken: choose another name"
    faults: dict[str, Fault] = {
        "it may have happened, so look first:": Drop(after_work=True),
        "nothing was deployed:": Refuse(404),
    }
    for number, (answer, fault) in enumerate(faults.items()):
        with platform.faults.on("sandbox.createSandbox", fault):
            assert with_script("echo up", f"three-{number}").startswith(answer)
    # A platform of its own: the limiter holds later requests for a minute.
    with local.platform() as own, own.faults.on("sandbox.createSandbox", Refuse(429, retry_after=3600)) as planned:
        for name, value in own.environment.items():
            monkeypatch.setenv(name, value)
        assert with_script("echo up", "four") == "too many requests: try again in 3600 s"
        assert planned.played == 1
    monkeypatch.delenv("POCKETENV_TOKEN")
    assert with_script("echo up", "five") == "log in, and set POCKETENV_TOKEN"


@contextmanager
def served(app: Any) -> Generator[str]:
    """The address of a real server of an ASGI application."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def test_recipe_stream() -> None:
    """The first line is there before the command ends, and a browser that goes away ends it."""
    box = made()
    (box | exec("echo 'echo one; while [ ! -e go ]; do sleep 0.05; done; echo two; exit 4' >build.sh")).unwrap()
    with served(run("browser")["app"]) as address:
        with requests.get(f"{address}/build/box", stream=True, timeout=60) as response:
            lines = response.iter_lines()
            assert next(lines) == b"one"
            (box | exec("touch go")).unwrap()
            assert list(lines) == [b"two", b"exit 4"]
        (box | exec("rm go")).unwrap()
        with requests.get(f"{address}/build/box", stream=True, timeout=60) as response:
            assert next(response.iter_lines()) == b"one"
        until = time.monotonic() + 60
        while not (jobs := (box | list_jobs).unwrap()) and time.monotonic() < until:
            time.sleep(0.1)
        assert (jobs[0] | wait_for_job(timeout=60)).map(lambda result: result.exit_code) == Success(143)


def test_recipe_suite() -> None:
    """The tests of the recipe pass."""
    Path("test_mine.py").write_text(recipe("pytest suite"))
    env = {**os.environ, "PYTHONPATH": str(ROOT), **NO_PLUGINS}
    done = subprocess.run(
        [sys.executable, *PYTEST, "test_mine.py"], env=env, capture_output=True, text=True, check=False, timeout=120
    )
    assert "3 passed" in done.stdout, done.stdout + done.stderr
