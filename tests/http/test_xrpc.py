"""What leaves by the one door, and how what comes back is read."""

from __future__ import annotations

import errno
import json
import os
import pickle
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from types import FrameType
from urllib.parse import parse_qs, quote, urlsplit

import msgspec
import pytest
from returns.result import Success

from pocketenv_fp import (
    ApiError,
    Config,
    DecodeError,
    InvalidInput,
    NotLoggedIn,
    ProfileNotFound,
    RateLimited,
    RecordNotFound,
    Sandbox,
    SandboxNotFound,
    ServerError,
    Step,
    TransportError,
    Unauthorized,
    create,
    exec,
    get_sandbox,
    list_sandboxes,
    list_sandboxes_by_actor,
    me,
    pocketenv,
    rename,
    sandbox,
    start,
    stop,
    using,
)
from pocketenv_fp.http.xrpc import Call, decode, nothing, procedure, query, send
from pocketenv_fp.providers import provider_of
from pocketenv_fp.sandbox.commands.wire_form import Command, wire_form
from tests import servers
from tests.servers import BOX, RAN, TOKEN, VIEW, Request, Server, client, reply, under

# Requests


def one(server: Server) -> Request:
    (request,) = server.seen
    return request


def test_query_request() -> None:
    """A query is a GET with the token and without a body."""
    with Server(servers.ordinary) as server:
        assert isinstance(get_sandbox("3f2a", config=client(server.url)), Success)
        request = one(server)
        assert (request.verb, request.path) == ("GET", "/xrpc/io.pocketenv.sandbox.getSandbox?id=3f2a")
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        assert request.body == b""
        assert not request.headers.keys() & {"content-type", "content-length", "transfer-encoding"}


def stopping(config: Config) -> Step[Sandbox, object]:
    return stop(config=config)


def opening(config: Config) -> Step[Sandbox, object]:
    return sandbox.vscode(config=config)


@pytest.mark.parametrize("make", [stopping, opening])
def test_procedure_no_input(
    make: Callable[[Config], Step[Sandbox, object]],
) -> None:
    """A method without input gets no body and no content type."""
    with Server(servers.always(reply(b"{}"))) as server:
        make(client(server.url))(BOX)
        request = server.seen[0]
        assert (request.verb, request.body) == ("POST", b"")
        assert request.headers["content-length"] == "0"
        assert not request.headers.keys() & {"content-type", "transfer-encoding"}


def test_query_omits_missing_values() -> None:
    """A parameter of None is left out, and without any other there is no question mark."""
    with Server(servers.ordinary) as server, using(client(server.url)):
        send(query("x.y", nothing, {"a": None, "b": 0})).unwrap()
        send(query("x.y", nothing, {"a": None})).unwrap()
        assert [request.path for request in server.seen] == ["/xrpc/io.pocketenv.x.y?b=0", "/xrpc/io.pocketenv.x.y"]


def test_procedure_optional_input() -> None:
    """A method with optional input only gets an empty object."""
    with Server(servers.always(reply(b"{}"))) as server:
        start(BOX, config=client(server.url))
        request = server.seen[0]
        assert (request.body, request.headers["content-type"]) == (b"{}", "application/json")


def test_create_omits_missing_values() -> None:
    """Missing values are left out and not sent as null."""
    with Server(
        servers.always(reply(b'{"id": "1", "name": "n", "did": "d", "handle": "h", "sandboxes": [], "total": 0}'))
    ) as server:
        create("box", config=client(server.url)).failure()
        create("box", repo="https://git.example/r", keep_alive=False, config=client(server.url)).failure()
        created = [request for request in server.seen if request.path.endswith("createSandbox")]
        bodies = [json.loads(request.body) for request in created]
        assert [sorted(body) for body in bodies] == [
            ["base", "name", "provider"],
            ["base", "keepAlive", "name", "provider", "repo"],
        ]
        assert bodies[1]["keepAlive"] is False


@pytest.mark.parametrize(
    ("step", "body"),
    [
        (start(repo="https://x/y.git", keep_alive=False), {"repo": "https://x/y.git", "keepAlive": False}),
        (sandbox.expose(8080), {"port": 8080}),
        (sandbox.expose(8080, description="web"), {"port": 8080, "description": "web"}),
        (sandbox.unexpose(8080), {"port": 8080}),
        (sandbox.create_backup("/workspace", ttl=60), {"directory": "/workspace", "ttl": 60}),
    ],
    ids=repr,
)
def test_procedure_input(step: Step[Sandbox, object], body: object) -> None:
    """A method with input gets its arguments in the body and the id in the query."""
    with Server(servers.always(reply(b""))) as server, using(client(server.url)):
        step(BOX)
        request = server.seen[0]
        assert json.loads(request.body) == body
        assert request.headers["content-type"] == "application/json"
        assert parse_qs(urlsplit(request.path).query) == {"id": [BOX.id]}


