"""Copies of hostile names, on every provider that is played, and what they cost in requests."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from returns.result import Result, Success

from pocketenv_fp import (
    Config,
    InvalidInput,
    NotSupported,
    PathNotFound,
    PocketenvError,
    copy_to,
    create,
    download,
    exec,
    local,
    providers,
    start,
    upload,
    using,
    wait_until_running,
)
from pocketenv_fp.local.box import bubblewrap
from pocketenv_fp.local.faults import Drop, Fault, Garbage, Slow
from pocketenv_fp.sandbox.copying import delivery, departure, lines, remote
from tests.archive.trees import look, write
from tests.figures import Figures
from tests.levels import LEVELS
from tests.sandbox.copying.test_copying import HARDEST, client, hidden, names, said, through

HOSTILE = [
    "a b",
    " a ",
    "it's",
    '"',
    "$HOME",
    "$(touch made)",
    "`touch made`",
    "a;b",
    "a&b",
    "a|b",
    "(",
    "{a,b}",
    "<a>",
    "*",
    "?",
    "[a]",
    "~",
    "~root",
    "!",
    "#a",
    "a\\b",
    "\\n",
    "-rf",
    "--",
    "-",
    "+x",
    "a\nb",
    "a\n",
    "a\tb",
    "a\rb",
    "\x1b[31m",
    "häß",
    "名前",
    "🐙",
    "\u2028",
    "%s",
    "a" * 200,
]


@pytest.mark.parametrize("isolation", LEVELS)
def test_copies_hostile_names(isolation: Any, tmp_path: Path) -> None:
    """Every name arrives where it was asked to, of directories and of files, each way, and nothing is run."""
    if isolation == "bubblewrap" and bubblewrap() is None:
        pytest.skip("no bubblewrap that works here")
    (tmp_path / "in").mkdir()
    ways, kinds = itertools.cycle(("line", "storage", "commands")), itertools.cycle(("file", "file", "tree", "tree"))
    with local.platform(isolation=isolation) as platform, using(client(platform)):
        box = (create("hostile") | start).unwrap()
        for name, way, kind in zip(HOSTILE, ways, kinds, strict=False):
            (tmp_path / "in" / name).write_bytes(name.encode())
            with pytest.MonkeyPatch.context() as patch:
                if way != "line":
                    through(patch, way)
                upload(box, tmp_path / "in" / name, f"./{name}/").unwrap()
                copy_to(box, box, f"./{name}", f"copies/{name}").unwrap()
                if kind == "file":
                    back = download(box, f"copies/{name}/{name}", tmp_path / "back" / name).unwrap()
                else:
                    back = download(box, f"copies/{name}", tmp_path / "trees" / name).unwrap() / name
                assert back.read_bytes() == name.encode()
        upload(box, tmp_path / "in", "all").unwrap()
        assert sorted(names(download(box, "all", tmp_path / "all").unwrap())) == sorted(HOSTILE)
        listed = exec(box, "printf '%s/' *", cwd="copies").unwrap().stdout
        assert sorted(listed.split("/")[:-1]) == sorted(HOSTILE)
        assert said(box, "find / -xdev -name made 2>/dev/null || true") == ""
        assert hidden(box) == ""


# Those that copy through storage, and through commands, in a shell that stays and in one for each command.
PROVIDERS = ["cloudflare", "daytona", "e2b"]
ALIKE = ["deno", "vercel", "sprites", "modal", "hopx", "runloop"]


@pytest.mark.parametrize("provider", [*PROVIDERS, *(pytest.param(each, marks=pytest.mark.slow) for each in ALIKE)])
def test_copies_each_provider(provider: str, platform: local.Platform, tmp_path: Path) -> None:
    """Trees and files, small and large, arrive the same on every provider that is played."""
    write(HARDEST, tmp_path / "in")
    (tmp_path / "in" / "large").write_bytes(os.urandom(700_000))
    login = Config(
        api_url=platform.url, storage_url=platform.storage_url, token=platform.token, public_key=platform.public_key
    )
    with using(login):
        made = create(f"copies-{provider}", provider=provider)
        box = (made | wait_until_running).unwrap()
        assert upload(box, tmp_path / "in", "a b", ignore=False) == Success(box)
        assert copy_to(box, box, "a b", "c d") == Success(box)
        assert download(box, "c d", tmp_path / "out").unwrap() == tmp_path / "out"
        assert look(tmp_path / "out", times=False) == look(tmp_path / "in", times=False)
        assert download(box, "c d/large", tmp_path / "file").unwrap().stat().st_size == 700_000
        assert isinstance(download(box, "none", tmp_path / "none").failure(), PathNotFound)
        assert exec(box, "ls -A /tmp; ls -A").unwrap().stdout == "a b\nc d\n"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(delivery, "MOST_THROUGH_COMMANDS", 100_000)
            patch.setattr(departure, "MOST_THROUGH_COMMANDS", 100_000)
            copied = [upload(box, tmp_path / "in", "e"), download(box, "a b", tmp_path / "small")]
        if providers.provider_of(provider).copies:
            assert all(isinstance(each, Success) for each in copied)
        else:
            assert [type(each.failure()) for each in copied] == [NotSupported, NotSupported]
            assert "through commands, up to" in str(copied[0].failure())
        assert exec(box, "ls -A /tmp").unwrap().stdout == ""


@pytest.mark.parametrize("fault", [Drop(after_work=True), Drop(), Garbage(after_work=True)], ids=repr)
def test_copies_lost_piece(fault: Fault, platform: local.Platform, tmp_path: Path) -> None:
    """A piece whose answer is lost is looked for, written if it is not there, and never twice."""
    (tmp_path / "large").write_bytes(os.urandom(700_000))
    with using(client(platform)):
        box = (create(f"pieces-{os.urandom(4).hex()}", provider="modal") | wait_until_running).unwrap()
        with pytest.MonkeyPatch.context() as patch, platform.faults.on("sandbox.exec", Slow(0.001), times=3):
            through(patch, "commands")
            with platform.faults.on("sandbox.exec", fault, times=2) as planned:
                upload(box, tmp_path / "large", "large").unwrap()
                assert planned.played == 2
            with (
                platform.faults.on("sandbox.exec", Slow(0.001), times=3),
                platform.faults.on("sandbox.exec", fault, times=1),
            ):
                download(box, "large", tmp_path / "back").unwrap()
        assert (tmp_path / "back").read_bytes() == (tmp_path / "large").read_bytes()
        assert exec(box, "ls -A /tmp").unwrap().stdout == ""


def test_copies_without_tools(platform: local.Platform, tmp_path: Path) -> None:
    """A sandbox without tar, gzip or base64 has another error than one that fails."""
    (tmp_path / "file").write_text("x")
    with using(client(platform)):
        box = (create("no-tools") | start).unwrap()
        said(box, "echo x > file && mkdir bin && ln -s $(command -v bash) $(command -v mkdir) $(command -v sleep) bin")
        with pytest.MonkeyPatch.context() as patch:

            def without_tools(line: str, variables: Mapping[str, str | int]) -> str:
                return f"PATH=./workspace/bin\n{lines.with_variables(line, variables)}"

            patch.setattr(remote, "with_variables", without_tools)
            for copy in (upload(box, tmp_path / "file", "x"), download(box, "file", tmp_path / "out")):
                error = copy.failure()
                assert isinstance(error, InvalidInput)
                assert "has no `tar`" in error.reason


@pytest.mark.parametrize("path", ["~/file", "~"])
def test_copies_home_directory(
    path: str, platform: local.Platform, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """``~`` is the home directory here, and never a name."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "file").write_text("content")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    with using(client(platform)):
        box = (create(f"home-{len(path)}") | start).unwrap()
        upload(box, path, "there/").unwrap()
        assert said(box, "cat there/file") == "content"
        assert download(box, "there/file", "~/new/").unwrap() == home / "new" / "file"
        for copy in (upload(box, "~nobody-has-this-name/x"), download(box, "there", "~nobody-has-this-name/x")):
            error = copy.failure()
            assert isinstance(error, InvalidInput)
            assert error.field == "local"
    assert names(tmp_path) == ["home"]


def test_copies_request_count(platform: local.Platform, tmp_path: Path, figures: Figures) -> None:
    """What each copy sends, small and large."""
    (tmp_path / "small").write_text("x")
    (tmp_path / "large").write_bytes(os.urandom(700_000))
    counts: dict[str, int] = {}
    with using(client(platform)):
        box, other = (create("requests-1") | start).unwrap(), (create("requests-2") | start).unwrap()
        for name in ("small", "large"):
            copies: dict[str, Callable[[], Result[Any, PocketenvError]]] = {
                "upload": lambda name=name: upload(box, tmp_path / name, name),  # type: ignore[misc]
                "download": lambda name=name: download(box, name, tmp_path / f"{name}-back"),  # type: ignore[misc]
                "copy_to": lambda name=name: copy_to(box, other, name, name),  # type: ignore[misc]
            }
            for copy, run in copies.items():
                before = len(platform.calls)
                run().unwrap()
                counts[f"{copy} {name}"] = len(platform.calls) - before
    figures.line("requests of a copy", *(f"{name}: {count}" for name, count in counts.items()))
    assert counts == {
        "upload small": 1,
        "download small": 1,
        "copy_to small": 2,
        "upload large": 3,
        "download large": 5,
        "copy_to large": 6,
    }
