"""Secrets, variables, files and volumes: the same questions to each of the four, on the embedded platform."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, NamedTuple, cast

import pytest
from returns.result import Failure, Result, Success

from pocketenv_fp import (
    ApiError,
    Config,
    DecodeError,
    EncryptionError,
    InvalidInput,
    NotSupported,
    PathTaken,
    PocketenvError,
    RecordNotFound,
    Sandbox,
    ServerError,
    Step,
    TransportError,
    create,
    delete_file,
    delete_volume,
    exec,
    from_env,
    get_file,
    iter_files,
    list_files,
    local,
    pocketenv,
    sandbox,
    set_file,
    set_secret,
    set_variable,
    set_volume,
    start,
    stop,
    using,
)
from pocketenv_fp.local.faults import Drop, Fault, Garbage, Refuse, Slow
from pocketenv_fp.sandbox import records
from tests import servers
from tests.conformance.recorder import Recorder
from tests.local.wire import eventually
from tests.servers import BOX, Server, client, reply

Done = Result[Any, PocketenvError]


class Kind(NamedTuple):
    """One of the four: its words, and how its records are called."""

    noun: str
    key: str
    stem: str
    value: str

    def called(self, number: int) -> str:
        return f"{self.stem}{number}"

    def first(self, number: int) -> tuple[str, str]:
        """A record's name and value. No two volumes may be at one path."""
        return self.called(number), f"{self.value}{number}"

    def second(self, number: int) -> tuple[str, str]:
        """The same record's name and another value."""
        return self.called(number), f"{self.value}{number}/again"

    @property
    def plural(self) -> str:
        return f"{self.noun}s"

    def of(self, module: Any, verb: str) -> Callable[..., Any]:
        return cast(
            "Callable[..., Any]", getattr(module, f"{verb}_{self.plural if verb in {'iter', 'list'} else self.noun}")
        )

    def box(self, verb: str) -> Callable[..., Any]:
        return self.of(sandbox, verb)

    def account(self, verb: str) -> Callable[..., Any]:
        return self.of(pocketenv, verb)

    def method(self, verb: str) -> str:
        name = f"{self.noun.capitalize()}{'s' if verb == 'list' else ''}"
        return f"{self.noun}.{'get' if verb == 'list' else verb}{name}"


KINDS = [
    Kind("secret", "name", "SECRET_", "value "),
    Kind("variable", "name", "VARIABLE_", "value "),
    Kind("file", "path", "/workspace/file-", "content "),
    Kind("volume", "name", "volume-", "/srv/path-"),
]
EACH = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.noun)


