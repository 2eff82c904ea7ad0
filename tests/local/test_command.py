"""`python -m pocketenv_fp.local`: its options, its log, and its failures."""

import argparse
import contextlib
import io
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from pocketenv_fp import local
from pocketenv_fp.extras import install_command
from pocketenv_fp.local.__main__ import _bytes, _port, _seconds, main  # pyright: ignore[reportPrivateUsage]
from pocketenv_fp.local.box import bubblewrap
from pocketenv_fp.local.request_log import Answered, Log, line, sandbox
from tests.levels import LEVELS
from tests.local.wire import Place, Wire, eventually

LINE = re.compile(r"\d\d:\d\d:\d\d  (\S+(?: \S+)?) +(\d{3}|---) +([\d,.]+ ms)(?:  (.+))?")


class Served:
    """The running command, its variables, and its standard error so far."""

    def __init__(self, process: "subprocess.Popen[str]", stderr: Path) -> None:
        assert process.stdout is not None
        self.process = process
        self.exports = [process.stdout.readline() for _ in range(4)]
        pairs = [shlex.split(export)[1].split("=", 1) for export in self.exports]
        self.variables = dict(pairs)
        self._stderr = stderr

    @property
    def stderr(self) -> str:
        """Its standard error."""
        return self._stderr.read_text()

    @property
    def requests(self) -> list[tuple[str, str, str | None]]:
        """Return (method, status, sandbox) of each line about a request."""
        matches = [LINE.fullmatch(each) for each in self.stderr.splitlines()[1:]]
        return [(each[1].strip(), each[2], each[4]) for each in matches if each]

    def wire(self) -> Wire:
        """Return a connection of its first user."""
        return Place(self.variables).wire()

    def end(self) -> int:
        """Interrupt it with Ctrl-C. Return the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(120)


def environment() -> dict[str, str]:
    paths = [str(Path.cwd()), *(path for path in sys.path if path)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "pocketenv_fp.local", *options]


@contextlib.contextmanager
def served(folder: Path, *options: str) -> Generator[Served]:
    stderr = folder / "stderr"
    with (
        stderr.open("w") as sink,
        subprocess.Popen(
            command(*options), env=environment(), stdout=subprocess.PIPE, stderr=sink, text=True
        ) as process,
    ):
        try:
            yield Served(process, stderr)
        finally:
            process.kill()


def refused(*options: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end."""
    return subprocess.run(
        command(*options), env={**environment(), **variables}, capture_output=True, text=True, timeout=60, check=False
    )


def sleepers(seconds: str) -> int:
    """Return the number of processes of this machine that sleep for exactly this time."""
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "args"], capture_output=True, text=True, check=True)
    return listed.stdout.splitlines().count(f"sleep {seconds}")


@pytest.mark.parametrize("isolation", LEVELS)
@pytest.mark.parametrize(
    # Ctrl-C ends most tests of this module.
    "number",
    [signal.SIGTERM, *(pytest.param(each, marks=pytest.mark.slow) for each in (signal.SIGINT, signal.SIGHUP))],
)
def test_command_stops_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isolation: str, number: signal.Signals
) -> None:
    """The command ends at once and leaves no process and no file."""
    if isolation == "bubblewrap" and bubblewrap() is None:
        pytest.skip("no bubblewrap that works here")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    with served(tmp_path, "--isolation", isolation) as running, running.wire() as wire:
        seconds = f"100.{running.variables['POCKETENV_API_URL'].rpartition(':')[2]}1"
        wire.exec(wire.create(), f"sleep {seconds} & setsid sleep {seconds} &")
        assert eventually(lambda: sleepers(seconds) == 2)
        assert list(temporary.iterdir()) != []
        running.process.send_signal(number)
        assert running.process.wait(120) == 0
        assert "Traceback" not in running.stderr
        assert sleepers(seconds) == 0
        assert list(temporary.iterdir()) == []


def test_log_line_for_each_request(tmp_path: Path) -> None:
    """Each request is a line with method, status, time and sandbox."""
    with served(tmp_path) as running, running.wire() as wire:
        here = wire.create()
        name = wire.get("sandbox.getSandbox", id=here).json["sandbox"]["name"]
        wire.post("secret.addSecret", {"secret": {"sandboxId": here, "name": "A", "value": wire.seal("sealed")}})
        wire.start(here)
        assert wire.exec(here, "echo hunter2; exit 3")[2] == 3
        wire.post("sandbox.putPreferences", {"sandboxId": here, "preferences": []})
        wire.post("sandbox.deleteSandbox", id=here)
        wire.get("sandbox.getBackups", id=here)
        wire.get("sandbox.getSandbox", id=running.variables["POCKETENV_TOKEN"])
        wire.raw("GET", "/nowhere?password=hunter2")
        wire.raw("GET", "/")
        assert running.end() == 0
        assert running.requests == [
            ("sandbox.createSandbox", "200", name),
            ("sandbox.getSandbox", "200", name),
            ("secret.addSecret", "200", name),
            ("sandbox.startSandbox", "200", name),
            ("sandbox.exec", "200", name),
            ("sandbox.putPreferences", "200", name),
            ("sandbox.deleteSandbox", "200", name),
            ("sandbox.getBackups", "404", name),
            ("sandbox.getSandbox", "200", None),
            ("GET /nowhere", "404", None),
        ]
        assert len(running.stderr.splitlines()) == 11
        assert running.variables["POCKETENV_TOKEN"].rpartition(".")[2] not in running.stderr
        for value in ("hunter2", "sealed", "\x1b"):
            assert value not in running.stderr


