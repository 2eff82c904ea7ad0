"""Creating: the whole sandbox or none, with every failure and every interrupt."""

from __future__ import annotations

import base64
import json
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, cast

import pytest
from returns.result import Failure, Result, Success

from pocketenv_fp import (
    ApiError,
    Config,
    DecodeError,
    EncryptionError,
    InvalidInput,
    NameTaken,
    NotSupported,
    PocketenvError,
    RateLimited,
    RepositoryTaken,
    Sandbox,
    SandboxNotFound,
    ServerError,
    SessionLost,
    Status,
    TransportError,
    claim,
    create,
    delete,
    exec,
    from_env,
    get_sandbox,
    local,
    pocketenv,
    refresh,
    sandbox,
    start,
    stop,
    using,
)
from pocketenv_fp.local.faults import Cut, Drop, Fault, Garbage, Html, Refuse, Truncated
from pocketenv_fp.local.faults import Slow as SlowAnswer
from pocketenv_fp.pocketenv.credentials import CREDENTIALS
from tests import servers
from tests.conformance.recorder import Exchange, Forgetful, Recorder
from tests.local.wire import Wire, eventually
from tests.servers import Server

SECRET = "sk-live-5c1f9a77"
REPO = "file:///no/such/repository"
CREATE = "sandbox.createSandbox"
PUT = "sandbox.putPreferences"
ADD_VARIABLE = "variable.addVariable"
ADD_SECRET = "secret.addSecret"
LOOK = "sandbox.getSandbox"
DELETE = "sandbox.deleteSandbox"
LIST = "actor.getActorSandboxes"
LATE = SlowAnswer(30)
LATER = (PUT, ADD_VARIABLE, ADD_SECRET, LOOK)
VARIABLES = tuple(
    variable for provider in CREDENTIALS.values() for credential in provider for variable in credential.variables
)


@pytest.fixture(scope="module")
def place() -> Iterator[local.Platform]:
    """A platform of these tests' own, since they look at all that is on it."""
    with local.platform() as running:
        yield running


