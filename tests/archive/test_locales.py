"""Names are bytes: a tree is packed and unpacked the same in every locale."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
UTF8 = {"LC_ALL": "C.UTF-8"}
# The packed and unpacked bytes, comparable. It prints names of errors as a user's program would.
PROGRAM = r"""
import hashlib, io, os, sys
from pathlib import Path
from pocketenv_fp.archive.ignore import Ignore
from pocketenv_fp.archive.pack import pack, survey
from pocketenv_fp.archive.skipped import Skipped
from pocketenv_fp.archive.unpack import Limits, unpack
from pocketenv_fp.archive.landing import land, staging
from pocketenv_fp.errors import ArchiveError

top = os.fsencode(sys.argv[1])
here = lambda name: Path(os.fsdecode(top + b"/" + name))
data = b"".join(pack(here(b"in"), ignore=Ignore.files()))
print(hashlib.sha256(data).hexdigest(), survey(here(b"in"), ignore=Ignore.files()).entries)
print(hashlib.sha256(b"".join(pack(here(b"in/caf\xc3\xa9"), ignore=Ignore.none()))).hexdigest())
with staging(here(b"caf\xc3\xa9 out")) as made:
    unpack(io.BytesIO(data).read, made, limits=Limits(), ignore=Ignore.patterns(["not-\u00e9?"]))
    land(made, here(b"caf\xc3\xa9 out"))
for folder, directories, files in sorted(os.walk(top + b"/caf\xc3\xa9 out")):
    for name in sorted(directories + files):
        path = folder + b"/" + name
        print(path[len(top):], os.readlink(path) if os.path.islink(path) else os.lstat(path).st_nlink)
for rule in ("refuse", "skip"):
    try:
        found = survey(here(b"out"), ignore=Ignore.none(), links=rule)
        print(found.entries, ascii(sorted(found.links_out)), found.skipped.count)
        str(found.skipped)
    except ArchiveError as error:
        print(error, file=sys.stderr)
        print(error.reason)
"""


def make(top: Path) -> None:
    root = os.fsencode(top)
    names = [b"caf\xc3\xa9", b"\xf0\x9f\xa4\xa3", b"\xff\xfe", b"d\xc3\xa9/\xe9", b"not-\xc3\xa9x", b"not-\xc3\xa9xy"]
    for name in [*names, b"ign\xc3\xa9", b"d\xc3\xa9/ign\xe9", b"x" * 120 + b"\xc3\xa9"]:
        path = root + b"/in/" + name
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(os.fsdecode(path)).write_bytes(name)
    os.link(root + b"/in/\xff\xfe", root + b"/in/twin \xe9")
    os.symlink(b"caf\xc3\xa9", root + b"/in/to \xc3\xa9")
    os.symlink(b"\xe9" * 120, root + b"/in/to nowhere")
    Path(top, "in", ".gitignore").write_bytes(b"ign\xc3\xa9\n/d\xc3\xa9/ign[\xe9]\n")
    os.makedirs(root + b"/out")
    os.symlink(b"/\xc3\xa9", root + b"/out/away \xc3\xa9")
    for folder, directories, files in os.walk(root):
        for name in directories + files:
            os.utime(folder + b"/" + name, (1_700_000_000, 1_700_000_000), follow_symlinks=False)


def latin_1(place: Path) -> dict[str, str]:
    made = subprocess.run(
        ["localedef", "-i", "en_US", "-f", "ISO-8859-1", place / "en_US"], check=False, capture_output=True
    )
    if made.returncode:
        pytest.skip("localedef makes no locale here")
    return {"LOCPATH": str(place), "LC_ALL": "en_US"}


def ran(top: Path, locale: dict[str, str], encoding: str) -> str:
    make(top)
    usual = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHONUTF8"))}
    program = f"import sys; assert sys.getfilesystemencoding() == {encoding!r}\n{PROGRAM}"
    command = [sys.executable, "-c", program, str(top)]
    return subprocess.run(command, env={**usual, **locale}, check=True, stdout=subprocess.PIPE).stdout.decode("ascii")


@pytest.mark.parametrize("encoding", ["ascii", "iso8859-1"])
def test_pack_each_locale(tmp_path: Path, encoding: str) -> None:
    """A tree is packed and unpacked the same in every locale."""
    locale = ASCII if encoding == "ascii" else latin_1(tmp_path)
    expected = ran(tmp_path / "utf-8", UTF8, "utf-8")
    assert ran(tmp_path / encoding, locale, encoding) == expected
    assert r"b'/caf\xc3\xa9 out/caf\xc3\xa9'" in expected
    assert r"b'/caf\xc3\xa9 out/to \xc3\xa9' b'caf\xc3\xa9'" in expected
    assert "not-" in expected
    assert r"not-\xc3\xa9x'" not in expected
    assert "ign" not in expected.replace(".gitignore", "")
