"""What a caller says of a copy: links, patterns, callbacks; and what is skipped is reported."""

from __future__ import annotations

import itertools
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pocketenv_fp import ArchiveError, Config, Sandbox, create, download, exec, explain, local, start, upload, using
from pocketenv_fp.errors import TransportError
from pocketenv_fp.local.faults import Refuse
from pocketenv_fp.observing import Begun, observing
from pocketenv_fp.runtime.progress import Progress
from tests import servers

ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
numbers = itertools.count()


@pytest.fixture(scope="module")
def place() -> Iterator[local.Platform]:
    with local.platform(isolation="processes") as platform:
        yield platform


@pytest.fixture
def box(place: local.Platform) -> Iterator[Sandbox]:
    servers.forget()
    with using(Config(api_url=place.url, storage_url=place.storage_url, token=place.token, retries=0)):
        yield (create(f"box-{next(numbers)}") | start).unwrap()
    servers.forget()


def names(top: Path) -> list[str]:
    return sorted(path.name for path in top.iterdir())


def said(box: Sandbox, command: str) -> str:
    ran = exec(box, command).unwrap()
    assert ran.exit_code == 0, ran
    return ran.stdout


def venv(top: Path) -> Path:
    """Make a directory with what a virtual environment has."""
    (top / "bin").mkdir(parents=True)
    (top / "lib").mkdir()
    (top / "lib" / "x.py").write_text("x")
    (top / "bin" / "python").symlink_to("/usr/bin/python3")
    (top / "lib64").symlink_to("lib")
    return top


VENV = "mkdir -p {0}/bin {0}/lib; echo x > {0}/lib/x.py; ln -s /usr/bin/python3 {0}/bin/python; ln -s lib {0}/lib64"


def test_download_refuses_links_outside(box: Sandbox, tmp_path: Path) -> None:
    """Links that lead outside are refused by default, and nothing arrives."""
    said(box, VENV.format("refused"))
    error = download(box, "refused", tmp_path / "out").failure()
    assert isinstance(error, ArchiveError)
    assert error.entry == "bin/python"
    assert 'links="skip"' in error.reason
    assert 'links="keep"' in error.reason
    assert names(tmp_path) == []