@pytest.fixture
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a set that is tried again wait for nothing: no other process sets the same."""

    def no_pause(_: float) -> None:
        pass

    monkeypatch.setattr(records, "nap", no_pause)


@pytest.fixture
def box(environment: dict[str, str]) -> Sandbox:
    assert environment
    return create(f"records-{time.monotonic_ns()}").unwrap()


def methods(platform: local.Platform) -> list[tuple[str, int]]:
    return [(name.removeprefix("io.pocketenv."), status) for name, status in platform.calls]


def contents(box: Sandbox, path: str) -> str:
    """What is in a file of a sandbox, that a start writes after it has answered."""
    for _ in range(100):
        found = (box | exec("cat", [path])).unwrap()
        if found.exit_code == 0:
            return found.stdout
        time.sleep(0.05)
    raise AssertionError(f"{path} was not written")


# All four


@EACH
def test_iter_records_pages(kind: Kind, box: Sandbox, platform: local.Platform) -> None:
    """250 records arrive in pages of 20, each of them once."""
    wanted = {kind.called(number) for number in range(250)}
    for number in range(250):
        kind.account("add")(box.id, *kind.first(number)).unwrap()
    for everything in (kind.account("iter")(box.id, limit=20), kind.box("iter")(box, limit=20)):
        platform.calls.clear()
        records = [item.unwrap() for item in everything]
        assert len(records) == 250
        assert {getattr(record, kind.key) for record in records} == wanted
        assert methods(platform) == [(kind.method("list"), 200)] * 13
    page = kind.account("list")(box.id, limit=20, offset=240).unwrap()
    assert (len(page), page.total) == (10, 250)
    assert len(kind.box("list")(box).unwrap()) == 100
    # The last of them is found too, by name and by id.
    for last in (getattr(records[-1], kind.key), records[-1].id):
        assert kind.box("get")(box, last) == Success(records[-1])


@EACH
def test_iter_records_lazy(kind: Kind, box: Sandbox, platform: local.Platform) -> None:
    """Pages are read when needed, while another caller deletes records."""
    for number in range(6):
        kind.account("add")(box.id, *kind.first(number)).unwrap()
    platform.calls.clear()
    reading: Iterator[Done] = kind.box("iter")(box, limit=2)
    assert methods(platform) == []
    first = [next(reading).unwrap(), next(reading).unwrap()]
    assert methods(platform) == [(kind.method("list"), 200)]
    kind.account("delete")(first[0].id).unwrap()
    rest = [item.unwrap() for item in reading]
    assert {getattr(record, kind.key) for record in (*first, *rest)} == {kind.called(number) for number in range(6)}
    assert len(first) + len(rest) == 6


@EACH
def test_set_record_requests(kind: Kind, box: Sandbox, platform: local.Platform) -> None:
    """A set takes few requests and returns the stored record."""
    platform.calls.clear()
    stored = kind.box("set")(box, *kind.first(1)).unwrap()
    # Names of volumes may repeat: the list is read first.
    first = [kind.method("list")] if kind.noun == "volume" else []
    asked = [*first, kind.method("add"), kind.method("list")]
    assert methods(platform) == [(name, 200) for name in asked]
    assert getattr(stored, kind.key) == kind.called(1)
    assert kind.account("get")(stored.id) == Success(stored)
    assert kind.box("get")(box, stored.id) == kind.box("get")(box, kind.called(1)) == Success(stored)


@EACH
def test_set_record_existing_name(kind: Kind, box: Sandbox, platform: local.Platform) -> None:
    """A set of an existing name changes the record."""
    other = kind.box("set")(box, *kind.first(2)).unwrap()
    first = kind.box("set")(box, *kind.first(1)).unwrap()
    platform.calls.clear()
    second = kind.box("set")(box, *kind.second(1)).unwrap()
    change = [kind.method("delete"), kind.method("add")] if kind.noun == "file" else [kind.method("update")]
    refused = [(kind.method("add"), 500)]
    asked = [kind.method("list"), *change, kind.method("list")]
    if kind.noun == "secret":
        # An update changes the value only, which the platform does not return.
        asked.pop()
        assert second == first
    if kind.noun == "volume":
        refused, asked[-1] = [], "volume.getVolume"
    assert methods(platform) == [*refused, *((name, 200) for name in asked)]
    assert (second.id == first.id) == (kind.noun != "file")
    records = [item.unwrap() for item in kind.box("iter")(box)]
    assert sorted(getattr(record, kind.key) for record in records) == [kind.called(1), kind.called(2)]
    assert kind.box("get")(box, kind.called(2)) == kind.box("get")(box, other.id)
    assert kind.box("get")(box, kind.called(1)) == Success(second)


@EACH
def test_set_record_500_new_name(kind: Kind, box: Sandbox, platform: local.Platform) -> None:
    """A 500 for a new name stays a ServerError."""
    kind.box("set")(box, *kind.first(2)).unwrap()
    platform.calls.clear()
    with platform.faults.on(kind.method("add"), Refuse(500)):
        error = kind.box("set")(box, *kind.first(1)).failure()
    assert (type(error), error.status, error.operation) == (ServerError, 500, kind.method("add"))
    added, listed = (kind.method("add"), 500), (kind.method("list"), 200)
    # Another process may be between its delete and its add: a file is tried again.
    tries = {"file": [added, listed] * 3, "volume": [listed, added, listed]}
    # A sandbox that is gone may be the cause. A volume has a 404 for that.
    looked = [] if kind.noun == "volume" else [("sandbox.getSandbox", 200)]
    assert methods(platform) == [*tries.get(kind.noun, [added, listed]), *looked]


@EACH
@pytest.mark.parametrize("fault", [Refuse(400), Refuse(502), Drop(after_work=True)], ids=repr)
def test_set_record_add_fails(kind: Kind, fault: Refuse | Drop, box: Sandbox, platform: local.Platform) -> None:
    """After any other failure of the add no request is sent."""
    kind.box("set")(box, *kind.first(1)).unwrap()
    platform.calls.clear()
    with platform.faults.on(kind.method("add"), fault) as planned:
        error = kind.box("set")(box, *kind.second(2)).failure()
    assert isinstance(error, TransportError if isinstance(fault, Drop) else ApiError)
    before = 1 if kind.noun == "volume" else 0
    assert (planned.played, len(platform.calls)) == (1, before + 1)


@EACH
def test_set_record_500_after_add(kind: Kind, box: Sandbox, platform: local.Platform) -> None:
    """A 500 after the record was added is a Success."""
    with platform.faults.on(kind.method("add"), Refuse(500, after_work=True), times=1):
        stored = kind.box("set")(box, *kind.first(1)).unwrap()
    assert kind.box("list")(box).unwrap() == [stored]


@EACH
def test_record_list_fails(kind: Kind, box: Sandbox, platform: local.Platform) -> None:
    """A failure of the list is returned, unless the add has failed before."""
    with platform.faults.on(kind.method("list"), Refuse(400)):
        added = kind.box("set")(box, *kind.first(1)).failure()
        got = kind.box("get")(box, kind.called(1)).failure()
        again = kind.box("set")(box, *kind.first(1)).failure()
    assert added.operation == got.operation == kind.method("list")
    looked_first = (400, kind.method("list"))
    expected = looked_first if kind.noun == "volume" else (500, kind.method("add"))
    assert (again.status, again.operation) == expected


@EACH
def test_set_record_change_fails(kind: Kind, box: Sandbox, platform: local.Platform) -> None:
    """A failure of the change is returned, and the record is kept."""
    stored = kind.box("set")(box, *kind.first(1)).unwrap()
    changed = kind.method("delete" if kind.noun == "file" else "update")
    with platform.faults.on(changed, Refuse(400)):
        error = kind.box("set")(box, *kind.second(1)).failure()
    assert (error.status, error.operation) == (400, changed)
    assert kind.box("get")(box, kind.called(1)) == Success(stored)


@EACH
def test_set_record_concurrent_delete(kind: Kind, box: Sandbox, platform: local.Platform) -> None:
    """A record that another caller deletes during the set is no failure."""
    old = kind.box("set")(box, *kind.first(1)).unwrap()
    changed = kind.method("delete" if kind.noun == "file" else "update")
    platform.calls.clear()
    with ThreadPoolExecutor(1) as pool, platform.faults.on(changed, Slow(1, before_work=True), times=1) as planned:
        setting = pool.submit(copy_context().run, kind.box("set"), box, *kind.second(1))
        # It has found the old one by now, and has not come to change it.
        assert eventually(lambda: (kind.method("list"), 200) in methods(platform) and planned.played == 1)
        if kind.noun == "file":
            # As another process does: a thread of this one would wait for its turn.
            pocketenv.delete_file(old.id).unwrap()
            pocketenv.add_file(box.id, *kind.first(1)).unwrap()
        else:
            kind.account("delete")(old.id).unwrap()
        stored = setting.result().unwrap()
    assert stored.id != old.id
    assert kind.box("list")(box).unwrap() == [stored]


@EACH
def test_set_record_cannot_change(kind: Kind, box: Sandbox, platform: local.Platform) -> None:
    """A record that cannot be changed is a Failure after few attempts."""
    stored = kind.box("set")(box, *kind.first(1)).unwrap()
    platform.calls.clear()
    changed = kind.method("delete" if kind.noun == "file" else "update")
    with platform.faults.on(changed, Refuse(404)) as planned:
        error = kind.box("set")(box, *kind.second(1)).failure()
    assert (error.status, error.operation) == (404, changed)
    assert (planned.played == 1) if kind.noun == "file" else (1 < planned.played < 10)
    assert kind.box("list")(box).unwrap() == [stored]


@EACH
def test_delete_record_name_or_id(kind: Kind, box: Sandbox) -> None:
    """A delete takes a name or an id and returns the sandbox."""
    for number in range(3):
        kind.box("set")(box, *kind.first(number)).unwrap()
    by_id = kind.box("get")(box, kind.called(1)).unwrap().id
    assert kind.box("delete")(box, kind.called(0)) == Success(box)
    assert (box | kind.box("delete")(by_id)) == Success(box)
    assert [getattr(item.unwrap(), kind.key) for item in kind.box("iter")(box)] == [kind.called(2)]


@EACH
def test_record_not_found(kind: Kind, box: Sandbox, platform: local.Platform) -> None:
    """A missing record is RecordNotFound with its name."""
    for verb in ("get", "delete"):
        platform.calls.clear()
        error = kind.box(verb)(box, kind.called(7)).failure()
        assert (type(error), error.status) == (RecordNotFound, 404)
        assert error.operation == kind.method("list")
        assert repr(kind.called(7)) in str(error)
        assert box.name in str(error)
        assert methods(platform) == [(kind.method("list"), 200)]
    error = kind.account("get")("no-such-id").failure()
    assert (type(error), error.operation) == (RecordNotFound, kind.method("get"))


@EACH
def test_record_not_found_long_name(kind: Kind, box: Sandbox) -> None:
    """A very long name is cut in the error."""
    error = kind.box("get")(box, "x" * 100_000).failure()
    assert isinstance(error, RecordNotFound)
    assert len(str(error)) < 500


@EACH
def test_record_other_sandbox(kind: Kind, box: Sandbox) -> None:
    """A record of another sandbox is neither found nor changed."""
    other = create(f"other-{time.monotonic_ns()}").unwrap()
    theirs = kind.box("set")(other, *kind.first(1)).unwrap()
    for wanted in (theirs.id, kind.called(1)):
        for verb in ("get", "delete"):
            assert isinstance(kind.box(verb)(box, wanted).failure(), RecordNotFound)
    assert kind.account("get")(theirs.id) == Success(theirs)
    # The same name in both is two records.
    mine = kind.box("set")(box, *kind.first(1)).unwrap()
    assert mine.id != theirs.id


@EACH
def test_record_other_user(kind: Kind, box: Sandbox, platform: local.Platform) -> None:
    """Another user neither sees nor changes a record."""
    stored = kind.box("set")(box, *kind.first(1)).unwrap()
    somebody = Config(token=platform.new_user(f"somebody-{time.monotonic_ns()}.test"))
    assert list(kind.box("iter")(box, config=somebody)) == []
    assert isinstance(kind.box("get")(box, kind.called(1), config=somebody).failure(), RecordNotFound)
    assert isinstance(kind.box("delete")(box, stored.id, config=somebody).failure(), RecordNotFound)
    assert isinstance(kind.account("get")(stored.id, config=somebody).failure(), RecordNotFound)
    # The platform adds secrets and variables to any sandbox, and lists them for its owner only.
    assert isinstance(kind.box("set")(box, *kind.second(2), config=somebody).failure(), ApiError)
    if kind.noun != "variable":  # which anybody may update by its id
        assert isinstance(kind.account("update")(stored.id, *kind.second(1), config=somebody).failure(), ApiError)
    assert stored in kind.box("list")(box).unwrap().items


@EACH
def test_record_id_before_name(kind: Kind, box: Sandbox) -> None:
    """An id wins over an equal name."""
    first = kind.box("set")(box, *kind.first(1)).unwrap()
    # Past the check of names, as another client would: an id is not the name of a variable.
    add, update = (kind.account(verb).__wrapped__ for verb in ("add", "update"))  # type: ignore[attr-defined]  # pyright: ignore[reportFunctionMemberAccess]
    kind.account("delete")(first.id).unwrap()
    first = kind.box("set")(box, *kind.first(1)).unwrap()
    before = {item.unwrap().id for item in kind.box("iter")(box)}
    add(box.id, first.id, kind.first(7)[1]).unwrap()
    (named,) = (item.unwrap() for item in kind.box("iter")(box) if item.unwrap().id not in before)
    assert kind.box("get")(box, first.id).unwrap().id == first.id
    # Also where the name comes first in the list.
    assert kind.box("delete")(box, kind.called(1)) == Success(box)
    assert kind.box("get")(box, first.id) == Success(named)
    later = kind.box("set")(box, *kind.first(2)).unwrap()
    update(named.id, later.id, kind.first(8)[1]).unwrap()
    assert kind.box("get")(box, later.id) == Success(later)


@EACH
def test_get_record_unreadable_answer(kind: Kind) -> None:
    """Another answer is a DecodeError, and no missing record."""
    missing = [b"{}", b'{"%s": null}' % kind.noun.encode()]
    strange = [
        b'{"sandbox": null}',
        b"[]",
        b"",
        *(b'{"%s": %s}' % (kind.noun.encode(), it) for it in (b'{"id": 3}', b"[]")),
    ]
    for body in missing:
        with Server(servers.always(reply(body))) as server:
            assert isinstance(kind.account("get")("3f", config=client(server.url)).failure(), RecordNotFound)
    for body in strange:
        with Server(servers.always(reply(body))) as server:
            assert isinstance(kind.account("get")("3f", config=client(server.url)).failure(), DecodeError)


@EACH
def test_list_records_without_total(kind: Kind) -> None:
    """A list without a total is a DecodeError."""
    with Server(servers.always(reply(b'{"%s": []}' % kind.plural.encode()))) as server:
        config = client(server.url)
        assert isinstance(kind.account("list")("3f", config=config).failure(), DecodeError)
        (item,) = kind.box("iter")(BOX, config=config)
        assert isinstance(item.failure(), DecodeError)
        assert isinstance(kind.box("get")(BOX, "A", config=config).failure(), DecodeError)


@EACH
def test_iter_records_negative_total(kind: Kind) -> None:
    """A negative total is a DecodeError."""
    with Server(servers.always(reply(b'{"%s": [], "total": -1}' % kind.plural.encode()))) as server:
        (item,) = kind.box("iter")(BOX, config=client(server.url))
        assert isinstance(item.failure(), DecodeError)


@EACH
def test_set_record_not_listed(kind: Kind) -> None:
    """An added record that the list does not have is RecordNotFound."""
    empty = reply(b'{"%s": [], "total": 0}' % kind.plural.encode())

    def answer(request: servers.Request) -> servers.Reply:
        return reply(b"") if request.verb == "POST" else empty

    with Server(answer) as server:
        error = kind.box("set")(BOX, *kind.first(1), config=client(server.url)).failure()
        assert isinstance(error, RecordNotFound)
        # A file may be between another process's delete and its add, and volumes are listed first.
        looks = {"file": ["GET"] * records.LOOKS}
        first = ["GET"] if kind.noun == "volume" else []
        assert server.verbs == [*first, "POST", *looks.get(kind.noun, ["GET"])]


# What becomes of them


def test_records_next_start(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records are in the sandbox from its next start on."""
    monkeypatch.setenv("MY_SECRET", "from the environment")
    running = (box | start).unwrap()
    for step in (
        set_secret("KEY", from_env("MY_SECRET")),
        set_variable("STAGE", from_env("MY_SECRET")),
        set_variable("EMPTY", ""),
        set_file("/workspace/secret", from_env("MY_SECRET")),
        set_file("/workspace/empty", ""),
        set_volume("models", "/srv/models"),
    ):
        (running | step).unwrap()
    assert (running | exec("printenv KEY STAGE")).unwrap().stdout == ""
    show = start | exec('printf "%s|%s|%s" "$KEY" "$STAGE" "${EMPTY-unset}"')
    assert (running | show).unwrap().stdout == "from the environment|from the environment|"
    assert contents(running, "/workspace/secret") == "from the environment\n"
    assert contents(running, "/workspace/empty") == "\n"
    for step in (set_secret("KEY", "second"), set_variable("STAGE", "second"), set_file("/workspace/secret", "second")):
        (running | step).unwrap()
    (running | exec("rm /workspace/secret")).unwrap()
    assert (running | show).unwrap().stdout == "second|second|"
    assert contents(running, "/workspace/secret") == "second\n"


