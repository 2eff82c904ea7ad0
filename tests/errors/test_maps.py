"""Errors as data, as exceptions and as Clojure's result maps; and the names that a ported program looks for."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from returns.result import Failure, Success
from toolz import get_in  # pyright: ignore[reportUnknownVariableType]  # toolz has no types

import pocketenv_fp
from pocketenv_fp import (
    ApiError,
    ArchiveError,
    CodeFailed,
    CodeTimeout,
    CommandFailed,
    CommandTimeout,
    ContextLost,
    DeadlineExceeded,
    DecodeError,
    EncryptionError,
    ExecResult,
    InvalidInput,
    Job,
    JobNotFound,
    JobTimeout,
    LoginFailed,
    LoginTimeout,
    MalformedToken,
    NameTaken,
    NotLoggedIn,
    NotRestored,
    NotSupported,
    Page,
    PathNotFound,
    PathTaken,
    PocketenvError,
    Port,
    ProfileNotFound,
    RateLimited,
    RecordNotFound,
    RepositoryTaken,
    Sandbox,
    SandboxNotFound,
    ServerError,
    ServerTimeout,
    SessionLost,
    ShellBusy,
    ShellLost,
    SshKey,
    SshKeyPair,
    Status,
    TerminalToken,
    TransportError,
    Unauthorized,
    WaitTimeout,
    WorkerLost,
    errors,
    from_map,
    pocketenv,
    raise_for,
    sandbox,
    to_map,
)
from tests.examples import examples
from tests.names import public_names

texts = st.text(st.characters(codec="utf-8"), max_size=20)
KINDS: dict[type[PocketenvError], st.SearchStrategy[Any]] = {
    NotLoggedIn: st.builds(NotLoggedIn),
    LoginFailed: st.builds(LoginFailed, texts),
    LoginTimeout: st.builds(LoginTimeout, st.floats(0.1, 1e6)),
    InvalidInput: st.builds(InvalidInput, texts, texts),
    ApiError: st.builds(ApiError, st.sampled_from([302, 400, 403, 404, 413, 415]), texts, texts, texts),
    SandboxNotFound: st.builds(SandboxNotFound, message=texts, operation=texts),
    RecordNotFound: st.builds(RecordNotFound, message=texts, operation=texts),
    JobNotFound: st.builds(JobNotFound, message=texts, operation=texts),
    CodeFailed: st.builds(CodeFailed, texts, texts, texts, texts, texts),
    CodeTimeout: st.builds(CodeTimeout, st.floats(0.1, 1e6), texts, texts, st.booleans()),
    ContextLost: st.builds(ContextLost, texts, texts, texts),
    JobTimeout: st.builds(JobTimeout, st.floats(0.1, 1e6), texts),
    ServerTimeout: st.builds(ServerTimeout, st.floats(0.1, 1e6), st.integers(1, 65535), texts),
    NotRestored: st.builds(NotRestored, texts, texts, texts),
    PathNotFound: st.builds(PathNotFound, message=texts, operation=texts),
    NameTaken: st.builds(NameTaken, message=texts, operation=texts, is_yours=st.none() | st.booleans()),
    PathTaken: st.builds(PathTaken, message=texts, operation=texts),
    MalformedToken: st.builds(MalformedToken, message=texts, operation=texts),
    RepositoryTaken: st.builds(RepositoryTaken, message=texts, operation=texts),
    ProfileNotFound: st.builds(ProfileNotFound, message=texts, operation=texts),
    Unauthorized: st.builds(Unauthorized, st.just(401), texts, texts, texts),
    RateLimited: st.builds(RateLimited, st.just(429), texts, texts, texts, st.none() | st.floats(0, 1e6)),
    ServerError: st.builds(ServerError, st.integers(500, 599), texts, texts, texts),
    TransportError: st.builds(
        TransportError, st.sampled_from(["connect", "timeout", "tls"]), texts, texts, maybe_sent=st.booleans()
    ),
    DecodeError: st.builds(DecodeError, texts, texts),
    WaitTimeout: st.builds(WaitTimeout, st.none() | st.floats(0, 1e6), st.none() | texts),
    CommandFailed: st.builds(CommandFailed, st.integers(1, 255), texts, texts),
    CommandTimeout: st.builds(CommandTimeout, st.floats(0.1, 1e6), texts, texts, st.booleans()),
    DeadlineExceeded: st.builds(DeadlineExceeded, st.floats(0.1, 1e6), texts, st.booleans()),
    WorkerLost: st.builds(WorkerLost),
    NotSupported: st.builds(NotSupported, texts, texts, texts),
    ShellLost: st.builds(ShellLost, texts),
    ShellBusy: st.builds(ShellBusy, st.floats(0.1, 1e6), texts),
    SessionLost: st.builds(SessionLost, message=texts, operation=texts, left=texts),
    ArchiveError: st.builds(ArchiveError, texts, texts),
    EncryptionError: st.builds(EncryptionError, texts),
}
EACH = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
SOME = settings(max_examples=examples(25), deadline=None)

# What Clojure's shape has no place for, and what it is when it is read back.
LOST: dict[type[PocketenvError], dict[str, object]] = {
    ApiError: {"operation": ""},
    SandboxNotFound: {"operation": ""},
    Unauthorized: {"operation": ""},
    RateLimited: {"operation": ""},
    ServerError: {"operation": ""},
    WaitTimeout: {"seconds": None, "last_status": None},
}


def values(error: PocketenvError) -> dict[str, object]:
    return {field.name: getattr(error, field.name) for field in dataclasses.fields(error)}


def test_kinds_covers_every_class() -> None:
    """`KINDS` has examples of every exported error class."""
    named = {getattr(errors, name) for name in errors.__all__}
    classes = {each for each in named if isinstance(each, type) and issubclass(each, PocketenvError)}
    assert {*KINDS, PocketenvError} == classes


# Result maps


@EACH
@given(st.data())
@SOME
def test_from_map_round_trip_of_errors(kind: type[PocketenvError], data: st.DataObject) -> None:
    """A map is read back as its error, except for the fields that Clojure's map lacks."""
    error = data.draw(KINDS[kind])
    back = from_map(to_map(Failure(error))).failure()
    assert type(back) is kind
    assert values(back) == values(error) | LOST.get(kind, {})
    assert to_map(Failure(back)) == to_map(Failure(error))