def test_command_quiet(tmp_path: Path) -> None:
    """With `--quiet` the command logs only its address."""
    with served(tmp_path, "--quiet") as running, running.wire() as wire:
        wire.create()
        assert running.end() == 0
        (only,) = running.stderr.splitlines()
        assert running.variables["POCKETENV_API_URL"] in only


def test_command_exports(tmp_path: Path) -> None:
    """The standard output of the command is shell code that exports the variables."""
    with served(tmp_path) as running:
        assert running.end() == 0
        assert running.process.stdout is not None
        assert running.process.stdout.read() == ""
        script = "".join(running.exports) + "printenv POCKETENV_API_URL POCKETENV_PUBLIC_KEY POCKETENV_TOKEN"
        done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
        shown = [running.variables[f"POCKETENV_{name}"] for name in ("API_URL", "PUBLIC_KEY", "TOKEN")]
        assert done.stdout.splitlines() == shown


def test_log_without_reader() -> None:
    """A log without a reader does not delay a response."""
    pipe = subprocess.PIPE
    # The smallest pipe of Linux, which a few lines fill. Other systems have one of 64 KB.
    requests = 200 if sys.platform == "linux" else 2000
    with subprocess.Popen(command(), env=environment(), stdout=pipe, stderr=pipe, text=True, pipesize=4096) as process:
        try:
            running = Served(process, Path(os.devnull))
            with running.wire() as wire:
                for _ in range(requests):
                    assert wire.get("sandbox.getSandboxes", limit=1).status == 200
            process.send_signal(signal.SIGINT)
            assert process.wait(120) == 0
        finally:
            process.kill()


def test_log_colours_on_a_terminal() -> None:
    """The log has colours on a terminal, unless they are switched off."""

    def seen(**variables: str) -> str:
        main, end = pty.openpty()
        terminal = {**environment(), "TERM": "xterm", **variables}
        with subprocess.Popen(command(), env=terminal, stdout=subprocess.PIPE, stderr=end, text=True) as process:
            os.close(end)
            try:
                with Served(process, Path(os.devnull)).wire() as wire:
                    wire.get("sandbox.getSandboxes")
                    wire.get("sandbox.getBackups", id="x")
                process.send_signal(signal.SIGINT)
                assert process.wait(120) == 0
                return os.read(main, 65_536).decode()
            finally:
                process.kill()
                os.close(main)

    coloured = seen()
    assert "\x1b[32m200\x1b[0m" in coloured
    assert "\x1b[33m404\x1b[0m" in coloured
    assert "\x1b" not in seen(NO_COLOR="1")
    assert "\x1b" not in seen(TERM="dumb")


def test_command_isolation_and_limits(tmp_path: Path) -> None:
    """Isolation and limits follow the options."""
    options = "--isolation processes --cpu-seconds 600 --memory-bytes 2G --processes 64 --output-bytes 4K"
    with served(tmp_path, *options.split()) as running, running.wire() as wire:
        assert "isolation 'processes'" in running.stderr
        here = wire.create()
        assert wire.out(here, "ulimit -t; ulimit -v").split() == ["600", str(2 * 1024 * 1024)]
        assert wire.exec(here, "head -c 3000 /dev/zero | tr '\\0' x")[2] == 0
        assert wire.exec(here, "head -c 100000 /dev/zero | tr '\\0' x; sleep 1")[2] == 137
        assert running.end() == 0


@pytest.mark.skipif(bubblewrap() is None, reason="no bubblewrap that works here")
def test_command_private_network(tmp_path: Path) -> None:
    """With `--network private` a sandbox does not reach the ports of this machine."""
    with served(tmp_path, "--network", "private") as running, running.wire() as wire:
        port = running.variables["POCKETENV_API_URL"].rpartition(":")[2]
        stdout, _, code = wire.exec(wire.create(), f"(exec 3<>/dev/tcp/127.0.0.1/{port}) && echo reached")
        assert (stdout, code != 0) == ("", True)
        assert running.end() == 0