def test_update_secret_and_file(box: Sandbox) -> None:
    """The platform can decrypt updated secrets and files."""
    secret = (box | set_secret("KEY", "first")).unwrap()
    file = (box | set_file("/workspace/a", "first\n")).unwrap()
    pocketenv.update_secret(secret.id, "OTHER", "second").unwrap()
    # The platform moves a file and keeps its content.
    pocketenv.update_file(file.id, "/workspace/b", "second\n").unwrap()
    assert (box | start | exec('printf "%s" "${KEY-unset}$OTHER"')).unwrap().stdout == "unsetsecond"
    assert contents(box, "/workspace/b") == "first\n"
    assert (box | exec("test -e /workspace/a")).unwrap().exit_code == 1


def test_set_volume_keeps_content(box: Sandbox) -> None:
    """The content of a volume outlives a stop and a new path."""
    (box | set_volume("models", "/srv/models")).unwrap()
    (box | start | exec("echo kept > /srv/models/a")).unwrap()
    moved = (box | set_volume("models", "/srv/other", read_only=True)).unwrap()
    assert moved.path == "/srv/other"
    shown = (box | stop | start | exec("cat /srv/other/a")).unwrap()
    assert shown.stdout == "kept\n"
    # Without a path it stays where it is.
    assert (box | set_volume("models")).unwrap().path == "/srv/other"
    assert (box | delete_volume("models") | start | exec("test -e /srv/other/a")).unwrap().exit_code == 1


