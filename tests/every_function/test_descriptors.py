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

# A program imports its names first. Which descriptor is missing then differs: a module that a function imports, the CA
# bundle, the token file, a folder, `.pocketenvignore`, a socket.
PROGRAM = """
import os, resource, sys
from pathlib import Path
from pocketenv_fp import Config, PocketenvError, Sandbox, Status, copy_to, create, download, exec, fan_out
from pocketenv_fp import generate_ssh_keys, get_sandbox, managed, set_file, set_secret, set_ssh_keys, spawn, submit
from pocketenv_fp import upload, wait_until_running
from returns.result import Failure, Result, Success

name, url, folder, is_warm = sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4] == "warm"
secure = Config(api_url=url.replace("http", "https"), token="t0", retries=0, connect_timeout=0.5, read_timeout=0.5)
by_name = Config(api_url=url.replace("127.0.0.1", "localhost"), token="t0", retries=0)
private = "-----BEGIN OPENSSH PRIVATE KEY-----\\nabc\\n-----END OPENSSH PRIVATE KEY-----"
config = Config(api_url=url, storage_url=url, token="t0", retries=1)
box = Sandbox(id="3f2a", name="brave-otter-x1y2")
e2b = Sandbox(id="3f2b", name="brave-otter-x1y3", provider="e2b", status=Status.RUNNING)
calls = {
    "query": lambda: get_sandbox("3f2a", config=config),
    "token file": lambda: get_sandbox("3f2a", config=Config(api_url=url, retries=0)),
    "TLS": lambda: get_sandbox("3f2a", config=secure),
    "name": lambda: get_sandbox("3f2a", config=by_name),
    "command": lambda: exec(box, "ls", config=config),
    "upload": lambda: upload(box, str(folder), "/workspace", config=config),
    "download": lambda: download(box, "/workspace", str(folder / "down"), config=config),
    "file": lambda: set_file(box, ".env", "x", config=config),
    "copy through this machine": lambda: copy_to(e2b, e2b, "/workspace", "/tmp", config=config),
    "copy": lambda: copy_to(box, box, "/workspace", "/tmp", config=config),
    "secret": lambda: set_secret(box, "NAME", "value", config=config),
    "SSH keys": lambda: set_ssh_keys(box, private, "ssh-ed25519 AAAA", config=config),
    "new SSH keys": lambda: generate_ssh_keys(),
    "create": lambda: create("my-box", secrets={"NAME": "value"}, config=config),
    "job": lambda: submit(box, "ls", config=config),
    "durable command": lambda: exec(box, "ls", durable=True, config=config),
    "wait": lambda: wait_until_running(box, timeout=0.2, config=config),
    "service": lambda: spawn(box, "ls", config=config),
    "fan_out": lambda: fan_out(exec("ls", config=config), [box])[0],
    "managed": lambda: managed(exec("ls", config=config))("my-box"),
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
        assert isinstance(error, PocketenvError), error
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