def test_create_defaults() -> None:
    """A create requests the default base on Cloudflare."""
    shown = {"id": "3f", "name": "my-box"}
    answers = (reply(json.dumps(shown).encode()), reply(b""), reply(json.dumps({"sandbox": shown}).encode()))
    with Server(servers.in_turn(*answers)) as server:
        assert create("my-box", config=client(server.url)) == Success(Sandbox(id="3f", name="my-box"))
        sent = json.loads(server.seen[0].body)
    assert sent.keys() == {"name", "base", "provider"}
    assert (sent["name"], sent["provider"]) == ("my-box", "cloudflare")
    assert sent["base"].startswith("at://did:plc:")


@pytest.mark.parametrize("text", ["a&b=c", "a/b?c#d", "50%", "a+b", "été", "日本", "a;b", "\U0001f600", "..", "a%2Fb"])
def test_query_odd_characters(text: str) -> None:
    """Odd characters of a parameter arrive unchanged."""
    with Server(servers.ordinary) as server:
        get_sandbox(text, config=client(server.url)).unwrap()
        path = urlsplit(one(server).path)
        assert path.path == "/xrpc/io.pocketenv.sandbox.getSandbox"
        assert path.query == f"id={quote(text, safe='')}"
        assert parse_qs(path.query, strict_parsing=True) == {"id": [text]}


@pytest.mark.parametrize("text", ["été 日本 \U0001f600", 'quote " and \\', "line\nline\ttab", "bell \a"])
def test_procedure_odd_characters(text: str) -> None:
    """Odd characters of a body arrive unchanged."""
    with Server(servers.ordinary) as server, using(client(server.url)):
        send(procedure("x.y", nothing, body={"text": text})).unwrap()
        request = one(server)
        assert json.loads(request.body) == {"text": text}
        assert int(request.headers["content-length"]) == len(request.body)


@pytest.mark.parametrize("text", ["a\0b", "\0", "\\\0", '"\0'])
def test_send_nul(text: str) -> None:
    """A NUL is InvalidInput, and no request is sent."""
    with Server(servers.ordinary) as server:
        config = client(server.url)
        for result in (
            get_sandbox(text, config=config),
            rename(BOX, f"x{text}x", config=config),
            pocketenv.put_preferences(BOX.id, topics=["a", text], config=config),
            pocketenv.add_variable(BOX.id, "A", text, config=config),
            pocketenv.add_secret(BOX.id, "A", text, config=config),
        ):
            error = result.failure()
            assert isinstance(error, InvalidInput)
            assert "NUL" in str(error)
        assert not [request for request in server.seen if request.verb == "POST"]


@pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "%00", "a\\u0000b\\"])
def test_send_nul_look_alikes(text: str) -> None:
    """A string that resembles an escaped NUL arrives unchanged."""
    with Server(servers.ordinary) as server, using(client(server.url)):
        send(procedure("x.y", nothing, body={"text": text})).unwrap()
        get_sandbox(text, config=client(server.url)).unwrap()
        assert json.loads(server.seen[0].body) == {"text": text}
        assert parse_qs(urlsplit(server.seen[1].path).query) == {"id": [text]}


@pytest.mark.parametrize("id", ["3f2a\n", "\n", "3f2a\n\n"])
def test_send_id_with_line_break(id: str) -> None:
    """An id that ends with a line break is InvalidInput."""
    with Server(servers.ordinary) as server:
        for result in (
            get_sandbox(id, config=client(server.url)),
            pocketenv.list_secrets(id, config=client(server.url)),
        ):
            assert isinstance(result.failure(), InvalidInput)
        assert server.seen == []


def test_exec_quotes_arguments() -> None:
    """Each argument is quoted, and the command is not."""
    with Server(servers.ordinary) as server:
        exec(BOX, "ls *.py |", ["a b", "$HOME", "it's", ""], config=client(server.url)).unwrap()
        sent = Command("ls *.py | 'a b' '$HOME' 'it'\"'\"'s' ''")
        assert json.loads(one(server).body)["command"] == wire_form(sent, provider_of(None)).unwrap()


