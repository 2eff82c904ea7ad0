"""Sandboxes that are gone when the work in them is done: after a failure, an exception, Ctrl-C and a request to stop."""

from __future__ import annotations

import asyncio
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from returns.result import Failure, Result, Success

import pocketenv_fp
from pocketenv_fp import (
    CommandFailed,
    Config,
    ExecResult,
    NameTaken,
    PocketenvError,
    Sandbox,
    ServerError,
    Step,
    check,
    copy_to,
    create,
    delete,
    download,
    ephemeral,
    exec,
    fan_out,
    get_sandbox,
    identity,
    iter_sandboxes_by_actor,
    local,
    managed,
    me,
    refresh,
    rename,
    start,
    stop,
    tap,
    upload,
    using,
    when,
)
from pocketenv_fp.local.faults import Refuse, Slow
from pocketenv_fp.pocketenv.options import Options
from pocketenv_fp.steps.operation import step

REPO = "file:///no/such/repository"
DELETE = "sandbox.deleteSandbox"
HELLO: Result[ExecResult, PocketenvError] = Success(ExecResult("hello\n", "", 0))

pytestmark = pytest.mark.usefixtures("environment")


class Broken(Exception):
    """What a function of the program raises."""


def breaks(_: Sandbox) -> bool:
    raise Broken


def interrupted(_: Sandbox) -> bool:
    os.kill(os.getpid(), signal.SIGINT)
    return True


def asked_to_stop(_: Sandbox) -> bool:
    os.kill(os.getpid(), signal.SIGTERM)
    return True


def hung_up(_: Sandbox) -> bool:
    os.kill(os.getpid(), signal.SIGHUP)
    return True


@step(Sandbox)
def as_name(box: Sandbox) -> Result[str, PocketenvError]:
    return Success(f"{box.name}-2")


@step(str)
def get_older(name: str) -> Result[Sandbox, PocketenvError]:
    return Success(name) | get_sandbox | refresh


def mine() -> list[str]:
    return [each.unwrap().name for each in iter_sandboxes_by_actor(me().unwrap().did)]


def test_managed_lifetime() -> None:
    """The sandbox exists during use, and is deleted afterwards."""
    names: list[list[str]] = []

    def seen(box: Sandbox) -> bool:
        names.append([box.name, *mine()])
        return True

    assert managed(start | when(seen, exec("echo hello")))("box") == HELLO
    assert names == [["box", "box"]]
    assert mine() == []


@pytest.mark.parametrize(
    "use", [exec("exit 3", check=True), tap(exec("exit 3") | check), start | exec("exit 3") | check]
)
def test_managed_after_failure(use: Step[Sandbox, Any]) -> None:
    """A failure deletes the sandbox and is returned unchanged."""
    failed = managed(use, acquire=create | start)("box").failure()
    assert isinstance(failed, CommandFailed)
    assert not hasattr(failed, "__notes__")
    assert mine() == []


def test_managed_after_exception() -> None:
    """An exception deletes the sandbox and propagates unchanged."""
    with pytest.raises(Broken) as raised:
        managed(when(breaks, start))("box")
    assert not hasattr(raised.value, "__notes__")
    assert mine() == []


@pytest.mark.parametrize("acquire", [create | exec("true"), create | when(breaks, start) | exec("true"), create | stop])
def test_managed_acquire_fails(platform: local.Platform, acquire: Step[str, Any]) -> None:
    """A created sandbox is deleted if the rest of acquire fails."""
    with platform.faults.on("sandbox.exec", Refuse(502)), platform.faults.on("sandbox.stopSandbox", Refuse(502)):
        try:
            failed = managed(start, acquire=acquire)("box").failure()
            assert isinstance(failed, ServerError)
        except Broken:
            pass
    assert mine() == []


def test_managed_create_fails() -> None:
    """A failed create leaves no sandbox, and use does not run."""
    create("taken").unwrap()
    assert isinstance(managed(when(breaks, start))("taken").failure(), NameTaken)
    assert mine() == ["taken"]


