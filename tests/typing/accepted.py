"""Programs that both type checkers accept, with the types that they find. Checked, and never run."""

from __future__ import annotations

from typing import assert_type

from returns.result import Result

from pocketenv_fp import (
    Backup,
    Config,
    ExecResult,
    Page,
    PocketenvError,
    Port,
    Profile,
    Sandbox,
    Secret,
    SshKey,
    Step,
    TailscaleAuthKey,
    create,
    create_backup,
    create_sandbox,
    delete,
    delete_secret,
    exec,
    expose,
    from_env,
    get_profile,
    get_sandbox,
    get_ssh_keys,
    get_tailscale_auth_key,
    identity,
    list_backups,
    list_ports,
    list_sandboxes,
    list_sandboxes_by_actor,
    list_secrets,
    me,
    pocketenv,
    restore_backup,
    sandbox,
    set_secret,
    set_ssh_keys,
    set_tailscale_auth_key,
    start,
    stop,
    unexpose,
    vscode,
    wait_until_running,
)

Ran = Result[ExecResult, PocketenvError]
Boxed = Result[Sandbox, PocketenvError]


def the_three_ways(name: str) -> None:
    assert_type(create(name) | start | wait_until_running | exec("ls"), Ran)
    assert_type(create(name) | start(repo="…") | exec("ls", ["-a"]), Ran)
    assert_type(create(name).bind(start).bind(wait_until_running).bind(exec("ls")), Ran)
    assert_type(sandbox.exec(sandbox.start(pocketenv.create_sandbox(name)), "ls", ["-a"]), Ran)


def targets(box: Sandbox) -> None:
    assert_type(exec(box, "ls", timeout=3), Ran)
    assert_type(exec(get_sandbox("x"), "ls"), Ran)
    assert_type(get_sandbox("x") | exec("ls"), Ran)
    assert_type(box | exec("ls"), Ran)
    assert_type(None | exec("ls"), Ran)
    assert_type(exec("ls")(box), Ran)
    assert_type(start(box), Boxed)
    assert_type(start(box, repo="…"), Boxed)
    assert_type("my-box" | create, Boxed)


def pipelines() -> None:
    assert_type(create | start | exec("ls"), Step[str, ExecResult])
    assert_type(create(provider="daytona") | start(repo="…") | exec("make", ["test"]), Step[str, ExecResult])
    assert_type(get_sandbox | start | exec("ls"), Step[str, ExecResult])
    assert_type((create | start)("my-box"), Boxed)
    assert_type(start | stop | delete, Step[Sandbox, Sandbox])
    step: Step[Sandbox, ExecResult] = exec("ls")
    assert_type(start | step, Step[Sandbox, ExecResult])
    also: Step[Sandbox, Sandbox] = identity
    assert_type(also | step, Step[Sandbox, ExecResult])


def what_each_operation_gives(box: Sandbox, options: Config) -> None:
    assert_type(create_sandbox("x", base="…", provider="modal", repo="…", keep_alive=True, config=options), Boxed)
    assert_type(get_sandbox("x"), Result[Sandbox | None, PocketenvError])
    assert_type(list_sandboxes(limit=3, offset=1, token="…"), Result[Page[Sandbox], PocketenvError])
    assert_type(list_sandboxes_by_actor("did:plc:x"), Result[Page[Sandbox], PocketenvError])
    assert_type(me(), Result[Profile, PocketenvError])
    assert_type(get_profile("did:plc:x"), Result[Profile, PocketenvError])
    assert_type(box | stop, Boxed)
    assert_type(box | delete, Boxed)
    assert_type(box | wait_until_running(timeout=3, interval=1), Boxed)
    assert_type(box | expose(8080, description="web"), Result[str | None, PocketenvError])
    assert_type(box | unexpose(8080), Boxed)
    assert_type(box | list_ports, Result[list[Port], PocketenvError])
    assert_type(box | vscode, Result[str | None, PocketenvError])
    assert_type(box | list_secrets(limit=3), Result[list[Secret], PocketenvError])
    assert_type(box | set_secret("A", from_env("B")), Result[Secret, PocketenvError])
    assert_type(box | delete_secret("id"), Boxed)
    assert_type(box | get_ssh_keys, Result[SshKey, PocketenvError])
    assert_type(box | set_ssh_keys("…", "…"), Result[SshKey, PocketenvError])
    assert_type(box | get_tailscale_auth_key, Result[TailscaleAuthKey, PocketenvError])
    assert_type(box | set_tailscale_auth_key("…"), Result[TailscaleAuthKey, PocketenvError])
    assert_type(box | create_backup("/workspace", ttl=60), Result[None, PocketenvError])
    assert_type(box | list_backups, Result[list[Backup], PocketenvError])
    assert_type(box | restore_backup("id"), Result[None, PocketenvError])


def what_the_account_functions_give(id: str) -> None:
    assert_type(pocketenv.list_secrets(id, limit=3), Result[list[Secret], PocketenvError])
    assert_type(pocketenv.add_secret(id, "A", "b"), Result[None, PocketenvError])
    assert_type(pocketenv.delete_secret(id), Result[None, PocketenvError])
    assert_type(pocketenv.get_ssh_keys(id), Result[SshKey, PocketenvError])
    assert_type(pocketenv.put_ssh_keys(id, "…", "…"), Result[None, PocketenvError])
    assert_type(pocketenv.get_tailscale_auth_key(id), Result[TailscaleAuthKey, PocketenvError])
    assert_type(pocketenv.put_tailscale_auth_key(id, from_env("K")), Result[None, PocketenvError])
