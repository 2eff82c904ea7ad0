"""Boxes: what a sandbox sees and cannot reach, and its end with its platform."""

import contextlib
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pocketenv_fp import local
from pocketenv_fp.http.failures import LARGEST_ANSWER
from pocketenv_fp.local import box, layout, processes
from pocketenv_fp.local.agent import file_operations
from pocketenv_fp.local.box import Limits
from tests.levels import LEVELS
from tests.local.wire import Wire, commands_alive, eventually

needs_boxes = pytest.mark.skipif(box.bubblewrap() is None, reason="no bubblewrap that works here")


@pytest.fixture
def boxed(wire: Wire) -> Wire:
    """Yield a connection to the platform that has boxes."""
    if wire.platform.isolation != "bubblewrap":
        pytest.skip("plain processes see this machine: that is what they are")
    return wire


@pytest.fixture(params=LEVELS)
def limited(request: pytest.FixtureRequest) -> Iterator[Wire]:
    """Yield a connection to a platform with limits, at each level."""
    if request.param == "bubblewrap" and box.bubblewrap() is None:
        pytest.skip("no bubblewrap that works here: install it, or allow namespaces")
    limits = Limits(cpu_seconds=1, memory_bytes=512 * 1024 * 1024, processes=20, output_bytes=100_000)
    with local.platform(isolation=request.param, limits=limits) as platform, Wire(platform, platform.token) as wire:
        yield wire


def test_box_own_root(boxed: Wire) -> None:
    """A box has its own root, and nothing in it appears on this machine."""
    sandbox = boxed.create()
    assert boxed.out(sandbox, "ls -A /root /home /tmp /app /data /opt /srv | grep -v :$ | grep .; pwd; id -u") == (
        "/workspace\n0\n"
    )
    boxed.out(sandbox, "for d in /workspace /root /home /tmp /app /data /var /opt /srv /new; do mkdir -p $d/x; done")
    assert boxed.out(sandbox, "ls -d /app/x /var/x /new/x") == "/app/x\n/new/x\n/var/x\n"
    assert not Path("/new").exists()


def test_box_hides_homes_and_the_platform(boxed: Wire, tmp_path: Path) -> None:
    """No home of this machine and nothing of the platform is in a box."""
    (tmp_path / "precious").write_text("host")
    sandbox = boxed.create()
    for path in (tmp_path, boxed.platform.data, Path.cwd(), Path.home()):
        assert boxed.exec(sandbox, f"ls -A {path} | grep .")[2] != 0, path
    assert boxed.exec(sandbox, "grep -r . /etc/shadow /etc/gshadow /etc/sudoers /etc/ssl/private 2>/dev/null")[0] == ""


def test_box_system_read_only(boxed: Wire) -> None:
    """The directories of the system are read-only in a box."""
    sandbox = boxed.create()
    for path in ("/usr/x", "/etc/x", "/bin/x", "/lib/x"):
        assert "Read-only" in boxed.exec(sandbox, f"touch {path}")[1], path


def test_box_kernel_settings_read_only(boxed: Wire) -> None:
    """The settings of the kernel are read-only in a box."""
    sandbox = boxed.create()
    # Each is written with its present content.
    write = "v=$(cat /proc/sys/vm/swappiness); (echo $v > /proc/sys/vm/swappiness)"
    assert boxed.exec(sandbox, write)[2] != 0
    boxed.exec(
        sandbox, "umount /proc/sys; mount -o remount,rw /proc/sys; mount -t proc proc /proc; mount -t proc p /mnt"
    )
    assert boxed.exec(sandbox, write)[2] != 0
    assert boxed.exec(sandbox, f"unshare -Urmpf --mount-proc sh -c '{write}'")[2] != 0
    for name in ("sysrq-trigger", "irq/default_smp_affinity", "mtrr"):
        assert boxed.exec(sandbox, f"(: >> /proc/{name})")[2] != 0, name