def test_managed_newest_first() -> None:
    """All sandboxes that acquire creates are released, the newest first."""
    released: list[str] = []

    def noted(box: Sandbox) -> bool:
        released.append(box.name)
        return True

    # The first one gets another name, which frees it for the second.
    both = tap(create | rename("first")) | create
    last = managed(start, acquire=both, release=stop | when(noted, delete))("second").unwrap()
    assert released == [last.name, "first"]
    assert mine() == []


def test_managed_created_in_use() -> None:
    """Sandboxes that use creates are not released."""
    made = managed(tap(start) | as_name | create)("box").unwrap()
    assert mine() == [made.name]


def test_managed_older_sandbox() -> None:
    """A sandbox that existed before is not deleted."""
    older = create("older", repo=REPO).unwrap()
    again = managed(start, acquire=create(repo=REPO, reuse=True))("newer").unwrap()
    assert again.id == older.id
    found = managed(start, acquire=get_older)("older").unwrap()
    assert found.id == older.id
    with pytest.raises(Broken):
        managed(when(breaks, start), acquire=create(repo=REPO, reuse=True))("newer")
    assert mine() == ["older"]


def test_managed_repo_new_sandbox(platform: local.Platform) -> None:
    """A repository gets a new sandbox although an older one has it too."""
    older = create("older", repo=REPO).unwrap()
    platform.calls.clear()
    own = managed(start, acquire=create(repo=REPO))("newer").unwrap()
    assert (own.id != older.id, own.name, own.repo) == (True, "newer", None)
    asked = [name.removeprefix("io.pocketenv.sandbox.") for name, _ in platform.calls]
    # The first start clones, and the next step reads no more of its sandbox.
    assert asked[:4] == ["createSandbox", "putPreferences", "startSandbox", "startSandbox"]
    assert mine() == ["older"]


def test_ephemeral_repo_each_sandbox(repository: str) -> None:
    """A repository is cloned into each sandbox."""
    read = ephemeral(exec("cat repository/hello"), repo=repository)
    assert [read("ci").unwrap().stdout for _ in range(2)] == ["hello\n"] * 2
    assert mine() == []


def test_ephemeral_repo_slow_boot(repository: str) -> None:
    """The clone waits until the sandbox runs."""
    with local.platform(boot_delay=0.5) as slow, using(Config(api_url=slow.url, token=slow.token)):
        read = ephemeral(exec("cat repository/hello"), repo=repository, provider="daytona")
        assert read("ci").unwrap().stdout == "hello\n"


def test_fan_out_repo_each_target(repository: str) -> None:
    """Each target gets its own sandbox unless reuse is set."""
    made = fan_out(create(repo=repository) | exec("cat repository/hello"), ["one", "two", "three"])
    assert [ran.unwrap().stdout for ran in made] == ["hello\n"] * 3
    assert sorted(mine()) == ["one", "three", "two"]
    shared = fan_out(create(repo=repository, reuse=True), ["four", "five"], max_workers=1)
    assert len({box.unwrap().id for box in shared}) == 1


@pytest.fixture
def repository(tmp_path: Path) -> str:
    """The URL of a git repository with a file in it."""
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "hello").write_text("hello\n")
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "--quiet"], ["add", "."], [*identity, "commit", "--quiet", "-m", "hello"]):
        subprocess.run(["git", *command], cwd=folder, check=True, env={**os.environ, "HOME": str(tmp_path)})
    return f"file://{folder}"


def test_managed_repo_deleted() -> None:
    """A new sandbox with a repository is deleted."""
    assert managed(start | exec("echo hello"), acquire=create(repo=REPO))("box") == HELLO
    assert mine() == []


def test_managed_deleted_in_use() -> None:
    """A sandbox that use deletes is no failure."""
    assert managed(start | delete)("box").unwrap().name == "box"


