"""The tree of errors: its shape, its words, and that its members behave as values and as exceptions."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from returns.primitives.exceptions import UnwrapFailedError
from returns.result import Failure, Result, Success

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
    InvalidInput,
    JobNotFound,
    JobTimeout,
    LoginFailed,
    LoginTimeout,
    MalformedToken,
    NameTaken,
    NotLoggedIn,
    NotRestored,
    NotSupported,
    PathNotFound,
    PathTaken,
    PocketenvError,
    ProfileNotFound,
    RateLimited,
    RecordNotFound,
    RepositoryTaken,
    SandboxNotFound,
    ServerError,
    ServerTimeout,
    SessionLost,
    ShellBusy,
    ShellLost,
    TransportError,
    Unauthorized,
    WaitTimeout,
    WorkerLost,
    from_map,
    raise_for,
    to_map,
)
from pocketenv_fp.errors import Place, tree
from tests.names import public_names

EXAMPLES: list[PocketenvError] = [
    NotLoggedIn(),
    LoginFailed("port 6997 of this machine cannot be used"),
    LoginTimeout(300.0),
    InvalidInput("port", "is too low"),
    ApiError(400, "InvalidRequest", "Sandbox is not running", "sandbox.pushDirectory"),
    ApiError(418),
    SandboxNotFound(404, "SandboxNotFound", "Sandbox not found", "sandbox.exec"),
    SandboxNotFound(message="gone"),
    RecordNotFound(message="no secret is called X", operation="get_secret"),
    JobNotFound(message="there is no job x", operation="job"),
    JobTimeout(2.0, "nightly"),
    CodeFailed("ZeroDivisionError", "division by zero", "Traceback", "output", "trouble"),
    CodeTimeout(1.5, "output", "trouble"),
    CodeTimeout(1.5, is_lost=True),
    ContextLost("main", "output", "trouble"),
    ServerTimeout(2.0, 8080, "the status was 503"),
    NotRestored("/workspace", "the archive x", "the platform failed"),
    PathNotFound(message="there is no /workspace/output", operation="download"),
    NameTaken(message="my-box is taken", operation="sandbox.putPreferences"),
    PathTaken(message="/models is taken", operation="volume.addVolume"),
    MalformedToken(500, "InternalServerError", "Internal Server Error", "sandbox.exec"),
    RepositoryTaken(message="the sandbox older has it", operation="sandbox.createSandbox"),
    ProfileNotFound(message="none for x"),
    Unauthorized(401, "AuthenticationRequired", "Unauthorized"),
    RateLimited(429, "Too many requests, please try again later.", retry_after=30.0),
    ServerError(502, "SandboxProviderError", "no"),
    TransportError("connect", "no connection: Connection refused", "sandbox.exec"),
    TransportError("timeout", "no response in time", "sandbox.exec", maybe_sent=True),
    DecodeError("sandbox.exec", "it is not JSON"),
    WaitTimeout(60.0, "INITIALIZING"),
    WaitTimeout(),
    CommandFailed(2, "output", "trouble"),
    CommandTimeout(1.5, "output", "trouble"),
    DeadlineExceeded(1.5, "sandbox.exec", maybe_sent=True),
    WorkerLost(),
    NotSupported("vscode", "daytona", "Run an editor in the sandbox and expose its port."),
    NotSupported("create_integration"),
    ShellLost("sandbox.exec"),
    ShellBusy(40.0, "sandbox.exec"),
    SessionLost(500, "AgentCreationError", "no session", "sandbox.createSandbox", "sandbox_1"),
    ArchiveError("leads outside", "../x"),
    EncryptionError("the value is not valid Unicode"),
]
EACH = pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)


def descendants(kind: type[PocketenvError]) -> set[type[PocketenvError]]:
    return {kind}.union(*(descendants(child) for child in kind.__subclasses__()))


def test_examples_cover_public_classes() -> None:
    """`EXAMPLES` covers all error classes, and all of them are public."""
    assert {type(error) for error in EXAMPLES} | {PocketenvError} == descendants(PocketenvError)
    assert all(getattr(pocketenv_fp, kind.__name__) is kind for kind in descendants(PocketenvError))


def test_tree_docstring_matches_classes() -> None:
    """The tree in the docstring shows the real base class of each error."""
    drawn: dict[str, str] = {}
    path: list[str] = ["PocketenvError"]
    for line in (tree.__doc__ or "").splitlines():
        if found := re.match(r"    ([│ ]*)[├└]── (\w+)", line):
            depth = len(found[1]) // 4 + 1
            path[depth:] = [found[2]]
            drawn[found[2]] = path[depth - 1]
    real = {kind.__name__: kind.__bases__[0].__name__ for kind in descendants(PocketenvError) - {PocketenvError}}
    assert drawn == real


@EACH
def test_errors_message_in_full_sentences(error: PocketenvError) -> None:
    """The message of an error starts with its summary and ends with a full stop."""
    assert str(error).startswith(error.summary())
    assert str(error).endswith((".", "…"))
    assert "None" not in str(error)


@EACH
def test_errors_as_values(error: PocketenvError) -> None:
    """Errors with equal fields are equal, have equal hashes and a repr of their class."""
    names: tuple[str, ...] = type(error).__match_args__
    fields = [getattr(error, name) for name in names]
    twin = type(error)(*fields)
    assert error == twin
    assert hash(error) == hash(twin)
    assert error != ArchiveError("another")
    assert repr(error).startswith(f"{type(error).__name__}(")


@EACH
def test_errors_pickle_with_notes(error: PocketenvError) -> None:
    """A pickle keeps the notes of an error."""
    noted = pickle.loads(pickle.dumps(error))
    noted.add_note("while testing")
    twin = pickle.loads(pickle.dumps(noted))
    assert twin == error
    assert (str(twin), twin.__notes__) == (str(error), ["while testing"])


@EACH
def test_errors_raise_and_chain(error: PocketenvError) -> None:
    """An error can be raised through a context manager and has its cause."""

    @contextmanager
    def passing() -> Generator[None]:
        yield

    with pytest.raises(type(error)) as raised, passing():
        raise error from ValueError("cause")
    assert raised.value is error
    assert isinstance(error.__cause__, ValueError)


def test_api_error_without_reason() -> None:
    """A refusal without a reason recommends a start of the sandbox."""
    refused = ApiError(400, "InvalidRequest", "Request failed with status code 400", "sandbox.exec")
    assert str(refused).endswith("If the sandbox is stopped, start it.")
    assert "start it" not in str(ApiError(400, "InvalidRequest", "Input/port must be an integer"))


def test_errors_unequal() -> None:
    """Errors with different fields or classes are not equal."""
    assert ApiError(404) != ApiError(400)
    assert ApiError(404, "SandboxNotFound") != SandboxNotFound(404, "SandboxNotFound")
    assert NotLoggedIn() != "not logged in"


def test_errors_standard_bases() -> None:
    """Timeouts are TimeoutErrors, and invalid input is a ValueError."""
    assert isinstance(WaitTimeout(3, "STOPPED"), TimeoutError)
    assert isinstance(InvalidInput("a", "b"), ValueError)


def test_errors_match_by_parent() -> None:
    """A pattern of the parent class matches an error by position."""
    match Failure(RateLimited(429, "slow", "", "x", 3.0)):
        case Failure(ApiError(429, _, _, "x") as error):
            assert isinstance(error, RateLimited)
        case _:
            pytest.fail("no match")


def test_raise_for_raises_same_error() -> None:
    """`raise_for` raises the error itself, and `unwrap` raises UnwrapFailedError."""
    error = NotLoggedIn()
    failed: Result[int, PocketenvError] = Failure(error)
    with pytest.raises(NotLoggedIn) as raised:
        raise_for(failed)
    assert raised.value is error
    assert raise_for(Success(3)) == 3
    with pytest.raises(UnwrapFailedError):
        failed.unwrap()


def test_command_failed_hides_output() -> None:
    """The output of a command is in the fields of CommandFailed, and not in its message or repr."""
    error = CommandFailed(1, "top-secret", "top-secret")
    assert error.stdout == error.stderr == "top-secret"
    assert "top-secret" not in f"{error}{error!r}{error.summary()}"
    assert "top-secret" not in f"{error.quoting('top-secret')!r}{error.quoting('top-secret').summary()}"


def test_command_failed_quotes_its_tail() -> None:
    """The message ends with the tail, which is copied and pickled, and not compared."""
    error = CommandFailed(2, "out", "a\nb\n")
    quoted = error.quoting("a\nb")
    assert str(quoted) == f"{error} The end of stderr:\n    a\n    b"
    assert quoted == error
    for twin in (
        pickle.loads(pickle.dumps(quoted)),
        copy.copy(quoted),
        quoted.at(Place("exec('a')", 1, "exec('a')", 1)),
    ):
        assert twin.tail == "a\nb"
    with pytest.raises(CommandFailed, match=r"The end of stderr:\n    a\n    b$"):
        raise_for(Failure(quoted))


LOSSLESS = [
    error
    for error in EXAMPLES
    if not isinstance(error, (WaitTimeout, ApiError))
    or isinstance(error, (JobNotFound, NameTaken, PathNotFound, ProfileNotFound, RecordNotFound))
]


@pytest.mark.parametrize("error", LOSSLESS, ids=lambda error: type(error).__name__)
def test_to_map_round_trip(error: PocketenvError) -> None:
    """An error is equal to itself after `to_map` and `from_map`."""
    assert from_map(to_map(Failure(error))) == Failure(error)


@pytest.mark.parametrize(
    ("error", "shape"),
    [
        (NotLoggedIn(), "not_logged_in"),
        (WaitTimeout(60, "STOPPED"), "timeout"),
        (
            ApiError(400, "InvalidRequest", "no", "x"),
            {"status": 400, "body": {"error": "InvalidRequest", "message": "no"}},
        ),
        (ApiError(404), {"status": 404, "body": {}}),
        (RateLimited(429, "slow", retry_after=30.0), {"status": 429, "body": {"error": "slow"}, "retry-after": 30.0}),
        (InvalidInput("port", "low"), {"type": "invalid_input", "field": "port", "reason": "low"}),
    ],
)
def test_to_map_clojure_shapes(error: PocketenvError, shape: object) -> None:
    """The map of a failure has the shape of Clojure's map."""
    assert to_map(Failure(error)) == {"error": shape}
    back = from_map({"error": shape}).failure()
    assert type(back) is type(error)
    assert to_map(Failure(back)) == {"error": shape}