def test_exec_own_calls() -> None:
    """The way of a warm exec to the socket stays short and flat: a fleet takes it many times."""
    depths: list[int] = []
    stack: list[bool] = []

    def count(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            stack.append("pocketenv_fp" in frame.f_code.co_filename)
            if stack[-1]:
                depths.append(sum(stack))
        elif event == "return" and stack:
            stack.pop()

    step = exec("make")
    with Server(servers.ordinary) as server, using(client(server.url)):
        for _ in range(3):
            step(BOX).unwrap()
        sys.setprofile(count)
        try:
            step(BOX)
        finally:
            sys.setprofile(None)
    assert len(depths) <= 110
    assert max(depths) <= 18


def test_send_url_path() -> None:
    """The path of the API URL is kept."""
    with Server(servers.ordinary) as server:
        get_sandbox("x", config=client(f"{server.url}/behind/a/gateway/")).unwrap()
        assert one(server).path.startswith("/behind/a/gateway/xrpc/io.pocketenv.sandbox.getSandbox?")


def test_send_headers() -> None:
    """The client accepts JSON without compression, and sends its name."""
    with Server(servers.ordinary) as server:
        get_sandbox("x", config=client(server.url)).unwrap()
        headers = one(server).headers
        assert headers["accept-encoding"] == "identity"
        assert headers["accept"] == "application/json"
        assert headers["user-agent"].startswith("pocketenv-fp")


def test_send_headers_of_each_call() -> None:
    """The headers of a login are made once, and no call sees those of another call or login."""
    with Server(servers.ordinary) as server:
        first, second = client(server.url), Config(api_url=server.url, token="other-token")
        exec(BOX, "ls", config=first).unwrap()
        get_sandbox("x", config=first).unwrap()
        get_sandbox("x", config=second).unwrap()
        get_sandbox("x", config=Config(api_url=server.url)).unwrap()
        with using(first):
            exec(BOX, "ls", token="third-token").unwrap()
        logins = [request.headers.get("authorization") for request in server.seen]
        assert logins == [f"Bearer {TOKEN}", f"Bearer {TOKEN}", "Bearer other-token", None, "Bearer third-token"]
        assert ["content-length" in request.headers for request in server.seen] == [True, False, False, False, True]


class NoDescriptor(MetaPathFinder):
    """Raises what the system raises without a free descriptor."""

    def find_spec(self, *_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@pytest.mark.parametrize("when", ["import", "connection"])
def test_send_no_descriptor(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a free descriptor nothing was sent, neither at the first request nor later."""
    if when == "import":
        monkeypatch.delitem(sys.modules, "pocketenv_fp.http.exchange", raising=False)
        monkeypatch.delattr("pocketenv_fp.http.exchange", raising=False)
        monkeypatch.setattr(sys, "meta_path", [NoDescriptor(), *sys.meta_path])
    else:
        monkeypatch.setattr("pocketenv_fp.http.exchange.transport", NoDescriptor().find_spec)
    error = under(client("http://127.0.0.1:9"), lambda: get_sandbox("x")).failure()
    assert error == TransportError("connect", f"no connection: {os.strerror(errno.EMFILE)}", "sandbox.getSandbox")


def test_send_no_token() -> None:
    """A call that needs a token is not sent without one."""
    with Server(servers.ordinary) as server:
        nobody = Config(api_url=server.url)
        assert exec(BOX, "ls", config=nobody).failure() == NotLoggedIn()
        assert server.connections == 0
        assert isinstance(get_sandbox("x", config=nobody), Success)
        assert "authorization" not in one(server).headers


def test_call_value() -> None:
    """A Call is an immutable value whose repr shows names and no values."""
    call = procedure("sandbox.exec", decode_nothing, {"id": "3f2a-secret"}, {"command": "echo secret"})
    assert repr(call) == "POST io.pocketenv.sandbox.exec(id) with body (command)"
    assert repr(query("actor.getProfile", decode_nothing)) == "GET io.pocketenv.actor.getProfile()"
    assert call == procedure("sandbox.exec", decode_nothing, {"id": "3f2a-secret"}, {"command": "echo secret"})
    assert pickle.loads(pickle.dumps(call)) == call
    with pytest.raises(AttributeError):
        call.nsid = "other"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def decode_nothing(body: bytes) -> None:
    nothing(body)


def test_send_read_timeout() -> None:
    """A query can shorten the read timeout, and a procedure can lengthen it."""
    slow = servers.always(reply(b"{}", wait=0.5))
    with Server(slow) as server:
        config = client(server.url, read_timeout=0.2)
        assert isinstance(under(config, send, query("x.y", nothing, read_timeout=9)).failure(), Exception)
        assert isinstance(under(config, send, procedure("x.y", nothing, work_seconds=9)), Success)
        config = client(server.url, read_timeout=9)
        assert isinstance(under(config, send, query("x.y", nothing, read_timeout=0.2)).failure(), Exception)


# Answers

KINDS: list[tuple[int, str, type[ApiError]]] = [
    (400, "InvalidRequest", ApiError),
    (401, "AuthenticationRequired", Unauthorized),
    (401, "AuthenticationError", Unauthorized),
    (403, "SandboxProviderError", ApiError),
    (404, "SandboxNotFound", SandboxNotFound),
    (404, "XRPCNotSupported", ApiError),
    (409, "Conflict", ApiError),
    (413, "PayloadTooLargeError", ApiError),
    (415, "UnsupportedMediaTypeError", ApiError),
    (429, "Too many requests, please try again later.", RateLimited),
    (500, "InternalServerError", ServerError),
    (501, "MethodNotImplemented", ServerError),
    (502, "SandboxProviderError", ServerError),
    (503, "ServiceUnavailable", ServerError),
    (599, "Whatever", ServerError),
]


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Sandbox not found", SandboxNotFound),
        ("Secret not found", RecordNotFound),
        ("Variable not found", RecordNotFound),
        ("File not found", RecordNotFound),
        ("Volume not found", RecordNotFound),
        ("Service not found", RecordNotFound),
        ("Not found", ApiError),
    ],
)
def test_send_missing(message: str, kind: type[ApiError]) -> None:
    """Most methods say only in the message what is missing."""
    body = json.dumps({"error": "XRPCNotSupported", "message": message}).encode()
    with Server(servers.always(reply(body, 404))) as server:
        error = exec(BOX, "ls", config=client(server.url)).failure()
        assert type(error) is kind
        assert (error.error, error.message) == ("XRPCNotSupported", message)


@pytest.mark.parametrize(("status", "name", "kind"), KINDS)
def test_send_error_kinds(status: int, name: str, kind: type[ApiError]) -> None:
    """An error response becomes the error of its status and name."""
    body = json.dumps({"error": name, "message": "Because of that"}).encode()
    with Server(servers.always(reply(body, status))) as server:
        error = exec(BOX, "ls", config=client(server.url)).failure()
        assert type(error) is kind
        assert (error.status, error.error, error.message, error.operation) == (
            status,
            name,
            "Because of that",
            "sandbox.exec",
        )


def test_send_error_without_message() -> None:
    """An error response may have no message."""
    with Server(servers.always(reply(b'{"error": "Unauthorized"}', 401))) as server:
        error = exec(BOX, "ls", config=client(server.url)).failure()
        assert error == Unauthorized(401, "Unauthorized", "", "sandbox.exec")
        assert "Unauthorized" in str(error)


PAGE = b"<!doctype html><html><body><pre>Cannot GET /secret-path</pre></body></html>"


@pytest.mark.parametrize("status", [400, 401, 404, 500, 502])
@pytest.mark.parametrize("body", [PAGE, b"", b"null", b"[]", b'"text"', b'{"error": 5}', b'{"x":' + b"[" * 60_000])
def test_send_foreign_error(status: int, body: bytes) -> None:
    """An error response that is not the platform's keeps its status."""
    headers = {"Content-Type": "text/html; charset=utf-8"}
    with Server(servers.always(reply(body, status, headers))) as server:
        error = exec(BOX, "ls", config=client(server.url)).failure()
        assert isinstance(error, ApiError)
        assert (error.status, error.error) == (status, "")
        assert "text/html" in error.message
        assert "secret-path" not in str(error)


@pytest.mark.parametrize(
    "body", [b"", b" ", PAGE, b"null", b"[]", b'"x"', b"{", b"[" * 60_000, b"\xff\xfe", b'{"a":\xff}']
)
def test_send_200_without_object(body: bytes) -> None:
    """A 200 whose body is not an object is a DecodeError."""
    with Server(servers.always(reply(body))) as server:
        error = exec(BOX, "ls", config=client(server.url)).failure()
        assert isinstance(error, DecodeError)
        assert error.operation == "sandbox.exec"
        assert "secret-path" not in str(error)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"stdout": "", "stderr": ""}', "exitCode"),
        (b'{"stdout": "", "stderr": "", "exitCode": null}', "exitCode"),
        (b'{"stdout": "", "stderr": "", "exitCode": "0"}', "exitCode"),
        (b'{"stdout": "", "stderr": "", "exitCode": 0.5}', "exitCode"),
        (b'{"stdout": 1, "stderr": "", "exitCode": 0}', "stdout"),
        (b"{}", "stdout"),
    ],
)
def test_send_wrong_shape(body: bytes, place: str) -> None:
    """A response of a wrong shape is a DecodeError that names the field."""
    with Server(servers.always(reply(body))) as server:
        error = exec(BOX, "ls", config=client(server.url)).failure()
        assert isinstance(error, DecodeError)
        assert place in error.reason


