"""Watching: the events of watchers, their order, and that watchers can do no harm."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from returns.result import Failure, Result, Success

from pocketenv_fp import (
    Config,
    PocketenvError,
    Sandbox,
    TransportError,
    create,
    download,
    exec,
    explain,
    fan_out,
    get_sandbox,
    local,
    set_secret,
    start,
    stdout,
    tap,
    trace,
    upload,
    using,
    wait_until_running,
)
from pocketenv_fp.config import settings
from pocketenv_fp.http.transport import transport
from pocketenv_fp.local.faults import Drop, Refuse
from pocketenv_fp.observing import Begun, Done, Ended, begin, logged, observe, observing, reporting, spans
from pocketenv_fp.steps.operation import step
from tests.servers import under

pytestmark = pytest.mark.usefixtures("environment")

SECRET = "sk-Very.Secret-0123456789"  # what must not be seen


@step(str)
def stumble(name: str) -> Result[str, PocketenvError]:
    raise RuntimeError(name)


class Notes:
    """A watcher that records its events."""

    def __init__(self) -> None:
        self.begun: list[Begun] = []
        self.done: list[tuple[Begun, Done]] = []

    def __call__(self, begun: Begun) -> Ended:
        self.begun.append(begun)

        def ended(done: Done) -> None:
            self.done.append((begun, done))

        return ended

    @property
    def outcomes(self) -> list[tuple[str, str, str]]:
        return [(begun.kind, begun.name, done.outcome) for begun, done in self.done]


@contextmanager
def everywhere(watcher: Notes) -> Generator[None]:
    stop = observe(watcher)
    try:
        yield
    finally:
        stop()


def test_observing_order() -> None:
    """A watcher gets each step and each call, the innermost first."""
    notes = Notes()
    with observing(notes):
        result = create("my-box") | tap(start) | exec("exit 3", check=True)
    assert notes.outcomes == [
        ("call", "sandbox.createSandbox", "200"),
        ("call", "sandbox.putPreferences", "200"),
        ("call", "sandbox.getSandbox", "200"),
        ("step", "create()", "ok"),
        ("call", "sandbox.startSandbox", "200"),
        ("step", "start()", "ok"),
        ("step", "tap(start())", "ok"),
        ("call", "sandbox.exec", "200"),
        ("step", "exec('exit 3', check=True)", "CommandFailed"),
    ]
    assert [begun.name for begun in notes.begun][:2] == ["create()", "sandbox.createSandbox"]
    assert notes.done[-1][1].error == result.failure()
    assert all(done.seconds > 0 for _, done in notes.done)
    assert [done.requests for begun, done in notes.done if begun.kind == "call"] == [1] * 5


def test_observing_skipped_steps() -> None:
    """A watcher gets no event of a skipped step."""
    notes = Notes()
    with observing(notes):
        _ = get_sandbox("no-such-box") | start | exec("ls")
    assert [name for _, name, _ in notes.outcomes] == ["sandbox.getSandbox", "get_sandbox()", "start()"]


def test_observing_retries(place: local.Platform, config: Config) -> None:
    """A call counts its requests and names the error of a lost response."""
    box = create("my-box", config=config).unwrap()
    place.faults.add("sandbox.getSandbox", Refuse(503), times=2)
    place.faults.add("sandbox.exec", Drop(after_work=True))
    notes = Notes()
    with observing(notes), using(config):
        get_sandbox(box.id)
        lost = box | exec("true")
    looked, _, sent, _ = (done for _, done in notes.done)
    assert (looked.status, looked.requests) == (200, 3)
    assert sent.status is None
    assert isinstance(sent.error, TransportError)
    assert sent.error == lost.failure()
    assert (sent.outcome, sent.requests) == ("TransportError", 1)


@pytest.fixture
def place() -> Iterator[local.Platform]:
    with local.platform() as running:
        yield running


@pytest.fixture
def config(place: local.Platform) -> Config:
    return Config(api_url=place.url, storage_url=place.storage_url, token=place.token, public_key=place.public_key)


def test_observing_rate_limit_wait(config: Config) -> None:
    """The time that a call waits for the rate limit is reported separately."""
    notes = Notes()
    limiter = transport(under(config, settings).unwrap()).limiter
    pausing = threading.Thread(target=limiter.pause, args=(0.3,))
    with observing(notes):
        get_sandbox("x", config=config)
        pausing.start()
        get_sandbox("x", config=config)
    pausing.join()
    free, paused = (done for begun, done in notes.done if begun.kind == "call")
    assert free.held == 0
    assert 0.1 < paused.held < paused.seconds


def test_observing_storage(tmp_path: Path) -> None:
    """A watcher gets the calls to the storage host."""
    notes = Notes()
    # What is small travels in commands; what is large in archives.
    (tmp_path / "large").write_bytes(random.Random(1).randbytes(700_000))
    box = create("my-box") | start
    with observing(notes):
        up = box | upload(str(tmp_path), "there")
        down = box | download("there", f"{tmp_path}/back")
    assert isinstance(up, Success)
    assert isinstance(down, Success)
    names = {name for kind, name, _ in notes.outcomes if kind == "call"}
    assert {"storage.put", "storage.take"} <= names


def test_observing_hides_secrets() -> None:
    """Events contain no secret."""
    notes = Notes()
    with observing(notes):
        _ = create("my-box") | tap(set_secret("KEY", SECRET)) | exec("true")
    assert "set_secret('KEY', '***')" in [begun.name for begun in notes.begun]
    assert SECRET not in repr(notes.done) + repr(notes.begun)


def test_observing_exception() -> None:
    """The event of a raised exception contains only its class."""
    notes = Notes()
    with observing(notes), pytest.raises(RuntimeError):
        stumble(SECRET)
    assert notes.done == [(Begun("step", "stumble()"), Done(notes.done[0][1].seconds, raised="RuntimeError"))]
    assert notes.done[0][1].outcome == "RuntimeError"


def test_observing_broken_watcher(caplog: pytest.LogCaptureFixture) -> None:
    """A watcher that raises disturbs neither the step nor other watchers, and gets the next event."""
    notes = Notes()

    def broken(_: Begun) -> Ended:
        raise ValueError(SECRET)

    def broken_later(_: Begun) -> Ended:
        def ended(_: Done) -> None:
            raise ValueError(SECRET)

        return ended

    with observing(broken), observing(broken_later), observing(notes), caplog.at_level("WARNING", "pocketenv_fp"):
        result = create("my-box")
    assert isinstance(result, Success)
    assert len(notes.done) == 4
    assert caplog.messages.count("a watcher raised ValueError") == 8
    assert SECRET not in caplog.text


def test_observing_nested() -> None:
    """The innermost watcher gets the end first."""
    heard: list[str] = []

    def named(name: str) -> Ended:
        return lambda _: heard.append(name)

    with observing(lambda _: named("outer")), observing(lambda _: named("inner")):
        get_sandbox("x")
    assert heard == ["inner", "outer"] * 2


def test_observing_beginnings() -> None:
    """A watcher may return None and get no ends."""
    heard: list[str] = []
    with observing(lambda begun: heard.append(begun.name)):
        get_sandbox("x")
    assert heard == ["get_sandbox()", "sandbox.getSandbox"]


def test_observing_threads() -> None:
    """A block observes its own thread and its fan-outs until it ends."""
    notes = Notes()
    with observing(notes):
        elsewhere = threading.Thread(target=get_sandbox, args=("a",))
        elsewhere.start()
        elsewhere.join()
        fan_out(get_sandbox, ["b", "c"])
    get_sandbox("d")
    assert [name for kind, name, _ in notes.outcomes if kind == "step"] == ["get_sandbox()"] * 2


def test_observe_threads() -> None:
    """`observe` observes every thread until it is stopped."""
    notes = Notes()
    with everywhere(notes):
        elsewhere = threading.Thread(target=get_sandbox, args=("a",))
        elsewhere.start()
        elsewhere.join()
    get_sandbox("b")
    assert len(notes.done) == 2


def test_observe_explain() -> None:
    """An explained step has no events."""
    notes = Notes()
    with observing(notes), everywhere(notes):
        explain(create | tap(start) | exec("true"))
    assert notes.begun == []


def test_observing_wait(caplog: pytest.LogCaptureFixture) -> None:
    """The statuses that a wait sees are events, but no steps."""
    heard: list[Begun] = []
    with local.platform(boot_delay=0.3) as slow, using(Config(api_url=slow.url, token=slow.token)):
        box = create("my-box", provider="daytona")
        with observing(heard.append), observing(logged(level=logging.DEBUG)), caplog.at_level("DEBUG", "pocketenv_fp"):
            result, seen = trace(wait_until_running)(box)
    assert isinstance(result, Success)
    statuses = [begun.name for begun in heard if begun.kind == "status"]
    assert statuses[0] == "my-box INITIALIZING"
    assert set(statuses) == {"my-box INITIALIZING"}
    assert "my-box INITIALIZING" in caplog.messages
    assert [record.step for record in seen.steps] == ["wait_until_running()"]


def test_observe_same_watcher_twice() -> None:
    """Two observations with one watcher stop separately."""
    notes = Notes()
    with everywhere(notes):
        with everywhere(notes):
            get_sandbox("a")
        get_sandbox("b")
    get_sandbox("c")
    assert len(notes.done) == 2 * 2 + 2


def test_begin_no_watcher() -> None:
    """Without a watcher no name is computed."""

    def name() -> str:
        raise AssertionError("nobody wants to know it")

    assert begin("step", name) is None


def test_begin_other_kind() -> None:
    """A watcher of one kind gets no other events, and the name of another event is not computed."""
    notes, everything = Notes(), Notes()

    def name() -> str:
        raise AssertionError("nobody wants to know it")

    with observing(notes, "call"):
        assert begin("step", name) is None
        assert begin("call", lambda: "sandbox.exec") is not None
        with observing(everything):
            get_sandbox("a")
    assert [begun.kind for begun in notes.begun] == ["call", "call"]
    assert [begun.kind for begun in everything.begun] == ["step", "call"]


def test_reporting_last_report() -> None:
    """The end of a block has its last report, its duration, and the class of what it raised."""
    done: list[Done] = []
    with reporting(done.append, time.perf_counter() - 5):
        pass
    with suppress(ZeroDivisionError), reporting(done.append, time.perf_counter() - 5) as report:
        report(Done(0.0, status=500))
        report(Done(0.0, status=200, requests=2))
        raise ZeroDivisionError
    assert [(each.status, each.requests, each.raised) for each in done] == [
        (None, 0, None),
        (200, 2, "ZeroDivisionError"),
    ]
    assert min(each.seconds for each in done) >= 5


def test_logged_lines(caplog: pytest.LogCaptureFixture) -> None:
    """The log has a line for each step and a warning for a Failure."""
    logger = logging.getLogger("tests.pipelines")
    with observing(logged(logger)), caplog.at_level("DEBUG", "tests.pipelines"):
        _ = create("my-box") | exec("exit 3", check=True)
    lines = [(record.levelname, record.getMessage()) for record in caplog.records if record.name == logger.name]
    assert [level for level, _ in lines] == ["DEBUG"] * 3 + ["INFO", "DEBUG", "WARNING"]
    assert lines[3][1].startswith("create(): ok, ")
    assert lines[3][1].endswith(" ms")
    assert lines[5][1].startswith("exec('exit 3', check=True): CommandFailed, ")
    assert lines[5][1].endswith(" ms: the command ended with exit code 3")


@pytest.fixture
def exported() -> Iterator[tuple[TracerProvider, InMemorySpanExporter]]:
    provider, exporter = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider, exporter
    provider.shutdown()


def test_spans_nested(exported: tuple[TracerProvider, InMemorySpanExporter]) -> None:
    """Spans are nested like their steps."""
    provider, exporter = exported
    tracer = provider.get_tracer("tests")
    with tracer.start_as_current_span("mine"), observing(spans(tracer)):
        _ = create("my-box") | tap(exec("exit 3", check=True))
    seen: dict[str, ReadableSpan] = {span.name: span for span in exporter.get_finished_spans()}
    assert list(seen) == [
        "pocketenv.sandbox.createSandbox",
        "pocketenv.sandbox.putPreferences",
        "pocketenv.sandbox.getSandbox",
        "pocketenv.create",
        "pocketenv.sandbox.exec",
        "pocketenv.exec",
        "pocketenv.tap",
        "mine",
    ]

    def number(span: ReadableSpan) -> int | None:
        return span.context.span_id if span.context else None

    def parent(name: str) -> str:
        above = seen[name].parent
        return next(name for name, other in seen.items() if above and number(other) == above.span_id)

    assert parent("pocketenv.sandbox.createSandbox") == "pocketenv.create"
    assert parent("pocketenv.sandbox.exec") == "pocketenv.exec"
    assert parent("pocketenv.exec") == "pocketenv.tap"
    assert parent("pocketenv.tap") == parent("pocketenv.create") == "mine"
    assert seen["pocketenv.sandbox.exec"].kind is SpanKind.CLIENT
    assert dict(seen["pocketenv.sandbox.exec"].attributes or {}) == {
        "pocketenv.call": "sandbox.exec",
        "http.response.status_code": 200,
    }
    failed = seen["pocketenv.exec"]
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.status.description == "the command ended with exit code 3"
    assert dict(failed.attributes or {})["error.type"] == "CommandFailed"
    assert seen["pocketenv.create"].status.status_code is StatusCode.UNSET


def test_spans_retries(
    exported: tuple[TracerProvider, InMemorySpanExporter], place: local.Platform, config: Config
) -> None:
    """A span counts the retries of its call."""
    provider, exporter = exported
    place.faults.add("sandbox.getSandbox", Refuse(503))
    with observing(spans(provider.get_tracer("tests"))):
        get_sandbox("x", config=config)
    attributes = dict(exporter.get_finished_spans()[0].attributes or {})
    assert attributes["http.request.resend_count"] == 1


def test_place_in_pipeline() -> None:
    """A Failure names its step, its pipeline and its time."""
    ci = create | start | exec("sleep 0.1; exit 3", check=True) | stdout
    error = ci("my-box").failure()
    (place,) = error.where
    assert place.step == "exec('sleep 0.1; exit 3', check=True)"
    assert (place.position, place.pipeline) == (3, repr(ci))
    assert place.seconds >= 0.1
    assert str(place) == (f"exec('sleep 0.1; exit 3', check=True), step 3 of {ci}, after {place.seconds:.3f} s")


def test_place_nested() -> None:
    """A Failure inside a nested pipeline names both steps."""
    ci = create | tap(start | exec("exit 3", check=True))
    inner, outer = ci("my-box").failure().where
    assert (inner.step, inner.position) == ("exec('exit 3', check=True)", 2)
    assert (outer.step, outer.position) == ("tap(start() | exec('exit 3', check=True))", 2)


def test_place_skipped_steps() -> None:
    """Skipped steps do not change the place of a Failure."""
    first = create("my-box") | exec("exit 3", check=True)
    passed: object = first | stdout
    assert passed is first
    assert [str(place.step) for place in first.failure().where] == ["exec('exit 3', check=True)"]


def test_place_direct_call() -> None:
    """A Failure of a direct call has a place."""
    error = exec(create("my-box"), "exit 3", check=True).failure()
    assert [place.step for place in error.where] == ["exec('exit 3', check=True)"]


def test_place_equality() -> None:
    """The place is no part of an error's equality, hash or repr."""
    box = create("my-box")
    one, other = box | exec("exit 3", check=True), exec("exit 3", check=True)(box)
    assert one == other
    assert one.failure().where != ()
    assert hash(one.failure()) == hash(other.failure())
    assert "where" not in repr(one.failure())


