"""Each call gets the answer to its own request, whatever else comes on the connection."""

from __future__ import annotations

import gzip
import http.client
import io
import socket
import ssl
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from returns.result import Failure, Success

from pocketenv_fp import Config, ExecResult, Sandbox, TransportError, get_sandbox, sandbox
from pocketenv_fp.config import settings
from pocketenv_fp.http.responses import Body
from pocketenv_fp.http.transport import Request, transport
from pocketenv_fp.http.xrpc import decode, procedure, send
from tests import servers
from tests.servers import BOX, RAN, VIEW, Reply, Server, client, reply, under

HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
INTERIM = {
    "100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "102": b"HTTP/1.1 102 Processing\r\n\r\n",
    "103": HINT,
    "104": b"HTTP/1.1 104 Upload Resumption Supported\r\nUpload-Offset: 4\r\n\r\n",
    "199": b"HTTP/1.1 199 Whatever\r\nContent-Length: 0\r\n\r\n",
    "without a reason": b"HTTP/1.1 103\r\n\r\n",
    "three": HINT + b"HTTP/1.1 100 Continue\r\n\r\n" + HINT,
    "three hundred": b"HTTP/1.1 102 Processing\r\n\r\n" * 300,
    "with a length that is not its own": b"HTTP/1.1 103 Early Hints\r\nContent-Length: 999\r\n\r\n",
    "as chunks that are not its own": b"HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n",
}


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    servers.forget()
    yield
    servers.forget()


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ssl.SSLContext]:
    """Return a CA bundle, and the TLS context of a server that it trusts."""
    authority = trustme.CA()
    bundle = tmp_path_factory.mktemp("bundle") / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return str(bundle), context


def view(request: servers.Request) -> bytes:
    """The sandbox that was asked for."""
    return VIEW.replace(b"3f2a", request.path.partition("id=")[2].encode())


def looked_up(server: Server, ids: str, verify: str | None = None) -> list[str]:
    """The ids that come back for these ids."""
    config = client(server.url, verify=verify)
    outcomes = [get_sandbox(each, config=config) for each in ids]
    return [outcome.map(lambda box: box.id if box else "none").value_or("failed") for outcome in outcomes]


@pytest.mark.parametrize("interim", INTERIM.values(), ids=INTERIM)
@pytest.mark.parametrize("is_apart", [False, True], ids=["in one packet", "apart"])
def test_send_skips_interim_responses(interim: bytes, *, is_apart: bool) -> None:
    """Interim responses are skipped."""

    def answer(request: servers.Request) -> Reply:
        whole = reply(view(request)).raw
        if "id=b" not in request.path:
            return Reply(whole)
        return Reply(interim, later=whole) if is_apart else Reply(interim + whole)

    with Server(answer) as server:
        assert looked_up(server, "abcd") == list("abcd")
        assert server.connections == 1


def test_send_endless_interim_responses() -> None:
    """Endless interim responses end with a timeout."""
    with Server(servers.always(Reply(INTERIM["102"], slowly=INTERIM["102"] * 9))) as server:
        error = get_sandbox("a", config=client(server.url, read_timeout=0.5)).failure()
        assert isinstance(error, TransportError)
        assert (error.kind, error.maybe_sent) == ("timeout", True)


def test_send_procedure_interim_response() -> None:
    """An interim response to a procedure is skipped."""
    with Server(servers.always(Reply(HINT, later=reply(RAN).raw))) as server:
        asked = procedure("sandbox.exec", lambda body: decode(body, ExecResult), {"id": "a"}, {"command": "make"})
        assert under(client(server.url), send, asked).unwrap().stdout == "hello"
        assert server.verbs == ["POST"]


MORE = {
    "a whole answer": reply(VIEW).raw,
    "half an answer": reply(VIEW).raw[:40],
    "a line break": b"\r\n",
    "one byte": b"\0",
    "ten thousand bytes": b"x" * 10_000,
}


