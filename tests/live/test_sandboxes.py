"""The life of a sandbox, its records and ports, and programs that are made of steps."""

from __future__ import annotations

from collections.abc import Callable

from returns.result import Success

from pocketenv_fp import (
    ApiError,
    CommandFailed,
    ExecResult,
    NameTaken,
    NotSupported,
    Sandbox,
    SandboxNotFound,
    Status,
    create,
    delete,
    delete_secret,
    delete_variable,
    ephemeral,
    exec,
    expose,
    fan_out,
    get_sandbox,
    list_files,
    list_integrations,
    list_ports,
    list_secrets,
    list_variables,
    list_volumes,
    managed,
    partition,
    pocketenv,
    rename,
    sandbox,
    set_file,
    set_secret,
    set_variable,
    set_volume,
    start,
    stop,
    unexpose,
    wait_until_running,
)


def test_create_start_exec_delete(new_name: Callable[[], str]) -> None:
    """A sandbox has the name that was asked for, runs, and is gone after its deletion."""
    name = new_name()
    box = (create(name) | start | wait_until_running(timeout=120)).unwrap()
    assert (box.name, box.status) == (name, Status.RUNNING)
    assert isinstance(create(name).failure(), NameTaken)
    assert (get_sandbox(name) | exec("echo hello")).unwrap().stdout == "hello\n"
    assert box | delete == Success(box)
    assert get_sandbox(name) == Success(None)
    assert isinstance((box | exec("true")).failure(), SandboxNotFound)


def test_stop_discards_files(box: Sandbox) -> None:
    """On Cloudflare a stop discards the files, and commands need a start."""
    (box | exec("echo kept > /workspace/file")).unwrap()
    assert (box | stop).unwrap().status is Status.STOPPED
    assert isinstance((box | exec("true")).failure(), ApiError)
    assert (box | start | exec("cat /workspace/file")).unwrap().exit_code == 1


def test_rename(box: Sandbox, new_name: Callable[[], str]) -> None:
    """A sandbox is found by its new name and not by its old one."""
    name = new_name()
    assert (box | rename(name)).unwrap().name == name
    assert get_sandbox(name).unwrap() is not None
    assert get_sandbox(box.name) == Success(None)


def test_records_reach_commands(box: Sandbox) -> None:
    """Variables, secrets and files are there after the next start."""
    variable = (box | set_variable("STAGE", 'it\'s "$1"')).unwrap()
    secret = (box | set_secret("API_KEY", "sk-12345")).unwrap()
    (box | set_file("/workspace/settings.toml", "debug = true\n")).unwrap()
    assert [found.name for found in (box | list_variables).unwrap()] == ["STAGE"]
    assert [found.name for found in (box | list_secrets).unwrap()] == ["API_KEY"]
    assert [found.path for found in (box | list_files).unwrap()] == ["/workspace/settings.toml"]
    ran = box | stop | start | exec('printf "%s|%s|" "$STAGE" "$API_KEY"')
    assert ran.unwrap().stdout == 'it\'s "$1"|sk-12345|'
    (box | delete_variable(variable.id)).unwrap()
    (box | delete_secret(secret.id)).unwrap()
    assert ((box | list_variables).unwrap().total, (box | list_secrets).unwrap().total) == (0, 0)


def test_volumes_one_per_path(box: Sandbox) -> None:
    """One path has one volume, and setting it again changes that one."""
    first = (box | set_volume("models", "/models")).unwrap()
    again = (box | set_volume("models", "/models")).unwrap()
    assert again.id == first.id
    assert [volume.path for volume in (box | list_volumes).unwrap()] == ["/models"]


def test_ports_and_integrations(box: Sandbox) -> None:
    """Only the first port has a URL, and integrations are not supported by the platform."""
    assert (box | expose(8080, description="web")).unwrap() is not None
    assert (box | expose(8081)).unwrap() is None
    assert {port.port for port in (box | list_ports).unwrap()} == {8080, 8081}
    assert {port.port for port in (box | unexpose(8080) | list_ports).unwrap()} == {8081}
    assert isinstance((box | list_integrations).failure(), NotSupported)


def test_pipelines(new_name: Callable[[], str]) -> None:
    """The ways to write a pipeline have one result."""
    hello = exec("echo", ["hi"])
    ways = [
        create(new_name()) | start | hello,
        sandbox.exec(sandbox.start(pocketenv.create_sandbox(new_name())), "echo", ["hi"]),
        create(new_name()).bind(start).bind(hello),
        (create | start | hello)(new_name()),
    ]
    assert ways == [Success(ExecResult("hi\n", "", 0))] * 4


def test_scopes_delete_sandbox(new_name: Callable[[], str]) -> None:
    """A scope deletes its sandbox after a success and after a failure."""
    names = [new_name() for _ in range(3)]
    good, bad = partition(fan_out(ephemeral(start | exec("hostname > /dev/null; echo done")), names[:2]))
    assert ([ran.stdout for ran in good], bad) == (["done\n", "done\n"], [])
    failed = managed(start | exec("exit 3", check=True))(names[2]).failure()
    assert isinstance(failed, CommandFailed)
    assert [get_sandbox(name) for name in names] == [Success(None)] * 3
