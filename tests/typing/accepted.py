"""Programs that both type checkers accept, with the types that they find. Checked, and never run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, assert_type

from returns.future import FutureResult
from returns.result import Result, Success

from pocketenv_fp import (
    Backup,
    CodeResult,
    Config,
    DirectoryEntry,
    ExecResult,
    Explanation,
    File,
    Integration,
    Job,
    JobOutput,
    Page,
    Piece,
    PocketenvError,
    Port,
    Preferences,
    Profile,
    Sandbox,
    Secret,
    Service,
    ServiceLogs,
    SshKey,
    SshKeyPair,
    Status,
    Step,
    TailscaleAuthKey,
    TerminalToken,
    Trace,
    TransportError,
    Variable,
    Volume,
    aio,
    as_curl,
    cancel,
    check,
    collect,
    console,
    create,
    create_backup,
    create_sandbox,
    delete,
    delete_secret,
    ephemeral,
    exec,
    exists,
    explain,
    expose,
    fan_out,
    follow,
    forget,
    from_env,
    gather,
    get_job,
    get_profile,
    get_sandbox,
    get_ssh_keys,
    get_tailscale_auth_key,
    identity,
    job_output,
    json_output,
    keep,
    lines,
    list_backups,
    list_directory,
    list_jobs,
    list_ports,
    list_sandboxes,
    list_sandboxes_by_actor,
    list_secrets,
    login,
    logout,
    managed,
    me,
    or_else,
    partition,
    pocketenv,
    read_bytes,
    read_text,
    recover,
    restart,
    restart_context,
    restore_backup,
    retrying,
    run_code,
    sandbox,
    sandbox_of,
    send_input,
    service_logs,
    set_secret,
    set_ssh_keys,
    set_tailscale_auth_key,
    start,
    stdout,
    stop,
    submit,
    sweep,
    tap,
    trace,
    tracing,
    unexpose,
    vscode,
    wait_for_http,
    wait_for_job,
    wait_for_port,
    wait_until_running,
    when,
    whoami,
    within,
    write_file,
)
from pocketenv_fp.observing import logged, observing
from pocketenv_fp.steps.aio import Pending
from pocketenv_fp.steps.results import Results
from pocketenv_fp.steps.trace import Traced

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
    assert_type(box | list_secrets(limit=3), Result[Page[Secret], PocketenvError])
    assert_type(box | set_secret("A", from_env("B")), Result[Secret, PocketenvError])
    assert_type(box | delete_secret("id"), Boxed)
    assert_type(box | sandbox.get_secret("A"), Result[Secret, PocketenvError])
    assert_type(box | sandbox.list_variables, Result[Page[Variable], PocketenvError])
    assert_type(box | sandbox.get_variable("A"), Result[Variable, PocketenvError])
    assert_type(box | sandbox.set_variable("A", "b"), Result[Variable, PocketenvError])
    assert_type(box | sandbox.delete_variable("A") | start, Boxed)
    assert_type(box | sandbox.list_files, Result[Page[File], PocketenvError])
    assert_type(box | sandbox.get_file("/a"), Result[File, PocketenvError])
    assert_type(box | sandbox.set_file("/a", from_env("B")), Result[File, PocketenvError])
    assert_type(box | sandbox.delete_file("/a") | start, Boxed)
    assert_type(box | sandbox.list_volumes(offset=3), Result[Page[Volume], PocketenvError])
    assert_type(box | sandbox.get_volume("models"), Result[Volume, PocketenvError])
    assert_type(box | sandbox.delete_volume("models") | start, Boxed)
    assert_type(box | sandbox.set_volume("models", "/models", read_only=True), Result[Volume, PocketenvError])
    assert_type(sandbox.iter_secrets(create("x"), limit=3), Iterator[Result[Secret, PocketenvError]])
    assert_type(sandbox.iter_variables(Success(box)), Iterator[Result[Variable, PocketenvError]])
    assert_type(sandbox.iter_files(get_sandbox("x")), Iterator[Result[File, PocketenvError]])
    assert_type(sandbox.iter_volumes(box, config=options), Iterator[Result[Volume, PocketenvError]])
    assert_type(box | sandbox.list_services, Result[list[Service], PocketenvError])
    assert_type(box | sandbox.get_service("web"), Result[Service, PocketenvError])
    assert_type(box | sandbox.set_service("web", "serve", ports=[8080]), Result[Service, PocketenvError])
    assert_type(box | sandbox.start_service("web"), Result[Service, PocketenvError])
    assert_type(box | sandbox.stop_service("web"), Result[Service, PocketenvError])
    assert_type(box | sandbox.restart_service("web"), Result[Service, PocketenvError])
    assert_type(box | sandbox.delete_service("web") | start, Boxed)
    assert_type(box | sandbox.spawn("serve", ["8080"], name="web"), Result[Service, PocketenvError])
    assert_type(box | sandbox.rename("another") | start, Boxed)
    assert_type(box | sandbox.update_settings(topics=["a"]) | start, Boxed)
    assert_type(box | sandbox.get_preferences, Result[Preferences, PocketenvError])
    assert_type(box | sandbox.list_integrations, Result[list[Integration], PocketenvError])
    assert_type(box | sandbox.create_integration("ci"), Result[Integration, PocketenvError])
    assert_type(box | sandbox.refresh | sandbox.claim, Boxed)
    credentials = {"daytona_api_key": "dtn"}
    assert_type(create("b", env={"A": "1"}, secrets={"B": from_env("C"), "D": "e"}, topics=("t",)), Boxed)
    assert_type(create(provider="daytona", provider_credentials=credentials), Step[str, Sandbox])


def keys_and_backups(box: Sandbox) -> None:
    assert_type(box | get_ssh_keys, Result[SshKey, PocketenvError])
    assert_type(box | set_ssh_keys("…", "…"), Result[SshKey, PocketenvError])
    assert_type(box | get_tailscale_auth_key, Result[TailscaleAuthKey, PocketenvError])
    assert_type(box | set_tailscale_auth_key("…"), Result[TailscaleAuthKey, PocketenvError])
    assert_type(box | create_backup("/workspace", ttl=60), Result[None, PocketenvError])
    assert_type(box | list_backups, Result[list[Backup], PocketenvError])
    assert_type(box | restore_backup("id"), Result[None, PocketenvError])


def commands(box: Sandbox) -> None:
    assert_type(exec("make", ["test"], cwd="app", env={"A": from_env("B")}, timeout=60, check=True)(box), Ran)
    assert_type(box | sandbox.exec_script("print(1)", "python3", ["-x"], timeout=3), Ran)
    assert_type(sandbox.exec_script("print(1)"), Step[Sandbox, ExecResult])
    assert_type(sandbox.sh("ls {path}", path=Path("a")), Step[Sandbox, ExecResult])
    assert_type(sandbox.sh(box, "ls {paths} {n}", paths=["a", "b"], n=3, cwd="app"), Ran)
    assert_type(create("x") | start | sandbox.sh("ls"), Ran)


def told(done: int, total: int | None) -> None:
    print(done, total)


def what_a_login_gives(handle: str) -> None:
    assert_type(login(handle, app_password=True, timeout=5), Result[Profile, PocketenvError])
    assert_type(logout(), Result[bool, PocketenvError])
    assert_type(whoami(), Result[Profile, PocketenvError])


def what_a_console_gives(box: Sandbox) -> None:
    assert_type(console(box), Result[Sandbox, PocketenvError])
    assert_type(create | start | console, Step[str, Sandbox])


def what_the_account_functions_give(id: str) -> None:
    assert_type(
        create(
            "x", env={"A": "b"}, secrets={"C": from_env("D")}, topics=["t"], description="…", provider_credentials={}
        ),
        Boxed,
    )
    assert_type(create(name="x", description="…", exist_ok=True), Boxed)
    assert_type(create(exist_ok=True), Step[str, Sandbox])
    assert_type(pocketenv.generate_ssh_keys("me@here"), Result[SshKeyPair, PocketenvError])
    assert_type(
        pocketenv.generate_ssh_keys().bind(lambda pair: set_ssh_keys(create("x"), *pair)),
        Result[SshKey, PocketenvError],
    )
    assert_type(pocketenv.claim_sandbox(id), Boxed)
    assert_type(pocketenv.restore_backup(id), Result[None, PocketenvError])
    assert_type(pocketenv.get_terminal_token(), Result[TerminalToken, PocketenvError])
    assert_type(pocketenv.iter_sandboxes(limit=3), Iterator[Result[Sandbox, PocketenvError]])
    assert_type(pocketenv.my_sandboxes(status=Status.STOPPED, topic="ci"), Result[Page[Sandbox], PocketenvError])
    assert_type(pocketenv.iter_my_sandboxes(), Iterator[Result[Sandbox, PocketenvError]])
    assert_type(pocketenv.iter_sandboxes_by_actor(id, is_running=True), Iterator[Result[Sandbox, PocketenvError]])
    assert_type(pocketenv.get_preferences(id), Result[Preferences, PocketenvError])
    assert_type(pocketenv.put_preferences(id, name="another", topics=()), Result[None, PocketenvError])
    assert_type(pocketenv.list_integrations(id), Result[list[Integration], PocketenvError])
    assert_type(pocketenv.create_integration(id, "ci"), Result[Integration, PocketenvError])
    assert_type(pocketenv.list_services(id), Result[list[Service], PocketenvError])
    assert_type(pocketenv.add_service(id, "web", "serve", ports=(8080,)), Result[None, PocketenvError])
    assert_type(pocketenv.update_service(id, "web", "serve"), Result[None, PocketenvError])
    assert_type(pocketenv.start_service(id), Result[None, PocketenvError])
    assert_type(pocketenv.stop_service(id), Result[None, PocketenvError])
    assert_type(pocketenv.restart_service(id), Result[None, PocketenvError])
    assert_type(pocketenv.delete_service(id), Result[None, PocketenvError])
    assert_type(pocketenv.list_secrets(id, limit=3), Result[Page[Secret], PocketenvError])
    assert_type(pocketenv.add_secret(id, "A", "b"), Result[None, PocketenvError])
    assert_type(pocketenv.delete_secret(id), Result[None, PocketenvError])
    assert_type(pocketenv.update_secret(id, "A", from_env("B")), Result[None, PocketenvError])
    assert_type(pocketenv.add_variable(id, "A", "b"), Result[None, PocketenvError])
    assert_type(pocketenv.update_variable(id, "A", "b"), Result[None, PocketenvError])
    assert_type(pocketenv.iter_variables(id), Iterator[Result[Variable, PocketenvError]])
    assert_type(pocketenv.list_files(id, offset=3), Result[Page[File], PocketenvError])
    assert_type(pocketenv.get_file(id), Result[File, PocketenvError])
    assert_type(pocketenv.add_file(id, "/a", "b"), Result[None, PocketenvError])
    assert_type(pocketenv.update_file(id, "/a", "b"), Result[None, PocketenvError])
    assert_type(pocketenv.add_volume(id, "models", "/models"), Result[None, PocketenvError])
    assert_type(pocketenv.update_volume(id, "models", read_only=True), Result[None, PocketenvError])
    assert_type(pocketenv.get_ssh_keys(id), Result[SshKey, PocketenvError])
    assert_type(pocketenv.put_ssh_keys(id, "…", "…"), Result[None, PocketenvError])
    assert_type(pocketenv.get_tailscale_auth_key(id), Result[TailscaleAuthKey, PocketenvError])
    assert_type(pocketenv.put_tailscale_auth_key(id, from_env("K")), Result[None, PocketenvError])


def fleets(box: Sandbox) -> None:
    assert_type(fan_out(create | start | exec("ls"), ["a", "b"], max_workers=2), Results[ExecResult])
    assert_type(fan_out(exec("ls"), [box, box]), Results[ExecResult])
    assert_type(fan_out(exec("ls"), [create("x"), create("y")]), Results[ExecResult])
    assert_type(fan_out(exec("ls"), [get_sandbox("x")]), Results[ExecResult])
    assert_type(collect(fan_out(start, [box])), Result[list[Sandbox], PocketenvError])
    assert_type(partition(fan_out(start, [box])), tuple[list[Sandbox], list[PocketenvError]])


def copying(box: Sandbox, other: Sandbox, made: Boxed) -> None:
    assert_type(create("x") | start | sandbox.upload(".", "app", ignore=["*.log"], progress=True) | exec("make"), Ran)
    assert_type(sandbox.download("out", "."), Step[Sandbox, Path])
    assert_type(sandbox.upload(made, Path("src"), "/workspace/src", progress=told), Boxed)
    assert_type(box | sandbox.download("output", Path("out"), max_bytes=1), Result[Path, PocketenvError])
    assert_type(sandbox.copy_to(box, other, "a", "b"), Boxed)
    assert_type(sandbox.copy_to(made, made, "a", "b"), Boxed)
    assert_type(box | sandbox.copy_to(other, "a", "b") | exec("ls"), Ran)
    assert_type(box | sandbox.copy_to(made, "a", "b"), Boxed)
    assert_type(sandbox.copy_to(get_sandbox("x"), get_sandbox("y"), "a", "b"), Boxed)
    assert_type(sandbox.copy_to("an-id", "a", "b"), Step[Sandbox, Sandbox])


def is_idle(box: Sandbox) -> bool:
    return box.installs == 0


def said(error: PocketenvError) -> str:
    return error.summary()


def what_the_combinators_give(box: Sandbox, made: Boxed) -> None:
    assert_type(create("x") | start | exec("ls") | check | lines, Result[list[str], PocketenvError])
    assert_type(made | exec("ls") | stdout, Result[str, PocketenvError])
    assert_type(exec("ls") | check | json_output, Step[Sandbox, Any])
    assert_type(tap(exec("make")), Step[Sandbox, Sandbox])
    assert_type(create("x") | tap(exec("make") | check) | tap(list_ports) | exec("ls"), Ran)
    assert_type(get_sandbox("x") | tap(start) | exec("ls"), Ran)
    assert_type(gather(start), Step[Sandbox, tuple[Sandbox]])
    assert_type(gather(start, list_ports, parallel=True), Step[Sandbox, tuple[Sandbox, list[Port]]])
    assert_type(
        box | gather(exec("a"), exec("b") | stdout, list_ports, start, exec("c") | lines),
        Result[tuple[ExecResult, str, list[Port], Sandbox, list[str]], PocketenvError],
    )
    assert_type(
        gather(start, start, start, start, start, stop),
        Step[Sandbox, tuple[Sandbox, ...]],
    )
    assert_type(made | keep(exec("a"), list_ports), Result[tuple[Sandbox, ExecResult, list[Port]], PocketenvError])
    assert_type(recover(exec("ls") | stdout, None), Step[Sandbox, str | None])
    assert_type(recover(list_ports, said, on=(TransportError,)), Step[Sandbox, list[Port] | str])
    assert_type(or_else(start, exec("ls")), Step[Sandbox, Sandbox | ExecResult])
    assert_type(create | or_else(start, stop, on=TransportError) | exec("ls"), Step[str, ExecResult])
    assert_type(create | when(is_idle, start) | exec("ls"), Step[str, ExecResult])
    assert_type(when(is_idle, exec("ls")), Step[Sandbox, Sandbox | ExecResult])
    assert_type(made | retrying(start, 5, on=(TransportError,), delay=2) | exec("ls"), Ran)
    assert_type(retrying(exec("ls"), unsafe=True), Step[Sandbox, ExecResult])
    assert_type(within(5, start) | exec("ls"), Step[Sandbox, ExecResult])
    assert_type(create("x") | within(0.5, start | exec("ls") | stdout), Result[str, PocketenvError])
    assert_type(managed(start | exec("ls")), Step[str, ExecResult])
    assert_type(sandbox_of(made) | delete, Boxed)
    assert_type(managed(exec("ls"), acquire=create(provider="daytona") | start)("x"), Ran)
    assert_type(managed(exec("ls"), release=stop | delete)("x"), Ran)
    assert_type(ephemeral(start, ttl=3600)("x"), Boxed)
    assert_type(sweep(older_than=3600), Result[Page[Boxed], PocketenvError])
    assert_type(ephemeral(start | exec("ls"), env={"A": "b"}, keep_alive=True)("x"), Ran)


def what_looks_at_pipelines_gives(box: Sandbox, made: Boxed) -> None:
    assert_type(trace(create | start)("x").result, Boxed)
    assert_type(trace(create | start)("x").trace, Trace)
    assert_type(made | trace(exec("ls")), Traced[ExecResult])
    assert_type(box | trace(start), Traced[Sandbox])
    result, seen = trace(exec("ls"))(made)
    assert_type(result, Ran)
    assert_type(seen, Trace)
    with tracing() as block, observing(logged()):
        assert_type(block.steps[0].calls[0].seconds, float)
    assert_type(exec(box, "ls").failure().where[0].position, int)
    assert_type(aio(create | start)("x"), Pending[Sandbox])
    assert_type(aio(create | start).future("x"), FutureResult[Sandbox, PocketenvError])
    assert_type(aio(exec("ls"))(made), Pending[ExecResult])
    assert_type(asyncio.run(aio(exec("ls"))(made)), Ran)
    assert_type(asyncio.create_task(aio(exec("ls"))(made)), asyncio.Task[Ran])
    assert_type(explain(create | start, "x"), Explanation)
    assert_type(explain(exec("ls")).requests[0].verb, str)
    assert_type(explain(start | exec("ls"), made), Explanation)
    assert_type(as_curl(start | exec("ls"), box), str)
    assert_type(as_curl(get_sandbox | start), str)


def what_files_give(box: Sandbox, made: Boxed) -> None:
    assert_type(box | read_text("a", encoding="latin-1"), Result[str, PocketenvError])
    assert_type(read_bytes(made, "a"), Result[bytes, PocketenvError])
    assert_type(made | write_file("a", b"x", mode=0o600) | exec("cat a"), Ran)
    assert_type(write_file("a", "x"), Step[Sandbox, Sandbox])
    assert_type(box | list_directory, Result[list[DirectoryEntry], PocketenvError])
    assert_type(list_directory("a").map(len), Step[Sandbox, int])
    assert_type(exists("a"), Step[Sandbox, bool])


def what_servers_give(box: Sandbox, made: Boxed) -> None:
    assert_type(box | wait_for_port(8080, timeout=5), Boxed)
    assert_type(made | wait_for_http("/health", port=8080, status=204) | exec("ls"), Ran)
    assert_type(wait_for_http(port=8080), Step[Sandbox, Sandbox])
    assert_type(box | restart(keep="/workspace") | exec("ls"), Ran)
    assert_type(made | restart, Boxed)
    assert_type(box | service_logs("web", follow=print, timeout=5), Result[ServiceLogs, PocketenvError])


def what_jobs_give(box: Sandbox, made: Boxed, job: Job) -> None:
    def came(piece: Piece) -> None: ...

    assert_type(box | submit("make", ["all"], env={"A": from_env("B")}, id="x"), Result[Job, PocketenvError])
    assert_type(submit("make", timeout=3600), Step[Sandbox, Job])
    assert_type(made | submit("cat", open_stdin=True) | send_input("a", close=True) | follow, Ran)
    assert_type(job | follow(on_output=came, timeout=5), Ran)
    assert_type(follow(job, on_output=True), Ran)
    assert_type(job | job_output, Result[JobOutput, PocketenvError])
    assert_type(job | wait_for_job(timeout=60), Ran)
    assert_type(job | cancel, Ran)
    assert_type(job | forget, Boxed)
    assert_type(get_job("x") | cancel, Step[Sandbox, ExecResult])
    assert_type(made | list_jobs, Result[list[Job], PocketenvError])
    assert_type(made | run_code("1", "mine", timeout=3, check=True, on_output=came), Result[CodeResult, PocketenvError])
    assert_type(run_code("1"), Step[Sandbox, CodeResult])
    assert_type(box | restart_context, Boxed)
    assert_type(start | restart_context("mine") | run_code("1"), Step[Sandbox, CodeResult])
    assert_type(box | exec("make", on_output=came, durable=True), Ran)
    assert_type(sandbox.sh("make {name}", name="x", on_output=print), Step[Sandbox, ExecResult])