def test_decode_error_hides_response() -> None:
    """A DecodeError never quotes the response."""
    body = b'{"stdout": "", "stderr": "", "exitCode": "the-answers-own-words"}'
    with Server(servers.always(reply(body))) as server:
        assert "own-words" not in str(exec(BOX, "ls", config=client(server.url)).failure())


def test_send_unknown_keys() -> None:
    """Unknown keys of a response are ignored."""
    body = b'{"stdout": "a", "stderr": "b", "exitCode": 3, "duration": 12, "later": {"x": [1]}}'
    with Server(servers.always(reply(body))) as server:
        assert exec(BOX, "ls", config=client(server.url)).unwrap().exit_code == 3


@pytest.mark.parametrize("body", [b"", b"{}", b'{"success": true}'])
def test_delete_secret_empty_response(body: bytes) -> None:
    """The response of a method without output is empty or an object."""
    with Server(servers.always(reply(body))) as server:
        assert pocketenv.delete_secret("1", config=client(server.url)) == Success(None)


@pytest.mark.parametrize("body", [PAGE, b"OK", b"null", b"[]"])
def test_delete_secret_foreign_response(body: bytes) -> None:
    """Another response of a method without output is a DecodeError."""
    # A gateway or login page may answer 200 to everything.
    with Server(servers.always(reply(body))) as server:
        assert isinstance(pocketenv.delete_secret("1", config=client(server.url)).failure(), DecodeError)