@EACH
@given(st.data())
@SOME
def test_to_map_of_failure(kind: type[PocketenvError], data: st.DataObject) -> None:
    """The map of a failure is plain data, and JSON keeps it unchanged."""
    shape = to_map(Failure(data.draw(KINDS[kind])))
    assert list(shape) == ["error"]
    assert json.loads(json.dumps(shape)) == shape


@pytest.mark.parametrize("value", [None, 0, 1.5, "", [], {"error": "not_logged_in"}, {"a": [1, {"b": None}]}], ids=repr)
def test_to_map_plain_data(value: object) -> None:
    """Plain data in a Success is unchanged in both directions."""
    shape = to_map(Success(value))
    assert shape == {"ok": value}
    assert from_map(shape).unwrap() == value


MOMENT = datetime(2026, 4, 1, 12, 30, tzinfo=UTC)
BOX = Sandbox(id="1", name="a", status=Status.RUNNING, topics=("x",), created_at=MOMENT, display_name="A")
RAN = ExecResult("out\n", "", 3)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (RAN, {"stdout": "out\n", "stderr": "", "exit-code": 3}),
        (
            Port(8080, None, "https://a.example"),
            {"port": 8080, "description": None, "preview-url": "https://a.example"},
        ),
        (Status.STOPPED, "stopped"),
        (MOMENT, "2026-04-01T12:30:00Z"),
        (Path("a/b"), "a/b"),
        (Page((Port(1),), 7), [{"port": 1, "description": None, "preview-url": None}]),
        ((1, [RAN]), [1, [{"stdout": "out\n", "stderr": "", "exit-code": 3}]]),
        ({"ran": RAN}, {"ran": {"stdout": "out\n", "stderr": "", "exit-code": 3}}),
        (Success(1), {"ok": 1}),
        ([Failure(NotLoggedIn())], [{"error": "not_logged_in"}]),
        (InvalidInput("a", "b"), {"type": "invalid_input", "field": "a", "reason": "b"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_to_map_deep(value: object, plain: object) -> None:
    """Records, pages, lists and dicts become data that JSON can hold."""
    shape = to_map(Success(value))
    assert shape == {"ok": plain}
    assert json.loads(json.dumps(shape)) == shape


def test_to_map_of_sandbox_keywords() -> None:
    """Names have hyphens, a status is in small letters, times are strings."""
    shape = to_map(Success(BOX))
    assert get_in(["ok", "status"], shape) == "running"
    assert get_in(["ok", "created-at"], shape) == "2026-04-01T12:30:00Z"
    assert get_in(["ok", "display-name"], shape) == "A"
    assert get_in(["ok", "topics"], shape) == ["x"]


@pytest.mark.parametrize(
    "record",
    [
        TerminalToken("top-secret"),
        SshKeyPair("top-secret", "b"),
        SshKey(id="1", public_key="b", private_key="top-secret"),
    ],
    ids=repr,
)
def test_to_map_masks_secrets(record: object) -> None:
    """A stored map has no key in it."""
    shape = to_map(Success([record]))
    assert "top-secret" not in repr(shape)
    assert "***" in repr(shape)


KINDS_OF_VALUES: list[tuple[object, Any]] = [
    (BOX, Sandbox),
    (RAN, ExecResult),
    ([Port(1), Port(2, "web")], list[Port]),
    (Page((BOX,), 1), Page[Sandbox]),
    (Job(BOX, "x"), Job),
    (Status.INITIALIZING, Status),
    ("text", str),
    (None, None),
    ({"exit_code": [1]}, dict[str, list[int]]),
]


@pytest.mark.parametrize(("value", "kind"), KINDS_OF_VALUES, ids=lambda each: repr(each)[:20])
def test_from_map_of_kind(value: object, kind: Any) -> None:
    """A map that went through JSON is read back as the record that it was."""
    shape = json.loads(json.dumps(to_map(Success(value))))
    assert from_map(shape, kind) == Success(value)


def test_from_map_reads_other_spellings() -> None:
    """Clojure has a map of sandboxes, keywords may have their colon, and the platform writes camelCase."""
    listed = {"sandboxes": [{"id": "1", "name": "a", "status": ":running"}], "total": 3}
    assert from_map({"ok": listed}, Page[Sandbox]) == Success(
        Page((Sandbox(id="1", name="a", status=Status.RUNNING),), 3)
    )
    assert from_map({"ok": {"port": 1, "previewUrl": "u"}}, Port) == Success(Port(1, None, "u"))
    assert from_map({"ok": {"stdout": "", "stderr": "", "exit_code": 1}}, ExecResult) == Success(ExecResult("", "", 1))


@pytest.mark.parametrize(("value", "kind"), [({"id": 3}, Sandbox), ([], Sandbox), ("a", int), (3, Page[Sandbox])])
def test_from_map_wrong_kind_raises(value: object, kind: Any) -> None:
    """A value of another shape is not taken for the kind."""
    with pytest.raises(ValueError, match="from_map: the value has another type"):
        from_map({"ok": value}, kind)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("not_logged_in", NotLoggedIn()),
        (":not-logged-in", NotLoggedIn()),
        (":timeout", WaitTimeout()),
        ("no route to host", ApiError(0, message="no route to host")),
    ],
)
def test_from_map_plain_string(words: str, error: PocketenvError) -> None:
    """A plain string is a Failure with these words, and goes back as it came."""
    assert from_map({"error": words}) == Failure(error)
    if isinstance(error, ApiError):
        assert to_map(Failure(error)) == {"error": words}
        assert str(error) == "no route to host."