@pytest.fixture(autouse=True)
def _here(place: local.Platform, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    servers.forget()
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with using(Config(api_url=place.url, token=place.token, public_key=place.public_key, retries=0)):
        yield
    place.faults.clear()
    place.remove_sandboxes()
    servers.forget()


@pytest.fixture
def exchanges(place: local.Platform) -> Iterator[list[Exchange]]:
    """What goes over the wire."""
    recorder = Recorder(place)
    with Server(recorder) as server, using(Config(api_url=server.url)):
        yield recorder.exchanges


def mine() -> list[str]:
    """The names of all sandboxes that the caller has, the newest first."""
    my = pocketenv.me().unwrap()
    return [box.unwrap().name for box in pocketenv.iter_sandboxes_by_actor(my.did)]


def whole(name: str = "whole") -> Result[Sandbox, PocketenvError]:
    """A creation with every part that is a request of its own."""
    return create(name, env={"STAGE": "test"}, secrets={"API_KEY": SECRET}, description="for tests", topics=["a", "b"])


def printed(box: Sandbox | Result[Sandbox, PocketenvError], name: str) -> str:
    return (box | start | exec("printenv", [name])).unwrap().stdout.rstrip("\n")


def refusal(error: PocketenvError) -> tuple[str, int]:
    """Which method was refused, with which status."""
    assert isinstance(error, ApiError)
    return error.operation, error.status


# What was asked for


def test_create_returns_the_settings() -> None:
    """The sandbox has the name, description, topics, variables and secrets of the call."""
    box = whole().unwrap()
    assert (box.name, box.description, box.topics) == ("whole", "for tests", ("a", "b"))
    assert box.status is Status.RUNNING
    assert get_sandbox("whole") == Success(box)
    assert (printed(box, "STAGE"), printed(box, "API_KEY")) == ("test", SECRET)


def test_create_requests(place: local.Platform) -> None:
    """A create sends one request for each part and one look."""
    place.calls.clear()
    create("few").unwrap()
    whole().unwrap()
    asked = [name.removeprefix("io.pocketenv.") for name, _ in place.calls]
    assert asked == [CREATE, PUT, LOOK, CREATE, PUT, ADD_VARIABLE, ADD_SECRET, LOOK]


def test_create_values_from_env(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values may come from the environment, and a variable may be empty."""
    monkeypatch.setenv("MY_STAGE", "live")
    monkeypatch.setenv("MY_KEY", SECRET)
    box = create("from-env", env={"STAGE": from_env("MY_STAGE"), "NOTHING": ""}, secrets={"KEY": from_env("MY_KEY")})
    assert (printed(box, "STAGE"), printed(box, "NOTHING"), printed(box, "KEY")) == ("live", "", SECRET)


def test_create_seals_secrets(exchanges: list[Exchange], place: local.Platform) -> None:
    """A secret is sent sealed, in one request."""
    whole().unwrap()
    bodies = {exchange.method: exchange.request.body for exchange in exchanges}
    assert not [method for method, body in bodies.items() if SECRET.encode() in body]
    sent = json.loads(bodies["addSecret"])["secret"]
    assert place._world.vault.open(sent["value"]) == SECRET  # pyright: ignore[reportPrivateUsage]
    assert not {"secrets", "envs", "env"} & json.loads(bodies["createSandbox"]).keys()


def test_create_name_taken(place: local.Platform) -> None:
    """A name in use is taken, for its owner and for other users."""
    first = create("wanted").unwrap()
    assert isinstance(create("wanted").failure(), NameTaken)
    somebody = Config(token=place.new_user("somebody.test"))
    refused = create("wanted", config=somebody).failure()
    assert isinstance(refused, NameTaken)
    assert "wanted" in str(refused)
    assert mine() == ["wanted"]
    assert get_sandbox("wanted").map(lambda box: box and box.id) == Success(first.id)
    with using(somebody):
        assert mine() == []


def test_create_name_by_keyword() -> None:
    """The name may stand anywhere, and must be a string."""
    assert create(description="d", name="by-name").map(lambda box: (box.name, box.description)) == Success(
        ("by-name", "d")
    )
    with pytest.raises(TypeError, match="create takes a str or a Result of one, not int"):
        create(name=cast("Any", 3))
    with pytest.raises(TypeError, match="argument"):
        cast("Any", create)("by-position", name="by-name")


def test_name_taken_owner(place: local.Platform) -> None:
    """The owner of a sandbox or base image is compared with the token. A sandbox without an owner may be anyone's."""
    create("wanted").unwrap()
    somebody = Config(token=place.new_user("another.test"))
    for config, is_yours in ((None, True), (somebody, False)):
        error = create("wanted", config=config).failure()
        assert isinstance(error, NameTaken)
        assert error.is_yours is is_yours
        assert ("exist_ok=True" in str(error)) is is_yours
    unowned = get_sandbox(place.new_ownerless_sandbox()).unwrap()
    assert unowned is not None
    for name, whose in (("openclaw", False), (unowned.name, None)):
        taken = create(name).failure()
        assert isinstance(taken, NameTaken)
        assert taken.is_yours is whose


def test_create_exist_ok_twice(place: local.Platform) -> None:
    """The second create finds the sandbox as it is, and sends one look."""
    first = create("cell", exist_ok=True, env={"STAGE": "test"}).unwrap()
    stopped = (Success(first) | stop).unwrap()
    place.calls.clear()
    assert create("cell", exist_ok=True, env={"STAGE": "live"}) == Success(stopped)
    assert [name.removeprefix("io.pocketenv.") for name, _ in place.calls] == [LOOK]
    assert mine() == ["cell"]


def test_create_exist_ok_other_owner(place: local.Platform) -> None:
    """A sandbox of another user, and a base image, are no sandbox of the caller."""
    create("wanted", config=Config(token=place.new_user("third.test"))).unwrap()
    place.calls.clear()
    for name in ("wanted", "openclaw"):
        error = create(name, exist_ok=True).failure()
        assert isinstance(error, NameTaken)
        assert not error.is_yours
    assert {name.removeprefix("io.pocketenv.") for name, _ in place.calls} == {LOOK}


def test_create_exist_ok_after_another_create(place: local.Platform) -> None:
    """Another program may create the sandbox between the look and the create."""
    box = create("raced").unwrap()
    with place.faults.on(LOOK, Garbage(body=b"{}"), times=1) as planned:
        assert create("raced", exist_ok=True).map(lambda found: found.id) == Success(box.id)
    assert planned.played == 1
    assert mine() == ["raced"]


@pytest.mark.parametrize("fault", [Refuse(502), Drop()], ids=["502", "dropped"])
def test_create_exist_ok_without_answer(place: local.Platform, fault: Fault) -> None:
    """Without an answer of the look nothing is created."""
    with place.faults.on(LOOK, fault):
        assert isinstance(create("unseen", exist_ok=True).failure(), (ServerError, TransportError))
    assert mine() == []


def test_create_rename_not_done(place: local.Platform) -> None:
    """A rename that the platform confirms but does not do is a failure."""
    with place.faults.on(PUT, Garbage(body=b"")):
        error = create("silent").failure()
    assert isinstance(error, DecodeError)
    assert "name" in error.reason
    assert mine() == []


# Wrong arguments are refused before a request is sent


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a name that no variable has": ({"env": {"1A": "x"}}, "env"),
    "an empty name": ({"secrets": {"": SECRET}}, "secrets"),
    "a name that bash keeps": ({"env": {"UID": "1"}}, "env"),
    "a name with a dash": ({"secrets": {"A-B": SECRET}}, "secrets"),
    "a name of two lines": ({"secrets": {"A\n": SECRET}}, "secrets"),
    "an assignment for a name": ({"env": {"A=b": "x"}}, "env"),
    "one name for a variable and a secret": ({"env": {"A": "x"}, "secrets": {"A": SECRET}}, "secrets"),
    "an empty secret": ({"secrets": {"A": ""}}, "secrets['A']"),
    "a secret that is not set": ({"secrets": {"A": from_env("NOT_SET")}}, "secrets['A']"),
    "a variable that is not set": ({"env": {"A": from_env("NOT_SET")}}, "env['A']"),
    "half a pair in a variable": ({"env": {"A": "\ud800"}}, "env['A']"),
    "a NUL in a secret": ({"secrets": {"A": f"{SECRET}\0"}}, "secrets['A']"),
    "half a pair in a description": ({"description": "\udfff"}, "description"),
    "an empty description": ({"description": ""}, "description"),
    "half a pair in a topic": ({"topics": ["fine", "\ud800"]}, "topics"),
    "an empty topic": ({"topics": [""]}, "topics"),
    "a topic that is too long": ({"topics": ["x" * 51]}, "topics"),
    "another provider's credential": (
        {"provider": "e2b", "provider_credentials": {"hopx_api_key": SECRET}},
        "provider_credentials",
    ),
    "a credential for who takes none": ({"provider_credentials": {"e2b_api_key": SECRET}}, "provider_credentials"),
    "a credential and its name mixed up": (
        {"provider": "e2b", "provider_credentials": {SECRET: "e2b_api_key"}},
        "provider_credentials",
    ),
    "an empty credential": (
        {"provider": "e2b", "provider_credentials": {"e2b_api_key": ""}},
        "provider_credentials['e2b_api_key']",
    ),
    "a credential that is not set": (
        {"provider": "vercel", "provider_credentials": {"vercel_team_id": from_env("NOT_SET")}},
        "provider_credentials['vercel_team_id']",
    ),
    "a key that is none": ({"secrets": {"A": SECRET}, "config": Config(public_key="abc")}, "public_key"),
}


@pytest.mark.parametrize(("given", "field"), REFUSED.values(), ids=REFUSED)
def test_create_invalid_arguments(given: dict[str, Any], field: str, place: local.Platform) -> None:
    """Invalid arguments are refused before a request is sent."""
    place.calls.clear()
    error = create("refused", **given).failure()
    assert isinstance(error, InvalidInput)
    assert error.field == field
    assert SECRET not in f"{error!r}{error}"
    assert not place.calls


@pytest.mark.parametrize(
    "name",
    ["my box", " box", "box\n", "", "at://did:plc:a/io.pocketenv.sandbox/b", "sandbox_" + "0a" * 10, "x" * 256],
    ids=lambda name: name[:20],
)
def test_create_invalid_name(name: str, place: local.Platform) -> None:
    """A name that no later lookup could find is refused before a request."""
    box = create("usual").unwrap()
    place.calls.clear()
    for refused in (
        create(name),
        box | sandbox.rename(name),
        box | sandbox.update_settings(name=name),
        pocketenv.put_preferences(box.id, name=name),
    ):
        error = refused.failure()
        assert isinstance(error, InvalidInput)
        assert error.field in {"name", "new_name"}
    assert not place.calls


@pytest.mark.parametrize("name", ["ü" * 255, "a/b?c#d&e%20+", "sandbox_1", "日本語"], ids=lambda name: name[:20])
def test_create_name_any_letters(name: str) -> None:
    """A name may have letters of any script."""
    box = create(name).unwrap()
    assert get_sandbox(name) == Success(box)
    assert isinstance(create(name).failure(), NameTaken)


@pytest.mark.parametrize("provider", ["daytona", "deno", "vercel", "sprites", "modal", "e2b", "hopx", "runloop"])
def test_create_env_not_supported(provider: str, place: local.Platform) -> None:
    """Variables and secrets are refused for providers that never set them."""
    place.calls.clear()
    wants: list[dict[str, Any]] = [{"env": {"A": "1"}}, {"secrets": {"A": SECRET}}]
    for given in wants:
        error = create("unset", provider=provider, **given).failure()
        assert isinstance(error, NotSupported)
        assert error.provider == provider
        assert "exec(…, env={…})" in str(error)
        assert SECRET not in f"{error!r}{error}"
    assert not place.calls
    assert isinstance(create("empty", provider=provider, env={}, secrets={}), Success)


def test_create_blaxel() -> None:
    """The platform refuses the provider blaxel."""
    assert refusal(create("box", provider="blaxel").failure()) == (CREATE, 403)
    assert mine() == []


@pytest.mark.parametrize(
    "given",
    [{"secrets": {"A": SECRET}}, {"provider": "modal", "provider_credentials": {"modal_token_id": SECRET}}],
    ids=["secret", "credential"],
)
def test_create_unusable_public_key(given: dict[str, Any], place: local.Platform) -> None:
    """An unusable public key is a failure before a request is sent."""
    place.calls.clear()
    error = create("unsealed", **given, config=Config(public_key="00" * 32)).failure()
    assert isinstance(error, EncryptionError)
    assert not place.calls


@pytest.mark.parametrize(
    "given",
    [
        {"env": {"A": 1}},
        {"env": [("A", "x")]},
        {"secrets": {"A": None}},
        {"secrets": SECRET},
        {"secrets": {"A": {"name": "HOME"}}},
        {"topics": "a"},
        {"provider_credentials": SECRET},
        {"vcpus": 2},
    ],
    ids=repr,
)
def test_create_wrong_type(given: dict[str, Any], place: local.Platform) -> None:
    """A wrong type raises a TypeError that does not quote the value."""
    place.calls.clear()
    with pytest.raises(TypeError) as mistake:
        create("mistaken", **given)
    assert SECRET not in str(mistake.value)
    assert not place.calls


# Whatever fails later, nothing is left behind


BROKEN: dict[Fault, type[PocketenvError]] = {
    Refuse(400): ApiError,
    Refuse(401): ApiError,
    Refuse(500): ServerError,
    Refuse(500, after_work=True): ServerError,
    Refuse(502): ServerError,
    Refuse(429, retry_after=0): RateLimited,
    Drop(): TransportError,
    Drop(after_work=True): TransportError,
    Cut(bytes=0, reset=True): TransportError,
    Garbage(): DecodeError,
    Garbage(after_work=True): DecodeError,
    Truncated(): DecodeError,
    Html(): DecodeError,
    Html(504, after_work=True): ServerError,
}


@pytest.mark.parametrize("method", LATER)
@pytest.mark.parametrize(("fault", "kind"), BROKEN.items(), ids=repr)
def test_create_deletes_after_failure(
    place: local.Platform, method: str, fault: Fault, kind: type[PocketenvError]
) -> None:
    """A later failure is returned, and the sandbox is deleted."""
    before = place.faults.worked(CREATE)
    # A name that got no answer is looked for, and that look must not be the one that fails.
    with place.faults.on(method, fault, times=1) as planned:
        error = whole().failure()
    assert planned.played == 1
    assert isinstance(error, kind)
    assert getattr(error, "operation", method) == method
    assert not getattr(error, "__notes__", [])
    assert SECRET not in f"{error!r}{error}"
    assert place.faults.worked(CREATE) - before == 1
    servers.forget()
    assert mine() == []
    assert get_sandbox("whole") == Success(None)


@pytest.mark.parametrize("fault", [fault for fault in BROKEN if not isinstance(fault, Refuse | Html)], ids=repr)
def test_create_lost_answer(place: local.Platform, fault: Fault) -> None:
    """A create without an answer is sent once, and no request follows."""
    place.calls.clear()
    with place.faults.on(CREATE, fault):
        whole().failure()
    assert [name for name, _ in place.calls] == [f"io.pocketenv.{CREATE}"]


@pytest.mark.parametrize("fault", [Refuse(500), Refuse(502), Drop(), Html(503)], ids=repr)
def test_create_undeletable_note(place: local.Platform, fault: Fault) -> None:
    """A note of the error names a sandbox that could not be deleted."""
    with place.faults.on(ADD_SECRET, Refuse(400)), place.faults.on(DELETE, fault):
        error = whole().failure()
    assert refusal(error) == (ADD_SECRET, 400)
    left = get_sandbox("whole").unwrap()
    assert left is not None
    (note,) = error.__notes__
    assert left.id in note
    assert DELETE in note
    assert SECRET not in note
    assert pickle.loads(pickle.dumps(error)).__notes__ == [note]


def test_create_lost_answer_to_deletion(place: local.Platform) -> None:
    """A look follows a deletion without an answer."""
    with place.faults.on(ADD_SECRET, Refuse(400)), place.faults.on(DELETE, Drop(after_work=True)) as planned:
        error = whole().failure()
    assert planned.played == 1
    assert not getattr(error, "__notes__", [])
    assert mine() == []


INTERRUPTED = """
from pocketenv_fp import create
create("interrupted", env={"A": "1"}, secrets={"B": "2"})
"""


@pytest.mark.parametrize("method", LATER)
def test_create_interrupt(place: local.Platform, method: str) -> None:
    """An interrupt leaves no sandbox."""
    code, stderr = interrupted(place, method)
    assert code != 0
    assert "KeyboardInterrupt" in stderr
    assert mine() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_create_interrupt_before_answer(place: local.Platform, number: signal.Signals) -> None:
    """An interrupt waits for the answer of the create and deletes the sandbox."""
    created, deleted = place.faults.worked(CREATE), place.faults.worked(DELETE)
    code, _ = interrupted(place, CREATE, number, fault=SlowAnswer(1))
    assert code != 0
    assert (place.faults.worked(CREATE) - created, place.faults.worked(DELETE) - deleted) == (1, 1)
    assert mine() == []


def test_create_second_interrupt(place: local.Platform) -> None:
    """A second interrupt raises at once."""
    deleted = place.faults.worked(DELETE)
    code, stderr = interrupted(place, CREATE, signal.SIGINT, signal.SIGINT)
    assert code != 0
    assert "KeyboardInterrupt" in stderr
    assert place.faults.worked(DELETE) == deleted


def test_create_interrupt_during_deletion(place: local.Platform) -> None:
    """An interrupt during the deletion waits for it."""
    with place.faults.on(PUT, Refuse(502)):
        code, stderr = interrupted(place, DELETE, fault=SlowAnswer(1, before_work=True))
    assert code != 0
    assert "KeyboardInterrupt" in stderr
    assert mine() == []


def test_create_interrupt_undeletable(place: local.Platform) -> None:
    """After an interrupt, the error names a sandbox that could not be deleted."""
    with place.faults.on(DELETE, Refuse(502)):
        _, stderr = interrupted(place, ADD_SECRET)
    left = get_sandbox("interrupted").unwrap()
    assert left is not None
    assert f"The sandbox {left.id}, which this call created, may still exist." in stderr


def interrupted(place: local.Platform, method: str, *numbers: signal.Signals, fault: Fault = LATE) -> tuple[int, str]:
    """How a program ends that is interrupted while it waits for the answer of ``method``."""
    with place.faults.on(method, fault, times=1) as planned:
        running = subprocess.Popen(
            [sys.executable, "-c", INTERRUPTED], env=place.environment, stderr=subprocess.PIPE, text=True
        )
        try:
            assert eventually(lambda: planned.played == 1, 120)
            first, *second = numbers or (signal.SIGINT,)
            running.send_signal(first)
            for number in second:
                # Two at once may come as one, and how long a program takes with the first is not known.
                while running.poll() is None:
                    time.sleep(0.2)
                    running.send_signal(number)
            _, stderr = running.communicate(timeout=120)
        finally:
            running.kill()
            running.wait()
    return running.returncode, stderr


# With a repository


def older(**given: Any) -> Sandbox:
    """A sandbox with the repository, that was there before."""
    return create("older", repo=REPO, description="as it was", topics=["old"], **given).unwrap()


def test_create_reuse(place: local.Platform) -> None:
    """With `reuse`, an older sandbox of the repository is returned unchanged."""
    first = older()
    assert (first.name, first.repo) == ("older", REPO)
    again = create("newer", repo=REPO, description="another", topics=["new"], reuse=True).unwrap()
    assert (again.id, again.name, again.description, again.topics) == (first.id, "older", "as it was", ("old",))
    assert mine() == ["older"]
    place.calls.clear()
    create("newer", repo=REPO, reuse=True).unwrap()
    assert f"io.pocketenv.{PUT}" not in [name for name, _ in place.calls]


def test_create_repo_taken(place: local.Platform) -> None:
    """The repository of an older sandbox is a failure without `reuse`."""
    first = older()
    place.calls.clear()
    error = create("newer", repo=REPO, env={"A": "1"}).failure()
    assert isinstance(error, RepositoryTaken)
    assert "older" in str(error)
    assert "reuse=True" in str(error)
    assert not {name for name, _ in place.calls} & {f"io.pocketenv.{name}" for name in (PUT, ADD_VARIABLE, DELETE)}
    assert (first | refresh).map(lambda box: (box.id, box.name)) == Success((first.id, "older"))
    assert mine() == ["older"]


def test_create_repo_same_name() -> None:
    """An older sandbox with this repository and name is returned."""
    first = older()
    assert create("older", repo=REPO).map(lambda box: box.id) == Success(first.id)


def test_create_repo_older_by_sizes() -> None:
    """An older sandbox that only its sizes reveal is not renamed."""
    # Another process made it after this one had its list: only its sizes show that it is older.
    first = older()

    def answer(request: servers.Request) -> servers.Reply:
        name = request.path.partition("?")[0].rpartition(".")[2]
        if name == "createSandbox":
            body = {"id": first.id, "name": "older", "provider": "cloudflare", "vcpus": 2, "memory": 8, "disk": 16}
            return servers.reply(json.dumps(body).encode())
        if name == "getProfile":
            return servers.reply(b'{"id": "1", "did": "did:plc:a", "handle": "a.test"}')
        return servers.reply(b'{"sandboxes": [], "total": 0}')

    with Server(answer) as server:
        error = create("newer", repo=REPO, config=servers.client(server.url)).failure()
        assert isinstance(error, RepositoryTaken)
        assert {request.verb for request in server.seen[:2]} == {"GET"}
        assert len(server.seen) == 3


def test_create_repo_forgotten(place: local.Platform) -> None:
    """A new sandbox has its repository even if the platform drops it."""
    with Server(Forgetful(place)) as server:
        box = create("new", repo=REPO, description="about it", config=Config(api_url=server.url)).unwrap()
    assert (box.name, box.description, box.repo) == ("new", "about it", REPO)


def test_create_reuse_values() -> None:
    """An older sandbox gets new variables and secrets, and new values of old ones."""
    older(env={"A": "1", "B": "1"}, secrets={"C": "1"})
    again = create("newer", repo=REPO, env={"B": "2", "D": "2"}, secrets={"C": "2", "E": "2"}, reuse=True).unwrap()
    assert [printed(again, name) for name in "ABCDE"] == ["1", "2", "2", "2", "2"]


def test_create_reuse_variable_deleted(place: local.Platform) -> None:
    """A variable that another program deletes is added again."""
    older(env={"A": "1"})
    with place.faults.on("variable.updateVariable", Refuse(404), times=1) as planned:
        again = create("newer", repo=REPO, env={"A": "2"}, reuse=True)
    assert planned.played == 1
    assert printed(again, "A") == "2"


def test_create_reuse_one_listing(place: local.Platform) -> None:
    """The variables are listed once, whatever their number."""
    older(env={"A": "1", "B": "1", "C": "1"})
    place.calls.clear()
    again = create("newer", repo=REPO, env={"A": "2", "B": "2", "C": "2", "D": "2"}, reuse=True).unwrap()
    names = [name.rpartition(".")[2] for name, _ in place.calls]
    assert (names.count("getVariables"), names.count("updateVariable"), names.count("addVariable")) == (1, 3, 2)
    assert [printed(again, name) for name in "ABCD"] == ["2"] * 4


def test_create_other_repo() -> None:
    """Another repository is another sandbox."""
    first = older()
    other = create("other", repo=f"{REPO}-2").unwrap()
    assert other.id != first.id
    assert mine() == ["other", "older"]


@pytest.mark.slow
@pytest.mark.parametrize("fault", BROKEN, ids=repr)
@pytest.mark.parametrize("method", [CREATE, ADD_VARIABLE, ADD_SECRET, LOOK])
def test_create_reuse_failure(place: local.Platform, method: str, fault: Fault) -> None:
    """A failure never deletes or renames an older sandbox."""
    first = older()
    place.calls.clear()
    with place.faults.on(method, fault, times=1) as planned:
        result = create("newer", repo=REPO, env={"A": "1"}, secrets={"B": "2"}, reuse=True)
    assert planned.played == 1
    # What was added although the answer says otherwise is found, and set again.
    assert isinstance(result, Success) == (
        fault == Refuse(500, after_work=True) and method in {ADD_VARIABLE, ADD_SECRET}
    )
    asked = {name.removeprefix("io.pocketenv.") for name, _ in place.calls}
    assert not asked & {DELETE, PUT}
    servers.forget()
    assert mine() == ["older"]
    assert (first | refresh).map(lambda box: (box.id, box.name, box.description)) == Success(
        (first.id, "older", "as it was")
    )


@pytest.mark.parametrize("method", [ADD_VARIABLE, ADD_SECRET, PUT, LOOK])
def test_create_repo_failure(place: local.Platform, method: str) -> None:
    """A new sandbox with a repository is deleted after a failure."""
    with place.faults.on(method, Refuse(502), times=1):
        create("new", repo=REPO, env={"A": "1"}, secrets={"B": "2"}).failure()
    assert mine() == []


@pytest.mark.parametrize("method", ["actor.getProfile", LIST])
def test_create_repo_unknown_older(place: local.Platform, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the list of older sandboxes, none is created. A token without a DID needs the profile first."""
    monkeypatch.setattr("pocketenv_fp.pocketenv.actors.login_did", lambda: None)
    before = place.faults.worked(CREATE)
    with place.faults.on(method, Refuse(502)):
        error = create("new", repo=REPO).failure()
    assert refusal(error) == (method, 502)
    assert place.faults.worked(CREATE) == before


def test_create_reuse_many_sandboxes(place: local.Platform) -> None:
    """An older sandbox is recognized on any page of the list."""
    first = older()
    with Wire(place, place.token) as wire:
        for _ in range(130):
            wire.create()
    again = create("newer", repo=REPO, reuse=True).unwrap()
    assert (again.id, again.name) == (first.id, "older")
    assert len(mine()) == 131


def test_create_reuse_threads(place: local.Platform) -> None:
    """Threads that create with one repository share one sandbox."""

    def made(number: int) -> tuple[str, str]:
        box = create(f"shared-{number}", repo=REPO, env={f"N{number}": "1"}, reuse=True).unwrap()
        return box.id, box.name

    # So slow that each has its list before any of the others has created, if nothing holds them back.
    with place.faults.on(LIST, SlowAnswer(0.3)), ThreadPoolExecutor(4) as pool:
        found = [each.result() for each in [pool.submit(copy_context().run, made, number) for number in range(4)]]
    assert len(set(found)) == 1
    assert mine() == [found[0][1]]
    names = {variable.name for variable in (get_sandbox(found[0][0]) | sandbox.list_variables).unwrap()}
    assert names == {f"N{number}" for number in range(4)}


def test_create_reuse_waits_for_success(place: local.Platform) -> None:
    """A thread gets the sandbox of another only after its creation succeeded."""
    create("taken").unwrap()
    with place.faults.on(PUT, SlowAnswer(0.5, before_work=True), times=1) as planned, ThreadPoolExecutor(2) as pool:
        first = pool.submit(copy_context().run, lambda: create("taken", repo=REPO))
        assert eventually(lambda: planned.played == 1)
        second = pool.submit(copy_context().run, lambda: create("free", repo=REPO))
        assert isinstance(first.result().failure(), NameTaken)
        box = second.result().unwrap()
    assert box.name == "free"
    assert (box | refresh) == Success(box)
    assert sorted(mine()) == ["free", "taken"]


# A lost AT Protocol session

DID = "did:plc:aliceaaaaaaaaaaaaaaaaaaa"


def token_of(**claims: object) -> str:
    """A token in the platform's form, with a wrong signature."""
    head, body = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, claims))
    return f"{head}.{body}.signature"