def test_command_failure_line(tmp_path: Path, place: local.Platform) -> None:
    """A failure of the command is one line in plain words."""
    port = place.url.rpartition(":")[2]
    (tmp_path / "work").touch()
    for options, variables, message in (
        (
            ["--port", port],
            {},
            f"cannot serve on 127.0.0.1:{port}: Address already in use; --port 0 takes any free port",
        ),
        (["--data", str(tmp_path)], {}, f"cannot start: {tmp_path} is not empty, and not the folder of a platform"),
        (["--isolation", "bubblewrap"], {"PATH": str(tmp_path)}, "cannot start: isolation 'bubblewrap'"),
        (["--isolation", "processes", "--network", "private"], {}, "cannot start: network 'private' needs isolation"),
    ):
        done = refused(*options, **variables)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"pocketenv: {message}")
        assert done.stderr.count("\n") == 1


def test_command_without_extra() -> None:
    """Without its extra the command names the package to install."""
    code = "import sys; sys.modules['uvicorn'] = None; from pocketenv_fp.local.__main__ import main; sys.exit(main([]))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr == f"pocketenv: uvicorn is missing: {install_command('local')}\n"


@pytest.mark.parametrize(
    "option",
    ["--port=70000", "--port=-1", "--boot-delay=-1", "--boot-delay=nan", "--rate-limit=many", "--memory-bytes=1.5X"],
)
def test_command_refuses_invalid_options(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An invalid option is refused before anything starts."""
    with pytest.raises(SystemExit) as ended:
        main([option])
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert f"argument {option.partition('=')[0]}" in err


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1024", 1024), ("64K", 65_536), ("64kB", 65_536), ("512M", 2**29), ("2GiB", 2**31), ("1t", 2**40)],
)
def test_bytes_units(text: str, size: int) -> None:
    """A size may have a unit."""
    assert _bytes(text) == size


def test_options_invalid_numbers() -> None:
    """An option with an invalid number is refused."""
    for read, text in ((_bytes, "M"), (_bytes, "-1"), (_port, "65536"), (_port, "٣"), (_seconds, "inf")):
        with pytest.raises(argparse.ArgumentTypeError):
            read(text)
    assert (_port("65535"), _seconds("0.5")) == (65_535, 0.5)


def test_sandbox_from_parameter_or_body() -> None:
    """The log takes the sandbox of a request from its parameters or its body."""
    assert sandbox("io.pocketenv.sandbox.exec", {"id": "a"}, {}) == "a"
    assert sandbox("io.pocketenv.sandbox.putSshKeys", {}, {"id": "a"}) == "a"
    assert sandbox("io.pocketenv.service.addService", {"sandboxId": "a"}, {"service": {"name": "x"}}) == "a"
    assert sandbox("io.pocketenv.secret.updateSecret", {}, {"id": "s", "secret": {"sandboxId": "a"}}) == "a"
    assert sandbox("io.pocketenv.secret.getSecret", {"id": "s"}, {}) is None
    assert sandbox("io.pocketenv.sandbox.getSandboxes", {"limit": 3}, {}, [1]) is None


def test_log_line_escapes_control_characters() -> None:
    """A line holds no line break and no terminal sequence."""
    hostile = Answered(0.0, "GET", "/a\n12:00:00  sandbox.exec\x1b[2J" + "x" * 200, 404, 1.25, "a\r\x07b")
    text = line(hostile)
    assert "\n" not in text
    assert "\r" not in text
    assert "\x1b" not in text
    assert "a??b" in text
    assert "1,250 ms" in text
    assert len(text) < 140


def test_log_line_without_answer() -> None:
    """A request without a response is a line too."""
    match = LINE.fullmatch(line(Answered(0.0, "POST", "io.pocketenv.sandbox.exec", 0, 0.001, "box")))
    assert match is not None
    assert (match[2], match[4]) == ("---", "box")


class Stuck(io.StringIO):
    """A stream that blocks until it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.may = threading.Event()

    def write(self, text: str, /) -> int:
        self.may.wait(120)
        return super().write(text)


def test_log_counts_dropped_lines() -> None:
    """The log counts the lines that it drops."""
    stream = Stuck()
    log = Log(stream, colour=False)
    answered = Answered(0.0, "GET", "io.pocketenv.sandbox.getSandbox", 200, 0.0, None)
    for _ in range(10_100):
        log(answered)
    assert stream.getvalue() == "", "no request waits for the reader"
    stream.may.set()
    assert eventually(lambda: stream.getvalue().count("getSandbox") >= 10_000)
    log(answered)
    log.close()
    assert re.search(r"^pocketenv: \d+ requests are not shown$", stream.getvalue(), re.MULTILINE)


def test_log_with_a_closed_reader() -> None:
    """A closed reader ends the log and nothing else."""
    stream = io.StringIO()
    log = Log(stream, colour=False)
    stream.close()
    log(Answered(0.0, "GET", "io.pocketenv.sandbox.getSandbox", 200, 0.0, None))
    log.close()