@pytest.mark.parametrize("kind", [kind for kind in KINDS if issubclass(kind, ApiError)])
def test_to_map_of_api_errors(kind: type[ApiError]) -> None:
    """The place of the status and the message does not depend on the class."""
    shape = to_map(Failure(kind(status=418, error="Teapot", message="short")))
    assert get_in(["error", "status"], shape) == 418
    assert get_in(["error", "body"], shape) == {"error": "Teapot", "message": "short"}


@pytest.mark.parametrize(
    "shape",
    [
        None,
        3,
        "ok",
        ["ok", 3],
        {"error": None},
        {"error": {}},
        {"error": {"status": "404"}},
        {"error": {"status": None}},
        {"error": {"status": True}},
        {"error": {"type": "InvalidInput", "field": "a", "reason": "b"}},
        {"error": {"type": "invalid_input"}},
        {"error": {"type": "invalid_input", "field": "a", "reason": "b", "more": 1}},
    ],
    ids=repr,
)
def test_from_map_invalid_map_raises(shape: Any) -> None:
    """A value that is not a result map is a TypeError or a ValueError."""
    with pytest.raises((TypeError, ValueError)):
        from_map(shape)


def test_from_map_ignores_extra_keys() -> None:
    """Keys that a platform adds to the map or its body are ignored."""
    shape = {"error": {"status": 404, "body": {"error": "SandboxNotFound", "message": "gone", "trace": [1]}, "id": 3}}
    assert from_map(shape) == Failure(SandboxNotFound(message="gone"))


