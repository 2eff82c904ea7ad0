"""Ignore files: git's own answers about generated trees and patterns."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pocketenv_fp.archive.ignore import Ignore
from pocketenv_fp.archive.pack import Survey, survey
from pocketenv_fp.archive.patterns import Pattern, read
from pocketenv_fp.errors import ArchiveError
from tests.archive.trees import packed
from tests.examples import examples

# Settings that a test's own git must not read.
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
    """Return an ordinary pattern."""
    return negated + anchored + middle + end


PATTERNS = st.one_of(
    st.builds("".join, st.lists(st.one_of(NAMES, GLOBS, st.just("/")), min_size=1, max_size=6)),
    st.builds(spelled, st.sampled_from(["", "", "!"]), st.sampled_from(["", "", "/"]), MIDDLES, ENDS),
)
LINES = st.lists(PATTERNS, max_size=6)
MANY = settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.too_slow])


def raw(text: str) -> bytes:
    """Return its bytes: everything but one name is UTF-8."""
    return text.replace("\xff", "\udcff").encode("utf-8", "surrogateescape")


def make(top: Path, paths: list[str], ignored: dict[str, list[str]]) -> None:
    """Make files at these paths, unless one is in another's way, and ignore files in these directories."""
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
    """Return the files and links that are packed."""
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
def test_ignore_agrees_with_git(paths: list[str], ignored: dict[str, list[str]]) -> None:
    """A tree is left out exactly where git leaves it out."""
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        make(top, paths, ignored)
        assert ours(top, Ignore.files()) == by_git(top)


@MANY
@given(st.lists(PATHS, min_size=1, max_size=12), LINES)
def test_ignore_patterns_at_the_top(paths: list[str], lines: list[str]) -> None:
    """Given patterns act as one file at the top."""
    lines = [line.replace("\n", "") for line in lines]
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        make(top, paths, {})
        given = ours(top, Ignore.patterns([os.fsdecode(raw(line)) for line in lines]))
        make(top, [], {"": lines})
        assert given == {path for path in by_git(top) if path != b".gitignore"} | (given & {b".gitignore"})


def test_ignore_own_file_before_git(tmp_path: Path) -> None:
    """The library's own ignore file goes before git's in its directory."""
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


def test_ignore_git_directory(tmp_path: Path) -> None:
    """The directory ``.git`` is left out where ignore files are read."""
    make(tmp_path, [".git/config", "d/.git", "a"], {})
    assert ours(tmp_path, Ignore.files()) == {b"a"}
    assert ours(tmp_path, Ignore.none()) == {b".git/config", b"d/.git", b"a"}
    assert ours(tmp_path, Ignore.patterns(["a"])) == {b".git/config", b"d/.git"}


