"""Files between this machine and sandboxes: names of every kind, trees and single files, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from returns.result import Success

from pocketenv_fp import ExecResult, PathNotFound, Sandbox, copy_to, create, delete, download, exec, start, upload

NAMES = [
    "plain",
    "a b",
    "it's",
    'q"q',
    "$HOME",
    "se;mi",
    "-dash",
    "st*r",
    "pa(r)",
    "new\nline",
    "tab\tx",
    "~t",
    "ünï 漢",
]


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_copying_names(shared_box: Sandbox, tmp_path: Path, name: str) -> None:
    """A directory and a file of any name arrive where they were asked to, there and back."""
    tree = tmp_path / "tree"
    (tree / name).mkdir(parents=True)
    (tree / name / name).write_text("content\n")
    there = f"copies/{name}"
    sent = shared_box | upload(tree, there) | exec('cat "$P"', env={"P": f"{there}/{name}/{name}"})
    assert sent == Success(ExecResult("content\n", "", 0))
    back = (shared_box | download(there, tmp_path / "back")).unwrap()
    assert (back / name / name).read_text() == "content\n"
    file = (shared_box | download(f"{there}/{name}/{name}", tmp_path / "file")).unwrap()
    assert file.read_text() == "content\n"
    (shared_box | exec("rm -rf copies")).unwrap()


def test_copying_leaves_no_files(shared_box: Sandbox, tmp_path: Path) -> None:
    """Modes, links and empty directories arrive, and no file of ours stays in the sandbox."""
    (tmp_path / "tree" / "empty").mkdir(parents=True)
    script = tmp_path / "tree" / "run.sh"
    script.write_text("#!/bin/sh\necho ran\n")
    script.chmod(0o755)
    (tmp_path / "tree" / "link").symlink_to("run.sh")
    before = (shared_box | exec("ls -A /tmp | grep -c pocketenv; ls -A")).unwrap().stdout
    ran = shared_box | upload(tmp_path / "tree", "tree") | exec("./link; ls -A", cwd="tree")
    assert ran.unwrap().stdout == "ran\nempty\nlink\nrun.sh\n"
    back = (shared_box | download("tree", tmp_path / "back")).unwrap()
    assert (back / "link").readlink() == Path("run.sh")
    assert (back / "run.sh").stat().st_mode & 0o777 == 0o755
    (shared_box | exec("rm -r tree")).unwrap()
    assert (shared_box | exec("ls -A /tmp | grep -c pocketenv; ls -A")).unwrap().stdout == before


def test_download_missing_path(shared_box: Sandbox, tmp_path: Path) -> None:
    """A path that is not there is a PathNotFound, and nothing is made here."""
    assert isinstance((shared_box | download("no/such", tmp_path / "x")).failure(), PathNotFound)
    assert not (tmp_path / "x").exists()


def test_copy_to_another(shared_box: Sandbox, new_name: Callable[[], str]) -> None:
    """A tree and a file go from one sandbox into another."""
    other = (create(new_name()) | start).unwrap()
    (shared_box | exec("mkdir -p 'from here' && echo 42 > 'from here/it'\"'\"'s'")).unwrap()
    moved = shared_box | copy_to(other, "from here", "to there") | exec('cat "to there/it\'s"')
    assert moved == Success(ExecResult("42\n", "", 0))
    file = shared_box | copy_to(other, "from here/it's", "alone") | exec("cat alone; pwd")
    assert file == Success(ExecResult("42\n/workspace\n", "", 0))
    (other | delete).unwrap()
    (shared_box | exec("rm -r 'from here'")).unwrap()