@pytest.mark.parametrize("more", MORE.values(), ids=MORE)
@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunks"])
def test_send_surplus_bytes(more: bytes, *, is_chunked: bool) -> None:
    """Bytes after a response are never read as the next response."""

    # The rest of them comes when the next request is on its way.
    def answer(request: servers.Request) -> Reply:
        body = view(request)
        head = servers.OK + b"Content-Type: application/json\r\n"
        whole = (
            head + b"Transfer-Encoding: chunked\r\n\r\n" + f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
            if is_chunked
            else reply(body).raw
        )
        return Reply(whole + more, later=reply(VIEW).raw)

    with Server(answer) as server:
        assert looked_up(server, "abc") == list("abc")
        assert server.connections == 3


def test_send_surplus_bytes_over_tls(secured: tuple[str, ssl.SSLContext]) -> None:
    """Bytes after a response over TLS are never read as the next response."""
    bundle, context = secured

    def answer(request: servers.Request) -> Reply:
        return Reply(reply(view(request)).raw + reply(VIEW).raw)

    with Server(answer, tls=context) as server:
        assert looked_up(server, "abc", bundle) == list("abc")
        assert server.connections == 3


def test_send_surplus_bytes_in_tls_record(secured: tuple[str, ssl.SSLContext]) -> None:
    """Bytes after a response in its TLS record are never read as the next response, although the socket has none."""
    bundle, context = secured

    def answer(request: servers.Request) -> Reply:
        # As long as the buffer, which then takes none of the rest.
        body = view(request)
        padding = io.DEFAULT_BUFFER_SIZE - len(reply(body.ljust(8000)).raw)
        return Reply(reply(body.ljust(8000 + padding)).raw + reply(VIEW).raw)

    with Server(answer, tls=context) as server:
        assert looked_up(server, "abc", bundle) == list("abc")
        assert server.connections == 3


STRANGE = {
    "a proxy's page": reply(b"<html>Bad Gateway", 502, {"Content-Type": "text/html"}),
    "a login page": reply(b"<html>Log in", 200, {"Content-Type": "text/html"}),
    "an answer that is not JSON": reply(b"junk"),
    "a text": reply(b"no", 403, {"Content-Type": "text/plain"}),
}


@pytest.mark.parametrize("strange", STRANGE.values(), ids=STRANGE)
def test_send_after_strange_response(strange: Reply) -> None:
    """The request after a response that is not the platform's opens a new connection."""

    # The platform's own answer is late, and on the same connection.
    def answer(request: servers.Request) -> Reply:
        return strange._replace(later=reply(VIEW).raw) if "id=b" in request.path else reply(view(request))

    with Server(answer) as server:
        assert looked_up(server, "abc") == ["a", "failed", "c"]
        assert server.connections == 2


def test_send_early_response() -> None:
    """A response that comes before the whole request is sent is returned, and its connection closed."""
    is_answered = threading.Event()

    def serve(listener: socket.socket) -> list[bytes]:
        firsts: list[bytes] = []
        for _ in range(2):
            with listener.accept()[0] as connection:
                first = connection.recv(65536)
                firsts.append(first.partition(b"\r\n")[0])
                connection.sendall(reply(b'{"error": "x"}', 413).raw)
                is_answered.set()
                if first.startswith(b"POST"):
                    while not first.endswith(b"0\r\n\r\n"):
                        first = first[-9:] + connection.recv(65536)
                    assert connection.recv(1) == b""  # the client hangs up: no second request comes here
        return firsts

    def pieces() -> Iterator[bytes]:
        yield b"x" * 50_000
        assert is_answered.wait(60)
        yield b"x" * 50_000

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        served = pool.submit(serve, listener)
        line = transport(under(client(f"http://127.0.0.1:{listener.getsockname()[1]}"), settings).unwrap())
        upload = Request("POST", "/cp", {"Transfer-Encoding": "chunked"}, pieces())
        assert line.send(upload, 20, "storage.put").status == 413
        assert line.send(Request("GET", "/cp", {}), 20, "storage.take").status == 413
        assert served.result() == [b"POST /cp HTTP/1.1", b"GET /cp HTTP/1.1"]