@pytest.mark.parametrize("way", ["/var", "/srv", "/app", "/tmp"])
def test_box_directory_replaced_by_link(boxed: Wire, tmp_path: Path, way: str) -> None:
    """A directory that a command replaced by a link does not lead out of the box."""
    sandbox = boxed.create(provider="daytona")
    boxed.start(sandbox)
    for target in (tmp_path, tmp_path / "missing"):
        boxed.out(sandbox, f"rm -rf {way}; ln -sfn {target} {way}")
        reboot(boxed, sandbox)
        assert boxed.out(sandbox, f"echo works; readlink {way}") == f"works\n{target}\n"
        boxed.out(sandbox, f"rm {way}; echo file > {way}")
        reboot(boxed, sandbox)
        assert boxed.out(sandbox, f"cat {way}") == "file\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["/data/deep/models", "/usr/local/share/deep/models", "/srv/models"])
def test_box_link_above_volume(boxed: Wire, tmp_path: Path, path: str) -> None:
    """A link above the path of a volume is replaced by a directory."""
    sandbox = boxed.create(provider="daytona")
    boxed.start(sandbox)
    volume = {"sandboxId": sandbox, "name": "models", "path": path}
    assert boxed.post("volume.addVolume", {"volume": volume}).empty
    boxed.start(sandbox)
    boxed.out(sandbox, f"echo kept > {path}/file")
    parent = path.rpartition("/")[0]
    for target in (tmp_path, "/oldroot/tmp", "/usr/bin"):
        boxed.exec(sandbox, f"mv {parent} {parent}-$RANDOM; ln -sfn {target} {parent}")
        reboot(boxed, sandbox)
        assert boxed.out(sandbox, f"cat {path}/file") == "kept\n"
    assert list(tmp_path.iterdir()) == []
    assert not Path("/models").exists()


def test_box_follows_no_link_of_a_process(tmp_path: Path) -> None:
    """Links that a plain process left are not followed."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    for name in ("var", "srv", "proc", "dev", "run", "sys", "usr", "etc", "data"):
        (root / name).symlink_to(outside if name != "srv" else tmp_path / "missing")
    attached = [layout.Mount("/data/models", tmp_path)]
    layout.prepare(root)
    layout.furnish(root, attached, ["/usr/local/share", "/etc"])
    layout.attach(root, attached)
    assert list(outside.iterdir()) == []
    assert not (tmp_path / "missing").exists()
    assert (root / "data").is_dir()
    assert not (root / "data").is_symlink()


def reboot(wire: Wire, sandbox: str) -> None:
    """Kill the first process of a box. The next command has a new one."""
    folder = wire.platform.data / "sandboxes" / sandbox
    for pid in processes.find_marked(folder) - commands_alive(folder):
        with contextlib.suppress(ProcessLookupError):  # it ended with its parent
            os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: wire.post("sandbox.exec", {"command": "true"}, id=sandbox).status == 200)


def test_box_sees_only_its_own_processes(boxed: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A box does not see the process that started it."""
    monkeypatch.setenv("SOMETHING_SECRET", "of-the-host")
    sandbox = boxed.create()
    assert boxed.out(sandbox, "sleep 5 & ls /proc | grep -c '^[0-9]'").strip() in {"5", "6", "7", "8"}
    assert "of-the-host" not in boxed.out(sandbox, "cat /proc/*/environ | tr '\\0' '\\n'")
    assert boxed.platform.token not in boxed.out(sandbox, "cat /proc/*/environ /proc/*/cmdline | tr '\\0' '\\n'")


TAKE_THE_LINE = """
import ctypes, os, socket
libc = ctypes.CDLL(None)
first = libc.syscall(434, 1, 0)  # pidfd_open
taken = [libc.syscall(438, first, number, 0) for number in range(64)]  # pidfd_getfd
for number in taken:
    if number >= 0:
        try:
            socket.socket(fileno=number).sendall(b"nonsense" * 100)
        except OSError:
            pass
print(first >= 0, max(taken), libc.ptrace(16, 1, 0, 0))  # PTRACE_ATTACH
"""


def test_box_protects_life_line(boxed: Wire) -> None:
    """A command cannot take the life line of its box."""
    sandbox = boxed.create(provider="daytona")
    boxed.start(sandbox)
    script = f"cat > take.py <<'E'\n{TAKE_THE_LINE}\nE\npython3 take.py"
    assert boxed.exec(sandbox, script)[0] == "True -1 -1\n"
    assert boxed.exec(sandbox, "cat /proc/1/environ")[2] != 0
    assert boxed.out(sandbox, "echo works") == "works\n"