def test_managed_release_fails(platform: local.Platform) -> None:
    """A release that fails after a success is the failure."""
    with platform.faults.on(DELETE, Refuse(502)):
        failed = managed(start)("box").failure()
    assert isinstance(failed, ServerError)
    left = get_sandbox("box").unwrap()
    assert left is not None
    assert failed.__notes__ == [f"The sandbox {left.id} may still exist. Its release failed: {failed.summary()}"]
    assert pickle.loads(pickle.dumps(failed)).__notes__ == failed.__notes__


def test_managed_release_fails_too(platform: local.Platform) -> None:
    """A failed release is a note on the first failure."""
    with platform.faults.on(DELETE, Refuse(502)):
        failed = managed(start | exec("exit 3") | check)("box").failure()
        with pytest.raises(Broken) as raised:
            managed(when(breaks, start))("other-box")
    assert isinstance(failed, CommandFailed)
    for error, name in ((failed, "box"), (raised.value, "other-box")):
        left = get_sandbox(name).unwrap()
        assert left is not None
        (note,) = error.__notes__
        assert note.startswith(f"The sandbox {left.id} may still exist. Its release failed: {DELETE}")


def test_managed_release_raises() -> None:
    """An exception of the release is a note on the first failure."""
    failed = managed(exec("exit 3") | check, acquire=create | start, release=when(breaks, delete))("box").failure()
    assert isinstance(failed, CommandFailed)
    assert [note.endswith("Its release raised Broken") for note in failed.__notes__] == [True]
    with pytest.raises(Broken):
        managed(start, release=when(breaks, delete))("other-box")


@pytest.mark.parametrize("kill", [interrupted, asked_to_stop, hung_up])
@pytest.mark.parametrize("place", ["use", "acquire", "release", "nested"])
def test_managed_signal_anywhere(kill: Callable[[Sandbox], bool], place: str) -> None:
    """A signal at any place leaves no sandbox and no handler."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    struck = when(kill, start)
    programs: dict[str, Step[str, Any]] = {
        "use": managed(struck),
        "acquire": managed(start, acquire=create | struck),
        "release": managed(start, release=struck | delete),
        "nested": managed(as_name | managed(struck)),
    }
    with pytest.raises((KeyboardInterrupt, SystemExit)) as stopped:
        programs[place]("box")
    if kill is interrupted:
        assert stopped.type is KeyboardInterrupt
    else:
        assert stopped.value.args == (143 if kill is asked_to_stop else 129,)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    assert mine() == []


def test_managed_second_signal() -> None:
    """A second signal does not wait for the release."""
    with pytest.raises(KeyboardInterrupt) as raised:
        managed(start, release=when(interrupted, start) | when(interrupted, start) | delete)("box")
    left = get_sandbox("box").unwrap()
    assert left is not None
    note = f"The sandbox {left.id} may still exist. Its release raised KeyboardInterrupt"
    assert raised.value.__notes__ == [note]
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_managed_second_signal_after_use() -> None:
    """The first one has left ``use`` by the time the release gets the second."""
    both = tap(create | rename("first")) | create
    with pytest.raises(KeyboardInterrupt) as raised:
        managed(when(interrupted, start), acquire=both, release=when(interrupted, start) | delete)("second")
    assert sorted(mine()) == ["first", "second"]
    assert len(raised.value.__notes__) == 2


@pytest.mark.parametrize("kill", [interrupted, asked_to_stop, hung_up])
@pytest.mark.parametrize("copy", ["download", "copy_to", "upload"])
def test_managed_signal_in_release_copy(kill: Callable[[Sandbox], bool], copy: str, tmp_path: Path) -> None:
    """What a copy opens to signals stays closed in a release."""
    (tmp_path / "file").write_text("content")
    other = create("other") | start
    copies: dict[str, Step[Sandbox, Any]] = {
        "download": download("file", tmp_path / "out"),
        "copy_to": copy_to(other, "file", "file"),
        "upload": upload(tmp_path / "file", "again"),
    }
    release = when(kill, start) | tap(copies[copy]) | delete
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        managed(start | upload(tmp_path / "file", "file"), release=release)("box")
    assert mine() == ["other"]
    if copy == "download":
        assert (tmp_path / "out").read_text() == "content"


def test_managed_release_exits() -> None:
    """A release that stops the program releases the others first."""

    def exits(_: Sandbox) -> bool:
        sys.exit(3)

    both = tap(create | rename("first")) | create
    with pytest.raises(SystemExit) as stopped:
        managed(start, acquire=both, release=tap(delete) | when(exits, start))("second")
    assert stopped.value.code == 3
    assert mine() == []


@pytest.mark.parametrize("place", ["use", "acquire", "release"])
def test_managed_asyncio_ctrl_c(place: str) -> None:
    """asyncio's own handler would let the second one raise anywhere, and the first one nowhere."""
    struck = when(interrupted, start)
    programs: dict[str, Step[str, Any]] = {
        "use": managed(struck),
        "acquire": managed(start, acquire=create | struck),
        "release": managed(start, release=struck | delete),
    }

    async def main() -> None:
        programs[place]("box")

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert signal.getsignal(signal.SIGINT) is before
    assert mine() == []


