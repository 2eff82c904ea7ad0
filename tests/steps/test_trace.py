"""Traces: the same result, a record of each step, a table and a picture, of one pipeline and of a fleet."""

from __future__ import annotations

import pickle
import re
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from html.parser import HTMLParser
from itertools import pairwise
from multiprocessing import get_context

import pytest
from returns.result import Failure, Result, Success

from pocketenv_fp import (
    CommandFailed,
    PocketenvError,
    Sandbox,
    Trace,
    create,
    ephemeral,
    exec,
    fan_out,
    get_sandbox,
    list_sandboxes,
    set_secret,
    start,
    tap,
    trace,
    tracing,
)
from pocketenv_fp.local import Platform
from pocketenv_fp.observing import Begun, Done
from pocketenv_fp.observing.timeline import CallRecord, StepRecord, timeline
from pocketenv_fp.steps.operation import step
from pocketenv_fp.steps.trace import Tracer

pytestmark = pytest.mark.usefixtures("environment")

SECRET = "sk-Very.Secret-0123456789"  # what must not be seen


def test_trace_keeps_result() -> None:
    """A traced step has the same result as the plain step."""
    ci = create | start | exec("echo hello")
    result, seen = trace(ci)("my-box")
    assert result.unwrap().stdout == "hello\n"
    assert isinstance(seen, Trace)
    failed, _ = trace(ci)("my-box")
    assert failed == ci("my-box")
    assert isinstance(failed, Failure)


@step(str)
def stumble(name: str) -> Result[str, PocketenvError]:
    raise RuntimeError(name)


def test_tracing_exception() -> None:
    """A step that raises counts as failed in the trace."""
    with tracing() as seen, pytest.raises(RuntimeError):
        stumble("here")
    assert [(record.outcome, record.failed, record.error) for record in seen.steps] == [("RuntimeError", True, None)]
    assert "1 failed" in seen.summary()
    assert "✕ RuntimeError stumble()" in Page(seen.picture()).text


def test_trace_add_clock_skew() -> None:
    """Records of a machine whose clock is behind begin no earlier than the trace."""
    early, late = Trace(), Trace()
    early._began -= 3600  # pyright: ignore[reportPrivateUsage]  # its clock is an hour behind
    ended = early.watch(Begun("step", "start()"))
    assert ended is not None
    ended(Done(0.5))
    late.add(early)
    assert late.steps[0].began >= 0
    assert late.seconds == early.seconds > 0


def test_trace_step_records() -> None:
    """Each step has a record with its depth, outcome, requests and time."""
    _, seen = trace(create | tap(start | exec("sleep 0.1")) | exec("exit 3", check=True))("my-box")
    assert [(s.step, s.depth, s.outcome, s.requests) for s in seen.steps] == [
        ("create()", 0, "ok", 2),
        ("tap(start() | exec('sleep 0.1'))", 0, "ok", 0),
        ("start()", 1, "ok", 1),
        ("exec('sleep 0.1')", 1, "ok", 1),
        ("exec('exit 3', check=True)", 0, "CommandFailed", 1),
    ]
    made, tapped, _, slept, failed = seen.steps
    assert isinstance(failed.error, CommandFailed)
    assert slept.seconds >= 0.1
    assert tapped.began >= made.began + made.seconds
    assert tapped.began <= slept.began
    assert slept.began + slept.seconds <= tapped.began + tapped.seconds
    assert all(s.began <= call.began for s in seen.steps for call in s.calls)
    assert all(call.began + call.seconds <= s.began + s.seconds for s in seen.steps for call in s.calls)
    assert seen.requests == len(seen.calls) == 5
    assert seen.seconds == pytest.approx(failed.began + failed.seconds)


def test_trace_skipped_steps() -> None:
    """Skipped steps are not in the trace."""
    result, seen = get_sandbox("no-such-box") | trace(start | exec("ls"))
    assert [s.outcome for s in seen.steps] == ["SandboxNotFound"]
    _, again = trace(exec("ls"))(Failure(result.failure()))
    assert again.steps == ()
    assert str(again).endswith("0 steps, 0 requests, 0.000 s")


def test_tracing_loose_calls() -> None:
    """A tracing block records requests outside steps too."""
    with tracing() as seen:
        list_sandboxes()
        create("my-box")
    list_sandboxes()
    assert [call.name for call in seen.loose] == ["sandbox.getSandboxes"]
    assert [s.step for s in seen.steps] == ["create()"]
    assert seen.requests == 4


