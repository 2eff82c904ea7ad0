"""Ports, previews and VS Code."""

import socket
from urllib.request import urlopen

from tests.local.wire import Wire, eventually


def free_port() -> int:
    """Return a port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_expose_reaches_the_server(wire: Wire) -> None:
    """A server in a sandbox is reached under its preview URL."""
    sandbox, port = wire.create(), free_port()
    wire.out(sandbox, f"echo hello > index.html; python3 -m http.server --bind 127.0.0.1 {port} &")
    url = wire.post("sandbox.exposePort", {"port": port, "description": "site"}, id=sandbox).json["previewUrl"]

    def answers() -> bool:
        try:
            with urlopen(url, timeout=1) as page:
                return bool(page.read() == b"hello\n")
        except OSError:
            return False

    assert eventually(answers)
    assert wire.get("sandbox.getExposedPorts", id=sandbox).json == {
        "ports": [{"port": port, "description": "site", "previewUrl": url}]
    }
    wire.post("sandbox.stopSandbox", id=sandbox)
    assert not answers()


def shown(wire: Wire, sandbox: str) -> dict[int, bool]:
    """Return the listed ports that have a preview URL."""
    rows = wire.get("sandbox.getExposedPorts", id=sandbox).json["ports"]
    return {row["port"]: "previewUrl" in row for row in rows}


def expose(wire: Wire, sandbox: str, port: int) -> str | None:
    """Expose a port. Return its preview URL."""
    answer = wire.post("sandbox.exposePort", {"port": port}, id=sandbox)
    assert answer.status == 200, answer
    url: str | None = answer.json["previewUrl"]
    return url


def test_expose_url_of_first_port(wire: Wire) -> None:
    """Only the first exposed port has a preview URL."""
    sandbox = wire.create()
    assert expose(wire, sandbox, 8080) == "http://127.0.0.1:8080"
    assert expose(wire, sandbox, 8081) is None
    assert wire.post("sandbox.exposePort", {"port": 8080}, id=sandbox).error[:2] == (500, "InternalServerError")
    assert shown(wire, sandbox) == {8080: True, 8081: False}
    assert wire.post("sandbox.unexposePort", {"port": 8080}, id=sandbox).empty
    assert expose(wire, sandbox, 8082) is not None
    assert shown(wire, sandbox) == {8081: False, 8082: True}


def test_expose_after_restart(wire: Wire) -> None:
    """After a stop and a start each exposed port has a preview URL."""
    sandbox = wire.create()
    expose(wire, sandbox, 8081)
    expose(wire, sandbox, 8082)
    wire.post("sandbox.unexposePort", {"port": 8081}, id=sandbox)
    expose(wire, sandbox, 8083)
    wire.post("sandbox.stopSandbox", id=sandbox)
    wire.start(sandbox)
    assert shown(wire, sandbox) == {8082: True, 8083: True}
    assert expose(wire, sandbox, 8084) is None


def test_expose_on_other_providers(wire: Wire) -> None:
    """A port of another provider has no preview URL."""
    sandbox = wire.create(provider="modal")
    assert wire.post("sandbox.exposePort", {"port": 8080}, id=sandbox).raw == b"{}"
    assert shown(wire, sandbox) == {8080: False}


def test_unexpose_of_an_unexposed_port(wire: Wire) -> None:
    """Unexpose answers nothing, also for a port that was not exposed."""
    sandbox = wire.create()
    wire.post("sandbox.exposePort", {"port": 8080}, id=sandbox)
    for _ in range(2):
        assert wire.post("sandbox.unexposePort", {"port": 8080}, id=sandbox).empty
    assert wire.get("sandbox.getExposedPorts", id=sandbox).json == {"ports": []}


def test_expose_port_3000(wire: Wire) -> None:
    """Port 3000 is refused on Cloudflare and stays listed."""
    sandbox = wire.create()
    error = wire.post("sandbox.exposePort", {"port": 3000}, id=sandbox).error
    assert error == (400, "InvalidRequest", "Request failed with status code 400")
    assert wire.post("sandbox.unexposePort", {"port": 3000}, id=sandbox).error == error
    assert wire.get("sandbox.getExposedPorts", id=sandbox).json == {"ports": [{"port": 3000}]}


def test_ports_of_an_unknown_sandbox(wire: Wire) -> None:
    """Ports of an unknown sandbox are an empty list."""
    assert wire.get("sandbox.getExposedPorts", id="nobody").json == {"ports": []}
    assert wire.post("sandbox.exposePort", {"port": 8080}, id="nobody").error[:2] == (404, "XRPCNotSupported")


def test_vscode_occupies_port_1024(wire: Wire) -> None:
    """VS Code opens the workspace and occupies port 1024."""
    sandbox = wire.create()
    first, second = (wire.post("sandbox.exposeVscode", id=sandbox).json["previewUrl"] for _ in range(2))
    assert first == second
    assert first.startswith("vscode://file/")
    assert first.endswith("/workspace")
    assert [row["port"] for row in wire.get("sandbox.getExposedPorts", id=sandbox).json["ports"]] == [1024]
    elsewhere = wire.create(provider="modal")
    error = (404, "XRPCNotSupported", "Request failed with status code 404")
    assert wire.post("sandbox.exposeVscode", id=elsewhere).error == error
    assert wire.post("sandbox.exposeVscode", id=elsewhere).json == {"previewUrl": ""}