def test_ignore_empty_and_ignored_directories(tmp_path: Path) -> None:
    """An empty directory stays, and an ignored one is not entered."""
    make(tmp_path, [], {"": ["closed/"]})
    (tmp_path / ".gitignore").write_text("closed/\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "closed").mkdir()
    os.mkfifo(tmp_path / "closed" / "pipe")
    assert survey(tmp_path, ignore=Ignore.files()) == Survey(entries=2, bytes=8)


def test_ignore_link_to_a_directory(tmp_path: Path) -> None:
    """A link to a directory is no directory for a pattern."""
    make(tmp_path, ["d/a"], {"": ["l/", "m"]})
    for name in "lm":
        (tmp_path / name).symlink_to("d")
    assert ours(tmp_path, Ignore.files()) == {b".gitignore", b"d/a", b"l"} == by_git(tmp_path)


def test_ignore_byte_order_mark(tmp_path: Path) -> None:
    """A byte order mark is no part of the first pattern."""
    make(tmp_path, ["a", "b"], {})
    (tmp_path / ".gitignore").write_bytes(b"\xef\xbb\xbfa\n")
    assert ours(tmp_path, Ignore.files()) == {b".gitignore", b"b"} == by_git(tmp_path)


def test_ignore_directory_as_ignore_file(tmp_path: Path) -> None:
    """A directory with the name of an ignore file is no ignore file."""
    make(tmp_path, [".gitignore/a", ".pocketenvignore/b", "a"], {})
    assert ours(tmp_path, Ignore.files()) == {b".gitignore/a", b".pocketenvignore/b", b"a"}


def test_ignore_pipe_as_ignore_file(tmp_path: Path) -> None:
    """An ignore file that is a pipe is skipped."""
    make(tmp_path, ["a"], {})
    os.mkfifo(tmp_path / ".pocketenvignore")
    (tmp_path / ".gitignore").write_text("a\n")
    assert ours(tmp_path, Ignore.files()) == {b".gitignore"}
    assert survey(tmp_path, ignore=Ignore.files()).skipped.count == 1


@pytest.mark.parametrize("kind", ["link", "dangling"])
def test_ignore_unreadable_file(tmp_path: Path, kind: str) -> None:
    """An ignore file that cannot be read is refused by name."""
    (tmp_path / "d").mkdir()
    path = tmp_path / "d" / ".gitignore"
    (tmp_path / "patterns").write_text("secret\n")
    path.symlink_to("../patterns" if kind == "link" else "nowhere")
    with pytest.raises(ArchiveError) as caught:
        packed(tmp_path, Ignore.files())
    assert caught.value.entry == "d/.gitignore"


# Few pieces, so that they often match, and many stars.
KNOTS = ["*", "**", "***", "?", "a", "b", "/", "/", "**/", "/**", "*a", "a*", "[ab]", "[!a]", "\\a", "\\/", "\\*", "ab",
         "[a/]", "/**/", "**\\/", "[^b]", "[[:alpha:]]", "[a-b]", "-", "!", "\\\\"]  # fmt: skip
KNOTTED = st.lists(st.sampled_from(KNOTS), min_size=1, max_size=9).map("".join)
DEEP = st.lists(st.sampled_from(["a", "b", "ab", "aab", "a*", "-", "\\"]), min_size=1, max_size=5).map("/".join)


def hidden(pattern: Pattern, name: str, *, is_directory: bool = False) -> bool:
    above = name.rpartition("/")[0]
    return (above != "" and hidden(pattern, above, is_directory=True)) or pattern.matches(
        name, is_directory=is_directory
    )


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without files: git treats a missing name as a file's."""
    top = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q", top], check=True, env={**os.environ, **GIT})
    return top


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(KNOTTED.filter(lambda line: line[0] != "!"), st.sets(DEEP, min_size=1, max_size=30))
@example("**/a/**/b", {"a/b", "b/a/b", "a/a/b/b", "a/b/a", "b/a/a"})
@example("*ab*ab", {"abab", "aabab", "ababab", "abaab", "ab"})
@example("a/*/**/b", {"a/b", "a/b/b", "a/a/a/b", "b/a/b/b"})
@example("**\\/**\\/a", {"a", "b/a", "b/b/a", "a/a/a/a"})
@example("a**/**/b", {"ab", "a/b", "ab/b", "b/b", "a/a/b"})
def test_matches_nested_stars(repository: Path, line: str, names: set[str]) -> None:
    """Patterns with many stars match as in git."""
    (repository / ".gitignore").write_text(f"{line}\n")
    ask = ["git", "-C", str(repository), "check-ignore", "-z", "--no-index", "--stdin"]
    asked = "\0".join(sorted(names)).encode()
    said = subprocess.run(ask, input=asked, capture_output=True, check=False, env={**os.environ, **GIT}).stdout
    pattern = read(line.encode())
    assert {name for name in names if pattern and hidden(pattern, name)} == set(said.decode().split("\0")) - {""}


SLOW = {
    "stars": ("*a*a*a*a*ab", "a" * 200),
    "many stars": ("*a" * 100 + "b", "a" * 255),
    "stars and sets": ("*[ab]" * 60 + "c", "ab" * 127),
    "stars for one": ("*?" * 60 + "b", "a" * 255),
    "directories": ("**/a" * 8 + "/b", "/".join("a" * 40)),
    "many directories": ("**/a/" * 60 + "b", "/".join("a" * 2000)),
    "directories and stars": ("**/*a*a*ab/" * 20 + "c", "/".join(["a" * 100] * 40)),
    "escaped slashes": ("**\\/a" * 8 + "/b", "/".join("a" * 2000)),
    "tied stars": ("a" + "**/" * 30 + "a**/b", "/".join("a" * 2000)),
    "stars for names": ("*/" * 200 + "b", "/".join("a" * 2000)),
    "stars between": ("**/a*/" * 30 + "**/b*c", "/".join(["ab"] * 1000)),
}


@pytest.mark.parametrize("case", SLOW)
def test_matches_time(case: str) -> None:
    """Limited in processor time, which does not depend on the load of the machine."""
    line, name = SLOW[case]
    program = (
        "import resource, sys\n"
        "from pocketenv_fp.archive.patterns import read\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (10, 10))\n"
        "pattern = read(sys.argv[1].encode())\n"
        "print([pattern.matches(sys.argv[2], is_directory=False) for _ in range(20)] == [False] * 20)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program, line, name], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "True\n")


def test_matches_all_stars() -> None:
    """A name may need every star of its pattern."""
    for line, name in (
        ("*a*a*a*a*ab", "a" * 200 + "b"),
        ("**/a" * 8, "/".join("a" * 40)),
        ("*/" * 39 + "a", "a/" * 39 + "a"),
    ):
        pattern = read(line.encode())
        assert pattern is not None
        assert pattern.matches(name, is_directory=False)
        assert not pattern.matches(f"{name}x", is_directory=False)


@pytest.mark.parametrize("name", ["a", "d/a", "d/e", "d/e/b", "x/d", "x/d/e"])
def test_hides_equals_skips(tmp_path: Path, name: str) -> None:
    """`hides` and `skips` agree."""
    make(tmp_path, ["a", "d/a", "d/e/b", "x/d/e"], {})
    ignore = Ignore.patterns(["d/e", "!a", "x/*", "/a"])
    path = tmp_path / name
    with os.scandir(path.parent) as listing:
        entry = next(one for one in list(listing) if one.name == path.name)
    assert ignore.skips(entry, name.rpartition("/")[0]) is ignore.hides(name, is_directory=path.is_dir())