@pytest.mark.parametrize("body", ["gone", '{"message": "gone"}', {"message": "gone"}], ids=repr)
def test_from_map_string_body(body: object) -> None:
    """It is JSON, or the message itself."""
    assert from_map({"error": {"status": 400, "body": body}}) == Failure(ApiError(400, "", "gone"))


@pytest.mark.parametrize("body", [None, b"gone", ["gone"], {"message": 3}, 3], ids=repr)
def test_from_map_odd_body_keeps_status(body: object) -> None:
    """An unreadable body leaves an ApiError with the status only."""
    assert from_map({"error": {"status": 400, "body": body}}) == Failure(ApiError(400))


# Values


@EACH
@given(st.data())
@SOME
def test_errors_compare_and_copy_by_fields(kind: type[PocketenvError], data: st.DataObject) -> None:
    """Errors are compared, hashed, copied and pickled by their fields."""
    error, other = data.draw(KINDS[kind]), data.draw(KINDS[kind])
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is kind
        assert twin == error
        assert hash(twin) == hash(error)
        assert str(twin) == str(error)
    assert (error == other) == (values(error) == values(other))


@EACH
@given(st.data())
@SOME
def test_errors_match_by_position(kind: type[PocketenvError], data: st.DataObject) -> None:
    """A pattern matches the fields of an error by position, in their order."""
    error = data.draw(KINDS[kind])
    assert kind.__match_args__ == tuple(values(error))
    match error:
        case ApiError(status, name, message, operation):
            assert (status, name, message, operation) == tuple(values(error).values())[:4]
        case InvalidInput(first, second) | DecodeError(first, second) | WaitTimeout(first, second):
            assert (first, second) == tuple(values(error).values())
        case TransportError(first, second, third, fourth):
            assert (first, second, third, fourth) == tuple(values(error).values())
        case CodeFailed(first, second, third, fourth, fifth):
            assert (first, second, third, fourth, fifth) == tuple(values(error).values())
        case CommandFailed(first, second, third) | ContextLost(first, second, third):
            assert (first, second, third) == tuple(values(error).values())
        case CommandTimeout(first, second, third, fourth) | CodeTimeout(first, second, third, fourth):
            assert (first, second, third, fourth) == tuple(values(error).values())
        case (
            DeadlineExceeded(first, second, third)
            | NotSupported(first, second, third)
            | ServerTimeout(first, second, third)
            | NotRestored(first, second, third)
        ):
            assert (first, second, third) == tuple(values(error).values())
        case ArchiveError(first, second) | ShellBusy(first, second) | JobTimeout(first, second):
            assert (first, second) == tuple(values(error).values())
        case EncryptionError(first) | ShellLost(first) | LoginFailed(first) | LoginTimeout(first):
            assert (first,) == tuple(values(error).values())
        case _:
            assert kind in {NotLoggedIn, WorkerLost}


