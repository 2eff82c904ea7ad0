"""Services: they run until they are stopped, and their status is the last requested one."""

from pathlib import Path
from typing import Any

import pytest

from pocketenv_fp import local
from pocketenv_fp.local import processes
from tests.local.wire import Wire, commands_alive, eventually

ROWS = {"id", "name", "description", "command", "status", "createdAt"}
# It writes its process number where a test finds it, and waits.
WAITS = "echo $$ > pid; exec sleep 1000"


def add_service(wire: Wire, sandbox: str, name: str, command: str, **given: object) -> str:
    """Add a service. Return its id."""
    service = {"name": name, "command": command, **given}
    assert wire.post("service.addService", {"service": service}, sandboxId=sandbox).empty
    (service_id,) = [row["id"] for row in services(wire, sandbox) if row["name"] == name]
    return str(service_id)


def services(wire: Wire, sandbox: str) -> list[dict[str, Any]]:
    """Return the services of a sandbox."""
    body = wire.get("service.getServices", sandboxId=sandbox).json
    assert set(body) == {"services"}
    rows: list[dict[str, Any]] = body["services"]
    return rows


def status(wire: Wire, sandbox: str, service: str) -> str:
    """Return the status of one service."""
    (shown,) = [row["status"] for row in services(wire, sandbox) if row["id"] == service]
    return str(shown)


def lines(wire: Wire, sandbox: str, path: str) -> int:
    """Return the number of lines in a file of the sandbox; 0 while it is not there."""
    return int(wire.out(sandbox, f"cat {path} 2>/dev/null | wc -l"))


def test_service_starts_with_the_environment(wire: Wire) -> None:
    """A service starts at once with the environment of the sandbox."""
    sandbox = wire.create()
    variable = {"sandboxId": sandbox, "name": "WHO", "value": "me"}
    wire.post("variable.addVariable", {"variable": variable})
    wire.start(sandbox)
    service = add_service(wire, sandbox, "web", 'echo "$WHO in $(basename $PWD)" > told; sleep 1000', description="d")
    assert eventually(lambda: lines(wire, sandbox, "told") == 1)
    assert wire.out(sandbox, "cat told") == "me in workspace\n"
    (row,) = services(wire, sandbox)
    assert set(row) == ROWS
    assert (row["id"], row["status"], row["description"]) == (service, "RUNNING", "d")


def test_service_log(wire: Wire) -> None:
    """A service writes to its log."""
    sandbox = wire.create()
    add_service(wire, sandbox, "web", "echo out; echo err >&2; sleep 1000")
    log = f"{root(wire, sandbox)}/var/log/services/web.log"
    assert eventually(lambda: lines(wire, sandbox, log) == 2)
    assert sorted(wire.out(sandbox, f"cat {log}").split()) == ["err", "out"]


def root(wire: Wire, sandbox: str) -> str:
    """Return the path of / in the commands of a sandbox: empty in a box, else its folder."""
    return wire.out(sandbox, 'printf %s "${PWD%/workspace}"')


@pytest.mark.parametrize("name", ["../../../workspace/escaped", "/workspace/escaped", "a b\nc", "..", "", "é" * 300])
def test_service_log_odd_names(wire: Wire, name: str) -> None:
    """The log of a service with an odd name stays in its folder."""
    sandbox = wire.create()
    service = add_service(wire, sandbox, name, "echo out; sleep 1000")
    assert status(wire, sandbox, service) == "RUNNING"
    logs = f"{root(wire, sandbox)}/var/log/services"
    assert eventually(lambda: wire.out(sandbox, f"cat {logs}/*.log {logs}/.*.log 2>/dev/null || true") == "out\n")
    assert wire.out(sandbox, "ls") == ""


def test_service_log_through_link(wire: Wire, tmp_path: Path) -> None:
    """A log is refused where a link leads it out of the sandbox, and no process ends."""
    sandbox = wire.create()
    wire.out(sandbox, f'cd "$HOME/.."; rm -rf var/log/services; ln -s {tmp_path} var/log/services; sleep 1000 &')
    folder = wire.platform.data / "sandboxes" / sandbox
    agent = processes.find_marked(folder) - commands_alive(folder)
    # In a box the link leads to a place of the sandbox's own.
    boxed = wire.platform.isolation == "bubblewrap"
    service = {"name": "clock", "command": "sleep 1000"}
    answer = wire.post("service.addService", {"service": service}, sandboxId=sandbox)
    assert answer.status == (200 if boxed else 400)
    assert list(tmp_path.iterdir()) == []
    # The sandbox's own shell is one of them.
    assert len(commands_alive(folder)) == (3 if boxed else 2)
    assert processes.find_marked(folder) - commands_alive(folder) == agent


def test_service_status_after_exit(wire: Wire) -> None:
    """A service that ended by itself counts as RUNNING."""
    sandbox = wire.create()
    service = add_service(wire, sandbox, "short", "echo ran >> runs")
    assert eventually(lambda: lines(wire, sandbox, "runs") == 1)
    assert status(wire, sandbox, service) == "RUNNING"
    assert wire.post("service.restartService", serviceId=service).empty
    assert eventually(lambda: lines(wire, sandbox, "runs") == 2)


