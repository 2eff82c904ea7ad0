"""The storage host, from the client's side: what is sent again, what never is, and what a broken line looks like."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from itertools import chain, repeat

import pytest
from returns.result import Failure, Result, Success

from pocketenv_fp import (
    ApiError,
    ArchiveError,
    Config,
    DecodeError,
    InvalidInput,
    NotLoggedIn,
    PocketenvError,
    RateLimited,
    ServerError,
    TransportError,
    Unauthorized,
    local,
)
from pocketenv_fp.http import storage
from pocketenv_fp.local.faults import Cut, Drop, Fault, Garbage, Html, Refuse, Slow, Truncated
from tests import servers
from tests.servers import Reply, Request, Server, reply, under

pytestmark = pytest.mark.usefixtures("no_pauses")

PUT, TAKE = "POST /cp", "GET /cp"


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
    return Config(
        api_url=place.url,
        storage_url=place.storage_url,
        token=place.token,
        retries=retries,
        read_timeout=read_timeout,
    )


def pieces(*given: bytes) -> Callable[[], Generator[bytes]]:
    def make() -> Generator[bytes]:
        yield from given

    return make


def read(uuid: str, config: Config) -> Result[bytes, PocketenvError]:
    """The whole archive, and that it is as long as was said."""

    def whole(incoming: storage.Incoming) -> bytes:
        data = b"".join(iter(lambda: incoming.read(1000), b""))
        assert incoming.total == len(data)
        return data

    return under(config, storage.take, uuid, whole)


def stored(place: local.Platform) -> set[str]:
    """The uuids of what waits to be fetched."""
    return {path.name for path in (place.data / "storage").glob("*/*") if path.parent.name != ".drafts"}


SENT = b"".join(bytes([number % 251]) * 97 for number in range(4000))


def test_take_once(place: local.Platform) -> None:
    """`take` returns the stored bytes, and only once."""
    config = client(place)
    uuid = under(config, storage.put, pieces(SENT[:1], b"", SENT[1:200_000], SENT[200_000:])).unwrap()
    assert read(uuid, config) == Success(SENT)
    error = read(uuid, config).failure()
    assert (type(error), error) == (ApiError, ApiError(404, "File not found", "", "storage.take"))


def test_put_empty_archive(place: local.Platform) -> None:
    """An empty archive can be stored and read."""
    config = client(place)
    assert under(config, storage.put, pieces()).bind(lambda uuid: read(uuid, config)) == Success(b"")


@pytest.mark.parametrize(
    "fault",
    [
        Drop(),
        Drop(reset=True),
        Drop(after_work=True),
        Cut(bytes=0),
        Cut(),
        Refuse(502),
        Refuse(503, after_work=True),
        Refuse(429, retry_after=0),
        Html(504),
    ],
    ids=repr,
)
def test_put_retries(place: local.Platform, fault: Fault) -> None:
    """A failed upload is sent again from its first byte under the same UUID."""
    config = client(place, retries=2)
    begun: list[int] = []
    before = stored(place)

    def make() -> Generator[bytes]:
        begun.append(1)
        yield SENT

    with place.faults.on(PUT, fault, times=2) as planned:
        uuid = under(config, storage.put, make).unwrap()
        assert (planned.played, planned.left) == (2, 0)
    assert len(begun) == 3
    assert read(uuid, config) == Success(SENT)
    assert stored(place) == before


@pytest.mark.parametrize("fault", [Drop(), Cut(), Refuse(502), Refuse(429, retry_after=0)], ids=repr)
def test_put_retries_used_up(place: local.Platform, fault: Fault) -> None:
    """An upload fails after the configured retries."""
    with place.faults.on(PUT, fault) as planned:
        assert isinstance(under(client(place, retries=1), storage.put, pieces(SENT)), Failure)
        assert planned.played == 2


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Refuse(400), ApiError),
        (Refuse(401), Unauthorized),
        (Refuse(404), ApiError),
        (Refuse(500), ServerError),
        (Refuse(429, retry_after=3600), RateLimited),
        (Garbage(), DecodeError),
        (Truncated(), DecodeError),
        (Html(), DecodeError),
    ],
    ids=repr,
)
def test_put_permanent_failure(place: local.Platform, fault: Fault, kind: type[PocketenvError]) -> None:
    """An upload with a permanent Failure is not sent again."""
    with place.faults.on(PUT, fault) as planned:
        assert type(under(client(place), storage.put, pieces(SENT)).failure()) is kind
        assert planned.played == 1


def test_put_read_timeout(place: local.Platform) -> None:
    """An upload is sent again after a read timeout."""
    with place.faults.on(PUT, Slow(1.5), times=1) as planned:
        assert isinstance(under(client(place, read_timeout=0.5), storage.put, pieces(SENT)), Success)
        assert planned.played == 1


@pytest.mark.parametrize("fault", [Drop(), Drop(reset=True), Cut(), Cut(bytes=0), Refuse(503), Html(502)], ids=repr)
def test_take_no_retry(place: local.Platform, fault: Fault) -> None:
    """A download is requested once."""
    config = client(place)
    uuid = under(config, storage.put, pieces(SENT)).unwrap()
    with place.faults.on(TAKE, fault) as planned:
        assert isinstance(read(uuid, config).failure(), TransportError | ServerError)
        assert planned.played == 1


@pytest.mark.parametrize("kept", [0, 1, 1000, len(SENT) - 1])
def test_take_truncated(place: local.Platform, kept: int) -> None:
    """A truncated download is a TransportError."""
    config = client(place)
    uuid = under(config, storage.put, pieces(SENT)).unwrap()
    with place.faults.on(TAKE, Cut(bytes=kept)):
        error = read(uuid, config).failure()
    assert isinstance(error, TransportError)
    assert (error.kind, error.operation) == ("dropped", "storage.take")


def test_take_truncated_chunks() -> None:
    """A truncated chunked download is a TransportError."""
    half = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    for rest, whole in ((b"", False), (b"5\r\nwor", False), (b"0\r\n\r\n", True)):
        with Server(lambda _, raw=half + rest: Reply(raw, then="close")) as server:  # type: ignore[misc]
            config = servers.client(server.url)
            got = under(config, storage.take, "x", lambda incoming: (incoming.total, incoming.read()))
        assert (got == Success((None, b"hello"))) is whole
        assert whole or isinstance(got.failure(), TransportError)


def test_take_reader_hides_error(place: local.Platform) -> None:
    """A broken connection is the Failure, even if the reader raises another error for it."""
    config = client(place)
    uuid = under(config, storage.put, pieces(SENT)).unwrap()

    def misread(incoming: storage.Incoming) -> None:
        try:
            while incoming.read(1000):
                pass
        except TransportError:
            raise ArchiveError("it is damaged") from None

    with place.faults.on(TAKE, Cut()):
        assert isinstance(under(config, storage.take, uuid, misread).failure(), TransportError)


def test_put_archive_error(place: local.Platform) -> None:
    """An ArchiveError of the pieces is the Failure, and the upload is not sent again."""
    began: list[int] = []
    before = stored(place)

    def fail() -> Generator[bytes]:
        began.append(1)
        yield SENT
        raise ArchiveError("it vanished", "a/b")

    assert under(client(place), storage.put, fail) == Failure(ArchiveError("it vanished", "a/b"))
    assert began == [1]
    assert stored(place) == before


@pytest.mark.parametrize("error", [KeyError("mine"), OSError("mine"), ValueError("mine"), ConnectionResetError("mine")])
def test_storage_caller_exception(place: local.Platform, error: Exception) -> None:
    """Another exception of the caller's code is raised unchanged."""

    def fail() -> Generator[bytes]:
        yield SENT
        raise error

    def misuse(_: storage.Incoming) -> None:
        raise error

    config = client(place)
    with pytest.raises(type(error), match="mine"):
        under(config, storage.put, fail)
    uuid = under(config, storage.put, pieces(SENT)).unwrap()
    with pytest.raises(type(error), match="mine"):
        under(config, storage.take, uuid, misuse)
    # The connection that was left half way is not used again.
    assert under(config, storage.put, pieces(SENT)).bind(lambda new: read(new, config)) == Success(SENT)