def test_place_repeated_failure() -> None:
    """Two calls with one wrong Config are two Failures with one place each."""
    wrong = Config(api_url="ftp://x")
    first = get_sandbox("x", config=wrong).failure()
    second = get_sandbox("x", config=wrong).failure()
    assert len(first.where) == len(second.where) == 1


def test_place_hides_secrets() -> None:
    """The place of a Failure shows no secret."""
    error = (Success(Sandbox(id="no", name="no")) | set_secret("KEY", SECRET)).failure()
    assert error.where[0].step == "set_secret('KEY', '***')"
    assert SECRET not in repr(error.where)


def test_place_long_step() -> None:
    """A long step is truncated in the place of a Failure."""
    error = (create("my-box") | exec(f"exit 3 # {'x' * 500}", check=True)).failure()
    assert len(error.where[0].step) == 200
    assert error.where[0].step.endswith("…")


def test_place_raised_error() -> None:
    """A raised error shows its place once."""
    from pocketenv_fp import raise_for

    failed = create("my-box") | exec("exit 3", check=True)
    with pytest.raises(PocketenvError):
        raise_for(failed)
    with pytest.raises(PocketenvError) as raised:
        raise_for(failed)
    assert raised.value.__notes__ == [f"in {failed.failure().where[0]}"]
    assert isinstance(failed, Failure)
