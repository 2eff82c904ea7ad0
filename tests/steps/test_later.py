"""One list for the records of several steps in a `gather`: the values are those of separate steps."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest
from returns.result import Failure, Result, Success

from pocketenv_fp import (
    ApiError,
    Config,
    InvalidInput,
    NotLoggedIn,
    PathTaken,
    PocketenvError,
    RecordNotFound,
    Sandbox,
    Status,
    Step,
    Variable,
    create,
    delete_variable,
    exec,
    explain,
    gather,
    get_file,
    get_secret,
    get_variable,
    identity,
    keep,
    list_variables,
    list_volumes,
    local,
    pocketenv,
    recover,
    refresh,
    set_file,
    set_secret,
    set_service,
    set_variable,
    set_volume,
    start,
    start_service,
    stop_service,
    tap,
    using,
)
from pocketenv_fp.config import settings
from pocketenv_fp.local.faults import Refuse
from pocketenv_fp.pocketenv.records import Listing
from pocketenv_fp.sandbox import support
from pocketenv_fp.steps.later import Later
from tests.local.wire import eventually

pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture
def box() -> Sandbox:
    return create("box").unwrap()


def requests(platform: local.Platform) -> list[str]:
    names = [name.rpartition(".")[2] for name, _ in platform.calls]
    platform.calls.clear()
    return names


def test_gather_records(box: Sandbox) -> None:
    """Gather returns the record of each setting."""
    setting = gather(
        set_variable("A", "1"),
        set_secret("B", "2"),
        set_variable("C", "3"),
        set_file("d", "4"),
        set_service("e", "sleep 9"),
    )
    first, secret, third, file, service = (box | setting).unwrap()
    records = [box | get_variable("A"), box | get_secret("B"), box | get_variable("C"), box | get_file("d")]
    assert [first, secret, third, file] == [each.unwrap() for each in records]
    assert (first.value, third.value, service.command) == ("1", "3", "sleep 9")


def test_gather_existing_records(box: Sandbox, platform: local.Platform) -> None:
    """Setting an existing name updates its record and keeps its id."""
    setting = gather(set_variable("A", "1"), set_variable("B", "2"))
    before = (box | setting).unwrap()
    requests(platform)
    after = (box | gather(set_variable("A", "3"), set_variable("B", "4"))).unwrap()
    assert [each.id for each in after] == [each.id for each in before]
    assert [each.value for each in after] == ["3", "4"]
    assert requests(platform)[-1] == "getVariables"


def test_gather_same_name_twice(box: Sandbox) -> None:
    """Each of two values for one name is in its own record, with the same id."""
    first, other, second = (
        box | gather(set_variable("A", "1"), set_variable("B", "2"), set_variable("A", "3"))
    ).unwrap()
    assert (first.value, other.value, second.value) == ("1", "2", "3")
    assert first.id == second.id


def test_gather_lists_before_other_steps(box: Sandbox) -> None:
    """The records are listed before a step that may change them."""
    replacing = tap(delete_variable("A")) | tap(set_variable("A", "other"))
    first, _, last = (box | gather(set_variable("A", "1"), replacing, set_variable("B", "2"))).unwrap()
    assert (first.value, last.value) == ("1", "2")
    assert first.id != (box | get_variable("A")).unwrap().id
    before, _, after = (box | gather(get_variable("A"), replacing, get_variable("A"))).unwrap()
    assert (before.value, after.value) == ("other", "other")
    assert before.id != after.id


def test_gather_lists_before_a_delete(box: Sandbox) -> None:
    """A single step that is no setting may change the records too."""
    first, _, last = (box | gather(set_variable("A", "1"), delete_variable("A"), set_variable("B", "2"))).unwrap()
    assert (first.value, last.value) == ("1", "2")


def test_gather_dropped_values(box: Sandbox, platform: local.Platform) -> None:
    """A gather whose values are dropped lists no records."""
    requests(platform)
    assert box | tap(gather(set_variable("A", "1"), set_variable("B", "2"))) == Success(box)
    assert requests(platform) == ["addVariable", "addVariable"]


def test_gather_values_of_other_steps(box: Sandbox) -> None:
    """The values of other steps are complete, as they are without a gather."""
    started, variable, ran = (box | gather(start, set_variable("A", "1"), exec("echo x"))).unwrap()
    assert (started.status, variable.value, ran.stdout) == (Status.RUNNING, "1", "x\n")
    again, first = (started | gather(start, get_variable("A"))).unwrap()
    assert (again, first) == ((started | refresh).unwrap(), variable)


def test_later_listed_ends() -> None:
    """No further page is requested after the last record."""
    record = Variable(id="1", name="A", value="1")

    def each() -> Iterator[Result[Variable, PocketenvError]]:
        yield Success(record)
        raise AssertionError("one page too many")

    assert Listing(each).seen("A") == Success(record)


def token() -> Result[str | None, PocketenvError]:
    return settings().map(lambda known: known.token)


def test_later_looked_login() -> None:
    """A record that is looked up later has the login of its step."""
    with using(Config(token="inner")):
        listed = Later("records", lambda: None, token, lambda: Success("looked up"))
        looked = Later("records", lambda: None, lambda: Success(None), token)
    with using(Config(token="outer")):
        assert listed.record() == looked.record() == Success("inner")


def test_keep_of_two_sandboxes(box: Sandbox) -> None:
    other = create("other").unwrap()
    on_other: Step[Sandbox, Any] = set_variable("A", "other")
    kept = (box | keep(set_variable("A", "1"), set_variable("B", "2"))).unwrap()
    assert kept[0] == box
    assert (other | on_other).unwrap().value == "other"
    assert [each.value for each in kept[1:]] == ["1", "2"]


def test_gather_login_per_step(box: Sandbox, platform: local.Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step uses its own login."""
    monkeypatch.setenv("POCKETENV_TOKEN", "")
    token = platform.token
    both = gather(set_variable("A", "1", token=token), set_variable("B", "2", token=token))
    assert [each.value for each in (box | both).unwrap()] == ["1", "2"]
    assert requests(platform)[-3:] == ["addVariable", "addVariable", "getVariables"]
    mixed = box | gather(set_variable("C", "1", token=token), set_variable("D", "2"))
    assert isinstance(mixed.failure(), NotLoggedIn)