def test_put_closes_pieces(place: local.Platform) -> None:
    """The generator of the pieces is closed after a Failure."""
    closed: list[int] = []

    def endless() -> Generator[bytes]:
        # The server reads to the end of the pieces. They have none, so the line breaks when it stops.
        threading.Timer(0.2, server.__exit__).start()
        try:
            yield from repeat(b"x" * 100_000)
        finally:
            closed.append(1)

    with Server(lambda _: reply(b'{"error": "no"}', 400), idle=5) as server:
        assert isinstance(under(servers.client(server.url), storage.put, endless), Failure)
    assert closed == [1]
    assert place


def test_put_form() -> None:
    """An upload is a multipart form."""
    seen: list[Request] = []

    def answer(request: Request) -> Reply:
        seen.append(request)
        return reply(b'{"uuid": "told-by-the-host"}')

    with Server(answer) as server:
        got = under(servers.client(server.url), storage.put, pieces(b"abc", b"def"))
    assert got == Success("told-by-the-host")
    (request,) = seen
    path, _, uuid = request.path.partition("?uuid=")
    assert (request.verb, path, len(uuid)) == ("POST", "/cp", 36)
    boundary = request.headers["content-type"].removeprefix("multipart/form-data; boundary=")
    assert (
        request.body
        == (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="archive.tar.gz"\r\n'
            f"Content-Type: application/gzip\r\n\r\nabcdef\r\n--{boundary}--\r\n"
        ).encode()
    )
    assert request.headers["authorization"] == f"Bearer {servers.TOKEN}"


