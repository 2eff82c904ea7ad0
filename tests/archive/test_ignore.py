"""Ignore files: what git itself says about generated trees and patterns."""

from __future__ import annotations

import os
import subprocess
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pocketenv_fp.archive.ignore import Ignore
from pocketenv_fp.archive.pack import Survey, survey
from pocketenv_fp.errors import ArchiveError
from tests.archive.trees import packed

# What a test's own git must not read.
GIT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "XDG_CONFIG_HOME": "/nowhere",
    "HOME": "/nowhere",
}
PIECES = ["a", "b", "ab", "a.c", "foo", "b c", "-x", "é", "#a", "!a", "a\\", "[", "]", "a b ", "A", "\n", "\xff"]
NAMES = st.sampled_from(PIECES)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
GLOBS = st.sampled_from(
    [
        "*", "**", "***", "?", "[ab]", "[!a]", "[^a]", "[a-c]", "[]]", "[!]a]", "[a-]", "[-a]", "[\\]]", "[[:alpha:]]",
        "[[:punct:]x]", "[[:nope:]]", "[[:]", "[c-a]", "[a", "[", "]", "\\*", "\\", "\\\\", "\\ ", " ", "#", "!", "\\!",
        "\\#", "/", "//", "/**/", "/*/", "/**", "**/", "!/", "é", "?c", "a*", "*c", "\t", "\x0b", "\xa0", "\r", "[/]",
        "a[/]b", "\\/", "[a/]", "[.-0]", "$", "^", "(", "|", "{a,b}", "+", ".", "\xff", "[\xff]", "\\[", "\\]", "[*]",
    ]
)  # fmt: skip
MIDDLES = st.lists(st.one_of(NAMES, st.sampled_from(["*", "**", "?*", "[ab]*", "a**"])), min_size=1, max_size=3).map(
    "/".join
)
ENDS = st.sampled_from(["", "", "/", "/*", "/**"])


def spelled(negated: str, anchored: str, middle: str, end: str) -> str:
    """An ordinary pattern."""
    return negated + anchored + middle + end


PATTERNS = st.one_of(
    st.builds("".join, st.lists(st.one_of(NAMES, GLOBS, st.just("/")), min_size=1, max_size=6)),
    st.builds(spelled, st.sampled_from(["", "", "!"]), st.sampled_from(["", "", "/"]), MIDDLES, ENDS),
)
LINES = st.lists(PATTERNS, max_size=6)
MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def raw(text: str) -> bytes:
    """Its bytes: everything but one name is UTF-8."""
    return text.replace("\xff", "\udcff").encode("utf-8", "surrogateescape")


def make(top: Path, paths: list[str], ignored: dict[str, list[str]]) -> None:
    """Files at these paths, as far as one is not in another's way, and ignore files in these directories."""
    for path in paths:
        whole = os.fsencode(top) + b"/" + raw(path)
        try:
            os.makedirs(os.path.dirname(whole), exist_ok=True)
            Path(os.fsdecode(whole)).write_bytes(b"")
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue
    for directory, lines in ignored.items():
        place = os.path.join(os.fsencode(top), raw(directory))
        if os.path.isdir(place):
            Path(os.fsdecode(place), ".gitignore").write_bytes(b"\n".join(map(raw, lines)))


def by_git(top: Path) -> set[bytes]:
    subprocess.run(["git", "init", "-q", top], check=True, env={**os.environ, **GIT})
    ask = ["git", "-C", str(top), "ls-files", "-zco", "--exclude-standard"]
    found = subprocess.run(ask, check=True, env={**os.environ, **GIT}, capture_output=True).stdout
    return set(found.split(b"\0")) - {b""}


def ours(top: Path, ignore: Ignore) -> set[bytes]:
    """The files and links that are packed."""
    with tarfile.open(fileobj=BytesIO(packed(top, ignore)), errors="surrogateescape") as archive:
        return {os.fsencode(entry.name) for entry in archive if not entry.isdir()}


