"""The output of services that spawn starts."""

from __future__ import annotations

from functools import partial

import pytest
from returns.result import Success

from pocketenv_fp import (
    DeadlineExceeded,
    InvalidInput,
    NotSupported,
    Piece,
    RecordNotFound,
    Sandbox,
    ServiceLogs,
    create,
    delete_service,
    exec,
    explain,
    local,
    restart_service,
    service_logs,
    set_service,
    spawn,
    start,
    stop,
    stop_service,
    wait_until_running,
    within,
)
from pocketenv_fp.local.faults import Drop
from pocketenv_fp.sandbox.commands.service_lines import key_of
from tests.local.wire import eventually

PATIENCE = 60.0
NAMES = ("web", "a b/c", "it's; $(x).", ".", "é" * 100)


def has_printed(box: Sandbox, name: str, stdout: str) -> bool:
    return (box | service_logs(name)).unwrap().stdout == stdout


def test_service_logs_reads(box: Sandbox, login: local.Platform) -> None:
    """Both outputs of each name, with one request."""
    for name in NAMES:
        line = "printf '%s\\n' \"it's\" \"$A\"; printf 'bad \\377' >&2; exec sleep 600"
        (box | spawn(line, name=name, env={"A": "1 'x'"}, cwd="/tmp")).unwrap()
    for name in NAMES:
        assert eventually(partial(has_printed, box, name, "it's\n1 'x'\n"), PATIENCE), name
        before = len(login.calls)
        assert box | service_logs(name) == Success(ServiceLogs("it's\n1 'x'\n", "bad �"))
        assert len(login.calls) - before == 1


def test_service_logs_follow(box: Sandbox) -> None:
    """It follows until the service ends, also with children in the background."""
    (box | spawn("echo one; sleep 0.4; echo two >&2; (sleep 0.4; echo three) & exit", name="web")).unwrap()
    pieces: list[Piece] = []
    assert box | service_logs("web", follow=pieces.append) == Success(ServiceLogs("one\nthree\n", "two\n"))
    assert "".join(piece.text for piece in pieces if piece.stream == "stdout") == "one\nthree\n"


def test_service_logs_timeout(box: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """The timeout ends the wait and returns the output so far."""
    (box | spawn("echo on; exec sleep 600", name="web")).unwrap()
    assert box | service_logs("web", follow=True, timeout=1) == Success(ServiceLogs("on\n", ""))
    assert capsys.readouterr().out == "on\n"
    followed = box | within(0.5, service_logs("web", follow=True))
    assert isinstance(followed.failure(), DeadlineExceeded)


def test_service_logs_restart(box: Sandbox) -> None:
    """A restart adds to the output, and another service of the same name begins with none."""
    (box | spawn("echo on; exec sleep 600", name="web")).unwrap()
    assert eventually(partial(has_printed, box, "web", "on\n"), PATIENCE)
    (box | restart_service("web")).unwrap()
    assert eventually(partial(has_printed, box, "web", "on\non\n"), PATIENCE)
    (box | stop_service("web")).unwrap()
    assert box | service_logs("web", follow=lambda _: None) == Success(ServiceLogs("on\non\n", ""))
    (box | delete_service("web")).unwrap()
    (box | spawn("echo new; exec sleep 600", name="web")).unwrap()
    assert eventually(partial(has_printed, box, "web", "new\n"), PATIENCE)
    again = (box | stop | start).unwrap()
    assert eventually(lambda: isinstance(again | service_logs("web"), Success), PATIENCE)
    assert eventually(partial(has_printed, again, "web", "new\n"), PATIENCE)


def test_service_logs_large(box: Sandbox) -> None:
    """Large output arrives whole."""
    (box | spawn("seq 200000", name="web")).unwrap()
    text = "".join(f"{number}\n" for number in range(1, 200_001))
    assert box | service_logs("web", follow=lambda _: None) == Success(ServiceLogs(text, ""))
    assert box | service_logs("web") == Success(ServiceLogs(text, ""))


def test_service_logs_missing(box: Sandbox) -> None:
    """A service that spawn did not start has no output."""
    (box | set_service("clock", "echo x; exec sleep 600")).unwrap()
    for name in ("none", "clock"):
        error = (box | service_logs(name)).failure()
        assert isinstance(error, RecordNotFound)
        assert f"there is no output of a service '{name}'" in str(error)
    assert isinstance((box | service_logs("")).failure(), InvalidInput)
    stopped = (box | stop).unwrap()
    assert getattr((stopped | service_logs("web")).failure(), "status", None) == 400


def test_service_logs_lost_answer(box: Sandbox, login: local.Platform) -> None:
    """A lost answer is requested again."""
    (box | spawn("echo on; exec sleep 600", name="web")).unwrap()
    assert eventually(partial(has_printed, box, "web", "on\n"), PATIENCE)
    with login.faults.on("sandbox.exec", Drop(after_work=True), times=1):
        assert box | service_logs("web") == Success(ServiceLogs("on\n", ""))


def test_service_logs_elsewhere(login: local.Platform) -> None:
    """A provider without services says what to use."""
    there = (create("there", provider="daytona") | start | wait_until_running).unwrap()
    before = len(login.calls)
    error = (there | service_logs("web")).failure()
    assert isinstance(error, NotSupported)
    assert "submit" in str(error)
    assert len(login.calls) == before


def test_service_logs_mode(box: Sandbox) -> None:
    """The files are the user's only, and the service has the umask that it would have."""
    (box | spawn("umask; exec sleep 600", name="web")).unwrap()
    plain = (box | exec("umask")).unwrap().stdout
    assert eventually(partial(has_printed, box, "web", plain), PATIENCE)
    line = f"stat -c %a .pocketenv-services .pocketenv-services/{key_of('web')}/stdout"
    assert (box | exec(line, cwd="/tmp")).unwrap().stdout == "700\n600\n"


def test_spawn_without_place_for_logs(box: Sandbox) -> None:
    """A service runs also where its output cannot be kept."""
    assert (box | exec("echo x >.pocketenv-services", cwd="/tmp")).unwrap().exit_code == 0
    (box | spawn("touch ran; exec sleep 600", name="web")).unwrap()
    assert eventually(lambda: (box | exec("ls")).unwrap().stdout == "ran\n", PATIENCE)
    assert isinstance((box | service_logs("web")).failure(), RecordNotFound)


def test_service_logs_explained() -> None:
    """It sends one request."""
    assert len(explain(service_logs("web")).requests) == 1
    assert len(explain(service_logs("web", follow=True)).requests) == 1
