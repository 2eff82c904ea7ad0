"""Jobs on every provider that is played, at both isolation levels."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from msgspec.structs import replace
from returns.result import Failure, Success

from pocketenv_fp import (
    CommandFailed,
    CommandTimeout,
    Config,
    DeadlineExceeded,
    DecodeError,
    ExecResult,
    FromEnv,
    InvalidInput,
    Job,
    JobNotFound,
    JobTimeout,
    Piece,
    Sandbox,
    SandboxNotFound,
    Status,
    TransportError,
    cancel,
    create,
    delete,
    exec,
    exec_script,
    fan_out,
    follow,
    forget,
    from_env,
    get_job,
    job_output,
    list_jobs,
    local,
    run_code,
    send_input,
    service_logs,
    sh,
    start,
    stop,
    submit,
    trace,
    using,
    wait_for_job,
    wait_until_running,
    within,
)
from pocketenv_fp.local.box import bubblewrap
from pocketenv_fp.sandbox.commands import job_follow, job_requests
from pocketenv_fp.sandbox.commands import job_output as outputs
from tests import servers
from tests.levels import LEVELS
from tests.servers import Reply, reply

PROVIDERS = ("cloudflare", "daytona", "deno", "vercel", "sprites", "modal", "e2b", "hopx", "runloop")
PATIENCE = 60.0
# Plain processes with the two shells that there are: one that stays, and one for each command.
EACH_PROVIDER = pytest.mark.parametrize(
    ("played", "provider"),
    [*(("bubblewrap", name) for name in PROVIDERS), ("processes", "cloudflare"), ("processes", "daytona")],
    indirect=["played"],
)


@pytest.fixture(scope="module", params=LEVELS)
def played(request: pytest.FixtureRequest) -> Iterator[local.Platform]:
    """A platform of each isolation level."""
    if request.param == "bubblewrap" and bubblewrap() is None:
        pytest.skip("bubblewrap does not run here")
    with local.platform(isolation=request.param) as platform:
        yield platform


@pytest.fixture
def login(played: local.Platform) -> Iterator[local.Platform]:
    with using(Config(api_url=played.url, storage_url=played.url, token=played.token)):
        yield played
    played.remove_sandboxes()


@pytest.fixture
def box(login: local.Platform) -> Sandbox:  # noqa: ARG001  # it is logged in there
    return (create("box") | start).unwrap()


def made(provider: str) -> Sandbox:
    return (create(f"box-{provider}", provider=provider) | start | wait_until_running).unwrap()


HARD = 'printf \'%s|\' "it\'s" "$A" "$LC_X" "$PATH_"; printf \'e\\n\\n\' >&2; cat; exit 3'


@pytest.mark.slow
@EACH_PROVIDER
@pytest.mark.usefixtures("login")
def test_jobs_each_provider(provider: str) -> None:
    """The whole life of jobs, the same on each provider."""
    sandbox = made(provider)
    env = {"A": "1 '2\n", "LC_X": "$(id)", "PATH_": "é"}
    data = b"a\0b\xff\r\n\n"
    job = (sandbox | submit(HARD, env=env, stdin=data)).unwrap()
    expected = ExecResult("it's|1 '2\n|$(id)|é|a\0b�\r\n\n", "e\n\n", 3)
    assert job | follow == Success(expected)
    assert (sandbox | get_job(job.id)).unwrap() == job
    assert (sandbox | list_jobs).unwrap() == [job]
    seen = (job | job_output).unwrap()
    assert (seen.stdout, seen.exit_code) == (expected.stdout, 3)

    ended = (sandbox | submit("trap 'echo off; exit 7' TERM; echo on; while :; do sleep 0.1; done")).unwrap()
    pieces: list[Piece] = []
    assert isinstance((ended | follow(timeout=0.01)).failure(), JobTimeout)
    while not (ended | job_output).unwrap().stdout:
        time.sleep(0.05)
    for _ in range(2):
        result = (ended | cancel).unwrap()
        assert (result.stdout, result.exit_code) == ("on\noff\n", 7)

    late = (sandbox | submit("echo begun; sleep 600 & sleep 600", timeout=1)).unwrap()
    failure = (late | wait_for_job(timeout=PATIENCE)).failure()
    assert failure == CommandTimeout(1, "begun\n", "")

    asked = (sandbox | submit('while read -r x; do echo "<$x>"; done', open_stdin=True)).unwrap()
    answered = (
        asked | send_input("a\n") | send_input(b"b\n") | send_input("c\n", close=True) | follow(on_output=pieces.append)
    )
    assert answered == Success(ExecResult("<a>\n<b>\n<c>\n", "", 0))
    assert "".join(map(str, pieces)) == "<a>\n<b>\n<c>\n"
    assert isinstance((asked | send_input("d")).failure(), InvalidInput)
    assert [(each | forget).unwrap().id for each in (job, ended, late, asked)] == [sandbox.id] * 4
    assert (sandbox | list_jobs).unwrap() == []
    assert isinstance((job | job_output).failure(), JobNotFound)

    printed: list[Piece] = []
    here = sandbox | exec("pwd; cat; exit 4", stdin="in", on_output=printed.append)
    assert here.unwrap().stdout == (sandbox | exec("pwd; cat; exit 4", stdin="in")).unwrap().stdout
    assert (here.unwrap().exit_code, "".join(map(str, printed))) == (4, here.unwrap().stdout)
    script = 'import sys\nprint(sys.argv[1:], "it\'s\\n")\n'
    assert sandbox | exec_script(script, args=["a b"], durable=True) == sandbox | exec_script(script, args=["a b"])
    assert sandbox | exec("echo", ["x"], timeout=4000) == Success(ExecResult("x\n", "", 0))
    assert (sandbox | list_jobs).unwrap() == []


def test_submit_again_starts_nothing(box: Sandbox) -> None:
    """The same id starts the same command once, and no other."""
    line = "echo ran >>ran; sleep 0.3; cat ran"
    first, second = box | submit(line, id="a.b-c_1"), box | submit(line, id="a.b-c_1")
    assert first == second
    assert first | follow == Success(ExecResult("ran\n", "", 0))
    assert (box | submit("echo", id="a.b-c_1")).failure() == InvalidInput(
        "id", "is the id of another job of this sandbox: choose another, or none"
    )
    for wrong in ("", "a/b", "..", "-a", "a b", "x" * 65, "a\n"):
        assert isinstance((box | submit("echo", id=wrong)).failure(), InvalidInput)


def test_submit_refuses(box: Sandbox) -> None:
    """Invalid lines, options and inputs are refused."""
    for step in (submit("a\0"), submit("\ud800"), submit("x", cwd="a\0"), submit("x", env={"1": "x"})):
        assert isinstance((box | step).failure(), InvalidInput)
    assert isinstance((box | submit("cat", stdin="x", open_stdin=True)).failure(), InvalidInput)
    for step in (submit("cat", stdin="\ud800"), submit("cat", open_stdin=True) | send_input("\udc80")):
        assert "not valid Unicode" in str((box | step).failure())
    assert "not valid Unicode" in str((box | exec("cat", stdin="\ud800")).failure())
    assert isinstance((box | submit("echo " + "x" * 200_000)).failure(), InvalidInput)


def test_submit_long_line(box: Sandbox) -> None:
    """A line that is full of quotes comes through as exec's would."""
    text = 'it\'s \\ "x" $y `z`\n' * 600
    assert (box | submit("printf %s", [text]) | follow).unwrap().stdout == text