def test_set_volume_new_path(box: Sandbox, platform: local.Platform) -> None:
    """A new volume needs a path."""
    platform.calls.clear()
    error = (box | set_volume("spare")).failure()
    assert isinstance(error, RecordNotFound)
    assert "a new one needs a path" in str(error)
    assert isinstance((box | set_volume("root", "/")).failure(), InvalidInput)
    assert methods(platform) == [("volume.getVolumes", 200)]


# Files


def test_set_file_not_encrypted(box: Sandbox, platform: local.Platform) -> None:
    """A content that cannot be encrypted or sent deletes no file."""
    stored = (box | set_file("/workspace/a", "first")).unwrap()
    platform.calls.clear()
    zeros = box | set_file("/workspace/a", "second", config=Config(public_key="00" * 32))
    assert isinstance(zeros.failure(), EncryptionError)
    assert isinstance((box | set_file("/workspace/a", "half \ud800")).failure(), (InvalidInput, EncryptionError))
    unset = (box | set_file("/workspace/a", from_env("NOT_SET_ANYWHERE"))).failure()
    assert (type(unset), getattr(unset, "field", "")) == (InvalidInput, "content")
    assert methods(platform) == []
    too_large = (box | set_file("/workspace/a", "x" * 80_000)).failure()
    assert (type(too_large), getattr(too_large, "status", 0)) == (ApiError, 413)
    assert (box | get_file("/workspace/a")) == Success(stored)