def test_gather_failure_place(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that is missing from the list is a failure of its own step."""
    deleted: list[str] = []
    whole = pocketenv.list_variables

    def deleting(sandbox_id: str, **given: Any) -> Any:
        page = whole(sandbox_id, **given)
        for each in page.unwrap():
            if each.name == "B":
                pocketenv.delete_variable(each.id)
                deleted.append(each.id)
        return whole(sandbox_id, **given)

    monkeypatch.setattr("pocketenv_fp.pocketenv.variables.list_variables", deleting)
    result = box | gather(set_variable("A", "1"), set_variable("B", "2"))
    error = result.failure()
    assert isinstance(error, RecordNotFound)
    assert deleted
    assert error.where[0].step == "set_variable('B', '2')"
    assert error.sandbox == box
    assert (box | list_variables).map(len) == Success(1)


def test_gather_stops_at_failure(box: Sandbox, platform: local.Platform) -> None:
    """After the first failure no further request is sent."""
    requests(platform)
    result = box | gather(set_variable("A", "1"), set_variable("B", "\0"), set_variable("C", "3"))
    assert isinstance(result.failure(), InvalidInput)
    assert requests(platform) == ["addVariable"]


def test_tap_without_list(box: Sandbox, platform: local.Platform) -> None:
    """A setting in tap does not list its records, because tap drops its value."""
    requests(platform)
    pipeline = tap(set_variable("A", "1")) | tap(set_variable("A", "2")) | tap(set_variable("B", "3")) | start
    assert isinstance(box | pipeline, Success)
    # The second one finds the name taken, looks up its id, and updates it.
    assert requests(platform)[:5] == ["addVariable", "addVariable", "getVariables", "updateVariable", "addVariable"]
    assert (box | exec("echo $A $B")).unwrap().stdout == "2 3\n"


def test_gather_parallel_records(box: Sandbox, platform: local.Platform) -> None:
    """Steps that run at the same time share a list for each kind of record."""
    requests(platform)
    setting = gather(set_variable("A", "1"), set_secret("B", "2"), set_variable("C", "3"), parallel=True)
    first, secret, third = (box | setting).unwrap()
    assert (first.value, secret.name, third.value) == ("1", "B", "3")
    adds, lists = ["addSecret", "addVariable", "addVariable"], ["getSecrets", "getVariables"]
    sent = requests(platform)
    assert (sorted(sent[:3]), sorted(sent[3:])) == (adds, lists)


def test_gather_parallel_existing_records(box: Sandbox, platform: local.Platform) -> None:
    """The lists that show which names exist, and the lists afterwards, are one each."""
    (box | gather(set_variable("A", "1"), set_variable("B", "2"), set_variable("C", "3"))).unwrap()
    requests(platform)
    setting = gather(set_variable("A", "4"), set_variable("B", "5"), set_variable("C", "6"), parallel=True)
    assert [each.value for each in (box | setting).unwrap()] == ["4", "5", "6"]
    sent = requests(platform)
    assert Counter(sent) == {"addVariable": 3, "getVariables": 2, "updateVariable": 3}
    explained = [
        each.path.partition("?")[0].rpartition(".")[2] for each in explain(tap(setting) | setting, box).requests
    ]
    assert Counter(explained) == {"addVariable": 6, "getVariables": 2, "updateVariable": 3}


def test_gather_parallel_other_steps(box: Sandbox, platform: local.Platform) -> None:
    """A record is listed at once beside a step that may change it, and beside one of the same name."""
    requests(platform)
    removed: list[object] = []

    def remove(_: object) -> None:
        # The record must be in the result before it is deleted.
        assert eventually(lambda: ("io.pocketenv.variable.getVariables", 200) in platform.calls)
        removed.append(box | delete_variable("A"))

    first, _ = (box | gather(set_variable("A", "1"), identity.map(remove), parallel=True)).unwrap()
    assert first.value == "1"
    assert isinstance(removed[0], Success)
    requests(platform)
    beside = gather(set_variable("C", "1"), set_variable("D", "2"), identity, parallel=True)
    assert not isinstance(box | beside, Failure)
    explained = [each.path.partition("?")[0].rpartition(".")[2] for each in explain(beside, box).requests]
    assert Counter(requests(platform)) == Counter(explained) == {"addVariable": 2, "getVariables": 2}
    both = box | gather(set_variable("B", "1"), set_variable("B", "2"), parallel=True)
    assert {each.value for each in both.unwrap()} == {"1", "2"}
    assert len({each.id for each in both.unwrap()}) == 1


def test_gather_parallel_list_failure(box: Sandbox, platform: local.Platform) -> None:
    """A list that fails is the Failure of the first step."""
    with platform.faults.on("variable.getVariables", Refuse(400)):
        result = box | gather(set_variable("A", "1"), set_variable("B", "2"), parallel=True)
    error = result.failure()
    assert isinstance(error, ApiError)
    assert (error.status, error.operation) == (400, "variable.getVariables")
    assert error.where[0].step == "set_variable('A', '1')"
    first = box | gather(set_variable("C", "\0"), set_variable("D", "2"), parallel=True)
    assert isinstance(first.failure(), InvalidInput)
    assert (box | get_variable("D")).map(lambda each: each.value) == Success("2")


def test_gather_parallel_exception(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake in one step comes out, and no step waits for it."""

    def fails(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("pocketenv_fp.sandbox.secrets.pocketenv.add_secret", fails)
    with pytest.raises(ZeroDivisionError):
        _ = box | gather(set_variable("A", "1"), set_secret("B", "2"), parallel=True)


def test_gather_finds_and_deletes(box: Sandbox, platform: local.Platform) -> None:
    """A lookup and a deletion share a list, and see what the step before them did."""
    (box | gather(set_variable("A", "1"), set_variable("B", "2"))).unwrap()
    requests(platform)
    first, _, missing = (
        box | gather(get_variable("A"), delete_variable("A"), recover(get_variable("A"), None))
    ).unwrap()
    assert (first.value, missing) == ("1", None)
    assert requests(platform) == ["getVariables", "deleteVariable", "getVariables"]
    gone = box | gather(get_variable("B"), delete_variable("B"), get_variable("B"))
    assert isinstance(gone.failure(), RecordNotFound)
    assert requests(platform) == ["getVariables", "deleteVariable", "getVariables"]


def test_gather_known_name_deleted(box: Sandbox, platform: local.Platform) -> None:
    """A record that another program deletes after the list is added again."""
    old = (box | set_variable("A", "1")).unwrap()
    listed = get_variable("A")
    with platform.faults.on("variable.updateVariable", Refuse(404), times=1):
        pocketenv.delete_variable(old.id).unwrap()
        pocketenv.add_variable(box.id, "A", "other").unwrap()
        requests(platform)
        _, new = (box | gather(listed, set_variable("A", "2"))).unwrap()
    assert new.value == "2"
    assert requests(platform) == [
        "getVariables",
        "updateVariable",
        "addVariable",
        "getVariables",
        "updateVariable",
        "getVariables",
    ]


def test_gather_volumes(box: Sandbox, platform: local.Platform) -> None:
    """Volumes share the list before and the list after, and a volume that a neighbour moved leaves its path."""
    requests(platform)
    made = (box | gather(set_volume("a", "/a"), set_volume("b", "/b"))).unwrap()
    assert [(each.name, each.path) for each in made] == [("a", "/a"), ("b", "/b")]
    assert requests(platform) == ["getVolumes", "addVolume", "addVolume", "getVolumes"]
    moved = (box | gather(set_volume("a", "/c"), set_volume("b", "/a"), set_volume("new", "/b"))).unwrap()
    assert [(each.name, each.path) for each in moved] == [("a", "/c"), ("b", "/a"), ("new", "/b")]
    assert requests(platform) == ["getVolumes", "updateVolume", "updateVolume", "addVolume", "getVolumes"]
    assert [each.id for each in moved[:2]] == [each.id for each in made]


def test_gather_volume_same_name(box: Sandbox) -> None:
    """A name that a neighbour has just added is moved, and no second volume gets it."""
    for both in (
        gather(set_volume("a", "/a"), set_volume("a", "/b")),
        tap(gather(set_volume("c", "/c"), set_volume("c", "/d"))),
    ):
        assert not isinstance(box | both, Failure)
    stored = (box | list_volumes).unwrap()
    assert sorted((each.name, each.path) for each in stored) == [("a", "/b"), ("c", "/d")]


def test_gather_volume_path_taken(box: Sandbox) -> None:
    """A path is taken only in a new list: another program may have deleted the volume since."""
    old = (box | set_volume("old", "/a")).unwrap()
    taken = box | gather(set_volume("b", "/b"), set_volume("c", "/a"))
    assert isinstance(taken.failure(), PathTaken)
    real = pocketenv.add_volume

    def deleting(*args: Any, **named: Any) -> Any:
        pocketenv.delete_volume(old.id).unwrap()
        return real(*args, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pocketenv_fp.sandbox.volumes.pocketenv.add_volume", deleting)
        made = (box | gather(set_volume("d", "/d"), set_volume("e", "/a"))).unwrap()
    assert [each.path for each in made] == ["/d", "/a"]


def test_gather_volume_other_thread(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list is requested again after another thread has changed the volumes."""
    here, real, calls = threading.get_ident(), support.unsupported, count(1)
    with ThreadPoolExecutor(1) as pool:

        def between(*args: Any) -> Any:
            # The second step of the gather begins, and has not its turn yet.
            if threading.get_ident() == here and next(calls) == 2:
                pool.submit(set_volume, box, "b", "/b").result().unwrap()
            return real(*args)

        monkeypatch.setattr("pocketenv_fp.sandbox.volumes.unsupported", between)
        made = (box | gather(set_volume("a", "/a"), set_volume("b", "/c"))).unwrap()
    assert [(each.name, each.path) for each in made] == [("a", "/a"), ("b", "/c")]
    stored = (box | list_volumes).unwrap()
    assert sorted((each.name, each.path or "") for each in stored) == [("a", "/a"), ("b", "/c")]


def test_gather_services(box: Sandbox, platform: local.Platform) -> None:
    """Changes of services share their lists. Two changes of one service do not."""
    (box | gather(set_service("a", "sleep 9"), set_service("b", "sleep 9"))).unwrap()
    requests(platform)
    stopped = (box | gather(stop_service("a"), stop_service("b"))).unwrap()
    assert [(each.name, each.status) for each in stopped] == [("a", Status.STOPPED), ("b", Status.STOPPED)]
    assert requests(platform) == ["getServices", "stopService", "stopService", "getServices"]
    started, again = (box | gather(start_service("a"), stop_service(stopped[0].id))).unwrap()
    assert (started.status, again.status) == (Status.RUNNING, Status.STOPPED)


def test_set_variable_alone(box: Sandbox) -> None:
    """A set_variable outside gather returns its record."""
    assert not isinstance(box | gather(set_variable("A", "1")), Failure)
    assert (box | set_variable("B", "2")).unwrap().value == "2"
