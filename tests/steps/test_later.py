"""One list for the records of several steps in a `gather`: the values are those of separate steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from returns.result import Failure, Result, Success

from pocketenv_fp import (
    Config,
    InvalidInput,
    NotLoggedIn,
    PocketenvError,
    RecordNotFound,
    Sandbox,
    Status,
    Step,
    Variable,
    create,
    delete_variable,
    exec,
    gather,
    get_file,
    get_secret,
    get_variable,
    keep,
    list_variables,
    local,
    pocketenv,
    refresh,
    set_file,
    set_secret,
    set_service,
    set_variable,
    start,
    tap,
    using,
)
from pocketenv_fp.config import settings
from pocketenv_fp.steps.later import Later

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

    later = Later("records", "name", "A", each, lambda: Success(None))
    assert later.listed({"A"}) == Success({"A": record})


def test_later_looked_login() -> None:
    """A record that is looked up later has the login of its step."""
    with using(Config(token="inner")):
        later = Later("records", "name", "A", lambda: iter(()), lambda: settings().map(lambda known: known.token))
    with using(Config(token="outer")):
        assert later.looked() == Success("inner")


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


def test_gather_parallel_records(box: Sandbox) -> None:
    """Gather returns the records with parallel=True too."""
    setting = gather(set_variable("A", "1"), set_variable("B", "2"), parallel=True)
    assert [each.value for each in (box | setting).unwrap()] == ["1", "2"]


def test_set_variable_alone(box: Sandbox) -> None:
    """A set_variable outside gather returns its record."""
    assert not isinstance(box | gather(set_variable("A", "1")), Failure)
    assert (box | set_variable("B", "2")).unwrap().value == "2"