def test_set_file_large(box: Sandbox) -> None:
    """A content of 75,000 bytes arrives whole."""
    content = "0123456789abcde\n" * 4687
    assert len(content) == 74_992
    (box | set_file("/workspace/large", content)).unwrap()
    (box | start).unwrap()
    assert contents(box, "/workspace/large") == content


@pytest.mark.usefixtures("_no_pause")
def test_set_file_second_add_fails(box: Sandbox, platform: local.Platform) -> None:
    """A failure of the second add is returned, and the path is free."""
    (box | set_file("/workspace/a", "first")).unwrap()
    with platform.faults.on("file.addFile", Refuse(500)):
        error = (box | set_file("/workspace/a", "second")).failure()
    assert isinstance(error, ServerError)
    assert (box | list_files).unwrap() == []
    (box | set_file("/workspace/a", "second\n")).unwrap()
    (box | start).unwrap()
    assert contents(box, "/workspace/a") == "second\n"


@pytest.mark.parametrize("path", ["/workspace/with space", "/workspace/é/ß", "relative/path", "/workspace/new\nline"])
def test_set_file_paths(box: Sandbox, path: str) -> None:
    """Paths of all kinds can be read, changed and deleted."""
    stored = (box | set_file(path, "1")).unwrap()
    assert stored.path == (path if path.startswith("/") else f"/workspace/{path}")
    assert (box | get_file(path)) == Success(stored)
    assert (box | set_file(path, "2")).unwrap().path == stored.path
    (box | delete_file(path)).unwrap()
    assert list(iter_files(box)) == []


