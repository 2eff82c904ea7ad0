"""The records of a trace, and their picture: bars on a time axis, as SVG in HTML. All strings in it are escaped.

A single program has one row for each step, a fleet has one for each target. Colours have a medium brightness, and text
has the colour of the page, so that it is readable on light and dark pages. Failures also have a symbol.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby
from typing import NamedTuple

from pocketenv_fp.elements import Html, element, markup
from pocketenv_fp.errors import PocketenvError
from pocketenv_fp.redaction import printable, shorten

__all__ = ["CallRecord", "StepRecord", "end_of", "timeline"]

WIDTH, LABEL, NOTE = 960, 310, 160
ROW, BAR, AXIS = 22, 14, 24
ROWS = 60
# Between a label and the bars. A character of the widest font is 7.23 pixels wide.
GAP, CHARACTER = 6, 7.23
FAILED, HELD, PLAIN = "#d1495b", "#b08d2f", "#4c86c6"
COLOURS = ("#4c86c6", "#3a9e77", "#9067c6", "#c8803c", "#4aa5ad", "#b0628f", "#7c8f3f", "#8a7a6d")
TICKS = 5


class CallRecord(NamedTuple):
    """One call of the platform's API. Times are in seconds since the start. ``requests`` counts retries too."""

    name: str
    began: float
    seconds: float
    outcome: str
    requests: int
    held: float
    """The seconds for which the request limit delayed it."""


class StepRecord(NamedTuple):
    """One step. Times are in seconds since the start of the trace.

    ``step`` is its source code with secrets masked. ``depth`` is the number of steps around it. ``calls`` are its own
    calls. ``error`` is its failure, and ``outcome`` is a word for it. ``lane`` is the target of its `fan_out`.
    """

    step: str
    began: float
    seconds: float
    outcome: str
    error: PocketenvError | None
    depth: int
    lane: str
    calls: tuple[CallRecord, ...]

    @property
    def requests(self) -> int:
        """The number of its own requests. Each retry counts."""
        return sum(call.requests for call in self.calls)

    @property
    def failed(self) -> bool:
        """Whether it returned a Failure or raised an exception."""
        return self.outcome != "ok"


def end_of(steps: Iterable[StepRecord], calls: Iterable[CallRecord]) -> float:
    """Return the time at which the last of these ended, or 0 without any."""
    ends = chain((step.began + step.seconds for step in steps), (call.began + call.seconds for call in calls))
    return max(ends, default=0.0)


def timeline(steps: Sequence[StepRecord], loose: Sequence[CallRecord], summary: str) -> Html:
    """Return the picture of these records, with ``summary`` below it."""
    lanes = {step.lane for step in steps}
    last = end_of(steps, loose)
    scale = (WIDTH - LABEL - NOTE) / (last or 1.0)
    rows = list(_fleet(steps, scale) if len(lanes) > 1 else _program(steps, scale))
    drawn = (element("g", row, transform=f"translate(0 {ROW * number})") for number, row in enumerate(rows[:ROWS]))
    height = ROW * min(len(rows), ROWS)
    hidden = f"… {len(rows) - ROWS:,} more rows. " if len(rows) > ROWS else ""
    picture = element(
        "svg",
        *_axis(last, scale, height),
        *drawn,
        role="img",
        aria_label=_visible(summary),
        viewBox=f"0 0 {WIDTH} {height + AXIS}",
        width="100%",
        style="font:12px ui-monospace,Menlo,Consolas,monospace",
        fill="currentColor",
    )
    return element(
        "div",
        picture,
        _legend(steps) if len(lanes) > 1 else "",
        element("div", _visible(hidden + summary)),
        style="font:12px/1.5 system-ui,sans-serif;color:inherit;max-width:960px",
    )


def _program(steps: Sequence[StepRecord], scale: float) -> Iterator[Html]:
    for step in steps:
        colour = FAILED if step.failed else PLAIN
        bar = _bar(step.began, step.seconds, colour, scale, f"{step.step}: {step.outcome}, {step.seconds:.3f} s", 0.45)
        calls = (_call(call, colour, scale) for call in step.calls)
        asked = f" · {step.requests} req" if step.requests else ""
        failed = f"✕ {step.outcome} " if step.failed else ""
        note = _label(WIDTH - NOTE + GAP, f"{step.seconds:.3f} s{asked}", WIDTH)
        yield markup(_label(2 + 10 * step.depth, failed + step.step, LABEL - GAP), bar, *calls, note)


