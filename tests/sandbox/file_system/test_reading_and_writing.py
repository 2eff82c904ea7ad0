"""Files that are read and written now: exact, whole, and in few requests."""

from __future__ import annotations

import json
import os
import pickle
import shlex
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from msgspec.structs import replace
from returns.result import Result, Success

from pocketenv_fp import (
    ArchiveError,
    CommandFailed,
    DecodeError,
    InvalidInput,
    NotSupported,
    PathNotFound,
    PocketenvError,
    Sandbox,
    SandboxNotFound,
    Status,
    TransportError,
    as_curl,
    create,
    delete,
    exec,
    exists,
    explain,
    from_env,
    local,
    read_bytes,
    read_text,
    sandbox,
    start,
    stop,
    using,
    write_file,
)
from pocketenv_fp.local.faults import Drop, Garbage
from pocketenv_fp.sandbox.copying import delivery, departure, lines, remote
from pocketenv_fp.sandbox.file_system import reading
from tests import servers
from tests.sandbox.copying.test_providers import HOSTILE
from tests.servers import BOX, Server, client, reply

ALL_BYTES = bytes(range(256)) * 3


def output(box: Sandbox, line: str) -> str:
    return exec(box, line, check=True).unwrap().stdout


def left(box: Sandbox, platform: local.Platform) -> str:
    """List what the library left in /tmp. Without isolation, that is this machine's."""
    if "processes" in repr(platform):
        return ""
    return output(box, "ls -A /tmp")


def devices(platform: local.Platform) -> list[str]:
    """Paths that only an isolated sandbox has."""
    return [] if "processes" in repr(platform) else ["/dev/null"]


def behind(text: str) -> Callable[[str, Mapping[str, str | int]], str]:
    """Return a `with_variables` that begins with more shell text."""
    known = lines.with_variables
    return lambda line, values: text + known(line, values)