class Lost:
    """A platform that makes a sandbox and then finds no session, as the real one does."""

    def __init__(self, left: list[dict[str, object]], deletes: int = 200) -> None:
        self.left = left
        self.deletes = deletes
        self.asked: list[str] = []

    def __call__(self, request: servers.Request) -> servers.Reply:
        path, _, query = request.path.partition("?")
        name = path.removeprefix("/xrpc/io.pocketenv.")
        self.asked.append(f"{name}?{query}" if name == DELETE else name)
        if name == CREATE:
            return servers.reply(b'{"error": "AgentCreationError", "message": "Internal Server Error"}', 500)
        if name == LIST:
            return servers.reply(json.dumps({"sandboxes": self.left, "total": len(self.left)}).encode())
        return servers.reply(b"{}", self.deletes)


def shown_as(number: int, **other: object) -> dict[str, object]:
    moment = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return {
        "id": f"sandbox_{number}",
        "name": "shrunken-mare-jtq9",
        "provider": "cloudflare",
        "uri": None,
        "createdAt": moment,
        **other,
    }


def lost(platform: Lost, token: str) -> SessionLost:
    with Server(platform) as server:
        error = create("lost", token=token, config=servers.client(server.url)).failure()
    assert isinstance(error, SessionLost)
    assert "Log in to Pocketenv again" in str(error)
    return error