CUT = {
    "status": servers.OK[:-2],
    "status line": servers.OK,
    "header name": servers.OK + b"Content-Le",
    "header": servers.OK + b"Content-Length: 0\r\n",
    "header without a length": servers.OK + b"\r\n",
    "chunk size": servers.OK + b"Transfer-Encoding: chunked\r\n\r\n",
    "last chunk": servers.OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n",
}


@pytest.mark.parametrize("cut", CUT.values(), ids=CUT)
@pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "TLS"])
def test_delete_truncated_response(cut: bytes, secured: tuple[str, ssl.SSLContext], *, is_secure: bool) -> None:
    """A truncated response is a Failure that may have been acted on."""
    bundle, context = secured

    def answer(request: servers.Request) -> Reply:
        return reply(VIEW) if request.verb == "GET" else Reply(cut, then="close")

    with Server(answer, tls=context if is_secure else None) as server:
        config = client(server.url, verify=bundle)
        for outcome in (
            sandbox.delete(BOX, config=config),
            sandbox.set_variable(BOX, "NAME", "value", config=config),
            sandbox.expose(BOX, 8080, config=config),
        ):
            assert isinstance(outcome, Failure)
            error = outcome.failure()
            assert isinstance(error, TransportError), error
            assert (error.kind, error.maybe_sent) == ("dropped", True)


ENDS = {
    "length": servers.OK + b"Content-Length: 0\r\n\r\n",
    "length and close": servers.OK + b"Connection: close\r\nContent-Length: 0\r\n\r\n",
    "chunks": servers.OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "trailer": servers.OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-Digest: 0\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "object, then close": servers.OK + b"\r\n{}",
}


@pytest.mark.parametrize("answer", ENDS.values(), ids=ENDS)
def test_delete_complete_response(answer: bytes) -> None:
    """A complete response is a Success, although the server then closes the connection."""
    with Server(servers.always(Reply(answer, then="close"))) as server:
        assert isinstance(sandbox.delete(BOX, config=client(server.url)), Success)


def test_get_sandbox_truncated_response() -> None:
    """A query is sent again after a truncated response."""
    with Server(servers.in_turn(Reply(servers.OK + b"\r\n", then="close"), reply(VIEW))) as server:
        box = get_sandbox("3f2a", config=Config(api_url=server.url, retries=1)).unwrap()
        assert isinstance(box, Sandbox)
        assert server.verbs == ["GET", "GET"]


LENGTHS = ["zwei", "-1", "+2", "1_0", "0x2", "2, 2", "2.0", "", "9" * 40, "2\r\nContent-Length: 3"]


@pytest.mark.parametrize("length", LENGTHS)
def test_send_invalid_length(length: str) -> None:
    """A response without a clear length is not valid HTTP."""
    raw = servers.OK + f"Content-Length: {length}\r\n\r\n{{}}".encode()
    with Server(servers.always(Reply(raw, then="close"))) as server:
        error = get_sandbox("3f2a", config=client(server.url)).failure()
        assert isinstance(error, TransportError)
        assert (error.kind, error.maybe_sent) == ("protocol", True)


def test_send_repeated_length() -> None:
    """The same length twice is one length."""
    same = f"Content-Length: {len(VIEW)}\r\n".encode()
    with Server(servers.always(Reply(servers.OK + same + b"X: y\r\n" + same.lower() + b"\r\n" + VIEW))) as server:
        assert looked_up(server, "33") == ["3f2a", "3f2a"]
        assert server.connections == 1