@pytest.mark.parametrize("status", [401, 404, 429, 500, 502])
def test_from_map_status_selects_class(status: int) -> None:
    """`from_map` selects the error class by the status."""
    kinds = {401: Unauthorized, 404: SandboxNotFound, 429: RateLimited, 500: ServerError, 502: ServerError}
    result = from_map({"error": {"status": status, "body": {"error": "SandboxNotFound"}}})
    assert type(result.failure()) is kinds[status]


@pytest.mark.parametrize("shape", [{}, {"error": ""}, {"error": 3}, {"error": {"type": "unheard_of"}}, {"fine": 1}])
def test_from_map_invalid_map(shape: dict[str, object]) -> None:
    """A value that is not a result map is a ValueError."""
    with pytest.raises(ValueError, match="not a result map"):
        from_map(shape)


def test_exports_sorted() -> None:
    """The exported names are sorted and exist, and the package has all of `sandbox`."""
    assert public_names(pocketenv_fp) == sorted(public_names(pocketenv_fp))
    assert all(hasattr(pocketenv_fp, name) for name in public_names(pocketenv_fp))
    assert set(public_names(pocketenv_fp.sandbox)) <= set(public_names(pocketenv_fp))


def test_exports_clojure_functions() -> None:
    """Both namespaces have the functions of Clojure."""
    pocketenv = """create-sandbox get-sandbox list-sandboxes list-sandboxes-by-actor me get-profile list-secrets add-secret
        delete-secret get-ssh-keys put-ssh-keys get-tailscale-auth-key put-tailscale-auth-key"""
    sandbox = """start stop delete wait-until-running exec expose unexpose list-ports vscode list-secrets set-secret
        delete-secret get-ssh-keys set-ssh-keys get-tailscale-auth-key set-tailscale-auth-key"""
    assert {name.replace("-", "_") for name in pocketenv.split()} <= set(public_names(pocketenv_fp.pocketenv))
    assert {name.replace("-", "_") for name in sandbox.split()} <= set(public_names(pocketenv_fp.sandbox))


@EACH
def test_typed_error_signature(error: PocketenvError) -> None:
    """A typed error has the signature of a dataclass."""
    kind = type(error)
    like = dataclasses.make_dataclass(kind.__name__, [], bases=(kind,), eq=False, repr=False)
    assert inspect.signature(kind) == inspect.signature(like)
    assert str(inspect.signature(kind)) == str(inspect.signature(like))


def test_typed_error_refuses_wrong_arguments() -> None:
    wrong: Any = InvalidInput
    with pytest.raises(TypeError, match=r"^InvalidInput: missing a required argument: 'reason'$"):
        wrong("name")
    with pytest.raises(TypeError, match=r"^InvalidInput: got an unexpected keyword argument 'value'$"):
        wrong("name", "reason", value="x")


def test_typed_error_subclass() -> None:
    @dataclasses.dataclass(eq=False, repr=False)
    class Slow(InvalidInput):
        hints: list[str] = dataclasses.field(default_factory=list[str])

    assert Slow("name", "reason").hints == []
    assert repr(Slow("name", reason="no", hints=["a"])) == "Slow(field='name', reason='no', hints=['a'])"
    assert list(inspect.signature(Slow).parameters) == ["field", "reason", "hints"]
