"""Ports, previews and VS Code."""

import socket
from urllib.request import urlopen

from tests.local.wire import Wire, eventually


def free_port() -> int:
    """A port that nothing uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_a_server_in_a_sandbox_is_reached_under_its_preview_url(wire: Wire) -> None:
    sandbox, port = wire.create(), free_port()
    wire.out(sandbox, f"echo hello > index.html; python3 -m http.server --bind 127.0.0.1 {port} &")
    url = wire.post("sandbox.exposePort", {"port": port, "description": "site"}, id=sandbox).json["previewUrl"]

    def answers() -> bool:
        try:
            with urlopen(url, timeout=1) as page:
                return bool(page.read() == b"hello\n")
        except OSError:
            return False

    assert eventually(answers, 8)
    assert wire.get("sandbox.getExposedPorts", id=sandbox).json == {
        "ports": [{"port": port, "description": "site", "previewUrl": url}]
    }
    wire.post("sandbox.stopSandbox", id=sandbox)
    assert not answers()


def test_every_port_gets_a_url_and_an_exposed_one_is_a_500(wire: Wire) -> None:
    sandbox = wire.create()
    for port in (8080, 8081):
        assert wire.post("sandbox.exposePort", {"port": port}, id=sandbox).json["previewUrl"].endswith(str(port))
    assert wire.post("sandbox.exposePort", {"port": 8080}, id=sandbox).error[:2] == (500, "InternalServerError")
    assert [set(row) for row in wire.get("sandbox.getExposedPorts", id=sandbox).json["ports"]] == [
        {"port", "previewUrl"}
    ] * 2


def test_unexpose_answers_nothing_also_for_a_port_that_was_not_exposed(wire: Wire) -> None:
    sandbox = wire.create()
    wire.post("sandbox.exposePort", {"port": 8080}, id=sandbox)
    for _ in range(2):
        assert wire.post("sandbox.unexposePort", {"port": 8080}, id=sandbox).empty
    assert wire.get("sandbox.getExposedPorts", id=sandbox).json == {"ports": []}


def test_port_3000_is_refused_on_cloudflare_and_stays_listed(wire: Wire) -> None:
    sandbox = wire.create()
    told = wire.post("sandbox.exposePort", {"port": 3000}, id=sandbox).error
    assert told == (400, "InvalidRequest", "Request failed with status code 400")
    assert wire.get("sandbox.getExposedPorts", id=sandbox).json == {"ports": [{"port": 3000}]}


def test_ports_of_an_unknown_sandbox_are_an_empty_list(wire: Wire) -> None:
    assert wire.get("sandbox.getExposedPorts", id="nobody").json == {"ports": []}
    assert wire.post("sandbox.exposePort", {"port": 8080}, id="nobody").error[:2] == (404, "XRPCNotSupported")


def test_vscode_opens_the_workspace_and_occupies_port_1024(wire: Wire) -> None:
    sandbox = wire.create()
    first, second = (wire.post("sandbox.exposeVscode", id=sandbox).json["previewUrl"] for _ in range(2))
    assert first == second
    assert first.startswith("vscode://file/")
    assert first.endswith("/workspace")
    assert [row["port"] for row in wire.get("sandbox.getExposedPorts", id=sandbox).json["ports"]] == [1024]
    assert wire.post("sandbox.exposeVscode", id=wire.create(provider="modal")).json == {"previewUrl": ""}