def test_managed_handlers() -> None:
    """Signal handlers are set inside, and in the main thread only."""
    found: list[object] = []

    def looked(_: Sandbox) -> bool:
        found.append(signal.getsignal(signal.SIGTERM))
        return True

    usual = signal.getsignal(signal.SIGTERM)
    used = managed(when(looked, identity))
    used("box").unwrap()
    assert found.pop() != usual
    assert signal.getsignal(signal.SIGTERM) == usual
    with ThreadPoolExecutor(1) as pool:
        pool.submit(used, "box").result().unwrap()
    assert found.pop() == usual


def test_managed_handler_set_inside() -> None:
    """A handler that the program sets inside is kept."""

    def ignored(_: Sandbox) -> bool:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return True

    before = signal.getsignal(signal.SIGTERM)
    try:
        assert isinstance(managed(when(ignored, start))("box"), Success)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_managed_handler_of_program() -> None:
    """A handler that the program has set before is kept."""
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        assert isinstance(managed(when(asked_to_stop, start))("box"), Success)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert came == [signal.SIGTERM]
    assert mine() == []


def ended(environment: dict[str, str], number: int, use: str, ready: Callable[[], bool]) -> int:
    """The exit code of a program that gets a signal as soon as what it does is ``ready``."""
    source = f"from pocketenv_fp import *\nprint(managed({use})('child'))"
    running = subprocess.Popen([sys.executable, "-c", source], env=environment, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not ready():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        running.send_signal(number)
        return running.wait(timeout=120)
    finally:
        running.kill()
        running.wait()


CODES = pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)


@CODES
def test_managed_killed_in_exec(environment: dict[str, str], platform: local.Platform, number: int, code: int) -> None:
    """A program that gets a signal during a command leaves no sandbox."""
    with platform.faults.on("sandbox.exec", Slow(60), times=1) as planned:
        assert ended(environment, number, "start | exec('true')", lambda: planned.played == 1) == code
    assert mine() == []


@CODES
def test_managed_killed_in_create(
    environment: dict[str, str], platform: local.Platform, number: int, code: int
) -> None:
    """A program that gets a signal before create returns leaves no sandbox."""
    with platform.faults.on("sandbox.createSandbox", Slow(1), times=1):
        assert ended(environment, number, "start", lambda: len(mine()) == 1) == code
    assert mine() == []