def test_tracing_nests() -> None:
    """A trace inside a tracing block is recorded in both."""
    with tracing() as outer:
        result, inner = trace(create)("my-box")
    assert isinstance(result, Success)
    assert [s.step for s in inner.steps] == [s.step for s in outer.steps] == ["create()"]
    assert inner.steps[0].depth == 0
    assert inner.requests == outer.requests == 3


def test_trace_table() -> None:
    """The table has a line for each step, and the summary as its last line."""
    _, seen = trace(create | tap(exec("exit 3", check=True)))("my-box")
    lines = str(seen).splitlines()
    assert lines[0] == "began s  took s  requests  outcome        step"
    assert [line.split()[2:4] for line in lines[1:4]] == [["3", "ok"], ["0", "CommandFailed"], ["1", "CommandFailed"]]
    assert lines[3].endswith("    exec('exit 3', check=True)")
    assert lines[4] == seen.summary() == f"3 steps, 1 failed, 4 requests, {seen.seconds:.3f} s"


def test_trace_table_long() -> None:
    """The table shows 200 steps and counts the rest."""
    with tracing() as seen:
        fan_out(get_sandbox, [f"box-{number}" for number in range(203)])
    lines = str(seen).splitlines()
    assert len(lines) == 1 + 200 + 2
    assert lines[-2] == "… 3 more steps"


def test_trace_fleet_lanes() -> None:
    """Steps of a fleet are grouped by target."""
    with tracing() as seen:
        fan_out(ephemeral(start | exec("true")), ["a", "b", "c"])
    assert {s.lane for s in seen.steps} == {"a", "b", "c"}
    counts = {lane: sum(s.requests for s in seen.steps if s.lane == lane) for lane in ("a", "b", "c")}
    assert counts == {"a": 5, "b": 5, "c": 5}
    rows = [line.split(maxsplit=4)[4].split(":")[0] for line in str(seen).splitlines()[1:-1]]
    assert len(rows) == len(seen.steps)
    assert len({(before, after) for before, after in pairwise(rows) if before != after}) == 2


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_trace_executors(kind: str) -> None:
    """Steps in other threads and processes are in the trace."""
    boxes = [create(name).unwrap() for name in ("a", "b")]
    pool = ThreadPoolExecutor(2) if kind == "threads" else ProcessPoolExecutor(2, get_context("spawn"))
    with pool, tracing() as seen:
        results = fan_out(start | exec("echo up"), boxes, executor=pool)
    assert [result.unwrap().stdout for result in results] == ["up\n", "up\n"]
    assert {(s.lane, s.step) for s in seen.steps} == {
        (name, step) for name in ("a", "b") for step in ("start()", "exec('echo up')")
    }
    assert seen.requests == 4
    assert all(0 <= s.began <= seen.seconds for s in seen.steps)


def test_trace_lane_of_result() -> None:
    """The lane of a Result target has the name of its sandbox."""
    box = create("held")
    with tracing() as seen:
        fan_out(start, [box])
    assert [s.lane for s in seen.steps] == ["held"]


def test_trace_pickle() -> None:
    """A trace pickles with its errors and their places."""
    _, seen = trace(create | exec("exit 3", check=True))("my-box")
    again = pickle.loads(pickle.dumps(seen))
    assert again.steps == seen.steps
    assert str(again) == str(seen)
    assert again.steps[1].error is not None
    assert again.steps[1].error.where == seen.steps[1].error.where if seen.steps[1].error else False


def test_tracer_value() -> None:
    """A Tracer prints as source, compares, hashes and pickles."""
    traced = trace(create | start)
    assert repr(traced) == "trace(create() | start())"
    assert eval(repr(traced)) == traced  # that is what is claimed
    assert hash(traced) == hash(trace(create | start))
    assert traced != trace(create)
    assert traced != create | start
    assert pickle.loads(pickle.dumps(traced)) == traced
    assert isinstance(traced, Tracer)


def test_trace_refuses() -> None:
    """Values that are no step raise a TypeError."""
    with pytest.raises(TypeError, match=r"exec needs arguments: write `\| exec"):
        trace(exec)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportUnknownVariableType]
    with pytest.raises(TypeError, match="trace: expected a step, got str"):
        trace("ls")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportUnknownVariableType]


def test_trace_secrets() -> None:
    """A trace holds no secret, and neither does its pickle."""
    _, seen = trace(set_secret("KEY", SECRET))(create("my-box"))
    failed, seen_too = trace(set_secret("KEY", SECRET))(Sandbox(id="no", name="no"))
    assert isinstance(failed, Failure)
    for each in (seen, seen_too):
        assert SECRET not in f"{each} {each!r} {each.steps} {each.picture()}"
        assert SECRET.encode() not in pickle.dumps(each)