CODED = servers.OK + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNKS = {
    "0x2": CODED + b"0x2\r\n{}\r\n0\r\n\r\n",
    "-2": CODED + b"-2\r\n{}\r\n0\r\n\r\n",
    "1_0": CODED + b"1_0\r\n" + b"{}".ljust(16) + b"\r\n0\r\n\r\n",
    "no size": CODED + b"\r\n{}\r\n0\r\n\r\n",
    "space before": CODED + b" 2\r\n{}\r\n0\r\n\r\n",
    "too long": CODED + b"2\r\n{}XX0\r\n\r\n",
    "an endless line": CODED + b"2;" + b"x" * 70_000 + b"\r\n{}\r\n0\r\n\r\n",
    "another coding": servers.OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "no coding": servers.OK + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("raw", CHUNKS.values(), ids=CHUNKS)
def test_send_invalid_chunks(raw: bytes) -> None:
    """A response with invalid chunks is not valid HTTP."""
    with Server(servers.always(Reply(raw, then="close"))) as server:
        error = sandbox.delete(BOX, config=client(server.url)).failure()
        assert isinstance(error, TransportError)
        assert (error.kind, error.maybe_sent) == ("protocol", True)


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    st.sampled_from(["", ";a=b", " ; a", "  "]),
    st.sampled_from([b"", b"X-Digest: 0\r\n"]),
    st.integers(1, 50),
)
def test_body_chunks(pieces: list[bytes], extension: str, trailer: bytes, size: int) -> None:
    """Chunks are read in parts of any size, and nothing after them."""
    raw = b"".join(f"{len(piece):X}{extension}\r\n".encode() + piece + b"\r\n" for piece in pieces)
    stream = io.BytesIO(raw + b"0\r\n" + trailer + b"\r\nnext")
    body = Body(stream, 0, is_chunked=True)
    parts = list(iter(lambda: body.read(size), b""))
    assert b"".join(parts) == b"".join(pieces)
    assert all(len(part) == size for part in parts[:-1])
    assert body.closed
    assert stream.read() == b"next"
    assert body.read() == b""


@pytest.mark.parametrize("length", [None, 100_000])
def test_body_parts(length: int | None) -> None:
    """A body with a length ends there, and one without a length at the end of the connection."""
    body = Body(io.BytesIO(b"x" * 100_001), length)
    assert (body.read(0), body.closed) == (b"", False)
    assert [len(part) for part in iter(lambda: body.read(70_000), b"")] == [70_000, 30_000 if length else 30_001]
    assert (body.closed, body.read()) == (True, b"")


@pytest.mark.parametrize("is_chunked", [False, True])
def test_body_truncated(*, is_chunked: bool) -> None:
    """A body that breaks off raises, and shows none of its bytes."""
    stream = io.BytesIO(b"8\r\nsecret" if is_chunked else b"secret")
    with pytest.raises(http.client.IncompleteRead) as raised:
        Body(stream, 0 if is_chunked else 8, is_chunked=is_chunked).read()
    assert b"secret" not in raised.value.args


KEPT = {
    "1.1": (b"HTTP/1.1 200 OK\r\n", 1),
    "1.1, close": (b"HTTP/1.1 200 OK\r\nConnection: Close\r\n", 2),
    "1.0": (b"HTTP/1.0 200 OK\r\n", 2),
    "1.0, keep-alive": (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n", 1),
}


@pytest.mark.parametrize(("head", "connections"), KEPT.values(), ids=KEPT)
def test_send_keeps_connection(head: bytes, connections: int) -> None:
    """A connection is used again if the server keeps it."""
    raw = head + f"Content-Length: {len(VIEW)}\r\n\r\n".encode() + VIEW
    with Server(servers.always(Reply(raw))) as server:
        assert looked_up(server, "33") == ["3f2a", "3f2a"]
        assert server.connections == connections


PACKED = {
    "gzip": gzip.compress(VIEW),
    "deflate": zlib.compress(VIEW),
    "deflate, gzip": gzip.compress(zlib.compress(VIEW)),
}


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("coding", PACKED)
def test_send_compressed_response(coding: str, *, is_chunked: bool) -> None:
    """A compressed response is decompressed, although none was requested."""
    head = servers.OK + f"Content-Encoding: {coding}\r\n".encode()
    body = PACKED[coding]
    whole = (
        head + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
        if is_chunked
        else head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
    )
    with Server(servers.always(Reply(whole))) as server:
        assert looked_up(server, "33") == ["3f2a", "3f2a"]
        assert server.connections == 1
