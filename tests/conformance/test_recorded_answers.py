"""Every answer that the real platform was recorded with is read by the function that asks for it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import pytest
from returns.result import Result, Success

from pocketenv_fp import PocketenvError, ProfileNotFound, RecordNotFound, Sandbox, Status, pocketenv, sandbox
from pocketenv_fp.http.xrpc import Call, answered_by
from pocketenv_fp.models import Page
from tests.every_function.test_functions import KEY, PUBLIC, TAILSCALE
from tests.figures import Figures
from tests.places import RECORDED

pytestmark = pytest.mark.contract

BOX = Sandbox(id="sandbox_00000000000000000001", name="witty-otter-ab12")

# Which function asks for each method. Where one asks for several, it is that which is decoded first.
ASKING: dict[str, Callable[[], Result[Any, PocketenvError]]] = {
    "actor.getActorSandboxes": lambda: pocketenv.list_sandboxes_by_actor("did:plc:a"),
    "actor.getProfile": pocketenv.me,
    "actor.getTerminalToken": pocketenv.get_terminal_token,
    "file.addFile": lambda: pocketenv.add_file("1", "/a", "b"),
    "file.deleteFile": lambda: pocketenv.delete_file("1"),
    "file.getFile": lambda: pocketenv.get_file("1"),
    "file.getFiles": lambda: pocketenv.list_files("1"),
    "file.updateFile": lambda: pocketenv.update_file("1", "/a", "b"),
    "sandbox.createBackup": lambda: sandbox.create_backup(BOX, "/workspace"),
    "sandbox.createSandbox": lambda: pocketenv.create("box"),
    "sandbox.deleteSandbox": lambda: sandbox.delete(BOX),
    "sandbox.exposePort": lambda: sandbox.expose(BOX, 8080),
    "sandbox.exposeVscode": lambda: sandbox.vscode(BOX),
    "sandbox.getBackups": lambda: sandbox.list_backups(BOX),
    "sandbox.getExposedPorts": lambda: sandbox.list_ports(BOX),
    "sandbox.getPreferences": lambda: pocketenv.get_preferences("1"),
    "sandbox.getSandbox": lambda: pocketenv.get_sandbox("1"),
    "sandbox.getSandboxes": pocketenv.list_sandboxes,
    "sandbox.getSshKeys": lambda: pocketenv.get_ssh_keys("1"),
    "sandbox.getTailscaleAuthKey": lambda: pocketenv.get_tailscale_auth_key("1"),
    "sandbox.putPreferences": lambda: pocketenv.put_preferences("1", name="a"),
    "sandbox.putSshKeys": lambda: pocketenv.put_ssh_keys("1", KEY, PUBLIC),
    "sandbox.putTailscaleAuthKey": lambda: pocketenv.put_tailscale_auth_key("1", TAILSCALE),
    "sandbox.restoreBackup": lambda: sandbox.restore_backup(BOX, "1"),
    "sandbox.startSandbox": lambda: sandbox.start(BOX),
    "sandbox.stopSandbox": lambda: sandbox.stop(BOX),
    "sandbox.unexposePort": lambda: sandbox.unexpose(BOX, 8080),
    "secret.addSecret": lambda: pocketenv.add_secret("1", "A", "b"),
    "secret.deleteSecret": lambda: pocketenv.delete_secret("1"),
    "secret.getSecret": lambda: pocketenv.get_secret("1"),
    "secret.getSecrets": lambda: pocketenv.list_secrets("1"),
    "secret.updateSecret": lambda: pocketenv.update_secret("1", "A", "b"),
    "service.addService": lambda: pocketenv.add_service("1", "web", "true"),
    "service.deleteService": lambda: pocketenv.delete_service("1"),
    "service.getServices": lambda: pocketenv.list_services("1"),
    "service.restartService": lambda: pocketenv.restart_service("1"),
    "service.startService": lambda: pocketenv.start_service("1"),
    "service.stopService": lambda: pocketenv.stop_service("1"),
    "service.updateService": lambda: pocketenv.update_service("1", "web", "true"),
    "variable.addVariable": lambda: pocketenv.add_variable("1", "A", "b"),
    "variable.deleteVariable": lambda: pocketenv.delete_variable("1"),
    "variable.getVariable": lambda: pocketenv.get_variable("1"),
    "variable.getVariables": lambda: pocketenv.list_variables("1"),
    "variable.updateVariable": lambda: pocketenv.update_variable("1", "A", "b"),
    "volume.addVolume": lambda: pocketenv.add_volume("1", "models"),
    "volume.deleteVolume": lambda: pocketenv.delete_volume("1"),
    "volume.getVolume": lambda: pocketenv.get_volume("1"),
    "volume.getVolumes": lambda: pocketenv.list_volumes("1"),
    "volume.updateVolume": lambda: pocketenv.update_volume("1", "models"),
}
# Read by what runs commands and copies, whose tests are elsewhere; or asked by no function.
ELSEWHERE = {
    "sandbox.exec",
    "sandbox.pullDirectory",
    "sandbox.pushDirectory",
    "sandbox.createIntegration",
    "sandbox.getIntegrations",
}


class Recorded(NamedTuple):
    """A method, and a body that it was answered with."""

    number: int
    method: str
    body: bytes
    limit: int | None


def recorded() -> list[Recorded]:
    found: list[Recorded] = []
    lines = (RECORDED / "wire.jsonl").read_text(encoding="utf-8").splitlines() if RECORDED.exists() else []
    for row in map(json.loads, lines):
        path, _, query = row.get("target", "").partition("?")
        method = path.rstrip("/").removeprefix("/xrpc/io.pocketenv.")
        if row.get("status") != 200 or method == path or row.get("method") == "HEAD" or "answer" not in row:
            continue
        body = b"" if row.get("answer_bytes", 0) == 0 else json.dumps(row["answer"]).encode()
        limit = parse_qs(query).get("limit", [""])[0]
        found.append(Recorded(row["n"], method, body, int(limit) if limit.isdecimal() else None))
    return found


def decoded(each: Recorded) -> Any:
    """What the client's decoder for the method makes of the body."""
    asked: list[Call[Any]] = []

    def door(call: Call[Any]) -> Result[Any, PocketenvError]:
        asked.append(call)
        return Success(call.decode(each.body)) if call.nsid == each.method else Success(BOX)

    with answered_by(door):
        ASKING[each.method]()
    call = next(call for call in asked if call.nsid == each.method)
    return call.decode(each.body)


