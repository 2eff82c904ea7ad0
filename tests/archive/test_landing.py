"""Landing: a new tree arrives whole or not at all, and nothing else changes."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from pocketenv_fp.archive import landing
from pocketenv_fp.archive.landing import land, staging
from pocketenv_fp.errors import ArchiveError
from tests.archive.trees import look


def fill(top: Path, **files: str | None) -> None:
    """Make files by name, with two underscores for a slash, and directories without content."""
    for name, content in files.items():
        path = top / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir()
        else:
            path.write_text(content)


def contents(top: Path) -> dict[str, str | None]:
    return {
        str(path.relative_to(top)): path.read_text() if path.is_file() else None
        for path in sorted(top.rglob("*"))
    }  # fmt: skip


def hidden(place: Path) -> list[str]:
    return [name for name in os.listdir(place) if name.startswith(".pocketenv-")]


def test_land_new_target(tmp_path: Path) -> None:
    """A new target is the staged directory itself."""
    with staging(tmp_path / "out") as made:
        assert made.parent.parent == tmp_path
        assert made.parent.stat().st_mode & 0o777 == 0o700
        assert hidden(tmp_path) == [made.parent.name]
        fill(made, a="1", d__b="2")
        number = made.stat().st_ino
        land(made, tmp_path / "out")
    assert (tmp_path / "out").stat().st_ino == number
    assert contents(tmp_path) == {"out": None, "out/a": "1", "out/d": None, "out/d/b": "2"}


def test_land_interrupt_at_any_line(tmp_path: Path) -> None:
    """Ctrl-C at any line of the move changes nothing."""

    def landed(number: int) -> bool:
        """Land with a Ctrl-C at a line of the move, counted from 0. Return whether it came to the end."""
        place = tmp_path / str(number)
        fill(place, out__a="old", out__d__b="old", out__kept="old")
        (place / "out" / "link").symlink_to("a")
        left = number

        def trace(frame: FrameType, event: str, _: object) -> Any:
            nonlocal left
            if "landing" not in frame.f_code.co_filename or frame.f_code.co_name in {"undo", "_remove"}:
                return None
            if event == "line" and frame.f_code.co_name in {"_move", "_put_aside", "_rename"}:
                left -= 1
                if left == -1:
                    raise KeyboardInterrupt
            return trace

        before = look(place / "out")
        with staging(place / "out") as made:
            fill(made, a="new", d__b="new", d__c="new", new__e="new", link__f="new")
            (made / "new").chmod(0o555)
            measuring = sys.gettrace()
            sys.settrace(trace)
            try:
                land(made, place / "out")
            except KeyboardInterrupt:
                pass
            else:
                return True
            finally:
                sys.settrace(measuring)
        assert look(place / "out") == before
        return False

    lines = next(number for number in itertools.count() if landed(number))
    assert lines > 50
    assert (tmp_path / str(lines) / "out" / "link" / "f").read_text() == "new"


@pytest.mark.parametrize("fails", [False, True])
def test_land_signal_at_any_line(tmp_path: Path, fails: bool) -> None:  # noqa: FBT001
    """Raise like a signal, which is held during the undo and the cleanup."""

    def landed(number: int) -> bool:
        place = tmp_path / str(number)
        fill(place, out__a="old", out__d__b="old", out__z="old")
        (place / "out" / "link").symlink_to("a")
        left = number

        def trace(frame: FrameType, event: str, _: object) -> Any:
            nonlocal left
            if frame.f_code.co_filename != landing.__file__:
                return None
            if event == "line":
                left -= 1
                if left == -1:
                    signal.raise_signal(signal.SIGINT)
            return trace

        before, interrupted, measuring = look(place / "out"), False, sys.gettrace()
        sys.settrace(trace)
        try:
            with staging(place / "out") as made:
                # At the end a file is in the way of a directory, and all is put back.
                fill(made, a="new", d__b="new", new__e="new", link__f="new", **{"z__y" if fails else "z": "new"})
                land(made, place / "out")
        except KeyboardInterrupt:
            interrupted = True
        except ArchiveError:
            pass
        finally:
            sys.settrace(measuring)
        assert hidden(place) == []
        if look(place / "out") != before:
            assert not fails
            assert [path.read_text() for path in (place / "out").rglob("*") if path.is_file()] == ["new"] * 5
        return not interrupted

    lines = next(number for number in itertools.count() if landed(number))
    assert lines > 200


@pytest.mark.slow
def test_land_memory_for_each_entry(tmp_path: Path) -> None:
    """The record for undoing takes little memory for each entry."""
    names, target = [f"file-{number}" for number in range(3000)], tmp_path / ("x" * 100)
    with staging(target) as made:
        for place in (made, target):
            fill(place, **dict.fromkeys(names, ""))
        tracemalloc.start()
        try:
            land(made, target)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    # A million of them are allowed.
    assert peak / len(names) < 600


def test_land_removes_new_parents_on_failure(tmp_path: Path) -> None:
    """Parent directories are made, and removed again if nothing arrives."""
    target = tmp_path / "x" / "y" / "out"
    with contextlib.suppress(KeyError), staging(target) as made:
        fill(made, a="1")
        assert hidden(target.parent)
        raise KeyError
    assert os.listdir(tmp_path) == []
    with staging(target) as made:
        fill(made, a="1")
        land(made, target)
    assert (target / "a").read_text() == "1"
    assert os.listdir(target.parent) == ["out"]


def test_staging_inside_the_target(tmp_path: Path) -> None:
    target = tmp_path / "out"
    fill(target, kept="kept")
    with staging(target, inside=True) as made:
        assert made.parent.parent == target
        fill(made, a="1")
        land(made, target)
    assert contents(tmp_path) == {"out": None, "out/a": "1", "out/kept": "kept"}


def test_staging_failure_removes_parents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A staging that fails removes the parents that it made."""

    def full(**_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    with pytest.raises(ArchiveError, match="No space left"), staging(tmp_path / "x" / "y" / "out"):
        pass
    assert os.listdir(tmp_path) == []


def test_staging_removal_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A staging directory that cannot be removed hides no other error."""

    def refused(top: str) -> None:
        raise OSError(16, "Device or resource busy", top)

    monkeypatch.setattr(landing, "_remove", refused)
    with pytest.raises(KeyError), staging(tmp_path / "out"):
        raise KeyError


def test_land_stops_at_a_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C stops the move at once, and what was moved is put back."""
    target, usual, renamed = tmp_path / "out", os.rename, list[str]()
    fill(target, old="old")
    before = look(target)

    def rename(old: str, new: str) -> None:
        usual(old, new)
        renamed.append(new)
        if len(renamed) == 1:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(os, "rename", rename)
    with staging(target) as made:
        fill(made, a="new", b="new", c="new")
        with pytest.raises(KeyboardInterrupt):
            land(made, target)
    # One there, and the same one back.
    assert len(renamed) == 2
    assert look(target) == before


def test_land_replaces_file_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is replaced without a moment in which its path is missing."""
    target, usual, seen = tmp_path / "out", os.rename, list[str]()
    fill(target, a="old")

    def rename(old: str, new: str) -> None:
        seen.append((target / "a").read_text())
        usual(old, new)

    monkeypatch.setattr(os, "rename", rename)
    with staging(target) as made:
        fill(made, a="new")
        land(made, target)
    assert (seen, contents(target)) == (["old"], {"a": "new"})


def test_land_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk without hard links is supported."""

    def link(*_: object, follow_symlinks: bool) -> None:
        raise PermissionError(1, "Operation not permitted", follow_symlinks)

    target = tmp_path / "out"
    fill(target, a="old", d__b="old")
    monkeypatch.setattr(os, "link", link)
    with staging(target) as made:
        fill(made, a="new", d__b="new")
        land(made, target)
    assert contents(target) == {"a": "new", "d": None, "d/b": "new"}


def test_land_directory_in_the_way_of_a_link(tmp_path: Path) -> None:
    """A link to a directory is no directory."""
    target = tmp_path / "out"
    fill(target, d__a="old", e=None)
    before = look(target)
    for name in ("d", "e"):
        with staging(target) as made:
            fill(made, real=None)
            (made / name).symlink_to("real")
            with pytest.raises(ArchiveError, match="a directory is where a file should go") as caught:
                land(made, target)
            assert caught.value.entry == name
        assert look(target) == before


def test_land_refused_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the entry that the disk refuses."""
    target, usual = tmp_path / "out", os.rename

    def rename(old: str, new: str) -> None:
        if new.endswith("d/a"):
            raise OSError(5, "Input/output error")
        usual(old, new)

    fill(target, d__b="old")
    monkeypatch.setattr(os, "rename", rename)
    with staging(target) as made:
        fill(made, d__a="new")
        with pytest.raises(ArchiveError) as caught:
            land(made, target)
    assert (caught.value.entry, caught.value.reason) == ("d/a", "Input/output error")


def test_land_merges_a_directory(tmp_path: Path) -> None:
    """A directory is merged into the one that is there."""
    target = tmp_path / "out"
    fill(target, same="old", kept="kept", d__same="old", d__kept="kept", d__e__kept="kept")
    (target / "d").chmod(0o750)
    with staging(target) as made:
        fill(made, same="new", added="new", d__same="new", d__f__g="new")
        (made / "d" / "f").chmod(0o555)
        (made / "d").chmod(0o555)
        land(made, target)
    assert contents(target) == {
        "added": "new",
        "d": None,
        "d/e": None,
        "d/e/kept": "kept",
        "d/f": None,
        "d/f/g": "new",
        "d/kept": "kept",
        "d/same": "new",
        "kept": "kept",
        "same": "new",
    }
    assert (target / "d").stat().st_mode & 0o777 == 0o750
    assert (target / "d" / "f").stat().st_mode & 0o777 == 0o555
    assert hidden(tmp_path) == []
    (target / "d" / "f").chmod(0o755)


def test_land_replaces_a_link(tmp_path: Path) -> None:
    """A link in the way is replaced and never followed."""
    target, canary = tmp_path / "out", tmp_path / "canary"
    fill(canary, file="canary", d__file="canary")
    target.mkdir()
    (target / "file").symlink_to(canary / "file")
    (target / "d").symlink_to(canary / "d")
    (target / "l").symlink_to(canary)
    before = look(canary)
    with staging(target) as made:
        fill(made, file="new", d__file="new", d__more="new")
        (made / "l").symlink_to("file")
        land(made, target)
    assert look(canary) == before
    assert contents(target) == {"d": None, "d/file": "new", "d/more": "new", "file": "new", "l": "new"}
    assert os.readlink(target / "l") == "file"
    assert not (target / "d").is_symlink()


def test_land_target_link(tmp_path: Path) -> None:
    """The target itself may be a link."""
    fill(tmp_path / "real", kept="kept")
    (tmp_path / "out").symlink_to("real")
    (tmp_path / "later").symlink_to("not-yet")
    for name in ("out", "later"):
        with staging(tmp_path / name) as made:
            fill(made, a="1")
            land(made, tmp_path / name)
        assert (tmp_path / name).is_symlink()
    assert contents(tmp_path / "real") == {"a": "1", "kept": "kept"}
    assert contents(tmp_path / "not-yet") == {"a": "1"}


def test_land_file(tmp_path: Path) -> None:
    """A file is moved to the path of the target, and replaces an older one."""
    target = tmp_path / "result.txt"
    for content in ("first", "second"):
        with staging(target) as made:
            fill(made, whatever=content)
            land(made / "whatever", target)
        assert target.read_text() == content
    assert os.listdir(tmp_path) == ["result.txt"]


@pytest.mark.parametrize("last", ["z", "z__z"])
@pytest.mark.parametrize("kinds", [("file", "directory"), ("directory", "file")])
def test_land_undoes_all_on_failure(tmp_path: Path, last: str, kinds: tuple[str, str]) -> None:
    """All is put back when the last entry cannot be moved."""
    target, canary = tmp_path / "out", tmp_path / "canary"
    fill(canary, file="canary")
    fill(target, a="old", d__a="old", d__kept="kept", kept="kept")
    (target / "l").symlink_to(canary)
    (target / "d" / "l").symlink_to(canary / "file")
    there, new = ("x" if kind == "file" else None for kind in kinds)
    fill(target, **{last: there})
    for folder, directories, files in os.walk(target, topdown=False):
        for name in directories + files:
            os.utime(Path(folder) / name, (1_500_000_000, 1_500_000_000), follow_symlinks=False)
    before = look(tmp_path)
    with staging(target) as made:
        fill(made, b__new="new", a="new", d__a="new", d__b__c="new", l__file="new", d__l="new", **{last: new})
        with pytest.raises(ArchiveError) as caught:
            land(made, target)
        assert caught.value.entry == last.replace("__", "/")
    assert hidden(tmp_path) == []
    assert look(tmp_path) == before


@pytest.mark.parametrize("failing", range(1, 13))
def test_land_undo_after_any_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    """All is put back, whichever call the disk refuses."""
    # A disk that is full or gone at exactly this step cannot be had otherwise.
    target = tmp_path / "out"
    fill(target, a="old", d__a="old", d__kept="kept", kept="kept")
    (target / "l").symlink_to("kept")
    before = look(tmp_path)
    calls = {"made": 0}
    rename, link = os.rename, os.link

    def counted() -> None:
        calls["made"] += 1
        if calls["made"] == failing:
            raise OSError(5, "Input/output error")

    def failing_rename(old: str, new: str) -> None:
        counted()
        rename(old, new)

    def failing_link(old: str, new: str, *, follow_symlinks: bool) -> None:
        counted()
        link(old, new, follow_symlinks=follow_symlinks)

    with staging(target) as made:
        fill(made, a="new", b="new", d__a="new", d__b__c="new", l__file="new")
        with monkeypatch.context() as patched:
            patched.setattr(os, "rename", failing_rename)
            patched.setattr(os, "link", failing_link)
            try:
                land(made, target)
            except ArchiveError as error:
                failed = error.reason == "Input/output error"
            else:
                failed = False
    assert hidden(tmp_path) == []
    if failed:
        assert look(tmp_path) == before
    else:
        # A second name was impossible, which only means another way; or there were fewer steps.
        assert contents(target)["d/b/c"] == "new"
        assert contents(target)["l/file"] == "new"


def test_staging_removes_closed_directories(tmp_path: Path) -> None:
    """A staging directory is removed even if its permissions forbid that."""
    with contextlib.suppress(KeyError), staging(tmp_path / "out") as made:
        fill(made, d__e__f="1")
        (made / "l").symlink_to("/nowhere")
        for name in ("d/e", "d"):
            (made / name).chmod(0)
        raise KeyError
    assert os.listdir(tmp_path) == []


def test_staging_invalid_target(tmp_path: Path) -> None:
    """A target below a file is an ArchiveError."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ArchiveError, match=r"Not a directory|File exists"), staging(tmp_path / "file" / "out"):
        pass
    assert os.listdir(tmp_path) == ["file"]


def as_ordinary_user(program: str) -> str:
    """Return the output of a program in an empty directory. Root may write where others may not."""
    # Another user may not read the modules.
    first = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from pocketenv_fp.archive.landing import land, staging\n"
        "from pocketenv_fp.errors import ArchiveError\n"
        "os.chdir(sys.argv[1])\n"
        "os.getuid() or os.setuid(65534)\n"
    )
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o777)
        # Another user could not write the measurements.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
        command = [sys.executable, "-c", first + program, place]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        subprocess.run(["chmod", "-R", "u+rwX", place], check=True)
    assert ran.stderr == ""
    return ran.stdout


