"""The README's snippets are run as they stand, each in a fresh namespace, on the embedded platform."""

from __future__ import annotations

import doctest
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from pocketenv_fp.__main__ import main
from tests import notebooks, picture
from tests.conformance import copy_replay, session_replay, wire_replay
from tests.conformance import test_recorded_copies as copies
from tests.conformance import test_recorded_sessions as sessions
from tests.conformance import test_wire as wire
from tests.places import RECORDED, ROOT

README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
SNIPPETS = [body for language, body in BLOCKS if language == "python"]
COMMANDS = [body for language, body in BLOCKS if language == "sh"]
FIGURES = re.findall(r"(\d+) of (\d+) recorded (\w+)", TEXT)
PRINTED = [body for language, body in BLOCKS if language == "text"]


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: snippet.split("\n", 1)[0][:50])
@pytest.mark.usefixtures("environment")
def test_readme_snippet(
    snippet: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Each snippet runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MY_KEY", "set by a snippet, and set back afterwards")
    if snippet.startswith(">>>"):
        example = doctest.DocTestParser().get_doctest(snippet, {}, "README", "README.md", 0)
        report: list[str] = []
        failed, tried = doctest.DocTestRunner().run(example, out=report.append)
        assert (failed, tried) == (0, len(example.examples)), "".join(report)
    else:
        names: dict[str, Any] = {"__name__": "readme"}
        exec(compile(snippet, "README.md", "exec"), names)
        for test in [value for name, value in names.items() if name.startswith("test_")]:
            test(request.getfixturevalue("pocketenv_local"))


def test_readme_blocks() -> None:
    """Each block is a snippet, a command or an output."""
    assert {language for language, _ in BLOCKS} == {"python", "sh", "text"}


def test_readme_first_commands() -> None:
    """The README starts with two commands of one line each."""
    assert [language for language, _ in BLOCKS[:2]] == ["sh", "sh"]
    assert [command.count("\n") for command in COMMANDS] == [1, 1]
    # A code host shows about 96 characters of a line.
    assert max(map(len, COMMANDS)) <= 96


def test_readme_demo_output(capsys: pytest.CaptureFixture[str]) -> None:
    """The command runs the demo, and the block below it is what the demo prints."""
    assert COMMANDS[0].endswith(" && .venv/bin/pocketenv-fp demo\n")
    assert main(["demo"]) == 0
    assert [capsys.readouterr().out] == PRINTED


@pytest.mark.skipif(not RECORDED.is_dir(), reason="no recorded answers: ../shared is not there")
def test_readme_replay_figures() -> None:
    """The totals are those of the recordings, less the differences that the conformance tests name."""
    rows = [row for row in session_replay.read("copy.jsonl") if row["call"] != "storage"]
    calls = [copies.Played(row, None, None) for each in copy_replay.series(rows).values() for row in each]
    copied = [call for call in calls if call.name not in copies.CHANCE]
    totals = {
        "sessions": (len(sessions.sessions()), len(sessions.OTHERWISE)),
        "requests": (len(wire_replay.recorded()), len(wire.UNEQUAL)),
        "copies": (len(copied), len(copies.OTHERWISE)),
    }
    figures = {what: (int(total), int(total) - int(equal)) for equal, total, what in FIGURES}
    assert figures == totals


def test_readme_length() -> None:
    """The README has fewer than 200 lines."""
    assert len(TEXT.splitlines()) < 200


def test_readme_links() -> None:
    """Each link leads to an existing file."""
    defined = dict(re.findall(r"^\[(\w+)\]: (\S+)$", TEXT, re.MULTILINE))
    assert {*re.findall(r"\]\[(\w+)\]", TEXT)} == {*defined}
    for target in [*re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT), *defined.values()]:
        assert (README.parent / target).exists(), target


def test_readme_extras() -> None:
    """The table has each extra for users."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert sorted(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)) == sorted({*extras} - {"docs", "dev"})


def test_readme_picture() -> None:
    """``python -m tests.picture`` draws it again."""
    assert f"](notebooks/{picture.PICTURE.name})" in TEXT
    assert picture.kept_digest() == picture.digest()
    assert (notebooks.PAGES / picture.PICTURE.name).read_bytes() == picture.PICTURE.read_bytes()


def test_readme_install_source() -> None:
    """The install commands use the repository, not an index."""
    installs = re.findall(r"pip install (?:-q )?(?:-e )?'?([^'`\s]*(?: @ [^'`\s]*)?)", TEXT)
    assert [each for each in installs if not re.match(r"\./|\.\[|pocketenv-fp\[local\] @ git", each)] == []