@contextmanager
def counted(platform: local.Platform, number: int) -> Generator[None]:
    """Check how many requests the block sends."""
    before = len(platform.calls)
    yield
    assert len(platform.calls) - before == number, list(platform.calls)[before:]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files of some kilobytes be large ones."""
    monkeypatch.setattr(reading, "SMALL", 1000)
    for module, name in ((delivery, "SMALL"), (delivery, "PIECE_BYTES"), (departure, "PIECE")):
        monkeypatch.setattr(module, name, 20_000)


@pytest.mark.usefixtures("small")
def test_files_each_provider(any_box: Sandbox, login: local.Platform) -> None:
    """Small and large files are the same on each provider."""
    with counted(login, 3):
        assert any_box | write_file("a b/it's", ALL_BYTES) == Success(any_box)
        assert any_box | read_bytes("a b/it's") == Success(ALL_BYTES)
        assert (any_box | exists("a b/it's")).unwrap() is True
    assert (any_box | exists("none")).unwrap() is False
    large = os.urandom(50_000)
    before = len(login.calls)
    assert any_box | write_file("large", large, mode=0o640) == Success(any_box)
    written, before = len(login.calls) - before, len(login.calls)
    assert any_box | read_bytes("large") == Success(large)
    read = len(login.calls) - before
    # Through storage, or in pieces through commands: a look, the packing, three pieces, the removal.
    assert (written, read) == ((4, 6) if any_box.provider in {"deno", "vercel", "e2b", "runloop"} else (3, 4))
    assert output(any_box, "stat -c %a large; ls -A") == "640\na b\nlarge\n"
    missing = (any_box | read_text("none")).failure()
    assert isinstance(missing, PathNotFound)
    assert missing.path == "/workspace/none"
    assert isinstance((any_box | write_file("large/x", "")).failure(), InvalidInput)
    assert left(any_box, login) == ""


def test_write_file_names(box: Sandbox) -> None:
    """Any name is written and read, and no part of it runs."""
    for name in [*HOSTILE, "\udcff\udc80", "\udcff\n"]:
        path = f"./{name}/{name}"
        assert box | write_file(path, name.encode("utf-8", "surrogateescape")) == Success(box)
        assert box | read_bytes(path) == Success(name.encode("utf-8", "surrogateescape"))
        assert (box | exists(path)).unwrap() is True
    assert sorted(entry.name for entry in (box | sandbox.list_directory).unwrap()) == sorted(
        [*HOSTILE, "\udcff\udc80", "\udcff\n"]
    )


@pytest.mark.parametrize("size", [0, 1, 48 * 1024, 49 * 1024, 512 * 1024, 512 * 1024 + 1, 3_000_000])
def test_read_bytes_sizes(box: Sandbox, size: int) -> None:
    """Files of any size are read as they were written."""
    content = os.urandom(size)
    assert box | write_file("file", content) | read_bytes("file") == Success(content)


def test_write_file_compresses(box: Sandbox, login: local.Platform) -> None:
    """Text of a megabyte fits into one request."""
    with counted(login, 1):
        assert box | write_file("file", "line of text\n" * 80_000) == Success(box)
    assert output(box, "wc -c <file") == "1040000\n"


def test_write_file_replaces(box: Sandbox) -> None:
    """An existing file keeps its mode; a symlink is replaced, and its target stays."""
    output(box, "umask 022; echo old >file; chmod 750 file; echo old >target; ln -s target link; ln file hard")
    for name in ("file", "link", "new"):
        (box | write_file(name, "new\n")).unwrap()
    assert output(box, "stat -c %a file new; stat -c %F link; cat file link target hard") == (
        "750\n644\nregular file\nnew\nnew\nold\nold\n"
    )
    for mode in (0, 0o600, 0o4755):
        (box | write_file("file", "", mode=mode)).unwrap()
        assert output(box, "stat -c %a file") == f"{mode:o}\n"
    assert output(box, "ls -A") == "file\nhard\nlink\nnew\ntarget\n"


def test_write_file_refuses(box: Sandbox, login: local.Platform) -> None:
    """Nothing changes where something else is in the way."""
    output(box, "mkdir dir; ln -s dir link; mkfifo pipe; echo x >file; ln -s nowhere dangling")
    for path in (*devices(login), "dir", "link", "pipe", "file/x", "file/x/y", "/", "dir/", ".", "dangling/x"):
        assert isinstance((box | write_file(path, "new")).failure(), InvalidInput), path
        assert isinstance((box | write_file(path, os.urandom(60_000))).failure(), InvalidInput), path
    for path in ("none/x", "dir/none/x"):
        error = (box | write_file(path, "new", parents=False)).failure()
        assert isinstance(error, PathNotFound)
    for path in ("a\0b", "\ud800", "~/x"):
        assert isinstance((box | write_file(path, "new")).failure(), InvalidInput)
    assert isinstance((box | write_file("x", "\ud800")).failure(), InvalidInput)
    assert isinstance((box | write_file("x", "", mode=0o10000)).failure(), InvalidInput)
    assert output(box, "ls -A; ls -A dir; cat file") == "dangling\ndir\nfile\nlink\npipe\nx\n"
    assert left(box, login) == ""


@pytest.mark.usefixtures("box")
def test_write_file_disk_full(box: Sandbox) -> None:
    """The old file stays where the new one does not fit, and nothing else is left."""
    output(box, "echo old >file")
    limited = "trap '' XFSZ; ulimit -f 1; "
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "with_variables", behind(limited))
        error = (box | write_file("file", os.urandom(20_000))).failure()
    assert isinstance(error, CommandFailed)
    assert output(box, "cat file; ls -A") == "old\nfile\n"


def test_read_text_encodings(box: Sandbox) -> None:
    """An encoding is used strictly, and a wrong one is refused."""
    (box | write_file("latin", "é\r\n".encode("latin-1"))).unwrap()
    assert box | read_text("latin", encoding="latin-1") == Success("é\r\n")
    error = (box | read_text("latin")).failure()
    assert error == InvalidInput(
        "path", "is not text in utf-8: byte 0 of 3 does not fit. Read it with read_bytes, or with another encoding"
    )
    assert error.__context__ is None
    for encoding in ("no-such", "base64", "a\0", "undefined"):
        assert isinstance((box | read_text("latin", encoding=encoding)).failure(), InvalidInput), encoding
    text = "\ufeffa\r\nb\rc\n\0\x1e\u2028🐙"
    assert box | write_file("text", text) | read_text("text") == Success(text)


def test_read_refuses(box: Sandbox, login: local.Platform) -> None:
    """Directories, pipes and missing paths are refused."""
    output(box, "mkdir dir; mkfifo pipe; echo x >file; ln -s nowhere dangling; ln -s file link; ln -s loop loop")
    for path in (*devices(login), "dir", "pipe", "/", "."):
        assert isinstance((box | read_bytes(path)).failure(), InvalidInput), path
    for path in ("none", "dangling", "loop", "file/", "file/x", "dir/none"):
        error = (box | read_text(path)).failure()
        assert isinstance(error, PathNotFound), path
        assert (box | exists(path)).unwrap() is False
    assert box | read_text("link") == Success("x\n")
    assert box | read_text("dir/../link") == Success("x\n")
    assert str((box | read_text("no\x1b[31m")).failure()).startswith("read_text: there is no /workspace/no\\x1b[31m")


def test_read_unreadable(box: Sandbox) -> None:
    """A directory without search permission is no proof that a path is missing."""
    output(
        box,
        "mkdir -p closed/in; echo x >closed/file; echo x >secret; chmod 000 closed secret; mkdir locked; chmod 500 locked",
    )
    drop = "setpriv --ambient-caps=-all --inh-caps=-all --bounding-set=-all"
    is_root = output(box, "id -u") == "0\n"
    if is_root and exec(box, f"{drop} true").unwrap().exit_code != 0:
        pytest.skip("root cannot give up its rights here")
    known = lines.with_variables

    def dropped(line: str, values: Any) -> str:
        return f"exec {drop if is_root else ''} bash -c {shlex.quote(known(line, values))}"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "with_variables", dropped)
        for step in (
            read_bytes("secret"),
            read_bytes("closed/file"),
            exists("closed/file"),
            exists("closed/in/deep"),
            sandbox.list_directory("closed"),
            sandbox.list_directory("closed/in"),
            write_file("closed/new", "x"),
            write_file("locked/new", "x"),
            write_file("locked/deep/new", "x"),
        ):
            error = (box | step).failure()
            assert error == InvalidInput("path", "is not accessible in the sandbox: permission denied"), step
    assert output(box, "ls . locked") == ".:\nclosed\nlocked\nsecret\n\nlocked:\n"
    output(box, "chmod -R 700 .")


# The paths of a sandbox without isolation begin in a directory of this machine.
@pytest.mark.parametrize("played", ["bubblewrap"], indirect=True)
def test_read_text_proc(box: Sandbox) -> None:
    """A file whose size is 0 until it is read."""
    assert (box | read_text("/proc/version")).unwrap() == output(box, "cat /proc/version")


@pytest.mark.usefixtures("small")
def test_read_bytes_lost_answers(box: Sandbox, login: local.Platform) -> None:
    """Downloads that break off are repeated, and nothing is left in the sandbox."""
    content = os.urandom(50_000)
    (box | write_file("large", content)).unwrap()
    with login.faults.on("GET /cp", Drop(), times=1):
        assert box | read_bytes("large") == Success(content)
    for fault in (Drop(after_work=True), Garbage(after_work=True)):
        with login.faults.on("sandbox.exec", fault, times=1):
            assert box | read_bytes("large") == Success(content)
        with login.faults.on("sandbox.exec", fault, times=1):
            assert (box | exists("large")).unwrap() is True
    assert left(box, login) == ""


@pytest.mark.usefixtures("small")
def test_read_bytes_large_link(box: Sandbox, login: local.Platform) -> None:
    """What cannot be linked is copied, with one request more. The copy may take its time."""
    content = os.urandom(50_000)
    (box | write_file("large", content) | exec("ln -s large link")).unwrap()
    with counted(login, 5):
        assert box | read_bytes("link") == Success(content)
    # The second command is the copy.
    with login.faults.on("sandbox.exec", Drop(after_work=True), times=1):
        assert box | read_bytes("link") == Success(content)
    assert left(box, login) == ""


def test_read_frozen_platform() -> None:
    """The first request has the read timeout, and not the provider's time for a command."""
    with Server(lambda _: reply(wait=60)) as server:
        for provider in ("cloudflare", "daytona"):
            box = replace(BOX, provider=provider, status=Status.RUNNING)
            with using(client(server.url, read_timeout=0.2, retries=1)):
                error = (box | read_bytes("file")).failure()
            assert isinstance(error, TransportError)
            assert error.kind == "timeout"