def test_download_skips_links_outside(box: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With "skip", links that lead outside are left out and reported."""
    said(box, VENV.format("skipped"))
    download(box, "skipped", tmp_path / "out", links="skip").unwrap()
    assert names(tmp_path / "out" / "bin") == []
    assert (tmp_path / "out" / "lib64" / "x.py").read_text() == "x\n"
    assert caplog.messages == ["download skipped 1 link that leads outside (bin/python)"]


def test_download_keeps_links_outside(box: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With "keep", links that lead outside arrive as they are."""
    said(box, VENV.format("kept"))
    download(box, "kept", tmp_path / "out", links="keep").unwrap()
    assert (tmp_path / "out" / "bin" / "python").readlink() == Path("/usr/bin/python3")
    assert caplog.messages == []


def test_download_ignore_patterns(box: Sandbox, tmp_path: Path) -> None:
    """Paths that match a pattern are left out, but for the requested file."""
    said(box, VENV.format("ignored/.venv") + "; echo a > ignored/a.log; echo b > ignored/b.log")
    download(box, "ignored", tmp_path / "out", ignore=[".venv/", "*.log", "!b.log"]).unwrap()
    assert names(tmp_path / "out") == ["b.log"]
    # The one file that was asked for is not left out.
    download(box, "ignored/a.log", tmp_path / "a.log", ignore=["*"]).unwrap()
    assert (tmp_path / "a.log").read_text() == "a\n"


@pytest.mark.parametrize("ignore", [True, "*.log", {"a"}, [1], None])
def test_download_ignore_type(box: Sandbox, tmp_path: Path, ignore: Any) -> None:
    """An ignore that is no list of patterns is a TypeError."""
    with pytest.raises(TypeError, match="download: ignore"):
        download(box, "x", tmp_path, ignore=ignore)


@pytest.mark.parametrize("links", ["copy", "", True, None])
def test_copies_links_value(box: Sandbox, tmp_path: Path, links: Any) -> None:
    """Other values of links are a TypeError."""
    with pytest.raises(TypeError, match="download: links"):
        download(box, "x", tmp_path, links=links)
    with pytest.raises(TypeError, match="upload: links"):
        upload(box, tmp_path, "x", links=links)


def test_upload_keeps_links(box: Sandbox, tmp_path: Path) -> None:
    """Links arrive as they are by default."""
    upload(box, venv(tmp_path / "in"), "up-kept").unwrap()
    assert said(box, "readlink up-kept/bin/python up-kept/lib64").split() == ["/usr/bin/python3", "lib"]


def test_upload_skips_links_outside(box: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With "skip", links that lead outside are left out and reported."""
    upload(box, venv(tmp_path / "in"), "up-skipped", links="skip").unwrap()
    assert said(box, "ls up-skipped/bin; readlink up-skipped/lib64").split() == ["lib"]
    assert caplog.messages == ["upload skipped 1 link that leads outside (bin/python)"]


def test_upload_refuses_links_outside(place: local.Platform, box: Sandbox, tmp_path: Path) -> None:
    """With "refuse", links that lead outside are refused before a request is sent."""
    before = len(place.calls)
    error = upload(box, venv(tmp_path / "in"), "up-refused", links="refuse").failure()
    assert isinstance(error, ArchiveError)
    assert error.entry == "bin/python"
    assert 'links="skip"' in error.reason
    assert len(place.calls) == before


def test_copies_report_pipes_and_sockets(
    box: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pipes and sockets are skipped, and reported as a status and a warning."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("a")
    os.mkfifo(tmp_path / "in" / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        # A socket's path has to be short.
        monkeypatch.chdir(tmp_path / "in")
        server.bind("s")
    seen: list[str] = []

    def watch(begun: Begun) -> None:
        if begun.kind == "status":
            seen.append(begun.name)

    with observing(watch):
        upload(box, tmp_path / "in", "odd").unwrap()
        said(box, "mkfifo odd/pipe")
        download(box, "odd", tmp_path / "out").unwrap()
    assert names(tmp_path / "out") == ["a"]
    assert seen == caplog.messages == [
        "upload skipped 1 pipe, 1 socket (pipe, s)",
        "download skipped 1 pipe (pipe)",
    ]  # fmt: skip
    assert {(record.name, record.levelno) for record in caplog.records} == {("pocketenv_fp", logging.WARNING)}


def test_explain_reports_no_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An explanation reports no skipped entries."""
    os.mkfifo(tmp_path / "pipe")
    explain(start | upload(tmp_path, "x"))
    assert caplog.messages == []


def test_upload_reports_skipped_once(
    place: local.Platform, box: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Skipped entries are reported once although requests are retried."""
    os.mkfifo(tmp_path / "pipe")
    # Too large for a line: it goes through storage.
    (tmp_path / "big").write_bytes(os.urandom(300_000))
    place.faults.add("POST /cp", Refuse(503))
    config = Config(api_url=place.url, storage_url=place.storage_url, token=place.token, retries=2)
    upload(box, tmp_path, "twice", config=config).unwrap()
    assert caplog.messages == ["upload skipped 1 pipe (pipe)"]


class Mistake(OSError):
    """The caller's own."""


RAISED: list[Callable[[], Exception]] = [
    lambda: Mistake(28, "no space left"),
    lambda: StopIteration(1),
    lambda: TransportError(kind="timeout", operation="storage.put", reason="late"),
    lambda: ArchiveError("the caller's"),
    lambda: UnicodeEncodeError("ascii", "é", 0, 1, "the caller's"),
    lambda: TimeoutError("the caller's"),
]


@pytest.mark.parametrize("make", RAISED)
@pytest.mark.parametrize("start", [0, 1])
def test_copies_progress_raises(
    place: local.Platform, box: Sandbox, tmp_path: Path, make: Callable[[], Exception], start: int
) -> None:
    """An exception of progress propagates unchanged."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "big").write_bytes(os.urandom(300_000))
    upload(box, tmp_path / "in", "big").unwrap()
    copies: list[Callable[[Progress], object]] = [
        lambda progress: upload(box, tmp_path / "in", "to", progress=progress),
        lambda progress: download(box, "big", tmp_path / "out", progress=progress),
    ]
    for copy in copies:
        raised = make()

        def progress(done: int, _: int | None, raised: Exception = raised) -> None:
            if done >= start:
                raise raised

        before = len(place.calls)
        with pytest.raises(type(raised)) as caught:
            copy(progress)
        assert caught.value is raised
        assert caught.value.__context__ is None
        assert names(tmp_path) == ["in"]
        asked = [name for name, _ in list(place.calls)[before:]]
        assert asked.count("io.pocketenv.sandbox.pushDirectory") <= 1
        assert "io.pocketenv.sandbox.pullDirectory" not in asked


class Patterns(list[str]):
    """A list whose pieces come from elsewhere, and do not come."""

    def __iter__(self) -> Iterator[str]:
        raise Mistake(5, "the caller's")


def test_copies_ignore_raises(box: Sandbox, tmp_path: Path) -> None:
    """An exception of the list of patterns propagates unchanged."""
    with pytest.raises(Mistake, match="the caller's"):
        upload(box, tmp_path, "to", ignore=Patterns(["a"]))
    with pytest.raises(Mistake, match="the caller's"):
        download(box, "to", tmp_path, ignore=Patterns(["a"]))


LOCALE = r"""
import os, sys
from pocketenv_fp import create, download, exec, start, upload
top = os.fsencode(sys.argv[1])
here = lambda name: os.fsdecode(top + b"/" + name)
os.makedirs(top + b"/in/\xc3\xa9")
for name in (b"/in/\xc3\xa9/\xf0\x9f\xa4\xa3", b"/in/\xff", b"/one \xc3\xa9"):
    open(top + name, "wb").close()
box = (create("ascii") | start | upload(here(b"in"), "t\u00e9") | upload(here(b"one \xc3\xa9"), "t\u00e9/")).unwrap()
download(box, "t\u00e9", here(b"out \xc3\xa9")).unwrap()
download(box, "t\u00e9/one \u00e9", here(b"file") + "/").unwrap()
print(sorted(os.path.join(folder, name)[len(top):] for folder, _, names in os.walk(top) for name in names))
(box | exec("ln -s / t\u00e9/\u00e9/l")).unwrap()
print(download(box, "t\u00e9", here(b"no")).failure())
print(download(box, "x", "\u00e9/x").failure())
print(upload(box, "\u00e9/x").failure())
"""


def test_copies_ascii_locale(place: local.Platform, tmp_path: Path) -> None:
    """Names are kept in an ASCII locale."""
    usual = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHONUTF8"))}
    command = [sys.executable, "-c", LOCALE, str(tmp_path)]
    ran = subprocess.run(command, env={**usual, **place.environment, **ASCII}, capture_output=True, check=False)
    assert ran.stderr == b""
    listed, *errors = ran.stdout.decode("ascii").splitlines()
    assert listed == str([
        b"/file/one \xc3\xa9", b"/in/\xc3\xa9/\xf0\x9f\xa4\xa3", b"/in/\xff", b"/one \xc3\xa9",
        b"/out \xc3\xa9/one \xc3\xa9", b"/out \xc3\xa9/\xc3\xa9/\xf0\x9f\xa4\xa3", b"/out \xc3\xa9/\xff",
    ])  # fmt: skip
    assert "\\xe9/l" in errors[0]
    assert "ascii" in errors[1]
    assert "ascii" in errors[2]
