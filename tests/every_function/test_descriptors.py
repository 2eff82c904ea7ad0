"""Out of file descriptors each call is a Failure that says so, and works again when there are some."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.places import ROOT
from tests.servers import RAN, VIEW, Reply, Server, reply

pytestmark = pytest.mark.slow

# Which descriptor is missing differs: a module, the CA bundle, the token file, a folder, `.pocketenvignore`, a socket.
PROGRAM = """
import os, resource, sys
from pathlib import Path
import pocketenv_fp
from pocketenv_fp import Config, sandbox
from pocketenv_fp.http import storage
from returns.result import Failure, Result, Success

name, url, folder, is_warm = sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4] == "warm"
secure = Config(api_url=url.replace("http", "https"), token="t0", retries=0, connect_timeout=0.5, read_timeout=0.5)
by_name = Config(api_url=url.replace("127.0.0.1", "localhost"), token="t0", retries=0)
private = "-----BEGIN OPENSSH PRIVATE KEY-----\\nabc\\n-----END OPENSSH PRIVATE KEY-----"
config = Config(api_url=url, storage_url=url, token="t0", retries=1)
box = pocketenv_fp.Sandbox(id="3f2a", name="brave-otter-x1y2")
e2b = pocketenv_fp.Sandbox(id="3f2b", name="brave-otter-x1y3", provider="e2b", status=pocketenv_fp.Status.RUNNING)
calls = {
    "query": lambda: pocketenv_fp.get_sandbox("3f2a", config=config),
    "token file": lambda: pocketenv_fp.get_sandbox("3f2a", config=Config(api_url=url, retries=0)),
    "TLS": lambda: pocketenv_fp.get_sandbox("3f2a", config=secure),
    "name": lambda: pocketenv_fp.get_sandbox("3f2a", config=by_name),
    "command": lambda: pocketenv_fp.exec(box, "ls", config=config),
    "upload": lambda: sandbox.upload(box, str(folder), "/workspace", config=config),
    "download": lambda: sandbox.download(box, "/workspace", str(folder / "down"), config=config),
    "file": lambda: sandbox.set_file(box, ".env", "x", config=config),
    "copy through this machine": lambda: sandbox.copy_to(e2b, e2b, "/workspace", "/tmp", config=config),
    "copy": lambda: sandbox.copy_to(box, box, "/workspace", "/tmp", config=config),
    "secret": lambda: sandbox.set_secret(box, "NAME", "value", config=config),
    "SSH keys": lambda: sandbox.set_ssh_keys(box, private, "ssh-ed25519 AAAA", config=config),
    "new SSH keys": lambda: pocketenv_fp.generate_ssh_keys(),
    "create": lambda: pocketenv_fp.create("my-box", secrets={"NAME": "value"}, config=config),
    "job": lambda: pocketenv_fp.submit(box, "ls", config=config),
    "durable command": lambda: pocketenv_fp.exec(box, "ls", durable=True, config=config),
    "wait": lambda: pocketenv_fp.wait_until_running(box, timeout=0.2, config=config),
    "service": lambda: pocketenv_fp.spawn(box, "ls", config=config),
    "fan_out": lambda: pocketenv_fp.fan_out(pocketenv_fp.exec("ls", config=config), [box])[0],
    "managed": lambda: pocketenv_fp.managed(pocketenv_fp.exec("ls", config=config))("my-box"),
}
call = calls[name]
if is_warm:
    call()
limit = 128
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
failed = 0
for free in range(10):
    if is_warm:
        from pocketenv_fp.http import transport
        for route in transport._routes.values():
            route.close()
        transport._forget()
    taken = []
    while True:
        try:
            taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            break
    for _ in range(free):
        os.close(taken.pop())
    try:
        result = call()
    finally:
        for each in taken:
            os.close(each)
    assert isinstance(result, Result), result
    if isinstance(result, Failure):
        error = result.failure()
        failed += "Too many open files" in str(error)
        assert isinstance(error, pocketenv_fp.PocketenvError), error
assert failed > 0 or name == "name", failed
print("survived", failed)
"""


def answer(request: servers.Request) -> Reply:
    if request.path.startswith("/cp"):
        return reply(b'{"uuid": "u"}')
    return reply(VIEW) if request.verb == "GET" else reply(RAN)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(answer) as made:
        yield made


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits on this system")
@pytest.mark.parametrize(
    ("name", "state"),
    [
        *((name, state) for name in ("query", "token file", "TLS", "name", "command") for state in ("warm", "cold")),
        *((name, state) for name in ("upload", "download", "copy", "secret") for state in ("warm", "cold")),
        *((name, "cold") for name in ("SSH keys", "new SSH keys", "create", "job", "durable command", "wait")),
        *((name, "cold") for name in ("service", "fan_out", "managed", "file", "copy through this machine")),
    ],
)
def test_calls_without_descriptors(name: str, state: str, server: Server, tmp_path: Path) -> None:
    """A call without free file descriptors is a Failure, and succeeds when there are some."""
    (tmp_path / "home" / ".pocketenv").mkdir(parents=True)
    (tmp_path / "home" / ".pocketenv" / "token.json").write_text('{"token": "t0"}')
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    for each in (folder / ".pocketenvignore", folder / ".gitignore", folder / "inner" / ".gitignore", folder / "a.txt"):
        each.write_text("*.pyc\n")
    ran = subprocess.run(  # this interpreter, and a program of this file
        [sys.executable, "-c", PROGRAM, name, server.url, str(folder), state],
        capture_output=True,
        text=True,
        timeout=120,
        env={"HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("survived")