def test_write_file_sent_once(box: Sandbox, login: local.Platform) -> None:
    """A lost answer is not a reason to write again."""
    with login.faults.on("sandbox.exec", Drop(after_work=True), times=5) as planned:
        error = (box | write_file("file", "x")).failure()
        assert isinstance(error, TransportError)
        assert error.maybe_sent
        assert planned.played == 1
    assert box | read_text("file") == Success("x")


@pytest.mark.parametrize(
    "printed",
    ["", "whole\n", "whole x\n", "whole 1\n!", "whole 2\neA==\n", "large\n", "else", "yes no\n", "entries\n", "done\n"],
)
def test_files_unreadable_answer(printed: str) -> None:
    """What is not the answer of the library's own line is no answer."""
    body = json.dumps({"stdout": f"{printed}\x1e", "stderr": "\x1e", "exitCode": 0}).encode()
    with Server(servers.always(reply(body))) as server, using(client(server.url)):
        for step in (read_bytes("a"), read_text("a"), exists("a"), sandbox.list_directory("a"), write_file("a", "b")):
            result: Result[Any, PocketenvError] = BOX | step
            if printed == "done\n" and "write_file" in repr(step):
                assert result == Success(BOX)
            else:
                assert isinstance(result.failure(), DecodeError | ArchiveError), step