def test_managed_forty_threads(platform: local.Platform) -> None:
    """Forty pipelines that fail and raise in threads leave no sandbox."""
    chance = random.Random(7)
    uses: list[Step[Sandbox, Any]] = [
        start | exec("echo hello"),
        start | exec("exit 3") | check,
        when(breaks, start),
        start | when(breaks, exec("true")),
        start | tap(delete) | exec("true"),
        start | exec("sleep 30", timeout=0.2),
    ]
    ways: list[Callable[[Step[Sandbox, Any]], Step[str, Any]]] = [
        managed,
        ephemeral,
        lambda use: managed(use, acquire=create(env={"A": "1"}) | start),
        lambda use: managed(use, acquire=create | when(breaks, start)),
        lambda use: managed(as_name | managed(use)),
    ]
    programs = [(chance.choice(ways)(chance.choice(uses)), f"box-{number}") for number in range(40)]

    def run(given: tuple[Step[str, Any], str]) -> str:
        whole, name = given
        try:
            return type(whole(name)).__name__
        except Broken:
            return "Broken"

    faults = [
        platform.faults.add(method, Refuse(502), times=4)
        for method in ("sandbox.startSandbox", "sandbox.putPreferences", "sandbox.exec", "sandbox.createSandbox")
    ]
    try:
        with ThreadPoolExecutor(8) as pool:
            ended = list(pool.map(run, programs))
    finally:
        for fault in faults:
            platform.faults.remove(fault)
    assert set(ended) == {"Success", "Failure", "Broken"}
    assert mine() == []


def test_ephemeral_names() -> None:
    """A name begins with the target, and each is different."""
    names = [ephemeral(start)("ci").unwrap().name for _ in range(2)]
    assert len(set(names)) == 2
    assert all(name.startswith("ci-") for name in names)
    assert mine() == []


def test_ephemeral_options(
    environment: dict[str, str], platform: local.Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The options hold for the create and for the delete."""
    del environment
    other = platform.new_user("somebody-else")
    printed = ephemeral(start | exec("echo $STAGE"), env={"STAGE": "test"})("ci").unwrap().stdout
    assert printed == "test\n"
    monkeypatch.delenv("POCKETENV_TOKEN")
    assert isinstance(ephemeral(identity, token=other)("ci"), Success)
    with using(Config(token=other)):
        assert mine() == []


def test_options_equal_create() -> None:
    """The options are the parameters of create."""
    taken = create.arguments.signature.parameters
    assert list(get_type_hints(Options)) == list(taken)


def test_ephemeral_wrong_options() -> None:
    """Wrong options raise a TypeError at once."""
    anything: Any = 3
    unknown: dict[str, Any] = {"size": 3}
    with pytest.raises(TypeError, match="ephemeral: create: base: expected str, got int"):
        ephemeral(start, base=anything)
    with pytest.raises(TypeError, match=r"ephemeral: create: .*unexpected keyword argument 'size'"):
        ephemeral(start, **unknown)
    with pytest.raises(TypeError, match="ephemeral takes the prefix of a name, not a int"):
        ephemeral(start)(anything)
    with pytest.raises(TypeError, match="managed: acquire: expected a step, got int"):
        managed(start, acquire=anything)


def test_ephemeral_invalid_value() -> None:
    """An invalid value is a Failure, and no sandbox is created."""
    assert isinstance(ephemeral(start, description="")("ci"), Failure)
    assert mine() == []


def test_managed_repr_and_pickle() -> None:
    """A step prints as its source, and can be compared and pickled."""
    for whole in (
        managed(start | exec("ls")),
        managed(start, acquire=create(provider="daytona") | start, release=stop | delete),
        ephemeral(start, env={"A": "b"}, keep_alive=True),
    ):
        assert eval(repr(whole), dict(vars(pocketenv_fp))) == whole
        assert pickle.loads(pickle.dumps(whole)) == whole
    assert managed(start) != managed(stop)


def test_managed_second_sigterm_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """Python prints no notes of SystemExit."""
    with pytest.raises(SystemExit) as raised:
        managed(start, release=when(asked_to_stop, start) | when(asked_to_stop, start) | delete)("box")
    left = get_sandbox("box").unwrap()
    assert left is not None
    assert raised.value.code == 143
    assert len(raised.value.__notes__) == 1
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert f"may still exist: {left.id}." in printed
    assert "sweep" in printed


def test_managed_one_sigterm_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        managed(start, release=when(asked_to_stop, delete))("box")
    assert capsys.readouterr().err == ""
