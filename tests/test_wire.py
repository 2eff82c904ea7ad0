"""What is sent, byte for byte, and what becomes of every kind of answer."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from returns.result import Failure, Result, Success

from pocketenv_fp import (
    ApiError,
    Config,
    DecodeError,
    ExecResult,
    InvalidInput,
    PocketenvError,
    ProfileNotFound,
    RateLimited,
    Sandbox,
    SandboxNotFound,
    ServerError,
    Step,
    TransportError,
    Unauthorized,
    create,
    create_backup,
    delete,
    exec,
    expose,
    get_profile,
    get_sandbox,
    list_sandboxes,
    me,
    pocketenv,
    start,
    stop,
    unexpose,
    using,
    vscode,
)
from pocketenv_fp.errors import TransportKind
from pocketenv_fp.xrpc import Call, nothing, query, send
from tests.peer import Peer, close, cut, http, peer, reset, silent

BOX = Sandbox(id="3f", name="calm-otter")
VIEW = {"sandbox": {"id": "3f", "name": "calm-otter", "status": "RUNNING"}}
RAN = {"stdout": "a", "stderr": "", "exitCode": 0}
TOKEN = "token-0123456789"
LS = exec("ls")


def at(serving: Peer, *, retries: int = 0, read_timeout: float = 5) -> Config:
    return Config(api_url=serving.url, token=TOKEN, retries=retries, read_timeout=read_timeout)


def test_a_query_is_a_get_with_its_parameters_and_no_body() -> None:
    with peer(http(200, VIEW)) as serving, using(at(serving)):
        assert get_sandbox("a/b?c&d=é").unwrap() is not None
    (asked,) = serving.asked
    assert asked.method == "GET"
    assert urlsplit(asked.target).path == "/xrpc/io.pocketenv.sandbox.getSandbox"
    assert parse_qs(urlsplit(asked.target).query) == {"id": ["a/b?c&d=é"]}
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"
    assert asked.headers["accept-encoding"] == "identity"
    assert asked.headers.keys().isdisjoint({"content-type", "content-length", "cookie"})


def test_a_procedure_without_input_has_no_body_at_all() -> None:
    for step in (delete, stop, vscode):
        with peer(http(200, {}), http(200, VIEW)) as serving, using(at(serving)):
            (BOX | step)  # pyright: ignore[reportUnusedExpression]
        assert serving.asked[0].method == "POST"
        assert serving.asked[0].body == b""
        assert serving.asked[0].headers["content-length"] == "0"
        assert "content-type" not in serving.asked[0].headers


@pytest.mark.parametrize(
    ("step", "body"),
    [
        (start, {}),
        (start(repo="https://x/y.git", keep_alive=False), {"repo": "https://x/y.git", "keepAlive": False}),
        (exec("ls | wc", ["-l", "it's", "$x", ""]), {"command": """ls | wc -l 'it'"'"'s' '$x' ''"""}),
        (expose(8080), {"port": 8080}),
        (expose(8080, description="web"), {"port": 8080, "description": "web"}),
        (unexpose(8080), {"port": 8080}),
        (create_backup("/workspace", ttl=60), {"directory": "/workspace", "ttl": 60}),
    ],
    ids=repr,
)
def test_a_procedure_with_input_sends_json_without_what_is_not_given(step: object, body: dict[str, object]) -> None:
    assert callable(step)
    with peer(http(200, b"")) as serving, using(at(serving)):
        step(BOX)
    assert json.loads(serving.asked[0].body) == body
    assert serving.asked[0].headers["content-type"] == "application/json"
    assert parse_qs(urlsplit(serving.asked[0].target).query) == {"id": ["3f"]}


def test_a_create_asks_for_the_default_base_on_cloudflare() -> None:
    shown = {"id": "3f", "name": "my-box"}
    answers = (http(200, shown), http(200, b""), http(200, {"sandbox": shown}))
    with peer(*answers) as serving, using(at(serving)):
        assert create("my-box") == Success(Sandbox(id="3f", name="my-box"))
    sent = json.loads(serving.asked[0].body)
    assert sent.keys() == {"name", "base", "provider"}
    assert (sent["name"], sent["provider"]) == ("my-box", "cloudflare")
    assert sent["base"].startswith("at://did:plc:")


def asked_with(answer: bytes, *, what: Step[Sandbox, object] = LS) -> Result[object, PocketenvError]:
    with peer(answer) as serving, using(at(serving)):
        return what(BOX)


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, "InvalidRequest", ApiError),
        (401, "AuthenticationRequired", Unauthorized),
        (403, "SandboxProviderError", ApiError),
        (404, "SandboxNotFound", SandboxNotFound),
        (404, "XRPCNotSupported", ApiError),
        (413, "PayloadTooLargeError", ApiError),
        (429, "Too many requests, please try again later.", RateLimited),
        (500, "InternalServerError", ServerError),
        (501, "MethodNotImplemented", ServerError),
        (502, "SandboxProviderError", ServerError),
        (302, "Found", ApiError),
    ],
)
def test_a_refusal_is_an_api_error_of_its_kind(status: int, error: str, kind: type[ApiError]) -> None:
    found = asked_with(http(status, {"error": error, "message": "told"})).failure()
    assert type(found) is kind
    assert isinstance(found, ApiError)
    assert (found.status, found.error, found.message, found.operation) == (status, error, "told", "sandbox.exec")


def test_a_refusal_with_less_than_the_contract_says() -> None:
    prose = asked_with(http(429, {"error": "Too many requests"}, Retry_After="30")).failure()
    assert prose == RateLimited(429, "Too many requests", "", "sandbox.exec", 30.0)
    page = asked_with(http(404, "<html>Cannot POST</html>", Content_Type="text/html")).failure()
    assert page == ApiError(404, "", "an answer that is not the platform's (text/html)", "sandbox.exec")
    assert asked_with(http(500, b"")).failure() == ServerError(
        500, "", "an answer that is not the platform's (no content type)", "sandbox.exec"
    )


def test_a_message_cannot_smuggle_the_token_or_control_characters() -> None:
    found = asked_with(http(400, {"error": "Bad", "message": f"Bearer {TOKEN}\x1b[31m\n" + "x" * 9999})).failure()
    assert isinstance(found, ApiError)
    assert TOKEN not in str(found)
    assert found.message.startswith("Bearer *** [31m x")
    assert len(found.message) < 600


@pytest.mark.parametrize(
    "answer",
    [b"", b"<html>", b"[]", b"null", b'"ok"', b"{", b"\xff\xfe", b'{"stdout": "", "stderr": ""}', b"[" * 100_000,
     b'{"stdout": "", "stderr": "", "exitCode": "0"}', b'{"stdout": "", "stderr": "", "exitCode": 0.5}',
     b'{"stdout": null, "stderr": "", "exitCode": 0}'],
    ids=lambda answer: answer[:30],
)  # fmt: skip
def test_an_answer_that_is_not_the_contracts_is_a_decode_error(answer: bytes) -> None:
    found = asked_with(http(200, answer)).failure()
    assert isinstance(found, DecodeError)
    assert found.operation == "sandbox.exec"


def test_a_missing_exit_code_is_named() -> None:
    found = asked_with(http(200, {"stdout": "top-secret", "stderr": ""})).failure()
    assert isinstance(found, DecodeError)
    assert "exitCode" in found.reason
    assert "top-secret" not in str(found)


@pytest.mark.parametrize("answer", [b"", b"{}", b'{"anything": 1}'])
def test_a_method_that_answers_nothing_may_say_it_in_two_ways(answer: bytes) -> None:
    assert asked_with(http(200, answer), what=delete) == Success(BOX)


@pytest.mark.parametrize("answer", [b"<html>login</html>", b"[]", b'"ok"'])
def test_a_page_in_the_place_of_nothing_is_not_a_success(answer: bytes) -> None:
    assert isinstance(asked_with(http(200, answer), what=delete).failure(), DecodeError)


@pytest.mark.parametrize(("answer", "found"), [({}, None), ({"sandbox": None}, None), (VIEW, "3f")])
def test_the_shapes_of_a_found_and_a_missing_sandbox(answer: object, found: str | None) -> None:
    with peer(http(200, answer)) as serving, using(at(serving)):
        seen = get_sandbox("x").unwrap()
    assert (seen.id if seen else None) == found


@pytest.mark.parametrize("answer", [{"id": "3f", "name": "flat"}, [], {"sandbox": {}}, {"sandbox": []}])
def test_any_other_answer_about_a_sandbox_is_a_decode_error(answer: object) -> None:
    with peer(http(200, answer)) as serving, using(at(serving)):
        assert isinstance(get_sandbox("x").failure(), DecodeError)


def test_a_catalogue_without_a_total_is_a_database_error_and_not_an_empty_catalogue() -> None:
    with peer(http(200, {"sandboxes": []})) as serving, using(at(serving)):
        assert isinstance(list_sandboxes().failure(), DecodeError)


def test_an_empty_profile_is_a_failure() -> None:
    with peer(http(200, {})) as serving, using(at(serving)):
        for result in (me(), get_profile("did:plc:x")):
            assert isinstance(result.failure(), ProfileNotFound)


def test_a_key_that_another_client_stored_in_clear_is_masked_on_arrival() -> None:
    clear = "-----BEGIN RSA PRIVATE KEY-----\ntop-secret\n-----END RSA PRIVATE KEY-----"
    with peer(http(200, {"id": "k", "publicKey": "p", "privateKey": clear})) as serving, using(at(serving)):
        assert pocketenv.get_ssh_keys("3f").unwrap().private_key == "***"
    with peer(http(200, {"id": "k", "authKey": "tskey-auth-clear"})) as serving, using(at(serving)):
        assert pocketenv.get_tailscale_auth_key("3f").unwrap().auth_key == "***"


def test_a_redirect_is_not_followed_and_a_cookie_not_kept() -> None:
    with peer(http(200, VIEW)) as elsewhere:
        moved = http(307, b"", Location=f"{elsewhere.url}/steal", Set_Cookie="a=b")
        with peer(moved, http(200, VIEW)) as serving, using(at(serving)):
            found = get_sandbox("x").failure()
            get_sandbox("x").unwrap()
    assert isinstance(found, ApiError)
    assert found.status == 307
    assert elsewhere.asked == []
    assert "cookie" not in serving.asked[1].headers


TROUBLES: dict[str, tuple[object, TransportKind]] = {
    "hung up": (close, "dropped"),
    "reset": (reset, "dropped"),
    "cut in the body": (cut(http(200, RAN)[:-4]), "dropped"),
    "cut in a chunk": (cut(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\nabc"), "dropped"),
    "not HTTP": (cut(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "protocol"),
    "a bad chunk size": (cut(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n"), "protocol"),
    "a bad encoding": (cut(http(200, b"abc", Content_Encoding="gzip")), "protocol"),
    "a head without end": (cut(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 1000), "protocol"),
    "a huge header": (cut(b"HTTP/1.1 200 OK\r\nX-A: " + b"b" * 200_000 + b"\r\n\r\n"), "protocol"),
    "a status that is none": (cut(b"HTTP/1.1 9999 OK\r\n\r\n"), "protocol"),
    "silence": (silent(3), "timeout"),
}


@pytest.mark.parametrize(("answer", "kind"), TROUBLES.values(), ids=TROUBLES)
def test_a_broken_answer_is_a_transport_error_that_may_have_been_sent(
    answer: bytes, kind: TransportKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pocketenv_fp.sandbox.commands.GRACE_SECONDS", 0)
    with peer(answer) as serving, using(at(serving, read_timeout=0.5)):
        found = (BOX | exec("ls", timeout=0.5)).failure()
    assert isinstance(found, TransportError)
    assert (found.kind, found.operation, found.maybe_sent) == (kind, "sandbox.exec", True)
    assert "look before trying again" in str(found)
    assert len(serving.asked) == 1, "an exec is never sent twice"


def test_text_that_is_no_unicode_is_refused_before_anything_is_sent() -> None:
    with peer(http(200, RAN)) as serving, using(at(serving)):
        for result in (BOX | exec("echo \ud800"), get_sandbox("\ud800"), BOX | expose(8080, description="\ud800")):
            assert isinstance(result.failure(), InvalidInput)
    assert serving.asked == []


def test_a_call_shows_names_and_never_values() -> None:
    call = Call("secret.addSecret", nothing, {"id": "top-secret"}, {"secret": {"value": "top-secret"}})
    assert repr(call) == "POST io.pocketenv.secret.addSecret(id) with body (secret)"


def test_a_call_is_a_value_that_can_be_sent_by_hand() -> None:
    with peer(http(200, RAN)) as serving:
        result = send(query("sandbox.getSandbox", bytes.decode, {"id": "x"}), config=at(serving))
    assert json.loads(result.unwrap()) == RAN


def test_results_of_success_are_decoded() -> None:
    assert asked_with(http(200, RAN | {"cwd": "/workspace"})) == Success(ExecResult("a", "", 0))
    assert asked_with(http(200, {"previewUrl": None}), what=expose(8080)) == Success(None)
    assert asked_with(http(200, {}), what=expose(8080)) == Success(None)
    assert asked_with(http(200, {"previewUrl": ""}), what=vscode) == Success(None)
    assert asked_with(http(200, {"previewUrl": "https://x"}), what=expose(8080)) == Success("https://x")
    assert isinstance(asked_with(http(200, {"previewUrl": 3}), what=expose(8080)), Failure)
