"""The shell lines of jobs, run by the shell of this machine in a folder of the test: each branch that a request rarely takes."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pocketenv_fp.sandbox.commands import job_lines as lines
from tests.local.wire import eventually

ID = "nightly"
PATIENCE = 60.0


def is_alive(pid: int) -> bool:
    """Return whether a process runs. One that waits for its parent has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def named(words: str) -> list[int]:
    """Return the processes with these words in their command line."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes()
        except OSError:
            continue
        if words.encode() in text.replace(b"\0", b" ") and is_alive(int(path.parent.name)):
            found.append(int(path.parent.name))
    return found


class Root:
    """A folder that stands for the root of a sandbox, with the job `ID`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shell = "sh"
        self.job = path / "tmp/.pocketenv-jobs" / ID
        (path / "tmp").mkdir()

    def run(
        self,
        script: str,
        data: bytes = b"",
        /,
        *,
        before: str = "",
        env: Mapping[str, str] | None = None,
        **variables: str | int,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a line with its variables."""
        given = {"id": ID, **variables}
        head = "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in given.items())
        return subprocess.run(
            [self.shell, "-c", f"{head}{before}set --\n{script}"],
            cwd=self.path,
            env=os.environ if env is None else env,
            input=data,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )

    def start(self, line: str, *, before: str = "", env: Mapping[str, str] | None = None, **changed: str) -> int:
        """Start a command, and return the exit code of the line."""
        usual = {"key": "k", "line": line, "directory": str(self.path), "seconds": "", "given": "none"}
        more = {"has_script": "", "script": "", "runner": lines.runner([], set()), "supervisor": lines.SUPERVISOR}
        return self.run(lines.START, before=before, env=env, **{**usual, **more, **changed}).returncode

    def look(self, *, before: str = "", most: int = 1000, waits: int = 0) -> list[str]:
        """Look at the job, and return the lines that are printed."""
        looked = self.run(lines.LOOK, before=before, from_o=0, from_r=0, most=most, waits=waits)
        assert looked.returncode == 0, looked
        return looked.stdout.decode().splitlines()

    def write(self, **files: str) -> None:
        """Write files of the job, which need not have been started."""
        self.job.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (self.job / name).write_text(text)

    def ends(self) -> str:
        """Wait for the end of the job, and return its exit code."""
        assert eventually((self.job / "code").exists, PATIENCE)
        return (self.job / "code").read_text().split()[0]

    def names(self) -> set[str]:
        """Return the names of the job's files."""
        return {path.name for path in self.job.iterdir()}


def left_in(folder: Path) -> list[int]:
    """Return the processes that run in a folder, or have it in their command line."""
    found = named(f"{folder}")
    for path in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if path.readlink().is_relative_to(folder) and is_alive(int(path.parent.name)):
                found.append(int(path.parent.name))
    return found


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    """A folder whose jobs are killed after the test."""
    yield Root(tmp_path)
    while left := left_in(tmp_path):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is not of a job, in a group of its own."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        yield process
        process.kill()


def tools(folder: Path, *missing: str) -> dict[str, str]:
    """Return an environment whose PATH has the tools of the lines, without these."""
    folder.mkdir()
    for name in ("sh", "bash", "cat", "mkdir", "mv", "rm", "sleep", "wc", "tail", "head", "base64", "mkfifo", "setsid"):
        if name not in missing and (found := shutil.which(name)):
            (folder / name).symlink_to(found)
    return {"PATH": str(folder)}


# Start


def test_start_directory_of_another_user(root: Root) -> None:
    """A directory that another user made first is refused."""
    place = root.path / "tmp/.pocketenv-jobs"
    if os.geteuid() == 0:
        place.mkdir()
        os.chown(place, 1, 1)
    else:
        place.symlink_to("/")
    ran = root.run(lines.START)
    assert ran.returncode == lines.NO_ROOM
    assert b"no directory of this user" in ran.stderr


def test_start_file_in_the_way(root: Root) -> None:
    """A file with the name of the job is no other job."""
    root.job.parent.mkdir()
    root.job.write_text("")
    assert root.start("true") == lines.NO_ROOM


def test_start_waits_for_the_first(root: Root) -> None:
    """A second start waits for the first, which has not written its key."""
    root.write()
    writer = threading.Timer(0.3, root.write, kwargs={"key": "k"})
    writer.start()
    assert root.start("true") == 0
    writer.join()
    assert root.names() == {"key"}


def test_start_has_pid(root: Root) -> None:
    """After a start the process ids are there, so that a cancel finds them."""
    assert root.start("sleep 600") == 0
    assert {"pid", "supervisor"} <= root.names()


def test_start_modes(root: Root) -> None:
    """The files of a job are of its user only, and the command has the umask of the shell."""
    assert root.start("umask; : >made", before="umask 027\n") == 0
    assert root.ends() == "0"
    assert (root.job / "stdout").read_text().strip("0\n") == "27"
    assert {stat.S_IMODE(path.stat().st_mode) for path in root.job.iterdir()} == {0o600}
    assert stat.S_IMODE(root.job.stat().st_mode) == stat.S_IMODE(root.job.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE((root.path / "made").stat().st_mode) == 0o640


def test_start_removes_input(root: Root) -> None:
    """The standard input and the script are deleted with the end."""
    assert root.start("cat", given="data", has_script="1", script="x") == 0
    assert root.ends() == "0"
    assert eventually(lambda: root.names() & {"stdin", "script"} == set(), PATIENCE)


def test_start_hides_variables(root: Root) -> None:
    """The command has the variables under their own names only."""
    env = {**os.environ, "pocketenv_env_0": "one", "pocketenv_env_1": "two"}
    assert root.start("env", env=env, runner=lines.runner(["A", "LC_B"], {"A"})) == 0
    assert root.ends() == "0"
    printed = (root.job / "stdout").read_text()
    assert {"A=one", "LC_B=two"} <= set(printed.splitlines())
    assert "pocketenv_env_" not in printed


def test_start_survives_hangup(root: Root) -> None:
    """A hangup, as at the end of a session, ends no job."""
    assert root.start("while [ ! -e go ]; do sleep 0.05; done; exit 7") == 0
    os.kill(int((root.job / "supervisor").read_text()), signal.SIGHUP)
    (root.path / "go").write_text("")
    assert root.ends() == "7"


def test_start_ends_watcher(root: Root) -> None:
    """The watcher of a time limit ends with the command, and its sleep too."""
    seconds = f"{os.getpid()}.25"
    assert root.start("while [ ! -e go ]; do sleep 0.05; done", seconds=seconds) == 0
    assert eventually(lambda: named(f"sleep {seconds}") != [], PATIENCE)
    (root.path / "go").write_text("")
    assert root.ends() == "0"
    assert eventually(lambda: named(f"sleep {seconds}") == [], PATIENCE)


def test_start_ends_feeder(root: Root) -> None:
    """A command that reads no input to its end leaves no process."""
    assert root.start("true", given="open") == 0
    assert root.ends() == "0"
    assert eventually(lambda: named(f"{root.path}") == [], PATIENCE)


def test_start_without_setsid(root: Root) -> None:
    """Without setsid bash makes a process group: a cancel ends its children."""
    if shutil.which("bash") is None:
        pytest.skip("no bash here, and other shells make groups for a terminal only")
    root.shell = "bash"
    env = tools(root.path / "bin", "setsid")
    assert root.start("sleep 600 & echo $!; wait", env=env) == 0
    assert eventually(lambda: (root.job / "stdout").read_text() != "", PATIENCE)
    child = int((root.job / "stdout").read_text())
    try:
        assert root.run(lines.CANCEL, env=env).returncode == 0
        assert root.ends() == "143"
        assert eventually(lambda: not is_alive(child), PATIENCE)
    finally:
        if is_alive(child):
            os.kill(child, signal.SIGKILL)


# The end


def test_timeout_stopped_command(root: Root) -> None:
    """A stopped command gets SIGTERM at its time limit, and not SIGKILL five seconds later."""
    assert root.start("kill -s STOP $$", seconds="0.2") == 0
    assert root.ends() == "143"


def test_timeout_kills(root: Root) -> None:
    """What ignores SIGTERM is killed before the end is written: the command, and its children."""
    quick = lines.SUPERVISOR.replace("-lt 50", "-lt 20")
    line = "trap '' TERM; sleep 600 & echo $!; while :; do sleep 1; done"
    assert root.start(line, seconds="0.2", supervisor=quick) == 0
    assert root.ends() == "137"
    assert not is_alive(int((root.job / "stdout").read_text()))


def test_timeout_kills_children(root: Root) -> None:
    """The end is written after the children are dead, also where the command ended at once."""
    quick = lines.SUPERVISOR.replace("-lt 50", "-lt 20")
    line = "(trap '' TERM; exec sleep 600) & echo $!; exec sleep 600"
    assert root.start(line, seconds="0.2", supervisor=quick) == 0
    assert root.ends() == "143"
    child = int((root.job / "stdout").read_text())
    assert eventually(lambda: not is_alive(child), 0.5)


def test_cancel_stopped_command(root: Root) -> None:
    """A stopped command gets the SIGTERM of a cancel."""
    assert root.start("kill -s STOP $$") == 0
    pid = (root.job / "pid").read_text().strip()
    stopped = Path(f"/proc/{pid}/stat")
    assert eventually(lambda: stopped.read_text().rpartition(")")[2].split()[0] == "T", PATIENCE)
    assert root.run(lines.CANCEL).returncode == 0
    assert root.ends() == "143"


def slow_setsid(folder: Path) -> dict[str, str]:
    """Return an environment in which setsid never makes the group of the command."""
    env = tools(folder, "setsid")
    real = f'case $* in *pocketenv-job-*) exec {shutil.which("setsid")} "$@" ;; esac'
    (folder / "setsid").write_text(f"#!/bin/sh\n{real}\nexec sleep 600\n")
    (folder / "setsid").chmod(0o755)
    return env


def test_cancel_before_the_group(root: Root) -> None:
    """A command that has no process group yet is killed by its process id."""
    assert root.start("true", env=slow_setsid(root.path / "bin")) == 0
    assert root.run(lines.CANCEL).returncode == 0
    assert root.ends() == "143"


def test_timeout_before_the_group(root: Root) -> None:
    """At its time limit too."""
    assert root.start("true", env=slow_setsid(root.path / "bin"), seconds="0.2") == 0
    assert root.ends() == "143"


def test_cancel_ended_job(root: Root, other: subprocess.Popen[bytes]) -> None:
    """The process id of a job that has ended may be that of another process."""
    root.write(stdout="", pid=f"{other.pid}\n", code="0 0 0 \n")
    assert root.run(lines.CANCEL).returncode == 0
    assert other.poll() is None


def test_cancel_waits_for_pid(root: Root, other: subprocess.Popen[bytes]) -> None:
    """A cancel right after the start waits for the process id."""
    root.write(stdout="")
    writer = threading.Timer(0.3, root.write, kwargs={"pid": f"{other.pid}\n"})
    writer.start()
    assert root.run(lines.CANCEL).returncode == 0
    writer.join()
    assert other.wait(PATIENCE) == -signal.SIGTERM


def test_revoke_before_the_start(root: Root) -> None:
    """A start that arrives after its revocation starts nothing."""
    for _ in range(2):
        assert root.run(lines.REVOKE).returncode == 0
    assert root.start("true") == lines.DIFFERS
    assert root.names() == {"key"}
    assert root.run(lines.LIST).stdout == b""


# Look


def test_look_without_output(root: Root) -> None:
    """A job that was revoked or deleted has no output, and is no job that runs."""
    root.write(key="k")
    for line in (lines.LOOK, lines.CANCEL):
        assert root.run(line, from_o=0, from_r=0, most=9, waits=0).returncode == lines.GONE


def test_look_without_base64(root: Root) -> None:
    """A tool that is missing is named."""
    root.write(stdout="x", stderr="")
    looked = root.run(lines.LOOK, env=tools(root.path / "bin", "base64"), from_o=0, from_r=0, most=9, waits=0)
    assert (looked.returncode, looked.stdout) == (lines.NO_TOOL, b"base64")


def test_look_part(root: Root) -> None:
    """At most `most` bytes of each output are printed."""
    root.write(stdout="abc", stderr="de", code="0 3 2 \n")
    assert root.look(most=1) == ["ended 0 3 2 -", "YQ==", ".", "ZA=="]


def test_look_shortened_output(root: Root) -> None:
    """A command may shorten its own output: both sizes are those of the files."""
    root.write(stdout="a", stderr="b", code="0 5 6 \n")
    assert root.look()[0] == "ended 0 1 1 -"


def test_look_later_output(root: Root) -> None:
    """Output of children after the end of the command is left out."""
    root.write(stdout="abc", stderr="def", code="0 1 2 1.5\n")
    assert root.look() == ["ended 0 1 2 1.5", "YQ==", ".", "ZGU="]


def test_look_lost(root: Root, other: subprocess.Popen[bytes]) -> None:
    """A job without its supervisor is lost, also where another process has its process id."""
    root.write(stdout="", stderr="")
    assert root.look()[0] == "runs - 0 0 -"
    root.write(supervisor=f"{other.pid}\n")
    assert root.look()[0] == "lost - 0 0 -"
    other.kill()
    other.wait()
    assert root.look()[0] == "lost - 0 0 -"


def test_look_ended_in_between(root: Root) -> None:
    """A supervisor that writes the end just before its own end is not lost."""
    root.write(stdout="", stderr="", supervisor="1\n")
    ending = "kill() { echo '0 0 0 ' >code; return 1; }\n"
    assert root.look(before=ending)[0] == "runs - 0 0 -"
    assert root.look()[0] == "ended 0 0 0 -"


def test_list_jobs_only(root: Root) -> None:
    """Without jobs nothing is printed, and what is no job is left out."""
    empty = root.run(lines.LIST)
    assert (empty.returncode, empty.stdout, empty.stderr) == (0, b"", b"")
    root.write(stdout="")
    (root.job.parent / "other").mkdir()
    assert root.run(lines.LIST).stdout == f"{ID}\n".encode()


# Forget


def test_forget_running(root: Root) -> None:
    """A job that runs is not deleted."""
    assert root.start("sleep 600") == 0
    assert root.run(lines.FORGET, keeps="").returncode == lines.RUNS
    assert "stdout" in root.names()
    root.write(code="0 0 0 \n")
    # Its supervisor may not have ended yet.
    assert root.run(lines.FORGET, keeps="1").returncode == 0


def test_forget_lost(root: Root, other: subprocess.Popen[bytes]) -> None:
    """A lost job is deleted, also where another process has the process id of its supervisor."""
    root.write(stdout="", supervisor=f"{other.pid}\n")
    assert root.run(lines.FORGET, keeps="").returncode == 0
    assert not root.job.exists()


def test_forget_keeps_name(root: Root) -> None:
    """With `keeps` the key stays, and a later start starts nothing."""
    assert root.start("true", given="open") == 0
    assert root.ends() == "0"
    (root.job / "in.m").mkdir()
    (root.job / "closed").write_text("")
    assert root.run(lines.FORGET, keeps="1").returncode == 0
    assert root.names() == {"key"}
    assert root.start("true") == 0
    assert root.names() == {"key"}


# Input


def send(root: Root, data: bytes, message: str, closes: str = "") -> int:
    return root.run(lines.INPUT, data, message=message, closes=closes).returncode


def test_input_once(root: Root) -> None:
    """A message that is sent twice is read once, and its copy is deleted."""
    assert root.start("cat", given="open") == 0
    for _ in range(2):
        assert send(root, b"secret\n", "1") == 0
    assert {path.name for path in (root.job / "in.1").iterdir()} == {"code"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in root.job.glob("in.*/*")} == {0o600}
    for _ in range(2):
        assert send(root, b"", "2", "1") == 0
    assert send(root, b"late\n", "3") == lines.CLOSED
    assert root.ends() == "0"
    assert (root.job / "stdout").read_text() == "secret\n"


def test_input_of_ended_job(root: Root) -> None:
    """A job that has ended reads no input."""
    assert root.start("true", given="open") == 0
    assert root.ends() == "0"
    for _ in range(2):
        assert send(root, b"x", "1") == lines.ENDED


def test_input_without_pipe(root: Root) -> None:
    """A job without open_stdin reads no input."""
    root.write(stdout="")
    assert send(root, b"x", "1") == lines.CLOSED
    assert root.names() == {"stdout"}