def test_service_status_after_kill(wire: Wire) -> None:
    """A killed service counts as RUNNING."""
    sandbox = wire.create()
    service = add_service(wire, sandbox, "web", WAITS)
    assert eventually(lambda: lines(wire, sandbox, "pid") == 1)
    wire.out(sandbox, "kill -9 $(cat pid)")
    assert eventually(lambda: wire.exec(sandbox, "kill -0 $(cat pid)")[2] != 0)
    assert status(wire, sandbox, service) == "RUNNING"


def test_service_stop_and_start_twice(wire: Wire) -> None:
    """A stop ends the process, and two starts run one."""
    sandbox = wire.create()
    service = add_service(wire, sandbox, "web", f"echo ran >> runs; {WAITS}")
    assert eventually(lambda: lines(wire, sandbox, "pid") == 1)
    for _ in range(2):
        assert wire.post("service.stopService", serviceId=service).empty
        assert status(wire, sandbox, service) == "STOPPED"
    assert wire.exec(sandbox, "kill -0 $(cat pid)")[2] != 0
    for _ in range(2):
        assert wire.post("service.startService", serviceId=service).empty
        assert status(wire, sandbox, service) == "RUNNING"
    assert eventually(lambda: lines(wire, sandbox, "runs") == 2)


def test_service_restart_after_an_update(wire: Wire) -> None:
    """A restart runs the command of the last update."""
    sandbox = wire.create()
    service = add_service(wire, sandbox, "web", "echo one >> runs; sleep 1000", description="d")
    assert eventually(lambda: lines(wire, sandbox, "runs") == 1)
    sent = {"name": "site", "command": "echo two >> runs; sleep 1000"}
    assert wire.post("service.updateService", {"service": sent}, serviceId=service).empty
    (row,) = services(wire, sandbox)
    assert (row["name"], row["command"], row["description"]) == ("site", sent["command"], "d")
    assert row["status"] == "RUNNING"
    assert wire.out(sandbox, "cat runs") == "one\n"
    assert wire.post("service.restartService", serviceId=service).empty
    assert eventually(lambda: wire.out(sandbox, "cat runs") == "one\ntwo\n")
    assert status(wire, sandbox, service) == "RUNNING"


def test_service_restart_after_stop(wire: Wire) -> None:
    """A restart runs a stopped service."""
    sandbox = wire.create()
    service = add_service(wire, sandbox, "web", "sleep 1000")
    wire.post("service.stopService", serviceId=service)
    assert wire.post("service.restartService", serviceId=service).empty
    assert status(wire, sandbox, service) == "RUNNING"


def test_service_delete_twice(wire: Wire) -> None:
    """Deleting a service ends it, and again it is a 404."""
    sandbox = wire.create()
    service = add_service(wire, sandbox, "web", WAITS)
    assert eventually(lambda: lines(wire, sandbox, "pid") == 1)
    assert wire.post("service.deleteService", serviceId=service).empty
    assert services(wire, sandbox) == []
    assert wire.exec(sandbox, "kill -0 $(cat pid)")[2] != 0
    assert wire.post("service.deleteService", serviceId=service).error == (404, "XRPCNotSupported", "Service not found")


def test_service_of_a_stopped_sandbox_resumes(wire: Wire) -> None:
    """A stop of the sandbox stops all services. A start runs all but the stopped ones."""
    sandbox = wire.create()
    wanted = add_service(wire, sandbox, "wanted", "sleep 1000")
    add_service(wire, sandbox, "ended", "true")
    unwanted = add_service(wire, sandbox, "unwanted", "sleep 1000")
    wire.post("service.stopService", serviceId=unwanted)
    wire.post("sandbox.stopSandbox", id=sandbox)
    assert {row["status"] for row in services(wire, sandbox)} == {"STOPPED"}
    wire.start(sandbox)
    assert status(wire, sandbox, wanted) == "RUNNING"
    assert status(wire, sandbox, unwanted) == "STOPPED"
    log = f"{root(wire, sandbox)}/var/log/services/ended.log"
    assert eventually(lambda: wire.exec(sandbox, f"test -f {log}")[2] == 0)


def test_start_again_leaves_services_alone(wire: Wire) -> None:
    """A start of a running sandbox leaves its services alone."""
    sandbox = wire.create()
    add_service(wire, sandbox, "web", f"echo ran >> runs; {WAITS}")
    assert eventually(lambda: lines(wire, sandbox, "pid") == 1)
    first = wire.out(sandbox, "cat pid")
    wire.start(sandbox)
    assert wire.out(sandbox, "cat pid runs") == f"{first}ran\n"


