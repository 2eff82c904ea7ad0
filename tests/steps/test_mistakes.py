"""Plausible mistakes: each is refused with the argument and what to write, or is a Failure that says it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from returns.result import Failure, Result, Success

import pocketenv_fp
from pocketenv_fp import (
    InvalidInput,
    Sandbox,
    aio,
    create,
    create_backup,
    delete,
    ephemeral,
    exec,
    expose,
    fan_out,
    gather,
    get_sandbox,
    keep,
    lines,
    list_backups,
    my_sandboxes,
    read_text,
    refresh,
    rename,
    restart,
    run_code,
    set_file,
    set_secret,
    set_service,
    set_variable,
    set_volume,
    spawn,
    start,
    stdout,
    stop,
    submit,
    vscode,
    wait_for_port,
    wait_until_running,
    when,
    write_file,
)

pytestmark = pytest.mark.usefixtures("environment")

# Each is a mistake to a type checker.
fp: Any = pocketenv_fp
Mistake = Callable[[Any], object]


async def _asynchronous(_: object) -> Result[int, Exception]:
    return Success(1)


def _unawaited(box: Sandbox, use: Callable[[Any], object]) -> object:
    pending = aio(exec("ls"))(box)
    try:
        return use(pending)
    finally:
        pending.close()


RAISES: dict[str, tuple[Mistake, str]] = {
    # A command
    "a list": (lambda b: b | fp.exec(["ls", "-l"]), "command: expected str, got list: write exec('ls', ['-l'])"),
    "words": (lambda b: b | fp.exec("ls", "-l", "-a"), "too many positional arguments: write exec('ls', ['-l'])"),
    "a word": (lambda b: b | fp.exec("ls", "-l"), "args: expected a list of str, got str: write […]"),
    "swapped": (lambda b: fp.exec("ls", b), "The Sandbox is the first argument"),
    "swapped result": (lambda b: fp.exec("ls", Success(b)), "The Sandbox is the first argument"),
    "a file": (lambda b: b | fp.exec("cat", stdin=io.StringIO("a")), "stdin: expected str, bytes or None, got StringIO: write ….read()"),
    "a path": (lambda b: b | fp.exec("cat", stdin=Path("a")), "write ….read_bytes()"),
    "a misspelled option": (lambda b: b | fp.exec("ls", cwdd="/"), "unexpected keyword argument 'cwdd': write cwd="),
    "a list of variables": (lambda b: b | fp.exec("ls", env=["A=1"]), "or None, got list: write {'NAME': 'value'}"),
    "a dict of settings": (lambda b: b | fp.exec("ls", config={"token": "x"}), "got dict: write Config(…)"),
    "a script's path": (lambda b: b | fp.exec_script(Path("a")), "text: expected str, got PosixPath: write ….read_text()"),
    "a path of code": (lambda b: b | fp.run_code(Path("a")), "source: expected str, got PosixPath: write ….read_text()"),
    "subprocess": (lambda b: b | fp.exec("ls", shell=True), "unexpected keyword argument 'shell'"),
    # A target
    "a step": (lambda _: fp.exec(start, "ls"), "not a step: write step | exec"),
    "a step of a step": (lambda _: fp.start(create), "not a step: write step | start"),
    "after exec": (lambda b: b | exec("ls") | fp.exec("ls"), "write tap(…) around the step before it to keep the sandbox"),
    "after expose": (lambda b: b | expose(8080).map(str) | fp.exec("ls"), "or tap(…) around the step before it"),
    "after submit": (lambda b: b | submit("ls") | fp.exec("ls"), "write tap(…) around the step before it"),
    "after keep": (lambda b: b | keep(lines_of("a")) | fp.exec("ls"), "Choose one value with .map(…)"),
    "after gather": (lambda b: b | gather(lines_of("a")) | fp.exec("ls"), "Choose one value with .map(…)"),
    "a name": (lambda _: fan_out(fp.exec("ls"), ["a"]), "write get_sandbox | exec(…) for a name"),
    "a list of boxes": (lambda b: [b, b] | fp.start, "write fan_out(start(…), targets) for many targets"),
    "a page": (lambda _: my_sandboxes() | fp.start, "write fan_out(start(…), targets) for many targets"),
    "a result of a result": (lambda b: Success(Success(b)) | fp.start, "Write .bind where .map is"),
    "no command": (lambda b: b | fp.stdout, "write exec(…) | stdout"),
    "no job": (lambda b: b | fp.follow, "write submit(…) | follow, or get_job(…) | follow"),
    "a number": (lambda _: fp.create(3), "The first is a str or a Result of one, not int"),
    "a box for a name": (fp.get_sandbox, "The first is a str or a Result of one, not Sandbox"),
    "create in a pipeline": (lambda b: b | fp.create, "create takes a str or a Result of one, not Sandbox: it is a sandbox already, leave create out"),
    "create in managed": (lambda _: fp.managed(create | start)("a"), "it is a sandbox already, leave create out"),
    "a box for a prefix": (fp.ephemeral(start), "write sandbox | step for a sandbox that exists"),
    "a result for a text": (lambda b: b | fp.write_file("a", b | exec("ls") | stdout), "got Success: write raise_for(…)"),
    "a step to raise": (lambda _: fp.raise_for(exec("ls")), "expected Result, got Applied: write step(target)"),
    # asyncio
    "no await": (lambda b: _unawaited(b, lambda pending: pending | fp.stdout), "not Pending: await it first"),
    "no await before": (lambda b: _unawaited(b, fp.stdout), "not Pending: await it first"),
    "async function": (lambda b: b | start.bind(fp_async()), "Write await aio(step)(target)"),
    # Steps of steps
    "a step for a function": (lambda _: fp.when(exec("ls"), start), "predicate: expected a function, got"),
    "a result for a bool": (lambda b: b | when(lambda box: fp.exec(box, "ls"), start), "returned a Success, not a bool"),
    "a function for a step": (lambda _: fp.tap(print), "expected a step, got builtin_function_or_method: write .map(…)"),
    "a list among steps": (lambda _: fp.gather(start, [stop], stop), "expected a step, got list: write * before it"),
    "a list of steps": (lambda _: fp.gather([start, stop]), "expected a step, got list: write * before it"),
    "swapped attempts": (lambda _: fp.retrying(3, start), "expected a step, got int: write retrying(step, attempts)"),
    "swapped seconds": (lambda _: fp.within(start, 3), "expected a step, got int: write within(seconds, step)"),
    "swapped predicate": (lambda _: fp.when(start, bool), "got StepOperation: write when(predicate, step)"),
    "swapped targets": (lambda _: fp.fan_out([], fp.start), "expected a step, got list: write fan_out(step, targets)"),
    "async predicate": (lambda b: b | when(fp_async(), start), "returned a coroutine, not a bool"),
    "one result": (lambda b: fp.collect(b | exec("ls")), "got one Result: write […]"),
    "a lifetime": (lambda _: fp.ephemeral(start, ttl="1h"), "ephemeral: ttl: expected float"),
    # Files
    "an array": (lambda b: b | fp.write_file("a", bytearray(b"x")), "got bytearray: write bytes(…)"),
    "a mode": (lambda b: b | fp.write_file("a", "x", mode="755"), "write an octal number, such as 0o755"),
    "two directories": (lambda b: b | fp.restart(keep=["a", "b"]), "keep: expected str or None, got list"),
}  # fmt: skip

FAILS: dict[str, tuple[Mistake, str]] = {
    "a decimal mode": (lambda b: b | fp.write_file("a", "x", mode=755), "mode: is octal: write 0o755, and not 755"),
    "an id": (lambda b: b | fp.submit("ls", id="a/b"), "id: Expected up to 64 letters, digits, ., _ and -"),
    "a context": (lambda b: b | run_code("1", "my context"), "context: Expected up to 64 letters"),
    "a URL": (lambda b: b | fp.wait_for_http("http://localhost/", port=8080), "path: Expected a path in ASCII"),
    "the environment": (lambda b: b | fp.exec("ls", env={"A": "1", "_": "/bin/ls"}), "reserved by bash: not _"),
    "milliseconds": (lambda b: b | fp.wait_until_running(timeout=60000), "looks like milliseconds"),
    "a language": (lambda b: b | run_code("1", language="javascript"), "exec_script"),
}  # fmt: skip


def lines_of(word: str) -> Any:
    """A step that lists one word."""
    return exec("echo", [word]) | lines


def fp_async() -> Any:
    """A function that a checker would refuse in the place of a plain one."""
    return _asynchronous


@pytest.fixture
def box() -> Sandbox:
    """A running sandbox."""
    return (create("box") | start).unwrap()


@pytest.mark.parametrize("name", RAISES)
def test_mistake_raises(name: str, box: Sandbox) -> None:
    """It is refused at once, with the form to write."""
    mistake, advice = RAISES[name]
    with pytest.raises(TypeError, match=re.escape(advice)):
        mistake(box)


@pytest.mark.parametrize("name", FAILS)
def test_mistake_fails(name: str, box: Sandbox) -> None:
    """A value that cannot be right is a Failure before a request."""
    mistake, advice = FAILS[name]
    result: Any = mistake(box)
    assert advice in str(result.failure())


def test_write_file_modes(box: Sandbox) -> None:
    """Every mode below 0o1000, and the special ones, are what they say."""
    for mode in (0o600, 0o755, 0o777, 0o4755, 0o1777):
        assert not isinstance(box | fp.write_file("a", "x", mode=mode), Failure)
    made = fp.write_file(box, "a", "x", mode=644)
    assert isinstance(made.failure(), InvalidInput)


@pytest.mark.parametrize(
    "step",
    [
        exec("ls"),
        exec("ls", durable=True),
        run_code("1"),
        submit("ls"),
        start,
        stop,
        restart,
        delete,
        refresh,
        rename("other"),
        expose(8080),
        vscode,
        read_text("a"),
        write_file("a", "b"),
        set_secret("A", "b"),
        set_variable("A", "b"),
        set_file("/a", "b"),
        set_volume("v", "/v"),
        set_service("s", "true"),
        spawn("true"),
        create_backup("/workspace"),
        list_backups,
        wait_until_running,
        wait_for_port(8080),
    ],
    ids=str,
)
def test_steps_deleted_sandbox(step: Any, box: Sandbox) -> None:
    """Each function says that it is gone, in the one type that programs match."""
    assert not isinstance(box | delete, Failure)
    result: Any = box | step
    assert type(result.failure()) is pocketenv_fp.SandboxNotFound


def test_mistake_before_request(box: Sandbox) -> None:
    """A sandbox that is gone changes nothing: the mistake comes first."""
    assert not isinstance(box | delete, Failure)
    assert get_sandbox("box") == Success(None)
    with pytest.raises(TypeError, match="command: expected str"):
        fp.exec(box, ["ls"])
    assert isinstance((box | restart).failure(), pocketenv_fp.SandboxNotFound)
    assert isinstance((box | exec("ls") | stdout).failure(), pocketenv_fp.SandboxNotFound)
    assert ephemeral(start | stdout_step())("x") == Success("x\n")


def stdout_step() -> Any:
    """A command that prints."""
    return exec("echo x") | stdout
