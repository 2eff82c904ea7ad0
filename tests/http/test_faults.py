"""The library against every fault of the embedded platform: one typed Failure, and no work done twice."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator

import pytest
import requests
from returns.result import Failure, Success

from pocketenv_fp import (
    Config,
    DecodeError,
    PocketenvError,
    RateLimited,
    Sandbox,
    ServerError,
    ShellBusy,
    ShellLost,
    TransportError,
    create,
    exec,
    get_sandbox,
    local,
    start,
)
from pocketenv_fp.local.faults import Cut, Drop, Fault, Garbage, Html, Refuse, Slow, Truncated
from tests import servers
from tests.local.wire import eventually
from tests.servers import VIEW, Reply, Server, reply

pytestmark = pytest.mark.usefixtures("no_pauses")

EXEC = "sandbox.exec"
CREATE = "sandbox.createSandbox"
LOOK = "sandbox.getSandbox"


@pytest.fixture(scope="module")
def place() -> Iterator[local.Platform]:
    with local.platform() as running:
        yield running


@pytest.fixture(autouse=True)
def _fresh(place: local.Platform) -> Iterator[None]:
    """No test waits because of a 429 in another test."""
    servers.forget()
    yield
    place.faults.clear()
    servers.forget()


def client(place: local.Platform, *, retries: int = 3, read_timeout: float = 20) -> Config:
    return Config(api_url=place.url, token=place.token, retries=retries, read_timeout=read_timeout)


@pytest.fixture(scope="module")
def box(place: local.Platform) -> Sandbox:
    return (create("box", config=client(place)) | start(config=client(place))).unwrap()


def asked(place: local.Platform, method: str) -> int:
    """How many requests for a method arrived."""
    return sum(name == f"io.pocketenv.{method}" for name, _ in place.calls)


def shape(error: PocketenvError) -> tuple[type[PocketenvError], object]:
    """The kind of an error, and the fields that distinguish it from others of that kind."""
    match error:
        case TransportError(kind=kind, maybe_sent=True):
            return TransportError, kind
        case RateLimited(retry_after=seconds):
            return RateLimited, seconds
        case ServerError(status=status):
            return ServerError, status
        case _:
            return type(error), None


BROKEN: dict[Fault, tuple[type[PocketenvError], object]] = {
    Drop(): (TransportError, "dropped"),
    Drop(reset=True): (TransportError, "dropped"),
    Drop(after_work=True): (TransportError, "dropped"),
    Drop(after_work=True, reset=True): (TransportError, "dropped"),
    Cut(bytes=0): (TransportError, "dropped"),
    Cut(): (TransportError, "dropped"),
    Cut(reset=True): (TransportError, "dropped"),
    Truncated(): (DecodeError, None),
    Garbage(): (DecodeError, None),
    Garbage(body=b""): (DecodeError, None),
    Garbage(after_work=True): (DecodeError, None),
    Html(): (DecodeError, None),
    Html(502): (ServerError, 502),
    Html(504, after_work=True): (ServerError, 504),
    Refuse(502): (ServerError, 502),
    Refuse(503): (ServerError, 503),
    Refuse(503, retry_after=0): (ServerError, 503),
    Refuse(502, after_work=True): (ServerError, 502),
    Refuse(429, retry_after=3600): (RateLimited, 3600.0),
}


@pytest.mark.parametrize(("fault", "error"), BROKEN.items(), ids=repr)
def test_exec_faults(
    place: local.Platform, box: Sandbox, fault: Fault, error: tuple[type[PocketenvError], object]
) -> None:
    """Each fault is one Failure, and the command is sent once."""
    before = asked(place, EXEC)
    with place.faults.on(EXEC, fault) as planned:
        result = exec(box, "true", config=client(place))
    assert shape(result.failure()) == error
    assert asked(place, EXEC) - before == planned.played == 1
    assert planned.worked == int(fault.works)


@pytest.mark.parametrize(("times", "error"), [(1, ServerError), (2, ShellLost)])
def test_exec_500(place: local.Platform, box: Sandbox, times: int, error: type[PocketenvError]) -> None:
    """After a 500 the smallest command is sent, to know the cause: the command itself is never sent twice."""
    before = asked(place, EXEC)
    with place.faults.on(EXEC, Refuse(500), times=times) as planned:
        result = exec(box, "echo once >>sent", config=client(place))
    assert type(result.failure()) is error
    assert (asked(place, EXEC) - before, planned.played) == (2, times)
    assert exec(box, "cat sent", config=client(place)).unwrap().exit_code == 1


@pytest.mark.parametrize("fault", [*BROKEN, Refuse(500)], ids=repr)
def test_create_faults(place: local.Platform, fault: Fault) -> None:
    """A create is sent once and makes one sandbox at most."""
    before = asked(place, CREATE)
    with place.faults.on(CREATE, fault) as planned:
        assert isinstance(create("other", config=client(place)), Failure)
    assert asked(place, CREATE) - before == planned.played == 1
    assert planned.worked == int(fault.works)


@pytest.mark.parametrize(
    "fault",
    [
        Drop(),
        Drop(reset=True),
        Drop(after_work=True),
        Cut(bytes=0),
        Cut(),
        Cut(reset=True),
        Refuse(502),
        Refuse(503),
        Refuse(503, retry_after=0),
        Refuse(504),
        Html(502),
        Html(503, after_work=True),
        Refuse(429, retry_after=0),
    ],
    ids=repr,
)
def test_get_sandbox_transient_faults(place: local.Platform, box: Sandbox, fault: Fault) -> None:
    """A query is sent again after a transient fault, up to the configured retries."""
    with place.faults.on(LOOK, fault, times=2) as planned:
        assert get_sandbox(box.id, config=client(place, retries=2)).unwrap() is not None
        assert planned.played == 2
    with place.faults.on(LOOK, fault) as planned:
        assert isinstance(get_sandbox(box.id, config=client(place, retries=1)), Failure)
        assert planned.played == 2


@pytest.mark.parametrize(
    "fault", [Truncated(), Garbage(), Html(), Refuse(500), Refuse(400), Refuse(429, retry_after=3600)], ids=repr
)
def test_get_sandbox_permanent_faults(place: local.Platform, box: Sandbox, fault: Fault) -> None:
    """A query is not sent again after a permanent fault."""
    with place.faults.on(LOOK, fault) as planned:
        assert isinstance(get_sandbox(box.id, config=client(place)), Failure)
        assert planned.played == 1


BOX = reply(VIEW).raw
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BREAKS = {
    "closed in the body": Reply(BOX[:-10], then="close"),
    "reset in the body": Reply(BOX[:-10], then="reset"),
    "closed between two chunks": Reply(CHUNKS + b"2\r\n{}\r\n", then="close"),
    "closed in a chunk": Reply(CHUNKS + b"20\r\n{}", then="close"),
    "closed in the body of a refusal": reply(b"{}", 404, {"Content-Length": "20"})._replace(then="close"),
}


@pytest.mark.parametrize("broken", BREAKS.values(), ids=BREAKS)
def test_send_truncated_body(broken: Reply) -> None:
    """A query is sent again after a truncated body, and a procedure is not."""
    with Server(servers.in_turn(broken, broken, Reply(BOX))) as server:
        assert isinstance(get_sandbox("3f2a", config=servers.client(server.url, retries=2)), Success)
        assert server.verbs == ["GET"] * 3
    for retries in (0, 1):
        with Server(servers.always(broken)) as server:
            error = get_sandbox("3f2a", config=servers.client(server.url, retries=retries)).failure()
            assert shape(error) == (TransportError, "dropped")
            assert server.verbs == ["GET"] * (retries + 1)
    with Server(servers.always(broken)) as server:
        assert shape(exec(servers.BOX, "true", config=servers.client(server.url, retries=3)).failure()) == (
            TransportError,
            "dropped",
        )
        assert server.verbs == ["POST"]


def test_get_sandbox_shared_retries() -> None:
    """Truncated bodies and other faults use up the same retries."""
    troubles = (reply(b"", 503, {"Retry-After": "0"}), BREAKS["closed in the body"], Reply(then="close"))
    for retries, kind in ((3, Success), (2, Failure)):
        with Server(servers.in_turn(*troubles, Reply(BOX))) as server:
            assert isinstance(get_sandbox("3f2a", config=servers.client(server.url, retries=retries)), kind)
            assert server.verbs == ["GET"] * (retries + 1)


def test_get_sandbox_stalled_body() -> None:
    """A stalled body is a timeout, and the query is not sent again."""
    with Server(servers.always(Reply(BOX[:-10]))) as server:
        error = get_sandbox("3f2a", config=servers.client(server.url, retries=3, read_timeout=0.2)).failure()
        assert shape(error) == (TransportError, "timeout")
        assert server.verbs == ["GET"]


def test_send_oversized_response(monkeypatch: pytest.MonkeyPatch) -> None:
    """A response too large for memory is a Failure, and is not requested again."""
    monkeypatch.setattr("pocketenv_fp.http.transport.LARGEST_ANSWER", 1 << 20)
    fits = json.dumps({"stdout": "x" * (1 << 19), "stderr": "", "exitCode": 0}).encode()
    packed = {"Content-Encoding": "gzip"}
    bombs = {
        "plain": reply(b" " * ((1 << 20) + 1)),
        "packed": reply(gzip.compress(b" " * (50 << 20)), headers=packed),
        "in chunks": Reply(CHUNKS + b"200000\r\n" + b" " * 0x200000 + b"\r\n"),
        "an error": reply(gzip.compress(b" " * (50 << 20)), 500, packed),
    }
    with Server(servers.in_turn(*bombs.values(), reply(fits))) as server:
        config = servers.client(server.url, retries=3)
        for seen in range(1, len(bombs) + 1):
            error = get_sandbox("3f2a", config=config).failure()
            assert shape(error) == (TransportError, "protocol")
            assert "larger than" in str(error)
            assert len(server.seen) == seen
        assert len(exec(servers.BOX, "true", config=config).unwrap().stdout) == 1 << 19


def test_exec_after_429(place: local.Platform, box: Sandbox) -> None:
    """A command is sent again after a 429, and runs once."""
    with place.faults.on(EXEC, Refuse(429, retry_after=1), times=1) as planned:
        begun = time.monotonic()
        assert exec(box, "echo ran", config=client(place)).unwrap().stdout == "ran\n"
        assert time.monotonic() - begun >= 1
    assert (planned.played, planned.worked) == (1, 1)


def test_exec_repeated_429(place: local.Platform, box: Sandbox) -> None:
    """Repeated 429s end as RateLimited, and the command does not run."""
    with place.faults.on(EXEC, Refuse(429, retry_after=0)) as planned:
        error = exec(box, "true", config=client(place, retries=2)).failure()
    assert shape(error) == (RateLimited, 0.0)
    assert (planned.played, planned.worked) == (3, 0)


@pytest.mark.parametrize("before_work", [False, True])
def test_exec_slow_response(
    place: local.Platform, box: Sandbox, monkeypatch: pytest.MonkeyPatch, *, before_work: bool
) -> None:
    """A slow response is awaited up to the timeout, and the command is sent once."""
    with place.faults.on(EXEC, Slow(0.2, before_work=before_work)) as planned:
        assert isinstance(exec(box, "true", config=client(place)), Success)
        assert (planned.played, planned.worked) == (1, 1)
    with place.faults.on(EXEC, Slow(1.5, before_work=before_work)) as planned:
        # An answer is waited for as long as the command may take, and a read time-out more.
        monkeypatch.setattr("pocketenv_fp.sandbox.commands.exec.GRACE_SECONDS", 0)
        error = exec(box, "true", timeout=0.1, config=client(place, read_timeout=0.2)).failure()
        assert isinstance(error, ShellBusy)
        # The platform did it all the same: that is what the error warns of.
        assert eventually(lambda: planned.worked == 1)
        assert planned.played == 1


def test_exec_after_fault(place: local.Platform, box: Sandbox) -> None:
    """The next call works after each fault."""
    for fault in BROKEN:
        place.faults.add(EXEC, fault)
        exec(box, "true", config=client(place, retries=0))
        servers.forget()
        assert exec(box, "echo on", config=client(place, retries=0)).unwrap().stdout == "on\n"


def test_exec_after_dropped_connection(place: local.Platform, box: Sandbox) -> None:
    """The next call opens a new connection after a dropped one."""
    # Without forgetting the pool in between: its broken connection must not be used again.
    for fault in (Drop(), Drop(reset=True), Cut(), Cut(reset=True)):
        place.faults.add(EXEC, fault)
        assert isinstance(exec(box, "true", config=client(place)), Failure)
        assert isinstance(exec(box, "true", config=client(place)), Success)


def test_faults_hide_token(place: local.Platform, box: Sandbox) -> None:
    """Neither a fault nor its error shows the token."""
    for fault in BROKEN:
        with place.faults.on(EXEC, fault):
            error = exec(box, "true", config=client(place)).failure()
        assert place.token not in f"{error!r}{error}{place.faults!r}{place.faults.seen!r}"


def test_faults_other_client(place: local.Platform) -> None:
    """Other clients get the faults too."""
    with place.faults.on("*", Drop()), pytest.raises(requests.ConnectionError):
        requests.get(f"{place.url}/xrpc/io.pocketenv.sandbox.getSandboxes", timeout=20)