@pytest.mark.parametrize("body", [b"{}", b'{"sandbox": null}', b'{"sandbox":null}'])
def test_get_sandbox_missing(body: bytes) -> None:
    """A response without a sandbox is `None`."""
    with Server(servers.always(reply(body))) as server:
        assert get_sandbox("x", config=client(server.url)) == Success(None)


@pytest.mark.parametrize(
    "body", [b'{"id": "1", "name": "n"}', b'{"error": "X"}', b'{"sandbox": {}}', b'{"sandbox": []}']
)
def test_get_sandbox_other_response(body: bytes) -> None:
    """A response of another shape is a DecodeError and not a missing sandbox."""
    with Server(servers.always(reply(body))) as server:
        assert isinstance(get_sandbox("x", config=client(server.url)).failure(), DecodeError)


@pytest.mark.parametrize("body", [b'{"sandboxes": []}', b'{"total": 0}', b'{"sandboxes": [{}], "total": 1}', b"{}"])
def test_list_sandboxes_missing_keys(body: bytes) -> None:
    """A list without its records or its total is a DecodeError."""
    # The platform answers a list without a total where its database failed.
    with Server(servers.always(reply(body))) as server:
        config = client(server.url)
        assert isinstance(list_sandboxes(config=config).failure(), DecodeError)
        assert isinstance(list_sandboxes_by_actor("a.test", config=config).failure(), DecodeError)


@pytest.mark.parametrize("body", [b'{"id": "1"}', b'{"handle": "a.test"}', b"[]", b""])
def test_me_incomplete_profile(body: bytes) -> None:
    """An incomplete profile is a DecodeError, and an empty one is ProfileNotFound."""
    with Server(servers.in_turn(reply(body), reply(b"{}"))) as server:
        config = client(server.url)
        assert isinstance(me(config=config).failure(), DecodeError)
        assert isinstance(me(config=config).failure(), ProfileNotFound)


@pytest.mark.parametrize(
    ("body", "url"),
    [
        (b"{}", None),
        (b'{"previewUrl": null}', None),
        (b'{"previewUrl": ""}', None),
        (b'{"previewUrl": "https://x"}', "https://x"),
    ],
)
def test_expose_no_url(body: bytes, url: str | None) -> None:
    """A port may have no URL."""
    with Server(servers.always(reply(body))) as server, using(client(server.url)):
        assert sandbox.expose(BOX, 8080) == Success(url)
        assert sandbox.vscode(BOX) == Success(url)