def test_storage_hides_token() -> None:
    """An error response shows no token."""
    body = f'{{"error": "bad {servers.TOKEN}"}}'.encode()
    with Server(lambda _: reply(body, 400)) as server:
        config = servers.client(server.url)
        for result in (under(config, storage.put, pieces(SENT)), read("x", config)):
            assert result.failure() == ApiError(400, "bad ***", "", result.failure().operation)  # type: ignore[attr-defined]


def test_storage_no_token_or_tls() -> None:
    """No request is sent without a token, and no token over plain HTTP."""
    with Server(lambda _: reply()) as server:
        nobody = Config(api_url=server.url, storage_url=server.url)
        assert under(nobody, storage.put, pieces(SENT)) == Failure(NotLoggedIn())
        assert read("x", nobody) == Failure(NotLoggedIn())
        plain = Config(api_url=server.url, storage_url="http://storage.example", token="t")
        assert isinstance(under(plain, storage.put, pieces(SENT)).failure(), InvalidInput)
        assert server.connections == 0


def test_put_unreachable_host() -> None:
    """An unreachable host is a Failure, and no archive is made for it."""
    config = servers.client(f"http://127.0.0.1:{servers.free_port()}", retries=1)
    began: list[int] = []

    def make() -> Generator[bytes]:
        began.append(1)
        yield b""

    error = under(config, storage.put, make).failure()
    assert isinstance(error, TransportError)
    assert (error.kind, error.maybe_sent, began) == ("connect", False, [])


def test_put_many_threads(place: local.Platform) -> None:
    """Uploads of many threads do not mix."""
    config = client(place)
    results: dict[int, Result[bytes, PocketenvError]] = {}

    def work(number: int) -> None:
        own = bytes([number]) * 200_000
        results[number] = under(config, storage.put, pieces(*chain([own], repeat(b"", 3)))).bind(
            lambda uuid: read(uuid, config)
        )

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {number: Success(bytes([number]) * 200_000) for number in range(8)}
