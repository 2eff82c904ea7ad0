"""Services of a sandbox: real processes, found by name or id in the sandbox that they belong to."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from uuid import uuid4

import msgspec
import pytest
from returns.result import Success

from pocketenv_fp import (
    ApiError,
    Config,
    DecodeError,
    InvalidInput,
    NotSupported,
    RecordNotFound,
    Sandbox,
    Service,
    Status,
    Step,
    TransportError,
    create,
    delete_service,
    exec,
    expose,
    get_service,
    list_ports,
    list_services,
    local,
    pocketenv,
    restart_service,
    set_service,
    spawn,
    start,
    start_service,
    stop,
    stop_service,
)
from pocketenv_fp.local.faults import Drop, Garbage, Refuse
from tests import servers
from tests.local.wire import eventually
from tests.servers import BOX, Server, client, reply

# Prints its process id, and waits.
WAITS = "echo $$ >> pids; exec sleep 1000"
CHANGES: dict[str, Callable[[str], Step[Sandbox, Service] | Step[Sandbox, Sandbox]]] = {
    "get": get_service,
    "start": start_service,
    "stop": stop_service,
    "restart": restart_service,
    "delete": delete_service,
}
EACH_CHANGE = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)


@pytest.mark.parametrize("provider", ["daytona", "deno", "vercel", "sprites", "modal", "e2b", "hopx", "runloop"])
def test_set_service_advice_works_there(provider: str) -> None:
    """The advice names no operation that the provider does not support either."""
    box = msgspec.structs.replace(BOX, provider=provider)
    advice = str(set_service(box, "web", "sleep 9").failure())
    assert isinstance(spawn(box, "sleep 9").failure(), NotSupported)
    assert "spawn" not in advice
    assert "submit(" in advice


@pytest.fixture
def box(environment: dict[str, str]) -> Sandbox:
    assert environment
    return (create(f"box-{uuid4()}") | start).unwrap()


@pytest.fixture
def other(box: Sandbox) -> Sandbox:
    """Another sandbox of the same owner."""
    return (create(f"{box.name}-other") | start).unwrap()


def output(box: Sandbox, command: str) -> str:
    return (box | exec(command)).unwrap().stdout


def pids(box: Sandbox) -> list[str]:
    return output(box, "cat pids 2>/dev/null || true").split()


def runs(box: Sandbox, pid: str) -> bool:
    return (box | exec(f"kill -0 {pid}")).unwrap().exit_code == 0


def called(platform: local.Platform) -> list[str]:
    return [name.rpartition(".")[2] for name, _ in platform.calls]


def test_a_web_server_answers_on_its_port_from_when_it_is_set_until_it_is_deleted(box: Sandbox) -> None:
    port = servers.free_port()
    url = f"http://127.0.0.1:{port}/"
    (box | exec("echo hello from the box > index.html")).unwrap()
    made = (box | set_service("web", f"exec python3 -m http.server {port}", ports=[port], description="d")).unwrap()
    assert (made.name, made.description, made.status) == ("web", "d", Status.RUNNING)
    assert made.command == f"exec python3 -m http.server {port}"
    assert [shown.port for shown in (box | list_ports).unwrap()] == [port]
    assert eventually(lambda: fetched(url) == b"hello from the box\n")
    assert (box | delete_service("web")) == Success(box)
    assert fetched(url) is None
    assert (box | list_ports) == Success([])
    assert (box | list_services) == Success([])


def fetched(url: str) -> bytes | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            body: bytes = answer.read()
            return body
    except OSError:
        return None


def test_stopping_and_restarting_end_the_process_and_starting_makes_a_new_one(box: Sandbox) -> None:
    (box | set_service("clock", WAITS)).unwrap()
    assert eventually(lambda: len(pids(box)) == 1)
    (first,) = pids(box)
    assert runs(box, first)
    assert (box | stop_service("clock")).unwrap().status is Status.STOPPED
    assert not runs(box, first)
    assert (box | start_service("clock")).unwrap().status is Status.RUNNING
    assert eventually(lambda: len(pids(box)) == 2)
    second = pids(box)[-1]
    assert (box | start_service("clock")).unwrap().status is Status.RUNNING
    assert runs(box, second)
    assert (box | restart_service("clock")).unwrap().status is Status.RUNNING
    assert not runs(box, second)
    assert eventually(lambda: len(pids(box)) == 3)
    assert runs(box, pids(box)[-1])


def test_setting_an_existing_name_describes_it_anew_and_leaves_its_process_alone(box: Sandbox) -> None:
    old = (box | set_service("clock", WAITS, description="old", ports=[8080])).unwrap()
    assert eventually(lambda: len(pids(box)) == 1)
    new = (box | set_service("clock", "echo new > told; exec sleep 1000")).unwrap()
    assert (new.id, new.description, new.status) == (old.id, "old", Status.RUNNING)
    assert new.command == "echo new > told; exec sleep 1000"
    assert (box | list_services) == Success([new])
    assert [shown.port for shown in (box | list_ports).unwrap()] == [8080]
    assert runs(box, pids(box)[0])
    (box | restart_service("clock")).unwrap()
    assert eventually(lambda: output(box, "cat told 2>/dev/null || true") == "new\n")
    assert len(pids(box)) == 1


def test_a_description_and_ports_are_taken_away_by_empty_ones(box: Sandbox) -> None:
    (box | set_service("clock", "sleep 1000", description="old", ports=[8080, 8081])).unwrap()
    assert not (box | set_service("clock", "sleep 1000", description="")).unwrap().description
    assert len((box | list_ports).unwrap()) == 2
    (box | set_service("clock", "sleep 1000", ports=(8081,))).unwrap()
    assert [shown.port for shown in (box | list_ports).unwrap()] == [8081]
    (box | set_service("clock", "sleep 1000", ports=())).unwrap()
    assert (box | list_ports) == Success([])


def test_setting_takes_two_requests_and_four_for_a_name_that_is_there(box: Sandbox, platform: local.Platform) -> None:
    step = set_service("clock", "sleep 1000")
    platform.calls.clear()
    step(box).unwrap()
    assert called(platform) == ["addService", "getServices"]
    platform.calls.clear()
    step(box).unwrap()
    assert called(platform) == ["addService", "getServices", "updateService", "getServices"]


def test_set_service_port_that_is_exposed_is_listed_once(box: Sandbox) -> None:
    (box | expose(8080)).unwrap()
    (box | set_service("web", "sleep 1000", ports=[8080])).unwrap()
    assert [shown.port for shown in (box | list_ports).unwrap()] == [8080]


def test_ports_of_the_container_are_refused_before_sending(box: Sandbox, platform: local.Platform) -> None:
    platform.calls.clear()
    refused = [box | set_service("web", "true", ports=[8080, 3000]), box | expose(3000), box | expose(1024)]
    by_id = [
        pocketenv.add_service(box.id, "w", "true", ports=[3000]),
        pocketenv.update_service("1", "w", "true", ports=[3000]),
    ]
    for result in (*refused, *by_id):
        assert isinstance(result.failure(), InvalidInput)
    assert "Cloudflare's containers use port 3000" in str(refused[0].failure())
    assert called(platform) == []


def test_expose_a_second_port_has_no_url(box: Sandbox) -> None:
    urls = [(box | expose(port)).unwrap() for port in (8080, 8081)]
    assert [url is None for url in urls] == [False, True]
    assert [shown.preview_url for shown in (box | list_ports).unwrap()] == urls


def test_expose_port_3000_of_another_provider_is_sent() -> None:
    with Server(servers.always(reply(b"{}"))) as server:
        other = Sandbox(id="3f2a", name="other", provider="daytona")
        assert (other | expose(3000, config=client(server.url))) == Success(None)
        assert len(server.seen) == 1


@EACH_CHANGE
def test_a_service_that_is_not_there_is_not_found_and_nothing_is_changed(
    box: Sandbox,
    other: Sandbox,
    platform: local.Platform,
    change: Callable[[str], Step[Sandbox, Service] | Step[Sandbox, Sandbox]],
) -> None:
    theirs = (other | set_service("clock", "sleep 1000")).unwrap()
    for wanted in ("clock", theirs.id, "no such service"):
        platform.calls.clear()
        error = change(wanted)(box).failure()
        assert called(platform) == ["getServices"]
        assert isinstance(error, RecordNotFound)
        assert wanted in str(error)
        assert box.name in str(error)
    assert (other | list_services) == Success([theirs])


def test_an_id_wins_over_a_name_that_looks_like_it(box: Sandbox) -> None:
    clock = (box | set_service("clock", "sleep 1000")).unwrap()
    liar = (box | set_service(clock.id, "sleep 2000")).unwrap()
    assert (liar.name, liar.command) == (clock.id, "sleep 2000")
    assert (box | get_service(clock.id)) == Success(clock)
    assert (box | stop_service(clock.id)).unwrap().id == clock.id
    assert (box | get_service(liar.id)).unwrap().status is Status.RUNNING
    assert (box | set_service(clock.id, "sleep 3000")).unwrap().id == liar.id


def test_a_service_of_a_stopped_sandbox_is_kept_and_runs_from_the_next_start_on(box: Sandbox) -> None:
    (box | stop).unwrap()
    assert (box | set_service("clock", "sleep 1000")).unwrap().status is Status.STOPPED
    for change in (start_service("clock"), restart_service("clock")):
        error = (box | change).failure()
        assert isinstance(error, ApiError)
        assert error.status == 400
    (box | start).unwrap()
    assert (box | get_service("clock")).unwrap().status is Status.RUNNING


def test_the_functions_that_take_ids_do_the_same(box: Sandbox) -> None:
    assert pocketenv.add_service(box.id, "clock", WAITS, description="d", ports=[8080]) == Success(None)
    (clock,) = pocketenv.list_services(box.id).unwrap()
    assert (clock.name, clock.command, clock.description) == ("clock", WAITS, "d")
    assert pocketenv.update_service(clock.id, "watch", "sleep 1000", ports=()) == Success(None)
    (watch,) = pocketenv.list_services(box.id).unwrap()
    assert (watch.id, watch.name, watch.command, watch.description) == (clock.id, "watch", "sleep 1000", "d")
    assert (box | list_ports) == Success([])
    for change, status in (
        (pocketenv.stop_service, Status.STOPPED),
        (pocketenv.start_service, Status.RUNNING),
        (pocketenv.restart_service, Status.RUNNING),
    ):
        assert change(clock.id) == Success(None)
        assert [service.status for service in pocketenv.list_services(box.id).unwrap()] == [status]
    assert pocketenv.delete_service(clock.id) == Success(None)
    assert pocketenv.delete_service(clock.id).failure() == RecordNotFound(
        404, "XRPCNotSupported", "Service not found", "service.deleteService"
    )


def test_nobody_else_sees_or_changes_a_service(box: Sandbox, platform: local.Platform) -> None:
    clock = (box | set_service("clock", "sleep 1000")).unwrap()
    somebody = Config(token=platform.new_user("somebody-else.test"))
    # An empty list, as for a sandbox that is not there.
    assert list_services(box, config=somebody) == Success([])
    for result in (
        set_service(box, "clock", "sleep 2000", config=somebody),
        delete_service(box, clock.id, config=somebody),
        pocketenv.stop_service(clock.id, config=somebody),
        pocketenv.delete_service(clock.id, config=somebody),
    ):
        error = result.failure()
        assert isinstance(error, ApiError)
        assert error.status == 404
    assert (box | list_services) == Success([clock])


def test_wrong_values_are_failures_and_send_nothing(box: Sandbox, platform: local.Platform) -> None:
    platform.calls.clear()
    for wrong, field in (
        (set_service("", "true"), "name"),
        (set_service(" web", "true"), "name"),
        (set_service("web", ""), "command"),
        (set_service("web", "true", ports=[8080, 80]), "ports"),
        (get_service(""), "name_or_id"),
    ):
        error = wrong(box).failure()
        assert isinstance(error, InvalidInput)
        assert error.field == field
    assert called(platform) == []
    with pytest.raises(TypeError, match="ports"):
        set_service("web", "true", ports=["8080"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType, reportCallIssue]


def test_a_lost_answer_is_told_and_nothing_is_added_twice(box: Sandbox, platform: local.Platform) -> None:
    platform.faults.add("service.addService", Drop(after_work=True))
    error = (box | set_service("clock", "sleep 1000")).failure()
    assert isinstance(error, TransportError)
    assert error.maybe_sent
    assert [service.name for service in (box | list_services).unwrap()] == ["clock"]


def test_what_goes_wrong_behind_the_add_is_the_failure(box: Sandbox, platform: local.Platform) -> None:
    platform.faults.add("service.getServices", Garbage())
    assert isinstance((box | set_service("clock", "sleep 1000")).failure(), DecodeError)
    (box | set_service("other", "sleep 1000")).unwrap()
    platform.faults.add("service.updateService", Refuse(400))
    error = (box | set_service("clock", "sleep 2000")).failure()
    assert isinstance(error, ApiError)
    assert (error.status, error.error, error.operation) == (400, "InvalidRequest", "service.updateService")
    assert {service.command for service in (box | list_services).unwrap()} == {"sleep 1000"}


@pytest.mark.parametrize(
    "answer", [b"{}", b"[]", b'{"services": null}', b'{"services": [{"id": "1", "name": "web"}]}', b""]
)
def test_an_answer_that_is_no_list_of_services_is_not_understood(answer: bytes) -> None:
    with Server(servers.always(reply(answer))) as server:
        assert isinstance((BOX | list_services(config=client(server.url))).failure(), DecodeError)