def test_expose_invalid_url() -> None:
    """A URL that is not a string is a DecodeError."""
    with Server(servers.always(reply(b'{"previewUrl": 3}'))) as server:
        assert isinstance(sandbox.expose(BOX, 8080, config=client(server.url)).failure(), DecodeError)


def test_get_ssh_keys_clear_text() -> None:
    """Keys that another client stored in clear text are masked."""
    clear = "-----BEGIN RSA PRIVATE KEY-----\\ntop-secret\\n-----END RSA PRIVATE KEY-----"
    stored = f'{{"id": "k", "publicKey": "p", "privateKey": "{clear}", "authKey": "tskey-auth-clear"}}'
    with Server(servers.always(reply(stored.encode()))) as server, using(client(server.url)):
        assert pocketenv.get_ssh_keys("3f").unwrap().private_key == "***"
        assert pocketenv.get_tailscale_auth_key("3f").unwrap().auth_key == "***"


def test_get_sandbox_unknown_status() -> None:
    """A status that this version does not know is UNKNOWN."""
    with Server(servers.always(reply(VIEW.replace(b"RUNNING", b"HIBERNATING")))) as server:
        box = get_sandbox("x", config=client(server.url)).unwrap()
        assert box is not None
        assert box.status.name == "UNKNOWN"


# What an answer must not bring in


@pytest.mark.parametrize("field", ["error", "message"])
def test_send_error_masks_token(field: str) -> None:
    """The token is masked if the server quotes it."""
    body = json.dumps({field: f"bad header: Authorization: Bearer {TOKEN}, and {TOKEN} again"}).encode()
    with Server(servers.always(reply(body, 400))) as server:
        error = exec(BOX, "ls", config=client(server.url)).failure()
        assert TOKEN not in f"{error}{error!r}{error.args}{vars(error)}"
        assert "***" in str(error)


def test_send_content_type_masks_token() -> None:
    """The token is masked in a quoted content type."""
    long = Config(token="t" * 100).token
    with Server(servers.always(reply(b"", 400, {"Content-Type": f"x/{long}"}))) as server:
        error = exec(BOX, "ls", token=long, config=client(server.url)).failure()
        assert "t" * 20 not in str(error)


def test_send_long_message_masks_token() -> None:
    """The token is masked before a long message is truncated."""
    body = json.dumps({"error": "E", "message": "x" * 490 + TOKEN}).encode()
    with Server(servers.always(reply(body, 400))) as server:
        error = exec(BOX, "ls", config=client(server.url)).failure()
        assert isinstance(error, ApiError)
        assert len(error.message) <= 500
        assert TOKEN[:8] not in error.message


def test_send_message_control_characters() -> None:
    """An error shows no control characters of a message."""
    message = "red \x1b[31m, bell \a, line\r\nline, right-to-left \u202e, nul \0"
    body = json.dumps({"error": "E\x1b", "message": message}).encode()
    with Server(servers.always(reply(body, 400))) as server:
        error = exec(BOX, "ls", config=client(server.url)).failure()
        assert str(error).isprintable()
        assert repr(error).isprintable()
        assert "right-to-left" in str(error)


def test_send_long_message() -> None:
    """A long message is truncated."""
    body = json.dumps({"error": "E" * 10**6, "message": "m" * 10**6}).encode()
    with Server(servers.always(reply(body, 400))) as server:
        assert len(str(exec(BOX, "ls", config=client(server.url)).failure())) < 1200


def test_decode_strict() -> None:
    """A value of another type is not converted."""
    assert decode(b'{"a": 1}', dict[str, int]) == {"a": 1}
    with pytest.raises(msgspec.ValidationError):
        decode(b'{"a": "1"}', dict[str, int])


def test_send_invalid_config() -> None:
    """A call with a wrong Config is InvalidInput and sends no request."""
    call: Call[None] = query("x.y", nothing, login=False)
    error = under(Config(api_url="ftp://host"), send, call).failure()
    assert isinstance(error, InvalidInput)
    assert error.field == "api_url"


def test_exec_large_response() -> None:
    """The response to a command may be large."""
    text = "x" * 3_000_000
    with Server(servers.always(reply(RAN.replace(b"hello", text.encode())))) as server:
        assert exec(BOX, "ls", config=client(server.url)).unwrap().stdout == text