@pytest.mark.parametrize("spelled", ["notes.txt", "./notes.txt", "/workspace//notes.txt", "/workspace/a/../notes.txt"])
def test_set_file_path_spelling(box: Sandbox, spelled: str) -> None:
    """All spellings of a path are one file."""
    stored = (box | set_file("/workspace/notes.txt", "1\n")).unwrap()
    assert (box | get_file(spelled)) == Success(stored)
    again = (box | set_file(spelled, "2\n")).unwrap()
    assert again.path == "/workspace/notes.txt"
    assert (box | delete_file(spelled)) == Success(box)
    assert list(iter_files(box)) == []


@pytest.mark.parametrize("path", ["/", "/workspace/", "a/..", ".", "//"])
def test_set_file_directory(box: Sandbox, path: str, platform: local.Platform) -> None:
    """The path of a directory is refused before a request is sent."""
    platform.calls.clear()
    for refused in (box | set_file(path, "1"), pocketenv.add_file(box.id, path, "1")):
        assert refused.failure() == InvalidInput("path", "is a directory: start writes a file there")
    assert not platform.calls


@pytest.mark.parametrize(
    ("content", "sealed"), [("a\n", "a"), ("a\n\n", "a\n"), ("a", "a"), ("\n", ""), ("", ""), ("a\r\n", "a\r")]
)
def test_set_file_last_newline(box: Sandbox, content: str, sealed: str, platform: local.Platform) -> None:
    """The last newline is not sent: the platform adds it."""
    recorder = Recorder(platform)
    with Server(recorder) as server, using(Config(api_url=server.url)):
        (box | set_file("/workspace/a", content)).unwrap()
        pocketenv.add_file(box.id, "/workspace/b", content).unwrap()
    sent = [json.loads(each.request.body)["file"]["content"] for each in recorder.exchanges if each.method == "addFile"]
    vault = platform._world.vault  # pyright: ignore[reportPrivateUsage]
    assert [vault.open(text) for text in sent] == [sealed, sealed]


def test_set_file_many_threads(box: Sandbox) -> None:
    """Each set of many threads is a Success."""
    with ThreadPoolExecutor(16) as pool:
        work = [pool.submit(copy_context().run, set_file, box, "/workspace/a", f"{n}\n") for n in range(48)]
        stored = [each.result() for each in work]
    assert [result.failure() for result in stored if not isinstance(result, Success)] == []
    assert len(list(iter_files(box))) == 1


SETS = """
import sys
from pocketenv_fp import get_sandbox, set_file
box = get_sandbox(sys.argv[1])
failed = [box | set_file("/workspace/a", f"{n}") for n in range(8)]
print([result for result in failed if "Failure" in repr(result)] or "all")
"""


def test_set_file_many_processes(box: Sandbox, platform: local.Platform) -> None:
    """Each set of many processes is a Success."""
    command = [sys.executable, "-c", SETS, box.id]
    running = [subprocess.Popen(command, env=platform.environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [each.communicate(timeout=120)[0] for each in running] == ["all\n"] * 3
    assert len(list(iter_files(box))) == 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(Refuse(500), ServerError), (Refuse(400), ApiError), (Drop(), TransportError), (Garbage(), DecodeError)],
    ids=repr,
)
@pytest.mark.usefixtures("_no_pause")
def test_set_file_fails_after_delete(
    box: Sandbox, fault: Fault, kind: type[PocketenvError], platform: local.Platform
) -> None:
    """A failure after the delete says that the old file is gone."""
    (box | set_file("/workspace/a", "first\n")).unwrap()
    # The first add meets the old file.
    with platform.faults.on("file.addFile", Refuse(500), times=1), platform.faults.on("file.addFile", fault):
        error = (box | set_file("/workspace/a", "second\n", config=Config(retries=0))).failure()
    assert isinstance(error, kind)
    assert "the old file is gone" in str(error)
    assert "second" not in str(error)
    assert (box | list_files).unwrap() == []