def test_recorded_answers_read(figures: Figures) -> None:
    """Every recorded answer is read."""
    read: Counter[str] = Counter()
    unread: Counter[str] = Counter()
    for each in recorded():
        # The server takes method names in any case, and the client writes them in one.
        method = next((name for name in {*ASKING, *ELSEWHERE} if name.lower() == each.method.lower()), each.method)
        if method not in ASKING:
            unread[method] += 1
            continue
        decoded(each._replace(method=method))
        read[method] += 1
    assert set(unread) <= ELSEWHERE
    assert set(read) == set(ASKING)
    figures.line(
        "the recorded answers",
        f"{read.total()} of {read.total()} answers of {len(read)} methods are read; "
        f"{unread.total()} of {len(unread)} other methods are read elsewhere or never asked for",
    )


def answers(method: str) -> list[Any]:
    return [decoded(each) for each in recorded() if each.method == method]


def test_recorded_sandboxes() -> None:
    """The recorded sandboxes have their known statuses, sizes and owners."""
    seen = [box for box in answers("sandbox.getSandbox") if box is not None]
    assert {box.status for box in seen} == {Status.RUNNING, Status.STOPPED}
    assert {(box.vcpus, box.memory, box.disk) for box in seen} >= {(2, 8, 16)}
    assert all(box.id.startswith("sandbox_") and box.created_at for box in seen)
    pages: list[Page[Sandbox]] = answers("actor.getActorSandboxes")
    assert any(box.uri is None for page in pages for box in page)


def test_recorded_ports_without_url() -> None:
    """A recorded port may have no URL."""
    assert {url is None for url in answers("sandbox.exposePort")} == {True, False}
    assert {port.preview_url is None for ports in answers("sandbox.getExposedPorts") for port in ports} == {True, False}


def test_recorded_missing_records() -> None:
    """A recorded empty answer means that the record does not exist."""
    for method in ("secret.getSecret", "variable.getVariable", "file.getFile", "volume.getVolume"):
        missing = [each for each in recorded() if each.method == method and each.body == b"{}"]
        assert missing
        with answered_by(lambda call, body=missing[0].body: Success(call.decode(body))):  # type: ignore[misc]
            assert isinstance(ASKING[method]().failure(), RecordNotFound)
    with answered_by(lambda call: Success(call.decode(b"{}"))):
        assert isinstance(pocketenv.me().failure(), ProfileNotFound)
