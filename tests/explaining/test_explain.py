"""`explain` and `as_curl`: they list the requests that a run sends, send none, and show no secret."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from returns.result import Failure, Result, Success

import pocketenv_fp
from pocketenv_fp import (
    Config,
    ExecResult,
    FromEnv,
    NotLoggedIn,
    PocketenvError,
    Sandbox,
    ServerError,
    Status,
    Step,
    as_curl,
    check,
    create,
    delete,
    download,
    ephemeral,
    exec,
    explain,
    expose,
    from_env,
    gather,
    get_sandbox,
    identity,
    json_output,
    keep,
    lines,
    local,
    managed,
    or_else,
    recover,
    retrying,
    sandbox,
    set_secret,
    set_ssh_keys,
    set_tailscale_auth_key,
    spawn,
    start,
    stdout,
    stop,
    tap,
    upload,
    using,
    wait_until_running,
    when,
    within,
)
from pocketenv_fp.explaining import Explanation
from pocketenv_fp.explaining.explanation import stand_ins
from pocketenv_fp.explaining.fake_platform import FakePlatform
from pocketenv_fp.explaining.masking import masked
from pocketenv_fp.http.xrpc import procedure, query, send
from pocketenv_fp.models import Job
from pocketenv_fp.observing import observing
from pocketenv_fp.runtime.deadline import nap
from pocketenv_fp.sandbox.commands import spawn as spawning
from pocketenv_fp.sandbox.copying import delivery, departure
from pocketenv_fp.steps.combinator import combinator
from pocketenv_fp.steps.operation import step
from pocketenv_fp.steps.step import Applied
from tests.conformance import contract
from tests.every_function.test_functions import KEY, NAMED, OPERATIONS, PUBLIC, TAILSCALE, UNSUPPORTED
from tests.every_function.test_laws import NAMES, arguments
from tests.every_function.test_leaks import HIDDEN_TEXTS, PKCS8, PRIVATE, SECRET, TOKEN, leaks, shows
from tests.examples import examples
from tests.places import TESTS
from tests.steps.test_operation import OF_A_JOB, OF_A_NAME, STEPS, name_of

BOX = Sandbox(id="3f2a", name="calm-otter")


def methods(explanation: Explanation) -> list[str]:
    """The methods of what would be sent, as the embedded platform names them."""
    return [named(request.path) for request in explanation.requests]


def named(path: str) -> str:
    bare = path.partition("?")[0].removeprefix("/xrpc/io.pocketenv.")
    return "/cp/" if bare.startswith("/cp/") else bare


def refused(*_: object, **__: object) -> Any:
    raise AssertionError("this may not be used to explain")


def never(_: object) -> Any:
    raise AssertionError("no function of the program is called")


# The listed requests are those that are sent


def calls_since(platform: local.Platform, before: int) -> list[str]:
    calls = [name for name, _ in list(platform.calls)[before:]]
    return ["/cp/" if name.startswith("/cp/") else name.removeprefix("io.pocketenv.") for name in calls]


def is_running(box: Sandbox) -> bool:
    return box.status is Status.RUNNING


A_FILE = TESTS / "typing"
TRUE_TO_LIFE: list[Step[str, Any]] = [
    create,
    create | start | exec("echo hello") | check | stdout,
    create(description="d", topics=["a", "b"], env={"A": "1", "B": from_env("HOME")}, secrets={"C": "2"}) | start,
    create(repo="https://example.org/a.git") | stop | delete,
    create(provider="e2b", provider_credentials={"e2b_api_key": "k"}) | start | wait_until_running(timeout=9) | stop,
    create | start | gather(exec("true", timeout=9), exec("true", cwd="/tmp", env={"A": "b"}), sandbox.list_ports),
    create | start | keep(expose(8080, description="d"), sandbox.list_ports, sandbox.vscode),
    create | tap(set_secret("A", "b")) | tap(set_secret("A", "c")) | tap(sandbox.get_secret("A")) | start,
    create | tap(set_secret("A", "b")) | sandbox.delete_secret("A") | sandbox.list_secrets,
    create | tap(sandbox.set_variable("A", "b")) | tap(sandbox.set_variable("A", "c")) | sandbox.list_variables,
    create | tap(sandbox.set_file("/workspace/a", "b")) | tap(sandbox.set_file("/workspace/a", "c")) | start,
    create | tap(sandbox.set_volume("a", "/a")) | tap(sandbox.set_volume("a", "/b")) | sandbox.list_volumes,
    create | start | tap(sandbox.set_service("a", "sleep 9")) | tap(sandbox.set_service("a", "sleep 8")),
    create | start | tap(sandbox.spawn("sleep 9", name="a")) | tap(sandbox.stop_service("a")),
    create | start | tap(sandbox.spawn("sleep 9")) | sandbox.list_services,
    create | tap(set_ssh_keys(KEY, PUBLIC)) | tap(set_tailscale_auth_key(TAILSCALE)) | sandbox.get_ssh_keys,
    create | sandbox.rename("another-name-here") | sandbox.update_settings(topics=["x"]) | sandbox.get_preferences,
    create | sandbox.update_settings(name="and-another", description="d", topics=["x"], repo="https://example.org"),
    create | start | upload(A_FILE, "there") | download("there", "no/such/directory/of/this/machine"),
    create | start | tap(sandbox.create_integration("GitHub")) | sandbox.list_integrations,
    create | start | tap(sandbox.create_backup("/workspace")) | sandbox.list_backups,
    create | start | tap(sandbox.exec_script("print('null')")) | sandbox.refresh,
    create | delete,
    create | delete | delete | start,
    create | when(is_running, start) | retrying(stop),
    create | start | recover(exec("echo null") | json_output, None),
    managed(start | exec("true")),
    managed(exec("true"), acquire=create | start, release=stop | delete),
    managed(delete),
    managed(expose(80)),
    managed(start | exec("true"), acquire=create(repo="https://example.org/a.git")),
    create(repo="https://example.org/a.git", reuse=True) | tap(exec("true")) | delete,
    ephemeral(start | exec("echo a") | lines, env={"A": "b"}),
    create | within(60, start | exec("true") | check),
    create | expose(80) | identity,
]


@pytest.mark.parametrize("pipeline", TRUE_TO_LIFE, ids=repr)
def test_explain_equals_run(
    pipeline: Step[str, Any],
    environment: dict[str, str],
    platform: local.Platform,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The listed requests are those that a run sends."""
    assert environment
    monkeypatch.chdir(tmp_path)
    # A small archive travels in a line, and what is explained is how a large one does.
    monkeypatch.setattr(delivery, "SMALL", 0)
    monkeypatch.setattr(departure, "SMALL", -1)
    # On a busy machine the look of a spawn takes longer.
    monkeypatch.setattr(spawning, "PATIENCE", 60.0)
    explanation = explain(pipeline, "my-box")
    before = len(platform.calls)
    pipeline("my-box")
    sent = calls_since(platform, before)
    assert methods(explanation) == sent
    assert len(explanation) == len(explanation.requests) == len(sent)