def test_submit_hides_secrets(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value of from_env is in no file and in no list of arguments."""
    monkeypatch.setenv("MINE", "sesame-1234")
    env: Mapping[str, str | FromEnv] = {"KEY": from_env("MINE"), "PATH": "/usr/bin:/bin", "LC_KEY": from_env("MINE")}
    job = (box | submit("echo $KEY $LC_KEY; sleep 600", env=env)).unwrap()
    while not (job | job_output).unwrap().stdout:
        time.sleep(0.05)
    assert "sesame" not in repr(job) + repr(submit("x", env=env))
    # The brackets keep the line from finding itself.
    files = (box | exec("cd /tmp/.pocketenv-jobs && grep -rl 'sesame[-]1234' . ; stat -c %a . *", cwd="/tmp")).unwrap()
    assert files.stdout.split() == [f"./{job.id}/stdout", "700", "700"]
    assert (box | exec("grep -al 'sesame[-]1234' /proc/[0-9]*/cmdline", cwd="/")).unwrap().stdout == ""
    (job | cancel).unwrap()


def silent(request: servers.Request) -> Reply:
    """Answer nothing, as a platform that is frozen."""
    return reply(wait=60) if request else reply()


def busy(request: servers.Request) -> Reply:
    """Answer what is not a command, as while the one shell is busy."""
    return reply(wait=60) if "exec" in request.path else reply(servers.VIEW)


JOB = Job(servers.BOX, "nightly")


FROZEN: dict[str, tuple[str, Callable[[Job], Any]]] = {
    "submit": ("cloudflare", lambda job: submit(job.sandbox, "x", stdin=b"x")),
    "follow": ("cloudflare", follow),
    "follow elsewhere": ("daytona", follow),
    "wait_for_job": ("cloudflare", lambda job: wait_for_job(job, timeout=1)),
    "cancel": ("cloudflare", cancel),
    "exec": ("cloudflare", lambda job: exec(job.sandbox, "x", durable=True)),
    "run_code": ("cloudflare", lambda job: run_code(job.sandbox, "1")),
    "service_logs": ("cloudflare", lambda job: service_logs(job.sandbox, "web")),
}


@pytest.mark.parametrize(("provider", "ask"), FROZEN.values(), ids=FROZEN)
def test_jobs_frozen_platform(provider: str, ask: Callable[[Job], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform that answers nothing is not asked for minutes."""
    monkeypatch.setattr(job_requests, "LINE_SECONDS", 0.1)
    job = Job(replace(JOB.sandbox, provider=provider, status=Status.RUNNING), JOB.id)
    with servers.Server(silent) as server, using(servers.client(server.url, read_timeout=0.2, retries=2)):
        error = ask(job).failure()
        paths = [request.path.partition("?")[0].rpartition(".")[2] for request in server.seen]
    assert isinstance(error, TransportError)
    assert (error.kind, error.maybe_sent) == ("timeout", True)
    # One look at the sandbox shows that it is not its shell alone.
    assert paths == ["exec", "getSandbox"]


def test_follow_busy_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """The timeout is over while another command holds the shell."""
    monkeypatch.setattr(job_follow, "ANSWER_SECONDS", 2.0)
    job = Job(replace(JOB.sandbox, status=Status.RUNNING), JOB.id)
    with servers.Server(busy) as server, using(servers.client(server.url, read_timeout=0.2, retries=2)):
        assert (job | follow(timeout=0.1)).failure() == JobTimeout(0.1, "nightly")
        assert isinstance((job | within(1, follow(timeout=60))).failure(), DeadlineExceeded)


def test_job_pickles(box: Sandbox) -> None:
    """A pickled job can be followed."""
    job = (box | submit("echo x")).unwrap()
    again: Job = pickle.loads(pickle.dumps(job))
    assert (again, (again | follow).unwrap().stdout) == (job, "x\n")
    assert repr(job) == f"Job(sandbox='box', id={job.id!r})"


def test_follow_from(box: Sandbox) -> None:
    """Any place of the output can be followed from, in the middle of a character too."""
    job = (box | submit("printf 'aé\\n'; printf 'é' >&2; printf '\\303'")).unwrap()
    assert job | follow == Success(ExecResult("aé\n�", "é", 0))
    assert job | follow(stdout_from=2, stderr_from=2) == Success(ExecResult("�\n�", "", 0))
    assert job | follow(stdout_from=99) == Success(ExecResult("", "é", 0))


def test_follow_whole_characters(box: Sandbox) -> None:
    """A character whose bytes come one after the other is one piece."""
    job = (box | submit("printf '\\360\\237'; sleep 0.5; printf '\\220\\231x'")).unwrap()
    pieces: list[Piece] = []
    assert (job | follow(on_output=pieces.append)).unwrap().stdout == "🐙x"
    assert pieces == [Piece("stdout", "🐙x", 5)]


def test_follow_large(box: Sandbox) -> None:
    """Much output comes in pieces, whole, and is kept up to a limit."""
    job = (box | submit("seq 400000; seq 100000 >&2")).unwrap()
    pieces: list[Piece] = []
    result = (job | follow(on_output=pieces.append)).unwrap()
    for name, text, last in (("stdout", result.stdout, 400_000), ("stderr", result.stderr, 100_000)):
        assert text == "".join(f"{number}\n" for number in range(1, last + 1))
        assert "".join(piece.text for piece in pieces if piece.stream == name) == text
    assert len(pieces) > 6


def test_follow_keeps_last_output(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above its limit the result keeps the last output."""
    monkeypatch.setattr(outputs, "MOST_KEPT", 1000)
    sizes: list[int] = []
    result = (box | submit("seq 300000") | follow(on_output=lambda piece: sizes.append(len(piece.text)))).unwrap()
    assert result.stdout.startswith("[… ")
    assert result.stdout.endswith("\n299999\n300000\n")
    assert sum(sizes) == len("".join(f"{number}\n" for number in range(1, 300_001)))


def test_follow_callback_raises(box: Sandbox) -> None:
    """What the caller's function raises comes out; a job of submit runs on, one of exec is ended."""
    job = (box | submit("echo x; sleep 0.5; echo y")).unwrap()

    def broken(_: Piece) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        follow(job, on_output=broken)
    assert (job | follow).unwrap().stdout == "x\ny\n"
    with pytest.raises(LookupError, match="mine"):
        exec(box, "echo x; sleep 600", on_output=broken)
    (left,) = [each for each in (box | list_jobs).unwrap() if each != job]
    assert (left | wait_for_job(timeout=PATIENCE)).unwrap().exit_code == 143


def test_exec_prints(box: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """With on_output=True the output is printed as it arrives."""
    for how in (True, print):
        assert (box | exec("echo a; echo b >&2", on_output=how)).unwrap().stdout == "a\n"
        assert capsys.readouterr() == ("a\n", "b\n")
    assert (box | sh("echo {word}", word="it's", on_output=True)).unwrap().stdout == "it's\n"
    assert (box | exec("echo a", on_output=False)).unwrap().stdout == "a\n"
    assert capsys.readouterr() == ("it's\n", "")


def test_exec_durable_check(box: Sandbox) -> None:
    """Failures of a durable command are those of exec."""
    failed = (box | exec("echo x; exit 3", durable=True, check=True)).failure()
    assert failed == CommandFailed(3, "x\n", "")
    assert (box | exec("echo x; sleep 600", durable=True, timeout=0.5)).failure() == CommandTimeout(0.5, "x\n", "")
    missing = (box | exec("pwd", cwd="/none", durable=True)).unwrap()
    assert (missing.stdout, missing.exit_code) == ("", 1)
    assert "/none" in missing.stderr


def test_exec_durable_within(box: Sandbox) -> None:
    """When the time of `within` is over, the command is ended."""
    result = box | within(1, exec("sleep 600", durable=True))
    assert isinstance(result.failure(), DeadlineExceeded)
    (job,) = (box | list_jobs).unwrap()
    assert (job | wait_for_job(timeout=PATIENCE)).unwrap().exit_code == 143


def test_exec_durable_interrupted(box: Sandbox) -> None:
    """Ctrl-C ends the command, and comes out."""

    def interrupt(_: Piece) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        exec(box, "echo x; sleep 600", on_output=interrupt)
    (job,) = (box | list_jobs).unwrap()
    assert (job | wait_for_job(timeout=PATIENCE)).unwrap().exit_code == 143


def test_exec_durable_composes(box: Sandbox) -> None:
    """Durable commands can be traced and fanned out."""
    traced = box | trace(exec("echo x", durable=True))
    assert traced.result.unwrap().stdout == "x\n"
    assert [each.step for each in traced.trace.steps] == ["exec('echo x', durable=True)"]
    seen: list[Piece] = []
    results = fan_out(exec("echo x", on_output=seen.append), [box, box, box])
    assert [result.unwrap().stdout for result in results] == ["x\n"] * 3
    assert len(seen) == 3


def test_exec_beside_job(box: Sandbox) -> None:
    """Other commands run beside a job."""
    job = (box | submit("while [ ! -e go ]; do sleep 0.05; done; echo went")).unwrap()
    assert (box | exec("touch go")).unwrap().exit_code == 0
    assert (job | follow).unwrap().stdout == "went\n"


@pytest.mark.slow
def test_cancel_kills(box: Sandbox) -> None:
    """A command that ignores SIGTERM is killed, with its children."""
    job = (box | submit("trap '' TERM; echo on; sleep 600 & while :; do sleep 1; done")).unwrap()
    while not (job | job_output).unwrap().stdout:
        time.sleep(0.05)
    assert job | cancel == Success(ExecResult("on\n", "", 137))


@pytest.mark.slow
@pytest.mark.parametrize("provider", ["cloudflare", "sprites", "daytona", "modal"])
@pytest.mark.usefixtures("login")
def test_jobs_after_stop(provider: str) -> None:
    """A job ends with its sandbox."""
    sandbox = made(provider)
    job = (sandbox | submit("echo x; sleep 600")).unwrap()
    if provider != "sprites":  # its stop does nothing
        stopped = (sandbox | stop).unwrap()
        for failed in (job | follow(timeout=PATIENCE), stopped | get_job(job.id)):
            assert isinstance(failed, Failure)
        again = (stopped | start | wait_until_running).unwrap()
        assert isinstance((Job(again, job.id) | follow(timeout=PATIENCE)).failure(), JobNotFound)
        sandbox = again
    (sandbox | delete).unwrap()
    gone: Any = (job | job_output).failure()
    assert isinstance(gone, SandboxNotFound)


def test_wait_for_job_last_look(box: Sandbox, login: local.Platform) -> None:
    """The look that sees the end has the output. Of a long output, further looks have the rest."""
    size = job_requests.PIECE_BYTES + 1000
    short = (box | submit("echo a; echo b >&2; exit 3")).unwrap()
    long = (box | submit(f"head -c {size} /dev/zero | tr '\\0' a; echo b >&2")).unwrap()
    assert [(job | follow(timeout=PATIENCE)).unwrap().exit_code for job in (short, long)] == [3, 0]
    for job, expected, looks in ((short, ExecResult("a\n", "b\n", 3), 1), (long, ExecResult("a" * size, "b\n", 0), 2)):
        login.calls.clear()
        assert job | wait_for_job(timeout=PATIENCE) == Success(expected)
        assert [name for name, _ in login.calls] == ["io.pocketenv.sandbox.exec"] * looks


def test_wait_for_job_running(box: Sandbox) -> None:
    """A look before the end has no output, whatever the job has printed."""
    asking = job_requests.Asking((box | submit("echo begun; sleep 600")).unwrap())
    while not (seen := asking.look(job_requests.Place(), 1.0).unwrap()).stdout:
        pass
    waiting = asking.look(job_requests.AT_THE_END, 0.0).unwrap()
    assert (seen.stdout, waiting.state, waiting.stdout) == (b"begun\n", "runs", b"")


@pytest.mark.parametrize("late", ["..", "1.5.5"])
def test_follow_forged_time(box: Sandbox, late: str) -> None:
    """The command may write the file of its own end: an impossible time is a DecodeError, and no exception."""
    job = _forged(box, f"0 2 0 {late}")
    for step in (follow, wait_for_job, job_output):
        assert isinstance((job | step).failure(), DecodeError)


def test_follow_forged_size(box: Sandbox) -> None:
    """A job whose output is shorter than its end says is read as far as it goes, and no longer asked for."""
    job = _forged(box, "0 999999 0 ")
    assert (job | within(60, follow)).unwrap().stdout == "a\n"


def _forged(box: Sandbox, code: str) -> Job:
    job = (box | submit("echo a")).unwrap()
    assert (job | wait_for_job).unwrap().stdout == "a\n"
    assert (box | exec(f"cat > tmp/.pocketenv-jobs/{job.id}/code", cwd="/", stdin=f"{code}\n", check=True)).unwrap()
    return job