def test_create_no_session() -> None:
    """A sandbox that was created without a session is deleted."""
    others = [
        shown_as(2, uri="at://did:plc:a/io.pocketenv.sandbox/b"),
        shown_as(3, createdAt="2026-01-01T00:00:00.000Z"),
        shown_as(4, provider="daytona"),
    ]
    platform = Lost([shown_as(1), *others])
    error = lost(platform, token_of(did=DID))
    assert (error.left, error.operation) == ("", CREATE)
    assert platform.asked == [CREATE, LIST, f"{DELETE}?id=sandbox_1"]


def test_create_no_session_undeletable() -> None:
    """The error names a sandbox that could not be deleted."""
    error = lost(Lost([shown_as(1)], deletes=502), token_of(did=DID))
    assert error.left == "sandbox_1"
    assert "sandbox_1 was created and still exists" in str(error)


def test_create_no_session_several() -> None:
    """If several sandboxes match, none is deleted."""
    platform = Lost([shown_as(1), shown_as(2)])
    assert lost(platform, token_of(did=DID)).left == "sandbox_1, sandbox_2"
    assert platform.asked == [CREATE, LIST]


@pytest.mark.parametrize("claims", [{}, {"did": DID}], ids=["no did", "none found"])
def test_create_no_session_unlisted(claims: dict[str, object]) -> None:
    """If no sandbox is in the list, a note names the place to look."""
    platform = Lost([])
    (note,) = lost(platform, token_of(**claims)).__notes__
    assert "look for it in your list" in note
    assert DELETE not in platform.asked