@pytest.mark.parametrize("number", ["KILL", "TERM", "INT", "HUP", "CHLD", "STOP", "USR1"])
def test_box_first_process_unkillable(boxed: Wire, number: str) -> None:
    """No signal from inside a box kills its first process."""
    sandbox = boxed.create()
    boxed.exec(sandbox, f"touch alive; kill -{number} 1")
    assert boxed.out(sandbox, "ls") == "alive\n"


def test_box_server_on_loopback(wire: Wire) -> None:
    """A server in a box is reached on the loopback of this machine."""
    sandbox = wire.create()
    code = "import http.server as h; s = h.HTTPServer(('127.0.0.1', 0), h.BaseHTTPRequestHandler); open('port', 'w').write(str(s.server_port)); s.serve_forever()"
    wire.out(sandbox, f'nohup python3 -c "{code}" > log 2>&1 &')
    assert eventually(lambda: wire.exec(sandbox, "grep . port")[2] == 0)
    port = int(wire.out(sandbox, "cat port"))
    there = Wire(wire.platform, None)
    there.connection.port = port
    assert there.raw("GET", "/").status == 501


@needs_boxes
def test_private_network_own_loopback() -> None:
    """A private network has its own loopback and no other device."""
    with local.platform(network="private") as platform, Wire(platform, platform.token) as wire:
        sandbox = wire.create()
        port = platform.url.rpartition(":")[2]
        assert wire.exec(sandbox, f"exec 3<>/dev/tcp/127.0.0.1/{port}")[2] != 0
        assert wire.out(sandbox, "cut -d: -f1 /proc/net/dev | tail -n +3").split() == ["lo"]
        assert wire.post("sandbox.exposePort", {"port": 8080}, id=sandbox).json == {"previewUrl": None}


def test_isolation_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """An isolation that this machine lacks is an OSError at the start."""
    with pytest.raises(OSError, match="needs isolation 'bubblewrap'"):
        local.platform(isolation="processes", network="private")
    monkeypatch.setattr("pocketenv_fp.local.box.bubblewrap", lambda: None)
    with pytest.raises(OSError, match="no bwrap here"):
        local.platform(isolation="bubblewrap")