EXAMPLES: list[PocketenvError] = [
    NotLoggedIn(),
    LoginFailed("port 6997 cannot be used"),
    LoginTimeout(300.0),
    InvalidInput("port", "is too low"),
    ApiError(400, "InvalidRequest", "no", "sandbox.exec"),
    SandboxNotFound(message="gone"),
    RecordNotFound(message="none"),
    PathNotFound(message="none"),
    JobNotFound(message="none"),
    JobTimeout(2.0, "nightly"),
    ServerTimeout(2.0, 8080, "the status was 503"),
    NotRestored("/workspace", "the archive x", "the platform failed"),
    NameTaken(message="taken"),
    PathTaken(message="taken"),
    MalformedToken(message="Internal Server Error"),
    RepositoryTaken(message="taken"),
    ProfileNotFound(message="none"),
    Unauthorized(401, "AuthenticationRequired"),
    RateLimited(429, "slow", retry_after=30.0),
    ServerError(502, "SandboxProviderError"),
    TransportError("timeout", "no response in time", "sandbox.exec", maybe_sent=True),
    DecodeError("sandbox.exec", "it is not JSON"),
    WaitTimeout(60.0, "INITIALIZING"),
    CommandFailed(2, "output", "trouble"),
    CommandTimeout(1.5, "output", "trouble"),
    CodeFailed("ZeroDivisionError", "division by zero", "Traceback", "output", "trouble"),
    CodeTimeout(1.5, "output", "trouble"),
    CodeTimeout(1.5, is_lost=True),
    ContextLost("main", "output", "trouble"),
    DeadlineExceeded(1.5, "sandbox.exec", maybe_sent=True),
    WorkerLost(),
    NotSupported("vscode", "daytona", "Run an editor in the sandbox."),
    ShellLost("sandbox.exec"),
    ShellBusy(40.0, "sandbox.exec"),
    SessionLost(message="no session", left="sandbox_1"),
    ArchiveError("leads outside", "../x"),
    EncryptionError("the value is not valid Unicode"),
]
EXAMPLE = pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)


@EXAMPLE
def test_errors_copy_notes(error: PocketenvError) -> None:
    """A note on a copy is not on the original."""
    original = copy.copy(error)
    original.add_note("first")
    twin = copy.copy(original)
    twin.add_note("second")
    assert (original.__notes__, twin.__notes__) == (["first"], ["first", "second"])


# What a person can do about each. An ApiError without a kind has only the platform's words.
REMEDIES: dict[type[PocketenvError], str] = {
    NotLoggedIn: r"python -m pocketenv_fp login HANDLE\. Or set POCKETENV_TOKEN",
    LoginFailed: r"port 6997 cannot be used\. The token file is unchanged",
    LoginTimeout: r"--app-password",
    SandboxNotFound: r"Check the id or name",
    RecordNotFound: r"List the sandbox.s records",
    ServerTimeout: r"read its output with service_logs",
    JobNotFound: r"Check the id with list_jobs",
    JobTimeout: r"end it with cancel",
    NotRestored: r"put it back with upload",
    PathNotFound: r"A relative path starts at /workspace",
    NameTaken: r"Choose another name",
    PathTaken: r"Choose another path",
    MalformedToken: r"Set POCKETENV_TOKEN",
    RepositoryTaken: r"reuse=True",
    ProfileNotFound: r"Check the DID or handle",
    Unauthorized: r"Log in again",
    RateLimited: r"send no request for retry_after seconds",
    ServerError: r"a token with a bad signature, a name that is taken",
    TransportError: r"check before you retry",
    DecodeError: r"POCKETENV_API_URL is not a Pocketenv",
    WaitTimeout: r"Raise timeout=",
    CommandFailed: r"Its output is in \.stdout and \.stderr",
    CommandTimeout: r"Raise timeout=",
    CodeFailed: r"The traceback is in \.traceback",
    CodeTimeout: r"Raise timeout=",
    ContextLost: r"the next run_code starts a new one",
    DeadlineExceeded: r"sandbox\.exec: not done within 1\.5 s\. The platform may have executed it",
    NotSupported: r"vscode: the provider daytona does not support it. Run an editor",
    ShellLost: r"Stop and start the sandbox",
    ShellBusy: r"Wait for the earlier command",
    SessionLost: r"Log in to Pocketenv again",
    WorkerLost: r"look for it by its name",
    InvalidInput: r"port: is too low",
    ArchiveError: r"\.\./x: leads outside",
    EncryptionError: r"not valid Unicode",
    ApiError: r"sandbox\.exec: no \(400 InvalidRequest\)",
}