# Provider credentials


EVERY = [(provider, credential) for provider, all_of_it in CREDENTIALS.items() for credential in all_of_it]


def sent_to_create(exchanges: list[Exchange]) -> dict[str, str]:
    """The fields of the request that created, less those that every one has."""
    body = next(json.loads(exchange.request.body) for exchange in exchanges if exchange.method == "createSandbox")
    return {name: value for name, value in body.items() if name not in {"name", "base", "provider"}}


@pytest.mark.parametrize(("provider", "credential"), EVERY, ids=lambda each: getattr(each, "name", each))
def test_create_provider_credentials(
    exchanges: list[Exchange], place: local.Platform, provider: str, credential: Any
) -> None:
    """A credential is sealed and masked, and an id is neither."""
    create("credited", provider=provider, provider_credentials={credential.name: SECRET}).unwrap()
    sent = sent_to_create(exchanges)
    wire = credential.on_the_wire
    if credential.name.endswith(("organization_id", "project_id", "team_id")):
        assert sent == {wire: SECRET}
    else:
        opened = place._world.vault.open(sent[wire])  # pyright: ignore[reportPrivateUsage]
        assert (opened, sent) == (SECRET, {wire: sent[wire], f"redacted{wire[0].upper()}{wire[1:]}": "***"})