def test_explain_copy_to(
    environment: dict[str, str], platform: local.Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listed requests of a copy between sandboxes are those that a run sends."""
    assert environment
    monkeypatch.setattr(departure, "SMALL", -1)
    one, other = (create("one") | start).unwrap(), (create("other") | start).unwrap()
    _ = one | exec("mkdir a && echo 1 >a/b")
    for copied in (sandbox.copy_to(other, "a", "b"), sandbox.copy_to("other", "a", "c")):
        explanation = explain(copied, one)
        before = len(platform.calls)
        assert isinstance(one | copied, Success)
        assert methods(explanation) == calls_since(platform, before)
        assert one.id in str(explanation)


def test_explain_bodies(environment: dict[str, str]) -> None:
    """The bodies and queries are those that a run sends."""
    assert environment
    made = create(description='it\'s "so"', topics=["a", "b"])
    first, second, third, *_ = explain(made, "my-box").requests
    assert msgspec.json.decode(first.body or "") == {
        "name": "my-box",
        "base": "at://did:plc:aturpi2ls3yvsmhc6wybomun/io.pocketenv.sandbox/openclaw",
        "provider": "cloudflare",
    }
    preferences = msgspec.json.decode(second.body or "")["preferences"]
    assert preferences == [
        {
            "$type": "io.pocketenv.sandbox.defs#sandboxDetailsPref",
            "name": "my-box",
            "description": 'it\'s "so"',
            "topics": ["a", "b"],
        }
    ]
    assert (third.verb, third.path, third.body) == (
        "GET",
        "/xrpc/io.pocketenv.sandbox.getSandbox?id=‹SANDBOX_ID›",
        None,
    )
    (request,) = explain(get_sandbox, "a/b&c").requests
    assert request.path.endswith("getSandbox?id=a%2Fb%26c")
    assert explain(stop, BOX).requests[0].body is None
    assert explain(start, BOX).requests[0].body == "{}"


# What gives many Results is no step.
@pytest.mark.parametrize(
    "name", sorted(name for name in OPERATIONS if not name.startswith("iter_") and name not in UNSUPPORTED)
)
def test_explain_each_operation(name: str) -> None:
    """Each operation has requests and no Failure."""
    made = getattr(sandbox, name)(*OPERATIONS[name], **NAMED.get(name, {}))
    is_of_a_job = getattr(sandbox, name).accepts is Job if name != "sh" else False
    for target in (Job(BOX, "job-1") if is_of_a_job else BOX, None):
        explanation = explain(made, target)
        assert len(explanation) >= 1
        assert not [note for part in explanation.parts for note in part.notes if "Failure" in note]


# Nothing is done


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, no file, no clock to wait by, no platform to be started."""
    # Modules that are imported on first use are imported here.
    explain(create.map(never) | start, "my-box")
    as_curl(ephemeral(set_secret("A", "b"), repo="https://example.org/a.git"), "my-box")
    monkeypatch.setattr(socket, "socket", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setattr(time, "sleep", refused)
    monkeypatch.setattr(local, "shared", refused)
    monkeypatch.setattr("builtins.open", refused)
    monkeypatch.setattr(os, "environ", {"POCKETENV_API_URL": "local", "E2B_API_KEY": SECRET})


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("pipeline", [*STEPS, *TRUE_TO_LIFE], ids=repr)
def test_explain_no_side_effects(pipeline: Step[Any, Any]) -> None:
    """Explaining sends and reads nothing, needs no token and shows no secret."""
    watched: list[object] = []
    with observing(watched.append):
        explanation = explain(pipeline)
        script = as_curl(pipeline)
    assert not watched
    assert leaks(f"{explanation}{script}") == set()
    assert explanation.requests or "does not support it" in str(explanation)


@pytest.mark.usefixtures("alone")
def test_explain_calls_no_function() -> None:
    """No function of the program is called."""
    explanation = explain(
        create
        | when(never, start)
        | retrying(start, 5, on=PocketenvError, delay=99)
        | within(8, wait_until_running(timeout=7))
        | tap(or_else(exec("a", check=True), exec("b"), on=PocketenvError))
        | recover(exec("c", check=True), never),
        "my-box",
    )
    text = str(explanation)
    for note in (
        "if never returns True",
        "up to 5 times, while it fails with PocketenvError",
        "until it runs, for 7 s at the most",
        "within 8 s",
        "only if that fails",
        "where the step fails with PocketenvError",
    ):
        assert note in text
    assert [request.notes for request in explanation.requests if "exec" in request.path] == [
        (),
        ("only if that fails",),
        (),
    ]


@pytest.mark.usefixtures("alone")
def test_explain_ignores_environment() -> None:
    """The Config and the credentials of the environment are not read."""
    at_home = Config(api_url="local")
    own = create(provider="e2b", config=at_home) | tap(set_secret("A", "b", config=at_home))
    explanation = explain(own | exec("true", timeout=3, config=at_home), "my-box")
    assert "e2bApiKey" not in str(explanation)
    assert "with the credentials for the provider from the environment, if any" in str(explanation)


def test_explain_files(tmp_path: Path) -> None:
    """Files are neither read nor written."""
    (tmp_path / "secret.txt").write_text(SECRET, encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    both = explain(upload(tmp_path, "a") | download("a", tmp_path / "new"), BOX)
    assert sorted(tmp_path.rglob("*")) == before
    assert [request.local for request in both.requests if request.local] == [str(tmp_path), str(tmp_path / "new")]
    assert leaks(str(both)) == set()


def test_explain_inside_managed(environment: dict[str, str]) -> None:
    """`managed` does not count the fake platform's sandboxes as its own."""
    assert environment

    @step(str)
    def looking(name: str) -> Result[Sandbox, PocketenvError]:
        assert len(explain(create, name)) == 3
        return create(name)

    assert managed(start, acquire=looking)("my-box").unwrap().name == "my-box"
    assert get_sandbox("my-box") == Success(None)


def test_explain_inside_using() -> None:
    """The Config of an enclosing `using` changes nothing."""
    plain = explain(create | exec("true", timeout=3), "my-box")
    with using(Config(api_url="local", token="other", public_key="00" * 32, read_timeout=-1)):
        assert explain(create | exec("true", timeout=3), "my-box") == plain


# Targets


@pytest.mark.parametrize(
    ("pipeline", "expected"),
    [
        (create, "‹NAME›"),
        (managed(start), "‹NAME›"),
        (get_sandbox | start, "‹NAME›"),
        (ephemeral(start), "‹NAME›-‹RANDOM_HEX›"),
        (start, "‹SANDBOX_ID›"),
        (tap(gather(when(never, start), stop)), "‹SANDBOX_ID›"),
    ],
    ids=repr,
)
def test_explain_stand_ins(pipeline: Step[Any, Any], expected: str) -> None:
    """A missing target has a stand-in."""
    assert expected in str(explain(pipeline))


def test_explain_no_requests() -> None:
    """Steps that send no request are explained too."""
    assert str(explain(check | lines)) == "check()\nlines()\nno requests; nothing was sent."
    assert (len(explain(identity)), bool(explain(identity))) == (0, True)
    assert str(explain(check, ExecResult("", "", 3))).startswith(
        "check()\n    # is a Failure here: the command ended with exit code 3\n"
    )


@step(int)
def counted(number: int) -> Result[int, PocketenvError]:
    return Success(number)


def test_explain_missing_target() -> None:
    """A missing target of a type without a stand-in raises TypeError."""
    with pytest.raises(TypeError, match="the step takes a int: pass one as the target"):
        explain(counted)
    assert len(explain(counted, 3)) == 0


@pytest.mark.parametrize("target", [3, b"a", ["a"], Success(3)])
def test_explain_wrong_target(target: Any) -> None:
    """A target of a wrong type raises the same TypeError as a run."""
    pipelines: list[Step[Any, Any]] = [start(), tap(start), create(), managed(start), ephemeral(start)]
    for pipeline in pipelines:
        with pytest.raises(TypeError) as called:
            pipeline(target)
        with pytest.raises(TypeError) as explained:
            explain(pipeline, target)
        assert str(explained.value) == str(called.value)


def test_explain_wrong_argument() -> None:
    """An argument that is not a step raises TypeError."""
    badly: Any = explain
    for each in (exec, expose):
        with pytest.raises(TypeError, match=f"{each.__name__} needs arguments: write"):
            badly(each, BOX)
        with pytest.raises(TypeError, match="needs arguments"):
            as_curl(each)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    for combined in (tap, ephemeral):
        with pytest.raises(TypeError, match=rf"{combined.__name__} needs arguments: write `\| {combined.__name__}\("):
            badly(combined, BOX)
    for wrong in ("start", None, print, BOX):
        with pytest.raises(TypeError, match="explain: expected a step, got"):
            badly(wrong)


def test_explain_failed_target() -> None:
    """Every step is skipped for a failed target."""
    failed: Result[Sandbox, PocketenvError] = Failure(NotLoggedIn())
    explanation = explain(start | tap(stop), failed)
    assert len(explanation) == 0
    assert str(explanation).count("is skipped") == 2
    missing: Result[Sandbox | None, PocketenvError] = Success(None)
    assert "the step before returned no sandbox" in str(explain(start, missing))


def test_explain_certain_failure() -> None:
    """A certain Failure is noted once, at its step."""
    explanation = explain(create | tap(expose(80)) | start, "my-box")
    assert str(explanation).count("is a Failure here: port: Expected `int` >= 1025") == 1
    assert methods(explanation)[-1] == "sandbox.putPreferences"
    assert explanation.parts[-1].notes == ("is skipped: there is a Failure before it",)
    for wrong in (exec("a\0b"), exec("\ud800"), sandbox.set_variable("a", "\ud800")):
        assert "is a Failure here" in str(explain(wrong, BOX))
    assert "is a Failure here: delay" in str(explain(retrying(start, delay=-1), BOX))


def test_explain_or_else_certain_failure() -> None:
    """The alternative is explained if the first step is certain to fail."""
    explanation = explain(or_else(expose(80), exec("true")), BOX)
    assert methods(explanation) == ["sandbox.exec"]
    assert "is skipped" not in str(explanation)


def test_explain_or_else_alternative() -> None:
    """The alternative does not change what is explained for later steps."""
    explanation = explain(create | or_else(start, tap(delete) | tap(create_other)) | sandbox.refresh | start, "my-box")
    assert "Failure" not in str(explanation)
    assert explanation.requests[-1].path.endswith("id=‹SANDBOX_ID›")
    assert "‹SANDBOX_ID_3›" in str(explain(or_else(identity, tap(create_other)) | create_other, BOX))


@step(Sandbox)
def create_other(_: Sandbox) -> Result[Sandbox, PocketenvError]:
    return create("other").bind(lambda _: create("more"))


# Steps and methods that this library does not know


@step(Sandbox)
def home_made(box: Sandbox) -> Result[object, PocketenvError]:
    asked = procedure("sandbox.newMethod", bytes.decode, {"id": box.id, "new": SECRET}, {"command": "a", "new": SECRET})
    return send(asked).bind(lambda _: send(query("sandbox.other", lambda body: msgspec.json.decode(body, type=int))))


@combinator()
def twice(target: Any, step: Step[Any, Any]) -> Result[Any, PocketenvError]:
    return Success(target) | step | step


def test_explain_own_step() -> None:
    """The caller's own step is run, and its requests are listed and masked."""
    explanation = explain(home_made, BOX)
    first, second = explanation.requests
    assert (first.path, first.body) == (
        "/xrpc/io.pocketenv.sandbox.newMethod?id=3f2a&new=%2A%2A%2A",
        '{"command": "a", "new": "***"}',
    )
    assert second.path.endswith("sandbox.other")
    assert "this version does not know the response" in str(explanation)


def test_explain_own_combinator_masked() -> None:
    """The caller's own combinator gets steps without their secrets."""
    explanation = explain(twice(start | tap(set_secret("A", SECRET))), BOX)
    assert len(explanation) == 8
    assert "***" in str(explanation)
    assert leaks(str(explanation) + as_curl(twice(tap(set_secret("A", SECRET))), BOX)) == set()


@combinator()
def locked(
    target: Any, step: Step[Any, Any], is_needed: Callable[[Any], bool], key: str
) -> Result[Any, PocketenvError]:
    """A combinator with everything that may go wrong: requests of its own, a function, an inner combinator, a pause."""
    asked = procedure("sandbox.exec", bytes.decode, {"id": "lock"}, {"command": key})
    if not is_needed(target):
        return Success(target)
    before = send(asked)
    nap(99)
    result = Success(target) | retrying(step, 5, unsafe=True)
    return before.bind(lambda _: send(asked)).bind(lambda _: result)


@pytest.mark.usefixtures("alone")
def test_explain_own_combinator() -> None:
    """The caller's own combinator is run, and its parts are listed in order."""
    explanation = explain(locked(start, never, "flock"))
    assert [(part.source, part.depth, len(part.requests)) for part in explanation.parts] == [
        ("locked(start(), never, 'flock')", 0, 1),
        ("retrying(start(), 5, unsafe=True)", 1, 0),
        ("start()", 2, 2),
        ("locked(start(), never, 'flock')", 0, 1),
    ]
    assert explanation.parts[3].notes == ("goes on",)
    assert methods(explanation) == ["sandbox.exec", "sandbox.startSandbox", "sandbox.getSandbox", "sandbox.exec"]


@pytest.mark.usefixtures("environment")
def test_explain_own_combinator_equals_run(platform: local.Platform) -> None:
    """The listed requests of the caller's own combinator are those that a run sends."""
    both = create | twice(start | tap(twice(stop)))
    explanation = explain(both, "my-box")
    before = len(platform.calls)
    assert isinstance(both("my-box"), Success)
    assert methods(explanation) == calls_since(platform, before)


@step(Sandbox)
def with_a_key(box: Sandbox) -> Result[Sandbox, PocketenvError]:
    stored = set_secret(box, "KEY", from_env("MY_KEY"), config=Config(api_url="local"))
    return stored.bind(lambda _: start(box, config=Config(api_url="local")))


@pytest.mark.usefixtures("alone")
def test_explain_own_step_variables() -> None:
    """No environment variable is read in the caller's own step."""
    explanation = explain(with_a_key, BOX)
    assert [part.source for part in explanation.parts] == ["with_a_key()"]
    assert '"value": "‹SEALED_KEY›"' in str(explanation)
    assert "Failure" not in str(explanation)


@pytest.mark.usefixtures("alone")
def test_explain_unknown_target() -> None:
    """An unknown target has one stand-in in all its requests."""
    explanation = explain(create.map(never) | tap(gather(start, tap(stop))) | twice(start), "my-box")
    ids = {name for request in explanation.requests[3:] for _, name in stand_ins(request.path) if name}
    assert ids == {"SANDBOX_ID_2"}


def failing(_: Sandbox) -> Result[Sandbox, PocketenvError]:
    return Failure(ServerError(500, "E", "failed", "failing"))


@pytest.mark.usefixtures("alone")
def test_explain_retrying_certain_failure() -> None:
    """A certain Failure is noted once, although the step would be retried."""
    fails = step(Sandbox, safe=True)(failing)
    text = str(explain(retrying(fails, 1000, delay=99), BOX))
    assert text.count("is a Failure here") == 1
    assert "is tried up to 1000 times, while it fails with TransportError or ServerError" in text


@pytest.mark.usefixtures("alone")
def test_explain_after_certain_failure() -> None:
    """The steps that handle a certain Failure are explained."""
    fails = step(Sandbox)(failing)
    assert methods(explain(or_else(fails, start) | stop, BOX))[0] == "sandbox.startSandbox"
    assert "# only" not in as_curl(or_else(fails, start), BOX)
    assert len(explain(recover(fails, BOX) | start, None)) == 2
    assert len(explain(recover(fails, never) | start, None)) == 2
    assert "is skipped" in str(explain(fails.lash(never) | fails.alt(never) | start, BOX))


@pytest.mark.usefixtures("alone")
def test_explain_release_after_failure() -> None:
    """The release is listed after a certain Failure."""
    explanation = explain(managed(step(Sandbox)(failing) | start), "my-box")
    *_, last = explanation.parts
    assert (last.source, last.notes) == ("delete()", ("in the end, however the rest goes",))
    assert methods(explanation)[-1] == "sandbox.deleteSandbox"


def test_explain_copy_in_pieces() -> None:
    """A provider that cannot copy gets the archive through commands. Their number depends on its size."""
    explanation = explain(create(provider="e2b") | start | tap(upload("a", "b")) | download("b", "c"), "my-box")
    text = str(explanation)
    assert "for each 48 KiB of the archive" in text
    assert "for each 512 KiB of the archive" in text
    assert "‹storage›" not in text
    assert "Failure" not in text


def test_explain_within() -> None:
    """A deadline does not end the explanation."""
    explanation = explain(within(1e-9, start | wait_until_running | stop), BOX)
    assert "Failure" not in str(explanation)
    assert explanation.parts[0].notes == ("within 1e-09 s",)


# Secrets


def secret_steps() -> Iterator[Step[Any, Any]]:
    """Every place where something secret may stand, right and wrong."""
    wrong: Any = sandbox
    yield create(secrets={"A": SECRET}, provider="e2b", provider_credentials={"e2b_api_key": SECRET})
    yield create(secrets={"A": SECRET}, config=Config(public_key="00" * 32, token=TOKEN))
    yield create(provider="e2b", provider_credentials={SECRET: "e2b_api_key"})
    yield create(provider="daytona", provider_credentials={"daytona_organization_id": SECRET})
    yield create(env={"KEY": PRIVATE, "OTHER": from_env("LEAK_SECRET")}, token=TOKEN)
    yield create(secrets={"A": SECRET + "\ud800"})
    yield create(secrets={"A": from_env("LEAK_SECRET")}) | start(token=TOKEN)
    yield ephemeral(start, secrets={"A": SECRET}, provider_credentials={}, token=TOKEN)
    yield managed(start | set_secret("A", SECRET), acquire=create(secrets={"A": SECRET}))
    yield sandbox.set_variable("KEY", PRIVATE)
    yield from (set_secret("NAME", value) for value in (SECRET, PRIVATE, from_env("LEAK_SECRET"), SECRET + "\ud800"))
    yield from (sandbox.set_file("/workspace/a", value) for value in (SECRET, PRIVATE, SECRET * 2000))
    for private in (PRIVATE, PKCS8, SECRET, PUBLIC, from_env("LEAK_PRIVATE")):
        yield set_ssh_keys(private, PUBLIC)
        yield set_ssh_keys(private, PRIVATE)
    yield set_tailscale_auth_key(HIDDEN_TEXTS["auth key"])
    yield set_tailscale_auth_key(HIDDEN_TEXTS["API key"])
    yield set_tailscale_auth_key(from_env("LEAK_SECRET"), token=TOKEN)
    yield exec("true", env={"A": from_env("LEAK_SECRET")}, cwd="/tmp", timeout=20, token=TOKEN)
    yield exec(f"echo '{PRIVATE}'")
    yield exec("echo", [PRIVATE, "more"])
    yield sandbox.exec_script("exit 3", "sh", env={"A": from_env("LEAK_SECRET")}, check=True)
    yield sandbox.spawn("true", env={"A": from_env("LEAK_SECRET")})
    yield exec("true", config=Config(api_url=f"https://user:{TOKEN}@elsewhere.example"))
    yield when(never, tap(set_secret("A", SECRET))) | recover(tap(set_secret("B", SECRET)), None)
    yield wrong.set_ssh_keys(public_key=PRIVATE, private_key=PUBLIC)


@pytest.mark.parametrize("made", list(secret_steps()), ids=lambda made: repr(made)[:60])
def test_explain_hides_secrets(made: Step[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an explanation nor its script shows a secret."""
    for name in ("LEAK_SECRET", "E2B_API_KEY", "DAYTONA_API_KEY", "POCKETENV_TOKEN"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("LEAK_PRIVATE", PRIVATE)
    explanation = explain(made)
    seen = [*shows(explanation), *(text for part in explanation.parts for text in shows(part))]
    seen += [*(text for request in explanation.requests for text in shows(request)), as_curl(made)]
    assert leaks("\n".join(seen)) == set()
    assert explain(made) == explanation, "a sealed value would be another one each time"


@pytest.mark.parametrize("made", [each for each in secret_steps() if repr(each).startswith("set_")], ids=lambda _: "")
def test_masked_hides_secrets(made: Step[Any, Any]) -> None:
    """The arguments of the step that is run contain no secret."""
    assert isinstance(made, Applied)
    args, kwargs = masked(made)
    assert not any(leaks(value) for value in (*args, *kwargs.values()) if isinstance(value, str))
    assert not any(isinstance(value, FromEnv) for value in (*args, *kwargs.values()))


def test_explain_shows_variables() -> None:
    """Values that the step shows are shown."""
    text = str(explain(create(env={"STAGE": "test"}) | sandbox.set_variable("A", "value-of-a"), "my-box"))
    assert '"name": "STAGE", "value": "test"' in text
    assert '"name": "A", "value": "value-of-a"' in text


def test_explain_secret_stand_ins() -> None:
    """Each secret has its own stand-in."""
    made = create(secrets={"A": "1", "B": "2"}) | tap(sandbox.set_file("/a", "3")) | sandbox.set_file("/b", "4")
    text = str(explain(made, "my-box"))
    for name in ("SEALED_A", "SEALED_B", "SEALED_CONTENT", "SEALED_CONTENT_2"):
        assert text.count(f"‹{name}›") == 1


def test_explain_odd_strings() -> None:
    """Escapes and stand-ins in the program's strings are no Failure."""
    described = Sandbox(id="3f2a", name="calm-otter", topics=("a", "‹b›"), description="\\u0000 %00 ‹NAME›")
    for made in (exec("printf '\\u0000 %00'"), start | sandbox.rename("\\u0000"), sandbox.refresh):
        assert "Failure" not in str(explain(made, described))


def test_explain_random_look_alikes() -> None:
    """A string of the program is kept, although it resembles a random name."""
    mark = f"pocketenv-{'0f' * 16}"
    assert mark in str(explain(exec(f"echo {mark}"), BOX))
    made = explain(spawn("true"), BOX).requests[0].body
    assert "‹RANDOM_HEX›" in str(made)


# As a value


sequences = st.lists(st.sampled_from([each for each in STEPS if name_of(each) not in OF_A_NAME | OF_A_JOB]), max_size=4)


@given(sequences, st.sampled_from([None, BOX, Success(BOX), Failure(NotLoggedIn())]))
@settings(max_examples=examples(60), deadline=None)
def test_explanation_value(steps: list[Step[Any, Any]], target: Any) -> None:
    """Equal steps and targets have equal explanations, which can be hashed and pickled."""
    made: Step[Any, Any] = identity
    for each in steps:
        made = made | tap(each)
    explanation = explain(made, target)
    assert explain(made, target) == explanation
    assert hash(explain(made, target)) == hash(explanation)
    assert pickle.loads(pickle.dumps(explanation)) == explanation
    assert as_curl(made, target) == as_curl(made, target)
    assert len(explanation) == sum(str(explanation).count(f"\n        {verb} ") for verb in ("GET", "POST"))


@pytest.mark.parametrize("name", NAMES)
@given(st.data())
@settings(max_examples=examples(15), deadline=None)
def test_explain_any_arguments(name: str, data: st.DataObject) -> None:
    """Any arguments of an operation can be explained."""
    made = data.draw(arguments(name)).step
    explanation = explain(made)
    assert explain(made) == explanation
    assert pickle.loads(pickle.dumps(explanation)) == explanation
    f"{explanation}{explanation!r}{as_curl(made)}".encode()


def test_explanation_long_strings() -> None:
    """Long strings are truncated when an explanation is printed."""
    explanation = explain(exec(f"echo {'x' * 1199}"), BOX)
    assert re.search(r"-c \$'echo xxx.*… ‹1,\d{3} characters›", str(explanation))
    assert f"echo {'x' * 1199}" in (explanation.requests[0].body or "")
    assert repr(explain(create | start, "b")) == "<Explanation of create() | start(): 4 requests>"
    assert len(repr(explanation)) < 300


class _Balanced(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002  # its own signature
        self.open.append(tag)
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_explanation_bidi_controls() -> None:
    """Characters that reverse a line are escaped and keep their meaning."""
    text = "é\u202egnp.exe\u2066 \x9b31m\x7f\u2028"
    made = sandbox.set_variable("NAME", text)
    explanation = explain(made, BOX)
    html = explanation._repr_html_()  # pyright: ignore[reportPrivateUsage]
    shown = str(explanation) + html + as_curl(made, BOX)
    assert not set(shown) & set("\u202e\u2066\x9b\x7f\u2028")
    assert shown.count("é\\u202egnp.exe") >= 3
    assert msgspec.json.decode(explanation.requests[0].body or "")["variable"]["value"] == text


def test_explanation_html() -> None:
    """A notebook shows a table whose strings are escaped."""
    html = explain(start | exec("<script>alert('&')</script>"), BOX)._repr_html_()  # pyright: ignore[reportPrivateUsage]  # as notebooks do
    parser = _Balanced()
    parser.feed(html)
    assert (parser.open, "script" in parser.tags) == ([], False)
    assert "&lt;script&gt;" in html
    assert "currentColor" in html
    assert "&amp;limit=3" in explain(sandbox.list_secrets(limit=3), BOX)._repr_html_()  # pyright: ignore[reportPrivateUsage]
    assert "#" not in html.replace("&#x27;", "").replace("# ", "")


# The imagined platform


@pytest.mark.contract
@pytest.mark.parametrize("name", sorted(FakePlatform.methods))
def test_fake_platform_contract(name: str) -> None:
    """The responses of the fake platform follow the contract."""
    assert f"io.pocketenv.{name}" in contract.methods()
    declared = contract.given(f"io.pocketenv.{name}")
    platform = FakePlatform()
    platform.new_box()
    box = "‹SANDBOX_ID›"
    noun = name.partition(".")[0]
    given_here: dict[str, Any] = {
        "id": box,
        "sandboxId": box,
        "command": "a",
        "port": 8080,
        "preferences": [],
        "publicKey": "a",
    }
    given_here |= {"name": "a", "serviceId": "a", noun: {"sandboxId": box, "name": "a", "path": "/a", "value": "a"}}
    answer = platform.answer(procedure(name, bytes, given_here))
    if declared is None:
        assert answer in (None, {})
        return
    misfits = contract.misfits(answer, declared)
    assert {each for each in misfits if "undeclared" in each or "is not of type" in each} <= KNOWN.get(name, set())


# Where the platform was observed to answer otherwise than its contract says, the client reads what it answers.
KNOWN: dict[str, set[str]] = {
    "sandbox.claimSandbox": {"id: undeclared"},
    "sandbox.createSandbox": {"id: undeclared"},
    "sandbox.getSandbox": {"sandbox: undeclared"},
}


def test_fake_platform_methods() -> None:
    """The fake platform answers every method that is used."""
    used = {
        name
        for made in [*STEPS, *TRUE_TO_LIFE]
        for name in methods(explain(made))
        if name.startswith(("sandbox.", "secret.", "variable.", "file.", "volume.", "service.", "actor."))
    }
    assert used <= set(FakePlatform.methods)


def test_fake_platform_status() -> None:
    """A sandbox of the fake platform keeps the status of its last step."""
    states: list[Status] = []

    @step(Sandbox)
    def seen(box: Sandbox) -> Result[Sandbox, PocketenvError]:
        states.append(box.status)
        return Success(box)

    explain(start | seen | stop | seen | wait_until_running | seen, BOX)
    assert states == [Status.RUNNING, Status.STOPPED, Status.RUNNING]


# As a script

# The platform puts four spaces behind a line break of a secret when it exports it.
STORED = SECRET.replace("\n", "\n    ")

needs_curl = pytest.mark.skipif(
    shutil.which("curl") is None or shutil.which("sh") is None, reason="needs curl and a shell"
)


def run(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment["PYTHONPATH"] = str(Path(pocketenv_fp.__file__).parents[1])
    return subprocess.run(
        ["sh"], input=script, capture_output=True, text=True, timeout=60, check=False, env=environment
    )


@needs_curl
@pytest.mark.usefixtures("environment")
def test_as_curl_equals_run() -> None:
    """The script does what the pipeline does."""
    ci = create(env={"STAGE": "it's"}) | start | wait_until_running | exec('echo "$STAGE" >made; cat made', ["made"])
    ran = run(as_curl(ci, "my-box"))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "\"it's\\nit's\\n\\u001e\"" in ran.stdout
    assert (get_sandbox("my-box") | exec("cat made")).unwrap().stdout == "it's\n"


@needs_curl
@pytest.mark.usefixtures("environment")
def test_as_curl_did_of_token() -> None:
    """The script reads the DID from the token, and stops at a token without one."""
    script = as_curl(create(repo="https://example.org/a.git"), "my-box")
    ran = run(script)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert get_sandbox("my-box").unwrap() is not None
    other = run(script, POCKETENV_TOKEN="no-token")
    assert (other.returncode, other.stdout) == (1, "")


@pytest.mark.parametrize("provider", ["e2b", "blaxel", "runloop", "deno", "vercel"])
@pytest.mark.parametrize("copy", [upload("a", "b"), download("a", "b")], ids=["upload", "download"])
def test_as_curl_copy_through_commands(provider: str, copy: Step[Sandbox, object]) -> None:
    """A copy in pieces through commands is no script: it fails before it sends anything."""
    script = as_curl(create(provider=provider) | start | wait_until_running | copy, "my-box")
    assert "/xrpc/" not in script
    ran = run(script)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "cannot copy" in ran.stderr


@needs_curl
@pytest.mark.usefixtures("environment")
def test_as_curl_secrets() -> None:
    """The script reads secrets from environment variables and seals them."""
    made = create(secrets={"API_KEY": SECRET}) | tap(set_secret("OTHER", SECRET)) | sandbox.delete_secret("OTHER")
    script = as_curl(made | start | exec("true", env={"MORE": from_env("GIVEN"), "B": "$x"}, timeout=9), "my-box")
    assert leaks(script) == set()
    without = run(script)
    assert without.returncode != 0
    assert "is needed" in without.stderr
    given = f"it's {SECRET}"
    ran = run(script, API_KEY=SECRET, OTHER="b", GIVEN=given)
    assert (ran.returncode, ran.stderr) == (0, "")
    box = get_sandbox("my-box")
    assert (box | exec('printf %s "$API_KEY"')).unwrap().stdout == STORED
    assert [secret.name for secret in (box | sandbox.list_secrets).unwrap()] == ["API_KEY"]


@needs_curl
@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("provider", ["cloudflare", "deno", "daytona", "e2b", "runloop"])
def test_as_curl_value_of_the_environment(provider: str) -> None:
    """The script writes a value into the wire form of each provider, quotes and line breaks included."""
    given = f"it's {SECRET} \"$HOME`\\\\\n\\é%s\ta"
    box = (create(f"curl-{provider}", provider=provider) | wait_until_running).unwrap()
    ran = run(as_curl(exec('printf %s "$A"', env={"A": from_env("GIVEN")}), box), GIVEN=given)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert msgspec.json.decode(ran.stdout.splitlines()[-1])["stdout"].partition("\x1e")[0] == given


@needs_curl
@pytest.mark.usefixtures("environment")
def test_as_curl_variable_names() -> None:
    """A secret may have the name of a variable of the script."""
    for number, name in enumerate(("api", "answer", "UUID_OF_MINE", "RANDOM_HEX_A")):
        made = create(secrets={"api": SECRET}) | start | exec('printf "$api $A"', env={"A": from_env(name)})
        ran = run(as_curl(made, f"box-{number}"), **{"api": SECRET, name: SECRET})
        assert (ran.returncode, ran.stderr) == (0, "")
        assert msgspec.json.decode(ran.stdout.splitlines()[-1])["stdout"] == f"{STORED} {SECRET}\x1e"


@needs_curl
@pytest.mark.usefixtures("environment")
def test_as_curl_response_values() -> None:
    """The script keeps values of a response for later requests."""
    web = sandbox.set_service("it's $web", "sleep 99")
    ran = run(as_curl(create | start | tap(web) | tap(sandbox.stop_service("it's $web")) | sandbox.spawn("true"), "b"))
    assert (ran.returncode, ran.stderr) == (0, "")
    names = {service.name: service.status for service in (get_sandbox("b") | sandbox.list_services).unwrap()}
    assert names.pop("it's $web") is Status.STOPPED
    assert [name.startswith("spawn-") for name in names] == [True]


@needs_curl
@pytest.mark.usefixtures("environment")
def test_as_curl_directories(tmp_path: Path) -> None:
    """The script copies directories to a sandbox and back."""
    there, back = tmp_path / "it's there", tmp_path / "and back"
    there.mkdir()
    (there / "file").write_text("content", encoding="utf-8")
    ran = run(as_curl(create | start | upload(there, "a b") | download("a b", back), "my-box"))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert (back / "file").read_text(encoding="utf-8") == "content"


@needs_curl
@pytest.mark.usefixtures("environment")
def test_script_missing_directory(tmp_path: Path) -> None:
    """The script stops at a missing directory."""
    is_a_file = tmp_path / "file"
    is_a_file.write_text("content", encoding="utf-8")
    for number, copy in enumerate([upload(is_a_file, "a"), upload(tmp_path / "none", "a"), download("a", is_a_file)]):
        made = create | start | tap(exec("mkdir a")) | tap(copy) | exec("echo went on")
        ran = run(as_curl(made, f"box-{number}"))
        assert ran.returncode != 0
        assert "went on" not in ran.stdout
        assert "curl" not in ran.stderr, "nothing was sent that could be refused"


@needs_curl
@pytest.mark.usefixtures("environment")
def test_as_curl_refused_request() -> None:
    """The script stops at a refused request."""
    assert isinstance(create("my-box"), Success)
    ran = run(as_curl(create | start, "my-box"))
    assert ran.returncode != 0
    assert "500" in ran.stderr


@needs_curl
@pytest.mark.usefixtures("environment")
def test_as_curl_or_else_comment() -> None:
    """Requests that follow only after a Failure are comments."""
    script = as_curl(create | start | or_else(exec("echo first"), exec("echo\nsecond")), "my-box")
    ran = run(script)
    assert "first" in ran.stdout
    assert "second" not in ran.stdout
    assert "# only if that fails" in script
    assert all(line.startswith("#") for line in script.splitlines() if "second" in line)


@needs_curl
@pytest.mark.parametrize(
    "text", ["'; touch made; '", "$(touch made)", "`touch made`", "\n touch made \n", "a\u2028touch made"]
)
def test_as_curl_shell_injection(text: str, tmp_path: Path) -> None:
    """The shell that runs the script runs no string of the pipeline."""
    made = exec(text, [text], cwd=text) | tap(check)
    script = as_curl(tap(upload(text, "a")) | tap(download("a", f"-{text}")) | made, Sandbox(id=text, name=text))
    checked = subprocess.run(["sh", "-n"], input=script, text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    (tmp_path / text).mkdir()
    false = tmp_path / "bin"
    false.mkdir()
    for tool in ("curl", "tar"):
        (false / tool).write_text('#!/bin/sh\necho \'{"uuid": "3f"}\'\n', encoding="utf-8")
        (false / tool).chmod(0o755)
    environment = {"PATH": f"{false}:{os.environ['PATH']}", "POCKETENV_TOKEN": "t"}
    done = subprocess.run(
        ["sh"], input=script, text=True, capture_output=True, check=False, env=environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "made").exists()


def test_as_curl_used_functions() -> None:
    """The script has only the functions and variables that it uses."""
    simple = as_curl(stop, BOX)
    assert "python3" not in simple
    assert "storage" not in simple
    assert "answer=" not in as_curl(sandbox.create_integration("a-hook"), BOX), "what it answers is printed"
    assert simple.startswith("#!/bin/sh\n# stop()\nset -eu\n")
    assert "in_ansi" in as_curl(exec("a", env={"A": from_env("B")}), BOX)