def test_files_not_running(box: Sandbox) -> None:
    """A stopped or deleted sandbox is an error."""
    stopped = (box | stop).unwrap()
    steps = (read_bytes("a"), exists("a"), write_file("a", "b"), sandbox.list_directory)
    assert [getattr((stopped | step).failure(), "status", None) for step in steps] == [400] * 4
    (stopped | delete).unwrap()
    assert all(isinstance((stopped | step).failure(), SandboxNotFound) for step in steps)


def test_files_too_large(login: local.Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is too large for commands is not supported."""
    assert login
    monkeypatch.setattr(delivery, "MOST_THROUGH_COMMANDS", 60_000)
    monkeypatch.setattr(departure, "MOST_THROUGH_COMMANDS", 60_000)
    monkeypatch.setattr(reading, "SMALL", 1000)
    box = (create("e2b", provider="e2b") | start | sandbox.wait_until_running).unwrap()
    assert isinstance((box | write_file("file", os.urandom(100_000))).failure(), NotSupported)
    output(box, "head -c 100000 /dev/urandom >file")
    assert isinstance((box | read_bytes("file")).failure(), NotSupported)
    assert output(box, "ls -A") == "file\n"
    assert left(box, login) == ""


def test_files_missing_tools(box: Sandbox) -> None:
    """A sandbox without base64 is named as such."""
    output(box, "echo x >file; mkdir bin; ln -s $(command -v bash) $(command -v sleep) bin")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "with_variables", behind("PATH=./workspace/bin\n"))
        for step in (read_bytes("file"), write_file("file", "y"), sandbox.list_directory):
            error = (box | step).failure()
            assert isinstance(error, InvalidInput)
            assert error.reason == "the sandbox has no `base64`, which is needed here: install it there"
        assert (box | exists("file")).unwrap() is True


SECRET = "sesame-open-1234"


def test_write_file_hides_content(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content is in no repr, pickle or explanation."""
    monkeypatch.setenv("MINE", SECRET)
    for content in (SECRET, SECRET.encode()):
        made = write_file("a", content)
        assert repr(made) == "write_file('a', '***')"
        assert SECRET not in f"{explain(made)}{as_curl(made)}"
        with pytest.raises(pickle.PicklingError):
            pickle.dumps(made)
    made = write_file("a", from_env("MINE"))
    assert box | pickle.loads(pickle.dumps(made)) | read_text("a") == Success(SECRET)
    assert "CONTENT_GZIP_BASE64" in as_curl(made)
    assert SECRET not in repr(made) + str(explain(made))


def test_write_file_hides_quoted_content() -> None:
    """A server that quotes the request does not bring the content into an error."""

    def quoting(request: servers.Request) -> servers.Reply:
        return reply(json.dumps({"error": "InvalidRequest", "message": request.body.decode()}).encode(), 400)

    with Server(quoting) as server, using(client(server.url)):
        error = (BOX | write_file("a", SECRET)).failure()
        assert getattr(error, "message", "") == "***"


def test_files_explained() -> None:
    """Each sends one request, and the next step is explained too."""
    calls: list[Callable[[], Any]] = [
        lambda: explain(read_text("a")),
        lambda: explain(read_bytes("a")),
        lambda: explain(exists("a")),
        lambda: explain(sandbox.list_directory("a")),
        lambda: explain(write_file("a", "b")),
    ]
    assert [len(call().requests) for call in calls] == [1] * 5
    assert len(explain(write_file("a", "b") | exec("cat a")).requests) == 2