def test_isolation_without_bubblewrap(tmp_path: Path) -> None:
    """Processes are plain where bubblewrap is not on the path."""
    code = "from pocketenv_fp import local\nwith local.platform() as p: print(p.isolation)"
    environment = {**os.environ, "PATH": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "processes\n"


def test_file_and_volume_reach_any_path(boxed: Wire) -> None:
    """A file and a volume reach any path, also in the system's directories."""
    sandbox = boxed.create()
    for path in ("/etc/myapp/settings.ini", "/usr/local/bin/mytool", "/srv/www/index.html", "relative.txt"):
        body = {"file": {"sandboxId": sandbox, "path": path, "content": boxed.seal(f"this is {path}")}}
        assert boxed.post("file.addFile", body).empty
    volume = {"sandboxId": sandbox, "name": "models", "path": "/usr/share/models"}
    assert boxed.post("volume.addVolume", {"volume": volume}).empty
    boxed.start_and_wait(sandbox)
    for path in ("/etc/myapp/settings.ini", "/usr/local/bin/mytool", "/srv/www/index.html", "/workspace/relative.txt"):
        assert path.rpartition("/")[2] in boxed.out(sandbox, f"cat {path}")
    assert boxed.out(sandbox, "echo weights > /usr/share/models/m; cat /usr/share/models/m") == "weights\n"
    assert (
        boxed.out(sandbox, "cat /etc/passwd | head -1; ls /usr/bin/env")
        == "root:x:0:0:root:/root:/bin/bash\n/usr/bin/env\n"
    )
    assert boxed.exec(sandbox, "cat /etc/shadow")[2] != 0
    assert not Path("/etc/myapp").exists()


def test_upload_reaches_a_system_directory(boxed: Wire) -> None:
    """An upload reaches a directory of the system, and services come back."""
    sandbox = boxed.create()
    service = {"name": "clock", "command": "sleep 1000"}
    assert boxed.post("service.addService", {"service": service}, sandboxId=sandbox).empty
    boxed.out(sandbox, "mkdir -p out; echo tool > out/tool")
    for target in ("/usr/local/share/mine", "/opt/mine"):
        name = boxed.post("sandbox.pushDirectory", {"sandboxId": sandbox, "directoryPath": "/workspace/out"}).json[
            "uuid"
        ]
        body = {"sandboxId": sandbox, "uuid": name, "directoryPath": target}
        assert boxed.post("sandbox.pullDirectory", body).empty
        assert boxed.out(sandbox, f"cat {target}/out/tool") == "tool\n"
    (row,) = boxed.get("service.getServices", sandboxId=sandbox).json["services"]
    assert row["status"] == "RUNNING"


def upload(wire: Wire, *entries: tarfile.TarInfo) -> str:
    """Upload an archive with these entries. Return its name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for entry in entries:
            tar.addfile(entry, io.BytesIO(b"x" * entry.size))
    boundary = "ordinary"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'.encode()
        + buffer.getvalue()
        + f"\r\n--{boundary}--\r\n".encode()
    )
    answer = wire.raw("POST", "/cp", body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})
    return str(answer.json["uuid"])


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    """Return one entry of an archive."""
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = kind, target, mode
    made.size = 1 if kind == tarfile.REGTYPE else 0
    return made


@pytest.mark.parametrize(
    "attack",
    [
        [entry("../escaped")],
        [entry("a/../../escaped")],
        [entry("link", tarfile.SYMTYPE, "{outside}"), entry("link/escaped")],
        [entry("link", tarfile.SYMTYPE, ".."), entry("link/escaped")],
        [entry("hard", tarfile.LNKTYPE, "{outside}/precious")],
        [entry("hard", tarfile.LNKTYPE, "../../../precious")],
        [entry("null", tarfile.CHRTYPE)],
        [entry("pipe", tarfile.FIFOTYPE)],
    ],
    ids=["dots", "inner dots", "through a link", "through a relative link", "hard link", "hard dots", "device", "fifo"],
)
def test_unpack_stays_inside(wire: Wire, attack: list[tarfile.TarInfo], tmp_path: Path) -> None:
    """An archive with paths that lead out stays inside."""
    (tmp_path / "precious").write_text("host")
    for each in attack:
        each.linkname = each.linkname.replace("{outside}", str(tmp_path))
    sandbox = wire.create()
    wire.out(sandbox, "mkdir there; echo old > there/old")
    name = upload(wire, entry("fine"), *attack)
    body = {"sandboxId": sandbox, "uuid": name, "directoryPath": "/workspace/there"}
    assert wire.post("sandbox.pullDirectory", body).empty
    assert wire.out(sandbox, "cat there/fine there/old") == "xold\n"
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
    assert (tmp_path / "precious").read_text() == "host"
    assert "escaped" not in wire.out(sandbox, "ls -A . ..")


def test_unpack_absolute_name(wire: Wire) -> None:
    """An absolute name counts as one below the target."""
    sandbox = wire.create()
    body = {"sandboxId": sandbox, "uuid": upload(wire, entry("/etc/x")), "directoryPath": "/workspace/there"}
    assert wire.post("sandbox.pullDirectory", body).empty
    assert wire.out(sandbox, "find there -type f") == "there/etc/x\n"


def test_storage_keeps_tree(wire: Wire) -> None:
    """Links stay links; modes lose the write bits of others, as with `cp -r`."""
    sandbox = wire.create()
    wire.out(
        sandbox,
        "umask 0; mkdir -p t/deep/empty; echo a > t/a; echo b > 't/ü b'; chmod 755 t/a t t/deep t/deep/empty;"
        " chmod 664 't/ü b'; ln -s a t/link; ln -s /nowhere/at/all t/far; ln t/a t/hard; : > t/none; chmod 600 t/none",
    )
    name = wire.post("sandbox.pushDirectory", {"sandboxId": sandbox, "directoryPath": "/workspace/t"}).json["uuid"]
    body = {"sandboxId": sandbox, "uuid": name, "directoryPath": "/workspace/copy"}
    assert wire.post("sandbox.pullDirectory", body).empty
    listed = "find . -printf '%P %m %y %l\\n' | grep -v '^ ' | sort"
    was = wire.out(sandbox, f"cd t; {listed}")
    assert wire.out(sandbox, f"cd copy/t; {listed}") == was.replace("b 664", "b 644")


@pytest.mark.parametrize("form", ["{path}", "file://{path}", "file://localhost{path}"])
def test_create_clones_local_repository(wire: Wire, tmp_path: Path, form: str) -> None:
    """A sandbox clones a repository of this machine."""
    source = tmp_path / "my project.git"
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", "-C", str(source)]
    source.mkdir()
    (source / "README").write_text("hello")
    for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "first"]):
        subprocess.run([*git, *arguments], check=True)
    sandbox = wire.create(provider="daytona", repo=form.format(path=source))
    line = "cd '/workspace/my project'; cat README; git status --short; git log --format=%s"
    assert wire.say(sandbox, line).json["stdout"] == "hellofirst\n"
    wire.say(sandbox, "cd '/workspace/my project'; echo mine > README")
    wire.start(sandbox)
    assert wire.say(sandbox, "cd '/workspace/my project'; cat README").json["stdout"] == "mine\n"
    assert (source / "README").read_text() == "hello"


def test_output_above_limit(limited: Wire) -> None:
    """Output above its limit is cut, and the command is killed."""
    stdout, stderr, code = limited.exec(limited.create(), "yes")
    # The cut is before the end of its last line is lost.
    assert (len(stdout) in {99_999, 100_000}, code) == (True, 137)
    assert "the output was cut" in stderr


@pytest.mark.parametrize("line", ["yes", "yes & wait", "head -c 300000 /dev/zero", "head -c 200000 /dev/zero; yes"])
def test_output_cut_spares_the_shell(limited: Wire, line: str) -> None:
    """A kill ends what writes. The shell lives, also where it reports the end later."""
    sandbox = limited.create()
    assert limited.say(sandbox, "mkfifo wait; exec 9<>wait; kept=here").status == 200
    answer = limited.say(sandbox, f"{line}; read -t 0.5 -u 9")
    # The shell drops NUL bytes.
    assert (answer.status, len(answer.json["stdout"]) in {0, 99_999, 100_000}) == (200, True)
    assert limited.say(sandbox, "echo $kept").json["stdout"] == "here"


def test_output_of_shell_above_limit(limited: Wire) -> None:
    """A shell that writes without end is killed: no other process holds its output."""
    sandbox = limited.create()
    assert limited.say(sandbox, "x=$(printf %5000s x); while :; do echo $x$x; done").status == 500
    assert limited.say(sandbox, "echo works").status == 500


def test_output_below_limit() -> None:
    """The client accepts all output below the limit."""
    most = Limits().output_bytes
    assert most is not None
    longest = len(json.dumps({"stdout": "\0" * 1000, "stderr": "", "exitCode": 137})) / 1000
    assert most * longest < LARGEST_ANSWER


def test_limits_of_cpu_and_memory(limited: Wire) -> None:
    """A command above its limit of processor time or memory fails."""
    sandbox = limited.create()
    assert limited.exec(sandbox, "while :; do :; done")[2] in {128 + signal.SIGXCPU, 128 + signal.SIGKILL}
    assert limited.exec(sandbox, "python3 -c 'b = bytearray(1 << 30)'")[2] != 0
    assert limited.out(sandbox, "python3 -c 'b = bytearray(1 << 20); print(len(b))'") == "1048576\n"


def test_limits_of_processes(limited: Wire) -> None:
    """A fork bomb is killed, and its sandbox lives on."""
    sandbox = limited.create()
    # Under load the last ones may be too few to be killed: `wait` then ends with them, before the client gives up.
    limited.exec(sandbox, "for i in $(seq 200); do sleep 20 & done; wait")
    assert eventually(lambda: len(commands_alive(limited.platform.data)) <= 20)
    assert limited.out(sandbox, "echo works") == "works\n"


def test_output_opened_by_name(wire: Wire) -> None:
    """A command may open its own outputs by name."""
    sandbox = wire.create()
    line = "echo a; echo b > /dev/stdout; echo c; echo d >> /dev/stderr; echo e > /dev/stderr"
    # They are files: opening one by name for writing empties it.
    answer = wire.say(sandbox, line).json
    assert (answer["stdout"], answer["stderr"]) == ("b\nc", "e")


def test_output_of_late_child(wire: Wire) -> None:
    """Later output of a child belongs to no other command."""
    sandbox = wire.create()
    assert wire.out(sandbox, "(sleep 0.3; echo late; echo written > file) & echo now") == "now\n"
    assert eventually(lambda: wire.exec(sandbox, "cat file")[0] == "written\n")


def test_exec_large_command_and_environment(wire: Wire) -> None:
    """Large commands and environments reach the shell."""
    sandbox = wire.create()
    for number in range(5):
        variable = {"sandboxId": sandbox, "name": f"V{number}", "value": "v" * 90_000}
        assert wire.post("variable.addVariable", {"variable": variable}).empty
    wire.start(sandbox)
    assert wire.out(sandbox, f"echo ${{#V0}} ${{#V4}} # {'x' * 90_000}") == "90000 90000\n"


def test_killed_agent_gets_a_new_box(wire: Wire) -> None:
    """A killed agent takes its box along, and the next command gets a new one."""
    sandbox = wire.create()
    wire.out(sandbox, "echo kept > file; sleep 1000 &")
    folder = wire.platform.data / "sandboxes" / sandbox
    for pid in processes.find_marked(folder) - commands_alive(folder):
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: wire.say(sandbox, "true").status == 200)
    assert wire.out(sandbox, "cat file") == "kept\n"
    wire.post("sandbox.stopSandbox", id=sandbox)
    assert processes.find_marked(folder) == set()


def test_stop_of_suspended_agent(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suspended agent does not delay a stop."""
    monkeypatch.setattr("pocketenv_fp.local.box.PATIENCE_SECONDS", 0.2)
    sandbox = wire.create()
    wire.out(sandbox, "sleep 1000 &")
    folder = wire.platform.data / "sandboxes" / sandbox
    for pid in processes.find_marked(folder):
        os.kill(pid, signal.SIGSTOP)
    assert wire.post("sandbox.stopSandbox", id=sandbox).raw == b"{}"
    assert processes.find_marked(folder) == set()


@pytest.mark.slow
def test_exec_hundred_sandboxes() -> None:
    """A hundred sandboxes run commands at once."""
    with local.platform() as platform:

        def one(number: int) -> str:
            with Wire(platform, platform.token) as wire:
                sandbox = wire.create()
                output = wire.out(sandbox, f"echo {number} > own; cat own")
                assert wire.out(sandbox, "sleep 1000 & ls") == "own\n"
                return output

        with ThreadPoolExecutor(16) as pool:
            assert list(pool.map(one, range(100))) == [f"{number}\n" for number in range(100)]
        # Each has its shell, too.
        assert len(commands_alive(platform.data)) == 200
    assert processes.find_marked(platform.data) == set()


def test_stop_during_many_commands(wire: Wire) -> None:
    """A stop during many commands leaves nothing."""
    sandbox = wire.create()
    gate = threading.Barrier(9)

    def run() -> set[int]:
        with Wire(wire.platform, wire.token) as own:
            gate.wait()
            return {own.post("sandbox.exec", {"command": "sleep 0.05 & :"}, id=sandbox).status for _ in range(20)}

    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(run) for _ in range(8)]
        gate.wait()
        for _ in range(5):
            wire.post("sandbox.stopSandbox", id=sandbox)
            wire.start(sandbox)
        statuses = set[int]().union(*(task.result() for task in running))
    assert statuses <= {200, 400, 500}
    wire.post("sandbox.stopSandbox", id=sandbox)
    assert processes.find_marked(wire.platform.data / "sandboxes" / sandbox) == set()


def test_box_lends_world_readable_files(tmp_path: Path) -> None:
    """The system lends only files that other users may read."""
    root = tmp_path / "root"
    arguments = layout.mounted(root, (), ())
    lent = dict(itertools.pairwise(arguments))
    assert lent.get("--bind") == str(root)
    assert not root.exists(), "a question makes nothing"
    for name in ("shadow", "gshadow"):
        path = Path("/etc") / name
        if path.exists() and not path.stat().st_mode & 0o004:
            place = arguments.index(str(path))
            assert arguments[place - 2 : place] == ["--ro-bind", os.devnull]


def test_sweep_removes_drafts(tmp_path: Path) -> None:
    """`sweep` removes the drafts of a crash and keeps other files."""
    (tmp_path / "deep" / f"{file_operations.DRAFT}1").mkdir(parents=True)
    (tmp_path / f"{file_operations.DRAFT}2").touch()
    (tmp_path / "deep" / "kept").touch()
    file_operations.sweep(str(tmp_path))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["deep", "kept"]
