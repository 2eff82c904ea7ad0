"""Time limits: that they end whatever is waited for, say what was under way, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from returns.result import Failure, Result, Success

from pocketenv_fp import (
    Config,
    DeadlineExceeded,
    PocketenvError,
    RateLimited,
    Sandbox,
    WaitTimeout,
    copy_to,
    create,
    download,
    ephemeral,
    exec,
    fan_out,
    get_sandbox,
    iter_sandboxes_by_actor,
    local,
    managed,
    me,
    or_else,
    recover,
    retrying,
    start,
    stdout,
    stop,
    upload,
    using,
    wait_until_running,
    within,
)
from pocketenv_fp.config import settings
from pocketenv_fp.http import storage
from pocketenv_fp.http.transport import transport
from pocketenv_fp.local.faults import Drop, Refuse, Slow
from pocketenv_fp.runtime.deadline import limited, nap, remaining, unlimited
from pocketenv_fp.sandbox.copying import delivery, departure
from pocketenv_fp.sandbox.copying.remote import End
from tests import servers
from tests.local.wire import eventually
from tests.servers import BOX, VIEW, Reply, Server, reply, under

# Long enough that what outlasts it has not been ended, and far shorter than what is waited for.
SOON = 0.5
MUCH_LATER = 15.0  # what is waited for takes 20 s and more


@pytest.fixture(scope="module")
def place() -> Iterator[local.Platform]:
    with local.platform(boot_delay=20) as running:
        yield running


@pytest.fixture
def config(place: local.Platform) -> Iterator[Config]:
    """A login to a platform of this file's own, which all calls use."""
    mine = Config(
        api_url=place.url, storage_url=place.storage_url, token=place.token, public_key=place.public_key, retries=3
    )
    with using(mine):
        yield mine
    place.faults.clear()
    place.remove_sandboxes()