@EXAMPLE
def test_errors_message_names_remedy(error: PocketenvError) -> None:
    """The message of an error names a remedy or the cause."""
    with pytest.raises(type(error), match=REMEDIES[type(error)]):
        raise_for(Failure(error))


def test_transport_error_names_safe_retry() -> None:
    """The message of a TransportError recommends a retry only where a retry is safe."""
    assert "you can retry" in str(TransportError("connect", "refused"))
    assert "you can retry" not in str(TransportError("dropped", "cut", maybe_sent=True))


# Exceptions


@contextmanager
def cleaning(cleaned: list[str]) -> Generator[None]:
    try:
        yield
    finally:
        cleaned.append("cleaned")


@EXAMPLE
def test_errors_through_context_managers(error: PocketenvError) -> None:
    """An error passes nested context managers unchanged, and each of them cleans up."""
    # contextlib sets __traceback__ on what passes: an exception that is frozen would be replaced on its way.
    cleaned: list[str] = []
    with pytest.raises(type(error)) as raised, cleaning(cleaned), cleaning(cleaned):
        raise_for(Failure(error))
    assert raised.value is error
    assert cleaned == ["cleaned"] * 2


@EXAMPLE
def test_errors_in_exception_group(error: PocketenvError) -> None:
    """`except*` catches an error in a group of exceptions."""
    caught: list[object] = []
    try:
        raise ExceptionGroup("several boxes", [ValueError("another"), error])
    except* PocketenvError as group:
        caught += group.exceptions
    except* ValueError:
        pass
    assert error in caught


def test_errors_cross_processes() -> None:
    """An error of a worker process is raised in the parent with all its fields."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        raised = [pool.submit(raise_for, Failure(error)).exception() for error in EXAMPLES]
    assert raised == EXAMPLES


# Names


# The functions of the Clojure SDK: a ported program finds each of them under its own name.
ACCOUNT = """create-sandbox get-sandbox list-sandboxes list-sandboxes-by-actor me get-profile list-secrets add-secret
    delete-secret get-ssh-keys put-ssh-keys get-tailscale-auth-key put-tailscale-auth-key"""
SANDBOX = """start stop delete wait-until-running exec expose unexpose list-ports vscode list-secrets set-secret
    delete-secret get-ssh-keys set-ssh-keys get-tailscale-auth-key set-tailscale-auth-key upload download copy-to
    create-backup list-backups restore-backup"""


def in_python(names: str) -> set[str]:
    return set(names.replace("-", "_").split())


def test_pocketenv_clojure_functions() -> None:
    """The account namespace has Clojure's functions and the alias `create`."""
    assert in_python(f"{ACCOUNT} create") <= set(public_names(pocketenv))
    assert pocketenv.create is pocketenv.create_sandbox


def test_sandbox_clojure_functions() -> None:
    """The sandbox namespace has Clojure's functions."""
    assert in_python(SANDBOX) <= set(public_names(sandbox))


@pytest.mark.parametrize("namespace", [pocketenv, sandbox, pocketenv_fp, errors], ids=lambda module: module.__name__)
def test_all_unique_and_sorted(namespace: Any) -> None:
    """Each name in `__all__` exists, once and in order."""
    assert namespace.__all__ == sorted(set(namespace.__all__))
    assert all(hasattr(namespace, name) for name in namespace.__all__)


def test_all_same_objects_at_the_top() -> None:
    """A name of the package is the same object in its namespace."""
    for namespace in (sandbox, errors):
        for name in set(namespace.__all__) & set(public_names(pocketenv_fp)):
            assert getattr(pocketenv_fp, name) is getattr(namespace, name)
