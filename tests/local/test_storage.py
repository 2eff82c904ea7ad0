"""Storage: archives of any size, each read once; and copies between it and sandboxes."""

import gzip
import http.client
import io
import os
import resource
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pocketenv_fp import local
from pocketenv_fp.local.vault import open_vault
from tests.local.wire import Answer, Wire, eventually

BOUNDARY = "b0undary"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
AN_AGE_AGO = (time.time() - 90_000, time.time() - 90_000)
MISSING = (404, {"error": "File not found"})
NOTHING_SENT = (400, {"error": "No file uploaded"})


def part(content: bytes, name: str = "file", filename: str | None = "a.tar.gz") -> bytes:
    """Return one part of a form."""
    attribute = f'; filename="{filename}"' if filename is not None else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{attribute}\r\n'
    return head.encode() + b"Content-Type: application/gzip\r\n\r\n" + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    """Return a whole form."""
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def upload(wire: Wire, content: bytes, uuid: str | None = None) -> str:
    """Upload an archive. Return its uuid."""
    answer = wire.raw("POST", "/cp" if uuid is None else f"/cp?uuid={uuid}", form(part(content)), FORM)
    assert (answer.status, list(answer.json)) == (200, ["uuid"]), answer
    return str(answer.json["uuid"])


def status_and_body(answer: Answer) -> tuple[int, object]:
    """Return the status and body of a refusal."""
    return answer.status, answer.json


def archive(**files: str) -> bytes:
    """Return a tar.gz of these files."""
    kept = io.BytesIO()
    with tarfile.open(fileobj=kept, mode="w:gz") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return kept.getvalue()


def drafts(platform: local.Platform) -> list[Path]:
    """Return the unfinished files of the storage."""
    return list((platform.data / "storage" / ".drafts").iterdir())


def oldest(data: Path) -> Path:
    """Return the first of the last two archives."""
    kept = [path for path in (data / "storage").iterdir() if path.is_file()]
    return sorted(kept, key=lambda path: path.stat().st_mtime_ns)[-2]


def test_download_once(wire: Wire) -> None:
    """A download returns the archive unchanged, once."""
    content = os.urandom(300_000)
    uuid = upload(wire, content)
    answer = wire.raw("GET", f"/cp/{uuid}")
    assert (answer.status, answer.headers["content-type"], answer.raw) == (200, "application/gzip", content)
    assert answer.headers["content-length"] == "300000"
    assert status_and_body(wire.raw("GET", f"/cp/{uuid}")) == MISSING


@pytest.mark.parametrize(
    "content",
    [b"", b"\r\n--", f"\r\n--{BOUNDARY}".encode()[:-1], b"\r\n" * 70_000],
    ids=["empty", "dashes", "almost", "newlines"],
)
def test_upload_content_like_a_boundary(wire: Wire, content: bytes) -> None:
    """Content that looks like a boundary comes back unchanged."""
    uuid = upload(wire, content)
    assert wire.raw("GET", f"/cp/{uuid}").raw == content


def test_upload_with_a_chosen_uuid(wire: Wire, other: Wire) -> None:
    """The client may choose the uuid, and a repeated upload replaces the archive."""
    assert upload(wire, b"one", "my-own-1") == "my-own-1"
    assert upload(other, b"theirs", "my-own-1") == "my-own-1"
    assert wire.raw("GET", "/cp/my-own-1").raw == b"theirs"
    assert status_and_body(wire.raw("GET", "/cp/my-own-1")) == MISSING


def elsewhere(data: Path) -> set[Path]:
    """The files of a platform, but for those of the storage and those in sandboxes, of which there may be many."""
    tops = [top for top in data.iterdir() if top.name not in {"storage", "sandboxes"}]
    return {path for top in tops for path in (top, *top.rglob("*"))} | {*(data / "sandboxes").glob("*")}