def test_land_read_only_directories() -> None:
    """Read-only directories of an ordinary user land and are removed."""
    program = (
        "target = Path('out')\n"
        "for turn in range(2):\n"
        "    with staging(target) as made:\n"
        "        (made / 'd' / 'e').mkdir(parents=True)\n"
        "        (made / 'd' / 'e' / str(turn)).write_text('x')\n"
        "        (made / f'only{turn}').mkdir()\n"
        "        (made / f'only{turn}' / 'f').write_text('x')\n"
        "        for name in ('d/e', 'd', f'only{turn}'):\n"
        "            (made / name).chmod(0o755 if name[0] == 'd' and not turn else 0o555)\n"
        "        made.chmod(0o555 if turn else 0o755)\n"
        "        land(made, target)\n"
        "print(sorted(os.listdir('.')), sorted(os.listdir('out')), sorted(os.listdir('out/d/e')))\n"
    )
    assert as_ordinary_user(program) == "['out'] ['d', 'only0', 'only1'] ['0', '1']\n"


def test_land_puts_read_only_directories_back() -> None:
    """Read-only directories of an ordinary user are moved back after a failure, and removed with the rest."""
    program = (
        "usual = os.listdir\n"
        "os.listdir = lambda path: sorted(usual(path), reverse=True)\n"  # so that the last entry is the one in the way
        "Path('out').mkdir()\n"
        "Path('out/z').write_text('old')\n"
        "try:\n"
        "    with staging(Path('out')) as made:\n"
        "        (made / 'r' / 'e').mkdir(parents=True)\n"
        "        (made / 'r' / 'e' / 'f').write_text('x')\n"
        "        (made / 'z').mkdir()\n"
        "        for name in ('r/e', 'r'):\n"
        "            (made / name).chmod(0o555)\n"
        "        land(made, Path('out'))\n"
        "except ArchiveError as error:\n"
        "    print(error.entry, usual('.'), usual('out'))\n"
    )
    assert as_ordinary_user(program) == "z ['out'] ['z']\n"
