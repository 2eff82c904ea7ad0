r"""Show values as cards: HTML for notebooks, without scripts or external resources.

>>> from pocketenv_fp import create, exec, start
>>> from pocketenv_fp.jupyter.cards import card
>>> shown = card(create("my-box") | start | exec("echo '<b>'"))
>>> "exit 0" in shown, "&lt;b&gt;" in shown
(True, True)

Values that a repr masks are masked here too. Long strings and lists are shortened, with the number of hidden items.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pprint import pformat
from typing import Any, TypeGuard, cast

from returns.result import Failure, Result

from pocketenv_fp.elements import Html, element, markup
from pocketenv_fp.errors import CodeFailed, CodeTimeout, CommandFailed, CommandTimeout, ContextLost, PocketenvError
from pocketenv_fp.jupyter.ansi import ansi_html
from pocketenv_fp.jupyter.card_parts import (
    NOTHING,
    ROWS,
    box,
    code,
    exit_badge,
    framed,
    heading,
    hint,
    listing,
    output,
    pane,
    sentence,
    sign,
    wide,
)
from pocketenv_fp.jupyter.markup import escaped, linked, shortened
from pocketenv_fp.jupyter.safe_html import safe_html
from pocketenv_fp.models import CodeResult, Display, ExecResult, Page, Record, Sandbox, Status
from pocketenv_fp.redaction import shorten
from pocketenv_fp.steps.results import Results, name_of
from pocketenv_fp.steps.step import Step
from pocketenv_fp.steps.trace import Traced

__all__ = ["CARDS", "card", "list_card", "output_card"]

STEP_CHARACTERS = 2_000
LINE_CHARACTERS = 120
TARGET_CHARACTERS = 60
READABLE = 100_000

TONES = {Status.RUNNING: "good", Status.INITIALIZING: "busy", Status.STOPPED: "idle", Status.UNKNOWN: "idle"}
WITH_OUTPUT = (CodeFailed, CodeTimeout, CommandFailed, CommandTimeout, ContextLost)
TITLES = ("name", "port", "handle", "path", "directory")
# The columns that distinguish the items of a list. The card of one item shows the rest.
COLUMNS: Mapping[type, tuple[str, ...]] = {
    Sandbox: ("name", "status", "provider", "base_sandbox", "vcpus", "memory", "disk", "created_at"),
}


def card(value: object) -> Html:
    """Return the card of any value: a special one for values of this library, otherwise its repr."""
    return framed(_part(value))


def output_card(text: str) -> Html:
    """Return the card of the output of a command that runs."""
    return framed(box(pane("", text)))


def list_card(values: Sequence[object]) -> Html | None:
    """Return one card for a list of Results, as from `fan_out`, or of records of one type. None for any other list.

    >>> from pocketenv_fp import Port
    >>> from pocketenv_fp.jupyter.cards import list_card
    >>> "https://a.example" in list_card([Port(80, None, "https://a.example"), Port(81)])
    True
    >>> list_card([1, 2])
    """
    if _is_results(values):
        return framed(_fleet(values))
    return framed(_records(values)) if _is_records(values) else None


def _fleet(results: Sequence[Result[Any, Any]]) -> Html:
    failed = sum(isinstance(result, Failure) for result in results)
    title = heading("bad" if failed else "good", f"{len(results):,} results", f"{failed:,} failed" if failed else "")
    rows = ((name, *_in_row(result)) for name, result in zip(_targets(results), results, strict=True))
    column = "target" if isinstance(cast("object", results), Results) else ""
    return box(title, listing((column, "result", "value"), rows, len(results)))


def _targets(results: Sequence[object]) -> Iterator[str]:
    """Yield the name of each target, or the numbers of a list that knows none."""
    if not isinstance(results, Results):
        yield from map(str, range(len(results)))
        return
    for target in results.targets:
        name = name_of(target)
        yield shorten(name if isinstance(name, str) else repr(name), TARGET_CHARACTERS)


def _part(value: object) -> Html:
    for kind in type(value).__mro__:
        if kind in CARDS:
            return CARDS[kind](value)
    if _is_list(value) and _is_records(value):
        return _records(value)
    return box(pane("", value if isinstance(value, str) else _readable(value)))


def _safe_repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001  # other code: still show the rest of the card
        return f"‹{type(value).__name__}, whose repr raises {type(error).__name__}›"


def _readable(value: object) -> str:
    text = _safe_repr(value)
    if type(value) not in {dict, list, tuple, set} or not LINE_CHARACTERS < len(text) < READABLE:
        return text
    return pformat(value, width=LINE_CHARACTERS, sort_dicts=False)


def _result(result: Result[Any, Any]) -> Html:
    if isinstance(result, Failure):
        error: object = result.failure()
        if isinstance(error, PocketenvError):
            return _error(error, "Failure")
        return box(heading("bad", "Failure", type(error).__name__), pane("", _readable(error)))
    value: object = result.unwrap()
    if isinstance(value, ExecResult | CodeResult):
        return _ran(value, "Success") if isinstance(value, ExecResult) else _code(value, "Success")
    if value is None:
        return box(heading("good", "Success", "None"))
    if _is_tuple(value) and any(map(_has_card, value)):
        more = hint(f"… {len(value) - ROWS:,} more") if len(value) > ROWS else NOTHING
        return markup(box(heading("good", "Success", f"a tuple of {len(value)}")), *map(_part, value[:ROWS]), more)
    kind = "" if _has_card(value) else type(value).__name__
    return markup(box(heading("good", "Success", kind)), _picture(value) or _part(value))


def _picture(value: object) -> Html | None:
    # A value of another library may have its own HTML, such as a pandas table.
    method = None if _has_card(value) else getattr(type(value), "_repr_html_", None)
    try:
        shown: object = method(value) if callable(method) else None
    except Exception:  # noqa: BLE001  # other code: fall back to its repr
        return None
    return wide(Html(shown), "pe-part pe-wide") if isinstance(shown, str) else None


def _is_tuple(value: object) -> TypeGuard[tuple[object, ...]]:
    return type(value) is tuple


def _is_texts(value: object) -> TypeGuard[tuple[str, ...]]:
    return _is_tuple(value) and all(isinstance(each, str) for each in value)


def _is_list(value: object) -> TypeGuard[list[object]]:
    return type(value) is list


def _is_results(values: Sequence[object]) -> TypeGuard[Sequence[Result[Any, Any]]]:
    return bool(values) and all(isinstance(value, Result) for value in values)


def _is_records(values: Sequence[object]) -> TypeGuard[Sequence[Record]]:
    return bool(values) and isinstance(values[0], Record) and all(type(value) is type(values[0]) for value in values)


def _has_card(value: object) -> bool:
    return any(kind in CARDS for kind in type(value).__mro__)


def _error(error: PocketenvError, title: str = "") -> Html:
    name = type(error).__name__
    summary = error.summary()
    # The card of a command shows its place and its output below.
    is_command = isinstance(error, CommandFailed)
    advice = error.advice if is_command else str(error).removeprefix(summary).removeprefix(".").strip()
    badge = exit_badge(error.exit_code) if isinstance(error, CommandFailed) else NOTHING
    return box(
        heading("bad", title or name, name if title else "", badge),
        sentence(shortened(summary), "pe-text"),
        sentence(escaped(advice)) if advice else NOTHING,
        output(error.stdout, error.stderr) if isinstance(error, WITH_OUTPUT) else NOTHING,
        pane("error", error.traceback, error=True) if isinstance(error, CodeFailed) else NOTHING,
        *(sentence(shortened(note)) for note in _notes(error)),
    )


def _notes(error: PocketenvError) -> Iterator[str]:
    places = [f"in {place}" for place in error.where]
    yield from places
    # An error that was raised and caught has its places among its notes.
    yield from (str(note) for note in getattr(error, "__notes__", ()) if note not in places)


def _ran(result: ExecResult, title: str = "") -> Html:
    # A command that ran is a Success, with any exit code.
    tone = "bad" if result.exit_code and not title else "good"
    head = heading(tone, title or "ExecResult", "ExecResult" if title else "", exit_badge(result.exit_code))
    return box(head, output(result.stdout, result.stderr))


def _code(result: CodeResult, title: str = "") -> Html:
    # Code that raised an error is a Success, as is a command with any exit code.
    error = result.error
    tone = "bad" if error and not title else "good"
    badge = element("span", shortened(error.kind, LINE_CHARACTERS), class_="pe-badge pe-bad") if error else NOTHING
    head = heading(tone, title or "CodeResult", f"{'CodeResult ' if title else ''}[{result.number}]", badge)
    shown = [output(result.stdout, result.stderr)] if result.stdout or result.stderr else []
    shown += map(_display, result.displays)
    # A value with a rich form is among the displays.
    if result.repr is not None and not (result.displays and _text(result.displays[-1]) == result.repr):
        shown.append(pane("value", result.repr))
    if error:
        shown.append(pane("error", error.traceback or f"{error.kind}: {error.message}", error=True))
    return box(head, markup(*shown) or hint("No output."))


def _display(display: Display) -> Html:
    for kind in ("image/png", "image/jpeg", "image/svg+xml"):
        form: object = display.forms.get(kind)
        if isinstance(form, str):
            # Scripts of an image do not run in an <img>.
            data = form.encode() if kind == "image/svg+xml" else _decoded(form)
            if data is not None:
                source = f"data:{kind};base64,{b64encode(data).decode()}"
                return wide(element("img", class_="pe-image", alt=kind, src=source))
    if html := display.html():
        return wide(safe_html(html), "pe-wide pe-html")
    return pane("display", _text(display) or _readable(display.forms))


def _decoded(form: str) -> bytes | None:
    try:
        return b64decode("".join(form.split()), validate=True)
    except ValueError:
        return None


def _text(display: Display) -> str:
    form: object = display.forms.get("text/plain")
    return form if isinstance(form, str) else ""


def _shown_alone(display: Display) -> Html:
    return box(heading("idle", "Display", ", ".join(map(str, display.forms))), _display(display))


def _record(record: Record) -> Html:
    fields = dict(record.__rich_repr__())
    title = shorten(str(fields.pop(_named(fields), "")), LINE_CHARACTERS)
    status = fields.pop("status", None)
    known = status if isinstance(status, Status) else None
    rows = markup(*(element("tr", element("th", name), element("td", _cell(value))) for name, value in fields.items()))
    return box(
        heading(
            TONES[known] if known else "idle", f"{type(record).__name__} {title}".strip(), known.name if known else ""
        ),
        wide(element("table", element("tbody", rows), class_="pe-table")) if rows else NOTHING,
    )


def _named(fields: Mapping[str, object]) -> str:
    return next((name for name in TITLES if name in fields), "")


def _cell(value: object) -> Html:
    if isinstance(value, Record):
        fields = dict(value.__rich_repr__())
        return markup(f"{type(value).__name__} ", shortened(str(fields.get(_named(fields), ""))))
    if isinstance(value, Status):
        return sign(TONES[value], value.name)
    if isinstance(value, datetime):
        return escaped(f"{value:%Y-%m-%d %H:%M:%S %Z}".strip())
    if isinstance(value, str):
        return code(linked(value))
    if _is_texts(value):
        return shortened(", ".join(value))
    return code(shortened(_safe_repr(value)))


def _page(page: Page[Any]) -> Html:
    items = cast("tuple[object, ...]", page.items)
    count = f"{len(items):,} of {page.total:,}"
    if _is_records(items):
        return _records(items, "Page", count)
    return box(heading("idle", "Page", count), pane("", _readable(list(items))) if items else NOTHING)


def _records(records: Sequence[Record], many: str = "List", count: str = "") -> Html:
    kind = type(records[0])
    shown = [dict(record.__rich_repr__()) for record in records[:ROWS]]
    names = [name for name in COLUMNS.get(kind, kind.__struct_fields__) if any(name in fields for fields in shown)]
    rows = (tuple(_cell(fields[name]) if name in fields else NOTHING for name in names) for fields in shown)
    title = heading("idle", f"{many} of {kind.__name__}", count or f"{len(records):,}")
    return box(title, listing(names, rows, len(records)))


def _in_row(result: Result[Any, Any]) -> tuple[Html, Html]:
    if isinstance(result, Failure):
        error: object = result.failure()
        text = error.summary() if isinstance(error, PocketenvError) else _safe_repr(error)
        kind = element("b", escaped(type(error).__name__))
        return sign("bad", "Failure"), markup(kind, " ", shortened(text, 2 * LINE_CHARACTERS))
    value: object = result.unwrap()
    if isinstance(value, ExecResult):
        line = _last_line(value.stderr if value.exit_code and value.stderr.strip() else value.stdout)
        return sign("good", "Success"), markup(exit_badge(value.exit_code), " ", code(line))
    if isinstance(value, Sandbox):
        name = escaped(shorten(value.name, LINE_CHARACTERS))
        return sign("good", "Success"), markup("Sandbox ", name, " ", _cell(value.status))
    return sign("good", "Success"), code(shortened(_safe_repr(value), 2 * LINE_CHARACTERS))


def _last_line(text: str) -> Html:
    lines = text.strip("\n").rsplit("\n", 1)
    return markup("… " if len(lines) > 1 else "", ansi_html(shorten(lines[-1], LINE_CHARACTERS)))


def _chain(step: Step[Any, Any]) -> Html:
    steps = cast("tuple[Step[Any, Any], ...]", getattr(step, "_steps", ()))
    pills = (code(_source(str(each)), "pe-code pe-step") for each in steps)
    return box(element("div", markup(*pills, between=" | ") or "identity", class_="pe-chain"))


def _source(source: str) -> Html:
    name, bracket, rest = source.partition("(")
    return markup(element("b", escaped(name)), shortened(bracket + rest, STEP_CHARACTERS))


def _traced(traced: Traced[Any]) -> Html:
    return markup(_part(traced.result), element("div", traced.trace.picture(), class_="pe-part pe-text"))


CARDS: Mapping[type, Callable[[Any], Html]] = {
    CodeResult: _code,
    Display: _shown_alone,
    ExecResult: _ran,
    Page: _page,
    PocketenvError: _error,
    Record: _record,
    Result: _result,
    Step: _chain,
    Traced: _traced,
}
"""The function for the inner part of a card, for each type that has one."""