@pytest.mark.parametrize("fault", [Refuse(500), Refuse(503), Drop(), Drop(after_work=True)], ids=repr)
def test_set_file_retries_after_delete(box: Sandbox, fault: Fault, platform: local.Platform) -> None:
    """One failure after the delete is retried."""
    old = (box | set_file("/workspace/a", "first\n")).unwrap()
    with platform.faults.on("file.addFile", Refuse(500), times=1), platform.faults.on("file.addFile", fault, times=1):
        stored = (box | set_file("/workspace/a", "second\n", config=Config(retries=0))).unwrap()
    assert stored.id != old.id
    assert (box | list_files).unwrap() == [stored]


def on(provider: str) -> Sandbox:
    return Sandbox(id=BOX.id, name=BOX.name, provider=provider)


@pytest.mark.parametrize(
    ("provider", "path", "content"),
    [
        ("e2b", "/workspace/a", "plain\n"),
        ("blaxel", "/workspace/a", "plain\n"),
        ("modal", "/workspace/a", "it's\n"),
        ("sprites", "/workspace/with space", "plain\n"),
        ("hopx", "/workspace/$(id)", "plain\n"),
        ("daytona", "/workspace/a", "a\\tb\n"),
        ("vercel", "/workspace/a", "-n"),
        ("runloop", "/workspace/a", "$HOME\n"),
    ],
)
def test_set_file_not_supported(provider: str, path: str, content: str) -> None:
    """A file that the provider's start cannot write is not supported."""
    error = (on(provider) | set_file(path, content)).failure()
    assert isinstance(error, NotSupported)
    assert (error.operation, error.provider) == ("set_file", provider)
    assert provider in str(error)


@pytest.mark.parametrize("provider", ["daytona", "sprites", "modal", "hopx", "runloop"])
def test_set_file_other_providers(provider: str) -> None:
    """Plain lines are sent to other providers too."""
    listed = b'{"files": [{"id": "1", "path": "/workspace/a"}], "total": 1}'
    with Server(servers.in_turn(reply(b""), reply(listed))) as server:
        stored = (on(provider) | set_file("a", "STAGE=test\nX=1\n", config=client(server.url))).unwrap()
        assert stored.path == "/workspace/a"


# What other providers do not have

NINE = ["daytona", "deno", "vercel", "sprites", "modal", "e2b", "blaxel", "hopx", "runloop"]
# The steps, and the providers of the nine that can do them.
LACKING: dict[str, tuple[Step[Sandbox, Any], frozenset[str]]] = {
    "set_variable": (set_variable("A", "1"), frozenset()),
    "set_secret": (set_secret("A", "top-secret"), frozenset()),
    "set_service": (sandbox.set_service("web", "true"), frozenset()),
    "start_service": (sandbox.start_service("web"), frozenset()),
    "restart_service": (sandbox.restart_service("web"), frozenset()),
    "vscode": (sandbox.vscode, frozenset()),
    "create_backup": (sandbox.create_backup("/workspace"), frozenset()),
    "restore_backup": (sandbox.restore_backup("3f2a"), frozenset()),
    "set_volume": (set_volume("models", "/models"), frozenset(NINE) - {"e2b", "blaxel"}),
}


@pytest.mark.parametrize(("step", "able"), LACKING.values(), ids=LACKING)
def test_step_not_supported(step: Step[Sandbox, Any], able: frozenset[str]) -> None:
    """A step that the provider lacks is refused before a request is sent."""
    name = repr(step).partition("(")[0]
    with Server(servers.always(reply(b"{}"))) as server, using(client(server.url)):
        for provider in NINE:
            if provider not in able:
                error = step(on(provider)).failure()
                assert isinstance(error, NotSupported)
                assert (error.operation, error.provider) == (name, provider)
                assert error.instead in str(error)
                assert "top-secret" not in f"{error!r}{error}"
        assert server.connections == 0
        # An unknown provider may have it, and no provider is Cloudflare.
        for box in (on("new-cloud"), on("cloudflare"), BOX):
            before = len(server.seen)
            assert not isinstance(step(box).swap().value_or(None), NotSupported)
            assert len(server.seen) > before


# Names of variables and secrets

NO_NAMES = ["A=B", "1A", "A-B", "discovery.type", "É", "A B", "A\n", "", "UID", "EUID", "PPID", "SHELLOPTS", "_"]


@pytest.mark.parametrize("name", NO_NAMES)
def test_set_variable_invalid_name(box: Sandbox, name: str, platform: local.Platform) -> None:
    """A name that no command would see is refused."""
    platform.calls.clear()
    for refused in (
        box | set_variable(name, "1"),
        box | set_secret(name, "1"),
        pocketenv.add_variable(box.id, name, "1"),
        pocketenv.add_secret(box.id, name, "1"),
        pocketenv.update_variable("3f2a", name, "1"),
        pocketenv.update_secret("3f2a", name, "1"),
    ):
        error = refused.failure()
        assert isinstance(error, InvalidInput)
        assert error.field == "name"
    assert not platform.calls