def test_create_credentials_from_env(
    exchanges: list[Exchange], place: local.Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider's usual variables are read, and no others."""
    for name in VARIABLES:
        monkeypatch.setenv(name, f"value of {name}")
    create("usual", provider="vercel").unwrap()
    sent = sent_to_create(exchanges)
    assert sent.keys() == {"vercelApiToken", "redactedVercelApiToken", "vercelProjectId", "vercelTeamId"}
    opened = place._world.vault.open(sent["vercelApiToken"])  # pyright: ignore[reportPrivateUsage]
    assert (opened, sent["vercelTeamId"]) == ("value of VERCEL_TOKEN", "value of VERCEL_TEAM_ID")


def test_create_credentials_two_variables(
    exchanges: list[Exchange], place: local.Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two variables for one credential, the first one of the table is read: that of the provider's own pages."""
    monkeypatch.setenv("SPRITE_TOKEN", "singular")
    monkeypatch.setenv("SPRITES_TOKEN", "plural")
    create("usual", provider="sprites").unwrap()
    sealed = sent_to_create(exchanges)["spriteToken"]
    assert place._world.vault.open(sealed) == "singular"  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("given", [{"provider": "e2b", "provider_credentials": {}}, {}], ids=["none", "cloudflare"])
def test_create_no_credentials(
    exchanges: list[Exchange], given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No credential is sent to a provider that needs none."""
    for name in VARIABLES:
        monkeypatch.setenv(name, SECRET)
    create("uncredited", **given).unwrap()
    assert sent_to_create(exchanges) == {}


def test_credentials_of_the_contract() -> None:
    """Every credential of the contract is known."""
    from pocketenv_fp.local.methods import NEW_SANDBOX

    known = {credential.on_the_wire for _, credential in EVERY}
    twins = {f"redacted{name[0].upper()}{name[1:]}" for name in known}
    published = {field.name for field in NEW_SANDBOX if field.name.endswith(("Key", "Token", "Id", "Secret"))}
    assert published - twins == known


# Steps


def test_create_step_repr() -> None:
    """The repr of a step shows names and hides secrets."""
    step = create(
        env={"STAGE": "test"},
        secrets={"A": SECRET, "B": from_env("MY_B")},
        provider="e2b",
        provider_credentials={"e2b_api_key": SECRET},
    )
    assert repr(step) == (
        "create(provider='e2b', env={'STAGE': 'test'}, secrets={'A': '***', 'B': from_env('MY_B')}, "
        "provider_credentials={'e2b_api_key': '***'})"
    )


@pytest.mark.parametrize("place_of_it", ["secrets", "provider_credentials"])
def test_create_step_pickle(place_of_it: str) -> None:
    """A step with a secret is not pickled."""
    step = cast("Any", create)(**{place_of_it: {"A": from_env("MY_A"), "B": SECRET}})
    with pytest.raises(pickle.PicklingError, match=rf"{place_of_it} is a secret: use {place_of_it}=\{{…: from_env"):
        pickle.dumps(step | start)
    kept = cast("Any", create)(**{place_of_it: {"A": from_env("MY_A")}})
    assert pickle.loads(pickle.dumps(kept)) == kept
    assert eval(repr(kept), {"create": create, "from_env": from_env}) == kept


def test_create_step_private_key() -> None:
    """A private key in any argument is hidden."""
    key = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----"
    for step in (create(env={"KEY": key}), create(env={key: "KEY"})):
        assert SECRET not in repr(step)
        with pytest.raises(pickle.PicklingError) as refused:
            pickle.dumps(step)
        assert SECRET not in str(refused.value)


@pytest.mark.parametrize("kind", [dict, MappingProxyType], ids=lambda kind: kind.__name__)
def test_create_step_copies_mappings(kind: Any) -> None:
    """A step keeps its own copy of a mapping."""
    given = {"STAGE": "test"}
    step = create(env=cast("Mapping[str, str]", kind(given)))
    given["STAGE"] = "live"
    assert repr(step) == "create(env={'STAGE': 'test'})"
    assert printed(step("unchanged"), "STAGE") == "test"


def test_create_step_names() -> None:
    """A step creates one sandbox for each name."""
    step = create(secrets={"A": SECRET}) | start | exec("printenv A")
    assert [step(name).unwrap().stdout for name in ("one", "two")] == [f"{SECRET}\n"] * 2


# Claiming and looking


def test_claim_sandbox(place: local.Platform) -> None:
    """The first claim takes the sandbox, and the next one is refused."""
    nobodys = get_sandbox(place.new_ownerless_sandbox()).unwrap()
    claimed = (nobodys | claim).unwrap()
    assert (nobodys and nobodys.id, nobodys and nobodys.owner) == (claimed.id, None)
    assert claimed.status is Status.RUNNING
    assert claimed.owner is not None
    assert claimed.owner.did == pocketenv.me().unwrap().did
    somebody = Config(token=place.new_user("somebody.test"))
    for refused in (claim(claimed, config=somebody), pocketenv.claim_sandbox(claimed.id, config=somebody)):
        assert refusal(refused.failure()) == ("sandbox.claimSandbox", 404)


def test_refresh_deleted_id_as_name(place: local.Platform) -> None:
    """A sandbox named like the id of a deleted one is another sandbox."""
    box, other = create("gone").unwrap(), create("other").unwrap()
    (box | delete).unwrap()
    # This library refuses a name in the form of an id, and others do not.
    said = {"$type": "io.pocketenv.sandbox.defs#sandboxDetailsPref", "name": box.id}
    with Wire(place, place.token) as wire:
        assert wire.post(PUT, {"sandboxId": other.id, "preferences": [said]}).empty
    for look in (refresh, sandbox.wait_until_running(timeout=5)):
        assert isinstance((box | look).failure(), SandboxNotFound)


def test_refresh() -> None:
    """A refreshed sandbox has its current values."""
    box = create("fresh").unwrap()
    stopped = (box | stop).unwrap()
    assert box.status is Status.RUNNING
    assert refresh(box) == Success(stopped)
    assert (box | delete).map(lambda gone: gone.id) == Success(box.id)
    assert isinstance((box | refresh).failure(), SandboxNotFound)
    assert isinstance(Failure(SandboxNotFound()) | refresh, Failure)
