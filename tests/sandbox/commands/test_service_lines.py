"""The shell lines of services, run by the shell of this machine in a folder of the test."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from pocketenv_fp.sandbox.commands.job_lines import GONE, NO_TOOL
from pocketenv_fp.sandbox.commands.service_lines import LOOK, keeping, key_of
from tests.local.wire import eventually

PATIENCE = 60.0


def run(folder: Path, line: str, before: str = "", env: dict[str, str] | None = None) -> tuple[int, str]:
    """Run a line in a folder that stands for the root, and return its exit code and output."""
    (folder / "tmp").mkdir(exist_ok=True)
    line = line.replace("cd /tmp;", f"cd {folder}/tmp;")
    ran = subprocess.run(
        ["sh", "-c", before + line], cwd=folder, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    return ran.returncode, ran.stdout


def look(folder: Path, waits: int = 0, **env: str) -> tuple[int, list[str]]:
    """Look at the service `web`."""
    before = f"id=web from_o=0 from_r=0 most=2 waits={waits}\n"
    code, printed = run(folder, LOOK, before, {**os.environ, **env})
    return code, printed.splitlines()


def kept(folder: Path) -> Path:
    return folder / "tmp/.pocketenv-services/web"


def test_keeping_appends(tmp_path: Path) -> None:
    """The output of one mark is appended, and that of another mark begins with empty files."""
    for mark, expected in (("a", "x\n"), ("a", "x\nx\n"), ("b", "x\n")):
        assert run(tmp_path, keeping("web", mark) + "echo x; echo e >&2") == (0, "")
        assert [(kept(tmp_path) / name).read_text() for name in ("stdout", "mark")] == [expected, f"{mark}\n"]
    assert look(tmp_path) == (0, ["ended 0 2 2 -", "eAo=", ".", "ZQo="])


def test_keeping_without_files(tmp_path: Path) -> None:
    """A service runs also where a file of its output cannot be opened."""
    (kept(tmp_path) / "stderr").mkdir(parents=True)
    assert run(tmp_path, keeping("web", "a") + "echo ran") == (0, "ran\n")


def test_look_without_files(tmp_path: Path) -> None:
    """A service that has no output is not looked at."""
    run(tmp_path, keeping("web", "a") + "echo x")
    for name in ("stderr", "stdout", "mark"):
        (kept(tmp_path) / name).rename(tmp_path / name)
        assert look(tmp_path)[0] == GONE
        (tmp_path / name).rename(kept(tmp_path) / name)
    assert look(tmp_path)[0] == 0


def test_look_without_base64(tmp_path: Path) -> None:
    """A tool that is missing is named."""
    run(tmp_path, keeping("web", "a") + "echo x")
    for name in ("sh", "wc", "grep"):
        (tmp_path / name).symlink_to(f"/bin/{name}")
    assert look(tmp_path, PATH=str(tmp_path)) == (NO_TOOL, ["base64"])


def test_look_runs(tmp_path: Path) -> None:
    """A service runs while a process has its mark in the environment or, before that, in its arguments."""
    mark = f"mark{os.getpid()}"
    run(tmp_path, keeping("web", mark) + "echo x")
    sleep = ["sleep", "600"]
    with subprocess.Popen(sleep, env={**os.environ, "POCKETENV_SPAWNED": mark}) as process:
        assert eventually(lambda: look(tmp_path)[1][0] == "runs - 2 0 -", PATIENCE)
        process.kill()
    assert look(tmp_path)[1][0] == "ended 0 2 0 -"
    script = f"POCKETENV_SPAWNED='{mark}'; sleep 600; exit"
    with subprocess.Popen(["sh", "-c", script], start_new_session=True) as process:
        assert eventually(lambda: look(tmp_path)[1][0] == "runs - 2 0 -", PATIENCE)
        os.killpg(process.pid, 9)


def test_key_of_names() -> None:
    """Two names have two keys, and each is the name of a file."""
    assert key_of("web") == "web"
    keys = [key_of(name) for name in ("web", "Web", "a/b", "..", "+", "é", "x" * 101, "")]
    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch(r"[a-z0-9+._-]+", key) and key not in {".", ".."} for key in keys)