@pytest.mark.parametrize("uuid", ["..", "a%2Fb", "..%2F..%2Fkey", ".drafts", "a" * 300, "a_b", "%C3%A9"])
def test_upload_with_any_uuid(wire: Wire, uuid: str) -> None:
    """Any uuid is accepted, and it names no file of this machine."""
    before = elsewhere(wire.platform.data)
    assert wire.raw("POST", f"/cp?uuid={uuid}", form(part(b"x")), FORM).status == 200
    assert elsewhere(wire.platform.data) == before
    assert wire.raw("GET", f"/cp/{uuid}").raw == b"x"


def test_download_expired_token(wire: Wire) -> None:
    """An expired token is a 401."""
    vault = open_vault(wire.platform.data / "key")
    claims = dict(vault.claims(wire.token or "") or {})
    uuid = upload(wire, b"x")
    for end, status in ((1, 401), (2**40, 200)):
        with Wire(wire.platform, vault.sign({**claims, "exp": end})) as client:
            assert client.raw("GET", f"/cp/{uuid}").status == status


@pytest.mark.parametrize("token", [None, "", "null", "nonsense", "a.b"])
def test_storage_without_login(place: local.Platform, token: str | None) -> None:
    """Storage refuses a request without a login in its own words."""
    with Wire(place, token) as client:
        for answer in (client.raw("POST", "/cp", form(part(b"x")), FORM), client.raw("GET", "/cp/some")):
            assert status_and_body(answer) == (401, {"error": "Unauthorized"})


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (form(), 400),
        (form(part(b"x", name="other")), 400),
        (form(part(b"x", filename=None)), 500),
        (part(b"x"), 500),
        (b"nonsense", 500),
        (b"", 500),
    ],
    ids=["no part", "another field", "no file", "no end of the part", "no form", "nothing"],
)
def test_upload_without_whole_file(wire: Wire, body: bytes, status: int) -> None:
    """A form without a whole file stores nothing."""
    assert wire.raw("POST", "/cp?uuid=none", body, FORM).status == status
    assert status_and_body(wire.raw("GET", "/cp/none")) == MISSING
    assert drafts(wire.platform) == []


def test_upload_without_form(wire: Wire) -> None:
    """A body that is not a form is a 500."""
    for kind in ("application/json", "multipart/form-data"):
        assert wire.raw("POST", "/cp", form(part(b"x")), {"Content-Type": kind}).status == 500


def test_download_by_another_user(wire: Wire, other: Wire) -> None:
    """Every user reads an archive whose uuid they know."""
    uuid = upload(wire, b"mine")
    assert other.raw("GET", f"/cp/{uuid}").raw == b"mine"
    assert status_and_body(wire.raw("GET", f"/cp/{uuid}")) == MISSING


def test_storage_without_rate_limit(wire: Wire) -> None:
    """They are another host's on the platform."""
    uuid = upload(wire, b"x")
    for answer in (wire.raw("GET", f"/cp/{uuid}"), wire.raw("GET", f"/cp/{uuid}"), wire.raw("POST", "/cp", b"", FORM)):
        assert not [name for name in answer.headers if name.startswith("x-ratelimit")]


def test_storage_other_verbs(wire: Wire) -> None:
    """Other verbs are unknown pages and consume nothing."""
    uuid = upload(wire, b"x")
    for verb, path in (("DELETE", f"/cp/{uuid}"), ("GET", "/cp"), ("PUT", "/cp")):
        assert wire.raw(verb, path).status == 404
    assert wire.raw("GET", f"/cp/{uuid}").raw == b"x"


def test_download_head_consumes_archive(wire: Wire) -> None:
    """A HEAD request consumes the archive."""
    uuid = upload(wire, b"x")
    assert (wire.raw("HEAD", f"/cp/{uuid}").status, wire.raw("GET", f"/cp/{uuid}").status) == (200, 404)