def test_service_in_a_stopped_sandbox(wire: Wire) -> None:
    """A service can be added to a stopped sandbox, and not started."""
    sandbox = wire.create()
    wire.post("sandbox.stopSandbox", id=sandbox)
    service = add_service(wire, sandbox, "web", "sleep 1000")
    assert status(wire, sandbox, service) == "STOPPED"
    for method in ("startService", "restartService"):
        error = wire.post(f"service.{method}", serviceId=service).error
        assert error == (400, "InvalidRequest", "Request failed with status code 400")
    assert wire.post("service.stopService", serviceId=service).empty
    wire.start(sandbox)
    assert status(wire, sandbox, service) == "STOPPED"
    assert wire.post("service.startService", serviceId=service).empty
    assert status(wire, sandbox, service) == "RUNNING"


def test_service_ports(wire: Wire) -> None:
    """The ports of a service are exposed until it is deleted."""
    sandbox = wire.create()
    wire.post("sandbox.exposePort", {"port": 4000}, id=sandbox)
    service = add_service(wire, sandbox, "web", "sleep 1000", ports=[8080, 9090])
    assert ports(wire, sandbox) == [4000, 8080, 9090]
    sent = {"name": "web", "command": "sleep 1000", "ports": [9090, 9091]}
    assert wire.post("service.updateService", {"service": sent}, serviceId=service).empty
    assert ports(wire, sandbox) == [4000, 9090, 9091]
    wire.post("service.deleteService", serviceId=service)
    assert ports(wire, sandbox) == [4000]


def ports(wire: Wire, sandbox: str) -> list[int]:
    """Return the ports of a sandbox."""
    return sorted(row["port"] for row in wire.get("sandbox.getExposedPorts", id=sandbox).json["ports"])


def test_service_with_a_taken_port(wire: Wire) -> None:
    """A taken port is an error, and the service runs."""
    sandbox = wire.create()
    wire.post("sandbox.exposePort", {"port": 4000}, id=sandbox)
    sent = {"service": {"name": "web", "command": "sleep 1000", "ports": [4000]}}
    assert wire.post("service.addService", sent, sandboxId=sandbox).status >= 400
    assert [(row["name"], row["status"]) for row in services(wire, sandbox)] == [("web", "RUNNING")]
    assert ports(wire, sandbox) == [4000]


def test_service_of_another_provider(wire: Wire) -> None:
    """A service of another provider is a 404. It is listed and does not run."""
    sandbox = wire.create(provider="modal")
    sent = {"service": {"name": "web", "command": "sleep 1000"}}
    assert wire.post("service.addService", sent, sandboxId=sandbox).status == 404
    assert len(services(wire, sandbox)) == 1
    assert commands_alive(wire.platform.data / "sandboxes" / sandbox) == set()


def test_service_sandbox_by_id_name_and_uri(wire: Wire) -> None:
    """A service takes its sandbox by id, name or URI."""
    sandbox = wire.create()
    shown = wire.get("sandbox.getSandbox", id=sandbox).json["sandbox"]
    for number, known in enumerate((sandbox, shown["name"], shown["uri"])):
        add_service(wire, known, f"s{number}", "sleep 1000")
        assert len(services(wire, known)) == number + 1


def test_service_of_another_user(wire: Wire, other: Wire, stranger: Wire) -> None:
    """No user sees, changes or ends another user's service."""
    sandbox = wire.create()
    service = add_service(wire, sandbox, "web", "sleep 1000")
    sent = {"service": {"name": "x", "command": "true"}}
    assert other.get("service.getServices", sandboxId=sandbox).json == {"services": []}
    assert other.post("service.addService", sent, sandboxId=sandbox).status == 404
    assert other.post("service.updateService", sent, serviceId=service).status == 404
    for verb in ("start", "stop", "restart", "delete"):
        assert other.post(f"service.{verb}Service", serviceId=service).status == 404
        assert wire.post(f"service.{verb}Service", serviceId="unknown").status == 404
        assert stranger.post(f"service.{verb}Service", serviceId=service).status == 401
    (row,) = services(wire, sandbox)
    assert (row["name"], row["command"], row["status"]) == ("web", "sleep 1000", "RUNNING")


def test_service_after_a_platform_restart(tmp_path: Path) -> None:
    """After a restart of the platform the wanted services run again."""
    with local.platform(data=tmp_path) as platform, Wire(platform, platform.token) as wire:
        sandbox, stopped = wire.create(), wire.create()
        web = add_service(wire, sandbox, "web", "echo ran >> runs; sleep 1000")
        assert eventually(lambda: lines(wire, sandbox, "runs") == 1)
        unwanted = add_service(wire, sandbox, "unwanted", "sleep 1000")
        wire.post("service.stopService", serviceId=unwanted)
        asleep = add_service(wire, stopped, "asleep", "sleep 1000")
        wire.post("sandbox.stopSandbox", id=stopped)
    with local.platform(data=tmp_path) as platform, Wire(platform, platform.token) as wire:
        assert eventually(lambda: status(wire, sandbox, web) == "RUNNING")
        assert eventually(lambda: lines(wire, sandbox, "runs") == 2)
        assert status(wire, sandbox, unwanted) == "STOPPED"
        assert status(wire, stopped, asleep) == "STOPPED"