@MANY
@given(st.lists(PATHS, min_size=1, max_size=12), st.dictionaries(st.one_of(st.just(""), PATHS), LINES, max_size=3))
@example(["foo/a", "foo/b"], {"": ["foo/*", "!foo/a"]})
@example(["foo/a", "foo/b"], {"": ["foo/**", "!foo/a"]})
@example(["foo/a", "foo/b"], {"": ["foo/", "!foo/a"]})
@example(["a/b/a", "a/b/b", "b"], {"": ["*", "!*/", "!*a"]})
@example(["a", "a/b"], {"": ["a/"]})
@example(["a/b", "b"], {"": ["b"], "a": ["!b"]})
@example(["a/b", "b"], {"": ["/b"], "a": ["/a"]})
@example(["a/b", "a/foo/b", "b"], {"": ["a/**/b", "!/a/b"]})
@example(["b c", "b", "\n", "a b "], {"": ["b ", "\\n", "?", "a b\\ "]})
@example(["é", "\xff", "a"], {"": ["?", "!\xff"]})
@example(["é", "\xff", "a"], {"": ["??", "[\xff]"]})
@example(["a\\", "]", "["], {"": ["[\\]]", "a\\\\"]})
@example(["#a", "!a"], {"": ["#a", "\\#a", "!a", "\\!a"]})
@example(["a", "b"], {"": ["a\r", "b\r\r"]})
@example(["a", "ab", "a/b", "a/b/b", "b/a"], {"": ["a**/*"]})
@example(["ab", "a/b", "a/b/b", "aa/b/b"], {"": ["a**/b"]})
@example(["ab", "a/b", "a/b/b", "aa/b/b"], {"": ["[a]**/b", "/a**/**/ab"]})
@example(["b", "a/b", "ab/b"], {"": ["b", "!/a**"]})
@example(["a", "b"], {"": ["\\/*", "\\/a"]})
@example(["a", "b/a", "ab/a"], {"": ["**\\/a", "b**\\/a"]})
def test_what_git_leaves_out_is_left_out(paths: list[str], ignored: dict[str, list[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        make(top, paths, ignored)
        assert ours(top, Ignore.files()) == by_git(top)


@MANY
@given(st.lists(PATHS, min_size=1, max_size=12), LINES)
def test_patterns_that_are_given_are_those_of_one_file_at_the_top(paths: list[str], lines: list[str]) -> None:
    lines = [line.replace("\n", "") for line in lines]
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        make(top, paths, {})
        given = ours(top, Ignore.patterns([os.fsdecode(raw(line)) for line in lines]))
        make(top, [], {"": lines})
        assert given == {path for path in by_git(top) if path != b".gitignore"} | (given & {b".gitignore"})


def test_the_library_s_own_ignore_file_goes_before_git_s_in_its_directory(tmp_path: Path) -> None:
    make(tmp_path, ["a.log", "b.tmp", "d/a.log", "d/b.tmp", "e/a.log", "e/b.tmp"], {"": ["*.log"], "e": ["!*.log"]})
    (tmp_path / "d" / ".pocketenvignore").write_text("!*.log\n*.tmp\n")
    (tmp_path / "d" / ".gitignore").write_text("*\n")
    assert ours(tmp_path, Ignore.files()) == {
        b".gitignore",
        b"b.tmp",
        b"d/.gitignore",
        b"d/.pocketenvignore",
        b"d/a.log",
        b"e/.gitignore",
        b"e/a.log",
        b"e/b.tmp",
    }


def test_git_s_own_directory_is_left_out_where_ignore_files_are_read(tmp_path: Path) -> None:
    make(tmp_path, [".git/config", "d/.git", "a"], {})
    assert ours(tmp_path, Ignore.files()) == {b"a"}
    assert ours(tmp_path, Ignore.none()) == {b".git/config", b"d/.git", b"a"}
    assert ours(tmp_path, Ignore.patterns(["a"])) == {b".git/config", b"d/.git"}


def test_an_empty_directory_stays_and_an_ignored_one_is_not_looked_into(tmp_path: Path) -> None:
    make(tmp_path, [], {"": ["closed/"]})
    (tmp_path / ".gitignore").write_text("closed/\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "closed").mkdir()
    os.mkfifo(tmp_path / "closed" / "pipe")
    assert survey(tmp_path, ignore=Ignore.files()) == Survey(entries=2, bytes=8)


def test_a_link_to_a_directory_is_no_directory(tmp_path: Path) -> None:
    make(tmp_path, ["d/a"], {"": ["l/", "m"]})
    for name in "lm":
        (tmp_path / name).symlink_to("d")
    assert ours(tmp_path, Ignore.files()) == {b".gitignore", b"d/a", b"l"} == by_git(tmp_path)


def test_a_byte_order_mark_is_no_part_of_the_first_pattern(tmp_path: Path) -> None:
    make(tmp_path, ["a", "b"], {})
    (tmp_path / ".gitignore").write_bytes(b"\xef\xbb\xbfa\n")
    assert ours(tmp_path, Ignore.files()) == {b".gitignore", b"b"} == by_git(tmp_path)


def test_a_directory_of_an_ignore_file_s_name_is_none(tmp_path: Path) -> None:
    make(tmp_path, [".gitignore/a", ".pocketenvignore/b", "a"], {})
    assert ours(tmp_path, Ignore.files()) == {b".gitignore/a", b".pocketenvignore/b", b"a"}


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe"])
def test_an_ignore_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    (tmp_path / "d").mkdir()
    path = tmp_path / "d" / ".gitignore"
    (tmp_path / "patterns").write_text("secret\n")
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("../patterns" if kind == "link" else "nowhere")
    with pytest.raises(ArchiveError) as caught:
        packed(tmp_path, Ignore.files())
    assert caught.value.entry == "d/.gitignore"