@pytest.mark.parametrize("name", ["A", "_A", "a_1", "PATH_", "UID2"])
def test_set_variable_valid_name(box: Sandbox, name: str) -> None:
    """A name that commands can see is accepted."""
    (box | set_variable(name, "one")).unwrap()
    (box | set_secret(f"{name}S", "two")).unwrap()
    assert (box | start | exec(f"printenv {name} {name}S")).unwrap().stdout == "one\ntwo\n"


# Volumes


def volumes(*shown: tuple[str, str, str | None]) -> bytes:
    listed = [{"id": id, "name": name, "path": path} for id, name, path in shown]
    return json.dumps({"volumes": listed, "total": len(listed)}).encode()


def test_set_volume_same_path(box: Sandbox, platform: local.Platform) -> None:
    """The same path changes nothing."""
    stored = (box | set_volume("models", "/models")).unwrap()
    platform.calls.clear()
    for again in (set_volume("models", "/models"), set_volume("models", "//models/"), set_volume("models")):
        assert (box | again) == Success(stored)
    assert methods(platform) == [("volume.getVolumes", 200)] * 3


def test_set_volume_path_taken(box: Sandbox, platform: local.Platform) -> None:
    """The path of another volume is taken."""
    first = (box | set_volume("models", "/models")).unwrap()
    second = (box | set_volume("data", "/data")).unwrap()
    platform.calls.clear()
    for name in ("other", "data"):
        error = (box | set_volume(name, "/models/")).failure()
        assert isinstance(error, PathTaken)
        assert error.path == "/models"
        assert "the volume models is at /models" in str(error)
    assert methods(platform) == [("volume.getVolumes", 200)] * 2
    assert sorted((box | sandbox.list_volumes).unwrap(), key=lambda each: each.path or "") == [second, first]


def test_set_volume_path_race() -> None:
    """A path that another program takes during the set is taken."""
    refused = reply(b'{"error": "InternalServerError", "message": "Internal Server Error"}', 500)
    theirs = reply(volumes(("1", "theirs", "/models")))
    with Server(servers.in_turn(reply(volumes()), refused, theirs)) as server:
        error = (BOX | set_volume("models", "/models", config=client(server.url))).failure()
    assert isinstance(error, PathTaken)


def test_set_volume_same_names() -> None:
    """A name of several volumes moves none of them."""
    listed = reply(volumes(("1", "models", "/a"), ("2", "models", "/b")))
    with Server(servers.always(listed)) as server:
        error = (BOX | set_volume("models", "/c", config=client(server.url))).failure()
        assert isinstance(error, InvalidInput)
        assert "2 volumes have the name models" in str(error)
        # At a path of one of them, that one is meant.
        assert (BOX | set_volume("models", "/b", config=client(server.url))).map(lambda each: each.id) == Success("2")
        assert set(server.verbs) == {"GET"}


def test_set_volume_relative_path(box: Sandbox, platform: local.Platform) -> None:
    """A relative path is refused before a request is sent."""
    platform.calls.clear()
    assert (box | set_volume("models", "models")).failure() == InvalidInput(
        "path", "is not absolute: it must start with /"
    )
    assert not platform.calls


def test_set_volume_many_threads(box: Sandbox) -> None:
    """Many threads create one volume."""
    with ThreadPoolExecutor(8) as pool:
        work = [pool.submit(copy_context().run, set_volume, box, "models", f"/srv/{n}") for n in range(8)]
        made = {each.result().unwrap().id for each in work}
    assert len(made) == 1
    assert [each.id for each in (box | sandbox.list_volumes).unwrap()] == list(made)


# Nothing leaks


@pytest.mark.parametrize("step", [set_secret("KEY", "top-secret"), set_file("/workspace/a", "top-secret")], ids=repr)
def test_set_secret_hidden(step: Step[Sandbox, Any]) -> None:
    """A secret or a content is in no repr, pickle or error."""
    assert "top-secret" not in repr(step)
    assert "***" in repr(step)
    with pytest.raises(pickle.PicklingError) as refused:
        pickle.dumps(step)
    assert "top-secret" not in str(refused.value)
    with Server(servers.always(reply(b'{"error": "InvalidRequest", "message": "no"}', 400))) as server:
        with using(client(server.url)):
            error = (BOX | step).failure()
        assert "top-secret" not in f"{error!r} {error} {vars(error)}"
        assert "top-secret" not in "".join(traceback.format_exception(error))
        assert [b"top-secret" in request.body for request in server.seen] == [False]


def test_set_variable_pickles() -> None:
    """A variable is in the repr, and can be pickled."""
    step = set_variable("STAGE", "test")
    assert repr(step) == "set_variable('STAGE', 'test')"
    assert pickle.loads(pickle.dumps(step)) == step
    assert set_file("/a", from_env("X")) == pickle.loads(pickle.dumps(set_file("/a", from_env("X"))))
    assert isinstance(step(Failure(InvalidInput("a", "b"))), Failure)