def test_upload_broken_off(wire: Wire) -> None:
    """An upload that breaks off leaves no file."""
    place = urlsplit(wire.platform.url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30)
    connection.putrequest("POST", "/cp?uuid=broken")
    for name, value in (*FORM.items(), ("Authorization", f"Bearer {wire.token}"), ("Content-Length", "1000000")):
        connection.putheader(name, value)
    # More than its buffer holds, so that it must write before the end.
    connection.endheaders(part(b"x" * 900_000))
    assert eventually(lambda: [path.stat().st_size > 500_000 for path in drafts(wire.platform)] == [True])
    connection.close()
    assert eventually(lambda: drafts(wire.platform) == [])
    assert status_and_body(wire.raw("GET", "/cp/broken")) == MISSING


def test_download_concurrent_readers(wire: Wire) -> None:
    """One of several concurrent readers gets the archive."""
    for _ in range(10):
        uuid = upload(wire, b"x" * 1000)
        statuses: list[int] = []

        def read(uuid: str = uuid, statuses: list[int] = statuses) -> None:
            with Wire(wire.platform, wire.token) as client:
                statuses.append(client.raw("GET", f"/cp/{uuid}").status)

        readers = [threading.Thread(target=read) for _ in range(4)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        assert sorted(statuses) == [200, 404, 404, 404]


def test_storage_large_archive_flat_memory(wire: Wire) -> None:
    """A large archive goes both ways without being held in memory."""
    size, piece = 150_000_000, os.urandom(1_000_000)
    head, tail = part(b"")[:-2], b"\r\n" + form()

    def body() -> Iterator[bytes]:
        yield head
        for _ in range(size // len(piece)):
            yield piece
        yield tail

    place = urlsplit(wire.platform.url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=120)
    headers = {**FORM, "Authorization": f"Bearer {wire.token}", "Content-Length": str(len(head) + size + len(tail))}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    connection.request("POST", "/cp?uuid=large", body(), headers)
    assert connection.getresponse().read() == b'{"uuid":"large"}'
    connection.request("GET", "/cp/large", headers={"Authorization": f"Bearer {wire.token}"})
    response, received = connection.getresponse(), 0
    while data := response.read(len(piece)):
        assert data == piece
        received += len(data)
    connection.close()
    assert received == size
    # The high-water mark, in kilobytes on Linux and in bytes on macOS.
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * (1 if os.uname().sysname == "Darwin" else 1024) < size / 3


def test_upload_removes_old_archives(wire: Wire) -> None:
    """The next upload removes archives that were not fetched within a day."""
    old, new = upload(wire, b"old"), upload(wire, b"new")
    kept = oldest(wire.platform.data)
    os.utime(kept, AN_AGE_AGO)
    upload(wire, b"x")
    assert status_and_body(wire.raw("GET", f"/cp/{old}")) == MISSING
    assert wire.raw("GET", f"/cp/{new}").raw == b"new"


def test_restart_keeps_archives(tmp_path: Path) -> None:
    """A restart keeps archives and removes drafts and old ones."""
    with local.platform(data=tmp_path) as platform, Wire(platform, platform.token) as wire:
        upload(wire, b"old")
        new = upload(wire, b"new")
        kept = oldest(platform.data)
    os.utime(kept, AN_AGE_AGO)
    (tmp_path / "storage" / ".drafts" / "half").write_bytes(b"half")
    with local.platform(data=tmp_path) as platform, Wire(platform, platform.token) as wire:
        assert drafts(platform) == []
        assert not kept.exists()
        assert wire.raw("GET", f"/cp/{new}").raw == b"new"


def test_pull_consumes_the_archive(wire: Wire) -> None:
    """Pull unpacks the entries of an archive and consumes it."""
    sandbox = wire.create()
    uuid = upload(wire, archive(**{"x": "one", "deep/y": "two"}))
    sent = {"sandboxId": sandbox, "uuid": uuid, "directoryPath": "/workspace/in/here"}
    assert wire.post("sandbox.pullDirectory", sent).empty
    assert wire.out(sandbox, "cat in/here/x in/here/deep/y") == "onetwo"
    assert status_and_body(wire.raw("GET", f"/cp/{uuid}")) == MISSING
    assert wire.post("sandbox.pullDirectory", sent).empty
    assert drafts(wire.platform) == []


def test_pull_reaches_a_system_directory(wire: Wire) -> None:
    """Pull reaches a directory of the system, and services go on."""
    sandbox = wire.create()
    service = {"name": "web", "command": "sleep 1000"}
    assert wire.post("service.addService", {"service": service}, sandboxId=sandbox).empty
    sent = {"sandboxId": sandbox, "uuid": upload(wire, archive(x="one")), "directoryPath": "/etc/pocketenv-test"}
    assert wire.post("sandbox.pullDirectory", sent).empty
    # A command without a box sees the sandbox's /etc below its folder.
    assert wire.out(sandbox, 'cat "${PWD%/workspace}/etc/pocketenv-test/x"') == "one"
    (row,) = wire.get("service.getServices", sandboxId=sandbox).json["services"]
    assert row["status"] == "RUNNING"


def test_pull_keeps_other_files(wire: Wire) -> None:
    """Pull replaces the files of the archive and keeps the others."""
    sandbox = wire.create()
    wire.out(sandbox, "echo old > x; echo kept > y")
    sent = {"sandboxId": sandbox, "uuid": upload(wire, archive(x="new")), "directoryPath": "/workspace"}
    assert wire.post("sandbox.pullDirectory", sent).empty
    assert wire.out(sandbox, "cat x y") == "newkept\n"


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", gzip.compress(b"no tar"), archive(x="y" * 5000)[:30]],
    ids=["empty", "text", "gzip", "cut"],
)
def test_pull_invalid_archive(wire: Wire, content: bytes) -> None:
    """Pull of an invalid archive is a 200 and writes nothing."""
    sandbox = wire.create()
    sent = {"sandboxId": sandbox, "uuid": upload(wire, content), "directoryPath": "/workspace/new"}
    assert wire.post("sandbox.pullDirectory", sent).empty
    assert wire.out(sandbox, "ls -A new") == ""


def test_push_directory_name(wire: Wire) -> None:
    """Push packs a directory under the last part of its path."""
    sandbox = wire.create()
    wire.out(sandbox, "mkdir -p output/deep; echo one > output/x; echo two > output/deep/y")
    for path, top in (("/workspace/output", "output"), ("/workspace/output/", "output"), ("/workspace/output/.", ".")):
        names = pushed(wire, sandbox, path)
        assert {name.partition("/")[0] for name in names} == {top}
        assert {f"{top}/x", f"{top}/deep/y"} <= set(names)


def test_push_file_and_link(wire: Wire) -> None:
    """Push packs a file and a link too."""
    sandbox = wire.create()
    wire.out(sandbox, "echo x > file; ln -s file link")
    assert [pushed(wire, sandbox, f"/workspace/{name}") for name in ("file", "link")] == [["file"], ["link"]]


def pushed(wire: Wire, sandbox: str, path: str) -> list[str]:
    """Push a path. Return the names in its archive."""
    uuid = wire.post("sandbox.pushDirectory", {"sandboxId": sandbox, "directoryPath": path}).json["uuid"]
    with tarfile.open(fileobj=io.BytesIO(wire.raw("GET", f"/cp/{uuid}").raw)) as tar:
        return tar.getnames()


def test_push_of_a_missing_path(wire: Wire) -> None:
    """A missing path has a uuid without an archive."""
    sandbox = wire.create()
    answer = wire.post("sandbox.pushDirectory", {"sandboxId": sandbox, "directoryPath": "/workspace/missing"})
    assert (answer.status, list(answer.json)) == (200, ["uuid"])
    assert status_and_body(wire.raw("GET", f"/cp/{answer.json['uuid']}")) == MISSING


def test_copies_change_shell_directory(wire: Wire) -> None:
    """A copy changes the directory of the shell."""
    sandbox = wire.create()
    wire.out(sandbox, "echo x > x")
    uuid = wire.post("sandbox.pushDirectory", {"sandboxId": sandbox, "directoryPath": "/workspace/x"}).json["uuid"]
    assert wire.say(sandbox, "basename $PWD").json["stdout"] == "tmp"
    assert wire.post("sandbox.pullDirectory", {"sandboxId": sandbox, "uuid": uuid, "directoryPath": "/workspace"}).empty
    assert wire.say(sandbox, "basename $PWD; ls").json["stdout"].endswith("\nx")


def test_copy_waits_for_the_shell(wire: Wire) -> None:
    """A copy waits for the command before it and fails with a dead shell."""
    sandbox = wire.create()
    push = {"sandboxId": sandbox, "directoryPath": "/workspace"}
    wire.say(sandbox, "exit 3")
    for _ in range(2):
        assert wire.post("sandbox.pushDirectory", push).error == (500, "InternalServerError", "Internal Server Error")
    wire.post("sandbox.stopSandbox", id=sandbox)
    wire.start(sandbox)
    assert wire.post("sandbox.pushDirectory", push).status == 200


@pytest.mark.parametrize(
    ("provider", "arrives"), [("sprites", True), ("modal", True), ("hopx", True), ("daytona", True), ("runloop", False)]
)
def test_copies_of_worker(wire: Wire, provider: str, *, arrives: bool) -> None:
    """Copies of a worker arrive on some providers and are lost on others."""
    sandbox = wire.create(provider=provider)
    sent = {"sandboxId": sandbox, "uuid": upload(wire, archive(x="one")), "directoryPath": "/workspace/in"}
    assert wire.post("sandbox.pullDirectory", sent).empty
    assert (wire.say(sandbox, "cd /workspace && cat in/x").json["exitCode"] == 0) is arrives
    answer = wire.post("sandbox.pushDirectory", {"sandboxId": sandbox, "directoryPath": "/workspace"})
    assert (wire.raw("GET", f"/cp/{answer.json['uuid']}").status == 200) is arrives


def test_pull_of_e2b(wire: Wire) -> None:
    """Pull on E2B is a 500."""
    sandbox = wire.create(provider="e2b")
    sent = {"sandboxId": sandbox, "uuid": upload(wire, archive(x="one")), "directoryPath": "/workspace/in"}
    assert wire.post("sandbox.pullDirectory", sent).status == 500


def test_copies_between_sandboxes(wire: Wire) -> None:
    """A pushed directory can be pulled into another sandbox."""
    one, two = wire.create(), wire.create()
    wire.out(one, "mkdir output; head -c 200000 /dev/urandom > output/x")
    uuid = wire.post("sandbox.pushDirectory", {"sandboxId": one, "directoryPath": "/workspace/output"}).json["uuid"]
    assert wire.post("sandbox.pullDirectory", {"sandboxId": two, "uuid": uuid, "directoryPath": "/workspace"}).empty
    assert wire.out(two, "cksum < output/x") == wire.out(one, "cksum < output/x")


def test_copy_needs_own_running_sandbox(wire: Wire, other: Wire, stranger: Wire) -> None:
    """Push and pull need a running sandbox of the caller."""
    sandbox, uuid = wire.create(), upload(wire, archive(x="x"))
    calls = (
        ("sandbox.pushDirectory", {"sandboxId": sandbox, "directoryPath": "/workspace"}),
        ("sandbox.pullDirectory", {"sandboxId": sandbox, "uuid": uuid, "directoryPath": "/workspace"}),
    )
    wire.post("sandbox.stopSandbox", id=sandbox)
    for name, body in calls:
        assert wire.post(name, body).error == (400, "InvalidRequest", "Sandbox is not running")
        assert other.post(name, body).error == (404, "XRPCNotSupported", "Sandbox not found")
        assert stranger.post(name, body).status == 401
    wire.start(sandbox)
    name, body = calls[1]
    assert other.post(name, body).status == 404
    assert wire.post(name, body).empty
    assert wire.out(sandbox, "cat x") == "x"