@pytest.fixture
def box(config: Config) -> Sandbox:
    del config
    return (create("my-box") | start).unwrap()


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every archive be too large to travel in a line."""
    monkeypatch.setattr(delivery, "SMALL", 0)
    monkeypatch.setattr(departure, "SMALL", -1)


def late(result: Result[object, PocketenvError], began: float) -> DeadlineExceeded:
    assert time.monotonic() - began < MUCH_LATER
    error = result.failure()
    assert isinstance(error, DeadlineExceeded), error
    assert error.seconds == SOON
    return error


def left(place: local.Platform) -> int:
    del place
    return sum(1 for _ in iter_sandboxes_by_actor(me().unwrap().did))


def test_within_in_time(box: Sandbox) -> None:
    """A step that ends in time has its usual result."""
    assert within(60, exec("echo hello") | stdout)(box) == Success("hello\n")
    failed = within(60, exec("exit 3", check=True))(box)
    assert failed == exec("exit 3", check=True)(box)


def test_within_command(box: Sandbox, place: local.Platform) -> None:
    """A command is abandoned at the deadline and not retried."""
    with place.faults.on("sandbox.exec", Slow(0), times=100) as planned:
        began = time.monotonic()
        error = late(within(SOON, exec("sleep 30"))(box), began)
    assert (error.operation, error.maybe_sent) == ("sandbox.exec", True)
    assert planned.played == 1
    assert "a command may still run" in str(error)


def test_limited_sends_nothing_late(box: Sandbox, place: local.Platform) -> None:
    """After the deadline no request is sent."""
    place.faults.add("sandbox.exec", Slow(1))
    with limited(SOON):
        began = time.monotonic()
        first, second = exec(box, "true"), stop(box)
    assert late(first, began).maybe_sent
    assert late(second, began) == DeadlineExceeded(SOON, "sandbox.stopSandbox")
    assert "not sent" in str(second.failure())
    assert box | exec("true") == exec("true")(box), "afterwards there is time again, and it runs still"


def test_within_wait_until_running(config: Config) -> None:
    """The deadline ends the wait for a running sandbox."""
    del config
    began = time.monotonic()
    slow = create("my-box", provider="daytona") | start
    error = late(slow | within(SOON, wait_until_running(timeout=60)), began)
    assert not error.maybe_sent or error.operation == "sandbox.getSandbox"


def test_within_shorter_wait_timeout(config: Config) -> None:
    """A shorter timeout of the wait itself is a WaitTimeout."""
    del config
    error = (create("my-box", provider="daytona") | within(60, wait_until_running(timeout=0.2))).failure()
    assert error == WaitTimeout(0.2, "INITIALIZING")


def test_within_fan_out_waits(config: Config) -> None:
    """The deadline ends the waits of a whole fleet together."""
    del config
    boxes = [create(f"box-{number}", provider="daytona") for number in range(6)]
    began = time.monotonic()
    results = fan_out(within(SOON, wait_until_running), boxes)
    assert {type(late(result, began)) for result in results} == {DeadlineExceeded}


def test_within_long_retry_after(box: Sandbox, place: local.Platform) -> None:
    """A Retry-After beyond the deadline is not waited for."""
    with place.faults.on("sandbox.exec", Refuse(429, retry_after=20)) as planned:
        began = time.monotonic()
        error = late(within(SOON, exec("true"))(box), began)
    assert (error.operation, error.maybe_sent) == ("sandbox.exec", False)
    assert planned.played == 1
    _forget_the_pause(place)


def _forget_the_pause(place: local.Platform) -> None:
    limiter = transport(under(Config(api_url=place.url, retries=3), settings).unwrap()).limiter
    limiter._paused_until = 0.0  # pyright: ignore[reportPrivateUsage]  # the platform did not mean it


def test_within_rate_limit() -> None:
    """The deadline ends the wait for the rate limit, before the request is sent."""
    with local.platform(rate_limit=3) as strict:
        config = Config(api_url=strict.url, token=strict.token)
        for _ in range(3):
            get_sandbox("x", config=config)
        began, sent = time.monotonic(), len(strict.calls)
        error = late(within(SOON, get_sandbox(config=config))("x"), began)
        assert (error.operation, error.maybe_sent) == ("sandbox.getSandbox", False)
        assert len(strict.calls) == sent


def test_within_query_retries(box: Sandbox, place: local.Platform) -> None:
    """Retries of a query end with the deadline."""
    with place.faults.on("sandbox.getSandbox", Refuse(503), times=100) as planned, using(Config(retries=50)):
        began = time.monotonic()
        result = within(SOON, get_sandbox)(box.id)
    assert time.monotonic() - began < MUCH_LATER
    assert isinstance(result, Failure)
    assert 1 <= planned.played < 10


@pytest.mark.parametrize("answer", servers.DRIBBLING.values(), ids=servers.DRIBBLING)
def test_within_slow_response(answer: Reply) -> None:
    """The deadline holds for a response that sends a byte now and then."""
    # A byte comes far more often than any time-out of a socket.
    with Server(servers.always(answer)) as server:
        began = time.monotonic()
        error = late(within(SOON, exec("true", config=servers.client(server.url)))(BOX), began)
        assert (error.operation, error.maybe_sent) == ("sandbox.exec", True)
        assert server.verbs == ["POST"]


def test_within_body() -> None:
    """The body of a response has the time that its headers left."""
    stalled = Reply(servers.OK + b"Content-Length: 100\r\n\r\n   ", wait=60)
    with Server(servers.always(stalled)) as server:
        error = within(2, exec("true", config=servers.client(server.url, read_timeout=50)))(BOX).failure()
        assert error == DeadlineExceeded(2, "sandbox.exec", maybe_sent=True)


def test_within_slow_download(tmp_path: Path) -> None:
    """The deadline ends a slow download, and its files are removed on both sides."""

    def answer(request: servers.Request) -> Reply:
        if "sandbox.exec" in request.path:
            return reply(b'{"stdout": "directory large\\n\\u001e", "stderr": "\\u001e", "exitCode": 0}')
        if request.verb == "POST":
            return reply(b'{"uuid": "3f"}')
        return Reply(servers.OK + b"Content-Length: 100\r\n\r\n", slowly=b"\x1f" * 100)

    with Server(answer) as server:
        began = time.monotonic()
        fetch = download("there", tmp_path / "back", config=servers.client(server.url))
        # Time enough for the packing, which comes before.
        error = within(1, fetch)(BOX).failure()
        assert time.monotonic() - began < MUCH_LATER
        assert error == DeadlineExceeded(1, "storage.take", maybe_sent=True)
        # A look, what is staged, the packing, the archive; and what was staged is removed.
        assert server.verbs == ["POST", "POST", "POST", "GET", "POST"]
    assert list(tmp_path.iterdir()) == []


def test_limited_stalled_upload() -> None:
    """The deadline ends an upload that the server stops reading."""
    done = threading.Event()

    def read(listener: socket.socket) -> None:
        with listener.accept()[0] as connection:
            until = time.monotonic() + 1.5
            while time.monotonic() < until and connection.recv(65536):
                done.wait(0.01)
            done.wait(30)

    def pieces() -> Generator[bytes]:
        for _ in range(10_000):
            yield bytes(65536)

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        pool.submit(read, listener)
        config = Config(
            storage_url=f"http://127.0.0.1:{listener.getsockname()[1]}", token=servers.TOKEN, connect_timeout=20
        )
        began = time.monotonic()
        with limited(2):
            error = under(config, storage.put, pieces).failure()
        took = time.monotonic() - began
        done.set()
    assert error == DeadlineExceeded(2, "storage.put", maybe_sent=True)
    assert took < MUCH_LATER


def test_within_keeps_connection() -> None:
    """A slow response that ends in time is complete, and its connection is reused."""
    slow = Reply(
        servers.OK + f"Content-Length: {len(servers.RAN)}\r\n\r\n".encode() + servers.RAN[:-3], slowly=servers.RAN[-3:]
    )
    with Server(servers.always(slow)) as server:
        config = servers.client(server.url)
        assert within(60, exec("true", config=config) | stdout)(BOX) == Success("hello")
        assert exec(BOX, "true", config=config).unwrap().stdout == "hello"
        assert server.connections == 1


def test_within_no_connection() -> None:
    """The deadline ends a connection attempt."""
    with servers.deaf() as url:
        began = time.monotonic()
        config = Config(api_url=url, token=servers.TOKEN, connect_timeout=20, retries=0)
        error = late(within(SOON, get_sandbox(config=config))("x"), began)
        assert not error.maybe_sent


def test_within_other_failure() -> None:
    """Other failures are returned as they are."""
    with Server(servers.always(reply(b"{}", 429, {"Retry-After": "900"}))) as server:
        error = within(60, get_sandbox(config=servers.client(server.url)))("x").failure()
        assert isinstance(error, RateLimited)


def test_within_nested(box: Sandbox) -> None:
    """The earliest deadline counts."""
    began = time.monotonic()
    late(within(60, within(SOON, exec("sleep 30")))(box), began)
    late(within(SOON, within(60, exec("sleep 30")))(box), began)


def test_within_or_else(box: Sandbox, place: local.Platform) -> None:
    """A fallback outside within has its own time, and one inside shares the deadline."""
    ran = box | or_else(within(SOON, exec("sleep 2")), exec("echo other"), on=DeadlineExceeded) | stdout
    assert ran == Success("other\n")
    place.faults.add("sandbox.exec", Slow(1))
    began = time.monotonic()
    late(box | within(SOON, or_else(exec("true"), exec("echo other"))), began)
    assert box | recover(within(SOON, exec("sleep 30") | stdout), "none") == Success("none")


def test_retrying_within(config: Config) -> None:
    """Each attempt has its own deadline if within is inside retrying."""
    answers = servers.in_turn(Reply(b"", wait=1, then="close"), reply(VIEW))
    with Server(answers) as server:
        looking = get_sandbox(config=servers.client(server.url))
        result = retrying(within(SOON, looking), 3, on=DeadlineExceeded, delay=0)("x")
        assert result.unwrap() is not None
        assert server.verbs == ["GET", "GET"]
    assert config.retries == 3


def test_within_retrying(config: Config) -> None:
    """The deadline ends all attempts and their pauses."""
    del config
    began = time.monotonic()
    error = within(SOON, retrying(get_sandbox(config=Config(api_url="http://127.0.0.1:9", retries=0)), 5, delay=20))(
        "x"
    )
    late(error, began)


def test_within_releases(place: local.Platform, config: Config) -> None:
    """Sandboxes are deleted although the time is over."""
    del config
    for pipeline in (
        within(SOON, ephemeral(start | exec("sleep 30"))),
        within(SOON, managed(start | exec("sleep 30"))),
        ephemeral(within(SOON, start | exec("sleep 30"))),
    ):
        began = time.monotonic()
        late(pipeline("my-box"), began)
        assert left(place) == 0


def test_within_create(place: local.Platform, config: Config) -> None:
    """A sent create is not abandoned, and its sandbox is deleted afterwards."""
    del config
    place.faults.add("sandbox.createSandbox", Slow(SOON + 0.5))
    began = time.monotonic()
    error = late(within(SOON, create)("my-box"), began)
    assert error.operation == "sandbox.putPreferences"
    assert left(place) == 0


def test_within_create_unsent() -> None:
    """A create that is not sent yet is abandoned at the deadline."""
    began = time.monotonic()
    with local.platform(rate_limit=3) as strict:
        config = Config(api_url=strict.url, token=strict.token)
        for _ in range(3):
            get_sandbox("x", config=config)
        error = late(within(SOON, create(config=config))("my-box"), began)
        assert error == DeadlineExceeded(SOON, "sandbox.createSandbox")
    with servers.deaf() as url:
        config = Config(api_url=url, token=servers.TOKEN, connect_timeout=20, retries=0)
        began = time.monotonic()
        assert not late(within(SOON, create(config=config))("my-box"), began).maybe_sent


def test_within_create_lock(place: local.Platform, config: Config) -> None:
    """The deadline ends the wait for another create."""
    repo = "https://example.com/a/repository"
    with place.faults.on("sandbox.createSandbox", Slow(2)) as planned, ThreadPoolExecutor(1) as pool:
        first = pool.submit(create(repo=repo, config=config), "first")
        while not planned.played:
            time.sleep(0.01)
        began = time.monotonic()
        error = late(within(SOON, create(repo=repo))("second"), began)
        assert not first.done()
        assert error == DeadlineExceeded(SOON, "sandbox.createSandbox")
        assert isinstance(first.result(), Success)
    assert isinstance(within(20, create(repo=repo, reuse=True))("third"), Success)
    assert left(place) == 1


def test_within_create_undone(place: local.Platform, config: Config) -> None:
    """A create is undone after the deadline, although the response to its deletion is lost."""
    del config
    # The response to the deletion is lost: only a lookup shows that nothing is left to report.
    place.faults.add("sandbox.createSandbox", Slow(SOON + 0.5))
    place.faults.add("sandbox.deleteSandbox", Drop(after_work=True))
    began = time.monotonic()
    error = late(within(SOON, create)("my-box"), began)
    assert not hasattr(error, "__notes__")
    assert left(place) == 0


def test_limited_create_late(place: local.Platform, config: Config) -> None:
    """A create does not begin after the deadline."""
    del config
    with limited(SOON):
        time.sleep(SOON)
        result = create("my-box")
    assert result.failure() == DeadlineExceeded(SOON, "sandbox.createSandbox")
    assert left(place) == 0


@pytest.mark.usefixtures("large")
def test_within_copies(box: Sandbox, place: local.Platform, tmp_path: Path) -> None:
    """The deadline ends uploads and downloads."""
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    there = upload(box, tmp_path, "there").unwrap()
    assert there
    for fault, copy in (
        ("storage", upload(tmp_path, "again")),
        ("storage", download("there", tmp_path / "back")),
    ):
        with place.faults.on("/cp", Slow(2), times=100):
            began = time.monotonic()
            assert fault
            late(within(SOON, copy)(box), began)
    assert not (tmp_path / "back").exists()


def test_limited_upload_maybe_sent(config: Config, place: local.Platform) -> None:
    """An upload whose response is lost counts as maybe sent, although its retry was not sent."""

    def pieces() -> Generator[bytes]:
        yield b"archive"

    with place.faults.on("/cp", Drop(after_work=True), times=100) as planned, limited(SOON), using(Config(retries=50)):
        began = time.monotonic()
        result = storage.put(pieces)
    error = late(result, began)
    assert planned.played
    assert (error.operation, error.maybe_sent) == ("storage.put", True)
    assert config.retries == 3


def _is_clean(box: Sandbox) -> bool:
    return exec(box, "ls -A /tmp").unwrap().stdout == ""


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize(("verb", "method"), [("push", "sandbox.pushDirectory"), ("pull", "sandbox.pullDirectory")])
def test_copy_to_deadline_cleanup(
    box: Sandbox, place: local.Platform, verb: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that the deadline ends removes its staged files in both sandboxes."""
    other = (create("other") | start).unwrap()
    assert isinstance(box | exec("echo x > file", check=True), Success)
    real = getattr(End, verb)
    # What comes before takes as long as the machine likes. The limit begins here and still holds for the cleanup.
    limits = ExitStack()

    def under_a_limit(*args: Any) -> Any:
        limits.enter_context(limited(SOON))
        return real(*args)

    monkeypatch.setattr(End, verb, under_a_limit)
    place.faults.add(method, Slow(MUCH_LATER))
    with limits:
        error = (box | copy_to(other, "file", "copy")).failure()
    assert error == DeadlineExceeded(SOON, method, maybe_sent=True)
    # A busy platform may still copy: the removal is repeated each second.
    for each in (box, other):
        assert eventually(partial(_is_clean, each))