def _call(call: CallRecord, colour: str, scale: float) -> Html:
    # First the delay, then the call.
    title = f"{call.name}: {call.outcome}, {call.seconds:.3f} s" + (
        f", sent {call.requests} times" if call.requests > 1 else ""
    )
    held = _bar(call.began, call.held, HELD, scale, f"{call.name}: delayed {call.held:.3f} s", 1) if call.held else ""
    return markup(held, _bar(call.began + call.held, max(call.seconds - call.held, 0), colour, scale, title, 1))


def _fleet(steps: Sequence[StepRecord], scale: float) -> Iterator[Html]:
    colours = _colours(steps)
    # In the order of their start.
    first = {lane: min(step.began for step in own) for lane, own in _by_lane(steps)}
    for lane, own in sorted(_by_lane(steps), key=lambda pair: first[pair[0]]):
        failed = any(step.failed and step.depth == min(s.depth for s in own) for step in own)
        bars = (
            _bar(
                step.began,
                step.seconds,
                FAILED if step.failed else colours[_operation(step)],
                scale,
                f"{step.step}: {step.outcome}, {step.seconds:.3f} s",
                1,
            )
            for step in _leaves(own)
        )
        whole = max(step.began + step.seconds for step in own) - first[lane]
        requests = sum(step.requests for step in own)
        label = f"{'✕ ' if failed else ''}{lane or 'here'}"
        note = _label(WIDTH - NOTE + GAP, f"{whole:.3f} s · {requests} req", WIDTH)
        yield markup(_label(2, label, LABEL - GAP), *bars, note)


def _by_lane(steps: Sequence[StepRecord]) -> Iterator[tuple[str, list[StepRecord]]]:
    ordered = sorted(steps, key=lambda step: step.lane)
    return ((lane, list(own)) for lane, own in groupby(ordered, key=lambda step: step.lane))


def _leaves(own: Iterable[StepRecord]) -> list[StepRecord]:
    # The work of outer steps is shown by the inner steps.
    return [step for step in own if step.calls]


def _operation(step: StepRecord) -> str:
    return step.step.partition("(")[0]


def _colours(steps: Sequence[StepRecord]) -> dict[str, str]:
    names = dict.fromkeys(_operation(step) for step in _leaves(steps))
    return {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}


def _legend(steps: Sequence[StepRecord]) -> Html:
    named = [*_colours(steps).items(), *([("failed", FAILED)] if any(step.failed for step in steps) else [])]
    entries = (
        element("span", _square(colour), f" {_visible(name)}", style="white-space:nowrap;margin-right:1em")
        for name, colour in named
    )
    return element("div", markup(*entries, between=" "))


def _square(colour: str) -> Html:
    return element("span", style=f"display:inline-block;width:.8em;height:.8em;background:{colour}")


def _bar(began: float, seconds: float, colour: str, scale: float, title: str, opacity: float) -> Html:  # noqa: PLR0917  # a bar has that many properties
    # A very short call must still be visible.
    width = max(seconds * scale, 1.0)
    return element(
        "rect",
        element("title", _visible(title)),
        x=f"{LABEL + began * scale:.2f}",
        y=f"{(ROW - BAR) / 2:g}",
        width=f"{width:.2f}",
        height=f"{BAR}",
        rx="2",
        fill=colour,
        fill_opacity=f"{opacity:g}",
    )


def _label(x: float, text: str, end: float) -> Html:
    short = shorten(text, max(int((end - x) / CHARACTER), 1))
    whole = element("title", _visible(text)) if short != text else ""
    return element("text", _visible(short), whole, x=f"{x:g}", y=f"{ROW / 2 + 4:g}")


def _axis(last: float, scale: float, height: int) -> Iterator[Html]:
    step = _round(last / TICKS)
    for number in range(int(last / step) + 1):
        at = step * number
        x = f"{LABEL + at * scale:.2f}"
        yield element("line", x1=x, x2=x, y1="0", y2=f"{height}", stroke="currentColor", stroke_opacity="0.15")
        yield element("text", f"{at:.3g} s", x=x, y=f"{height + 16}", text_anchor="middle", fill_opacity="0.7")


def _round(seconds: float) -> float:
    """Return the next larger round number: 1, 2 or 5 times a power of ten."""
    if seconds <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(seconds))
    return next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= seconds)


def _visible(text: str) -> str:
    # A step contains strings of the caller. Characters that HTML cannot contain are shown as a question mark.
    return printable(text, "?")