class Page(HTMLParser):
    """What a browser would make of it: the elements, their attributes and the texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_picture_pipeline() -> None:
    """The picture of a pipeline has a bar for each step and request."""
    traced = trace(create | exec("exit 3", check=True))("my-box")
    page = Page(traced.trace.picture())
    assert page.open == []
    assert page.tags.count("rect") == 2 + 3
    assert "create()" in page.text
    assert "✕ CommandFailed exec('exit 3', check=True)" in page.text
    assert "sandbox.createSandbox: 200" in page.text
    assert traced.trace.summary() in page.text
    assert traced._repr_html_() == traced.trace._repr_html_() == traced.trace.picture()  # pyright: ignore[reportPrivateUsage]


def test_picture_fleet() -> None:
    """The picture of a fleet has a row for each target."""
    with tracing() as seen:
        fan_out(ephemeral(exec("test $NAME != b", env={"NAME": "b"}, check=True)), ["a", "b"])
    page = Page(seen.picture())
    assert page.tags.count("rect") == 2 * 3
    assert "✕ a" in page.text
    assert page.text.count("4 req") == 2
    assert "failed" in page.text


def record(step: str, began: float = 0.0, lane: str = "", *calls: CallRecord) -> StepRecord:
    return StepRecord(step, began, 0.5, "ok", None, 0, lane, calls)


HOSTILE = """</title></svg><script>alert(1)</script>" onload="x"'>&\x00\x1b[31m\u202e"""


def test_timeline_hostile_text() -> None:
    """No string in a picture becomes markup."""
    call = CallRecord(HOSTILE, 0.0, 0.2, HOSTILE, 2, 0.1)
    for steps in ([record(HOSTILE, 0, "", call)], [record(HOSTILE, 0, HOSTILE, call), record("b", 0, "other", call)]):
        page = Page(timeline(steps, [call], HOSTILE))
        assert set(page.tags) <= {"div", "svg", "g", "text", "title", "rect", "line", "span"}
        assert not {name for name in page.attributes if name.startswith("on")}
        assert not {"\x00", "\x1b", "\u202e"} & set(page.text)
        assert page.open == []


def test_timeline_many_rows() -> None:
    """A picture shows 60 rows and counts the rest."""
    page = Page(timeline([record(f"step_{number}()") for number in range(63)], [], "all"))
    assert page.tags.count("rect") == 60
    assert "… 3 more rows. all" in page.text


WIDEST = 7.23  # pixels of a character of 12 px, in the widest of the picture's fonts


@pytest.mark.parametrize("depth", range(8))
def test_timeline_label_ends_before_bars(depth: int) -> None:
    """The longest label ends some pixels before its bar, and the longest note ends in the picture."""
    long = record("x" * 100)._replace(depth=depth, began=0.0, seconds=12_345.678)
    calls = tuple(CallRecord("sandbox.exec", 0.0, 0.1, "200", 1, 0.0) for _ in range(100))
    picture = timeline([long._replace(calls=calls)], [], "")
    label, note, *_ = re.findall(r'<text x="([\d.]+)" y="[\d.]+">([^<]+)', picture)
    bar = re.search(r'<rect x="([\d.]+)"', picture)
    assert bar is not None
    assert float(label[0]) + WIDEST * len(label[1]) <= float(bar[1]) - 4
    assert float(note[0]) + WIDEST * len(note[1]) <= 960


def test_timeline_empty() -> None:
    """A picture without steps shows its summary."""
    assert "0 steps" in Page(timeline([], [], "0 steps")).text


def test_timeline_rate_limit() -> None:
    """The delay by the rate limit has a bar of its own."""
    call = CallRecord("sandbox.exec", 0.0, 0.5, "200", 3, 0.2)
    page = Page(timeline([record("exec('ls')", 0, "", call)], [], ""))
    assert "sandbox.exec: delayed 0.200 s" in page.text
    assert "sandbox.exec: 200, 0.500 s, sent 3 times" in page.text
    assert page.tags.count("rect") == 3


def test_trace_retries(platform: Platform) -> None:
    """Retried requests count in the trace."""
    from pocketenv_fp.local.faults import Refuse

    platform.faults.add("sandbox.getSandbox", Refuse(503))
    _, seen = trace(get_sandbox)("my-box")
    assert (len(seen.calls), seen.requests) == (1, 2)