@pytest.mark.usefixtures("large")
def test_upload_deadline_cleanup(box: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Staged files are removed although no time is left."""
    (tmp_path / "file").write_text("x")
    real = End.pull

    def slow(end: End, uuid: str, directory: str) -> Result[None, PocketenvError]:
        with unlimited():
            pulled = real(end, uuid, directory)
        nap(60)
        return pulled

    monkeypatch.setattr(End, "pull", slow)
    error = (box | within(2, upload(tmp_path, "there"))).failure()
    assert error == DeadlineExceeded(2, "sandbox.exec")
    assert exec(box, "ls -A /tmp; ls -A").unwrap().stdout == ""


def test_limited_and_unlimited() -> None:
    """A limited block has a deadline, and an unlimited block inside has none."""
    assert remaining() == float("inf")
    with limited(20):
        with limited(60):
            assert 19 < remaining() <= 20
        with unlimited():
            assert remaining() == float("inf")
        assert 19 < remaining() <= 20
    with limited(0.01):
        nap(20)
    assert remaining() == float("inf")


def test_retrying_huge_delay() -> None:
    """A pause may be longer than the system can count."""
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    # Ctrl-C ends the pause.
    with Server(servers.always(reply(b"{}", 500))) as server, pytest.raises(KeyboardInterrupt):
        retrying(get_sandbox(config=servers.client(server.url)), 2, delay=1e30)("x")
    assert server.verbs == ["GET"]


def test_within_refuses(box: Sandbox) -> None:
    """Seconds that are not positive are refused."""
    for seconds in (0, -1, float("nan")):
        error = within(seconds, exec("true"))(box).failure()
        assert "seconds" in str(error)
    with pytest.raises(TypeError, match="within: seconds"):
        within("5", exec("true"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="within: step: expected a step"):
        within(5, "ls")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_within_safe() -> None:
    """A step in within is safe if the step alone is."""
    assert within(5, start).safe
    assert not within(5, exec("true")).safe
