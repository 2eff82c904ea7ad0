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
def test_set_service_advice(provider: str) -> None:
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


def test_set_service_web_server(box: Sandbox) -> None:
    """A web server answers on its port until it is deleted."""
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


def test_service_process(box: Sandbox) -> None:
    """Stop and restart end the process, start creates a new one."""
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


def test_set_service_existing_name(box: Sandbox) -> None:
    """A set of an existing name changes the record and keeps the process."""
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


def test_set_service_empty_values(box: Sandbox) -> None:
    """Empty values remove the description and the ports."""
    (box | set_service("clock", "sleep 1000", description="old", ports=[8080, 8081])).unwrap()
    assert not (box | set_service("clock", "sleep 1000", description="")).unwrap().description
    assert len((box | list_ports).unwrap()) == 2
    (box | set_service("clock", "sleep 1000", ports=(8081,))).unwrap()
    assert [shown.port for shown in (box | list_ports).unwrap()] == [8081]
    (box | set_service("clock", "sleep 1000", ports=())).unwrap()
    assert (box | list_ports) == Success([])


def test_set_service_requests(box: Sandbox, platform: local.Platform) -> None:
    """A set takes two requests, and four for an existing name."""
    step = set_service("clock", "sleep 1000")
    platform.calls.clear()
    step(box).unwrap()
    assert called(platform) == ["addService", "getServices"]
    platform.calls.clear()
    step(box).unwrap()
    assert called(platform) == ["addService", "getServices", "updateService", "getServices"]


def test_set_service_exposed_port(box: Sandbox) -> None:
    """A port that is exposed already is listed once."""
    (box | expose(8080)).unwrap()
    (box | set_service("web", "sleep 1000", ports=[8080])).unwrap()
    assert [shown.port for shown in (box | list_ports).unwrap()] == [8080]


def test_set_service_container_ports(box: Sandbox, platform: local.Platform) -> None:
    """Ports of the container are refused before a request is sent."""
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


def test_expose_second_port(box: Sandbox) -> None:
    """A second port has no URL."""
    urls = [(box | expose(port)).unwrap() for port in (8080, 8081)]
    assert [url is None for url in urls] == [False, True]
    assert [shown.preview_url for shown in (box | list_ports).unwrap()] == urls


def test_expose_other_provider() -> None:
    """Another provider may expose port 3000."""
    with Server(servers.always(reply(b"{}"))) as server:
        other = Sandbox(id="3f2a", name="other", provider="daytona")
        assert (other | expose(3000, config=client(server.url))) == Success(None)
        assert len(server.seen) == 1


@EACH_CHANGE
def test_service_not_found(
    box: Sandbox,
    other: Sandbox,
    platform: local.Platform,
    change: Callable[[str], Step[Sandbox, Service] | Step[Sandbox, Sandbox]],
) -> None:
    """A missing service is RecordNotFound, and nothing is changed."""
    theirs = (other | set_service("clock", "sleep 1000")).unwrap()
    for wanted in ("clock", theirs.id, "no such service"):
        platform.calls.clear()
        error = change(wanted)(box).failure()
        assert called(platform) == ["getServices"]
        assert isinstance(error, RecordNotFound)
        assert wanted in str(error)
        assert box.name in str(error)
    assert (other | list_services) == Success([theirs])


def test_service_id_before_name(box: Sandbox) -> None:
    """An id wins over an equal name."""
    clock = (box | set_service("clock", "sleep 1000")).unwrap()
    liar = (box | set_service(clock.id, "sleep 2000")).unwrap()
    assert (liar.name, liar.command) == (clock.id, "sleep 2000")
    assert (box | get_service(clock.id)) == Success(clock)
    assert (box | stop_service(clock.id)).unwrap().id == clock.id
    assert (box | get_service(liar.id)).unwrap().status is Status.RUNNING
    assert (box | set_service(clock.id, "sleep 3000")).unwrap().id == liar.id


def test_set_service_stopped_sandbox(box: Sandbox) -> None:
    """A service of a stopped sandbox runs from its next start on."""
    (box | stop).unwrap()
    assert (box | set_service("clock", "sleep 1000")).unwrap().status is Status.STOPPED
    for change in (start_service("clock"), restart_service("clock")):
        error = (box | change).failure()
        assert isinstance(error, ApiError)
        assert error.status == 400
    (box | start).unwrap()
    assert (box | get_service("clock")).unwrap().status is Status.RUNNING


def test_services_by_id(box: Sandbox) -> None:
    """The functions that take ids do the same."""
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


def test_service_other_user(box: Sandbox, platform: local.Platform) -> None:
    """Another user neither sees nor changes a service."""
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


def test_service_invalid_values(box: Sandbox, platform: local.Platform) -> None:
    """Invalid values are refused before a request is sent."""
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


def test_set_service_lost_answer(box: Sandbox, platform: local.Platform) -> None:
    """A lost answer is a Failure, and the add is not retried."""
    platform.faults.add("service.addService", Drop(after_work=True))
    error = (box | set_service("clock", "sleep 1000")).failure()
    assert isinstance(error, TransportError)
    assert error.maybe_sent
    assert [service.name for service in (box | list_services).unwrap()] == ["clock"]


def test_set_service_fails_after_add(box: Sandbox, platform: local.Platform) -> None:
    """A failure after the add is returned."""
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
def test_list_services_unreadable_answer(answer: bytes) -> None:
    """An answer that is no list of services is a DecodeError."""
    with Server(servers.always(reply(answer))) as server:
        assert isinstance((BOX | list_services(config=client(server.url))).failure(), DecodeError)
